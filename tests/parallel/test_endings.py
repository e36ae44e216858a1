"""Every end of ranks once; `python bench/rank_kills.py` does sixty."""

import subprocess
import sys

from bench import rank_kills
from tests.conftest import ROOT


def ends(environ, *arguments):
    command = [sys.executable, ROOT / "bench" / "rank_kills.py", "--kills", str(len(rank_kills.WAYS)), *arguments]
    done = subprocess.run(command, env=environ, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.count("all ended") == len(rank_kills.WAYS)


def test_every_end(mpiexec, ranks_environ):
    ends(ranks_environ)
