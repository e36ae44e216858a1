"""A picture of a VAE's structure, drawn from a plain description without graphviz.

The caller names the stages. The only public function is `model_graph`, also as `fastvae.plots.model_graph`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch

from fastvae import kinds
from fastvae.errors import ConfigurationError

_INK = "#222222"


def _axes(value: Any) -> Axes:
    if not isinstance(value, Axes):
        raise TypeError
    if value.name != "rectilinear":  # polar, 3d, ...
        raise ValueError
    return value


AXES = kinds.optional(
    kinds.Kind("axes", "one rectilinear matplotlib.axes.Axes, such as plt.gca(), or axes[0] of an array", _axes)
)
_KINDS = ("observed", "encoder", "latent", "decoder")


@kinds.checked(stages=kinds.sequence(kinds.anything, "stages (name, shape, kind)"), ax=AXES)
def model_graph(stages: Sequence[tuple[str, str, str]], *, ax: Axes | None = None) -> Figure:
    """Draw a VAE: images at the top, encoder down the left side, latent at the bottom, decoder up the right side.

    Parameters
    ----------
    stages : sequence of (str, str, str)
        (name, shape, kind) in the order of computation. The shape is that of the stage's output; the kind is
        ``"observed"`` (exactly one), ``"encoder"`` (one or more), ``"latent"`` (exactly one) or ``"decoder"`` (one or
        more).
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        Random variables are ellipses, the observed one shaded. Dashed arrows are the approximation q(z | x), solid
        ones the model p(x | z).

    Raises
    ------
    ConfigurationError
        If a stage is not such a triple, or a kind is unknown, missing or given too often.

    Examples
    --------
    >>> figure = model_graph([
    ...     ("images", "1 x 28 x 28", "observed"),
    ...     ("Linear + ReLU", "128", "encoder"),
    ...     ("mean, rho", "2 + 2", "encoder"),
    ...     ("z ~ Normal(0, 1)", "2", "latent"),
    ...     ("Linear + ReLU", "128", "decoder"),
    ...     ("Linear + sigmoid", "1 x 28 x 28", "decoder"),
    ... ])
    """
    for stage in stages:
        if not isinstance(stage, (tuple, list)) or len(stage) != 3 or stage[2] not in _KINDS:
            raise ConfigurationError(
                f"stages: found {stage!r}, but a stage is (name, shape, kind) with a kind of {', '.join(_KINDS)}"
            )
    observed, encoder, latent, decoder = ([stage[:2] for stage in stages if stage[2] == kind] for kind in _KINDS)
    if not (len(observed) == len(latent) == 1 and encoder and decoder):
        raise ConfigurationError(
            f"stages: found {len(observed)} observed, {len(encoder)} encoder, {len(latent)} latent, {len(decoder)} "
            "decoder; a VAE has one observed, one latent, and at least one encoder and one decoder stage"
        )
    depth = max(len(encoder), len(decoder)) + 1
    figure, axes = figure_of(ax, 7.5, 0.85 * (depth + 1) + 0.2)
    axes.set(xlim=(-1.95, 1.95), ylim=(-depth - 0.5, 0.5))
    axes.set_axis_off()

    top = _ellipse(axes, 0, 0, *observed[0], fill="#d9d9d9")
    bottom = _ellipse(axes, 0, -depth, *latent[0], fill="white")
    down = [_box(axes, -1.2, y, *stage, fill="#dbe8f6") for y, stage in zip(_spread(len(encoder), depth), encoder)]
    up = [_box(axes, 1.2, y, *stage, fill="#fbe6d0") for y, stage in zip(_spread(len(decoder), depth)[::-1], decoder)]
    for start, end in zip([top, *down], [*down, bottom]):
        _arrow(axes, start, end, style="dashed")
    for start, end in zip([bottom, *up], [*up, top]):
        _arrow(axes, start, end, style="solid")
    axes.text(-0.44, -depth / 2, "q(z | x)\nencoder", ha="left", va="center", color=_INK, fontsize=10)
    axes.text(0.44, -depth / 2, "p(x | z)\ndecoder", ha="right", va="center", color=_INK, fontsize=10)
    return figure


class Picture(Figure):
    """A figure that a notebook shows, also where pyplot has not been imported."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def figure_of(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes to draw on and their figure: those given, or new ones, without pyplot."""
    if ax is not None:
        return ax.figure.figure, ax  # which is the same one unless the axes are in a subfigure
    figure = Picture(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.add_subplot()


def _spread(count: int, depth: int) -> Any:
    """The heights of a column's boxes from top to bottom, evenly between the two random variables."""
    return -np.linspace(1, depth - 1, count) if count > 1 else [-depth / 2]


def _box(axes: Any, x: float, y: float, name: str, shape: str, fill: str) -> tuple[Any, float, float]:
    style = "round,pad=0,rounding_size=0.08"
    box = FancyBboxPatch((x - 0.7, y - 0.29), 1.4, 0.58, boxstyle=style, facecolor=fill, edgecolor=_INK)
    patch = axes.add_patch(box)
    _caption(axes, x, y, name, shape)
    return patch, x, y


def _ellipse(axes: Any, x: float, y: float, name: str, shape: str, fill: str) -> tuple[Any, float, float]:
    patch = axes.add_patch(Ellipse((x, y), 1.5, 0.8, facecolor=fill, edgecolor=_INK))
    _caption(axes, x, y, name, shape)
    return patch, x, y


def _caption(axes: Any, x: float, y: float, name: str, shape: str) -> None:
    axes.text(x, y + 0.1, name, ha="center", va="center", fontsize=9, color=_INK)
    axes.text(x, y - 0.13, shape, ha="center", va="center", fontsize=8, color="#555555")


def _arrow(axes: Any, start: Any, end: Any, style: str) -> None:
    (from_patch, *from_xy), (to_patch, *to_xy) = start, end
    ends = {"patchA": from_patch, "patchB": to_patch, "shrinkA": 1, "shrinkB": 1}
    look = {"arrowstyle": "-|>", "mutation_scale": 12, "linestyle": style, "color": _INK}
    axes.add_patch(FancyArrowPatch(from_xy, to_xy, **ends, **look))
