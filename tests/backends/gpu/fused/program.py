"""What the tests beside run on the tests' device, in one process: regions against numpy. JSON on the output."""

import json
import warnings

import fastvae  # isort: skip  (before theano)

import numpy as np
import theano
import theano.tensor as tt
from theano.gpuarray.basic_ops import as_gpuarray_variable
from theano.gpuarray.type import GpuArrayType, get_context
from theano.tensor.nnet import conv2d

from fastvae.backends.abstract import Conv
from fastvae.backends.gpu.fused.region import Region
from fastvae.backends.gpu.fusion import MOST
from fastvae.shared import on_device as shared
from tests import cuda_device
from tests.backends.gpu.fused.cases import CASES, values

TOGETHER = 16  # cases of one function


def symbol(value):
    return GpuArrayType(value.dtype.name, [size == 1 for size in value.shape])()


def on_device(value, strided=False):
    """The array on the device; `strided`: every second element of its last axis of a larger one, backwards."""
    import pygpu

    context = get_context(None)
    if not strided or not value.ndim:
        return pygpu.array(value, context=context)
    larger = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
    larger[..., ::2] = value[..., ::-1]
    return pygpu.array(larger, context=context)[..., ::2][..., ::-1]


def regions(function):
    return [node.op for node in function.maker.fgraph.toposort() if isinstance(node.op, Region)]


def error(got, wanted):
    got = np.asarray(got).astype("float64")
    if got.shape != wanted.shape or not (np.isfinite(got) == np.isfinite(wanted)).all():
        return f"{got.shape} for {wanted.shape}, or infinities"
    got, wanted = got[np.isfinite(wanted)], wanted[np.isfinite(wanted)]
    return float(np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), 1e-30))


def all_cases():
    """Of every case: the error with packed and with strided arrays; and the Ops beside regions."""
    errors, others, names = {}, set(), list(CASES)
    for first in range(0, len(names), TOGETHER):
        others |= some_cases(names[first : first + TOGETHER], errors)
    return dict(errors=errors, others=sorted(others))


def some_cases(names, errors):
    """Add the errors of some cases, which one function computes: their expressions share regions."""
    arrays = {name: values(CASES[name][2:]) for name in names}
    inputs = {name: [symbol(value) for value in arrays[name]] for name in names}
    outputs = [as_gpuarray_variable(CASES[name][0](*inputs[name]), None) for name in names]
    function = theano.function([v for variables in inputs.values() for v in variables], outputs)
    for strided in (False, True):
        got = function(*[on_device(value, strided) for name in names for value in arrays[name]])
        for name, one in zip(names, got):
            exact = [v.astype("float64" if v.dtype == "float32" else "int64") for v in arrays[name]]
            with np.errstate(all="ignore"):
                wanted = np.asarray(CASES[name][1](*exact), "float64")
            errors.setdefault(name, []).append(error(one, wanted))
    return {type(node.op).__name__ for node in function.maker.fgraph.apply_nodes} - {"Region"}


def other_shapes():
    """A function that meets several shapes, and one that does not fit."""
    x, y = (GpuArrayType("float32", [False] * 2)() for _ in range(2))
    function = theano.function([x, y], tt.exp(x) + y)
    errors = []
    for shape in ((3, 4), (200, 30), (3, 4), (1, 1)):
        value = np.random.default_rng(1).normal(size=shape).astype("float32")
        errors.append(error(function(on_device(value), on_device(value)), np.exp(value.astype("float64")) + value))
    try:
        function(*(on_device(np.zeros(shape, "float32")) for shape in ((3, 4), (3, 1))))
    except ValueError as refusal:
        return dict(errors=errors, refusal=str(refusal).splitlines()[0])


def states():
    """Shared variables that a region overwrites: a counter, numbers in a ring, and sums of what is overwritten."""
    counter, ring = shared(np.zeros((), "float32")), shared(np.zeros(5, "float32"))
    pair = [shared(np.float32(i) + np.ones(3, "float32")) for i in range(2)]
    turned = shared(np.arange(3000, dtype="float32"))  # whose new elements need old ones of other places
    places = tt.constant(np.arange(5, dtype="float32"))
    updates = [
        (ring, tt.switch(tt.eq(places, counter), ring.sum() + counter + 1, ring)),
        (counter, tt.switch(tt.ge(counter + 1, 5), np.float32(0), counter + 1)),
        (turned, turned * np.float32(0.5) + tt.concatenate([turned[1:], turned[:1]]) * np.float32(0.25)),
        *zip(pair, (pair[0] + pair[1], pair[0] * pair[1])),  # either reads what the other overwrites
    ]
    step = theano.function([], counter * 1, updates=updates)
    before = [v.get_value(borrow=True, return_internal_type=True).gpudata for v in (ring, counter)]
    for _ in range(7):
        step()
    wanted, place, a, b = np.zeros(5), 0, np.ones(3), 2 * np.ones(3)
    w = np.arange(3000.0)
    for _ in range(7):
        w = w * 0.5 + np.roll(w, -1) * 0.25
        wanted[place], place, a, b = wanted.sum() + place + 1, (place + 1) % 5, a + b, a * b
    after = [v.get_value(borrow=True, return_internal_type=True).gpudata for v in (ring, counter)]
    pairs = zip((ring, counter, turned, *pair), (wanted, place, w, a, b))
    errors = [error(v.get_value(), np.asarray(truth, "float64")) for v, truth in pairs]
    return dict(errors=errors, same_memory=before == after, in_place=[op.inplace for op in regions(step)])


def adam(n):
    """Three steps of Adam on a dense layer's large weights, whose gradient is a product of n rows, and on its bias."""
    rng = np.random.default_rng(2)
    images, target = (rng.normal(size=(n, width)).astype("float32") for width in (700, 400))
    start = [rng.normal(size=shape).astype("float32") for shape in ((700, 400), (400,))]
    w, b = map(shared, start)
    loss = tt.sin(tt.dot(shared(images), w) + b - target).sum()
    step = theano.function([], updates=fastvae.adam(loss, [w, b], learning_rate=1e-2))
    for _ in range(3):
        step()
    x, (w_, b_) = images.astype("float64"), (v.astype("float64") for v in start)
    moments = [np.zeros_like(v) for v in (w_, w_, b_, b_)]
    for t in range(1, 4):
        top = np.cos(x @ w_ + b_ - target)
        for i, (value, g) in enumerate(((w_, x.T @ top), (b_, top.sum(0)))):
            m, v = moments[2 * i], moments[2 * i + 1]
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            value -= 1e-2 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)
    errors = [error(got.get_value(), wanted) for got, wanted in ((w, w_), (b, b_))]
    ops = [type(node.op).__name__ for node in step.maker.fgraph.toposort()]
    return dict(errors=errors, ops={name: ops.count(name) for name in ("AdamOfProduct", "Adam", "GpuDot22", "GpuGemm")})


def one_channel(flip):
    """A convolution of one channel, what follows it and its gradients; then by weights of another shape."""
    rng = np.random.default_rng(3)
    image, w = shared(np.zeros((1, 1, 3, 3), "float32")), shared(np.zeros((4, 1, 3, 3), "float32"))
    plain = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, flip=flip)
    hidden = tt.tanh(Conv(**plain)(tt.exp(image), w))
    gradient = theano.grad((hidden**2).sum(), w)
    function = theano.function([], [hidden, hidden.sum((0, 2, 3)), gradient])
    errors = []
    for images, weights in (
        ((3, 1, 9, 8), (4, 1, 3, 3)),
        ((70, 1, 20, 31), (4, 1, 3, 3)),
        ((3, 2, 6, 6), (5, 2, 2, 3)),
    ):
        values = [rng.normal(size=shape).astype("float32") * 0.5 for shape in (images, weights)]
        image.set_value(values[0]), w.set_value(values[1])
        x, v = np.exp(values[0].astype("float64")), values[1].astype("float64")
        windows = np.lib.stride_tricks.sliding_window_view(x, weights[2:], (2, 3))
        turned = v[:, :, ::-1, ::-1] if flip else v
        y = np.tanh(np.einsum("ncyxij,ocij->noyx", windows, turned))
        g = np.einsum("ncyxij,noyx->ocij", windows, 2 * y * (1 - y**2))
        wanted = y, y.sum((0, 2, 3)), g[:, :, ::-1, ::-1] if flip else g
        errors += [error(got, one) for got, one in zip(function(), wanted)]
    return dict(errors=errors, ops=sorted({type(node.op).__name__ for node in function.maker.fgraph.apply_nodes}))


def small_products():
    """A dense layer with few weights between other passes, its gradients and Adam's steps by them."""
    rng = np.random.default_rng(4)
    start = [rng.normal(size=shape).astype("float32") for shape in ((60, 3), (3, 40))]
    (w, v), x = map(shared, start), tt.fmatrix()
    middle = tt.dot(tt.exp(x), w)
    top = tt.sin(tt.dot(middle, v))
    g, by_v = theano.grad(top.sum(), [middle, v])
    got = theano.function([x], [top, tt.dot(g, w.T) + tt.sin(x), by_v])
    step = theano.function([x], updates=fastvae.adam(top.sum(), [w, v], learning_rate=1e-2))
    w_, v_ = (one.astype("float64") for one in start)
    errors = []
    for n in (5, 700):
        value = rng.normal(size=(n, 60)).astype("float32") * 0.1
        a = np.exp(value.astype("float64"))
        b = np.cos(a @ w_ @ v_)
        wanted = np.sin(a @ w_ @ v_), b @ v_.T @ w_.T + np.sin(value.astype("float64")), (a @ w_).T @ b
        errors += [error(one, truth) for one, truth in zip(got(value), wanted)]
    step(value)
    for variable, old, gradient in ((w, w_, a.T @ (b @ v_.T)), (v, v_, (a @ w_).T @ b)):
        errors.append(error(variable.get_value(), old - 1e-2 * gradient / (abs(gradient) + 1e-8)))
    ops = [[type(node.op).__name__ for node in function.maker.fgraph.apply_nodes] for function in (got, step)]
    products = [[name for name in names if name in ("GpuDot22", "GpuGemm")] for names in ops]
    return dict(errors=errors, products=products)


def many_arrays():
    """A pass over more arrays than a kernel takes, and a one-channel gradient among them."""
    n = 2 * MOST
    image, w = shared(np.ones((2, 1, 4, 4), "float32")), shared(np.ones((1, 1, 3, 3), "float32"))
    parts = [shared(np.full((3,), i, "float32")) for i in range(n)]
    gradient = theano.grad((conv2d(image, w) ** 2).sum(), w)
    function = theano.function([], [gradient, *(tt.sqr(part) for part in parts)])
    got = function()
    wanted = [np.full((1, 1, 3, 3), 2 * 9 * 8.0), *(np.full((3,), i**2, "float64") for i in range(n))]
    return max(error(one, truth) for one, truth in zip(got, wanted))


def launches():
    """Launches of expressions, by what they show."""
    x, w = shared(np.ones((64, 300), "float32")), shared(np.ones((300, 300), "float32"))
    small = shared(np.ones((8, 4), "float32"))
    hidden = tt.nnet.relu(tt.dot(x, w) + 1)
    graphs = {
        "a pass with two results": [tt.exp(x), tt.exp(x).sum(0)],
        "small results of results": [tt.nnet.softmax(tt.exp(small)) * small.sum(), small.max()],
        "a bias gradient": theano.grad((hidden**2).sum(), [w, x]),
    }
    counted = {}
    for name, outputs in graphs.items():
        kept = [(shared(np.zeros([1] * v.ndim, v.dtype)), v) for v in outputs]
        function = theano.function([], updates=[(s, tt.unbroadcast(v, *range(v.ndim))) for s, v in kept])
        for _ in range(2):
            cuda_device.reset()
            function()
        counted[name] = cuda_device.counts().get("cuLaunchKernel", 0)
    return counted


def main():
    warnings.simplefilter("error")
    report = dict(
        cases=all_cases(), shapes=other_shapes(), states=states(), adam=[adam(5), adam(150)], launches=launches()
    )
    report.update(one_channel=[one_channel(flip) for flip in (False, True)], small_products=small_products())
    report.update(many_arrays=many_arrays())
    print(json.dumps({**report, "findings": cuda_device.findings()}))


if __name__ == "__main__":
    main()
