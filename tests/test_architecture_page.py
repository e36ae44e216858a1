"""What `fastvae/ARCHITECTURE.md` says that can be looked up: files, rooms, names and positions of rewrites."""

import pathlib
import re

import pytest

from fastvae.backends import cpu, gpu
from tests.conftest import ROOT
from tests.test_architecture import FLOORS

PAGE = (ROOT / "fastvae" / "ARCHITECTURE.md").read_text(encoding="utf-8")


def rows(heading):
    """The cells of the table whose first column has a heading."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def rewrites(documentation):
    """Names and positions in the table of a docstring."""
    return re.findall(r"^ *\(?(\w+)\)? {2,}([\d.]+) {2}", documentation, re.MULTILINE)


def test_rooms_are_those_of_the_house_in_its_order():
    named = [tuple(re.findall(r"`(\w+)`", cells[0])) for cells in rows("from the top")]
    assert named == [tuple(sorted(floor)) for floor in FLOORS if floor not in (("__main__",), ("",))]


@pytest.mark.parametrize("heading, backend", [("CPU", cpu), ("GPU", gpu)])
def test_rewrites_are_those_of_the_backend(heading, backend):
    found = rewrites(backend.register.__doc__)
    assert len(found) > 10
    assert [(name.strip("`"), position) for name, position, _ in rows(heading)] == found


def test_files_exist():
    files = set(re.findall(r"`((?:fastvae|theanorc_profiles|tests)/[\w./]+\.\w+)`", PAGE))
    files |= {f"fastvae/{name}" for name in re.findall(r"`((?:backends|datasets|elbo|training)/[\w./]+)`", PAGE)}
    assert len(files) > 20
    assert [name for name in sorted(files) if not pathlib.Path(ROOT, name).exists()] == []
