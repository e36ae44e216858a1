"""The GPU profile's graph on a real device: OpenCL on the CPU by PoCL. Its losses are the CPU's."""
import json

import pytest

from fastvae import devices
from tests.conftest import required_device

LOSSES = """
import fastvae, json, numpy as np
images = np.random.default_rng(0).random((20, 1, 8, 8)).astype("float32")
losses = {}
for vae in (fastvae.MLPVAE((1, 8, 8), hidden=8, seed=1), fastvae.ConvVAE((1, 8, 8), filters=3, hidden=8, seed=1)):
    approx = vae.fit(images, n=4, batch_size=4, learning_rate=1e-3, seed=2, progressbar=False)
    losses[type(vae).__name__] = list(approx.hist)
import theano
print(json.dumps([theano.config.device, losses]))
"""


@pytest.fixture
def opencl():
    required_device(devices.missing_for("opencl"))


def losses(python, profile):
    done = python(LOSSES, FASTVAE_PROFILE=profile, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_losses_of_training_match_the_cpu(opencl, python):
    device, ours = losses(python, "opencl")
    assert device.startswith("opencl")
    _, reference = losses(python, "cpu")
    for model in ("MLPVAE", "ConvVAE"):
        assert ours[model] == pytest.approx(reference[model], rel=1e-4)
