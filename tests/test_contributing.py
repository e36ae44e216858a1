"""What `CONTRIBUTING.md` names is there, and its benchmark measures. `tests/quick.py` is held by `test_quick.py`."""

import re

from tests.conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_file_that_it_names_is_there():
    named = set(re.findall(r"(?:\.ci|bench|fastvae|tests)/[\w./]*\w", TEXT))
    assert len(named) > 15 and [path for path in named if not (ROOT / path).exists()] == []
    modules = re.findall(r"python -m (bench\.\w+)", TEXT)
    assert modules and all((ROOT / f"{module.replace('.', '/')}.py").is_file() for module in modules)


def test_every_marker_that_it_names_is_declared(request):
    declared = {line.partition(":")[0] for line in request.config.getini("markers")}
    assert {"quick", "exhaustive", "speed"} <= set(re.findall(r" -m (\w+)", TEXT)) & declared


def test_the_lint_command_is_that_of_ci_and_of_the_hook():
    assert "\n.ci/lint\n" in TEXT and "\n.ci/lint " in (ROOT / ".ci/run").read_text()
    assert "entry: .ci/lint\n" in (ROOT / ".pre-commit-config.yaml").read_text()


def test_its_benchmark_measures(monkeypatch):
    from fastvae import timing

    monkeypatch.setattr(timing, "SHORTEST", 0.01)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    names = {"__name__": "bench.benchmarks.gather", "__package__": "bench.benchmarks"}
    exec(code, names)
    benchmark = names["Gather"]()
    assert (
        0 < benchmark.track_milliseconds(benchmark.setup_cache()) < 1000 and benchmark.track_milliseconds.unit == "ms"
    )
