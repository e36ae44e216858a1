"""A training step, in turn with stock PyMC3's, the better of one thread and all; both from the same weights.

Times and ratios fail where the losses do not agree; the gap between them is tracked all the same.
"""

import os
import pathlib
import tempfile

from .common import ROUNDS, SECONDS, THREADS, TOY, Measured, if_available

TF32_AGREEMENT = 1e-2  # of losses whose products had factors of 11 bits


def measured(model):
    """Figures of the step of a seed model or a user's network; the peak of the memory is of a process on its own."""
    from bench.pairing import (
        INSTALLED,
        agreement,
        closing,
        difference,
        fastest,
        in_turn,
        program,
        ratio,
        theano_workers,
        write_problem,
    )

    with tempfile.TemporaryDirectory() as folder, closing([]) as workers:
        path = pathlib.Path(folder, "problem.npz")
        environ = write_problem(path, model, TOY, how=INSTALLED)
        workers += theano_workers(path, program(model), program(model), THREADS, environ, how=INSTALLED)
        for worker in workers:
            worker.start()
        in_turn(workers, ROUNDS, SECONDS)
        ours, *stocks = workers
        best = fastest(stocks)
        return {
            "milliseconds": ours.milliseconds,
            "ratio": ratio(ours, best)[0],
            "peak": ours.settings["peak"],
            "gap": difference(ours.check(), best.check()),
            "bound": agreement(model),
        }


def agreed(figures):
    """The figures, if they count: both programs have the same loss at step 0 and at step 20."""
    bound = TF32_AGREEMENT if "tf32" in os.environ.get("FASTVAE_PROFILE", "") else figures["bound"]
    assert figures["gap"] <= bound, f"the losses are {figures['gap']:.1e} apart, more than {bound:g}: no figure counts"
    return figures


class _Step(Measured):
    def track_milliseconds(self, figures):
        return agreed(figures)["milliseconds"]

    def track_iterations_per_second(self, figures):
        return 1000 / agreed(figures)["milliseconds"]

    def track_ratio_to_stock(self, figures):
        return agreed(figures)["ratio"]

    def track_loss_gap_to_stock(self, figures):
        return figures["gap"]

    def track_peak_memory(self, figures):
        return figures["peak"]

    track_milliseconds.unit = "ms"
    track_iterations_per_second.unit = "1/s, larger is better"
    track_ratio_to_stock.unit = "of stock PyMC3's time"
    track_loss_gap_to_stock.unit = "relative, the larger of step 0 and step 20"
    track_peak_memory.unit = "MiB"


class ConvVAE(_Step):
    """The convolutional seed model, 28x28x1, batch 64."""

    def setup_cache(self):
        return if_available(measured, "conv")


class MLPVAE(_Step):
    """The fully connected seed model, 784-128-2, batch 64."""

    def setup_cache(self):
        return if_available(measured, "mlp")


class ConvVAE64(_Step):
    """64x64x3 images, stride 2, batch 32."""

    def setup_cache(self):
        return if_available(measured, "conv64")


class Pooled(_Step):
    """A user's network of max-pooling, nearest upsampling, leaky ReLU and ELU, 28x28x1, batch 64."""

    def setup_cache(self):
        return if_available(measured, "pooled")


class PooledBatchNorm(_Step):
    """The same with batch norm."""

    def setup_cache(self):
        return if_available(measured, "pooled-bn")


class Residual(_Step):
    """Residual blocks with batch norm, average pooling and bilinear upsampling, 64x64x3, batch 32."""

    def setup_cache(self):
        return if_available(measured, "residual")


class Notebook(_Step):
    """The network of PyMC3's notebook on convolutional VAEs, 28x28x1, batch 100."""

    def setup_cache(self):
        return if_available(measured, "notebook")
