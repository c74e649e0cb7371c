"""Normal and roughness of a material from its albedo alone: what a photo does not tell, learned from published ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsynth.model.blocks import ChannelNorm, UNet

# X, Y and roughness.
OUTPUTS = 3
# Slope of the steepest normal, 76 degrees.
STEEPEST = 4.0


@dataclass(frozen=True)
class MapEstimatorConfig:
    """Shape of the network; level k works at 1 / 2^(k + 1) of the texels a side."""

    widths: tuple[int, ...] = (48, 72, 112, 144)
    down: tuple[int, ...] = (1, 1, 1, 1)
    up: tuple[int, ...] = (2, 2, 2, 1)
    dropout: float = 0.1


class MapEstimator(nn.Module):
    """A U-Net behind a pixel-unshuffle by 2."""

    Config = MapEstimatorConfig

    def __init__(self, config: MapEstimatorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2 ** len(config.widths)  # sides must be multiples of it
        self.enter = nn.Conv2d(12, config.widths[0], 3, padding=1)
        self.unet = UNet(config.widths, config.down, config.up, config.dropout)
        self.norm = ChannelNorm(config.widths[0])
        self.leave = nn.Conv2d(config.widths[0], 4 * OUTPUTS, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, albedo: Tensor) -> tuple[Tensor, Tensor]:
        """sRGB-encoded albedo (N, 3, H, W) in 0..1 to unit normals (N, 3, H, W), OpenGL, and roughness (N, 1, H, W).

        H and W must be multiples of `multiple`.
        """
        x = F.pixel_unshuffle(albedo * 4 - 2, 2).contiguous(memory_format=torch.channels_last)
        raw = F.pixel_shuffle(self.leave(F.silu(self.norm(self.unet(self.enter(x))))), 2).float()
        # As slopes of up to STEEPEST: any value is a normal, and the flat one is where the network starts.
        slopes = STEEPEST * torch.tanh(raw[:, :2] / STEEPEST)
        vectors = torch.cat([slopes, torch.ones_like(slopes[:, :1])], dim=1)
        return F.normalize(vectors, dim=1), torch.sigmoid(raw[:, 2:])
