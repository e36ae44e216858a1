import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fastvae import plots
from fastvae.errors import ConfigurationError, DataError

RNG = np.random.default_rng(0)
GREY, COLOUR = RNG.random((7, 1, 5, 4)), RNG.random((7, 3, 5, 4))
STAGES = [
    ("images", "1 x 4 x 4", "observed"),
    ("Linear + ReLU", "9", "encoder"),
    ("mean, rho", "2 + 2", "encoder"),
    ("z", "2", "latent"),
    ("Linear + sigmoid", "16", "decoder"),
]


def flat_decoder(z):
    """Images of 2 x 3 pixels that are 0.5 + a tenth of the first latent, but for a corner that shows the second."""
    images = np.repeat(0.5 + 0.1 * z[:, :1, None, None], 6, axis=1).reshape(-1, 1, 2, 3)
    if z.shape[1] > 1:
        images[:, 0, 0, 0] = 0.5 + 0.1 * z[:, 1]
    return images


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.loss_curve(RNG.random(500), 10),
        lambda: plots.loss_curve([1.0], 10),
        lambda: plots.latent_grid(flat_decoder, 1),
        lambda: plots.latent_grid(flat_decoder, 2),
        lambda: plots.latent_grid(lambda z: np.zeros((len(z), 3, 2, 2), "float32"), 5, side=3),
        lambda: plots.latent_scatter(RNG.random((30, 2)), np.arange(30) % 10),
        lambda: plots.latent_scatter(RNG.random((30, 1)), np.arange(30)),
        lambda: plots.latent_scatter(RNG.random((30, 4))),
        lambda: plots.reconstructions(GREY, GREY[::-1]),
        lambda: plots.reconstructions(COLOUR[:1], COLOUR[:1]),
    ],
)
def test_every_picture_can_be_saved_without_pyplot(draw, monkeypatch):
    import matplotlib.pyplot

    monkeypatch.setattr(matplotlib.pyplot, "figure", lambda *args, **kwargs: pytest.fail("pyplot is used"))
    figure = draw()
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    figure.savefig(file)
    file.seek(0)
    pixels = imread(file)
    assert pixels.std() > 0.02 and not matplotlib.pyplot.get_fignums()


# loss_curve


def test_loss_curve_shows_the_elbo_of_one_image_and_its_running_mean():
    hist = RNG.normal(100, 5, 400)
    raw, mean = plots.loss_curve(hist, 20).axes[0].lines
    np.testing.assert_array_equal(raw.get_xdata(), np.arange(1, 401))
    np.testing.assert_allclose(raw.get_ydata(), -hist / 20)
    np.testing.assert_array_equal(mean.get_xdata(), np.arange(4, 401))
    np.testing.assert_allclose(mean.get_ydata(), [-hist[i : i + 4].mean() / 20 for i in range(397)])


def test_loss_curve_says_what_it_leaves_below_the_axis():
    steep = np.r_[5000.0, np.linspace(20, 10, 99)]
    axes = plots.loss_curve(steep, 1).axes[0]
    assert axes.get_ylim()[0] > -30 and [text.get_text() for text in axes.texts] == ["starts below the axis, at -5,000"]
    axes = plots.loss_curve(np.linspace(20, 10, 100), 1).axes[0]
    assert axes.get_ylim()[0] < -20 and not axes.texts


def test_loss_curve_leaves_a_gap_for_nan():
    hist = np.ones(300)
    hist[100] = np.nan
    raw, mean = plots.loss_curve(hist, 1).axes[0].lines
    assert np.isnan(raw.get_ydata()).sum() == 1 and np.isnan(mean.get_ydata()).sum() == 3


@pytest.mark.parametrize("hist", [[], [[1.0]], [np.nan, np.inf]])
def test_loss_curve_refuses_a_malformed_history(hist):
    with pytest.raises(DataError, match="hist: found shape .* but a loss history is"):
        plots.loss_curve(hist, 64)


# latent_grid


def test_latent_grid_decodes_the_square_with_latent_2_upwards():
    seen = []
    figure = plots.latent_grid(lambda z: (seen.append(z), flat_decoder(z))[1], 2)
    (z,) = seen
    assert z.shape == (256, 2) and z.dtype == np.float32
    (image,) = figure.axes[0].images
    tiles = image.get_array().reshape(16, 2, 16, 3)
    grid = np.linspace(-2, 2, 16)
    np.testing.assert_allclose(tiles[:, 1, :, 1], np.tile(0.5 + 0.1 * grid, (16, 1)), rtol=1e-6)
    np.testing.assert_allclose(tiles[:, 0, :, 0], np.tile(0.5 + 0.1 * grid[::-1], (16, 1)).T, rtol=1e-6)
    left, right, bottom, top = image.get_extent()
    assert left == bottom == -right == -top and (right - left) / 16 / 2 == pytest.approx(right - 2)


def test_latent_grid_of_one_latent_is_a_row():
    figure = plots.latent_grid(flat_decoder, 1, side=5, span=1.0)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[0, ::3], 0.5 + np.linspace(-0.1, 0.1, 5), rtol=1e-6)
    assert figure.axes[0].images[0].get_array().shape == (2, 15) and figure.axes[0].get_ylabel() == ""


def test_latent_grid_of_many_latents_sets_the_others_to_0():
    seen = []
    figure = plots.latent_grid(lambda z: (seen.append(z), flat_decoder(z))[1], 6, side=4)
    assert seen[0].shape == (16, 6) and not seen[0][:, 2:].any() and len(np.unique(seen[0][:, 1])) == 4
    assert figure.axes[0].get_title() == "latents 3 to 6 are 0"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n_latent": 0}, "n_latent=0 must be an integer of at least 1"),
        ({"n_latent": 2.0}, "n_latent=2.0 must be"),
        ({"n_latent": 2, "side": 1}, "side=1 must be an integer of at least 2"),
        ({"n_latent": 2, "span": 0}, "span=0 must be a finite number above 0"),
        ({"n_latent": 2, "span": np.inf}, "span=inf must be"),
        ({"n_latent": 2, "span": "2"}, "span='2' must be"),
    ],
)
def test_latent_grid_refuses_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        plots.latent_grid(flat_decoder, **arguments)


def test_latent_grid_refuses_what_is_no_image():
    with pytest.raises(DataError, match=r"decoded images: found shape \(256, 2\), 0 values not finite"):
        plots.latent_grid(lambda z: z, 2)
    with pytest.raises(DataError, match="decoded images: .* 256 values not finite"):
        plots.latent_grid(lambda z: np.full((256, 1, 1, 1), np.nan), 2)
    with pytest.raises(DataError, match="returned 1 images for 256 latents"):
        plots.latent_grid(lambda z: np.zeros((1, 1, 2, 2)), 2)


# latent_scatter


def test_latent_scatter_has_a_colour_and_a_legend_entry_for_each_label():
    means, labels = RNG.random((40, 2)), np.array([1, 1, 5, 9] * 10)
    figure = plots.latent_scatter(means, labels)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1", "5", "9"]
    for label, points in zip((1, 5, 9), figure.axes[0].collections):
        np.testing.assert_array_equal(points.get_offsets(), means[labels == label])
    assert len({tuple(points.get_facecolor()[0]) for points in figure.axes[0].collections}) == 3


def test_latent_scatter_of_many_latents_says_which_it_shows():
    means = RNG.random((20, 5))
    figure = plots.latent_scatter(means)
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_offsets(), means[:, :2])
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("latent 1 of 5", "latent 2 of 5")
    assert not figure.legends


def test_latent_scatter_of_one_latent_counts_every_image_once():
    figure = plots.latent_scatter(RNG.random((50, 1)), np.arange(50) % 3)
    heights = np.array([[bar.get_height() for bar in bars] for bars in figure.axes[0].containers])
    np.testing.assert_array_equal(heights.sum(axis=1), [17, 17, 16])


@pytest.mark.parametrize(
    "means, labels, message",
    [
        (np.zeros(3), None, r"means: found shape \(3,\)"),
        (np.zeros((0, 2)), None, r"means: found shape \(0, 2\)"),
        (np.array([[0, np.nan]]), None, "means: .* 1 values not finite"),
        (np.zeros((3, 2)), np.zeros(2, int), r"labels: found dtype int64 and shape \(2,\) for 3 latent means"),
        (np.zeros((3, 2)), np.zeros(3), "labels: found dtype float64"),
    ],
)
def test_latent_scatter_refuses(means, labels, message):
    with pytest.raises(DataError, match=message):
        plots.latent_scatter(means, labels)


# reconstructions


@pytest.mark.parametrize("images", [GREY, COLOUR])
def test_reconstructions_stand_to_the_right_of_their_originals(images):
    others = 1 - images
    canvas = plots.reconstructions(images, others).axes[0].images[0].get_array().data
    if images is GREY:
        canvas = canvas[..., None]
    gap, (height, width) = 1, images.shape[2:]
    for i, (x, y) in enumerate(zip(images, others)):
        top, left = i // 5 * (height + gap), i % 5 * (2 * width + 4 * gap)
        pair = canvas[top : top + height, left : left + 2 * width + gap]
        np.testing.assert_array_equal(pair[:, :width], x.transpose(1, 2, 0))
        np.testing.assert_array_equal(pair[:, width], 1)
        np.testing.assert_array_equal(pair[:, width + gap :], y.transpose(1, 2, 0))


def test_reconstructions_are_clipped_and_cut_to_40():
    images = np.full((50, 1, 3, 3), 1.5)
    axes = plots.reconstructions(images, -images).axes[0]
    assert axes.images[0].get_array().min() == 0 and axes.images[0].get_array().max() == 1
    assert axes.images[0].get_array().shape[0] == 8 * 4 - 1
    assert axes.get_title() == "original | reconstruction, the first 40 of 50 images"


def test_reconstructions_refuse():
    with pytest.raises(DataError, match=r"originals have shape \(7, 1, 5, 4\), but reconstructed \(7, 3, 5, 4\)"):
        plots.reconstructions(GREY, COLOUR)
    with pytest.raises(DataError, match="reconstructed: .* 140 values not finite"):
        plots.reconstructions(GREY, GREY * np.nan)
    with pytest.raises(DataError, match=r"originals: found shape \(7, 2, 5, 4\)"):
        plots.reconstructions(COLOUR[:, :2], COLOUR[:, :2])


def test_model_graph_is_one_of_the_pictures():
    texts = [text.get_text() for text in plots.model_graph(STAGES).axes[0].texts]
    assert all(name in texts and shape in texts for name, shape, _ in STAGES)


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.loss_curve(RNG.random(500), 10, ax=ax),
        lambda ax: plots.latent_grid(flat_decoder, 2, side=3, ax=ax),
        lambda ax: plots.latent_scatter(RNG.random((30, 2)), np.arange(30) % 10, ax=ax),
        lambda ax: plots.reconstructions(GREY, GREY[::-1], ax=ax),
        lambda ax: plots.model_graph(STAGES, ax=ax),
    ],
)
def test_a_picture_on_axes_of_a_users_figure(draw):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw(right) is figure and figure.axes == [left, right]
    assert right.has_data() and not left.has_data() and not figure.legends
    figure.savefig(io.BytesIO())


def test_axes_in_a_subfigure():
    figure = Figure()
    assert plots.loss_curve([1.0, 0.5], 1, ax=figure.subfigures(1, 2)[0].subplots()) is figure


def test_axes_that_are_none():
    polar = Figure().add_subplot(projection="polar")
    for ax in (3, Figure().subplots(1, 2), polar):
        with pytest.raises(ConfigurationError, match=r"loss_curve: ax=.* must be None or one rectilinear matplotlib"):
            plots.loss_curve([1.0], 1, ax=ax)


def test_a_notebook_gets_a_picture_as_png():
    assert plots.loss_curve([1.0, 0.5], 1)._repr_png_().startswith(b"\x89PNG")
