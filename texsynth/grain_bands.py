"""Bands of grain: where lines of an exemplar run far, as in wood and brushed metal, no piece may be moved across them.

Each band of the result shows rows (or columns) of the exemplar that follow each other, all along it, so that no line
ends where two pieces meet. The bands are of many widths and begin anywhere in the exemplar, where the last one's next
rows are alike: nothing repeats, and a band's edge is a line among lines. Of boards and of courses whose bond has no
rhythm each is a band, and in any order: none changes its tone, or its height by a texel or two, on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.exemplar import Exemplar
from texsynth.grain import Grain, grain_of
from texsynth.lattice import Lattice
from texsynth.model.latent import BLOCK

COHERENT = 0.5  # of the gradients' energy: shorter lines need no bands
WIDTHS = 0.2, 0.5  # of the exemplar's side: of a band
CANDIDATES = 24  # places where the next band might begin
ALIKE = 12  # texels on either side of an edge that are compared
FEWEST = 4  # boards or courses of an exemplar, for each to be a band
TOLERANCE = 0.012  # of the side: how far a line may be moved across itself


@dataclass(frozen=True)
class Bands:
    """own, lattice: of the exemplar and of the result, the wave of a side of the exemplar. shift: float32 (size / 8,
    size / 8, 2), as `layout.Frame` has it."""

    own: Lattice
    lattice: Lattice
    shift: NDArray[np.float32]


def grain_bands(exemplar: Exemplar, size: tuple[int, int], torus: tuple[bool, bool], seed: int) -> Bands | None:
    """The bands of a result of `size` (height, width); of boards each is one. None where the exemplar has no such
    grain, or another lattice than that of boards."""
    own, fitted = exemplar.lattice.fitted(size, torus)
    grain = grain_of(exemplar.weighted, COHERENT)
    if grain is Grain.NONE or len(own.waves) > 1:
        return None
    axis = 0 if grain is Grain.LEVEL else 1
    side, wraps, rng = exemplar.size[axis], exemplar.wraps[axis], np.random.default_rng([seed, 3])
    profile, scale = exemplar.weighted.mean(axis=1 - axis), 1.0
    if len(own.waves):
        count = abs(float(own.waves[0, axis])) * side
        if own.waves[0, 1 - axis] or count < FEWEST:
            return None
        scale = abs(float(fitted.waves[0, axis] / own.waves[0, axis]))
        planned: tuple[Sequence[float], Sequence[float]] = _boards(
            profile, side / count, scale, size[axis], wraps, torus[axis], rng
        )
        tolerance = own.tolerance / count
    else:
        beyond = "wrap" if wraps else "nearest"
        high = profile - ndimage.gaussian_filter1d(profile, side / 4, axis=0, mode=beyond)
        planned = _planned(high, size[axis], wraps, rng)
        tolerance = TOLERANCE
    begins, sources = (np.array(each, float) for each in planned)
    band = np.searchsorted(begins, np.arange(-(-size[axis] // BLOCK)) * BLOCK, "right") - 1
    further = (begins - sources / scale)[band]
    shift = np.zeros((*(-(-n // BLOCK) for n in size), 2), np.float32)
    shift[:, :, axis] = further[:, None] if axis == 0 else further[None, :]
    wave = np.eye(2)[[axis]] / side
    return Bands(Lattice(wave, tolerance, own.strength), Lattice(wave * scale, tolerance, own.strength), shift)


def _boards(
    means: NDArray[np.float32], period: float, scale: float, length: int, wraps: bool, closes: bool,
    rng: np.random.Generator,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """As `_planned`, of boards whose `period`, texels, is divided by `scale` in the result; all begin at a joint.
    closes: whether the result tiles across them."""
    profile = np.square(means - means.mean(axis=0)).sum(axis=1)
    phase = np.arange(len(profile)) % period
    folded = np.bincount(phase.astype(int), profile) / np.maximum(np.bincount(phase.astype(int)), 1)
    joint = float(folded.argmax())
    count = round(len(profile) / period) if wraps else int((len(profile) - joint) / period + 1e-6)
    begins, sources, left = list[float](), list[float](), list[int]()
    at = -float(rng.uniform()) * period / scale
    while at < length:
        left = left or rng.permutation(count).tolist()
        begins.append(at)
        sources.append(joint + left.pop() * period)
        at += period / scale
    if closes:  # the last board goes on over the edge, in the first
        sources[-1] = sources[0]
    return begins, sources


def _planned(
    means: NDArray[np.float32], length: int, wraps: bool, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Where bands begin, and the row of the exemplar, means (H, K), that each begins with."""
    side = len(means)
    low, high = (max(2 * BLOCK, round(share * side)) for share in WIDTHS)
    begins, sources, used = [0], list[int](), np.zeros(side)
    while True:
        width = min(int(rng.integers(low, high + 1)) // BLOCK * BLOCK, length - begins[-1])
        if length - begins[-1] - width < low:
            width = length - begins[-1]
        starts = rng.integers(0, side if wraps else max(1, side - width + 1), CANDIDATES)
        cost = np.array([used[_rows(start, width, side)].mean() for start in starts])
        if sources:
            end = sources[-1] + begins[-1] - begins[-2]
            here = means[_rows(end - ALIKE, 2 * ALIKE, side)]
            step = [np.square(means[_rows(start - ALIKE, 2 * ALIKE, side)] - here).mean() for start in starts]
            cost += np.sqrt(np.array(step) / max(float(means.var()), 1e-12))
        start = int(starts[cost.argmin()])
        used[_rows(start, width, side)] += 1
        sources.append(start)
        if begins[-1] + width >= length:
            return begins, sources
        begins.append(begins[-1] + width)


def _rows(first: int, count: int, side: int) -> NDArray[np.intp]:
    return np.arange(first, first + count) % side
