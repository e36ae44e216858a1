"""The checkpoints of one run: what its state consists of, the right to write it, and the way back."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import platform
import zlib
from typing import Any, Collection, Sequence

import numpy as np
import pymc3 as pm
import theano
from theano.compile.pfunc import rebuild_collect_shared

import fastvae
from fastvae import atomic, kinds, locks, profiles
from fastvae.checkpoint import comparing, files, state, values
from fastvae.checkpoint.description import graph_digest
from fastvae.checkpoint.state import State
from fastvae.devices import threads
from fastvae.errors import CheckpointError, ConfigurationError, DataError
from fastvae.messages import say
from fastvae.parallel import ALONE, Ranks

LOCKED = "checkpoints"  # what the lock's file in the folder is named after
STATES = "let state() return None, or a dict of JSON values and numpy arrays"


@kinds.checked(function=kinds.instance("function", "a compiled theano function", theano.compile.Function))
def updated(function: theano.compile.Function) -> list[theano.compile.SharedVariable]:
    """The shared variables that a compiled function updates, in its order, except those with the tag `passing`."""
    entries = [entry for entry in function.maker.inputs if entry.implicit and entry.update is not None]
    return [entry.variable for entry in entries if not getattr(entry.variable.tag, "passing", False)]


class Checkpoints:
    """The checkpoints of one run, and the right to write them, until the end of a `with` block.

    Parameters
    ----------
    folder : str or path-like
        Made if it does not exist.
    every : int
        Steps from one checkpoint to the next.
    resume : bool
        Whether to go on from the folder's newest checkpoint. Without it, a folder with checkpoints is refused.
    configuration : dict
        JSON values that describe the run. Another `model`, and another of its `arguments` that is not among
        `may_change`, is an error when a run is resumed; other differences are said in one line.
    may_change : collection of str
        Names of arguments; ``"step"`` is what a step computes.
    ranks : fastvae.parallel.Ranks
        Those of the run. Only the first reads and writes files, so every method is collective.

    Attributes
    ----------
    saved : int or None
        The step of the newest checkpoint; None before there is one.
    losses : list or numpy.ndarray
        Those of the resumed checkpoint; empty for a new run.
    restored_streams : bool
        Whether `bind` has given this rank the random streams and the place in the data that it had.

    Raises
    ------
    ConfigurationError, DataError
        If the folder cannot be used, or another run writes there.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        every: int,
        resume: bool,
        configuration: dict[str, Any],
        may_change: Collection[str] = (),
        ranks: Ranks = ALONE,
    ) -> None:
        self.folder, self.every, self.may_change, self.ranks = pathlib.Path(folder), every, may_change, ranks
        self.configuration = json.loads(json.dumps(configuration, default=_plain))
        self.made_by = made_by(ranks)
        self._lock: locks.Lock | None = None
        self.saved: int | None = None
        self.losses: Sequence[float] | np.ndarray = []
        self.parts: Sequence[Any] = []
        self.restored_streams = False
        self._orders: list[list[Any]] = []
        self._resumed, self._is_same_run = ranks.on_first(lambda: self._open(resume))
        if self._resumed is not None:
            self.saved, self.losses = self._resumed.step, self._resumed.losses

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others write to the folder."""
        if self._lock is not None:
            self._lock.release()

    def _open(self, resume: bool) -> tuple[State | None, bool]:
        """Take the folder; the state to go on from, and whether everything is as it was then."""
        with contextlib.ExitStack() as on_error:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = locks.Lock(self.folder / LOCKED, f"checkpoint={str(self.folder)!r}")
                self._lock = on_error.enter_context(lock)
                atomic.sweep(self.folder, "checkpoint-*")
            except OSError as error:
                raise ConfigurationError(files.unusable(self.folder, error)) from error
            found = self._find() if resume else self._begin()
            on_error.pop_all()
        return found

    def _begin(self) -> tuple[State | None, bool]:
        present = files.steps(self.folder)
        if present:
            raise ConfigurationError(
                f"checkpoint={str(self.folder)!r} holds checkpoints of a run up to step {max(present):,}: pass "
                "resume=True to go on from there, or give another folder"
            )
        return None, True

    def _find(self) -> tuple[State | None, bool]:
        """The state to go on from, after a line that says so, and whether everything is as it was then."""
        found = files.newest(self.folder)
        if found is None:
            say(f"fastvae: no checkpoint in {str(self.folder)!r}: beginning at step 1")
            return None, True
        line, is_same = comparing.compare(
            found, files.path_of(self.folder, found.step), self.configuration, self.made_by, self.may_change
        )
        say(f"fastvae: {line}")
        return found, is_same

    def describe_step(self, loss: theano.Variable, updates: dict[Any, theano.Variable]) -> None:
        """Take a digest of what a step computes; refuse to resume a run whose steps computed something else.

        The order in which a checkpoint keeps the variables of the step comes from here too, for that of the compiled
        step depends on whether the step returns its loss or leaves it in a buffer.

        Parameters
        ----------
        loss : theano scalar
        updates : dict
            New values of all that a step changes.

        Raises
        ------
        ConfigurationError
            If they differ although no argument does: the model's own constants, its network or its data changed.
        """
        computed = [loss, *updates.values()]
        digest = graph_digest(computed, changing=updates)
        before = digest if self._resumed is None else self._resumed.configuration.get("step", digest)
        if before != digest and before == graph_digest(computed, changing=updates, placed=True):
            before = digest  # an earlier version wrote it
        if before != digest and self._is_same_run and "step" not in self.may_change:
            raise ConfigurationError(
                f"{self.last}: is of a run whose steps computed something else ({before}, here {digest}), "
                "though the arguments are the same: a constant, a network, data or an optimizer of the model changed; "
                "restore it, give another folder, or may_change=['step'] to go on with the new one"
            )
        if before != digest:
            say("fastvae: from here on the steps compute something else than before")
        self.configuration["step"] = digest
        # The second order is that in which earlier versions kept the variables of a step with a buffer.
        self._orders = [_in_order_of_use(outputs, updates) for outputs in ([loss], [])]

    def bind(self, step: theano.compile.Function, params: Sequence[Any], pipelines: Sequence[Any]) -> None:
        """Register what is trained and what it is trained on, and restore it if the run is resumed.

        Parameters
        ----------
        step : theano.compile.Function
            The compiled step.
        params : list of theano.compile.SharedVariable
            The trained parameters.
        pipelines : list
            Of the minibatches: objects with `state() -> dict` and `restore(dict)`.
        """
        orders = [list(dict.fromkeys([*_sorted(updated(step), by), *params])) for by in [*self._orders, []]]
        self.variables, self.pipelines, self._trained = orders[0], pipelines, set(params)
        self._entries(self.variables)  # raises for what a checkpoint cannot hold
        if self._resumed is None:
            return
        matched, states = self._matched(self._resumed.variables, orders), self._resumed.pipelines
        if len(states) != len(pipelines):
            raise DataError(
                f"{self.last}: has the states of {len(states)} minibatches, this run has {len(pipelines)}: "
                "give the arguments of the first run"
            )
        for variable, value in matched:
            values.restore(variable, value)
        if len(self._resumed.ranks) == self.ranks.size > 1:
            self.restored_streams = True
            own = self._resumed.ranks[self.ranks.rank]
            for entry in own["variables"]:
                values.restore(matched[entry["place"]][0], entry["value"])
            states = own["pipelines"] or states
        for pipeline, state_of_one in zip(pipelines, states):
            pipeline.restore(state_of_one)

    def bind_parts(self, parts: Sequence[Any]) -> None:
        """Register what else has a state, and restore it if the run is resumed.

        Parameters
        ----------
        parts : list of fastvae.training.parts.Part
            Objects with a `name`, `state() -> dict or None` and `restore(dict)`. The state of a part that this run does
            not have is dropped.
        """
        self.parts = parts
        for part in parts:
            if self._resumed is not None and part.name in self._resumed.parts:
                self._restore(part, self._resumed.parts[part.name])
        self._resumed = None

    def _restore(self, part: Any, found: dict[str, Any]) -> None:
        try:
            part.restore(found)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise DataError(
                f"{self.last}: its checksum is right, but the part {part.name!r} cannot go on from its state there "
                f"({what}): give the part that wrote it or leave it out; if it is the same, the file is damaged, and "
                "without it the run goes on from the checkpoint before"
            ) from error

    def _matched(self, entries: list[dict[str, Any]], orders: list[list[Any]]) -> list[tuple[Any, Any]]:
        """This run's variables, each with its value in a state, after a check that they belong together.

        The variables are those of one of the orders; which it is depends on the version that wrote the state.
        """
        found = [values.describe(entry["name"], entry["value"]) for entry in entries]
        for order in orders:
            if found == self._described(order):
                return [(variable, entry["value"]) for variable, entry in zip(order, entries)]
        mine = self._described(self.variables)
        place = next((i for i, (a, b) in enumerate(zip(mine, found)) if a != b), min(len(mine), len(found)))
        here, there = (names[place] if place < len(names) else "nothing" for names in (mine, found))
        raise DataError(
            f"{self.last}: is of another model, batch size or optimizer: its variable {place} is "
            f"{there}, here it is {here}: give the arguments of the first run, or another folder"
        )

    def _described(self, variables: list[Any]) -> list[str]:
        return [values.describe(entry["name"], entry["value"]) for entry in self._entries(variables)]

    def _entries(self, variables: list[Any]) -> list[dict[str, Any]]:
        """Variables as a state keeps them, by name and encoded value."""
        return [
            {"name": v.name, "value": values.encode(v.get_value(borrow=True), v.name or f"a {v.type}")}
            for v in variables
        ]

    @property
    def last(self) -> pathlib.Path | None:
        """The file of the newest checkpoint."""
        return None if self.saved is None else files.path_of(self.folder, self.saved)

    def check_length(self, n: int) -> None:
        """Raise ConfigurationError if a run of n steps is shorter than what is resumed."""
        if self.saved is not None and n < self.saved:
            raise ConfigurationError(
                f"fit: n={n} counts all steps of the run, which has {self.saved:,} in {self.last}: give at "
                "least that many"
            )

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after a step."""
        return step // self.every > (self.saved or 0) // self.every

    def save(self, step: int, losses: np.ndarray) -> None:
        """Write the state after a step, and remove all but the last three.

        Parameters
        ----------
        step : int
            Steps taken since the run began.
        losses : numpy.ndarray
            One for each of them.

        Raises
        ------
        CheckpointError
            If it cannot be written; older checkpoints are then as they were.
        ConfigurationError
            If the state of a part is not a dict of JSON values and arrays.
        """
        variables, pipelines = self._entries(self.variables), [pipeline.state() for pipeline in self.pipelines]
        own = self._own(variables, pipelines)
        self.ranks.on_first(lambda: self._write(step, losses, variables, pipelines, own))
        self.saved = step

    def _own(self, variables: list[dict[str, Any]], pipelines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """For each rank, on the first one, what it has beside that one's values; for one rank nothing."""
        if self.ranks.size == 1:
            return []
        digests = [_checksum(entry["value"]) for entry in variables]
        own = [
            {"place": place, "value": entry["value"]}
            for place, (entry, digest, first) in enumerate(zip(variables, digests, self.ranks.from_first(digests)))
            if digest != first
        ]
        diverged = [variable.name for entry in own if (variable := self.variables[entry["place"]]) in self._trained]
        if diverged:
            raise DataError(
                f"checkpoint: {diverged[0]!r} of rank {self.ranks.rank} is not that of rank 0: a callback or a part "
                "changed it on some ranks, or they compute differently; let all do the same"
            )
        return self.ranks.to_first({"variables": own, "pipelines": [] if self.ranks.is_first else pipelines})

    def _write(
        self,
        step: int,
        losses: np.ndarray,
        variables: list[dict[str, Any]],
        pipelines: list[dict[str, Any]],
        own: list[dict[str, Any]],
    ) -> None:
        path = files.path_of(self.folder, step)
        now = State(
            step=step,
            variables=variables,
            pipelines=pipelines,
            ranks=own,
            losses=losses,
            parts={part.name: found for part in self.parts if (found := _state_of(part)) is not None},
            configuration=self.configuration,
            made_by=self.made_by,
        )
        try:
            state.write(path, now)
        except OSError as error:
            kept = "" if self.saved is None else f"; the last that was written is {self.last}"
            raise CheckpointError(f"{files.unusable(path, error)}{kept}", step) from error
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"checkpoint: the state of a part cannot be kept: {error}: {STATES}") from error
        files.keep_last(self.folder, step)


def _in_order_of_use(outputs: list[theano.Variable], updates: dict[Any, theano.Variable]) -> list[Any]:
    """The shared variables of a function with these outputs and updates, in the order in which it comes upon them."""
    *_, (_, _, _, shared) = rebuild_collect_shared(outputs, updates=updates)
    return shared


def _sorted(variables: list[Any], order: list[Any]) -> list[Any]:
    """Variables in an order; those that are not in it come last."""
    return [*(v for v in order if v in variables), *(v for v in variables if v not in order)]


def _state_of(part: Any) -> dict[str, Any] | None:
    found = part.state()
    if not (found is None or isinstance(found, dict)):
        raise ConfigurationError(f"checkpoint: the state of the part {part.name!r} is {kinds.shown(found)}: {STATES}")
    return found


def _checksum(encoded: Any) -> Any:
    """By which the values of two ranks are told apart."""
    if isinstance(encoded, dict):
        return {name: _checksum(value) for name, value in encoded.items()}
    return zlib.crc32(np.ascontiguousarray(encoded)) if isinstance(encoded, np.ndarray) else encoded


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else repr(value)


def made_by(ranks: Ranks = ALONE) -> dict[str, Any]:
    """Versions, profile, threads and, if there are several, the number of ranks."""
    profile = profiles.active()
    facts = {
        "fastvae": fastvae.__version__,
        "theano": theano.__version__,
        "pymc3": pm.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
        "profile": None if profile is None else profile.name,
        "threads": max(pool.threads for pool in threads.pools()),
    }
    return facts if ranks.size == 1 else {**facts, "ranks": ranks.size}
