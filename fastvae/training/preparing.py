"""From an inference and the arguments of `fastvae.fit` to a compiled step, and what the loop needs beside it."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, NamedTuple

import theano
from theano.gof.graph import ancestors

from fastvae import backends, compilation, elbo, profiles
from fastvae.checkpoint import Checkpoints
from fastvae.checkpoint.description import graph_digest
from fastvae.checkpoint.run import made_by
from fastvae.devices import threads
from fastvae.errors import ConfigurationError
from fastvae.messages import say
from fastvae.minibatch.pipelines import refuse_fixed_batch, refuse_uneven
from fastvae.nn import dropout, running_statistics
from fastvae.parallel import ALONE, Ranks
from fastvae.run_options import RunOptions
from fastvae.training import losses, nonfinite
from fastvae.training.arguments import described
from fastvae.training.held_out import HeldOutElbo
from fastvae.training.progress import compiling


class Prepared(NamedTuple):
    """What a run consists of before its first step.

    Attributes
    ----------
    step : theano.compile.Function
        Returns the loss, or with a `buffer` leaves it there.
    n : int
        Steps in all.
    pipelines : list
        Of the minibatches.
    buffer : fastvae.training.losses.LossBuffer or None
    terms : callable
        Returns what the loss is made of, see `fastvae.elbo.step_updates`.
    held_out_elbo : callable or None
        Measures the held-out ELBO.
    statistics : list of theano.compile.SharedVariable
        Running means and variances of batch normalisations.
    """

    step: theano.compile.Function
    n: int
    pipelines: list
    buffer: losses.LossBuffer | None
    terms: Callable[[], dict]
    held_out_elbo: Callable[[], float] | None
    statistics: list


def prepare(
    inference: Any,
    options: RunOptions,
    kwargs: dict[str, Any],
    default_steps: int,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
) -> Prepared:
    """Build and compile the step of a run.

    Parameters
    ----------
    inference : pymc3.variational.inference.Inference
        ADVI or FullRankADVI.
    options : fastvae.run_options.RunOptions
    kwargs : dict
        The other arguments of `fit`, those of `fastvae.elbo.step_updates`.
    default_steps : int
        The number of steps where neither `n` nor `epochs` is given.
    checkpoints : fastvae.checkpoint.Checkpoints, optional
        Takes a digest of the step, and refuses to go on with another one.
    ranks : fastvae.parallel.Ranks
        Those that train together.

    Returns
    -------
    Prepared
    """
    # All ranks meet a loss that is not finite after the same step, though callbacks may be one's alone.
    fetch_every = min(ranks.everyone(losses.interval(options.fetch_every, options.callbacks)))
    replacements = kwargs["more_replacements"]
    said = options.progressbar and ranks.is_first
    with _said_and_explained(inference.approx.model, said, fetch_every):
        loss, updates = elbo.step_updates(inference.objective, **kwargs, ranks=ranks)
        if options.random_seed is not None:
            dropout.seed([loss], options.random_seed)
        terms, statistics = loss.tag.parts, running_statistics(loss)
        if options.bad_steps == "skip":
            loss, updates = nonfinite.skip_bad_steps(loss, updates)
        pipelines = _pipelines([loss, *replacements.values()])
        refuse_fixed_batch(pipelines, inference.approx.model)
        if ranks.size > 1:
            backends.prepare_ranks(ranks, profiles.active())
            refuse_uneven(pipelines)
            for pipeline in pipelines:
                pipeline.share(ranks.rank, ranks.size)
        n = _number_of_steps(options.n, options.epochs, pipelines, default_steps, ranks.size)
        if checkpoints is not None:
            _check_restorable(pipelines, options.checkpoint)
            checkpoints.check_length(n)
            checkpoints.describe_step(loss, updates)
        buffer = losses.LossBuffer(loss, fetch_every) if fetch_every > 1 else None
        fn_kwargs = options.fn_kwargs or {}
        held_out_elbo = None
        if ranks.size > 1:
            ranks.check_alike(_described(options, kwargs, loss, updates, n))
        with ranks.first_before_others():
            if buffer is None:
                step = theano.function([], loss, updates=updates, **fn_kwargs)
            else:
                step = theano.function([], updates=[*updates.items(), *buffer.updates], **fn_kwargs)
            if options.held_out is not None:
                held_out_elbo = HeldOutElbo(inference.objective, options.held_out, replacements, ranks)
    return Prepared(step, n, pipelines, buffer, terms, held_out_elbo, statistics)


@contextlib.contextmanager
def _said_and_explained(model, progressbar, fetch_every):
    """Say that the step is compiled, how far that is, and where float64 comes in if it fails for that."""
    with contextlib.ExitStack() as stack:
        if progressbar:
            fetches = f"; the loss is fetched every {fetch_every} steps" if fetch_every > 1 else ""
            say(
                f"compiling the step (slow the first time); profile: {profiles.active().name}; {threads.describe()}"
                f"{fetches}"
            )
        stack.enter_context(compilation.preparing())
        stack.enter_context(elbo.precision.explained(model))
        if progressbar:
            stack.enter_context(compiling())
        yield


def _pipelines(expressions):
    """The pipelines of the minibatches among the ancestors of the expressions, each once."""
    found = [getattr(variable.tag, "pipeline", None) for variable in ancestors(expressions)]
    return list({id(pipeline): pipeline for pipeline in found if pipeline is not None}.values())


def _described(options, kwargs, loss, updates, n):
    """What has to be the same on every rank, by name."""
    mine = ("progressbar", "callbacks", "parts", "history", "log_dir", "resume", "n", "epochs")
    arguments = described({**vars(options), "kwargs": kwargs}, {})
    shapes = {shared.name or str(shared): list(shared.get_value(borrow=True).shape) for shared in updates}
    versions = made_by()
    del versions["threads"]
    return {
        "n": n,
        **versions,
        **{name: value for name, value in arguments.items() if name not in mine},
        "shapes": shapes,
        "step": graph_digest([loss, *updates.values()], changing=updates),
    }


def _number_of_steps(n, epochs, pipelines, default, ranks):
    if epochs is None:
        return default if n is None else n
    lengths = {pipeline.batches_per_epoch and pipeline.batches_per_epoch // ranks for pipeline in pipelines}
    if 0 in lengths:
        raise ConfigurationError(
            f"fit: epochs={epochs}: an epoch has fewer minibatches than there are ranks, {ranks}: take fewer ranks or "
            "a smaller batch_size"
        )
    if len(lengths) != 1 or None in lengths:
        raise ConfigurationError(
            f"fit: epochs={epochs} needs minibatches that visit every row once an epoch, all of one length, not "
            f"{lengths or 'no fastvae.Minibatch'} batches an epoch; give n, the number of steps, or such minibatches"
        )
    return epochs * lengths.pop()


def _check_restorable(pipelines, folder):
    lost = [pipeline for pipeline in pipelines if not pipeline.restorable]
    if lost:
        raise ConfigurationError(
            f"fit: checkpoint={str(folder)!r} is not available with a {lost[0]!r}, whose iterator cannot be read "
            "again: give a factory make(epoch, start) or a file in its place, or leave checkpoint out"
        )
