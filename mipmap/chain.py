"""Box-filtered mip chains of one map, streamed: bands of rows go in, bands of every level come out.

Level k has max(1, n >> k) texels a side (the floor rule of Vulkan, OpenGL and glTF) down to 1 x 1. A texel of level k
is the exact area average of the rectangle under it in level k - 1. Texel i of n spans [i/n, (i + 1)/n), its centre is
at (i + 0.5)/n. So an even side gives two equal taps, and an odd side n = 2m + 1 gives texel i the three taps

    (m - i)/n,  m/n,  (i + 1)/n          on source texels 2i, 2i + 1, 2i + 2

(S. Guthe and P. Heckbert, "Non-power-of-two mipmapping", NVIDIA 2005; D. Brown's polyphase box). Every source texel
weighs the same, so each level keeps the mean of the map. No texel beyond the edge is ever read: for the box, repeating
and clamping maps are the same.

Averages are carried from level to level as float32 and rounded only on output:
- "colour": integer codes are sRGB-encoded (IEC 61966-2-1) and averaged as linear light; half and float hold linear
  light already, of any range;
- "normal": the decoded vectors (integers encode [-1, 1] as 0..maximum, half and float as 0..1) are averaged as they
  are, and their mean is made a unit vector on output only;
- "scalar": integers over their maximum, half and float as they are.

A constant stays what it is to the bit on every level, for floating point too: halves and quarters are exact, and the
three taps of odd sides are summed in float64. NaN and infinity spread to the texels above them.

The state is a few rows per level. Compiled code releases the interpreter lock, so the chains of several maps may run in
threads; nothing here is shared between two chains but read-only tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mipmap.compiled import compiled, compiled_fused
from mipmap.srgb import light_of, round_linear, round_srgb

Filtering = Literal["colour", "normal", "scalar"]
Codes = NDArray[np.uint8] | NDArray[np.uint16]
Texels = Codes | NDArray[np.float16] | NDArray[np.float32]
Floats = NDArray[np.float32]
DTYPES = tuple(np.dtype(dtype) for dtype in (np.uint8, np.uint16, np.float16, np.float32))

# Where a normal's mean is this short, its direction is rounding noise: the flat normal stands in.
SHORTEST_MEAN = 1e-6
# Bins of the rounding table per step of the darkest, most finely spaced codes; two codes never share one bin.
BINS_PER_CODE = 16
# Steps with fewer values are not worth handing to another thread.
VALUES_PER_THREAD = 1 << 16


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each level from 0 to 1 x 1."""
    if height < 1 or width < 1:
        raise ValueError(f"a map of {height} x {width} texels has no mip chain; both sides must be at least 1")
    return [(max(1, height >> k), max(1, width >> k)) for k in range(max(height, width).bit_length())]


def box_chain(
    bands: Iterable[Texels],
    height: int,
    width: int,
    filtering: Filtering,
    *,
    as_float: bool = False,
    workers: int = 1,
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield (level, first_row, rows) for every level from 0 to 1 x 1, each as soon as its source rows are known.

    bands: (h, width, C) uint8, uint16, float16 or float32, together the `height` rows of the map from the top; h may
    vary. filtering: what the texels mean, see the head of this file. A normal has C = 3.
    rows: (h', width of the level, C); level 0 passes through as it came. Higher levels have the dtype of the bands,
    integers rounded to the nearest code. With as_float, rows of every level are float32: colour as linear light,
    normals encoded (n + 1)/2 (unit vectors above level 0, and at level 0 what the codes say), scalars as fractions.
    workers: threads that share the work of a band; bands of some hundred rows are then worth their while.
    Raises ValueError for bands of another shape or dtype, or when their rows do not add up to `height`.
    """
    fused = filtering != "normal" and not as_float
    for level, first_row, texels, mean, rounded in _chain(bands, height, width, filtering, workers, fused=fused):
        if mean is None:
            yield level, first_row, stored_floats(texels, filtering) if as_float else texels
        elif rounded is not None:
            yield level, first_row, rounded
        else:
            yield level, first_row, to_texels(mean, np.dtype(np.float32) if as_float else texels.dtype, filtering)


def mean_chain(
    bands: Iterable[Texels], height: int, width: int, filtering: Filtering, *, workers: int = 1
) -> Iterator[tuple[int, int, Texels, Floats | None]]:
    """The averages behind `box_chain`, before anything is normalised or rounded.

    Yields (level, first_row, texels, None) for level 0 and (level, first_row, an empty array of the bands' dtype, mean)
    above it; mean is (h', width of the level, C) float32: linear light, raw mean normals in [-1, 1] whose length tells
    how far the normals under the texel differ, or scalars.
    """
    for level, first_row, texels, mean, _ in _chain(bands, height, width, filtering, workers, fused=False):
        yield level, first_row, texels, mean


def _chain(
    bands: Iterable[Texels], height: int, width: int, filtering: Filtering, workers: int, *, fused: bool
) -> Iterator[tuple[int, int, Texels, Floats | None, Codes | None]]:
    """(level, first_row, texels as in `mean_chain`, mean, codes): `fused` rounds to 8 bits in the averaging kernel."""
    sizes = level_sizes(height, width)
    reducers: list[_Reducer] = []
    seen = 0
    empty: Texels = np.empty(0, np.uint8)
    with ThreadPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        for band in bands:
            if seen == 0:
                _check_band(band, width, band.shape[2] if band.ndim == 3 else 0, band.dtype, filtering)
                channels, dtype, empty = band.shape[2], band.dtype, np.empty(0, band.dtype)
                table = decoding_table(dtype, filtering) if dtype.kind == "u" else np.empty(0, np.float32)
                rounding = filtering if fused and dtype == np.uint8 else None
                split = _Split(pool, workers)
                reducers = [_Reducer(*sizes[k], channels, table, rounding, split) for k in range(len(sizes) - 1)]
            _check_band(band, width, channels, dtype, filtering)
            if seen + band.shape[0] > height:
                raise ValueError(f"the bands hold more rows than the {height} announced")
            yield 0, seen, band, None, None
            seen += band.shape[0]
            rows = band if dtype.kind == "u" else carried(band, filtering)
            for k, reducer in enumerate(reducers):
                first_row = reducer.written
                rows, rounded = reducer.push(rows)
                if rows.shape[0] == 0:
                    break
                yield k + 1, first_row, empty, rows, rounded
    if seen != height:
        raise ValueError(f"the bands hold {seen} rows; {height} were announced")


def _check_band(band: Texels, width: int, channels: int, dtype: np.dtype[Any], filtering: Filtering) -> None:
    if band.ndim != 3 or band.shape[1:] != (width, channels) or band.dtype != dtype:
        raise ValueError(
            f"a band is {band.shape} {band.dtype}; every band must be (rows, {width}, the same channels) of one dtype"
        )
    if band.dtype not in DTYPES:
        raise ValueError(f"bands are {band.dtype}; they must be uint8, uint16, float16 or float32")
    if filtering == "normal" and channels != 3:
        raise ValueError(f"bands of normals have {channels} channels; they must have 3")


def box_taps(size: int) -> NDArray[np.float64]:
    """(max(1, size // 2), 3) float64: weights of source texels 2i, 2i + 1, 2i + 2 for texel i of the next level."""
    if size == 1:
        return np.array([[1.0, 0.0, 0.0]])
    half = size // 2
    i = np.arange(half, dtype=np.float64)
    if size % 2 == 0:
        return np.stack([np.full(half, 0.5), np.full(half, 0.5), np.zeros(half)], axis=1)
    return np.stack([half - i, np.full(half, half), i + 1], axis=1) / size


class _Split:
    """Shares the output rows of a step among threads."""

    def __init__(self, pool: Executor | None, workers: int) -> None:
        self._pool, self._workers = pool, workers

    def run(self, rows: int, values: int, work: Callable[[int, int], None]) -> None:
        """Call `work(first, end)` for parts of range(rows), which together make `values` values."""
        parts = max(1, min(self._workers, rows, values // VALUES_PER_THREAD))
        if parts == 1 or self._pool is None:
            work(0, rows)
            return
        cuts = [rows * part // parts for part in range(parts + 1)]
        for done in [self._pool.submit(work, *cut) for cut in pairwise(cuts)]:
            done.result()


class _Reducer:
    """One step of the chain: takes rows of a level as they come and returns the rows of the next that they complete."""

    def __init__(
        self, height: int, width: int, channels: int, table: Floats, rounding: Filtering | None, split: _Split
    ) -> None:
        self.written = 0  # rows of the next level returned so far
        self._height = height
        self._row_taps, self._column_taps = box_taps(height), box_taps(width)
        self._quarters = height % 2 == 0 and width % 2 == 0
        self._pending: list[NDArray[Any]] = []  # rows kept because a later row shares an output with them
        self._pending_rows = 0
        self._received = 0
        self._channels = channels
        self._table, self._rounding, self._split = table, rounding, split

    def push(self, rows: NDArray[Any]) -> tuple[Floats, Codes | None]:
        """rows (h, W, C) of this level, codes at level 0 and float32 above.

        Returns (h', W', C) float32 and, if a rounding table was given, the same as 8-bit codes.
        """
        first = self._received - self._pending_rows  # the level's row that stands first in `source`
        self._received += rows.shape[0]
        source = np.concatenate([*self._pending, rows]) if self._pending else np.ascontiguousarray(rows)
        reach = 1 if self._height == 1 else 3 if self._height % 2 else 2  # rows from 2i on that output i needs
        complete = max(0, (self._received - reach) // 2 + 1)
        count = max(0, min(complete, self._row_taps.shape[0]) - self.written)
        shape = (count, self._column_taps.shape[0], self._channels)
        result = np.empty(shape, np.float32)
        codes = np.empty(shape if self._rounding is not None else (count, 0, 0), np.uint8)
        flat = source.reshape(source.shape[0], math.prod(source.shape[1:]))[2 * self.written - first :]
        self._split.run(count, result.size, lambda lo, hi: self._average(flat, lo, hi, result, codes))
        self.written += count
        keep = source[max(0, 2 * self.written - first) :]
        # A copy, for the caller may reuse the band's memory for the next one.
        self._pending = [keep.copy()] if keep.shape[0] else []
        self._pending_rows = keep.shape[0]
        return result, codes if self._rounding is not None else None

    def _average(self, source: NDArray[Any], first: int, end: int, result: Floats, codes: NDArray[np.uint8]) -> None:
        """Rows first..end of `result` (and of `codes`) from the rows 2 first.. of `source`."""
        if first == end:
            return
        curved = self._rounding == "colour"
        out = result.reshape(result.shape[0], -1)[first:end]
        rounded = codes.reshape(result.shape[0], math.prod(codes.shape[1:]))[first:end]
        rows = source[2 * first :]
        if self._quarters and rows.dtype == np.float32:
            _quarter_floats(rows, self._channels, out, curved, rounded)
        elif self._quarters and curved:
            _quarter_srgb(rows, self._channels, out, rounded)
        elif self._quarters:
            _quarter_codes(rows, self._channels, self._table, out, curved, rounded)
        else:
            taps = self._row_taps[self.written + first : self.written + end]
            if rows.dtype == np.float32:
                _average_floats(rows, self._channels, taps, self._column_taps, out, curved, rounded)
            else:
                _average_codes(rows, self._channels, taps, self._column_taps, self._table, out, curved, rounded)


# The kernels for codes and for floats differ only in the table look-up, numba has no cheaper way to share the rest.
# Their arrays are (rows, width * channels). Each row is rounded while it is warm, unless `codes` has no columns.
# Channels are written out for 1 and 3, because a loop of unknown length keeps the compiler from unrolling it.


@compiled
def _round_row(values: Floats, curved: bool, codes: NDArray[np.uint8]) -> None:
    if curved:
        round_srgb(values, codes)
    else:
        round_linear(values, codes)


@compiled_fused
def _quarter_srgb(source: Any, channels: int, result: Floats, codes: Any) -> None:
    """`_quarter_codes` for 8-bit colour that is rounded at once: the curve is computed, in vectors, not looked up."""
    column = np.empty(source.shape[1], np.float32)
    for i in range(result.shape[0]):
        upper, lower, out = source[2 * i], source[2 * i + 1], result[i]
        for j in range(column.shape[0]):
            column[j] = light_of(upper[j]) + light_of(lower[j])
        _quarter_pairs(column, channels, out)
        round_srgb(out, codes[i])


@compiled
def _quarter_pairs(column: Floats, channels: int, out: Floats) -> None:
    quarter = np.float32(0.25)
    if channels == 3:
        for x in range(out.shape[0] // 3):
            for k in range(3):
                out[3 * x + k] = quarter * (column[6 * x + k] + column[6 * x + k + 3])
    elif channels == 1:
        for x in range(out.shape[0]):
            out[x] = quarter * (column[2 * x] + column[2 * x + 1])
    else:
        for x in range(out.shape[0] // channels):
            for k in range(channels):
                j = 2 * x * channels + k
                out[x * channels + k] = quarter * (column[j] + column[j + channels])


@compiled
def _quarter_codes(source: Any, channels: int, table: Floats, result: Floats, curved: bool, codes: Any) -> None:
    quarter = np.float32(0.25)
    for i in range(result.shape[0]):
        upper, lower, out = source[2 * i], source[2 * i + 1], result[i]
        width = out.shape[0] // channels
        if channels == 3:
            for x in range(width):
                for k in range(3):
                    j = 6 * x + k
                    left, right = table[upper[j]] + table[lower[j]], table[upper[j + 3]] + table[lower[j + 3]]
                    out[3 * x + k] = quarter * (left + right)
        elif channels == 1:
            for x in range(width):
                left, right = (
                    table[upper[2 * x]] + table[lower[2 * x]],
                    table[upper[2 * x + 1]] + table[lower[2 * x + 1]],
                )
                out[x] = quarter * (left + right)
        else:
            for x in range(width):
                for k in range(channels):
                    j = 2 * x * channels + k
                    left, right = (
                        table[upper[j]] + table[lower[j]],
                        table[upper[j + channels]] + table[lower[j + channels]],
                    )
                    out[x * channels + k] = quarter * (left + right)
        if codes.shape[1] > 0:
            _round_row(out, curved, codes[i])


@compiled
def _quarter_floats(source: Floats, channels: int, result: Floats, curved: bool, codes: Any) -> None:
    quarter = np.float32(0.25)
    for i in range(result.shape[0]):
        upper, lower, out = source[2 * i], source[2 * i + 1], result[i]
        width = out.shape[0] // channels
        if channels == 3:
            for x in range(width):
                for k in range(3):
                    j = 6 * x + k
                    out[3 * x + k] = quarter * ((upper[j] + lower[j]) + (upper[j + 3] + lower[j + 3]))
        elif channels == 1:
            for x in range(width):
                out[x] = quarter * ((upper[2 * x] + lower[2 * x]) + (upper[2 * x + 1] + lower[2 * x + 1]))
        else:
            for x in range(width):
                for k in range(channels):
                    j = 2 * x * channels + k
                    out[x * channels + k] = quarter * (
                        (upper[j] + lower[j]) + (upper[j + channels] + lower[j + channels])
                    )
        if codes.shape[1] > 0:
            _round_row(out, curved, codes[i])


@compiled
def _average_codes(
    source: Any, channels: int, row_taps: Any, column_taps: Any, table: Floats, result: Floats, curved: bool, codes: Any
) -> None:
    length = source.shape[1]
    row = np.empty(length, np.float64)
    for i in range(result.shape[0]):
        y = 2 * i
        a, b, c = row_taps[i, 0], row_taps[i, 1], row_taps[i, 2]
        if c != 0:
            for x in range(length):
                row[x] = a * table[source[y, x]] + b * table[source[y + 1, x]] + c * table[source[y + 2, x]]
        elif b != 0:
            for x in range(length):
                row[x] = a * table[source[y, x]] + b * table[source[y + 1, x]]
        else:
            for x in range(length):
                row[x] = table[source[y, x]]
        _average_row(row, channels, column_taps, result[i])
        if codes.shape[1] > 0:
            _round_row(result[i], curved, codes[i])


@compiled
def _average_floats(
    source: Floats, channels: int, row_taps: Any, column_taps: Any, result: Floats, curved: bool, codes: Any
) -> None:
    length = source.shape[1]
    row = np.empty(length, np.float64)
    for i in range(result.shape[0]):
        y = 2 * i
        a, b, c = row_taps[i, 0], row_taps[i, 1], row_taps[i, 2]
        if c != 0:
            for x in range(length):
                row[x] = a * source[y, x] + b * source[y + 1, x] + c * source[y + 2, x]
        elif b != 0:
            for x in range(length):
                row[x] = a * source[y, x] + b * source[y + 1, x]
        else:
            for x in range(length):
                row[x] = source[y, x]
        _average_row(row, channels, column_taps, result[i])
        if codes.shape[1] > 0:
            _round_row(result[i], curved, codes[i])


@compiled
def _average_row(row: Any, channels: int, column_taps: Any, result: Floats) -> None:
    width = row.shape[0] // channels
    if width == 1:
        for k in range(channels):
            result[k] = row[k]
    elif width % 2 == 0:
        for x in range(column_taps.shape[0]):
            for k in range(channels):
                result[x * channels + k] = 0.5 * (row[2 * x * channels + k] + row[(2 * x + 1) * channels + k])
    else:
        for x in range(column_taps.shape[0]):
            a, b, c = column_taps[x, 0], column_taps[x, 1], column_taps[x, 2]
            for k in range(channels):
                left = 2 * x * channels + k
                result[x * channels + k] = a * row[left] + b * row[left + channels] + c * row[left + 2 * channels]


def _srgb_to_linear(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEC 61966-2-1, both 0..1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


@cache
def decoding_table(dtype: np.dtype[Any], filtering: Filtering) -> Floats:
    """(codes,) float32: what each code of `dtype` stands for: linear light 0..1, a component of a normal, or 0..1."""
    fraction = np.arange(np.iinfo(dtype).max + 1, dtype=np.float64) / np.iinfo(dtype).max
    if filtering == "colour":
        return _srgb_to_linear(fraction).astype(np.float32)
    return (2 * fraction - 1 if filtering == "normal" else fraction).astype(np.float32)


@cache
def _rounding_tables(dtype: np.dtype[Any], curved: bool) -> tuple[NDArray[Any], Floats]:
    """Tables that round a value 0..1 to the nearest code: the code at the start of each bin, and each code's threshold.

    The value is rounded among codes, hence for colour in the sRGB encoding and not in linear light. Bins are narrower
    than the narrowest distance of thresholds, so one comparison after the look-up makes the rounding exact.
    """
    maximum = np.iinfo(dtype).max
    halfway = (np.arange(1, maximum + 1, dtype=np.float64) - 0.5) / maximum
    thresholds = np.append(_srgb_to_linear(halfway) if curved else halfway, np.inf).astype(np.float32)
    bins = BINS_PER_CODE * (maximum + 1)
    first = np.searchsorted(thresholds, (np.arange(bins + 1) / bins).astype(np.float32), side="right")
    return first.astype(dtype), thresholds


@compiled
def _round(values: Floats, first: Any, thresholds: Floats, codes: Any) -> None:
    bins = np.float32(first.shape[0] - 1)
    for i in range(values.shape[0]):
        value = min(max(values[i], np.float32(0)), np.float32(1))
        code = first[np.int64(value * bins)]
        codes[i] = code + (value >= thresholds[code])


def to_texels(means: Floats, dtype: np.dtype[Any], filtering: Filtering) -> Texels:
    """Means as `mean_chain` gives them, stored as `dtype`: what `box_chain` yields above level 0.

    means: (h, w, C) float32. Integers are rounded to the nearest code (values beyond 0..1 to the nearest end), colour
    among sRGB codes; half and float hold linear light, encoded unit normals and scalars.
    """
    stored = _unit_normals(means) if filtering == "normal" else means
    if dtype.kind == "f":
        return stored.astype(dtype, copy=False)
    codes: Codes = np.empty(stored.shape, dtype)
    _round(np.ascontiguousarray(stored).reshape(-1), *_rounding_tables(dtype, filtering == "colour"), codes.reshape(-1))
    return codes


def carried(texels: Texels, filtering: Filtering) -> Floats:
    """What is averaged for stored texels, float32 of the same shape: linear light, decoded normals, scalars."""
    if texels.dtype.kind == "u":
        return _decoded(texels, decoding_table(texels.dtype, filtering))
    values = texels.astype(np.float32, copy=False)
    return 2 * values - 1 if filtering == "normal" else values


@compiled
def _normalise(means: Floats, shortest: float, encoded: Floats) -> None:
    for i in range(means.shape[0]):
        x, y, z = means[i, 0], means[i, 1], means[i, 2]
        length = np.sqrt(x * x + y * y + z * z)
        if length < shortest:
            x, y, z, length = np.float32(0), np.float32(0), np.float32(1), np.float32(1)
        half = np.float32(0.5) / length
        encoded[i, 0] = x * half + np.float32(0.5)
        encoded[i, 1] = y * half + np.float32(0.5)
        encoded[i, 2] = z * half + np.float32(0.5)


def _unit_normals(means: Floats) -> Floats:
    """(h, w, 3) mean vectors to unit vectors encoded (n + 1)/2. A mean without a direction becomes the flat normal."""
    encoded = np.empty(means.shape, np.float32)
    _normalise(means.reshape(-1, 3), SHORTEST_MEAN, encoded.reshape(-1, 3))
    return encoded


def stored_floats(texels: Texels, filtering: Filtering) -> Floats:
    """Level 0 as float32: linear light for colour, codes over their maximum for the others, floats as they are."""
    if texels.dtype.kind == "f":
        return texels.astype(np.float32, copy=False)
    return _decoded(texels, decoding_table(texels.dtype, "colour" if filtering == "colour" else "scalar"))


def _decoded(codes: NDArray[Any], table: Floats) -> Floats:
    """table[codes], at twice the speed of numpy's indexing."""
    decoded = np.empty(codes.shape, np.float32)
    _look_up(np.ascontiguousarray(codes).reshape(-1), table, decoded.reshape(-1))
    return decoded


@compiled
def _look_up(codes: Any, table: Floats, decoded: Floats) -> None:
    for i in range(codes.shape[0]):
        decoded[i] = table[codes[i]]
