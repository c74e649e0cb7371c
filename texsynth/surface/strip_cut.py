"""Where along a seam's strip the one texture gives way to the other: the path that costs least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from texsynth.run import Run
from texsynth.surface.plane import Plane
from texsynth.surface.strips import Strips

WIDTH = 32  # texels of a strip: the cut goes 5 to 8 texels deep on average
STRAIGHT = 3.0  # how much more a step is seen along a straight seam than along a cut
TAPER = 2  # texels that the cut may be deep at the ends of a chain, where other seams begin
TONE = 4.0  # texels, standard deviation: what varies more slowly than that is tone, not pattern
AT_ONCE = 1 << 14  # samples that are worked on together
FORBIDDEN = np.float32(1e6)


@dataclass(frozen=True)
class Cut:
    """depth: int64 (N,), of each sample of the strips, texels into the giving side; 0 leaves the seam as it is.
    inside: int64 (N,), as `depths_inside`. tone: float16 (N, WIDTH + 1, channels), by how much the continued texture is
    brighter than the side's own at each depth, smoothed."""

    depth: NDArray[np.int64]
    inside: NDArray[np.int64]
    tone: NDArray[np.float16]


def depths_inside(strips: Strips, covered: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64 (N,): how many texels, 1 to `WIDTH`, it goes on into the giving side's chart from each sample. What lies
    beyond is of another chart or of none.

    covered: bool (size, size), the texels of charts.
    """
    size = len(covered)
    grown = cv2.dilate(covered.astype(np.uint8), np.ones((3, 3), np.uint8))  # a border is between texels
    inside, going_on = np.ones(len(strips.gives), np.int64), np.ones(len(strips.gives), np.bool_)
    for depth in range(2, WIDTH + 1):
        cell = np.mod(np.floor(strips.gives + (depth - 0.5) * strips.inward), size).astype(np.int64)
        going_on &= grown[cell[:, 1], cell[:, 0]] > 0
        inside += going_on
    return inside


def cut_strips(plane: Plane, strips: Strips, covered: NDArray[np.bool_], run: Run) -> Cut:
    """The best cut of every chain, by itself, inside the charts that give way. covered: as of `depths_inside`."""
    depths, tones, inside = [], [], depths_inside(strips, covered)
    for first, last in _parts(strips):
        run.step(0.5 * first / len(strips.closed))
        starts = strips.starts[first : last + 1]
        samples = slice(int(starts[0]), int(starts[-1]))
        difference = _differences(plane, strips, samples, inside[samples])
        cost = np.sqrt(np.mean(difference**2, axis=2))
        cost[:, 0] *= STRAIGHT
        cost[np.arange(WIDTH + 1) > inside[samples, None]] = FORBIDDEN
        starts = starts - starts[0]
        depths.append(_cheapest(cost, starts, strips.closed[first:last], TAPER))
        tones.append(_tone(difference, starts))
    return Cut(np.concatenate(depths), inside, np.concatenate(tones))


def _parts(strips: Strips) -> Iterator[tuple[int, int]]:
    """First and one past the last of consecutive chains that are worked on together."""
    first, count = 0, len(strips.closed)
    for last in range(1, count + 1):
        if strips.starts[last] - strips.starts[first] >= AT_ONCE or last == count:
            yield first, last
            first = last


def _differences(plane: Plane, strips: Strips, samples: slice, inside: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 (N, WIDTH + 1, channels): at each depth by how much the other side's texture, continued, is above the
    side's own; at depth 0 half a texel to either side of the seam, which is the step that is seen if nothing is done;
    deeper than `inside` as it is there."""
    numbers = np.arange(samples.start, samples.stop)
    found = np.empty((len(numbers), WIDTH + 1, plane.channels), np.float32)
    for depth in range(WIDTH + 1):
        some = inside >= depth
        chosen = numbers[some]
        offset = max(depth - 0.5, 0.5) * strips.inward[chosen]
        own = plane.values(strips.gives[chosen] + offset)
        there = plane.values(strips.continued(chosen, offset if depth else -offset))
        found[some, depth] = plane.turned(there, strips.turn[chosen].swapaxes(1, 2)) - own
        found[~some, depth] = found[~some, depth - 1]
    return found


def _tone(difference: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float16]:
    """Smoothed along each chain and across the strip."""
    smooth = np.empty(difference.shape, np.float16)
    for first, last in pairwise(starts):
        for channel in range(difference.shape[2]):
            part = np.ascontiguousarray(difference[first:last, :, channel])
            smooth[first:last, :, channel] = cv2.GaussianBlur(part, (0, 0), TONE, borderType=cv2.BORDER_REPLICATE)
    return smooth


@njit(cache=True, nogil=True)
def _cheapest(cost, starts, closed, taper):  # type: ignore[no-untyped-def]
    """Of each sample the depth of the path of least cost along its chain, which goes up or down by at most one."""
    count, depths = cost.shape
    chosen = np.zeros(count, np.int64)
    total = np.empty((count, depths), np.float32)
    back = np.zeros((count, depths), np.int16)
    for chain in range(len(starts) - 1):
        first, last = starts[chain], starts[chain + 1] - 1
        same = -1  # a closed chain begins and ends at one depth: the best all along
        if closed[chain]:
            sums = np.zeros(depths, np.float32)
            for i in range(first, last + 1):
                sums += cost[i]
            same = int(np.argmin(sums))
        for i in range(first, last + 1):
            most = min(i - first, last - i) + taper
            for d in range(depths):
                here = cost[i, d]
                if (same < 0 and d > most) or (same >= 0 and (i in (first, last)) and d != same):
                    here = FORBIDDEN
                if i > first:
                    best, at = total[i - 1, d], d
                    for other in range(max(0, d - 1), min(depths, d + 2)):
                        if total[i - 1, other] < best:
                            best, at = total[i - 1, other], other
                    here, back[i, d] = here + best, at
                total[i, d] = here
        d = int(np.argmin(total[last]))
        for i in range(last, first - 1, -1):
            chosen[i] = d
            d = back[i, d]
    return chosen
