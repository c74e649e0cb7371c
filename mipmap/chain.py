"""Box-filtered mip chains of one map, streamed: bands of rows go in, bands of every level come out.

Level k has max(1, n >> k) texels a side (the floor rule of Vulkan, OpenGL and glTF) down to 1 x 1. A texel of level k
is the exact area average of the rectangle under it in level k - 1. Texel i of n spans [i/n, (i + 1)/n), its centre is
at (i + 0.5)/n. So an even side gives two equal taps, and an odd side n = 2m + 1 gives texel i the three taps

    (m - i)/n,  m/n,  (i + 1)/n          on source texels 2i, 2i + 1, 2i + 2

(S. Guthe and P. Heckbert, "Non-power-of-two mipmapping", NVIDIA 2005; D. Brown's polyphase box). Every source texel
weighs the same, so each level keeps the mean of the map.

Averages are carried from level to level as float32 and rounded only on output:
- "colour": codes are sRGB-encoded (IEC 61966-2-1) and averaged as linear light;
- "normal": the decoded vectors are averaged as they are, and their mean is made a unit vector on output only;
- "scalar": codes are averaged as they are.

The state is a few rows per level. Compiled code releases the interpreter lock, so the chains of several maps may run in
threads; nothing here is shared between two chains but read-only tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Literal, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Filtering = Literal["colour", "normal", "scalar"]
Codes = NDArray[np.uint8] | NDArray[np.uint16]
Floats = NDArray[np.float32]
Compiled = TypeVar("Compiled", bound=Callable[..., Any])

# Where a normal's mean is this short, its direction is rounding noise: the flat normal stands in.
SHORTEST_MEAN = 1e-6
# Bins of the rounding table per step of the darkest, most finely spaced codes; two codes never share one bin.
BINS_PER_CODE = 16


def _compile(function: Compiled) -> Compiled:
    """Machine code without the interpreter lock, cached on disk where some cache folder can be written."""
    try:
        return cast(Compiled, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # numba found no folder for its cache: a read-only installation without a home
        return cast(Compiled, numba.njit(nogil=True)(function))


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each level from 0 to 1 x 1."""
    if height < 1 or width < 1:
        raise ValueError(f"a map of {height} x {width} texels has no mip chain; both sides must be at least 1")
    return [(max(1, height >> k), max(1, width >> k)) for k in range(max(height, width).bit_length())]


def box_chain(
    bands: Iterable[Codes], height: int, width: int, filtering: Filtering, *, as_float: bool = False
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield (level, first_row, rows) for every level from 0 to 1 x 1, each as soon as its source rows are known.

    bands: (h, width, C) uint8 or uint16, together the `height` rows of the map from the top; h may vary.
    filtering: what the codes mean, see the head of this file. A normal has C = 3 and encodes [-1, 1] as 0..maximum.
    rows: (h', width of the level, C); level 0 passes through as it came. Higher levels have the dtype of the bands,
    rounded to the nearest code. With as_float, rows of every level are float32: colour as linear light 0..1, normals
    encoded (n + 1)/2 (unit vectors above level 0, and at level 0 what the codes say), scalars 0..1.
    Raises ValueError for bands of another shape or dtype, or when their rows do not add up to `height`.
    """
    for level, first_row, codes, mean in mean_chain(bands, height, width, filtering):
        if mean is None:
            yield level, first_row, _stored_fractions(codes, filtering) if as_float else codes
        else:
            stored = _unit_normals(mean) if filtering == "normal" else mean
            yield level, first_row, stored if as_float else _to_codes(stored, codes.dtype, filtering)


def mean_chain(
    bands: Iterable[Codes], height: int, width: int, filtering: Filtering
) -> Iterator[tuple[int, int, Codes, Floats | None]]:
    """The averages behind `box_chain`, before anything is normalised or rounded.

    Yields (level, first_row, codes, None) for level 0 and (level, first_row, an empty array of the bands' dtype, mean)
    above it; mean is (h', width of the level, C) float32: linear light, raw mean normals in [-1, 1] whose length tells
    how far the normals under the texel differ, or scalars 0..1.
    """
    sizes = level_sizes(height, width)
    reducers: list[_Reducer] = []
    seen = 0
    empty: Codes = np.empty(0, np.uint8)
    for band in bands:
        if seen == 0:
            _check_band(band, width, band.shape[2] if band.ndim == 3 else 0, band.dtype, filtering)
            channels, dtype, empty = band.shape[2], band.dtype, np.empty(0, band.dtype)
            table = decoding_table(dtype, filtering)
            reducers = [_Reducer(*sizes[k], channels) for k in range(len(sizes) - 1)]
        _check_band(band, width, channels, dtype, filtering)
        if seen + band.shape[0] > height:
            raise ValueError(f"the bands hold more rows than the {height} announced")
        yield 0, seen, band, None
        seen += band.shape[0]
        rows: Codes | Floats = band
        for k, reducer in enumerate(reducers):
            first_row = reducer.written
            rows = reducer.push(rows, table)
            if rows.shape[0] == 0:
                break
            yield k + 1, first_row, empty, rows
    if seen != height:
        raise ValueError(f"the bands hold {seen} rows; {height} were announced")


def _check_band(band: Codes, width: int, channels: int, dtype: np.dtype[Any], filtering: Filtering) -> None:
    if band.ndim != 3 or band.shape[1:] != (width, channels) or band.dtype != dtype:
        raise ValueError(
            f"a band is {band.shape} {band.dtype}; every band must be (rows, {width}, the same channels) of one dtype"
        )
    if band.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ValueError(f"bands are {band.dtype}; they must be uint8 or uint16")
    if filtering == "normal" and channels != 3:
        raise ValueError(f"bands of normals have {channels} channels; they must have 3")


def _taps(size: int) -> Floats:
    """(max(1, size // 2), 3) float32: weights of source texels 2i, 2i + 1, 2i + 2 for texel i of the next level."""
    if size == 1:
        return np.array([[1, 0, 0]], np.float32)
    half = size // 2
    i = np.arange(half, dtype=np.float64)
    if size % 2 == 0:
        taps = np.stack([np.full(half, 0.5), np.full(half, 0.5), np.zeros(half)], axis=1)
    else:
        taps = np.stack([half - i, np.full(half, half), i + 1], axis=1) / size
    return taps.astype(np.float32)


class _Reducer:
    """One step of the chain: takes rows of a level as they come and returns the rows of the next that they complete."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.written = 0  # rows of the next level returned so far
        self._height = height
        self._row_taps, self._column_taps = _taps(height), _taps(width)
        self._pending: list[NDArray[Any]] = []  # rows kept because a later row shares an output with them
        self._pending_rows = 0
        self._received = 0
        self._channels = channels

    def push(self, rows: NDArray[Any], table: Floats) -> Floats:
        """rows (h, W, C) of this level, codes at level 0 and float32 above; returns (h', W', C) float32."""
        first = self._received - self._pending_rows  # the level's row that stands first in `source`
        self._received += rows.shape[0]
        source = np.concatenate([*self._pending, rows]) if self._pending else np.ascontiguousarray(rows)
        reach = 1 if self._height == 1 else 3 if self._height % 2 else 2  # rows from 2i on that output i needs
        complete = max(0, (self._received - reach) // 2 + 1)
        count = min(complete, self._row_taps.shape[0]) - self.written
        result = np.empty((count, self._column_taps.shape[0], self._channels), np.float32)
        if count > 0:
            taps = self._row_taps[self.written : self.written + count]
            flat = source.reshape(source.shape[0], -1)[2 * self.written - first :]
            if source.dtype == np.float32:
                _average_floats(flat, taps, self._column_taps, result)
            else:
                _average_codes(flat, taps, self._column_taps, table, result)
        self.written += count
        keep = source[max(0, 2 * self.written - first) :]
        # A copy, for the caller may reuse the band's memory for the next one.
        self._pending = [keep.copy()] if keep.shape[0] else []
        self._pending_rows = keep.shape[0]
        return result


# The two averaging kernels differ only in the table look-up. The vertical pass goes into one row that stays in the
# second-level cache; the horizontal pass reads it while it is warm.


@_compile
def _average_codes(source: Any, row_taps: Floats, column_taps: Floats, table: Floats, result: Floats) -> None:
    length = source.shape[1]
    row = np.empty(length, np.float32)
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
        _average_row(row, column_taps, result[i])


@_compile
def _average_floats(source: Floats, row_taps: Floats, column_taps: Floats, result: Floats) -> None:
    length = source.shape[1]
    row = np.empty(length, np.float32)
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
        _average_row(row, column_taps, result[i])


@_compile
def _average_row(row: Floats, column_taps: Floats, result: Floats) -> None:
    channels = result.shape[1]
    width = row.shape[0] // channels
    if width == 1:
        for k in range(channels):
            result[0, k] = row[k]
    elif width % 2 == 0:
        half = np.float32(0.5)
        for x in range(result.shape[0]):
            for k in range(channels):
                result[x, k] = half * (row[2 * x * channels + k] + row[(2 * x + 1) * channels + k])
    else:
        for x in range(result.shape[0]):
            a, b, c = column_taps[x, 0], column_taps[x, 1], column_taps[x, 2]
            for k in range(channels):
                left = 2 * x * channels + k
                result[x, k] = a * row[left] + b * row[left + channels] + c * row[left + 2 * channels]


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


@_compile
def _round(values: Floats, first: Any, thresholds: Floats, codes: Any) -> None:
    bins = np.float32(first.shape[0] - 1)
    for i in range(values.shape[0]):
        value = min(max(values[i], np.float32(0)), np.float32(1))
        code = first[np.int64(value * bins)]
        codes[i] = code + (value >= thresholds[code])


def _to_codes(values: Floats, dtype: np.dtype[Any], filtering: Filtering) -> Codes:
    """Values as `box_chain` documents them for as_float, rounded to the nearest code of `dtype`."""
    codes: Codes = np.empty(values.shape, dtype)
    _round(values.reshape(-1), *_rounding_tables(dtype, filtering == "colour"), codes.reshape(-1))
    return codes


@_compile
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


def _stored_fractions(codes: Codes, filtering: Filtering) -> Floats:
    """Level 0 for as_float: linear light for colour, codes over their maximum for the others."""
    fractions: Floats = decoding_table(codes.dtype, "colour" if filtering == "colour" else "scalar")[codes]
    return fractions
