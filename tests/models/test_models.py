import numpy as np
import pytest
import scipy.signal
import theano
import theano.tensor as tt

import fastvae
from fastvae import nn
from fastvae.elbo.rowwise import first_mixing
from fastvae.errors import ConfigurationError, DataError
from fastvae.likelihoods import Likelihood
from fastvae.models import persistence
from tests.on_devices import on_every_device

CONV_STAGES = [
    ("encoder.conv1", "Conv2D", (64, 26, 26)),
    ("encoder.conv2", "Conv2D", (64, 26, 26)),
    ("encoder.conv3", "Conv2D", (64, 24, 24)),
    ("encoder.flatten", "Flatten", (36864,)),
    ("encoder.dense1", "Linear", (128,)),
    ("encoder.dense2", "Linear", (4,)),
    ("decoder.dense1", "Linear", (128,)),
    ("decoder.dense2", "Linear", (36864,)),
    ("decoder.reshape", "Reshape", (64, 24, 24)),
    ("decoder.conv_transpose1", "ConvTranspose2D", (64, 26, 26)),
    ("decoder.conv_transpose2", "ConvTranspose2D", (64, 26, 26)),
    ("decoder.conv_transpose3", "ConvTranspose2D", (1, 28, 28)),
]
CONV_PARAMS = {
    "encoder.conv1": [(64, 1, 3, 3), (64,)],
    "encoder.conv2": [(64, 64, 1, 1), (64,)],
    "encoder.conv3": [(64, 64, 3, 3), (64,)],
    "encoder.dense1": [(36864, 128), (128,)],
    "encoder.dense2": [(128, 4), (4,)],
    "decoder.dense1": [(2, 128), (128,)],
    "decoder.dense2": [(128, 36864), (36864,)],
    "decoder.conv_transpose1": [(64, 64, 3, 3), (64,)],
    "decoder.conv_transpose2": [(64, 64, 1, 1), (64,)],
    "decoder.conv_transpose3": [(64, 1, 3, 3), (1,)],
}
MLP_STAGES = [
    ("encoder.flatten", "Flatten", (784,)),
    ("encoder.dense1", "Linear", (128,)),
    ("encoder.dense2", "Linear", (4,)),
    ("decoder.dense1", "Linear", (128,)),
    ("decoder.dense2", "Linear", (784,)),
    ("decoder.reshape", "Reshape", (1, 28, 28)),
]
MLP_PARAMS = {
    "encoder.dense1": [(784, 128), (128,)],
    "encoder.dense2": [(128, 4), (4,)],
    "decoder.dense1": [(2, 128), (128,)],
    "decoder.dense2": [(128, 784), (784,)],
}


def values(vae):
    return {p.name: p.get_value() for p in vae.get_params()}


def half_functions(vae):
    """Both halves, compiled: images -> (mean, rho), latents -> images, and the outputs of every layer."""
    x, z = tt.tensor4("x", dtype="float32"), tt.matrix("z", dtype="float32")
    outputs = []
    for layers, y in ((vae.encoder, x), (vae.decoder, z)):
        for layer in layers:
            outputs.append(y := layer(y))
    return theano.function([x, z], [*vae.encode(x), vae.decode(z)]), theano.function([x, z], outputs)


def correlate(maps, weight):
    return np.array([[sum(map(scipy.signal.correlate, m, k, ["valid"] * len(k))) for k in weight] for m in maps])


def convolve_full(maps, weight):
    return np.array([[sum(map(scipy.signal.convolve, m, k)) for k in weight.swapaxes(0, 1)] for m in maps])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def with_random_biases(vae, seed=0):
    rng = np.random.default_rng(seed)
    for p in vae.get_params():
        if p.ndim == 1:
            p.set_value(0.1 * rng.standard_normal(p.get_value().shape, dtype=np.float32))
    return vae


@pytest.mark.parametrize(
    "model, stages, params, n_params",
    [(fastvae.ConvVAE, CONV_STAGES, CONV_PARAMS, 9_558_469), (fastvae.MLPVAE, MLP_STAGES, MLP_PARAMS, 202_516)],
)
def test_the_default_models_are_the_documented_ones(model, stages, params, n_params):
    vae = model()
    assert [tuple(stage) for stage in vae.stages] == stages
    shapes = {name: value.shape for name, value in values(vae).items()}
    assert list(shapes) == [f"{layer}.{role}" for layer in params for role in ("weight", "bias")]
    assert list(shapes.values()) == [shape for layer in params.values() for shape in layer]
    assert sum(value.size for value in values(vae).values()) == n_params
    assert all(value.dtype == np.float32 for value in values(vae).values())


@pytest.mark.parametrize("model", [fastvae.ConvVAE, fastvae.MLPVAE])
def test_relu_follows_every_layer_but_the_last_of_each_half(model):
    vae = model(image_shape=(1, 5, 5), hidden=2, **({"filters": 1} if model is fastvae.ConvVAE else {}))
    for half, last in ((vae.encoder, nn.identity), (vae.decoder, nn.sigmoid)):
        activations = [layer.activation for layer in half if layer.get_params()]
        assert activations[-1] is last and set(activations[:-1]) == {nn.relu}


def test_mlp_matches_numpy():
    vae = with_random_biases(fastvae.MLPVAE(image_shape=(3, 4, 5), n_latent=3, hidden=7, seed=1))
    w1, b1, w2, b2, w3, b3, w4, b4 = (v.astype(float) for v in values(vae).values())
    rng = np.random.default_rng(2)
    x, z = rng.random((6, 3, 4, 5), dtype=np.float32), rng.standard_normal((6, 3), dtype=np.float32)
    mean, rho, decoded = half_functions(vae)[0](x, z)
    latent = relu(x.reshape(6, 60) @ w1 + b1) @ w2 + b2
    np.testing.assert_allclose(np.hstack([mean, rho]), latent, rtol=1e-4, atol=1e-5)
    expected = sigmoid(relu(z @ w3 + b3) @ w4 + b4).reshape(6, 3, 4, 5)
    np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def small_conv():
    vae = with_random_biases(fastvae.ConvVAE(image_shape=(3, 9, 8), n_latent=3, filters=4, hidden=5, seed=3))
    return vae, *half_functions(vae)


def test_conv_matches_scipy(small_conv):
    vae, halves, _ = small_conv
    v = {name: value.astype(float) for name, value in values(vae).items()}
    rng = np.random.default_rng(2)
    x, z = rng.random((2, 3, 9, 8), dtype=np.float32), rng.standard_normal((2, 3), dtype=np.float32)
    mean, rho, decoded = halves(x, z)

    y = x.astype(float)
    for name in ("encoder.conv1", "encoder.conv2", "encoder.conv3"):
        y = relu(correlate(y, v[f"{name}.weight"]) + v[f"{name}.bias"][:, None, None])
    y = relu(y.reshape(2, -1) @ v["encoder.dense1.weight"] + v["encoder.dense1.bias"])
    latent = y @ v["encoder.dense2.weight"] + v["encoder.dense2.bias"]
    np.testing.assert_allclose(np.hstack([mean, rho]), latent, rtol=1e-4, atol=1e-5)

    y = z.astype(float)
    for name in ("decoder.dense1", "decoder.dense2"):
        y = relu(y @ v[f"{name}.weight"] + v[f"{name}.bias"])
    y = y.reshape(2, 4, 5, 4)
    for name, activation in (("1", relu), ("2", relu), ("3", sigmoid)):
        layer = f"decoder.conv_transpose{name}"
        y = activation(convolve_full(y, v[f"{layer}.weight"]) + v[f"{layer}.bias"][:, None, None])
    np.testing.assert_allclose(decoded, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_stage_has_the_stated_shape(small_conv, batch):
    vae, _, layers = small_conv
    outputs = layers(np.zeros((batch, 3, 9, 8), "float32"), np.zeros((batch, 3), "float32"))
    assert [(batch, *stage.output_shape) for stage in vae.stages] == [output.shape for output in outputs]


def test_expressions_hold_no_float64(small_conv):
    _, halves, _ = small_conv
    assert "float64" not in {getattr(v.type, "dtype", None) for v in halves.maker.fgraph.variables}


@pytest.mark.parametrize(
    "arguments",
    [
        dict(image_shape=(1, 25, 17), strides=2, padding="same"),
        dict(image_shape=(3, 17, 9), strides=(2, 1), padding=(1, 0, 1)),
        dict(image_shape=(1, 11, 11), strides=(2, (1, 1), (2, 2)), padding=["valid", 0, (1, 1)]),
        dict(image_shape=(3, 64, 64), kernels=(4, 1, 4), strides=(2, 1, 2), padding=(1, 0, 1)),
        dict(image_shape=(3, 22, 24), kernels=4, strides=(2, 1, 1)),
        dict(image_shape=(1, 9, 8), kernels=((2, 3), 1, [3, 1]), padding="valid"),
    ],
    ids=str,
)
def test_kernels_strides_and_padding_round_trip(arguments):
    vae = fastvae.ConvVAE(filters=2, hidden=3, **arguments)
    shape = arguments["image_shape"]
    assert vae.reconstruct(np.zeros((2, *shape), "float32")).shape == (2, *shape)
    for argument in ("kernel", "stride", "padding"):
        halves = vae.encoder[:3], vae.decoder[:2:-1]
        encoder, decoder = ([getattr(layer, argument) for layer in half] for half in halves)
        assert encoder == decoder


def test_kernels_are_one_for_all_or_one_each():
    def kernels(**arguments):
        vae = fastvae.ConvVAE(image_shape=(1, 12, 12), filters=2, hidden=3, **arguments)
        return [layer.kernel for layer in vae.encoder[:3]]

    assert kernels() == [(3, 3), (1, 1), (3, 3)]
    assert kernels(kernels=2) == [(2, 2)] * 3
    assert kernels(kernels=(2, 3)) == [(2, 3)] * 3
    assert kernels(kernels=(4, (1, 2), 3)) == [(4, 4), (1, 2), (3, 3)]


def test_collect_params_finds_what_get_params_names():
    for vae in (fastvae.ConvVAE(image_shape=(1, 6, 6), filters=2, hidden=3), fastvae.MLPVAE(image_shape=(1, 2, 2))):
        x, z = tt.tensor4("x", dtype="float32"), tt.matrix("z", dtype="float32")
        assert fastvae.collect_params([*vae.encode(x), vae.decode(z)]) == vae.get_params()


@pytest.mark.parametrize("model", [fastvae.ConvVAE, fastvae.MLPVAE])
def test_a_seed_repeats_the_initial_parameters_bit_for_bit(model):
    def initial(seed):
        return {name: value.tobytes() for name, value in values(model(image_shape=(1, 6, 6), seed=seed)).items()}

    assert initial(0) == initial(0) != initial(1)
    assert initial(None) != initial(None)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(image_shape=(2, 28, 28)),
        dict(image_shape=(28, 28)),
        dict(image_shape=(1, 28, 0)),
        dict(n_latent=0),
        dict(n_latent=2.0),
        dict(filters=0),
        dict(hidden=-1),
        dict(hidden="128"),
        dict(kernels=0),
        dict(kernels=(3, 1, 3, 1)),
        dict(kernels=(3, "1", 3)),
        dict(strides=0),
        dict(strides=(1, 2, 3, 4)),
        dict(strides=(1, 1, 1.5)),
        dict(padding=1),
        dict(padding="full"),
        dict(padding=()),
        dict(seed=-1),
    ],
    ids=str,
)
def test_arguments_are_checked(arguments):
    small = dict(image_shape=(1, 8, 8), filters=2, hidden=2)
    (name,) = arguments
    name = f"{name}?" if name in ("kernels", "strides") else name
    with pytest.raises(ConfigurationError, match=rf"^(ConvVAE|Conv2D 'encoder.conv\d'): {name}=[^\n]*$"):
        fastvae.ConvVAE(**{**small, **arguments})
    if name in ("image_shape", "n_latent", "hidden", "seed"):
        with pytest.raises(ConfigurationError, match=f"MLPVAE: {name}="):
            fastvae.MLPVAE(**{"image_shape": (1, 8, 8), **arguments})


def test_strides_that_leave_a_remainder_are_refused_with_the_shapes():
    with pytest.raises(ConfigurationError) as refused:
        fastvae.ConvVAE(image_shape=(1, 28, 28), strides=(2, 1, 1), filters=4, hidden=8)
    message = str(refused.value)
    assert "kernels=(3, 1, 3), strides=(2, 1, 1) and padding=0" in message
    assert "images of shape (1, 28, 28) become feature maps (4, 11, 11)" in message
    assert "takes back to (1, 27, 27)" in message


def test_images_that_vanish_are_refused_with_the_shapes():
    with pytest.raises(ConfigurationError, match=r"Conv2D 'encoder.conv3': the input shape \(64, 2, 26\) .* smaller"):
        fastvae.ConvVAE(image_shape=(1, 4, 28))


@on_every_device
@pytest.mark.parametrize(
    "vae",
    [
        fastvae.MLPVAE(image_shape=(3, 4, 5), n_latent=3, hidden=6),
        fastvae.ConvVAE(
            (1, 9, 7), 1, filters=3, hidden=4, kernels=(5, 1, np.int64(3)), strides=(1, np.int64(2), 1), padding="same"
        ),
    ],
    ids=["mlp", "conv"],
)
def test_save_and_load_round_trip_bit_for_bit(vae, tmp_path):
    vae.save(tmp_path / "vae.npz")
    again = fastvae.load(str(tmp_path / "vae.npz"))
    assert type(again) is type(vae) and again.stages == vae.stages and again.config == vae.config
    for (name, value), (name_again, value_again) in zip(values(vae).items(), values(again).items(), strict=True):
        assert name == name_again and value.dtype == value_again.dtype and value.tobytes() == value_again.tobytes()


def test_a_file_from_before_the_kernels_had_an_argument_loads(tmp_path):
    vae = fastvae.ConvVAE(image_shape=(1, 6, 6), filters=2, hidden=3)
    config = {name: value for name, value in vae.config.items() if name != "kernels"}
    persistence.write(tmp_path / "vae.npz", "fastvae.models.ConvVAE", config, list(values(vae).items()))
    assert fastvae.load(tmp_path / "vae.npz").config == vae.config


@pytest.mark.parametrize(
    "config, message",
    [
        ({"image_shape": [1, 4, 5], "hidden": -2}, "its model cannot be built .*hidden=-2"),
        ({"colour": "red"}, "its model cannot be built .*colour"),
        ({"image_shape": [1, 4, 5], "hidden": 10**9}, "more parameters than it holds, one of shape .20, 1000000000."),
        ({"image_shape": [1, 10**4, 10**4], "hidden": 7}, "more parameters than it holds"),
        ({"image_shape": [1, 4, 5], "hidden": [10**6, 10**6]}, "more parameters than it holds"),
        ({"image_shape": [1, 4, 5], "hidden": 7}, r"parameter 0 \(encoder.dense1.weight\) is float32 \(20, 6\)"),
    ],
)
def test_load_refuses_a_file_whose_parts_do_not_fit(config, message, tmp_path):
    vae = fastvae.MLPVAE(image_shape=(1, 4, 5), hidden=6)
    persistence.write(tmp_path / "vae.npz", "fastvae.models.MLPVAE", config, list(values(vae).items()))
    with pytest.raises(DataError, match=message):
        fastvae.load(tmp_path / "vae.npz")


def test_load_refuses_missing_and_extra_parameters(tmp_path):
    vae = fastvae.MLPVAE(image_shape=(1, 4, 5), hidden=6)
    params = list(values(vae).items())
    for changed, message in [
        (params[:-1], r"lacks parameters \['7 \(decoder.dense2.bias\)'\] and has unknown ones \[\]"),
        (params + params[:1], r"lacks parameters \[\] and has unknown ones \['8 \(encoder.dense1.weight\)'\]"),
    ]:
        persistence.write(tmp_path / "vae.npz", "fastvae.models.MLPVAE", vae.config, changed)
        with pytest.raises(DataError, match=message):
            fastvae.load(tmp_path / "vae.npz")


class PairsOfRows(Likelihood):
    """A Normal with a full covariance for each pair of rows, a column at a time: five outputs a pair."""

    name, discrete = "pairs-of-rows", False

    def output_shape(self, image_shape):
        channels, rows, columns = image_shape
        return 5 * channels, rows // 2, columns

    def parts(self, output):
        return [output[:, i::5] for i in range(5)]

    def mean(self, output):
        upper, lower, *_ = self.parts(output)
        n, channels, rows, columns = (upper.shape[i] for i in range(4))
        return tt.stack([upper, lower], axis=3).reshape((n, channels, 2 * rows, columns))

    def log_prob(self, x, output):
        upper, lower, a, b, c = self.parts(output)
        first = (x[:, :, ::2] - upper) * tt.exp(-a)
        second = (x[:, :, 1::2] - lower - b * first) * tt.exp(-c)
        nats = -(first**2 + second**2) * np.float32(0.5) - a - c - np.float32(np.log(2 * np.pi))
        return nats.sum(axis=(1, 2, 3))


@on_every_device
@pytest.mark.parametrize("options", [dict(), dict(kl="analytic", n_samples=2), dict(objective="iwae", n_samples=2)])
@pytest.mark.parametrize("model", [fastvae.MLPVAE, fastvae.ConvVAE])
def test_a_decoder_of_correlated_pixels(model, options):
    sizes = dict(filters=2) if model is fastvae.ConvVAE else dict()
    vae = model((3, 6, 5), hidden=3, likelihood=PairsOfRows(), seed=1, **sizes)
    assert vae.stages[-1].output_shape == (15, 3, 5)
    x, z = tt.tensor4("x", dtype="float32"), tt.matrix("z", dtype="float32")
    assert first_mixing([vae.likelihood.log_prob(x, vae.decode_output(z))], [x, z]) is None
    images = np.random.default_rng(0).random((8, 3, 6, 5), dtype=np.float32)
    losses = vae.fit(images, n=60, batch_size=8, learning_rate=0.05, seed=1, progressbar=False, **options).hist
    assert losses[-1] < losses[0] and vae.reconstruct(images).shape == images.shape


def test_images_that_are_no_whole_number_of_blocks_are_refused():
    with pytest.raises(
        ConfigurationError, match=r"ConvVAE: the likelihood PairsOfRows\(\) takes 3 x 7 outputs for images"
    ):
        fastvae.ConvVAE((1, 7, 7), likelihood=PairsOfRows())


@pytest.mark.parametrize("shape", [(35,), None, 3, (1, 0, 5), (1.0, 3, 5), np.array([1, 2])])
@pytest.mark.parametrize("cls", [fastvae.ConvVAE, fastvae.MLPVAE])
def test_an_output_shape_that_is_none_is_refused(cls, shape):
    class Odd(Likelihood):
        def output_shape(self, image_shape):
            return shape

    message = rf"^{cls.__name__}: the likelihood Odd\(\): output_shape\(\(1, 9, 9\)\)=.* must be \(channels, rows, col"
    with pytest.raises(ConfigurationError, match=message):
        cls(image_shape=(1, 9, 9), likelihood=Odd())


def test_an_output_shape_may_be_an_array():
    class Double(Likelihood):
        def output_shape(self, image_shape):
            return np.array(image_shape) * (2, 1, 1)

    assert fastvae.MLPVAE(image_shape=(1, 2, 2), likelihood=Double()).stages[-1].output_shape == (2, 2, 2)
