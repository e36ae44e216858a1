"""What PyMC3 imports for diagnostics and plots is imported when it is used, not when PyMC3 is.

ArviZ, xarray, pandas, h5py and matplotlib are almost half of the time that `import pymc3` takes, and a fit needs none
of them. PyMC3's own modules get a stand-in for each of the first four, which passes on everything that is asked of it;
everybody else imports the real ones as ever. `pymc3.plots`, which lists ArviZ's plots and imports matplotlib, is
loaded when the first of its names is asked of `pymc3`.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

MODULES = ("arviz", "h5py", "pandas", "xarray")
IMPORTER = "pymc3"
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
    """A module of PyMC3's that is not imported yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Attribute(self.__name__, name)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Import PyMC3 in the block without what it needs for diagnostics and plots alone."""
    stand_ins = {name: StandIn(name) for name in MODULES}
    no_plots = types.ModuleType(PLOTS)
    no_plots.__all__ = []  # type: ignore[attr-defined]
    real = builtins.__import__

    def import_or_defer(name, globals=None, locals=None, fromlist=(), level=0):
        importer = (globals or {}).get("__name__", "")
        if level == 0 and importer.partition(".")[0] == IMPORTER and name in stand_ins and name not in sys.modules:
            return stand_ins[name]
        if (importer, level, name) == (IMPORTER, 1, "plots"):
            return no_plots
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = import_or_defer
    try:
        yield
    finally:
        builtins.__import__ = real
    importlib.import_module("packaging.version")  # `pm.sample` counts on somebody else to have imported it
    _load_plots_when_asked_for(sys.modules[IMPORTER])


def _load_plots_when_asked_for(pymc3: types.ModuleType) -> None:
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
        raise AttributeError(f"module {IMPORTER!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        load()
        return sorted(vars(pymc3))

    vars(pymc3).update(__getattr__=__getattr__, __dir__=__dir__)
