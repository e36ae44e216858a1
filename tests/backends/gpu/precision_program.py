"""The errors of convolutions and products under this process's profile, JSON on the output; see test_precision.py."""

import json

import fastvae  # noqa: F401  isort: skip

from bench.convolution_cases import KINDS, cases
from bench.gpu_checks import products

DIRECTIONS = {name: KINDS[name] for name in ("forward", "by image", "by weights")}

if __name__ == "__main__":
    checks = {f"convolution, {name}": measure for name, measure in cases(DIRECTIONS, {"plain": {}})}
    checks.update((f"product, {name}", measure) for name, measure in products(quick=True))
    print(json.dumps({name: measure() for name, measure in checks.items()}))
