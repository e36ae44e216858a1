"""Pictures of a trained VAE. Each function draws numpy arrays and returns a matplotlib Figure, without showing it.

=================  ===========================================================================
`loss_curve`       the ELBO per image over the iterations
`latent_grid`      images decoded from a grid over the latent plane
`latent_scatter`   latent means of images, coloured by label
`reconstructions`  images with their reconstructions beside them
`model_graph`      encoder, latent, decoder and observed images, with the shapes between them
=================  ===========================================================================

Figures are built without pyplot, so there is no display, no window and no global state; a notebook shows what a
function returns. With ``ax=`` a function draws on axes of yours, and returns their figure.

>>> figure = loss_curve([640.0, 320.0, 160.0], batch_size=64)  # approx.hist
>>> figure.savefig("loss.png")  # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastvae import kinds
from fastvae.errors import DataError
from fastvae.plots.model_graph import AXES, figure_of, model_graph  # noqa: F401, one of the pictures

_BLUE = "#1f5fa8"
_MAX_PAIRS = 40


@kinds.checked(hist=kinds.anything, batch_size=kinds.size, ax=AXES)
def loss_curve(hist: Any, batch_size: int, *, ax: Axes | None = None) -> Figure:
    """Draw the ELBO per image over the iterations: every value in a faint colour, and their running mean.

    Parameters
    ----------
    hist : array_like
        (n,) losses of a minibatch, as in ``approx.hist``: the negative ELBO, in nats.
    batch_size : int
        Images in a minibatch.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        The running mean is that of the last n / 100 values, but of 1,000 at most. If the start of the run would flatten
        the rest, the axis leaves it out, and the picture says so.

    Raises
    ------
    DataError
        If `hist` is not (n,), empty, or has no finite value.
    ConfigurationError
        If `batch_size` is not a positive int.

    Examples
    --------
    >>> loss_curve([640.0, 320.0, 160.0], batch_size=64).axes[0].get_ylabel()
    'ELBO per image (nats)'
    """
    hist = _numbers(hist, "hist").astype(np.float64)
    if hist.ndim != 1 or not np.isfinite(hist).any():
        raise DataError(
            f"hist: found shape {hist.shape} with {np.isfinite(hist).sum()} finite values, but a loss history is (n,) "
            "with at least one finite value"
        )
    elbo = -hist / batch_size
    iterations = np.arange(1, len(elbo) + 1)
    window = min(len(elbo) // 100, 1000)

    figure, axes = figure_of(ax, 7, 4)
    if window < 2:
        axes.plot(iterations, elbo, color=_BLUE, marker=".", label="each minibatch")
    else:
        mean = np.convolve(elbo, np.full(window, 1 / window), mode="valid")
        axes.plot(iterations, elbo, color=_BLUE, alpha=0.25, linewidth=0.6, label="each minibatch")
        axes.plot(iterations[window - 1 :], mean, color=_BLUE, linewidth=1.6, label=f"mean of the last {window}")
    _leave_out_the_start(axes, elbo)
    axes.set(xlabel="iteration", ylabel="ELBO per image (nats)", xlim=(0, len(elbo) + 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:,.5g}")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    return figure


def _leave_out_the_start(axes: Any, elbo: np.ndarray) -> None:
    """Fit the axis to all values but the first tenth, if that begins so low that it would flatten the rest."""
    later = elbo[len(elbo) // 10 :]
    later = later[np.isfinite(later)]
    first = elbo[np.isfinite(elbo)][0]
    if later.size and np.ptp(later) > 0 and first < later.min() - 2 * np.ptp(later):
        axes.set_ylim(later.min() - 0.3 * np.ptp(later), later.max() + 0.1 * np.ptp(later))
        axes.text(0.02, 0.95, f"starts below the axis, at {first:,.0f}", transform=axes.transAxes, fontsize=8)


@kinds.checked(
    decode_mean=kinds.function("a function from latents to images, such as vae.decode_mean"),
    n_latent=kinds.size,
    side=kinds.integer(2, 1000),
    span=kinds.number(above=0, like=2.0),
    ax=AXES,
)
def latent_grid(
    decode_mean: Callable[[Any], Any], n_latent: int, side: int = 16, span: float = 2.0, *, ax: Axes | None = None
) -> Figure:
    """Draw images decoded from a regular grid over [-span, span]^2 of the latent space.

    Parameters
    ----------
    decode_mean : callable
        From latents, float32 (M, n_latent), to images (M, C, H, W) in [0, 1], such as a VAE's ``decode_mean``.
    n_latent : int
        Size of the latent. With 1 the grid is a row; with more than 2 all coordinates but the first two are 0.
    side : int
        Number of images along an axis, from 2 to 1,000.
    span : float
        Half the width of the grid, in standard deviations of the prior.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        The first latent runs to the right, the second upwards.

    Raises
    ------
    ConfigurationError
        If `n_latent` is not a positive int, `side` not an int from 2 to 1,000, or `span` not a positive number.
    DataError
        If what `decode_mean` returns is not M finite images.

    Examples
    --------
    >>> figure = latent_grid(lambda z: np.zeros((len(z), 1, 4, 4)), n_latent=2, side=3)
    >>> figure.axes[0].get_xlabel()
    'latent 1'
    """
    rows = side if n_latent > 1 else 1
    values = np.linspace(-span, span, side, dtype=np.float32)
    latents = np.zeros((rows, side, n_latent), dtype=np.float32)
    latents[..., 0] = values
    if n_latent > 1:
        latents[..., 1] = values[::-1, np.newaxis]
    images = _pixels(decode_mean(latents.reshape(-1, n_latent)), "decoded images")
    if len(images) != rows * side:
        raise DataError(
            f"decode_mean returned {len(images)} images for {rows * side} latents: it must return one for each"
        )

    height, width = images.shape[1:3]
    tiles = images.reshape(rows, side, height, width, -1).swapaxes(1, 2).reshape(rows * height, side * width, -1)
    inches = max(0.5, 8 * rows * height / (side * width))
    figure, axes = figure_of(ax, 8.6, inches + 0.7)
    half = span * side / (side - 1)  # the outermost tiles are centred on -span and span
    axes.imshow(_for_imshow(tiles), cmap="gray", vmin=0, vmax=1, extent=(-half, half, -half, half), aspect="auto")
    axes.set_box_aspect(tiles.shape[0] / tiles.shape[1])
    ticks = np.linspace(-span, span, 5)
    axes.set(xlabel="latent 1", xticks=ticks)
    if n_latent > 1:
        axes.set(ylabel="latent 2", yticks=ticks)
    else:
        axes.set_yticks([])
    if n_latent > 2:
        axes.set_title(f"latents 3 to {n_latent} are 0", fontsize=10)
    return figure


@kinds.checked(means=kinds.anything, labels=kinds.anything, ax=AXES)
def latent_scatter(means: Any, labels: Any = None, *, ax: Axes | None = None) -> Figure:
    """Draw the latent means of images as points, coloured by label.

    Parameters
    ----------
    means : numpy.ndarray
        (N, n_latent), as a VAE's ``encode_mean`` returns them. One latent is drawn as a histogram; of more than two,
        the first two are drawn, and the axes say so.
    labels : numpy.ndarray, optional
        (N,) int. Up to ten classes have clearly different colours.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If `means` is not finite (N, n_latent), or `labels` not (N,) int.

    Examples
    --------
    >>> figure = latent_scatter(np.array([[0.0, 1.0], [1.0, 0.0]]), labels=np.array([3, 7]))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['3', '7']
    """
    means = _numbers(means, "means")
    if means.ndim != 2 or means.size == 0 or not np.isfinite(means).all():
        raise DataError(
            f"means: found shape {means.shape}, {means.size - np.isfinite(means).sum()} values not finite; latent "
            "means are finite, of shape (N, n_latent)"
        )
    classes, groups = _classes(labels, len(means))
    few = len(classes) <= 10
    colours = matplotlib.colormaps["tab10" if few else "turbo"](range(10) if few else np.linspace(0, 1, len(classes)))

    figure, axes = figure_of(ax, 7, 6)
    if means.shape[1] == 1:
        points = [means[group, 0] for group in groups]
        axes.hist(points, bins=60, stacked=True, color=colours[: len(classes)], label=classes)
        axes.set(xlabel="latent 1", ylabel="images")
    else:
        for group, colour, label in zip(groups, colours, classes):
            axes.scatter(*means[group, :2].T, s=9, color=colour, alpha=0.7, linewidths=0, label=label)
        of = f" of {means.shape[1]}" if means.shape[1] > 2 else ""
        axes.set(xlabel=f"latent 1{of}", ylabel=f"latent 2{of}")
        axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    if labels is not None:
        columns = -(-len(classes) // 25)
        look = dict(title="label", frameon=False, markerscale=2.5, ncols=columns)
        if ax is None:
            figure.legend(loc="outside right upper", **look)
        else:
            axes.legend(**look)
    return figure


def _classes(labels: Any, n: int) -> tuple[Any, list[np.ndarray]]:
    """The different labels of n points, and for each which points have it; without labels all are of one class."""
    if labels is None:
        return [None], [np.full(n, True)]
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels: found dtype {labels.dtype} and shape {labels.shape} for {n} latent means: give one whole number "
            "for each"
        )
    classes = np.unique(labels)
    return classes, [labels == label for label in classes]


@kinds.checked(originals=kinds.anything, reconstructed=kinds.anything, ax=AXES)
def reconstructions(originals: Any, reconstructed: Any, *, ax: Axes | None = None) -> Figure:
    """Draw images, each with its reconstruction on its right.

    Parameters
    ----------
    originals, reconstructed : numpy.ndarray
        (N, C, H, W) with C = 1 or 3, in [0, 1] (values outside are drawn as 0 or 1). Of more than 40 images only the
        first 40 are drawn, and the title says so.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If they are not finite images of the same shape.

    Examples
    --------
    >>> images = np.zeros((50, 1, 4, 4))
    >>> reconstructions(images, images).axes[0].get_title()
    'original | reconstruction, the first 40 of 50 images'
    """
    originals, reconstructed = _numbers(originals, "originals"), _numbers(reconstructed, "reconstructed")
    if np.shape(originals) != np.shape(reconstructed):
        raise DataError(
            f"originals have shape {np.shape(originals)}, but reconstructed {np.shape(reconstructed)}: they must agree"
        )
    left, right = _pixels(originals, "originals")[:_MAX_PAIRS], _pixels(reconstructed, "reconstructed")[:_MAX_PAIRS]
    n, height, width, channels = left.shape
    columns = min(5, n)
    rows = -(-n // columns)
    gap = max(1, width // 14)
    across, down = 2 * width + 4 * gap, height + gap
    canvas = np.ones((rows * down - gap, columns * across - 3 * gap, channels), dtype=left.dtype)
    for i in range(n):
        y, x = i // columns * down, i % columns * across
        canvas[y : y + height, x : x + width] = left[i]
        canvas[y : y + height, x + width + gap : x + 2 * width + gap] = right[i]
    figure, axes = figure_of(ax, 8, 8 * canvas.shape[0] / canvas.shape[1] + 0.4)
    axes.imshow(_for_imshow(canvas), cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    some = f", the first {n} of {len(originals)} images" if n < len(originals) else ""
    axes.set_title(f"original | reconstruction{some}", fontsize=10)
    return figure


def _numbers(values: Any, name: str) -> np.ndarray:
    """What a caller gave, as an array; DataError unless it is of numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older versions of numpy only warn about lists of different lengths
        try:
            array = np.asarray(values)
        except (ValueError, Warning):
            array = np.empty((), object)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name}={kinds.shown(values)} must be an array of numbers: convert it by numpy.asarray")
    return array


def _pixels(images: Any, name: str) -> np.ndarray:
    """Images (N, C, H, W) as (N, H, W, C) in [0, 1], for drawing."""
    images = _numbers(images, name)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.size == 0 or not np.isfinite(images).all():
        raise DataError(
            f"{name}: found shape {images.shape}, {images.size - np.isfinite(images).sum()} values not finite; images "
            "to draw are finite, of shape (N, C, H, W) with C = 1 or 3"
        )
    return np.clip(images, 0, 1).transpose(0, 2, 3, 1)


def _for_imshow(image: np.ndarray) -> np.ndarray:
    """The form that imshow draws: (H, W) in grey or (H, W, 3) in colour."""
    return image[..., 0] if image.shape[-1] == 1 else image
