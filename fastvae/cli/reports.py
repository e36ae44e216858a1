"""What a report says of a run beside its results: the options as they were given, and the commands that repeat it.

Examples
--------
>>> given(TrainOptions(latent=3))["--latent"]
'3'
>>> commands_of(pathlib.Path("runs/a"), TrainOptions(latent=3), {"profile": "cpu"})[0]
'fastvae train --latent 3 --profile cpu'
"""

from __future__ import annotations

import pathlib
import shlex
from typing import Any

from fastvae.cli import options
from fastvae.cli.options import TrainOptions

NAME = "report.html"  # in the folder of a run
MOST = 4  # runs on a page


def given(run: TrainOptions) -> dict[str, str]:
    """Every option of a run as it stands on the command line."""
    words: dict[Any, str] = {None: "none", True: "yes", False: "no"}
    values = {name: getattr(run, name) for name, _ in options.declared()}
    return {
        options.on_command_line(name): words[value] if value is None or isinstance(value, bool) else str(value)
        for name, value in values.items()
    }


def commands_of(folder: pathlib.Path, run: TrainOptions, session: dict[str, Any]) -> list[str]:
    """The commands that train such a run again, go on with it, and judge it.

    Parameters
    ----------
    folder : pathlib.Path
    run : fastvae.cli.options.TrainOptions
    session : dict
        The run's last one; its profile and its threads are repeated.
    """
    words = ["fastvae", "train"]
    for name, d in options.declared():
        value = getattr(run, name)
        if value is True:
            words.append(options.on_command_line(name))
        elif value != d["default"]:
            words += [options.on_command_line(name), str(value)]
    for name in ("profile", "threads"):
        if session.get(name):
            words += [options.on_command_line(name), str(session[name])]
    more = ["fastvae", "train", "--resume", str(folder), "--iterations", str(2 * run.iterations)]
    return [shlex.join(words), shlex.join(more), shlex.join(["fastvae", "evaluate", str(folder)])]
