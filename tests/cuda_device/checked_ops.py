"""The checks of `bench.gpu_checks` on the tests' device; JSON on the output: those that failed, and what was found."""

import json

from bench import gpu_checks
from tests import cuda_device


def main():
    cuda_device.without_host_code()
    rows = list(gpu_checks.checked(tf32=False, small=True, fewer=False))
    failed = [row for row in rows if not row["passed"]]
    print(json.dumps(dict(n=len(rows), failed=failed, findings=cuda_device.findings())))


if __name__ == "__main__":
    main()
