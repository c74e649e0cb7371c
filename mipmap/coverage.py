"""Alpha coverage: cut-out foliage must not grow thin in the distance.

Averaging opacity pulls it to its mean, so fewer (or more) texels of a mip pass an alpha test than of level 0. Scaling
each level by one factor brings the share of passing texels back (I. Castano, "Computing alpha mipmaps", The Witness,
2010; he counts a bilinear reconstruction, here texels count).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 1 << 16


def coverage_scales(rows: Iterable[tuple[int, NDArray[Any]]], threshold: float, levels: int) -> list[float]:
    """One factor a level that makes the share of texels with opacity >= threshold that of level 0, as nearly as can be.

    rows: (level, opacity of some rows of it, 0..1, any shape), in any order, all of every level. threshold: 0 < t <= 1.
    Level 0 and levels that hold their share already have factor 1. Texels that the chain made equal pass together.
    Raises ValueError for a threshold outside 0..1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the alpha test is at {threshold}; it must be above 0 and at most 1")
    counts = np.zeros((levels, BINS), np.int64)
    passing = np.zeros(levels, np.int64)
    for level, opacity in rows:
        passing[level] += np.count_nonzero(opacity >= np.float32(threshold))
        bins = np.ceil(np.clip(opacity.reshape(-1), 0, 1).astype(np.float64) * (BINS - 1)).astype(np.int64)
        counts[level] += np.bincount(bins, minlength=BINS)
    share = passing[0] / counts[0].sum()
    return [1.0, *(_scale(counts[k], int(passing[k]), share, threshold) for k in range(1, levels))]


def _scale(counts: NDArray[np.int64], passing: int, share: float, threshold: float) -> float:
    wanted = share * counts.sum()
    # above[b - 1]: texels that pass a test at value (b - 0.5) / (BINS - 1), for b = 1 and up; the last one passes none.
    above = np.append(np.cumsum(counts[::-1])[::-1][1:], 0)
    distance = np.abs(above - wanted)
    if abs(passing - wanted) <= distance.min():
        return 1.0
    # In the middle of the gap between the last texel that passes and the first that does not, rounding is harmless.
    best = np.flatnonzero(distance == distance.min())
    return float(threshold / ((best[0] + best[-1] + 1) / 2 / (BINS - 1)))
