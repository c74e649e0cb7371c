"""Training of `texsynth.model.material_autoencoder`: fidelity first, then an adversary for what that alone blurs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mipmap.metrics import sharpness_ratio
from texsynth.material import Float32, MapKind, srgb_to_linear
from texsynth.model.material_autoencoder import MaterialAutoencoder, MaterialAutoencoderConfig
from texsynth.model.stack import KINDS, SLICES, channel_mask, unit_vectors
from texsynth.train.corpus import Corpus
from texsynth.train.estimator import angle
from texsynth.train.loop import Batch, Schedule, Stateful

SCHEDULES = {
    "small": Schedule(steps=9000, batch=8, crop=192),
    "base": Schedule(steps=30000, batch=32, crop=256),
}
# What an error in each channel counts; X and Y of a normal span 2, everything else 1.
WEIGHTS = {
    MapKind.ALBEDO: 1.0,
    MapKind.NORMAL: 0.7,
    MapKind.ROUGHNESS: 0.5,
    MapKind.METALNESS: 0.15,
    MapKind.HEIGHT: 0.15,
}
# How often a map that is there is hidden from the encoder, so that it learns to infer what a material lacks.
HIDDEN = 0.15
# Share of the run after which the adversary joins, and its weight.
ADVERSARY_FROM, ADVERSARY_WEIGHT = 0.6, 0.02


def channel_weights() -> Tensor:
    """(8,), WEIGHTS by channel."""
    return torch.tensor([WEIGHTS[kind] for kind in KINDS for _ in range(SLICES[kind].stop - SLICES[kind].start)])


def fidelity(made: Tensor, true: Tensor, present: Tensor) -> dict[str, Tensor]:
    """Root mean square errors of each crop and map, at full size and averaged over 4 x 4, and of their gradients."""
    there = channel_mask(present).to(made.dtype) * channel_weights().to(made.device)
    difference = (made - true) * there[:, :, None, None]
    parts = {"texels": difference, "coarse": 2 * F.avg_pool2d(difference, 4)}
    parts["across"] = 0.5 * (difference[..., 1:] - difference[..., :-1])
    parts["down"] = 0.5 * (difference[..., 1:, :] - difference[..., :-1, :])
    return {name: _root_mean_square(part) for name, part in parts.items()}


def _root_mean_square(difference: Tensor) -> Tensor:
    """Summed over maps, mean over crops. The root is taken for each crop, so smooth ones count beside rough ones."""
    total = difference.new_zeros(())
    for kind in KINDS:
        total = total + (difference[:, SLICES[kind]].square().mean(dim=(1, 2, 3)) + 1e-7).sqrt().mean()
    return total


class Adversary(nn.Module):
    """Tells real patches from decoded ones: (N, 6, H, W) albedo, normal, roughness to a map of scores."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(6 * 4, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Scores, positive for real."""
        scores: Tensor = self.layers((maps * 4 - 2).contiguous(memory_format=torch.channels_last))
        return scores.float()


@dataclass
class AutoencoderLoss:
    """The loss of a step; it trains `adversary` itself."""

    adversary: Adversary
    optimiser: torch.optim.Optimizer
    steps: int
    seed: int = 0

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Parts of the loss of one batch."""
        stacks, present = batch
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        hidden = torch.rand(present.shape, generator=generator).to(present.device) < HIDDEN
        hidden[:, 0] = False  # albedo is what everything is inferred from
        made = model(stacks, present & ~hidden)
        parts = fidelity(made, stacks, present)
        if step < ADVERSARY_FROM * self.steps:
            return parts
        there = channel_mask(present)[:, :6, None, None]
        real, false = stacks[:, :6] * there, made[:, :6] * there
        self.optimiser.zero_grad()
        hinge = F.relu(1 - self.adversary(real)).mean() + F.relu(1 + self.adversary(false.detach())).mean()
        hinge.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.adversary.requires_grad_(False)
        parts["adversary"] = -ADVERSARY_WEIGHT * self.adversary(false).mean()
        self.adversary.requires_grad_(True)
        return parts


def prepare(
    corpus: Corpus, schedule: Schedule, seed: int, device: torch.device
) -> tuple[nn.Module, AutoencoderLoss, dict[str, Stateful]]:
    """A model whose linear path is fitted to `corpus`, its loss, and the adversary in it."""
    model = MaterialAutoencoder(MaterialAutoencoderConfig())
    fit_linear(model, corpus, seed)
    adversary = Adversary().to(device)
    optimiser = torch.optim.AdamW(adversary.parameters(), lr=3e-4, betas=(0.5, 0.99))
    extra: dict[str, Stateful] = {"adversary": adversary, "adversary_optimiser": optimiser}
    return model, AutoencoderLoss(adversary, optimiser, schedule.steps, seed), extra


def fit_linear(model: MaterialAutoencoder, corpus: Corpus, seed: int) -> None:
    """Fit the linear path to random crops of those materials that have albedo, normal and roughness."""
    kinds = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)
    complete = Corpus(m for m in corpus.materials if all(m.present[KINDS.index(kind)] for kind in kinds))
    batches = complete.batches(128, 16, np.random.default_rng((seed, 1)))
    stacks = []
    for _ in range(24):
        stack, present = next(batches)
        stacks.append(torch.where(channel_mask(present)[:, :, None, None], stack, torch.tensor(0.5)))
    model.fit_linear(torch.cat(stacks), channel_weights())


@torch.no_grad()
def reconstruction(model: nn.Module, stack: Tensor, present: tuple[bool, ...]) -> dict[str, float]:
    """Figures of one material, stack (8, H, W): psnr_albedo, detail (energy of the Laplacian of linear light over the
    original's), shift (largest change of a channel's mean, in 1/255), normal_angle in degrees, psnr_roughness."""
    device = next(model.parameters()).device
    sides = [side // 8 * 8 for side in stack.shape[1:]]
    true = stack[None, :, : sides[0], : sides[1]]
    made = model(true.to(device), torch.tensor([present], device=device)).cpu().clamp(0, 1)
    a, b = true[:, :3], made[:, :3]
    figures = {
        "psnr_albedo": psnr(a, b),
        "detail": sharpness_ratio(_light(b), _light(a)),
        "shift": float((a - b).mean(dim=(0, 2, 3)).abs().max()) * 255,
    }
    if present[KINDS.index(MapKind.NORMAL)]:
        normal = SLICES[MapKind.NORMAL]
        figures["normal_angle"] = angle(unit_vectors(true[:, normal]), unit_vectors(made[:, normal]))
    if present[KINDS.index(MapKind.ROUGHNESS)]:
        rough = SLICES[MapKind.ROUGHNESS]
        figures["psnr_roughness"] = psnr(true[:, rough], made[:, rough])
    return figures


def _light(albedo: Tensor) -> Float32:
    """Linear light (H, W, 3) of sRGB-encoded (1, 3, H, W)."""
    return srgb_to_linear(albedo[0].movedim(0, 2).numpy())


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of values in 0..1, in dB."""
    return float(-10 * torch.log10((a - b).square().mean().clamp_min(1e-10)))


def validate_autoencoder(model: nn.Module, corpus: Corpus, size: int = 512) -> dict[str, float]:
    """Means of `reconstruction` over a corner of every material."""
    rows: dict[str, list[float]] = {}
    for material in corpus.materials:
        stack = torch.from_numpy(np.ascontiguousarray(material.texels[:size, :size])).movedim(2, 0).float() / 255
        for name, value in reconstruction(model, stack, material.present).items():
            rows.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in rows.items()}
