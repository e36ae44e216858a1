"""What theano and PyMC3 import for diagnostics, plots and Python's convolution is imported when it is used.

ArviZ, xarray, pandas, h5py, matplotlib, scipy.stats and scipy.signal are more than half of the time that `import
pymc3` takes, and a fit needs none of them. The modules of theano and PyMC3 get a stand-in for each but matplotlib,
which passes on everything that is asked of it; everybody else imports the real ones as ever. `pymc3.plots`, which lists
ArviZ's plots and imports matplotlib, is loaded when the first of its names is asked of `pymc3`.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

# importer: what it gets stand-ins for
MODULES = {
    "pymc3": ("arviz", "h5py", "pandas", "xarray", "scipy.stats"),
    "theano": ("scipy.stats", "scipy.signal.signaltools", "scipy.signal.sigtools"),
}
PLOTS = "pymc3.plots"


class Attribute:
    """What a stand-in has of its module: the real function or class, from when it is called or looked into."""

    __slots__ = ("__name__", "_module")

    def __init__(self, module: str, name: str) -> None:
        self._module, self.__name__ = module, name

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        loaded = self._module in sys.modules
        return self._value().__doc__ if loaded else f"{self._module}.{self.__name__}, imported when it is used."

    def _value(self) -> Any:
        return getattr(importlib.import_module(self._module), self.__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._value()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._value(), name)

    def __instancecheck__(self, value: object) -> bool:
        # Before its module is there, nothing is an instance of a class.
        return self._module in sys.modules and isinstance(value, self._value())


class StandIn(types.ModuleType):
    """A module that is not imported yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Attribute(self.__name__, name)


class _Package:
    """A package some of whose modules are stand-ins."""

    def __init__(self, package: types.ModuleType, stand_ins: dict[str, StandIn]) -> None:
        self._package = package
        vars(self).update(stand_ins)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._package, name)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Import theano and PyMC3 in the block without what they need for other purposes than a fit."""
    no_plots = types.ModuleType(PLOTS)
    no_plots.__all__ = []  # type: ignore[attr-defined]
    real = builtins.__import__

    def import_or_defer(name, globals=None, locals=None, fromlist=(), level=0):
        importer = (globals or {}).get("__name__", "")
        if (importer, level, name) == ("pymc3", 1, "plots"):
            return no_plots
        names = MODULES.get(importer.partition(".")[0], ()) if level == 0 else ()
        if name in names and name not in sys.modules:
            return _imported(name, fromlist) or real(name, globals, locals, fromlist, level)
        later = [each for each in fromlist or () if f"{name}.{each}" in names and f"{name}.{each}" not in sys.modules]
        if later:
            others = [each for each in fromlist if each not in later]
            package = importlib.import_module(name)
            if others:
                real(name, globals, locals, others, level)
            return _Package(package, {each: StandIn(f"{name}.{each}") for each in later})
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = import_or_defer
    try:
        with _f2py_deferred():
            yield
    finally:
        builtins.__import__ = real


@contextlib.contextmanager
def _f2py_deferred() -> Iterator[None]:
    """scipy imports all names of numpy, for which numpy 2 imports `f2py`: in the block that is a stand-in."""
    import numpy

    if "f2py" not in numpy.__all__ or "numpy.f2py" in sys.modules:
        yield
        return
    stand_in = numpy.f2py = StandIn("numpy.f2py")
    try:
        yield
    finally:
        if numpy.f2py is stand_in:
            del numpy.f2py  # numpy imports it when it is asked for


def _imported(name, fromlist):
    """What `import name` or `from name import ...` gets; None if it cannot do without the module."""
    package = name.partition(".")[0]
    if fromlist or package == name:
        return StandIn(name)
    top = importlib.import_module(package)
    return top if hasattr(top, "__getattr__") else None  # a package that imports its modules when they are asked for


def load_plots_when_asked_for(pymc3: types.ModuleType) -> None:
    """Have `pymc3` import its plots when the first of their names is asked of it."""
    importlib.import_module("packaging.version")  # `pm.sample` counts on somebody else to have imported it

    def load() -> types.ModuleType:
        plots = importlib.import_module(PLOTS)
        vars(pymc3).update((name, getattr(plots, name)) for name in plots.__all__ if name not in vars(pymc3))
        return plots

    def __getattr__(name: str) -> Any:
        if name == "__all__":  # `from pymc3 import *` wants them all
            load()
            return [public for public in vars(pymc3) if not public.startswith("_")]
        if not name.startswith("__") and name in (plots := load()).__all__:
            return getattr(plots, name)
        raise AttributeError(f"module 'pymc3' has no attribute {name!r}")

    def __dir__() -> list[str]:
        load()
        return sorted(vars(pymc3))

    vars(pymc3).update(__getattr__=__getattr__, __dir__=__dir__)
