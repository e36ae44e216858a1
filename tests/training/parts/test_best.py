import math

import numpy as np
import theano

import fastvae
from fastvae.training.parts.best import Best
from tests.on_devices import on_every_device


def test_the_best_and_not_the_last(capsys):
    w = theano.shared(np.float32(0))
    best = Best([w])
    for step, elbo in enumerate([math.nan, -5.0, -3.0, -3.0, -4.0, math.nan]):
        w.set_value(np.float32(step))
        best.remember(step, elbo)
    best.give_back()
    assert w.get_value() == 2 and "step 2, which had the best held-out ELBO, -3 nats" in capsys.readouterr().err


def test_none_of_them_a_number(capsys):
    w = theano.shared(np.float32(0))
    best = Best([w])
    best.remember(1, math.nan)
    best.give_back()
    assert best.found is None and "the last parameters stay" in capsys.readouterr().err


def trained(folder=None, **options):
    images = np.random.default_rng(0).random((40, 1, 3, 3))
    vae = fastvae.MLPVAE(image_shape=(1, 3, 3), hidden=8, normalization="batch", seed=1)
    approx = vae.fit(
        images[:8],
        batch_size=4,
        learning_rate=0.05,
        seed=1,
        held_out=images[8:],
        held_out_every=5,
        patience=3,
        progressbar=False,
        checkpoint=folder,
        **options,
    )
    return approx, [variable.get_value() for variable in [*vae.get_params(), *vae.get_state()]]


@on_every_device
def test_a_fit_that_ends_by_patience_has_the_parameters_of_its_best_step_resumed_or_not(tmp_path, capsys):
    """Eight images are soon learnt by heart."""
    approx, params = trained(n=500)
    assert approx.ended_by == "patience"
    steps, elbos = approx.held_out_hist.T
    best = int(steps[elbos.argmax()])
    assert f"the parameters are those of step {best}, " in capsys.readouterr().err and best < len(approx.hist)
    there, expected = trained(n=best)
    assert there.ended_by == "steps" and all(map(np.array_equal, params, expected))
    trained(tmp_path, n=best + 2)
    resumed, again = trained(tmp_path, n=500, resume=True)
    assert np.array_equal(resumed.hist, approx.hist) and all(map(np.array_equal, again, params))
