"""Depthwise dynamic convolution, for the middle block's self-attention in small variants (Wu et al., ICLR 2019)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 5  # a side
SHARED = 8  # channels that share a kernel, at most


class DynamicConv(nn.Module):
    """x + a 1 x 1 convolution of a depthwise one whose kernels every token makes of itself.

    Each token says, for every SHARED channels, how its TAPS x TAPS neighbours are weighed (softmax), so the cost grows
    with the tokens, and not with their square as that of self-attention. Outside lies zero. Starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernels = nn.Conv2d(channels, -(-channels // SHARED) * TAPS**2, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """(N, C, H, W) to the same; what else an attention is told (time, masks) is not used."""
        x = hidden_states
        count, channels, height, width = x.shape
        groups = -(-channels // SHARED)
        weights = self.kernels(x).reshape(count, groups, TAPS**2, height, width).softmax(dim=2)
        padded = F.pad(x, (TAPS // 2,) * 4)
        total = torch.zeros_like(x)
        for tap in range(TAPS**2):
            row, column = divmod(tap, TAPS)
            weight = weights[:, :, tap].repeat_interleave(SHARED, dim=1)[:, :channels]
            total = total + weight * padded[:, :, row : row + height, column : column + width]
        y: Tensor = x + self.project(total)
        return y


def replace_attention(network: nn.Module, name: str) -> DynamicConv:
    """Put a `DynamicConv` in place of the self-attention `name` of `network`, which adds its input to what it makes.

    Raises ValueError for a module that is no such attention.
    """
    attention: Any = network.get_submodule(name)
    if not isinstance(getattr(attention, "to_q", None), nn.Linear):
        raise ValueError(f"{name} is a {type(attention).__name__}, no self-attention")
    made = DynamicConv(attention.to_q.in_features).to(attention.to_q.weight)
    path, _, last = name.rpartition(".")
    setattr(network.get_submodule(path), last, made)
    return made


def middle_attentions(network: nn.Module) -> list[str]:
    """Names of the self-attentions in the middle block of one of diffusers' U-Nets."""
    return [
        name
        for name, module in network.named_modules()
        if name.startswith("mid_block.") and isinstance(getattr(module, "to_q", None), nn.Linear)
    ]
