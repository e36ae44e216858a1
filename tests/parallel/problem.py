"""Small trainings for tests of ranks, on rows and noise that do not depend on how many ranks there are."""

import contextlib
import hashlib
import resource

import numpy as np

import fastvae  # isort: skip  (before theano)
import pymc3 as pm
import theano
import theano.tensor as tt

from fastvae.datasets.rows import on_disk
from fastvae.elbo import vae_model

ROWS, TOTAL, STEPS, LATENT = 48, 8, 50, 2  # images; of them in a step over all ranks
IMAGES = np.random.default_rng(0).random((ROWS, 1, 4, 4), dtype="float32")
LARGE = (400, 2**17)  # float32: 200 MiB
SPARE = 100 * 2**20  # bytes that a rank may have beside what it has

MODELS = {
    "mlp": lambda **options: fastvae.MLPVAE((1, 4, 4), n_latent=LATENT, hidden=3, seed=1, **options),
    "conv": lambda **options: fastvae.ConvVAE((1, 6, 6), n_latent=LATENT, filters=3, hidden=4, seed=1, **options),
}
#: By name: the model, and options of `fit`; a norm is that of one process, whose loss is the sum over all rows.
PROBLEMS = {
    "mlp": ("mlp", {}),
    "conv": ("conv", {}),
    "iwae": ("mlp", dict(objective="iwae", n_samples=3)),
    "clipped": ("mlp", dict(n_samples=2, total_grad_norm_constraint=5.0)),
    "skipping": ("mlp", dict(bad_steps="skip")),
}


def bits(vae):
    return hashlib.sha256(b"".join(param.get_value().tobytes() for param in vae.get_params())).hexdigest()


def train(name, ranks, parallel):
    """Losses in the scale of one process, and parameters; the noise of a step comes with its rows."""
    kind, options = PROBLEMS[name]
    options = dict(options)
    vae, n_samples, batch_size = MODELS[kind](), options.get("n_samples", 1), TOTAL // ranks
    rng = np.random.default_rng(1)
    images = rng.random((ROWS, *vae.image_shape), dtype="float32")
    noise = rng.normal(size=(ROWS, n_samples, LATENT)).astype("float32")
    if "total_grad_norm_constraint" in options:
        options["total_grad_norm_constraint"] /= ranks
    batch, drawn = fastvae.Minibatch((images, noise), batch_size, seed=3, sampler="epochs")
    model, local_rv, xs = vae_model(vae, batch_size, ROWS)
    inference = pm.ADVI(model=model, local_rv=local_rv)
    (group,) = inference.approx.groups
    approx = fastvae.fit(
        STEPS, method=inference, progressbar=False, parallel=parallel, more_obj_params=vae.get_params(),
        obj_optimizer=fastvae.adam(learning_rate=1e-3),
        more_replacements={xs: batch, group.symbolic_initial: drawn.dimshuffle(1, 0, 2)}, **options,
    )  # fmt: skip
    return {"losses": (approx.hist * ranks).tolist(), "params": [p.get_value().tolist() for p in vae.get_params()]}


def replacement(n, **options):
    """A training whose rows are drawn with replacement: the model, the states of all random streams, the losses."""
    vae = MODELS["mlp"]()
    model, local_rv, xs = vae_model(vae, 4, ROWS)
    inference = pm.ADVI(model=model, local_rv=local_rv)
    batch = fastvae.Minibatch(IMAGES, 4, seed=5)
    approx = fastvae.fit(
        n, method=inference, random_seed=1, progressbar=False, obj_optimizer=fastvae.adam(learning_rate=1e-3),
        more_obj_params=vae.get_params(), more_replacements={xs: batch}, **options,
    )  # fmt: skip
    (group,) = inference.approx.groups
    states = [*(update[0] for update in group._rng.state_updates), *random_states(batch)]
    return vae, [state.get_value() for state in states], approx.hist


def random_states(expression):
    return [v for v in theano.gof.graph.inputs([expression]) if getattr(v.tag, "is_rng", False)]


def tiny(n, x=None, sd=1.0, bad_at=None, epochs=None, **options):
    """The mean of some numbers, by a model that is built at once; in one step this rank's rows may be NaN."""
    x = np.arange(8.0) if x is None else x
    batch = x if hasattr(x, "tag") else fastvae.Minibatch(x, 2)
    spoilt = theano.shared(np.float32(0), name="spoilt")
    spoilt.default_update = tt.zeros_like(spoilt)

    def spoil(approx, losses, i):
        spoilt.set_value(np.float32(np.nan if bad_at == i + 1 else 0))

    data = batch + spoilt
    data.tag.test_value = batch.tag.test_value
    with pm.Model():
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("x", mu, sd, observed=data, total_size=8)
        given = {"obj_optimizer": fastvae.adam(learning_rate=1e-2), "random_seed": 1, **options}
        if bad_at is not None:
            given["callbacks"] = [spoil]
        return fastvae.fit(n, epochs=epochs, progressbar=False, **given)


def fit_mean(batch, **options):
    """A scale and a shift of large rows, so that a step only reads them."""
    with pm.Model():
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("x", mu, 1, observed=batch, total_size=LARGE[0])
        return fastvae.fit(random_seed=1, progressbar=False, obj_optimizer=fastvae.adam(learning_rate=1e-2), **options)


def write_large(path):
    """A file of rows whose first number is the row's."""
    import h5py

    if path.suffix == ".npy":
        array = np.lib.format.open_memmap(path, "w+", "float32", LARGE)
        array[:, 0] = np.arange(LARGE[0])
        array.flush()
    else:
        with h5py.File(path, "w") as file:
            data = file.create_dataset("x", LARGE, "float32", chunks=(1, LARGE[1]))
            for row in range(LARGE[0]):
                data[row, :1] = row


def counted(kind, path, read):
    """The rows of a file, of which those that are read are appended to a list."""
    rows = on_disk(path)
    read_rows = rows._read

    def counting(indices):
        read.extend(map(int, indices))
        return read_rows(indices)

    assert isinstance(rows, kind)
    rows._read = counting
    return rows


@contextlib.contextmanager
def limited(limit):
    """This process may have so much memory as it has, and half of a large file more."""
    pages = {resource.RLIMIT_AS: 0, resource.RLIMIT_DATA: 5}
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[pages[limit]]) * resource.getpagesize()
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (now + SPARE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(limit, before)


HAND = dict(mu=0.3, rho=-0.2, rate=0.1)


def hand_data():
    rng = np.random.default_rng(7)
    return rng.normal(size=8).astype("float32"), rng.normal(size=8).astype("float32")


def hand_step(x, e, batch_size, **options):
    """The variational mean and rho of mu ~ Normal(0, 10), x ~ Normal(mu, 1) after one step of gradient descent.

    A batch's noise is the number beside its first row.
    """
    rows, noise = fastvae.Minibatch((x, e), batch_size, seed=2, sampler="epochs")
    with pm.Model():
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("x", mu, 1, observed=rows, total_size=len(x))
        inference = pm.ADVI()
    (group,) = inference.approx.groups
    for name in ("mu", "rho"):
        group.params_dict[name].set_value(np.float32([HAND[name]]))
    fastvae.fit(
        1, method=inference, progressbar=False, obj_optimizer=pm.sgd(learning_rate=HAND["rate"]),
        more_replacements={group.symbolic_initial: noise[:1].dimshuffle("x", 0)}, **options,
    )  # fmt: skip
    return [float(group.params_dict[name].get_value()[0]) for name in ("mu", "rho")]
