"""16-bit codes as 8-bit ones, with the error of each rounding passed on to the texels beside it.

Where a map varies by less than a code, as normals of veneer or lacquer do, rounding leaves flat patches with borders,
and what was continuous over a UV seam becomes a step of up to half a code more. Passed on (R. Floyd and L. Steinberg,
1976, every other row from right to left), the errors sum to nothing over a few texels, so filtering gives back what
lay between the codes. What is an 8-bit code already stays as it is and takes up no error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.compiled import compiled

STEP = 257  # 16-bit codes to an 8-bit one: 65535 / 255


class Diffusion:
    """Of one image of `width` texels of `channels` values, whose rows come from the top, some at a time."""

    def __init__(self, width: int, channels: int) -> None:
        self._errors = np.zeros((2, width + 2, channels), np.int32)
        self._row = 0

    def rounded(self, rows: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """uint8 (h, width, channels) for the next h rows, uint16 of that shape."""
        out = np.empty(rows.shape, np.uint8)
        _diffuse(np.ascontiguousarray(rows), self._row, self._errors, out)
        self._row += len(rows)
        return out


@compiled
def _diffuse(rows: Any, first: int, errors: Any, out: Any) -> None:
    """errors: int32 (2, width + 2, channels), sixteenths of what the even and the odd row still have to take up."""
    height, width, channels = rows.shape
    for y in range(height):
        here, below = (first + y) % 2, 1 - (first + y) % 2
        step = 1 if here == 0 else -1
        errors[below] = 0
        for i in range(width):
            x = i if here == 0 else width - 1 - i
            for c in range(channels):
                code = np.int64(rows[y, x, c])
                if code % STEP == 0:
                    out[y, x, c] = code // STEP
                    continue
                wanted = code + errors[here, x + 1, c] // 16
                chosen = min(max((wanted + STEP // 2) // STEP, 0), 255)
                error = wanted - chosen * STEP
                out[y, x, c] = chosen
                errors[here, x + 1 + step, c] += 7 * error
                errors[below, x + 1 - step, c] += 3 * error
                errors[below, x + 1, c] += 5 * error
                errors[below, x + 1 + step, c] += error
