"""Flat charts joined along their seams where they fit, as the faces of a box unfold, and turned the way of the grain.

Seams are taken from the longest to the shortest. The smaller sheet is moved to the larger one's border where the two
borders have the same shape, the sheets do not come to lie on each other, and what is upright on one is upright on the
other. A pattern then goes on over such a seam as it does inside a chart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from texsynth.surface.flatten import areas

Doubles = NDArray[np.float64]
Complex = NDArray[np.complex128]  # places x + i y
Ints = NDArray[np.int64]

MISFIT = 0.02  # of a seam's length: root mean square of what may stay between the two borders
OVERLAP = 0.01  # of the smaller sheet that may come to lie on the larger one
WIDEST = 1.5  # of the side of a square that holds the whole surface: how large a sheet may become
DEEP = 0.2  # cells that a middle must lie inside the other triangle to be hidden
MOST_CHECKED = 1024  # triangles of a sheet whose middles are looked for on the other
CELLS = 400  # to the side of that square, in which overlaps are counted
# A sheet has a way up where this share of what is upright on it agrees and this share of its area is; then sheets have
# to agree to so much. A roof has none; with a wall joined to it, it has the wall's.
UPRIGHT, SOME, SKEW = 0.3, 0.01, np.deg2rad(20)


@dataclass(frozen=True)
class Seam:
    """Two borders of a seam, as points in the order that they meet, int64 (N,) each, ends of edges two by two."""

    one: Ints
    two: Ints


@dataclass
class _Sheet:
    """Charts that hang together. cells: bool, what they cover, from `corner` (in cells) on. up: where up is on it, as
    long as the area that it is upright on; steep: that area, were up one way on all of it."""

    charts: list[int]
    cells: NDArray[np.bool_]
    corner: complex
    up: complex
    steep: float
    area: float

    @property
    def has_up(self) -> bool:
        return abs(self.up) > max(UPRIGHT * self.steep, SOME * self.area)


def unfolded(places: Doubles, of: Ints, charts: Ints, up: Doubles, seams: list[Seam]) -> tuple[Doubles, Ints]:
    """Places (P, 2) after moving and turning each chart as a whole, and the sheet of each chart, int64 (C,).

    of: (T, 3), the points of triangles; charts: (T,), their charts 0 ... C - 1; up: float64 (T, 2), the direction on
    each flat triangle that is up on the surface, times its area and its steepness. Sheets lie on each other still.
    """
    z = np.asarray(places[:, 0] + 1j * places[:, 1])
    chart_of = np.zeros(len(z), np.int64)
    chart_of[of] = charts[:, None]
    count = int(charts.max()) + 1
    weight = np.abs(areas(places[of]))
    cell = np.sqrt(weight.sum()) / CELLS
    order = np.argsort(charts, kind="stable")
    ends = np.searchsorted(charts[order], np.arange(count + 1))
    triangles = [order[a:b] for a, b in itertools.pairwise(ends)]
    ups = np.bincount(charts, up[:, 0], count) + 1j * np.bincount(charts, up[:, 1], count)
    steep = np.bincount(charts, np.hypot(*up.T), count)
    size = np.bincount(charts, weight, count)
    sheets = {}
    for chart in range(count):
        cells, corner = covered_cells(z[of[triangles[chart]]] / cell)
        sheets[chart] = _Sheet([chart], cells, corner, complex(ups[chart]), float(steep[chart]), float(size[chart]))
    sheet_of = np.arange(count)
    points = [np.unique(of[mine]) for mine in triangles]
    for seam in sorted(seams, key=lambda seam: -_length(z, seam.one)):
        a, b = int(sheet_of[chart_of[seam.one[0]]]), int(sheet_of[chart_of[seam.two[0]]])
        if a == b:
            continue
        fixed, moved = seam.one, seam.two
        if sheets[b].area > sheets[a].area:
            a, b, fixed, moved = b, a, moved, fixed
        fit = _rigid(z[moved], z[fixed])
        if fit is None or not _upright_together(sheets[a], sheets[b], fit[0]):
            continue
        mine = np.concatenate([triangles[chart] for chart in sheets[b].charts])
        moved_there = (fit[0] * z[of[mine]] + fit[1]) / cell
        joined = _joined(sheets[a], moved_there)
        there = np.concatenate([triangles[chart] for chart in sheets[a].charts])
        if joined is None or _hides(moved_there, z[of[there]] / cell):
            continue
        for chart in sheets[b].charts:
            z[points[chart]] = fit[0] * z[points[chart]] + fit[1]
            sheet_of[chart] = a
        one, two = sheets[a], sheets.pop(b)
        sheets[a] = _Sheet(
            one.charts + two.charts, joined[0], joined[1], one.up + two.up * fit[0], one.steep + two.steep,
            one.area + two.area,
        )  # fmt: skip
    return np.stack([z.real, z.imag], axis=1), np.unique(sheet_of, return_inverse=True)[1].reshape(-1)


def turned_upright(places: Doubles, of: Ints, sheets: Ints, ups: list[Doubles], angle: float) -> Doubles:
    """Places with each sheet turned so that its up is at the top, and then by `angle`, radians, clockwise.

    sheets: (T,), of each triangle. ups: directions as `unfolded` takes them, the first that a sheet is steep enough to
    have a mean of counts. A sheet that hangs down on both sides has none, but its courses lie level either way up.
    """
    z = np.asarray(places[:, 0] + 1j * places[:, 1])
    count = int(sheets.max()) + 1
    area = np.bincount(sheets, np.abs(areas(places[of])), count)
    turn = np.ones(count, np.complex128)
    settled = np.zeros(count, np.bool_)
    for way in ups:
        up = np.asarray(way[:, 0] + 1j * way[:, 1])
        twofold = _sums(sheets, np.asarray(up**2 / np.maximum(np.abs(up), 1e-300)), count)
        twofold = np.sqrt(twofold) * np.sqrt(np.abs(twofold))
        least = np.maximum(UPRIGHT * np.bincount(sheets, np.abs(up), count), SOME * area)
        for mean in (_sums(sheets, up, count), twofold):
            clear = ~settled & (np.abs(mean) > least)
            turn[clear] = -1j * np.abs(mean[clear]) / mean[clear]  # y runs down: the top is at -i
            settled |= clear
    sheet_of = np.zeros(len(z), np.int64)
    sheet_of[of] = sheets[:, None]
    z = z * turn[sheet_of] * np.exp(1j * angle)
    return np.stack([z.real, z.imag], axis=1)


def _sums(sheets: Ints, values: Complex, count: int) -> Complex:
    return np.asarray(np.bincount(sheets, values.real, count) + 1j * np.bincount(sheets, values.imag, count))


def _length(z: Complex, border: Ints) -> float:
    return float(np.abs(z[border[1::2]] - z[border[::2]]).sum())


def _rigid(moved: Complex, fixed: Complex) -> tuple[complex, complex] | None:
    """Turn r and offset t, r z + t, that bring one border to the other; None where they do not fit."""
    weight = np.repeat(np.abs(fixed[1::2] - fixed[::2]), 2)
    total = weight.sum()
    if total <= 0:
        return None
    mean_moved, mean_fixed = (weight * moved).sum() / total, (weight * fixed).sum() / total
    turn = (weight * (fixed - mean_fixed) * np.conj(moved - mean_moved)).sum()
    if abs(turn) == 0:
        return None
    turn /= abs(turn)
    offset = mean_fixed - turn * mean_moved
    apart = np.sqrt((weight * np.abs(turn * moved + offset - fixed) ** 2).sum() / total)
    return (complex(turn), complex(offset)) if apart <= MISFIT * total / 2 else None


def _upright_together(one: _Sheet, two: _Sheet, turn: complex) -> bool:
    """Whether up is the same way on both, the second turned, or on one of them none."""
    if not (one.has_up and two.has_up):
        return True
    return bool(abs(np.angle(one.up * np.conj(two.up * turn))) < SKEW)


def _joined(sheet: _Sheet, triangles: Complex) -> tuple[NDArray[np.bool_], complex] | None:
    """The cells of a sheet with further triangles, in cells, and their corner; None where these lie on it or it
    becomes too large."""
    more, corner = covered_cells(triangles)
    low = complex(min(sheet.corner.real, corner.real), min(sheet.corner.imag, corner.imag))
    shapes = [
        (int((c - low).imag), int((c - low).real), *cells.shape)
        for c, cells in ((sheet.corner, sheet.cells), (corner, more))
    ]
    height = max(top + rows for top, _, rows, _ in shapes)
    width = max(left + columns for _, left, _, columns in shapes)
    if max(height, width) > max(WIDEST * CELLS, *sheet.cells.shape):
        return None
    both = np.zeros((2, height, width), np.bool_)
    for layer, (top, left, rows, columns), cells in zip(both, shapes, (sheet.cells, more), strict=True):
        layer[top : top + rows, left : left + columns] = cells
    if (both[0] & both[1]).sum() > OVERLAP * more.sum() + 2:
        return None
    return both[0] | both[1], low


def _hides(triangles: Complex, others: Complex) -> bool:
    """Whether the middle of one of the triangles (N, 3) lies in one of the others (M, 3): slivers, in which no cell's
    middle lies, are seen too. Only the `MOST_CHECKED` largest are looked at."""
    size = np.abs(np.imag(np.conj(triangles[:, 1] - triangles[:, 0]) * (triangles[:, 2] - triangles[:, 0])))
    largest = np.argsort(-size)[:MOST_CHECKED]
    middles = triangles[largest].mean(axis=1)
    low, high = middles.real.min(), middles.real.max()
    near = (others.real.max(axis=1) >= low) & (others.real.min(axis=1) <= high)
    low, high = middles.imag.min(), middles.imag.max()
    near &= (others.imag.max(axis=1) >= low) & (others.imag.min(axis=1) <= high)
    hidden = np.zeros(len(middles), np.bool_)
    x, y = np.ascontiguousarray(others[near].real), np.ascontiguousarray(others[near].imag)
    _inside(middles.real.copy(), middles.imag.copy(), x, y, hidden)
    return bool(hidden.any())


@njit(cache=True, nogil=True)
def _inside(px: Any, py: Any, x: Any, y: Any, inside: Any) -> None:  # pragma: no cover - compiled
    for n in range(len(px)):
        for t in range(len(x)):
            area = (x[t, 1] - x[t, 0]) * (y[t, 2] - y[t, 0]) - (x[t, 2] - x[t, 0]) * (y[t, 1] - y[t, 0])
            if area == 0:
                continue
            sign = 1.0 if area > 0 else -1.0
            found = True
            for k in range(3):
                j = (k + 1) % 3
                edge = (x[t, j] - x[t, k]) * (py[n] - y[t, k]) - (px[n] - x[t, k]) * (y[t, j] - y[t, k])
                found = found and edge * sign > DEEP * np.hypot(x[t, j] - x[t, k], y[t, j] - y[t, k])
            if found:
                inside[n] = True
                break


def covered_cells(triangles: Complex, *, touched: bool = False) -> tuple[NDArray[np.bool_], complex]:
    """The cells whose middles triangles (T, 3) cover, and the corner that they are counted from. touched: and those
    that their edges pass through, which slivers have only."""
    low = complex(np.floor(triangles.real.min()), np.floor(triangles.imag.min()))
    within = triangles - low
    cells = np.zeros((int(within.imag.max()) + 1, int(within.real.max()) + 1), np.bool_)
    _fill(np.ascontiguousarray(within.real), np.ascontiguousarray(within.imag), cells)
    if touched:
        _outline(np.ascontiguousarray(within.real), np.ascontiguousarray(within.imag), cells)
    return cells, low


@njit(cache=True, nogil=True)
def _outline(x: Any, y: Any, cells: Any) -> None:  # pragma: no cover - compiled
    for t in range(len(x)):
        for k in range(3):
            j = (k + 1) % 3
            count = 1 + int(2 * max(abs(x[t, j] - x[t, k]), abs(y[t, j] - y[t, k])))
            for i in range(count + 1):
                share = i / count
                cells[int(y[t, k] + share * (y[t, j] - y[t, k])), int(x[t, k] + share * (x[t, j] - x[t, k]))] = True


@njit(cache=True, nogil=True)
def _fill(x: Any, y: Any, cells: Any) -> None:  # pragma: no cover - compiled
    for t in range(len(x)):
        area = (x[t, 1] - x[t, 0]) * (y[t, 2] - y[t, 0]) - (x[t, 2] - x[t, 0]) * (y[t, 1] - y[t, 0])
        sign = 1.0 if area > 0 else -1.0
        for row in range(int(y[t].min()), int(y[t].max()) + 1):
            for column in range(int(x[t].min()), int(x[t].max()) + 1):
                inside = True
                for k in range(3):
                    j = (k + 1) % 3
                    edge = (x[t, j] - x[t, k]) * (row + 0.5 - y[t, k]) - (column + 0.5 - x[t, k]) * (y[t, j] - y[t, k])
                    inside = inside and edge * sign >= 0
                if inside:
                    cells[row, column] = True
