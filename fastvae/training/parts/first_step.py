"""A first step that fails: whether the data, the model or its gradient is not finite.

The learning rate has no part in the loss of the first step. The values from before the step are kept until its loss is
known, so that the step can be repeated and looked at.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Sequence

import numpy as np
import theano

from fastvae.errors import NonFiniteError
from fastvae.training import nonfinite
from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.training.loop import Loop


class FirstStep(Part):
    """Says why a first step fails. In later steps what is not finite has already spread.

    Parameters
    ----------
    variables : list of theano.compile.SharedVariable
        What a step updates.
    params : list of theano.compile.SharedVariable
        What is trained.
    pipelines : list
        Of the minibatches.
    terms : callable
        Returns `{name: expression}` of what the loss is made of, data first; called only after a failure.
    statistics : list of theano.compile.SharedVariable
        Running means and variances of batch normalisations.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        params: Sequence[Any],
        pipelines: Sequence[Any],
        terms: Callable[[], dict],
        statistics: Sequence[Any] = (),
    ) -> None:
        self.variables, self.params, self.pipelines, self.terms = variables, params, pipelines, terms
        self.statistics = statistics
        self._before = None

    def enter(self, run: Loop) -> None:
        if run.done == 0 < run.n:
            self._before = [_kept(variable) for variable in self.variables]
            self._states = [pipeline.state() for pipeline in self.pipelines]

    def due_in(self, done: int) -> int | None:
        """The first step is looked at before another is taken: that one would spread what is not finite."""
        return 1 if done == 0 else None

    def accept(self, run: Loop, step: Step) -> None:
        if step.number != 1:
            return
        if not np.isfinite(step.loss) or (step.newest and nonfinite.first_bad(self.params) is not None):
            cause = self.cause(step.loss)
            raise NonFiniteError(f"the first step fails, its loss is {step.loss}: {cause}", run.approx)
        bad = nonfinite.first_bad(self.statistics)  # once it is NaN it stays so, also where steps have been taken since
        if bad is not None:
            raise NonFiniteError(
                f"the first step makes {bad} infinite or NaN: its batch normalisation is of a single value, which has "
                "no variance: give minibatches of at least 2",
                run.approx,
            )
        self._before = None  # the memory is free again

    def cause(self, loss: float) -> str:
        """Say why the loss of the first step, or its gradient, is not finite, and take the step back.

        Parameters
        ----------
        loss : float

        Returns
        -------
        str
        """
        bad = nonfinite.first_bad(self.params)
        self._take_back()
        if np.isfinite(loss):
            return (
                f"the step makes {bad} infinite or NaN: its gradient is not finite, such as of the root or "
                "logarithm of 0, or the learning rate is far too large; the profile `debug` finds the Op"
            )
        bad = self._bad_terms()
        what = f"{', '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite; " if bad else ""
        return f"{what}the data or the model is the cause, not the learning rate; the profile `debug` finds the Op"

    def _bad_terms(self):
        """The names of the terms that are not finite in the step's minibatch and noise; if any are data, of these."""
        if not all(pipeline.restorable for pipeline in self.pipelines):
            return []  # an iterator does not yield the minibatch again
        for pipeline in self.pipelines:
            pipeline.advance()
        terms = self.terms()
        values = theano.function([], list(terms.values()), on_unused_input="ignore", no_default_updates=True)()
        self._take_back()
        bad = [name for name, value in zip(terms, values) if not np.isfinite(value).all()]
        return [name for name in bad if not name.startswith("log ")] or bad

    def _take_back(self):
        for variable, restored in zip(self.variables, self._before):
            variable.set_value(restored())
        for pipeline, state in zip(self.pipelines, self._states):
            if pipeline.restorable:
                pipeline.restore(state)


def _kept(variable):
    """A function that returns the value from now; of zeros, with which an optimizer begins, no copy is made."""
    value = variable.get_value(borrow=True)
    if isinstance(value, np.ndarray) and not value.any():
        return functools.partial(np.zeros, value.shape, value.dtype)
    copied = variable.get_value()
    return lambda: copied
