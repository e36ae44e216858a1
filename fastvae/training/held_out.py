"""The ELBO of images that are not trained on, of any model that `fit` takes.

It is PyMC3's objective in evaluation form (`fastvae.nn.for_evaluation`), one sample of each latent, with the minibatch
replaced by held-out rows. Each evaluation
draws the same noise, so that two of them differ by the parameters alone, and none changes the noise of the training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano
from theano.configparser import change_flags

from fastvae.checkpoint import updated
from fastvae.datasets.rows import ConvertedRows, as_rows
from fastvae.datasets.validation import as_batch, in_type
from fastvae.elbo.objective import Options, build
from fastvae.errors import ConfigurationError, DataError
from fastvae.nn import for_evaluation
from fastvae.parallel import ALONE, Ranks, streams

ONE_SAMPLE = Options("elbo", "monte-carlo", n_samples=1, kl_weight=1.0, estimator="pathwise", fold=None)


class HeldOutElbo:
    """The mean ELBO per row, in nats, of the whole minibatches that held-out rows make (a remainder is left out).

    Parameters
    ----------
    objective : pymc3.variational.opvi.ObjectiveFunction
        `inference.objective` of ADVI or FullRankADVI.
    data : dict
        `{x: rows}`, held-out rows (N, ...) for each variable that the training replaces by a minibatch: an array, or
        rows on disk, which are read anew each time. Rows of the minibatch's own type are scaled and binarised (once) as
        it does, others have to be of the variable's type.
    more_replacements : dict
        Those of the training, `{x: minibatch}`.
    ranks : fastvae.parallel.Ranks
        They take the minibatches in turn, each with noise of its own; all get the mean over all.

    Raises
    ------
    ConfigurationError
        If the two dicts do not name the same variables.
    DataError
        If the rows do not fit the variables, or are fewer than a minibatch.
    """

    def __init__(
        self,
        objective: Any,
        data: dict[Any, Any],
        more_replacements: dict[Any, Any] | None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        replaced = dict(more_replacements or {})
        if not isinstance(data, dict) or data.keys() != replaced.keys() or not data:
            raise ConfigurationError(
                f"held_out={_keys(data)} must be a dict of rows for the same variables as "
                f"more_replacements={_keys(replaced)}"
            )
        self.batch_size = _rows_of(next(iter(replaced.values())))
        self.rows = [_checked(x, rows, self.batch_size, replaced[x]) for x, rows in data.items()]
        lengths = {len(rows) for rows in self.rows}
        if len(lengths) > 1:
            raise DataError(f"held_out: the arrays hold {sorted(lengths)} rows; rows used together need one length")
        inputs = {x: x.type() for x in data}
        with change_flags(compute_test_value="off"):
            loss, _, updates = build(objective.op, ONE_SAMPLE, inputs)
            given = [shared for shared in updates if hasattr(shared, "default_update")]  # of the training
            self._loss = theano.function(list(inputs.values()), for_evaluation(loss), no_default_updates=given)
        self._streams = updated(self._loss)
        streams.spawn(self._streams, ranks.rank)

    def __call__(self) -> float:
        """The ELBO per row, a float in nats, with the parameters as they are."""
        before = [stream.get_value() for stream in self._streams]
        starts = range(0, len(self.rows[0]) - self.batch_size + 1, self.batch_size)
        mine = starts[self.ranks.rank :: self.ranks.size]
        losses = [self._loss(*(rows[start : start + self.batch_size] for rows in self.rows)) for start in mine]
        for stream, value in zip(self._streams, before):
            stream.set_value(value)
        losses = [loss for of_rank in self.ranks.everyone(losses) for loss in of_rank]
        return -float(np.mean(losses, dtype=np.float64)) / self.batch_size


def _rows_of(replacement):
    """Rows of a minibatch, or of whatever else replaces an input."""
    if isinstance(replacement, theano.compile.SharedVariable):
        return len(replacement.get_value(borrow=True))
    if hasattr(replacement.tag, "test_value"):
        return len(replacement.tag.test_value)
    return int(replacement.shape[0].eval())


def _keys(data):
    return "{" + ", ".join(map(str, data)) + "}" if isinstance(data, dict) else repr(type(data).__name__)


def _checked(x, rows, batch_size, replaced):
    """Held-out rows, an array or rows on disk, as the model takes them: what a minibatch does is done to them too."""
    source = f"held_out: the rows for {x}"
    values = getattr(replaced.tag, "values", None)
    row_shape = None if values is None else values.row_shape
    on_disk = as_rows(rows)
    rows = as_batch(rows, source) if on_disk is None else on_disk
    if rows.ndim != x.ndim or row_shape not in (None, rows.shape[1:]):
        wanted = f"{x.ndim} axes" if row_shape is None else f"(N, {', '.join(map(str, row_shape))})"
        raise DataError(f"{source} are {rows.dtype} {rows.shape}, not numbers of {wanted}: reshape them")
    if len(rows) < batch_size:
        raise DataError(f"held_out: {len(rows)} rows for {x} are fewer than a minibatch of {batch_size}: give more")
    if on_disk is None:
        return _as_in_step(x, rows, np.arange(len(rows)), source, values)
    return ConvertedRows(rows, lambda block, drawn: _as_in_step(x, block, drawn, rows.source, values), x.dtype)


def _as_in_step(x, rows, numbers, source, values):
    rows = as_batch(rows, source)
    if values is not None and rows.dtype == values.dtype:
        rows = values.once(rows, numbers, source)
    return in_type(rows, x.dtype, source)
