"""Modules compiled side by side are those that theano compiles one by one, and its cache holds the same."""

import json
import os

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.gof import Apply, Op, compilelock

from fastvae import compilation

# One step of the seed model: how many compilers ran, how many at a time, and the loss.
SEED_STEP = """
import json, sys, threading
import fastvae, numpy as np
from theano.gof import cmodule
running, most, modules = 0, 0, 0
lock, run = threading.Lock(), cmodule.output_subprocess_Popen
def counted(command):
    if "-shared" not in command:
        return run(command)
    global running, most, modules
    with lock:
        running, modules = running + 1, modules + 1
        most = max(most, running)
    try:
        return run(command)
    finally:
        with lock:
            running -= 1
cmodule.output_subprocess_Popen = counted
vae = fastvae.ConvVAE(image_shape=(1, 28, 28), n_latent=2, seed=1)
approx = vae.fit(np.full((8, 1, 28, 28), 0.25, "f"), n=1, batch_size=4, seed=1)
print(json.dumps(dict(modules=modules, most=most, loss=float(approx.hist[0]))))
"""
MODULES = 80  # a bound for the seed step, theano's helpers included; stock compiles about 100


class Plus(Op):
    """x + n in C that no cache keeps."""

    __props__ = ("n",)

    def __init__(self, n):
        self.n = n

    def make_node(self, x):
        return Apply(self, [x], [x.type()])

    def c_code(self, node, name, inputs, outputs, sub):
        return f"{outputs[0]} = {inputs[0]} + {self.n};"


@pytest.fixture
def compiled(monkeypatch):
    """(in a folder of its own, module) of every module that g++ makes."""
    made, stock = [], compilation._Batch._compile

    def compile_ahead(self, sources, *args):
        made.extend(sources)
        return stock(self, sources, *args)

    monkeypatch.setattr(compilation._Batch, "_compile", compile_ahead)
    return made


def plus(*numbers):
    x = total = tt.lscalar()
    scalar = tt.scalar_from_tensor(x)
    for n in numbers:
        total = total + tt.tensor_from_scalar(Plus(n)(scalar))
    return theano.function([x], total)


def test_a_cold_start_of_the_seed_step_compiles_few_modules_and_a_warm_one_none(python, tmp_path):
    flags = f"base_compiledir={tmp_path / 'empty'},gcc.cxxflags=-O0"  # quicker, and no fewer modules
    options = dict(THEANO_FLAGS=flags, FASTVAE_PROFILE="cpu", OMP_NUM_THREADS="2")
    cold, warm = (python(SEED_STEP, **options) for _ in range(2))
    assert cold.returncode == 0 and warm.returncode == 0, cold.stderr + warm.stderr
    first, second = (json.loads(done.stdout) for done in (cold, warm))
    assert first["modules"] <= MODULES and first["most"] == min(2, len(os.sched_getaffinity(0)))
    assert second == dict(modules=0, most=0, loss=first["loss"])
    _, done, _, total, *_ = [line for line in cold.stderr.splitlines() if line.startswith("compiled ")][-1].split()
    assert done == total
    assert "\ncompiled " not in warm.stderr


def test_the_missing_modules_are_compiled_once_before_they_are_asked_for(compiled):
    seen = []
    with compilation.watched(lambda done, total: seen.append((done, total))):
        function = plus(101, 102, 103, 102)
    assert function(1) == 1 + 102 + 103 + 104 + 103
    assert len(compiled) == len(set(compiled)) == len(seen) and len(compiled) >= 3
    assert seen[-1] == (len(compiled), len(compiled))
    before = len(compiled)
    assert plus(101, 102, 103, 102)(2) == 2 + 103 + 104 + 105 + 104
    assert len(compiled) == before


def test_a_module_that_does_not_compile_is_the_error_that_it_was(capfd):
    with pytest.raises(Exception, match="Compilation failed .*not_declared"):
        plus(201, "not_declared")
    assert compilelock.get_lock.n_lock == 0
    assert plus(201)(1) == 203


@pytest.mark.parametrize(
    "expression, expected",
    [
        (lambda x: x.dimshuffle(1, "x", 0), lambda x: x.T[:, None]),
        (lambda x: x[1, :2], lambda x: x[1, :2]),
        (lambda x: tt.exp(x[:1, 1:2]), lambda x: np.exp(x[:1, 1:2])),
    ],
)
def test_small_constants_are_folded_without_a_compiler(monkeypatch, expression, expected):
    monkeypatch.setattr(theano.gof.cc.CLinker, "__compile__", lambda *_, **__: pytest.fail("a compiler was asked"))
    value = np.linspace(0.1, 0.7, 6, dtype="float32").reshape(2, 3)
    graph = theano.gof.FunctionGraph([], [expression(tt.constant(value))])
    tt.opt.topo_constant_folding.optimize(graph)
    (folded,) = graph.outputs
    assert isinstance(folded, theano.Constant) and folded.dtype == "float32"
    np.testing.assert_array_equal(folded.data, expected(value))


def test_large_constants_are_folded_as_before():
    node = tt.constant(np.zeros(compilation.SMALL + 1, "float32")).dimshuffle("x", 0).owner
    assert not node.op.python_constant_folding(node)
