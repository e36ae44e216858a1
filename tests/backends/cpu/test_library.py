"""The compiled module: made once, remade when a source changes, and what its processes and threads may do."""

import os
import resource
import subprocess
import threading
import time

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.backends.abstract import reference
from fastvae.backends.cpu import library
from fastvae.backends.cpu.op import CpuOp
from fastvae.errors import StackError

PROGRAM = """
import os
import fastvae, numpy as np, theano, theano.tensor as tt
from fastvae.backends import abstract, cpu
cpu.register(fastvae.profiles.active())
x, w = theano.shared(np.ones((64, 300), "float32")), theano.shared(np.ones((300, 300), "float32"))
step = theano.function([], abstract.dense(x, w).sum())
"""


def memory_in_use():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


@pytest.fixture
def fresh():
    library.load.cache_clear()
    yield
    library.load.cache_clear()


def test_compiles_once(monkeypatch, fresh):
    library.load()
    library.load.cache_clear()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    assert library.load().make_thunk


def test_compiler_errors_are_reported(monkeypatch, fresh, tmp_path):
    (tmp_path / "broken.c").write_text("this is not C")
    (tmp_path / "kinds.h").touch()  # the shared code includes it: no fault but the one above
    monkeypatch.setattr(library, "HERE", str(tmp_path))
    with pytest.raises(StackError, match="(?s)did not compile .*'cpu-blas'.*broken.c"):
        library.load()


def test_a_thunk_needs_its_settings():
    with pytest.raises(ValueError, match="no Op Convolution with 1 settings"):
        library.load().make_thunk("Convolution", (1.0,), [], [])
    with pytest.raises(TypeError, match="not a thunk"):
        library.load().call_thunk(None)


def subclasses(cls):
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


def test_every_part_has_ops_that_name_it():
    folders = {entry.name for entry in os.scandir(library.PARTS) if entry.is_dir()}
    assert {cls.part for cls in subclasses(CpuOp)} == {None, *folders}


def test_only_the_parts_that_a_graph_needs_are_compiled(monkeypatch):
    asked, compiled = [], library.compiled
    monkeypatch.setattr(library, "compiled", lambda part=None: asked.append(part) or compiled(part))
    x, w = tt.tensor4(dtype="float32"), tt.tensor4(dtype="float32")
    theano.function([x, w], abstract.conv2d(x, w))
    end = time.monotonic() + 30  # a thread asks
    while "convolution" not in asked and time.monotonic() < end:
        time.sleep(0.01)
    assert {part for part in asked if part is not None} == {"convolution"}


def test_a_part_that_cannot_be_loaded_is_named(tmp_path):
    path = str(tmp_path / "no_part.so")
    with pytest.raises(ImportError, match=path):
        library.load().load_part(path)


def test_memory_stays_bounded_when_shapes_change(rng):
    """Many more shapes than plans are kept: neither plans nor buffers pile up."""
    x, w = tt.tensor4("x", "float32"), theano.shared(rng.randn(8, 3, 3, 3).astype("float32"))
    y = abstract.conv2d(x, w, activation="relu")
    step = theano.function([x], theano.grad(tt.sum(y**2), [w, x]))
    images = rng.randn(64, 3, 12, 12).astype("float32")

    def run(times):
        for i in range(times):
            step(images[: 1 + i % 20])

    run(60)
    before = memory_in_use()
    run(300)
    assert memory_in_use() - before < 4e6


def test_functions_in_two_threads_stay_correct(rng, close):
    def layer(seed):
        local = np.random.RandomState(seed)
        channels = (4, 32)[seed % 2]  # oneDNN's direct kernel, Winograd's
        x, w = (local.randn(*s).astype("float32") for s in ((9, channels, 20, 20), (32, channels, 3, 3)))
        y = abstract.conv2d(theano.shared(x), theano.shared(w))
        plain = dict(padding=((0, 0), (0, 0)), stride=(1, 1), dilation=(1, 1), groups=1, flip=False)
        return theano.function([], y), reference.forward(x.astype("float64"), w.astype("float64"), **plain)

    def work(function, expected):
        try:
            for _ in range(40):
                close(function(), expected)
        except Exception as error:
            errors.append(error)

    errors = []
    threads = [threading.Thread(target=work, args=layer(seed)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_fork_before_the_first_step_works(python):
    result = python(PROGRAM + "pid = os.fork()\nstep()\nif pid: assert os.waitpid(pid, 0)[1] == 0\n", timeout=120)
    assert result.returncode == 0, result.stderr


def test_denormals_survive_in_the_process():
    library.load()
    assert np.float32(1e-40) * np.float32(1) != 0
