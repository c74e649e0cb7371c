"""Training of `texsynth.model.map_estimator`: albedo in, normal and roughness out."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsynth.material import MapKind
from texsynth.model.map_estimator import MapEstimator, MapEstimatorConfig
from texsynth.model.stack import KINDS, SLICES, unit_vectors
from texsynth.train.corpus import Corpus
from texsynth.train.loop import Batch, Loss, Schedule, Stateful

SCHEDULES = {
    "small": Schedule(steps=4000, batch=32, crop=128, cooldown=1.0, averaging=0.995),
    "base": Schedule(steps=20000, batch=96, crop=192, cooldown=1.0),
}
# Errors count at full size and averaged over 4 x 4 and 16 x 16 texels, or wide shapes would be lost among texels.
SCALES = (1, 4, 16)
# Roughness hardly follows from the albedo: with more weight the training materials' are learned by heart, and those of
# others get worse.
ROUGHNESS_WEIGHT = 0.15
# Below this a distance counts by its square: the many nearly flat texels would otherwise drown the few that slope.
SOFT = 0.1
NORMAL, ROUGHNESS = KINDS.index(MapKind.NORMAL), KINDS.index(MapKind.ROUGHNESS)


def with_something_to_learn(corpus: Corpus) -> Corpus:
    """Those materials that have a normal or a roughness."""
    return corpus.with_maps([MapKind.NORMAL, MapKind.ROUGHNESS])


def prepare(
    corpus: Corpus, schedule: Schedule, seed: int, device: torch.device
) -> tuple[nn.Module, Loss, dict[str, Stateful]]:
    """A fresh model and its loss."""
    del corpus, schedule, seed, device
    return MapEstimator(MapEstimatorConfig()), estimator_loss, {}


def estimator_loss(model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
    """Mean distance of unit normals and of roughness at SCALES, over those crops that have the map."""
    stacks, masks = batch
    generator = torch.Generator().manual_seed(step)
    normals, roughness = model(photographed(stacks[:, SLICES[MapKind.ALBEDO]], generator))
    true_normals, true_roughness = unit_vectors(stacks[:, SLICES[MapKind.NORMAL]]), stacks[:, SLICES[MapKind.ROUGHNESS]]
    parts = {
        "normal": _distance(normals - true_normals, masks[:, NORMAL]),
        "roughness": ROUGHNESS_WEIGHT * _distance(roughness - true_roughness, masks[:, ROUGHNESS]),
    }
    return parts


def _distance(difference: Tensor, present: Tensor) -> Tensor:
    weight = present.float()
    total = difference.new_zeros(())
    for scale in SCALES:
        pooled = F.avg_pool2d(difference, scale)
        length = ((pooled.square().sum(dim=1) + SOFT**2).sqrt() - SOFT).mean(dim=(1, 2))
        total = total + (length * weight).sum() / weight.sum().clamp_min(1)
    return total / len(SCALES)


def photographed(albedo: Tensor, generator: torch.Generator) -> Tensor:
    """sRGB-encoded albedo (N, 3, H, W) in other colours and other light.

    Some hundred materials are soon known by their colours, and then by heart; so channels change places, saturation
    falls to grey, and exposure, contrast, tint, uneven light and noise vary.
    """
    count = len(albedo)

    def drawn(spread: float, *shape: int) -> Tensor:
        return (torch.rand((count, *shape), generator=generator) * 2 - 1).mul_(spread).to(albedo.device)

    order = torch.rand(count, 3, generator=generator).argsort(dim=1).to(albedo.device)
    image = albedo.gather(1, order[:, :, None, None].expand_as(albedo))
    grey = image.mean(dim=1, keepdim=True)
    image = grey + (image - grey) * (0.7 + drawn(0.7, 1, 1, 1))
    image = image.clamp(1e-3, 1) ** torch.exp(drawn(0.5, 1, 1, 1))
    light = F.interpolate(drawn(0.15, 1, 3, 3), albedo.shape[2:], mode="bilinear", align_corners=True)
    image = image * torch.exp(drawn(0.35, 1, 1, 1) + drawn(0.2, 3, 1, 1) + light)
    noise = torch.randn(albedo.shape, generator=generator).to(albedo.device)
    return (image + noise * drawn(0.015, 1, 1, 1).abs()).clamp(0, 1)


@torch.no_grad()
def validate_estimator(model: nn.Module, corpus: Corpus, size: int = 512) -> dict[str, float]:
    """Errors over those of constant maps, medians over the materials of `corpus`, on a crop from each one's corner.

    normal_ratio: mean angle to the true normals, over that of the flat map. roughness_ratio: mean absolute error over
    that of the best constant for all materials. *_oracle: over that of the best constant for this very material.
    """
    ratios: dict[str, list[float]] = {}
    device = next(model.parameters()).device
    for material in corpus.materials:
        side = min(size, min(material.texels.shape[:2]) // 32 * 32)
        if side == 0:
            continue
        stack = torch.from_numpy(np.ascontiguousarray(material.texels[:side, :side])).movedim(2, 0)[None].float() / 255
        normals, roughness = model(stack[:, SLICES[MapKind.ALBEDO]].to(device))
        if material.present[NORMAL]:
            true = unit_vectors(stack[:, SLICES[MapKind.NORMAL]])
            flat = torch.zeros_like(true)
            flat[:, 2] = 1
            mean = F.normalize(true.mean(dim=(2, 3), keepdim=True), dim=1).expand_as(true)
            error = angle(normals.cpu(), true)
            ratios.setdefault("normal_ratio", []).append(error / max(angle(flat, true), 1e-3))
            ratios.setdefault("normal_oracle", []).append(error / max(angle(mean, true), 1e-3))
        if material.present[ROUGHNESS]:
            true = stack[:, SLICES[MapKind.ROUGHNESS]]
            error = float((roughness.cpu() - true).abs().mean())
            ratios.setdefault("roughness_error", []).append(error)
            ratios.setdefault("roughness_constant", []).append(float((true - 0.56).abs().mean()))
            ratios.setdefault("roughness_oracle", []).append(
                error / max(float((true - true.median()).abs().mean()), 1e-3)
            )
    return {name: float(np.median(values)) for name, values in ratios.items()}


def angle(a: Tensor, b: Tensor) -> float:
    """Mean angle between unit vectors (N, 3, H, W), in degrees."""
    cosine = (a * b).sum(dim=1).clamp(-1, 1)
    return float(torch.rad2deg(torch.acos(cosine)).mean())
