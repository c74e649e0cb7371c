"""Minimum cut: where two pieces of the exemplar meet, every texel chooses the piece that it is fetched from.

The energy is the seam cost of graph cuts (Kwatra et al. 2003): for two neighbouring texels p, q that are fetched from
pieces A and B, |A(p) - B(p)|^2 + |A(q) - B(q)|^2, of the texels and of their tone, and a little for the length of the
cut. It is lowered by a Gibbs sampler at a falling temperature, first with cells of a whole block, then of 4, 2 and 1
texels, so that a cut may move far and still ends to the texel: between two stones it runs through the mortar.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.model.coherent_score import _hash, _into
from texsynth.model.latent import BLOCK
from texsynth.pieces import beyond, middles_of_pieces

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Labels = NDArray[np.uint8]

REACH = 7  # tokens that a cut may move by: (2 REACH + 1)^2 labels fit in a byte
SPAN = 2 * REACH + 1
OWN = REACH * SPAN + REACH  # the label of a texel's own block
# Temperatures and the cost of a cut's length for each texel of it, in units of the mean cost of the cuts at the start.
FIRST_TEMPERATURE, LAST_TEMPERATURE = 2.0, 0.02
LENGTH = 0.05
SPREAD = 20.0  # and of a texel beside a cut that continues a piece at twice its radius
GAP = 6  # tokens; two parts of one piece that lie nearer than this could grow together
SAMPLE = 4096  # joins that the unit is measured on
FEATURES = 4  # principal components of the maps that mismatch is measured in
# Tone, the maps smoothed by so many texels, counts so many times beside the texels themselves: within a brick two
# pieces may differ in tone by less than in grain, but the eye sees it all along the cut. In the mortar they agree.
TONE_BLUR, TONE_GAIN = 2.0, 1.0


@njit(cache=True, fastmath=True, inline="always")
def _apart(features, ay, ax, by, bx, wrap_y, wrap_x):  # type: ignore[no-untyped-def]
    """Squared difference of two texels of the exemplar."""
    height, width = features.shape[:2]
    ay, by = _into(ay, height, height - 1, wrap_y), _into(by, height, height - 1, wrap_y)
    ax, bx = _into(ax, width, width - 1, wrap_x), _into(bx, width, width - 1, wrap_x)
    total = np.float32(0)
    for c in range(FEATURES):
        d = features[ay, ax, c] - features[by, bx, c]
        total += d * d
    return total


@njit(cache=True, fastmath=True, inline="always")
def source_of(positions, i, j, y, x, height, width, wrap_y, wrap_x):  # type: ignore[no-untyped-def]
    """The exemplar texel that the result's texel (y, x) comes from when it is fetched with block (i, j)."""
    rows, columns = positions.shape[:2]
    py = positions[i % rows, j % columns, 0] + y - i * BLOCK
    px = positions[i % rows, j % columns, 1] + x - j * BLOCK
    if wrap_y:
        py = py % height
    if wrap_x:
        px = px % width
    return py, px


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _sweep(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 (one kernel, compiled as a whole)
    labels, cell, features, positions, middles, radius, spread, wrap_y, wrap_x, torus_y, torus_x, wanted, colour,
    temperature, length, seed
):  # fmt: skip
    rows, columns = labels.shape
    height, width = features.shape[:2]
    tall, wide = middles.shape[:2]
    for line in prange(rows):
        y = np.int64(line)
        source = np.empty((5, 2), np.int64)  # of the cell's top left texel, with the label of the cell, of a neighbour
        label = np.empty(5, np.int64)
        side = np.empty((5, 2), np.int64)
        energy = np.empty(5, np.float32)
        by = y * cell // BLOCK
        for x in range((y + colour) % 2, columns, 2):
            bx = x * cell // BLOCK
            if not wanted[by, bx]:
                continue
            own = np.int64(labels[y, x])
            count, kinds = 1, 1
            label[0] = own
            i, j = by + own // SPAN - REACH, bx + own % SPAN - REACH
            source[0, 0], source[0, 1] = source_of(
                positions, i, j, y * cell, x * cell, height, width, wrap_y, wrap_x
            )  # fmt: skip
            for k in range(4):
                sy = -1 if k == 0 else (1 if k == 1 else 0)
                sx = -1 if k == 2 else (1 if k == 3 else 0)
                ny, nx = y + sy, x + sx
                wy, wx = ny, nx
                if torus_y:
                    wy = wy % rows
                if torus_x:
                    wx = wx % columns
                if wy < 0 or wy >= rows or wx < 0 or wx >= columns:
                    continue
                near = np.int64(labels[wy, wx])
                # the block that the neighbour is fetched with, counted as seen from here
                i = ny * cell // BLOCK + near // SPAN - REACH
                j = nx * cell // BLOCK + near % SPAN - REACH
                py, px = source_of(positions, i, j, y * cell, x * cell, height, width, wrap_y, wrap_x)
                source[count, 0], source[count, 1] = py, px
                side[count, 0], side[count, 1] = sy, sx
                label[count] = -1  # no candidate: it continues the cell, or cannot be fetched here
                if py != source[0, 0] or px != source[0, 1]:
                    kinds += 1
                    ri, rj = i - by + REACH, j - bx + REACH
                    near_enough = abs(ri - REACH) <= REACH and abs(rj - REACH) <= REACH
                    inside_y = wrap_y or (py >= 0 and py + cell <= height)
                    inside_x = wrap_x or (px >= 0 and px + cell <= width)
                    if near_enough and inside_y and inside_x:
                        label[count] = ri * SPAN + rj
                count += 1
            if kinds == 1:
                continue
            best = np.float32(1e30)
            for m in range(count):
                energy[m] = np.float32(1e30)
                if label[m] < 0:
                    continue
                again = False
                for o in range(m):
                    again = again or (label[o] >= 0 and source[o, 0] == source[m, 0] and source[o, 1] == source[m, 1])
                if again:
                    continue
                i, j = by + label[m] // SPAN - REACH, bx + label[m] % SPAN - REACH
                i, j = i % tall, j % wide
                total = np.float32(cell) * spread * beyond(
                    y * cell / BLOCK, x * cell / BLOCK, middles[i, j, 0], middles[i, j, 1], tall, wide, torus_y,
                    torus_x, radius,
                )  # fmt: skip
                my, mx = source[m, 0], source[m, 1]
                for k in range(1, count):
                    ky, kx = source[k, 0], source[k, 1]
                    if ky == my and kx == mx:
                        continue
                    total += length * cell
                    sy, sx = side[k, 0], side[k, 1]
                    for t in range(cell):
                        # the border's texel inside the cell, and the one beyond it
                        oy = t if sy == 0 else (0 if sy < 0 else cell - 1)
                        ox = t if sx == 0 else (0 if sx < 0 else cell - 1)
                        total += _apart(features, my + oy, mx + ox, ky + oy, kx + ox, wrap_y, wrap_x)
                        oy, ox = oy + sy, ox + sx
                        total += _apart(features, my + oy, mx + ox, ky + oy, kx + ox, wrap_y, wrap_x)
                energy[m] = total
                best = min(best, total)
            whole = np.float32(0)
            for m in range(count):
                energy[m] = np.exp((best - energy[m]) / temperature)
                whole += energy[m]
            draw = np.uint64(seed) ^ (np.uint64(y) * np.uint64(0x100000001B3) + np.uint64(x))
            threshold = np.float32(_hash(draw) >> np.uint64(40)) / np.float32(1 << 24) * whole
            pick = 0
            for m in range(count):
                if label[m] < 0 or energy[m] == 0:
                    continue
                threshold -= energy[m]
                pick = m
                if threshold <= 0:
                    break
            labels[y, x] = label[pick]


def _with_tone(features: Floats, wraps: tuple[bool, bool]) -> Floats:
    """float32 (H, W, 2 C): the features, (H, W, C), and their tone times TONE_GAIN."""
    reach = math.ceil(4 * TONE_BLUR)
    padded = features
    for axis, wrap in enumerate(wraps):
        widths = [(reach, reach) if axis == other else (0, 0) for other in range(3)]
        padded = np.pad(padded, widths, mode="wrap" if wrap else "edge")
    tone = cv2.GaussianBlur(padded, (0, 0), TONE_BLUR)[reach:-reach, reach:-reach]
    return np.concatenate([features, np.float32(TONE_GAIN) * tone], axis=2)


def _principal(features: Floats) -> Floats:
    """The first FEATURES principal components of float32 (H, W, C); fewer channels are padded with zeros."""
    flat = features.reshape(-1, features.shape[2])
    sample = flat[:: max(1, len(flat) // 2**18)].astype(np.float64)
    vectors = np.linalg.eigh(np.cov(sample, rowvar=False).reshape(flat.shape[1], -1))[1][:, ::-1][:, :FEATURES]
    out = np.zeros((*features.shape[:2], FEATURES), np.float32)
    out[:, :, : vectors.shape[1]] = (flat @ vectors.astype(np.float32)).reshape(*features.shape[:2], -1)
    return out


def mismatch_features(image: Floats, wraps: tuple[bool, bool]) -> Floats:
    """float32 (H, W, FEATURES): what two texels that meet are compared by, of an exemplar (H, W, C)."""
    return _principal(_with_tone(_principal(image), wraps))


def cut_overlaps(
    features: Floats,
    positions: Ints,
    wraps: tuple[bool, bool],
    torus: tuple[bool, bool],
    sweeps: dict[int, int],
    seed: int,
    *,
    radius: float,
    wanted: NDArray[np.bool_] | None = None,
    step: Callable[[float], None] = lambda _: None,
) -> Labels:
    """Labels uint8 (8 h, 8 w): the block each texel is fetched with, as an offset (i, j) in blocks from its own.

    label = (i + REACH) * SPAN + j + REACH, |i|, |j| <= REACH; the texel at (y, x) then comes from exemplar texel
    positions[y // 8 + i, x // 8 + j] + (y, x) - 8 (y // 8 + i, x // 8 + j).
    features: float32 (H, W, C), what mismatch is measured in. positions: int32 (h, w, 2). wraps, torus: directions in
    which the exemplar, the result continue. sweeps: how many, by cell side (8, 4, 2, 1 in this order). radius: blocks
    from a piece's middle beyond which it costs to continue it. wanted: bool (h, w), blocks worth the work, or None for
    all. step: told the fraction done. The same for any number of threads.
    """
    features = mismatch_features(features, wraps)
    middles = middles_of_pieces(positions, features.shape[:2], wraps, torus, GAP)
    labels: Labels = np.full(positions.shape[:2], OWN, np.uint8)
    wanted = np.ones(positions.shape[:2], np.bool_) if wanted is None else wanted
    unit = max(_mean_cost(features, positions, wraps), 1e-6)
    count, done = sum(sweeps.values()), 0
    for cell, times in sweeps.items():
        if cell < BLOCK:
            labels = np.repeat(np.repeat(labels, 2, axis=0), 2, axis=1)  # a block's cells have its label
        # a torus of an odd number of cells has no red-black colouring
        closed = torus[0] and labels.shape[0] % 2 == 0, torus[1] and labels.shape[1] % 2 == 0
        for _ in range(times):
            temperature = FIRST_TEMPERATURE * math.pow(LAST_TEMPERATURE / FIRST_TEMPERATURE, done / max(1, count - 1))
            for colour in range(2):
                step((done + colour / 2) / count)
                draw = int(np.random.default_rng([seed, done, colour]).integers(2**62))
                _sweep(
                    labels, cell, features, positions, middles, np.float32(radius), np.float32(SPREAD * unit), *wraps,
                    *closed, wanted, colour, np.float32(temperature * unit * cell), np.float32(LENGTH * unit),
                    draw,
                )  # fmt: skip
            done += 1
    return labels


def _mean_cost(features: Floats, positions: Ints, wraps: tuple[bool, bool]) -> float:
    """Mean seam cost of a texel of the joins between blocks, 0 if there are none."""
    height, width = features.shape[:2]
    size, rng = np.array([height, width]), np.random.default_rng(0)
    costs = []
    for axis in range(2):
        ahead = np.array([BLOCK, 0] if axis == 0 else [0, BLOCK])
        rows, columns = np.array(positions.shape[:2]) - (ahead > 0)
        if rows < 1 or columns < 1:
            continue
        y, x = rng.integers(0, rows, 8 * SAMPLE), rng.integers(0, columns, 8 * SAMPLE)
        here = positions[y, x] + ahead  # where the neighbour would continue
        there = positions[y + (axis == 0), x + (axis == 1)]
        apart = here - there
        apart = np.where(wraps, apart % size, apart)
        broken = np.flatnonzero((apart != 0).any(axis=1))[:SAMPLE]
        along = np.arange(BLOCK)[:, None] * (np.array([0, 1]) if axis == 0 else np.array([1, 0]))
        a, b = here[broken, None] + along, there[broken, None] + along
        costs += [
            2 * np.square(_texels(features, a, wraps) - _texels(features, b, wraps)).sum(axis=-1, dtype=np.float64)
        ]
    every = np.concatenate([c.ravel() for c in costs]) if costs else np.zeros(0)
    return float(every.mean()) if every.size else 0.0


def _texels(features: Floats, at: NDArray[np.integer[Any]], wraps: tuple[bool, bool]) -> Floats:
    height, width = features.shape[:2]
    y = at[..., 0] % height if wraps[0] else at[..., 0].clip(0, height - 1)
    x = at[..., 1] % width if wraps[1] else at[..., 1].clip(0, width - 1)
    return np.asarray(features[y, x])


def block_sources(labels: Labels, positions: Ints, roll: tuple[int, int]) -> tuple[Ints, NDArray[np.bool_]]:
    """What the labels make of the blocks of a grid that starts at texel `roll` (y, x) of the field, on a torus.

    Positions int32 (h, w, 2) that each block's middle texel comes from, as the block's top left, and bool (h, w): does
    all of the block have the middle's label (of any meaning without a roll only)?
    """
    rows, columns = positions.shape[:2]
    y = (np.arange(rows) * BLOCK + BLOCK // 2 + roll[0])[:, None]
    x = (np.arange(columns) * BLOCK + BLOCK // 2 + roll[1])[None, :]
    middle = labels[y % labels.shape[0], x % labels.shape[1]].astype(np.int32)
    i, j = y // BLOCK + middle // SPAN - REACH, x // BLOCK + middle % SPAN - REACH
    sources = positions[i % rows, j % columns]
    sources = sources + np.stack([y - BLOCK * i, x - BLOCK * j], -1) - BLOCK // 2
    uniform = np.ones((rows, columns), np.bool_)
    blocks = labels.reshape(rows, BLOCK, columns, BLOCK)
    for u in range(BLOCK):
        for v in range(BLOCK):
            uniform &= blocks[:, u, :, v] == middle
    return np.ascontiguousarray(sources, dtype=np.int32), uniform
