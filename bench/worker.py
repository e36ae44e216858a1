"""What every program under comparison does: answer requests, one JSON a line, on standard input and output.

    {"request": "check"}                   losses on the problem's own batches and noise, from its weights
    {"request": "start"}                   build the step that is timed, from the weights again, and warm it up
    {"request": "block", "seconds": 2.0}   one block (`fastvae.timing.Block`) and the peak memory so far

The timing routine is fastvae's, loaded by its path: stock and the peers never import fastvae.
"""
import importlib.util
import json
import os
import pathlib
import sys

TIMING = pathlib.Path(__file__).resolve().parent.parent / "fastvae" / "timing.py"


def timing():
    """`fastvae/timing.py` as a module of its own."""
    spec = importlib.util.spec_from_file_location("timing", TIMING)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(make_step, n_checked, about=dict, synchronize=None):
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
    synchronize : callable, optional
        See `fastvae.timing.Stopwatch`.
    """
    clock = timing()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    stopwatch = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["request"] == "check":
            step = make_step(given=True)
            answer = {"losses": [float(step()) for _ in range(n_checked)]}
            del step
        elif request["request"] == "start":
            stopwatch = clock.Stopwatch(make_step(given=False), synchronize)
            stopwatch.warm_up()
            answer = {**stopwatch.settings(), **about()}
        else:
            answer = {**stopwatch.block(request["seconds"])._asdict(), "peak": clock.peak_memory()}
        print(json.dumps(answer), file=answers, flush=True)
