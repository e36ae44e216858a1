"""cuDNN's convolutions in every kind and geometry against numpy in float64.

    cases       a name and a function that returns the norm-wise error, for each

For `bench/gpu_checks.py`, on a GPU, and the tests, on their device.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.backends.abstract import reference
from fastvae.backends.gpu.ops.convolution import Convolution

PLAIN = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, flip=False)
GEOMETRIES = {
    "plain": {},
    "strided": dict(stride=(2, 3), padding=((1, 1), (0, 0))),
    "half": dict(padding="half", flip=True),
    "full": dict(padding="full"),
    "dilated": dict(dilation=(2, 1), padding=((2, 2), (1, 1))),
    "grouped": dict(groups=2, flip=True),
}
KINDS = {
    "forward": lambda geometry: abstract.Conv(**geometry),
    "bias and relu": lambda geometry: abstract.Conv("relu", **geometry),
    "by image": lambda geometry: abstract.ConvTransposed(**geometry),
    "by weights": lambda geometry: abstract.ConvWeightsGradient(**geometry),
    "by weights, sums of top": lambda geometry: abstract.ConvWeightsGradient("top", **geometry),
    "by weights, sums of image": lambda geometry: abstract.ConvWeightsGradient("image", **geometry),
}


def symbol(ndim):
    """A float32 variable on the device."""
    from theano.gpuarray.type import GpuArrayType

    return GpuArrayType("float32", (False,) * ndim)()


def on_device(array, strided=False):
    """The array on the device; `strided`: every second row of a larger one."""
    import pygpu
    from theano.gpuarray.type import get_context

    context = get_context(None)
    if not strided:
        return pygpu.array(array, context=context)
    larger = np.full((*array.shape[:2], 2 * array.shape[2], array.shape[3]), np.nan, "float32")
    larger[:, :, ::2] = array
    return pygpu.array(larger, context=context)[:, :, ::2]


def operands(abstract_op, n=3, channels=2, filters=4, size=(7, 8), kernel=(3, 2)):
    """Values of an Op's inputs: float32, and an int64 size where the Op takes one; `channels` of each group."""
    rng = np.random.default_rng(0)
    groups = abstract_op.groups
    image = rng.normal(size=(n, channels * groups, *size)).astype("float32")
    weights = rng.normal(size=(filters * groups, channels, *kernel)).astype("float32")
    shape = reference.out_size(size, kernel, abstract_op.padding, abstract_op.stride, abstract_op.dilation)
    top = rng.normal(size=(n, len(weights), *shape)).astype("float32")
    size = np.array(image.shape[2:], "int64")
    if isinstance(abstract_op, abstract.Conv):
        bias = [rng.normal(size=len(weights)).astype("float32")] if abstract_op.activation else []
        return [image, weights, *bias]
    if isinstance(abstract_op, abstract.ConvTransposed):
        return [top, weights, size]
    return [image, top, weights]


def expected(abstract_op, *values):
    """numpy's result, in the dtype of the values."""
    node = abstract_op.make_node(*values)
    outputs = [[None] for _ in node.outputs]
    abstract_op.perform(node, values, outputs)
    return [cell[0] for cell in outputs]


def function_of(abstract_op, values):
    """The Op alone as a Theano function of arrays on the device (of a host vector for a size)."""
    inputs = [tt.lvector() if value.dtype == "int64" else symbol(value.ndim) for value in values]
    return theano.function(inputs, Convolution(abstract_op)(*inputs, return_list=True))


def error(got: np.ndarray, wanted: np.ndarray) -> float:
    """The norm of the difference, relative to the norm of the expected result."""
    return float(np.linalg.norm(np.asarray(got) - wanted) / max(np.linalg.norm(wanted), 1e-30))


def cases(kinds=KINDS, geometries=GEOMETRIES, **sizes):
    """(name, function that returns the error) of every kind and geometry; `sizes` are those of `operands`."""
    for (kind, make), (name, geometry) in itertools.product(kinds.items(), geometries.items()):
        yield f"{kind}, {name}", functools.partial(worst, make({**PLAIN, **geometry}), **sizes)


def worst(abstract_op: abstract.Op, **sizes) -> float:
    """The largest error of an Op's results, its first operand contiguous and with every second row of a larger one."""
    values = operands(abstract_op, **sizes)
    wanted = expected(abstract_op, *(v if v.dtype == "int64" else v.astype("float64") for v in values))
    function, errors = function_of(abstract_op, values), []
    for strided in (False, True):
        given = [v if v.dtype == "int64" else on_device(v, strided and i == 0) for i, v in enumerate(values)]
        errors += [error(got, one) for got, one in zip(function(*given), wanted)]
    return max(errors)
