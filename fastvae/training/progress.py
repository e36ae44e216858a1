"""Progress of a fit: one updating line in a terminal or notebook, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Iterator, Sequence, TextIO

import numpy as np
from tqdm import tqdm

from fastvae import compilation

REWRITE_EVERY = 0.1  # seconds between two states of a line that is rewritten
LINE_EVERY = 10.0  # seconds between two lines where it cannot be
COMPILING_LINE_EVERY = 2.0  # the same while the step is compiled
AVERAGE_OVER = 100  # steps in the loss shown


class Progress:
    """Iterations a second, time left, and the loss averaged over the last 100 steps.

    Parameters
    ----------
    n : int
        Steps of the fit.
    batch_size : int, optional
        Images in a minibatch; given, the ELBO per image (`-loss / batch_size`, nats) is shown in place of the loss.
    stream : file, optional
        Where to write; by default the standard error.
    done : int
        Steps of a resumed fit that are behind already.

    Examples
    --------
    >>> import sys
    >>> with Progress(2, batch_size=2, stream=sys.stdout) as progress:
    ...     progress.update(1, [8.0])
    ...     progress.update(2, [8.0, 4.0])  # doctest: +ELLIPSIS
    2/2 [...ELBO/image -3.000]
    """

    def __init__(self, n: int, batch_size: int | None = None, stream: TextIO | None = None, done: int = 0) -> None:
        self.n, self.before = n, done
        self.batch_size = batch_size
        self.stream = sys.stderr if stream is None else stream
        self.bar: tqdm | None = None
        self.held_out_elbo: float | None = None

    def __enter__(self) -> Progress:
        if _rewrites_lines(self.stream):
            self.bar = tqdm(total=self.n, initial=self.before, file=self.stream, unit="it", dynamic_ncols=True)
        self.interval = REWRITE_EVERY if self.bar is not None else LINE_EVERY
        self.started = self.shown = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, done: int, losses: Sequence[float], held_out_elbo: float | None = None) -> None:
        """Show that `done` steps are behind, and their losses (a sequence that ends with the newest; may be empty).

        The last `held_out_elbo` (nats per image) is shown beside them.
        """
        self.held_out_elbo = self.held_out_elbo if held_out_elbo is None else held_out_elbo
        now = time.monotonic()
        if now - self.shown < self.interval and done != self.n:
            return
        self.shown = now
        score = self._score(losses)
        if self.bar is not None:
            self.bar.set_postfix_str(score, refresh=False)
            self.bar.update(done - self.bar.n)
            return
        line = tqdm.format_meter(
            done,
            self.n,
            now - self.started,
            initial=self.before,
            postfix=score,
            bar_format="{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
        )
        print(line, file=self.stream, flush=True)

    def _score(self, losses):
        window = np.asarray(losses[-AVERAGE_OVER:])
        window = window[np.isfinite(window)]  # a skipped step is NaN
        if not len(window):
            return ""
        loss = float(np.mean(window))
        shown = f"loss {loss:.5g}" if self.batch_size is None else f"ELBO/image {-loss / self.batch_size:.3f}"
        return shown if self.held_out_elbo is None else f"{shown}, held-out ELBO/image {self.held_out_elbo:.3f}"


@contextlib.contextmanager
def compiling(stream: TextIO | None = None) -> Iterator[None]:
    """Inside this context, show how many of the C modules that Theano's cache lacks are compiled.

    Parameters
    ----------
    stream : file, optional
        Where to write; by default the standard error.

    Examples
    --------
    >>> import theano, theano.tensor as tt
    >>> with compiling():
    ...     f = theano.function([], tt.zeros(()))  # nothing is shown where the cache has all
    """
    stream = sys.stderr if stream is None else stream
    with contextlib.ExitStack() as closing:
        bar, shown, before = None, -COMPILING_LINE_EVERY, None

        def show(done, total):
            nonlocal bar, shown, before
            if (done, total) == before:
                return
            before = done, total
            if _rewrites_lines(stream):
                if bar is None:
                    bar = closing.enter_context(tqdm(total=total, file=stream, desc="compiling", leave=False))
                bar.update(done - bar.n)
            elif done == total or time.monotonic() - shown >= COMPILING_LINE_EVERY:
                shown = time.monotonic()
                print(f"compiled {done} of {total} C modules", file=stream, flush=True)

        closing.enter_context(compilation.watched(show))
        yield


def _rewrites_lines(stream):
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return stream.isatty() or type(shell).__name__ == "ZMQInteractiveShell"
