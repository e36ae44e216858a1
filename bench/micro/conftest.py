"""Micro-benchmarks of the profile `cpu`: what each Op of the seed model's step takes, at the step's own sizes.

    python -m pytest bench/micro --benchmark-json=micro.json

No part of the ordinary tests, and of no use to judge a change on a machine that others use too: a figure here says
where to look, `bench/measure.py` and `bench/guard.py` say whether it matters.
"""

import numpy as np
import pytest

import fastvae  # isort: skip  (before theano)
import theano
import theano.tensor as tt
from theano import Out

from fastvae.backends.cpu.op import CpuOp

BATCH = 64
DIRECT = theano.Mode(linker="cvm", optimizer=None)  # the Op itself, without rewrites


@pytest.fixture(autouse=True, scope="session")
def backend():
    """The profile that is measured."""
    profile = fastvae.profiles.active()
    if profile.backend != "cpu":
        pytest.skip(f"n/a: profile {profile.name} has no oneDNN")


@pytest.fixture(scope="session")
def drawn():
    """A shared variable of standard normal numbers, float32, in a shape; the same numbers in every run."""

    def drawn(*shape, scale=1.0):
        return theano.shared((scale * np.random.default_rng(0).standard_normal(shape)).astype("float32"))

    return drawn


@pytest.fixture
def timed(benchmark):
    """Time a function of these outputs, which must hold an Op of the given kind; `work` is its arithmetic in GFLOP."""

    def timed(outputs, kind, work=None, mode=None, updates=None):
        outputs = [Out(v, borrow=True) for v in outputs]
        function = theano.function([], outputs, mode=mode, updates=updates)
        assert any(isinstance(node.op, kind) for node in function.maker.fgraph.toposort())
        benchmark.extra_info["profile"] = fastvae.profiles.active().name
        benchmark.extra_info["threads"] = fastvae.devices.threads.requested().count
        values = benchmark.pedantic(function, rounds=10, warmup_rounds=2)
        if work is not None:
            benchmark.extra_info["GFLOP/s"] = work / benchmark.stats["median"]
        assert all(np.isfinite(value).all() for value in values)

    return timed


@pytest.fixture
def op_timed(timed):
    """Time one Op on these inputs."""

    def op_timed(op, *inputs, work=None):
        assert isinstance(op, CpuOp)
        inputs = map(tt.as_tensor_variable, inputs)
        timed(op(*inputs, return_list=True), type(op), work, mode=DIRECT)

    return op_timed
