import hashlib
import os
import signal

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae.errors import ConfigurationError, NonFiniteError
from fastvae.models.vae import OF_THE_MODEL
from tests.linear_gaussian import QUICK
from tests.on_devices import on_every_device

DATA = np.random.default_rng(0).normal(3, 2, size=(30, 2)).astype("float32")


def regression():
    """A model with two global variables, one of them transformed."""
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10, shape=2)
        sd = pm.HalfNormal("sd", 5)
        pm.Normal("x", mu, sd, observed=DATA)
    return model


def mixed():
    """A local latent beside a global variable: `fit`'s arguments and the parameters."""
    weight = theano.shared(np.full((2, 1), 0.1, dtype="float32"), "weight")
    xs = tt.matrix("xs")
    with pm.Model() as model:
        scale = pm.HalfNormal("scale", 5)
        z = pm.Normal("z", 0, 1, shape=(5, 1), total_size=30)
        pm.Normal("x", mu=tt.dot(z, weight.T), sigma=scale, observed=xs, total_size=30)
        mean = tt.dot(xs, weight)
    return weight, dict(
        model=model,
        local_rv={z: dict(mu=mean, rho=tt.zeros_like(mean))},
        more_obj_params=[weight],
        more_replacements={xs: fastvae.Minibatch(DATA, 5)},
        obj_optimizer=fastvae.adam(learning_rate=0.01),
        progressbar=False,
    )


@on_every_device
@pytest.mark.parametrize("method", ["advi", "fullrank_advi"])
def test_global_variables_follow_stock_step_by_step(method):
    options = dict(method=method, random_seed=3, progressbar=False, obj_optimizer=pm.adam(learning_rate=0.05))
    with regression():
        ours = fastvae.fit(15, **options)
    with regression():
        stock = pm.fit(15, fn_kwargs=dict(mode=QUICK), **options)
    assert type(ours) is type(stock)
    np.testing.assert_allclose(ours.hist, stock.hist, rtol=1e-4)
    for a, b in zip(ours.params, stock.params):
        np.testing.assert_allclose(a.get_value(), b.get_value(), rtol=1e-3, atol=1e-4)


@on_every_device
def test_local_beside_global_variables_learn_both():
    weight, options = mixed()
    before = weight.get_value()
    approx = fastvae.fit(50, random_seed=1, **options)
    assert len(approx.hist) == 50 and np.isfinite(approx.hist).all()
    assert np.mean(approx.hist[-10:]) < np.mean(approx.hist[:10])
    assert not np.array_equal(weight.get_value(), before)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(more_object_params=[]), "'more_object_params' is no argument \\(did you mean 'more_obj_params'\\?\\)"),
        (dict(call_backs=[]), "'call_backs' is no argument \\(did you mean 'callbacks'\\?\\)"),
        (dict(xyz=1), "'xyz' is no argument; beside those of its own it takes obj_n_mc, obj_optimizer, "),
    ],
)
def test_a_mistyped_argument_is_named_beside_the_right_one(wrong, message):
    with pytest.raises(TypeError, match=message):
        fastvae.fit(1, **mixed()[1], **wrong)


def test_what_is_no_encoders_output_is_refused():
    options = mixed()[1]
    (z,) = options["local_rv"]
    for wrong in ([z], {z: options["local_rv"][z]["mu"]}):
        with pytest.raises(ConfigurationError, match=r"local_rv=.* give a dict \{latent: dict\(mu=mean, rho=rho\)\}"):
            fastvae.fit(1, **{**options, "local_rv": wrong})


@on_every_device
def test_one_seed_repeats_exactly_and_another_does_not():
    hists = [fastvae.fit(8, random_seed=seed, **mixed()[1]).hist for seed in (1, 1, 2)]
    assert np.array_equal(hists[0], hists[1])
    assert not np.array_equal(hists[0], hists[2])


def digest(vae, approx):
    state = b"".join(param.get_value().tobytes() for param in vae.get_params()) + approx.hist.tobytes()
    return hashlib.sha256(state).hexdigest()


@on_every_device
def test_vae_fit_trains_and_keeps_the_scale_of_pm_fit():
    images = np.random.default_rng(0).random((40, 1, 6, 6)).astype("float32")
    vae = fastvae.MLPVAE(image_shape=(1, 6, 6), hidden=8, seed=1)
    approx = vae.fit(images, n=120, batch_size=10, learning_rate=1e-2, seed=1, progressbar=False)
    assert isinstance(approx, pm.MeanField) and len(approx.hist) == 120
    assert np.mean(approx.hist[-20:]) < 0.9 * np.mean(approx.hist[:5])
    # nats per minibatch: 10 images of 36 pixels, each at least log(sd sqrt(2 pi))
    assert approx.hist[0] > 10 * 36 * np.log(0.1 * np.sqrt(2 * np.pi))


def test_other_methods_run_through_stock_and_say_so(capsys):
    with regression():
        options = dict(inf_kwargs=dict(n_particles=5), fn_kwargs=dict(mode=QUICK), progressbar=False)
        approx = fastvae.fit(2, method="svgd", **options)
    assert isinstance(approx, pm.approximations.Empirical)
    assert capsys.readouterr().err == "fastvae.fit: method 'svgd' runs through stock pm.fit\n"


@on_every_device
def test_an_inference_goes_on_with_refine():
    with regression():
        inference = pm.ADVI(random_seed=1)
        approx = fastvae.fit(4, method=inference, progressbar=False)
        inference.refine(3, progressbar=False)
    assert approx is inference.approx and len(approx.hist) == 4 and len(inference.hist) == 7


@on_every_device
def test_callbacks_see_what_pymc3_gives_them():
    seen = []
    with regression():
        tracker = pm.callbacks.Tracker(step=lambda approx, hist, i: i)
        fastvae.fit(3, callbacks=[lambda *args: seen.append(args), tracker], progressbar=False)
    assert [(len(losses), i) for _, losses, i in seen] == [(1, 1), (2, 2), (3, 3)]
    assert tracker["step"] == [1, 2, 3]


def trained(parts=None, stop=0):
    """A line for each model, and with it each kind of minibatch: how long it was trained, and the digest.

    With `parts`, a folder, the run goes on from its checkpoints there; `stop` ends it after so many steps.
    """
    images, lines = np.random.default_rng(0).random((22, 1, 6, 6)).astype("float32"), []

    def end(approx, losses, i):
        if i == stop:
            raise StopIteration

    replacement, epochs = dict(n=13), dict(epochs=3)  # of 5 batches
    for model, length, more in (("MLPVAE", replacement, {}), ("ConvVAE", epochs, dict(filters=2))):
        vae = getattr(fastvae, model)(image_shape=(1, 6, 6), hidden=4, seed=1, **more)
        folder = parts and os.path.join(parts, model)
        options = dict(batch_size=4, seed=7, progressbar=False, callbacks=[end], **length)
        approx = vae.fit(images, checkpoint=folder, resume=folder is not None, **options)
        lines.append(" ".join([model, *length, str(len(approx.hist)), digest(vae, approx)]))
    return lines


def test_in_a_new_process_one_go_and_what_was_stopped_and_resumed_are_bit_for_bit_the_same(python, tmp_path):
    """Both models, minibatches with replacement and in epochs; equal threads on one machine are what it needs."""
    one_go, first = trained(), trained(str(tmp_path), stop=7)
    code = "import fastvae; from tests.training.test_training import trained"
    resumed = python(f"{code}; print(*trained({str(tmp_path)!r}), *trained(), sep='\\n')", FASTVAE_PROFILE="cpu")
    assert resumed.returncode == 0, resumed.stderr
    assert [line.split()[:3] for line in one_go] == [["MLPVAE", "n", "13"], ["ConvVAE", "epochs", "15"]]
    assert [line.split()[2] for line in first] == ["7"] * 2
    assert resumed.stdout.splitlines() == 2 * one_go
    assert resumed.stderr.count("resuming after step 7") == 2 and "not bit for bit" not in resumed.stderr


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((24, 1, 3, 3)).astype("float32")


def small_fit(images, **options):
    vae = fastvae.MLPVAE(image_shape=(1, 3, 3), hidden=4, seed=1)
    options = {"n": 6, "batch_size": 4, "seed": 1, "learning_rate": 0.01, "progressbar": False, **options}
    approx = vae.fit(images, **options)
    return approx, [param.get_value() for param in vae.get_params()]


@on_every_device
def test_held_out_elbos_and_checkpoints_change_nothing_in_the_training(images, tmp_path):
    plain, params = small_fit(images)
    watched, same = small_fit(images, held_out=images, held_out_every=2, checkpoint=tmp_path, checkpoint_every=2)
    assert plain.hist.tobytes() == watched.hist.tobytes() and all(map(np.array_equal, params, same))
    assert watched.held_out_hist[:, 0].tolist() == [2, 4, 6] and np.isfinite(watched.held_out_hist).all()


@on_every_device
def test_patience_ends_the_fit(images):
    approx, _ = small_fit(images, n=50, learning_rate=1e-12, held_out=images, held_out_every=2, patience=3)
    assert approx.ended_by == "patience" and len(approx.hist) < 50


@on_every_device
def test_the_gradient_norm_is_clipped(images):
    """One step of gradient descent moves the parameters by the rate times the norm, here at its limit."""
    start = [p.get_value() for p in fastvae.MLPVAE(image_shape=(1, 3, 3), hidden=4, seed=1).get_params()]
    _, params = small_fit(images, n=1, obj_optimizer=pm.sgd(learning_rate=0.5), total_grad_norm_constraint=0.02)
    moved = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(params, start)))
    assert moved == pytest.approx(0.01, rel=1e-3)


@on_every_device
def test_bad_steps_are_skipped_only_when_asked_for(images):
    with pytest.raises(NonFiniteError):
        small_fit(images, n=20, learning_rate=1e30)
    approx, params = small_fit(images, n=20, learning_rate=1e30, bad_steps="skip")
    assert len(approx.hist) == 20 and np.isnan(approx.hist).any()
    assert all(np.isfinite(param).all() for param in params)
    usual, same = small_fit(images)[1], small_fit(images, bad_steps="skip")[1]
    assert all(map(np.array_equal, usual, same))


@on_every_device
def test_a_model_of_ones_own_is_resumed_too(tmp_path):
    weight, options = mixed()
    approx = fastvae.fit(9, random_seed=1, **options)
    states = [param.get_value() for param in [weight, *approx.params]]
    for n in (4, 9):
        weight, options = mixed()
        resumed = fastvae.fit(n, random_seed=1, checkpoint=tmp_path, resume=n == 9, **options)
    assert approx.hist.tobytes() == resumed.hist.tobytes()
    assert all(map(np.array_equal, states, [param.get_value() for param in [weight, *resumed.params]]))


@on_every_device
def test_epochs_count_the_batches_of_the_data(images):
    approx, _ = small_fit(images[:23], n=None, epochs=2)
    assert len(approx.hist) == 2 * 5
    with pytest.raises(ConfigurationError, match="n=3 and epochs=2 both say how long"):
        small_fit(images, n=3, epochs=2)
    with pytest.raises(ConfigurationError, match="epochs=2 needs minibatches that visit every row"):
        fastvae.fit(epochs=2, **mixed()[1])


def test_checkpoints_of_an_iterator_are_refused_before_the_first_step(tmp_path):
    _, options = mixed()
    (xs,) = options["more_replacements"]
    options["more_replacements"] = {xs: fastvae.Minibatch(iter(DATA), 5)}
    with pytest.raises(ConfigurationError, match="is not available with a .*whose iterator cannot be read again: give"):
        fastvae.fit(3, checkpoint=tmp_path, **options)
    assert not list(tmp_path.iterdir())


@on_every_device
def test_a_streamed_minibatch_is_resumed_where_it_was(tmp_path):
    def make(epoch, start):
        return np.random.default_rng(epoch).permutation(DATA)[start:]

    hists = []
    for stops in ([7], [4, 7]):
        for n in stops:
            _, options = mixed()
            (xs,) = options["more_replacements"]
            options["more_replacements"] = {xs: fastvae.Minibatch(make, 5)}
            folder = tmp_path / str(len(stops))
            approx = fastvae.fit(n, random_seed=1, checkpoint=folder, resume=True, **options)
        hists.append(approx.hist)
    assert np.array_equal(*hists)


@pytest.mark.parametrize("end", [StopIteration, KeyboardInterrupt])
def test_a_callback_can_end_the_fit(end):
    def stop(approx, losses, i):
        if i == 3:
            raise end

    with regression():
        assert len(fastvae.fit(10, callbacks=[stop], progressbar=False).hist) == 3


def test_ctrl_c_returns_what_was_trained():
    def press(approx, losses, i):
        if i == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with regression():
        approx = fastvae.fit(10, callbacks=[press], progressbar=False)
    assert len(approx.hist) == 4 and np.isfinite(approx.hist).all()


def test_without_a_score_nothing_is_recorded_also_for_a_pure_vae():
    images = np.random.default_rng(0).random((8, 1, 4, 4)).astype("float32")
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=4, seed=1)
    before = vae.get_params()[0].get_value()
    approx = vae.fit(images, n=3, batch_size=2, seed=1, progressbar=False, score=False)
    assert len(approx.hist) == 0 and not np.array_equal(before, vae.get_params()[0].get_value())


@on_every_device
@pytest.mark.parametrize("score", [True, False])
def test_nan_names_the_step_and_the_parameter(score):
    images = np.random.default_rng(0).random((8, 1, 4, 4)).astype("float32")
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=4, seed=1)
    with pytest.raises(NonFiniteError, match="at step .*'encoder.dense1.weight'.*smaller learning rate") as caught:
        vae.fit(images, n=20, batch_size=2, learning_rate=1e30, seed=1, progressbar=False, score=score)
    assert np.isfinite(caught.value.approx.hist).all()


def test_an_inference_takes_a_seed_and_nothing_that_it_has_already():
    hists = []
    for _ in range(2):
        with regression():
            hists.append(fastvae.fit(4, method=pm.ADVI(), random_seed=5, progressbar=False).hist)
    assert np.array_equal(*hists)
    with regression(), pytest.raises(ConfigurationError, match="start cannot be given with an Inference.*ADVI"):
        fastvae.fit(1, method=pm.ADVI(), start={})


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(method="nuts"), "method='nuts' must be one of advi"),
        (dict(method=pm.ADVI), "or an Inference instance such as pm.ADVI"),
        (dict(callbacks=print), "callbacks=<built-in function print> must be None or a list of functions"),
        (dict(bad_steps="ignore"), "bad_steps='ignore' must be one of 'stop', 'skip'"),
        (dict(resume=True), "resume=True needs checkpoint=FOLDER"),
        (dict(checkpoint="run", checkpoint_every=0), "checkpoint_every=0 must be an integer of at least 1"),
        (
            dict(method="svgd", checkpoint="run"),
            "method='svgd' runs through stock pm.fit, which does not take checkpoint: ",
        ),
    ],
)
def test_arguments_of_the_wrong_kind(options, message):
    with regression(), pytest.raises(ConfigurationError, match=message):
        fastvae.fit(1, progressbar=False, **options)


def test_a_parameter_without_a_name_is_named_by_its_place():
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=4, seed=1)
    for param in vae.get_params():
        param.name = None
    with pytest.raises(NonFiniteError, match=r"the first that is not finite is parameter 0 of shape \(16, 4\)"):
        vae.fit(np.ones((8, 1, 4, 4)), n=20, batch_size=2, learning_rate=1e30, seed=1, progressbar=False)


def test_under_debug_a_nan_is_one_error_with_the_history(python):
    done = python(
        "import fastvae, numpy as np, theano\n"
        "vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=4, seed=1)\n"
        "with theano.change_flags(cxx=''):  # test values compile a function for every node: Python is quicker\n"
        "  try: vae.fit(np.random.rand(8, 1, 4, 4).astype('f'), n=9, batch_size=2, learning_rate=1e9, seed=1)\n"
        "  except fastvae.NonFiniteError as error: print(error, len(error.approx.hist))",
        FASTVAE_PROFILE="cpu-blas:debug",
    )
    assert "NanGuardMode stopped step" in done.stdout, done.stderr
    assert "Cannot compute test value" not in done.stderr


def test_options_of_a_test_function_are_said_to_be_unused(capsys):
    with regression():
        fastvae.fit(1, tf_n_mc=3, progressbar=False)
    assert "tf_n_mc is not used" in capsys.readouterr().err


@pytest.mark.parametrize("n", [-1, 2.5, "10", True])
def test_the_number_of_steps_is_checked(n):
    with regression(), pytest.raises(ConfigurationError, match="fit: n=.* must be None or an integer of at least 0"):
        fastvae.fit(n)


def test_no_step_at_all():
    with regression():
        assert len(fastvae.fit(0, progressbar=False).hist) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(start={"mu": "x"}), "PyMC3 cannot set up advi from start: "),
        (
            dict(start={"nu": np.float64(1)}),
            "start={'nu': 1.0}: 'nu' is no variable of .*, which has mu, sd_log__, sd, x",
        ),
        (
            dict(local_rv={"z": dict(mu=1.0)}),
            "the parameters of z, 'mu', are those of no posterior: give dict.mu=..., rho=.... or ",
        ),
        (dict(local_rv={"z": dict(mu=1.0, rho=1.0)}), "PyMC3 cannot set up advi from local_rv: "),
        (dict(configuration={(1, 2): 3}), r"configuration={\(1, 2\): 3} must be None or a dict of JSON"),
    ],
)
def test_what_pymc3_does_not_take_is_one_line(options, message):
    with regression(), pytest.raises(ConfigurationError, match=message) as caught:
        fastvae.fit(1, progressbar=False, **options)
    assert "\n" not in str(caught.value)


def test_a_fit_needs_a_model():
    with pytest.raises(ConfigurationError, match="there is no model: call it inside `with pm.Model"):
        fastvae.fit(1)


@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_what_a_vae_makes_itself_is_not_taken(images, name):
    with pytest.raises(ConfigurationError, match=f"MLPVAE.fit: {name}.*a pm.Model of yours to fastvae.fit|{name}="):
        small_fit(images, **{name: {}})
