"""The folder of one training run: what was asked for, what came out, and its pictures.

config.json     arguments of the run and the version that made it
vae.npz         the trained network (`fastvae.load` reads it)
history.csv     the loss of every iteration (`fastvae.training.history`), during the run too
checkpoint-*    the last three states of the training (`fastvae.checkpoint`), from which it is resumed
*.png           pictures (`fastvae plot` draws them again)
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
from typing import Iterator

from fastvae import __version__, atomic, locks
from fastvae.cli import options
from fastvae.cli.options import TrainOptions
from fastvae.errors import ConfigurationError, DataError
from fastvae.files import open_regular

CONFIG, NETWORK = "config.json", "vae.npz"
RESTORE = "restore the file that `fastvae train` wrote"


def default(model: str) -> pathlib.Path:
    """The folder of a run for which none was given: `runs/MODEL-DATE-TIME`."""
    return pathlib.Path("runs", f"{model}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Make the folder if need be, keep other trainings out of it within the block, and sweep what killed ones left.

    Parameters
    ----------
    folder : pathlib.Path

    Raises
    ------
    ConfigurationError
        If another process trains there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = locks.Lock(folder / CONFIG, f"run folder {str(folder)!r}")
        atomic.sweep(folder)
        for left in folder.glob(f"*{locks.SUFFIX}"):
            locks.remove_unowned(left)
    except OSError as error:
        what = f"cannot write to run folder {str(folder)!r}: {error.strerror}; give --out another"
        raise ConfigurationError(what) from error
    with lock:
        yield


def create(folder: pathlib.Path, run: TrainOptions) -> None:
    """Write the configuration of a new run.

    Parameters
    ----------
    folder : pathlib.Path
        Must not hold anything yet but locks.
    run : fastvae.cli.options.TrainOptions

    Raises
    ------
    ConfigurationError
        If the folder already holds something.
    """
    if _contents(folder):
        raise ConfigurationError(f"run folder {str(folder)!r} is not empty; give --out a new folder")
    configure(folder, run)


def configure(folder: str | os.PathLike, run: TrainOptions) -> None:
    """Write the configuration of a run."""
    config = {"fastvae": __version__, **dataclasses.asdict(run)}
    write_text(pathlib.Path(folder, CONFIG), json.dumps(config, indent=2) + "\n")


def discard_untrained(folder: pathlib.Path) -> None:
    """Remove a run folder in which no step was taken, so that its name can be used again."""
    if _contents(folder) <= {CONFIG}:
        (folder / CONFIG).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else has put something there meanwhile
            folder.rmdir()


def _contents(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != locks.SUFFIX}


def existing(path: str | os.PathLike) -> pathlib.Path:
    """The folder of a finished run, after a look at whether it is one.

    Raises
    ------
    DataError
        If it holds no configuration, or one that this version does not understand, or no network.
    """
    folder = pathlib.Path(path)
    configuration(folder)
    if not (folder / NETWORK).is_file():
        raise DataError(
            f"run folder {path!r} holds no {NETWORK}: its training did not end; go on: fastvae train --resume {path}"
        )
    return folder


def configuration(folder: str | os.PathLike) -> TrainOptions:
    """The options that a run was started with.

    Raises
    ------
    DataError
        If the file cannot be read, or holds what this version does not take as the options of a run.
    """
    path = pathlib.Path(folder, CONFIG)
    try:
        with open_regular(path) as file:
            config = json.loads(file.read().decode("utf-8"))
    except OSError as error:
        raise DataError(f"{str(folder)!r} is not a run folder: {CONFIG} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{str(path)!r} is not JSON ({error}); {RESTORE}") from error
    if isinstance(config, dict):
        config.pop("fastvae", None)  # the version that wrote it
    try:
        return options.from_configuration(config)
    except ConfigurationError as error:
        raise DataError(f"{str(path)!r}{error}; {RESTORE}") from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part."""
    try:
        with atomic.replacing(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be written: {error.strerror}; make room there") from error
