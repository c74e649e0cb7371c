"""A material turned by quarters, for a texture that can only be turned as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth.material import MapKind, Material, TextureMap
from texsynth.model.latent import BLOCK

QUARTER = 90  # degrees


def quarter_turned(material: Material, quarters: int) -> Material:
    """The material turned clockwise by so many quarters, its normals with it."""
    return replace(material, maps={kind: _turned(each, quarters % 4) for kind, each in material.maps.items()})


def _turned(texture: TextureMap, quarters: int) -> TextureMap:
    texels = np.rot90(texture.texels, -quarters).copy()
    if texture.kind is MapKind.NORMAL:
        top = np.asarray(1 if texels.dtype == np.float32 else np.iinfo(texels.dtype).max, texels.dtype)
        for _ in range(quarters):  # what points right points down, what points up points right
            texels[..., 0], texels[..., 1] = texels[..., 1].copy(), top - texels[..., 0]
    return TextureMap(texture.kind, texels)


def index_of_unturned(index: NDArray[np.int32], size: tuple[int, int], quarters: int) -> NDArray[np.int32]:
    """An index of blocks, int32 (..., 3) as `index.npy`, into a material that was turned clockwise, as one into the
    material before. size: (height, width) of the turned one."""
    y, x = index[..., 0], index[..., 1]
    height, width = size
    for _ in range(quarters % 4):
        y, x = (width - x - BLOCK) % width, y
        height, width = width, height
    return np.stack([y, x, index[..., 2] + QUARTER * (quarters % 4)], axis=-1).astype(np.int32)


def quarters_to_turn(directions: NDArray[Any]) -> int:
    """By how many quarters, clockwise, a picture is to be turned for its top to be nearest to the directions (N, 2),
    x and y down, each as long as it counts."""
    x, y = directions.sum(axis=0)
    turns = np.array([-y, x, y, -x])  # how far it then goes up, right, down, left
    return int(turns.argmax())
