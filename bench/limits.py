"""A limit of vector instructions for every program under comparison, and the kernels that its libraries then take."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable

# The environment of each limit: fastvae's profile, and what OpenBLAS, oneDNN, MKL, PyTorch and JAX go by.
LIMITS = {
    "native": {},
    "avx2": {
        "FASTVAE_PROFILE": "cpu:avx2",
        "OPENBLAS_CORETYPE": "Haswell",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "TORCHINDUCTOR_CPP_MARCH": "haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
}


def kernels(lines: Iterable[str]) -> str:
    """How often each kernel was called, and what MKL says of the processor.

    Examples
    --------
    >>> kernels(2 * ["onednn_verbose,exec,cpu,matmul,brg:avx2,undef"] + ["MKL_VERBOSE SGEMM(N,N,1,2) 3us"])
    'MKL SGEMM x1, matmul brg:avx2 x2'
    """
    found = collections.Counter()
    processor = ""
    for line in lines:
        words = line.split(",")
        if line.startswith("onednn_verbose") and "exec" in words:
            at = words.index("exec")
            found[f"{words[at + 2]} {words[at + 3]}"] += 1
        elif line.startswith("MKL_VERBOSE"):
            name = re.match(r"MKL_VERBOSE (\w+)\(", line)
            if name:
                found[f"MKL {name[1]}"] += 1
            elif "enabled" in line:
                processor = ", ".join(re.findall(r"\(Intel\(R\) (AVX[-\d]*)\)", line))
    listed = ", ".join(f"{name} x{count}" for name, count in sorted(found.items()))
    return listed + f" (MKL: {processor})" * bool(processor)
