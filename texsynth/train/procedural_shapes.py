"""Elements laid out on a periodic plane: courses of bricks, cells of stones, stamped pebbles and leaves, threads.

Everything wraps around the unit square. Lengths are in units of the side, x to the right, y down, angles from +x
towards +y. Kernels are plain loops compiled by numba without fast-math, so that a seed gives the same result anywhere.
"""

# ruff: noqa: PLR0915 - the compiled kernels take flat arrays and write into several

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from texsynth.train.procedural_field import Field, Ids

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """Which block of a coursed layout a texel belongs to, and where in it.

    `ident` numbers the blocks, `row` is the course; `dx`, `dy` are the offsets from the block's centre and
    `half_width`, `half_height` its half extents, all (size, size) or, for `table_*`, by block.
    """

    ident: Ids
    row: Ids
    dx: Field
    dy: Field
    half_width: Field
    half_height: Field
    count: int


def courses(x: Field, y: Field, tops: Sequence[float], edges: Sequence[Sequence[float]]) -> Blocks:
    """Blocks in horizontal courses: course r spans tops[r]..tops[r + 1] (the last one wraps to tops[0] + 1).

    `edges[r]` are the left edges of its blocks, ascending; they may exceed 1 by wrapping. x and y may be warped.
    """
    top = np.asarray(tops, np.float64)
    bottom = np.append(top[1:], top[0] + 1)
    rows = len(top)
    y_in = (np.broadcast_to(y, np.broadcast_shapes(x.shape, y.shape)) - top[0]) % 1.0 + top[0]
    row = np.clip(np.searchsorted(top, y_in, "right") - 1, 0, rows - 1)
    starts: list[float] = []
    centres: list[float] = []
    halves: list[float] = []
    owners: list[int] = []
    block = 0
    for r, row_edges in enumerate(edges):
        left = np.sort(np.asarray(row_edges, np.float64) % 1.0)
        right = np.append(left[1:], left[0] + 1)
        # The part of the last block that wraps to the left margin is a second interval with the same owner.
        starts += [2.0 * r, *(2.0 * r + left)]
        owners += [block + len(left) - 1, *range(block, block + len(left))]
        centres += list((left + right) / 2)
        halves += list((right - left) / 2)
        block += len(left)
    interval = np.searchsorted(np.asarray(starts), 2.0 * row + np.asarray(x, np.float64) % 1.0, "right") - 1
    ident = np.asarray(owners, np.int32)[interval]
    centre_x = np.asarray(centres)[ident]
    dx = (np.asarray(x, np.float64) - centre_x + 0.5) % 1.0 - 0.5
    dy = y_in - ((top + bottom) / 2)[row]
    return Blocks(
        ident,
        row.astype(np.int32),
        dx.astype(np.float32),
        dy.astype(np.float32),
        np.asarray(halves, np.float32)[ident],
        ((bottom - top) / 2).astype(np.float32)[row],
        block,
    )


def rounded_box(dx: Field, dy: Field, half_width: Field, half_height: Field, radius: float) -> Field:
    """Signed distance to a rectangle with corners of `radius`, negative inside."""
    qx = np.abs(dx) - half_width + np.float32(radius)
    qy = np.abs(dy) - half_height + np.float32(radius)
    outside = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0))
    distance: Field = outside + np.minimum(np.maximum(qx, qy), 0) - np.float32(radius)
    return distance


@njit(cache=True)
def _throw(x: Array, y: Array, radius: Array, stretch: float, keep: npt.NDArray[np.int64]) -> int:
    kept = 0
    for i in range(x.shape[0]):
        free = True
        for k in range(kept):
            j = keep[k]
            dx = abs(x[i] - x[j])
            dy = abs(y[i] - y[j])
            dx = min(dx, 1 - dx) / stretch
            dy = min(dy, 1 - dy)
            reach = radius[i] + radius[j]
            if dx * dx + dy * dy < reach * reach:
                free = False
                break
        if free:
            keep[kept] = i
            kept += 1
    return kept


def scatter(
    rng: np.random.Generator, largest: float, smallest: float, tries: int = 6000, stretch: float = 1.0, skew: float = 1
) -> tuple[Array, Array, Array]:
    """Discs that do not overlap, largest first: centres x, y and radii. Ellipses `stretch` times wider than high.

    Radii fall from `largest` to `smallest` along the `tries`, as a power `skew` of the progress.
    """
    x, y = rng.random(tries), rng.random(tries)
    radius = smallest + (largest - smallest) * (1 - np.linspace(0, 1, tries)) ** skew
    radius *= 1 + 0.1 * (rng.random(tries) - 0.5)
    keep = np.zeros(tries, np.int64)
    kept = _throw(x, y, radius, stretch, keep)
    chosen = keep[:kept]
    return x[chosen], y[chosen], radius[chosen]


@dataclass(frozen=True)
class Cells:
    """Voronoi (power) cells: `ident` of the site, offset `dx`, `dy` from it, `edge` the distance to the cell's edge.

    With `rounding` the edge distance is a smooth minimum, so that level lines have round corners.
    """

    ident: Ids
    dx: Field
    dy: Field
    edge: Field
    count: int


@njit(cache=True)
def _cells(
    x: Field,
    y: Field,
    site_x: Field,
    site_y: Field,
    weight: Field,
    stretch: np.float32,
    rounding: np.float32,
    bins: int,
    first: Ids,
    order: Ids,
    reach: int,
    ident: Ids,
    out_dx: Field,
    out_dy: Field,
    edge: Field,
) -> None:
    near = np.empty(4096, np.int32)
    near_x = np.empty(4096, np.float32)
    near_y = np.empty(4096, np.float32)
    powers = np.empty(4096, np.float32)
    inverse = np.float32(1 / stretch)
    last_x = -1
    last_y = -1
    count = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            px = x[i, j] - np.floor(x[i, j])
            py = y[i, j] - np.floor(y[i, j])
            bx = min(int(px * bins), bins - 1)
            by = min(int(py * bins), bins - 1)
            if bx != last_x or by != last_y:
                # Neighbouring texels mostly share their bin, and with it the list of sites to compare.
                last_x = bx
                last_y = by
                count = 0
                for oy in range(by - reach, by + reach + 1):
                    for ox in range(bx - reach, bx + reach + 1):
                        b = (oy % bins) * bins + ox % bins
                        for k in range(first[b], first[b + 1]):
                            near[count] = order[k]
                            near_x[count] = (site_x[order[k]] + np.float32(ox // bins)) * inverse
                            near_y[count] = site_y[order[k]] + np.float32(oy // bins)
                            count += 1
            qx = px * inverse
            best = np.float32(1e9)
            owner = 0
            for k in range(count):
                dx = near_x[k] - qx
                dy = near_y[k] - py
                power = dx * dx + dy * dy - weight[near[k]]
                powers[k] = power
                if power < best:
                    best = power
                    owner = k
            ax = near_x[owner]
            ay = near_y[owner]
            closest = np.float32(1e9)
            total = np.float32(0)
            for k in range(count):
                dx = near_x[k] - ax
                dy = near_y[k] - ay
                gap = dx * dx + dy * dy
                beyond = powers[k] - best
                limit = closest + 8 * rounding
                if k == owner or gap < 1e-12 or beyond * beyond >= 4 * gap * limit * limit:
                    continue
                distance = beyond / (2 * np.sqrt(gap))
                if rounding > 0:
                    total += np.exp(-distance / rounding)
                closest = min(closest, distance)
            if total > 0:
                closest = max(np.float32(0), -rounding * np.log(total))
            ident[i, j] = near[owner]
            out_dx[i, j] = (qx - ax) * stretch
            out_dy[i, j] = py - ay
            edge[i, j] = closest


def cells(
    x: Field,
    y: Field,
    site_x: Array,
    site_y: Array,
    radius: Array | None = None,
    stretch: float = 1.0,
    rounding: float = 0.0,
) -> Cells:
    """Power cells of the sites at the (possibly warped) coordinates: |p - site|^2 - radius^2 is least.

    Bisectors of a power diagram are straight, so the distance to the edge is exact (Aurenhammer 1987). x counts
    1 / `stretch`; `edge` is in that metric (y's).
    """
    shape = np.broadcast_shapes(x.shape, y.shape)
    count = len(site_x)
    bins = int(np.clip(np.sqrt(count), 1, 512))
    reach = min(2, bins // 2)  # two rings hold all sites that can matter for jittered, near-uniform sites
    column = (np.asarray(site_x) % 1.0 * bins).astype(np.int64) % bins
    line = (np.asarray(site_y) % 1.0 * bins).astype(np.int64) % bins
    where = line * bins + column
    order = np.argsort(where, kind="stable").astype(np.int32)
    first = np.searchsorted(where[order], np.arange(bins * bins + 1)).astype(np.int32)
    weight = np.zeros(count) if radius is None else np.square(radius)
    ident = np.empty(shape, np.int32)
    dx, dy, edge = (np.empty(shape, np.float32) for _ in range(3))
    _cells(
        np.ascontiguousarray(np.broadcast_to(x, shape), np.float32),
        np.ascontiguousarray(np.broadcast_to(y, shape), np.float32),
        np.asarray(site_x % 1.0, np.float32),
        np.asarray(site_y % 1.0, np.float32),
        np.asarray(weight, np.float32),
        np.float32(stretch),
        np.float32(rounding),
        bins,
        first,
        order,
        reach,
        ident,
        dx,
        dy,
        edge,
    )
    return Cells(ident, dx, dy, edge, count)


def jittered(
    rng: np.random.Generator, columns: int, rows: int, jitter: float, stagger: bool = True
) -> tuple[Array, Array]:
    """Sites on a grid (every other row half a cell aside), moved by up to `jitter` of half a cell."""
    column, row = np.meshgrid(np.arange(columns), np.arange(rows))
    offset = 0.25 + 0.5 * (row % 2) if stagger else 0.5
    x = (column + offset + jitter * (rng.random(column.shape) - 0.5)) / columns
    y = (row + 0.5 + jitter * (rng.random(row.shape) - 0.5)) / rows
    return (x % 1.0).ravel(), (y % 1.0).ravel()


@dataclass(frozen=True)
class Pile:
    """Elements lying on each other: of the topmost one its `ident` (-1: none), local `u`, `v` and the `height`."""

    height: Field
    ident: Ids
    u: Field
    v: Field


def empty_pile(ground: Field) -> Pile:
    """A pile with nothing on the ground yet (height in units of the side)."""
    blank = np.zeros_like(ground)
    return Pile(ground.copy(), np.full(ground.shape, -1, np.int32), blank, blank.copy())


@njit(cache=True)
def _stones(placed: Field, facets: Field, height: Field, ident: Ids, out_u: Field, out_v: Field, base: int) -> None:
    size = height.shape[0]
    for n in range(placed.shape[0]):
        cx, cy, z, a, b, angle, thick, round_ = placed[n]
        cos = np.cos(angle)
        sin = np.sin(angle)
        extent = max(a, b) * 1.05
        tallest = np.float32(1e9)  # no point rises above a plane that is nearly level
        for k in range(facets.shape[1]):
            lean = np.sqrt(facets[n, k, 0] * facets[n, k, 0] + facets[n, k, 1] * facets[n, k, 1])
            tallest = min(tallest, facets[n, k, 3] * (facets[n, k, 2] + lean))
        x0 = int(np.floor((cx - extent) * size))
        x1 = int(np.ceil((cx + extent) * size))
        y0 = int(np.floor((cy - extent) * size))
        y1 = int(np.ceil((cy + extent) * size))
        for yy in range(y0, y1 + 1):
            for xx in range(x0, x1 + 1):
                px = (xx + 0.5) / size - cx
                py = (yy + 0.5) / size - cy
                s = (px * cos + py * sin) / a
                t = (py * cos - px * sin) / b
                if s * s + t * t > 1.0:
                    continue
                # Convex outline and facets: the least of the bevel planes and the top plane, blended smoothly.
                i = yy % size
                j = xx % size
                swell = thick * (1 - np.float32(0.35) * (s * s + t * t))
                if z + swell * tallest <= height[i, j]:
                    continue
                lowest = np.float32(1e9)
                for k in range(facets.shape[1]):
                    plane = facets[n, k, 3] * (facets[n, k, 2] - s * facets[n, k, 0] - t * facets[n, k, 1])
                    lowest = min(lowest, plane)
                if lowest <= 0 or z + swell * lowest <= height[i, j]:
                    continue  # outside, or under another stone even before the edges are rounded off
                total = np.float32(0)
                for k in range(facets.shape[1]):
                    plane = facets[n, k, 3] * (facets[n, k, 2] - s * facets[n, k, 0] - t * facets[n, k, 1])
                    if plane < lowest + 12 * round_:
                        total += np.exp((lowest - plane) / round_)
                h = z + swell * max(np.float32(0), lowest - round_ * np.log(total))
                if h > height[i, j]:
                    height[i, j] = h
                    ident[i, j] = base + n
                    out_u[i, j] = s
                    out_v[i, j] = t


def add_stones(pile: Pile, placed: Array, facets: Array, base: int = 0) -> None:
    """Put stones on the pile, in place. A stone is its top's convex polyhedron over an ellipse.

    placed (n, 8): x, y, base height, half-length, half-width, angle, thickness, rounding of the edges (0.02 crushed
    .. 0.3 pebble). facets (n, k, 4): a plane's direction (cos, sin), its distance from the centre and its steepness,
    in the ellipse's unit disc; direction (0, 0) makes a level plane at distance * steepness.
    """
    _stones(placed.astype(np.float32), facets.astype(np.float32), pile.height, pile.ident, pile.u, pile.v, base)


@njit(cache=True)
def _leaves(
    placed: Field, shape: Field, widths: Field, height: Field, ident: Ids, out_u: Field, out_v: Field, base: int
) -> None:
    size = height.shape[0]
    for n in range(placed.shape[0]):
        cx, cy, z, a, b, angle, tilt_s, tilt_t = placed[n]
        curl, cup, bend = shape[n, 4], shape[n, 5], shape[n, 6]
        cos = np.cos(angle)
        sin = np.sin(angle)
        extent = np.hypot(a, b) + abs(bend) * b
        x0 = int(np.floor((cx - extent) * size))
        x1 = int(np.ceil((cx + extent) * size))
        y0 = int(np.floor((cy - extent) * size))
        y1 = int(np.ceil((cy + extent) * size))
        for yy in range(y0, y1 + 1):
            for xx in range(x0, x1 + 1):
                px = (xx + 0.5) / size - cx
                py = (yy + 0.5) / size - cy
                s = (px * cos + py * sin) / a
                t = (py * cos - px * sin) / b - bend * (s * s - 0.5)
                along = (s + 1) * np.float32(0.5)
                if along <= 0.0 or along >= 1.0 or abs(t) >= 1.0:
                    continue
                at = along * (widths.shape[1] - 1)
                k = int(at)
                width = widths[n, k] + (widths[n, k + 1] - widths[n, k]) * (at - k)
                if abs(t) >= width:
                    continue
                h = z + tilt_s * s * a + tilt_t * t * b + b * (cup * t * t + curl * s * s)
                i = yy % size
                j = xx % size
                if h > height[i, j]:
                    height[i, j] = h
                    ident[i, j] = base + n
                    out_u[i, j] = along
                    out_v[i, j] = t / max(width, 0.05)


def add_leaves(pile: Pile, placed: Array, shape: Array, base: int = 0) -> None:
    """Put leaves on the pile, in place; `u` runs from the stem to the tip (0..1), `v` across (-1..1).

    placed (n, 8): x, y, height of the centre, half-length, half-width, angle, tilt along, tilt across.
    shape (n, 7): belly (1 symmetric, below 1 widest near the stem), point (0.5 round .. 1.5 slender), number of lobes,
    depth of lobes, curl along, cup across, bend of the midrib.
    """
    belly, point, lobes, depth = (shape[:, k : k + 1] for k in range(4))
    along = np.linspace(0, 1, 257)[None]
    blade = np.clip((along - 0.1) / 0.9, 0, 1)
    widths = np.sin(np.pi * blade**belly) ** point * (1 - depth * (0.5 + 0.5 * np.cos(2 * np.pi * lobes * blade)))
    widths = np.maximum(widths, np.where(along < 0.14, 0.035, 0.0))
    _leaves(
        placed.astype(np.float32),
        shape.astype(np.float32),
        widths.astype(np.float32),
        pile.height,
        pile.ident,
        pile.u,
        pile.v,
        base,
    )


@njit(cache=True)
def _threads(points: Field, flat: float, height: Field, ident: Ids, out_u: Field, out_v: Field, base: int) -> None:
    size = height.shape[0]
    for n in range(points.shape[0]):
        along = np.float32(0)
        for k in range(points.shape[1] - 1):
            ax, ay, az, ar = points[n, k]
            bx, by, bz, br = points[n, k + 1]
            widest = max(ar, br)
            sx = bx - ax
            sy = by - ay
            length2 = sx * sx + sy * sy
            length = np.sqrt(length2)
            if length2 < 1e-14:
                continue
            x0 = int(np.floor((min(ax, bx) - widest) * size))
            x1 = int(np.ceil((max(ax, bx) + widest) * size))
            y0 = int(np.floor((min(ay, by) - widest) * size))
            y1 = int(np.ceil((max(ay, by) + widest) * size))
            for yy in range(y0, y1 + 1):
                for xx in range(x0, x1 + 1):
                    px = (xx + 0.5) / size - ax
                    py = (yy + 0.5) / size - ay
                    t = (px * sx + py * sy) / length2
                    t = min(1.0, max(0.0, t))
                    dx = px - t * sx
                    dy = py - t * sy
                    radius = ar + (br - ar) * t
                    d2 = dx * dx + dy * dy
                    if d2 >= radius * radius or radius <= 0:
                        continue
                    h = az + (bz - az) * t + flat * np.sqrt(radius * radius - d2)
                    i = yy % size
                    j = xx % size
                    if h > height[i, j]:
                        height[i, j] = h
                        ident[i, j] = base + n
                        out_u[i, j] = along + t * length
                        out_v[i, j] = (px * sy - py * sx) / (length * radius)
            along += length


def add_threads(pile: Pile, points: Array, flat: float = 1.0, base: int = 0) -> None:
    """Lay threads, blades or twigs on the pile, in place: points (n, k, 4) hold x, y, height of the axis and radius.

    The cross-section is half an ellipse `flat` times as high as wide. `u` is the length along, `v` across (-1..1).
    """
    _threads(points.astype(np.float32), flat, pile.height, pile.ident, pile.u, pile.v, base)


@njit(cache=True)
def _strokes(lines: Field, out: Field) -> None:
    size = out.shape[0]
    for n in range(lines.shape[0]):
        cx, cy, angle, half, width, depth, bend = lines[n]
        cos = np.cos(angle)
        sin = np.sin(angle)
        # A stroke thinner than a texel is drawn a texel wide and fainter, which is what a sensor would see.
        drawn = max(width, np.float32(0.7 / size))
        strength = depth * width / drawn
        reach = drawn * 1.5 + abs(bend)
        ex = abs(cos) * half + abs(sin) * reach + drawn
        ey = abs(sin) * half + abs(cos) * reach + drawn
        y0 = int(np.floor((cy - ey) * size))
        y1 = int(np.ceil((cy + ey) * size))
        for yy in range(y0, y1 + 1):
            py = (yy + 0.5) / size - cy
            lo = cx - ex
            hi = cx + ex
            if abs(sin) > 1e-3:
                # Only the texels near the line, not the whole bounding box.
                at = py * cos / sin
                spread = reach / abs(sin) + drawn
                lo = max(lo, cx + at - spread)
                hi = min(hi, cx + at + spread)
            for xx in range(int(np.floor(lo * size)), int(np.ceil(hi * size)) + 1):
                px = (xx + 0.5) / size - cx
                s = (px * cos + py * sin) / half
                if s <= -1 or s >= 1:
                    continue
                t = (py * cos - px * sin - bend * (s * s - 0.5)) / drawn
                if t <= -1.5 or t >= 1.5:
                    continue
                out[yy % size, xx % size] += strength * np.exp(-2 * t * t) * (1 - s * s)


def add_strokes(field: Field, lines: Array) -> None:
    """Add soft lines to the field, in place. lines (n, 7): x, y, angle, half-length, width, value, bend (sagitta)."""
    _strokes(lines.astype(np.float32), field)


def random_lines(
    rng: np.random.Generator,
    count: int,
    length: tuple[float, float],
    width: tuple[float, float],
    value: tuple[float, float],
    angle: tuple[float, float] = (0.0, np.pi),
    bend: float = 0.0,
) -> Array:
    """Lines for `add_strokes`, each property uniform in its range (lengths cubed towards short)."""
    return np.stack(
        [
            rng.random(count),
            rng.random(count),
            rng.uniform(*angle, count),
            0.5 * (length[0] + (length[1] - length[0]) * rng.random(count) ** 3),
            rng.uniform(*width, count),
            rng.uniform(*value, count),
            bend * rng.normal(0, 1, count),
        ],
        axis=-1,
    )
