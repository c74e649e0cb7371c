"""Small 8-bit images of maps in memory: reduced, cropped, and the place worth a closer look."""

from __future__ import annotations

import cv2
import numpy as np

from texsynth.material import CHANNELS, MapKind, TextureMap, encode_linear
from texsynth.published import Image, eight_bits

_BAND = 256
_LEAST_SIDE = 160  # pixels of a lit picture, for the shape that carries the material


def reduced(texture: TextureMap, most: int) -> Image:
    """A map of any depth as (h, w, C) uint8 with sides of at most `most`, box-filtered by a power of two.

    The filter works on linear light, and on vectors for normals (renormalised); texels that do not fill the last box
    are left out.
    """
    height, width = texture.size
    step = 1
    while max(height, width) // step > most:
        step *= 2
    if step == 1:
        return eight_bits(texture.kind, texture.texels)
    rows, columns = max(height // step, 1), max(width // step, 1)
    out = np.empty((rows, columns, CHANNELS[texture.kind]), np.uint8)
    per_band = max(1, _BAND // step)
    for start in range(0, rows, per_band):
        count = min(per_band, rows - start)
        band = texture.linear(slice(start * step, (start + count) * step))[:, : columns * step]
        # At a whole factor this is the exact box filter.
        mean = np.atleast_3d(cv2.resize(band, (columns, count), interpolation=cv2.INTER_AREA)).astype(np.float32)
        if texture.kind is MapKind.NORMAL:
            mean /= np.maximum(np.linalg.norm(mean, axis=2, keepdims=True), 1e-6)
        out[start : start + count] = encode_linear(texture.kind, mean, np.dtype(np.uint8))
    return out


def lit_side(most: int, texels: int) -> int:
    """Pixels a side of a lit picture of a result of `texels` a side: `most`, but not more than two a texel, since those
    show nothing new, and take most of the time of a small result."""
    return min(most, max(_LEAST_SIDE, 2 * texels))


def centre_crop(texture: TextureMap, side: int) -> TextureMap:
    """The middle `side` x `side` texels (or what there is of them)."""
    height, width = texture.size
    y, x = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return TextureMap(texture.kind, texture.texels[y : y + side, x : x + side])


def telling_place(image: Image, share: float) -> tuple[float, float]:
    """Where to look closer: (y, x), 0..1, of the top left of a window of `share` of the side with ample detail.

    The window whose gradient energy is at the 80th percentile: neither empty space between charts nor the one odd spot.
    """
    grey = image.astype(np.float32).mean(axis=2)
    energy = np.zeros_like(grey)
    energy[:, 1:] += np.abs(np.diff(grey, axis=1))
    energy[1:] += np.abs(np.diff(grey, axis=0))
    total = np.pad(energy.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows, columns = (max(1, min(length, round(length * share))) for length in grey.shape)
    sums = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    wanted = np.quantile(sums, 0.8, method="nearest")
    y, x = np.unravel_index(int(np.argmin(np.abs(sums - wanted))), sums.shape)
    return float(y) / grey.shape[0], float(x) / grey.shape[1]
