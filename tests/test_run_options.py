import dataclasses
import inspect

import pytest

import fastvae
from fastvae import checkpoint, elbo, run_options
from fastvae.cli import options
from fastvae.run_options import RunOptions
from fastvae.training import arguments


def test_fit_takes_exactly_the_options_of_a_run_and_what_goes_to_the_step():
    taken = {name: p.default for name, p in inspect.signature(fastvae.fit).parameters.items()}
    of_the_step = taken.keys() & inspect.signature(elbo.step_updates).parameters.keys()
    assert taken.keys() - of_the_step == {*run_options.NAMES} == arguments.KINDS.keys()
    assert {name: taken[name] for name in run_options.NAMES} == dataclasses.asdict(RunOptions())


def test_an_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="patiense"):
        RunOptions(patiense=3)


def test_what_is_fastvaes_own_is_absent_by_default():
    assert RunOptions().given_of_its_own() == []
    assert RunOptions(epochs=2, parts=[], n=3, history="h.csv").given_of_its_own() == ["epochs", "parts", "history"]


def test_every_kind_takes_the_default():
    for name, kind in run_options.KINDS.items():
        assert kind.check("fit", name, getattr(RunOptions, name)) in (getattr(RunOptions, name), [])


def test_checkpoints_and_the_command_line_have_it_from_here():
    assert checkpoint.MAY_CHANGE is run_options.MAY_CHANGE
    assert {"n", "parts", "fetch_every", "checkpoint_every"} < {*run_options.MAY_CHANGE}
    assert not {"batch_size", "bad_steps", "random_seed", "method"} & {*run_options.MAY_CHANGE}
    of_fit = {d["fit"]: d for _, d in options.declared() if d["fit"] in run_options.NAMES}
    shared = {"n", "batch_size", "checkpoint_every", "held_out_every", "log_dir", "rank_timeout"}
    assert of_fit.keys() == shared
    assert all(d["may_change"] == (name in run_options.MAY_CHANGE) for name, d in of_fit.items())
