"""The report of a GPU: whole on the dry-run device, whose convolutions compute and whose other results are garbage."""

import json
import math
import types

import pytest

from bench import card, gpu_markdown, gpu_report
from bench.pairing import WorkerFailed
from bench.problem import Problem


@pytest.fixture(scope="module")
def dry(cuda_process, tmp_path_factory):
    """Folder, JSON and Markdown of a report from the dry-run device."""
    out = tmp_path_factory.mktemp("report")
    arguments = ("--quick", "--out", str(out), "--torch-python", "/nonexistent/python")
    cuda_process("bench.gpu_report", *arguments, status=1)
    return json.loads((out / "report.json").read_text()), (out / "report.md").read_text()


def test_every_kind_of_convolution_is_right_under_both_precisions(dry):
    found, _ = dry
    for precision in ("float32", "tf32"):
        rows = [row for row in found["operations"][precision] if row["group"] == "convolutions"]
        assert len(rows) == 12 and all(row["passed"] for row in rows)
        assert max(row["error"] for row in rows) < 1e-6
        assert {row["limit"] for row in rows} == {1e-5 if precision == "float32" else 2e-3}


def test_every_other_kind_of_op_is_checked_and_garbage_is_wrong(dry):
    found, text = dry
    rows = found["operations"]["float32"]
    wrong = [row for row in rows if not row["passed"]]
    groups = {"elementwise", "reductions", "gathers", "products", "optimizer"}  # an old array may hold normal numbers
    assert groups <= {row["group"] for row in wrong} <= groups | {"random numbers"}
    assert {row["message"] for row in rows} <= {"", "not finite"}  # each could be computed
    (failure,) = [line for line in found["failures"] if line.startswith("operations, float32:")]
    assert f"{len(wrong)} of {len(rows)} are wrong" in failure and f"- {failure}" in text


def test_a_training_that_does_not_learn_is_a_failure(dry):
    found, _ = dry
    assert any(line.startswith("training, float32: ") for line in found["failures"])
    assert any(line.startswith("training, tf32: ") for line in found["failures"])


def test_every_program_has_a_row_and_none_counts_that_does_not_agree(dry):
    found, text = dry
    rows = {(row["program"], row["precision"]): row for row in found["speed"]}
    assert len(rows) == 8
    for precision, profile in gpu_report.PROFILES.items():
        assert "no figure counts" in rows[f"fastvae, {profile}", precision]["failed"]
        for name in gpu_report.VARIANTS.values():
            assert rows[name, precision]["missing"] == "not installed: no interpreter /nonexistent/python"
            assert f"| {name} | {precision} | not installed: no interpreter" in text


def test_the_card_and_its_peak_are_stated(dry):
    found, text = dry
    assert found["card"]["name"] == "dry-run device 0" and "CUDA driver: found 13.0" in text
    assert found["card"]["peak_tflops"] == pytest.approx(132 * 128 * 2 * 1.98e9 / 1e12)
    assert "= 132 x 128 x 2 x 1.980 GHz = 66.9 TFLOP/s" in text
    assert text.startswith("# dry-run device 0, ") and "## Operations, tf32" in text and "## Failures" in text


class Timed:
    """A worker that takes so many milliseconds, and may fail to start, or in a block."""

    def __init__(self, milliseconds, losses=(100.0, 50.0), fails=None):
        self.milliseconds, self.losses, self.fails, self.blocks, self.settings = milliseconds, losses, fails, [], {}

    def check(self):
        return [*self.losses]

    def start(self):
        if self.fails == "start":
            raise WorkerFailed("it did not start")

    def block(self, seconds):
        if self.fails == "block" and self.blocks:
            raise WorkerFailed("it stopped")
        self.blocks.append({"milliseconds": self.milliseconds})


def rows_of(*workers):
    found = [gpu_report.Program(f"program {i}", "float32", worker) for i, worker in enumerate(workers)]
    rows = [gpu_report.started(p, gpu_report.attempt(p.worker), [100.0, 50.0]) for p in found]
    gpu_report.timed(found, rows, 4, 0.5)
    for program, row in zip(found, rows):
        if "failed" not in row:
            row.update(gpu_report.figures(program, found, rows))
    return rows


def test_figures_are_ratios_to_fastvae_in_turn():
    ours, theirs = rows_of(Timed(2.0), Timed(5.0, losses=(100.001, 50.0)))
    assert (ours["milliseconds"], theirs["milliseconds"]) == (2.0, 5.0)
    assert theirs["times_fastvae"] == (2.5, 2.5, 2.5) and theirs["gap"] == pytest.approx(1e-5)
    assert len(ours["blocks"]) == 4


def test_a_program_that_fails_drops_out_and_the_others_are_timed():
    first, stopped, absent, other = rows_of(
        Timed(2.0), Timed(1.0, fails="block"), Timed(1.0, fails="start"), Timed(1.0, losses=(100.0, math.nan))
    )
    assert first["milliseconds"] == 2.0 and len(first["blocks"]) == 4
    assert (stopped["failed"], absent["failed"]) == ("it stopped", "it did not start")
    assert "no figure counts" in other["failed"]


def test_the_arithmetic_is_that_of_the_direct_algorithm():
    """By hand: 2 K^2 C O of a pixel; the dense layers' products of 36,864 and of 128 numbers."""
    shapes = [(64, 1, 3, 3), (64, 64, 1, 1), (64, 64, 3, 3), (36864, 128), (128, 4), (2, 128), (128, 36864)]
    shapes += [(64, 64, 3, 3), (64, 64, 1, 1), (64, 1, 3, 3)]
    empty = [types.SimpleNamespace(shape=shape, size=math.prod(shape)) for shape in shapes for _ in "wb"]
    images = types.SimpleNamespace(shape=(5000, 1, 28, 28))
    batches = types.SimpleNamespace(shape=(21, 64))
    config = dict(strides=[(1, 1)] * 3, padding=[(0, 0)] * 3)
    work = gpu_report.arithmetic(Problem("conv", config, (64, 24, 24), images, empty, batches, None))
    first, one, three = 2 * 9 * 64 * 26**2, 2 * 64 * 64 * 26**2, 2 * 9 * 64 * 64 * 24**2
    dense = 2 * (36864 * 128 + 128 * 4 + 2 * 128 + 128 * 36864)
    assert work == 64 * (3 * (2 * first + 2 * one + 2 * three + dense) - first)
    assert work / 1e9 == pytest.approx(22.3, rel=0.01)


def test_a_part_that_fails_is_recorded_and_the_next_one_runs(tmp_path, capsys):
    report = gpu_report.Report(tmp_path, {"date": "today", "machine": "m", "devices": [], "quick": False})
    with report.part("first"):
        raise RuntimeError("the card\nis gone")
    with report.part("second"):
        report.found["load"] = math.inf
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["failures"] == ["first: RuntimeError: the card is gone"] and found["load"] is None
    assert "- first: RuntimeError: the card is gone" in (tmp_path / "report.md").read_text()


def test_without_a_driver_there_is_no_card(monkeypatch):
    monkeypatch.setattr(card, "_PROBE", card._PROBE.replace("libcuda.so.1", "libno-such-cuda.so.1"))
    with pytest.raises(RuntimeError, match="failed .OSError: libno-such-cuda.so.1: cannot open.*: run it on a machine"):
        card.card()


def test_a_timed_program_is_told_with_its_share_of_the_peak():
    found = {"card": {"peak_tflops": 50.0}, "work": {"gflop": 10.0}}
    assert gpu_report.share(1.0, found) == pytest.approx(0.2) and gpu_report.share(1.0, {}) is None
    row = {"program": "p", "precision": "tf32", "gap": 1e-5, "milliseconds": 1.0, "of_peak": 0.2}
    text = gpu_markdown.speed([{**row, "times_fastvae": (1.5, 1.25, 2)}])
    assert text.splitlines()[-1] == "| p | tf32 | 1 | 1000 | 1.50 (1.25 to 2.00) | 20.0% | 1.0e-05 |"
