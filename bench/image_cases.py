"""The GPU's Ops of images, such as batch normalisation and pooling, against numpy in float64, in every geometry.

    cases       a name and a function that returns the norm-wise error, for each

For `bench/gpu_checks.py`, on a GPU, and the tests, on their device. Each Op meets its operands packed, as every second
column of larger ones, and turned round.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import theano
import theano.tensor as tt
from theano.tensor.nnet.bn import AbstractBatchNormTrain

from bench.convolution_cases import error, symbol
from fastvae.backends.abstract import activations, bilinear, pad, pool, upsample
from fastvae.backends.abstract.relu import relu_scalar
from fastvae.backends.gpu.ops import batch_norm, images, into_zeros

Case = tuple[str, Callable[[], float]]

SHAPES = ((2, 3, 7, 9), (1, 1, 5, 6), (3, 1, 6, 5))
WINDOWS = {
    "2x2": dict(window=(2, 2)),
    "2x2, borders": dict(window=(2, 2), ignore_border=False),
    "3x2, overlapping": dict(window=(3, 2), stride=(1, 1)),
    "3x3, padded": dict(window=(3, 3), stride=(2, 1), padding=(1, 2)),
    "2x3, apart, borders": dict(window=(2, 3), stride=(3, 4), ignore_border=False),
    "3x2, overlapping, borders": dict(window=(3, 2), stride=(2, 1), ignore_border=False),
    "whole": dict(window=(5, 5), stride=(7, 9)),
}
NORMS = {
    "images": ((3, 4, 5, 7), (0, 2, 3)),
    "one channel": ((2, 1, 5, 3), (0, 2, 3)),
    "one image": ((1, 5, 6, 7), (0, 2, 3)),
    "large images": ((2, 3, 40, 31), (0, 2, 3)),
    "by pixel": ((5, 3, 4, 2), (0,)),
    "vectors": ((9, 70), (0,)),
    "few units": ((40, 3), (0,)),
    "two axes": ((4, 5, 6), (0, 1)),
}
ACTIVATIONS = {
    "relu": relu_scalar,
    "sigmoid": tt.nnet.sigmoid.scalar_op,
    "tanh": tt.tanh.scalar_op,
    "softplus": tt.nnet.softplus.scalar_op,
    "leaky relu": activations.LeakyRelu(0.2, 0.6),
    "signed relu": activations.SignedRelu(),
    "elu": activations.Elu(0.7, 1.3),
    "gelu": activations.Gelu(),
    "gelu, tanh": activations.GeluTanh(),
    "swish": activations.Swish(1.5),
    "clip": activations.Clip(-0.5, 0.8),
}
LAYOUTS = ("packed", "strided", "reversed")
EPSILON, RATE = np.float32(1e-3), np.float32(0.1)


def cases(quick: bool = False) -> Iterator[Case]:
    """Of every Op the error in each geometry; few of these if `quick`."""
    for group in (_pooling, _blocks, _bilinear, _padding, _slices, _normalisation, _activations):
        yield from itertools.islice(group(), 3 if quick else None)


def _laid_out(array, layout):
    """The array on the device, packed or as a view of another one."""
    import pygpu
    from theano.gpuarray.type import get_context

    context = get_context(None)
    if layout == "packed" or not array.ndim:
        return pygpu.array(array, context=context)
    if layout == "reversed":
        return pygpu.array(np.ascontiguousarray(array[..., ::-1]), context=context)[..., ::-1]
    larger = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, "float32")
    larger[..., ::2] = array
    return pygpu.array(larger, context=context)[..., ::2]


def compared(op: theano.Op, values: list, wanted: list) -> float:
    """The largest error of an Op's outputs, however its inputs lie in memory; `wanted` may be shorter than these."""
    function = theano.function(inputs := [symbol(np.ndim(v)) for v in values], op(*inputs, return_list=True))
    found = 0.0
    for layout in LAYOUTS:
        got = function(*(_laid_out(np.asarray(v, "float32"), layout) for v in values))
        found = max(found, *(error(a, b) for a, b in zip(got, wanted)))
    return found


def _by_definition(abstract_op, *values):
    """What the abstract Op's `perform` computes in float64."""
    values = [np.asarray(v, "float64") for v in values]
    node = abstract_op.make_node(*values)
    cells = [[None] for _ in node.outputs]
    abstract_op.perform(node, values, cells)
    return [cell[0] for cell in cells]


def _of_images(kind, abstract_op, shape, seed=0):
    """The error of an Op of one tensor of images."""
    x = np.random.default_rng(seed).normal(size=shape).astype("float32")
    return compared(kind(abstract_op), [x], _by_definition(abstract_op, x))


def _pooling():
    for (name, geometry), mode, shape in itertools.product(WINDOWS.items(), pool.MODES, SHAPES):
        yield f"{mode}, {name}, {shape}", functools.partial(_pooled, dict(geometry, mode=mode), shape)


def _pooled(options, shape):
    """The error of pooling and of its gradient; of few different numbers, so that windows have several maxima."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, shape).astype("float32")
    op, backward = pool.Pool(**options), pool.PoolGradient(**options)
    (y,) = _by_definition(op, x)
    g = rng.normal(size=y.shape).astype("float32")
    given = [x, y.astype("float32"), g] if options["mode"] == "max" else [x, g]
    forward = compared(images.Pool(op), [x], [y])
    return max(forward, compared(images.PoolGradient(backward), given, _by_definition(backward, *given)))


def _blocks():
    for factors in ((2, 2), (1, 3), (3, 1)):
        enlarge, reduce = upsample.Upsample(factors), upsample.BlockSum(factors)
        for shape in SHAPES:
            larger = (*shape[:2], shape[2] * factors[0], shape[3] * factors[1])
            yield f"nearest, {factors}, {shape}", functools.partial(_of_images, images.Upsample, enlarge, shape)
            yield f"sums of blocks, {factors}, {larger}", functools.partial(_of_images, images.BlockSum, reduce, larger)


def _bilinear():
    for factors, centred in itertools.product(((2, 2), (1, 3), (4, 2), (5, 1)), (True, False)):
        enlarge = bilinear.BilinearUpsample(factors, centred)
        reduce = bilinear.BilinearUpsampleGradient(factors, centred)
        for shape in (*SHAPES[:2], (2, 2, 1, 1)):
            name = f"bilinear, {factors}, {'' if centred else 'not '}centred, {shape}"
            larger = (*shape[:2], shape[2] * factors[0], shape[3] * factors[1])
            yield name, functools.partial(_of_images, images.BilinearUpsample, enlarge, shape)
            yield f"gradient, {name}", functools.partial(_of_images, images.BilinearUpsampleGradient, reduce, larger)


def _padding():
    zeros = {"around": ((1, 2), (3, 0)), "between": ((0, 0), (1, 0), (2, 3)), "none": ((0, 0), (0, 0))}
    for (name, sizes), shape in itertools.product(zeros.items(), SHAPES):
        yield f"zeros {name}, {shape}", functools.partial(_of_images, images.Pad, pad.Pad(*sizes), shape)


def _slices():
    starts, steps, sizes = (1, 0, -8, 2), (3, 1, 2, 1), (8, 3, 16, 7)
    for n in range(1, 5):
        x = np.random.default_rng(0).normal(size=(3, 2, 4, 5)[:n]).astype("float32")
        wanted = np.zeros(sizes[:n])
        wanted[tuple(slice(i, None, k) for i, k in zip(starts[:n], steps))][tuple(map(slice, x.shape))] = x
        op = into_zeros.Placed(starts[:n], steps[:n], [False] * n)
        yield f"a slice of zeros, {n} axes", functools.partial(_placed, op, x, sizes[:n], wanted)


def _placed(op, x, sizes, wanted):
    inputs = [symbol(x.ndim), *(tt.lscalar() for _ in sizes)]
    function = theano.function(inputs, into_zeros.IntoZeros(op)(*inputs))
    return max(error(function(_laid_out(x, layout), *sizes), wanted) for layout in LAYOUTS)


def _normalisation():
    for name, (shape, axes) in NORMS.items():
        yield f"batch norm, {name}", functools.partial(_normalised, shape, axes)
    yield "batch norm, far from 0", functools.partial(_normalised, (8, 3, 9, 9), (0, 2, 3), mean=300)


def _activations():
    for name, activation in ACTIVATIONS.items():
        yield f"batch norm, {name}", functools.partial(_normalised, (3, 4, 5, 7), (0, 2, 3), activation)


def _normalised(shape, axes, activation=None, mean=0.0):
    """The error of a batch normalisation, of its running statistics and of its gradient."""
    rng = np.random.default_rng(0)
    kept = [1 if a in axes else size for a, size in enumerate(shape)]
    x, g = (rng.normal(size=shape).astype("float32") for _ in range(2))
    x += np.float32(mean)
    scale, bias, running, variance = (1 + 0.3 * rng.normal(size=(4, *kept))).astype("float32")
    y, average, inverse, *new = _by_definition(
        AbstractBatchNormTrain(axes), x, scale, bias, EPSILON, RATE, running, variance
    )
    spread = x.var(axes, keepdims=True, dtype="float64")
    moved, slope = bias - (average - average.astype("float32")) * scale * inverse, 1
    if activation:
        argument = tt.dvector()
        expression = tt.Elemwise(activation)(argument)
        derivative = theano.grad(expression.sum(), argument)
        both = theano.function([argument], [expression, derivative], mode=theano.Mode("py", None))
        y, slope = (v.reshape(shape) for v in both(y.ravel()))
    op = batch_norm.BatchNormTrain(batch_norm.Train(axes, activation))
    values = [x, scale, bias, EPSILON, RATE, running, variance]
    forward = compared(op, values, [y, average, inverse, spread, moved, *new])
    backward = batch_norm.BatchNormGradient(batch_norm.Gradient(axes, activation))
    given = [x, g, scale, average, inverse, *([bias] if activation else [])]
    return max(forward, compared(backward, given, _gradients(x, g * slope, scale, average, inverse, axes)))


def _gradients(x, g, scale, mean, inverse, axes):
    off = x.astype("float64") - mean
    change = g * inverse - off * (g * off).mean(axes, keepdims=True) * inverse**3
    by_x = scale * (change - change.mean(axes, keepdims=True))
    return by_x, (g * off).sum(axes, keepdims=True) * inverse, np.sum(g, axes, "float64", keepdims=True)
