"""`fastvae.fit`: PyMC3's `fit` on the fast path."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
from typing import Any, Callable, Collection, Sequence

import pymc3 as pm

from fastvae import backends, elbo, kinds, posteriors, profiles, run_options
from fastvae.checkpoint import Checkpoints, updated
from fastvae.elbo.objective import Options as Objective
from fastvae.errors import ConfigurationError
from fastvae.messages import say
from fastvae.minibatch.replacements import as_variables
from fastvae.parallel import ALONE, join, streams
from fastvae.profiles import memory
from fastvae.run_options import RunOptions
from fastvae.training import arguments, methods
from fastvae.training.history import HISTORY
from fastvae.training.loop import Loop
from fastvae.training.parts import Part, assemble, tensorboard
from fastvae.training.parts.first_step import FirstStep
from fastvae.training.preparing import prepare

STEPS = 10_000


@arguments.forwarding(arguments.further())
@kinds.checked(elbo.step_updates, **arguments.KINDS)
@memory.explained
def fit(
    n: int | None = RunOptions.n,
    local_rv: dict | None = RunOptions.local_rv,
    method: str | pm.variational.inference.Inference = RunOptions.method,
    model: pm.Model | None = RunOptions.model,
    random_seed: int | None = RunOptions.random_seed,
    start: dict[str, Any] | None = RunOptions.start,
    inf_kwargs: dict[str, Any] | None = RunOptions.inf_kwargs,
    *,
    epochs: int | None = RunOptions.epochs,
    score: bool | None = RunOptions.score,
    callbacks: Sequence[Callable] | None = RunOptions.callbacks,
    parts: Sequence[Part] | None = RunOptions.parts,
    progressbar: bool = RunOptions.progressbar,
    batch_size: int | None = RunOptions.batch_size,
    fn_kwargs: dict[str, Any] | None = RunOptions.fn_kwargs,
    held_out: dict | None = RunOptions.held_out,
    held_out_every: int = RunOptions.held_out_every,
    patience: int | None = RunOptions.patience,
    bad_steps: str = RunOptions.bad_steps,
    fetch_every: int | None = RunOptions.fetch_every,
    history: str | os.PathLike | None = RunOptions.history,
    log_dir: str | os.PathLike | None = RunOptions.log_dir,
    checkpoint: str | os.PathLike | None = RunOptions.checkpoint,
    checkpoint_every: int = RunOptions.checkpoint_every,
    resume: bool = RunOptions.resume,
    parallel: str | None = RunOptions.parallel,
    rank_timeout: float = RunOptions.rank_timeout,
    may_change: Collection[str] = RunOptions.may_change,
    configuration: dict[str, Any] | None = RunOptions.configuration,
    **kwargs: Any,
) -> pm.Approximation:
    """Fit a PyMC3 model as `pm.fit` does, on the fast path.

    Takes what `pm.fit` takes and returns what it returns. ADVI and full-rank ADVI, by name or as an
    `Inference`, with local variables (`local_rv`), global variables or both, run through fastvae; any other
    method runs through `pm.fit` and says so in one line.

    Parameters
    ----------
    n : int, optional
        Steps, those of a resumed run included; by default 10,000.
    local_rv : dict, optional
        `{latent: dict(mu=mean, rho=rho)}`, or `{latent: (mean, rho)}`: the encoder's outputs, float32
        (batch, n_latent), for each latent variable of an amortised posterior; its standard deviation is softplus(rho).
    method : {"advi", "fullrank_advi", ...} or pymc3.Inference
        As in `pm.fit`.
    model : pymc3.Model, optional
        By default the model of the context.
    random_seed : int, optional
        Seeds the noise of all variables, local ones included (`pm.fit` leaves those to the global stream). Minibatches
        and initial parameters have seeds of their own.
    start : dict, optional
        Starting point of the global variables.
    inf_kwargs : dict, optional
        Further arguments of the inference.
    epochs : int, optional
        In place of `n`: passes over the data of the minibatches, which must be drawn without replacement.
    score : bool, optional
        Whether to keep the loss; by default yes. Without it `.hist` stays empty and callbacks get None.
    callbacks : list of callable, optional
        Called as `callback(approx, losses so far, step number from 1)` after every step; StopIteration ends the fit.
    parts : list of fastvae.training.parts.Part, optional
        Further parts of the run: ``[TimeLimit(3600)]`` of `fastvae.training.parts`, or your own. They act around the
        steps and may have a state that checkpoints keep. Instances serve one fit.
    progressbar : bool
        Whether to show progress on the standard error.
    batch_size : int, optional
        Images in a minibatch (`pm.fit` has no such argument): progress then shows the ELBO per image, not the loss.
    fn_kwargs : dict, optional
        Further arguments of `theano.function`.
    held_out : dict, optional
        `{x: rows}` for every `x` in `more_replacements`: rows (N, ...) on which to measure the ELBO during the fit, see
        `fastvae.training.held_out`.
    held_out_every : int
        Steps from one measurement to the next.
    patience : int, optional
        Ends the fit when so many measurements in a row were no better than the best before them, and restores the
        parameters of the best; a line says at which step that was. A fit that ends for another reason keeps its last
        parameters. By default there is no such end.
    bad_steps : {"stop", "skip"}
        What to do when a loss or a new parameter is not finite: end the fit with an error, or leave parameters and
        optimizer as they were, record NaN as the loss and go on (slower: every step is then checked).
    fetch_every : int, optional
        Steps from one fetch of the losses to the next; each fetch makes the host wait for the device. By default 1 on
        the CPU and 100 on a GPU. Losses are fetched earlier for a held-out ELBO or a checkpoint, after a second, and
        with callbacks after every step. A loss that is not finite ends the fit when it is fetched; the error names the
        step that it belongs to.
    history : path-like, optional
        A CSV file that gets every loss during the run; by default `history.csv` in the folder of the checkpoints.
    log_dir : path-like, optional
        A folder for event files, which TensorBoard shows (`pip install 'fastvae[tensorboard]'`): the loss of every
        step, as ELBO per image where `batch_size` is known, and the held-out ELBO.
    checkpoint : path-like, optional
        A folder for the last three checkpoints: before the first step, every `checkpoint_every` steps, and at the end.
    checkpoint_every : int
        Steps from one checkpoint to the next: what a killed run loses at most.
    resume : bool
        Whether to go on from the newest checkpoint in that folder (from step 1 if it has none). Give the arguments of
        the first run; the result is the same, bit for bit, as in one go on the same machine, profile and number of
        threads. The length of the run, callbacks, parts, held-out rows, progress, files and intervals may be others;
        another value of any other argument, or a model that computes something else, is refused. What differs is said
        in one line. How arguments are compared, and what goes unnoticed: `fastvae.checkpoint.description`.
    parallel : {"auto", "mpi", None}
        Whether the ranks that a launcher started (`mpiexec -n 4 python script.py`) train together: each takes
        `batch_size` rows a step, its own share of the data and its own noise, and loss and gradients are averaged over
        them, so that a step is one of all their rows. The learning rate is not changed. "auto" does so where a launcher
        announces several ranks, None never. Only the first rank shows progress and writes history and checkpoints; all
        return the same parameters. Batch normalisations take the statistics of each rank's rows, so a model with them
        trains as with minibatches of that size; their running means and variances are averaged. A run resumed on as
        many ranks is the same bit for bit; on another number it goes on with new random streams.
    rank_timeout : float
        Seconds after which a rank that the others wait for is named, and all are ended.
    may_change : collection of str, optional
        Names of arguments that a resumed run takes with another value all the same, such as ``["learning_rate"]``;
        ``"step"`` stands for what the model computes.
    configuration : dict, optional
        JSON values that describe the run, kept in its checkpoints. Another `model` is refused when it is resumed;
        `arguments` takes the place of those of this call.
    **kwargs
        `obj_optimizer` (PyMC3's `pm.adam` and `pm.adagrad_window` become those of `fastvae.optimizers`),
        `more_obj_params`, `more_updates`, `more_replacements` (arrays and lists too) and `total_grad_norm_constraint`
        (the largest 2-norm of the whole gradient, to which it is scaled down) of `pm.fit`, and what
        `fastvae.elbo.objective` is about. New values in `more_updates`, and those of a shared variable's
        `default_update`, may be in terms of the model's inputs and latents: minibatch and draw take their places (where
        `pm.fit` finds no value for them), averaged over the draws. The running means and variances of batch
        normalisations that are shared variables are updated without being named (see `fastvae.nn.BatchNorm`).

        objective : {"elbo", "iwae"}
            The bound on log p(x) that is maximised. "iwae" needs local variables, and a `total_size` on all that
            belongs to a datum; their log densities are summed over all axes but the first.
        kl : {"monte-carlo", "analytic"}
            "analytic" takes the KL of each Normal posterior (mean-field or `L_tril`) to a Normal prior in closed form;
            one line of the log names the variables that have none. The local ones have none in the IWAE bound.
        n_samples : int
            Draws of the posterior a step, by default 1; `obj_n_mc` is the same. They share the encoder. In the decoder
            each has its own dropout masks, and in batch normalisations its own statistics, of which the running ones
            take the average.
        kl_weight : float, theano scalar or schedule of `fastvae.schedules`
            Factor of log q - log p(z), by default 1. With another the loss is no bound on log p(x).
        estimator : {"pathwise", "dreg"}
            "dreg" is the doubly reparameterised gradient of the IWAE bound with respect to the encoder's parameters.
        fold : bool, optional
            Whether the samples share one batch of n_samples * B rows, or the model is copied for each. By default they
            do where the model provably works row by row (`fastvae.elbo.rowwise`); else a line of the log says why. True
            is refused where they would share batch statistics or a random mask.

    Returns
    -------
    pymc3.Approximation
        With `.hist`, the losses in PyMC3's scale: nats per minibatch, one entry a step; `.held_out_hist`, float64
        (m, 2): step and ELBO per row (nats) of each measurement; and `.ended_by`: ``"steps"``, ``"patience"``,
        ``"callback"``, ``"SIGINT"`` (Ctrl-C), ``"SIGTERM"``, or the word of a part that ended it. After a signal it
        holds the steps taken until then.

    Raises
    ------
    NonFiniteError
        If the loss or a parameter stops being finite. Its message names the step, the first bad parameter and the last
        checkpoint, which is always of a finite state; its `approx` is the approximation with the history until then.
    ConfigurationError
        If there is nothing to train, an argument is out of its domain, another run writes to the folder of checkpoints
        or the history, or a run is to be resumed with other arguments.
    DataError
        If data are not what the model takes, a checkpoint cannot be written (older ones stay), or none in the folder
        can be used.

    Notes
    -----
    Not for models without minibatches where NUTS is affordable: `pm.sample` is exact where this is an approximation.

    Examples
    --------
    >>> import fastvae, numpy as np, pymc3 as pm
    >>> with pm.Model():
    ...     mu = pm.Normal("mu", 0, 10)
    ...     x = pm.Normal("x", mu, 1, observed=np.full(50, 3.0, dtype="float32"))
    ...     approx = fastvae.fit(200, random_seed=1, progressbar=False, obj_optimizer=fastvae.adam(learning_rate=0.1))
    >>> len(approx.hist), approx.ended_by
    (200, 'steps')
    """
    given = locals()
    options = RunOptions(**{name: given[name] for name in run_options.NAMES})
    arguments.check_together(n, epochs, held_out, patience)
    ranks = join(parallel)
    with ranks.together():
        if log_dir is not None and ranks.is_first:
            tensorboard.modules(log_dir)  # what is missing is better known before anything is compiled
        if not methods.is_fast(method):
            _refuse_ranks(method, ranks)
            return _fit_stock(options, kwargs)
        inference = _inference(options, kwargs)
        with _checkpoints(options, kwargs, ranks) as checkpoints:
            prepared = prepare(inference, options, kwargs, STEPS, checkpoints, ranks)
            _loop(inference, prepared, options, kwargs, checkpoints, ranks).run()
    return inference.approx


def _refuse_ranks(method, ranks):
    if ranks.size > 1:
        raise ConfigurationError(
            f"fit: method={kinds.shown(method)} runs through stock pm.fit, which would train alone on each of the "
            f"{ranks.size} ranks: choose method='advi' or 'fullrank_advi', or parallel=None"
        )


def arguments_of(given: dict[str, Any]) -> dict[str, Any]:
    """What a run was given, by name, with the defaults of what it was not: described, for a checkpoint.

    Parameters
    ----------
    given : dict
        The `locals()` of a function whose further keyword arguments, `kwargs`, are those of `fit`.

    Returns
    -------
    dict
        JSON values; what makes a checkpoint, and the object that a method belongs to, are left out.
    """
    return arguments.described(given, dict(inspect.signature(fit).parameters))


def _fit_stock(options, kwargs):
    kwargs = dict(kwargs)
    if options.fn_kwargs is not None:
        kwargs["fn_kwargs"] = options.fn_kwargs
    return methods.fit_stock(
        STEPS if options.n is None else options.n,
        posteriors.of_latents(options.local_rv),
        options.method,
        options.model,
        options.random_seed,
        options.start,
        options.inf_kwargs,
        refused=options.given_of_its_own() + [option for option in Objective._fields if option in kwargs],
        score=options.score,
        callbacks=options.callbacks,
        progressbar=options.progressbar,
        **kwargs,
    )


def _inference(options, kwargs):
    """The inference that is trained, after a check of what `fit` passes on to its step."""
    local_rv = posteriors.of_latents(options.local_rv)
    methods.drop_unused(kwargs)
    arguments.check_names("fit", kwargs, arguments.further(), inspect.signature(fit).parameters)
    for latent, params in (local_rv or {}).items():
        _check_family(latent, params)
        for name, value in params.items():
            elbo.precision.check(f"fit: the {name} of {latent}", value)
    kwargs["more_replacements"] = as_variables(kwargs.get("more_replacements"))
    return methods.make_inference(
        options.method, local_rv, options.model, options.random_seed, options.start, options.inf_kwargs
    )


def _check_family(latent, params):
    """Refuse parameters of which PyMC3 knows no posterior."""
    try:
        pm.Group.group_for_params(params)
    except KeyError:
        families = [f"dict({', '.join(f'{name}=...' for name in f.parameters)})" for f in posteriors.FAMILIES.values()]
        raise ConfigurationError(
            f"fit: local_rv: the parameters of {latent}, {', '.join(map(repr, params)) or 'none'}, are those of no "
            f"posterior: give {' or '.join(families)}"
        ) from None


def _checkpoints(options, kwargs, ranks):
    if options.checkpoint is None:
        if options.resume:
            raise ConfigurationError("fit: resume=True needs checkpoint=FOLDER, the folder of the run to go on with")
        return contextlib.nullcontext()
    configuration = {"arguments": arguments_of({**vars(options), "kwargs": kwargs}), **(options.configuration or {})}
    known = list(dict.fromkeys([*configuration["arguments"], *run_options.MAY_CHANGE, "step"]))
    for name in options.may_change:
        if name not in known:
            raise ConfigurationError(f"fit: may_change={options.may_change!r}: {name!r} is none of {', '.join(known)}")
    every, resume, may_change = options.checkpoint_every, options.resume, options.may_change
    return Checkpoints(options.checkpoint, every, resume, configuration, may_change, ranks)


def _loop(inference, prepared, options, kwargs, checkpoints, ranks=ALONE):
    """The loop of a run, with its parts; what a resumed run had is restored."""
    trained = inference.approx.params + list(kwargs.get("more_obj_params") or [])
    first_step = None
    if options.bad_steps == "stop":
        first_step = FirstStep(updated(prepared.step), trained, prepared.pipelines, prepared.terms, prepared.statistics)
    if options.history is None and checkpoints is not None:
        options = dataclasses.replace(options, history=os.path.join(options.checkpoint, HISTORY))
    parts = assemble(
        trained,
        options,
        first_step=first_step,
        elbo=prepared.held_out_elbo,
        checkpoints=checkpoints,
        statistics=prepared.statistics,
        ranks=ranks,
    )
    if checkpoints is not None:
        checkpoints.bind(prepared.step, trained, prepared.pipelines)
        checkpoints.bind_parts(parts)
    if ranks.size > 1:
        _begin_on(ranks, prepared, trained, options.batch_size, checkpoints)
    return Loop(
        inference,
        backends.stepping(prepared.step, profiles.active(), ranks),
        prepared.n,
        trained,
        parts,
        score=options.score is None or options.score,
        pipelines=prepared.pipelines,
        buffer=prepared.buffer,
        past=() if checkpoints is None else checkpoints.losses,
        ranks=ranks,
        rank_timeout=options.rank_timeout,
    )


def _begin_on(ranks, prepared, trained, batch_size, checkpoints):
    """Give every rank the first one's values and streams of its own, unless a checkpoint had these."""
    sizes = [batch_size, *(pipeline.batch_size for pipeline in prepared.pipelines)]
    rows = next((size for size in sizes if size is not None), None)
    if ranks.is_first:
        of = "" if rows is None else f" x {rows} images = {ranks.size * rows} a step"
        say(f"fastvae: {ranks.size} ranks{of}; learning rate as given")
    if checkpoints is not None and checkpoints.restored_streams:
        return
    variables = list(dict.fromkeys([*updated(prepared.step), *trained]))
    for variable in variables:
        variable.set_value(ranks.from_first(variable.get_value()))
    streams.spawn(variables, ranks.rank)
    for pipeline in prepared.pipelines:
        pipeline.begin(ranks)
