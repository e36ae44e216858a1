"""Run a module of bench/ with the installed fastvae, not with the one beside it: asv installs that of each commit.

python bench/installed.py bench.fastvae_worker PROBLEM.npz seed
"""

import pathlib
import runpy
import sys

sys.path[:1] = []  # this folder
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
