"""The nearest texel of a mask, for texels around it: how a chart's values are carried beyond its border."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
BAND = 512  # rows that are worked on at once


def nearest_texels(mask: NDArray[np.bool_], reach: int) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    """Of all texels outside `mask`, bool (size, size), with a texel of it within `reach` texels: their rows and columns
    and those of (about) the nearest one. In parts; the texture repeats.
    """
    size = len(mask)
    reach = min(reach, size // 2)
    for first in range(0, size, BAND):
        last = min(first + BAND, size)
        rows = np.arange(first - reach, last + reach) % size
        columns = np.arange(-reach, size + reach) % size
        away = (~mask[np.ix_(rows, columns)]).astype(np.uint8)
        distance, label = cv2.distanceTransformWithLabels(away, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        inner = slice(reach, reach + last - first), slice(reach, reach + size)
        near = np.argwhere((away[inner] > 0) & (distance[inner] <= reach))
        if len(near) == 0:
            continue
        places = np.flatnonzero(away.reshape(-1) == 0)  # labels count them from 1 in the order of their rows
        nearest = places[label[inner][near[:, 0], near[:, 1]] - 1]
        from_rows, from_columns = np.divmod(nearest, len(columns))
        yield near[:, 0] + first, near[:, 1], rows[from_rows], columns[from_columns]
