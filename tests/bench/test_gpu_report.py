"""The report of a GPU, part by part; `test_make_bundle.py` rehearses the whole from a bundle."""

import json
import math

import pytest

from bench import card, gpu_markdown, gpu_report
from bench.gpu_host import Budget, OutOfTime

ABOUT = {"date": "today", "machine": "m", "devices": [], "quick": False}


def stored(folder):
    return json.loads((folder / "report.json").read_text()), (folder / "report.md").read_text()


def test_a_part_that_fails_or_is_late_is_recorded_and_the_next_one_runs(tmp_path, capsys):
    report = gpu_report.Report(tmp_path, ABOUT)
    with report.part("first"):
        raise RuntimeError("the card\nis gone")
    with report.part("second"):
        raise OutOfTime("left out: 9 s of 6 s were over")
    with report.part("third"):
        report.found["infinite"] = math.inf
    found, text = stored(tmp_path)
    assert found["failures"] == ["first: RuntimeError: the card is gone"] and found["infinite"] is None
    assert found["left_out"] == ["second: left out: 9 s of 6 s were over"]
    assert [*found["times"]] == ["first", "second", "third"]
    assert "- first: RuntimeError: the card is gone" in text and "- second: left out" in text
    assert "s] first ..." in capsys.readouterr().err


def test_without_a_card_a_report_is_one_clear_line(tmp_path, monkeypatch, capsys):
    def none():
        raise RuntimeError("asking NVIDIA's driver failed: run it on a machine with a GPU")

    monkeypatch.setattr(card, "card", none)
    monkeypatch.setattr(gpu_report, "about", lambda: dict(ABOUT))
    assert gpu_report.main(["--out", str(tmp_path), "--quick", "--torch-python", "/no/python"]) == 1
    found, _ = stored(tmp_path)
    assert found["failures"] == ["card: RuntimeError: asking NVIDIA's driver failed: run it on a machine with a GPU"]
    assert "operations" not in found


def test_a_terminated_report_keeps_what_it_found(tmp_path, monkeypatch):
    def interrupted(self):
        self.report.found["load"] = "found before"
        gpu_report.signal.raise_signal(gpu_report.signal.SIGTERM)

    before = gpu_report.signal.getsignal(gpu_report.signal.SIGTERM)
    monkeypatch.setattr(gpu_report.Run, "all", interrupted)
    monkeypatch.setattr(gpu_report, "about", lambda: dict(ABOUT))
    try:
        with pytest.raises(SystemExit) as ending:
            gpu_report.main(["--out", str(tmp_path), "--torch-python", "/no/python"])
    finally:
        gpu_report.signal.signal(gpu_report.signal.SIGTERM, before)
    assert ending.value.code == 143 and stored(tmp_path)[0]["load"] == "found before"


def test_what_the_time_does_not_suffice_for_is_named(tmp_path, monkeypatch):
    report = gpu_report.Report(tmp_path, ABOUT, Budget(1 / 60))
    monkeypatch.setattr(gpu_report.Run, "child", lambda *_: pytest.fail("a process was started"))
    run = gpu_report.Run(report, gpu_report.parsed(["--out", "o"]), tmp_path)
    run.sizes_and_where()
    run.close()
    (left_out,) = stored(tmp_path)[0]["left_out"]
    assert left_out.startswith("batch sizes, where the time goes: left out: ")


def test_without_a_driver_there_is_no_card(monkeypatch):
    monkeypatch.setattr(card, "_PROBE", card._PROBE.replace("libcuda.so.1", "libno-such-cuda.so.1"))
    with pytest.raises(RuntimeError, match="failed .OSError: libno-such-cuda.so.1: cannot open.*: run it on a machine"):
        card.card()


def test_a_timed_program_is_told_with_its_share_of_the_peak():
    row = {"program": "p", "precision": "tf32", "gap": 1e-5, "milliseconds": 1.0, "of_peak": 0.2}
    text = gpu_markdown.programs([{**row, "times_fastvae": (1.5, 1.25, 2)}])
    assert text.splitlines()[-1] == "| p | tf32 | 1 | 1000 | 1.50 (1.25 to 2.00) | 20.0% | 1.0e-05 |"


def test_the_best_program_is_held_against_the_goal_on_the_card_it_is_for():
    best = {name: {"program": name, "steps_a_second": rate} for name, rate in (("fastvae", 1200), ("PyTorch", 600))}
    text = gpu_markdown.winner("conv", "float32", best, {"name": "NVIDIA H100 80GB HBM3"})
    assert text == (
        "Best in float32: fastvae, 1200 it/s; PyTorch, 600 it/s. fastvae takes 0.50 of PyTorch's time. "
        "The goal of 1,500 it/s is not reached, 80% of it."
    )
    assert "goal" not in gpu_markdown.winner("conv", "float32", best, {"name": "NVIDIA A100"})
    assert "20,000 it/s is reached" in gpu_markdown.winner(
        "mlp", "float32", {"fastvae": {"program": "fastvae", "steps_a_second": 20_000.0}}, {"name": "NVIDIA H200"}
    )
