"""Every kind of theano's GPU Ops that a graph can meet: run on the tests' device, compared with Python on the host.

Not GpuTopKOp, whose kernel nvrtc 12 does not compile.

JSON on the output: of each graph the GPU Ops in it and what was wrong.

    python -m tests.cuda_device.sweep [names]
"""

import json
import sys

import fastvae  # isort: skip  # noqa: F401
import numpy as np
import theano
import theano.tensor as tt
from theano.compile import Mode
from theano.sandbox.rng_mrg import MRG_RandomStreams
from theano.tensor.extra_ops import cumprod, cumsum
from theano.tensor.nnet.neighbours import images2neibs
from theano.tensor.signal.pool import pool_2d

from tests import cuda_device

HOST = Mode(linker="py", optimizer=None)
HOST_IN_C = Mode(linker="c|py", optimizer=None)  # the Python of stock's pooling does not run
RNG = np.random.default_rng(0)
FLOATS, INTEGERS = ("float16", "float32", "float64"), ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
GRAPHS = {}


def graph(name):
    """Registers a function that makes a graph: inputs' values, and what is computed of their variables."""
    return lambda function: GRAPHS.setdefault(name, function)


def numbers(*shape, dtype="float32"):
    values = RNG.normal(size=shape) * (1 if dtype.startswith("float") else 9)
    return np.abs(values).astype(dtype) if dtype.startswith("uint") else values.astype(dtype)


for _dtype in (*FLOATS, *INTEGERS):

    @graph(f"elementwise {_dtype}")
    def elementwise(dtype=_dtype):
        values = [numbers(5, 7, dtype=dtype), numbers(7, dtype=dtype)]

        def outputs(a, b):
            found = [a + b, a * b, a - b, tt.maximum(a, b), tt.switch(a > b, a, b), abs(a) + tt.sqr(b), tt.eq(a, b)]
            found += [tt.cast(abs(a), other) for other in ("float32", "int32", "uint8", "int64") if other != dtype]
            if dtype.startswith("float"):
                return [*found, a / (1 + abs(b)), tt.clip(a, -1, 1), tt.sgn(a), tt.floor(a), tt.isnan(a)]
            return [*found, a & tt.cast(b, dtype), a | tt.cast(b, dtype), a % (abs(tt.cast(b, dtype)) + 1)]

        return values, outputs


for _dtype in FLOATS[1:]:

    @graph(f"functions {_dtype}")
    def functions(dtype=_dtype):
        values = [np.abs(numbers(6, 5, dtype=dtype)) + dtype_one(dtype)]

        def outputs(a):
            found = [tt.exp(-a), tt.log(a), tt.log1p(a), tt.expm1(a), tt.sqrt(a), tt.sin(a), tt.cos(a), tt.tan(a)]
            found += [tt.tanh(a), tt.sinh(a), tt.arctan(a), tt.arcsinh(a), tt.erf(a), tt.erfc(a), tt.gammaln(a)]
            found += [
                tt.nnet.sigmoid(a),
                tt.nnet.softplus(a),
                a**2.5,
                tt.erfinv(a / 20),
                tt.arctan2(a, a + 1),
            ]
            return [*found, tt.nnet.relu(a - 2), tt.nnet.elu(a - 2), tt.round(a), tt.ceil(a), tt.trunc(a)]

        return values, outputs

    @graph(f"reductions {_dtype}")
    def reductions(dtype=_dtype):
        values = [numbers(3, 4, 37, dtype=dtype), numbers(300, 5, dtype=dtype)]

        def outputs(a, b):
            found = [a.sum(axis=axes) for axes in (None, 0, 1, 2, (0, 1), (1, 2), (0, 2))]
            found += [a.max(axis=axes) for axes in (None, 0, 2)] + [a.min(axis=1), a.prod(axis=2), a.mean(axis=0)]
            found += [tt.argmax(a, axis=axis) for axis in (0, 1, 2)] + [tt.argmax(b), tt.max_and_argmax(b, axis=0)[0]]
            found += [b.sum(axis=axis) for axis in (None, 0, 1)] + [tt.any(b > 3), tt.all(b > -9, axis=0)]
            return [*found, b.T.sum(axis=0), b[::2].sum(axis=1), tt.sqr(b).sum(), tt.sqr(a).sum(axis=(0, 2))]

        return values, outputs


def dtype_one(dtype):
    return np.dtype(dtype).type(1)


@graph("reductions of integers")
def integer_reductions():
    values = [numbers(9, 40, dtype="int32"), numbers(9, 40, dtype="uint8")]
    return values, lambda a, b: [a.sum(), a.max(axis=0), b.sum(axis=1), b.max(), (a > 3).sum(axis=0)]


@graph("softmax")
def softmax():
    values = [numbers(6, 11), numbers(11), numbers(3, 1300), np.arange(6, dtype="int32")]

    def outputs(a, b, c, labels):
        found = [tt.nnet.softmax(a), tt.nnet.softmax(a + b), tt.nnet.softmax(c), tt.nnet.logsoftmax(a)]
        loss = tt.nnet.categorical_crossentropy(tt.nnet.softmax(a + b), labels)
        return [*found, loss, theano.grad(loss.mean(), a), theano.grad(tt.nnet.softmax(a)[:, 0].sum(), a)]

    return values, outputs


@graph("shapes and copies")
def shapes():
    values = [numbers(4, 5, 6), numbers(4, 2, 6), numbers(5)]

    def outputs(a, b, c):
        found = [tt.join(1, a, b), *tt.split(a, [1, 4], 2, axis=1), a.dimshuffle(2, 0, 1) + 0, a.reshape((20, 6)).T + 1]
        found += [
            tt.alloc(c, 3, 5) * 1,
            tt.eye(5, 7, 1) + 0 * c.sum(),
            tt.tri(4, 6, 1) * c.sum(),
            a[::-1, 1:4, ::2] * 2,
        ]
        found += [tt.diag(c), tt.diag(a[0, :5, :5]), tt.stack([a[0], a[1]]), tt.concatenate([a, b], axis=1), a.T.copy()]
        return [*found, tt.tile(c, (2, 1)), tt.repeat(c, 2), tt.zeros_like(a) + c[None, :, None], a.flatten(2) - 1]

    return values, outputs


@graph("indices")
def indices():
    values = [
        numbers(7, 5, 3),
        np.array([1, 4, 4, 0, 6], "int64"),
        numbers(5, 5, 3),
        np.array([0, 2, 1, 2, 0], "int64"),
    ]

    def outputs(a, rows, b, columns):
        found = [a[rows], a[1:6:2, -1], a[:, columns], a[rows, columns], a[rows, columns, columns], a[a[:, 0, 0] > 0]]
        found += [tt.set_subtensor(a[2:4], 1.0), tt.inc_subtensor(a[1:6], b), tt.inc_subtensor(a[rows], b)]
        found += [tt.set_subtensor(a[0, 1], b[0, 0]), tt.inc_subtensor(a[rows, columns], b[:, 0])]
        return [*found, theano.grad((a[rows] ** 2).sum(), a), theano.grad((a[rows, columns] ** 2).sum(), a)]

    return values, outputs


@graph("indices of float64")
def indices_of_doubles():
    values = [numbers(7, 5, dtype="float64"), np.array([1, 4, 4, 0, 6], "int64"), numbers(5, 5, dtype="float64")]
    return values, lambda a, rows, b: [tt.inc_subtensor(a[rows], b), a[rows], tt.set_subtensor(a[::3], 2.0)]


@graph("sums along an axis")
def cumulative():
    values = [numbers(40, 3), numbers(2500), np.abs(numbers(4, 30)) + 0.5]
    return values, lambda a, b, c: [cumsum(a, axis=0), cumsum(a, axis=1), cumsum(b), cumprod(c, axis=1), cumsum(c)]


@graph("pooling")
def pooling():
    def outputs(a):
        found = []
        for mode in ("max", "average_inc_pad", "average_exc_pad", "sum"):
            options = dict(ws=(3, 2), stride=(2, 2), pad=(1, 1) if mode == "max" else (0, 0), mode=mode)
            pooled = pool_2d(a, ignore_border=True, **options)
            found += [pooled, theano.grad((pooled**2).sum(), a)]
        return found

    return [numbers(2, 3, 8, 9)], outputs


@graph("neighbours")
def neighbours():
    return [numbers(2, 2, 6, 8)], lambda a: [
        images2neibs(a, (3, 2)),
        images2neibs(a, (2, 2), (1, 3), mode="ignore_borders"),
    ]


@graph("products")
def products():
    values = [numbers(6, 5), numbers(5, 4), numbers(3, 6, 5), numbers(3, 5, 2), numbers(5)]

    def outputs(a, b, c, d, e):
        found = [tt.dot(a, b), tt.dot(a, e), tt.dot(e, b), tt.dot(a.T, a), tt.outer(e, e), tt.batched_dot(c, d)]
        return [*found, tt.dot(a, b) * 0.5 + 1, tt.tensordot(c, d, [[0, 2], [0, 1]]), tt.dot(e, e)]

    return values, outputs


@graph("random numbers")
def random_numbers():
    def outputs(a):
        stream = MRG_RandomStreams(7)
        found = [stream.uniform((50, 3)), stream.normal((20,)), stream.binomial((40,), p=0.3)]
        return [*found, a + stream.uniform((4,), dtype="float64")]

    return [numbers(4)], outputs


def difference(got, wanted):
    """The largest difference, in terms of the largest number."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return f"{got.dtype} {got.shape} for {wanted.dtype} {wanted.shape}"
    got, wanted = got.astype("float64"), wanted.astype("float64")
    return float(np.abs(got - wanted).max() / max(1.0, np.abs(wanted).max())) if got.size else 0.0


LIMITS = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-11}


def run(name):
    """The GPU Ops of a graph, and which of its outputs differ from the host's."""
    values, make = GRAPHS[name]()
    variables = [tt.TensorType(value.dtype, [False] * value.ndim)() for value in values]
    outputs = make(*variables)
    function = theano.function(variables, outputs, on_unused_input="ignore")
    nodes = function.maker.fgraph.apply_nodes
    ops = sorted({type(node.op).__name__ for node in nodes if "gpu" in type(node.op).__module__})
    wrong = []
    mode = HOST_IN_C if name == "pooling" else HOST
    host = theano.function(variables, make(*variables), mode=mode, on_unused_input="ignore")
    for i, (got, wanted) in enumerate(zip(function(*values), host(*values))):
        found = difference(got, wanted)
        if isinstance(found, str) or not found <= LIMITS.get(str(wanted.dtype), 0):
            wrong.append(f"output {i}, {outputs[i]}: {found}")
    return dict(ops=ops, wrong=wrong)


def main(*names):
    found = {}
    for name in names or GRAPHS:
        try:
            found[name] = run(name)
        except Exception as error:
            found[name] = dict(ops=[], wrong=[f"{type(error).__name__}: {str(error)[:400]}"])
    found["findings"] = cuda_device.findings()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
