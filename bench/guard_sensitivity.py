"""What the regression guard notices: slowed, unchanged and disturbed runs, each a measurement with its verdict.

    python bench/guard_sensitivity.py [--seconds 1500]

Ten runs with fastvae's step 20 % slower (`bench/worker.py` goes on computing), twenty unchanged, twenty with one busy
neighbour process, mixed. The worker processes live through all of them. The log is `results/guard_sensitivity.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from bench import guard, pairing  # noqa: E402

LOG = guard.HISTORY.parent / "results" / "guard_sensitivity.md"
SLOWED, UNCHANGED, NEIGHBOUR = "20 % slower", "unchanged", "a busy neighbour"
RUNS = 10 * [UNCHANGED, NEIGHBOUR, SLOWED, UNCHANGED, NEIGHBOUR]
WANTED = {  # the kind of run: how many of ten must end in one of these words
    SLOWED: (9, (guard.SLOWER,)),
    UNCHANGED: (10, (guard.PASSED,)),
    NEIGHBOUR: (10, (guard.PASSED, guard.NOISY)),
}


@contextlib.contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """A process that keeps one core busy, if wanted."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def run(kind: str, sets: dict, limits: dict) -> list[guard.Verdict]:
    """One run of the guard: the verdict on every model."""
    share = guard.SLOWDOWN - 1 if kind == SLOWED else 0
    for workers in sets.values():
        for worker in (workers[0], workers[2]):
            worker.ask("slow", share=share)
    with neighbour(kind == NEIGHBOUR):
        return [guard.watch(model, workers, limits[model]) for model, workers in sets.items()]


def word(verdicts: list[guard.Verdict]) -> str:
    """What a run as a whole says: the worst of its verdicts."""
    words = [verdict.word for verdict in verdicts]
    return next(word for word in (guard.SLOWER, guard.NOISY, guard.PASSED) if word in words)


def summary(outcomes: list[tuple[str, str]]) -> tuple[str, bool]:
    """Markdown: how the runs of each kind ended, and whether that is enough; `outcomes` are (kind, word)."""
    lines, enough = [], True
    for kind, (of_ten, good) in WANTED.items():
        words = [word for k, word in outcomes if k == kind]
        wanted = len(words) * of_ten / 10
        right = sum(word in good for word in words)
        enough &= right >= wanted > 0
        counts = ", ".join(f"{words.count(word)} {word}" for word in (guard.PASSED, guard.NOISY, guard.SLOWER))
        lines.append(f"* {kind}, {len(words)} runs: {counts}; wanted {wanted:g} of {' or '.join(good)}")
    return "\n".join(lines), enough


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1500, help="end after the run that passes this time")
    args = parser.parse_args(argv)
    started, outcomes = time.monotonic(), []
    limits = {model: guard.limit(model, pairing.processor(), guard.history()) for model in guard.MODELS}
    with contextlib.ExitStack() as stack, open(LOG, "w") as log:
        print(f"# Sensitivity of the regression guard\n\n{datetime.date.today()}, {pairing.machine()}", file=log)
        print(f"{guard.ROUNDS} rounds\n", file=log, flush=True)
        sets = {model: stack.enter_context(guard.programs(model)) for model in guard.MODELS}
        for number, kind in zip(itertools.count(1), RUNS):
            if time.monotonic() - started > args.seconds:
                break
            verdicts = run(kind, sets, limits)
            outcomes.append((kind, word(verdicts)))
            print(f"{number}. {kind}: **{outcomes[-1][1]}**", *verdicts, sep="\n   * ", file=log, flush=True)
        text, enough = summary(outcomes)
        print(f"\n{text}", file=log)
    print(text)
    if not enough:
        raise SystemExit("the guard is not what it should be")


if __name__ == "__main__":
    main()
