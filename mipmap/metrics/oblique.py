"""A texture on a plane seen at oblique incidence, filtered by the exact area of every pixel's footprint.

The plane is turned by an angle within itself, then tilted until the line of sight makes the incidence angle with its
normal, and seen without perspective, so every texel counts alike. One pixel is one texel wide, and elongated by

    e = 1 / cos(incidence)

texels down the screen. Its footprint on the texture is the parallelogram, here a rectangle, of the sides

    u = w R (1, 0),   v = e R (0, 1),   R = [[cos, -sin], [sin, cos]](angle),   w = max(1, e / anisotropy)

(x right, y down) around R (i, e j) from the texture's middle, (i, j) the pixel's centre from the screen's middle. w is
what a filter of limited anisotropy does: past its limit it blurs across as well. The texture repeats.

The pixel is the mean of the texels weighted by the area of each within the footprint. By Green's theorem the area of
a polygon within the cell [c, c + 1) x [r, r + 1) is, over its edges (X(Y), Y) with the sign of their direction,

    sum of  +-integral over Y in [r, r + 1) of clamp(X(Y) - c, 0, 1)

and each of those integrals has a closed form, because X(Y) is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.compiled import compiled, in_threads
from mipmap.metrics.images import Image
from mipmap.metrics.similarity import WINDOW
from mipmap.metrics.textures import Texture

INCIDENCE = 80.0  # degrees: a floor ten metres away, seen from a standing person's eyes (1.7 m)
ANISOTROPY = 16.0
BAND = 32  # screen rows that one thread takes at a time


@dataclass(frozen=True)
class View:
    """Where the plane is seen from.

    angle: degrees that the texture is turned by within its plane. incidence: degrees between the line of sight and
    the plane's normal, 0 (head on) to below 90. anisotropy: the filter's limit, at least 1.
    Raises ValueError outside those ranges.
    """

    angle: float
    incidence: float = INCIDENCE
    anisotropy: float = ANISOTROPY

    def __post_init__(self) -> None:
        if not 0 <= self.incidence < 90 or not self.anisotropy >= 1 or not np.isfinite(self.angle):
            raise ValueError(
                f"an incidence of 0 to below 90 degrees, a finite angle and an anisotropy of at least 1 are needed,"
                f" not {self.incidence}, {self.angle} and {self.anisotropy}"
            )

    @property
    def elongation(self) -> float:
        """e, texels that one pixel spans down the screen."""
        return float(1 / np.cos(np.radians(self.incidence)))

    def axes(self) -> NDArray[np.float64]:
        """(2, 2): texels (x, y) that one pixel to the right and one pixel down move by."""
        # rounded, so that a quarter turn meets the texels' edges exactly
        cosine, sine = np.round(np.cos(np.radians(self.angle)), 15), np.round(np.sin(np.radians(self.angle)), 15)
        return np.array([[cosine, sine], [-sine * self.elongation, cosine * self.elongation]])

    def footprint(self) -> NDArray[np.float64]:
        """(2, 2): the sides u and v of a pixel's footprint in texels (x, y)."""
        across, down = self.axes()
        return np.stack([across * max(1.0, self.elongation / self.anisotropy), down])

    def screen(self, size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of pixels that show as much ground as the texture of (H, W) holds, at least 11 a side.

        At angle 0 and 90 that is every texel once; in between, corners leave and the repeat fills in.
        """
        height, width = size
        cosine, sine = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        columns = round(float(np.hypot(width * cosine, height * sine)))
        rows = round(float(np.hypot(width * sine, height * cosine) / self.elongation))
        return max(WINDOW, rows), max(WINDOW, columns)

    def first_centre(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """(2,): texel coordinates (x, y) of the centre of the screen's top left pixel."""
        rows, columns = self.screen(size)
        return np.array([size[1] / 2, size[0] / 2]) + np.array([(1 - columns) / 2, (1 - rows) / 2]) @ self.axes()


def see(texture: Texture, view: View, rows: slice = slice(None)) -> Image:
    """(h, w, C) float32: `rows` of the screen, `Texture.linear` values averaged over each pixel's exact footprint.

    Exact up to float64 rounding of the areas and of the sums. Codes are read where they lie, also of memory-mapped
    texels, so the memory needed is that of the result.
    """
    height, width = view.screen(texture.size)
    top, bottom, _ = rows.indices(height)
    texels, integers = np.asarray(texture.texels), texture.texels.dtype != np.float32
    decoding = texture.decoding() if integers else np.empty(0, np.float32)
    curved = texture.encoding == "srgb" and not integers
    first, axes, footprint = view.first_centre(texture.size), view.axes(), view.footprint()
    out = np.empty((max(0, bottom - top), width, texture.channels), np.float32)

    def fill(start: int) -> None:
        band = out[start : start + BAND]
        _average(texels, decoding, curved, first + (top + start) * axes[1], axes, footprint, band)
        if texture.encoding == "normal" and not integers:  # a mean of vectors is the vector of the mean
            band *= 2
            band -= 1

    in_threads(fill, range(0, len(out), BAND))
    return out


@compiled
def _clamped_integral(t: float) -> float:
    """Integral of clamp(s, 0, 1) over s from 0 to t."""
    if t <= 0:
        return 0.0
    return 0.5 * t * t if t < 1 else t - 0.5


@compiled
def _pieces(
    x: float,
    y: float,
    corners: NDArray[np.float64],
    row: int,
    from_x: NDArray[np.float64],
    to_x: NDArray[np.float64],
    span: NDArray[np.float64],
) -> int:
    """The number of pieces of the four edges around (x, y) that lie in a row of texels; X at their ends, signed dY."""
    pieces = 0
    for k in range(4):
        n = (k + 1) % 4
        x0, y0, x1, y1 = x + corners[k, 0], y + corners[k, 1], x + corners[n, 0], y + corners[n, 1]
        start, end = min(max(y0, row), row + 1.0), min(max(y1, row), row + 1.0)
        if start != end:
            slope = (x1 - x0) / (y1 - y0)
            from_x[pieces], to_x[pieces] = x0 + slope * (start - y0), x0 + slope * (end - y0)
            span[pieces] = end - start
            pieces += 1
    return pieces


@compiled
def _covered(
    column: int, pieces: int, from_x: NDArray[np.float64], to_x: NDArray[np.float64], span: NDArray[np.float64]
) -> float:
    """The area within one texel of that row."""
    area = 0.0
    for k in range(pieces):
        a, b = from_x[k] - column, to_x[k] - column
        if abs(b - a) > 1e-5:
            area += span[k] * (_clamped_integral(b) - _clamped_integral(a)) / (b - a)
        else:  # the closed form would divide rounding by rounding; the middle errs by less than 1e-5
            area += span[k] * min(max(0.5 * (a + b), 0.0), 1.0)
    return area


@compiled
def _value(code: Any, decoding: NDArray[np.float32], curved: bool) -> float:
    if decoding.size:
        return np.float64(decoding[int(code)])
    if not curved:
        return np.float64(code)
    return code / 12.92 if code <= 0.04045 else ((np.float64(code) + 0.055) / 1.055) ** 2.4


@compiled
def _average(
    texels: NDArray[Any],
    decoding: NDArray[np.float32],
    curved: bool,
    first: NDArray[np.float64],
    axes: NDArray[np.float64],
    footprint: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Fill out (h, w, C), whose top left pixel is centred on `first`. Texels are looked up in `decoding` unless it is
    empty, sRGB-decoded where `curved`, and taken as they are otherwise."""
    height, width, channels = texels.shape
    corners = np.empty((4, 2))
    corners[0] = -0.5 * footprint[0] - 0.5 * footprint[1]
    corners[1] = 0.5 * footprint[0] - 0.5 * footprint[1]
    corners[2] = 0.5 * footprint[0] + 0.5 * footprint[1]
    corners[3] = -0.5 * footprint[0] + 0.5 * footprint[1]
    low, high = corners[:, 1].min(), corners[:, 1].max()
    from_x, to_x, span = np.empty(4), np.empty(4), np.empty(4)
    total = np.empty(channels, np.float64)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            x = first[0] + i * axes[0, 0] + j * axes[1, 0]
            y = first[1] + i * axes[0, 1] + j * axes[1, 1]
            total[:] = 0
            area = 0.0
            for row in range(int(np.floor(y + low)), int(np.ceil(y + high))):
                pieces = _pieces(x, y, corners, row, from_x, to_x, span)
                left, right = np.inf, -np.inf
                for k in range(pieces):
                    left, right = min(left, from_x[k], to_x[k]), max(right, from_x[k], to_x[k])
                columns = int(np.ceil(right)) - int(np.floor(left)) if pieces else 0
                for step in range(columns):
                    column = int(np.floor(left)) + step
                    weight = _covered(column, pieces, from_x, to_x, span)
                    if weight > 0:
                        area += weight
                        for c in range(channels):
                            total[c] += weight * _value(texels[row % height, column % width, c], decoding, curved)
            for c in range(channels):
                out[j, i, c] = total[c] / area
