"""The options of `fastvae train`, each declared once: command line, run folder and the call of `fit` derive from here.

Nothing here imports theano: what is wrong with an option is known before the stack starts.

An option is one line of `TrainOptions`; where it is an option of `fastvae.fit`, the declaration in
`fastvae.run_options` holds for it too. One that is added later says with `absent` what runs had before there was any,
so that folders of theirs go on.

Examples
--------
>>> options = TrainOptions(iterations=20, latent=3)
>>> options.for_model()["n_latent"], options.for_fit()["n"], options.kl
(3, 20, 'monte-carlo')
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
from typing import Any, Callable, Iterator, NamedTuple

from fastvae.errors import ConfigurationError
from fastvae.run_options import MAY_CHANGE, RunOptions

NEEDED = object()  # the `absent` of an option that every run has


class Kind(NamedTuple):
    """What an option takes.

    Attributes
    ----------
    type : type
        Of the value, in a configuration too.
    parse : callable
        Makes it of text, or raises argparse.ArgumentTypeError.
    """

    type: type
    parse: Callable[[str], Any]


def _number(kind: type, admissible: Callable[[Any], bool], wanted: str) -> Kind:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not admissible(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return Kind(kind, parse)


def one_of(*choices: str) -> Kind:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(choices)})")
        return text

    return Kind(str, parse)


text = Kind(str, str)
count = _number(int, lambda value: value >= 1, "a whole number of at least 1")
from_0 = _number(int, lambda value: value >= 0, "a whole number of at least 0")
flag = Kind(bool, {"True": True, "False": False}.__getitem__)
seed = _number(int, lambda value: 0 <= value < 2**32, "a whole number from 0 to 4294967295")
positive = _number(float, lambda value: 0 < value < math.inf, "a number above 0")

MODELS = ("conv", "mlp")
LIKELIHOODS = ("normal", "bernoulli", "categorical", "discretized-logistic", "beta-binomial", "low-rank-normal")
POSTERIORS = ("mean-field", "full-covariance")
NONE = "none"  # of an option that the model is then not given
NORMALIZATIONS = ("batch",)
POOLINGS = ("max", "average")
ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "swish", "sigmoid", "tanh", "softplus", "identity")
OBJECTIVES = ("elbo", "iwae")
KLS = ("monte-carlo", "analytic")
DATA = "a data set's name, an IDX, .npy, .npz or HDF5 file, or a folder of images"
RATE = "learning rate of Adam"
SEED = "of parameters, minibatches and noise: one seed makes a run repeat exactly"
LAST = "the images are (N, H, W, C): the last axis is the channels, whatever the second one is"
HELD_OUT = "steps from one measurement of the ELBO of (at most 1,000) test images to the next; 0 for none"
LOG_DIR = "a folder that gets event files for TensorBoard (pip install 'fastvae[tensorboard]')"
EVERY = "steps from one checkpoint to the next, of which the last three are kept"


def _option(
    default: Any,
    kind: Kind,
    help: str,
    *,
    model: str | None = None,
    fit: str | None = None,
    may_change: bool | None = None,
    absent: Any = NEEDED,
) -> Any:
    """A field of `TrainOptions`.

    Parameters
    ----------
    default : object
    kind : Kind
    help : str
        For ``fastvae train --help``.
    model, fit : str, optional
        The argument of the model's class, and of its `fit`, that it is.
    may_change : bool, optional
        Whether it may be given anew when a run is resumed; by default if it is one of `fastvae.fit` that may.
    absent : object, optional
        Its value in the configurations of runs from before there was this option.
    """
    if may_change is None:
        may_change = fit in MAY_CHANGE
    declared = dict(kind=kind, help=help, model=model, fit=fit, may_change=may_change, absent=absent)
    return dataclasses.field(default=default, metadata=declared)


@dataclasses.dataclass(kw_only=True)
class TrainOptions:
    """What a training run is asked for."""

    data: str = _option("fashion-mnist-sample", text, DATA)
    channels_last: bool = _option(False, flag, LAST, absent=False)
    model: str = _option("conv", one_of(*MODELS), "conv, the seed model, or mlp")
    likelihood: str = _option(
        "normal", one_of(*LIKELIHOODS), f"of pixels: {', '.join(LIKELIHOODS)}", model="likelihood"
    )
    posterior: str = _option(
        "mean-field", one_of(*POSTERIORS), f"of an image's latents: {', '.join(POSTERIORS)}", model="posterior"
    )
    normalization: str = _option(
        NONE,
        one_of(NONE, *NORMALIZATIONS),
        "before every activation: none, or batch",
        model="normalization",
        absent=NONE,
    )
    pooling: str = _option(
        NONE,
        one_of(NONE, *POOLINGS),
        "of the model conv, in place of strides: none, max or average",
        model="pooling",
        absent=NONE,
    )
    activation: str = _option(
        "relu", one_of(*ACTIVATIONS), f"of hidden layers: {', '.join(ACTIVATIONS)}", model="activation", absent="relu"
    )
    objective: str = _option(
        "elbo",
        one_of(*OBJECTIVES),
        "the bound on log p(x): elbo, or iwae, which needs --n-samples",
        fit="objective",
    )
    kl: str = _option("monte-carlo", one_of(*KLS), "how the elbo takes the KL: monte-carlo or analytic", fit="kl")
    n_samples: int = _option(1, count, "latents drawn for each image in a step", fit="n_samples")
    iterations: int = _option(1000, count, "gradient steps", fit="n")
    batch_size: int = _option(64, count, "images in a minibatch", fit="batch_size")
    learning_rate: float = _option(1e-4, positive, RATE, fit="learning_rate", may_change=True)
    latent: int = _option(2, count, "latent dimensions", model="n_latent")
    seed: int = _option(1, seed, SEED, model="seed", fit="seed")
    checkpoint_every: int = _option(RunOptions.checkpoint_every, count, EVERY, fit="checkpoint_every")
    held_out_every: int = _option(200, from_0, HELD_OUT, fit="held_out_every", absent=0)
    log_dir: str | None = _option(None, text, LOG_DIR, fit="log_dir", absent=None)

    rank_timeout: float = _option(
        RunOptions.rank_timeout,
        positive,
        "seconds after which a rank that the others wait for is named, under mpiexec",
        fit="rank_timeout",
        absent=RunOptions.rank_timeout,
    )

    def __post_init__(self) -> None:
        if self.pooling != NONE and self.model != "conv":
            raise ConfigurationError(
                f"--pooling {self.pooling} is for the convolutions of the model conv, not for {self.model}: leave it "
                "out, or give --model conv"
            )

    def for_model(self) -> dict[str, Any]:
        """The arguments of the model's class among the options."""
        given = {d["model"]: getattr(self, name) for name, d in declared() if d["model"] is not None}
        return {argument: value for argument, value in given.items() if value != NONE}

    def for_fit(self) -> dict[str, Any]:
        """The arguments of the model's `fit` among the options, and which of them may change here and not in `fit`."""
        arguments = {d["fit"]: getattr(self, name) for name, d in declared() if d["fit"] is not None}
        if not self.held_out_every:
            del arguments["held_out_every"]
        arguments["may_change"] = [d["fit"] for _, d in declared() if d["may_change"] and d["fit"] not in MAY_CHANGE]
        return arguments


def declared() -> Iterator[tuple[str, Any]]:
    """Name and declaration of each option: `kind`, `help`, `model`, `fit`, `may_change`, `absent`, `default`."""
    for field in dataclasses.fields(TrainOptions):
        yield field.name, {**field.metadata, "default": field.default}


def on_command_line(name: str) -> str:
    """The option as it is given on the command line.

    Examples
    --------
    >>> on_command_line("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add an argument for every option; its value is None unless it is given."""
    for name, d in declared():
        if d["kind"] is flag:
            parser.add_argument(on_command_line(name), action="store_true", default=None, help=d["help"])
            continue
        help = f"{d['help']} (default: {'none' if d['default'] is None else d['default']})"
        parser.add_argument(on_command_line(name), type=d["kind"].parse, help=help)


def changeable() -> list[str]:
    """The names of the options that may be given anew when a run is resumed."""
    return [name for name, d in declared() if d["may_change"]]


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The options that were given on the command line, by name."""
    return {name: getattr(args, name) for name, _ in declared() if getattr(args, name) is not None}


def from_configuration(configuration: Any) -> TrainOptions:
    """The options that a run was started with.

    Parameters
    ----------
    configuration : dict
        By name, as JSON gives them.

    Raises
    ------
    ConfigurationError
        If one is missing, unknown, or not what it takes; the message begins behind the name of the file.
    """
    if not isinstance(configuration, dict):
        configuration = {}
    options = {}
    for name, d in declared():
        value = configuration.get(name, d["absent"])
        if name in configuration:
            _check(name, value, d)
        elif value is NEEDED:
            raise ConfigurationError(f" lacks a valid {name!r} ({d['kind'].type.__name__})")
        options[name] = value
    for name in configuration.keys() - options.keys():
        close = difflib.get_close_matches(name, options, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else " (a newer version may have it)"
        raise ConfigurationError(f" holds the unknown option {name!r}{hint}")
    try:
        return TrainOptions(**options)
    except ConfigurationError as error:
        raise ConfigurationError(f": {error}") from error


def _check(name: str, value: Any, d: dict[str, Any]) -> None:
    """Raise unless a value is of the option's kind, or the one that means that it is not given."""
    if value is None and None in (d["default"], d["absent"]):
        return
    if type(value) is not d["kind"].type:
        raise ConfigurationError(f" lacks a valid {name!r} ({d['kind'].type.__name__})")
    try:
        d["kind"].parse(str(value))  # what the option takes on the command line
    except argparse.ArgumentTypeError as error:
        raise ConfigurationError(f", {name!r}: {error}") from error
