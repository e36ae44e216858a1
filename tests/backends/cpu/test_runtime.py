"""Memory over a long run: plans for shapes that no longer come are dropped, and nothing else stays behind."""

import os

import numpy as np
import pytest
import theano
import theano.tensor as tt

import fastvae

LEAK = 4 / 9_000  # MiB a step: less is none


def mebibytes_in_use():
    """The memory that this process holds, in MiB."""
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize(
    "kernels, sizes, steps",
    [
        # More batch sizes than an Op keeps plans for (16). The other cases have them too.
        pytest.param(3, 18, 9_000, marks=pytest.mark.exhaustive),
        # oneDNN 3.2 loses 2 kB of each 1x1 kernel that it makes again: its own cache has to keep them
        ((3, 1, 3), 40, 3_000),
        pytest.param((3, 1, 3), 40, 9_000, marks=pytest.mark.exhaustive),
    ],
)
def test_steps_with_changing_batch_sizes_leak_nothing(kernels, sizes, steps):
    vae = fastvae.ConvVAE(image_shape=(1, 8, 8), filters=2, hidden=3, kernels=kernels, seed=0)
    x, noise = tt.tensor4("x", dtype="float32"), tt.matrix("noise", dtype="float32")
    mean, rho = vae.encode(x)
    loss = tt.sum((x - vae.decode(mean + tt.nnet.softplus(rho) * noise)) ** 2)
    step = theano.function([x, noise], loss, updates=fastvae.adam(loss, vae.get_params(), learning_rate=1e-4))
    rng = np.random.default_rng(0)
    images = rng.random((sizes, 1, 8, 8), dtype=np.float32)
    noises = rng.standard_normal((sizes, 2), dtype=np.float32)

    def run(steps):
        for size in rng.integers(1, sizes + 1, size=steps):
            assert np.isfinite(step(images[:size], noises[:size]))

    run(1_000)  # every shape has come, every buffer has its size
    before = mebibytes_in_use()
    run(steps)
    assert mebibytes_in_use() - before < LEAK * steps
