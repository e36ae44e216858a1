"""The finder adds three names at the very end, and only if they are built for this Python."""

import importlib.machinery
import sys

import pytest

from fastvae.devices import debian_pygpu


@pytest.fixture
def packages(tmp_path):
    """A folder like Debian's, with pygpu built for this Python, and a package that must stay invisible."""
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


def test_it_is_installed_once_and_last(packages, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, debian_pygpu.Finder)])
    assert debian_pygpu.install(packages) and debian_pygpu.install(packages)
    assert [type(finder) for finder in sys.meta_path].count(debian_pygpu.Finder) == 1
    assert isinstance(sys.meta_path[-1], debian_pygpu.Finder)


def test_another_pythons_build_is_left_alone(packages, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, debian_pygpu.Finder)])
    (built,) = (packages / "pygpu").glob("gpuarray*.so")
    built.rename(built.with_name("gpuarray.cpython-39-x86_64-linux-gnu.so"))
    before = list(sys.meta_path)
    assert not debian_pygpu.install(packages)
    assert sys.meta_path == before
