"""What `test_layers` runs on the device: Ops of images against numpy, launches of every concept, users' networks.

JSON on the output; what training makes of the networks goes into the .npz that the first argument names. With the
argument `check` few cases and the networks `CHECKED` alone, and what the device found wrong in them; with `opencl`,
under that profile, few cases and the first of these networks.
"""

import json
import sys

import fastvae  # noqa: F401  isort: skip
import numpy as np
import theano
import theano.tensor as tt
from theano.sandbox.rng_mrg import MRG_RandomStreams
from theano.tensor.nnet import bn
from theano.tensor.nnet.abstract_conv import bilinear_upsampling
from theano.tensor.signal.pool import pool_2d

from bench import image_cases
from bench.convolution_cases import on_device, symbol
from fastvae.backends.abstract import activations, bilinear, pad, pool, upsample
from fastvae.backends.abstract.dropout import Dropout
from fastvae.backends.gpu.ops import batch_norm, images, into_zeros
from fastvae.backends.rewrites.recognise import recognise
from fastvae.elbo.merge import merge_equal_nodes
from tests import cuda_device
from tests.backends.gpu import toy_networks

CHECKED = ("pooled-bn", "layers")
ROOT = np.float32(np.sqrt(2))


def of_zeros(x):
    """Lasagne's upscaling by dilation."""
    zeros = tt.zeros((x.shape[0], x.shape[1], 2 * x.shape[2], 2 * x.shape[3]), "float32")
    return tt.set_subtensor(zeros[:, :, ::2, ::2], x)


def normalised(x, statistic):
    return bn.batch_normalization_train(x, statistic, statistic, axes="spatial")[0]


CONCEPTS = {
    "relu": lambda x, s: tt.nnet.relu(x),
    "leaky relu": lambda x, s: tt.nnet.relu(x, 0.2),
    "parametric relu": lambda x, s: tt.Elemwise(activations.ParametricRelu())(x, s),
    "elu": lambda x, s: tt.nnet.elu(x),
    "selu": lambda x, s: tt.nnet.selu(x),
    "gelu": lambda x, s: 0.5 * x * (1 + tt.erf(x / ROOT)),
    "swish": lambda x, s: x * tt.nnet.sigmoid(x),
    "softplus": lambda x, s: tt.nnet.softplus(x),
    "tanh": lambda x, s: tt.tanh(x),
    "clip": lambda x, s: tt.clip(x, -0.5, 0.5),
    "maxima": lambda x, s: pool_2d(x, (2, 2), ignore_border=True),
    "maxima to the border": lambda x, s: pool_2d(x, (3, 3), ignore_border=False, stride=(2, 2)),
    "averages": lambda x, s: pool_2d(x, (3, 3), ignore_border=True, pad=(1, 1), mode="average_exc_pad"),
    "global average": lambda x, s: x.mean((2, 3)),
    "global maximum": lambda x, s: x.max((2, 3)),
    "nearest": lambda x, s: tt.repeat(tt.repeat(x, 2, axis=2), 2, axis=3),
    "nearest, into zeros": lambda x, s: of_zeros(x),
    "bilinear": lambda x, s: bilinear_upsampling(x, ratio=2),
    "crop": lambda x, s: x[:, :, 1:5, :4] * s,
    "concatenation": lambda x, s: tt.concatenate([x, 2 * x], axis=1),
    "dropout": lambda x, s: Dropout(0.5)(x, MRG_RandomStreams(3).uniform(size=x.shape, dtype="float32")),
    "batch norm": normalised,
    "batch norm and leaky relu": lambda x, s: tt.nnet.relu(normalised(x, s), 0.2),
    "batch norm by given statistics": lambda x, s: bn.batch_normalization_test(x, s, s, s, abs(s), axes="spatial"),
}


def concepts():
    """The launches of each, forward and with the gradient, and what else is counted, which is to be nothing."""
    x = tt.as_tensor_variable(theano.shared(np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype("float32")))
    statistic = theano.shared(np.float32([1, 2, 3, 4])).dimshuffle("x", 0, "x", "x")
    found = {}
    for name, make in CONCEPTS.items():
        (y,), _ = recognise(merge_equal_nodes([make(x, statistic)]))
        pull = theano.shared(np.ones((2,) * y.ndim, "float32"))
        forward = stored([y])
        forward[0]()
        pull.set_value(np.ones(forward[1][0].get_value().shape, "float32"))
        backward = stored([y, *tt.grad(None, [x], known_grads={y: pull})])
        counts = [counted(function) for function, _ in (forward, backward)]
        found[name] = [[one.pop("launches") for one in counts], {k: v for one in counts for k, v in one.items() if v}]
    return found


def stored(outputs):
    """A function that leaves the values of expressions on the device, and where."""
    cells = [theano.shared(np.zeros((1,) * v.ndim, "float32")) for v in outputs]
    return theano.function([], updates=list(zip(cells, outputs))), cells


def counted(step):
    """What one call of a function counts, once earlier ones have allocated and compiled."""
    for _ in range(2):
        step()
    cuda_device.reset()
    step()
    return cuda_device.figures(cuda_device.counts())


def trained(names, path):
    """The step of each network; what a few calls make of it goes into the file."""
    steps, arrays = {}, {}
    for name in names:
        steps[name], losses, state = toy_networks.STEPS[name]()
        values = toy_networks.trained(steps[name], losses, state)
        arrays.update((f"{name} {i}", value) for i, value in enumerate(values))
    np.savez(path, **arrays)
    return steps


def counted_steps(steps):
    """What a steady step of each network counts, and its nodes."""
    return {name: dict(counted(step), nodes=len(step.maker.fgraph.apply_nodes)) for name, step in steps.items()}


def called(op, *shapes, sizes=()):
    """The outputs of an Op for zeros of these shapes, and numbers of the host."""
    inputs = [*(symbol(len(shape)) for shape in shapes), *(tt.lscalar() for _ in sizes)]
    return theano.function(inputs, op(*inputs, return_list=True))(*(on_device(zeros(s)) for s in shapes), *sizes)


def zeros(shape):
    return np.zeros(shape, "float32")


def refusals():
    """The message for each kind of operand that does not fit."""
    norm, gradient = batch_norm.Train((0, 2, 3)), batch_norm.Gradient((0, 2, 3))
    image, statistic, few = (2, 3, 3, 5), (1, 3, 1, 1), (1, 2, 1, 1)
    cases = {
        "window": (images.Pool(pool.Pool((4, 2), fits=True)), image),
        "no pixel": (images.Pool(pool.Pool((2, 2), (1, 1), ignore_border=False)), (2, 3, 0, 5)),
        "pooled": (images.PoolGradient(pool.PoolGradient((2, 2), mode="sum")), image, image),
        "blocks": (images.BlockSum(upsample.BlockSum((2, 1))), image),
        "bilinear": (images.BilinearUpsampleGradient(bilinear.BilinearUpsampleGradient((1, 2))), image),
        "statistics": (batch_norm.BatchNormTrain(norm), image, statistic, few, ()),
        "gradient": (batch_norm.BatchNormGradient(gradient), image, (2, 3, 5, 3), *[statistic] * 3),
        "slice": (into_zeros.IntoZeros(into_zeros.Placed((1,), (2,), [False])), (3,)),
    }
    messages = {}
    for name, (op, *shapes) in cases.items():
        try:
            called(op, *shapes, sizes=[5] if name == "slice" else [])
        except ValueError as refusal:
            messages[name] = str(refusal).splitlines()[0]
    return messages


def nothing():
    """What Ops make of no images: shapes, and the gradients of a scale and a bias."""
    image, statistic = (0, 3, 4, 6), (1, 3, 1, 1)
    ops = [
        images.Pool(pool.Pool((2, 2))),
        images.Upsample(upsample.Upsample((2, 1))),
        images.Pad(pad.Pad((1, 1), (0, 0))),
    ]
    shapes = [called(op, image)[0].shape for op in ops]
    y = called(batch_norm.BatchNormTrain(batch_norm.Train((0, 2, 3))), image, statistic, statistic, ())[0]
    gradient = batch_norm.BatchNormGradient(batch_norm.Gradient((0, 2, 3)))
    by_x, *others = called(gradient, image, image, *[statistic] * 3)
    return [*shapes, y.shape, by_x.shape], [float(np.abs(np.asarray(v)).max()) for v in others]


def errors(quick):
    found = {}
    for name, measure in image_cases.cases(quick):
        found[name] = measure()
    return found


def main(path, only=""):
    cuda_device.without_host_code()
    report = dict(errors=errors(quick=bool(only)))
    names = {"opencl": CHECKED[:1], "check": CHECKED}.get(only, toy_networks.STEPS)
    steps = trained(names, path)
    if only == "check":
        report.update(findings=cuda_device.findings())
    elif not only:
        report.update(networks=counted_steps(steps), concepts=concepts(), refusals=refusals(), nothing=nothing())
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
