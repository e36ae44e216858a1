"""Every script of docs/performance/reproducibility.md runs, at its quick size."""

import pathlib
import re
import runpy
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "bench" / "reproduce"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "protocol")


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_quick_size_prints_its_row(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [script, "--quick"])
    runpy.run_path(str(FOLDER / f"{script}.py"), run_name="__main__")
    row = capsys.readouterr().out.splitlines()[-1]
    number = r"-?[\d.]+ ± [\d.]+"
    assert re.fullmatch(rf"\| 5,000 of fashion-mnist-sample \| 6 steps of \d+, .* \| {number} \| {number} .* \|", row)


def test_the_table_of_the_site_has_every_script():
    page = (FOLDER.parent.parent / "docs" / "performance" / "reproducibility.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)\.py` \|", page, flags=re.M)) == SCRIPTS
