"""Kinds of arguments, and `checked`, which declares them beside a signature and checks every call by them.

A public function says once what each of its parameters takes. A value of another kind ends in one line before anything
is computed, compiled or written, and what is admissible reaches the function in one form: a numpy integer as an int, a
numpy boolean as a bool, a real number as a float. `function.kinds` is the table, which the tests walk through.

Kinds of theano expressions are in `fastvae.expressions`. What arrays of data may hold is decided where they are read
(`fastvae.datasets`); their kind here is `anything`.

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

import ctypes
import functools
import inspect
import numbers
import operator
import os
from typing import NamedTuple

from fastvae.errors import ConfigurationError

LARGEST = 2**53  #: of a count: beyond it float64 skips integers
LARGEST_SIZE = 2**31 - 1  #: of an axis: BLAS counts in int32
LONGEST = 100  # characters of a value in a message


class Kind(NamedTuple):
    """What a parameter takes.

    `standard(value)` is the value in its one form, or raises TypeError, ValueError or OverflowError; `says` ends the
    sentence "it must be ...".
    """

    name: str
    says: str
    standard: object

    def check(self, owner, parameter, value):
        """`value` in its one form, or a ConfigurationError of one line."""
        try:
            return self.standard(value)
        except (TypeError, ValueError, OverflowError):
            raise ConfigurationError(f"{owner}: {parameter}={shown(value)} must be {self.says}") from None


def checked(*others, **kinds):
    """Decorate a function whose arguments are of these kinds.

    Parameters
    ----------
    *others : function
        Decorated ones: their kinds hold for parameters of the same names, and for what `**kwargs` passes on to them.
    **kinds : Kind
        One for each further parameter but `self`, `*args` and `**kwargs`.
    """
    passed_on = {name: kind for other in others for name, kind in other.kinds.items()}

    def decorate(function):
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        is_method = [parameter.name for parameter in parameters[:1]] == ["self"]
        further = next((parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD), None)
        table = {**passed_on, **kinds}
        if further is None:
            table = {name: kind for name, kind in table.items() if name in signature.parameters}

        @functools.wraps(function)
        def checking(*args, **kwargs):
            try:
                bound = signature.bind_partial(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # which says in Python's words what is wrong with the call
            given = bound.arguments
            owner = _owner(function, given) if is_method else function.__name__
            for values in (given, given.get(further, {})):
                for name, kind in table.items():
                    if name in values:
                        values[name] = kind.check(owner, name, values[name])
            return function(*bound.args, **bound.kwargs)

        checking.kinds = table
        return checking

    return decorate


def _owner(function, given):
    """The class, with the name of a layer that has one, and the method unless it is the constructor."""
    owner = type(given.get("self")).__name__
    if function.__name__ in ("__init__", "__call__"):
        name = given.get("name")
        return f"{owner} {name!r}" if isinstance(name, str) and name else owner
    return f"{owner}.{function.__name__}"


def shown(value):
    """The `repr` of a value in one line of a message, cut where it is long.

    Examples
    --------
    >>> shown("a" * 1000)[-5:]
    'aa...'
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:  # of an int of thousands of digits, or an object of the user's
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def integer(minimum=1, maximum=LARGEST):
    """An integer in a closed range, as an int; neither a boolean nor a float."""

    def standard(value):
        if is_boolean(value):
            raise TypeError
        number = operator.index(value)
        if not minimum <= number <= maximum:
            raise ValueError
        return number

    at_most = "" if maximum == LARGEST else f" and at most {maximum}"
    return Kind("integer" + f" from {minimum}" * (minimum != 1), f"an integer of at least {minimum}{at_most}", standard)


def number(*, above=None, minimum=None, below=None, like=None):
    """A real number that float32 holds, within bounds there too, as a float."""
    bounds = ((above, operator.gt, "above"), (minimum, operator.ge, "of at least"), (below, operator.lt, "below"))
    bounds = [bound for bound in bounds if bound[0] is not None]

    def standard(value):
        if is_boolean(value) or not isinstance(value, numbers.Real):
            raise TypeError
        rounded = ctypes.c_float(value).value
        if not abs(rounded) < float("inf") or not all(holds(rounded, bound) for bound, holds, _ in bounds):
            raise ValueError
        return float(value)

    limits = "".join(f" {words} {bound}" for bound, _, words in bounds).replace(" below", " and below")
    example = f", such as {like}" if like is not None else ""
    return Kind(f"number{limits}", f"a finite number{limits} in float32{example}", standard)


def choice(*names):
    """One of some strings."""

    def standard(value):
        if not isinstance(value, str) or value not in names:
            raise ValueError
        return str(value)

    return Kind("choice", f"one of {', '.join(map(repr, names))}", standard)


def optional(kind):
    """None, or what another kind takes."""
    return Kind(
        f"optional {kind.name}", f"None or {kind.says}", lambda value: None if value is None else kind.standard(value)
    )


def either(*kinds):
    """What any of some kinds takes, in the form of the first that does."""

    def standard(value):
        for kind in kinds:
            try:
                return kind.standard(value)
            except (TypeError, ValueError, OverflowError):
                pass
        raise TypeError

    return Kind(" or ".join(kind.name for kind in kinds), ", or ".join(kind.says for kind in kinds), standard)


def sequence(kind, of, shortest=0):
    """A list or tuple, as a list, of what another kind takes; `of` says what that is, in the plural."""

    def standard(values):
        if not isinstance(values, (list, tuple)) or len(values) < shortest:
            raise TypeError
        return [kind.standard(value) for value in values]

    return Kind(f"list of {kind.name}", f"a list of {of}", standard)


def instance(name, says, *types):
    """An object of some types."""

    def standard(value):
        if not isinstance(value, types):
            raise TypeError
        return value

    return Kind(name, says, standard)


def having(*attributes):
    """An object with some methods."""

    def standard(value):
        if isinstance(value, type) or not all(callable(getattr(value, name, None)) for name in attributes):
            raise TypeError
        return value

    return Kind("object", f"an object with {' and '.join(attributes)}, such as a fastvae.VAE", standard)


def function(says):
    """Something to call."""

    def standard(value):
        if not callable(value):
            raise TypeError
        return value

    return Kind("function", says, standard)


def dictionary(says):
    """A dict."""
    return instance("dict", says, dict)


def is_boolean(value):
    """Whether a value is a Python or numpy boolean.

    Examples
    --------
    >>> import numpy as np
    >>> is_boolean(True), is_boolean(np.bool_(False)), is_boolean(1), is_boolean(np.ones(3, bool))
    (True, True, False, False)
    """
    numpys = getattr(value, "shape", None) == () and getattr(getattr(value, "dtype", None), "kind", "") == "b"
    return numpys or isinstance(value, bool)


def _boolean(value):
    if not is_boolean(value):
        raise TypeError
    return bool(value)


def _path(value):
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError
    if not text or "\0" in text:
        raise ValueError
    return value


def _text(value):
    if not isinstance(value, str):
        raise TypeError
    if not value:
        raise ValueError
    return value


def _pair(minimum):
    size = integer(minimum, LARGEST_SIZE)

    def standard(value):
        values = value if isinstance(value, (tuple, list)) else (value, value)
        if len(values) != 2:
            raise ValueError
        return tuple(size.standard(number) for number in values)

    says = f"an integer of at least {minimum} or a pair (rows, columns) of these"
    return Kind("pair" + " from 0" * (not minimum), says, standard)


def _shape_of_images(value):
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise TypeError
    return tuple(size.standard(number) for number in value)


anything = Kind("anything", "anything", lambda value: value)
boolean = Kind("boolean", "True or False", _boolean)
path = Kind("path", "a path: a string that is not empty, or a pathlib.Path", _path)
text = Kind("text", "a string that is not empty", _text)
size = integer(1, LARGEST_SIZE)
seed = integer(0, 2**32 - 1)
pair = _pair(1)
pair_from_0 = _pair(0)
shape_of_images = Kind("shape", "(channels, rows, columns), three integers of at least 1", _shape_of_images)
