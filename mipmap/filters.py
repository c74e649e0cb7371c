"""Mip chains by windowed-sinc filters: Kaiser and Lanczos-3, separable, for repeating and for clamped maps.

Level k is filtered from level k - 1; sizes and texel centres are those of `mipmap.chain`. Output texel i of a side n
that becomes m = max(1, n // 2) is centred at c = (i + 0.5) n/m in source texels, and source texel j weighs

    w(j) = sinc(u) window(u / 3),  u = (j + 0.5 - c) m/n,  |u| < 3,  divided by the sum of all w(j)

    Kaiser    window(v) = I0(4 sqrt(1 - v^2)) / I0(4)     (the mip filter of NVIDIA Texture Tools: width 3, alpha 4)
    Lanczos   window(v) = sinc(v)                         (C. Duchon, "Lanczos filtering in one and two dimensions")

An even side has 12 taps, the same for every texel; an odd side has a phase of its own for every texel. Taps beyond the
edge read the other end ("repeat") or the edge texel ("clamp"). Sums are float64 and their results float32, so that a
constant stays itself to the bit. The lobes below zero overshoot at edges; what is carried down keeps the overshoot, and
only rounding to codes cuts it.

Rows of a repeating map need rows of the other end. Those are computed twice instead of kept: every streamed level
starts some rows before 0 and ends some rows after its last. A level small enough to be kept whole ends the streaming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mipmap.chain import Floats, level_sizes
from mipmap.compiled import compiled

Window = Literal["kaiser", "lanczos3"]
Wrap = Literal["repeat", "clamp"]
ReadRows = Callable[[int, int], Floats]

RADIUS = 3.0
KAISER_ALPHA = 4.0
# A level of so few values (8 MB) is kept whole, and the rest of the chain is computed from it.
WHOLE_LEVEL_VALUES = 1 << 21


@dataclass(frozen=True)
class Taps:
    """How a side of `size` texels becomes the next: output i sums weights[i, t] times source texel start[i] + t.

    start: (m,) int64. weights: (m, T) float64, each row sums to 1. Sources below 0 or from `size` on wrap around.
    """

    size: int
    start: NDArray[np.int64]
    weights: NDArray[np.float64]

    def at(self, first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """start and weights of the outputs first..end of the side repeated for ever; first may be negative."""
        period, phase = np.divmod(np.arange(first, end), len(self.start))
        return self.start[phase] + period * self.size, self.weights[phase]


def sinc_taps(size: int, window: Window, wrap: Wrap) -> Taps:
    """The taps of the head of this file for a side of `size` texels. Raises ValueError for another window or wrap."""
    if window not in ("kaiser", "lanczos3"):
        raise ValueError(f"the filter is {window!r}; it must be kaiser or lanczos3")
    if wrap not in ("repeat", "clamp"):
        raise ValueError(f"the wrap is {wrap!r}; it must be repeat or clamp")
    if size == 1:
        return Taps(1, np.zeros(1, np.int64), np.ones((1, 1)))
    half = size // 2
    scale = size / half
    centre = (np.arange(half) + 0.5) * scale
    start = np.ceil(centre - RADIUS * scale - 0.5).astype(np.int64)
    count = int((np.floor(centre + RADIUS * scale - 0.5).astype(np.int64) - start).max()) + 1
    sources = start[:, None] + np.arange(count)
    u = (sources + 0.5 - centre[:, None]) / scale
    inside = np.maximum(0, 1 - (u / RADIUS) ** 2)
    shape = np.i0(KAISER_ALPHA * np.sqrt(inside)) / np.i0(KAISER_ALPHA) if window == "kaiser" else np.sinc(u / RADIUS)
    weights = np.where(np.abs(u) < RADIUS, np.sinc(u) * shape, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return _clamped(Taps(size, start, weights)) if wrap == "clamp" else Taps(size, start, weights)


def _clamped(taps: Taps) -> Taps:
    """The same taps with the weight beyond an edge moved to the edge texel."""
    outputs, count = taps.weights.shape
    kept = min(count, taps.size)
    start = np.clip(taps.start, 0, taps.size - kept)
    weights = np.zeros((outputs, kept))
    sources = np.clip(taps.start[:, None] + np.arange(count), 0, taps.size - 1)
    np.add.at(weights, (np.arange(outputs)[:, None], sources - start[:, None]), taps.weights)
    return Taps(taps.size, start, weights)


def sinc_chain(
    read: ReadRows, height: int, width: int, channels: int, window: Window, wrap: Wrap, *, band_rows: int = 64
) -> Iterator[tuple[int, int, Floats]]:
    """Yield (level, first_row, rows) from level 0 to 1 x 1, rows (h', width of the level, channels) float32, unclipped.

    read(y0, y1) gives rows y0 <= y < y1 of level 0 as (y1 - y0, width, channels) float32: linear light, decoded
    normals or scalars. It is called from the top in bands of `band_rows`; a repeating map reads some rows of both
    ends twice.
    Resident are a band, 12 to 19 rows of every streamed level, and one level of WHOLE_LEVEL_VALUES with those after it.
    Raises ValueError for sides below 1, another window or another wrap.
    """
    sizes = level_sizes(height, width)
    taps = [(sinc_taps(h, window, wrap), sinc_taps(w, window, wrap)) for h, w in sizes[:-1]]
    streamed = next(k for k, (h, w) in enumerate(sizes) if h * w * channels <= WHOLE_LEVEL_VALUES or k == len(taps))
    ranges = [(0, sizes[streamed][0])]  # the rows that the next level reads of each level, from level `streamed` to 0
    for rows, _ in reversed(taps[:streamed]):
        start, weights = rows.at(*ranges[-1])
        ranges.append((int(start.min()), int(start.max()) + weights.shape[1]))
    ranges.reverse()
    stages = [_Stage(*taps[k], channels, ranges[k][0], ranges[k + 1]) for k in range(streamed)]
    whole: list[Floats] = []
    for y in range(*ranges[0], band_rows):
        first, band = y, _read_repeating(read, y, min(ranges[0][1], y + band_rows), height)
        for k in range(streamed + 1):
            if k > 0:
                first, band = stages[k - 1].push(band)
            shown = band[max(0, -first) : max(0, sizes[k][0] - first)]
            if shown.shape[0]:
                yield k, max(0, first), shown
                if k == streamed:
                    whole.append(shown.copy())
    level = np.concatenate(whole)
    for k in range(streamed, len(taps)):
        level = _next_level(level, *taps[k])
        yield k + 1, 0, level


def _next_level(level: Floats, rows: Taps, columns: Taps) -> Floats:
    """One whole level (H, W, C) float32 to the next."""
    target = (0, len(rows.start))
    start, weights = rows.at(*target)
    first, end = int(start.min()), int(start.max()) + weights.shape[1]
    return _Stage(rows, columns, level.shape[2], first, target).push(level[np.arange(first, end) % rows.size])[1]


def _read_repeating(read: ReadRows, first: int, end: int, height: int) -> Floats:
    """Rows first..end of the map repeated for ever upwards and downwards."""
    parts = []
    while first < end:
        y = first % height
        count = min(end - first, height - y)
        parts.append(read(y, y + count))
        first += count
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class _Stage:
    """One step of the chain: takes rows of a level as they come and returns the rows of the next that they complete."""

    def __init__(self, rows: Taps, columns: Taps, channels: int, source_first: int, target: tuple[int, int]) -> None:
        self._start, self._weights = rows.at(*target)
        self._done, self._target_first = 0, target[0]
        self._channels = channels
        # The row is lengthened on both sides by what its taps read beyond its ends.
        reach = int(columns.start.max()) + columns.weights.shape[1]
        self._left = max(0, -int(columns.start.min()))
        self._source_of = np.arange(-self._left, max(columns.size, reach)) % columns.size
        self._column_start, self._column_weights = columns.start + self._left, columns.weights
        self._pending = np.empty((0, columns.size, channels), np.float32)
        self._pending_first = source_first

    def push(self, rows: Floats) -> tuple[int, Floats]:
        """Take the next rows of the source, (h, W, C) float32; returns the first row of the target and its rows."""
        source = np.concatenate([self._pending, rows])
        end = self._pending_first + source.shape[0]
        taps = self._weights.shape[1]
        ready = int(np.searchsorted(self._start, end - taps, side="right"))
        part = slice(self._done, ready)
        result = np.empty((ready - self._done, len(self._column_start), self._channels), np.float32)
        _filter_rows(
            source.reshape(source.shape[0], source.shape[1] * self._channels),
            self._start[part] - self._pending_first,
            self._weights[part],
            self._source_of,
            self._left,
            self._column_start,
            self._column_weights,
            result,
        )
        first, self._done = self._target_first + self._done, ready
        keep = min(int(self._start[ready]), end) if ready < len(self._start) else end
        self._pending, self._pending_first = source[keep - self._pending_first :].copy(), keep
        return first, result


@compiled
def _filter_rows(
    source: Any,
    row_start: Any,
    row_weights: Any,
    source_of: Any,
    left: int,
    column_start: Any,
    column_weights: Any,
    result: Any,
) -> None:
    """result (h', m, C) from source (h, W C); padded column p of a row is source column source_of[p]."""
    channels = result.shape[2]
    length, padded = source.shape[1], source_of.shape[0]
    row = np.empty(padded * channels, np.float64)
    middle = row[left * channels : left * channels + length]
    for i in range(result.shape[0]):
        middle[:] = 0
        for t in range(row_weights.shape[1]):
            weight, line = row_weights[i, t], source[row_start[i] + t]
            if weight != 0:
                for x in range(length):
                    middle[x] += weight * line[x]
        width = length // channels
        for p in range(padded):
            if p < left or p >= left + width:
                for k in range(channels):
                    row[p * channels + k] = middle[source_of[p] * channels + k]
        for x in range(result.shape[1]):
            for k in range(channels):
                total = 0.0
                for t in range(column_weights.shape[1]):
                    total += column_weights[x, t] * row[(column_start[x] + t) * channels + k]
                result[i, x, k] = total
