"""A model's table of layers agrees with its own shapes and parameters."""

import numpy as np
import pytest
import theano

from fastvae import MLPVAE, VAE, ConvVAE, nn
from fastvae.models import summary


@pytest.mark.parametrize(
    "options", [{}, dict(normalization="batch", pooling="max"), dict(likelihood="discretized-logistic")]
)
def test_built_in_models_list_their_stages_and_all_their_parameters(options):
    vae = ConvVAE(filters=4, hidden=8, seed=0, **options)
    rows = summary.rows(vae)
    layers = [row for row in rows if row.kind]
    assert [(row.name, row.kind, row.output_shape) for row in layers] == vae.stages
    assert sum(row.n_parameters for row in rows) == sum(p.get_value().size for p in vae.get_params())


class Residual(VAE):
    """A user's model: a layer that is used twice, a layer of one's own, a parameter without one, no layer to end it."""

    class Doubled(nn.Layer):
        def __call__(self, x):
            return 2 * self.checked_input(x, ndim=2)

    def __init__(self):
        super().__init__(image_shape=(1, 3, 3), n_latent=2)
        self.into, self.twice = nn.Linear(9, 9, name="into"), nn.Linear(9, 4, name="twice")
        self.own, self.idle = self.Doubled("own"), nn.Dropout(0, name="idle")
        self.weight = theano.shared(np.zeros((2, 9), "float32"), name="weight")

    def encode(self, x):
        flat = x.flatten(2)
        latent = self.twice(self.idle(flat)) + self.twice(flat + self.own(self.into(flat)))
        return latent[:, :2], latent[:, 2:]

    def decode(self, z):
        return z.dot(self.weight).reshape((z.shape[0], 1, 3, 3))

    def get_params(self):
        return [*self.into.get_params(), *self.twice.get_params(), self.weight]


def test_a_users_model_lists_each_layer_once_and_what_is_outside_of_layers(capsys):
    vae = Residual()
    vae.summary()
    text = capsys.readouterr().out
    rows = {row.name: row[1:] for row in summary.rows(vae)}
    assert rows["into"] == ("Linear", (9,), 90) and rows["twice"] == ("Linear", (4,), 40)
    assert rows["own"] == ("Doubled", (9,), 0) and rows["weight"] == ("", None, 18)
    assert rows["idle"] == ("Dropout", (9,), 0)
    assert [line for line in text.splitlines() if line.startswith("total")][0].split() == ["total", "148"]


def test_running_statistics_are_counted_apart():
    vae = MLPVAE(image_shape=(1, 4, 4), hidden=8, normalization="batch")
    text = summary.text(vae)
    assert f"{summary.STATE}" in text and text.splitlines()[-1].endswith(" 32")


def test_a_notebook_gets_the_table_as_html():
    page = MLPVAE(image_shape=(1, 4, 4), hidden=8)._repr_html_()
    assert page.count("<tr>") == 8 and "<td" in page and "encoder.dense1" in page
