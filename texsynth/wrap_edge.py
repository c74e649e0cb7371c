"""Where a tileable result begins: a torus may be cut open anywhere, so it is cut where the edge looks like any line.

A line is what lies between two neighbouring rows (columns) of texels; its gradient is their mean absolute difference.
Along joints of tiles, or of the exemplar's compression blocks, even true lines have gradients far from their
neighbours', and as the wrap edge such a line would look, and measure, like a seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mipmap.metrics.seams import NEAR, line_ratios
from texsynth.gather_cut import Cuts, gather_cut

CANDIDATES = 192  # rows that are tried as the first; columns are all tried
BANDS, BAND_ROWS = 128, 8  # the sample of rows that columns are judged by


def calm_roll(
    stack: NDArray[np.float32],
    cuts: Cuts,
    channels: Sequence[slice],
    *,
    wraps: tuple[bool, bool],
    normal: int,
    offsets: NDArray[np.float32] | None,
    levelled: tuple[int, ...],
) -> tuple[int, int]:
    """The texel (y, x) of a result that tiles both ways, from which on its wrap edges are most like lines beside them.

    channels: those of each map; the worst map counts. The others as in `gather_cut`.
    """
    height, width = cuts.labels.shape

    def rows_from(y: int, count: int) -> NDArray[np.float32]:
        here = replace(cuts, roll=(y % height, 0))
        return gather_cut(
            stack, here, (0, count), wraps=wraps, torus=(True, True), normal=normal, offsets=offsets, levelled=levelled
        )

    firsts = np.unique(np.arange(CANDIDATES) * height // CANDIDATES + np.arange(CANDIDATES) % 8)
    strange = []
    for y in firsts:
        around = rows_from(int(y) - NEAR - 1, 2 * NEAR + 2)
        steps = np.abs(np.diff(around, axis=0))
        ratios = [line_ratios(steps[:, :, part].mean(axis=(1, 2), dtype=np.float64))[NEAR] for part in channels]
        strange.append(float(np.abs(np.log(ratios)).max()))
    top = int(firsts[int(np.argmin(strange))])
    sums = np.zeros((len(channels), width))
    for band in range(BANDS):
        rows = rows_from(band * height // BANDS, BAND_ROWS)
        steps = np.abs(rows - np.roll(rows, 1, axis=1))  # at x the line before column x
        sums += [steps[:, :, part].mean(axis=(0, 2), dtype=np.float64) / BANDS for part in channels]
    left = int(np.argmin(np.abs(np.log(line_ratios(sums))).max(axis=0)))
    return top % height, left
