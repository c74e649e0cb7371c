"""Training data: materials from a folder and from the procedural generator, and random crops of them.

A crop is a stack of 8 channels in the order of `texsynth.model.stack`, with a mask of the maps that its material has.
Sources (the part of a folder's name before the first `_`, and the procedural generator) are drawn by the square root of
how many materials they have, so that a large source of one look does not fill a third of every batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from texsynth.errors import bad_input
from texsynth.estimate import integrated, log_luminance, slopes_of
from texsynth.material import Float32, MapKind, Material, TextureMap, directx_likelihood, load_material
from texsynth.model.stack import CHANNELS, KINDS, SLICES
from texsynth.train import procedural

PROCEDURAL = "procedural"
# Share of procedural crops: they alone have exact normals, heights and metalness, but not the variety of photographs.
PROCEDURAL_SHARE = 0.45
# A crop is taken at the material's own scale or shrunk by up to this factor.
LARGEST_SHRINK = 3.0
SURELY_DIRECTX = 0.3  # see `texsynth.material.directx_likelihood`
# Correlation of luminance with the height that a normal belongs to, between wavelengths of some 10 and 60 texels, below
# which the normal is not learned from: of 212 published ones 20 lie there, 13 of which were made from the photo upside
# down. The others are right (bricks with light joints, which the generator has too).
UPSIDE_DOWN = -0.45


@dataclass(frozen=True)
class TrainingMaterial:
    """`texels`: uint8 (H, W, 8), encoded as in `texsynth.model.stack`; channels of maps that lack are 0.
    `present`: which of its KINDS the material has."""

    name: str
    source: str
    texels: NDArray[np.uint8]
    present: tuple[bool, ...]


def load_corpus(folder: Path, seeds: int, procedural_size: int = 512, *, procedural_seed: int = 1000) -> Corpus:
    """All materials of `folder` (one folder each) and `seeds` variants of every procedural kind.

    Raises TexsynthError if `folder` holds no material; one that cannot be read is an error too.
    """
    folders = material_folders(folder)
    jobs = [(kind, procedural_size, procedural_seed + seed) for seed in range(seeds) for kind in procedural.KINDS]
    # threads: processes that are forked from one with threads of OpenCV's or OpenMP's may never start
    with ThreadPoolExecutor() as pool:
        materials = [*pool.map(_published_material, folders), *pool.map(_procedural_material, jobs)]
    return Corpus(materials)


def material_folders(folder: Path) -> list[Path]:
    """The folders in `folder`, by name. Raises TexsynthError if there are none."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not folders:
        raise bad_input(folder, "holds no folders of materials", "name a folder with one folder of maps a material")
    return folders


def _published_material(folder: Path) -> TrainingMaterial:
    return to_training(trustworthy(upright(load_material(folder))), folder.name.split("_")[0])


def _procedural_material(job: tuple[str, int, int]) -> TrainingMaterial:
    return to_training(procedural.generate(*job), PROCEDURAL)


def upright(material: Material) -> Material:
    """With an OpenGL normal, where the curl of the given one says that it is DirectX after all.

    Of 212 published maps that should be OpenGL six lie above SURELY_DIRECTX; on five of them what a network learned
    from the others agrees in X and is opposite in Y.
    """
    normal = material.maps.get(MapKind.NORMAL)
    if normal is None or directx_likelihood(normal) < SURELY_DIRECTX:
        return material
    turned_over = TextureMap.from_linear(MapKind.NORMAL, normal.linear() * np.array([1, -1, 1], np.float32))
    return replace(material, maps=material.maps | {MapKind.NORMAL: turned_over})


def trustworthy(material: Material) -> Material:
    """Without a normal whose relief is luminance upside down (UPSIDE_DOWN)."""
    if not {MapKind.ALBEDO, MapKind.NORMAL} <= set(material.maps):
        return material
    normal, albedo = material.maps[MapKind.NORMAL], material.maps[MapKind.ALBEDO]
    relief, light = _middle_band(integrated(slopes_of(normal), (True, True))), _middle_band(log_luminance(albedo))
    scale = float(relief.std() * light.std())
    if scale == 0 or float((relief * light).mean()) / scale >= UPSIDE_DOWN:
        return material
    return replace(material, maps={kind: given for kind, given in material.maps.items() if kind is not MapKind.NORMAL})


def _middle_band(image: Float32) -> Float32:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2) - cv2.GaussianBlur(image, (0, 0), 12), np.float32)


def to_training(material: Material, source: str) -> TrainingMaterial:
    """The maps of `material` as one 8-bit stack."""
    texels = np.zeros((*material.size, CHANNELS), np.uint8)
    for kind in KINDS:
        if kind in material.maps:
            encoded = material.maps[kind].encoded()[..., : texels[..., SLICES[kind]].shape[2]]
            texels[..., SLICES[kind]] = np.round(np.clip(encoded, 0, 1) * 255)
    return TrainingMaterial(material.name, source, texels, tuple(kind in material.maps for kind in KINDS))


class Corpus:
    """Materials and the chance of each to be drawn."""

    def __init__(self, materials: Iterable[TrainingMaterial]) -> None:
        self.materials = list(materials)
        sources = [material.source for material in self.materials]
        counts = {source: sources.count(source) for source in sources}
        weights = np.array([counts[source] ** -0.5 for source in sources])
        made = np.array([source == PROCEDURAL for source in sources])
        if made.any() and not made.all():
            weights[made] *= PROCEDURAL_SHARE / weights[made].sum()
            weights[~made] *= (1 - PROCEDURAL_SHARE) / weights[~made].sum()
        self.chances = weights / weights.sum()

    def with_maps(self, kinds: Iterable[MapKind]) -> Corpus:
        """Those materials that have at least one of `kinds`."""
        wanted = [KINDS.index(kind) for kind in kinds]
        return Corpus(material for material in self.materials if any(material.present[index] for index in wanted))

    def split(self, every: int) -> tuple[Corpus, Corpus]:
        """Without and with every `every`-th material of the folder, counted through the sorted names; the latter is
        never trained on. Procedural materials stay in the former."""
        given = [material for material in self.materials if material.source != PROCEDURAL]
        held = given[every // 2 :: every]
        names = {material.name for material in held}
        return Corpus(m for m in self.materials if m.name not in names or m.source == PROCEDURAL), Corpus(held)

    def batches(self, size: int, count: int, generator: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless (stacks (count, 8, size, size) float32 0..1, masks (count, 5) bool)."""
        while True:
            drawn = generator.choice(len(self.materials), count, p=self.chances)
            crops = [random_crop(self.materials[index].texels, size, generator) for index in drawn]
            masks = torch.tensor([self.materials[index].present for index in drawn])
            yield torch.from_numpy(np.stack(crops)).movedim(3, 1).float().div_(255), masks


def random_crop(texels: NDArray[np.uint8], size: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(size, size, 8): a random place and scale, turned and mirrored; normals turn with their surface.

    A material smaller than the crop repeats, as textures do.
    """
    shrink = float(np.exp(generator.uniform(0, np.log(max(1.0, min(LARGEST_SHRINK, min(texels.shape[:2]) / size))))))
    if generator.random() < 0.5:
        shrink = 1.0  # half of the crops are not resampled, or nothing would be as sharp as a real texture
    extent = round(size * shrink)
    rows, columns = (
        (generator.integers(length) + np.arange(extent)) % length
        if length < extent
        else generator.integers(length - extent + 1) + np.arange(extent)
        for length in texels.shape[:2]
    )
    crop = texels[np.ix_(rows, columns)]
    if extent != size:
        crop = np.concatenate(
            [cv2.resize(crop[..., k : k + 4], (size, size), interpolation=cv2.INTER_AREA) for k in (0, 4)], axis=2
        )
    return turned(crop, int(generator.integers(4)), bool(generator.integers(2)))


def turned(crop: NDArray[np.uint8], quarters: int, mirrored: bool) -> NDArray[np.uint8]:
    """(S, S, 8) mirrored left to right if wished, then turned counterclockwise by quarters; so are its normals."""
    x, y = SLICES[MapKind.NORMAL].start, SLICES[MapKind.NORMAL].start + 1
    if mirrored:
        crop = crop[:, ::-1].copy()
        crop[..., x] = 255 - crop[..., x]
    crop = np.rot90(crop, quarters).copy()
    for _ in range(quarters):
        crop[..., x], crop[..., y] = 255 - crop[..., y], crop[..., x].copy()
    return crop
