"""The limit of vector instructions: what it adds to settings, what contradicts it, and what is said to be in force."""

import pytest

from fastvae import profiles
from fastvae.devices import instructions
from fastvae.errors import ProfileError


@pytest.fixture(autouse=True)
def processor(monkeypatch):
    """A processor with AVX-512, and nothing in the environment that limits oneDNN; call it with other flags."""

    def processor(*flags):
        monkeypatch.setattr(instructions, "flags", lambda: frozenset(flags))

    processor("avx2", "fma", "avx512f")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    return processor


def resolve(name="cpu", flags="", **environ):
    return profiles.resolve(name, {"HOME": "/nobody", "THEANO_FLAGS": flags, **environ})


def test_without_a_limit_nothing_is_added():
    profile = resolve()
    assert (profile.isa, profile.instructions) == ("native", "AVX-512")
    assert "compiledir_format" not in profile.settings and "-march" not in profile.settings["gcc.cxxflags"][0]


@pytest.mark.parametrize(
    "name, flags, source", [("cpu:avx2", "", "profile avx2"), ("cpu", "fastvae.isa=avx2", "THEANO_FLAGS")]
)
def test_the_limit_is_compiled_for_in_a_folder_of_its_own(name, flags, source):
    profile, unlimited = resolve(name, flags), resolve()
    assert profile.isa == "avx2"
    assert profile.settings["gcc.cxxflags"][0] == unlimited.settings["gcc.cxxflags"][0] + " -march=haswell"
    assert profile.settings["compiledir_format"][0].endswith("s-avx2")
    assert "-march=haswell" in profile.flags and "-avx2" in profile.flags and "isa" not in profile.flags
    assert profile.instructions == f"AVX2 (fastvae.isa=avx2 from {source}; the processor has AVX-512)"
    assert profiles.vector_instructions({"THEANO_FLAGS": flags, "FASTVAE_PROFILE": name}) == profile.instructions


def test_the_users_flags_and_folders_stay(tmp_path):
    (tmp_path / "rc").write_text("[gcc]\ncxxflags = -O1\n")
    profile = resolve("cpu:avx2", "compiledir_format=mine", THEANORC=str(tmp_path / "rc"))
    assert "gcc.cxxflags=-O1 -march=haswell" in profile.flags  # in place of the file's, which theano reads too
    assert profile.settings["compiledir_format"] == ("mine", "THEANO_FLAGS")
    assert "compiledir_format" not in resolve("cpu:avx2", "compiledir=/mine").settings


def test_what_cannot_be_had_is_one_line():
    with pytest.raises(ProfileError, match="^fastvae.isa=avx512 .from THEANO_FLAGS.: write native or avx2$"):
        resolve(flags="fastvae.isa=avx512")
    with pytest.raises(ProfileError) as error:
        resolve("cpu:avx2", "gcc.cxxflags=-O2 -march=x86-64")
    said = "fastvae.isa=avx2 (from profile avx2) and -march=x86-64 in gcc.cxxflags (from THEANO_FLAGS) both choose"
    assert str(error.value).startswith(said)


def test_what_is_in_force_names_every_limit(processor, monkeypatch):
    march = resolve(flags="gcc.cxxflags=-march=x86-64").instructions
    assert march == "AVX-512; C code by -march=x86-64 (gcc.cxxflags from THEANO_FLAGS)"
    processor("avx2", "fma")
    assert resolve().instructions == resolve("cpu:avx2").instructions == "AVX2"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX")
    assert resolve().instructions == "AVX2; oneDNN by ONEDNN_MAX_CPU_ISA=AVX"


def test_a_processor_without_avx2_takes_cpu_blas_and_says_so_in_one_line(processor):
    processor("fpu", "sse2", "avx")
    profile = resolve(None)
    assert profile.name == "cpu-blas" and profile.instructions == "SSE"
    assert "not cpu: this processor lacks AVX2" in profile.reason and "\n" not in profile.reason
    with pytest.raises(ProfileError, match="^fastvae.isa=avx2 .from profile avx2.: this processor lacks AVX2; leave"):
        resolve("cpu-blas:avx2")
    with pytest.raises(ProfileError, match="profile 'cpu' is not available.*lacks AVX2.*take the profile 'cpu-blas'"):
        resolve("cpu")
