"""The programs in stock PyMC3 and Theano that fastvae is compared with.

    python -m bench.stock PROBLEM.npz seed|user     a worker (see worker.py)

Runs in a process that never imports fastvae, with the least that stock needs to be imported at all. The seed models are
written out here from their description, so that they are an oracle too (`tests/stock_objective.py`).
"""

from __future__ import annotations

import importlib
import os
import sys

from bench.problem import load
from bench.steps import pm_step, users_step, with_given
from bench.worker import from_fastvae, serve


def repair_stack() -> None:
    """What stock needs to be imported on today's Python and numpy, and none of fastvae's other repairs."""
    gone = from_fastvae("stack/_gone")
    gone.before_theano()
    importlib.import_module("theano")
    gone.after_theano()
    import pymc3 as pm

    pm.Minibatch.make_static_slices = staticmethod(lambda size: (Ellipsis,))  # a list is no index for numpy >= 1.23


def compile_sooner() -> None:
    """Let theano's own C modules, the same ones, be compiled side by side and with precompiled headers."""
    compilation = from_fastvae("compilation")
    compilation.precompiled.install()
    compilation.compile_side_by_side(len(os.sched_getaffinity(0)))


def objective(kind, weights, images, n_latent, total_size, relu, maps=None, strides=None, padding=None):
    """Stock PyMC3's ELBO of a seed model.

    Parameters
    ----------
    kind : {"conv", "mlp"}
    weights : list of shared variables
        Weight and bias of every layer, encoder first; those of a transposed convolution are (in, out, rows, columns).
    images : numpy.ndarray
        Float32 (batch, channels, rows, columns): the shape of a minibatch and its test value.
    n_latent, total_size : int
    relu : callable
    maps : tuple of int, optional
        (filters, rows, columns) of the feature maps that the decoder of a "conv" model starts from.
    strides, padding : list of (int, int), optional
        Of the three convolutions; by default 1 and 0.

    Returns
    -------
    inference : pymc3.ADVI
    xs : symbolic minibatch
    """
    import pymc3 as pm
    import theano.tensor as tt
    from theano.tensor.nnet.abstract_conv import AbstractConv2d_gradInputs

    pairs = iter(zip(weights[0::2], weights[1::2]))
    steps = list(zip(strides or [(1, 1)] * 3, padding or [(0, 0)] * 3))

    def dense(x):
        w, b = next(pairs)
        return tt.dot(x, w) + b

    def conv(x, stride, pad):
        w, b = next(pairs)
        x = tt.nnet.conv2d(x, w, filter_flip=False, subsample=tuple(stride), border_mode=tuple(pad))
        return x + b.dimshuffle("x", 0, "x", "x")

    def conv_transpose(x, stride, pad):
        w, b = next(pairs)
        shape = tt.stack([(x.shape[2 + i] - 1) * stride[i] + w.shape[2 + i] - 2 * pad[i] for i in (0, 1)])
        adjoint = AbstractConv2d_gradInputs(filter_flip=False, subsample=tuple(stride), border_mode=tuple(pad))
        return adjoint(w, x, shape) + b.dimshuffle("x", 0, "x", "x")

    xs = tt.tensor4("xs")
    xs.tag.test_value = images
    h = xs
    if kind == "conv":
        for step in steps:
            h = relu(conv(h, *step))
    latent = dense(relu(dense(h.flatten(2))))
    mean, rho = latent[:, :n_latent], latent[:, n_latent:]
    with pm.Model():
        zs = pm.Normal("zs", 0, 1, shape=(len(images), n_latent), total_size=total_size)
        h = dense(relu(dense(zs)))
        if kind == "conv":
            h = relu(h).reshape((len(images), *maps))
            for i, step in enumerate(reversed(steps)):
                h = conv_transpose(h if i == 0 else relu(h), *step)
        x_mean = tt.nnet.sigmoid(h).reshape(images.shape)
        pm.Normal("xs_", mu=x_mean, sd=0.1, observed=xs, total_size=total_size)
        return pm.ADVI(local_rv={zs: dict(mu=mean, rho=rho)}), xs


def seed_step(problem, given):
    """Stock's step of a seed model."""
    import pymc3 as pm
    import theano
    import theano.tensor as tt

    weights = [theano.shared(weight) for weight in problem.weights]
    images, batch_size, config = problem.images, problem.batch_size, problem.config
    inference, xs = objective(
        problem.kind,
        weights,
        images[:batch_size],
        config["n_latent"],
        len(images),
        tt.nnet.relu,
        problem.maps,
        config.get("strides"),
        config.get("padding"),
    )
    options = dict(
        obj_optimizer=pm.adam(learning_rate=1e-4),
        more_obj_params=weights,
        more_replacements={xs: pm.Minibatch(images, batch_size)},
    )
    return pm_step(inference, **(with_given(inference, problem, **options) if given else options))


def main(path: str, program: str) -> None:
    repair_stack()
    compile_sooner()
    problem = load(path)

    def make_step(given):
        step = users_step(problem, given, pm_step) if program == "user" else seed_step(problem, given)
        assert "fastvae" not in sys.modules
        return step

    serve(make_step, len(problem.batches))


if __name__ == "__main__":
    main(*sys.argv[1:])
