"""What every program under comparison does: answer requests, one JSON a line, on standard input and output.

    {"request": "prepare"}                 compile for the next two, which else do so themselves
    {"request": "check"}                   losses on the problem's own batches and noise, from its weights
    {"request": "start"}                   build the step that is timed, from the weights again, and warm it up; the
                                           answer tells the settings and the peak memory; `fetch_every` as below
    {"request": "block", "seconds": 2.0}   one block (`fastvae.timing.Block`)
    {"request": "kernels"}                 one step of which the libraries print what they call, on standard error
    {"request": "slow", "share": 0.2}      from now on each step computes on for so large a share of its own time

The timing routine is fastvae's, loaded by its path: stock and the peers never import fastvae.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from types import ModuleType

ROOT = pathlib.Path(__file__).resolve().parent.parent  # a checkout, or a folder of the installed package


def from_fastvae(name: str) -> ModuleType:
    """`fastvae/NAME.py`, or the package of that name, as a module of its own: of those that import no other of it."""
    folders = ROOT / "fastvae", ROOT.parent
    paths = (folder / file for folder in folders for file in (f"{name}.py", f"{name}/__init__.py"))
    spec = importlib.util.spec_from_file_location(name, next(path for path in paths if path.is_file()))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slowed(step: Callable, share: float) -> Callable:
    """A step that goes on computing for a share of its own time: what a regression guard must notice."""

    def slow():
        started = time.perf_counter()
        value = step()
        ended = time.perf_counter()
        while time.perf_counter() < ended + share * (ended - started):
            pass
        return value

    return slow


def serve(
    make_step: Callable,
    n_checked: int,
    about: Callable = dict,
    synchronize: Callable | None = None,
    fetch_every: int = 1,
    prepare: Callable | None = None,
    verbose: Callable = contextlib.nullcontext,
) -> None:
    """Answer requests until standard input ends.

    Parameters
    ----------
    make_step : callable
        `make_step(given)` returns a step from the problem's weights: with `given` on the problem's batches and noise,
        one after another; without, on batches and noise that the program draws in its own way.
    n_checked : int
        Steps that a check takes.
    about : callable, optional
        Returns a dict of versions and threads, asked for once the step is warm.
    synchronize, fetch_every : optional
        See `fastvae.timing.Stopwatch`.
    prepare : callable, optional
        Compiles for both kinds of steps. By default both are made, and kept.
    verbose : callable, optional
        Returns a context in which libraries print the kernels that they call.
    """
    clock = from_fastvae("timing")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error
    step = stopwatch = None
    made = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["request"] == "prepare":
            if prepare is None:
                made = {given: make_step(given=given) for given in (True, False)}
            else:
                prepare()
            answer = {}
        elif request["request"] == "check":
            checked = made.pop(True, None) or make_step(given=True)
            answer = {"losses": [float(checked()) for _ in range(n_checked)]}
            del checked
        elif request["request"] == "start":
            step = made.pop(False, None) or make_step(given=False)
            stopwatch = clock.Stopwatch(step, synchronize, request.get("fetch_every", fetch_every))
            stopwatch.warm_up()
            answer = {**stopwatch.settings(), **about(), "peak": clock.peak_memory()}
        elif request["request"] == "kernels":
            with verbose():
                step()
            ctypes.CDLL(None).fflush(None)
            answer = {}
        elif request["request"] == "slow":
            stopwatch.step = slowed(step, request["share"])
            answer = request
        else:
            answer = stopwatch.block(request["seconds"])._asdict()
        print(json.dumps(answer), file=answers, flush=True)
