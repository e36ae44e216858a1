"""Each backend is a folder of its own: found by its name, and without the other's Ops."""

import ast
import pathlib

import pytest

from fastvae import backends
from fastvae.errors import ConfigurationError

ROOT = pathlib.Path(backends.__file__).parent.parent.parent


def modules():
    """By their full names, the files of the backends."""
    files = sorted((ROOT / "fastvae" / "backends").rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imported(file, known):
    """The modules among the known ones that a file names in an import, wherever it stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from (name for name in names if name in known)


def reached(start):
    """Every module of the backends that those of a folder come to import."""
    known = modules()
    seen, left = set(), [name for name in known if name.startswith(start)]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += imported(known[name], known)
    return seen


def test_no_backend_imports_another_ones_modules():
    shared = {name for start in ("abstract", "rewrites") for name in reached(f"fastvae.backends.{start}")}
    assert not any(name.startswith(("fastvae.backends.cpu", "fastvae.backends.gpu")) for name in shared)
    for backend, other in (("cpu", "gpu"), ("gpu", "cpu")):
        found = reached(f"fastvae.backends.{backend}")
        assert f"fastvae.backends.{backend}.ops.convolution" in found and "fastvae.backends.rewrites.lift" in found
        assert not any(name.startswith(f"fastvae.backends.{other}") for name in found)


@pytest.mark.parametrize("name", backends.names())
def test_every_backend_has_the_interface(name):
    backend = backends.load(name)
    assert (
        set(backend.DEVICES) <= {"cpu", "cuda", "opencl"} and callable(backend.missing) and callable(backend.register)
    )


def test_a_backend_that_is_not_there():
    with pytest.raises(ConfigurationError, match="there is no backend 'abstract'; admissible are cpu, gpu"):
        backends.load("abstract")
