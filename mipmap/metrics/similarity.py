"""Structural similarity.

Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
similarity" (IEEE TIP 2004), with its 11 x 11 Gaussian window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mipmap.compiled import compiled, in_threads
from mipmap.metrics.images import as_image, same_size

WINDOW = 11
SIGMA = 1.5
BAND = 128  # rows that one thread takes at a time; fixed, so that the sum does not hang on the number of threads


def ssim(a: ArrayLike, b: ArrayLike) -> float:
    """Mean structural similarity, Gaussian window 11 x 11 of sigma 1.5, K1 = 0.01, K2 = 0.03, range 1; 1 = identical.

    Mean over channels and over the texels whose window lies inside the images; population covariances. Both (H, W)
    or (H, W, C) of one shape, encoded 0..1, sides of at least 11. So the mean of an image is the mean of its row
    bands that overlap by 10 rows, weighted by their inner rows. ValueError for other shapes.
    """
    first, second = as_image(a), as_image(b)
    same_size(first, second)
    if min(first.shape[:2]) < WINDOW:
        raise ValueError(f"sides of at least {WINDOW} texels are needed, got {first.shape}")
    height, width, channels = first.shape
    inner = height - WINDOW + 1
    offset = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (offset / SIGMA) ** 2)
    weights /= weights.sum()

    def similarity(piece: tuple[int, int]) -> float:
        channel, top = piece
        rows = slice(top, min(top + BAND, inner) + WINDOW - 1)
        x, y = (np.ascontiguousarray(image[rows, :, channel]) for image in (first, second))
        return float(_similarity(x, y, weights))

    pieces = [(channel, top) for channel in range(channels) for top in range(0, inner, BAND)]
    return float(sum(in_threads(similarity, pieces)) / (inner * (width - WINDOW + 1) * channels))


@compiled
def _similarity(x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float64]) -> float:
    """Sum of the similarity over the texels whose window lies inside (h, w) x and y.

    The window is separable: each row is filtered along x once and kept while the windows that need it pass down.
    """
    height, width = x.shape
    inner = width - WINDOW + 1
    moments = np.empty((5, width), np.float64)
    kept = np.empty((WINDOW, 5, inner), np.float64)
    mean = np.empty((5, inner), np.float64)
    total = 0.0
    for row in range(height):
        for i in range(width):
            u, v = np.float64(x[row, i]), np.float64(y[row, i])
            moments[0, i], moments[1, i] = u, v
            moments[2, i], moments[3, i], moments[4, i] = u * u, v * v, u * v
        for k in range(5):
            source, target = moments[k], kept[row % WINDOW, k]
            for i in range(inner):
                value = 0.0
                for t in range(WINDOW):  # a constant count: unrolled, and the loop around it vectorised
                    value += weights[t] * source[i + t]
                target[i] = value
        if row < WINDOW - 1:
            continue
        for k in range(5):
            target = mean[k]
            target[:] = 0
            for t in range(WINDOW):
                weight, source = weights[t], kept[(row + 1 + t) % WINDOW, k]
                for i in range(inner):
                    target[i] += weight * source[i]
        for i in range(inner):
            u, v = mean[0, i], mean[1, i]
            covariance = mean[4, i] - u * v
            variances = (mean[2, i] - u * u) + (mean[3, i] - v * v)
            likeness = (2 * u * v + 1e-4) * (2 * covariance + 9e-4)  # c1 = K1^2, c2 = K2^2
            total += likeness / ((u * u + v * v + 1e-4) * (variances + 9e-4))
    return total
