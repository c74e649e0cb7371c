"""Convolutional parts of the learned models. None normalises across space, so a tile gives what the whole would.

A U-shaped network starts behind a pixel-unshuffle, which costs nothing, so that no convolution runs at full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each texel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + two 3 x 3 convolutions of it, normalised. The second starts at zero: a deep stack starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        y: Tensor = self.second(F.silu(self.first(self.norm(x))))
        return x + y


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """`count` blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class Halve(nn.Sequential):
    """(N, C, H, W) to (N, D, H / 2, W / 2): pixel-unshuffle, then 1 x 1."""

    def __init__(self, channels: int, into: int) -> None:
        super().__init__(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, into, 1))


class Double(nn.Sequential):
    """(N, C, H, W) to (N, D, 2 H, 2 W): 1 x 1, then pixel-shuffle."""

    def __init__(self, channels: int, into: int) -> None:
        super().__init__(nn.Conv2d(channels, 4 * into, 1), nn.PixelShuffle(2))


class UNet(nn.Module):
    """Residual blocks at halving sizes, with skips: (N, widths[0], H, W) to the same; H, W multiples of 2^(levels - 1).

    widths: channels of each level. down, up: blocks on the way down and up, a level; the lowest has `down` + `up`.
    dropout: chance that a channel of the lowest level is left out in training.
    """

    def __init__(self, widths: Sequence[int], down: Sequence[int], up: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(residual_blocks(w, n) for w, n in zip(widths, down, strict=True))
        self.up = nn.ModuleList(residual_blocks(w, n) for w, n in zip(widths, up, strict=True))
        self.halvings = nn.ModuleList(Halve(a, b) for a, b in steps)
        self.doublings = nn.ModuleList(Double(b, a) for a, b in steps)
        self.merges = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a, _ in steps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, widths[0], H, W) to the same."""
        skips = []
        for level, halve in enumerate(self.halvings):
            x = self.down[level](x)
            skips.append(x)
            x = halve(x)
        x = self.up[-1](self.dropout(self.down[-1](x)))
        for level in range(len(skips) - 1, -1, -1):
            x = torch.cat([skips[level], self.doublings[level](x)], dim=1)
            x = self.up[level](self.merges[level](x))
        return x
