"""Rigid pieces: connected output tokens that come from one rigid piece of the exemplar, and how they are kept small.

Denoising lets pieces grow. The fields of a piece that is far too large are fetched from elsewhere (`quilting.py`), and
from then on it costs a token the more to continue a piece the farther it lies from the piece's middle.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from texsynth.model.latent import BLOCK

Ints = NDArray[np.int32]


@njit(cache=True)
def _root(parents, i):  # type: ignore[no-untyped-def]
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


@njit(cache=True)
def _label(positions, height, width, wrap_y, wrap_x, torus_y, torus_x, tolerance, gap):  # type: ignore[no-untyped-def]
    rows, columns = positions.shape[:2]
    parents = np.arange(rows * columns)
    for y in range(rows):
        for x in range(columns):
            for step in range(2 * gap):
                down, right = (step // 2 + 1, 0) if step % 2 == 0 else (0, step // 2 + 1)
                ny, nx = y + down, x + right
                if (ny >= rows and not torus_y) or (nx >= columns and not torus_x):
                    continue
                ny, nx = ny % rows, nx % columns
                dy = positions[ny, nx, 0] - positions[y, x, 0] - down * BLOCK
                dx = positions[ny, nx, 1] - positions[y, x, 1] - right * BLOCK
                if wrap_y:
                    dy = (dy + height // 2) % height - height // 2
                if wrap_x:
                    dx = (dx + width // 2) % width - width // 2
                if abs(dy) <= tolerance and abs(dx) <= tolerance:
                    a, b = _root(parents, y * columns + x), _root(parents, ny * columns + nx)
                    if a != b:
                        parents[max(a, b)] = min(a, b)
    for i in range(rows * columns):
        parents[i] = _root(parents, i)
    return parents.reshape(rows, columns)


@njit(cache=True)
def _extents(labels, torus_y, torus_x):  # type: ignore[no-untyped-def]
    """Lowest and highest token of each piece, from its first one on so that pieces across the wrap edge stay whole."""
    rows, columns = labels.shape
    low = np.zeros((rows * columns, 2), np.int32)
    high = np.zeros((rows * columns, 2), np.int32)
    for y in range(rows):
        for x in range(columns):
            root = labels[y, x]
            dy, dx = y - root // columns, x - root % columns
            if torus_y:
                dy = (dy + rows // 2) % rows - rows // 2
            if torus_x:
                dx = (dx + columns // 2) % columns - columns // 2
            low[root, 0], low[root, 1] = min(low[root, 0], dy), min(low[root, 1], dx)
            high[root, 0], high[root, 1] = max(high[root, 0], dy), max(high[root, 1], dx)
    return low, high


@njit(cache=True)
def _middles(labels, torus_y, torus_x, out):  # type: ignore[no-untyped-def]
    low, high = _extents(labels, torus_y, torus_x)
    rows, columns = labels.shape
    for y in range(rows):
        for x in range(columns):
            root = labels[y, x]
            out[y, x, 0] = root // columns + 0.5 * (low[root, 0] + high[root, 0])
            out[y, x, 1] = root % columns + 0.5 * (low[root, 1] + high[root, 1])


@njit(cache=True)
def _fields(labels, origins, torus_y, torus_x, longest, limit, field):  # type: ignore[no-untyped-def]
    rows, columns = labels.shape
    low, high = _extents(labels, torus_y, torus_x)
    for y in range(rows):
        for x in range(columns):
            root = labels[y, x]
            tall = high[root, 0] - low[root, 0] + 1
            wide = high[root, 1] - low[root, 1] + 1
            if math.hypot(tall, wide) <= longest:
                continue
            dy, dx = y - root // columns, x - root % columns
            if torus_y:
                dy = (dy + rows // 2) % rows - rows // 2
            if torus_x:
                dx = (dx + columns // 2) % columns - columns // 2
            fy = int((dy - low[root, 0]) / limit + origins[root % len(origins), 0]) if tall > limit else 0
            fx = int((dx - low[root, 1]) / limit + origins[root % len(origins), 1]) if wide > limit else 0
            if (fy + fx) % 2 == 1:
                field[y, x] = (np.int64(root) * 4096 + fy) * 4096 + fx


@njit(cache=True, fastmath=True, inline="always")
def beyond(y, x, middle_y, middle_x, rows, columns, torus_y, torus_x, radius):  # type: ignore[no-untyped-def]
    """How far token (y, x) lies outside of a circle of `radius` tokens around a piece's middle: in radii, 0 inside."""
    dy, dx = y - middle_y, x - middle_x
    if torus_y:
        dy -= rows * np.round(dy / rows)
    if torus_x:
        dx -= columns * np.round(dx / columns)
    return np.float32(max(np.float32(0), np.sqrt(dy * dy + dx * dx) / radius - 1))


def label_pieces(
    positions: Ints, size: tuple[int, int], wraps: tuple[bool, bool], torus: tuple[bool, bool], gap: int = 1
) -> NDArray[np.int64]:
    """int64 (h, w): the number of the first token of the piece that each token belongs to; arguments as below."""
    return np.asarray(_label(positions, *size, *wraps, *torus, 1, gap))


def middles_of_pieces(
    positions: Ints, size: tuple[int, int], wraps: tuple[bool, bool], torus: tuple[bool, bool], gap: int = 1
) -> NDArray[np.float32]:
    """float32 (h, w, 2): the middle (y, x) in tokens of the piece that each token belongs to.

    gap: tokens in a row or column that a piece may be apart from itself. Other arguments as below.
    """
    out = np.empty(positions.shape, np.float32)
    _middles(label_pieces(positions, size, wraps, torus, gap), *torus, out)
    return out


def fields_of_large_pieces(
    positions: Ints,
    size: tuple[int, int],
    wraps: tuple[bool, bool],
    torus: tuple[bool, bool],
    longest: float,
    limit: float,
    rng: np.random.Generator,
) -> tuple[Ints, int]:
    """int32 (h, w): the number of the field that a token lies in if it is to leave its piece, else -1; and their count.

    positions: int32 (h, w, 2) exemplar texels (y, x) of an exemplar level of `size` that wraps as `wraps` says.
    Pieces whose extent's diagonal is above `longest` tokens are cut like a chequerboard with fields of `limit` tokens a
    side; every other field of it is to leave.
    """
    labels = label_pieces(positions, size, wraps, torus)
    keys = np.full(labels.shape, -1, np.int64)
    _fields(labels, rng.uniform(0, 1, (1021, 2)), *torus, longest, limit, keys)
    known, numbers = np.unique(keys, return_inverse=True)
    first = int(known[0] == -1)
    return (numbers.reshape(labels.shape) - first).astype(np.int32), len(known) - first
