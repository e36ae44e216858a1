"""A dozen kills; `python bench/kills.py` does a hundred."""

import re
import sys

from tests.conftest import ROOT


def test_a_dozen_kills_lose_nothing(run):
    done = run(sys.executable, ROOT / "bench" / "kills.py", "--kills", 12, FASTVAE_PROFILE="cpu")
    assert done.returncode == 0, (done.stdout, done.stderr)
    aimed, landed = map(int, re.search("12 kills, (\\d+) aimed at a write, (\\d+) found inside", done.stdout).groups())
    assert aimed == 8 and landed >= 6 and "identical to a run in one go" in done.stdout
