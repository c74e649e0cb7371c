"""Triangle rasterisers: UV space (which texels a chart needs, and which triangle lies at each) and screen space (what
the preview camera sees).

All decide by sample centres with the top-left rule in exact integer arithmetic, so two triangles that share an edge
never both cover a sample and never leave one out.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from texsynth.errors import bad_input
from texsynth.surface.flatten import areas
from texsynth.surface.mesh import Mesh

MAX_UV_TILES = 256  # a triangle may repeat the texture this often; more is a broken export, not a tiling
_MAX_FRACTION_BITS = 12  # vertices snap to 1/4096 texel (GPUs snap to 1/256)
SMALLEST_AREA = 1e-9  # square texels, twice: below it rounding decides what a triangle's weights are
_COORDINATE_BITS = 30  # below 2^30, an edge function (a sum of two products) stays inside int64


def uv_mask(mesh: Mesh, size: int, material_index: int | None = None, gutter: int | None = None) -> NDArray[np.bool_]:
    """Texels of a (size, size) texture that the UV triangles need: bool (size, size), row 0 = top row (v = 0).

    A texel is covered when its centre (i + 0.5) lies in a triangle (top-left rule). With a gutter, texels that a
    triangle's outline merely touches count too (a sliver between centres must not be lost), and the whole is dilated
    by `gutter` texels in both axes (square neighbourhood). UVs outside 0..1 repeat, and so does the dilation.

    `material_index` selects the triangles of one material; None takes all. `gutter` defaults to size / 256, at least
    2. Takes about 3 bytes per texel while it runs, 1 byte afterwards.
    Raises TexsynthError where a triangle repeats the texture more than `MAX_UV_TILES` times.
    """
    if gutter is None:
        gutter = max(2, size // 256)
    triangles = mesh.triangles if material_index is None else mesh.triangles[mesh.material_index == material_index]
    corners, bits, _ = _snap(mesh.uvs.astype(np.float64)[triangles], size)
    mask = np.zeros((size, size), np.uint8)
    _fill_wrapped(corners, bits, mask)
    if gutter > 0:
        _outline_wrapped(corners, bits, mask)
        mask = dilate_wrapped(mask, min(gutter, size))
    return mask.view(np.bool_)


def _snap(uvs: NDArray[np.float64], size: int) -> tuple[NDArray[np.int64], int, NDArray[np.int64]]:
    """UV corners (T, 3, 2) as fixed-point texels that begin in tile 0, the fraction bits, and the tile (T, 1, 2) that
    each triangle was moved from."""
    if uvs.size == 0:
        return np.zeros((0, 3, 2), np.int64), 0, np.zeros((0, 1, 2), np.int64)
    # one corner against another is five times as fast here as `min(axis=1)`
    highest = np.maximum(np.maximum(uvs[:, 0], uvs[:, 1]), uvs[:, 2])
    tiles = float(np.max(highest - np.floor(np.minimum(np.minimum(uvs[:, 0], uvs[:, 1]), uvs[:, 2]))))
    if not tiles <= MAX_UV_TILES:
        raise bad_input(
            "mesh", f"a triangle repeats the texture {tiles:.3g} times", f"UVs may span at most {MAX_UV_TILES} tiles"
        )
    bits = min(_MAX_FRACTION_BITS, _COORDINATE_BITS - int(np.ceil(np.log2(size * (tiles + 1)))))
    # The whole tiles go AFTER rounding, so that corners shared by two triangles stay shared.
    fixed: NDArray[np.int64] = np.rint(uvs * (size << bits)).astype(np.int64)
    tile = np.int64(size << bits)
    lowest: NDArray[np.int64] = np.minimum(np.minimum(fixed[:, 0], fixed[:, 1]), fixed[:, 2])
    moved: NDArray[np.int64] = np.floor_divide(lowest, tile)[:, None]
    return fixed - moved * tile, bits, moved


def dilate_wrapped(mask: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Square dilation by `radius` with repeat at the borders."""
    padded = cv2.copyMakeBorder(mask, radius, radius, radius, radius, cv2.BORDER_WRAP)
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    cv2.dilate(padded, kernel, dst=padded)
    return np.ascontiguousarray(padded[radius:-radius, radius:-radius])


@njit(cache=True, nogil=True)
def _row_span(x: NDArray[np.int64], y: NDArray[np.int64], sample_y: int, low: int, high: int) -> tuple[int, int]:
    """The fixed-point x range of samples on the row `sample_y` inside a triangle of positive area (y down).

    Inside: dx (y - ay) - dy (x - ax) > 0 for every edge, or = 0 on a top edge (dy = 0, dx > 0) or left edge (dy < 0).
    """
    for a in range(3):
        b = (a + 1) % 3
        dx, dy = x[b] - x[a], y[b] - y[a]
        value = dx * (sample_y - y[a]) + dy * x[a]
        if dy > 0:
            high = min(high, -((-value) // dy) - 1)
        elif dy < 0:
            low = max(low, -(value // -dy))
        elif value < 0 or (value == 0 and dx <= 0):
            return 1, 0
    return low, high


@njit(cache=True, nogil=True)
def _orient(x: NDArray[np.int64], y: NDArray[np.int64]) -> int:
    """Swap two corners where needed so that the area is positive; returns twice the area (0: nothing to draw)."""
    area = int((x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0]))
    if area < 0:
        x[1], x[2] = x[2], x[1]
        y[1], y[2] = y[2], y[1]
        area = -area
    return area


@njit(cache=True, nogil=True)
def _mark_row(row: NDArray[np.uint8], first: int, last: int) -> bool:
    """Mark texels first..last of a row with repeat; True when that is the whole row."""
    size = row.shape[0]
    if last - first + 1 >= size:
        row[:] = 1
        return True
    i = first % size
    for _ in range(last - first + 1):
        row[i] = 1
        i += 1
        if i == size:
            i = 0
    return False


@njit(cache=True, nogil=True)
def _fill_wrapped(corners: NDArray[np.int64], bits: int, mask: NDArray[np.uint8]) -> None:
    """Mark texels whose centre lies in a triangle. A full row is skipped, so many-tiled triangles stay cheap."""
    size = mask.shape[0]
    full = np.zeros(size, np.bool_)
    one = 1 << bits
    half = one >> 1
    x = np.empty(3, np.int64)
    y = np.empty(3, np.int64)
    for t in range(corners.shape[0]):
        x[:] = corners[t, :, 0]
        y[:] = corners[t, :, 1]
        if _orient(x, y) == 0:
            continue
        x_min, x_max = x.min(), x.max()
        for row in range((y.min() - half + one - 1) >> bits, ((y.max() - half) >> bits) + 1):
            wrapped = row % size
            if full[wrapped]:
                continue
            low, high = _row_span(x, y, row * one + half, x_min, x_max)
            first, last = (low - half + one - 1) >> bits, (high - half) >> bits
            if last >= first:
                full[wrapped] = _mark_row(mask[wrapped], first, last)


@njit(cache=True, nogil=True)
def _outline_wrapped(corners: NDArray[np.int64], bits: int, mask: NDArray[np.uint8]) -> None:
    """Mark every texel that an edge of a triangle passes through."""
    size = mask.shape[0]
    full = np.zeros(size, np.bool_)
    scale = 1.0 / (1 << bits)
    for t in range(corners.shape[0]):
        for a in range(3):
            b = (a + 1) % 3
            if corners[t, b, 1] < corners[t, a, 1]:
                a, b = b, a  # noqa: PLW2901
            x0, y0 = corners[t, a, 0] * scale, corners[t, a, 1] * scale
            x1, y1 = corners[t, b, 0] * scale, corners[t, b, 1] * scale
            slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
            for row in range(int(np.floor(y0)), int(np.floor(y1)) + 1):
                wrapped = row % size
                if full[wrapped]:
                    continue
                start = x0 if y1 == y0 else x0 + slope * (max(y0, float(row)) - y0)
                end = x1 if y1 == y0 else x0 + slope * (min(y1, row + 1.0) - y0)
                full[wrapped] = _mark_row(mask[wrapped], int(np.floor(min(start, end))), int(np.floor(max(start, end))))


@dataclass(frozen=True)
class TexelTriangles:
    """What lies at each texel of a band of rows.

    `triangle` int32 (rows, size), index into `mesh.triangles`, -1 = none; `weights` float32 (rows, size, 3), the
    barycentric weights of the texel's centre, in the order of the triangle's corners: >= 0, sum 1; 0 where there is
    none.
    """

    triangle: NDArray[np.int32]
    weights: NDArray[np.float32]


class UvRaster:
    """Which triangle covers each texel of a (size, size) texture, and where in it, a band of rows at a time.

    The rules are those of `uv_mask` without a gutter: a texel is covered when its centre lies in a triangle whose
    corners are snapped to 1/4096 texel, and UVs outside 0..1 repeat. Where triangles overlap the lowest number wins;
    of one that overlaps itself by repeating, its copy in the lowest row of tiles, then the lowest column. Weights are
    those on the UVs as they are, moved into the triangle where only the snapped one covers the centre.

    Made once per mesh: sorting the triangles by rows takes about 120 bytes a triangle, and a band then looks only at
    triangles near it.

    chosen: int32 (T,), numbers in `mesh.triangles`. corners: int64 (T, 3, 2), x and y in texels times 2^bits, those
    that begin in tile 0. origin: float64 (T, 2), the first corner in texels; to_weights: float64 (T, 2, 2), takes a
    texel's offset from there to the weights of the other two corners. order: the T triangles, sorted for `near`.
    rows_of_tiles: how many tiles the tallest reaches down.
    Raises TexsynthError where a triangle repeats the texture more than `MAX_UV_TILES` times.
    """

    def __init__(self, mesh: Mesh, size: int, material_index: int | None = None) -> None:
        taken = (
            np.ones(len(mesh.triangles), np.bool_) if material_index is None else mesh.material_index == material_index
        )
        self.size = size
        self.chosen = np.flatnonzero(taken).astype(np.int32)
        uvs = mesh.uvs[mesh.triangles[self.chosen]].astype(np.float64)
        self.corners, self.bits, tile = _snap(uvs, size)
        texels = (uvs - tile) * size
        # of a triangle whose area only snapping made, the snapped corners count
        flat = 2 * np.abs(areas(texels)) < SMALLEST_AREA
        texels[flat] = self.corners[flat] / (1 << self.bits)
        self.origin, self.to_weights = texels[:, 0].copy(), _to_weights(texels)
        first, last = self.corners[:, :, 1].min(axis=1) >> self.bits, self.corners[:, :, 1].max(axis=1) >> self.bits
        self.rows_of_tiles = 1 + int(last.max(initial=0)) // size
        # A triangle of at most 2^level rows lies in two neighbouring buckets of 2^level rows: it is kept in the first.
        levels = np.arange(int(last.max(initial=0)).bit_length() + 1)
        counts = (size >> levels) + 1
        self._begins = np.cumsum(counts) - counts
        level = np.ceil(np.log2(last - first + 1)).astype(np.int64)
        key = self._begins[level] + (first >> level)
        self.order = np.argsort(key.astype(np.min_scalar_type(int(counts.sum()))), kind="stable")
        self._ends = np.r_[0, np.cumsum(np.bincount(key, minlength=int(counts.sum())))]

    def near(self, first: int, last: int) -> list[tuple[int, int]]:
        """Slices of `order`: every triangle that may reach into the rows first..last - 1, counted on through the
        tiles below the first, is in exactly one."""
        slices = []
        for level, begin in enumerate(self._begins):
            buckets = (self.size >> level) + 1
            low, high = max((first >> level) - 1, 0), min((last - 1 >> level) + 1, buckets)
            if low < high and self._ends[begin + low] < self._ends[begin + high]:
                slices.append((int(self._ends[begin + low]), int(self._ends[begin + high])))
        return slices

    def rows(self, first: int, last: int) -> TexelTriangles:
        """The texels of the rows first..last - 1, row 0 = top row (v = 0)."""
        size = self.size
        triangle = np.full((last - first, size), -1, np.int32)
        weights = np.zeros((last - first, size, 3), np.float32)
        lifts = range(0, self.rows_of_tiles * size, size)
        found = [self.order[a:b] for lift in lifts for a, b in self.near(first + lift, last + lift)]
        if found:
            # in ascending order, so that a texel belongs to whoever comes first
            nearby = np.unique(np.concatenate(found))
            _fill_lowest(
                nearby, self.chosen, self.corners, self.bits, self.origin, self.to_weights, first, triangle, weights
            )
        return TexelTriangles(triangle, weights)


def _to_weights(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (T, 2, 2): the inverse of [second - first, third - first]; 0 where a triangle has no area."""
    one, two, area = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], 2 * areas(corners)
    adjugate = np.stack([two[:, 1], -two[:, 0], -one[:, 1], one[:, 0]], axis=1).reshape(-1, 2, 2)
    return np.divide(adjugate, area[:, None, None], out=np.zeros_like(adjugate), where=area[:, None, None] != 0)


@njit(cache=True, nogil=True)
def _fill_lowest(
    nearby: NDArray[np.int64],
    chosen: NDArray[np.int32],
    corners: NDArray[np.int64],
    bits: int,
    origin: NDArray[np.float64],
    to_weights: NDArray[np.float64],
    top: int,
    triangle: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> None:
    """Give every free texel of the rows from `top` on to the first of the triangles `nearby` that covers it."""
    height, size = triangle.shape
    free = np.full(height, size, np.int64)
    one = 1 << bits
    half = one >> 1
    x = np.empty(3, np.int64)
    y = np.empty(3, np.int64)
    for t in nearby:
        x[:] = corners[t, :, 0]
        y[:] = corners[t, :, 1]
        if _orient(x, y) == 0:
            continue
        x_min, x_max = x.min(), x.max()
        low_row, high_row = (y.min() - half + one - 1) >> bits, (y.max() - half) >> bits
        for lift in range((low_row - top) // size * size, high_row - top + 1, size):
            for row in range(max(low_row, top + lift), min(high_row, top + lift + height - 1) + 1):
                here = row - top - lift
                if free[here] == 0:
                    continue
                low, high = _row_span(x, y, row * one + half, x_min, x_max)
                left, right = (low - half + one - 1) >> bits, (high - half) >> bits
                for column in range(left, min(right, left + size - 1) + 1):
                    wrapped = column % size
                    if triangle[here, wrapped] >= 0:
                        continue
                    free[here] -= 1
                    triangle[here, wrapped] = chosen[t]
                    dx, dy = column + 0.5 - origin[t, 0], row + 0.5 - origin[t, 1]
                    second = to_weights[t, 0, 0] * dx + to_weights[t, 0, 1] * dy
                    third = to_weights[t, 1, 0] * dx + to_weights[t, 1, 1] * dy
                    start, second, third = max(1 - second - third, 0.0), max(second, 0.0), max(third, 0.0)
                    total = start + second + third
                    weights[here, wrapped, 0] = start / total
                    weights[here, wrapped, 1] = second / total
                    weights[here, wrapped, 2] = third / total


@dataclass(frozen=True)
class Visible:
    """What each of (h, w) screen samples sees.

    `triangle` int32, -1 = nothing; `weights` float32 (h, w, 3) barycentric weights, perspective-correct;
    `inverse_depth` float32, 1 / clip w (larger = nearer, 0 = nothing).
    """

    triangle: NDArray[np.int32]
    weights: NDArray[np.float32]
    inverse_depth: NDArray[np.float32]


def visible(
    clip: NDArray[np.float64], triangles: NDArray[np.int32], width: int, height: int, behind: Visible | None = None
) -> Visible:
    """Nearest triangle at every sample centre (i + 0.5) of a width x height screen, by a z-buffer.

    `clip` is (V, 3) float64: pixel x, pixel y (down), clip w (> 0: distance along the view axis). Triangles with a
    corner at w <= 0 are left out: there is no near-plane clipping because preview cameras stand outside the mesh.
    With `behind`, only triangles nearer than it are kept (a second layer for transparent surfaces).
    """
    triangle = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 3), np.float32)
    inverse_depth = np.zeros((height, width), np.float32) if behind is None else behind.inverse_depth.copy()
    bits = 8
    limit = float(1 << (_COORDINATE_BITS - 2))
    fixed = np.rint(np.clip(clip[:, :2] * (1 << bits), -limit, limit)).astype(np.int64)
    _fill_nearest(fixed, clip[:, 2].copy(), triangles, bits, triangle, weights, inverse_depth)
    return Visible(triangle, weights, inverse_depth)


@njit(cache=True, nogil=True)
def _fill_nearest(
    fixed: NDArray[np.int64],
    clip_w: NDArray[np.float64],
    triangles: NDArray[np.int32],
    bits: int,
    triangle: NDArray[np.int32],
    weights: NDArray[np.float32],
    inverse_depth: NDArray[np.float32],
) -> None:
    height, width = triangle.shape
    one = 1 << bits
    half = one >> 1
    x = np.empty(3, np.int64)
    y = np.empty(3, np.int64)
    inverse_w = np.empty(3, np.float64)
    share = np.empty(3, np.float64)
    for t in range(triangles.shape[0]):
        in_front = True
        for k in range(3):
            v = triangles[t, k]
            x[k], y[k] = fixed[v, 0], fixed[v, 1]
            in_front &= clip_w[v] > 0
            inverse_w[k] = 1.0 / clip_w[v] if clip_w[v] > 0 else 0.0
        if not in_front:
            continue
        flipped = (x[1] - x[0]) * (y[2] - y[0]) < (y[1] - y[0]) * (x[2] - x[0])
        area = _orient(x, y)
        if area == 0:
            continue
        if flipped:
            inverse_w[1], inverse_w[2] = inverse_w[2], inverse_w[1]
        x_min, x_max = max(x.min(), 0), min(x.max(), width * one - 1)
        first_row = max((y.min() - half + one - 1) >> bits, 0)
        last_row = min((y.max() - half) >> bits, height - 1)
        for row in range(first_row, last_row + 1):
            sample_y = row * one + half
            low, high = _row_span(x, y, sample_y, x_min, x_max)
            for column in range((low - half + one - 1) >> bits, ((high - half) >> bits) + 1):
                sample_x = column * one + half
                total = 0.0  # 1 / w is linear on the screen, and so is every attribute over w
                for k in range(3):
                    a, b = (k + 1) % 3, (k + 2) % 3
                    edge = (x[b] - x[a]) * (sample_y - y[a]) - (y[b] - y[a]) * (sample_x - x[a])
                    share[k] = edge / area * inverse_w[k]
                    total += share[k]
                if total > inverse_depth[row, column]:
                    inverse_depth[row, column] = total
                    triangle[row, column] = t
                    weights[row, column, 0] = share[0] / total
                    weights[row, column, 1] = share[2 if flipped else 1] / total
                    weights[row, column, 2] = share[1 if flipped else 2] / total
