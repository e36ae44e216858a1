"""The folder of a run's checkpoints: one file a checkpoint, the last three kept.

checkpoint-00001000.ckpt    the state after step 1,000
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re

from fastvae import kinds
from fastvae.checkpoint import state
from fastvae.checkpoint.container import DamagedError
from fastvae.checkpoint.state import State
from fastvae.errors import DataError
from fastvae.messages import LOGGER

KEPT = 3
NAME = re.compile(r"checkpoint-(\d{8,})\.ckpt")


def path_of(folder: str | os.PathLike, step: int) -> pathlib.Path:
    """Where the checkpoint after a step is, or will be."""
    return pathlib.Path(folder) / f"checkpoint-{step:08d}.ckpt"


@kinds.checked(folder=kinds.path)
def steps(folder: str | os.PathLike) -> dict[int, pathlib.Path]:
    """The checkpoints of a folder, whole or not.

    Parameters
    ----------
    folder : str or path-like

    Returns
    -------
    dict of int to pathlib.Path
        From the step after which each was written to its file.
    """
    names = [(NAME.fullmatch(path.name), path) for path in pathlib.Path(folder).glob("checkpoint-*.ckpt")]
    return {int(match[1]): path for match, path in names if match}


def newest(folder: str | os.PathLike) -> State | None:
    """The state in the newest whole checkpoint of a folder, or None if it holds none: `fastvae.checkpoint.newest`."""
    found = sorted(steps(folder).items(), reverse=True)
    for _, path in found:
        try:
            return state.read(path)
        except DamagedError as error:
            LOGGER.warning(f"fastvae: {error}; trying the checkpoint before it")
    if found:
        raise DataError(f"{folder}: none of its {len(found)} checkpoints is whole: begin again in another folder")
    return None


def keep_last(folder: str | os.PathLike, newest_step: int) -> None:
    """Remove all checkpoints but the last three up to a step; a later one is a damaged one that was passed over."""
    present = steps(folder)
    kept = sorted(step for step in present if step <= newest_step)[-KEPT:]
    for step in present.keys() - kept:
        with contextlib.suppress(FileNotFoundError):
            os.remove(present[step])


def unusable(path: str | os.PathLike, error: OSError) -> str:
    """The message for a file or folder that cannot be written."""
    return f"{path}: cannot be written ({error.strerror}): make room or give a writable folder"
