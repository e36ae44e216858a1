"""Modules compiled side by side are those that theano compiles one by one, and its cache holds the same."""

import gc
import json
import os
import threading

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.gof import Apply, Op, compilelock

from fastvae import compilation

# One step of the seed model: what was compiled in how many runs of the compiler, how many at a time, and the loss; and
# what of Python it took, the command line's own modules included.
SEED_STEP = """
import json, pathlib, subprocess, sys, threading
import fastvae, numpy as np, theano
import fastvae.cli.commands
from theano.gof import cmodule
running, most, runs = 0, 0, 0
lock = threading.Lock()
def counting(run):
    def counted(command, **options):
        others = any(word.endswith((".c.o", "cutils_ext.so")) for word in command)
        if "-shared" not in command or "-c" in command or others:
            return run(command, **options)
        global running, most, runs
        with lock:
            running, runs = running + 1, runs + 1
            most = max(most, running)
        try:
            return run(command, **options)
        finally:
            with lock:
                running -= 1
    return counted
cmodule.output_subprocess_Popen, subprocess.run = counting(cmodule.output_subprocess_Popen), counting(subprocess.run)
folder = pathlib.Path(theano.config.compiledir)
before = len(list(folder.glob("tmp*")))
vae = fastvae.ConvVAE(image_shape=(1, 28, 28), n_latent=2, seed=1)
approx = vae.fit(np.full((8, 1, 28, 28), 0.25, "f"), n=1, batch_size=4, seed=1)
heavy = ["arviz", "h5py", "matplotlib", "pandas", "scipy.signal", "scipy.stats", "setuptools", "xarray"]
print(json.dumps(dict(
    modules=len(list(folder.glob("tmp*"))) - before, runs=runs, most=most, loss=float(approx.hist[0]),
    heavy=[name for name in heavy if name in sys.modules], python=len(sys.modules),
)))
"""
MODULES = 60  # a bound for the seed step; stock compiles about 100
RUNS = 8  # of the compiler, each for several of these; theano's helpers and the CPU's own module are not among them
IMPORTED = 1250  # Python's modules after a step; they were 1,660 with what a step does not use


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
    assert 0 < first["modules"] <= MODULES and first["runs"] <= RUNS
    assert first["most"] == min(2, len(os.sched_getaffinity(0)))
    assert second["heavy"] == first["heavy"] == [] and second["python"] <= IMPORTED
    assert {**second, "python": 0} == dict(modules=0, runs=0, most=0, loss=first["loss"], heavy=[], python=0)
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


def test_what_fails_ahead_is_tried_again_when_it_is_needed(monkeypatch):
    done, tried = threading.Event(), []

    def fails_once():
        tried.append(threading.current_thread())
        if len(tried) == 1:
            raise OSError("no room")
        done.set()

    monkeypatch.setattr(compilation, "_preparations", [])
    compilation.prepare_with(fails_once)
    compilation.begin()
    with compilation.preparing():
        pass
    assert done.is_set() and len(tried) == 2 and threading.main_thread() not in tried


def test_python_looks_for_garbage_again_after_the_preparation():
    with compilation.preparing():
        assert not gc.isenabled()
    assert gc.isenabled()


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
