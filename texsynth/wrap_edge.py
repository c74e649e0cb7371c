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

from texsynth.gather_cut import Cuts, gather_cut

Doubles = NDArray[np.float64]

CANDIDATES = 192  # rows that are tried as the first; columns are all tried
BANDS, BAND_ROWS = 128, 8  # the sample of rows that columns are judged by
NEAR = 2  # lines on either side that a line is compared with, as in `mipmap.metrics.wrap_ratio`
FLAT = 0.02 / 255  # a gradient below this is flat ground


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
        lines = [np.abs(np.diff(around[:, :, part], axis=0)).mean(axis=(1, 2), dtype=np.float64) for part in channels]
        strange.append(max(abs(_log_ratio(line[NEAR], (line.sum() - line[NEAR]) / (2 * NEAR))) for line in lines))
    top = int(firsts[int(np.argmin(strange))])
    sums = np.zeros((len(channels), width))
    for band in range(BANDS):
        rows = rows_from(band * height // BANDS, BAND_ROWS)
        steps = np.abs(rows - np.roll(rows, 1, axis=1))  # at x the line before column x
        sums += [steps[:, :, part].mean(axis=(0, 2), dtype=np.float64) / BANDS for part in channels]
    beside = sum((np.roll(sums, k, axis=1) for k in range(-NEAR, NEAR + 1) if k), np.zeros_like(sums)) / (2 * NEAR)
    left = int(np.argmin(np.abs(_log_ratio(sums, beside)).max(axis=0)))
    return top % height, left


def _log_ratio(line: Doubles, beside: Doubles) -> Doubles:
    return np.asarray(np.log(np.maximum(line, FLAT) / np.maximum(beside, FLAT)))
