"""Registration: each piece of the exemplar is moved by a few texels to where it meets its neighbours best.

Which place of the exemplar a token shows was decided by patches, and in a large exemplar on a grid of places. The
joints of tiles that a hand laid are a few texels off their lattice, and so two pieces may meet in the middle of a tile
with their joints apart. Pieces are therefore shifted as wholes, at texel precision, in rounds: in each round those move
that no neighbour moves beside, to the best of all shifts within reach of where they were, so nothing drifts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.model.coherent_score import _into
from texsynth.model.latent import BLOCK
from texsynth.pieces import label_pieces

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

ROUNDS = 32
DEPTH = 4  # texels on either side of a border that are compared
MOST_EDGES = 128  # of a piece, evenly drawn from its border
HOLD = 0.002  # what a shift by one texel costs, squared, of the mismatch that is left
SAME = 1  # texels; shifts that bring a piece so near to a neighbour's place would let both grow together
_NEIGHBOURS = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])


@njit(cache=True, fastmath=True, inline="always")
def _mismatch(features, ay, ax, by, bx, down, right, wrap_y, wrap_x):  # type: ignore[no-untyped-def]
    """Squared difference along the border of block a, from (ay, ax), to its neighbour b, from (by, bx), of what either
    shows there."""
    height, width, channels = features.shape
    total = np.float32(0)
    for across in range(BLOCK - DEPTH, BLOCK + DEPTH):
        for along in range(across % 2, BLOCK, 2):  # every other texel, like the black ones of a chequerboard
            # in texels from a's top left: beyond its side that faces b
            y = across if down > 0 else (BLOCK - 1 - across if down < 0 else along)
            x = across if right > 0 else (BLOCK - 1 - across if right < 0 else along)
            py, px = _into(ay + y, height, height - 1, wrap_y), _into(ax + x, width, width - 1, wrap_x)
            qy = _into(by + y - down * BLOCK, height, height - 1, wrap_y)
            qx = _into(bx + x - right * BLOCK, width, width - 1, wrap_x)
            for c in range(channels):
                d = features[py, px, c] - features[qy, qx, c]
                total += d * d
    return total


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _move(  # type: ignore[no-untyped-def]
    active, starts, tokens, others, ways, positions, piece, low, high, tried, features, wrap_y, wrap_x, shifts
):  # fmt: skip
    height, width = features.shape[:2]
    columns = piece.shape[1]
    for n in prange(len(active)):
        p = active[n]
        step = max(1, (starts[p + 1] - starts[p]) // MOST_EDGES)
        best, chosen = np.float32(np.inf), -1
        for t in range(len(tried)):
            dy, dx = tried[t, 0], tried[t, 1]
            if not wrap_y and (low[p, 0] + dy < 0 or high[p, 0] + dy > height - BLOCK):
                continue
            if not wrap_x and (low[p, 1] + dx < 0 or high[p, 1] + dx > width - BLOCK):
                continue
            worse = np.float32(1) + np.float32(HOLD) * (dy * dy + dx * dx)
            total = np.float32(0)
            for e in range(starts[p], starts[p + 1], step):
                ty, tx = tokens[e] // columns, tokens[e] % columns
                oy, ox = others[e] // columns, others[e] % columns
                down, right = ways[e, 0], ways[e, 1]
                q = piece[oy, ox]
                ay, ax = positions[ty, tx, 0] + dy, positions[ty, tx, 1] + dx
                by, bx = positions[oy, ox, 0] + shifts[q, 0], positions[oy, ox, 1] + shifts[q, 1]
                apart_y, apart_x = by - ay - down * BLOCK, bx - ax - right * BLOCK
                if wrap_y:
                    apart_y = (apart_y + height // 2) % height - height // 2
                if wrap_x:
                    apart_x = (apart_x + width // 2) % width - width // 2
                if abs(apart_y) <= SAME and abs(apart_x) <= SAME:
                    total = np.float32(np.inf)
                    break
                total += worse * _mismatch(features, ay, ax, by, bx, down, right, wrap_y, wrap_x)
                if total >= best:
                    break
            if total < best:
                best, chosen = total, t
        if chosen >= 0:
            shifts[p, 0], shifts[p, 1] = tried[chosen, 0], tried[chosen, 1]


def register_pieces(
    features: Floats,
    positions: Ints,
    wraps: tuple[bool, bool],
    torus: tuple[bool, bool],
    reach: int,
    seed: int,
) -> Ints:
    """Positions int32 (h, w, 2) with the pieces shifted by up to `reach` texels along each axis.

    features: float32 (H, W, C) of the exemplar, what mismatch is measured in. wraps, torus: directions in which the
    exemplar, the result continue. The result is the same for any number of threads.
    """
    size = features.shape[:2]
    names, numbers = np.unique(label_pieces(positions, (size[0], size[1]), wraps, torus), return_inverse=True)
    piece, count = np.asarray(numbers.reshape(positions.shape[:2]), np.int32), len(names)
    tokens, others, ways = _borders(piece, torus)
    if len(tokens) == 0:
        return positions
    own, other = piece.ravel()[tokens], piece.ravel()[others]
    starts = np.searchsorted(own, np.arange(count + 1))
    low, high = _extent(positions, piece, count)
    tried = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    tried = tried[np.argsort(np.square(tried).sum(axis=1), kind="stable")]
    shifts = np.zeros((count, 2), np.int64)
    for turn in range(ROUNDS):
        order = np.random.default_rng([seed, turn]).permutation(count)
        yields = np.zeros(count, np.bool_)
        yields[own[order[own] < order[other]]] = True
        active = np.flatnonzero(~yields)
        _move(active, starts, tokens, others, ways, positions, piece, low, high, tried, features, *wraps, shifts)
    moved = positions + shifts[piece]
    return np.ascontiguousarray(np.where(wraps, moved % size, moved), np.int32)


def _borders(piece: Ints, torus: tuple[bool, bool]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the tokens beside another piece, of their neighbours in it, and the ways to these, (n, 2): sorted by
    the tokens' pieces."""
    rows, columns = piece.shape
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    found = list[tuple[Any, Any, Any]]()
    for way in _NEIGHBOURS:
        ny, nx = y + way[0], x + way[1]
        there = np.ones(piece.shape, np.bool_)
        for line, side, closed in ((ny, rows, torus[0]), (nx, columns, torus[1])):
            if not closed:
                there &= (line >= 0) & (line < side)
        ny, nx = ny % rows, nx % columns
        there &= piece[ny, nx] != piece
        found.append(((y * columns + x)[there], (ny * columns + nx)[there], np.tile(way, (int(there.sum()), 1))))
    tokens, others, ways = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(piece.ravel()[tokens], kind="stable")
    return tokens[order], others[order], ways[order]


def _extent(positions: Ints, piece: Ints, count: int) -> tuple[Ints, Ints]:
    """The least and the largest position of each piece, int32 (count, 2)."""
    low = np.full((count, 2), np.iinfo(np.int32).max, np.int32)
    high = np.full((count, 2), np.iinfo(np.int32).min, np.int32)
    np.minimum.at(low, piece.ravel(), positions.reshape(-1, 2))
    np.maximum.at(high, piece.ravel(), positions.reshape(-1, 2))
    return low, high
