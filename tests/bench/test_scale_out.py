import pytest

from bench import scale_out
from bench.scale_out import Network


def test_an_allreduce_lasts_as_the_formula_says():
    network = Network(alpha=1e-3, rate=1e6)
    assert network.seconds(1, 1e6) == 0
    assert network.seconds(2, 1e6) == pytest.approx(2e-3 + 1.0)  # one way there, one back
    assert network.seconds(8, 1e6) == pytest.approx(6e-3 + 1.75)  # 2 log2 n messages, 2 (n - 1) / n of the bytes


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_fit_finds_latency_and_rate_of_measured_times(ranks):
    network = Network(alpha=7e-6, rate=1.2e9)
    seconds = [network.seconds(ranks, size) * (1.02 if i % 2 else 0.98) for i, size in enumerate(scale_out.SIZES)]
    found = scale_out.fitted(ranks, scale_out.SIZES, seconds)
    assert found.alpha == pytest.approx(7e-6, rel=0.05) and found.rate == pytest.approx(1.2e9, rel=0.05)


def test_a_faster_network_keeps_more_of_the_ideal():
    networks = {"slow": Network(1e-5, 1e9), "fast": Network(1e-6, 1e10)}
    shares = scale_out.predicted(networks, {"conv": 38e6}, {"conv": 0.1})["conv"]
    assert all(slow < fast <= 1 for slow, fast in zip(shares["slow"], shares["fast"]))
    assert shares["slow"] == sorted(shares["slow"], reverse=True)
