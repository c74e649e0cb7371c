"""Images halved and enlarged so that they go on across an edge that wraps."""

from __future__ import annotations

import numpy as np

from texsynth.material import BAND, Float32, bilinear_taps


def halved(image: Float32, wrap: tuple[bool, bool]) -> Float32:
    """(H, W) or (H, W, C) at half the size, rounded up, by the filter (1 3 3 1) / 8 along each axis."""
    for axis in (0, 1):
        image = np.moveaxis(image, axis, 0)
        padding = ((1, 1 + len(image) % 2), *((0, 0),) * (image.ndim - 1))
        padded = np.pad(image, padding, mode="wrap" if wrap[axis] else "edge")
        end = len(padded) - 3
        half = padded[1 : 1 + end : 2] + padded[2 : 2 + end : 2]
        half *= np.float32(3)
        half += padded[0:end:2]
        half += padded[3 : 3 + end : 2]
        half *= np.float32(1 / 8)
        image = np.moveaxis(half, 0, axis)
    return np.ascontiguousarray(image)


def enlarged(image: Float32, shape: tuple[int, ...], wrap: tuple[bool, bool]) -> Float32:
    """(H, W) or (H, W, C) bilinear to `shape` by texel centres."""
    left, right, across = bilinear_taps(image.shape[1], shape[1], np.arange(shape[1]), wrap=wrap[1])
    channels = (1,) * (image.ndim - 2)
    wide = image[:, left]
    wide += (image[:, right] - wide) * across.reshape(-1, *channels)
    top, bottom, down = bilinear_taps(image.shape[0], shape[0], np.arange(shape[0]), wrap=wrap[0])
    out = wide[top]
    for start in range(0, len(out), BAND):
        rows = slice(start, start + BAND)
        out[rows] += (wide[bottom[rows]] - out[rows]) * down[rows].reshape(-1, 1, *channels)
    return out
