"""Does an exemplar go on across its edges: is its last row followed by its first, its last column by its first?

Three signs. The step across an edge may be no larger than the largest step between neighbouring rows (columns) inside:
a mean would refuse tiles whose edge is a joint. Where the exemplar has a lattice, that says more: a photo of bricks
that is cut anywhere has no larger a step than at their joints, but its next brick comes too early; a wall whose joint
lies on the edge, or whose file was compressed, may have one. And a cut hardly ever holds exactly two periods: two slabs
a side, and what was made to tile from a copy moved by half a side, go on.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.lattice import FLAT, Lattice, averaged, find_lattice

Floats = NDArray[np.float32]

LARGEST_STEP = 1.15  # times the largest one inside
LARGER_STEP = 1.4  # times those beside the edge: what breaks off has one, the frame of a panel full of bricks has none
BESIDE = 3  # lines on either side of the edge
LONGEST_SIDE = 512  # texels that the lattice is looked for at
SLOW = 5  # parts of a side: what is as broad is tone, in which bricks differ
STRENGTH = 0.25  # of a lattice that says more than the step
# Of 294 training materials and two cuts of each, 142 and 294 sides have such a lattice. By these figures 132 and 72 go
# on, by the step alone 134 and 172. Of the 72, 27 hold whole periods, and of 25, along courses, it says nothing.
GOES_ON, BREAKS_OFF = 0.15, 0.3
ASIDE = 3  # times as long as ahead: of a running bond, the next brick of the same course
NEAR = 2  # texels that what is compared across the edge may be off
# Halves are alike, as nothing else near half a side is: of the 588 sides 79, of those of two cuts 2. Six of the 79 have
# too large a step, at a joint or the frame of a panel that lies on the edge.
ALIKE, LEAD = 0.5, 0.25
LEAST_RISE = 1.08  # times the difference a period apart: what is no more different at half a period has none


def goes_on(weighted: Floats) -> tuple[bool, bool]:
    """Whether rows, columns of `weighted`, float32 (H, W, K), continue across the edge."""
    lattice, reduced = _lattice(weighted)
    rows, columns = (_axis_goes_on(weighted, reduced, lattice, axis) for axis in range(2))
    return rows, columns


def _lattice(weighted: Floats) -> tuple[Lattice, Floats]:
    """The lattice that is seen without what is across the edges, and a reduced copy, less its tone, whose texels it
    counts in."""
    reduced: Floats = averaged(weighted, -(-max(weighted.shape[:2]) // LONGEST_SIDE)).astype(np.float32)
    around = max(3, min(reduced.shape[:2]) // SLOW | 1)
    tone = cv2.blur(reduced, (around, around)).reshape(reduced.shape)
    return find_lattice(reduced, (False, False)), reduced - tone


def _axis_goes_on(weighted: Floats, reduced: Floats, lattice: Lattice, axis: int) -> bool:
    lines = weighted.swapaxes(0, axis)
    steps = np.abs(np.diff(lines, axis=0)).mean(axis=(1, 2))
    across = np.abs(lines[0] - lines[-1]).mean()
    broken = _phase_break(reduced.swapaxes(0, axis), np.roll(lattice.waves, axis, axis=1), lattice.strength)
    if (broken is not None and broken <= GOES_ON) or _halves_alike(reduced.swapaxes(0, axis)):
        return True
    beside = np.median(np.concatenate([steps[:BESIDE], steps[-BESIDE:]]))
    if broken is not None and broken >= BREAKS_OFF and across > LARGER_STEP * beside:
        return False
    return bool(across <= LARGEST_STEP * steps.max())


def _phase_break(image: Floats, waves: NDArray[np.float64], strength: float) -> float | None:
    """How different rows a period apart are across the edge: 0 as different as inside, 1 as rows between two periods.

    waves: (n, 2), a lattice's in cycles per texel of `image`. None where they say nothing: no strong lattice, no period
    that leads from rows to rows, rows between two periods that differ no more.
    """
    if len(waves) == 0 or strength < STRENGTH:
        return None
    steps = np.array(list(itertools.product(range(-4, 5), repeat=len(waves))))
    periods = steps @ np.linalg.pinv(waves).T
    height, width = image.shape[:2]
    along, aside = periods[:, 0], np.abs(periods[:, 1])
    ahead = periods[(along >= np.maximum(0.9 * aside, 2)) & (along < 0.75 * height) & (aside < 0.5 * width - NEAR)]
    if len(ahead) == 0:
        return None
    period = ahead[np.argmin(np.hypot(ahead[:, 0], ASIDE * ahead[:, 1]))]
    down, right = np.round(period).astype(int).tolist()
    inside = _difference(image[:-down], image[down:], right)
    parts = [np.round(part * period).astype(int).tolist() for part in (0.35, 0.5, 0.65)]
    between = max(_difference(image[:-y], image[y:], x) for y, x in parts)
    if between < LEAST_RISE * inside:
        return None
    beyond = np.concatenate([image[-down - NEAR :], image[: down + NEAR]])
    across = min(
        _difference(image[-down:], beyond[NEAR + down + y : NEAR + 2 * down + y], right + x)
        for y in range(-NEAR, NEAR + 1)
        for x in range(-NEAR, NEAR + 1)
    )
    return (across - inside) / (between - inside)


def _halves_alike(image: Floats) -> bool:
    """Whether the means of the rows of `image` are alike half a side apart, to a row, and at no other lag near it."""
    profile = image.mean(axis=1, dtype=np.float64)
    half = len(profile) // 2

    def alike(lag: int) -> float:
        first, second = (part - part.mean(axis=0) for part in (profile[:-lag], profile[lag:]))
        return float((first * second).sum() / max(np.sqrt((first**2).sum() * (second**2).sum()), FLAT))

    beside = [lag for off in range(max(4, half // 32), half // 4) for lag in (half - off, half + off)]
    at = max(map(alike, (half - 1, half, half + 1)))
    return at >= ALIKE and at - max(map(alike, beside), default=at) >= LEAD


def _difference(first: Floats, second: Floats, right: int) -> float:
    """Mean absolute difference of rows and of rows that lie `right` columns farther."""
    width = first.shape[1] - abs(right)
    return float(np.abs(first[:, max(0, -right) :][:, :width] - second[:, max(0, right) :][:, :width]).mean())
