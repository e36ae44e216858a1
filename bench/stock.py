"""The seed models in stock PyMC3 and Theano: the program that fastvae is compared with.

    python bench/stock.py conv|mlp BATCH      a worker for bench/measure.py

Runs in a process that never imports fastvae, with the least that stock needs to be imported at all. The networks are
written out here from their description, so that they are an oracle too (`tests/stock_objective.py`).
"""
import importlib
import inspect
import sys
import time

import numpy as np


def repair_stack():
    """What stock needs to be imported on today's numpy, scipy and Python (not fastvae's repairs)."""
    if not hasattr(np, "asscalar"):
        np.asscalar = np.ndarray.item
    if not hasattr(inspect, "getargspec"):
        inspect.getargspec = lambda function: inspect.getfullargspec(function)[:4]
    for name in ("signaltools", "sigtools"):
        try:
            sys.modules[f"scipy.signal.{name}"] = importlib.import_module(f"scipy.signal._{name}")
        except ModuleNotFoundError:
            pass


def objective(kind, weights, images, n_latent, total_size, relu, maps=None):
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

    Returns
    -------
    inference : pymc3.ADVI
    xs : symbolic minibatch
    """
    import pymc3 as pm
    import theano.tensor as tt
    from theano.tensor.nnet.abstract_conv import AbstractConv2d_gradInputs

    pairs = iter(zip(weights[0::2], weights[1::2]))

    def dense(x):
        w, b = next(pairs)
        return tt.dot(x, w) + b

    def conv(x):
        w, b = next(pairs)
        return tt.nnet.conv2d(x, w, filter_flip=False) + b.dimshuffle("x", 0, "x", "x")

    def conv_transpose(x):
        w, b = next(pairs)
        shape = tt.stack([x.shape[2] + w.shape[2] - 1, x.shape[3] + w.shape[3] - 1])
        return AbstractConv2d_gradInputs(filter_flip=False)(w, x, shape) + b.dimshuffle("x", 0, "x", "x")

    xs = tt.tensor4("xs")
    xs.tag.test_value = images
    h = relu(conv(relu(conv(relu(conv(xs)))))) if kind == "conv" else xs
    latent = dense(relu(dense(h.flatten(2))))
    mean, rho = latent[:, :n_latent], latent[:, n_latent:]
    with pm.Model():
        zs = pm.Normal("zs", 0, 1, shape=(len(images), n_latent), total_size=total_size)
        h = dense(relu(dense(zs)))
        if kind == "conv":
            h = conv_transpose(relu(conv_transpose(relu(conv_transpose(relu(h).reshape((len(images), *maps)))))))
        x_mean = tt.nnet.sigmoid(h).reshape(images.shape)
        pm.Normal("xs_", mu=x_mean, sd=0.1, observed=xs, total_size=total_size)
        return pm.ADVI(local_rv={zs: dict(mu=mean, rho=rho)}), xs


def serve(step):
    """Answer every "SECONDS" on standard input with the steps taken in that time, the seconds and the last loss."""
    for _ in range(5):
        first = step()
    print("ready", float(first), flush=True)
    for line in sys.stdin:
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < float(line):
            loss = step()
            steps += 1
        print(steps, time.perf_counter() - started, float(loss), flush=True)


def main(kind, batch_size, problem):
    repair_stack()
    import pymc3 as pm
    import theano
    import theano.tensor as tt

    pm.Minibatch.make_static_slices = staticmethod(lambda size: (Ellipsis,))  # a list is no index for numpy >= 1.23
    problem = np.load(problem)
    images = problem["images"]
    weights = [theano.shared(problem[f"weight{i}"]) for i in range(len(problem.files) - 1)]
    inference, xs = objective(
        kind, weights, images[: int(batch_size)], 2, len(images), tt.nnet.relu, maps=(64, 24, 24)
    )
    step = inference.objective.step_function(
        score=True,
        obj_optimizer=pm.adam(learning_rate=1e-4),
        more_obj_params=weights,
        more_replacements={xs: pm.Minibatch(images, int(batch_size))},
    )
    assert "fastvae" not in sys.modules
    serve(step)


if __name__ == "__main__":
    main(*sys.argv[1:])
