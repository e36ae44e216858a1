"""Training: PyMC3's `fit` on the fast path, a pure step function and a thin loop around it."""
import contextlib
import sys

import numpy as np
import pymc3 as pm
import theano
from pymc3.variational.inference import State

from fastvae import elbo, profiles
from fastvae.devices import threads
from fastvae.errors import ConfigurationError, NonFiniteError
from fastvae.interrupts import after_the_step
from fastvae.objective import Options
from fastvae.progress import Progress

METHODS = ("advi", "fullrank_advi", "svgd", "asvgd", "nfvi")
FAST_METHODS = {"advi": pm.ADVI, "fullrank_advi": pm.FullRankADVI}


def fit(
    n=10_000,
    local_rv=None,
    method="advi",
    model=None,
    random_seed=None,
    start=None,
    inf_kwargs=None,
    *,
    score=None,
    callbacks=None,
    progressbar=True,
    batch_size=None,
    fn_kwargs=None,
    **kwargs,
):
    """Fit a PyMC3 model as `pm.fit` does, on the fast path.

    Takes what `pm.fit` takes and returns what it returns. ADVI and full-rank ADVI, by name or as an
    `Inference`, with local variables (`local_rv`), global variables or both, run through fastvae; any other
    method runs through `pm.fit` and says so in one line.

    Parameters
    ----------
    n : int
        Steps.
    local_rv : dict, optional
        `{latent: dict(mu=mean, rho=rho)}`: the encoder's outputs, float32 (batch, n_latent), for each latent
        variable of an amortised posterior; its standard deviation is softplus(rho).
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
    score : bool, optional
        Whether to compute the loss; by default yes. Without it `.hist` stays empty.
    callbacks : list of callable, optional
        Called as `callback(approx, losses so far, step number from 1)` after every step; StopIteration ends the fit.
    progressbar : bool
        Whether to show progress on the standard error.
    batch_size : int, optional
        Ours: images in a minibatch, with which progress shows the ELBO per image in place of the loss.
    fn_kwargs : dict, optional
        Further arguments of `theano.function`.
    **kwargs
        `obj_optimizer`, `more_obj_params`, `more_updates`, `more_replacements` and `total_grad_norm_constraint` of
        `pm.fit`, and what `fastvae.objective` is about:

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
            "dreg" is the doubly reparameterised gradient of the IWAE bound by the encoder, for `dict(mu=, rho=)`.
        fold : bool, optional
            Whether the samples share one batch of n_samples * B rows, or the model is copied for each. By default they
            do where the model provably works row by row (`fastvae.rowwise`); a line of the log says why it does not.

    Returns
    -------
    pymc3.Approximation
        With `.hist`, the losses in PyMC3's scale: nats per minibatch, one entry a step. After Ctrl-C it holds
        the steps taken until then.

    Raises
    ------
    NonFiniteError
        If the loss, or without a score a parameter, stops being finite. Its message names the step and the first bad
        parameter, its `approx` is the approximation with the history until then.
    ConfigurationError
        If there is nothing to train or an argument is out of its domain.

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
    >>> len(approx.hist)
    200
    """
    _check_arguments(n, method, callbacks)
    if not _is_fast(method):
        name = method if isinstance(method, str) else type(method).__name__
        refused = [option for option in Options._fields if option in kwargs]
        if refused:
            raise ConfigurationError(
                f"fit: {', '.join(refused)} cannot be had with method={name!r}, which runs through stock pm.fit: leave "
                "them out, or take method='advi'"
            )
        print(f"fastvae.fit: method {name!r} runs through stock pm.fit", file=sys.stderr)
        if fn_kwargs is not None:
            kwargs["fn_kwargs"] = fn_kwargs
        return pm.fit(
            n, local_rv, method, model, random_seed, start, inf_kwargs,
            score=score, callbacks=callbacks, progressbar=progressbar, **kwargs,
        )
    inference = _inference(method, local_rv, model, random_seed, start, inf_kwargs)
    _drop_unused(kwargs)
    score = score is None or bool(score)
    if progressbar:
        pools = threads.describe()
        profile = profiles.active().name
        print(f"compiling the step (slow the first time); profile: {profile}; {pools}", file=sys.stderr)
    loss, updates = elbo.step_updates(inference.objective, **kwargs)
    step = theano.function([], loss if score else None, updates=updates, **(fn_kwargs or {}))
    trained = inference.approx.params + list(kwargs.get("more_obj_params") or [])
    run(inference, step, n, trained, score=score, callbacks=callbacks, progressbar=progressbar, batch_size=batch_size)
    return inference.approx


def run(inference, step, n, params, score=True, callbacks=None, progressbar=True, batch_size=None):
    """Call a step function n times and keep the losses: the loop under `fit`.

    Parameters
    ----------
    inference : pymc3.variational.inference.Inference
        Gets `.hist` (and its approximation too) and `.state`, so that `inference.refine` goes on from here.
    step : callable
        Takes one training step and returns the loss, float32, or None without a score.
    n : int
        Steps.
    params : list of theano.compile.SharedVariable
        What is trained, to name the first that is not finite.
    score, callbacks, progressbar, batch_size
        As in `fit`.
    """
    approx = inference.approx
    callbacks = list(callbacks or [])
    losses = np.empty(n if score else 0)
    before = inference.hist
    done = 0
    try:
        with after_the_step() as interrupted, _progress(progressbar, n, batch_size) as progress:
            while done < n and not interrupted():
                loss = _take(step, done + 1, approx)
                if score:
                    losses[done] = loss
                    if not np.isfinite(losses[done]):
                        raise NonFiniteError(_culprit(f"the loss became {losses[done]}", done + 1, params), approx)
                done += 1
                seen = losses[:done]
                if progress is not None:
                    progress.update(done, seen)
                for callback in callbacks:
                    callback(approx, seen if score else None, done)
    except (KeyboardInterrupt, StopIteration):
        pass  # as in pm.fit: the fit ends here, and what was trained is returned
    finally:
        inference.hist = approx.hist = np.concatenate([before, losses[:done]])
        inference.state = State(done - 1, step=step, callbacks=callbacks, score=score)
    if not score and _first_bad(params) is not None:
        raise NonFiniteError(_culprit("a parameter stopped being finite", done, params), approx)


def _take(step, number, approx):
    """One step; under the profile `debug` a NaN, infinity or huge value in any Op ends it."""
    try:
        return step()
    except AssertionError as error:
        if theano.config.mode != "NanGuardMode":
            raise
        raise NonFiniteError(f"NanGuardMode stopped step {number}: {' '.join(str(error).split())}", approx) from error


def _is_fast(method):
    if isinstance(method, str):
        return method.lower() in FAST_METHODS
    return isinstance(method, tuple(FAST_METHODS.values()))


def _inference(method, local_rv, model, random_seed, start, inf_kwargs):
    options = dict(inf_kwargs or {})
    for name, value in (("local_rv", local_rv), ("random_seed", random_seed), ("start", start)):
        if value is not None:
            options[name] = value
    if isinstance(method, str):
        inference = FAST_METHODS[method.lower()](model=pm.modelcontext(model), **options)
    elif set(options) <= {"random_seed"}:
        inference = method
    else:
        raise ConfigurationError(
            f"{', '.join(sorted(options))} cannot be given with an Inference instance, which has its own: give them to "
            f"{type(method).__name__}(...)"
        )
    if random_seed is not None:
        for i, group in enumerate(inference.approx.groups):
            group._rng = pm.tt_rng(random_seed + i)
    return inference


def _drop_unused(kwargs):
    """ADVI has no test function: accept its options as `pm.fit` does, and say that they are not used."""
    for name in ("tf_n_mc", "more_tf_params", "test_optimizer"):
        if kwargs.pop(name, None) is not None:
            print(f"fastvae.fit: {name} is not used, ADVI has no test function", file=sys.stderr)


def _progress(progressbar, n, batch_size):
    return Progress(n, batch_size) if progressbar else contextlib.nullcontext()


def _check_arguments(n, method, callbacks):
    if callbacks is not None and not isinstance(callbacks, (list, tuple)):
        raise ConfigurationError(f"callbacks={callbacks!r} is not a list of callables; write callbacks=[...]")
    known = isinstance(method, pm.variational.inference.Inference) or (
        isinstance(method, str) and (method.lower() in METHODS or method.lower().startswith("nfvi="))
    )
    if not known:
        raise ConfigurationError(
            f"method={method!r} is unknown; give one of {', '.join(METHODS)}, nfvi=FORMULA, or an Inference instance "
            "such as pm.ADVI()"
        )
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 0:
        raise ConfigurationError(f"n={n!r} is not a number of steps; give an integer of at least 0")


def _first_bad(params):
    """The name of the first parameter that is not finite (its place and shape if it has none), or None."""
    for i, param in enumerate(params):
        value = param.get_value(borrow=True)
        if not np.isfinite(value).all():
            return repr(param.name) if param.name else f"parameter {i} of shape {np.shape(value)}"
    return None


def _culprit(what, step, params):
    bad = _first_bad(params)
    where = "all parameters are still finite" if bad is None else f"the first that is not finite is {bad}"
    return f"{what} at step {step}; {where}; try a smaller learning rate, or the profile `debug` to find the Op"
