"""`Region`: which texels of an asset may change, and how far.

A mask is a yes or no, and the new material fades in at its border, inside of it. A selection (`texsynth.selection`)
comes with weights of its own, which are kept as they are. Where both are given, the larger counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.errors import bad_input
from texsynth.image_io import read_image
from texsynth.material import unit_range

SOFT_BORDER = 1 / 128  # of the size: how far inside a region the new material fades in


@dataclass(frozen=True)
class Region:
    """masked: bool (size, size), texels that a mask lets change. selected: uint8 (size, size), weights as a selection
    gives them, 255 = all. At least one of them. The mask's weights are made band by band: all of them at 8192 x 8192
    would be 256 MB for the whole run.
    """

    masked: NDArray[np.bool_] | None
    selected: NDArray[np.uint8] | None = None

    @property
    def inside(self) -> NDArray[np.bool_]:
        """bool (size, size), texels that may change at all."""
        if self.selected is None or self.masked is None:
            given = self.masked if self.selected is None else self.selected
            return np.asarray(given, np.bool_)
        return self.masked | (self.selected > 0)

    def weights(self, first: int, last: int) -> NDArray[np.float32]:
        """float32 (last - first, size): 1 where the new material goes, 0 outside, a soft border inside the mask.

        The same for any division into bands.
        """
        parts = []
        if self.masked is not None:
            parts.append(_faded(self.masked, first, last))
        if self.selected is not None:
            parts.append(self.selected[first:last] * np.float32(1 / 255))
        return np.asarray(np.maximum.reduce(parts), np.float32)


def read_mask(path: Path) -> NDArray[np.float32]:
    """The image at `path` in grey, float32 (H, W) 0..1, as it is encoded. Raises TexsynthError."""
    texels = unit_range(read_image(path).texels)
    grey = texels[:, :, :3].mean(axis=2) if texels.shape[2] >= 3 else texels[:, :, 0]
    return np.ascontiguousarray(grey, np.float32)


def _faded(mask: NDArray[np.bool_], first: int, last: int) -> NDArray[np.float32]:
    """Rows of a mask's weights: 0 outside, rising over `SOFT_BORDER` inside."""
    border = max(1.0, SOFT_BORDER * len(mask))
    margin = math.ceil(border) + 2  # texels whose nearest one outside lies further away have weight 1
    top = max(0, first - margin)
    depth = cv2.distanceTransform(mask[top : last + margin].astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.clip(depth[first - top : last - top] / border, 0, 1), np.float32)


def load_mask(path: Path, size: int) -> NDArray[np.bool_]:
    """What the image at `path` shows in white, bool (size, size). Raises BAD_INPUT if it is all black."""
    inside = cv2.resize(read_mask(path), (size, size), interpolation=cv2.INTER_LINEAR) >= 0.5
    if not inside.any():
        raise bad_input(path, "the mask is black everywhere", "paint the texels that may change white")
    return np.asarray(inside, np.bool_)
