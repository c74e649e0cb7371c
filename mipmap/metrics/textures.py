"""`Texture`: stored texels with what they mean, for the metrics that filter as a renderer does (MCR, ADF).

Texel (y, x) spans [x, x + 1) x [y, y + 1) and its centre lies at (x + 0.5, y + 0.5); row 0 is the top row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mipmap.metrics.images import Image

Encoding = Literal["srgb", "linear", "normal", "scalar"]
Axis = slice | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Texture:
    """Texels as stored, and their encoding.

    texels: (H, W, C) uint8 or uint16 over their maximum, or float32; memory-mapped arrays are read window by window.
    encoding: "srgb" (IEC 61966-2-1 encoded colour 0..1), "linear" (linear light, 0..1), "normal" ((n + 1) / 2, three
    channels) or "scalar" (0..1 as it is).
    Raises ValueError for any other shape, type or encoding.
    """

    texels: NDArray[Any] = field(repr=False)
    encoding: Encoding = "srgb"

    def __post_init__(self) -> None:
        shape, dtype = self.texels.shape, self.texels.dtype
        if len(shape) != 3 or 0 in shape or dtype not in (np.uint8, np.uint16, np.float32):
            raise ValueError(f"a texture has texels (H, W, C) of uint8, uint16 or float32, not {shape} {dtype}")
        if self.encoding not in get_args(Encoding):
            raise ValueError(f"the encoding is one of {', '.join(get_args(Encoding))}, not {self.encoding!r}")
        if self.encoding == "normal" and shape[2] != 3:
            raise ValueError(f"normals have three channels, not {shape[2]}")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in texels."""
        return self.texels.shape[0], self.texels.shape[1]

    @property
    def channels(self) -> int:
        """C."""
        return int(self.texels.shape[2])

    def linear(self, rows: Axis = slice(None), columns: Axis = slice(None)) -> Image:
        """(h, w, C) float32 of a window in the domain where texels may be averaged.

        Colour in linear light, normals as vectors of components -1..1 as stored, scalars 0..1. rows, columns: slices,
        or index arrays for windows that wrap.
        """
        codes = self.texels[rows][:, columns]
        if codes.dtype != np.float32:
            return np.asarray(self.decoding()[codes])
        if self.encoding == "srgb":
            return _srgb_to_linear(codes)
        return np.asarray(2 * codes - 1 if self.encoding == "normal" else codes, np.float32)

    def decoding(self) -> NDArray[np.float32]:
        """(codes,) float32: what each code of integer texels stands for in `linear`."""
        return _decoding(self.texels.dtype, self.encoding)

    def display(self, linear: Image) -> Image:
        """(h, w, C) means of `linear` texels to 0..1 as they are compared: colour sRGB-encoded, normals (n + 1) / 2.

        Mean normals are made unit vectors first, as a shader does; one without a direction becomes (0, 0, 1).
        """
        if self.encoding in ("srgb", "linear"):
            return _linear_to_srgb(np.clip(linear, 0, 1))
        if self.encoding == "normal":
            length = np.sqrt(np.einsum("yxc,yxc->yx", linear, linear))[:, :, None]
            flat = np.array([0, 0, 1], np.float32)
            unit = np.where(length > 1e-6, linear / np.maximum(length, np.float32(1e-6)), flat)
            return np.asarray(0.5 * unit + 0.5, np.float32)
        return linear


def comparable(generated: Texture, reference: Texture) -> None:
    """ValueError naming both sides unless the textures share size, channels and encoding; depths may differ."""
    if generated.encoding != reference.encoding:
        raise ValueError(f"the textures differ in colour space: {generated.encoding} against {reference.encoding}")
    if (*generated.size, generated.channels) != (*reference.size, reference.channels):
        raise ValueError(
            f"the textures differ in size or channels: {generated.texels.shape} against {reference.texels.shape}"
        )


@cache
def _decoding(dtype: np.dtype[Any], encoding: Encoding) -> NDArray[np.float32]:
    fraction = np.arange(np.iinfo(dtype).max + 1, dtype=np.float64) / np.iinfo(dtype).max
    if encoding == "srgb":
        return _srgb_to_linear(fraction)
    return np.asarray(2 * fraction - 1 if encoding == "normal" else fraction, np.float32)


def _srgb_to_linear(encoded: NDArray[Any]) -> Image:
    """IEC 61966-2-1, both 0..1, any shape."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _linear_to_srgb(linear: Image) -> Image:
    """The inverse of `_srgb_to_linear`."""
    curve = np.float32(1.055) * np.maximum(linear, np.float32(0.0031308)) ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.asarray(np.where(linear <= 0.0031308, linear * np.float32(12.92), curve), np.float32)
