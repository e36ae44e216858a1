"""What the tests beside run on the tests' device, in one process: cuDNN's Op on numbers, and the seed model's step.

JSON on the output: the norm-wise error of every case, what was counted, and what was refused; with the argument `step`
only what the step counts, with `host time` that and the host's milliseconds a step, also as a CUDA graph.
"""

import collections
import json
import os
import sys
import time

import fastvae  # isort: skip
import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from theano.compile import optdb
from theano.tensor.nnet.abstract_conv import conv2d, conv2d_grad_wrt_inputs

from bench.convolution_cases import PLAIN, cases, error, expected, function_of, on_device, operands
from fastvae import backends, profiles
from fastvae.backends import abstract
from fastvae.backends.abstract.upsample import Upsample
from fastvae.backends.gpu import library
from fastvae.backends.gpu.graph import WARM_UP, StepGraph
from fastvae.elbo import step_updates, vae_model
from fastvae.training.losses import LossBuffer
from tests import cuda_device

BATCH = 4


def numbers():
    """The norm-wise error of every kind and geometry, with contiguous and with strided operands, and for no images."""
    errors = {name: worst() for name, worst in cases()}
    abstract_op = abstract.ConvWeightsGradient("top", **PLAIN)
    image, top, weights = operands(abstract_op)
    function = function_of(abstract_op, (image, top, weights))
    gradient, sums = function(*map(on_device, (image[:0], top[:0], weights)))
    errors["no images"] = float(np.abs(np.asarray(gradient)).max() + np.abs(np.asarray(sums)).max())
    return errors


def refusals():
    """The message for each kind of operand that does not fit."""
    abstract_op = abstract.Conv(**PLAIN)
    image, weights = operands(abstract_op)
    function = function_of(abstract_op, [image, weights])
    messages = {}
    for name, arguments in {
        "channels": (image[:, :1], weights),
        "small": (image[:, :, :2], weights),
        "no channels": (image[:, :0], weights[:, :0]),
    }.items():
        try:
            function(*map(on_device, map(np.ascontiguousarray, arguments)))
        except ValueError as refusal:
            messages[name] = str(refusal).splitlines()[0]
    return messages


def fall_backs():
    """What is counted when algorithm 1 refuses to run, and when its workspace is beyond the limit."""
    counted = {}
    for name, variable, value in (
        ("refuses", "TEST_DEVICE_REFUSE", "1"),
        ("workspace", "TEST_DEVICE_WORKSPACE", str(1 << 31)),
    ):
        os.environ[variable] = value
        abstract_op = abstract.Conv(**PLAIN)
        values = operands(abstract_op)
        function = function_of(abstract_op, values)
        cuda_device.reset()
        for _ in range(2):
            (got,) = function(*map(on_device, values))
        counted[name] = {**cuda_device.counts(), "error": error(got, expected(abstract_op, *values)[0])}
        del os.environ[variable]
    return counted


def leaks():
    """Living descriptors of cuDNN before and after a function that met more shapes than it keeps plans."""
    import gc

    abstract_op = abstract.Conv("relu", **PLAIN)
    image, weights, bias = operands(abstract_op)
    gc.collect()
    living = [cuda_device.cudnn().device_descriptors()]
    function = function_of(abstract_op, [image, weights, bias])
    for n in range(1, 25):
        function(*map(on_device, (np.repeat(image[:1], n, axis=0), weights, bias)))
    living.append(cuda_device.cudnn().device_descriptors())
    del function
    gc.collect()
    return [*living, cuda_device.cudnn().device_descriptors()]


def policies():
    """What is counted under TF32 and with a search, and the message where no algorithm is deterministic."""
    path, counted = profiles.active().cudnn, {}
    abstract_op = abstract.Conv(**PLAIN)
    values = operands(abstract_op)
    for name, flags in {"tf32": (True, False, False), "search": (False, False, True)}.items():
        library.open_cudnn(path, *flags)
        function = function_of(abstract_op, values)
        cuda_device.reset()
        (got,) = function(*map(on_device, values))
        counted[name] = {**cuda_device.counts(), "error": error(got, expected(abstract_op, *values)[0])}
    library.open_cudnn(path, False, True, False)
    os.environ["TEST_DEVICE_WORKSPACE"] = str(1 << 31)  # leaves algorithm 0, which is not deterministic
    try:
        function_of(abstract_op, values)(*map(on_device, values))
    except RuntimeError as refusal:
        counted["deterministic"] = str(refusal).splitlines()[0]
    return counted


def ops_of(function):
    return collections.Counter(type(node.op).__name__ for node in function.maker.fgraph.apply_nodes)


def lowered():
    """The Ops of a user's convolutions in stock Theano, on the device and with nothing else there."""
    x = tt.tensor4()
    w = theano.shared(np.zeros((4, 2, 3, 3), "float32"))
    y = conv2d(x, w, border_mode=(1, 1), subsample=(2, 2))
    graphs = {
        "stock": theano.function([x], [y, theano.grad(y.sum(), w)]),
        "transposed": theano.function([x], conv2d_grad_wrt_inputs(x, w, (None, 2, 9, 9))),
        "asymmetric": theano.function([x], conv2d(x, w, border_mode=((1, 0), (0, 2)))),
        "upsampled": theano.function([x], Upsample((2, 2))(x)),
        "inputs only": theano.function([x, (v := tt.tensor4())], conv2d(x, v)),
    }
    return {name: ops_of(function) for name, function in graphs.items()}


def seed_step(buffered=True):
    """The seed model's step, which leaves its loss on the device or returns it."""
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 28, 28), dtype="uint8")
    vae = fastvae.ConvVAE(seed=1)
    model, local_rv, xs = vae_model(vae, BATCH, len(images))
    loss, updates = step_updates(
        pm.ADVI(local_rv=local_rv, model=model).objective,
        obj_optimizer=fastvae.adam(learning_rate=1e-4),
        more_obj_params=vae.get_params(),
        more_replacements={xs: fastvae.Minibatch(images, BATCH, seed=1, scale=1 / 255)},
    )
    if not buffered:
        return theano.function([], loss, updates=updates)
    return theano.function([], updates=[*updates.items(), *LossBuffer(loss, 100).updates])


def counted(step):
    """What one call of a step counts, once earlier ones have allocated and compiled, and its Ops."""
    for _ in range(3):
        step()
    cuda_device.reset()
    step()
    return dict(step=cuda_device.counts(), nodes=len(step.maker.fgraph.apply_nodes), ops=ops_of(step))


def host_time(step, rounds=10, steps=200):
    """Milliseconds of this thread for a step: the least of some rounds."""
    taken = []
    for _ in range(rounds):
        before = time.thread_time()
        for _ in range(steps):
            step()
        taken.append((time.thread_time() - before) / steps)
    return 1000 * min(taken)


def factor():
    """What is counted in calls with a factor of the host that is the same, another one, and the same again."""
    x, scale = theano.shared(np.ones((4, 4), "float32")), theano.shared(np.float32(2))
    function = theano.function([], updates={x: x * scale})
    counts = []
    for value in (2, 2, 3, 3):
        scale.set_value(np.float32(value))
        cuda_device.reset()
        function()
        counts.append(cuda_device.figures(cuda_device.counts())["host_to_device"])
    return counts


def main(only=None):
    if only == "host time":
        step = seed_step()
        report = dict(**counted(step), milliseconds=host_time(step))
        recorded = StepGraph(step)
        for _ in range(WARM_UP + 1):
            recorded()
        print(json.dumps({**report, "replayed": host_time(recorded)}))
        return
    if only == "step":
        cuda_device.without_host_code()
        print(json.dumps(dict(buffered=counted(seed_step()))))
        return
    report = dict(errors=numbers(), refusals=refusals(), fall_backs=fall_backs(), leaks=leaks(), lowered=lowered())
    cuda_device.without_host_code()
    report.update(buffered=counted(seed_step()), fetched=counted(seed_step(buffered=False)), factor=factor())
    report.update(streams=cuda_device.cudnn().device_streams(), override=os.environ["NVIDIA_TF32_OVERRIDE"])
    report.update(policies=policies(), loaded=[name for name in sys.modules if name.startswith("fastvae.backends.")])
    report.update(positions=optdb.__position__, table=backends.load("gpu").register.__doc__)
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
