"""Training: PyMC3's `fit` on the fast path, a pure step function, which `fastvae.training.loop` then calls."""

import contextlib
import difflib
import inspect
import json
import os
import sys

import pymc3 as pm
import theano
from theano.gof.graph import ancestors

from fastvae import compilation, elbo, kinds, posteriors, profiles
from fastvae.checkpoint import Checkpoints, updated
from fastvae.checkpoint.description import describe
from fastvae.datasets.formats import reason
from fastvae.devices import threads
from fastvae.elbo.objective import Options
from fastvae.errors import ConfigurationError, FastvaeError
from fastvae.expressions import stream_seed
from fastvae.minibatch.pipelines import refuse_fixed_batch
from fastvae.minibatch.replacements import as_variables
from fastvae.profiles import memory
from fastvae.training import losses, nonfinite
from fastvae.training.best import Best
from fastvae.training.first_step import FirstStep
from fastvae.training.held_out import HeldOut
from fastvae.training.history import HISTORY
from fastvae.training.loop import Loop
from fastvae.training.progress import compiling

METHODS = ("advi", "fullrank_advi", "svgd", "asvgd", "nfvi")
FAST_METHODS = {"advi": pm.ADVI, "fullrank_advi": pm.FullRankADVI}
STEPS = 10_000


def _function_options(value):
    """Those that `fit` leaves to the caller, of a mode that theano knows."""
    known = inspect.signature(theano.function).parameters.keys() - {"inputs", "outputs", "updates"}
    if not isinstance(value, dict) or not value.keys() <= known:
        raise TypeError
    try:
        theano.compile.mode.get_mode(value.get("mode"))
    except Exception:  # theano's own class for an unknown name
        raise ValueError from None
    return value


def _configuration(value):
    if not isinstance(value, dict):
        raise TypeError
    json.dumps(value, default=repr)  # TypeError for a key that is no text, ValueError for a dict within itself
    return value


def _method(value):
    if isinstance(value, str) and value.lower().startswith("nfvi="):
        try:
            pm.variational.flows.Formula(value[len("nfvi=") :])
        except Exception:  # a KeyError of several lines, an IndexError
            raise ValueError from None
    named = isinstance(value, str) and (value.lower() in METHODS or value.lower().startswith("nfvi="))
    if not named and not isinstance(value, pm.variational.inference.Inference):
        raise ValueError
    return value


METHOD = f"one of {', '.join(METHODS)}, nfvi=FORMULA, or an Inference instance such as pm.ADVI()"
FUNCTION_OPTIONS = "a dict of further arguments of theano.function, such as dict(mode='FAST_COMPILE')"
LOCAL_RV = (
    "what the encoder says of the latent variables; give a dict {latent: dict(mu=mean, rho=rho)} or "
    "{latent: (mean, rho)}; dict(mu=mean, L_tril=rows) for a full covariance"
)


@kinds.checked(
    elbo.step_updates,
    n=kinds.optional(kinds.integer(0)),
    local_rv=kinds.optional(kinds.dictionary(LOCAL_RV)),
    method=kinds.Kind("method", METHOD, _method),
    model=kinds.optional(kinds.instance("model", "a pymc3.Model", pm.Model)),
    random_seed=kinds.optional(kinds.seed),
    start=kinds.optional(kinds.dictionary("a dict {name of a global variable: value}")),
    inf_kwargs=kinds.optional(kinds.dictionary("a dict of arguments of the inference")),
    epochs=kinds.optional(kinds.integer()),
    score=kinds.optional(kinds.boolean),
    callbacks=kinds.optional(kinds.sequence(kinds.function("a function"), "functions: callbacks=[...]")),
    progressbar=kinds.boolean,
    batch_size=kinds.optional(kinds.size),
    fn_kwargs=kinds.optional(kinds.Kind("dict", FUNCTION_OPTIONS, _function_options)),
    held_out=kinds.optional(kinds.dictionary("a dict {x: rows} for every x in more_replacements")),
    held_out_every=kinds.integer(),
    patience=kinds.optional(kinds.integer()),
    bad_steps=kinds.choice("stop", "skip"),
    fetch_every=kinds.optional(kinds.integer(1, 2**24)),
    history=kinds.optional(kinds.path),
    checkpoint=kinds.optional(kinds.path),
    checkpoint_every=kinds.integer(),
    resume=kinds.boolean,
    may_change=kinds.sequence(kinds.text, "names of arguments"),
    configuration=kinds.optional(kinds.Kind("dict", "a dict of JSON values", _configuration)),
)
@memory.explained
def fit(
    n=None,
    local_rv=None,
    method="advi",
    model=None,
    random_seed=None,
    start=None,
    inf_kwargs=None,
    *,
    epochs=None,
    score=None,
    callbacks=None,
    progressbar=True,
    batch_size=None,
    fn_kwargs=None,
    held_out=None,
    held_out_every=1_000,
    patience=None,
    bad_steps="stop",
    fetch_every=None,
    history=None,
    checkpoint=None,
    checkpoint_every=1_000,
    resume=False,
    may_change=(),
    configuration=None,
    **kwargs,
):
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
    progressbar : bool
        Whether to show progress on the standard error.
    batch_size : int, optional
        Ours: images in a minibatch, with which progress shows the ELBO per image in place of the loss.
    fn_kwargs : dict, optional
        Further arguments of `theano.function`.
    held_out : dict, optional
        `{x: rows}` for every `x` in `more_replacements`: rows (N, ...) on which to measure the ELBO during the fit, see
        `fastvae.training.held_out`.
    held_out_every : int
        Steps from one measurement to the next.
    patience : int, optional
        Ends the fit when so many measurements in a row were no better than the best before them, and gives the
        parameters back the values that they had at the best; a line says at which step that was. A fit that ends
        otherwise keeps its last parameters. By default never.
    bad_steps : {"stop", "skip"}
        What to do when a loss or a new parameter is not finite: end the fit with an error, or leave parameters and
        optimizer as they were, record NaN as the loss and go on (slower: every step is then checked).
    fetch_every : int, optional
        Steps from one fetch of the losses to the next, for which the host waits for the device: by default 1 on the
        CPU and 100 on a GPU. Earlier where something needs them: a held-out ELBO, a checkpoint, a second gone by; with
        callbacks after every step. A loss that is not finite ends the fit when it is fetched, and names its own step.
    history : path-like, optional
        A CSV file that gets every loss during the run; by default `history.csv` in the folder of the checkpoints.
    checkpoint : path-like, optional
        A folder for the last three checkpoints: before the first step, every `checkpoint_every` steps, and at the end.
    checkpoint_every : int
        Steps from one checkpoint to the next: what a killed run loses at most.
    resume : bool
        Whether to go on from the newest checkpoint in that folder (from step 1 if it has none). Give the arguments of
        the first run; the result is the same, bit for bit, as in one go on the same machine, profile and number of
        threads. The length of the run, callbacks, held-out rows, progress, files and intervals may be others; another
        value of any other argument, or a model that computes something else, is refused. What differs is said in one
        line. How arguments are compared, and what goes unnoticed: `fastvae.checkpoint.description`.
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
        `fastvae.elbo.objective` is about:

        objective : {"elbo", "iwae"}
            The bound on log p(x) that is maximised. "iwae" needs local variables, and a `total_size` on all that
            belongs to a datum; their log densities are summed over all axes but the first.
        kl : {"monte-carlo", "analytic"}
            "analytic" takes the KL of each Normal posterior (mean-field or `L_tril`) to a Normal prior in closed form;
            one line of the log names the variables that have none. The local ones have none in the IWAE bound.
        n_samples : int
            Draws of the posterior a step, by default 1; `obj_n_mc` is the same. They share the encoder.
        kl_weight : float, theano scalar or schedule of `fastvae.schedules`
            Factor of log q - log p(z), by default 1. With another the loss is no bound on log p(x).
        estimator : {"pathwise", "dreg"}
            "dreg" is the doubly reparameterised gradient of the IWAE bound by the encoder.
        fold : bool, optional
            Whether the samples share one batch of n_samples * B rows, or the model is copied for each. By default they
            do where the model provably works row by row (`fastvae.elbo.rowwise`); else a line of the log says why.

    Returns
    -------
    pymc3.Approximation
        With `.hist`, the losses in PyMC3's scale: nats per minibatch, one entry a step; `.held_out_hist`, float64
        (m, 2): step and ELBO per row (nats) of each measurement; and `.ended_by`: ``"steps"``, ``"patience"``,
        ``"callback"``, ``"SIGINT"`` (Ctrl-C) or ``"SIGTERM"``. After a signal it holds the steps taken until then.

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
    given = dict(locals())
    _check_together(n, epochs, held_out, patience)
    local_rv = posteriors.of_latents(local_rv)
    if not _is_fast(method):
        ours = dict(epochs=epochs, held_out=held_out, patience=patience, history=history, checkpoint=checkpoint)
        ours["fetch_every"] = fetch_every
        ours = [name for name, value in ours.items() if value is not None]
        _say_stock(method, ours + [option for option in Options._fields if option in kwargs])
        if fn_kwargs is not None:
            kwargs["fn_kwargs"] = fn_kwargs
        return pm.fit(
            STEPS if n is None else n,
            local_rv,
            method,
            model,
            None if random_seed is None else stream_seed(random_seed),
            start,
            inf_kwargs,
            score=score,
            callbacks=callbacks,
            progressbar=progressbar,
            **kwargs,
        )
    _drop_unused(kwargs)
    _check_further(kwargs)
    for latent, params in (local_rv or {}).items():
        for name, value in params.items():
            elbo.precision.check(f"fit: the {name} of {latent}", value)
    inference = _inference(method, local_rv, model, random_seed, start, inf_kwargs)
    replacements = kwargs["more_replacements"] = as_variables(kwargs.get("more_replacements"))
    if checkpoint is not None:
        configuration = {"arguments": arguments_of(given), **(configuration or {})}
    with _checkpoints(checkpoint, checkpoint_every, resume, configuration, may_change) as checkpoints:
        fetch_every = losses.interval(fetch_every, callbacks)
        if progressbar:
            pools = threads.describe()
            profile = profiles.active().name
            fetches = f"; the loss is fetched every {fetch_every} steps" if fetch_every > 1 else ""
            print(f"compiling the step (slow the first time); profile: {profile}; {pools}{fetches}", file=sys.stderr)
        with contextlib.ExitStack() as preparing:
            preparing.enter_context(compilation.preparing())
            preparing.enter_context(elbo.precision.explained(inference.approx.model))
            if progressbar:
                preparing.enter_context(compiling())
            loss, updates = elbo.step_updates(inference.objective, **kwargs)
            if bad_steps == "skip":
                loss, updates = nonfinite.skip_bad_steps(loss, updates)
            pipelines = _pipelines([loss, *replacements.values()])
            refuse_fixed_batch(pipelines, inference.approx.model)
            n = _number_of_steps(n, epochs, pipelines)
            if checkpoints is not None:
                _check_restorable(pipelines, checkpoint)
                checkpoints.check_length(n)
                checkpoints.describe_step(loss, updates)
                history = os.path.join(checkpoint, HISTORY) if history is None else history
            buffer = losses.LossBuffer(loss, fetch_every) if fetch_every > 1 else None
            if buffer is None:
                step = theano.function([], loss, updates=updates, **(fn_kwargs or {}))
            else:
                step = theano.function([], updates=[*updates.items(), *buffer.updates], **(fn_kwargs or {}))
            if held_out is not None:
                held_out = HeldOut(inference.objective, held_out, replacements, held_out_every, patience)
        trained = inference.approx.params + list(kwargs.get("more_obj_params") or [])
        best = None if patience is None else Best(trained, None if checkpoints is None else checkpoints.best)
        first = None if bad_steps == "skip" else FirstStep(updated(step), trained, pipelines, loss.tag.parts)
        if checkpoints is not None:
            checkpoints.bind(step, trained, pipelines)
        Loop(
            inference,
            step,
            n,
            trained,
            score=score is None or bool(score),
            callbacks=callbacks,
            batch_size=batch_size,
            pipelines=pipelines,
            skip=bad_steps == "skip",
            held_out=held_out,
            best=best,
            history=history,
            checkpoints=checkpoints,
            first=first,
            buffer=buffer,
        ).run(progressbar)
    return inference.approx


def _say_stock(method, refused):
    name = method if isinstance(method, str) else type(method).__name__
    if refused:
        raise ConfigurationError(
            f"fit: {', '.join(refused)} cannot be had with method={name!r}, which runs through stock pm.fit"
        )
    print(f"fastvae.fit: method {name!r} runs through stock pm.fit", file=sys.stderr)


def _pipelines(expressions):
    """The pipelines of the minibatches among the ancestors of the expressions, each once."""
    found = [getattr(variable.tag, "pipeline", None) for variable in ancestors(expressions)]
    return list({id(pipeline): pipeline for pipeline in found if pipeline is not None}.values())


def _number_of_steps(n, epochs, pipelines):
    if epochs is None:
        return STEPS if n is None else n
    lengths = {pipeline.batches_per_epoch for pipeline in pipelines}
    if len(lengths) != 1 or None in lengths:
        raise ConfigurationError(
            f"fit: epochs={epochs} needs minibatches that visit every row once an epoch, all of one length, not "
            f"{lengths or 'no fastvae.Minibatch'} batches an epoch; give n, the number of steps, or such minibatches"
        )
    return epochs * lengths.pop()


def arguments_of(given):
    """What a run was given, by name, with the defaults of what it was not: described, for a checkpoint.

    Parameters
    ----------
    given : dict
        The `locals()` of a function whose keyword arguments beyond its own, `kwargs` or `options`, are those of `fit`.

    Returns
    -------
    dict
        JSON values; what makes a checkpoint, and the object that a method belongs to, are left out.
    """
    given = dict(given)
    further = given.pop("kwargs", None) or given.pop("options", None) or {}
    parameters = [*inspect.signature(fit).parameters.values(), *_further_parameters().values()]
    defaults = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
    left_out = ("self", "checkpoint", "resume", "may_change", "configuration")
    everything = {**defaults, **given, **further}
    return {name: describe(value) for name, value in everything.items() if name not in left_out}


def _checkpoints(folder, every, resume, configuration, may_change):
    if folder is None:
        if resume:
            raise ConfigurationError("fit: resume=True needs checkpoint=FOLDER, the folder of the run to go on with")
        return contextlib.nullcontext()
    known = [*configuration["arguments"], "step"]
    for name in may_change:
        if name not in known:
            raise ConfigurationError(f"fit: may_change={may_change!r}: {name!r} is none of {', '.join(known)}")
    return Checkpoints(folder, every, resume, configuration, may_change)


def _check_restorable(pipelines, folder):
    lost = [pipeline for pipeline in pipelines if not pipeline.restorable]
    if lost:
        raise ConfigurationError(
            f"fit: checkpoint={str(folder)!r} cannot be had with a {lost[0]!r}, whose iterator cannot be read again: "
            "give a factory make(epoch, start) or a file in its place, or leave checkpoint out"
        )


def _is_fast(method):
    if isinstance(method, str):
        return method.lower() in FAST_METHODS
    return isinstance(method, tuple(FAST_METHODS.values()))


def _inference(method, local_rv, model, random_seed, start, inf_kwargs):
    options = dict(inf_kwargs or {})
    seed = None if random_seed is None else stream_seed(random_seed)
    for name, value in (("local_rv", local_rv), ("random_seed", seed), ("start", start)):
        if value is not None:
            options[name] = value
    if isinstance(method, str):
        if model is None and pm.Model.get_context(error_if_none=False) is None:
            raise ConfigurationError("fit: there is no model: call it inside `with pm.Model():`, or give model=")
        model = pm.modelcontext(model)
        unknown = [name for name in start or () if name not in model.named_vars]
        if unknown:
            raise ConfigurationError(
                f"fit: start={start!r}: {unknown[0]!r} is no variable of the model, which has "
                f"{', '.join(model.named_vars)}: give names of these"
            )
        try:
            inference = FAST_METHODS[method.lower()](model=model, **options)
        except FastvaeError:
            raise
        except Exception as error:  # PyMC3 raises a dozen classes at what it is given
            given = ", ".join(sorted(options)) or "nothing beside the model"
            raise ConfigurationError(
                f"fit: PyMC3 cannot set up {method} from {given}: {type(error).__name__}: {reason(error)}"
            ) from error
    elif set(options) <= {"random_seed"}:
        inference = method
    else:
        raise ConfigurationError(
            f"{', '.join(sorted(options))} cannot be given with an Inference instance, which has its own: give them to "
            f"{type(method).__name__}(...)"
        )
    if random_seed is not None:
        for i, group in enumerate(inference.approx.groups):
            group._rng = pm.tt_rng(stream_seed(random_seed + i))
    return inference


def _drop_unused(kwargs):
    """ADVI has no test function: accept its options as `pm.fit` does, and say that they are not used."""
    for name in ("tf_n_mc", "more_tf_params", "test_optimizer"):
        if kwargs.pop(name, None) is not None:
            print(f"fastvae.fit: {name} is not used, ADVI has no test function", file=sys.stderr)


def _check_further(kwargs):
    """What `fit` passes on must be arguments of the step."""
    known = _further_parameters()
    for name in kwargs:
        if name not in known:
            close = difflib.get_close_matches(name, [*known, *inspect.signature(fit).parameters], n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise TypeError(f"fit: {name!r} is no argument{hint}; beside those of its own it takes {', '.join(known)}")


def _further_parameters():
    """The parameters that `fit` passes on to the step, by name."""
    parameters = dict(inspect.signature(elbo.step_updates).parameters)
    del parameters["pm_objective"]
    return parameters


def _check_together(n, epochs, held_out, patience):
    if n is not None and epochs is not None:
        raise ConfigurationError(f"fit: n={n} and epochs={epochs} both say how long to train; give one of them")
    if patience is not None and held_out is None:
        raise ConfigurationError(
            f"fit: patience={patience} counts measurements of held-out rows, and there are none: give held_out too"
        )
