import pytest

from bench import compare, measure
from bench.pairing import Disagreement


class Timed:
    """A worker that has been timed."""

    def __init__(self, name, times):
        self.name, self.others = name, 0.0
        self.blocks = [{"milliseconds": ms, "others": 0.0} for ms in times]
        self.milliseconds = sorted(times)[len(times) // 2]
        self.settings = {"fetch_every": 1, "threads": {"OMP_NUM_THREADS": "2"}, "profile": "cpu", "peak": 100.0}


def test_the_better_of_stocks_thread_counts_counts(capsys):
    measure.report([Timed("fastvae", [10] * 3), Timed("stock 1", [40] * 3), Timed("stock 2", [30] * 3)])
    out = capsys.readouterr().out
    assert "| fastvae | 10 | 100 | 100 | OMP_NUM_THREADS=2 |" in out and "| stock 1 | 40 |" in out
    assert "stock 2 / fastvae: 3.00, 95 % interval 3.00 to 3.00, 3 rounds" in out


class Starting:
    """A worker that notes when it is asked for what."""

    def __init__(self, name, losses, asked):
        self.name, self.losses, self.asked = name, losses, asked

    def start(self):
        self.asked.append(self.name)

    def check(self):
        assert self.name in self.asked
        return self.losses


@pytest.mark.parametrize("more", [[], ["stock 2"]])
def test_losses_are_compared_once_the_workers_have_started_stocks_one_after_another(more):
    asked = []
    workers = [Starting("fastvae", [5.0, 4.0], asked), Starting("stock 1", [5.0, 4.001], asked)]
    apart = measure.started(workers + [Starting(name, None, asked) for name in more])
    assert apart == pytest.approx(0.001 / 4.001) and sorted(asked) == ["fastvae", "stock 1", *more]
    assert [name for name in asked if name != "fastvae"] == ["stock 1", *more]


@pytest.mark.parametrize("apart", [2e-4, float("nan")])
def test_programs_that_do_not_agree_have_no_figure(apart):
    with pytest.raises(Disagreement, match="do not agree on the loss"):
        measure.assert_agreement(apart)


def test_the_table_keeps_peers_that_are_missing(tmp_path):
    results = {
        "conv": {"fastvae": (100.0, (1, 1, 1)), "JAX jit": "not installed: no | network"},
        "mlp": {"fastvae": (1.0, (1, 1, 1)), "JAX jit": "not installed: no | network", "PyTorch": (2.5, (2.5, 2, 3))},
    }
    rows = compare.table(results).splitlines()
    assert rows[0] == f"| program | {compare.WORKS['conv']} | {compare.WORKS['mlp']} |"
    assert rows[3] == "| JAX jit | not installed: no / network | not installed: no / network |"
    assert rows[4] == "| PyTorch | - | 2.5 ms, 400 it/s; 2.50x fastvae's time (2.00 to 3.00) |"
    compare.chart(results, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_an_environment_is_given_or_missing(tmp_path):
    python = tmp_path / "python"
    python.touch()
    assert compare.environment("jax", {"jax": str(python)}) == str(python)
    with pytest.raises(compare.Missing, match="no interpreter /nonexistent"):
        compare.environment("jax", {"jax": "/nonexistent"})


def test_an_environment_that_cannot_be_built_is_missing_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "HERE", tmp_path)
    monkeypatch.setitem(compare.REQUIREMENTS, "jax", [str(tmp_path / "no-such-package.whl")])
    with pytest.raises(compare.Missing, match="no-such-package"):
        compare.environment("jax", {})
    assert not (tmp_path / ".venv-jax").exists()


def test_compare_runs_without_any_peer_and_reports_them(run, tmp_path):
    absent = [f"--python={name}=/nonexistent" for name in compare.REQUIREMENTS]
    options = ("--quick", "--works", "mlp", "--threads", 1, "--out", tmp_path)
    done = run(compare.sys.executable, compare.__file__, *options, *absent)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "peers.md").read_text()
    assert text.count("not installed: no interpreter /nonexistent") == sum(
        "mlp" in peer.works for peer in compare.PEERS
    )
    assert "| fastvae, 1 thread |" in text and "| stock PyMC3, 1 thread |" in text and "toy size" in text
    assert (tmp_path / "peers.png").stat().st_size > 1000
