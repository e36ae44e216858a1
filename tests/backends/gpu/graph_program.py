"""What test_graph.py runs on the tests' CUDA device, in one process: steps as CUDA graphs beside the same without.

JSON on the output, a dict of cases.
"""

import dataclasses
import gc
import json
import logging
import tempfile

import fastvae  # isort: skip
import numpy as np
import theano
import theano.tensor as tt
from theano.compile import mode
from theano.compile.nanguardmode import NanGuardMode
from theano.gof import Apply, Op
from theano.gof.vm import VM_Linker
from theano.gpuarray.basic_ops import as_gpuarray_variable
from theano.gpuarray.type import get_context, gpuarray_shared_constructor
from theano.ifelse import ifelse
from theano.tensor.subtensor import advanced_subtensor1

from fastvae import backends, profiles, schedules
from fastvae.backends.gpu import graph
from fastvae.backends.gpu.graph import StepGraph
from tests import cuda_device

STEPS = 20
IMAGES = (np.random.default_rng(0).random((20, 1, 8, 8)) > 0.5).astype("float32")
made = []  # every StepGraph since `watched`


class Lines(logging.Handler):
    """Keeps what the log of fastvae says of CUDA graphs."""

    def __init__(self):
        super().__init__()
        self.said = []
        logging.getLogger("fastvae").addHandler(self)

    def emit(self, record):
        if "CUDA graph" in record.getMessage():
            self.said.append(record.getMessage())

    def taken(self):
        said, self.said = self.said, []
        return said


LINES = Lines()


class Watched(StepGraph):
    def __init__(self, function):
        super().__init__(function)
        made.append(self)


def same(a, b):
    """Whether two arrays are equal bit for bit."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def trained(make, recorded, n=STEPS, **options):
    """The losses and parameters of a fit, and how often its step was recorded and replayed."""
    vae = make()
    made.clear()
    graph.StepGraph = Watched if recorded else _refused
    options = {"learning_rate": 1e-3, "seed": 1, "batch_size": 4, "n": n, **options}
    approx = vae.fit(options.pop("images", IMAGES), progressbar=False, **options)
    counts = [(step.recordings, step.replays) for step in made]
    return approx.hist, [param.get_value() for param in vae.get_params()], *counts


def _refused(function):
    raise graph.NotRecordable("the test wants it so")


def mlp():
    return fastvae.MLPVAE(image_shape=(1, 8, 8), hidden=8, seed=0)


def conv():
    return fastvae.ConvVAE(image_shape=(1, 8, 8), filters=2, hidden=4, seed=0)


def compared(make, **options):
    """A fit with graphs beside one without."""
    losses, params = trained(make, recorded=False, **options)
    LINES.taken()
    found, now, *counts = trained(make, recorded=True, **options)
    equal = same(losses, found) and all(map(same, params, now))
    return dict(equal=equal, counts=counts, losses=losses.tolist(), said=LINES.taken())


def minibatches():
    """Steps over minibatches of other kinds."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/rows.npy", IMAGES)
        streamed = compared(mlp, images=f"{folder}/rows.npy")
    return dict(epochs=compared(mlp, epochs=4, n=None), streamed=streamed)


def with_options(recorded):
    """A fit whose learning rate and KL weight change, whose gradient is clipped, and whose steps may be skipped."""
    weight = theano.shared(np.float32(0.5))
    return trained(
        mlp,
        recorded,
        learning_rate=schedules.linear(1e-2, 1e-3, steps=STEPS),
        kl_weight=weight,
        total_grad_norm_constraint=10.0,
        bad_steps="skip",
        callbacks=[lambda approx, losses, i: weight.set_value(np.float32(1 / (i % 5 + 1)))],
    )


def options():
    """That fit with graphs beside the same without."""
    losses, params = with_options(recorded=False)
    LINES.taken()
    found, now, *counts = with_options(recorded=True)
    equal = same(losses, found) and all(map(same, params, now))
    return dict(equal=equal, counts=counts, losses=losses.tolist(), said=LINES.taken())


def resumed():
    """A fit in two parts beside one in one go, and with its losses fetched one by one."""
    whole = trained(mlp, recorded=True)
    singly = trained(mlp, recorded=True, fetch_every=1)
    with tempfile.TemporaryDirectory() as folder:
        given = dict(recorded=True, checkpoint=folder, checkpoint_every=5)
        trained(mlp, n=STEPS // 2, **given)
        again = trained(mlp, resume=True, **given)
    equal = [same(whole[0], other[0]) and all(map(same, whole[1], other[1])) for other in (again, singly)]
    return dict(equal=equal, counts=[whole[2], again[2], singly[2]])


def function(n=3):
    """A step of a few Ops: x and z change places, y is not computed in place, t is on the host."""
    x, z = (theano.shared(np.arange(n, dtype="float32") + i) for i in range(2))
    y, t = theano.shared(np.ones((2, n), "float32")), theano.shared(np.int64(0))
    factor, rows = theano.shared(np.float32(0.5)), theano.shared(np.int64(1))
    updates = {x: z, z: x, y: (y + x * factor)[::-1], t: t + 1}
    product = tt.dot(y[:, ::2], y[:, ::-2].T)  # BLAS takes copies of such operands, and gives them back at once
    outputs = [y[:rows].sum(0), tt.cast(t, "float32") * factor, product]
    step = theano.function([], outputs, updates=updates)
    return step, dict(x=x, z=z, y=y, t=t, factor=factor, rows=rows)


def changes():
    """A step as a graph beside the same without, while its inputs are given new values between the steps."""
    import pygpu  # the test beside, which has no GPU, imports this module too

    context = get_context(None)
    (plain, there), (inner, here) = function(), function()
    step = StepGraph(inner)
    equal, recordings, outputs, others = [], [], [], []

    def take(n=6):
        for _ in range(n):
            outputs.append((plain(), step()))
            others[:] = [pygpu.empty(size, "float32", context=context) for size in (4, 16, 64, 4096) for _ in range(20)]
            for array in others:  # others get memory that a graph may not share
                array[...] = np.nan
        pairs = [pair for got in outputs for pair in zip(*got)]
        pairs += [(there[name].get_value(), here[name].get_value()) for name in here]
        equal.append(all(same(*pair) for pair in pairs))
        recordings.append(step.recordings)

    def give(name, value):
        for variables in (there, here):
            variables[name].set_value(value)

    take()
    give("y", np.full((2, 3), 7, "float32"))  # into the same memory
    take()
    give("factor", np.float32(0.25))  # a number of the host that goes to the GPU
    take()
    give("rows", np.int64(2))  # one that the launches depend on
    take()
    give("y", np.ones((4, 3), "float32"))  # another shape
    take()
    for variables in (there, here):  # another place
        value = pygpu.array(np.arange(12, dtype="float32").reshape(4, 3), context=context)
        variables["y"].set_value(value, borrow=True)
    take()
    shared = here["x"].get_value(borrow=True, return_internal_type=True)
    there["z"].set_value(there["x"].get_value())
    here["z"].set_value(shared, borrow=True)  # one array for two variables
    take()
    return dict(equal=equal, recordings=recordings, replays=step.replays)


def interrupted():
    """A recording that Ctrl-C ends has changed nothing, and the next step is recorded."""
    (plain, there), (inner, here) = function(), function()
    step = StepGraph(inner)
    for _ in range(graph.WARM_UP):
        plain(), step()
    last, thunk = step._recorded[-1], step._thunks[step._recorded[-1]]
    step._thunks = list(step._thunks)

    def interrupt():
        raise KeyboardInterrupt

    step._thunks[last] = interrupt
    try:
        step()
    except KeyboardInterrupt:
        step._thunks[last] = thunk
    for _ in range(3):
        plain(), step()
    equal = all(same(there[name].get_value(), here[name].get_value()) for name in here)
    return dict(equal=equal, counts=[step.recordings, step.replays])


class Copied(Op):
    """A copy on the GPU whose shape is known when it is there."""

    __props__ = ()

    def make_node(self, x):
        x = as_gpuarray_variable(x, None)
        return Apply(self, [x], [x.type()])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].copy()


def smaller_last():
    """A step whose epochs end with a smaller minibatch, as a graph beside the same without, and what it asks for.

    Of the minibatch's size depend shapes, numbers that are copied to the GPU, and what is not computed in place.
    """
    rows = np.random.default_rng(1).random((8, 6)).astype("float32")
    functions, states = [], []
    for _ in range(2):
        x, y = theano.shared(np.ones(6, "float32")), theano.shared(np.ones((2, 6), "float32"))
        batch = fastvae.Minibatch(rows, 3, seed=1, sampler="epochs", last="keep")
        size = tt.cast(batch.shape[0], "float32")
        updates = {x: x + batch.sum(0) / size, y: (y * x / size)[::-1]}
        rows_there = tt.cast(Copied()(batch).shape[0], "float32")
        outputs = [tt.dot(batch, x), rows_there * x.sum(), batch]
        functions.append(theano.function([], outputs, updates=updates))
        states.append([x, y])
    plain, step = functions[0], StepGraph(functions[1])
    equal = []
    for _ in range(STEPS):
        equal += map(same, plain(), step())
        equal += [same(one.get_value(), other.get_value()) for one, other in zip(*states)]
    cuda_device.reset()
    step(), step()
    launches = cuda_device.counts()["cuGraphLaunch"]
    return dict(equal=all(equal), counts=[step.recordings, step.replays], launches=launches)


def fall_backs():
    """What is said of steps that cannot be recorded, and whether they compute what they should."""
    x, i = theano.shared(np.arange(6, dtype="float32"), name="x"), theano.shared(np.array([1, 2]))
    rows = advanced_subtensor1(x, i)  # an Op that looks at an error's flag on the host
    argument, on_host = tt.fscalar(), theano.shared(np.float32(1))
    collecting = theano.Mode(VM_Linker(allow_gc=True))
    guarded = NanGuardMode(nan_is_error=True, inf_is_error=True, big_is_error=True)
    functions = {
        "a check on the host": theano.function([], updates={x: tt.inc_subtensor(x[:2], rows)}),
        "through the host": theano.function([], updates={x: x[: tt.cast(x.sum() > -1, "int64") + 2]}),
        "a choice": theano.function([], updates={x: ifelse(tt.gt(on_host, 0), x + 1, x * 2)}),
        "memory given back": theano.function([], updates={x: x + 1}, mode=collecting),
        "a look at every Op": theano.function([], updates={x: x + 1}, mode=guarded),
        "an argument": theano.function([argument], updates={x: x + argument}),
        "the host alone": theano.function([], updates={on_host: on_host + 1}),
        "a new size": theano.function([], updates={x: tt.concatenate([x, x[:1]])}),
    }
    found = {}
    for name, plain in functions.items():
        results = []
        for take in (plain, graph.stepping(plain)):
            x.set_value(np.arange(6, dtype="float32"))
            for _ in range(6):
                take(*[np.float32(1)] * (name == "an argument"))
            results.append(x.get_value())
        found[name] = dict(said=LINES.taken(), equal=same(*results))
    return found


def moving():
    """What is said, once, of a step whose input is somewhere else in every step, and its result."""
    import pygpu

    graph.PATIENCE = 8
    context, x = get_context(None), theano.shared(np.zeros(3, "float32"))
    total = theano.shared(np.zeros(3, "float32"))
    step = graph.stepping(theano.function([], updates={total: total + x}))
    kept = [pygpu.array(np.full(3, i, "float32"), context=context) for i in range(12)]
    for value in kept:
        x.set_value(value, borrow=True)
        step()
    return dict(said=LINES.taken(), total=total.get_value().tolist())


def switch():
    """Whether the key of the profile, and another backend, leave a step as it is."""
    active = profiles.active()
    off = dataclasses.replace(active, settings={**active.settings, "fastvae.cuda_graphs": ("False", "the test")})
    step, _ = function()
    graph.StepGraph = StepGraph
    stepping = [backends.stepping(step, profile) for profile in (off, active)]
    return [type(wrapped).__name__ for wrapped in stepping]


def python_loop():
    """A scalar that a step updates, where Theano runs it by its loop in Python, as it does without a C++ compiler.

    The sum of x is a scalar whose place it could have had.
    """
    x, matrix = theano.shared(np.ones(4, "float32")), theano.shared(np.eye(4, dtype="float32"))
    total = gpuarray_shared_constructor(np.zeros((), "float32"), target=None)
    rows = tt.dot(matrix, tt.dot(matrix, x * x.sum()) * x.sum())
    looping = theano.Mode(VM_Linker(allow_gc=False, use_cloop=False), mode.get_default_mode().provided_optimizer)
    plain = theano.function([], updates={total: total + rows.sum(), x: x * np.float32(0.9)}, mode=looping)
    step, results = StepGraph(plain), []
    for take in (plain, step):
        total.set_value(np.zeros((), "float32"))
        x.set_value(np.ones(4, "float32"))
        for _ in range(STEPS):
            take()
        results.append(np.asarray(total.get_value()))
    return dict(loop=type(plain.fn).__name__, equal=same(*results), counts=[step.recordings, step.replays])


def calls():
    """What a replayed step asks of the driver."""
    x = theano.shared(np.ones(3, "float32"))
    step = StepGraph(theano.function([], updates={x: x * x.sum()}))
    for _ in range(graph.WARM_UP + 1):
        step()
    cuda_device.reset()
    step()
    return cuda_device.counts()


def main():
    cuda_device.without_host_code()
    report = dict(
        mlp=compared(mlp), conv=compared(conv), minibatches=minibatches(), options=options(), resumed=resumed(),
        changes=changes(), interrupted=interrupted(), smaller_last=smaller_last(), fall_backs=fall_backs(),
        moving=moving(), switch=switch(), calls=calls(), python_loop=python_loop(),
    )  # fmt: skip
    made.clear()
    gc.collect()
    print(json.dumps({**report, "living": cuda_device.living_graphs()}))


if __name__ == "__main__":
    main()
