"""Two exemplars in one result: the second covers a share of the surface, the low places of the first before the high.

Both layers are made whole. Where the wished share is s, the second shows on the texels whose rank is below s: rank of
relief, which is the first layer's height with a quarter of the second's against it, so that moss fills joints and its
own tufts still reach over their rim. Heights are ranked among their exemplar's, so a share is the share of the surface
that it says. Without a height map the height is what `texsynth.estimate` makes of the normal, else of the albedo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.exemplar import Exemplar
from texsynth.material import DEFAULT_TEXEL, MapKind, Material, TextureMap, estimate_missing
from texsynth.model.latent import BLOCK
from texsynth.region import read_mask

Floats = NDArray[np.float32]

HALF = 0.5
SECOND_RELIEF = 0.25  # of the weight that decides: the second's own relief
SOFTNESS = 0.08  # ranks over which the two fade into each other
SOFT_BORDER = 1 / 40  # of the size: width of the band in which relief shapes an edge of the mask
SMOOTH = 1.5  # texels (sigma): single grains do not decide


@dataclass(frozen=True)
class Blend:
    """mask: uint8 (size, size), the second exemplar's share of each place, 255 = all; or None: `share` everywhere."""

    size: int
    share: float
    mask: NDArray[np.uint8] | None

    def shares(self, first: int, last: int) -> Floats:
        """float32 (last - first, size), 0..1."""
        if self.mask is None:
            return np.full((last - first, self.size), self.share, np.float32)
        return self.mask[first:last] * np.float32(1 / 255)

    def wanted(self) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Tokens, bool (size / 8, size / 8), where the first and where the second exemplar shows; None: everywhere."""
        if self.mask is None:
            return None, None
        blocks = self.mask.reshape(self.size // BLOCK, BLOCK, self.size // BLOCK, BLOCK)
        return np.asarray((blocks < 255).any(axis=(1, 3))), np.asarray((blocks > 0).any(axis=(1, 3)))


def load_blend(choice: float | Path | None, size: int) -> Blend:
    """The share `choice` (None: half), or what the image there shows: black is the first exemplar, white the second.

    Hard edges of the image become a band in which relief decides, so a border follows stones and joints.
    """
    if not isinstance(choice, Path):
        return Blend(size, HALF if choice is None else float(choice), None)
    grey = read_mask(choice)
    how = cv2.INTER_AREA if max(grey.shape) > size else cv2.INTER_LINEAR
    mask = (cv2.resize(grey, (size, size), interpolation=how) * 255 + 0.5).astype(np.uint8)
    border = 2 * round(SOFT_BORDER * size / 2) + 1
    for _ in range(2):
        mask = np.asarray(cv2.blur(mask, (border, border)), np.uint8)
    return Blend(size, float(mask.mean() / 255), mask)


def with_same_maps(first: Material, second: Material, wanted: tuple[MapKind, ...]) -> tuple[Material, Material]:
    """Both with every map of `wanted` that either has: constants where the other one lacks it."""

    def filled(material: Material, other: Material) -> Material:
        maps = dict(material.maps)
        for kind in wanted:
            if kind in other.maps and kind not in maps:
                constant = np.array(DEFAULT_TEXEL[kind]) * 255 + 0.5
                maps[kind] = TextureMap(kind, np.tile(constant.astype(np.uint8), (*material.size, 1)))
        return Material(material.name, maps, material.estimated, material.notes)

    return filled(first, second), filled(second, first)


def ranks_of_relief(material: Material, exemplar: Exemplar) -> Floats:
    """float32 (h, w, 1) at the exemplar's texel density: 0 for its lowest texel, 1 for its highest."""
    height = estimate_missing(material, (MapKind.HEIGHT,)).maps[MapKind.HEIGHT].linear()[:, :, 0]
    smooth = cv2.GaussianBlur(np.ascontiguousarray(height), (0, 0), SMOOTH)
    if smooth.shape != exemplar.size:
        smooth = cv2.resize(smooth, exemplar.size[::-1], interpolation=cv2.INTER_AREA)
    order = np.argsort(smooth, axis=None, kind="stable")
    ranks = np.empty(order.size, np.float32)
    ranks[order] = (np.arange(order.size) + 0.5) / order.size
    return ranks.reshape(*exemplar.size, 1)


def blended(first: Floats, second: Floats, shares: Floats, normal: int) -> tuple[Floats, Floats]:
    """Both layers' texels (rows, W, K + 1), ranks last, as one (rows, W, K), and the second's weights (rows, W).

    normal: first channel of the normal, which is a unit vector again afterwards; -1 if there is none.
    """
    weights = _weights(first[:, :, -1], second[:, :, -1], shares)
    a, b = first[:, :, :-1], second[:, :, :-1]
    share = weights[:, :, None]
    mixed = np.ascontiguousarray((1 - share) * a + share * b)  # to the bit either one where the share is 0 or 1
    if normal >= 0:
        vectors = mixed[:, :, normal : normal + 3] * 2 - 1
        vectors /= np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), np.float32(1e-6))
        between = (weights > 0) & (weights < 1)
        mixed[:, :, normal : normal + 3][between] = vectors[between] * np.float32(0.5) + np.float32(0.5)
    return mixed, weights


def _weights(first: Floats, second: Floats, shares: Floats) -> Floats:
    """The second layer's weight where the ranks of relief are `first` and `second`, each even over 0..1."""
    a, b = np.float32(1 - SECOND_RELIEF), np.float32(SECOND_RELIEF)
    total = a * first + b * (1 - second)
    # The distribution function of the sum of two independent even variables, so that it is even again.
    low, high = total * total / (2 * a * b), 1 - (1 - total) ** 2 / (2 * a * b)
    even = np.where(total < b, low, np.where(total > a, high, (total - b / 2) / a))
    # and the rank where the soft step lies whose mean is the share
    half = np.float32(SOFTNESS / 2)
    few, many = np.sqrt(4 * half * shares) - half, 1 + half - np.sqrt(4 * half * (1 - shares))
    reached = np.where(shares < half, few, np.where(shares > 1 - half, many, shares))
    return np.asarray(np.clip((reached - even) / np.float32(SOFTNESS) + np.float32(0.5), 0, 1), np.float32)
