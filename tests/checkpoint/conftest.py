"""A tiny run, compiled once, and a folder of its checkpoints; `run` is the fixture of the file that uses them."""

import pytest

from tests.tiny_run import Run


@pytest.fixture(scope="session")
def compiled():
    return Run()


@pytest.fixture
def folder(run, tmp_path):
    """Six steps' worth of checkpoints: those after 2, 4 and 6."""
    run.train(6, checkpoints=run.checkpoints(tmp_path / "run"))
    return tmp_path / "run"
