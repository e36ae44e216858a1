"""Checkpoints: everything a run needs to go on as if it had never stopped, one file a checkpoint, the last three kept.

    state           what a checkpoint holds, its format, and older formats
    files           the files in a run's folder: their names, the newest, the last three
    run             `Checkpoints`: writing and restoring the state of one run
    comparing       whether a resumed run is the run that the checkpoint is of
    description     what a run was given, as values that can be compared
    op_names        names of Ops in digests of graphs
    values          values of shared variables as arrays
    container       the file format: JSON values and arrays, with a checksum

On the same machine, versions, profile and number of threads a resumed run ends in the same bits as one in one go.

Examples
--------
>>> import fastvae, tempfile
>>> import numpy as np
>>> folder, images = tempfile.mkdtemp(), np.zeros((20, 1, 4, 4), "float32")
>>> options = dict(batch_size=5, seed=1, progressbar=False, checkpoint=folder)
>>> approx = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0).fit(images, n=3, **options)
>>> sorted(steps(folder))
[0, 3]
>>> newest(folder)["step"]
3
"""

from __future__ import annotations

import os
from typing import Any

from fastvae import kinds, renamed
from fastvae.checkpoint import files as _files
from fastvae.checkpoint import state as _state
from fastvae.checkpoint.container import DamagedError
from fastvae.checkpoint.files import steps
from fastvae.checkpoint.run import Checkpoints, updated
from fastvae.run_options import MAY_CHANGE

__all__ = ["Checkpoints", "DamagedError", "MAY_CHANGE", "newest", "read", "steps", "updated"]


@kinds.checked(path=kinds.path)
def read(path: str | os.PathLike) -> dict[str, Any]:
    """The state in a checkpoint, every byte of the file verified.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict
        The fields of `fastvae.checkpoint.state.State`: `step`, `variables` (a list of dicts with `name` and `value`,
        parameters under their names), `losses`, `parts`, `configuration`, `made_by` and others.

    Raises
    ------
    DamagedError
        If the file is damaged, truncated, no checkpoint, lacks something, or cannot be read.
    DataError
        If a newer version of fastvae wrote it.
    """
    return _Contents(vars(_state.read(path)))


@kinds.checked(folder=kinds.path)
def newest(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The state in the newest checkpoint of a folder, as `read` returns it, or None if it holds none.

    A damaged file is said to be so on the standard error, and the one before it is taken.

    Parameters
    ----------
    folder : str or path-like

    Returns
    -------
    dict or None

    Raises
    ------
    DataError
        If all are damaged, or the newest whole one is of a newer version of fastvae.
    """
    found = _files.newest(folder)
    return None if found is None else _Contents(vars(found))


class _Contents(dict):
    """The fields of a state; what the states of two parts were called in format 1 goes on with a warning."""

    def __missing__(self, name: str) -> Any:
        if name == "held_out":
            renamed.warn("the field 'held_out' of a checkpoint", "its ['parts']['held_out']['measured']")
            return self["parts"].get("held_out", {"measured": []})["measured"]
        if name == "best":
            renamed.warn("the field 'best' of a checkpoint", "its ['parts']['best']")
            return self["parts"].get("best")
        raise KeyError(name)
