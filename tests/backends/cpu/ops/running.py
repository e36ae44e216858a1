"""How the tests beside run a single Op: once, without rewrites, on operands in any memory layout."""

import numpy as np
import theano
import theano.tensor as tt
import threadpoolctl
from hypothesis import HealthCheck, settings

DIRECT = theano.Mode(linker="cvm", optimizer=None)  # the Op itself, without rewrites
SWEEP = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LAYOUTS = {
    "contiguous": lambda a: a,
    "channels first": lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 1)).transpose(0, *range(2, a.ndim), 1),
    "reversed": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "fortran": np.asfortranarray,
}


def compiled(op, *values):
    """Run an Op once on these values, as they lie in memory."""
    inputs = [tt.TensorType(v.dtype, [False] * v.ndim)() for v in values]
    function = theano.function([theano.In(v, borrow=True) for v in inputs], op(*inputs, return_list=True), mode=DIRECT)
    return function(*values)


def by_any_threads(op, *values):
    """What `compiled` gives with one thread, and to the last bit with two."""
    results = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="openmp"):
            results.append(compiled(op, *values))
    for one, two in zip(*results):
        assert one.tobytes() == two.tobytes()
    return results[0]


def drawn(rng, *shape):
    return rng.standard_normal(shape).astype("float32")


def nchw(a):
    return a.transpose(0, 3, 1, 2).astype("float64")


def nhwc(a):
    return a.transpose(0, 2, 3, 1)


def arrays(*shapes):
    return [np.zeros(s, "float32") for s in shapes]
