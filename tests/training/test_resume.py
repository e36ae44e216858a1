"""A resumed run with another argument: said or refused, for every argument in the signatures of both fits."""

import inspect

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import training
from fastvae.checkpoint import MAY_CHANGE
from fastvae.errors import ConfigurationError
from fastvae.training.parts import Part
from tests.on_devices import on_every_device
from tests.tiny_run import Run

IMAGES = np.random.default_rng(0).random((60, 1, 6, 6))
LATENT = tt.matrix("z")
#: By argument: two values.
VALUES = {
    "n": (3, 6),
    "epochs": (1, 2),
    "local_rv": ({LATENT: (LATENT, LATENT)}, {LATENT: (LATENT, 2 * LATENT)}),
    "method": ("advi", "fullrank_advi"),
    "model": (None, pm.Model()),
    "random_seed": (1, 2),
    "start": ({"mu": 0.0}, {"mu": 1.0}),
    "inf_kwargs": (None, {"scale_cost_to_minibatch": False}),
    "score": (True, False),
    "callbacks": ([], [print]),
    "parts": ([], [Part()]),
    "progressbar": (True, False),
    "batch_size": (10, 20),
    "fn_kwargs": (None, {"mode": "FAST_RUN"}),
    "held_out": (IMAGES[:20], IMAGES[20:40]),
    "held_out_every": (10, 20),
    "patience": (1, 2),
    "bad_steps": ("stop", "skip"),
    "fetch_every": (1, 2),
    "history": ("a", "b"),
    "log_dir": ("a", "b"),
    "checkpoint_every": (1, 2),
    "obj_n_mc": (1, 2),
    "obj_optimizer": (pm.adam(learning_rate=0.1), pm.adam(learning_rate=0.2)),
    "more_obj_params": ([theano.shared(np.zeros(2))], [theano.shared(np.zeros(2)), theano.shared(np.zeros(2))]),
    "more_updates": (None, {LATENT: LATENT + 1}),
    "more_replacements": ({LATENT: IMAGES}, {LATENT: IMAGES + 1}),
    "total_grad_norm_constraint": (1.0, 2.0),
    "objective": ("elbo", "iwae"),
    "kl": ("monte-carlo", "analytic"),
    "n_samples": (1, 5),
    "kl_weight": (1.0, fastvae.schedules.linear(0, 1, 10)),
    "estimator": ("pathwise", "dreg"),
    "fold": (True, False),
    "images": (IMAGES, IMAGES[::-1].copy()),
    "learning_rate": (0.1, 0.2),
    "seed": (1, 2),
}
#: What makes the checkpoints, with nothing to compare.
HOW = {"checkpoint", "resume", "may_change", "configuration", "parallel", "rank_timeout"}


def parameters(*functions):
    signatures = [inspect.signature(function).parameters.values() for function in functions]
    names = [p.name for of_one in signatures for p in of_one if p.kind is not p.VAR_KEYWORD]
    return sorted(set(names) - {"self", "pm_objective", "ranks"} - HOW)


ARGUMENTS = parameters(fastvae.fit, fastvae.VAE.fit, fastvae.elbo.step_updates)


@pytest.fixture(scope="module")
def compiled():
    return Run()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument(compiled, tmp_path, capsys, name):
    before, after = VALUES[name]  # an argument that is not in the table fails here
    run = compiled.again()
    run.train(2, checkpoints=run.checkpoints(tmp_path, arguments=training.arguments_of({name: before})))
    again = dict(resume=True, arguments=training.arguments_of({name: after}))
    if name in MAY_CHANGE:
        run.checkpoints(tmp_path, **again)
        assert f"; with {name}=" in capsys.readouterr().err
        return
    with pytest.raises(ConfigurationError, match=rf"{name}=.*it was.*another folder, or may_change=\['{name}'\]"):
        run.checkpoints(tmp_path, **again)
    run.checkpoints(tmp_path, may_change=[name], **again)
    assert f"not bit for bit as in one go: {name}=" in capsys.readouterr().err


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_same_argument_is_no_difference(compiled, tmp_path, capsys, name):
    run = compiled.again()
    arguments = training.arguments_of({name: VALUES[name][1]})
    run.train(1, checkpoints=run.checkpoints(tmp_path, arguments=arguments))
    run.checkpoints(tmp_path, resume=True, arguments=training.arguments_of({name: VALUES[name][1]}))
    said = capsys.readouterr().err
    assert "resuming after step 1" in said and "with" not in said and "not bit for bit" not in said


def test_an_argument_that_is_left_out_has_its_default():
    assert training.arguments_of({}) == training.arguments_of({"kwargs": {"objective": "elbo"}, "bad_steps": "stop"})


def small(folder, n, **options):
    vae = fastvae.MLPVAE(image_shape=(1, 6, 6), hidden=4, seed=0)
    options = {"seed": 1, "batch_size": 10, "progressbar": False, "checkpoint": folder, **options}
    return vae.fit(IMAGES, n=n, **options)


@on_every_device
def test_a_run_on_another_objective_or_on_other_images_is_refused(tmp_path, capsys):
    small(tmp_path, 3)
    with pytest.raises(ConfigurationError, match=r"objective='iwae' \(it was 'elbo'\), n_samples=5"):
        small(tmp_path, 6, resume=True, objective="iwae", n_samples=5)
    with pytest.raises(ConfigurationError, match="may_change=.*'learning_rat' is none of n, local_rv, "):
        small(tmp_path, 6, resume=True, may_change=["learning_rat"])
    capsys.readouterr()
    small(tmp_path, 6, resume=True, learning_rate=1e-3, may_change=["learning_rate"])
    said = capsys.readouterr().err
    assert "with n=6 (it was 3); not bit for bit as in one go: learning_rate=0.001 (it was 0.0001)" in said


@on_every_device
@pytest.mark.parametrize("first, second", [(1, 7), (7, 1)])
@pytest.mark.parametrize("earlier_version", [False, True])
def test_losses_may_be_fetched_at_other_steps(tmp_path, monkeypatch, first, second, earlier_version):
    in_one_go = small(None, 6).hist
    with monkeypatch.context() as patched:
        if earlier_version:  # it kept the variables as they came in the compiled step
            patched.setattr("fastvae.checkpoint.run._in_order_of_use", lambda outputs, updates: [])
        small(tmp_path, 3, fetch_every=first)
    resumed = small(tmp_path, 6, fetch_every=second, resume=True)
    assert resumed.hist.tobytes() == in_one_go.tobytes()


def of_ones_own(folder, n, sd, observed, **options):
    with pm.Model():
        mu = pm.Normal("mu", 0, 1)
        pm.Normal("x", mu, sd, observed=observed)
        return fastvae.fit(n, progressbar=False, checkpoint=folder, random_seed=1, **options)


@on_every_device
def test_a_model_that_computes_something_else_is_refused(tmp_path, capsys):
    """Its arguments are the same: the difference is in the model of the context."""
    rows = np.arange(5, dtype="float32")
    of_ones_own(tmp_path, 2, 1.0, rows)
    for changed in (dict(sd=2.0, observed=rows), dict(sd=1.0, observed=rows + 1)):
        with pytest.raises(ConfigurationError, match=r"whose steps computed something else .*may_change=\['step'\]"):
            of_ones_own(tmp_path, 4, resume=True, **changed)
    of_ones_own(tmp_path, 4, 2.0, rows, resume=True, may_change=["step"])
    assert "from here on the steps compute something else" in capsys.readouterr().err
