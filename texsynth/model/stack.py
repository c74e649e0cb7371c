"""The stack of maps that the learned models see: 8 channels in one fixed order, 0..1, with a mask of what is there.

Albedo is sRGB-encoded; of an OpenGL normal there are X and Y as (n + 1) / 2, Z is what makes it a unit vector; the
others are scalars. A map that lacks is 0 in all its channels and False in the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from texsynth.material import MapKind

KINDS = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS, MapKind.METALNESS, MapKind.HEIGHT)
SLICES = {
    MapKind.ALBEDO: slice(0, 3),
    MapKind.NORMAL: slice(3, 5),
    MapKind.ROUGHNESS: slice(5, 6),
    MapKind.METALNESS: slice(6, 7),
    MapKind.HEIGHT: slice(7, 8),
}
CHANNELS = 8


def unit_vectors(xy: Tensor) -> Tensor:
    """Encoded X and Y (N, 2, H, W) to unit vectors (N, 3, H, W); where they are longer than 1, Z is 0."""
    flat = xy * 2 - 1
    length = flat.square().sum(dim=1, keepdim=True)
    z = (1 - length).clamp_min(1e-6).sqrt()
    return torch.cat([flat, z], dim=1) / (length + z.square()).sqrt()


def channel_mask(present: Tensor) -> Tensor:
    """(N, 5) of KINDS to (N, 8) of channels."""
    widths = torch.tensor([SLICES[kind].stop - SLICES[kind].start for kind in KINDS], device=present.device)
    return present.repeat_interleave(widths, dim=1)
