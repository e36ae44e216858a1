"""Kinds of arguments, and `checked`, the decorator that declares them and checks every call.

A public function says once what each of its parameters takes. A value of another kind raises an error of one line
before anything is computed, compiled or written; an admissible one reaches the function in one standard form: a numpy
integer as an int, a numpy boolean as a bool, a real number as a float. The table is kept as `function.kinds`, from
which the tests find every parameter.

Kinds of theano expressions are in `fastvae.expressions`. Arrays of data have the kind `anything` here: what they may
hold is decided where they are read (`fastvae.datasets`).

Examples
--------
>>> @checked(n=integer(), order=choice("rows", "columns"))
... def take(n, order="rows"):
...     return n
>>> take(3)
3
>>> take(0)
Traceback (most recent call last):
fastvae.errors.ConfigurationError: take: n=0 must be an integer of at least 1
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import numbers
import operator
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

from fastvae.errors import ConfigurationError

LARGEST = 2**53  #: of a count: float64 does not hold every integer above it
LARGEST_SIZE = 2**31 - 1  #: of an axis: BLAS counts in int32
LONGEST = 100  # characters of a value in a message

P = ParamSpec("P")
R = TypeVar("R")


class Kind(NamedTuple):
    """What a parameter takes.

    `standard(value)` returns the value in its standard form, or raises TypeError, ValueError or OverflowError; `says`
    completes the sentence "it must be ...", or is a function that returns such words, for what users can add to.
    """

    name: str
    says: str | Callable[[], str]
    standard: Callable[[Any], Any]

    @property
    def words(self) -> str:
        """What completes the sentence, as it is now."""
        return self.says if isinstance(self.says, str) else self.says()

    def check(self, owner: str, parameter: str, value: Any) -> Any:
        """`value` in its standard form; raises a ConfigurationError of one line if it is of another kind."""
        try:
            return self.standard(value)
        except (TypeError, ValueError, OverflowError):
            raise ConfigurationError(f"{owner}: {parameter}={shown(value)} must be {self.words}") from None


def checked(*others: Any, **kinds: Kind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare the kinds of a function's parameters, and check them at every call.

    Parameters
    ----------
    *others : function
        Functions decorated in this way: their kinds also hold for parameters of the same names here, and for what
        `**kwargs` passes on to them.
    **kinds : Kind
        One for each other parameter except `self`, `*args` and `**kwargs`.

    Returns
    -------
    callable
        The decorator. It keeps the function's signature, for type checkers too.
    """
    passed_on = {name: kind for other in others for name, kind in other.kinds.items()}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        is_method = [parameter.name for parameter in parameters[:1]] == ["self"]
        further = next((parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD), None)
        table = {**passed_on, **kinds}
        if further is None:
            table = {name: kind for name, kind in table.items() if name in signature.parameters}

        @functools.wraps(function)
        def checking(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind_partial(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own error says what is wrong with the call
            given = bound.arguments
            owner = _owner(function, given) if is_method else function.__name__
            for values in (given, given.get(further or "", {})):
                for name, kind in table.items():
                    if name in values:
                        values[name] = kind.check(owner, name, values[name])
            return function(*bound.args, **bound.kwargs)

        checking.kinds = table  # type: ignore[attr-defined]
        return checking

    return decorate


def _owner(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """How a message names a method: its class and its name, or for a layer's constructor and call the layer's name."""
    owner = type(given.get("self")).__name__
    if function.__name__ in ("__init__", "__call__"):
        name = given.get("name")
        return f"{owner} {name!r}" if isinstance(name, str) and name else owner
    return f"{owner}.{function.__name__}"


def plain(value: Any) -> str:
    """The `repr` of a value in which numpy's numbers look like Python's: numpy 2 writes ``np.float64(0.5)``.

    Examples
    --------
    >>> import numpy
    >>> plain((numpy.float64(0.5), 3))
    '(0.5, 3)'
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not numpy.__version__.startswith("2."):
        return repr(value)
    with numpy.printoptions(legacy="1.25"):
        return repr(value)


def shown(value: Any) -> str:
    """The `plain` form of a value for a message: on one line, and cut if it is long.

    Examples
    --------
    >>> shown("a" * 1000)[-5:]
    'aa...'
    """
    try:
        text = " ".join(plain(value).split())
    except Exception:  # an int of thousands of digits, or an object whose own repr fails
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def integer(minimum: int = 1, maximum: int = LARGEST) -> Kind:
    """An integer in a closed range, as an int; neither a boolean nor a float."""

    def standard(value: Any) -> Any:
        if is_boolean(value):
            raise TypeError
        number = operator.index(value)
        if not minimum <= number <= maximum:
            raise ValueError
        return number

    at_most = "" if maximum == LARGEST else f" and at most {maximum}"
    return Kind("integer" + f" from {minimum}" * (minimum != 1), f"an integer of at least {minimum}{at_most}", standard)


def number(
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    like: object = None,
) -> Kind:
    """A real number, as a float, that is finite in float32 and within the bounds after rounding to it."""
    possible = ((above, operator.gt, "above"), (minimum, operator.ge, "of at least"), (below, operator.lt, "below"))
    bounds = [(bound, holds, words) for bound, holds, words in possible if bound is not None]

    def standard(value: Any) -> Any:
        if is_boolean(value) or not isinstance(value, numbers.Real):
            raise TypeError
        rounded = ctypes.c_float(float(value)).value
        if not abs(rounded) < float("inf") or not all(holds(rounded, bound) for bound, holds, _ in bounds):
            raise ValueError
        return float(value)

    limits = "".join(f" {words} {bound}" for bound, _, words in bounds).replace(" below", " and below")
    example = f", such as {like}" if like is not None else ""
    return Kind(f"number{limits}", f"a finite number{limits} in float32{example}", standard)


def choice(*names: str) -> Kind:
    """One of the given strings."""

    def standard(value: Any) -> Any:
        if not isinstance(value, str) or value not in names:
            raise ValueError
        return str(value)

    return Kind("choice", f"one of {', '.join(map(repr, names))}", standard)


def optional(kind: Kind) -> Kind:
    """None, or whatever the other kind takes."""
    says = f"None or {kind.says}" if isinstance(kind.says, str) else lambda: f"None or {kind.words}"
    return Kind(f"optional {kind.name}", says, lambda value: None if value is None else kind.standard(value))


def either(*kinds: Kind) -> Kind:
    """Whatever any of the kinds takes, in the standard form of the first that takes it."""

    def standard(value: Any) -> Any:
        for kind in kinds:
            try:
                return kind.standard(value)
            except (TypeError, ValueError, OverflowError):
                pass
        raise TypeError

    return Kind(" or ".join(kind.name for kind in kinds), ", or ".join(kind.words for kind in kinds), standard)


def sequence(kind: Kind, of: str, shortest: int = 0) -> Kind:
    """A list or tuple of values of another kind, as a list; `of` names these values in the plural."""

    def standard(values: Any) -> list[Any]:
        if not isinstance(values, (list, tuple)) or len(values) < shortest:
            raise TypeError
        return [kind.standard(value) for value in values]

    return Kind(f"list of {kind.name}", f"a list of {of}", standard)


def instance(name: str, says: str | Callable[[], str], *types: type) -> Kind:
    """An instance of any of the types."""

    def standard(value: Any) -> Any:
        if not isinstance(value, types):
            raise TypeError
        return value

    return Kind(name, says, standard)


def having(*attributes: str) -> Kind:
    """An object with the given methods."""

    def standard(value: Any) -> Any:
        if isinstance(value, type) or not all(callable(getattr(value, name, None)) for name in attributes):
            raise TypeError
        return value

    return Kind("object", f"an object with {' and '.join(attributes)}, such as a fastvae.VAE", standard)


def function(says: str) -> Kind:
    """A callable."""

    def standard(value: Any) -> Any:
        if not callable(value):
            raise TypeError
        return value

    return Kind("function", says, standard)


def dictionary(says: str | Callable[[], str]) -> Kind:
    """A dict."""
    return instance("dict", says, dict)


def is_boolean(value: Any) -> bool:
    """Whether a value is a Python or numpy boolean.

    Examples
    --------
    >>> import numpy as np
    >>> is_boolean(True), is_boolean(np.bool_(False)), is_boolean(1), is_boolean(np.ones(3, bool))
    (True, True, False, False)
    """
    numpys = getattr(value, "shape", None) == () and getattr(getattr(value, "dtype", None), "kind", "") == "b"
    return numpys or isinstance(value, bool)


def _boolean(value: Any) -> bool:
    if not is_boolean(value):
        raise TypeError
    return bool(value)


def _path(value: Any) -> Any:
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError
    if not text or "\0" in text:
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value:
        raise ValueError
    return value


def _pair(minimum: int) -> Kind:
    size = integer(minimum, LARGEST_SIZE)

    def standard(value: Any) -> Any:
        values = value if isinstance(value, (tuple, list)) else (value, value)
        if len(values) != 2:
            raise ValueError
        return tuple(size.standard(value) for value in values)

    says = f"an integer of at least {minimum} or a pair (rows, columns) of these"
    return Kind("pair" + " from 0" * (not minimum), says, standard)


def _shape_of_images(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise TypeError
    return tuple(size.standard(axis) for axis in value)


anything = Kind("anything", "anything", lambda value: value)
boolean = Kind("boolean", "True or False", _boolean)
path = Kind("path", "a path: a string that is not empty, or a pathlib.Path", _path)
text = Kind("text", "a string that is not empty", _text)
size = integer(1, LARGEST_SIZE)
seed = integer(0, 2**32 - 1)
pair = _pair(1)
pair_from_0 = _pair(0)
shape_of_images = Kind("shape", "(channels, rows, columns), three integers of at least 1", _shape_of_images)
