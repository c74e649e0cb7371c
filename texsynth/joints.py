"""Joints of boards and courses: lines or steps that run all along an exemplar, however far apart they lie."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.exemplar import halved
from texsynth.model.latent import BLOCK

LARGEST = 1024  # texels a side at which they are looked for
PARTS = 24
REACHES = 2, 4  # texels to either side, which differ from each other or from what is between
SHARE = 0.3  # of the line that may differ less: knots, stains and what has the joint's tone
STEEP = 2.5
PLAIN = 0.3  # of what joints mostly are
NEAREST = 16  # texels from one to the next
STRAIGHT = 2.5  # texels that a joint may wander and boards be cut in its middle
WANDERS = 0.8  # of its parts, which all lie beyond where boards are cut
CLEAR = 6.0  # times what is usual: of others it is not known how they wander


def joints_of(
    image: NDArray[np.float32], wraps: bool, *, parts: int = PARTS, steep: float = STEEP
) -> NDArray[np.float64]:
    """Rows of (H, W, C), in ascending order, where boards may be taken apart: in the joints where they are straight,
    before them where one is not. wraps: whether the rows go on over the edge; else there is none at it. parts: of a
    line, each of which is one value. steep: how much more of a joint there is than usual."""
    reduced = max(0, math.ceil(math.log2(max(image.shape[:2]) / LARGEST)))
    small = halved(image, reduced)
    height, mode = small.shape[0], "wrap" if wraps else "nearest"
    length = max(1, small.shape[1] // parts)
    means = small[:, : small.shape[1] // length * length].reshape(height, -1, length, small.shape[2]).mean(axis=2)
    means = ndimage.gaussian_filter1d(means, 1.0, axis=0, mode=mode)
    seen = np.zeros(means.shape[:2])
    along = np.zeros(height)
    for reach in REACHES:
        before, after = np.roll(means, reach, axis=0), np.roll(means, -reach, axis=0)
        for difference in (after - before, means - (before + after) / 2):
            size = np.linalg.norm(difference, axis=2)
            seen, along = np.maximum(seen, size), np.maximum(along, np.quantile(size, SHARE, axis=1))
    if not wraps:
        along[: max(REACHES) + 1] = along[-max(REACHES) - 1 :] = 0
    usual = max(float(np.median(along)), 1e-3 * float(along.max()), 1e-6)
    highest = ndimage.maximum_filter1d(along, 2 * NEAREST - 1, mode=mode)
    found = np.flatnonzero((along == highest) & (along > steep * usual))
    if len(found) == 0:
        return np.empty(0)
    found = found[along[found] > PLAIN * np.median(along[found])]
    peaks = along[found]
    found += np.rint(_middles(along[:, None] - usual, found)[:, 0]).astype(np.intp)
    cuts = found - _before(seen - np.median(seen, axis=0), found[peaks > CLEAR * usual])
    cuts = np.sort(cuts % height if wraps else cuts.clip(0, height - 1))
    return np.asarray((cuts + 0.5) * 2**reduced, np.float64)


def _middles(seen: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n, P), how far from each of `rows` (n,) the middle of what is `seen` (H, P) of a joint there lies: it differs
    most from what is to either side of it, and that from it."""
    around = np.arange(-NEAREST // 2, NEAREST // 2 + 1)
    weight = np.maximum(seen[(rows[:, None] + around) % len(seen)], 1e-6) ** 4  # (n, 17, P)
    return np.asarray(np.tensordot(around, weight, (0, 1)) / weight.sum(axis=1))


def _before(seen: NDArray[np.float64], rows: NDArray[np.intp]) -> int:
    """How many rows before the joints boards are cut, the same for all, or one would show two of them or none. seen:
    (H, P), how much of one is in each part of each row."""
    if len(rows) == 0:
        return 0
    low, high = np.quantile(_middles(seen, rows), [(1 - WANDERS) / 2, (1 + WANDERS) / 2], axis=1)
    if (high - low).max() <= STRAIGHT:
        return 0
    return BLOCK + max(REACHES) - math.floor(float(low.min()))  # a board's last row of tokens goes on over its end
