"""Bands whose grain runs another way in each: herringbone, of bricks or of wood, whose joints alone are too irregular,
or too faint, for a lattice. Bricks mixed with those of the next band would be no herringbone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Doubles = NDArray[np.float64]

OF_SIDE = 48  # parts of a side: over one the direction is averaged
NOISE = 0.1  # of the mean square of the gradient: what is flatter has no direction
# Deviation of the direction, weighed by how sure it is; share of it in the means of rows; correlation of these at half
# a period and at a whole one. Of the training materials without a strong lattice two of herringbone have 0.34 and 0.39,
# 0.79 and 0.84, -0.91 and -0.98; besides them only one panel with slots has them all.
DEVIATION, SHARE, OPPOSITE, AGAIN = 0.2, 0.5, -0.7, 0.5


def find_bands(image: Doubles, wraps: tuple[bool, bool]) -> tuple[Doubles, float] | None:
    """Turns (1, 2) of the bands over an image (H, W, K) of at most some 500 texels a side, and their share; None where
    it has none."""
    down, right = np.gradient(image, axis=(0, 1))
    parts = (down**2 - right**2).sum(axis=2), 2 * (down * right).sum(axis=2), (down**2 + right**2).sum(axis=2)
    across, slanted, strength = (ndimage.gaussian_filter(part, min(image.shape[:2]) / OF_SIDE) for part in parts)
    grain = np.stack([across, slanted], axis=2) / (strength + NOISE * strength.mean() + 1e-12)[:, :, None]
    grain -= grain.mean(axis=(0, 1))
    energy = float((grain**2).sum(axis=2).mean())
    if energy < DEVIATION**2:
        return None
    for axis in range(2):
        means = grain.mean(axis=1 - axis)
        share = float((means**2).sum(axis=1).mean()) / energy
        period = _period(means, wraps[axis]) if share >= SHARE else None
        if period is not None:
            return np.eye(2)[[axis]] * (len(means) / period), share
    return None


def _period(means: Doubles, wraps: bool) -> float | None:
    n = len(means)
    spectrum = np.fft.fft(means, n if wraps else 2 * n, axis=0)
    lags = np.fft.ifft((np.abs(spectrum) ** 2).sum(axis=1)).real[: n // 2 + 1]
    if not wraps:  # fewer rows overlap at long lags
        lags = lags * n / (n - np.arange(len(lags)))
    lags /= lags[0]
    opposite = np.flatnonzero(lags < OPPOSITE)
    if len(opposite) == 0:
        return None
    after = opposite[0] + np.flatnonzero(lags[opposite[0] :] > AGAIN)
    if len(after) == 0:
        return None
    first = after[: int(np.argmax(np.diff(after, append=n) > 1)) + 1]  # the lags of one peak
    return float(first[np.argmax(lags[first])])
