"""What is run to build pygpu, in which order, and what errors say; the compilers are not called."""

import configparser
import hashlib
import io
import sys
import tarfile

import numpy as np
import pytest

from fastvae import cli, devices
from fastvae.devices import build_pygpu
from fastvae.errors import ConfigurationError, StackError

NAME = f"libgpuarray-{build_pygpu.VERSION}"
PYX = """def __array__(self, ldtype=None):
    return numpy.array(self, dtype=ldtype,
                    ndmin=ndmin, copy=False)
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """An archive that looks like libgpuarray's, and is taken for it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        files = {
            "setup.cfg": b"[versioneer]\n",
            "setup.py": b"parser = configparser.SafeConfigParser()\n",
            "pygpu/gpuarray.pyx": PYX.encode(),
        }
        for name, text in files.items():
            member = tarfile.TarInfo(f"{NAME}/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    path = tmp_path / "source.tar.gz"
    path.write_bytes(data.getvalue())
    monkeypatch.setattr(build_pygpu, "SHA256", hashlib.sha256(data.getvalue()).hexdigest())
    return path


class Commands:
    """Stands for every program that a build calls; keeps what was asked, and fails where it is told to."""

    def __init__(self, failing=None):
        self.failing, self.asked, self.tree = failing, [], {}

    def __call__(self, command, environ=None, cwd=None):
        self.asked.append((" ".join(command), environ))
        if self.failing and self.failing in self.asked[-1][0]:
            raise StackError(f"{self.failing} failed")
        if " --target " in self.asked[-1][0] and "cmake=" in self.asked[-1][0]:
            build_pygpu.pathlib.Path(command[command.index("--target") + 1], "bin").mkdir(parents=True)
        if " wheel " in self.asked[-1][0]:
            folder, tree = (build_pygpu.pathlib.Path(path) for path in command[-2:])
            (folder / "pygpu-0.7.6-cp311.whl").touch()
            names = "pyproject.toml", "setup.cfg", "setup.py", "pygpu/gpuarray.pyx"
            self.tree = {name: (tree / name).read_text() for name in names}
            assert environ["CFLAGS"].endswith(f" -include {tree / 'python.h'}")
            self.folder = folder
        return "/environment/pygpu\n" if "import pygpu" in self.asked[-1][0] else ""


@pytest.fixture
def commands(monkeypatch):
    found = Commands()
    monkeypatch.setattr(build_pygpu, "_call", found)
    return found


def test_both_are_compiled_elsewhere_and_installed_as_one_wheel(source, commands):
    said = []
    assert build_pygpu.build(source, said.append) == "/environment/pygpu"
    assert said[-1] == "pygpu 0.7.6: installed in /environment/pygpu"
    steps = ["install -q --target", "cmake -G Ninja", "--target gpuarray", " wheel ", "mako", ".whl", "import pygpu"]
    asked = [command for command, _ in commands.asked]
    assert len(asked) == len(steps) and all(step in command for step, command in zip(steps, asked))
    assert all(pinned in asked[0] for pinned in build_pygpu.TOOLS)
    assert "--force-reinstall --no-deps" in asked[5]  # so that it can be run again
    environ = next(environ for command, environ in commands.asked if " wheel " in command)
    assert environ["CPATH"].endswith(f"{NAME}/src") and environ["LIBRARY_PATH"].endswith(f"{NAME}/lib")
    assert environ["LDFLAGS"].endswith("$ORIGIN/../../..")
    assert not commands.folder.exists()


def test_pygpu_is_compiled_for_the_numpy_that_is_here_by_a_cython_below_3(source, commands):
    build_pygpu.build(source, print)
    assert f"numpy=={np.__version__}" in commands.tree["pyproject.toml"]
    assert "Cython==0.29" in commands.tree["pyproject.toml"]
    assert f"setuptools=={'75' if sys.version_info >= (3, 12) else '65'}." in commands.tree["pyproject.toml"]
    assert commands.tree["setup.cfg"].startswith("[versioneer]\n")
    assert "lib = lib/libgpuarray.so, lib/libgpuarray.so.3" in commands.tree["setup.cfg"]
    assert "include/gpuarray = src/gpuarray/*.h" in commands.tree["setup.cfg"]


def test_its_setup_py_finds_the_names_that_python_no_longer_has(source, commands, monkeypatch):
    monkeypatch.setattr(configparser, "SafeConfigParser", None, raising=False)
    monkeypatch.setattr(configparser.ConfigParser, "readfp", None, raising=False)
    build_pygpu.build(source, print)
    names = {}
    exec(commands.tree["setup.py"], names)
    names["parser"].readfp(io.StringIO("[versioneer]\nstyle = pep440"))
    assert names["parser"]["versioneer"]["style"] == "pep440"


def test_numpy_takes_what_it_asks_it_for(source, commands):
    build_pygpu.build(source, print)
    names = {"numpy": np, "ndmin": 2}
    exec(commands.tree["pygpu/gpuarray.pyx"], names)
    options = {"copy": True} if np.__version__.startswith("2.") else {}
    assert names["__array__"]([1, 2], "float32", **options).shape == (1, 2)


@pytest.mark.parametrize("failing, last", [("cmake -G", "cmake -G"), (" wheel ", " wheel "), ("mako", "mako")])
def test_what_fails_before_the_installation_leaves_the_environment_alone(source, commands, failing, last):
    commands.failing = failing
    with pytest.raises(StackError):
        build_pygpu.build(source, print)
    assert last in commands.asked[-1][0]
    assert not any("force-reinstall" in command for command, _ in commands.asked)


def test_a_pygpu_that_cannot_be_imported_is_taken_away_again(source, commands):
    commands.failing = "import pygpu"
    with pytest.raises(StackError):
        build_pygpu.build(source, print)
    assert commands.asked[-1][0].endswith("uninstall -q --yes pygpu")


def test_another_archive_is_refused(source, commands, monkeypatch):
    monkeypatch.setattr(build_pygpu, "SHA256", "0" * 64)
    with pytest.raises(ConfigurationError, match=f"source.tar.gz' has the SHA-256 .*, not {'0' * 64}: download https"):
        build_pygpu.build(source, print)
    assert not commands.asked


def test_without_network_the_remedies_are_a_file_and_a_bundle(commands, monkeypatch, tmp_path):
    monkeypatch.setattr(build_pygpu, "URL", (tmp_path / "absent").as_uri())
    with pytest.raises(StackError, match=r"cannot be fetched \(.*No such file.*--source FILE, or take a bundle"):
        build_pygpu.build(None, print)
    assert not commands.asked


def test_every_missing_requirement_is_named_with_its_remedy(commands, monkeypatch):
    absent = devices.Finding("g++", False, why="no", remedy="apt-get install g++")
    monkeypatch.setattr(devices, "compiler", lambda: absent)
    monkeypatch.setattr(build_pygpu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StackError, match="built: g[+][+]: no; apt-get install g[+][+]. pip: .*ensurepip. numpy: "):
        build_pygpu.build(None, print)
    assert not commands.asked


def test_a_command_that_fails_is_told_with_its_error(tmp_path):
    said = "error: subprocess-exited-with-error\\nc.c:1: error: no such header\\nstopped"
    with pytest.raises(StackError, match="failed: c.c:1: error: no such header$"):
        build_pygpu._call([sys.executable, "-c", f"import sys; print('all well'); sys.exit('{said}')"])
    with pytest.raises(StackError, match="failed: exit status 3$"):
        build_pygpu._call([sys.executable, "-c", "import sys; print('no word'); sys.exit(3)"])
    assert build_pygpu._call([sys.executable, "-c", "print(1)"], cwd=tmp_path) == "1\n"


def test_the_command_line_says_it_in_one_line(capsys):
    assert cli.main(["build-pygpu", "--source", "/nonexistent.tar.gz"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fastvae: error: --source '/nonexistent.tar.gz' cannot be read") and error.count("\n") == 1
