"""The sRGB curve (IEC 61966-2-1) for whole rows of texels: polynomials, which the compiler turns into vector code.

A table would cost a load for every texel, which is what a mip chain then waits for. The curve above the straight part
near black is fitted where it is used:
- decoding: degree 8 in the 8-bit code, least squares at the codes 11..255, each weighted by the inverse of the slope;
  off by at most 0.0011 of a code;
- encoding: degree 5 in the fourth root of the light, least squares at Chebyshev nodes; off by at most 0.0021 of a code.
So a code decoded and encoded is itself, and a rounded mean differs from the nearest code only where it lies within
0.004 of a code of the middle between two (about one texel in 5,000), and then by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.compiled import compiled_fused

_DARKEST_CURVED_CODE = np.float32(10.5)
_DARKEST_CURVED_LIGHT = np.float32(0.0031308)
_CODE = np.float32(1 / 255)
_STRAIGHT_LIGHT = np.float32(1 / 255 / 12.92)
_STRAIGHT_CODES = np.float32(255 * 12.92)
_HALF = np.float32(0.5)
_D0, _D1, _D2, _D3, _D4, _D5, _D6, _D7, _D8 = (
    np.float32(c)
    for c in (
        8.4887433e-04,
        3.5561331e-02,
        4.8129994e-01,
        8.9181560e-01,
        -9.7672814e-01,
        1.1811522e00,
        -1.0099983e00,
        5.0627494e-01,
        -1.1023086e-01,
    )
)
_E0, _E1, _E2, _E3, _E4, _E5 = (
    np.float32(c) for c in (-15.678197, 41.690895, 318.69531, -144.68596, 71.649025, -16.672417)
)


@compiled_fused
def light_of(code: Any) -> Any:
    """Linear light 0..1, float32, of an 8-bit code."""
    value = np.float32(code)
    x = value * _CODE
    curved = (((((((_D8 * x + _D7) * x + _D6) * x + _D5) * x + _D4) * x + _D3) * x + _D2) * x + _D1) * x + _D0
    return curved if value > _DARKEST_CURVED_CODE else value * _STRAIGHT_LIGHT


@compiled_fused
def round_srgb(light: NDArray[np.float32], codes: NDArray[np.uint8]) -> None:
    """`light` (N,), 0..1, as 8-bit codes (N,)."""
    for i in range(codes.shape[0]):
        root = np.sqrt(np.sqrt(light[i]))
        curved = ((((_E5 * root + _E4) * root + _E3) * root + _E2) * root + _E1) * root + _E0
        value = curved if light[i] > _DARKEST_CURVED_LIGHT else light[i] * _STRAIGHT_CODES
        codes[i] = np.uint8(np.int32(value + _HALF))


@compiled_fused
def round_linear(values: NDArray[np.float32], codes: NDArray[np.uint8]) -> None:
    """`values` (N,), 0..1, as 8-bit codes (N,)."""
    for i in range(codes.shape[0]):
        codes[i] = np.uint8(np.int32(values[i] * np.float32(255) + _HALF))
