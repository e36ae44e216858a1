import argparse
import dataclasses

import pytest

import fastvae
from fastvae import kinds, likelihoods, models, nn, posteriors
from fastvae.cli import commands, options, parser
from fastvae.cli.options import TrainOptions
from fastvae.errors import ConfigurationError


def test_the_choices_are_the_registered_names():
    assert set(options.LIKELIHOODS) == set(likelihoods.NAMED)
    assert set(options.POSTERIORS) == set(posteriors.FAMILIES)
    assert set(options.MODELS) == set(commands.MODELS)
    assert (options.NORMALIZATIONS, options.POOLINGS) == (models.NORMALIZATIONS, models.POOLINGS)
    assert set(options.ACTIVATIONS) == set(nn.ACTIVATIONS)
    for name, choices in (("objective", options.OBJECTIVES), ("kl", options.KLS)):
        assert fastvae.fit.kinds[name].says == kinds.choice(*choices).says


def test_every_option_goes_to_the_model_or_its_fit_as_an_argument_that_it_has():
    run, vae = TrainOptions(), fastvae.MLPVAE
    assert run.for_model().keys() <= vae.__init__.kinds.keys() and run.for_fit().keys() <= vae.fit.kinds.keys()
    used = {name for name, d in options.declared() if d["model"] or d["fit"]}
    assert {name for name, _ in options.declared()} - used == {"data", "channels_last", "model"}


def test_defaults_are_what_the_command_line_takes():
    args = parser.make().parse_args(["train"])
    assert options.given(args) == {}
    for name, d in options.declared():
        if d["kind"] is options.flag or d["default"] is None:
            continue
        args = parser.make().parse_args(["train", options.on_command_line(name), str(d["default"])])
        assert options.given(args) == {name: d["default"]} and type(d["default"]) is d["kind"].type


def test_an_option_without_a_value_and_one_that_is_not_given_by_default():
    args = parser.make().parse_args(["train", "--channels-last", "--log-dir", "events"])
    run = TrainOptions(**options.given(args))
    assert run == TrainOptions(channels_last=True, log_dir="events")
    assert options.from_configuration(dataclasses.asdict(run)) == run
    with pytest.raises(ConfigurationError, match="lacks a valid 'channels_last'"):
        options.from_configuration({**dataclasses.asdict(run), "channels_last": "yes"})
    assert run.for_fit()["log_dir"] == "events" and "channels_last" not in run.for_fit()


def test_a_held_out_elbo_that_is_not_measured_is_no_argument():
    assert TrainOptions().for_fit()["held_out_every"] == 200
    assert "held_out_every" not in TrainOptions(held_out_every=0).for_fit()


def test_what_changed_since_a_run_began_is_what_fit_may_change():
    run = TrainOptions(iterations=7, learning_rate=0.5, checkpoint_every=3)
    fit = run.for_fit()
    assert (fit["n"], fit["learning_rate"], fit["checkpoint_every"]) == (7, 0.5, 3)
    assert fit["may_change"] == ["learning_rate"]  # the others may change for `fit` too
    assert {*options.changeable()} == {
        *("iterations", "learning_rate", "checkpoint_every", "held_out_every", "log_dir", "rank_timeout")
    }


@dataclasses.dataclass(kw_only=True)
class Later(TrainOptions):
    """The options of a later version, which has one more."""

    clip: float = options._option(None, options.positive, "norm", fit="total_grad_norm_constraint", absent=None)


def test_an_option_is_one_line_and_older_runs_go_on(monkeypatch):
    before = dataclasses.asdict(TrainOptions())
    for name in ("normalization", "pooling", "activation", "channels_last", "log_dir"):  # were such options too
        del before[name]
    monkeypatch.setattr(options, "TrainOptions", Later)
    assert options.from_configuration(before) == Later()
    args = parser.make().parse_args(["train", "--clip", "2.5"])
    run = Later(**options.given(args))
    assert run.for_fit()["total_grad_norm_constraint"] == 2.5
    assert options.from_configuration(dataclasses.asdict(run)) == run
    assert options.from_configuration(dataclasses.asdict(Later())).clip is None
    with pytest.raises(ConfigurationError, match="'clip': '-1.0' is not a number above 0"):
        options.from_configuration({**before, "clip": -1.0})


def test_none_is_not_given_to_the_model_and_pooling_only_to_one_that_has_images():
    given = TrainOptions(normalization="batch", pooling="max", activation="tanh").for_model()
    assert given == {**TrainOptions().for_model(), "normalization": "batch", "pooling": "max", "activation": "tanh"}
    assert given.keys() <= fastvae.ConvVAE.__init__.kinds.keys()
    with pytest.raises(ConfigurationError, match="^--pooling max is for the convolutions .* give --model conv$"):
        TrainOptions(model="mlp", pooling="max")
    configuration = {**dataclasses.asdict(TrainOptions(model="mlp")), "pooling": "max"}
    with pytest.raises(ConfigurationError, match="^: --pooling max"):
        options.from_configuration(configuration)


@pytest.mark.parametrize("name", [name for name, d in options.declared() if d["absent"] is options.NEEDED])
def test_a_configuration_without_an_option_that_every_run_has(name):
    configuration = dataclasses.asdict(TrainOptions())
    del configuration[name]
    with pytest.raises(ConfigurationError, match=f"lacks a valid '{name}'"):
        options.from_configuration(configuration)


@pytest.mark.parametrize("kind, text", [(options.count, "0"), (options.seed, "-1"), (options.positive, "inf")])
def test_numbers_out_of_range(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not a"):
        kind.parse(text)
