import inspect

import numpy as np
import pytest

import fastvae
from fastvae import elbo
from fastvae.models.vae import OF_THE_MODEL
from fastvae.training import UNUSED, forwarding


def names(function):
    return set(inspect.signature(function).parameters)


def test_the_signature_of_fit_shows_what_it_passes_on():
    assert names(elbo.step_updates) - {"pm_objective", "ranks"} < names(fastvae.fit)
    assert not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(fastvae.fit).parameters.values())


def test_the_signature_of_a_models_fit_is_that_of_fit_but_for_what_the_model_makes():
    own = {"self", "images", "learning_rate", "seed"}
    assert names(fastvae.VAE.fit) == (names(fastvae.fit) | own) - {*OF_THE_MODEL}
    assert list(inspect.signature(fastvae.ConvVAE().fit).parameters)[:5] == [
        "images", "n", "batch_size", "learning_rate", "seed",
    ]  # fmt: skip
    assert not names(fastvae.VAE.fit) - {"self"} - fastvae.VAE.fit.kinds.keys()
    shown, there = (inspect.signature(function).parameters for function in (fastvae.VAE.fit, fastvae.fit))
    assert {name: shown[name].default for name in ("held_out_every", "kl", "bad_steps")} == {
        name: there[name].default for name in ("held_out_every", "kl", "bad_steps")
    }


@pytest.mark.parametrize(
    "wrong, meant", [("progressbr", "progressbar"), ("n_sample", "n_samples"), ("batchsize", "batch_size")]
)
def test_a_mistyped_argument_of_a_models_fit_is_named_before_anything_is_read(wrong, meant):
    vae = fastvae.MLPVAE(image_shape=(1, 3, 3), hidden=4, seed=1)
    with pytest.raises(TypeError, match=rf"MLPVAE.fit: '{wrong}' is no argument \(did you mean '{meant}'"):
        vae.fit(None, **{wrong: 1})


def test_a_models_fit_tells_its_own_arguments_from_those_that_it_passes_on():
    vae = fastvae.MLPVAE(image_shape=(1, 3, 3), hidden=4, seed=1)
    with pytest.raises(TypeError) as raised:
        vae.fit(None, progresbar=False)
    start, listed = str(raised.value).split("; beside those of its own it takes ")
    assert start == "MLPVAE.fit: 'progresbar' is no argument (did you mean 'progressbar'?)"
    own = {"images", "n", "batch_size", "learning_rate", "seed", "obj_optimizer", "held_out"}
    assert set(listed.split(", ")) == (names(fastvae.VAE.fit) | {*UNUSED}) - own - {"self"}


def test_options_of_a_test_function_go_through_a_models_fit(capsys):
    vae = fastvae.MLPVAE(image_shape=(1, 3, 3), hidden=4, seed=1)
    images = np.zeros((4, 1, 3, 3), "float32")
    vae.fit(images, n=1, batch_size=2, seed=1, progressbar=False, **dict.fromkeys(UNUSED, 1))
    assert "tf_n_mc is not used" in capsys.readouterr().err


def test_the_functions_own_parameters_take_precedence():
    def inner(a, b=2, *, c=3):
        pass

    @forwarding(inspect.signature(inner).parameters, without=["a"])
    def outer(x, *, c=None, **kwargs):
        pass

    assert str(inspect.signature(outer)) == "(x, *, c=None, b=2)"
