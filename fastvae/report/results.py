"""What a report shows of a trained model, in JSON values: reconstructions, latent means, and decoded grids.

The explorer's images are decoded here, on a grid over each plane of two latents, and the page interpolates between
them. Of many latents the planes are those of the most active ones, with the others at 0; every latent that is shown has
a traversal too.

Examples
--------
>>> import fastvae
>>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), n_latent=3, hidden=8, seed=0)
>>> found = results_of(vae, np.random.default_rng(0).random((20, 1, 4, 4)), room=100_000)
>>> [plane["axes"] for plane in found["planes"]], len(found["traversals"])
([[0, 1], [0, 2], [1, 2]], 3)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae import kinds
from fastvae.report import images as pictures

ROOM = 3_000_000  # bytes of pixels in a page
RECONSTRUCTED = 10  # images
POINTS = 2000  # latent means
ACTIVE = 0.01  # variance above which a latent counts as used, as in `fastvae.evaluation.active_units`
AXES = 5  # latents to choose an explorer's axes from
TRAVERSED = 16  # latents with a traversal
STEPS = 11  # images of a traversal
SIDES = (5, 33)  # images along a side of a grid, fewest and most


@kinds.checked(
    vae=kinds.having("encode_mean", "decode_mean"),
    images=kinds.anything,
    labels=kinds.anything,
    names=kinds.optional(kinds.sequence(kinds.text, "names, one for each label")),
    room=kinds.integer(10_000),
)
def results_of(
    vae: Any,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    room: int = ROOM,
) -> dict[str, Any]:
    """What a page shows of a trained model.

    Parameters
    ----------
    vae : fastvae.VAE
    images : numpy.ndarray
        Float (N, C, H, W) in [0, 1], which were not trained on.
    labels : numpy.ndarray, optional
        Int (N,).
    names : sequence of str, optional
        Of the labels, name i that of label i.
    room : int
        Bytes that the pixels of all pictures may take, before they are compressed.

    Returns
    -------
    dict
        Of JSON values, which `assets/*.js` read.
    """
    images = np.asarray(images, dtype=np.float32)
    means = vae.encode_mean(images)
    variances = means.var(axis=0, dtype=np.float64)
    order = np.argsort(-variances, kind="stable")
    n_latent = means.shape[1]
    axes = sorted(int(axis) for axis in order[:AXES]) if n_latent > 2 else list(range(n_latent))
    extent = float(np.ceil(max(3.0, np.quantile(np.abs(means[:, axes]), 0.999))))
    shown = images[:RECONSTRUCTED]
    decoded = vae.decode_mean(means[:RECONSTRUCTED])
    traversed = sorted(int(axis) for axis in order[:TRAVERSED]) if n_latent > 2 else []
    found = {
        "shape": list(images.shape[1:]),
        "nLatent": n_latent,
        "extent": extent,
        "variances": [round(float(value), 4) for value in variances],
        "active": int((variances > ACTIVE).sum()),
        "error": float(np.mean(np.square(decoded - shown), dtype=np.float64)),
        "axes": axes,
        "means": np.round(means[:POINTS][:, axes], 3).T.tolist(),
        "labels": None if labels is None else [int(label) for label in labels[:POINTS]],
        "names": names,
        "reconstructions": _pairs(shown, decoded, room // 7),
        "traversals": _traversals(vae.decode_mean, traversed, n_latent, extent, room // 7),
    }
    taken = 2 * (room // 7) if traversed else room // 7
    return {**found, "planes": _planes(vae.decode_mean, axes, n_latent, extent, room - taken)}


def _pairs(images: np.ndarray, decoded: np.ndarray, room: int) -> list[list[str]]:
    left, right = (pictures.fitting(some, room // 2) for some in (images, decoded))
    return [[pictures.as_png(image), pictures.as_png(other)] for image, other in zip(left, right)]


def _traversals(decode: Any, traversed: list[int], n_latent: int, extent: float, room: int) -> list[dict[str, Any]]:
    """For each of some latents, the images that are decoded while it goes from -extent to extent and others are 0."""
    latents = np.zeros((len(traversed), STEPS, n_latent), dtype=np.float32)
    for row, axis in enumerate(traversed):
        latents[row, :, axis] = np.linspace(-extent, extent, STEPS)
    if not traversed:
        return []
    decoded = pictures.fitting(decode(latents.reshape(-1, n_latent)), room)
    strips = decoded.reshape(len(traversed), STEPS, *decoded.shape[1:])
    return [{"axis": axis, "sheet": pictures.sheet(strip, STEPS)} for axis, strip in zip(traversed, strips)]


def _planes(decode: Any, axes: list[int], n_latent: int, extent: float, room: int) -> list[dict[str, Any]]:
    """For each pair of axes a square of decoded images, row by row from the top; for one latent a single row."""
    pairs: list[tuple[int, int | None]] = [*itertools.combinations(axes, 2)] or [(axes[0], None)]
    side, size = _side(decode(np.zeros((1, n_latent), dtype=np.float32)).size, room // len(pairs), len(axes) > 1)
    values = np.linspace(-extent, extent, side, dtype=np.float32)
    planes = []
    for across, up in pairs:
        latents = np.zeros((side if up is not None else 1, side, n_latent), dtype=np.float32)
        latents[..., across] = values
        if up is not None:
            latents[..., up] = values[::-1, np.newaxis]
        decoded = pictures.fitting(decode(latents.reshape(-1, n_latent)), len(latents) * side * size)
        planes.append(
            {
                "axes": [across] if up is None else [across, up],
                "columns": side,
                "rows": len(latents),
                "tile": list(decoded.shape[1:]),
                "sheet": pictures.sheet(decoded, side),
            }
        )
    return planes


def _side(size: int, room: int, square: bool) -> tuple[int, int]:
    """How many images a grid has along a side, an odd number so that 0 is among them, and the bytes of each."""
    fewest, most = SIDES
    side = int(math.sqrt(room / size) if square else room / size)
    side = min(max(side, fewest), most)
    side -= 1 - side % 2
    return side, min(size, room // (side * side if square else side))
