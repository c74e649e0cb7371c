"""Axes that all exemplars share, for the latent in which a network sees them.

The latent of the closed-form score is the exemplar's own block PCA (`texsynth.model.latent`): whitened, but with other
axes for each exemplar, which no network can read. Turned rigidly towards the directions in which materials vary on
average, the same tokens have axes that mean much the same for all exemplars; and white noise stays white under a
rotation. So a network that was trained on turned tokens and the closed form denoise one latent, at one noise level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsynth.exemplar import FLAT, MAP_WEIGHT
from texsynth.material import MapKind
from texsynth.model.latent import BLOCK, BlockPCA
from texsynth.model.stack import CHANNELS, KINDS, SLICES, channel_mask

# Texels between the blocks that an exemplar's statistics are taken from.
STEP = BLOCK // 2


@dataclass(frozen=True)
class CommonAxesConfig:
    """directions: kept of the average; an exemplar's own PCA is looked for among them in training."""

    directions: int = 64


class CommonAxes(nn.Module):
    """`basis`: float32 (8 * 64, directions), orthonormal, the strongest first; blocks are those of a weighted stack."""

    Config = CommonAxesConfig
    basis: Tensor

    def __init__(self, config: CommonAxesConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("basis", torch.eye(CHANNELS * BLOCK**2, config.directions))

    @torch.no_grad()
    def fit(self, stacks: Tensor, present: Tensor) -> None:
        """To the principal directions of the blocks of `stacks` (N, 8, H, W) in 0..1, each weighted by itself."""
        centred, _ = weighted_pair(stacks, stacks, present)
        covariance = torch.zeros(len(self.basis), len(self.basis), dtype=torch.float64)
        for stack in centred:
            blocks = F.unfold(stack[None], BLOCK, stride=STEP)[0].double()
            covariance += blocks @ blocks.T / blocks.shape[1] / len(centred)
        vectors = torch.linalg.eigh(covariance)[1].flip(1)
        self.basis.copy_(vectors[:, : self.config.directions])

    def rotation(self, latent: BlockPCA, kinds: Sequence[MapKind]) -> Tensor:
        """The orthogonal (C, C) that turns tokens of `latent` to these axes; kinds: the maps of its image, in order.

        Maps that the axes do not know (opacity) have no say in it.
        """
        blocks = self.basis[:, : latent.channels].reshape(CHANNELS, BLOCK**2, -1).cpu()
        parts = [blocks[SLICES[kind]] if kind in SLICES else blocks.new_zeros(1, *blocks.shape[1:]) for kind in kinds]
        return _nearest_rotation(torch.cat(parts).flatten(0, 1).T @ latent.basis * latent.scale)

    def whitened_pair(
        self, exemplars: Tensor, targets: Tensor, present: Tensor, channels: int, floor: float
    ) -> tuple[Tensor, Tensor]:
        """Stacks (N, 8, H, W) of exemplars and of targets to tokens (N, channels, H / 8, W / 8) in these axes.

        Both are whitened by the exemplar's statistics alone, up to `floor` as in `BlockPCA`, whose tokens, turned by
        `rotation`, these are up to what lies outside of the kept directions. Differs from it in that it takes a batch.
        """
        first, second = weighted_pair(exemplars, targets, present)
        kernel = self.basis.T.reshape(-1, CHANNELS, BLOCK, BLOCK)
        sample = F.conv2d(first, kernel, stride=STEP).flatten(2)  # (N, directions, blocks)
        mean = sample.mean(dim=2, keepdim=True)
        values, vectors = torch.linalg.eigh((sample - mean) @ (sample - mean).mT / sample.shape[2])
        vectors = vectors.flip(2)[:, :, :channels]
        scale = values.flip(1)[:, :channels].clamp_min(1e-10).sqrt()
        scale = torch.maximum(scale, scale[:, :1] * floor)
        turn = _nearest_rotation(vectors[:, :channels] * scale[:, None])
        forth = turn @ (vectors / scale[:, None]).mT  # (N, channels, directions)

        def tokens(stacks: Tensor) -> Tensor:
            seen = F.conv2d(stacks, kernel, stride=BLOCK)
            turned: Tensor = forth @ (seen.flatten(2) - mean)
            return turned.reshape(len(seen), channels, *seen.shape[2:])

        return tokens(first), tokens(second)


def weighted_pair(exemplars: Tensor, targets: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Both stacks (N, 8, H, W) as `Exemplar.weighted` has them: centred on the exemplar's mean, each map brought to
    the deviation that MAP_WEIGHT says; channels of maps that are not `present` (N, 5) are 0."""
    mean = exemplars.mean(dim=(2, 3), keepdim=True)
    variance = (exemplars - mean).square().mean(dim=(2, 3))
    weight = torch.zeros_like(variance)
    for kind in KINDS:
        deviation = variance[:, SLICES[kind]].sum(dim=1, keepdim=True).sqrt()
        weight[:, SLICES[kind]] = MAP_WEIGHT[kind] / deviation.clamp_min(FLAT)
    weight = (weight * channel_mask(present))[:, :, None, None]
    return (exemplars - mean) * weight, (targets - mean) * weight


def _nearest_rotation(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to (..., C, C)."""
    left, _, right = torch.linalg.svd(matrix)
    turned: Tensor = left @ right
    return turned
