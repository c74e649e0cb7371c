"""The exemplar's own latent: principal components of its blocks, whitened. No training.

A token stands for one f x f block of one pyramid level. It can be taken at every texel offset, not only at multiples of
f, so that structure of any period keeps its phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 8


@dataclass(frozen=True)
class BlockPCA:
    """Maps blocks of `BLOCK` x `BLOCK` texels x K channels to `channels` whitened components.

    basis: float32 (K * 64, C), orthonormal columns. mean: (K * 64,). scale: (C,), the deviation of each component, at
    least `floor` times the first, so that faint components are not blown up to the noise's size.
    """

    basis: Tensor
    mean: Tensor
    scale: Tensor

    @property
    def channels(self) -> int:
        """Number of components C."""
        return self.basis.shape[1]

    @classmethod
    def fit(cls, image: Tensor, channels: int, floor: float) -> BlockPCA:
        """Fit to all blocks of `image`, float32 (K, H, W), on a grid of at most about 65,536 offsets."""
        step = max(1, int(np.ceil(np.sqrt(image.shape[1] * image.shape[2] / 65536))))
        blocks = F.unfold(image[None], BLOCK, stride=step)[0]
        mean = blocks.mean(dim=1)
        centred = blocks - mean[:, None]
        values, vectors = torch.linalg.eigh((centred @ centred.T / centred.shape[1]).double())
        keep = min(channels, len(values))
        scale = values.flip(0)[:keep].clamp_min(1e-10).sqrt()
        return cls(vectors.flip(1)[:, :keep].float().contiguous(), mean, scale.clamp_min(scale[0] * floor).float())

    def encode(self, image: Tensor, stride: int = BLOCK) -> Tensor:
        """Tokens (C, h, w) of float32 (K, H, W), blocks at multiples of `stride`: h = (H - 8) // stride + 1."""
        weight = (self.basis / self.scale).T.reshape(self.channels, image.shape[0], BLOCK, BLOCK)
        bias = -(self.basis / self.scale).T @ self.mean
        return F.conv2d(image[None], weight, bias, stride=stride)[0]

    def decode(self, tokens: Tensor) -> Tensor:
        """(C, h, w) back to (K, 8 h, 8 w): exact up to the components that were left out."""
        c, h, w = tokens.shape
        blocks = self.basis @ (tokens.reshape(c, -1) * self.scale[:, None]) + self.mean[:, None]
        return F.pixel_shuffle(blocks.reshape(1, -1, h, w), BLOCK)[0]


def dense_tokens(pca: BlockPCA, image: Tensor, wraps: tuple[bool, bool], stride: int) -> Tensor:
    """Tokens at every `stride` texels, (C, gh, gw).

    Directions that wrap have side / stride positions; the others only the (side - 8) // stride + 1 that lie inside.
    """
    pad = (0, BLOCK - stride if wraps[1] else 0, 0, BLOCK - stride if wraps[0] else 0)
    cut = image[:, : image.shape[1] // stride * stride, : image.shape[2] // stride * stride]
    padded = F.pad(cut[None], pad, mode="circular")[0]
    rows = max(1, 2**22 // (padded.shape[2] * pca.channels)) * stride  # bounded working memory
    parts = [
        pca.encode(padded[:, y : y + rows + BLOCK - stride], stride)
        for y in range(0, padded.shape[1] - BLOCK + 1, rows)
    ]
    return torch.cat(parts, dim=1)


def to_tensor(image: NDArray[np.float32]) -> Tensor:
    """float32 (H, W, K) as a tensor (K, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, 2, 0)))
