"""ConvVAE and MLPVAE with normalisation, pooling and another activation."""

import itertools

import numpy as np
import pytest

import fastvae
from fastvae import models, nn
from fastvae.errors import ConfigurationError

SMALL = dict(image_shape=(1, 8, 8), filters=3, hidden=6, seed=0)


def kinds(vae):
    return [stage.kind for stage in vae.stages]


def test_without_them_nothing_is_new():
    """A file or checkpoint of an older version has a configuration without the new names."""
    for vae in (fastvae.ConvVAE(**SMALL), fastvae.MLPVAE(seed=0)):
        assert not {"normalization", "pooling"} & vae.config.keys()
        assert not any(isinstance(layer, nn.BatchNorm) for layer in [*vae.encoder, *vae.decoder])
        assert vae.get_state() == []
    assert "activation" not in fastvae.ConvVAE(**SMALL).config
    assert fastvae.ConvVAE(**SMALL).config["strides"] == [(1, 1)] * 3


def test_batch_normalisation_comes_before_every_activation_in_the_place_of_the_bias():
    vae = fastvae.ConvVAE(**SMALL, normalization="batch")
    layers = [*vae.encoder, *vae.decoder]
    for layer, following in zip(layers, [*layers[1:], None]):
        if isinstance(following, nn.BatchNorm):
            assert layer.bias is None and layer.activation is nn.identity and following.activation is nn.relu
            assert following.n == layer.n_out and following.name == f"{layer.name}.norm"
        elif layer.get_params() and not isinstance(layer, nn.BatchNorm):  # the last of each half
            assert layer.name in ("encoder.dense2", "decoder.conv_transpose3") and layer.bias is not None
    assert kinds(vae).count("BatchNorm") == 3 + 1 + 2 + 2 and len(vae.get_state()) == 16
    mlp = fastvae.MLPVAE((1, 4, 4), hidden=(6, 5), normalization="batch", activation="tanh")
    assert kinds(mlp) == ["Flatten", *["Linear", "BatchNorm"] * 2, "Linear"] + [
        *["Linear", "BatchNorm"] * 2, "Linear", "Reshape",
    ]  # fmt: skip
    assert mlp.encoder[2].activation is nn.tanh
    weights = [
        [p.get_value() for p in v.get_params() if p.name.endswith("weight")] for v in (vae, fastvae.ConvVAE(**SMALL))
    ]
    assert all(map(np.array_equal, *weights))  # of one seed, whatever follows


@pytest.mark.parametrize("pooling, kind", [("max", "MaxPool2D"), ("average", "AveragePool2D")])
def test_pooling_takes_the_place_of_strides_and_upsampling_undoes_it(pooling, kind):
    vae = fastvae.ConvVAE(**SMALL, pooling=pooling)
    shapes = {stage.name: stage.output_shape for stage in vae.stages}
    assert shapes["encoder.pool1"] == (3, 4, 4) and shapes["encoder.pool3"] == (3, 2, 2)
    assert "encoder.pool2" not in shapes and shapes["decoder.upsample3"] == (3, 8, 8)
    assert kinds(vae)[:2] == ["Conv2D", kind] and shapes["decoder.conv_transpose3"] == (1, 8, 8)
    assert all(layer.stride == (1, 1) for layer in vae.encoder if isinstance(layer, nn.Conv2D))
    other = fastvae.ConvVAE((3, 12, 8), 2, 3, 6, kernels=3, strides=(1, (3, 2), 2), padding="same", pooling=pooling)
    assert [s.output_shape for s in other.stages if "pool" in s.name] == [(3, 4, 4), (3, 2, 2)]


def test_every_choice_is_saved_and_built_again(tmp_path):
    choices = itertools.product([None, *models.NORMALIZATIONS], [None, *models.POOLINGS])
    for place, (activation, (normalization, pooling)) in enumerate(zip(nn.ACTIVATIONS, itertools.cycle(choices))):
        vae = fastvae.ConvVAE(**SMALL, normalization=normalization, pooling=pooling, activation=activation)
        for i, variable in enumerate([*vae.get_params(), *vae.get_state()]):
            variable.set_value(variable.get_value() + np.float32(i + 1))
        vae.save(tmp_path / f"{place}.npz")
        again = fastvae.load(tmp_path / f"{place}.npz")
        assert again.stages == vae.stages and again.config == vae.config
        for a, b in zip([*vae.get_params(), *vae.get_state()], [*again.get_params(), *again.get_state()], strict=True):
            assert a.name == b.name and np.array_equal(a.get_value(), b.get_value())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(normalization="layer"), "normalization='layer' must be None or one of 'batch'"),
        (dict(pooling="min"), "pooling='min' must be None or one of 'max', 'average'"),
        (dict(activation="sinus"), "activation='sinus' must be one of "),
        (
            dict(pooling="max", strides=1),
            r"pooling='max' takes the place of strides, and all are 1: give .*\(2, 1, 2\)",
        ),
        (
            dict(pooling="max", image_shape=(1, 7, 7)),
            r"takes back to .*\(size \+ 2 padding - kernel \+ 1\) is a multiple",
        ),
        (dict(pooling="max", image_shape=(1, 2, 2)), "smaller than the window"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        fastvae.ConvVAE(**{**SMALL, **arguments})


def test_a_step_trains_all_parameters_and_updates_all_statistics():
    vae = fastvae.ConvVAE(**SMALL, normalization="batch", pooling="average", activation="tanh")
    everything = [*vae.get_params(), *vae.get_state()]
    before = [variable.get_value() for variable in everything]
    images = np.random.default_rng(0).random((20, 1, 8, 8))
    vae.fit(images, n=1, batch_size=5, seed=1, progressbar=False)
    changed = [(a != variable.get_value()).any() for a, variable in zip(before, everything)]
    assert all(changed), [v.name for v, c in zip(everything, changed) if not c]
    np.testing.assert_allclose(vae.reconstruct(images[:1]), vae.reconstruct(images)[:1], rtol=1e-5)
