"""Guided regeneration: a known texture made again from its eighth, with a part of it that is not judged as exemplar.

style: the first half of the texture along its longer side (the upper half of a square one). asset: the largest square
at the other end. judged: what of the asset lies outside the style. Content: the asset's albedo reduced 8x in linear
light. Whatever comes out is compared with the truth texel by texel, where no method has seen it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mipmap.metrics import TILE, Texture, adf, mip_consistency, sharpness_ratio, ssim, texture_distance
from texsynth.image_io import save_image
from texsynth.material import MapKind, load_material

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

REDUCED = 8  # the content's factor


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
            raise SystemExit(f"{folder.name}: {width} x {height}; a texture is square, or twice as long as wide or more")
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


@contextmanager
def as_folders(case: Case) -> Iterator[tuple[Path, Path, Path]]:
    """Folders of the content, of the style, and an empty one for the result."""
    root = Path(tempfile.mkdtemp(prefix="texsynth-guided-"))
    try:
        for name, image in (("content", case.content), ("style", case.style)):
            (root / name).mkdir()
            save_image(root / name / "albedo.png", image)
        yield root / "content", root / "style", root / "result"
    finally:
        shutil.rmtree(root, ignore_errors=True)


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
