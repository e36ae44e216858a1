"""Checkpoints: everything a run needs to go on as if it had never stopped, one file a checkpoint, the last three kept.

    checkpoint-00001000.ckpt    the state after step 1,000 (the format is that of `fastvae.checkpoint.container`)

A state holds every shared variable that the compiled step updates (parameters, optimizer state, random streams,
counters of resident minibatches), trained parameters that it does not, the state of streamed minibatches, the
losses so far, the held-out ELBOs, with `patience` the parameters of the best of them, what the run was given (the
arguments of `fit`, each described by `fastvae.checkpoint.description`, and a digest of the step's expressions), and the
versions, profile and threads that made it.

A run that is resumed with another argument, or whose step computes something else, is another run and refused, unless
`may_change` names what differs; its length, callbacks, held-out rows, files and intervals may change, which is said.

On the same machine, versions, profile and number of threads a resumed run ends in the same bits as one in one go.

Examples
--------
>>> import fastvae, tempfile
>>> folder, images = tempfile.mkdtemp(), np.zeros((20, 1, 4, 4), "float32")
>>> options = dict(batch_size=5, seed=1, progressbar=False, checkpoint=folder)
>>> approx = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0).fit(images, n=3, **options)
>>> sorted(steps(folder))
[0, 3]
>>> newest(folder)["step"]
3
"""

import contextlib
import functools
import json
import os
import pathlib
import platform
import re
import sys

import numpy as np
import pymc3 as pm
import theano

import fastvae
from fastvae import atomic, kinds, locks, profiles
from fastvae.checkpoint import container, values
from fastvae.checkpoint.container import DamagedError
from fastvae.checkpoint.description import graph_digest
from fastvae.devices import threads
from fastvae.errors import CheckpointError, ConfigurationError, DataError

FORMAT = 1
KEPT = 3
#: Arguments of `fit` that leave what a step computes as it is.
MAY_CHANGE = ("n", "epochs", "score", "callbacks", "progressbar", "held_out", "held_out_every", "patience")
MAY_CHANGE += ("fetch_every", "history", "checkpoint_every")
LOCKED = "checkpoints"  # what the lock's file in the folder is named after
NAME = re.compile(r"checkpoint-(\d{8,})\.ckpt")


@kinds.checked(folder=kinds.path)
def steps(folder):
    """The checkpoints of a folder, whole or not: `{step: path}`."""
    names = [(NAME.fullmatch(path.name), path) for path in pathlib.Path(folder).glob("checkpoint-*.ckpt")]
    return {int(match[1]): path for match, path in names if match}


@kinds.checked(path=kinds.path)
def read(path):
    """The state in a checkpoint, every byte of the file verified.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict
        With `step`, `variables` (a list of dicts with `name` and `value`, parameters under their names), `losses`,
        `configuration`, `made_by` and what else the module's text names.

    Raises
    ------
    DamagedError
        If the file is damaged, truncated, no checkpoint, lacks something, or cannot be read.
    DataError
        If a newer version of fastvae wrote it.
    """
    state = {"best": None, **container.read(path)}  # earlier versions knew no best
    version = state.get("format")
    if type(version) is int and version > FORMAT:
        raise DataError(f"{path}: has format {version}, newer than {FORMAT}, the newest known here: upgrade fastvae")
    wrong = [name for name, is_right in STATE.items() if name not in state or not is_right(state[name])]
    if wrong or len(state["losses"]) != state["step"]:
        raise DamagedError(f"{path}: its checksum is right, but not its {(wrong or ['losses'])[0]!r}: it is damaged")
    return state


def _is_count(value):
    return type(value) is int and value >= 0


def _is_list(value, of):
    return isinstance(value, list) and all(map(of, value))


def _is_variable(value):
    named = isinstance(value, dict) and isinstance(value.get("name"), (str, type(None)))
    return named and values.is_encoded(value.get("value"))


def _is_measurement(value):
    return _is_list(value, of=lambda number: type(number) in (int, float)) and len(value) == 2 and _is_count(value[0])


def _is_best(value):
    if value is None:
        return True
    if not _is_dict(value) or not _is_count(value.get("step")) or type(value.get("elbo")) not in (int, float):
        return False
    return _is_list(value.get("values"), of=lambda array: isinstance(array, np.ndarray))


def _is_dict(value):
    return isinstance(value, dict)


def _is_configuration(value):
    return _is_dict(value) and _is_dict(value.get("arguments", {})) and isinstance(value.get("step", ""), str)


STATE = {  # what a state must hold, and whether it is that
    "format": lambda value: _is_count(value) and value >= 1,
    "step": _is_count,
    "variables": functools.partial(_is_list, of=_is_variable),
    "pipelines": functools.partial(_is_list, of=_is_dict),
    "losses": lambda value: isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 1,
    "held_out": functools.partial(_is_list, of=_is_measurement),
    "best": _is_best,
    "configuration": _is_configuration,
    "made_by": _is_dict,
}


@kinds.checked(folder=kinds.path)
def newest(folder):
    """The state in the newest checkpoint of a folder, or None if it holds none.

    A damaged file is said to be so on the standard error, and the one before it is taken.

    Raises
    ------
    DataError
        If all are damaged, or the newest whole one is of a newer version of fastvae.
    """
    found = sorted(steps(folder).items(), reverse=True)
    for _, path in found:
        try:
            return read(path)
        except DamagedError as error:
            print(f"fastvae: {error}; trying the checkpoint before it", file=sys.stderr)
    if found:
        raise DataError(f"{folder}: none of its {len(found)} checkpoints is whole: begin again in another folder")
    return None


@kinds.checked(function=kinds.instance("function", "a compiled theano function", theano.compile.Function))
def updated(function):
    """The shared variables that a compiled function updates, in its order, but for those that pass (a tag)."""
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

    Attributes
    ----------
    saved : int or None
        The step of the newest checkpoint; None before there is one.
    losses, held_out : list or numpy.ndarray
        Those of the resumed checkpoint; empty for a new run.
    best : dict or None
        Of the resumed checkpoint, see `save`.

    Raises
    ------
    ConfigurationError, DataError
        If the folder cannot be used, or another run writes there.
    """

    def __init__(self, folder, every, resume, configuration, may_change=()):
        self.folder, self.every, self.may_change = pathlib.Path(folder), every, may_change
        self.configuration = json.loads(json.dumps(configuration, default=_plain))
        self.made_by = _made_by()
        with contextlib.ExitStack() as on_error:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = on_error.enter_context(locks.Lock(self.folder / LOCKED, f"checkpoint={str(folder)!r}"))
                atomic.sweep(self.folder, "checkpoint-*")
            except OSError as error:
                raise ConfigurationError(_unusable(self.folder, error)) from error
            present = steps(self.folder)
            if present and not resume:
                raise ConfigurationError(
                    f"checkpoint={str(folder)!r} holds checkpoints of a run up to step {max(present):,}: pass "
                    "resume=True to go on from there, or give another folder"
                )
            state = newest(self.folder) if resume else None
            self.saved, self.losses, self.held_out, self.best = None, [], [], None
            self._is_same_run = True  # no argument that counts and no version differs
            if state is not None:
                self.saved, self.losses, self.held_out = state["step"], state["losses"], state["held_out"]
                self.best = state["best"]
            if resume:
                self._compare(state)
            self._resumed = state
            on_error.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._lock.release()

    def _compare(self, state):
        """Say where the run goes on and what is not as it was; refuse what would make it another run."""
        if state is None:
            print(f"fastvae: no checkpoint in {str(self.folder)!r}: beginning at step 1", file=sys.stderr)
            return
        path, before, here = self.path(self.saved), state["configuration"], self.configuration
        if before.get("model") != here.get("model"):
            raise DataError(
                f"{path}: is of another model, {before.get('model')!r}, not {here.get('model')!r}: give the folder of "
                "a run of this model, or a new one"
            )
        then, now = before.get("arguments", {}), here.get("arguments", {})
        arguments = _changes(then, now) if then and now else {}
        refused = {name: change for name, change in arguments.items() if name not in (*MAY_CHANGE, *self.may_change)}
        if refused:
            raise ConfigurationError(
                f"{path}: is of a run with other arguments, here {', '.join(refused.values())}: give those of the "
                f"first run, another folder, or may_change={list(refused)!r} to go on with the new ones"
            )
        length = {name: change for name, change in arguments.items() if name in MAY_CHANGE}
        others = {name: change for name, change in arguments.items() if name not in MAY_CHANGE}
        if then or not now:  # an older version kept some arguments among these
            others.update(_changes(_rest(before), _rest(here)))
        others.update(_changes(state["made_by"], self.made_by))
        self._is_same_run = not others
        line = f"fastvae: resuming after step {self.saved:,} from {path}"
        line += f"; with {', '.join(length.values())}" if length else ""
        line += f"; not bit for bit as in one go: {', '.join(others.values())}" if others else ""
        if now and not then:
            line += "; an older version wrote it, which did not keep the arguments: they are not compared"
        print(line, file=sys.stderr)

    def describe_step(self, loss, updates):
        """Take a digest of what a step computes; refuse to resume a run whose steps computed something else.

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
        digest = graph_digest([loss, *updates.values()], changing=updates)
        before = digest if self._resumed is None else self._resumed["configuration"].get("step", digest)
        if before != digest and self._is_same_run and "step" not in self.may_change:
            raise ConfigurationError(
                f"{self.path(self.saved)}: is of a run whose steps computed something else ({before}, here {digest}), "
                "though the arguments are the same: a constant, a network, data or an optimizer of the model changed; "
                "restore it, give another folder, or may_change=['step'] to go on with the new one"
            )
        if before != digest:
            print("fastvae: from here on the steps compute something else than before", file=sys.stderr)
        self.configuration["step"] = digest

    def bind(self, step, params, pipelines):
        """Tell what a state consists of, and restore the resumed one.

        Parameters
        ----------
        step : theano.compile.Function
            The compiled step.
        params : list of theano.compile.SharedVariable
            The trained parameters.
        pipelines : list
            Of the minibatches: objects with `state() -> dict` and `restore(dict)`.
        """
        self.variables = list(dict.fromkeys([*updated(step), *params]))
        self.pipelines = pipelines
        self._entries()  # what a checkpoint cannot hold is better known before the first step
        if self._resumed is None:
            return
        encoded, states = self._matched(self._resumed["variables"]), self._resumed["pipelines"]
        if len(states) != len(pipelines):
            raise DataError(
                f"{self.path(self.saved)}: has the states of {len(states)} minibatches, this run has {len(pipelines)}: "
                "give the arguments of the first run"
            )
        for variable, value in zip(self.variables, encoded):
            values.restore(variable, value)
        for pipeline, state in zip(pipelines, states):
            pipeline.restore(state)
        self._resumed = None

    def _matched(self, entries):
        """The values of a state, after a check that they belong to this run's variables."""
        mine = [values.describe(entry["name"], entry["value"]) for entry in self._entries()]
        found = [values.describe(entry["name"], entry["value"]) for entry in entries]
        if mine != found:
            place = next((i for i, (a, b) in enumerate(zip(mine, found)) if a != b), min(len(mine), len(found)))
            here, there = (names[place] if place < len(names) else "nothing" for names in (mine, found))
            raise DataError(
                f"{self.path(self.saved)}: is of another model, batch size or optimizer: its variable {place} is "
                f"{there}, here it is {here}: give the arguments of the first run, or another folder"
            )
        return [entry["value"] for entry in entries]

    def _entries(self):
        """The variables of a state, by name and encoded value."""
        return [
            {"name": v.name, "value": values.encode(v.get_value(borrow=True), v.name or f"a {v.type}")}
            for v in self.variables
        ]

    def path(self, step):
        """Where the checkpoint after a step is, or will be."""
        return self.folder / f"checkpoint-{step:08d}.ckpt"

    def check_length(self, n):
        """Raise ConfigurationError if a run of n steps is shorter than what is resumed."""
        if self.saved is not None and n < self.saved:
            raise ConfigurationError(
                f"fit: n={n} counts all steps of the run, which has {self.saved:,} in {self.path(self.saved)}: give at "
                "least that many"
            )

    def due(self, step):
        """Whether a checkpoint is to be written after a step."""
        return step // self.every > self.saved // self.every

    def save(self, step, losses, held_out, best=None):
        """Write the state after a step, and remove all but the last three.

        Parameters
        ----------
        step : int
            Steps taken since the run began.
        losses : numpy.ndarray
            One for each of them.
        held_out : list
            Pairs (step, ELBO per image).
        best : dict, optional
            With `patience`: `step`, `elbo` and `values`, the parameters at the best measurement.

        Raises
        ------
        CheckpointError
            If it cannot be written; older checkpoints are then as they were.
        """
        state = {
            "format": FORMAT,
            "step": step,
            "variables": self._entries(),
            "pipelines": [pipeline.state() for pipeline in self.pipelines],
            "losses": losses,
            "held_out": held_out,
            "best": best,
            "configuration": self.configuration,
            "made_by": self.made_by,
        }
        try:
            container.write(self.path(step), state)
        except OSError as error:
            kept = "" if self.saved is None else f"; the last that was written is {self.path(self.saved)}"
            raise CheckpointError(f"{_unusable(self.path(step), error)}{kept}", step) from error
        self.saved = step
        present = steps(self.folder)
        kept = sorted(number for number in present if number <= step)[-KEPT:]
        for number in present.keys() - kept:  # a later one is a damaged one that was passed over
            with contextlib.suppress(FileNotFoundError):
                os.remove(present[number])


def _changes(before, here):
    """What differs between two dicts: `{name: "name=value (it was value)"}`."""
    return {
        name: f"{name}={kinds.shown(here.get(name))} (it was {kinds.shown(before.get(name))})"
        for name in {**before, **here}
        if json.dumps(before.get(name), sort_keys=True) != json.dumps(here.get(name), sort_keys=True)
    }


def _rest(configuration):
    return {name: value for name, value in configuration.items() if name not in ("model", "arguments", "step")}


def _unusable(path, error):
    return f"{path}: cannot be written ({error.strerror}): make room or give a writable folder"


def _plain(value):
    return value.item() if isinstance(value, np.generic) else repr(value)


def _made_by():
    return {
        "fastvae": fastvae.__version__,
        "theano": theano.__version__,
        "pymc3": pm.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
        "profile": profiles.active().name,
        "threads": max(pool.threads for pool in threads.pools()),
    }
