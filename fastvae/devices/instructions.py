"""Vector instructions: which this processor has, and how a run is limited to fewer of them.

The limit is the profile's key ``fastvae.isa``: "avx2", or "native" for none. What is compiled gets it by the compiler's
flag; libraries that choose their kernels at run time get it each in its own way.

    flags            the processor's
    widest           the widest vectors that these flags stand for
    MARCH            the compiler's flag of each limit
    limit_openblas   before numpy and scipy load it
    limit_onednn     before oneDNN computes

Examples
--------
>>> widest({"sse2", "avx2", "fma"}), widest({"avx2", "fma", "avx512f"}), widest({"sse2"})
('AVX2', 'AVX-512', 'SSE')
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection

from fastvae.errors import ProfileError

MARCH = {"native": "", "avx2": "-march=haswell"}  # the first processors that had AVX2
ONEDNN_AVX2 = 0x7  # dnnl_cpu_isa_avx2, a bit for each set of instructions
ONEDNN, OPENBLAS = "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE"  # a user's own limits


def flags() -> frozenset[str]:
    """The flags of this processor as Linux names them, such as ``"avx2"``."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        return frozenset(next((line.split() for line in cpuinfo if line.startswith("flags")), []))


def widest(flags: Collection[str]) -> str:
    """The widest vectors that a processor with these flags computes with: "AVX-512", "AVX2" or "SSE"."""
    if not {"avx2", "fma"} <= set(flags):
        return "SSE"
    return "AVX-512" if "avx512f" in flags else "AVX2"


def limit_openblas(isa: str) -> None:
    """Limit OpenBLAS, unless the user named its kernels. The variable stays set: scipy may load it at any time."""
    if isa == "avx2":
        os.environ.setdefault(OPENBLAS, "Haswell")


def limit_onednn(library: ctypes.CDLL, isa: str) -> None:
    """Limit oneDNN, unless the user did by its own variable.

    Raises
    ------
    fastvae.errors.ProfileError
        If oneDNN has computed before.
    """
    if isa != "avx2" or ONEDNN in os.environ:
        return
    library.dnnl_set_max_cpu_isa(ONEDNN_AVX2)
    if library.dnnl_get_effective_cpu_isa() & ~ONEDNN_AVX2:
        raise ProfileError(
            f"fastvae.isa={isa}: oneDNN has computed with wider vectors in this process: start a new one, with "
            "`import fastvae` first"
        )
