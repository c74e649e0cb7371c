"""Periodic fields on the unit square: the numeric ground the procedural materials stand on.

A field is a (size, size) float32 array over one repeat of the texture. Row 0 is the top, texel centres lie at
(i + 0.5) / size, x grows to the right and y grows downwards. Lengths are in units of the side, frequencies in cycles
per side, so a field at another `size` is the same field sampled finer, with more octaves at the fine end.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Field = npt.NDArray[np.floating[Any]]  # float32 throughout; numpy's own annotations often say only "some float"
Ids = npt.NDArray[np.int32]

# Frequencies above this do not count when a noise is normalised, so that its strength is the same at every size.
_REFERENCE_FREQUENCY = 256


@dataclass(frozen=True)
class Plane:
    """The sampling of one repeat (`size` texels a side) and the key from which all its random numbers come.

    With `supersample` 2 outlines are sampled twice as densely as the texture that is wanted (`size` is the dense one);
    noise is then made at the coarse density, because averaging finer noise away again would only blur it.
    """

    size: int
    key: tuple[int, ...]
    supersample: int = 1

    def rng(self, label: str) -> np.random.Generator:
        """A PCG64 stream of its own for `label`, so that drawing more for one feature does not disturb another."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self.key, zlib.crc32(label.encode())])))

    def axes(self) -> tuple[Field, Field]:
        """Texel-centre coordinates x (1, size) and y (size, 1), in [0, 1)."""
        centres = ((np.arange(self.size) + 0.5) / self.size).astype(np.float32)
        return centres[None, :], centres[:, None]


def _frequency(limit: int, columns: int, stretch: float, angle: float) -> Field:
    """|f| of every mode of an rfft2 lattice with rows fftfreq(2 * limit); along `angle` it counts `stretch` times."""
    ky = np.fft.fftfreq(2 * limit, 1 / (2 * limit)).astype(np.float32)[:, None]
    kx = np.arange(columns, dtype=np.float32)[None, :]
    if stretch == 1.0:
        return np.hypot(kx, ky)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return np.hypot((kx * cos + ky * sin) * np.float32(stretch), ky * cos - kx * sin)


def _amplitude(frequency: Field, low: float, high: float, slope: float) -> Field:
    """f^-slope between `low` and `high`, with a Gaussian fall-off on both sides (a hard cut would ring)."""
    f = np.maximum(frequency, np.float32(1e-3))
    exponent = np.float32(-slope) * np.log(f)
    exponent -= np.square(np.maximum(low / f - 1, 0)) * np.float32(8)
    if np.isfinite(high):
        exponent -= np.square(np.maximum(f / high - 1, 0)) * np.float32(8)
    return np.exp(exponent)


@lru_cache(maxsize=256)
def _deviation(low: float, high: float, slope: float, stretch: float, angle: float) -> float:
    """Standard deviation of the unnormalised noise, counting frequencies up to the reference."""
    limit = _REFERENCE_FREQUENCY
    power = np.square(_amplitude(_frequency(limit, limit, stretch, angle), low, high, slope), dtype=np.float64)
    power[0, 0] = 0
    return float(np.sqrt(2 * power[:, 1:].sum() + power[:, 0].sum()))


def noise(
    plane: Plane,
    label: str,
    low: float = 1.0,
    high: float = np.inf,
    slope: float = 2.0,
    *,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Field:
    """Periodic Gaussian noise of about zero mean and unit deviation, by spectral synthesis.

    Amplitude falls as f^-slope between the frequencies `low` and `high` (default: up to the texel): 2 looks like the
    usual fractal noise, 1 gives every octave the same strength, 0 is white. Features are `stretch` times longer along
    `angle` (radians from +x towards +y). Mode (kx, ky) has the same random phase at every size: modes come in square
    shells of doubling radius, each shell from its own stream.
    """
    size = plane.size // plane.supersample
    half = size // 2
    finest = min(half - 1, 2 * high)
    spectrum = np.zeros((size, half + 1), np.complex64)
    inner, shell = 0, 1
    while inner < finest:
        normals = plane.rng(f"{label}/{shell}").standard_normal((2, 2 * shell + 1, shell + 1), dtype=np.float32)
        ky = np.arange(-shell, shell + 1)
        rows = np.abs(ky) < half
        columns = min(shell + 1, half)
        block = normals[0, rows, :columns] + 1j * normals[1, rows, :columns]
        block[np.abs(ky[rows]) <= inner, : inner + 1] = 0
        spectrum[ky[rows], :columns] += block
        inner, shell = shell, shell * 2
    spectrum[:, 0] *= np.float32(np.sqrt(2))  # only the Hermitian half of this column survives the inverse transform
    frequency = _frequency_of_size(size, stretch, angle)
    spectrum *= _amplitude(frequency, low, high, slope) * np.float32(0.5 / _deviation(low, high, slope, stretch, angle))
    spectrum[0, 0] = 0
    # The transform samples at i / size; half a texel of phase moves that to the texel centres.
    centre = np.exp(1j * np.pi * np.fft.fftfreq(size)).astype(np.complex64)
    spectrum *= centre[:, None]
    spectrum *= np.exp(1j * np.pi * np.arange(half + 1) / size).astype(np.complex64)[None, :]
    field: Field = np.fft.irfft2(spectrum, s=(size, size), norm="forward")
    field *= np.float32(np.sqrt(2))
    if plane.supersample > 1:
        field = np.repeat(np.repeat(field, plane.supersample, axis=0), plane.supersample, axis=1)
    return field


def _frequency_of_size(size: int, stretch: float, angle: float) -> Field:
    if size % 2 == 0:
        return _frequency(size // 2, size // 2 + 1, stretch, angle)
    ky = np.fft.fftfreq(size, 1 / size).astype(np.float32)[:, None]
    kx = np.arange(size // 2 + 1, dtype=np.float32)[None, :]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return np.hypot((kx * cos + ky * sin) * np.float32(stretch), ky * cos - kx * sin)


def blur(field: Field, sigma: float) -> Field:
    """Periodic Gaussian blur, `sigma` in units of the side."""
    size = field.shape[0]
    response = np.exp(-2 * np.square(np.pi * sigma * np.arange(size // 2 + 1))).astype(np.float32)
    rows = np.abs(np.fft.fftfreq(size, 1 / size)).astype(np.intp)
    spectrum = np.fft.rfft2(field)
    spectrum *= response[rows][:, None]
    spectrum *= response[None, :]
    result: Field = np.fft.irfft2(spectrum, s=field.shape)
    return result


def cavity(height: Field, *sigmas: float) -> Field:
    """How far a texel lies below its neighbourhood (positive in recesses, negative on edges), in units of the side."""
    total = np.zeros_like(height)
    spectrum = np.fft.rfft2(height)
    size = height.shape[0]
    rows = np.abs(np.fft.fftfreq(size, 1 / size)).astype(np.intp)
    keep = np.zeros_like(spectrum, dtype=np.float32)
    for sigma in sigmas:
        response = np.exp(-2 * np.square(np.pi * sigma * np.arange(size // 2 + 1))).astype(np.float32)
        keep += response[rows][:, None] * response[None, :] - 1
    spectrum *= keep / np.float32(len(sigmas))
    total[:] = np.fft.irfft2(spectrum, s=height.shape)
    return total


def slopes(height: Field) -> tuple[Field, Field]:
    """d height / dx and d height / dy (y downwards) by central differences across the wrap; height in sides."""
    scale = np.float32(height.shape[0] / 2)
    dx = (np.roll(height, -1, axis=1) - np.roll(height, 1, axis=1)) * scale
    dy = (np.roll(height, -1, axis=0) - np.roll(height, 1, axis=0)) * scale
    return dx, dy


@njit(cache=True)
def _limit(height: Field, straight: np.float32, diagonal: np.float32) -> None:
    size = height.shape[0]
    for sweep in range(4):
        forward = sweep % 2 == 0
        for k in range(size):
            i = k if forward else size - 1 - k
            above = (i - 1) % size if forward else (i + 1) % size
            for m in range(size):
                j = m if forward else size - 1 - m
                before = (j - 1) % size if forward else (j + 1) % size
                left = (j - 1) % size
                right = (j + 1) % size
                h = max(height[i, j], height[i, before] - straight, height[above, j] - straight)
                height[i, j] = max(h, height[above, left] - diagonal, height[above, right] - diagonal)


def limited(height: Field, steepest: float) -> Field:
    """The least field above `height` (in sides) whose slope nowhere exceeds `steepest`: foot slopes below cliffs.

    A chamfer transform, swept twice there and back because it wraps.
    """
    result = np.ascontiguousarray(height, np.float32).copy()
    straight = np.float32(steepest / height.shape[0])
    _limit(result, straight, straight * np.float32(np.sqrt(2)))
    return result


def normals_of(height: Field) -> Field:
    """Unit normals (size, size, 3) float32 of a height in units of the side, OpenGL convention (+X right, +Y up)."""
    dx, dy = slopes(height)
    inverse = 1 / np.sqrt(dx * dx + dy * dy + 1)
    return np.stack([-dx * inverse, dy * inverse, inverse], axis=-1)


@njit(cache=True)
def _sample(field: Field, x: Field, y: Field, out: Field) -> None:
    size = field.shape[0]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            fx = x[i, j] * size - 0.5
            fy = y[i, j] * size - 0.5
            x0 = int(np.floor(fx))
            y0 = int(np.floor(fy))
            tx = np.float32(fx - x0)
            ty = np.float32(fy - y0)
            x0 %= size
            y0 %= size
            x1 = x0 + 1 if x0 + 1 < size else 0
            y1 = y0 + 1 if y0 + 1 < size else 0
            top = field[y0, x0] + (field[y0, x1] - field[y0, x0]) * tx
            bottom = field[y1, x0] + (field[y1, x1] - field[y1, x0]) * tx
            out[i, j] = top + (bottom - top) * ty


def sample(field: Field, x: Field, y: Field) -> Field:
    """The periodic `field` at the coordinates (x, y) (broadcast to its shape), bilinear between texel centres."""
    out = np.empty(np.broadcast_shapes(x.shape, y.shape), np.float32)
    _sample(
        field,
        np.ascontiguousarray(np.broadcast_to(x, out.shape), np.float32),
        np.ascontiguousarray(np.broadcast_to(y, out.shape), np.float32),
        out,
    )
    return out


@njit(cache=True)
def _shuffled(field: Field, ident: Ids, shift: Ids, out: Field) -> None:
    size = field.shape[0]
    for i in range(size):
        for j in range(size):
            n = ident[i, j]
            out[i, j] = field[(i + shift[n, 1]) % size, (j + shift[n, 0]) % size]


def shuffled(plane: Plane, label: str, field: Field, ident: Ids) -> Field:
    """The field, shifted by its own random amount inside every element of `ident`, so that no grain runs through two.

    Shifts are multiples of 1/64 of the side: whole texels at the usual sizes, so nothing is blurred.
    """
    steps = plane.rng(label).integers(0, 64, (int(ident.max()) + 1, 2))
    shift = (steps * plane.size // 64).astype(np.int32)
    out = np.empty_like(field)
    _shuffled(field, ident, shift, out)
    return out


def smoothstep(low: float | np.float32, high: float | np.float32, x: Field) -> Field:
    """0 below `low`, 1 above `high`, cubic between; falls instead where low > high."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    step: Field = t * t * (3 - 2 * t)
    return step


def uniform(field: Field) -> Field:
    """A unit Gaussian field as 0..1, about uniformly distributed (logistic approximation of the normal integral)."""
    share: Field = 1 / (1 + np.exp(np.float32(-1.702) * field))
    return share


@njit(cache=True)
def _mix_colour(a: Field, b: Field, t: Field, out: Field) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for c in range(out.shape[2]):
                out[i, j, c] = a[i, j, c] + (b[i, j, c] - a[i, j, c]) * t[i, j]


def mix(a: Field | float | np.float32, b: Field | float | np.float32, t: Field) -> Field:
    """Linear blend; a scalar blend weight (size, size) is applied to all channels of a colour (size, size, 3)."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    if max(a.ndim, b.ndim) < 3 and a.ndim != 1 and b.ndim != 1:
        return a + (b - a) * t
    out = np.empty((*t.shape, 3), np.float32)
    _mix_colour(np.broadcast_to(a, out.shape), np.broadcast_to(b, out.shape), np.asarray(t, np.float32), out)
    return out


def rgb(*codes: str) -> Field:
    """Colours such as "8a4b38" as sRGB-encoded float32: (3,) for one, (n, 3) for several."""
    table = np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes], np.float32)
    return table[0] if len(codes) == 1 else table


def ramp(t: Field, colours: Field, positions: Sequence[float] | None = None) -> Field:
    """Colour (size, size, 3) along a piecewise linear ramp, `t` in 0..1; stops evenly spaced unless given."""
    at = np.linspace(0, 1, len(colours)) if positions is None else np.asarray(positions)
    table_t = np.linspace(0, 1, 1024)
    table = np.stack([np.interp(table_t, at, colours[:, c]) for c in range(3)], axis=-1).astype(np.float32)
    index = np.clip(t * np.float32(1023) + np.float32(0.5), 0, 1023).astype(np.int16)
    colour: Field = table[index]
    return colour


def tints(rng: np.random.Generator, count: int, palette: Field, value: float = 0.06, hue: float = 0.015) -> Field:
    """(count, 3) colours: two random palette entries mixed, brightness varied by `value`, each channel by `hue`."""
    pick = rng.integers(0, len(palette), (2, count))
    base = palette[pick[0]] + (palette[pick[1]] - palette[pick[0]]) * rng.random((count, 1)) * 0.5
    lightness = np.clip(rng.normal(0, 1, (count, 1)), -1.8, 1.8)  # outliers catch the eye and repeat with the tile
    varied = base * np.exp(value * lightness) + rng.normal(0, hue, (count, 3)) * base
    clipped: Field = np.clip(varied, 0, 1).astype(np.float32)
    return clipped
