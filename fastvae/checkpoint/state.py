"""What a checkpoint holds: one declared structure, its format, and what brings a file of an older format up to date.

A new field is declared in `State`, with `absent`, the value that it has in files without it; that is no new format, for
older versions pass over fields that they do not know. A change of what a field means is one: `FORMAT` goes up by one,
and `MIGRATIONS` gets the function that turns the contents of the format before into those of the new one.

Examples
--------
>>> [field.name for field in dataclasses.fields(State)][:3]
['step', 'variables', 'pipelines']
"""

from __future__ import annotations

import dataclasses
import datetime
import os
from typing import Any, Callable

import numpy as np

from fastvae.checkpoint import container, values
from fastvae.checkpoint.container import DamagedError
from fastvae.errors import DataError

FORMAT = 2
NEEDED = object()  # the `absent` of a field that every file has


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _is_variable(value: Any) -> bool:
    named = _is_dict(value) and isinstance(value.get("name"), (str, type(None)))
    return named and values.is_encoded(value.get("value"))


def _is_losses(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 1


def _is_parts(value: Any) -> bool:
    return _is_dict(value) and all(map(_is_dict, value.values()))


def _is_configuration(value: Any) -> bool:
    return _is_dict(value) and _is_dict(value.get("arguments", {})) and isinstance(value.get("step", ""), str)


def _is_rank(value: Any) -> bool:
    def is_own(entry: Any) -> bool:
        return _is_dict(entry) and _is_count(entry.get("place")) and values.is_encoded(entry.get("value"))

    known = _is_dict(value) and _is_list(_is_dict)(value.get("pipelines"))
    return known and _is_list(is_own)(value.get("variables"))


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _now() -> str:
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _field(is_right: Callable[[Any], bool], absent: Any = NEEDED, **options: Any) -> Any:
    """A field of `State`: whether a value is right for it, and which one a file without it is taken to hold."""
    return dataclasses.field(metadata={"is_right": is_right, "absent": absent}, **options)


@dataclasses.dataclass(kw_only=True)
class State:
    """Everything that a run needs to go on as if it had never stopped.

    Attributes
    ----------
    step : int
        Steps taken.
    variables : list of dict
        `name` and `value` of every shared variable that the compiled step updates (parameters, optimizer state, random
        streams, counters of resident minibatches), and of trained parameters that it does not.
    pipelines : list of dict
        The states of streamed minibatches.
    losses : numpy.ndarray
        One for each step.
    parts : dict of str to dict
        The states of the parts of the run (`fastvae.training.parts`) that have one, by name.
    configuration : dict
        What the run was given: `arguments` of `fit`, each described by `fastvae.checkpoint.description`, `model`, and
        `step`, a digest of the step's expressions.
    made_by : dict
        Versions, profile and threads.
    written : str or None
        When, in UTC; None if it is not known.
    ranks : list of dict
        For each rank of a run on several, where it differs from the first: `variables`, a list of `place` in those
        above and `value`, and `pipelines`.
    """

    step: int = _field(_is_count)
    variables: list[dict[str, Any]] = _field(_is_list(_is_variable))
    pipelines: list[dict[str, Any]] = _field(_is_list(_is_dict))
    losses: np.ndarray = _field(_is_losses)
    parts: dict[str, dict[str, Any]] = _field(_is_parts)
    configuration: dict[str, Any] = _field(_is_configuration)
    made_by: dict[str, Any] = _field(_is_dict)
    written: str | None = _field(_is_text_or_none, absent=None, default_factory=_now)
    ranks: list[dict[str, Any]] = _field(_is_list(_is_rank), absent=(), default_factory=list)


def write(path: str | os.PathLike, state: State) -> None:
    """Write a checkpoint, replacing the file at once or not at all (OSError; TypeError as of `container.write`)."""
    container.write(path, {"format": FORMAT, **vars(state)})


def read(path: str | os.PathLike) -> State:
    """The state in a checkpoint of any format up to `FORMAT`, every byte of the file verified.

    Raises
    ------
    DamagedError
        If the file is damaged, truncated, no checkpoint, lacks something, or cannot be read.
    DataError
        If a newer version of fastvae wrote it.
    """
    contents = container.read(path)
    version = contents.pop("format", None)
    if not (_is_count(version) and version >= 1):
        raise _damaged(path, "format")
    if version > FORMAT:
        raise DataError(f"{path}: has format {version}, newer than {FORMAT}, the newest known here: upgrade fastvae")
    try:
        for older in range(version, FORMAT):
            contents = MIGRATIONS[older](contents)
        state = State(**{field.name: _value(field, contents) for field in dataclasses.fields(State)})
    except _Wrong as error:
        raise _damaged(path, error) from None
    if len(state.losses) != state.step:
        raise _damaged(path, "losses")
    return state


class _Wrong(Exception):
    """The name of a field whose value no run writes."""


def _value(field: dataclasses.Field, contents: dict[str, Any]) -> Any:
    value = contents.get(field.name, field.metadata["absent"])
    if field.name in contents and not field.metadata["is_right"](value) or value is NEEDED:
        raise _Wrong(field.name)
    return value


def _damaged(path: str | os.PathLike, name: object) -> DamagedError:
    return DamagedError(f"{path}: its checksum is right, but not its {str(name)!r}: it is damaged")


def _is_measurement(value: Any) -> bool:
    return _is_list(_is_number)(value) and len(value) == 2 and _is_count(value[0])


def _is_best(value: Any) -> bool:
    known = _is_dict(value) and _is_count(value.get("step")) and _is_number(value.get("elbo"))
    return known and _is_list(lambda array: isinstance(array, np.ndarray))(value.get("values"))


def _from_1(contents: dict[str, Any]) -> dict[str, Any]:
    """Format 1 had the states of two parts as fields of their own: `held_out`, and `best`, None without patience."""
    contents = {"best": None, **contents}  # its first versions knew no best
    held_out, best = contents.pop("held_out", None), contents.pop("best")
    if not _is_list(_is_measurement)(held_out):
        raise _Wrong("held_out")
    if not (best is None or _is_best(best)):
        raise _Wrong("best")
    contents["parts"] = {"held_out": {"measured": held_out}} | ({} if best is None else {"best": best})
    return contents


#: For each older format, the function that turns its contents into those of the next format.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
