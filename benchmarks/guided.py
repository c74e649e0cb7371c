"""Guided regeneration: a known texture made again from its eighth, with a part of it that is not judged as exemplar.

style: the first half of the texture along its longer side (the upper half of a square one). asset: the largest square
at the other end. judged: what of the asset lies outside the style. Content: the asset's albedo reduced 8x in linear
light. Whatever comes out is compared with the truth texel by texel, where no method has seen it.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from optimiser import Falling

from mipmap.metrics import TILE, Texture, adf, mip_consistency, sharpness_ratio, ssim, texture_distance
from texsynth.distill import ExemplarLayer, distil
from texsynth.image_io import save_image
from texsynth.layout import CELL, FLOOR, KEY_DIMENSIONS
from texsynth.material import MapKind, load_material
from texsynth.model.exemplar_score import ExemplarScore, noise_levels
from texsynth.model.latent import BLOCK, to_tensor
from texsynth.optimise.rules import RULES
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

REDUCED = 8  # the content's factor
BACK_PROJECTIONS = 3
# Of `distilled`: texels a side of a window, patches of the layers, steps, and the noise it begins with: what 2K allow
# on a CPU.
WINDOW, WINDOW_PATCHES, WINDOW_STEPS, NOISE = 256, (3,), 12, 0.5


@dataclass(frozen=True)
class Case:
    """One texture, split. Albedo as uint8 sRGB codes (H, W, 3).

    judged: rows of `asset` that are compared. content: `asset` reduced 8x.
    """

    name: str
    style: Codes
    asset: Codes
    content: Codes
    judged: slice

    @property
    def side(self) -> int:
        """Of the asset, texels."""
        return self.asset.shape[0]


def split(folder: Path) -> Case:
    """The case of a material. Raises SystemExit if no square of a power of two lies beyond the style."""
    albedo = codes(load_material(folder).maps[MapKind.ALBEDO].encoded())
    height, width = albedo.shape[:2]
    if height == width:
        style, asset, judged = albedo[: height // 2], albedo, slice(height // 2, None)
    else:
        turned = height > width
        along = albedo.swapaxes(0, 1) if turned else albedo
        half, side = along.shape[1] // 2, along.shape[0]
        if side > along.shape[1] - half:
            raise SystemExit(
                f"{folder.name}: {width} x {height}; a texture is square, or twice as long as wide or more"
            )
        style, asset, judged = along[:, :half], along[:, -side:], slice(None)
        style, asset = (part.swapaxes(0, 1) if turned else part for part in (style, asset))
    style, asset = np.ascontiguousarray(style), np.ascontiguousarray(asset)
    return Case(folder.name, style, asset, reduced(asset), judged)


def codes(encoded: Floats) -> Codes:
    return np.round(255 * np.clip(encoded, 0, 1)).astype(np.uint8)


def reduced(image: Codes) -> Codes:
    """An eighth of the size, by area, in linear light."""
    linear = Texture(image).linear()
    size = image.shape[1] // REDUCED, image.shape[0] // REDUCED
    return codes(Texture(image).display(np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA))))


def enlarged(image: Codes, side: int) -> Codes:
    """`side` x `side` by Lanczos (4 lobes), on encoded values, as image editors do it."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_LANCZOS4), np.uint8)


def with_tone(made: Codes, case: Case) -> Codes:
    """`made` with the content's own tone: its eighth, in linear light, becomes the content (back-projection)."""
    linear, wanted = Texture(made).linear(), Texture(case.content).linear()
    size = wanted.shape[1], wanted.shape[0]
    for _ in range(BACK_PROJECTIONS):
        missing = wanted - cv2.resize(linear, size, interpolation=cv2.INTER_AREA)
        linear = np.clip(linear + cv2.resize(missing, (case.side, case.side), interpolation=cv2.INTER_CUBIC), 0, 1)
    return codes(Texture(made).display(linear))


def regenerated(
    case: Case, seed: int, *, content: float, tone: float = 0.0, faithful: float = 0.0, smaller: int = 1
) -> Codes:
    """By `texsynth restyle` with these options; smaller: made at this part of the size and enlarged by Lanczos."""
    root = Path(tempfile.mkdtemp(prefix="texsynth-guided-"))
    try:
        for name, image in (("content", case.content), ("style", case.style)):
            (root / name).mkdir()
            save_image(root / name / "albedo.png", image)
        options = Options(
            size=case.side // smaller,
            content=content,
            tone=tone,
            faithful=faithful,
            density=float(smaller),
            maps=(MapKind.ALBEDO,),
            seed=seed,
        )
        restyle(root / "content", root / "style", root / "result", options, Run())
        made = codes(load_material(root / "result").maps[MapKind.ALBEDO].encoded())
        return made if smaller == 1 else enlarged(made, case.side)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def distilled(case: Case, rule: str, rate: float, seed: int) -> Codes:
    """Attention distillation at full size, from the content under noise, in windows as AD has it (its section on size).

    Only windows that are judged are made; the others stay interpolated.
    """
    style = np.asarray(case.style, np.float32) / 255
    part = np.ascontiguousarray(style[: 2 * WINDOW, : 2 * WINDOW])
    unit = np.float32(1 / part.std())
    layers = []
    for patch in WINDOW_PATCHES:
        score = ExemplarScore(
            to_tensor(part * unit), (False, False), patch=patch, stride=BLOCK, channels=16, floor=FLOOR,
            dimensions=KEY_DIMENSIONS, cell=CELL,
        )  # fmt: skip
        layers.append(ExemplarLayer(score, (False, False)))
    known = np.asarray(enlarged(case.content, case.side), np.float32) / 255
    made = known.copy()
    sigmas = noise_levels(NOISE, 0.15, WINDOW_STEPS)[:-1]
    generator = torch.Generator().manual_seed(seed)
    first = case.judged.start or 0
    for y in range(first, case.side, WINDOW):
        for x in range(0, case.side, WINDOW):
            place = slice(y, y + WINDOW), slice(x, x + WINDOW)
            content = layers[0].score.latent.encode(to_tensor(known[place] * unit))[None]
            start = content + NOISE * torch.randn(content.shape, generator=generator)
            z, _ = distil(start, layers, content, sigmas, RULES[rule](), Falling(rate, WINDOW_STEPS, 0.5),
                          project=False, conflict=None)  # fmt: skip
            decoded = layers[0].score.latent.decode(z[0]).movedim(0, 2).numpy() / unit
            made[place] = decoded[: made[place].shape[0], : made[place].shape[1]]
    return codes(made)


def compared(made: Codes, case: Case) -> dict[str, float]:
    """mcr: per cent, tiles of 256 texels. adf, ssim: 1 best. d: to the style, 0 best. sharpness: 1 best."""
    result, truth = made[case.judged], case.asset[case.judged]
    encoded, known, style = (np.asarray(image, np.float32) / 255 for image in (result, truth, case.style))
    consistency = mip_consistency(Texture(result), Texture(truth), tile=TILE)
    return {
        "mcr": consistency.ratio,
        **{f"mcr{level}": share for level, share in enumerate(consistency.by_level)},
        "adf": adf(Texture(result), Texture(truth)).value,
        "ssim": ssim(encoded, known),
        "d": texture_distance(encoded, style),
        "sharpness": sharpness_ratio(encoded, known),
    }
