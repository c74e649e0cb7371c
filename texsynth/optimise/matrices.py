"""The latent as matrices, and the nearest orthogonal matrix: what makes a momentum step a Muon step."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Matricisation = Literal["channels", "planes", "patches"]
MATRICISATIONS: tuple[Matricisation, ...] = get_args(Matricisation)
# Of the quintic iteration by K. Jordan, "Muon" (2024); torch.optim.Muon has the same.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5


def orthogonalised(matrices: Tensor, steps: int = STEPS) -> Tensor:
    """U V^T of each matrix U S V^T in (..., a, b), roughly: singular values end within about 0.7..1.2. float32.

    Zero matrices stay zero. `torch.optim.Muon` does this to one matrix of a parameter; a latent is many at once.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(-2).norm(dim=-1)[..., None, None].clamp_min(1e-12)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    nearest: Tensor = x.mT if tall else x
    return nearest


def to_matrices(z: Tensor, how: Matricisation, patch: int = 4, roll: tuple[int, int] = (0, 0)) -> Tensor:
    """A latent (N, C, h, w) as matrices (N, count, a, b).

    channels: one of C x (h w), which has only C singular values. planes: C of h x w. patches: one of every p x p x C
    patch as a row against all patches, after a roll (a fixed grid would leave its lines in the latent); sides that
    patches do not fill are padded with zeros.
    """
    if how == "channels":
        return z.flatten(2)[:, None]
    if how == "planes":
        return z
    rolled = torch.roll(z, roll, (2, 3))
    padded = F.pad(rolled, (0, -z.shape[3] % patch, 0, -z.shape[2] % patch))
    return F.unfold(padded, patch, stride=patch)[:, None]


def from_matrices(
    matrices: Tensor, shape: torch.Size, how: Matricisation, patch: int = 4, roll: tuple[int, int] = (0, 0)
) -> Tensor:
    """The inverse of `to_matrices` for a latent of `shape`."""
    if how == "channels":
        return matrices[:, 0].reshape(shape)
    if how == "planes":
        return matrices
    height, width = (side + -side % patch for side in shape[2:])
    padded = F.fold(matrices[:, 0], (height, width), patch, stride=patch)
    return torch.roll(padded[:, :, : shape[2], : shape[3]], (-roll[0], -roll[1]), (2, 3))
