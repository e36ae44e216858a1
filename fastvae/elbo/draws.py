"""Draws of an approximation in a model's expressions: k copies of them, or one copy with the samples in its batch axis.

    Unrolled   one copy of the expression a sample; all copies use one draw expression, hence one encoder
    Folded     one copy, whose local variables and data have k * B rows, sample after sample

Both have the methods `sums`, `outside`, `per_datum`, `first` and `averages`. Neither is a `theano.scan`, which PyMC3
takes for more than one sample. Noise is not drawn here: `group.symbolic_initial` stays in the expressions, to be
replaced.

Examples
--------
>>> import pymc3 as pm
>>> with pm.Model():
...     mu = pm.Normal("mu", 0, 1)
...     approx = pm.MeanField()
>>> (mean_of_squares,) = Unrolled(approx, n_samples=3).sums([mu**2])
>>> approx.groups[0].symbolic_initial in theano.gof.graph.inputs([mean_of_squares])
True
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import pymc3 as pm
import theano
import theano.tensor as tt
from pymc3.data import Minibatch
from theano.compile import SharedVariable
from theano.gof.graph import ancestors
from theano.gof.graph import inputs as graph_inputs

from fastvae.elbo.rowwise import first_mixing, first_shared


class _Draws:
    """What both have in common.

    Attributes
    ----------
    states : dict
        The states of the random streams after all samples.
    """

    def __init__(self, approx: pm.Approximation, n_samples: int, global_draws: int, streams: Sequence = ()) -> None:
        self.approx, self.n_samples = approx, n_samples
        self._global_draws = global_draws
        self._states: list[dict] = [{}]  # before each sample, where they differ from those before the first
        for s in range(n_samples if streams else 0):
            new = self._copy([stream.default_update for stream in streams], s)
            self._states.append(dict(zip(streams, new)))
        self.states = self._states[-1]

    def outside(self, expressions: list) -> list[tt.TensorVariable]:
        """Sums of expressions in which no local variable occurs, averaged over the draws of the global ones."""
        return self._sums(expressions, self._global_draws)

    def _sums(self, expressions, n):
        copies = zip(*(_summed(self._copy(expressions, s)) for s in range(n)))
        return [_mean(copy) for copy in copies]

    def first(self, expressions: list) -> list[tt.TensorVariable]:
        """The expressions at the first draw of every random variable."""
        return self._copy(expressions, 0)

    def averages(self, expressions: list) -> list[theano.Variable]:
        """Expressions of any shape averaged over the samples; one that is not a float, or is the same for all, once."""
        varying = {*self.approx.replacements, *self.states}
        numbers = [
            1 if varying.isdisjoint(ancestors([e])) or "float" not in getattr(e, "dtype", "") else self.n_samples
            for e in expressions
        ]
        copies = list(zip(*(self._copy(expressions, s) for s in range(max(numbers, default=1)))))
        return [_mean(copy[:number]) for copy, number in zip(copies, numbers)]

    def _copy(self, expressions, s):
        places = [s if group.local or self._global_draws > 1 else 0 for group in self.approx.groups]
        draws = [values[place] for values, place in zip(self.approx.symbolic_randoms, places)]
        states = self._states[min(s, len(self._states) - 1)]
        return _replaced(self.approx, draws, expressions, states)


class Unrolled(_Draws):
    """One copy of every expression a sample.

    Parameters
    ----------
    approx : pymc3.Approximation
    n_samples : int
    one_global_draw : bool
        Whether all samples share one draw of the global variables.
    streams : sequence of theano shared variables
        The `random_streams` of the expressions, from which each sample draws its own numbers.
    """

    def __init__(
        self, approx: pm.Approximation, n_samples: int, one_global_draw: bool = False, streams: Sequence = ()
    ) -> None:
        super().__init__(approx, n_samples, 1 if one_global_draw else n_samples, streams)

    def sums(self, expressions: list) -> list[tt.TensorVariable]:
        """The sum of each expression, averaged over the samples: a list of scalars."""
        return self._sums(expressions, self.n_samples)

    def per_datum(self, expressions: list) -> list[tt.TensorVariable]:
        """Each expression (B, ...) summed over all axes but the first, for each sample: a list of (n_samples, B)."""
        copies = [self._copy(expressions, s) for s in range(self.n_samples)]
        return [tt.stack([_rows(copy) for copy in group]) for group in zip(*copies)]


class Folded(_Draws):
    """One copy of every expression, its local variables and `data` repeated to n_samples * B rows.

    Parameters
    ----------
    approx : pymc3.Approximation
        Without global variables, or with one draw of them for all samples.
    n_samples : int
    data : list of theano variables, (B, ...)
        What else has one row a datum in the expressions.
    """

    def __init__(self, approx: pm.Approximation, n_samples: int, data: list) -> None:
        super().__init__(approx, n_samples, 1)
        self._tiled = {variable: _tile(variable, n_samples) for variable in data}

    def sums(self, expressions: list) -> list[tt.TensorVariable]:
        """The sum of each expression, averaged over the samples: a list of scalars."""
        return [total / _float(self.n_samples) for total in _summed(self._copy_of_all(expressions))]

    def per_datum(self, expressions: list) -> list[tt.TensorVariable]:
        """Each expression (B, ...) summed over all axes but the first, for each sample: a list of (n_samples, B)."""
        return [_rows(copy).reshape((self.n_samples, -1)) for copy in self._copy_of_all(expressions)]

    def _copy_of_all(self, expressions):
        draws = []
        for group, v in zip(self.approx.groups, self.approx.symbolic_randoms):
            rows = v.reshape((-1, v.shape[2])) if group.local else v[0]
            draws.append(tt.patternbroadcast(rows, group.input.broadcastable))
        return _replaced(self.approx, draws, expressions, self._tiled)


def data_of(model: pm.Model, expressions: list, replacements: dict | None) -> list[theano.Variable]:
    """The variables of `expressions` that hold one row a datum: observations and minibatches.

    Parameters
    ----------
    model : pymc3.Model
    expressions : list of theano variables
    replacements : dict
        `more_replacements`: a key that a minibatch takes the place of counts as one.

    Returns
    -------
    list of theano variables
    """
    observed = [variable.owner.inputs[0] for variable in model.observed_RVs if getattr(variable, "owner", None)]
    stand_ins = [key for key, value in (replacements or {}).items() if _is_minibatch(value)]
    used = list(ancestors(expressions))
    return [v for v in used if v in observed or v in stand_ins or _is_minibatch(v)]


def random_streams(approx: pm.Approximation, expressions: list, data: list) -> list[SharedVariable]:
    """The states from which expressions draw random numbers, such as the masks of dropout.

    Those of minibatches and encoders are not among them: all samples share these.

    Parameters
    ----------
    approx : pymc3.Approximation
    expressions, data : list of theano variables
        `data` is `data_of` the expressions.
    """
    common = set(graph_inputs([*approx.symbolic_randoms, *data]))
    found = [v for v in graph_inputs(expressions) if getattr(v.tag, "is_rng", False) and hasattr(v, "default_update")]
    return [state for state in dict.fromkeys(found) if state not in common]


def obstacle(expressions: list, local_rvs: list, data: list) -> str | None:
    """Why the samples of `expressions` cannot be folded into the batch axis: the Op in the way, or None.

    Parameters
    ----------
    expressions : list of theano variables, each (B, ...)
    local_rvs, data : list of theano variables, each (B, ...)
        The local random variables and `data_of` the expressions.
    """
    rows = [*local_rvs, *data]
    return first_mixing(expressions, rows) or first_shared(expressions, rows)


def shared_by_samples(expressions: list, local_rvs: list, data: list) -> str | None:
    """An Op by which samples that are folded into the batch axis would affect each other, or None if none is known to.

    Parameters
    ----------
    expressions, local_rvs, data : list of theano variables
        As of `obstacle`.
    """
    return first_shared(expressions, [*local_rvs, *data])


def _replaced(approx, draws, expressions, others=()):
    values = theano.clone(list(approx.replacements.values()), dict(zip(approx.inputs, draws)))
    values = [tt.patternbroadcast(value, key.broadcastable) for key, value in zip(approx.replacements, values)]
    return theano.clone(expressions, {**dict(zip(approx.replacements, values)), **dict(others)})


def _is_minibatch(variable):
    marked = isinstance(variable, Minibatch) or hasattr(getattr(variable, "tag", None), "pipeline")
    return marked and not isinstance(variable, SharedVariable)


def _tile(variable, n):
    sizes = tuple(variable.shape)
    tiled = tt.alloc(variable, n, *sizes).reshape((n * sizes[0], *sizes[1:]))
    return tt.patternbroadcast(tiled, variable.broadcastable)


def _rows(expression):
    return expression.sum(axis=tuple(range(1, expression.ndim))) if expression.ndim > 1 else expression


def _summed(expressions):
    return [tt.sum(expression) for expression in expressions]


def _mean(copies):
    total = functools.reduce(operator.add, copies)
    return total if len(copies) == 1 else total / _float(len(copies))


def _float(number):
    return tt.constant(number, dtype="float32")
