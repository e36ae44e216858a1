"""Several threads: each has the flags that its own contexts set, and they compile one at a time.

Stock theano keeps one value of a flag for the whole process. A context such as `change_flags(cxx="")` or `with model:`
in one thread then affects all threads, and of two contexts that overlap the first to end leaves its flag behind. Here
what a context sets belongs to its thread; an assignment, `theano.config.cxx = ...`, affects all, as in stock.

Theano's compilation (graph rewrites, cache, lock of the folder) is not made for threads, so they take turns, and also
when they make random streams.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

import theano
from pymc3 import model as pm_model
from theano.compile.debugmode import _Maker
from theano.compile.function_module import FunctionMaker
from theano.configparser import ConfigParam, change_flags
from theano.gof.cmodule import ModuleCache
from theano.sandbox.rng_mrg import MRG_RandomStreams

from fastvae import compilation as side_by_side
from fastvae.stack import _compile_folder

_turn = threading.RLock()


class _Here(threading.local):
    """What belongs to one thread."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}  # of the flags that a context has changed
        self.entered: list[tuple[Any, dict[str, Any]]] = []  # (context, {flag: value before})
        self.models: list[Any] = []  # the flags before each `with model:` that the thread is in
        self.alone = 0  # nested blocks in which an assignment, too, affects only this thread


_here = _Here()
_BEFORE: dict[
    str, Any
] = {}  # what a model keeps as "the flags before its context"; the real ones are in `_here.models`


def install() -> None:
    """Replace the code with which theano keeps, reads and changes its flags, and with which it compiles."""
    ConfigParam.__get__, ConfigParam.__set__ = _get(ConfigParam.__get__), _set(ConfigParam.__set__)
    change_flags.__enter__, change_flags.__exit__ = _enter, _exit
    pm_model.set_theano_conf = _of_a_model(pm_model.set_theano_conf)
    for owner, name in (
        (FunctionMaker, "__init__"), (FunctionMaker, "create"), (_Maker, "__init__"), (_Maker, "create"),
        (ModuleCache, "module_from_key"),
        # These call one compiled function for all streams of the process.
        (MRG_RandomStreams, "inc_rstate"), (MRG_RandomStreams, "get_substream_rstates"),
    ):  # fmt: skip
        setattr(owner, name, _in_turn(getattr(owner, name)))
    side_by_side.help_under(lambda: _given(dict(_here.values)))
    # A forked child has only the thread that forked, so no other may be in the middle of a compilation.
    os.register_at_fork(before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_turn.release)


@contextlib.contextmanager
def _given(values: dict[Any, Any]) -> Iterator[None]:
    """Give this thread another one's flags within the block."""
    before, _here.values = _here.values, values
    try:
        yield
    finally:
        _here.values = before


def _get(stock):
    @functools.wraps(stock)
    def get(self, owner, kind, delete_key=False):
        if owner is not None and self in _here.values:
            return _here.values[self]
        return stock(self, owner, kind, delete_key)

    return get


def _set(stock):
    @functools.wraps(stock)
    def set_(self, owner, value):
        if not hasattr(self, "val") or (owner is not None and not _here.alone):
            _here.values.pop(self, None)
            stock(self, owner, value)
            return
        # A context calls this: theano and PyMC3 then pass no owner.
        if not self.allow_override:
            stock(self, owner, value)  # raises
        value = self.filter(value) if self.filter else value
        if value == self.val:
            _here.values.pop(self, None)
        else:
            _here.values[self] = value

    return set_


def _enter(self):
    _here.entered.append((self, {name: flag.__get__(True, None) for name, flag in self.confs.items()}))
    try:
        for name, flag in self.confs.items():
            flag.__set__(None, self.new_vals[name])
    except Exception:
        self.__exit__()
        raise


def _exit(self, *exception):
    place = max(i for i, (context, _) in enumerate(_here.entered) if context is self)
    _, before = _here.entered.pop(place)
    for name, flag in self.confs.items():
        flag.__set__(None, before[name])


def _of_a_model(stock):
    # A model keeps the flags before its context in one attribute. A nested context of the same model, or one in another
    # thread, overwrites it, and stock then leaves the model's flags behind.
    @functools.wraps(stock)
    def set_theano_conf(values):
        if values is _BEFORE:
            stock(_here.models.pop())
        else:
            _here.models.append(stock(values))
        return _BEFORE

    return set_theano_conf


def _in_turn(method):
    @functools.wraps(method)
    def alone(*args, **kwargs):
        with _turn, _compile_folder.failures_in_one_line(lambda: theano.config.compiledir):
            _here.alone += 1
            try:
                return method(*args, **kwargs)
            finally:
                _here.alone -= 1

    return alone
