"""Check every kind of Op that a training step runs on the GPU against numpy in float64.

    FASTVAE_PROFILE=cuda python -m bench.gpu_checks [--small | --quick]

Prints a line of JSON for each check as it ends, with group, name, error, limit and, if it could not be made, why; the
last line is the list of all.
Errors are norm-wise (the norm of the difference, relative to that of the expected result); for random numbers they are
the errors of their moments, in standard errors. Under TF32 products and convolutions, whose factors have 10 bits after
the point, have a looser limit.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator

import fastvae  # isort: skip  (before theano)
import numpy as np
import theano
import theano.tensor as tt
from scipy.special import expit
from theano.gof.graph import ancestors
from theano.sandbox.rng_mrg import MRG_RandomStreams, mrg_uniform_base

from bench import convolution_cases, image_cases
from bench.convolution_cases import GEOMETRIES, KINDS, error
from bench.steps import GPU
from fastvae.backends import abstract
from fastvae.profiles import active

LIMIT, TF32_LIMIT = 1e-5, 2e-3
STANDARD_ERRORS = 6
SEED_LAYERS = {  # of the seed model, batch 64
    "first layer of the seed model": dict(channels=1, filters=64, size=(28, 28), kernel=(3, 3)),
    "3x3 layer of the seed model": dict(channels=64, filters=64, size=(26, 26), kernel=(3, 3)),
    "1x1 layer of the seed model": dict(channels=64, filters=64, size=(26, 26), kernel=(1, 1)),
}


def convolutions(quick):
    """cuDNN's convolutions: every kind in every geometry, and the layers of the seed model."""
    yield from convolution_cases.cases(geometries=dict(few(GEOMETRIES.items(), quick)))
    if not quick:
        for layer, sizes in SEED_LAYERS.items():
            for kind, make in KINDS.items():
                yield from convolution_cases.cases({kind: make}, {layer: {}}, n=64, **sizes)


def elementwise(quick):
    """Functions of one number, and what a Normal's log density is made of."""
    x = draws((3, 1000) if quick else (64, 36_864))
    functions = {
        "exp": (tt.exp, np.exp),
        "log": (lambda v: tt.log(abs(v)), lambda v: np.log(abs(v))),
        "sqrt": (lambda v: tt.sqrt(abs(v)), lambda v: np.sqrt(abs(v))),
        "tanh": (tt.tanh, np.tanh),
        "sigmoid": (tt.nnet.sigmoid, expit),
        "softplus": (tt.nnet.softplus, lambda v: np.logaddexp(0, v)),
        "log density": (lambda v: -0.5 * ((v - 1) / 2) ** 2 - 0.5, lambda v: -0.5 * ((v - 1) / 2) ** 2 - 0.5),
        "by row and column": (lambda v: v - v[:, 0].dimshuffle(0, "x") + v[0], lambda v: v - v[:, :1] + v[0]),
    }
    for name, (make, truth) in functions.items():
        yield name, against(make, truth, x)


def reductions(quick):
    """Sums and the like, along every kind of axes, of positive numbers."""
    x = abs(draws((3, 4, 5, 6) if quick else (64, 64, 26, 26)))
    for name, axes in {"all": None, "rows": 0, "bias of a convolution": (0, 2, 3), "last axis": 3}.items():
        yield f"sum, {name}", against(lambda v, axes=axes: v.sum(axes), lambda v, axes=axes: v.sum(axes), x)
    yield "sum of squares", against(lambda v: (v**2).sum(), lambda v: (v**2).sum(), x)
    yield "largest", against(lambda v: v.max((1, 2, 3)), lambda v: v.max((1, 2, 3)), x)


def gathers(quick):
    """Rows by their numbers, as a minibatch takes them and as anyone may."""
    x = draws((20, 7) if quick else (5000, 784))
    numbers = np.random.default_rng(1).integers(len(x), size=64)
    for name, in_range in {"a minibatch's rows": True, "rows": False}.items():

        def rows(v, in_range=in_range):
            chosen = tt.as_tensor_variable(theano.shared(numbers))
            chosen.tag.in_range = in_range
            return v[chosen]

        yield name, against(rows, lambda v: v[numbers], x)


def products(quick):
    """Products of the dense layers, forward and for both gradients."""
    batch, wide, narrow = (8, 300, 130) if quick else (64, 36_864, 128)  # too large for a kernel of our own
    x, w, g = draws((batch, wide)), draws((wide, narrow)), draws((batch, narrow))
    yield "forward", against(tt.dot, np.dot, x, w)
    yield (
        "bias and relu",
        against(lambda x, w, b: abstract.dense(x, w, b, "relu"), lambda x, w, b: np.maximum(x @ w + b, 0), x, w, g[0]),
    )
    yield "by input", against(lambda g, w: tt.dot(g, w.T), lambda g, w: g @ w.T, g, w)
    yield "by weights", against(lambda x, g: tt.dot(x.T, g), lambda x, g: x.T @ g, x, g)
    yield "matrix by vector", against(tt.dot, np.dot, x, w[:, 0])


def layers(small):
    """Batch norm, pooling, upsampling and zeros, in every geometry, or in a few of each if `small`."""
    yield from image_cases.cases(small)


def random_numbers(quick):
    """Theano's generator: uniform numbers equal those on the CPU, normal ones have their moments."""
    n = 1000 if quick else 100_000

    def uniform():
        stream = MRG_RandomStreams(seed=1)
        drawn = stream.uniform(size=(n,), dtype="float32")
        ((state, *_),) = stream.state_updates
        (node,) = {v.owner for v in ancestors([drawn]) if v.owner and isinstance(v.owner.op, mrg_uniform_base)}
        cells = [[None], [None]]
        node.op.perform(node, [state.get_value(), np.array([n])], cells, None)
        return error(compiled(drawn)(), cells[1][0])

    def normal():
        drawn = np.asarray(compiled(MRG_RandomStreams(seed=1).normal(size=(n,), dtype="float32"))(), "float64")
        moments = drawn.mean() * np.sqrt(n), (drawn.var() - 1) * np.sqrt(n / 2)
        return float(np.abs(moments).max())

    yield "uniform", uniform
    yield "normal, standard errors", normal


def optimizer(quick):
    """Three steps of Adam on a large and a small parameter."""
    gradients = [draws((40, 2)), draws((400, 300))]

    def adam():
        params = [theano.shared(np.zeros_like(g)) for g in gradients]
        step = compiled([], updates=fastvae.adam([theano.shared(g) for g in gradients], params, learning_rate=1e-3))
        wanted = []
        for g in (g.astype("float64") for g in gradients):
            p, m, v = 0, 0, 0
            for t in range(1, 4):
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                p = p - 1e-3 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)
            wanted.append(p)
        for _ in range(3):
            step()
        return max(error(p.get_value(), one) for p, one in zip(params, wanted))

    yield "Adam, three steps", adam


# What rounds its factors under TF32 comes first.
GROUPS = (convolutions, products, elementwise, reductions, layers, gathers, random_numbers, optimizer)


def few(things, quick):
    """The first two of some things if `quick`, else all."""
    return itertools.islice(things, 2 if quick else None)


def draws(shape: tuple[int, ...]) -> np.ndarray:
    """Normal float32 numbers."""
    return np.random.default_rng(0).standard_normal(shape, dtype="float32")


def compiled(outputs, **options):
    """A Theano function without inputs, after a look whether it has Ops on the GPU."""
    function = theano.function([], outputs, **options)
    modules = {type(node.op).__module__ for node in function.maker.fgraph.apply_nodes}
    assert any(module.startswith(GPU) for module in modules), "nothing of it runs on the GPU"
    return function


def against(make, truth, *values):
    """A function that returns the error of an expression of some arrays, held to its twin in numpy."""

    def measure():
        got = compiled(make(*map(theano.shared, values)))()
        return error(got, truth(*(value.astype("float64") for value in values)))

    return measure


def checked(tf32: bool, small: bool, fewer: bool) -> Iterator[dict]:
    """Each check as a dict: group, name, error, limit, and message where there is no error to tell.

    They have small operands if `small`, and there are but two of most groups if `fewer`.
    """
    for group in GROUPS:
        limit = TF32_LIMIT if tf32 and group in (convolutions, products) else LIMIT
        for name, measure in few(group(small), fewer and group is not convolutions):
            row = dict(group=group.__name__.replace("_", " "), name=name, error=None, message="")
            row["limit"] = STANDARD_ERRORS if "standard errors" in name else limit
            try:
                row["error"] = measure()
            except Exception as failure:  # of any kind: the others are still checked
                row["message"] = f"{type(failure).__name__}: {str(failure).strip().splitlines()[0]}"
            row["passed"] = row["error"] is not None and row["error"] <= row["limit"]
            if row["error"] is not None and not np.isfinite(row["error"]):
                row.update(error=None, message="not finite")
            yield row


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small operands")
    parser.add_argument("--quick", action="store_true", help="small operands, and few of them")
    args = parser.parse_args(argv)
    found = []
    for row in checked(active().tf32, args.small or args.quick, args.quick):
        found.append(row)
        print(json.dumps(row), flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
