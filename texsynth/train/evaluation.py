"""`texsynth model evaluate`: how far our models are off on materials that nobody trained them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from texsynth.checks import require_choice
from texsynth.estimate import wraps
from texsynth.material import (
    Float32,
    MapKind,
    Material,
    TextureMap,
    encode_linear,
    estimate_missing,
    load_material,
    unit_normals,
)
from texsynth.model.map_estimator import MapEstimator
from texsynth.model.material_autoencoder import MaterialAutoencoder
from texsynth.model.photo import estimated_planes, normals_of_slopes
from texsynth.model.reference_unet import load_reference_unet
from texsynth.model.stack import KINDS, SLICES
from texsynth.model.weights import load_model
from texsynth.train.autoencoder import reconstruction
from texsynth.train.corpus import TrainingMaterial, material_folders, to_training
from texsynth.train.reference import denoising_errors

EVALUATED_AT = 1024  # texels a side at most
# The roughness that errs least over the training materials when it is said of every one of them.
COMMON_ROUGHNESS = 0.56


# Encoded albedo (H, W, 3) to unit normals (H, W, 3) and roughness (H, W).
Guess = Callable[[Float32], tuple[Float32, Float32]]


def evaluate_model(name: str, data: Path, folder: Path) -> list[dict[str, Any]]:
    """Figures of every material in `data` (one folder each), the longer side reduced to 1024 texels, then their means.

    folder: of the model. Raises TexsynthError for unknown names, folders without such a model, and data without
    materials.
    """
    require_choice("model", name, ("estimator", "autoencoder", "reference"))
    materials = [reduced(to_training(load_material(path), path.name)) for path in material_folders(data)]
    if name == "estimator":
        guess = by_network(load_model(MapEstimator, folder))
        rows = [{"material": m.name} | estimation(guess, m) for m in materials]
    elif name == "reference":
        errors = denoising_errors(load_reference_unet(folder), materials)
        rows = [{"material": m.name} | found for m, found in zip(materials, errors, strict=True)]
    else:
        autoencoder = load_model(MaterialAutoencoder, folder)
        rows = [{"material": m.name} | reconstruction(autoencoder, _tensor(m.texels), m.present) for m in materials]
    names = list(dict.fromkeys(key for row in rows for key in row if key != "material"))
    means = {key: mean(float(row[key]) for row in rows if key in row) for key in names}
    return [*rows, {"material": "mean", **means}]


def reduced(material: TrainingMaterial) -> TrainingMaterial:
    """With a longer side of EVALUATED_AT at most, area averaged."""
    height, width = material.texels.shape[:2]
    factor = max(height, width) / EVALUATED_AT
    if factor <= 1:
        return material
    size = round(width / factor), round(height / factor)
    parts = [cv2.resize(material.texels[..., k : k + 4], size, interpolation=cv2.INTER_AREA) for k in (0, 4)]
    return TrainingMaterial(material.name, material.source, np.concatenate(parts, axis=2), material.present)


def _tensor(texels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(texels).movedim(2, 0).float() / 255


def by_network(model: MapEstimator) -> Guess:
    """What the map estimator says."""

    def guess(albedo: Float32) -> tuple[Float32, Float32]:
        planes = estimated_planes(albedo, wraps(albedo.mean(axis=2)), model)
        return normals_of_slopes(planes[..., :2]), planes[..., 2]

    return guess


def by_luminance(albedo: Float32) -> tuple[Float32, Float32]:
    """What the main job says: `texsynth.estimate`."""
    photo = TextureMap(MapKind.ALBEDO, encode_linear(MapKind.ROUGHNESS, albedo, np.dtype(np.uint8)))
    maps = estimate_missing(Material("photo", {MapKind.ALBEDO: photo})).maps
    return maps[MapKind.NORMAL].linear(), maps[MapKind.ROUGHNESS].linear()[..., 0]


def estimation(guess: Guess, material: TrainingMaterial) -> dict[str, float]:
    """Mean angle to the true normal (degrees) and mean error of roughness, and those of constants.

    flat: of the flat normal. common: of COMMON_ROUGHNESS. own: of the best constant for this very material, which
    nobody knows who has only its photo.
    """
    stack: Float32 = np.divide(material.texels, 255, dtype=np.float32)
    albedo = np.ascontiguousarray(stack[..., SLICES[MapKind.ALBEDO]])
    normals, roughness = guess(albedo)
    figures = {}
    if material.present[KINDS.index(MapKind.NORMAL)]:
        xy: Float32 = stack[..., SLICES[MapKind.NORMAL]] * np.float32(2) - np.float32(1)
        z = np.sqrt(np.maximum(np.float32(1) - np.square(xy).sum(axis=2, keepdims=True), np.float32(0)))
        true = unit_normals(np.concatenate([xy, z], axis=2))
        constant = unit_normals(true.mean(axis=(0, 1)))
        figures["normal"] = angle(normals, true)
        figures["normal_flat"] = angle(np.array([0, 0, 1], np.float32), true)
        figures["normal_own"] = angle(constant, true)
    if material.present[KINDS.index(MapKind.ROUGHNESS)]:
        rough = stack[..., SLICES[MapKind.ROUGHNESS]][..., 0]
        figures["roughness"] = float(np.abs(roughness - rough).mean())
        figures["roughness_common"] = float(np.abs(rough - COMMON_ROUGHNESS).mean())
        figures["roughness_own"] = float(np.abs(rough - np.median(rough)).mean())
    return figures


def angle(a: Float32, b: Float32) -> float:
    """Mean angle between unit vectors (..., 3), in degrees."""
    return float(np.degrees(np.arccos(np.clip((a * b).sum(axis=-1), -1, 1))).mean())
