"""What lies outside a region that is restyled, where it is the exemplar's own material: the pattern goes on from there.

The asset's texels outside are kept to the bit, so a region of tiles in the same tiles would break their courses at its
border. Where the outside looks like the exemplar, its lattice lies as it does there, and the layout's tokens outside
are known, not noise. Where it is another material there is nothing to go on from, and nothing of this is done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from texsynth.exemplar import Exemplar, coarsest_scale, halved
from texsynth.lead import ALBEDO, sized, tokens_of
from texsynth.material import MapKind, TextureMap
from texsynth.model.latent import BLOCK, BlockPCA
from texsynth.region import Region

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

LARGEST = 1024
FAINTEST = 1e-3  # share of a texel in the region
COMPONENTS = 16  # of blocks that are compared
SMOOTH = 1.0  # texels of the level: a pattern may lie between its texels
# Blocks outside may be as far from the exemplar's as its halves are from each other, times ALIKE, or NEAR of its
# variance, since drawn tiles are the same to the texel; and not farther than MOST of it, or a material whose halves
# have nothing in common would resemble any other.
ALIKE, NEAR, MOST = 1.6, 0.1, 0.8
VARIED = 0.3  # of the exemplar's variance that the outside has; what is nearly flat is near to some of its blocks
FEWEST = 8  # tokens outside; fewer say nothing


@dataclass(frozen=True)
class Outside:
    """albedo: encoded float32 (h, w, 3) of the whole asset. known: bool (h, w), its texels outside the region."""

    albedo: Floats
    known: Mask

    @classmethod
    def of(cls, albedo: TextureMap, region: Region) -> Outside | None:
        """At most LARGEST texels a side, which the layout does not exceed; None where all may change."""
        side = min(LARGEST, len(region.inside))
        inside = cv2.resize(region.inside.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        known = inside < FAINTEST
        if not known.any():
            return None
        texels = cv2.resize(albedo.texels, (side, side), interpolation=cv2.INTER_AREA)
        return cls(TextureMap(MapKind.ALBEDO, texels).encoded(), known)

    def level(self, exemplar: Exemplar, shape: tuple[int, int]) -> Floats:
        """Weighted albedo (8 rows, 8 columns, 3) of a level with tokens of `shape`."""
        unit = exemplar.weighted[:, :, :ALBEDO].std() / max(float(exemplar.stack[:, :, :ALBEDO].std()), 1e-6)
        return sized(self.albedo, (shape[0] * BLOCK, shape[1] * BLOCK)) * np.float32(unit)

    def tokens(self, shape: tuple[int, int]) -> Mask:
        """bool `shape`, tokens without a texel of the region."""
        size = shape[0] * BLOCK, shape[1] * BLOCK
        share = cv2.resize(self.known.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(share.reshape(shape[0], BLOCK, shape[1], BLOCK).min(axis=(1, 3)) > 1 - 1e-4)

    def filled(self) -> Floats:
        """The albedo with its mean inside the region, where it says nothing of the pattern."""
        mean = self.albedo[self.known].mean(axis=0)
        return np.where(self.known[:, :, None], self.albedo, mean).astype(np.float32)


@dataclass(frozen=True)
class Held:
    """Tokens that are known: where, bool (h, w), and their latent, float32 (C, h, w)."""

    where: Tensor
    latent: Tensor

    def put(self, z: Tensor, noise: Tensor) -> None:
        """Into `z` (C, h, w), in place, under `noise` of the same shape."""
        z[:, self.where.to(z.device)] = (self.latent + noise)[:, self.where].to(z.device)


def held_tokens(outside: Outside, exemplar: Exemplar, latent: BlockPCA, shape: tuple[int, int]) -> Held:
    """The tokens outside the region, through the exemplar's latent."""
    known = tokens_of(outside.level(exemplar, shape), latent)
    return Held(torch.from_numpy(outside.tokens(shape)), known)


def resembles(outside: Outside, exemplar: Exemplar, size: int) -> bool:
    """Whether the outside is the exemplar's material: by the nearest blocks of the coarsest level. size: of the result,
    texels a side."""
    scale = coarsest_scale(exemplar)
    shape = (max(1, -(-size // (BLOCK * scale))),) * 2
    where = outside.tokens(shape)
    if where.sum() < FEWEST:
        return False
    image = halved(exemplar.weighted, int(math.log2(scale)))[:, :, :ALBEDO]
    own = _blocks(_smooth(image), 1)
    blocks = own.reshape(-1, own.shape[2])
    mean = blocks.mean(axis=0)
    axes = np.linalg.eigh(np.cov((blocks - mean).T.astype(np.float64)))[1][:, -COMPONENTS:]
    seen = ((own - mean) @ axes).astype(np.float32)
    there = (_blocks(_smooth(outside.level(exemplar, shape)), BLOCK)[where] - mean) @ axes
    half = (own.shape[1] - BLOCK) // 2
    left, right = (part.reshape(-1, axes.shape[1]) for part in (seen[:, :half], seen[:, -half:]))
    apart = _distance(left[::BLOCK], right)
    found = _distance(there, seen.reshape(-1, axes.shape[1]))
    varied, shown = (float(each.reshape(-1, axes.shape[1]).var(axis=0).sum()) for each in (seen, there))
    return found <= min(max(ALIKE * apart, NEAR * varied), MOST * varied) and shown >= VARIED * varied


def _blocks(image: Floats, stride: int) -> Floats:
    """Blocks float32 (rows, columns, 8 * 8 * C) of `image` at every `stride` texels."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (BLOCK, BLOCK), axis=(0, 1))[::stride, ::stride]
    return np.ascontiguousarray(windows).reshape(*windows.shape[:2], -1)


def _smooth(image: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), SMOOTH), np.float32)


def _distance(asked: Floats, offered: Floats) -> float:
    """Mean squared distance to the nearest one."""
    return float((KDTree(offered).query(asked)[0] ** 2).mean())
