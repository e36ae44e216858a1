"""PyMC3's own tests after `import fastvae` and in stock PyMC3, with floatX float32 and float64: what differs.

    python -m bench.pymc3_tests FOLDER [--ways fastvae float32 float64] [--files test_sampling ...] [--select TESTS]

A way runs each file of `pymc3/tests` in a process of its own, the stock ways in one that never imports fastvae, with
what stock needs on today's numpy and Python (`bench/stock.py`). Every test's outcome goes to FOLDER/WAY/FILE.jsonl as
it ends, and FOLDER/table.md is written anew from all outcomes that are there, so that ways and files can be run one at
a time. It takes hours. PyMC3's tests need two packages that fastvae does not: `pip install nose parameterized`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys

from bench import tables
from bench.pairing import ROOT
from bench.stock import compile_sooner, repair_stack

WAYS = ("fastvae", "float32", "float64")
FILES = (
    "test_types",
    "test_theanof",
    "test_shared",
    "test_pickling",
    "test_missing",
    "test_random",
    "test_updates",
    "test_data_container",
    "test_minibatches",
    "test_model",
    "test_posterior_predictive",
    "test_parallel_sampling",
    "test_variational_inference",
    "test_sampling",
    "test_step",
    "test_distribution_defaults",
    "test_distributions_timeseries",
    "test_distributions_random",
    "test_distributions",
)
SECONDS_A_TEST = 300
WAY = "PYMC3_TESTS_WAY"  # in the environment, for the processes that tests spawn


class Outcomes:
    """A plugin of pytest that writes a line a test, and ends a test that takes too long."""

    def __init__(self, path):
        self.file, self.done = open(path, "w"), set()

    def pytest_runtest_setup(self, item):
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(SECONDS_A_TEST)

    def pytest_runtest_logreport(self, report):
        if report.when == "teardown":
            signal.alarm(0)
        if report.nodeid not in self.done and (report.when == "call" or report.outcome != "passed"):
            self.done.add(report.nodeid)
            self._write(report.nodeid.partition("::")[2], report)

    def pytest_collectreport(self, report):
        if report.failed:
            self._write("(collection)", report)

    def _write(self, test, report):
        crash = getattr(report.longrepr, "reprcrash", None)
        error = (crash.message if crash else str(report.longrepr)).strip().splitlines() if report.failed else []
        outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        line = {"test": test, "outcome": outcome, "error": error[:1] + error[-1:]}
        print(json.dumps(line), file=self.file, flush=True)


def _too_long(number, frame):
    raise TimeoutError(f"the test took more than {SECONDS_A_TEST} s")


def start(way: str) -> None:
    """Make this process what a way says it is."""
    if way == "fastvae":
        import fastvae  # noqa: F401
    else:
        repair_stack()
        compile_sooner()


def work(way: str, name: str, path: str, select: str) -> None:
    """Run one file in this process."""
    start(way)
    import matplotlib
    import pytest
    from pymc3.tests import conftest

    if way == "fastvae":
        del conftest.theano_config  # it has theano compute test values, which users need not after `import fastvae`
    matplotlib.use("Agg")
    folder = pathlib.Path(conftest.__file__).parent
    arguments = [str(folder / f"{name}.py"), f"--rootdir={folder}", "-c", os.devnull, "-q", "-p", "no:cacheprovider"]
    pytest.main([*arguments, "--noconftest", *["-k", select] * bool(select)], plugins=[conftest, Outcomes(path)])
    assert way == "fastvae" or "fastvae" not in sys.modules


def environment(way: str) -> dict[str, str]:
    """The environment of a way's processes: stock takes the BLAS that fastvae finds."""
    environ = {name: value for name, value in os.environ.items() if name not in ("THEANORC", "FASTVAE_PROFILE")}
    if way == "fastvae":
        return {**environ, WAY: way, "FASTVAE_PROFILE": "cpu"}
    code = "import fastvae, theano; print(theano.config.blas.ldflags)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environ, "FASTVAE_PROFILE": "cpu-blas"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    flags = [environ.get("THEANO_FLAGS"), f"floatX={way}", f"blas.ldflags={done.stdout.strip()}"]
    return {**environ, WAY: way, "THEANORC": os.devnull, "THEANO_FLAGS": ",".join(filter(None, flags))}


def run(folder: pathlib.Path, way: str, name: str, environ: dict[str, str], select: str, minutes: int) -> None:
    """Run one file in one way, in a process of its own."""
    path = folder / way / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "bench.pymc3_tests", "--work", way, name, str(path), select]
    with open(path.with_suffix(".log"), "w") as log:
        try:
            subprocess.run(
                command,
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=60 * minutes,
            )
        except subprocess.TimeoutExpired:
            with open(path, "a") as file:
                line = {"test": "(the rest)", "outcome": "failed", "error": [f"took more than {minutes} minutes"]}
                print(json.dumps(line), file=file)
    print(f"{way} {name}: {tally(outcomes(folder, way, name))}", flush=True)


def outcomes(folder: pathlib.Path, way: str, name: str) -> dict[str, dict] | None:
    """The outcomes of a file's tests in one way, by test; None where it has not been run."""
    path = folder / way / f"{name}.jsonl"
    if not path.exists():
        return None
    return {line["test"]: line for line in map(json.loads, path.read_text().splitlines())}


def tally(tests: dict[str, dict] | None) -> str:
    """`passed of run`, without those that the tests themselves skip or expect to fail."""
    if tests is None:
        return "-"
    counted = [test["outcome"] for test in tests.values() if test["outcome"] in ("passed", "failed")]
    return f"{counted.count('passed')} of {len(counted)}"


def table(folder: pathlib.Path) -> str:
    """Passed of run by file and way, then the tests that pass in a stock way and fail after `import fastvae`."""
    rows, differences = [], []
    for name in FILES:
        results = {way: outcomes(folder, way, name) for way in WAYS}
        rows.append([name, *map(tally, results.values())])
        for test, line in (results["fastvae"] or {}).items():
            passed = [way for way in WAYS[1:] if (results[way] or {}).get(test, {}).get("outcome") == "passed"]
            if line["outcome"] == "failed" and passed:
                error = " ... ".join(line["error"])
                differences.append(f"* {name}::{test} (passes in stock {', '.join(passed)}): {error}")
    return "\n".join([tables.table(["file of `pymc3/tests`", *WAYS], rows), "", *differences, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--files", nargs="*", default=FILES)
    parser.add_argument("--select", default="", help="of each file only the tests that pytest's -k selects")
    parser.add_argument("--minutes", type=int, default=60, help="that a file may take at most (default: %(default)s)")
    args = parser.parse_args()
    environs = {way: environment(way) for way in args.ways}
    for name in args.files:
        for way in args.ways:
            run(args.folder.resolve(), way, name, environs[way], args.select, args.minutes)
        (args.folder / "table.md").write_text(table(args.folder))


if __name__ == "__mp_main__":
    start(os.environ[WAY])
elif __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
    else:
        main()
