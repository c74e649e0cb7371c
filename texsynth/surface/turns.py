"""Directions that pass from one chart to another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def turned_normals(values: NDArray[np.float32], turn: NDArray[Any]) -> NDArray[np.float32]:
    """(N, 3) normals, encoded 0..1 (OpenGL: Y upwards), whose X and Y are turned or mirrored, without the scale
    and the shear that are in `turn`.

    turn: (N, 2, 2), takes a direction (x, y) in one chart, y downwards, to the same one in the other.
    """
    a, b, c, d = turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1]
    side = np.where(a * d < b * c, -1.0, 1.0)
    a, c = a + side * d, c - side * b  # the nearest rotation, or mirroring
    half = 0.5 / np.maximum(np.hypot(a, c), 1e-12)
    x, y = values[:, 0] * 2 - 1, 1 - values[:, 1] * 2
    turned = values.copy()
    turned[:, 0] = (a * x - side * c * y) * half + 0.5
    turned[:, 1] = 0.5 - (c * x + side * a * y) * half
    return turned
