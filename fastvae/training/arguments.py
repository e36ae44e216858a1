"""The arguments of `fastvae.fit`: their kinds, what must agree among them, and how checkpoints describe them."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, Callable, Collection, TypeVar

import pymc3 as pm
import theano

from fastvae import elbo, kinds, posteriors, run_options
from fastvae.checkpoint.description import describe
from fastvae.errors import ConfigurationError
from fastvae.training.methods import METHOD
from fastvae.training.parts.base import Part

F = TypeVar("F", bound=Callable[..., Any])


def _function_options(value):
    """Those that `fit` leaves to the caller, of a mode that theano knows."""
    known = inspect.signature(theano.function).parameters.keys() - {"inputs", "outputs", "updates"}
    if not isinstance(value, dict) or not value.keys() <= known:
        raise TypeError
    try:
        theano.compile.mode.get_mode(value.get("mode"))
    except Exception:  # theano's own class for an unknown name
        raise ValueError from None
    return value


FUNCTION_OPTIONS = "a dict of further arguments of theano.function, such as dict(mode='FAST_COMPILE')"
LOCAL_RV = posteriors.local_rv_words
PART = kinds.instance("part", "a fastvae.training.parts.Part", Part)
#: What the parameters of `fit` take.
KINDS = dict(
    run_options.KINDS,
    local_rv=kinds.optional(kinds.dictionary(LOCAL_RV)),
    method=METHOD,
    model=kinds.optional(kinds.instance("model", "a pymc3.Model", pm.Model)),
    parts=kinds.optional(kinds.sequence(PART, "fastvae.training.parts.Part instances, such as parts=[TimeLimit(60)]")),
    fn_kwargs=kinds.optional(kinds.Kind("dict", FUNCTION_OPTIONS, _function_options)),
)


def further() -> dict[str, inspect.Parameter]:
    """The parameters that `fit` passes on to the step, by name."""
    parameters = dict(inspect.signature(elbo.step_updates).parameters)
    for name in ("pm_objective", "ranks"):
        del parameters[name]
    return parameters


def forwarding(parameters: dict[str, inspect.Parameter], without: Collection[str] = ()) -> Callable[[F], F]:
    """Decorate a function that passes its `**kwargs` on: its signature shows what they may be.

    Parameters
    ----------
    parameters : dict of str to inspect.Parameter
        Those of the function to which they go; the decorated function's own ones take precedence.
    without : collection of str
        Names of these that are not to be given.

    Examples
    --------
    >>> def inner(a, b=2): ...
    >>> @forwarding(inspect.signature(inner).parameters, without=["a"])
    ... def outer(c, **kwargs):
    ...     return inner(c, **kwargs)
    >>> inspect.signature(outer)
    <Signature (c, *, b=2)>
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        taken = {*without, *(p.name for p in own)}
        shown = [p.replace(kind=p.KEYWORD_ONLY) for name, p in parameters.items() if name not in taken]
        function.__signature__ = signature.replace(parameters=own + shown)  # type: ignore[attr-defined]
        return function

    return decorate


def check_names(owner: str, given: Collection[str], known: Collection[str], own: Collection[str] = ()) -> None:
    """Raise TypeError for a name that is no argument, beside the one that was probably meant.

    Parameters
    ----------
    owner : str
        Whose arguments they are.
    given : collection of str
        What came as `**kwargs`.
    known : collection of str
        What these may be.
    own : collection of str
        The other parameters, which may have been meant too.
    """
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, [*known, *own], n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise TypeError(
                f"{owner}: {name!r} is no argument{hint}; beside those of its own it takes {', '.join(known)}"
            )


def check_together(n: int | None, epochs: int | None, held_out: dict | None, patience: int | None) -> None:
    """Raise ConfigurationError for arguments that contradict or miss each other."""
    if n is not None and epochs is not None:
        raise ConfigurationError(f"fit: n={n} and epochs={epochs} both say how long to train; give one of them")
    if patience is not None and held_out is None:
        raise ConfigurationError(
            f"fit: patience={patience} counts measurements of held-out rows, and there are none: give held_out too"
        )


def described(given: dict[str, Any], parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
    """What a run was given, by name, with the defaults of what it was not: described, for a checkpoint.

    Parameters
    ----------
    given : dict
        The `locals()` of a function whose further keyword arguments, `kwargs`, are those of `fit`.
    parameters : dict of str to inspect.Parameter
        Those of `fit`.

    Returns
    -------
    dict
        JSON values; what makes a checkpoint, on what the run is parallel, and the object that a method belongs to, are
        left out.
    """
    given = dict(given)
    passed_on = given.pop("kwargs", None) or {}
    defaults = {p.name: p.default for p in parameters.values() if p.kind is not p.VAR_KEYWORD}
    left_out = ("self", "checkpoint", "resume", "may_change", "configuration", "parallel", "rank_timeout")
    everything = {**defaults, **given, **passed_on}
    return {name: describe(value) for name, value in everything.items() if name not in left_out}
