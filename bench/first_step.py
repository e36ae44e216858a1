"""Compile a seed model's step and take it once.

python -m bench.first_step conv|mlp [BATCH_SIZE]
"""

from __future__ import annotations

import sys

import fastvae  # isort: skip  (before theano)
from bench.steps import assert_engine, compiled_step
from fastvae.profiles import active


def main(kind: str, batch_size: str = "64") -> None:
    batch_size = int(batch_size)
    images = fastvae.datasets.load("fashion-mnist-sample")
    step = compiled_step(kind, fastvae.Minibatch(images, batch_size), batch_size, len(images))
    assert_engine(step, active())
    step()


if __name__ == "__main__":
    main(*sys.argv[1:])
