"""The loop under `fastvae.fit`: steps, and between them losses, callbacks, held-out ELBOs, history and checkpoints."""

import contextlib
import time

import numpy as np
import theano
from pymc3.variational.inference import State

from fastvae.errors import NonFiniteError
from fastvae.interrupts import Interrupted, after_the_step
from fastvae.training import nonfinite
from fastvae.training.history import History
from fastvae.training.losses import LATEST
from fastvae.training.progress import Progress

ROOM = 2**16  # losses to make room for at once: n may be more than memory holds


class Loop:
    """One run of a step function; `run` takes the steps.

    Parameters
    ----------
    inference : pymc3.variational.inference.Inference
        Gets `.hist` (and its approximation too) and `.state`, so that `inference.refine` goes on from here.
    step : callable
        Takes one training step; without a `buffer` it returns the loss, float32.
    n : int
        Steps, those before the checkpoint of a resumed run included.
    params : list of theano.compile.SharedVariable
        What is trained, to name the first that is not finite.
    score, callbacks, batch_size
        As in `fit`.
    pipelines : list
        Of the minibatches: `advance()` is called before every step, `close()` at the end.
    skip : bool
        Whether a step whose loss is not finite has changed nothing, so that the run goes on.
    held_out : fastvae.training.held_out.HeldOut, optional
    best : fastvae.training.best.Best, optional
        Which keeps the parameters of the best held-out ELBO, for a fit that ends by patience.
    history : path-like, optional
        The CSV file.
    checkpoints : fastvae.checkpoint.Checkpoints, optional
        Bound to the step.
    first : fastvae.training.first_step.FirstStep, optional
        To say why, if the first step already fails.
    buffer : fastvae.training.losses.LossBuffer, optional
        To which the step writes its losses. They are fetched when it is full, before whatever needs the newest, and at
        the latest after a second.
    """

    def __init__(
        self,
        inference,
        step,
        n,
        params,
        *,
        score=True,
        callbacks=None,
        batch_size=None,
        pipelines=(),
        skip=False,
        held_out=None,
        best=None,
        history=None,
        checkpoints=None,
        first=None,
        buffer=None,
    ):
        self.inference, self.approx, self.n, self.params = inference, inference.approx, n, params
        self.score, self.callbacks, self.batch_size, self.skip = score, list(callbacks or []), batch_size, skip
        self.pipelines, self.held_out, self.history, self.checkpoints = pipelines, held_out, history, checkpoints
        self.best, self.first, self.buffer = best, first, buffer
        self.take = _advancing(step, pipelines) if pipelines else step
        past, self.measured = ([], []) if checkpoints is None else (checkpoints.losses, list(checkpoints.held_out))
        self.done = len(past)
        self.losses = np.empty(max(min(n, ROOM), self.done))
        self.losses[: self.done] = past

    def run(self, progressbar=True):
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
                if self.checkpoints is not None:
                    stack.enter_context(self.checkpoints)
                for pipeline in self.pipelines:
                    stack.callback(pipeline.close)
                interrupted = stack.enter_context(after_the_step())
                self._check_and_save()  # a folder that cannot be written is known before the first step
                if self.history is not None:
                    history = History(self.history, self.batch_size, self.losses[: self.done], self.measured)
                    self.history = stack.enter_context(history)
                if self.first is not None and self.done == 0 < self.n:
                    self.first.remember()
                with self._progress(progressbar) as progress:
                    self.approx.ended_by = self._steps(interrupted, progress)
                self._check_and_save()
                if self.approx.ended_by == "patience" and self.best is not None:
                    self.best.restore()
        finally:
            seen = self.losses[: self.done] if self.score else []
            self.inference.hist = self.approx.hist = np.concatenate([before, seen])
            self.approx.held_out_hist = np.array(self.measured, dtype=np.float64).reshape(-1, 2)
            self.inference.state = State(self.done - 1, step=self._one, callbacks=self.callbacks, score=self.score)

    def _steps(self, interrupted, progress):
        """Take steps until something ends the fit, and tell what it was."""
        try:
            while self.done < self.n:
                if interrupted():
                    return interrupted().name
                losses = self._losses_of_steps(interrupted)
                for i, loss in enumerate(losses, start=1):
                    if self._record(loss, progress, newest=i == len(losses)):
                        return "patience"
        except StopIteration:  # as in pm.fit: the fit ends here, and what was trained is returned
            return "callback"
        except Interrupted as error:  # while a step waited for its data: it was not taken
            return error.signal.name
        except KeyboardInterrupt:
            return "SIGINT"
        return "steps"

    def _losses_of_steps(self, interrupted):
        """Take a step, or as many as need no loss in between; their losses."""
        if self.buffer is None:
            return [self._take(self.done + 1)]
        every = [part.every for part in (self.checkpoints, self.held_out) if part is not None]
        most = min(self.buffer.size, self.n - self.done, *(n - self.done % n for n in every))
        taken, started = 0, time.monotonic()
        try:
            while taken < most and not (taken and (interrupted() or time.monotonic() - started > LATEST)):
                self._take(self.done + taken + 1)
                taken += 1
        except BaseException:
            for loss in self.buffer.fetch(taken):
                self._record(loss, None, newest=False)
            raise
        return self.buffer.fetch(taken)

    def _take(self, number):
        """One step; under the profile `debug` a NaN, infinity or huge value in any Op ends the fit."""
        try:
            return self.take()
        except AssertionError as error:
            if theano.config.mode != "NanGuardMode":
                raise
            what = f"NanGuardMode stopped step {number}: {' '.join(str(error).split())}"
            raise NonFiniteError(what, self.approx) from error

    def _one(self):
        """One step and its loss, for PyMC3's own loop."""
        return self.take() if self.buffer is None else (self.take(), self.buffer.fetch(1)[0])[1]

    def _record(self, loss, progress, newest):
        """Do what follows a step; tell whether patience is over.

        Where the parameters are not those after this step any more, because it is not the `newest`, nothing is done
        that needs them.
        """
        number = self.done + 1
        if number == 1 and self.first is not None:
            self._check_first(loss, newest)
        if not (np.isfinite(loss) or self.skip):
            raise nonfinite.error(f"the loss became {loss}", number, self.params, self.approx, self.checkpoints)
        if self.done == len(self.losses):
            self.losses = np.concatenate([self.losses, np.empty(len(self.losses))])
        self.losses[self.done] = loss
        self.done = number
        elbo = self._measure() if newest else None
        if self.history is not None:
            self.history.append(number, loss, elbo)
        seen = self.losses[:number]
        if progress is not None:
            progress.update(number, seen, elbo)
        for callback in self.callbacks:
            callback(self.approx, seen if self.score else None, number)
        if newest and self.checkpoints is not None and self.checkpoints.due(number) and np.isfinite(loss):
            self._check_and_save()
        return elbo is not None and self.held_out.is_over([elbo for _, elbo in self.measured])

    def _check_first(self, loss, newest):
        """Say of a first step that fails what it fails on: later, each step has spread it further."""
        if not np.isfinite(loss) or (newest and nonfinite.first_bad(self.params) is not None):
            cause = self.first.cause(loss)
            raise NonFiniteError(f"the first step fails, its loss is {loss}: {cause}", self.approx)
        self.first.forget()

    def _measure(self):
        """The held-out ELBO if it is due, else None."""
        if self.held_out is None or not self.held_out.due(self.done):
            return None
        elbo = self.held_out.elbo()
        self.measured.append((self.done, elbo))
        if self.best is not None:
            self.best.remember(self.done, elbo)
        return elbo

    def _check_and_save(self):
        """Write a checkpoint, if one is asked for and not there, once the parameters are known to be finite."""
        if nonfinite.first_bad(self.params) is not None:
            what = "a parameter stopped being finite"
            raise nonfinite.error(what, self.done, self.params, self.approx, self.checkpoints)
        if self.checkpoints is not None and self.checkpoints.saved != self.done:
            best = None if self.best is None else self.best.state
            self.checkpoints.save(self.done, self.losses[: self.done], self.measured, best)

    def _progress(self, wanted):
        return Progress(self.n, self.batch_size, done=self.done) if wanted else contextlib.nullcontext()


def _advancing(step, pipelines):
    def advance_and_step():
        for pipeline in pipelines:
            pipeline.advance()
        return step()

    return advance_and_step
