"""Loss and gradients of a VAE by stock PyMC3 and Theano: the oracle of `tests/test_elbo.py`.

    python stock_objective.py PROBLEM.npz ANSWER.npz

Run in a process that never imports fastvae. The network is written out here from the description of the seed models,
with `tt.switch(x > 0, x, 0)` as ReLU; weights come in the order of the layers.
"""
import sys

import numpy as np


def repair_stack():
    """The least that stock needs to be imported on today's numpy, scipy and Python (not fastvae's repairs)."""
    import importlib
    import inspect

    if not hasattr(np, "asscalar"):
        np.asscalar = np.ndarray.item
    if not hasattr(inspect, "getargspec"):
        inspect.getargspec = lambda function: inspect.getfullargspec(function)[:4]
    for name in ("signaltools", "sigtools"):
        try:
            sys.modules[f"scipy.signal.{name}"] = importlib.import_module(f"scipy.signal._{name}")
        except ModuleNotFoundError:
            pass


def main(problem_path, answer_path):
    repair_stack()
    import pymc3 as pm
    import theano
    import theano.tensor as tt
    from theano.tensor.nnet.abstract_conv import AbstractConv2d_gradInputs

    problem = np.load(problem_path)
    images, noise, kind, total = problem["images"], problem["noise"], str(problem["kind"]), int(problem["total_size"])
    weights = [theano.shared(problem[f"weight{i}"]) for i in range(int(problem["n_weights"]))]
    pairs = iter(zip(weights[0::2], weights[1::2]))
    zeros = []

    def relu(x):
        zeros.append(tt.eq(x, 0).mean())
        return tt.switch(x > 0, x, 0)

    def dense(x):
        w, b = next(pairs)
        return tt.dot(x, w) + b

    def conv(x):
        w, b = next(pairs)
        return tt.nnet.conv2d(x, w, filter_flip=False) + b.dimshuffle("x", 0, "x", "x")

    def conv_transpose(x):
        w, b = next(pairs)
        size = x.shape[2] + w.shape[2] - 1
        y = AbstractConv2d_gradInputs(border_mode="valid", filter_flip=False)(w, x, tt.stack([size, size]))
        return y + b.dimshuffle("x", 0, "x", "x")

    n_latent = noise.shape[1]
    xs = tt.tensor4("xs")
    xs.tag.test_value = images
    if kind == "conv":
        h = relu(conv(relu(conv(relu(conv(xs))))))
        filters, side = int(problem["filters"]), int(problem["side"])
        latent = dense(relu(dense(h.flatten(2))))
    else:
        latent = dense(relu(dense(xs.flatten(2))))
    mean, rho = latent[:, :n_latent], latent[:, n_latent:]
    decoder = list(pairs)
    with pm.Model():
        zs = pm.Normal("zs", 0, 1, shape=noise.shape, total_size=total)
        pairs = iter(decoder)
        if kind == "conv":
            h = relu(dense(relu(dense(zs)))).reshape((zs.shape[0], filters, side, side))
            x_mean = tt.nnet.sigmoid(conv_transpose(relu(conv_transpose(relu(conv_transpose(h))))))
        else:
            x_mean = tt.nnet.sigmoid(dense(relu(dense(zs)))).reshape(images.shape)
        pm.Normal("xs_", mu=x_mean, sd=0.1, observed=xs, total_size=total)
        inference = pm.ADVI(local_rv={zs: dict(mu=mean, rho=rho)})
    local = next(group for group in inference.approx.groups if group.local)
    replacements = {xs: theano.shared(images), local.symbolic_initial: theano.shared(noise[None])}
    with theano.configparser.change_flags(compute_test_value="off"):
        loss = inference.objective(None, more_obj_params=weights, more_replacements=replacements)
        outputs = [loss, *tt.grad(loss, weights)]
        results = theano.function([], outputs)()
        share = theano.function([], zeros[0], givens={xs: images})()
    assert "fastvae" not in sys.modules
    np.savez(answer_path, zeros=share, loss=results[0], **{f"grad{i}": g for i, g in enumerate(results[1:])})


if __name__ == "__main__":
    main(*sys.argv[1:])
