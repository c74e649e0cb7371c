"""One protocol for every variant of attention distillation: a known texture made again from its eighth, in a latent.

A texture reduced to 256 texels is split as in `guided.py`; 16 x 16 tokens (128 x 128 texels) of what is judged are made
from noise, in 40 steps at noise levels from 1 to 0.15, with the part not judged as style and the truth reduced 8x as
content. Layers: the closed-form score with patches of 1, 3 and 5 tokens. The rate is the one of RATES with the lowest
loss over the tuning exemplars, for each rule with and without projection and curriculum (`tuned_as`).
"""

from __future__ import annotations

import math
import operator
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
import numpy.typing as npt
import torch
from guided import enlarged, reduced, split
from optimiser import JUDGED_AT, PATCHES, Falling, sampled
from torch import Tensor

from mipmap.metrics import distance_unit, ssim, texture_distance
from texsynth.curriculum import Curriculum, Phase
from texsynth.distill import ExemplarLayer, distil, losses
from texsynth.exemplar import halved
from texsynth.layout import CELL, FLOOR, KEY_DIMENSIONS
from texsynth.model.exemplar_score import ExemplarScore, noise_levels
from texsynth.model.latent import BLOCK, to_tensor
from texsynth.optimise.gradients import CONFLICT
from texsynth.optimise.rules import RULES

Floats = npt.NDArray[np.float32]

SIDE, TOKENS, CHANNELS, STRIDE = 256, 16, 16, 4
STEPS, FIRST_NOISE, LAST_NOISE = 40, 1.0, 0.15
RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
SETTLING_SEED = 1000
BALANCED = 0.5  # the style's weight where no phases change it


@dataclass(frozen=True)
class Variant:
    """What is switched on. layers: those that are there at all, by number; None: all."""

    rule: str = "muon-channels"
    mask: bool = False
    curriculum: bool = False
    project: bool = False
    conflict: float | None = None
    layers: tuple[int, ...] | None = None


FULL = Variant(mask=True, curriculum=True, project=True, conflict=CONFLICT)
VARIANTS = {
    "AD with Adam": Variant("adam"),
    "AD with Muon, channels": Variant("muon-channels"),
    "AD with Muon, planes": Variant("muon-planes"),
    "AD with Muon, patches": Variant("muon-patches"),
    "+ mask": Variant(mask=True),
    "+ curriculum": Variant(mask=True, curriculum=True),
    "+ projection and conflict: Muon-AD": FULL,
    "Muon-AD without projection": replace(FULL, project=False),
    "Muon-AD without curriculum": replace(FULL, curriculum=False),
    "Muon-AD without mask": replace(FULL, mask=False),
    "Muon-AD without conflict removal": replace(FULL, conflict=None),
    "Muon-AD with PCGrad (no threshold)": replace(FULL, conflict=0.0),
    "static pruning: patches 1 and 3": replace(FULL, mask=False, layers=(0, 1)),
    "static pruning: patch 3": replace(FULL, mask=False, layers=(1,)),
}
# No gradient: latent diffusion from noise (the SD-3D row), from the content under noise, and the content itself.
CONTENT_NOISE = 0.5
PLAIN = ("unguided sampling", "sampling from the content", "enlarged content")


def tuned_as(name: str) -> str:
    """The variant whose rate `name` takes: the first of its rule, projection and curriculum."""
    parts = operator.attrgetter("rule", "project", "curriculum")
    return next(other for other, variant in VARIANTS.items() if parts(variant) == parts(VARIANTS[name]))


@dataclass(frozen=True)
class Schedule:
    """The curriculum, or the parts of it that are wanted."""

    inner: Curriculum
    mask: bool
    curriculum: bool

    def at(self, step: int) -> Phase:
        phase = self.inner.at(step)
        if not self.curriculum:
            plain = Falling(self.inner.rate, self.inner.steps, BALANCED).at(step)
            phase = replace(plain, mask=phase.mask)
        return phase if self.mask else replace(phase, mask=-math.inf)

    def observe(self, step: int, style_loss: float) -> None:
        self.inner.observe(step, style_loss)


def score_of(texture: npt.NDArray[np.float32], patch: int) -> ExemplarScore:
    """The closed form of a texture, (H, W, C) with deviation 1, which does not wrap; patch: tokens."""
    return ExemplarScore(
        to_tensor(texture), (False, False), patch=patch, stride=STRIDE, channels=CHANNELS, floor=FLOOR,
        dimensions=KEY_DIMENSIONS, cell=CELL,
    )  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Layers of the style, the content's latent, and what is to come out. Images float32 (H, W, 3), encoded."""

    layers: list[ExemplarLayer]
    content: Tensor
    truth: Floats
    style: Floats
    scale: float
    unit: float

    @classmethod
    def of(cls, folder: Path) -> Problem:
        case = split(folder)
        times = int(math.log2(case.side // SIDE))
        style, asset = (halved(np.asarray(part, np.float32) / 255, times) for part in (case.style, case.asset))
        first = (case.judged.start or 0) >> times
        truth = np.ascontiguousarray(asset[first : first + TOKENS * BLOCK, : TOKENS * BLOCK])
        low = reduced(np.round(255 * truth).astype(np.uint8))
        known = np.asarray(enlarged(low, TOKENS * BLOCK), np.float32) / 255
        scale = float(1 / style.std())
        layers = []
        for patch in PATCHES:
            score = score_of(style * np.float32(scale), patch)
            sampled(score, SETTLING_SEED, shape=(TOKENS, TOKENS))
            layers.append(ExemplarLayer(score, (False, False)))
        content = layers[0].score.latent.encode(to_tensor(known * np.float32(scale)))[None]
        return cls(layers, content, truth, style, scale, distance_unit(style))

    def judged(self, z: Tensor) -> dict[str, float]:
        """loss: style and content alike, mean over noise levels. ssim: to the truth. d: to the style."""
        decoded = self.layers[0].score.latent.decode(z[0]).movedim(0, 2).numpy() / np.float32(self.scale)
        made = np.ascontiguousarray(np.clip(np.nan_to_num(decoded), 0, 1), np.float32)
        with torch.no_grad():
            both = [losses(self.layers, z, self.content, sigma) for sigma in JUDGED_AT]
        style, content = (mean(float(pair[i]) for pair in both) for i in range(2))
        return {
            "loss": BALANCED * (style + content),
            "style": style,
            "content": content,
            "ssim": ssim(made, self.truth),
            "d": float(texture_distance(made, self.style, unit=self.unit)),
        }


def noise(seed: int) -> Tensor:
    return torch.randn(1, CHANNELS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(seed))


def run_variant(problem: Problem, variant: Variant, rate: float, seed: int) -> dict[str, float]:
    """seconds: of the processor. computed: share of the layers that were. conflicts: share of the steps with one."""
    layers = [problem.layers[i] for i in variant.layers or range(len(problem.layers))]
    sigmas = noise_levels(FIRST_NOISE, LAST_NOISE, STEPS)[:-1]
    schedule = Schedule(Curriculum(STEPS, rate), variant.mask, variant.curriculum)
    began = time.process_time()
    z, history = distil(
        noise(seed), layers, problem.content, sigmas, RULES[variant.rule](), schedule,
        project=variant.project, conflict=variant.conflict,
    )  # fmt: skip
    seconds = time.process_time() - began
    computed = sum(history.layers) / (STEPS * len(problem.layers))
    return problem.judged(z) | {"seconds": seconds, "computed": computed, "conflicts": history.conflicts / STEPS}


def run_plain(problem: Problem, name: str, seed: int) -> dict[str, float]:
    """One of PLAIN."""
    score, shape = problem.layers[1].score, (TOKENS, TOKENS)
    began = time.process_time()
    if name == "unguided sampling":
        z = sampled(score, seed, shape=shape)
    elif name == "sampling from the content":
        z = sampled(score, seed, shape=shape, content=problem.content, first=CONTENT_NOISE)
    else:
        z = problem.content
    return problem.judged(z) | {"seconds": time.process_time() - began}
