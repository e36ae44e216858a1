"""Both seed models on the tests' device: the CPU's numbers, no finding, the same bits in any order of threads."""

import json

import numpy as np
import pytest

from bench import problem
from tests.conftest import last_line_of

SEEDS = range(1, 21)
KINDS = ("mlp", "conv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    for kind in KINDS:
        problem.write(folder / f"{kind}.npz", kind, quick=True, steps=6)
    return folder


@pytest.fixture(scope="module")
def checked(cuda_process, folder):
    """Runs the steps under the checks and these seeds; gives the findings."""

    return lambda *seeds: json.loads(cuda_process("tests.cuda_device.steps", folder, *seeds, checked=True))


@pytest.fixture(scope="module")
def findings(checked):
    return checked(*SEEDS[:2])


@pytest.fixture(scope="module")
def on_cpu(folder):
    last_line_of("tests.cuda_device.steps", folder, FASTVAE_PROFILE="cpu")
    return lambda kind: np.load(folder / f"{kind}.cpu.None.npz")


def distance(got, wanted):
    """The norm-wise difference."""
    got, wanted = got.astype("float64"), wanted.astype("float64")
    return np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), 1e-30)


def differ_in_bits(folder, kind, seed):
    got, wanted = (np.load(folder / f"{kind}.cuda.{name}.npz") for name in (seed, None))
    return [name for name in wanted.files if got[name].tobytes() != wanted[name].tobytes()]


def test_nothing_is_found_in_the_steps_of_both_models(findings):
    assert findings == []


@pytest.mark.parametrize("kind", KINDS)
def test_losses_gradients_and_parameters_are_the_cpus(findings, folder, on_cpu, kind):
    got, wanted = np.load(folder / f"{kind}.cuda.None.npz"), on_cpu(kind)
    assert sorted(got.files) == sorted(wanted.files) and len(got["losses"]) == 5
    for name in wanted.files:
        assert distance(got[name], wanted[name]) < (1e-4 if name.startswith("state") else 1e-5), name


@pytest.mark.parametrize("kind", KINDS)
def test_two_orders_of_blocks_and_threads_give_the_same_bits(findings, folder, kind):
    assert [differ_in_bits(folder, kind, seed) for seed in SEEDS[:2]] == [[], []]


def test_nothing_is_found_in_any_op_that_a_step_runs(cuda_process):
    found = json.loads(cuda_process("tests.cuda_device.checked_ops", checked=True))
    assert found["n"] > 30 and found["failed"] == found["findings"] == []


@pytest.mark.exhaustive
def test_twenty_orders_of_blocks_and_threads_give_the_same_bits(checked, folder):
    assert checked(*SEEDS) == []
    assert not any(differ_in_bits(folder, kind, seed) for kind in KINDS for seed in SEEDS)


# The stock kernel of sums along an axis leaves threads out of its barriers and reads what it does not use.
STOCKS_OWN = "k_blockCumOp"


@pytest.mark.exhaustive
def test_every_kind_of_theanos_gpu_ops_computes_what_python_does(cuda_process):
    found = json.loads(cuda_process("tests.cuda_device.sweep", checked=True))
    assert [line for line in found.pop("findings") if STOCKS_OWN not in line] == []
    assert {name: one["wrong"] for name, one in found.items() if one["wrong"]} == {}
    assert len({op for one in found.values() for op in one["ops"]}) > 25
