"""The map estimator over a whole photo: tiles that agree, and large photos seen at several sizes.

The network knows relief of up to about 100 texels, so a large photo is seen at several sizes: wide shapes come from
where it is about 1024 texels a side, finer ones from each doubling of that. All of it is periodic along an axis where
the photo is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from texsynth.material import BAND, Float32, unit_normals
from texsynth.model.map_estimator import MapEstimator
from texsynth.model.windows import folded
from texsynth.pyramid import enlarged, halved

# A photo with a longer side than this is seen at half its size too.
SEEN_AT_ONCE = 1448
# Texels a side that a tile decides, and how many more it sees beyond each edge.
TILE, MARGIN = 1024, 128


def estimated_planes(albedo: Float32, wrap: tuple[bool, bool], model: MapEstimator) -> Float32:
    """(H, W, 3) float32 of sRGB-encoded `albedo` (H, W, 3): slopes n_x / n_z and n_y / n_z of the normal, roughness."""
    fine = _network(albedo, wrap, model)
    if max(albedo.shape[:2]) <= SEEN_AT_ONCE or min(albedo.shape[:2]) < 2:
        return fine
    coarse = estimated_planes(halved(albedo, wrap), wrap, model)
    # what the halved photo shows replaces what the whole one says at that width
    coarse -= halved(fine, wrap)
    fine += enlarged(coarse, fine.shape[:2], wrap)
    return fine


def _network(albedo: Float32, wrap: tuple[bool, bool], model: MapEstimator) -> Float32:
    out = np.empty((*albedo.shape[:2], 3), np.float32)
    columns = list(_tiles(albedo.shape[1], wrap[1], model.multiple))
    with torch.inference_mode():
        for down, rows in _tiles(albedo.shape[0], wrap[0], model.multiple):
            for across, inside in columns:
                tile = torch.from_numpy(albedo[np.ix_(down, across)]).movedim(2, 0)[None]
                made = torch.cat(model(tile), dim=1)[0].movedim(0, 2).numpy()[MARGIN:, MARGIN:]
                part = made[: rows.stop - rows.start, : inside.stop - inside.start]
                out[rows, inside, :2] = part[..., :2] / part[..., 2:3]
                out[rows, inside, 2] = part[..., 3]
    return out


def _tiles(size: int, wraps: bool, multiple: int) -> Iterator[tuple[NDArray[np.intp], slice]]:
    """Texels that a tile sees along an axis, with MARGIN more before and behind, and those that it decides.

    Beyond an edge the axis goes on, or is mirrored.
    """
    for start in range(0, size, TILE):
        stop = min(start + TILE, size)
        count = stop - start + 2 * MARGIN
        at = np.arange(start - MARGIN, start - MARGIN + count + -count % multiple)
        yield folded(at, size, wraps), slice(start, stop)


def normals_of_slopes(slopes: Float32) -> Float32:
    """Unit normals (H, W, 3) of slopes (H, W, 2)."""
    out = np.empty((*slopes.shape[:2], 3), np.float32)
    for start in range(0, len(out), BAND):
        rows = slice(start, start + BAND)
        out[rows, :, :2] = slopes[rows]
        out[rows, :, 2] = 1
        out[rows] = unit_normals(out[rows])
    return out
