"""The loop under `fastvae.fit`: it takes steps, fetches their losses, and calls the parts of the run in between."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, Sequence

import numpy as np
import theano

from fastvae.errors import ConfigurationError, NonFiniteError
from fastvae.interrupts import Interrupted, after_the_step
from fastvae.parallel import ALONE, Ranks
from fastvae.run_options import RunOptions
from fastvae.training.losses import LATEST, LossBuffer
from fastvae.training.parts.base import Part, Step

ROOM = 2**16  # losses to make room for at once: n may be more than memory holds


class Loop:
    """One run of a step function; `run` takes the steps.

    Parameters
    ----------
    inference : pymc3.variational.inference.Inference
        Gets `.hist`, and its approximation too.
    step : callable
        Takes one training step; without a `buffer` it returns the loss, float32.
    n : int
        Steps, those before the checkpoint of a resumed run included.
    params : list of theano.compile.SharedVariable
        What is trained.
    parts : list of fastvae.training.parts.Part
        In the order in which they follow a step.
    score : bool
        Whether the losses are left in `.hist`.
    pipelines : list
        Of the minibatches: `advance()` is called before every step, `close()` at the end.
    buffer : fastvae.training.losses.LossBuffer, optional
        To which the step writes its losses. They are fetched when it is full, before a step after which a part is due,
        and at the latest after a second.
    past : sequence of float
        The losses of a resumed run.
    ranks : fastvae.parallel.Ranks
        Those that train together. They end after the same step: what only one of them knows, such as a signal, the
        others learn with the next step, which still counts.
    rank_timeout : float
        Seconds for which a rank waits for another.
    """

    def __init__(
        self,
        inference: Any,
        step: Callable,
        n: int,
        params: Sequence[Any],
        parts: Sequence[Part] = (),
        *,
        score: bool = True,
        pipelines: Sequence[Any] = (),
        buffer: LossBuffer | None = None,
        past: Sequence[float] = (),
        ranks: Ranks = ALONE,
        rank_timeout: float = RunOptions.rank_timeout,
    ) -> None:
        self.ranks, self.rank_timeout, self._agreed = ranks, rank_timeout, False
        self.inference, self.approx, self.n, self.params = inference, inference.approx, n, params
        self.parts, self.score, self.pipelines, self.buffer = parts, score, pipelines, buffer
        self.step = _advancing(step, pipelines, ranks) if pipelines else step
        self.done = len(past)
        self._losses = np.empty(max(min(n, ROOM), self.done))
        self._losses[: self.done] = past
        self._reason: str | None = None

    @property
    def losses(self) -> np.ndarray:
        """The loss of each step so far, float64."""
        return self._losses[: self.done]

    def end(self, reason: str, agreed: bool = False) -> None:
        """Let the fit take no further step; the first reason counts.

        Where losses are fetched for several steps at once, those steps have been taken and still count.

        Parameters
        ----------
        reason : str
        agreed : bool
            Whether every rank comes to it after the same step; otherwise one more is taken, if there are several.
        """
        self._reason = self._reason or reason
        self._agreed = self._agreed or agreed

    def run(self) -> None:
        """Take the steps that are missing, and leave everything on the approximation and on disk, whatever ends them.

        Raises
        ------
        NonFiniteError
            If the loss or a parameter stops being finite.
        DataError
            If a checkpoint or the history cannot be written.
        """
        before = self.inference.hist
        self.approx.ended_by = None
        try:
            with contextlib.ExitStack() as stack:
                for pipeline in self.pipelines:
                    stack.callback(pipeline.close)
                interrupted = stack.enter_context(after_the_step())
                stack.enter_context(self.ranks.watched(self.rank_timeout))
                for part in self.parts:
                    stack.enter_context(self._leaving(part))
                for part in self.parts:
                    part.check(self)
                for part in self.parts:
                    part.enter(self)
                self.approx.ended_by = self._steps(interrupted)
                self._finish()
        finally:
            self.inference.hist = self.approx.hist = np.concatenate([before, self.losses if self.score else []])

    def _finish(self):
        """Finish every part, also after one that fails, so that a checkpoint is written; then raise its error."""
        errors = []
        for part in self.parts:
            try:
                part.finish(self)
            except NonFiniteError:  # there is nothing worth a checkpoint
                raise
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    @contextlib.contextmanager
    def _leaving(self, part):
        try:
            yield
        except BaseException as error:
            part.exit(self, error)
            raise
        part.exit(self, None)

    def one_step(self) -> float:
        """One step and its loss, for PyMC3's own loop."""
        if self.buffer is None:
            return self.step()
        self.step()
        return self.buffer.fetch(1)[0]

    def _steps(self, interrupted):
        """Take steps until something ends the fit, and tell what it was."""
        try:
            while self.done < self.n and not self._is_over(interrupted):
                losses = self._losses_of_steps(interrupted)
                for i, loss in enumerate(losses, start=1):
                    self._record(loss, newest=i == len(losses))
        except StopIteration:  # of a step that was not taken
            self.end("callback")
        except Interrupted as error:  # while a step waited for its data: it was not taken
            self.end(error.signal.name)
        except KeyboardInterrupt:
            self.end("SIGINT")
        except NotTaken:  # by another rank
            pass
        return next((reason for reason in self.ranks.everyone(self._reason) if reason is not None), "steps")

    def _is_over(self, interrupted):
        """Whether no further step is to be taken; every rank comes to the same answer."""
        if interrupted():
            self.end(interrupted().name)
        if self.ranks.size == 1 or self._agreed:
            return self._reason is not None
        return self.ranks.stopping

    def _losses_of_steps(self, interrupted):
        """Take a step, or as many as need no loss in between; their losses."""
        if self.buffer is None:
            return [self._take(self.done + 1)]
        due = [steps for part in self.parts if (steps := part.due_in(self.done)) is not None]
        most = max(1, min(self.buffer.size, self.n - self.done, *due))
        taken, started = 0, time.monotonic()

        def early():  # ranks do so after the same step
            if self.ranks.size > 1:
                if interrupted():
                    self.end(interrupted().name)
                return self.ranks.stopping
            return interrupted() or time.monotonic() - started > LATEST

        try:
            while taken < most and not (taken and early()):
                self._take(self.done + taken + 1)
                taken += 1
        except BaseException:
            for loss in self.buffer.fetch(taken):
                self._record(loss, newest=False)
            raise
        return self.buffer.fetch(taken)

    def _take(self, number):
        """One step; under the profile `debug` a NaN, infinity or huge value in any Op ends the fit."""
        self.ranks.wish = self._reason is not None
        try:
            return self.step()
        except AssertionError as error:
            if theano.config.mode != "NanGuardMode":
                raise
            what = f"NanGuardMode stopped step {number}: {' '.join(str(error).split())}"
            raise NonFiniteError(what, self.approx) from error

    def _record(self, loss, newest):
        """Keep the loss of a step and call the parts; unless it is the newest step, the parameters have moved on."""
        step = Step(self.done + 1, loss, newest)
        for part in self.parts:
            try:
                part.accept(self, step)
            except StopIteration as error:
                what = f"the part {part.name!r} raised StopIteration in accept: raise it in after_step"
                raise ConfigurationError(f"fit: {what}, where the step counts") from error
        if self.done == len(self._losses):
            self._losses = np.concatenate([self._losses, np.empty(len(self._losses))])
        self._losses[self.done] = loss
        self.done = step.number
        for part in self.parts:
            if not newest and part.needs_newest:
                continue
            try:
                part.after_step(self, step)
            except StopIteration:  # as in pm.fit: the fit ends here, and what was trained is returned
                self.end("callback")
            except KeyboardInterrupt:
                self.end("SIGINT")
            else:
                continue
            if self.ranks.size == 1:  # later parts may be collective
                return


class NotTaken(Exception):
    """Another rank was interrupted while it waited for its data, so no rank takes this step."""


def _advancing(step, pipelines, ranks):
    may_wait = ranks.size > 1 and any(pipeline.waits for pipeline in pipelines)

    def advance_and_step():
        interrupted = None
        try:
            for pipeline in pipelines:
                pipeline.advance()
        except (Interrupted, StopIteration) as error:
            interrupted = error
        if may_wait and ranks.any(interrupted is not None):
            raise interrupted or NotTaken
        if interrupted is not None:
            raise interrupted
        return step()

    return advance_and_step
