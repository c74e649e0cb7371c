"""Levelling: smooth offsets that close the steps in tone where two pieces of the exemplar meet.

A membrane over the token grid (gradient-domain blending, Perez et al. 2003, screened): neighbouring tokens want equal
offsets, tokens on both sides of a join want offsets that cancel its step, and all want none, so that an offset fades
within a few tokens. Steps that the texture itself explains (noisy differences) are left alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.model.latent import BLOCK

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

REACH = 10.0  # tokens over which an offset fades
MOST = 0.12  # encoded units; a larger step is structure
SWEEPS = 24  # enough for REACH: over-relaxed, the error falls tenfold every dozen
RELAXATION = 1.75
STRIP = 2  # texels each side of a boundary that a step is measured over


@njit(cache=True, parallel=True, nogil=True)
def _steps(stack, positions, channels, wrap_y, wrap_x, torus_y, torus_x, axis, out):  # type: ignore[no-untyped-def]
    height, width = stack.shape[:2]
    rows, columns = positions.shape[:2]
    for line in prange(rows):
        y = np.int64(line)  # numba counts parallel loops in uint64, which would turn sums with int64 to floats
        for x in range(columns):
            for c in range(len(channels)):
                out[y, x, c] = 0
            ny, nx = (y + 1, x) if axis == 0 else (y, x + 1)
            if (ny == rows and not torus_y) or (nx == columns and not torus_x):
                continue
            ny, nx = ny % rows, nx % columns
            ay, ax = positions[y, x, 0], positions[y, x, 1]
            by = positions[ny, nx, 0] - (BLOCK if axis == 0 else 0)
            bx = positions[ny, nx, 1] - (BLOCK if axis == 1 else 0)
            dy, dx = by - ay, bx - ax
            if wrap_y:
                dy = dy % height
            if wrap_x:
                dx = dx % width
            if dy == 0 and dx == 0:
                continue
            for c in range(len(channels)):
                total, square = 0.0, 0.0
                for i in range(BLOCK):
                    for j in range(BLOCK - STRIP, BLOCK + STRIP):
                        py, px = (j, i) if axis == 0 else (i, j)
                        sy, sx, ty, tx = ay + py, ax + px, by + py, bx + px
                        sy = sy % height if wrap_y else min(max(sy, 0), height - 1)
                        ty = ty % height if wrap_y else min(max(ty, 0), height - 1)
                        sx = sx % width if wrap_x else min(max(sx, 0), width - 1)
                        tx = tx % width if wrap_x else min(max(tx, 0), width - 1)
                        d = stack[ty, tx, channels[c]] - stack[sy, sx, channels[c]]
                        total += d
                        square += d * d
                count = 2 * STRIP * BLOCK
                mean = total / count
                spread = max(square / count - mean * mean, 0.0)
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
    stack: Floats, positions: Ints, channels: tuple[int, ...], wraps: tuple[bool, bool], torus: tuple[bool, bool]
) -> Floats:
    """Offsets float32 (h, w, len(channels)) to add to these channels of each token's texels.

    stack: float32 (H, W, K), encoded. positions: int32 (h, w, 2). wraps, torus: directions in which the exemplar, the
    output wrap. Offsets are zero where no step is near.
    """
    chosen = np.array(channels, np.int64)
    shape = (*positions.shape[:2], len(channels))
    down, right = np.empty(shape, np.float32), np.empty(shape, np.float32)
    _steps(stack, positions, chosen, *wraps, *torus, 0, down)
    _steps(stack, positions, chosen, *wraps, *torus, 1, right)
    offsets = np.zeros(shape, np.float32)
    # an odd torus has no red-black colouring; the two tokens that then share a colour only converge a little slower
    for _ in range(SWEEPS):
        for colour in range(2):
            _sweep(offsets, down, right, *torus, colour, np.float32(1 / REACH**2), np.float32(RELAXATION))
    return np.clip(offsets, -MOST, MOST)
