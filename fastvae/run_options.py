"""The options of a training run, each declared once: `fastvae.fit`, checkpoints and the command line derive from here.

Nothing here imports theano: what is wrong with an option is known before the stack starts.

Examples
--------
>>> RunOptions(n=20).checkpoint_every
1000
>>> KINDS["patience"].says
'None or an integer of at least 1'
>>> RunOptions(colour=3)
Traceback (most recent call last):
TypeError: RunOptions.__init__() got an unexpected keyword argument 'colour'
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Callable, Collection, Sequence

from fastvae import kinds
from fastvae.kinds import Kind


def _configuration(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    json.dumps(value, default=repr)  # TypeError for a key that is no text, ValueError for a dict within itself
    return value


def _option(default: Any, kind: Kind | None = None, *, may_change: bool = False, own: bool = False) -> Any:
    """A field of `RunOptions`.

    Parameters
    ----------
    default : object
    kind : fastvae.kinds.Kind, optional
        What it takes; `fastvae.training.arguments` declares the kinds that need theano.
    may_change : bool
        Whether a resumed run may have another value: it leaves what a step computes as it is.
    own : bool
        Whether only fastvae's loop has it, so that a method that runs through stock `pm.fit` refuses it. Its default is
        None.
    """
    return dataclasses.field(default=default, metadata=dict(kind=kind, may_change=may_change, own=own))


@dataclasses.dataclass(kw_only=True)
class RunOptions:
    """What `fastvae.fit` is asked for, which documents the options, beside what it passes on to the step."""

    n: int | None = _option(None, kinds.optional(kinds.integer(0)), may_change=True)
    local_rv: dict | None = _option(None)
    method: Any = _option("advi")
    model: Any = _option(None)
    random_seed: int | None = _option(None, kinds.optional(kinds.seed))
    start: dict[str, Any] | None = _option(
        None, kinds.optional(kinds.dictionary("a dict {name of a global variable: value}"))
    )
    inf_kwargs: dict[str, Any] | None = _option(
        None, kinds.optional(kinds.dictionary("a dict of arguments of the inference"))
    )
    epochs: int | None = _option(None, kinds.optional(kinds.integer()), may_change=True, own=True)
    score: bool | None = _option(None, kinds.optional(kinds.boolean), may_change=True)
    callbacks: Sequence[Callable] | None = _option(
        None,
        kinds.optional(kinds.sequence(kinds.function("a function"), "functions: callbacks=[...]")),
        may_change=True,
    )
    parts: Sequence[Any] | None = _option(None, may_change=True, own=True)
    progressbar: bool = _option(True, kinds.boolean, may_change=True)
    batch_size: int | None = _option(None, kinds.optional(kinds.size))
    fn_kwargs: dict[str, Any] | None = _option(None)
    held_out: dict | None = _option(
        None,
        kinds.optional(kinds.dictionary("a dict {x: rows} for every x in more_replacements")),
        may_change=True,
        own=True,
    )
    held_out_every: int = _option(1_000, kinds.integer(), may_change=True)
    patience: int | None = _option(None, kinds.optional(kinds.integer()), may_change=True, own=True)
    bad_steps: str = _option("stop", kinds.choice("stop", "skip"))
    fetch_every: int | None = _option(None, kinds.optional(kinds.integer(1, 2**24)), may_change=True, own=True)
    history: str | os.PathLike | None = _option(None, kinds.optional(kinds.path), may_change=True, own=True)
    log_dir: str | os.PathLike | None = _option(None, kinds.optional(kinds.path), may_change=True, own=True)
    checkpoint: str | os.PathLike | None = _option(None, kinds.optional(kinds.path), own=True)
    checkpoint_every: int = _option(1_000, kinds.integer(), may_change=True)
    resume: bool = _option(False, kinds.boolean)
    parallel: str | None = _option("auto", kinds.optional(kinds.choice("auto", "mpi")), may_change=True)
    rank_timeout: float = _option(300.0, kinds.number(above=0, like=300), may_change=True)
    may_change: Collection[str] = _option((), kinds.sequence(kinds.text, "names of arguments"))
    configuration: dict[str, Any] | None = _option(
        None, kinds.optional(Kind("dict", "a dict of JSON values", _configuration))
    )

    def given_of_its_own(self) -> list[str]:
        """The names of what was given of the options that only fastvae's loop has."""
        return [name for name in _names("own") if getattr(self, name) is not None]


def _names(fact: str) -> tuple[str, ...]:
    """The options of which something holds that their declaration says."""
    return tuple(field.name for field in dataclasses.fields(RunOptions) if field.metadata[fact])


#: Every option.
NAMES = tuple(field.name for field in dataclasses.fields(RunOptions))
#: Those that leave what a step computes as it is.
MAY_CHANGE = _names("may_change")
#: What the options take, of those that need no theano for it.
KINDS: dict[str, Kind] = {
    field.name: field.metadata["kind"] for field in dataclasses.fields(RunOptions) if field.metadata["kind"]
}
