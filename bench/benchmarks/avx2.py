"""The seed models' steps as on processors without AVX-512: fastvae and stock PyMC3 are limited to AVX2.

The limit is that of `bench/limits.py`, and composes with the profile `cpu`.
"""

import contextlib
import os

from .common import if_available
from .steps import _Step, measured


@contextlib.contextmanager
def limited():
    """An environment that limits all programs that start in it."""
    from bench.limits import LIMITS

    before = dict(os.environ)
    os.environ.update(LIMITS["avx2"])
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def measured_limited(model):
    """Figures as of `steps`, or why there are none."""
    import fastvae

    profile = os.environ.get("FASTVAE_PROFILE", "cpu")
    if profile != "cpu":
        return f"the limit is measured under the profile cpu, not {profile}"
    if "avx2" not in fastvae.profiles.names():
        return "this commit has no limit"
    with limited():
        return measured(model)


class ConvVAE(_Step):
    """The convolutional seed model, 28x28x1, batch 64."""

    def setup_cache(self):
        return if_available(measured_limited, "conv")


class MLPVAE(_Step):
    """The fully connected seed model, 784-128-2, batch 64."""

    def setup_cache(self):
        return if_available(measured_limited, "mlp")
