"""Parts of a run, one a file, and the one place that decides their order.

    base            the protocol: `Part` and the `Step` that it sees
    first_step      why a first step fails
    finite          a loss or a parameter that is not finite ends the run
    held_out        the held-out ELBO
    best            the parameters of the best held-out ELBO
    history         the CSV file
    tensorboard     event files for TensorBoard
    progress        the line on the standard error
    callbacks       PyMC3's callbacks
    checkpoints     checkpoints
    patience        early stopping
    time_limit      a limit to the time that a training takes

`fastvae.fit` makes all but the last of its arguments; ``fit(..., parts=[...])`` adds others.
"""

from __future__ import annotations

import collections
from typing import Any, Callable, Sequence

from fastvae.checkpoint import Checkpoints as Folder
from fastvae.errors import ConfigurationError
from fastvae.parallel import ALONE, Ranks
from fastvae.run_options import RunOptions
from fastvae.training.parts.base import Part, Step
from fastvae.training.parts.best import Best
from fastvae.training.parts.callbacks import Callbacks
from fastvae.training.parts.checkpoints import Checkpoints
from fastvae.training.parts.finite import Finite
from fastvae.training.parts.first_step import FirstStep
from fastvae.training.parts.held_out import HeldOut
from fastvae.training.parts.history import History
from fastvae.training.parts.patience import Patience
from fastvae.training.parts.progress import Progress
from fastvae.training.parts.tensorboard import TensorBoard
from fastvae.training.parts.time_limit import TimeLimit

__all__ = ["Part", "Step", "TimeLimit", "assemble"]


def assemble(
    params: Sequence[Any],
    options: RunOptions,
    *,
    first_step: FirstStep | None = None,
    elbo: Callable[[], float] | None = None,
    checkpoints: Folder | None = None,
    statistics: Sequence[Any] = (),
    ranks: Ranks = ALONE,
) -> list[Part]:
    """The parts that arguments of `fit` stand for, in the order in which they follow a step.

    What is wrong with a step comes first. What is measured comes before what shows it, writes it or decides by it. A
    checkpoint comes after everything that has a state and after the callbacks, which may look for the one before.

    Parameters
    ----------
    params : list of theano.compile.SharedVariable
        What is trained.
    options : fastvae.run_options.RunOptions
    first_step : FirstStep, optional
        Not with ``bad_steps="skip"``, where a step that fails changes nothing.
    elbo : callable, optional
        Measures the held-out ELBO, in nats per row.
    checkpoints : fastvae.checkpoint.Checkpoints, optional
    statistics : list of theano.compile.SharedVariable
        Running means and variances, which belong to the parameters at which they were measured.
    ranks : fastvae.parallel.Ranks
        Those of the run. Only the first shows progress and writes the history.

    Returns
    -------
    list of Part

    Raises
    ------
    ConfigurationError
        If two parts that may have a state have one name.
    """
    finite, held_out = Finite(options.bad_steps == "skip", checkpoints), HeldOut(elbo, options.held_out_every)
    best = None if options.patience is None else Best([*params, *statistics])
    order = [
        first_step,
        finite,
        held_out,
        best,
        History(options.history, options.batch_size, held_out) if options.history and ranks.is_first else None,
        TensorBoard(options.log_dir, options.batch_size) if options.log_dir and ranks.is_first else None,
        Progress(options.batch_size) if options.progressbar and ranks.is_first else None,
        Callbacks(options.callbacks or ()),
        *(options.parts or ()),
        None if checkpoints is None else Checkpoints(checkpoints, finite),
        None if options.patience is None else Patience(options.patience, held_out, best),
    ]
    _check_names([held_out, best, *(options.parts or ())])
    return [part for part in order if part is not None]


def _check_names(with_state: Sequence[Part | None]) -> None:
    """Refuse two parts of one name among those that may have a state, which checkpoints keep under the name."""
    name, times = collections.Counter(part.name for part in with_state if part is not None).most_common(1)[0]
    if times > 1:
        raise ConfigurationError(f"fit: parts=[...]: {times} parts are named {name!r}: give each a `name` of its own")
