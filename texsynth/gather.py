"""Attention gather: every output texel comes from the exemplar's own texels, all maps with one index.

Blocks overlap and cross-fade. Where neighbouring blocks come from one rigid piece of the exemplar they agree on every
texel, so the piece arrives exactly; the cross-fade is seen only where two pieces meet.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.model.latent import BLOCK

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@njit(cache=True, parallel=True, nogil=True)
def _gather(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 (one kernel, compiled as a whole)
    stack, positions, wrap_y, wrap_x, torus_y, torus_x, ramp, normal, offsets, levelled, first, last, out
):
    height, width, channels = stack.shape
    rows, columns = positions.shape[:2]
    for y in prange(first, last):
        by, ly = y // BLOCK, y % BLOCK
        source = np.empty((4, 2), np.int64)
        token = np.empty((4, 2), np.int64)
        weight = np.empty(4, np.float32)
        share = np.empty(4, np.float32)
        for x in range(columns * BLOCK):
            bx, lx = x // BLOCK, x % BLOCK
            # the neighbour towards which this texel fades, and the fade's weight of the own block
            ny = by - 1 if ly < BLOCK // 2 else by + 1
            nx = bx - 1 if lx < BLOCK // 2 else bx + 1
            if torus_y:
                ny = ny % rows
            if torus_x:
                nx = nx % columns
            wy = ramp[ly] if 0 <= ny < rows else np.float32(1)
            wx = ramp[lx] if 0 <= nx < columns else np.float32(1)
            same = True
            smooth_y, smooth_x = abs(ly - 3.5) / BLOCK, abs(lx - 3.5) / BLOCK
            shares = np.float32(0)
            for i in range(2):
                inside_y = i == 0 or 0 <= ny < rows
                cy = ny if i == 1 and inside_y else by
                oy = ly if i == 0 else (ly + BLOCK if ly < BLOCK // 2 else ly - BLOCK)
                fy = wy if i == 0 else 1 - wy
                for j in range(2):
                    inside_x = j == 0 or 0 <= nx < columns
                    cx = nx if j == 1 and inside_x else bx
                    ox = lx if j == 0 else (lx + BLOCK if lx < BLOCK // 2 else lx - BLOCK)
                    fx = wx if j == 0 else 1 - wx
                    k = 2 * i + j
                    weight[k] = fy * fx if inside_y and inside_x else 0
                    ey = positions[cy, cx, 0] + oy
                    ex = positions[cy, cx, 1] + ox
                    ey = ey % height if wrap_y else min(max(ey, 0), height - 1)
                    ex = ex % width if wrap_x else min(max(ex, 0), width - 1)
                    source[k, 0], source[k, 1] = ey, ex
                    token[k, 0], token[k, 1] = cy, cx
                    alike = ey == source[0, 0] and ex == source[0, 1]
                    same = same and (alike or weight[k] == 0)
                    # offsets run smoothly inside a piece and fade with the texels across a join
                    share[k] = weight[k]
                    if alike and inside_y and inside_x:
                        share[k] = (smooth_y if i == 1 else 1 - smooth_y) * (smooth_x if j == 1 else 1 - smooth_x)
                    shares += share[k]
            if same:
                for c in range(channels):
                    out[y - first, x, c] = stack[source[0, 0], source[0, 1], c]
            else:
                for c in range(channels):
                    total = np.float32(0)
                    for k in range(4):
                        if weight[k] > 0:
                            total += weight[k] * stack[source[k, 0], source[k, 1], c]
                    out[y - first, x, c] = total
                if normal >= 0:  # a blend of vectors is shorter than they are
                    length, wanted = np.float32(1e-12), np.float32(0)
                    for c in range(normal, normal + 3):
                        length += (2 * out[y - first, x, c] - 1) ** 2
                    for k in range(4):
                        if weight[k] > 0:
                            square = np.float32(0)
                            for c in range(normal, normal + 3):
                                square += (2 * stack[source[k, 0], source[k, 1], c] - 1) ** 2
                            wanted += weight[k] * np.sqrt(square)
                    scale = wanted / np.sqrt(length)
                    for c in range(normal, normal + 3):
                        value = (2 * out[y - first, x, c] - 1) * scale * 0.5 + 0.5
                        out[y - first, x, c] = min(max(value, np.float32(0)), np.float32(1))
            for c in range(len(levelled)):
                total = np.float32(0)
                for k in range(4):
                    total += share[k] * offsets[token[k, 0], token[k, 1], c]
                value = out[y - first, x, levelled[c]] + total / shares
                out[y - first, x, levelled[c]] = min(max(value, np.float32(0)), np.float32(1))


def fade(overlap: int) -> Floats:
    """Weight of a block at its own texels 0..7 when it cross-fades over `overlap` texels each side (0..4), Hann."""
    inside = np.minimum(np.arange(BLOCK), np.arange(BLOCK)[::-1])
    if overlap == 0:
        return np.ones(BLOCK, np.float32)
    t = np.clip((inside + 0.5 + overlap) / (2 * overlap), 0, 1)
    return np.asarray(np.sin(0.5 * np.pi * t) ** 2, np.float32)


def gather(
    stack: Floats,
    positions: Ints,
    rows: tuple[int, int],
    *,
    wraps: tuple[bool, bool],
    torus: tuple[bool, bool],
    overlap: int = 2,
    normal: int = -1,
    offsets: Floats | None = None,
    levelled: tuple[int, ...] = (),
) -> Floats:
    """The texel rows `rows` (first, last) of the result, float32 (rows, 8 w, K).

    stack: float32 (H, W, K), all maps of the exemplar, encoded. positions: int32 (h, w, 2), the exemplar texel (y, x)
    of
    each 8 x 8 output block's top left. wraps, torus: directions in which the exemplar, the output wrap.
    overlap: texels each side over which blocks cross-fade, 0..4. normal: first channel of the normal, encoded
    (n + 1) / 2, whose blends get the mean length of what they blend; -1 if there is none.
    offsets: float32 (h, w, n), from `levelling.level`, for the n channels `levelled`.
    """
    out = np.empty((rows[1] - rows[0], positions.shape[1] * BLOCK, stack.shape[2]), np.float32)
    if offsets is None:
        offsets, levelled = np.zeros((1, 1, 0), np.float32), ()
    channels = np.array(levelled, np.int64)
    _gather(stack, positions, *wraps, *torus, fade(overlap), normal, offsets, channels, rows[0], rows[1], out)
    return out
