"""Event files, read back by TensorBoard's own reader."""

import importlib.util
import sys

import numpy as np
import pytest

import fastvae
from fastvae.errors import ConfigurationError
from tests.conftest import required_device
from tests.tiny_run import Run


@pytest.fixture(scope="module")
def tiny():
    missing = importlib.util.find_spec("tensorboard") is None
    required_device(["tensorboard is not installed; pip install 'fastvae[test]'"] if missing else [])
    return Run()


def scalars(folder):
    """The values that TensorBoard shows, {tag: [(step, value)]}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_every_loss_and_every_measurement_is_read_back(tiny, tmp_path):
    measured = iter([-3.0, -2.0])
    approx = tiny.again().train(
        5, log_dir=tmp_path / "events", batch_size=2, elbo=lambda: next(measured), held_out_every=2
    )
    found = scalars(tmp_path / "events")
    assert [step for step, _ in found["elbo/training"]] == [1, 2, 3, 4, 5]
    assert [value for _, value in found["elbo/training"]] == pytest.approx(-approx.hist / 2, rel=1e-6)
    assert found["elbo/held_out"] == [(2, -3.0), (4, -2.0)] and len(found) == 2


def test_without_a_batch_size_it_is_the_loss_and_a_skipped_step_has_none(tiny, tmp_path):
    losses = iter([1.5, np.nan, 0.5])
    tiny.again().train(3, step=lambda: np.float32(next(losses)), log_dir=tmp_path, bad_steps="skip")
    assert scalars(tmp_path) == {"loss": [(1, 1.5), (3, 0.5)]}


def test_a_resumed_run_shows_no_step_twice(tiny, tmp_path):
    def train(n, resume):
        checkpoints = tiny.again().checkpoints(tmp_path / "run", every=2, resume=resume)
        with checkpoints:
            return tiny.train(n, checkpoints=checkpoints, log_dir=tmp_path / "events")

    train(4, resume=False)
    approx = train(7, resume=True)
    found = scalars(tmp_path / "events")["loss"]
    assert [step for step, _ in found] == list(range(1, 8))
    assert [value for _, value in found] == pytest.approx(approx.hist, rel=1e-6)


def test_what_is_missing_is_said_before_the_first_step(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
        with pytest.raises(ConfigurationError, match=r"^fit: log_dir='x' needs TensorBoard.*fastvae\[tensorboard\]"):
            tiny.again().train(1, log_dir="x")
        with pytest.raises(ConfigurationError, match="needs TensorBoard"):
            fastvae.fit(1, log_dir="x")  # before it looks for a model
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"log_dir='.*file' cannot be written \(File exists\): give a folder"):
        tiny.again().train(1, log_dir=tmp_path / "file")
