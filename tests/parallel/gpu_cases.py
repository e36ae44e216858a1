"""What test_gpus.py runs on two ranks, with a GPU each of the tests' device: `tests.parallel.cases`, and these."""

import sys

import numpy as np

import fastvae  # noqa: F401  isort: skip  (before theano)
import theano
from theano.gpuarray.type import get_context

from fastvae import profiles
from fastvae.backends import gpu
from fastvae.backends.gpu import averaging, nccl
from fastvae.devices import cuda_libraries
from fastvae.devices.findings import Finding
from fastvae.errors import ConfigurationError
from fastvae.parallel import join
from fastvae.parallel.averaging import average
from tests import cuda_device
from tests.parallel import cases, problem
from tests.parallel.cases import RANK, SIZE, case

STEPS = 12


@case
def devices():
    """The GPU of each rank, and who chose it."""
    return [profiles.active().device, profiles.active().settings["device"][1], str(get_context(None).unique_id)]


@case
def refused():
    """What ends ranks before their GPUs join: the last one's NCCL is missing; both are on one GPU; OpenCL."""
    found, stock = {}, cuda_libraries.nccl
    missing = Finding("NCCL", False, why="it is not here", remedy="pip install it")
    for name in ("library", "device", "opencl"):
        profile = Given(device="opencl0:0" if name == "opencl" else "cuda")
        if name == "library" and RANK == SIZE - 1:
            cuda_libraries.nccl = lambda cuda_path: missing
        if name == "device":
            nccl.get_context = lambda name: Given(unique_id="0000:00:00.0")
        try:
            gpu.prepare_ranks(join("mpi"), profile)
        except ConfigurationError as error:
            found[name] = str(error)
        cuda_libraries.nccl, nccl.get_context = stock, get_context
    return found


class Given:
    """A profile, or a GPU's context, as far as it is asked."""

    name, cuda_path, settings, graphs = "given", None, {}, True

    def __init__(self, **values):
        vars(self).update(values)


@case
def copies():
    """What each step calls of the driver and of NCCL once memory has come to rest, and how many arrays it sums."""
    counted, stock, sums = [], averaging.stepping, []

    def stepping(step, ranks):
        together = stock(step, ranks)
        sums.extend(node for node in step.maker.fgraph.toposort() if isinstance(node.op, averaging.SumOverRanks))

        def counting():
            cuda_device.reset()
            together()
            counted.append(cuda_device.counts())

        return counting

    averaging.stepping = stepping
    try:
        options = dict(n=STEPS, batch_size=4, seed=1, learning_rate=1e-3, progressbar=False)
        problem.MODELS["mlp"]().fit(problem.IMAGES, **options)
    finally:
        averaging.stepping = stock
    (node,) = sums
    return {"last": counted[-1], "arrays": len(node.inputs), "in_place": len(node.op.in_place)}


@case
def sums():
    """Sums of arrays of many sizes, in place and not; and what is refused."""
    import pygpu  # beside Debian's Python, where fastvae has found it

    context, clique = get_context(None), nccl.clique()
    shapes = [(), (3, 5), (0,), (2**18 + 7,), (2, 3, 4)]

    def of(rank):
        rng = np.random.default_rng(rank)
        return [rng.random(shape, dtype="float32") for shape in shapes]

    mine = [pygpu.array(value, context=context) for value in of(RANK)]
    out = [pygpu.empty(value.shape, "float32", context=context) for value in mine]
    clique.sum(mine, out)
    clique.sum(mine, mine)
    wrong = 0.0
    for i, values in enumerate(zip(*(of(rank) for rank in range(SIZE)))):
        expected = np.sum(values, axis=0, dtype=float)
        for found in (out[i], mine[i]):
            wrong = max(wrong, float(np.abs(np.asarray(found) - expected).max(initial=0)))
    said = {}
    for name, array in {"float64": mine[1].astype("float64"), "transposed": mine[1].T}.items():
        try:
            clique.sum([array], [array])
        except ValueError as error:
            said[name] = str(error)
    return {"wrong": wrong, **said}


@case
def layouts():
    """Means within a graph, of arrays that are in no piece; a number of float64 is refused."""
    ranks = join("mpi")
    x = theano.shared(np.arange(12, dtype="float32").reshape(3, 4) + RANK)
    twice = x + x
    means = theano.function([], average(ranks, [twice.T, twice[::2], twice.sum()]))
    found = [np.asarray(mean).tolist() for mean in means()]
    y = theano.shared(np.float64(1))
    try:
        averaging.stepping(theano.function([], average(ranks, [y + 1])), ranks)
    except ConfigurationError as error:
        return {"means": found, "float64": str(error)}


@case
def findings():
    """What the checks of the tests' device have found."""
    return cuda_device.findings()


if __name__ == "__main__":
    cuda_device.without_host_code()
    cases.main(*sys.argv[1:])
