"""Methods of `fastvae.fit`: ADVI and full-rank ADVI run here, every other one through stock `pm.fit`."""

from __future__ import annotations

from typing import Any, Sequence

import pymc3 as pm

from fastvae import kinds
from fastvae.datasets.formats import reason
from fastvae.errors import ConfigurationError, FastvaeError
from fastvae.expressions import stream_seed
from fastvae.messages import say

METHODS = ("advi", "fullrank_advi", "svgd", "asvgd", "nfvi")
#: Of the test function of other methods.
UNUSED = ("tf_n_mc", "more_tf_params", "test_optimizer")
FAST = {"advi": pm.ADVI, "fullrank_advi": pm.FullRankADVI}


def _method(value):
    if isinstance(value, str) and value.lower().startswith("nfvi="):
        try:
            pm.variational.flows.Formula(value[len("nfvi=") :])
        except Exception:  # a KeyError of several lines, an IndexError
            raise ValueError from None
    named = isinstance(value, str) and (value.lower() in METHODS or value.lower().startswith("nfvi="))
    if not named and not isinstance(value, pm.variational.inference.Inference):
        raise ValueError
    return value


METHOD = kinds.Kind(
    "method", f"one of {', '.join(METHODS)}, nfvi=FORMULA, or an Inference instance such as pm.ADVI()", _method
)


def is_fast(method: Any) -> bool:
    """Whether a method, as `fit` takes it, runs through fastvae."""
    if isinstance(method, str):
        return method.lower() in FAST
    return isinstance(method, tuple(FAST.values()))


def fit_stock(
    n: int,
    local_rv: dict | None,
    method: Any,
    model: pm.Model | None,
    random_seed: int | None,
    start: dict | None,
    inf_kwargs: dict | None,
    refused: Sequence[str],
    **kwargs: Any,
) -> pm.Approximation:
    """Fit by `pm.fit`, after a line that says so.

    Parameters
    ----------
    n, local_rv, method, model, random_seed, start, inf_kwargs, **kwargs
        As `pm.fit` takes them.
    refused : list of str
        What was given of the arguments that only fastvae's own loop has: ConfigurationError if there are any.
    """
    name = method if isinstance(method, str) else type(method).__name__
    if refused:
        raise ConfigurationError(
            f"fit: method={name!r} runs through stock pm.fit, which does not take {', '.join(refused)}: leave out what "
            "is fastvae's own, or choose method='advi' or 'fullrank_advi'"
        )
    say(f"fastvae.fit: method {name!r} runs through stock pm.fit")
    seed = None if random_seed is None else stream_seed(random_seed)
    return pm.fit(n, local_rv, method, model, seed, start, inf_kwargs, **kwargs)


def make_inference(
    method: Any,
    local_rv: dict | None,
    model: pm.Model | None,
    random_seed: int | None,
    start: dict | None,
    inf_kwargs: dict | None,
) -> pm.variational.inference.Inference:
    """The inference of a fast method, its noise seeded."""
    options = dict(inf_kwargs or {})
    seed = None if random_seed is None else stream_seed(random_seed)
    for name, value in (("local_rv", local_rv), ("random_seed", seed), ("start", start)):
        if value is not None:
            options[name] = value
    if isinstance(method, str):
        inference = _named(method, model, start, options)
    elif set(options) <= {"random_seed"}:
        inference = method
    else:
        raise ConfigurationError(
            f"{', '.join(sorted(options))} cannot be given with an Inference instance, which has its own: give them to "
            f"{type(method).__name__}(...)"
        )
    if random_seed is not None:
        for i, group in enumerate(inference.approx.groups):
            group._rng = pm.tt_rng(stream_seed(random_seed + i))
    return inference


def _named(method, model, start, options):
    if model is None and pm.Model.get_context(error_if_none=False) is None:
        raise ConfigurationError("fit: there is no model: call it inside `with pm.Model():`, or give model=")
    model = pm.modelcontext(model)
    unknown = [name for name in start or () if name not in model.named_vars]
    if unknown:
        raise ConfigurationError(
            f"fit: start={kinds.shown(start)}: {unknown[0]!r} is no variable of the model, which has "
            f"{', '.join(model.named_vars)}: give names of these"
        )
    try:
        return FAST[method.lower()](model=model, **options)
    except FastvaeError:
        raise
    except Exception as error:  # PyMC3 raises a dozen classes at what it is given
        given = ", ".join(sorted(options)) or "nothing beside the model"
        raise ConfigurationError(
            f"fit: PyMC3 cannot set up {method} from {given}: {type(error).__name__}: {reason(error)}"
        ) from error


def drop_unused(kwargs: dict[str, Any]) -> None:
    """ADVI has no test function: accept its options as `pm.fit` does, and say that they are not used."""
    for name in UNUSED:
        if kwargs.pop(name, None) is not None:
            say(f"fastvae.fit: {name} is not used, ADVI has no test function")
