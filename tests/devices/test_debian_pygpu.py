"""The finder adds three names that nothing else has, and only if they are built for this Python."""

import importlib.machinery
import importlib.util
import pathlib
import sys

import pytest

from fastvae.devices import debian_pygpu


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder like Debian's, with pygpu built for this Python, and a package that must stay invisible."""
    # An environment may have them too.
    bare = [path for path in sys.path if not any(pathlib.Path(path, name).exists() for name in debian_pygpu.NAMES)]
    monkeypatch.setattr(sys, "path", bare)
    for name in ("pygpu", "mako", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"here = {str(tmp_path)!r}")
    (tmp_path / "pygpu" / f"gpuarray{importlib.machinery.EXTENSION_SUFFIXES[0]}").touch()
    return tmp_path


def test_the_finder_knows_three_names_and_nothing_else(packages):
    finder = debian_pygpu.Finder(packages)
    assert finder.find_spec("pygpu").origin == str(packages / "pygpu" / "__init__.py")
    assert finder.find_spec("mako").origin == str(packages / "mako" / "__init__.py")
    assert finder.find_spec("markupsafe") is None
    assert finder.find_spec("other") is None
    assert finder.find_spec("pygpu.gpuarray") is None


def test_it_is_installed_once(packages, finders):
    assert debian_pygpu.install(packages) and debian_pygpu.install(packages)
    assert [type(finder) for finder in sys.meta_path].count(debian_pygpu.Finder) == 1


@pytest.mark.parametrize("made, hidden", [("pygpu/data/file", False), ("pygpu/__init__.py", True), ("pygpu.py", True)])
def test_modules_go_before_debians_and_folders_do_not(packages, finders, monkeypatch, tmp_path, made, hidden):
    own = tmp_path / "path" / made
    own.parent.mkdir(parents=True)
    own.touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "path"), *sys.path])
    assert debian_pygpu.install(packages)
    found = importlib.util.find_spec("pygpu")
    assert found.origin == str(own if hidden else packages / "pygpu" / "__init__.py")


def test_another_pythons_build_is_left_alone(packages, finders):
    (built,) = (packages / "pygpu").glob("gpuarray*.so")
    built.rename(built.with_name("gpuarray.cpython-39-x86_64-linux-gnu.so"))
    before = list(sys.meta_path)
    assert not debian_pygpu.install(packages)
    assert sys.meta_path == before
