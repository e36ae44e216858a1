"""Threads beside each other: each has the flags that its own contexts set, and one at a time compiles.

Stock keeps a flag in one place for the process. A context such as `change_flags(cxx="")` or `with model:` in one thread
is then in force in all, and two that overlap leave the flag of the one that ended first behind. Here what a context
sets belongs to its thread; an assignment, `theano.config.cxx = ...`, is for all, as in stock.

Theano's compilation (its graph rewrites, its cache, the lock of its folder) is not made for threads: they take turns.
"""

import contextlib
import functools
import os
import threading

import theano
from pymc3 import model as pm_model
from theano.compile.debugmode import _Maker
from theano.compile.function_module import FunctionMaker
from theano.configparser import ConfigParam, change_flags
from theano.gof.cmodule import ModuleCache

from fastvae import compilation as side_by_side
from fastvae.stack import _compile_folder

_turn = threading.RLock()


class _Here(threading.local):
    """What belongs to one thread."""

    def __init__(self):
        self.values = {}  # of flags that a context has changed
        self.entered = []  # (context, {flag: value before})
        self.models = []  # the flags before each `with model:` around this place
        self.alone = 0  # blocks in which an assignment too is the thread's own


_here = _Here()
_BEFORE = {}  # what a model takes for the flags before its context; those are in `_here.models`


def install():
    """Replace the places where theano keeps, reads and changes its flags, and where it compiles."""
    ConfigParam.__get__, ConfigParam.__set__ = _get(ConfigParam.__get__), _set(ConfigParam.__set__)
    change_flags.__enter__, change_flags.__exit__ = _enter, _exit
    pm_model.set_theano_conf = _of_a_model(pm_model.set_theano_conf)
    for owner, name in (
        (FunctionMaker, "__init__"), (FunctionMaker, "create"), (_Maker, "__init__"), (_Maker, "create"),
        (ModuleCache, "module_from_key"),
    ):  # fmt: skip
        setattr(owner, name, _in_turn(getattr(owner, name)))
    side_by_side.help_under(lambda: _given(dict(_here.values)))
    # A forked child has the thread that forked alone: nobody may be in the middle of a compilation then.
    os.register_at_fork(before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_turn.release)


@contextlib.contextmanager
def _given(values):
    """Within the block this thread has another's flags."""
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
        # A context: theano and PyMC3 name no owner then.
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
    # A model keeps the flags before its context in one place, where a context inside it, of the same model, or one of
    # another thread puts its own: stock leaves the model's flags behind.
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
