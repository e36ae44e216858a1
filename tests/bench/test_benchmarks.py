"""asv's configuration and benchmarks, as far as they go without asv: what is n/a, what is found, what is committed."""

import importlib
import json
import os
import re
import sys

import pytest

import fastvae
from bench import pairing
from bench.benchmarks import avx2, steps
from bench.benchmarks.common import Measured, if_available
from fastvae import devices

BENCH = pairing.ROOT / "bench"
MODULES = ("steps", "avx2", "under_load", "objectives", "pipelines", "start_up", "step_counts", "dry_run")


def configuration():
    text = (BENCH / "asv.conf.json").read_text()
    return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M))


def benchmarks():
    """(class, name of a method) of every benchmark."""
    for name in MODULES:
        for value in vars(importlib.import_module(f"bench.benchmarks.{name}")).values():
            if isinstance(value, type) and issubclass(value, Measured) and not value.__name__.startswith("_"):
                yield from ((value, method) for method in dir(value) if method.startswith("track_"))


def test_every_profile_of_the_matrix_is_one():
    assert set(configuration()["matrix"]["env_nobuild"]["FASTVAE_PROFILE"]) <= set(fastvae.profiles.names())


def test_every_benchmark_has_a_unit_a_version_and_a_measurement_of_its_own():
    found = list(benchmarks())
    assert len(found) >= 20 and len(found) == len(set(found))
    for owner, method in found:
        assert getattr(owner, method).unit and owner.version and "setup_cache" in vars(owner), (owner, method)


def test_larger_iterations_a_second_are_no_regression():
    (pattern,) = [key for key, commit in configuration()["regressions_first_commits"].items() if commit is None]
    (name,) = {method for _, method in benchmarks() if re.match(pattern, f"steps.ConvVAE.{method}")}
    assert name == "track_iterations_per_second"


def test_without_figures_a_benchmark_is_not_applicable_and_says_why():
    with pytest.raises(NotImplementedError, match="no such device"):
        Measured().setup("no such device")
    Measured().setup({"milliseconds": 1.0})
    assert if_available(lambda x: x + 1, 1) == 2


def test_times_of_programs_that_do_not_agree_fail_and_the_gap_is_tracked(monkeypatch):
    monkeypatch.setenv("FASTVAE_PROFILE", "cpu")
    figures = {"milliseconds": 50.0, "ratio": 0.2, "peak": 700.0, "gap": 1e-6, "bound": 1e-4}
    step = steps.ConvVAE()
    assert (step.track_iterations_per_second(figures), step.track_ratio_to_stock(figures)) == (20.0, 0.2)
    figures["gap"] = 1e-3
    for track in (step.track_milliseconds, step.track_iterations_per_second, step.track_ratio_to_stock):
        with pytest.raises(AssertionError, match="the losses are 1.0e-03 apart, more than 0.0001"):
            track(figures)
    assert step.track_loss_gap_to_stock(figures) == 1e-3
    monkeypatch.setenv("FASTVAE_PROFILE", "cuda-tf32")
    assert step.track_milliseconds(figures) == 50.0


def test_an_absent_device_is_the_reason(python):
    if not devices.missing_for("cuda"):
        pytest.skip("CUDA is here")
    code = "from bench.benchmarks.common import if_available; print(if_available(print))"
    done = python(code, FASTVAE_PROFILE="cuda")
    assert done.returncode == 0 and "'cuda' is not available on this machine" in done.stdout


def test_the_installed_fastvae_is_measured_and_not_the_one_beside_it(run, tmp_path):
    installed = tmp_path / "site" / "fastvae"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    (tmp_path / "site" / "show.py").write_text("import sys, fastvae, bench.worker\nprint(fastvae.__file__, sys.argv)")
    path = str(installed.parent)
    done = run(sys.executable, *pairing.INSTALLED, "show", "a", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{installed / '__init__.py'} ['{installed.parent / 'show.py'}', 'a']"


def test_the_committed_history_is_of_one_machine_and_has_the_seed_steps_ratio():
    (machine,) = (BENCH / "results").glob("*/machine.json")
    assert json.loads(machine.read_text())["machine"] == machine.parent.name
    history = [json.loads(path.read_text()) for path in machine.parent.glob("*.json") if path != machine]
    measured = set()
    for entry in history:
        column = entry["result_columns"].index("result")
        figures = entry["results"].get("steps.ConvVAE.track_ratio_to_stock")
        measured |= {entry["commit_hash"]} if figures and 0 < figures[column][0] < 2 else set()
    assert len(measured) >= 3


def test_the_limit_reaches_the_programs_that_are_measured_and_no_other_profile(monkeypatch):
    monkeypatch.setenv("FASTVAE_PROFILE", "cpu")
    monkeypatch.setattr(avx2, "measured", lambda model: (model, os.environ["FASTVAE_PROFILE"]))
    assert avx2.measured_limited("mlp") == ("mlp", "cpu:avx2")
    assert os.environ["FASTVAE_PROFILE"] == "cpu" and "ONEDNN_MAX_CPU_ISA" not in os.environ
    monkeypatch.setenv("FASTVAE_PROFILE", "cpu-blas")
    assert "not cpu-blas" in avx2.measured_limited("mlp")
