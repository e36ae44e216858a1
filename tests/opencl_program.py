"""What `test_opencl` compares between two profiles, written to an .npz: losses, gradients, Adam steps, a training."""

import sys

import fastvae  # isort: skip
import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt

from fastvae.backends.abstract import AdamStep
from fastvae.elbo import vae_model
from fastvae.training.parts import Part
from tests.backends.gpu import toy_networks
from tests.cuda_device import without_host_code

SHAPES = [(), (1,), (3,), (2, 3), (4, 1), (5, 2, 3), (3, 4), (7,), (2, 2), (6,), (1, 5), (300, 7), (11,), (13,), (2, 9)]


def gradients():
    """The loss of a minibatch of the convolutional model and its gradient with respect to every parameter."""
    images = np.random.default_rng(0).random((20, 1, 8, 8)).astype("float32")
    vae = fastvae.ConvVAE((1, 8, 8), filters=3, hidden=8, seed=1)
    pm.set_tt_rng(3)
    model, local_rv, xs = vae_model(vae, 4, len(images))
    objective = pm.ADVI(local_rv=local_rv, model=model).objective
    loss = objective(None, more_replacements={xs: fastvae.Minibatch(images, 4, seed=1)})
    params = vae.get_params()
    values = theano.function([], [loss, *theano.grad(loss, params)])()
    return dict(zip(["loss", *(param.name for param in params)], values))


def adam_in_place():
    """Parameters after three steps, more of them than one launch takes; one gradient is a transposed matrix."""
    rng = np.random.default_rng(0)
    params = [theano.shared(rng.normal(size=shape).astype("float32"), name=f"p{i}") for i, shape in enumerate(SHAPES)]
    pulls = [theano.shared(rng.normal(size=shape).astype("float32")) for shape in SHAPES]
    loss = sum(tt.sum(param * pull) for param, pull in zip(params, pulls))
    across = theano.shared(rng.normal(size=(4, 3)).astype("float32"))
    loss += tt.sum(params[6].T * across)
    step = theano.function([], updates=fastvae.adam(loss, params, learning_rate=1e-2))
    for _ in range(3):
        step()
    return {param.name: param.get_value() for param in params}


def adam_beside():
    """New values that do not overwrite the old ones, and the old ones."""
    rng = np.random.default_rng(1)
    old = [theano.shared(rng.random((3, 5)).astype("float32")) for _ in range(4)]
    rate = theano.shared(np.float32([0.1]))[0]
    new = theano.function([], AdamStep()(rate, *old[:2], old[2], old[3], return_list=True))()
    values = [*new, *(variable.get_value() for variable in old)]
    return {f"{i}": np.asarray(value) for i, value in enumerate(values)}


def training():
    """50 iterations of the MLP on the middle of real images: the losses, and every gradient of the first step."""
    images = fastvae.datasets.load("fashion-mnist-sample")[:500, :, 10:18, 10:18]
    vae = fastvae.MLPVAE((1, 8, 8), hidden=8, seed=1)
    pulls = {param.name: theano.shared(np.zeros_like(param.get_value())) for param in vae.get_params()}

    def adam_that_shows_gradients(gradients, params):
        updates = fastvae.adam(gradients, params, learning_rate=1e-2)
        updates.update((pulls[param.name], gradient) for param, gradient in zip(params, gradients))
        return updates

    class AfterTheFirst(Part):
        gradients = {}
        needs_newest = True

        def due_in(self, done):
            return None if done else 1

        def after_step(self, run, step):
            if step.number == 1:
                self.gradients.update((name, pull.get_value()) for name, pull in pulls.items())

    options = dict(obj_optimizer=adam_that_shows_gradients, parts=[AfterTheFirst()], progressbar=False)
    hist = vae.fit(images, n=50, batch_size=4, seed=2, **options).hist
    return {"hist": hist, "loss": hist[0], **AfterTheFirst.gradients}


def network():
    """What two steps make of a user's network with batch normalisation, pooling and upsampling."""
    arrays = toy_networks.trained(*toy_networks.STEPS["pooled-bn"](), n_steps=2)
    return {f"{i}": value for i, value in enumerate(arrays)}


def main(path):
    without_host_code()
    report = {
        "ConvVAE": gradients(),
        "Adam in place": adam_in_place(),
        "Adam beside": adam_beside(),
        "MLPVAE": training(),
        "pooled-bn": network(),
    }
    flat = {f"{part}: {name}": value for part, values in report.items() for name, value in values.items()}
    np.savez(path, device=theano.config.device, **flat)


if __name__ == "__main__":
    main(sys.argv[1])
