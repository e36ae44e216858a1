"""The processor's flags, and the limits of libraries, without theano."""

import builtins
import io
import os
import types

import pytest

from fastvae.devices import instructions
from fastvae.errors import ProfileError


def with_flags(monkeypatch, flags):
    """A processor with these flags alone."""
    opened = builtins.open
    text = f"processor : 0\nflags\t\t: {flags}\nprocessor : 1\nflags\t\t: other\n"
    monkeypatch.setattr(
        builtins, "open", lambda path, *a, **k: io.StringIO(text) if path == "/proc/cpuinfo" else opened(path, *a, **k)
    )


@pytest.mark.parametrize(
    "flags, widest",
    [
        ("fpu sse sse2 avx", "SSE"),
        ("sse2 avx avx2", "SSE"),  # without fused multiplication and addition
        ("sse2 avx avx2 fma", "AVX2"),
        ("sse2 avx avx2 fma avx512f avx512vl", "AVX-512"),
    ],
)
def test_the_widest_vectors_of_a_processor(monkeypatch, flags, widest):
    with_flags(monkeypatch, flags)
    assert instructions.flags() > set(flags.split()) and "other" not in instructions.flags()
    assert instructions.widest(instructions.flags()) == widest


@pytest.mark.parametrize(
    "isa, users, then", [("avx2", None, "Haswell"), ("native", None, None), ("avx2", "Zen", "Zen")]
)
def test_openblas_is_limited_unless_the_user_chose(monkeypatch, isa, users, then):
    environ = {} if users is None else {"OPENBLAS_CORETYPE": users}
    monkeypatch.setattr(os, "environ", environ)
    instructions.limit_openblas(isa)
    assert environ.get("OPENBLAS_CORETYPE") == then


class OneDNN(types.SimpleNamespace):
    """A library whose limit can be set once, before it computes."""

    isa, computed = 0xFEF, False

    def dnnl_set_max_cpu_isa(self, isa):
        if self.computed:
            return 2
        self.isa, self.computed = isa, True
        return 0

    def dnnl_get_effective_cpu_isa(self):
        self.computed = True
        return self.isa


def test_onednn_is_limited_once_and_before_it_computes(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    library = OneDNN()
    instructions.limit_onednn(library, "native")
    assert library.isa == 0xFEF
    for _ in range(2):
        instructions.limit_onednn(library, "avx2")
        assert library.isa == 0x7
    with pytest.raises(ProfileError, match="fastvae.isa=avx2: oneDNN has computed with wider vectors.*start a new one"):
        instructions.limit_onednn(OneDNN(computed=True), "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")  # the user's own word
    instructions.limit_onednn(library := OneDNN(), "avx2")
    assert library.isa == 0xFEF
