"""What a step changes beside parameters: running statistics and random streams, in a user's model of stock Theano."""

import itertools

import numpy as np
import pymc3 as pm
import pytest
import scipy.special
import scipy.stats
import theano
import theano.tensor as tt
from theano.sandbox.rng_mrg import mrg_uniform
from theano.tensor.nnet.bn import batch_normalization_train

import fastvae
from fastvae import nn
from fastvae.elbo import step_updates
from fastvae.elbo.rowwise import first_shared
from fastvae.errors import ConfigurationError
from fastvae.nn import dropout
from tests.on_devices import on_every_device

N, B, SIZE, UNITS, LATENT = 40, 8, 6, 5, 2
MOMENTUM, EPSILON = 0.25, 1e-3


class User:
    """A VAE with a batch normalisation in each half, its weights, images and noise; the same in numpy by `by_hand`."""

    def __init__(self, way="found"):
        rng = np.random.default_rng(0)
        shapes = dict(w1=(SIZE, UNITS), w2=(UNITS, 2 * LATENT), w3=(LATENT, UNITS), w4=(UNITS, SIZE))
        shapes.update(g1=UNITS, b1=UNITS, g2=UNITS, b2=UNITS)
        self.values = {name: rng.normal(0, 0.6, shape).astype("float32") for name, shape in shapes.items()}
        self.p = {name: theano.shared(value, name=name) for name, value in self.values.items()}
        self.x = rng.random((B, SIZE), dtype="float32")
        self.way, self.running, self.more_updates = way, [], {}
        self.xs = tt.fmatrix("xs")
        self.xs.tag.test_value = self.x
        with pm.Model() as self.model:
            self.zs = pm.Normal("zs", 0, 1, shape=(B, LATENT), dtype="float32", total_size=N)
            mean = tt.tanh(self.normalised(self.zs.dot(self.p["w3"]), 2)).dot(self.p["w4"])
            pm.Normal("x_", mean, 1, observed=self.xs, dtype="float32", total_size=N)
        encoded = tt.tanh(self.normalised(self.xs.dot(self.p["w1"]), 1)).dot(self.p["w2"])
        self.local_rv = {self.zs: dict(mu=encoded[:, :LATENT], rho=encoded[:, LATENT:])}
        self.inference = pm.ADVI(model=self.model, local_rv=self.local_rv)

    def normalised(self, h, i):
        mean = theano.shared(np.zeros(UNITS, "float32"), name=f"mean{i}")
        var = theano.shared(np.ones(UNITS, "float32"), name=f"var{i}")
        y, _, _, new_mean, new_var = batch_normalization_train(
            h, self.p[f"g{i}"], self.p[f"b{i}"], epsilon=EPSILON, running_average_factor=MOMENTUM,
            running_mean=mean, running_var=var,
        )  # fmt: skip
        self.running += [mean, var]
        if self.way == "default_update":
            mean.default_update, var.default_update = new_mean, new_var
        elif self.way == "more_updates":
            self.more_updates.update({mean: new_mean, var: new_var})
        return y

    def step(self, noise, **options):
        """A compiled step that changes no weight, and returns loss and gradients."""
        (local,) = self.inference.approx.groups
        replacements = {self.xs: theano.shared(self.x), local.symbolic_initial: theano.shared(noise)}
        loss, updates = step_updates(
            self.inference.objective, obj_optimizer=lambda gradients, params: {}, more_obj_params=list(self.p.values()),
            more_updates=self.more_updates, more_replacements=replacements, n_samples=len(noise), **options,
        )  # fmt: skip
        return theano.function([], [loss, *theano.grad(loss, list(self.p.values()))], updates=list(updates.items()))


def by_hand(values, x, noise, objective):
    """The loss, and what is normalised in the encoder and for each sample in the decoder, in float64."""
    p = {name: value.astype("float64") for name, value in values.items()}

    def normalised(h, i):
        return (h - h.mean(0)) / np.sqrt(h.var(0) + EPSILON) * p[f"g{i}"] + p[f"b{i}"]

    h1 = x @ p["w1"]
    encoded = np.tanh(normalised(h1, 1)) @ p["w2"]
    mean, sd = encoded[:, :LATENT], np.log1p(np.exp(encoded[:, LATENT:]))
    h2, log_w = [], []
    for e in noise.astype("float64"):
        z = mean + sd * e
        h2.append(z @ p["w3"])
        log_p = scipy.stats.norm(np.tanh(normalised(h2[-1], 2)) @ p["w4"]).logpdf(x).sum(1)
        log_p += scipy.stats.norm().logpdf(z).sum(1)
        log_w.append(log_p - scipy.stats.norm(mean, sd).logpdf(z).sum(1))
    bound = np.mean(log_w, 0) if objective == "elbo" else scipy.special.logsumexp(log_w, 0) - np.log(len(noise))
    return -bound.sum(), h1, h2


def noise_of(k):
    return np.random.default_rng(k).normal(size=(k, B, LATENT)).astype("float32")


CASES = [("default_update", "elbo", 1), ("more_updates", "elbo", 3), ("found", "iwae", 3)]


@on_every_device
@pytest.mark.parametrize("way, objective, k", CASES)
def test_a_users_model_has_the_loss_gradients_and_running_statistics_of_k_passes(way, objective, k, caplog):
    user, noise = User(way), noise_of(k)
    step = user.step(noise, objective=objective)
    assert ("copied for each of the 3 samples" in caplog.text) == (k > 1)
    loss, *gradients = step()
    expected, h1, h2 = by_hand(user.values, user.x, noise, objective)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for (name, value), gradient in zip(user.values.items(), gradients):
        place = (1,) * value.ndim
        both = []
        for change in (1e-5, -1e-5):
            moved = value.astype("float64")
            moved[place] += change
            both.append(by_hand({**user.values, name: moved}, user.x, noise, objective)[0])
        np.testing.assert_allclose(gradient[place], (both[0] - both[1]) / 2e-5, rtol=1e-3, atol=1e-3)
    for (mean, var), batches in ((user.running[2:], [h1]), (user.running[:2], h2)):
        new_mean = MOMENTUM * np.mean([h.mean(0) for h in batches], axis=0)
        new_var = 1 - MOMENTUM + MOMENTUM * np.mean([h.var(0, ddof=1) for h in batches], axis=0)
        np.testing.assert_allclose(mean.get_value(), new_mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(var.get_value(), new_var, rtol=1e-4)
    nodes = step.maker.fgraph.toposort()
    assert not [v for node in nodes for v in node.outputs if v.type.dtype == "float64"]
    passes = [node for node in nodes if type(node.op).__name__ == "BatchNormTrain"]
    assert len(passes) == 1 + k  # the network of the update is that of the loss


def test_samples_of_one_batch_may_not_share_its_statistics(caplog):
    user = User()
    with pytest.raises(ConfigurationError, match=r"^fold=True: the 3 samples would share .* AbstractBatchNormTrain.*"):
        user.step(noise_of(3), fold=True)
    for statistic in (lambda z: z.mean(axis=0), lambda z: z.max(axis=0), lambda z: z.sum() / z.size):
        z = tt.fmatrix("z")
        assert first_shared([tt.tanh(z - statistic(z))], [z]) is not None
    table = tt.fmatrix("table")
    assert first_shared([z - table.mean(axis=0)], [z]) is None
    assert first_shared([z.sum(axis=1), tt.nnet.softmax(z)], [z]) is None
    by_rows, *_ = batch_normalization_train(z, np.ones(B, "float32"), np.ones(B, "float32"), axes=(1,))
    assert first_shared([by_rows], [z]) is None


def masked(build):
    """A model whose likelihood's mean is `build(zs)`, and the loss and updates of three samples."""
    xs = tt.fmatrix("xs")
    with pm.Model() as model:
        zs = pm.Normal("zs", 0, 1, shape=(B, LATENT), dtype="float32", total_size=N)
        pm.Normal("x_", build(zs), 1, observed=xs, dtype="float32", total_size=N)
    rho = theano.shared(np.zeros((B, LATENT), "float32"))
    inference = pm.ADVI(model=model, local_rv={zs: dict(mu=xs, rho=rho)})

    def step(**options):
        replacements = {xs: theano.shared(np.ones((B, LATENT), "float32"))}
        return step_updates(
            inference.objective, obj_optimizer=lambda gradients, params: {}, more_obj_params=[rho],
            more_replacements=replacements, n_samples=3, **options,
        )  # fmt: skip

    return step


@on_every_device
@pytest.mark.parametrize("kind", ["nn.Dropout", "by the shape of a layer", "of a fixed size"])
def test_every_sample_has_a_mask_of_its_own_and_a_step_goes_on_where_the_last_ended(kind):
    streams = pm.tt_rng(5)
    masks = {
        "nn.Dropout": nn.Dropout(0.5, rng=1),
        "by the shape of a layer": lambda z: z * streams.binomial(z.shape, p=0.5, dtype="float32"),
        "of a fixed size": lambda z: z * streams.binomial((B, LATENT), p=0.5, dtype="float32"),
    }
    step = masked(masks[kind])
    with pytest.raises(ConfigurationError, match="^fold=True: the 3 samples would share .* random numbers, of"):
        step(fold=True)
    loss, updates = step()
    (state,) = updates
    drawn = [
        node.outputs[1]
        for node in theano.gof.graph.io_toposort(theano.gof.graph.inputs([loss]), [loss])
        if isinstance(node.op, mrg_uniform) and node.outputs[1].ndim == 2  # not the noise
    ]
    assert len(drawn) == 3
    draw = theano.function([], drawn, updates=list(updates.items()))
    before = state.get_value()
    found = np.concatenate([draw(), draw()])
    assert all((a != b).any() for a, b in itertools.combinations(found, 2))
    state.set_value(before)
    one = state.default_update.owner
    alone = theano.function([], one.outputs[1], givens={v: np.ones((B, LATENT), "float32") for v in free(one)})
    expected = np.stack([alone() for _ in range(6)])
    for steps in (slice(3), slice(3, 6)):  # in any order of the samples
        assert sorted(map(bytes, found[steps])) == sorted(map(bytes, expected[steps]))


def test_a_mask_that_all_rows_share_keeps_samples_apart_too(caplog):
    streams = pm.tt_rng(5)
    step = masked(lambda z: z * streams.binomial((LATENT,), p=0.5, dtype="float32"))
    step()
    assert "cannot share its batch axis: mrg_uniform" in caplog.text
    step(fold=False)


def free(node):
    leaves = theano.gof.graph.inputs(node.inputs)
    return [v for v in leaves if not isinstance(v, (theano.Constant, theano.compile.SharedVariable))]


def test_a_mask_names_dropout_as_what_keeps_samples_apart(caplog):
    masked(nn.Dropout(0.5, rng=1))()
    assert "cannot share its batch axis: Dropout{p=0.5}" in caplog.text


def test_masks_are_found_where_the_network_draws_them_and_minibatches_are_none():
    data = np.zeros((20, LATENT), "float32")
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 1, shape=LATENT, dtype="float32")
        pm.Normal("x_", mu, 1, observed=pm.Minibatch(data, B), dtype="float32", total_size=20)
    objective = pm.ADVI(model=model).objective
    _, updates = step_updates(objective, obj_optimizer=lambda *_: {}, n_samples=3)
    assert updates == {}  # the samples share one minibatch
    assert dropout.masks([model.logpt]) == []


def test_more_updates_of_other_kinds_are_left_as_they_are():
    counter, flag = theano.shared(np.int64(0), name="counter"), theano.shared(0.5, name="flag")
    user = User()
    user.more_updates = {counter: counter + 1, flag: 1.0}
    step = user.step(noise_of(3))
    step(), step()
    assert counter.get_value() == 2 and flag.get_value() == 1.0
    assert fastvae.collect_params(user.model.logpt)[0].name in user.p
