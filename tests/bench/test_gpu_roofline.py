"""The roofline of a GPU step: its arithmetic on a log made by hand, and the steps' launches on the tests' device."""

import os

import pytest

from bench import gpu_roofline, pytorch_on_paper
from bench.gpu_roofline import CARDS, IN_A_GRAPH, Card, Operation
from tests import cuda_device
from tests.conftest import compile_cache

CARD = Card("a card", 1e12, 1e11)
LOG = [
    dict(name="adam", grid=[8, 1, 1], block=[256, 1, 1], read=4e5, written=6e5, flop=1e3),
    dict(name="gemm", grid=[0, 0, 0], block=[0, 0, 0], read=1e5, written=1e5, flop=3e7),
    dict(name="adam", grid=[8, 1, 1], block=[256, 1, 1], read=0, written=0, flop=0),
]


def test_an_operation_takes_as_long_as_the_slower_of_bytes_and_arithmetic():
    step = gpu_roofline.operations(LOG)
    assert [o.seconds(CARD) for o in step] == pytest.approx([1e-5, 3e-5, 0])
    assert gpu_roofline.totals(step) == dict(launches=2, calls=1, read=5e5, written=7e5, flop=3e7 + 1e3)
    ms = gpu_roofline.predicted(step, CARD)
    assert ms["arithmetic"] == pytest.approx(0.030001) and ms["operations"] == pytest.approx(0.04)
    assert ms["graph"] == pytest.approx(0.04 + 3e3 * IN_A_GRAPH)
    # The last one waits for the host.
    assert ms["stream"] == pytest.approx(0.04 + 2e3 * IN_A_GRAPH + 1e3 * gpu_roofline.BY_THE_HOST)
    rows = gpu_roofline.costliest(step, CARD)
    assert [(row["name"], row["number"], round(row["microseconds"])) for row in rows] == [
        ("gemm", 1, 30),
        ("adam", 2, 10),
    ]


def test_the_report_says_that_it_is_predicted():
    step = gpu_roofline.operations(LOG)
    report = gpu_roofline.report(step, step)
    assert report["predicted"] and set(report["cards"]) == {card.name for card in CARDS}
    text = gpu_roofline.table(report)
    assert text.startswith("PREDICTED") and "fastvae: 2 launches, 1 library calls, 0.5 MB read" in text


def test_pytorchs_step_on_paper_has_the_seed_models_arithmetic():
    """22.3 GFLOP, which the tests' cuDNN and cuBLAS counted of fastvae's step."""
    conv = gpu_roofline.totals([Operation(*row) for row in pytorch_on_paper.step("conv", 64)])
    assert conv["flop"] == pytest.approx(22.3e9, rel=2e-3) and conv["calls"] == 10 * 3 - 1
    mlp = gpu_roofline.totals([Operation(*row) for row in pytorch_on_paper.step("mlp", 64)])
    assert mlp["flop"] == pytest.approx(6.45e7, rel=5e-3) and mlp["calls"] == 4 * 3 - 1


@pytest.fixture(scope="module")
def toy_steps(computing_device, tmp_path_factory):
    """The operations of both steps at toy size; the device checks every access."""
    os.makedirs(compile_cache("cuda"), exist_ok=True)
    steps = {}
    for kind in ("conv", "mlp"):
        environ = {**os.environ, **cuda_device.environ(computing_device), "TEST_DEVICE_CHECK": "1"}
        environ["THEANO_FLAGS"] = (
            f"base_compiledir={compile_cache('cuda')},gcc.cxxflags=-O0,{cuda_device.CHECKING_FLAGS}"
        )
        environ["TEST_DEVICE_LOG"] = str(tmp_path_factory.mktemp(kind) / "log")
        steps[kind] = gpu_roofline.logged(kind, True, 8, environ)
    return steps


@pytest.mark.parametrize("kind, launches, calls", [("conv", 16, 20), ("mlp", 7, 5)])
def test_a_step_needs_few_launches(toy_steps, kind, launches, calls):
    totals = gpu_roofline.totals(toy_steps[kind])
    assert (totals["launches"], totals["calls"]) == (launches, calls)


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_a_step_moves_less_than_pytorchs(toy_steps, kind):
    """Its activations are not read again: the bytes of PyTorch's step on paper, less a tenth."""
    ours = gpu_roofline.totals(toy_steps[kind])
    paper = [Operation(*row) for row in pytorch_on_paper.step(kind, 8, **gpu_roofline.TOY[kind])]
    theirs = gpu_roofline.totals(paper)
    assert ours["read"] + ours["written"] < 0.9 * (theirs["read"] + theirs["written"])


@pytest.mark.exhaustive
def test_the_seed_step_takes_at_most_one_and_a_half_times_its_arithmetic_on_an_h100():
    """At full size, in a CUDA graph; the figures are those of docs/tutorials/gpus.md."""
    step = gpu_roofline.measured("conv")
    (h100,) = [card for card in CARDS if card.name == "H100"]
    ms = gpu_roofline.predicted(step, h100)
    assert ms["graph"] <= 1.5 * ms["arithmetic"]
    totals = gpu_roofline.totals(step)
    assert (totals["read"], totals["written"]) == pytest.approx((549e6, 304e6), rel=0.01)
    mlp = gpu_roofline.predicted(gpu_roofline.measured("mlp"), h100)
    assert mlp["graph"] <= 0.02
