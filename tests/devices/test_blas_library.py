"""The BLAS that the flags name is the file that theano gets, whatever its folder is called."""

import os
import pathlib
import re

import pytest

from fastvae import devices
from fastvae.devices import blas_library
from fastvae.errors import StackError

LIBRARY = pathlib.Path(devices.blas().path)

PRODUCT = """
import os; os.environ['FASTVAE_PROFILE'] = 'cpu-blas'
import fastvae, numpy, theano, theano.tensor as tt
x = tt.matrix()
f = theano.function([x], tt.dot(x, x))
assert "Dot22" in str(f.maker.fgraph.toposort()), f.maker.fgraph.toposort()
assert (f(numpy.full((3, 3), 2, "float32")) == 12).all()
"""


def test_flags_name_the_library_and_back():
    flags = blas_library.link_flags(LIBRARY)
    linked, *renamed = flags.split(" -D")
    assert linked == f"-L{LIBRARY.parent} -l{LIBRARY.name[3:-3]}"
    # scipy's newer libraries prefix their symbols
    assert bool(renamed) == (b"scipy_sgemm_" in LIBRARY.read_bytes())
    assert all(re.fullmatch(r"(\w+)=scipy_\1", name) for name in renamed)
    assert blas_library.linked_library(flags) == str(LIBRARY)


def test_a_library_is_looked_for_where_the_linker_looks(tmp_path, monkeypatch):
    for folder in ("given", "loader"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "libsome.so").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "loader"))
    assert blas_library.linked_library("-lsome -lm") == f"{tmp_path}/loader/libsome.so"
    assert blas_library.linked_library(f"-L{tmp_path}/given -lsome") == f"{tmp_path}/given/libsome.so"
    assert blas_library.linked_library("-lother") is None


def test_a_folder_with_spaces_is_linked_through_a_link_without(tmp_path, monkeypatch, python):
    folder = tmp_path / "with spaces"
    folder.mkdir()
    (folder / "libopenblas_here.so").symlink_to(LIBRARY)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    flags = blas_library.link_flags(folder / "libopenblas_here.so")
    assert [flag[:2] for flag in flags.split() if flag[:2] != "-D"] == ["-L", "-l"]
    assert os.path.samefile(blas_library.linked_library(flags), LIBRARY)
    assert blas_library.link_flags(folder / "libopenblas_here.so") == flags
    done = python(PRODUCT, flags=f"device=cpu,blas.ldflags={flags}")
    assert done.returncode == 0, done.stderr


def test_no_place_without_spaces_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "my tmp"))
    with pytest.raises(StackError, match="with spaces.*set TMPDIR"):
        blas_library.link_flags(tmp_path / "with spaces" / "libopenblas.so")


def test_somebody_elses_link_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = tmp_path / "with spaces"
    link = pathlib.Path(blas_library.link_flags(folder / "libopenblas.so").split()[0][2:])
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackError):
        blas_library.link_flags(folder / "libopenblas.so")


@pytest.mark.parametrize("planted", ["link", "open to others", "file", "of another user"])
def test_a_folder_of_the_known_name_is_used_only_if_it_is_ours_alone(tmp_path, monkeypatch, planted):
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    place, mine = tmp_path / f"fastvae-{os.getuid()}", tmp_path / "mine"
    mine.mkdir(mode=0o700)
    if planted == "link":
        place.symlink_to(mine)
    elif planted == "file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777 if planted == "open to others" else 0o700)
    if planted == "of another user":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        place.rename(tmp_path / f"fastvae-{os.getuid()}")
    with pytest.raises(StackError, match="must be a folder of your own that nobody else can write"):
        blas_library.link_flags(tmp_path / "with spaces" / "libopenblas.so")
    assert not list(mine.iterdir())
