"""Images as text that a page shows: PNG files in base64, made smaller where the page has no room for them.

Examples
--------
>>> fitting(np.zeros((10, 1, 64, 64), "float32"), room=10 * 32 * 32).shape
(10, 1, 32, 32)
>>> as_png(np.zeros((1, 4, 4), "float32"))[:22]
'data:image/png;base64,'
"""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

SMALLEST = 8  # pixels: below that nothing can be recognised


def fitting(images: np.ndarray, room: int) -> np.ndarray:
    """Images (N, C, H, W), float in [0, 1], averaged to a size at which they take at most `room` bytes."""
    height, width = images.shape[2:]
    scale = max(math.sqrt(room / images.size), SMALLEST / max(height, width))
    if scale >= 1:
        return images
    size = max(1, int(width * scale)), max(1, int(height * scale))
    channels = [Image.fromarray(channel) for channel in images.reshape(-1, height, width).astype(np.float32)]
    smaller = [np.asarray(channel.resize(size, Image.Resampling.BOX)) for channel in channels]
    return np.stack(smaller).reshape(*images.shape[:2], size[1], size[0])


def as_png(image: np.ndarray) -> str:
    """An image (C, H, W) with C = 1 or 3, float in [0, 1], as the address of a PNG file that it holds itself."""
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def sheet(images: np.ndarray, columns: int) -> str:
    """Images (N, C, H, W) side by side, `columns` in a row, as one PNG."""
    n, channels, height, width = images.shape
    tiles = images.reshape(n // columns, columns, channels, height, width).transpose(2, 0, 3, 1, 4)
    return as_png(tiles.reshape(channels, n // columns * height, columns * width))
