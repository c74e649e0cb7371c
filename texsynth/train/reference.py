"""Training of `texsynth.model.reference_unet`: one crop of a material is denoised in sight of another one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from texsynth.layout import BALANCE_ITERATIONS, BASE_CHANNELS, CELL, FIRST_NOISE, FLOOR, KEY_DIMENSIONS
from texsynth.model.common_axes import CommonAxes, CommonAxesConfig, weighted_pair
from texsynth.model.exemplar_score import ExemplarScore
from texsynth.model.reference_unet import ReferenceUNet, ReferenceUNetConfig
from texsynth.model.stack import KINDS
from texsynth.train.corpus import Corpus, TrainingMaterial, turned
from texsynth.train.loop import Batch, Schedule, Stateful

SCHEDULES = {
    "small": Schedule(steps=12000, batch=32, crop=128, averaging=0.998),
    "base": Schedule(steps=40000, batch=128, crop=128, averaging=0.999),
}
# Noise levels that are trained on, evenly by their logarithm: those of the layout, where structure is decided.
LEAST_NOISE, MOST_NOISE = 0.3, 1.5 * FIRST_NOISE
# How often a map that is there is hidden, as a photo has albedo alone; and every how manyth step has no exemplar.
HIDDEN, WITHOUT = 0.15, 10
# A crop is shrunk by up to this factor, if another one that does not overlap it still has room beside it.
LARGEST_SHRINK = 8.0
# Chance of a pair that overlaps: what the exemplar shows is then the answer itself, so that looking is soon learned.
# Without such pairs nothing was looked at after 8,000 of them.
NEAR = 0.5
# Places of which the target takes that which overlaps the exemplar least.
TRIES = 8
PATCH = 3  # tokens a side, of the closed form that it is compared with: the layout's for exemplars of this size
# Of the figures on materials kept out.
WATCHED_NOISE, WATCHED_MATERIALS, WATCHED_SIDE = (0.7, 1.4, 2.8), 12, 128


def prepare(
    corpus: Corpus, schedule: Schedule, seed: int, device: torch.device
) -> tuple[nn.Module, ReferenceLoss, dict[str, Stateful]]:
    """A fresh model whose axes are fitted to `corpus`, and its loss."""
    axes = CommonAxes(CommonAxesConfig())
    stacks, present = batch_of_pairs(corpus, 192, schedule.crop, np.random.default_rng((seed, 1)))
    axes.fit(stacks[:, 0], present)
    config = ReferenceUNetConfig()
    return ReferenceUNet.create(config, axes).to(device), ReferenceLoss(config.channels, seed), {}


def batch_of_pairs(corpus: Corpus, count: int, size: int, generator: np.random.Generator) -> Batch:
    """Stacks (count, 2, 8, size, size) in 0..1, exemplar and target, and masks (count, 5) of the maps there."""
    drawn = generator.choice(len(corpus.materials), count, p=corpus.chances)
    pairs = np.stack([random_pair(corpus.materials[index].texels, size, generator, NEAR) for index in drawn])
    present = torch.tensor([corpus.materials[index].present for index in drawn])
    hidden = torch.from_numpy(generator.random(present.shape) < HIDDEN)
    hidden[:, KINDS.index(KINDS[0])] = False  # albedo stays
    return torch.from_numpy(pairs).movedim(4, 2).float().div_(255), present & ~hidden


def random_pair(
    texels: NDArray[np.uint8], size: int, generator: np.random.Generator, near: float = 0.0
) -> NDArray[np.uint8]:
    """(2, size, size, 8): two places of a material at one random scale, turned and mirrored alike.

    They overlap as little as `TRIES` places allow, with chance `near` as much as these allow. A material smaller than
    the crop repeats, as textures do.
    """
    most = min(LARGEST_SHRINK, min(texels.shape[:2]) / (2 * size))
    extent = round(size * math.exp(generator.uniform(0, math.log(max(1.0, most)))))
    rooms = [length if length < extent else length - extent + 1 for length in texels.shape[:2]]
    places = generator.integers(rooms, size=(1 + TRIES, 2))
    shared = np.maximum(0, extent - np.abs(places[1:] - places[0])).prod(axis=1)
    chosen = places[1 + int(shared.argmax() if generator.random() < near else shared.argmin())]
    quarters, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    crops = [_shrunk(texels, place, extent, size) for place in (places[0], chosen)]
    return np.stack([turned(crop, quarters, mirrored) for crop in crops])


def _shrunk(texels: NDArray[np.uint8], place: NDArray[np.int64], extent: int, size: int) -> NDArray[np.uint8]:
    rows, columns = ((start + np.arange(extent)) % length for start, length in zip(place, texels.shape, strict=False))
    crop = texels[np.ix_(rows, columns)]
    if extent == size:
        return crop
    parts = [cv2.resize(crop[..., k : k + 4], (size, size), interpolation=cv2.INTER_AREA) for k in (0, 4)]
    return np.concatenate(parts, axis=2)


@dataclass(frozen=True)
class ReferenceLoss:
    """The loss of a step: the error of the clean tokens in units of what the noise leaves open (EDM's weight)."""

    channels: int
    seed: int = 0

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Of one batch of `batch_of_pairs`."""
        stacks, present = batch
        assert isinstance(model, ReferenceUNet)
        with torch.autocast(stacks.device.type, enabled=False), torch.no_grad():
            exemplar, clean = model.axes.whitened_pair(stacks[:, 0], stacks[:, 1], present, self.channels, FLOOR)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        share = torch.rand(len(clean), generator=generator)
        sigma = (LEAST_NOISE * (MOST_NOISE / LEAST_NOISE) ** share).to(clean.device)
        levels = sigma[:, None, None, None]
        z = clean + levels * torch.randn(clean.shape, generator=generator).to(clean.device)
        reference = None if step % WITHOUT == 0 else model.reference(exemplar)
        error = model(z, sigma, reference) - clean
        weight = 1 + levels.square().reciprocal()
        # a target with what is rare in the exemplar is many of its deviations away, and must not outvote the others
        size = clean.square().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1)
        return {"denoise": (weight * error.square() / size).mean()}


@dataclass(frozen=True)
class Case:
    """A pair of crops in the latent of its exemplar's closed form. tokens, target: (C, h, w) of exemplar and target,
    clean, in the common axes. rotation: turns those of `score` to them."""

    score: ExemplarScore
    tokens: Tensor
    target: Tensor
    rotation: Tensor

    @classmethod
    def of(cls, axes: CommonAxes, stacks: Tensor, present: Tensor) -> Case:
        """For a pair of stacks (2, 8, H, W) with the maps `present` (5,)."""
        exemplar, target = (part[0] for part in weighted_pair(stacks[:1], stacks[1:], present[None]))
        score = ExemplarScore(
            exemplar, (False, False), patch=PATCH, stride=1, channels=BASE_CHANNELS, floor=FLOOR,
            dimensions=KEY_DIMENSIONS, cell=CELL,
        )  # fmt: skip
        rotation = axes.rotation(score.latent, KINDS)
        seen = [torch.einsum("dc,chw->dhw", rotation, score.latent.encode(image)) for image in (exemplar, target)]
        return cls(score, seen[0], seen[1], rotation)

    def closed_form(self, z: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
        """The closed form's mean for `z` in the common axes, balanced as the layout does it."""
        own, torus = torch.einsum("dc,dhw->chw", self.rotation, z), (False, False)
        self.score.balance(own, sigma, torus, None, BALANCE_ITERATIONS, 1.0, generator)
        return torch.einsum("dc,chw->dhw", self.rotation, self.score.denoise(own, sigma, torus))


@torch.no_grad()
def denoising_errors(model: ReferenceUNet, materials: Sequence[TrainingMaterial]) -> list[dict[str, float]]:
    """Mean squared errors of clean tokens, as shares of their square, on one pair of crops of each of `materials`.

    For every noise level S of WATCHED_NOISE: right_S in sight of the exemplar, wrong_S of another one, none_S of none,
    closed_S of the closed form with the exemplar, white_S of the best guess for white data.
    """
    device = next(model.parameters()).device
    drawn, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    axes, cases = CommonAxes(model.axes.config), list[Case]()
    axes.load_state_dict(model.axes.state_dict())  # on the CPU, as the closed form
    for material in materials:
        pair = torch.from_numpy(random_pair(material.texels, WATCHED_SIDE, drawn)).movedim(3, 1).float() / 255
        cases.append(Case.of(axes, pair, torch.tensor(material.present)))
    rows = []
    references = [model.reference(case.tokens[None].to(device)) for case in cases]
    for number, case in enumerate(cases):
        seen, row = {"right": references[number], "wrong": references[number - 1], "none": None}, dict[str, float]()
        for sigma in WATCHED_NOISE:
            z = case.target + sigma * torch.randn(case.target.shape, generator=generator)
            level = torch.tensor([sigma], device=device)
            means = {name: model(z[None].to(device), level, shown)[0].cpu() for name, shown in seen.items()}
            means |= {"closed": case.closed_form(z, sigma, generator), "white": z / (1 + sigma**2)}
            for name, made in means.items():
                row[f"{name}_{sigma:g}"] = float((made - case.target).square().mean() / case.target.square().mean())
        rows.append(row)
    return rows


def validate_reference(model: nn.Module, corpus: Corpus) -> dict[str, float]:
    """Means of `denoising_errors` over some materials of `corpus`."""
    assert isinstance(model, ReferenceUNet)
    rows = denoising_errors(model, corpus.materials[:: max(1, len(corpus.materials) // WATCHED_MATERIALS)])
    return {name: mean(row[name] for row in rows) for name in rows[0]}
