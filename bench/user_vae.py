"""A user's convolutional VAE, written as in the blog post: Theano layers of its own, NCHW, and a `pm.Model`.

One text, run in three ways by `bench/measure.py`: by stock `pm.fit`, by `fastvae.fit`, and by stock `pm.fit` after
`import fastvae`. Nothing in it knows fastvae.
"""

import pymc3 as pm
import theano
import theano.tensor as tt
from theano.tensor.nnet.abstract_conv import conv2d_grad_wrt_inputs

N_LATENT = 2


class UserVAE:
    """Three convolutions and two dense layers, and the way back; ReLU, sigmoid at the end."""

    def __init__(self, weights):
        self.params = [theano.shared(weight) for weight in weights]
        self.layers = list(zip(self.params[0::2], self.params[1::2]))

    def encode(self, x):
        for weight, bias in self.layers[:3]:
            x = tt.nnet.relu(tt.nnet.conv2d(x, weight) + bias.dimshuffle("x", 0, "x", "x"))
        (weight, bias), (last_weight, last_bias) = self.layers[3:5]
        x = tt.nnet.relu(tt.dot(x.flatten(2), weight) + bias)
        x = tt.dot(x, last_weight) + last_bias
        return x[:, :N_LATENT], x[:, N_LATENT:]

    def decode(self, z):
        for weight, bias in self.layers[5:7]:
            z = tt.nnet.relu(tt.dot(z, weight) + bias)
        filters = self.layers[7][0].get_value(borrow=True).shape[0]
        x = z.reshape((z.shape[0], filters, 24, 24))
        for (weight, bias), size in zip(self.layers[7:], (26, 26, 28)):
            shape = (None, weight.get_value(borrow=True).shape[1], size, size)
            x = conv2d_grad_wrt_inputs(x, weight, shape) + bias.dimshuffle("x", 0, "x", "x")
            x = tt.nnet.sigmoid(x) if size == 28 else tt.nnet.relu(x)
        return x

    def get_params(self):
        return self.params


def train(images, weights, n_batch=64, fit=pm.fit):
    """Fit to images, float32 (N, 1, 28, 28), and return what `fit` does."""
    vae = UserVAE(weights)
    xs = tt.tensor4("xs")
    xs.tag.test_value = images[:n_batch]
    with pm.Model():
        zs = pm.Normal("zs", mu=0, sd=1, shape=(n_batch, N_LATENT), total_size=len(images))
        pm.Normal("xs_", mu=vae.decode(zs), sd=0.1, observed=xs, total_size=len(images))
        mean, rho = vae.encode(xs)
        return fit(
            10_000,
            local_rv={zs: dict(mu=mean, rho=rho)},
            obj_optimizer=pm.adam(learning_rate=1e-4),
            more_obj_params=vae.get_params(),
            more_replacements={xs: pm.Minibatch(images, n_batch)},
        )
