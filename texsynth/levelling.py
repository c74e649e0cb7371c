"""Levelling: smooth offsets that close the steps in tone where two pieces of the exemplar meet.

A membrane over the token grid (gradient-domain blending, Perez et al. 2003, screened): neighbouring tokens want equal
offsets, tokens on both sides of a join want offsets that cancel its step, and all want none, so that an offset fades
within a few tokens. A step is what the two pieces differ by along the cut: where it runs in the mortar there is none,
however different the bricks are. Steps that the texture itself explains (noisy differences) are left alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.cut import REACH as CUT_REACH
from texsynth.cut import SPAN, Labels, source_of
from texsynth.model.latent import BLOCK

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

REACH = 6.0  # tokens over which an offset fades; a longer reach takes more of the exemplar's large-scale contrast
MOST = 0.12  # encoded units; a larger step is structure
LEAST = 0.5 / 255  # a smaller offset is not seen: beyond it texels stay exact
SWEEPS = 24  # enough for REACH: over-relaxed, the error falls tenfold every dozen
RELAXATION = 1.75


@njit(cache=True, inline="always")
def _texel(y, x, height, width, wrap_y, wrap_x):  # type: ignore[no-untyped-def]
    y = y % height if wrap_y else min(max(y, 0), height - 1)
    x = x % width if wrap_x else min(max(x, 0), width - 1)
    return y, x


@njit(cache=True, inline="always")
def _comes_from(labels, positions, v, u, oy, ox, height, width, wrap_y, wrap_x):  # type: ignore[no-untyped-def]
    """Whether the result's texel (v, u) is fetched from exemplar texel (oy + v, ox + u)."""
    label = np.int64(labels[v % labels.shape[0], u % labels.shape[1]])
    i, j = v // BLOCK + label // SPAN - CUT_REACH, u // BLOCK + label % SPAN - CUT_REACH
    py, px = source_of(positions, i, j, v, u, height, width, wrap_y, wrap_x)
    dy, dx = py - oy - v, px - ox - u
    if wrap_y:
        dy = dy % height
    if wrap_x:
        dx = dx % width
    return dy == 0 and dx == 0


@njit(cache=True, parallel=True, nogil=True)
def _steps(  # type: ignore[no-untyped-def]  # noqa: PLR0912 (one kernel, compiled as a whole)
    stack, positions, labels, sources, channels, wrap_y, wrap_x, torus_y, torus_x, axis, out
):  # fmt: skip
    height, width = stack.shape[:2]
    rows, columns = sources.shape[:2]
    for line in prange(rows):
        y = np.int64(line)  # numba counts parallel loops in uint64, which would turn sums with int64 to floats
        total = np.empty(len(channels), np.float64)
        square = np.empty(len(channels), np.float64)
        for x in range(columns):
            for c in range(len(channels)):
                out[y, x, c], total[c], square[c] = 0, 0, 0
            ny, nx = (y + 1, x) if axis == 0 else (y, x + 1)
            if (ny == rows and not torus_y) or (nx == columns and not torus_x):
                continue
            # the two pieces, as the texels (0, 0) that their blocks would have if they reached there
            ay, ax = sources[y, x, 0] - y * BLOCK, sources[y, x, 1] - x * BLOCK
            by, bx = sources[ny % rows, nx % columns, 0] - ny * BLOCK, sources[ny % rows, nx % columns, 1] - nx * BLOCK
            dy, dx = by - ay, bx - ax
            if wrap_y:
                dy = dy % height
            if wrap_x:
                dx = dx % width
            if dy == 0 and dx == 0:
                continue
            count = 0
            for v in range(y * BLOCK, (ny + 1) * BLOCK):
                for u in range(x * BLOCK, (nx + 1) * BLOCK):
                    if not _comes_from(labels, positions, v, u, ay, ax, height, width, wrap_y, wrap_x):
                        continue
                    for k in range(4):
                        v2 = v + (-1 if k == 0 else (1 if k == 1 else 0))
                        u2 = u + (-1 if k == 2 else (1 if k == 3 else 0))
                        if v2 < y * BLOCK or u2 < x * BLOCK or v2 >= (ny + 1) * BLOCK or u2 >= (nx + 1) * BLOCK:
                            continue
                        if not _comes_from(labels, positions, v2, u2, by, bx, height, width, wrap_y, wrap_x):
                            continue
                        for end in range(2):
                            py, px = (v, u) if end == 0 else (v2, u2)
                            sy, sx = _texel(ay + py, ax + px, height, width, wrap_y, wrap_x)
                            ty, tx = _texel(by + py, bx + px, height, width, wrap_y, wrap_x)
                            for c in range(len(channels)):
                                d = stack[ty, tx, channels[c]] - stack[sy, sx, channels[c]]
                                total[c] += d
                                square[c] += d * d
                            count += 1
            if count == 0:
                continue
            for c in range(len(channels)):
                mean = total[c] / count
                spread = max(square[c] / count - mean * mean, 0.0)
                # a step that is smaller than the texture's own differences is hidden by them
                kept = max(0.0, 1 - spread / (mean * mean + 1e-12))
                out[y, x, c] = min(max(mean * kept, -2 * MOST), 2 * MOST)


@njit(cache=True, parallel=True, nogil=True)
def _sweep(offsets, down, right, torus_y, torus_x, colour, screen, relax):  # type: ignore[no-untyped-def]
    rows, columns, channels = offsets.shape
    for line in prange(rows):
        y = np.int64(line)  # numba counts parallel loops in uint64, which would turn sums with int64 to floats
        for x in range((y + colour) % 2, columns, 2):
            for c in range(channels):
                total, weight = np.float32(0), screen
                # offset + own tone should meet the neighbour's: own = neighbour + step towards it
                if y + 1 < rows or torus_y:
                    total += offsets[(y + 1) % rows, x, c] + down[y, x, c]
                    weight += 1
                if x + 1 < columns or torus_x:
                    total += offsets[y, (x + 1) % columns, c] + right[y, x, c]
                    weight += 1
                if y > 0 or torus_y:
                    total += offsets[y - 1, x, c] - down[y - 1, x, c]
                    weight += 1
                if x > 0 or torus_x:
                    total += offsets[y, x - 1, c] - right[y, x - 1, c]
                    weight += 1
                offsets[y, x, c] += relax * (total / weight - offsets[y, x, c])


def level(
    stack: Floats,
    positions: Ints,
    labels: Labels,
    sources: Ints,
    channels: tuple[int, ...],
    wraps: tuple[bool, bool],
    torus: tuple[bool, bool],
) -> Floats:
    """Offsets float32 (h, w, len(channels)) to add to these channels of each token's texels.

    stack: float32 (H, W, K), encoded. positions, labels, sources: as in `gather_cut.Cuts`; without cuts every texel has
    the label `cut.OWN`. wraps, torus: directions in which the exemplar, the output wrap. Offsets are exactly zero where
    no step is near.
    """
    chosen = np.array(channels, np.int64)
    shape = (*positions.shape[:2], len(channels))
    down, right = np.empty(shape, np.float32), np.empty(shape, np.float32)
    _steps(stack, positions, labels, sources, chosen, *wraps, *torus, 0, down)
    _steps(stack, positions, labels, sources, chosen, *wraps, *torus, 1, right)
    offsets = np.zeros(shape, np.float32)
    # an odd torus has no red-black colouring; the two tokens that then share a colour only converge a little slower
    for _ in range(SWEEPS):
        for colour in range(2):
            _sweep(offsets, down, right, *torus, colour, np.float32(1 / REACH**2), np.float32(RELAXATION))
    shrunk = np.sign(offsets) * np.maximum(np.abs(offsets) - LEAST, 0)
    return np.asarray(np.clip(shrunk, -MOST, MOST), np.float32)
