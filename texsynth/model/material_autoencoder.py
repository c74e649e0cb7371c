"""The material autoencoder: the stack of maps to one latent of 16 channels at an eighth of the side, and back.

All maps go through one latent, so they cannot drift apart. Encoder and decoder are the principal components of 8 x 8
blocks (a linear path, fitted before training) plus what residual blocks at 1/4 and 1/8 of the side add to them.
Nothing normalises across space, so tiles decode as the whole would, up to the reach of the convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsynth.model.blocks import Double, Halve, residual_blocks
from texsynth.model.stack import CHANNELS, KINDS, channel_mask

FACTOR = 8


@dataclass(frozen=True)
class MaterialAutoencoderConfig:
    """Shape of the network. widths: channels at 1/4 and at 1/8 of the side; *_blocks: residual ones there."""

    latent_channels: int = 16
    widths: tuple[int, int] = (112, 160)
    encoder_blocks: tuple[int, int] = (2, 2)
    decoder_blocks: tuple[int, int] = (4, 3)


class MaterialAutoencoder(nn.Module):
    """`encode` and `decode`; sides must be multiples of FACTOR."""

    Config = MaterialAutoencoderConfig

    def __init__(self, config: MaterialAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        fine, coarse = config.widths
        latent = config.latent_channels
        self.analysis = nn.Conv2d(CHANNELS, latent, FACTOR, stride=FACTOR)
        self.synthesis = nn.ConvTranspose2d(latent, CHANNELS, FACTOR, stride=FACTOR)
        self.encoder = nn.Sequential(
            nn.Conv2d(CHANNELS * 16 + len(KINDS), fine, 3, padding=1),
            residual_blocks(fine, config.encoder_blocks[0]),
            Halve(fine, coarse),
            residual_blocks(coarse, config.encoder_blocks[1]),
            nn.SiLU(),
            nn.Conv2d(coarse, latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, coarse, 3, padding=1),
            residual_blocks(coarse, config.decoder_blocks[1]),
            Double(coarse, fine),
            residual_blocks(fine, config.decoder_blocks[0]),
            nn.SiLU(),
            nn.Conv2d(fine, CHANNELS * 16, 3, padding=1),
            nn.PixelShuffle(4),
        )
        for last in (self.encoder[-1], self.decoder[-2]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit_linear(self, stacks: Tensor, weights: Tensor) -> None:
        """Make the linear path the whitened principal components of the blocks of `stacks` (N, 8, H, W).

        weights: (8,), how much an error in each channel counts.
        """
        blocks = F.unfold(stacks, FACTOR, stride=FACTOR).transpose(1, 2).reshape(-1, CHANNELS * FACTOR**2).double()
        scale = weights.double().clamp_min(1e-3).repeat_interleave(FACTOR**2)
        mean = blocks.mean(dim=0)
        centred = (blocks - mean) * scale
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        count = self.config.latent_channels
        basis, deviation = vectors.flip(1)[:, :count], values.flip(0)[:count].clamp_min(1e-10).sqrt()
        forth = (basis / deviation).T * scale
        back = (basis * deviation).T / scale
        shape = (count, CHANNELS, FACTOR, FACTOR)
        self.analysis.weight.copy_(forth.reshape(shape))
        self.analysis.bias.copy_(-(forth @ mean))  # type: ignore[union-attr]
        self.synthesis.weight.copy_(back.reshape(shape))
        self.synthesis.bias.copy_(mean.reshape(CHANNELS, -1).mean(dim=1))  # type: ignore[union-attr]

    def encode(self, stack: Tensor, present: Tensor) -> Tensor:
        """Stack (N, 8, H, W) in 0..1 and which KINDS it holds (N, 5) to the latent (N, 16, H / 8, W / 8).

        Channels of maps that are not there may hold anything.
        """
        there = channel_mask(present).to(stack.dtype)[:, :, None, None]
        centred = (stack - 0.5) * there
        quarter = F.pixel_unshuffle(centred * 4, 4)
        flags = present.to(stack.dtype)[:, :, None, None].expand(-1, -1, *quarter.shape[2:])
        x = torch.cat([quarter, flags], dim=1).contiguous(memory_format=torch.channels_last)
        latent: Tensor = self.analysis(centred + 0.5) + self.encoder(x)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """Latent (N, 16, h, w) to all 8 channels (N, 8, 8 h, 8 w) float32, not clamped."""
        latent = latent.contiguous(memory_format=torch.channels_last)
        stack: Tensor = self.synthesis(latent).float() + self.decoder(latent).float()
        return stack

    def forward(self, stack: Tensor, present: Tensor) -> Tensor:
        """`decode` of `encode`."""
        return self.decode(self.encode(stack, present))
