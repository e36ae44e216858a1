"""What the seed models' compiled steps consist of: no more than the baseline, and more where one adds to it."""

import json

import numpy as np
import pytest
from theano.compile.ops import deep_copy_op

import fastvae
from bench import counts, steps
from bench.counts import BATCH_SIZE
from fastvae.backends.cpu.ops.layout import Layout
from fastvae.elbo import objective
from tests.conftest import required_device

BASELINE = json.loads(counts.BASELINE.read_text())


@pytest.fixture(scope="module")
def images():
    if fastvae.profiles.active().backend != "cpu":
        required_device(["the baseline is that of the profile cpu"])
    return fastvae.datasets.load("fashion-mnist-sample")


def counted(kind, images, change=lambda minibatch: minibatch):
    minibatch = change(fastvae.Minibatch(images, BATCH_SIZE))
    return counts.counts(steps.compiled_step(kind, minibatch, BATCH_SIZE, len(images)))


def rises(kind, found):
    """The names of the counts that are above the baseline."""
    text, risen = counts.report(BASELINE, {kind: found})
    assert risen and counts.ACCEPT in text
    return {line.split(":")[0] for line in counts.compare(BASELINE[kind], found)[0]}


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_no_count_of_the_seed_step_is_above_the_baseline(kind, images):
    text, risen = counts.report(BASELINE, {kind: counted(kind, images)})
    assert not risen, text


def test_an_extra_host_copy_and_an_extra_layout_copy_are_rises(images):
    transposed = Layout((0, 1, 3, 2))
    found = counted("mlp", images, lambda minibatch: transposed(deep_copy_op(minibatch)))
    assert rises("mlp", found) >= {"host copies", "layout copies", "nodes", "Op DeepCopyOp"}


def test_a_float64_leak_is_a_rise(images):
    found = counted("mlp", images, lambda minibatch: (minibatch.astype("float64") * np.float64(0.5)).astype("float32"))
    assert "float64 variables" in rises("mlp", found)


def test_a_duplicated_convolution_is_a_rise(images, monkeypatch):
    """PyMC3's own fault: the encoder is copied, and differentiated twice."""
    monkeypatch.setattr(objective, "merge_equal_nodes", list)
    found = counted("conv", images)
    assert rises("conv", found) >= {"convolutions weights", "convolutions data"}
    assert found["convolutions weights"] == BASELINE["conv"]["convolutions weights"] + 3


def test_a_fall_is_reported_and_fails_nothing():
    text, risen = counts.report({"conv": {"nodes": 5, "Op A": 1}}, {"conv": {"nodes": 4}})
    assert not risen
    assert text.splitlines()[:2] == ["conv: fall in nodes: 5 -> 4", "conv: fall in Op A: 1 -> 0"]
    assert text.endswith(counts.ACCEPT)
    same = {"conv": {"nodes": 5}}
    assert counts.report(same, same) == ("all counts are those of the baseline", False)


def test_accepted_counts_are_the_baseline_of_the_next_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(counts, "BASELINE", tmp_path / "counts.json")
    monkeypatch.setattr(counts, "seed_counts", lambda: {"conv": {"nodes": 7}})
    monkeypatch.setattr(counts, "active", lambda: type("Profile", (), {"name": "cpu"}))
    with pytest.raises(SystemExit) as exit:
        counts.main([])
    assert exit.value.code == 1 and "conv: rise in nodes: 0 -> 7" in capsys.readouterr().out
    counts.main(["--accept"])
    counts.main([])
    assert capsys.readouterr().out.endswith("all counts are those of the baseline\n")


def test_counts_of_another_profile_are_not_compared(monkeypatch):
    monkeypatch.setattr(counts, "active", lambda: type("Profile", (), {"name": "cpu-blas"}))
    with pytest.raises(SystemExit, match="not cpu-blas's: FASTVAE_PROFILE=cpu python"):
        counts.main([])
