"""Shapes side by side in a square: the largest first, each into the highest free place, whatever its outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

STEP = 1.04  # by how much the square grows until all fit


def packed(shapes: list[Mask]) -> tuple[Ints, int]:
    """Top left corners (x, y), int64 (N, 2), of shapes, bool (height, width) each, and the side of the square."""
    order = sorted(range(len(shapes)), key=lambda i: -int(shapes[i].sum()))
    side = max(1, int(np.sqrt(sum(int(shape.sum()) for shape in shapes))), *(max(shape.shape) for shape in shapes))
    while True:
        corners = _placed(shapes, order, side)
        if corners is not None:
            return corners, side
        side = max(side + 1, int(side * STEP))


def _placed(shapes: list[Mask], order: list[int], side: int) -> Ints | None:
    """None where not all of them fit."""
    taken = np.zeros((side, side), np.float32)
    corners = np.zeros((len(shapes), 2), np.int64)
    for i in order:
        shape = shapes[i].astype(np.float32)
        free = cv2.matchTemplate(taken, shape, cv2.TM_CCORR) < 0.5  # counts the texels that both have
        if not free.any():
            return None
        row, column = divmod(int(free.argmax()), free.shape[1])
        corners[i] = column, row
        taken[row : row + shape.shape[0], column : column + shape.shape[1]] += shape
    return corners
