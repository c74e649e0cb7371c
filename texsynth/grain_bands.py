"""Bands of grain: where lines of an exemplar run far, as in wood and brushed metal, no piece may be moved across them.

Each band of the result shows rows (or columns) of the exemplar that follow each other, all along it, so that no line
ends where two pieces meet. The bands are of many widths and begin anywhere in the exemplar, where the last one's next
rows are alike: nothing repeats, and a band's edge is a line among lines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.exemplar import Exemplar
from texsynth.grain import Grain, coherence_of, grain_of
from texsynth.lattice import Lattice
from texsynth.model.latent import BLOCK

COHERENT = 0.5  # of the gradients' energy: shorter lines need no bands
WIDTHS = 0.2, 0.5  # of the exemplar's side: of a band
CANDIDATES = 24  # places where the next band might begin
ALIKE = 12  # texels on either side of an edge that are compared
TOLERANCE = 0.012  # of the side: how far a line may be moved across itself


def grain_bands(exemplar: Exemplar, size: tuple[int, int], seed: int) -> tuple[Lattice, NDArray[np.float32]] | None:
    """The bands of a result of `size` (height, width): their wave, and float32 (size / 8, size / 8, 2), as `Frame` has
    it, by how many texels its phase lies further on. None where the exemplar has no such grain."""
    grain = grain_of(exemplar.weighted)
    if grain is Grain.NONE or coherence_of(exemplar.weighted)[0] < COHERENT:
        return None
    axis = 0 if grain is Grain.LEVEL else 1
    side, length = exemplar.size[axis], size[axis]
    means = exemplar.weighted.mean(axis=1 - axis)
    high = means - ndimage.gaussian_filter1d(
        means, side / 4, axis=0, mode="wrap" if exemplar.wraps[axis] else "nearest"
    )
    begins, sources = _planned(high, length, exemplar.wraps[axis], np.random.default_rng([seed, 3]))
    at = np.arange(-(-length // BLOCK)) * BLOCK
    band = np.searchsorted(begins, at, "right") - 1
    further = (np.array(begins) - np.array(sources))[band]
    shift = np.zeros((*(-(-n // BLOCK) for n in size), 2), np.float32)
    shift[:, :, axis] = further[:, None] if axis == 0 else further[None, :]
    return Lattice(np.eye(2)[[axis]] / side, TOLERANCE, 0.0), shift


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
