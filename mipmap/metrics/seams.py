"""Visibility of seams: at the wrap edge of a tileable texture, and along UV seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mipmap.metrics.images import as_image, same_size
from mipmap.metrics.sharpness import squared_laplacian

FLAT = 0.02 / 255  # a gradient below this is flat ground: a fiftieth of a step of 8 bits
NEAR = 2  # lines on either side that the wrap edge is compared with


@dataclass(frozen=True)
class WrapEdge:
    """The wrap edge of one axis: its gradient ratio, and how that ratio lies among the lines inside the texture.

    ratio: see `wrap_ratio`. usual: the 2.5th and 97.5th percentile of the same ratio taken at every line inside.
    """

    ratio: float
    usual: tuple[float, float]

    @property
    def seamless(self) -> bool:
        """Within 0.9..1.1, or as common as 95 % of the lines inside (where a joint makes 0.9..1.1 meaningless)."""
        return min(0.9, self.usual[0]) <= self.ratio <= max(1.1, self.usual[1])


def wrap_ratio(image: ArrayLike) -> tuple[WrapEdge, WrapEdge]:
    """Gradient across the wrap edge over the gradient inside, for rows (bottom to top) and columns (right to left).

    Gradient: mean absolute difference of neighbouring texels across a line between two rows (columns). The wrap
    edge's is divided by the mean of the two lines on either side of it: the ground is the same there, so a texture
    without a seam gives 1 +- 0.08 (90 % of the lines inside natural materials). At axis-aligned joints even true
    lines scatter more; `usual` says how much. A cut that does not tile gives 1.3 to 5 on natural materials.
    image: (H, W) or (H, W, C) float, at least 12 x 12. Flat neighbourhoods count as a fiftieth of a step of 8 bits.
    """
    pixels = as_image(image)
    if min(pixels.shape[:2]) < 12:
        raise ValueError(f"at least 12 x 12 texels are needed, got {pixels.shape}")
    return _wrap_edge(pixels), _wrap_edge(pixels.swapaxes(0, 1))


def _wrap_edge(pixels: NDArray[np.float32]) -> WrapEdge:
    lines = np.abs(np.roll(pixels, -1, 0) - pixels).mean(axis=(1, 2), dtype=np.float64)  # the last one is the wrap edge
    ratios = line_ratios(lines)
    inside = ratios[NEAR : -1 - NEAR]
    low, high = np.percentile(inside, (2.5, 97.5))
    return WrapEdge(float(ratios[-1]), (float(low), float(high)))


def line_ratios(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradients of lines (..., n), the last beside the first, each over the mean of NEAR lines on either side of it."""
    near = [np.roll(lines, k, axis=-1) for k in range(-NEAR, NEAR + 1) if k]
    beside = sum(near, np.zeros_like(lines)) / (2 * NEAR)
    return np.asarray(np.maximum(lines, FLAT) / np.maximum(beside, FLAT))


def join_sharpness(image: ArrayLike, pieces: NDArray[np.int32], block: int = 8) -> float:
    """Laplacian energy near the joins of copied pieces over that elsewhere: 1 unseen, above it seams, below it blur.

    Near: within half a block of the line between two neighbouring blocks of different pieces. A piece that is always
    cut where the ground is calm or busy moves it too, so it is read beside a look at the picture.
    image: (H, W) or (H, W, C) float, encoded 0..1. pieces: (H / block, W / block) labels of `rigid_pieces`.
    1 if every block is near a join or none is.
    """
    pixels = as_image(image)
    rows, columns = pieces.shape
    if pixels.shape[:2] != (rows * block, columns * block):
        raise ValueError(f"pieces of {pieces.shape} blocks of {block} do not cover an image of {pixels.shape}")
    near = np.zeros((2 * rows, 2 * columns), np.bool_)  # in quarters of a block
    across, down = pieces[:, 1:] != pieces[:, :-1], pieces[1:] != pieces[:-1]
    wide, tall = across.repeat(2, axis=0), down.repeat(2, axis=1)
    near[:, 1:-2:2] |= wide
    near[:, 2:-1:2] |= wide
    near[1:-2:2] |= tall
    near[2:-1:2] |= tall
    mask = near.repeat(block // 2, axis=0).repeat(block // 2, axis=1)[1:-1, 1:-1]
    energy = squared_laplacian(pixels).mean(axis=2)
    if mask.all() or not mask.any():
        return 1.0
    floor = FLAT**2
    return float(max(energy[mask].mean(dtype=np.float64), floor) / max(energy[~mask].mean(dtype=np.float64), floor))


def seam_ratio(one_side: ArrayLike, other_side: ArrayLike, interior_gradient: float) -> float:
    """Mean absolute difference of texel pairs across a UV seam over the gradient inside the charts.

    one_side, other_side: (N, C) colours of texels one texel apart on the surface. interior_gradient: mean absolute
    difference of neighbouring texels inside the charts, in the same unit (see `interior_gradient`). Flat ground counts
    as a fiftieth of a step of 8 bits on both sides.
    """
    a, b = np.asarray(one_side, np.float32), np.asarray(other_side, np.float32)
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise ValueError(f"texel pairs have the shape (N, C) on both sides, not {a.shape} and {b.shape}")
    return max(float(np.abs(a - b).mean(dtype=np.float64)), FLAT) / max(interior_gradient, FLAT)


def interior_gradient(image: ArrayLike, inside: ArrayLike | None = None) -> float:
    """Mean absolute difference of horizontally and vertically neighbouring texels, both within the mask if given.

    image: (H, W, C) float. inside: (H, W) bool, for example the texels covered by UV charts.
    """
    pixels = as_image(image)
    mask = np.ones(pixels.shape[:2], np.bool_) if inside is None else np.asarray(inside, np.bool_)
    same_size(pixels[:, :, :1], as_image(mask))
    down = np.abs(np.diff(pixels, axis=0))[mask[1:] & mask[:-1]]
    right = np.abs(np.diff(pixels, axis=1))[mask[:, 1:] & mask[:, :-1]]
    both = np.concatenate([down, right])
    return float(both.mean(dtype=np.float64)) if both.size else 0.0
