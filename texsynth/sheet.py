"""A sheet: albedo of the whole result, as a user's checkpoint makes it by attention distillation.

exemplar, and content where there is any -> the checkpoint's latents -> a latent is changed, noise level by noise level,
until its self-attention gives what attention to the exemplar would (Zhou et al., "Attention Distillation", CVPR 2025;
`texsynth.distill`) -> decoded. The sheet is no part of the result: it leads the layout (`texsynth.lead`).
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from texsynth.content import Content
from texsynth.curriculum import SinglePhase
from texsynth.distill import distil, network_layers
from texsynth.errors import bad_input
from texsynth.fault import fault_point
from texsynth.kept import keep_arrays, kept_arrays
from texsynth.lead import in_colours_of, sized
from texsynth.model.diffusers_model import BLOCK, CHANNELS, DiffusersModel, Identity, load_diffusers
from texsynth.model.windows import folded
from texsynth.optimise.rules import Muon, rms
from texsynth.presets import Preset
from texsynth.run import Run

Floats = NDArray[np.float32]

SMALLEST = 8  # tokens a side: less shows a checkpoint nothing
LEVELS = 20  # of noise
# Length of a step over that of the latent, which falls linearly over the levels; 60 steps go three times its length.
# Chosen without published weights.
RATE = 0.1


@dataclass(frozen=True)
class Brief:
    """What a sheet is made from.

    albedo: the exemplar's, float32 (H, W, 3), encoded; wraps: directions in which it continues. size: texels a side of
    the result, at the exemplar's density; torus: directions in which that tiles. content: None where there is none.
    """

    albedo: Floats
    wraps: tuple[bool, bool]
    size: int
    torus: tuple[bool, bool]
    content: Content | None
    seed: int


def make_sheet(
    folder: Path, identity: Identity, brief: Brief, preset: Preset, device: torch.device, path: Path, run: Run
) -> Floats:
    """The sheet, float32 (h, w, 3), encoded albedo 0..1, by the checkpoint in `folder`, which is freed afterwards.

    path: the file (.npz) of its state; what an interrupted run left there is gone on with, to the same bytes.
    Raises TexsynthError, BAD_INPUT, for a checkpoint that does not load, and where exemplar and result are too
    different in size for it.
    """
    side = identity.kind.side * BLOCK
    reduction = reduction_for(brief.size, (brief.albedo.shape[0], brief.albedo.shape[1]), side, identity.kind.name)
    kept = kept_arrays(path) or {}
    if "albedo" not in kept:
        model = load_diffusers(folder, device)
        albedo = _made(model, brief, reduction, preset, device, path, run)
        del model
        gc.collect()  # its modules know each other in circles
        keep_arrays(path, albedo=albedo)
        return albedo
    return np.asarray(kept["albedo"], np.float32)


def reduction_for(size: int, exemplar: tuple[int, int], side: int, name: str) -> float:
    """By what exemplar and result are reduced, so that the larger of them has the `side` texels that `name` knows best.

    They are never enlarged. Raises TexsynthError, BAD_INPUT, where the smaller one is then less than SMALLEST tokens.
    """
    reduction = max(1.0, size / side, max(exemplar) / side)
    if min(size, *exemplar) / reduction < SMALLEST * BLOCK:
        raise bad_input(
            "model",
            f"a result of {size} texels and an exemplar of {exemplar[1]} x {exemplar[0]} are too different in size "
            f"for {name}, which sees {side} texels at once",
            f"one may be {side // (SMALLEST * BLOCK)} times as large as the other; change --size, or the exemplar",
        )
    return reduction


def _made(
    model: DiffusersModel, brief: Brief, reduction: float, preset: Preset, device: torch.device, path: Path, run: Run
) -> Floats:
    """Distil and decode."""
    style = _style(model, brief, reduction).to(device)
    unit = model.multiple * BLOCK
    side = max(1, round(brief.size / reduction / unit)) * unit
    content = None
    if brief.content is not None:
        content = _content(model, brief, side, rms(style)).to(device)
    z = _distilled(model, style, content, side // BLOCK, brief, preset, path, run)
    albedo = np.empty((side, side, 3), np.float32)
    model.decode(z[0], brief.torus, albedo)
    return albedo


def _style(model: DiffusersModel, brief: Brief, reduction: float) -> Tensor:
    """The exemplar's latent, (1, 4, h, w); it goes on beyond its edges until the U-Net can halve its sides."""
    height, width = (max(BLOCK, round(length / reduction)) for length in brief.albedo.shape[:2])
    reduced = sized(brief.albedo, (height, width))
    unit = model.multiple * BLOCK
    rows, columns = (
        folded(np.arange(length + -length % unit), length, wraps)
        for length, wraps in zip((height, width), brief.wraps, strict=True)
    )
    return model.encode(np.ascontiguousarray(reduced[np.ix_(rows, columns)]), brief.wraps)[None]


def _content(model: DiffusersModel, brief: Brief, side: int, length: Tensor) -> Tensor:
    """The content's latent, (1, 4, side / 8, side / 8): its tone in the exemplar's colours, as long as the style's."""
    assert brief.content is not None
    tone = sized(brief.content.tone[:, :, None].repeat(3, axis=2), (side, side))
    coloured = in_colours_of(tone, brief.albedo).clip(0, 1)
    latent = model.encode(coloured, brief.torus)[None]
    return latent * (length / rms(latent).clamp_min(1e-12))


def _distilled(
    model: DiffusersModel,
    style: Tensor,
    content: Tensor | None,
    tokens: int,
    brief: Brief,
    preset: Preset,
    path: Path,
    run: Run,
) -> Tensor:
    """The latent (1, 4, tokens, tokens), from the content's or from noise; its state is kept after every level."""
    rule, done = Muon("channels"), 0
    if (kept := kept_arrays(path)) is not None:
        done, z = int(kept["level"]), torch.from_numpy(kept["z"]).to(style)
        rule.average = torch.from_numpy(kept["average"]).to(style)
    elif content is None:
        generator = torch.Generator().manual_seed(brief.seed)
        z = torch.randn(1, CHANNELS, tokens, tokens, generator=generator).to(style) * rms(style)
    else:
        z = content
    steps = preset.sheet_steps
    for level, sigma in enumerate(model.noise.ladder(LEVELS)):
        if level < done:
            continue

        def step(number: int, _z: Tensor, level: int = level) -> None:
            run.step((level + number / steps) / LEVELS)

        layers = network_layers(model, style, roll=_roll(brief, tokens, level))
        rate = RATE * (1 - level / LEVELS)
        z, _ = distil(
            z, layers, content, [sigma] * steps, rule, SinglePhase(rate),
            content_weight=0.0 if brief.content is None else brief.content.strength, step=step,
        )  # fmt: skip
        assert rule.average is not None
        keep_arrays(path, level=level + 1, z=z.cpu().numpy(), average=rule.average.cpu().numpy())
        fault_point("sheet_level")
    return z


def _roll(brief: Brief, tokens: int, level: int) -> tuple[int, int]:
    """Where the edges of what tiles lie for the network at this level: convolutions know no torus."""
    y, x = np.random.default_rng([brief.seed, 7, level]).integers(tokens, size=2).tolist()
    return (y if brief.torus[0] else 0), (x if brief.torus[1] else 0)
