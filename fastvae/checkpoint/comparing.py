"""Whether a run that is resumed is the run that the checkpoint is of.

A run that is resumed with another argument is another run and refused, unless `may_change` names what differs; its
length, callbacks, parts, held-out rows, files and intervals may change. All that differs is said in one line.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any, Collection

from fastvae import kinds
from fastvae.checkpoint.state import State
from fastvae.errors import ConfigurationError, DataError
from fastvae.run_options import MAY_CHANGE


def compare(
    state: State,
    path: pathlib.Path,
    configuration: dict[str, Any],
    made_by: dict[str, Any],
    may_change: Collection[str] = (),
) -> tuple[str, bool]:
    """Refuse to resume what would be another run; otherwise say what is not as it was.

    Parameters
    ----------
    state : State
    path : pathlib.Path
        The file that it is from.
    configuration, made_by : dict
        As in `State`, of the run that is to go on from there.
    may_change : collection of str
        Names of arguments that may differ.

    Returns
    -------
    line : str
        Where the run goes on, and with what.
    is_same : bool
        Whether no argument that counts and no version differs.

    Raises
    ------
    DataError
        If it is of another model.
    ConfigurationError
        If it is of a run with other arguments.
    """
    before = state.configuration
    if before.get("model") != configuration.get("model"):
        raise DataError(
            f"{path}: is of another model, {before.get('model')!r}, not {configuration.get('model')!r}: give the "
            "folder of a run of this model, or a new one"
        )
    then, now = before.get("arguments", {}), configuration.get("arguments", {})
    arguments = _changes(then, now) if then and now else {}
    refused = {name: change for name, change in arguments.items() if name not in (*MAY_CHANGE, *may_change)}
    if refused:
        raise ConfigurationError(
            f"{path}: is of a run with other arguments, here {', '.join(refused.values())}: give those of the first "
            f"run, another folder, or may_change={list(refused)!r} to go on with the new ones"
        )
    length = {name: change for name, change in arguments.items() if name in MAY_CHANGE}
    others = {name: change for name, change in arguments.items() if name not in MAY_CHANGE}
    if then or not now:  # an older version kept some arguments among these
        others.update(_changes(_rest(before), _rest(configuration)))
    others.update(_changes({"ranks": 1, **state.made_by}, {"ranks": 1, **made_by}))
    line = f"resuming after step {state.step:,} from {path}"
    line += f", written {state.written}" if state.written is not None else ""
    line += f"; with {', '.join(length.values())}" if length else ""
    line += f"; not bit for bit as in one go: {', '.join(others.values())}" if others else ""
    if "ranks" in others:
        line += "; parameters, optimizer and the place in the epoch go on, random streams begin anew"
    if now and not then:
        line += "; an older version wrote it, which did not keep the arguments: they are not compared"
    return line, not others


def _changes(before: dict[str, Any], here: dict[str, Any]) -> dict[str, str]:
    """What differs between two dicts: `{name: "name=value (it was value)"}`."""
    return {
        name: f"{name}={kinds.shown(here.get(name))} (it was {kinds.shown(before.get(name))})"
        for name in {**before, **here}
        if json.dumps(before.get(name), sort_keys=True) != json.dumps(here.get(name), sort_keys=True)
    }


def _rest(configuration: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in configuration.items() if name not in ("model", "arguments", "step")}
