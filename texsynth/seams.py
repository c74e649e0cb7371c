"""Seams: where two pieces of the exemplar meet, the boundary between them is moved to where they look alike.

Denoising decides which pieces lie where; it cannot move a boundary, because every token of a piece agrees with itself.
So the boundaries are annealed: tokens take over the translation of one of their four neighbours with the probabilities
of a Gibbs sampler whose energy is the mismatch across all broken neighbour pairs (the seam cost of graph cuts, Kwatra
et al. 2003), at a falling temperature.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.model.coherent_score import Keys, _hash, _into
from texsynth.model.latent import BLOCK
from texsynth.pieces import beyond, middles_of_pieces

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

FIRST_TEMPERATURE, LAST_TEMPERATURE = 40.0, 1.0  # whitened squared distance; two unlike tokens differ by about 30
# What leaving its first place costs a token: a boundary moves a few tokens a level, but pieces are not swallowed.
HOLD = 25.0
SPREAD = 400.0  # what it costs to continue a piece at twice its radius
BROKEN = 4.0  # what a broken pair costs beside its mismatch: short seams are better than long ones


@njit(cache=True, fastmath=True, inline="always")
def _mismatch(tokens, stride, height, width, limit_y, limit_x, wrap_y, wrap_x, ay, ax, by, bx, oy, ox):  # type: ignore[no-untyped-def]
    """Seam cost between a token at `a` and its neighbour in direction (oy, ox) texels at `b`; 0 if they continue."""
    cy, cx = _into(ay + oy, height, limit_y, wrap_y), _into(ax + ox, width, limit_x, wrap_x)
    if cy == by and cx == bx:
        return np.float32(0)
    dy, dx = _into(by - oy, height, limit_y, wrap_y), _into(bx - ox, width, limit_x, wrap_x)
    total = np.float32(BROKEN)
    for c in range(tokens.shape[2]):
        u = tokens[cy // stride, cx // stride, c] - tokens[by // stride, bx // stride, c]
        v = tokens[dy // stride, dx // stride, c] - tokens[ay // stride, ax // stride, c]
        total += u * u + v * v
    return total


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _sweep(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 (one kernel, compiled as a whole)
    positions, tokens, stride, height, width, wrap_y, wrap_x, torus_y, torus_x, guide, guide_keys, home, hold,
    middles, radius, spread_cost, colour, temperature, seed,
):  # fmt: skip
    rows, columns = positions.shape[:2]
    limit_y, limit_x = (tokens.shape[0] - 1) * stride, (tokens.shape[1] - 1) * stride
    for line in prange(rows):
        y = np.int64(line)
        near = np.empty((4, 4), np.int64)  # neighbour's position and direction
        cand = np.empty((5, 2), np.int64)
        middle = np.empty((5, 2), np.float32)  # of the candidate's piece
        of = np.empty(5, np.int64)  # the neighbour that a candidate continues
        energy = np.empty(5, np.float32)
        for x in range((y + colour) % 2, columns, 2):
            count = 0
            for k in range(4):
                sy = -1 if k == 0 else (1 if k == 1 else 0)
                sx = -1 if k == 2 else (1 if k == 3 else 0)
                ny, nx = y + sy, x + sx
                if torus_y:
                    ny = ny % rows
                if torus_x:
                    nx = nx % columns
                if ny < 0 or ny >= rows or nx < 0 or nx >= columns:
                    continue
                near[count, 0], near[count, 1] = positions[ny, nx, 0], positions[ny, nx, 1]
                near[count, 2], near[count, 3] = sy * BLOCK, sx * BLOCK
                middle[count, 0], middle[count, 1] = middles[ny, nx, 0], middles[ny, nx, 1]
                count += 1
            cand[0, 0], cand[0, 1] = positions[y, x, 0], positions[y, x, 1]
            of[0] = -1
            kinds = 1
            for k in range(count):
                py, px = near[k, 0] - near[k, 2], near[k, 1] - near[k, 3]
                if (not wrap_y and (py < 0 or py > limit_y)) or (not wrap_x and (px < 0 or px > limit_x)):
                    continue
                py, px = _into(py, height, limit_y, wrap_y), _into(px, width, limit_x, wrap_x)
                known = False
                for m in range(kinds):
                    known = known or (cand[m, 0] == py and cand[m, 1] == px)
                if not known:
                    cand[kinds, 0], cand[kinds, 1], of[kinds] = py, px, k
                    kinds += 1
            if kinds == 1:
                continue
            best = np.float32(1e30)
            for m in range(kinds):
                my = middles[y, x, 0] if of[m] < 0 else middle[of[m], 0]
                mx = middles[y, x, 1] if of[m] < 0 else middle[of[m], 1]
                total = spread_cost * beyond(y, x, my, mx, rows, columns, torus_y, torus_x, radius)
                for k in range(count):
                    total += _mismatch(
                        tokens, stride, height, width, limit_y, limit_x, wrap_y, wrap_x,
                        cand[m, 0], cand[m, 1], near[k, 0], near[k, 1], near[k, 2], near[k, 3],
                    )  # fmt: skip
                for f in range(guide.shape[2]):
                    d = guide[y, x, f] - guide_keys[cand[m, 0] // stride, cand[m, 1] // stride, f]
                    total += d * d
                if cand[m, 0] != home[y, x, 0] or cand[m, 1] != home[y, x, 1]:
                    total += hold
                energy[m] = total
                best = min(best, total)
            whole = np.float32(0)
            for m in range(kinds):
                energy[m] = np.exp((best - energy[m]) / temperature)
                whole += energy[m]
            draw = np.uint64(seed) ^ (np.uint64(y) * np.uint64(0x100000001B3) + np.uint64(x))
            threshold = np.float32(_hash(draw) >> np.uint64(40)) / np.float32(1 << 24) * whole
            pick = 0
            for m in range(kinds):
                threshold -= energy[m]
                pick = m
                if threshold <= 0:
                    break
            positions[y, x, 0], positions[y, x, 1] = cand[pick, 0], cand[pick, 1]
            if of[pick] >= 0:
                middles[y, x, 0], middles[y, x, 1] = middle[of[pick], 0], middle[of[pick], 1]


def anneal_seams(
    keys: Keys, positions: Ints, torus: tuple[bool, bool], guide: Floats, radius: float, sweeps: int, seed: int
) -> Ints:
    """Positions int32 (h, w, 2) with the boundaries between pieces moved to where they cost least.

    torus: directions in which the result wraps. guide: float32 (h, w, G), as in `attend`. radius: tokens
    from a piece's middle beyond which it costs to continue it. The result is the same for any number of threads: only
    tokens that are no neighbours are changed at the same time.
    """
    home, positions = positions, positions.copy()
    middles = middles_of_pieces(positions, keys.size, keys.wraps, torus)
    # on a torus with an odd side two neighbours across the edge would change at the same time
    rows, columns = positions.shape[:2]
    closed = torus[0] and rows % 2 == 0, torus[1] and columns % 2 == 0
    for i in range(sweeps):
        temperature = FIRST_TEMPERATURE * math.pow(LAST_TEMPERATURE / FIRST_TEMPERATURE, i / max(1, sweeps - 1))
        for colour in range(2):
            draw = int(np.random.default_rng([seed, i, colour]).integers(2**62))
            _sweep(
                positions, keys.tokens, keys.stride, *keys.size, *keys.wraps, *closed, guide, keys.guide, home,
                np.float32(HOLD), middles, np.float32(radius), np.float32(SPREAD), colour, np.float32(temperature),
                draw,
            )  # fmt: skip
    return positions
