"""A run that fails before it has learnt anything: whether the data, the model or its gradient is not finite.

A learning rate has no part in the loss of the first step. So that the step can be looked at again, the values from
before it are kept until its loss is known.
"""

import numpy as np
import theano

from fastvae.training import nonfinite


class FirstStep:
    """The state before the first step.

    Parameters
    ----------
    variables : list of theano.compile.SharedVariable
        What a step updates.
    params : list of theano.compile.SharedVariable
        What is trained.
    pipelines : list
        Of the minibatches.
    parts : callable
        Returns `{name: expression}` of what the loss is made of, data first; called only after a failure.
    """

    def __init__(self, variables, params, pipelines, parts):
        self.variables, self.params, self.pipelines, self.parts = variables, params, pipelines, parts
        self._before = None

    def remember(self):
        """Keep the values before the step."""
        self._before = [variable.get_value() for variable in self.variables]
        self._states = [pipeline.state() for pipeline in self.pipelines]

    def forget(self):
        """Free the memory that they take."""
        self._before = None

    def cause(self, loss):
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
                "logarithm of 0, or the learning rate is beyond all measure; the profile `debug` finds the Op"
            )
        bad = self._bad_parts()
        what = f"{', '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite; " if bad else ""
        return f"{what}the data or the model is the cause, not the learning rate; the profile `debug` finds the Op"

    def _bad_parts(self):
        """The names of the parts that are not finite in the step's minibatch and noise; if any are data, of these."""
        if not all(pipeline.restorable for pipeline in self.pipelines):
            return []  # an iterator does not yield the minibatch again
        for pipeline in self.pipelines:
            pipeline.advance()
        parts = self.parts()
        values = theano.function([], list(parts.values()), on_unused_input="ignore")()
        self._take_back()
        bad = [name for name, value in zip(parts, values) if not np.isfinite(value).all()]
        return [name for name in bad if not name.startswith("log ")] or bad

    def _take_back(self):
        for variable, value in zip(self.variables, self._before):
            variable.set_value(value)
        for pipeline, state in zip(self.pipelines, self._states):
            if pipeline.restorable:
                pipeline.restore(state)
