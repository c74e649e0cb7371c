"""The detail band of a mip level: what the level shows and the next coarser one, magnified by the GPU, does not.

    detail = shown(texels of the level) - shown(coarser level, bilinear, at the level's texel centres)

`shown` is the encoded value, 0..1: sRGB-encoded for colour (so that equal steps look about equally large), (n + 1)/2 of
the unit vector for normals, the value itself for scalars. Texel i of n has its centre at (i + 0.5)/n, so on a coarser
level of m texels it falls on the coordinate (i + 0.5) m/n - 0.5 (Vulkan 1.3, 16.9 "Texel Coordinate Systems"); bilinear
weights follow from its fraction, exactly and not in the 8 bits that a GPU may round them to. As in an sRGB sampler
colours are filtered in linear light; normals are filtered as vectors and made unit vectors after it, as a shader does.
At the texture's border the nearest texel is repeated (clamp). A repeating texture shows the opposite border's texel
there instead, with a weight of at most 1/4 in the outermost row and column only.

Three numbers are drawn from it; noise and structure are told apart by the first two together:

- `mean_square`: the error on the screen without the level.
- `entropy`: Shannon's H = -sum p log2 p of the detail in steps of 1/255, in bits a sample, the mean of the channels.
  It tells how much there is, not what it is: the order of the texels does not count.
- `structure`: the share of that entropy which a texel's left and upper neighbours explain, 0..1,

      U = I(X; L, T) / H(X) = (H(X) + H(L, T) - H(X, L, T)) / H(X)

  (Theil's uncertainty coefficient; H. Theil, "On the estimation of relationships involving qualitative variables",
  AJS 1970). X is the detail of a texel, L and T of its left and top neighbour, each in up to 8 classes of equal share;
  I and H are summed over the channels. White noise has about 0.01 (the upsampling itself leaves a trace), stripes have
  1, edges, lines, dots and chequers 0.3 to 0.6, photographs of rough ground 0.05 to 0.1.
  Counting makes an entropy look too small by (cells in use - 1) / (2 n ln 2) bits for n samples (G. Miller, "Note on
  the bias of information estimates", 1955); that is added to each, and small parts have fewer classes, so that noise
  stays near 0 in them too.

Shuffling the texels keeps the entropy to the bit and takes all structure. Both are measured on the quantised detail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.chain import Filtering, Floats, decoding_table
from mipmap.compiled import compiled

Texels = NDArray[Any]
"""(height, width, C): uint8 or uint16 codes as `chain` defines them, or float16/float32 values: linear light for
colour (any range), encoded (n + 1)/2 for normals, the value itself for scalars. A colour's fourth channel is alpha,
which is linear. """

STEPS = 255  # per unit of the encoded value: what an 8-bit display can show
CLASSES = 8  # of the detail, for the structure
SAMPLES_PER_CELL = 16  # at least, of the classes^3 cells; with fewer, noise seems to have structure
CURVE = 1 << 16  # steps of the sRGB curve's table, between which it is linear: wrong by less than 1e-6


@dataclass(frozen=True)
class Detail:
    """What a rectangle of a level adds to the screen. See the head of this file for the definitions."""

    entropy: float
    """Bits a sample, mean of the channels; 0..log2(511)."""
    structure: float
    """The share of the entropy that neighbours explain, 0..1."""
    mean_square: float
    """Mean over texels and channels of the squared difference of encoded values; 1 is black against white."""


@dataclass(frozen=True)
class Window:
    """A part of a mip level: its texels, the row and column of the first, and (height, width) of the whole level."""

    texels: Texels
    y: int
    x: int
    size: tuple[int, int]


def whole(texels: Texels) -> Window:
    """The window that is the whole level."""
    return Window(texels, 0, 0, (texels.shape[0], texels.shape[1]))


def span_below(start: int, stop: int, size: int, coarser_size: int) -> tuple[int, int]:
    """First and one past the last coarser texel that bilinear filtering reads for texels start..stop of an axis."""
    low, high, _ = _bilinear_taps(start, stop, size, coarser_size)
    return int(low[0]), int(high[-1]) + 1


def measure(part: Window, coarser: Window | None, filtering: Filtering) -> Detail:
    """The `Detail` of a part of a level against the next coarser level, of which the part named by `span_below` is
    enough. Without a coarser level nothing is drawn yet: an unfilled texture samples as 0.

    Raises ValueError for other dtypes or shapes, for windows that do not cover, and for normals without 3 channels.
    """
    return measure_detail(detail_band(part, coarser, filtering))


def measure_detail(detail: Floats) -> Detail:
    """detail: (height, width, C) float32 as `detail_band` returns it."""
    steps = np.empty(detail.shape, np.int16)
    total = _quantise(detail, steps)
    return Detail(entropy(steps), structure(steps), total / detail.size)


def detail_band(part: Window, coarser: Window | None, filtering: Filtering) -> Floats:
    """(height, width, C) float32: the part minus the coarser level as it is shown in its place, both encoded.

    Arguments and exceptions as in `measure`.
    """
    _check(part, filtering)
    detail = _encoded(part.texels, filtering)
    if coarser is None:
        return detail
    _check(coarser, filtering)
    if coarser.texels.shape[2] != part.texels.shape[2]:
        raise ValueError(f"a part has {part.texels.shape[2]} channels, the coarser level {coarser.texels.shape[2]}")
    rows = _taps_in(coarser, part, 0)
    columns = _taps_in(coarser, part, 1)
    kind = {"scalar": 0, "colour": 1, "normal": 2}[filtering]
    _subtract_bilinear(detail, _linear(coarser.texels, filtering), *rows, *columns, kind, _srgb_curve())
    return detail


def entropy(steps: NDArray[np.int16]) -> float:
    """Bits a sample of (height, width, C) whole numbers -STEPS..STEPS, the mean of the channels; 0 for a constant."""
    counts = _histograms(steps)
    share = counts / (steps.shape[0] * steps.shape[1])
    bits = -(share * np.log2(share, where=share > 0, out=np.zeros_like(share))).sum(axis=1)
    return max(0.0, float(bits.mean()))


def structure(steps: NDArray[np.int16]) -> float:
    """The share of the entropy that neighbours explain, 0..1, of (height, width, C) whole numbers -STEPS..STEPS.

    0 for a constant, and where there are too few texels to tell.
    """
    samples = (steps.shape[0] - 1) * (steps.shape[1] - 1)
    classes = min(CLASSES, math.floor((samples / SAMPLES_PER_CELL + 1e-9) ** (1 / 3)))
    if classes < 2:
        return 0.0
    cells = _neighbourhoods(steps, _class_table(_histograms(steps), classes), classes) / samples
    explained, total = 0.0, 0.0
    for joint in cells:
        texel = _corrected_entropy(joint.sum((0, 1)), samples)
        explained += texel + _corrected_entropy(joint.sum(2), samples) - _corrected_entropy(joint, samples)
        total += texel
    return min(1.0, max(0.0, explained / total)) if total > 0 else 0.0


def _class_table(counts: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(C, values) counts to the class of each value by its middle rank, so that a frequent value has one of its own."""
    middle = counts.cumsum(1) - counts / 2
    return np.asarray(np.minimum(classes * middle / counts.sum(1, keepdims=True), classes - 1), np.int64)


def _corrected_entropy(share: NDArray[np.float64], samples: int) -> float:
    used = share[share > 0]
    return float(-(used * np.log2(used)).sum() + (used.size - 1) / (2 * samples * np.log(2)))


def _check(window: Window, filtering: Filtering) -> None:
    texels, (height, width) = window.texels, window.size
    if texels.ndim != 3 or 0 in texels.shape:
        raise ValueError(f"texels are {texels.shape}; they must be (height, width, channels), none of them 0")
    if texels.dtype not in (np.uint8, np.uint16, np.float16, np.float32):
        raise ValueError(f"texels are {texels.dtype}; they must be uint8, uint16, float16 or float32")
    if filtering == "normal" and texels.shape[2] != 3:
        raise ValueError(f"texels of normals have {texels.shape[2]} channels; they must have 3")
    if not (0 <= window.y <= height - texels.shape[0] and 0 <= window.x <= width - texels.shape[1]):
        raise ValueError(
            f"texels {texels.shape[:2]} at row {window.y}, column {window.x} do not fit a level of {height} x {width}"
        )


def _bilinear_taps(start: int, stop: int, size: int, coarser_size: int) -> tuple[Any, Any, Floats]:
    """Of texels start..stop: the two coarser texels, clamped to the level, and the weight of the second."""
    centre = (np.arange(start, stop) + 0.5) * coarser_size / size - 0.5
    low = np.floor(centre)
    first = np.clip(low, 0, coarser_size - 1).astype(np.int64)
    second = np.clip(low + 1, 0, coarser_size - 1).astype(np.int64)
    return first, second, (centre - low).astype(np.float32)


def _taps_in(coarser: Window, part: Window, axis: int) -> tuple[Any, Any, Floats]:
    start, length = (part.y, part.x)[axis], part.texels.shape[axis]
    offset, available = (coarser.y, coarser.x)[axis], coarser.texels.shape[axis]
    first, second, weight = _bilinear_taps(start, start + length, part.size[axis], coarser.size[axis])
    if first[0] < offset or second[-1] >= offset + available:
        raise ValueError(
            f"the coarser window holds {('rows', 'columns')[axis]} {offset}..{offset + available - 1}; "
            f"{first[0]}..{second[-1]} are needed"
        )
    return first - offset, second - offset, weight


@cache
def _srgb_curve() -> Floats:
    """(CURVE + 1,) float32: the sRGB encoding (IEC 61966-2-1) of 0..1, and one entry more for the interpolation."""
    light = np.arange(CURVE + 2, dtype=np.float64) / CURVE
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def _encoded(texels: Texels, filtering: Filtering) -> Floats:
    """A new array, as it is shown."""
    if texels.dtype.kind == "u":
        return np.asarray(texels * np.float32(1 / np.iinfo(texels.dtype).max), np.float32)
    values = texels.astype(np.float32, order="C")
    if filtering == "colour":
        _encode_colours(values, _srgb_curve())
    return values


def _linear(texels: Texels, filtering: Filtering) -> Floats:
    """As a sampler filters it: linear light for colour, encoded 0..1 for normals and scalars."""
    if texels.dtype.kind == "f":
        return np.ascontiguousarray(texels, np.float32)
    scalars = decoding_table(texels.dtype, "scalar")
    if filtering != "colour":
        return scalars[texels]
    colours = decoding_table(texels.dtype, "colour")[texels]
    colours[:, :, 3:] = scalars[texels[:, :, 3:]]
    return colours


@compiled
def _encode(light: Any, curve: Floats) -> Any:
    """The sRGB curve, continued beyond 1 by its power and below 0 by its line."""
    if light <= 0.0031308:
        return np.float32(12.92) * light
    if light >= 1:
        return np.float32(1.055) * light ** np.float32(1 / 2.4) - np.float32(0.055)
    place = light * np.float32(CURVE)
    index = np.int64(place)
    return curve[index] + (place - np.float32(index)) * (curve[index + 1] - curve[index])


@compiled
def _encode_colours(values: Floats, curve: Floats) -> None:
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            for k in range(min(3, values.shape[2])):
                values[y, x, k] = _encode(values[y, x, k], curve)


@compiled
def _subtract_bilinear(
    detail: Floats,
    coarser: Floats,
    row_0: Any,
    row_1: Any,
    row_weight: Floats,
    column_0: Any,
    column_1: Any,
    column_weight: Floats,
    kind: int,
    curve: Floats,
) -> None:
    height, width, channels = detail.shape
    half = np.float32(0.5)
    row = np.empty((coarser.shape[1], channels), np.float32)
    shown = np.empty(channels, np.float32)
    for y in range(height):
        upper, lower, f = coarser[row_0[y]], coarser[row_1[y]], row_weight[y]
        for x in range(row.shape[0]):
            for k in range(channels):
                row[x, k] = upper[x, k] + f * (lower[x, k] - upper[x, k])
        for x in range(width):
            left, right, g = column_0[x], column_1[x], column_weight[x]
            for k in range(channels):
                shown[k] = row[left, k] + g * (row[right, k] - row[left, k])
            if kind == 1:
                for k in range(min(3, channels)):
                    shown[k] = _encode(shown[k], curve)
            elif kind == 2:
                a, b, c = shown[0] - half, shown[1] - half, shown[2] - half
                length = np.sqrt(a * a + b * b + c * c)
                if length > 0:
                    scale = half / length
                    shown[0], shown[1], shown[2] = a * scale + half, b * scale + half, c * scale + half
            for k in range(channels):
                detail[y, x, k] -= shown[k]


@compiled
def _quantise(detail: Floats, steps: Any) -> float:
    """Writes whole numbers -STEPS..STEPS; returns the sum of squares of `detail`."""
    total = 0.0
    flat, out = detail.reshape(-1), steps.reshape(-1)
    for i in range(flat.shape[0]):
        value = flat[i]
        total += np.float64(value) * np.float64(value)
        out[i] = np.int16(min(max(np.floor(value * STEPS + np.float32(0.5)), -STEPS), STEPS))
    return total


@compiled
def _histograms(steps: Any) -> Any:
    channels = steps.shape[2]
    counts = np.zeros((channels, 2 * STEPS + 1), np.int64)
    for y in range(steps.shape[0]):
        for x in range(steps.shape[1]):
            for k in range(channels):
                counts[k, steps[y, x, k] + STEPS] += 1
    return counts


@compiled
def _neighbourhoods(steps: Any, classes_of: Any, classes: int) -> Any:
    """(C, left, top, texel) counts of classes over all texels that have both neighbours."""
    channels = steps.shape[2]
    cells = np.zeros((channels, classes, classes, classes), np.int64)
    for y in range(1, steps.shape[0]):
        for x in range(1, steps.shape[1]):
            for k in range(channels):
                left = classes_of[k, steps[y, x - 1, k] + STEPS]
                top = classes_of[k, steps[y - 1, x, k] + STEPS]
                cells[k, left, top, classes_of[k, steps[y, x, k] + STEPS]] += 1
    return cells
