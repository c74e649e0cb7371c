"""What is done to the gradients of style and content before a step: equations 2 and 3 of Muon-AD."""

from __future__ import annotations

import torch
from torch import Tensor

# Below this cosine two gradients count as in conflict.
CONFLICT = -0.5


def without_conflict(style: Tensor, content: Tensor, threshold: float = CONFLICT) -> Tensor:
    """`style` (N, C, h, w) without its part along `content` (same shape), in samples where they are in conflict.

    g_s - (g_s . g_c / |g_c|^2) g_c where cos(g_s, g_c) < threshold, for each sample by itself (equation 2; the same
    projection as PCGrad's, Yu et al. 2020, which applies it to every negative cosine).
    """
    along = _dot(style, content)
    squared = _dot(content, content)
    norms = (_dot(style, style) * squared).sqrt()
    conflict = along < threshold * norms
    factor = torch.where(conflict, along / squared.clamp_min(1e-20), torch.zeros_like(along))
    return style - factor * content


def tangent(gradient: Tensor, z: Tensor) -> Tensor:
    """(I - z z^T / |z|^2) gradient for each sample: the part that does not change the length of `z` (equation 3)."""
    return gradient - _dot(gradient, z) / _dot(z, z).clamp_min(1e-20) * z


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(N, 1, 1, 1)"""
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)
