"""Structural similarity.

Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
similarity" (IEEE TIP 2004), with its 11 x 11 Gaussian window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from mipmap.metrics.images import as_image, same_size

WINDOW = 11
SIGMA = 1.5


def ssim(a: ArrayLike, b: ArrayLike) -> float:
    """Mean structural similarity, Gaussian window 11 x 11 of sigma 1.5, K1 = 0.01, K2 = 0.03, range 1; 1 = identical.

    Mean over channels and over the texels whose window lies inside the images; population covariances. Both (H, W)
    or (H, W, C) of one shape, encoded 0..1, sides of at least 11. So the mean of an image is the mean of its row
    bands that overlap by 10 rows, weighted by their inner rows.
    """
    first, second = as_image(a), as_image(b)
    same_size(first, second)
    if min(first.shape[:2]) < WINDOW:
        raise ValueError(f"sides of at least {WINDOW} texels are needed, got {first.shape}")
    planes = zip(np.moveaxis(first, 2, 0), np.moveaxis(second, 2, 0), strict=True)
    return float(np.mean([_similarity(x.astype(np.float64), y.astype(np.float64)).mean() for x, y in planes]))


def _similarity(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    mean_x, mean_y = _mean(x), _mean(y)
    var_x, var_y = _mean(x * x) - mean_x**2, _mean(y * y) - mean_y**2
    covariance = _mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return np.asarray(likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    margin = WINDOW // 2
    smooth = ndimage.gaussian_filter(values, SIGMA, radius=margin, mode="nearest")
    return np.asarray(smooth[margin:-margin, margin:-margin])
