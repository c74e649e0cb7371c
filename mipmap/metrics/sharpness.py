"""Sharpness by Laplacian energy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mipmap.metrics.images import Image, as_image


def squared_laplacian(image: ArrayLike) -> Image:
    """(H, W, C) to (H - 2, W - 2, C): (4 p - left - right - up - down)^2 of every texel that is not at the border."""
    p = as_image(image)
    if min(p.shape[:2]) < 3:
        raise ValueError(f"at least 3 x 3 texels are needed, got {p.shape}")
    laplacian = 4 * p[1:-1, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:] - p[:-2, 1:-1] - p[2:, 1:-1]
    return np.asarray(np.square(laplacian))


def laplacian_energy(image: ArrayLike) -> float:
    """Mean of `squared_laplacian` over texels and channels of an (H, W) or (H, W, C) float image, encoded 0..1."""
    return float(squared_laplacian(image).mean(dtype=np.float64))


def sharpness_ratio(result: ArrayLike, exemplar: ArrayLike) -> float:
    """`laplacian_energy` of the result over the exemplar's, both of one texel density; 1 is right, blur is below it.

    Noise raises it as detail does, so it is read beside `texture_distance`. An exemplar without any detail (less than
    a fiftieth of a step of 8 bits) gives 1 for a result as flat, and the ratio to that otherwise.
    """
    floor = (0.02 / 255) ** 2
    return max(laplacian_energy(result), floor) / max(laplacian_energy(exemplar), floor)
