"""The nearest of the samples along seams, for texels near them: looked for in a grid of small cells, from the texel's
own outwards. A k-d tree takes two to three times as long."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
CELL = 8  # texels a side; 4 was slower where texels are 24 from the seam, and no faster near it


class Nearest:
    """To find the nearest of N points (x, y), float64 (N, 2), texels of a texture of `size` x `size`, which repeats."""

    def __init__(self, points: Doubles, size: int) -> None:
        self._size, self._side = size, -(-size // CELL)
        self._points = np.mod(points, size)
        cell = np.minimum(self._points // CELL, self._side - 1).astype(np.int64)
        of = cell[:, 1] * self._side + cell[:, 0]
        self._order = np.argsort(of, kind="stable")
        self._starts = np.r_[0, np.cumsum(np.bincount(of, minlength=self._side**2))]

    def query(self, places: Doubles, within: float = np.inf) -> tuple[Doubles, Ints]:
        """Of each place (M, 2) inside the texture how far its nearest point is, float64 (M,), and its number, int64
        (M,); infinity and N where none is nearer than `within`."""
        distance, number = np.empty(len(places)), np.empty(len(places), np.int64)
        _find(places, within, self._points, float(self._size), self._side, self._order, self._starts, distance, number)
        return distance, number


@njit(cache=True, nogil=True)
def _find(places, within, points, size, side, order, starts, distance, number):  # type: ignore[no-untyped-def]
    most = min(within, size)
    for n in range(len(places)):
        x, y = places[n, 0], places[n, 1]
        middle_x, middle_y = min(int(x) // CELL, side - 1), min(int(y) // CELL, side - 1)
        right, down = x - middle_x * CELL, y - middle_y * CELL
        inner = min(right, CELL - right, down, CELL - down)
        best, found = most * most, len(points)
        ring = 0
        # what lies outside a ring of cells is at least as far as its edge; beyond half of the texture all was seen
        while 2 * ring <= side + 1 and (ring < 1 or ((ring - 1) * CELL + inner) ** 2 < best):
            for dy in range(-ring, ring + 1):
                step = 1 if abs(dy) == ring else 2 * ring
                row = (middle_y + dy) % side * side
                for dx in range(-ring, ring + 1, max(step, 1)):
                    column = middle_x + dx
                    if column < 0 or column >= side:
                        column %= side
                    cell = row + column
                    for k in range(starts[cell], starts[cell + 1]):
                        of = order[k]
                        over, under = abs(points[of, 0] - x), abs(points[of, 1] - y)
                        over, under = min(over, size - over), min(under, size - under)
                        square = over * over + under * under
                        if square < best or (square == best and of < found):
                            best, found = square, of
            ring += 1
        distance[n] = np.sqrt(best) if found < len(points) else np.inf
        number[n] = found
