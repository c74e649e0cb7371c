"""The maps of a texture as one plane that repeats, read between texels and written at texels, whatever their dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from texsynth.material import MapKind
from texsynth.surface.turns import turned_normals

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Plane:
    """maps: of each kind (size, size, C) uint8, uint16 or float32, arrays or memory maps, which are written to.

    Values are float32 (N, channels of all maps) 0..1, as encoded. Points are (x, y) in texels, texel centres at
    (i + 0.5).
    """

    def __init__(self, maps: Mapping[MapKind, NDArray[Any]]) -> None:
        self._maps = maps
        self.size = int(next(iter(maps.values())).shape[0])
        self.channels = sum(each.shape[2] for each in maps.values())

    def values(self, points: Doubles, *, cubic: bool = False) -> Floats:
        """Bilinear, or Catmull-Rom, which keeps more of the detail and may leave 0..1."""
        parts = []
        for texels in self._maps.values():
            part = np.empty((len(points), texels.shape[2]), np.float32)
            _sample(texels, points, cubic, np.float32(1 / _top(texels)), part)
            parts.append(part)
        return np.concatenate(parts, axis=1)

    def turned(self, values: Floats, turn: NDArray[Any]) -> Floats:
        """Values with their normals turned, as `turned_normals`."""
        first = 0
        for kind, texels in self._maps.items():
            last = first + texels.shape[2]
            if kind is MapKind.NORMAL:
                values[:, first:last] = turned_normals(values[:, first:last], turn)
            first = last
        return values

    def write(self, texels: Doubles, values: Floats) -> None:
        """At the texels of these centres."""
        rows, columns, first = texels[:, 1].astype(np.int64), texels[:, 0].astype(np.int64), 0
        for each in self._maps.values():
            last, part = first + each.shape[2], values[:, first : first + each.shape[2]]
            if each.dtype.kind == "u":
                part = np.rint(np.clip(part, 0, 1) * _top(each))
            each[rows, columns] = part.astype(each.dtype)
            first = last

    def cells(self, points: Doubles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the texels that points lie in."""
        place = np.mod(np.floor(points), self.size).astype(np.int64)
        return place[:, 1], place[:, 0]


def _top(texels: NDArray[Any]) -> int:
    """What stands for 1."""
    return int(np.iinfo(texels.dtype).max) if texels.dtype.kind == "u" else 1


@njit(cache=True, nogil=True, fastmath={"contract"})
def _sample(texels, points, cubic, scale, out):  # type: ignore[no-untyped-def]
    """Of (H, W, C) texels at points (x, y), repeated beyond the edges."""
    height, width, channels = texels.shape
    taps = 4 if cubic else 2
    weights, place = np.empty((2, 4), np.float32), np.empty((2, 4), np.int64)
    for n in range(len(points)):
        for axis in range(2):
            at = points[n, axis] - 0.5
            low = np.int64(np.floor(at))
            t = np.float32(at - low)
            length = height if axis else width
            if cubic:
                low -= 1
                weights[axis, 0] = ((2 - t) * t - 1) * t / 2
                weights[axis, 1] = ((3 * t - 5) * t * t + 2) / 2
                weights[axis, 2] = ((4 - 3 * t) * t + 1) * t / 2
                weights[axis, 3] = (t - 1) * t * t / 2
            else:
                weights[axis, 0], weights[axis, 1] = 1 - t, t
            if low < 0 or low >= length:
                low %= length  # a division for each texel would be half of the time
            for k in range(taps):
                place[axis, k] = low
                low = low + 1 if low + 1 < length else np.int64(0)
        for c in range(channels):
            value = np.float32(0)  # summed in a register: half of the time of sums in `out`
            for j in range(taps):
                row = np.float32(0)
                for i in range(taps):
                    row += weights[0, i] * np.float32(texels[place[1, j], place[0, i], c])
                value += weights[1, j] * row
            out[n, c] = value * scale
