"""The ELBO: PyMC3 models of VAEs, and the updates of one gradient step on their objective.

For a minibatch of B out of N images the loss is by default PyMC3's own (`pymc3.variational.operators.KL`),

    loss = -(log p(x | z) + log p(z) - log q(z | x)),   z ~ q(z | x) = Normal(mean, softplus(rho)),

summed over the batch. PyMC3 scales every term by N / B (`total_size`) and divides the sum by the same factor, so
the loss counts nats per minibatch and the ELBO of one image is `-loss / B`. `fastvae.elbo.objective` has the others.

PyMC3 copies the encoder, once for log q and once for the sample of z. The copies are equal, but theano merges them
only after the gradient was taken, and the encoder's backward pass then runs twice; here they are merged before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from theano.configparser import change_flags

from fastvae import expressions, kinds
from fastvae.elbo import precision
from fastvae.elbo.objective import Options, build
from fastvae.errors import ConfigurationError
from fastvae.nn import running_statistics
from fastvae.optimizers import recognised
from fastvae.parallel import ALONE, Ranks

REPLACEMENTS = "a dict {variable of the model: what takes its place}"
OPTIMIZER = "a function (gradients, parameters) -> dict of updates, such as fastvae.adam(learning_rate=1e-3)"


def vae_model(vae: Any, batch_size: int, total_size: int) -> tuple[pm.Model, dict, tt.TensorVariable]:
    """The PyMC3 model of a VAE: a standard Normal prior, and the VAE's own likelihood and posterior.

    Parameters
    ----------
    vae : fastvae.VAE
        The network: `encode`, `decode_output`, `image_shape`, `n_latent`, `likelihood` and `posterior`.
    batch_size : int
        Images in a minibatch.
    total_size : int
        Images in the data set, N of the module's formula.

    Returns
    -------
    model : pymc3.Model
        With the latent `zs`, shape (batch_size, n_latent), and the observed `xs_`.
    local_rv : dict
        `{zs: dict(mu=mean, rho=rho)}`, or the parameters of another posterior, as `pm.fit` and `fastvae.fit` take it.
    xs : theano.tensor.TensorVariable
        The symbolic minibatch, float32 (batch_size, C, H, W), to be replaced by a `fastvae.Minibatch`.

    Examples
    --------
    >>> import fastvae
    >>> from fastvae.elbo import vae_model
    >>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
    >>> model, local_rv, xs = vae_model(vae, batch_size=2, total_size=10)
    >>> sorted(model.named_vars)
    ['xs_', 'zs']
    """
    xs = tt.tensor4("xs", dtype="float32")
    if theano.config.compute_test_value != "off":  # the profile `debug`
        xs.tag.test_value = np.zeros((batch_size, *vae.image_shape), dtype="float32")
    with _no_surrounding_model(), pm.Model() as model:
        shape = (batch_size, vae.n_latent)
        axes = (False, vae.n_latent == 1)  # a minibatch of one image is not to be taken for a row vector
        zs = pm.Normal("zs", mu=0, sigma=1, shape=shape, dtype="float32", total_size=total_size, broadcastable=axes)
        vae.likelihood.observe("xs_", xs, _float32("decode", vae.decode_output(zs), 4), total_size)
    mean, spread = (_float32("encode", part, 2) for part in vae.encode(xs))
    return model, {zs: vae.posterior.params(mean, spread)}, xs


def _float32(half, expression, ndim):
    if expression.dtype != "float32" or expression.ndim != ndim:
        raise ConfigurationError(
            f"{half} returns {expression.type}, not a float32 tensor of {ndim} axes: cast it by .astype('float32') or "
            "look for a float64 or integer constant in the network"
        )
    return expression


@contextlib.contextmanager
def _no_surrounding_model():
    """Inside `with pm.Model()` a new model would put its variables into that one."""
    contexts = pm.Model.get_contexts()
    surrounding, contexts[:] = contexts[:], []
    try:
        yield
    finally:
        contexts[:] = surrounding


@kinds.checked(
    pm_objective=kinds.anything,
    obj_n_mc=kinds.optional(kinds.size),
    obj_optimizer=kinds.function(OPTIMIZER),
    more_obj_params=kinds.optional(expressions.shared_list),
    more_updates=kinds.optional(expressions.updates),
    more_replacements=kinds.optional(kinds.dictionary(REPLACEMENTS)),
    total_grad_norm_constraint=kinds.optional(kinds.number(above=0, like=100.0)),
    objective=kinds.choice("elbo", "iwae"),
    kl=kinds.choice("monte-carlo", "analytic"),
    n_samples=kinds.optional(kinds.size),
    kl_weight=expressions.scalar(minimum=0),
    estimator=kinds.choice("pathwise", "dreg"),
    fold=kinds.optional(kinds.boolean),
    ranks=kinds.instance("ranks", "what fastvae.parallel.join returns", Ranks),
)
@change_flags(compute_test_value="off")
def step_updates(
    pm_objective: Any,
    obj_n_mc: int | None = None,
    obj_optimizer: Callable = pm.adagrad_window,
    more_obj_params: list | None = None,
    more_updates: dict | None = None,
    more_replacements: dict | None = None,
    total_grad_norm_constraint: float | None = None,
    *,
    objective: str = "elbo",
    kl: str = "monte-carlo",
    n_samples: int | None = None,
    kl_weight: float | theano.Variable = 1.0,
    estimator: str = "pathwise",
    fold: bool | None = None,
    ranks: Ranks = ALONE,
) -> tuple[tt.TensorVariable, dict]:
    """Loss and parameter updates of one step on a PyMC3 objective, its equal nodes merged before the gradient.

    Parameters
    ----------
    pm_objective : pymc3.variational.opvi.ObjectiveFunction
        `inference.objective` of ADVI or FullRankADVI.
    obj_n_mc, obj_optimizer, more_obj_params, more_updates, more_replacements, total_grad_norm_constraint
        As `pm.fit` takes them, but for `more_updates`, which may be in terms of the model's variables.
    objective, kl, n_samples, kl_weight, estimator, fold
        As `fastvae.fit` takes them.
    ranks : fastvae.parallel.Ranks
        Over which loss, gradients, and running means and variances are averaged, before the norm constraint.

    Returns
    -------
    loss : theano.tensor.TensorVariable
        Float32 scalar, in nats per minibatch. `loss.tag.parts()` returns the data and log densities that it is made
        of, by name: expressions, to say which of them is not finite.
    updates : dict
        New value of every trained parameter, every state variable of the optimizer, every running mean and variance of
        a batch normalisation, and of what `more_updates` and a `default_update` change in terms of the model's
        variables; minibatch and draws are in the place of these.

    Raises
    ------
    ConfigurationError
        If there is no parameter to train, if the loss does not depend on one, or if an option is out of its domain.
    """
    params = pm_objective.obj_params + list(more_obj_params or [])
    if not params:
        raise ConfigurationError(
            "there is nothing to train: all random variables are local and more_obj_params is empty; pass the "
            "networks' parameters, for example more_obj_params=fastvae.collect_params([mean, rho, x_mean])"
        )
    if n_samples is not None and obj_n_mc is not None:
        raise ConfigurationError(
            f"n_samples={n_samples!r} and obj_n_mc={obj_n_mc!r} are two names of one number: give one of them"
        )
    n_samples = next((number for number in (n_samples, obj_n_mc) if number is not None), 1)
    options = Options(objective, kl, n_samples, kl_weight, estimator, fold)
    loss, known_gradients, others = build(pm_objective.op, options, more_replacements, more_updates)
    precision.warn(loss)
    try:
        gradients = tt.grad(loss, params, known_grads=known_gradients)
    except theano.gradient.DisconnectedInputError as error:
        used = set(theano.gof.graph.inputs([loss]))
        idle = ", ".join(repr(param.name or str(param)) for param in params if param not in used)
        raise ConfigurationError(f"the loss does not depend on {idle}; leave it out of more_obj_params") from error
    loss, gradients, others = _averaged(ranks, loss, gradients, others)
    if total_grad_norm_constraint is not None:
        gradients = pm.total_norm_constraint(gradients, total_grad_norm_constraint)
    updates = recognised(obj_optimizer)(gradients, params)
    if not isinstance(updates, dict):
        raise ConfigurationError(
            f"obj_optimizer={kinds.shown(obj_optimizer)} returned {kinds.shown(updates)}, not updates; give {OPTIMIZER}"
        )
    updates.update(others)
    return loss, updates


def _averaged(ranks, loss, gradients, others):
    """Loss, gradients and new running statistics as means over the ranks; with one rank nothing is inserted."""
    if ranks.size == 1:
        return loss, gradients, others
    from fastvae.parallel.averaging import average

    statistics = [shared for shared in running_statistics(loss) if shared in others]
    mean, *means = average(ranks, [loss, *gradients, *(others[shared] for shared in statistics)])
    mean.tag.parts = loss.tag.parts
    means, of_statistics = means[: len(gradients)], means[len(gradients) :]
    return mean, means, {**others, **dict(zip(statistics, of_statistics))}
