"""What `fastvae train`, `evaluate`, `plot` and `report` do once the stack has started."""

from __future__ import annotations

import datetime
import logging
import pathlib
import signal
import sys
from typing import Any, NamedTuple, Sequence

import numpy as np

from fastvae import atomic, checkpoint, datasets, evaluation, models, profiles
from fastvae import report as reporting
from fastvae.cli import reports, run_folder
from fastvae.cli.options import TrainOptions
from fastvae.devices import threads
from fastvae.errors import CheckpointError, ConfigurationError, DataError
from fastvae.messages import LOGGER, say
from fastvae.parallel import ALONE, Ranks
from fastvae.report import results, sessions
from fastvae.training import history
from fastvae.training.parts import Part

MODELS = {"conv": models.ConvVAE, "mlp": models.MLPVAE}
SHOWN = 10  # images in the picture of reconstructions
MEASURED = 1000  # test images whose ELBO is measured during a training


class Held(NamedTuple):
    """What a run is judged by: images, their labels if they have any, and what they are called."""

    images: np.ndarray
    labels: np.ndarray | None
    split: str


class Phases(Part):
    """Tells a clock when the training begins and ends."""

    def __init__(self, clock: sessions.Clock) -> None:
        self.clock = clock
        self.steps = [0, 0]

    def enter(self, run: Any) -> None:
        self.clock.lap("building and compiling")
        self.steps[0] = run.done

    def exit(self, run: Any, error: BaseException | None) -> None:
        self.clock.lap("training")
        self.steps[1] = run.done


def train(
    folder: pathlib.Path,
    images: np.ndarray,
    run: TrainOptions,
    resume: bool = False,
    clock: sessions.Clock | None = None,
    ranks: Ranks = ALONE,
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
    clock : fastvae.report.sessions.Clock, optional
        Which has been running since the command began.
    ranks : fastvae.parallel.Ranks
        Those that train together; only the first writes.

    Returns
    -------
    int
        Exit status: 0, or 128 + the number of the signal that ended the training.
    """
    phases = Phases(clock or sessions.Clock())
    phases.clock.lap("starting")
    if resume and ranks.is_first:
        _reconfigure(folder, run)
    vae = MODELS[run.model](image_shape=images.shape[1:], **run.for_model())
    if ranks.is_first:
        _describe(run, images, vae)
    held = _held_out(run, vae) if 0 < run.held_out_every <= run.iterations else None
    measured = None if held is None else _to_measure(held, run)
    try:
        approx = vae.fit(
            images,
            checkpoint=folder,
            resume=resume,
            held_out=measured,
            parts=[phases],
            progressbar=LOGGER.isEnabledFor(logging.INFO),
            **run.for_fit(),
        )
    except CheckpointError as error:
        if error.step and ranks.is_first:  # the network is a third of a checkpoint and may still find room
            vae.save(folder / run_folder.NETWORK)
            print(f"the network after step {error.step:,} is in {folder / run_folder.NETWORK}", file=sys.stderr)
        raise
    if ranks.is_first:
        vae.save(folder / run_folder.NETWORK)
        _finish(folder, vae, run, approx, phases, held)
    return 128 + signal.Signals[approx.ended_by] if approx.ended_by in signal.Signals.__members__ else 0


def _finish(
    folder: pathlib.Path, vae: models.VAE, run: TrainOptions, approx: Any, phases: Phases, held: Held | None
) -> None:
    """Pictures and report of a training that has ended; of one that a signal ended, how it goes on."""
    if approx.ended_by in signal.Signals.__members__:
        sessions.add(folder, _session(phases, approx))
        print(
            f"fastvae: {approx.ended_by} after {len(approx.hist):,} of {run.iterations:,} iterations; "
            f"`fastvae train --resume {folder}` goes on, `fastvae plot {folder}` draws the pictures",
            file=sys.stderr,
        )
        return
    held = held or _held_out(run, vae)
    draw(folder, vae, run, approx.hist, held)
    phases.clock.lap("pictures")
    sessions.add(folder, _session(phases, approx))
    write_report([_shown(folder, vae, run, held)], folder / reports.NAME)
    phases.clock.lap("report")
    for phase, seconds in phases.clock.seconds.items():
        LOGGER.debug("%s took %.1f s", phase, seconds)
    _tell(f"report: {folder / reports.NAME}")
    _tell(f"run written to {folder}")


def _to_measure(held: Held, run: TrainOptions) -> np.ndarray | None:
    """The test images whose ELBO is measured during the training, if there are enough for a minibatch."""
    if held.split == "train":
        return None
    if len(held.images) < run.batch_size:
        say(f"{len(held.images)} test images are fewer than a minibatch: their ELBO is not measured")
        return None
    return held.images[:MEASURED]


def _session(phases: Phases, approx: Any) -> dict[str, Any]:
    profile, n_threads = profiles.active(), threads.requested().count
    machine = sessions.machine() | {"threads": str(n_threads)}
    return {
        "ended": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "ended_by": approx.ended_by,
        "steps": phases.steps,
        "profile": None if profile is None else profile.name,
        "threads": n_threads,
        "machine": machine | ({} if profile is None else {"profile": profile.name, "BLAS": profile.blas}),
        "seconds": {phase: round(seconds, 3) for phase, seconds in phases.clock.seconds.items()},
    }


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
    vae, run = models.load(folder / run_folder.NETWORK), run_folder.configuration(folder)
    draw(folder, vae, run, history.read(folder / history.HISTORY), _held_out(run, vae))
    _tell(f"pictures written to {folder}")


def report(folders: Sequence[pathlib.Path], out: str | None = None) -> None:
    """Write the report of a run, or of several side by side.

    Parameters
    ----------
    folders : sequence of pathlib.Path
        Of the runs.
    out : str, optional
        The file; by default in the folder of the first run.
    """
    shown = []
    for folder in folders:
        vae, run = models.load(folder / run_folder.NETWORK), run_folder.configuration(folder)
        shown.append(_shown(folder, vae, run, _held_out(run, vae), results.ROOM // len(folders)))
    shown = _told_apart(shown, folders)
    path = folders[0] / reports.NAME if out is None else pathlib.Path(out)
    write_report(shown, path)
    _tell(f"report: {path}")


def _shown(
    folder: pathlib.Path, vae: models.VAE, run: TrainOptions, held: Held, room: int = results.ROOM
) -> reporting.Run:
    """What a report shows of a run."""
    past = sessions.read(folder)
    which = "test" if held.split == "test" else "training"
    return reporting.Run(
        name=folder.resolve().name,
        options=reports.given(run),
        results=reporting.results_of(vae, held.images, held.labels, _names(run), room),
        batch_size=run.batch_size,
        losses=history.read(folder / history.HISTORY),
        held_out=history.read_held_out(folder / history.HISTORY),
        sessions=past,
        images=f"The first {which} images",
        commands=reports.commands_of(folder, run, past[-1] if past else {}),
    )


def _told_apart(runs: list[reporting.Run], folders: Sequence[pathlib.Path]) -> list[reporting.Run]:
    """Runs whose folders have one name in different places, called by their paths."""
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [run._replace(name=str(folder)) for run, folder in zip(runs, folders)]


def _names(run: TrainOptions) -> list[str] | None:
    """The names of the classes; what cannot be read has none, for they are no more than a help."""
    try:
        return datasets.class_names(run.data)
    except DataError:
        return None


def write_report(shown: Sequence[reporting.Run], path: pathlib.Path) -> None:
    """Write the page on some runs.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    run_folder.write_text(path, reporting.page.html(shown))


def draw(folder: pathlib.Path, vae: models.VAE, run: TrainOptions, hist: Sequence[float], held: Held) -> None:
    """Write the pictures of a run: loss curve, latent grid, latent means, reconstructions, model graph."""
    from fastvae import plots  # with matplotlib, which no step needs

    means = vae.encode_mean(held.images)
    shown = held.images[:SHOWN]
    figures = {
        "latent_grid": plots.latent_grid(vae.decode_mean, vae.n_latent),
        "latent_means": plots.latent_scatter(means, held.labels),
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


def _held_out(run: TrainOptions, vae: models.VAE, labels: bool = True) -> Held:
    try:
        held = Held(*datasets.held_out(run.data, vae.image_shape, labels, run.channels_last))
    except DataError as error:
        raise DataError(f"the data that the run was trained on is not available any more: {error}") from error
    if held.split == "train":
        say(f"{run.data} has no test images: using the training images")
    return held


def _tell(text: str) -> None:
    """Print a line that is no result, unless the command is to be quiet."""
    if LOGGER.isEnabledFor(logging.INFO):
        print(text, flush=True)


def _boxes(vae: Any) -> list[tuple[str, str, str]]:
    """The boxes of the model's picture: the image, the encoder's layers, the latent, the decoder's layers."""

    def size(shape: Sequence[int]) -> str:
        return " x ".join(map(str, shape))

    layers = [(stage.kind, size(stage.output_shape), stage.name.split(".")[0]) for stage in vae.stages]
    return [("images", size(vae.image_shape), "observed"), *layers, ("z ~ Normal(0, 1)", str(vae.n_latent), "latent")]


def _describe(run: TrainOptions, images: np.ndarray, vae: models.VAE) -> None:
    parameters = sum(parameter.get_value(borrow=True).size for parameter in vae.get_params())
    shape = "x".join(map(str, images.shape[1:]))
    _tell(f"data: {run.data}, {len(images):,} images of {shape}")
    _tell(f"model: {type(vae).__name__}, {vae.n_latent} latent dimensions, {parameters:,} parameters")
    profile = profiles.active()
    if profile is not None:
        _tell(f"profile: {profile.name}; BLAS: {profile.blas}; vector instructions: {profile.instructions}")
