"""Run stock PyMC3's step of the seed model on the tests' device, provoke each counter once, and compare convolutions
with those of theano's own cuDNN Ops, compiled with the wrapper header; JSON on the output."""

import json

import fastvae  # isort: skip
import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.backends.gpu.ops.convolution import Convolution
from fastvae.examples.blog_vae import BlogVAE
from tests import cuda_device
from tests.cuda_device import calls, formulas

BATCH = 4  # the counts do not depend on sizes


def step():
    """Stock's step function: one draw, Adam, minibatches of `pm.Minibatch`."""
    images = np.random.default_rng(0).random((20, 1, 28, 28)).astype("float32")
    vae = BlogVAE(filters=3, hidden=5)
    xs = tt.tensor4("xs")
    xs.tag.test_value = images[:BATCH]
    with pm.Model():
        zs = pm.Normal("zs", mu=0, sigma=1, shape=(BATCH, 2), dtype="float32", total_size=len(images))
        x_mean = vae.decode(zs)
        pm.Normal("xs_", mu=x_mean, sigma=0.1, observed=xs, total_size=len(images))
        mean, rho = vae.encode(xs)
        return pm.ADVI(local_rv={zs: dict(mu=mean, rho=rho)}).objective.step_function(
            obj_optimizer=pm.adam(learning_rate=1e-4),
            more_obj_params=list(fastvae.collect_params([mean, rho, x_mean])),
            more_replacements={xs: pm.Minibatch(images, BATCH)},
            score=True,
        )


def differences():
    """Norm-wise differences of fastvae's convolution and its gradients from theano's own cuDNN Ops."""
    from theano.gpuarray import dnn

    rng = np.random.default_rng(0)
    operands = (rng.normal(size=shape).astype("float32") for shape in ((2, 3, 8, 7), (4, 3, 3, 2), (2, 4, 4, 8)))
    image, weights, top = map(theano.shared, operands)
    ours = dict(stride=(2, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1, flip=False)
    theirs = dict(border_mode=(1, 1), subsample=(2, 1), conv_mode="cross")
    pairs = {
        "forward": (Convolution(abstract.Conv(**ours))(image, weights), dnn.dnn_conv(image, weights, **theirs)),
        "by image": (
            Convolution(abstract.ConvTransposed(**ours))(top, weights, image),
            dnn.dnn_gradinput(weights, top, image.shape, **theirs),
        ),
        "by weights": (
            Convolution(abstract.ConvWeightsGradient(**ours))(image, top, weights),
            dnn.dnn_gradweight(image, top, weights.shape, **theirs),
        ),
    }
    found = {}
    for name, pair in pairs.items():
        function = theano.function([], pair)
        names = {type(node.op).__name__ for node in function.maker.fgraph.apply_nodes}
        got, wanted = map(np.asarray, function())
        found[name] = [sorted(names), float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))]
    return found


def layers():
    """Norm-wise errors of theano's own cuDNN Ops of pooling and batch normalisation and of their gradients."""
    from theano.gpuarray import dnn

    rng = np.random.default_rng(0)
    x, scale, bias = (rng.normal(size=shape).astype("float32") for shape in ((3, 2, 6, 7), (1, 2, 1, 1), (1, 2, 1, 1)))
    image, *parameters = theano.shared(x), *(theano.shared(p, broadcastable=(1, 0, 1, 1)) for p in (scale, bias))
    top = dnn.dnn_pool(image, (3, 2), (2, 2), "max", (1, 0))
    y, mean, inverse = dnn.dnn_batch_normalization_train(image, *parameters, "spatial", 1e-3)
    outputs = {
        "pooling": [top, theano.grad((top**2).sum(), image)],
        "batch normalisation": [y, mean, inverse, *theano.grad((y**3).sum(), [image, *parameters])],
    }
    pooled, _ = formulas.pooled(x.astype("float64"), np.zeros((3, 2, 3, 3)), formulas.MAX, (3, 2), (1, 0), (2, 2))
    value, mean, variance = formulas.normalized(x.astype("float64"), scale, bias, formulas.SPATIAL, 1e-3)
    expected = {
        "pooling": formulas.pooled(x.astype("float64"), 2 * pooled, formulas.MAX, (3, 2), (1, 0), (2, 2)),
        "batch normalisation": [
            *(value, mean, 1 / np.sqrt(variance + 1e-3)),
            *formulas.gradients(x.astype("float64"), scale, 3 * value**2, formulas.SPATIAL, 1e-3),
        ],
    }
    found = {}
    for name, symbols in outputs.items():
        function = theano.function([], symbols)
        names = {type(node.op).__name__ for node in function.maker.fgraph.apply_nodes}
        errors = [calls.error(np.asarray(got), wanted) for got, wanted in zip(function(), expected[name], strict=True)]
        found[name] = [sorted(names), max(errors)]
    return found


def counted(action, warm=3):
    """What one call counts, once earlier ones have allocated and compiled."""
    for _ in range(warm):
        action()
    cuda_device.reset()
    action()
    return cuda_device.counts()


def main():
    import pygpu
    from theano.gpuarray.type import get_context

    context = get_context(None)
    array = pygpu.zeros((1 << 20,), dtype="float32", context=context)
    host = np.empty(array.shape, "float32")
    # Larger than libgpuarray's cache can hold of freed memory: it was never allocated before.
    kept = []
    report = {
        "to_device": counted(lambda: array.write(host)),
        "to_host": counted(lambda: array.read(host)),
        "synchronisation": counted(array.sync),
        "allocation": counted(lambda: kept.append(pygpu.empty((1 << 22,), dtype="float32", context=context))),
    }
    report["differences"] = differences()
    cuda_device.without_host_code()
    report["layers"] = layers()
    function = step()
    report.update(step=counted(function), nodes=len(function.maker.fgraph.apply_nodes), device=theano.config.device)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
