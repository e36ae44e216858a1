"""Old public names: what has a better name now goes on working under the old one, with a warning of one line.

    names       of a module: functions, classes, values and what moved to another module
    method      of a class: a method, which users' subclasses may override under either name
    arguments   of a function: keyword arguments

The warning names the line of the user's program, not one of fastvae's, and Python prints it once for each such line.

Examples
--------
>>> class Model:
...     def encode(self, x):
...         return x + 1
>>> method(Model, "encoded", "encode")
>>> import warnings
>>> with warnings.catch_warnings(record=True) as caught:
...     warnings.simplefilter("always")
...     value = Model().encoded(1)
>>> value, str(caught[0].message)
(2, 'Model.encoded is now Model.encode: the old name still works, please change it')
"""

from __future__ import annotations

import functools
import os
import pkgutil
import sys
import warnings
from typing import Any, Callable, TypeVar, cast

from fastvae.errors import ConfigurationError

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
F = TypeVar("F", bound=Callable[..., Any])


class RenamedWarning(FutureWarning):
    """An old name is in use. A FutureWarning, since Python shows those to users by default."""


def names(module: str, **renamed: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module some of whose names have changed.

    Parameters
    ----------
    module : str
        The module's `__name__`.
    **renamed : str
        The new name of each old one. A name with dots is a full one, for what lives in another module now.

    Returns
    -------
    callable
        Raises AttributeError for every other name. A module with a `__getattr__` of its own can end with a call of it.

    Examples
    --------
    At the end of a module `shapes`::

        __getattr__ = renamed.names(__name__, square="rectangle", area="fastvae.measures.area")
    """

    def getattribute(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new = renamed[name] if "." in renamed[name] else f"{module}.{renamed[name]}"
        warn(f"{module}.{name}", new)
        return pkgutil.resolve_name(new)

    return getattribute


class _SameMethod:
    """The old name of the method `new` of one class, so that `super().old` is the next class's method."""

    def __init__(self, base: type, old: str, new: str) -> None:
        self.base, self.old, self.new = base, old, new

    def _warn(self, owner: type) -> None:
        warn(f"{owner.__name__}.{self.old}", f"{owner.__name__}.{self.new}")

    def __get__(self, instance: object, owner: type) -> Any:
        method = vars(self.base)[self.new].__get__(instance, owner)
        if instance is None:  # `help` looks up all names of a class: that is no use of the old one

            @functools.wraps(method)
            def called(*args: Any, **kwargs: Any) -> Any:
                self._warn(owner)
                return method(*args, **kwargs)

            return called
        self._warn(owner)
        return method

    def __set__(self, instance: object, value: Any) -> None:
        self._warn(type(instance))
        setattr(instance, self.new, value)


def method(cls: type, old: str, new: str) -> None:
    """Let a class and those that it inherits from, mixins included, have a method under both its names.

    A class that defines only one of them gets the other; one that defines both, for two versions of fastvae, stays as
    it is.

    Parameters
    ----------
    cls : type
    old, new : str
        Names of the method.

    Examples
    --------
    >>> class Base:
    ...     def encode(self, x):
    ...         return x + 1
    >>> class Doubled(Base):
    ...     def encoded(self, x):
    ...         return 2 * super().encoded(x)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     method(Doubled, "encoded", "encode")
    ...     Doubled().encode(1)
    4
    """
    for base in cls.__mro__:
        if old in vars(base) and new not in vars(base):
            warn(f"{base.__name__}.{old}", f"{base.__name__}.{new}")
            setattr(base, new, vars(base)[old])
            setattr(base, old, _SameMethod(base, old, new))
        elif new in vars(base) and old not in vars(base):
            setattr(base, old, _SameMethod(base, old, new))


def arguments(**renamed: str) -> Callable[[F], F]:
    """Decorate a function some of whose keyword arguments have new names; above `@kinds.checked`.

    Parameters
    ----------
    **renamed : str
        The new name of each old one.

    Raises
    ------
    ConfigurationError
        At a call that gives both names of one argument.

    Examples
    --------
    >>> @arguments(order="sampler")
    ... def draw(n, sampler="epochs"):
    ...     return n, sampler
    >>> draw(3, sampler="replacement")
    (3, 'replacement')
    >>> draw(3, sampler="replacement", order="replacement")
    Traceback (most recent call last):
    fastvae.errors.ConfigurationError: draw: order= is now sampler=, and both are given: leave order= out
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def renaming(*args: Any, **kwargs: Any) -> Any:
            for old, new in renamed.items():
                if old not in kwargs:
                    continue
                if new in kwargs:
                    raise ConfigurationError(
                        f"{function.__name__}: {old}= is now {new}=, and both are given: leave {old}= out"
                    )
                warn(f"{function.__name__}(..., {old}=)", f"{new}=")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return cast(F, renaming)

    return decorate


def warn(old: str, new: str) -> None:
    """Say that `old` is now `new`, at the line outside fastvae that uses it; for what the above do not cover."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_between(frame.f_code.co_filename):
        frame = frame.f_back
    warnings.warn_explicit(
        f"{old} is now {new}: the old name still works, please change it",
        RenamedWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _is_between(filename: str) -> bool:
    """Whether a frame lies between the user's line and here: in fastvae, or in Python's import system."""
    return filename.startswith((PACKAGE, "<frozen importlib"))
