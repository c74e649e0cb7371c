"""Mip chains of UV-charted maps: a chart map goes down with them, and no texel takes anything from another chart.

A chart map holds a number a texel: 0 where no chart lies, else the number of the chart. A texel of the next level
belongs to the chart with the largest share of the rectangle under it (the area that the box filter averages, see
`mipmap.chain`), the lower number of two equal ones; it is empty only if all of the rectangle is, so charts never thin
out. With w(j) the weights of the filter, b(j) those of the box, and "own" the source texels of that chart,

    value = W + (1 - sum over own of w(j)) m,   W = sum over own of w(j) v(j),
    m = (sum over own of b(j) v(j)) / (sum over own of b(j)),

so what the filter would read elsewhere is replaced by the mean of the chart under the texel. Inside a chart that is the
filter itself; for the box it is the mean of the own texels; and it never divides by a weight near zero, as the usual
normalised filter does with negative lobes. Empty texels average empty texels, so padding around charts stays padding.

Maps with charts do not repeat: taps beyond an edge read the edge texel. Sums are float64, results float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mipmap.chain import Floats, box_taps, level_sizes
from mipmap.compiled import compiled
from mipmap.filters import ReadRows, Taps, sinc_taps

ChartFilter = Literal["box", "kaiser", "lanczos3"]
Charts = NDArray[np.int32]
ReadCharts = Callable[[int, int], NDArray[Any]]


def chart_chain(
    read: ReadRows,
    read_charts: ReadCharts,
    height: int,
    width: int,
    channels: int,
    chart_filter: ChartFilter,
    *,
    band_rows: int = 64,
) -> Iterator[tuple[int, int, Floats, Charts]]:
    """Yield (level, first_row, rows, charts) from level 0 to 1 x 1, each as soon as its source rows are known.

    read(y0, y1): rows y0 <= y < y1 of level 0, (y1 - y0, width, channels) float32: linear light, decoded normals or
    scalars. read_charts(y0, y1): the same rows of the chart map, (y1 - y0, width) of integers, 0 for empty.
    Both are read once from the top, `band_rows` rows at a time. rows: (h', width of the level, channels) float32, not
    clipped. charts: (h', width of the level) int32. Resident are a band and 2 to 19 rows of every level.
    Raises ValueError for sides below 1, an unknown filter, or charts of another shape or below 0.
    """
    sizes = level_sizes(height, width)
    stages = [
        _ChartStage(_taps(h, chart_filter), _taps(w, chart_filter), _taps(h, "box"), _taps(w, "box"), channels)
        for h, w in sizes[:-1]
    ]
    for y in range(0, height, band_rows):
        end = min(height, y + band_rows)
        first, band, charts = y, read(y, end), _checked(read_charts(y, end), (end - y, width))
        yield 0, first, band, charts
        for k, stage in enumerate(stages):
            first, band, charts = stage.push(band, charts)
            if band.shape[0] == 0:
                break
            yield k + 1, first, band, charts


def _checked(charts: NDArray[Any], shape: tuple[int, int]) -> Charts:
    if charts.shape != shape or charts.dtype.kind not in "ui":
        raise ValueError(f"charts are {charts.shape} {charts.dtype}; they must be {shape} of integers")
    if charts.size and (int(charts.min()) < 0 or int(charts.max()) > np.iinfo(np.int32).max):
        raise ValueError(f"charts reach from {charts.min()} to {charts.max()}; they must be 0..2^31 - 1")
    return np.ascontiguousarray(charts, np.int32)


def _taps(size: int, chart_filter: ChartFilter) -> Taps:
    if chart_filter != "box":
        return sinc_taps(size, chart_filter, "clamp")
    count = 1 if size == 1 else 3 if size % 2 else 2
    return Taps(size, 2 * np.arange(max(1, size // 2)), np.ascontiguousarray(box_taps(size)[:, :count]))


class _ChartStage:
    """One step of the chain: takes rows of a level as they come and returns the rows of the next that they complete."""

    def __init__(self, rows: Taps, columns: Taps, row_area: Taps, column_area: Taps, channels: int) -> None:
        self._rows, self._columns = rows, columns
        self._row_area, self._column_area = row_area, column_area
        self._done, self._pending_first = 0, 0
        self._pending = np.empty((0, columns.size, channels), np.float32)
        self._pending_charts = np.empty((0, columns.size), np.int32)

    def push(self, rows: Floats, charts: Charts) -> tuple[int, Floats, Charts]:
        """Take the next rows (h, W, C) float32 and charts (h, W); returns the next level's first row, rows, charts."""
        source = np.concatenate([self._pending, rows])
        source_charts = np.concatenate([self._pending_charts, charts])
        start, weights = self._rows.start, self._rows.weights
        end = self._pending_first + source.shape[0]
        ready = int(np.searchsorted(start, end - weights.shape[1], side="right"))
        part = slice(self._done, ready)
        shape = (ready - self._done, len(self._columns.start))
        result, owner = np.empty((*shape, source.shape[2]), np.float32), np.empty(shape, np.int32)
        _filter_charts(
            source,
            source_charts,
            start[part] - self._pending_first,
            weights[part],
            self._columns.start,
            self._columns.weights,
            self._row_area.start[part] - self._pending_first,
            self._row_area.weights[part],
            self._column_area.weights,
            result,
            owner,
        )
        first, self._done = self._done, ready
        keep = min(int(start[ready]), end) if ready < len(start) else end
        self._pending, self._pending_charts = (
            kept[keep - self._pending_first :].copy() for kept in (source, source_charts)
        )
        self._pending_first = keep
        return first, result, owner


@compiled
def _filter_charts(
    source: Any,
    charts: Any,
    row_start: Any,
    row_weights: Any,
    column_start: Any,
    column_weights: Any,
    area_start: Any,
    row_area: Any,
    column_area: Any,
    result: Any,
    owner: Any,
) -> None:
    """The formula of the head of this file; texels whose taps all lie in one chart take the separable way."""
    width, channels = source.shape[1], source.shape[2]
    row = np.empty((width, channels), np.float64)
    alike = np.empty(width, np.int32)  # the chart of all taps in a column, or -1
    for i in range(result.shape[0]):
        top, taps = row_start[i], row_weights.shape[1]
        row[:] = 0
        alike[:] = charts[top]
        for t in range(taps):
            for x in range(width):
                if charts[top + t, x] != alike[x]:
                    alike[x] = -1
                for k in range(channels):
                    row[x, k] += row_weights[i, t] * source[top + t, x, k]
        for x in range(result.shape[1]):
            left = column_start[x]
            own = _owner(charts, area_start[i], 2 * x, row_area[i], column_area[x])
            owner[i, x] = own
            inside = True
            for s in range(column_weights.shape[1]):
                inside = inside and alike[left + s] == own
            if inside:
                for k in range(channels):
                    value = 0.0
                    for s in range(column_weights.shape[1]):
                        value += column_weights[x, s] * row[left + s, k]
                    result[i, x, k] = value
                continue
            for k in range(channels):
                total, covered = _sum_own(source, charts, own, k, top, left, row_weights[i], column_weights[x])
                under, area = _sum_own(source, charts, own, k, area_start[i], 2 * x, row_area[i], column_area[x])
                result[i, x, k] = total + (1 - covered) * (under / area)


@compiled
def _sum_own(
    source: Any, charts: Any, own: int, k: int, top: int, left: int, row_weights: Any, column_weights: Any
) -> tuple[float, float]:
    """Weighted sum of channel k over the texels of chart `own` from (top, left) on, and the sum of their weights."""
    total, covered = 0.0, 0.0
    for t in range(row_weights.shape[0]):
        for s in range(column_weights.shape[0]):
            if charts[top + t, left + s] == own:
                weight = row_weights[t] * column_weights[s]
                covered += weight
                total += weight * source[top + t, left + s, k]
    return total, covered


@compiled
def _owner(charts: Any, top: int, left: int, row_area: Any, column_area: Any) -> int:
    """The chart with the largest share of a texel's rectangle, 0 if all of it is empty."""
    best, best_area = 0, 0.0
    for t in range(row_area.shape[0]):
        for s in range(column_area.shape[0]):
            chart = charts[top + t, left + s]
            if chart in (0, best):
                continue
            area = 0.0
            for v in range(row_area.shape[0]):
                for u in range(column_area.shape[0]):
                    if charts[top + v, left + u] == chart:
                        area += row_area[v] * column_area[u]
            if area > best_area * (1 + 1e-9) or (area >= best_area * (1 - 1e-9) and chart < best):
                best, best_area = chart, area
    return best
