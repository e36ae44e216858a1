"""Small runs whose checkpoints and parameter files the last version with checkpoints of format 1 wrote (b5b1be9).

`python -m tests.checkpoint.format_1.programs FOLDER`, in a checkout of that commit with this folder copied into it,
writes them anew (there `sampler=` is `order=`): of each program the checkpoint after 6 steps, the losses of 12 steps in
one go, and its network.
"""

import pathlib
import sys

import fastvae  # isort: skip  (before theano)
import numpy as np
import pymc3 as pm
import theano.tensor as tt

HALF, WHOLE = 6, 12
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8)


def vae(name):
    """The model of a program."""
    if name == "mlp":
        return fastvae.MLPVAE((1, 4, 4), hidden=8, likelihood=fastvae.likelihoods.Normal(learn_sd=True), seed=0)
    options = dict(likelihood="categorical", posterior="full-covariance", seed=0)
    return fastvae.ConvVAE((1, 4, 4), filters=2, hidden=4, kernels=(3, 1, 1), **options)


OPTIONS = {
    "mlp": dict(held_out=IMAGES[:10], held_out_every=3, patience=100, n_samples=2),
    "conv": dict(objective="iwae", n_samples=3, estimator="dreg", learning_rate=0.01),
}


def train(name, n, folder=None, resume=False):
    """Train the model of a program for n steps, those of a resumed run included; the model and the approximation."""
    if name == "users_model":
        return None, users_model(n, folder, resume)
    model = vae(name)
    where = dict(checkpoint=folder, resume=resume)
    options = dict(n=n, batch_size=10, seed=3, progressbar=False, **OPTIONS[name])
    return model, model.fit(IMAGES, **options, **where)


def users_model(n, folder=None, resume=False):
    """A user's own model: minibatches of every row once an epoch, and an optimizer of PyMC3's."""
    rows = np.random.default_rng(1).normal(2, 1, (50, 2)).astype("float32")
    x = tt.matrix("x", dtype="float32")
    x.tag.test_value = rows[:10]
    weights = fastvae.nn.Linear(2, 2, name="encoder", rng=0)
    with pm.Model():
        z = pm.Normal("z", 0, 1, shape=(10, 1), dtype="float32", total_size=50)
        pm.Normal("x_", z, 1, observed=x, total_size=50)
        encoded = weights(x)
        return fastvae.fit(
            n,
            {z: dict(mu=encoded[:, :1], rho=encoded[:, 1:])},
            random_seed=4,
            progressbar=False,
            obj_optimizer=pm.adagrad_window(learning_rate=0.01),
            more_obj_params=weights.get_params(),
            more_replacements={x: fastvae.Minibatch(rows, 10, seed=5, sampler="epochs")},
            checkpoint=folder,
            resume=resume,
        )


PROGRAMS = [*OPTIONS, "users_model"]


def write(folder):
    """Write what the tests read."""
    losses = {}
    for name in PROGRAMS:
        run = folder / name
        model, _ = train(name, HALF, run)
        for path in run.iterdir():
            if path.name != f"checkpoint-{HALF:08d}.ckpt":
                path.unlink()
        if model is not None:
            model.save(run / "vae.npz")
        _, approx = train(name, WHOLE)
        losses[name] = approx.hist
    np.savez(folder / "losses.npz", **losses)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
