"""What `fastvae train`, `evaluate` and `plot` do once the stack has started."""

from __future__ import annotations

import pathlib
import signal
import sys
from typing import Any, Sequence

import numpy as np

from fastvae import atomic, checkpoint, datasets, evaluation, models, plots, profiles
from fastvae.cli import run_folder
from fastvae.cli.options import TrainOptions
from fastvae.errors import CheckpointError, ConfigurationError, DataError
from fastvae.parallel import ALONE, Ranks
from fastvae.training import history

MODELS = {"conv": models.ConvVAE, "mlp": models.MLPVAE}
SHOWN = 10  # images in the picture of reconstructions


def train(
    folder: pathlib.Path, images: np.ndarray, run: TrainOptions, resume: bool = False, ranks: Ranks = ALONE
) -> int:
    """Train a model, and write what came out into the run's folder, whatever ends the training.

    Parameters
    ----------
    folder : pathlib.Path
    images : numpy.ndarray
        Float32 (N, C, H, W) in [0, 1].
    run : fastvae.cli.options.TrainOptions
    resume : bool
        Whether to go on from the folder's newest checkpoint.
    ranks : fastvae.parallel.Ranks
        Those that train together; only the first writes.

    Returns
    -------
    int
        Exit status: 0, or 128 + the number of the signal that ended the training.
    """
    if resume and ranks.is_first:
        _reconfigure(folder, run)
    vae = MODELS[run.model](image_shape=images.shape[1:], **run.for_model())
    if ranks.is_first:
        _describe(run, images, vae)
    try:
        approx = vae.fit(images, checkpoint=folder, resume=resume, **run.for_fit())
    except CheckpointError as error:
        if error.step and ranks.is_first:  # the network is a third of a checkpoint and may still find room
            vae.save(folder / run_folder.NETWORK)
            print(f"the network after step {error.step:,} is in {folder / run_folder.NETWORK}", file=sys.stderr)
        raise
    ended_by = signal.Signals.__members__.get(approx.ended_by)
    if ranks.is_first:
        vae.save(folder / run_folder.NETWORK)
        if ended_by is None:
            draw(folder, vae, run, approx.hist)
            print(f"run written to {folder}")
        else:
            print(
                f"fastvae: {approx.ended_by} after {len(approx.hist):,} of {run.iterations:,} iterations; "
                f"`fastvae train --resume {folder}` goes on, `fastvae plot {folder}` draws the pictures",
                file=sys.stderr,
            )
    return 0 if ended_by is None else 128 + ended_by


def evaluate(folder: pathlib.Path, n_samples: int) -> None:
    """Print how good a run is on its held-out images: reconstruction error, ELBO, log p(x), active units.

    Parameters
    ----------
    folder : pathlib.Path
    n_samples : int
        Importance samples an image for log p(x), at most 10 of which the ELBO takes.
    """
    run = run_folder.configuration(folder)
    vae = models.load(folder / run_folder.NETWORK)
    images, _, split = _held_out(run, vae, labels=False)
    error = evaluation.reconstruction_error(vae, images)
    which = "held-out" if split == "test" else "training"
    print(
        f"{len(images):,} {which} images: reconstruction mean squared error {error.mse:.5f} per pixel, "
        f"mean image {error.mse_of_mean_image:.5f}, ratio {error.ratio:.3f}",
        flush=True,
    )
    n_elbo = min(n_samples, 10)
    lower = evaluation.elbo(vae, images, n_elbo, run.seed)
    print(f"ELBO ({n_elbo:,} {_samples(n_elbo)}): {_nats(lower, vae)}", flush=True)
    nats = evaluation.log_likelihood(vae, images, n_samples, run.seed)
    print(f"log p(x) ({n_samples:,} importance {_samples(n_samples)}): {_nats(nats, vae)}")
    if not vae.likelihood.discrete:
        print(f"the likelihood is {vae.likelihood!r}: nats and bits are those of a density of pixels in [0, 1]")
    print(f"active units: {evaluation.active_units(vae, images).count} of {vae.n_latent} latents")


def plot(folder: pathlib.Path) -> None:
    """Draw the pictures of a run folder again."""
    vae = models.load(folder / run_folder.NETWORK)
    draw(folder, vae, run_folder.configuration(folder), history.read(folder / history.HISTORY))
    print(f"pictures written to {folder}")


def draw(folder: pathlib.Path, vae: models.VAE, run: TrainOptions, hist: Sequence[float]) -> None:
    """Write the pictures of a run: loss curve, latent grid, latent means, reconstructions, model graph."""
    images, labels, _ = _held_out(run, vae)
    means = vae.encode_mean(images)
    shown = images[:SHOWN]
    figures = {
        "latent_grid": plots.latent_grid(vae.decode_mean, vae.n_latent),
        "latent_means": plots.latent_scatter(means, labels),
        "reconstructions": plots.reconstructions(shown, vae.reconstruct(shown)),
        "model_graph": plots.model_graph(_boxes(vae)),
    }
    if len(hist):
        figures["loss_curve"] = plots.loss_curve(hist, run.batch_size)
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        try:
            with atomic.replacing(path) as file:
                figure.savefig(file, format="png", dpi=120)
        except OSError as error:
            raise DataError(f"{str(path)!r} cannot be written: {error.strerror}; make room there") from error


def _reconfigure(folder: pathlib.Path, run: TrainOptions) -> None:
    """Bring the configuration of a run that goes on up to date."""
    done = max(checkpoint.steps(folder), default=0)
    if run.iterations < done:
        raise ConfigurationError(
            f"--iterations {run.iterations} counts those of the whole run, which has {done:,}: give more"
        )
    run_folder.configure(folder, run)


def _samples(n: int) -> str:
    return "sample" if n == 1 else "samples"


def _nats(estimate: evaluation.Estimate, vae: models.VAE) -> str:
    bits, bits_error = evaluation.bits_per_dimension(estimate, vae.image_shape)
    return (
        f"{estimate.nats:.2f} ± {estimate.standard_error:.2f} nats per image, {bits:.4f} ± {bits_error:.4f} bits per "
        "dimension (± one standard error over the images)"
    )


def _held_out(run: TrainOptions, vae: models.VAE, labels: bool = True) -> tuple[np.ndarray, np.ndarray | None, str]:
    try:
        images, found, split = datasets.held_out(run.data, vae.image_shape, labels)
    except DataError as error:
        raise DataError(f"the data that the run was trained on is not available any more: {error}") from error
    if split == "train":
        print(f"{run.data} has no test images: using the training images", file=sys.stderr)
    return images, found, split


def _boxes(vae: Any) -> list[tuple[str, str, str]]:
    """The boxes of the model's picture: the image, the encoder's layers, the latent, the decoder's layers."""

    def size(shape: Sequence[int]) -> str:
        return " x ".join(map(str, shape))

    layers = [(stage.kind, size(stage.output_shape), stage.name.split(".")[0]) for stage in vae.stages]
    return [("images", size(vae.image_shape), "observed"), *layers, ("z ~ Normal(0, 1)", str(vae.n_latent), "latent")]


def _describe(run: TrainOptions, images: np.ndarray, vae: models.VAE) -> None:
    parameters = sum(parameter.get_value(borrow=True).size for parameter in vae.get_params())
    shape = "x".join(map(str, images.shape[1:]))
    print(f"data: {run.data}, {len(images):,} images of {shape}")
    print(f"model: {type(vae).__name__}, {vae.n_latent} latent dimensions, {parameters:,} parameters")
    profile = profiles.active()
    if profile is not None:
        print(f"profile: {profile.name}; BLAS: {profile.blas}", flush=True)
