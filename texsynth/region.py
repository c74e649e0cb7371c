"""`Region`: which texels of an asset may change, and how the new material fades in at their border."""

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
    """inside: bool (size, size), texels that may change. Weights are made band by band: all of them at 8192 x 8192
    would be 256 MB for the whole run.
    """

    inside: NDArray[np.bool_]

    def weights(self, first: int, last: int) -> NDArray[np.float32]:
        """float32 (last - first, size): 1 where the new material goes, 0 outside, a soft border inside the region.

        The same for any division into bands.
        """
        border = max(1.0, SOFT_BORDER * len(self.inside))
        margin = math.ceil(border) + 2  # texels whose nearest one outside lies further away have weight 1
        top = max(0, first - margin)
        depth = cv2.distanceTransform(self.inside[top : last + margin].astype(np.uint8), cv2.DIST_L2, 5)
        return np.asarray(np.clip(depth[first - top : last - top] / border, 0, 1), np.float32)


def read_mask(path: Path) -> NDArray[np.float32]:
    """The image at `path` in grey, float32 (H, W) 0..1, as it is encoded. Raises TexsynthError."""
    texels = unit_range(read_image(path).texels)
    grey = texels[:, :, :3].mean(axis=2) if texels.shape[2] >= 3 else texels[:, :, 0]
    return np.ascontiguousarray(grey, np.float32)


def load_region(path: Path, size: int) -> Region:
    """The region that the image at `path` shows in white, at `size` x `size`. Raises BAD_INPUT if it is all black."""
    inside = cv2.resize(read_mask(path), (size, size), interpolation=cv2.INTER_LINEAR) >= 0.5
    if not inside.any():
        raise bad_input(path, "the mask is black everywhere", "paint the texels that may change white")
    return Region(inside)
