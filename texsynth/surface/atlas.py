"""The tiles of a UDIM set side by side in one texture, so that patterns go on from tile to tile as from chart to chart.

The cells of the atlas are a square whose side is a power of two, as many as the tiles need; each tile fills one cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from texsynth.material import CHANNELS, DEFAULT_TEXEL, MapKind, Material, TextureMap, encode_linear, resample
from texsynth.surface.mesh import Mesh, MeshAsset


@dataclass(frozen=True)
class Atlas:
    """asset: the mesh with the set for one material, number `material` of its materials. side: cells along a side.
    tiles: the numbers of the tiles' own materials; tile k lies in the cell of row k // side and column k % side."""

    asset: MeshAsset
    material: int
    side: int
    tiles: tuple[int, ...]

    def corner(self, place: int, size: int) -> tuple[int, int]:
        """Row and column of the first texel of the tile at `place` in `tiles`, of `size` texels a side."""
        return place // self.side * size, place % self.side * size


def atlas_side(tiles: int) -> int:
    """Cells along a side of the atlas of so many tiles."""
    side = 1
    while side**2 < tiles:
        side *= 2
    return side


def udim_atlas(asset: MeshAsset, tiles: tuple[int, ...]) -> Atlas:
    """The atlas of the tiles, which are numbers of materials of `asset`. Triangles keep their numbers; their vertices
    do not."""
    atlas = Atlas(asset, tiles[0], atlas_side(len(tiles)), tiles)
    materials = list(asset.materials)
    materials[tiles[0]] = _side_by_side([asset.materials[tile] for tile in tiles], atlas)
    return replace(atlas, asset=replace(asset, mesh=_moved(asset.mesh, atlas), materials=tuple(materials)))


def _moved(mesh: Mesh, atlas: Atlas) -> Mesh:
    """The mesh with its tiles' UVs in the cells."""
    positions, normals, uvs = [mesh.positions], [mesh.normals], [mesh.uvs]
    triangles, index, count = mesh.triangles.copy(), mesh.material_index.copy(), len(mesh.positions)
    for place, tile in enumerate(atlas.tiles):
        mine = mesh.material_index == tile
        used, of = np.unique(mesh.triangles[mine], return_inverse=True)
        triangles[mine] = of.reshape(-1, 3) + count
        index[mine] = atlas.material
        count += len(used)
        positions.append(mesh.positions[used])
        normals.append(mesh.normals[used])
        own = mesh.uvs[used].astype(np.float64)
        whole = np.floor(own[of.reshape(-1, 3)].mean(axis=(0, 1))) if len(used) else 0.0  # all keep to one tile
        row, column = atlas.corner(place, 1)
        uvs.append(((own - whole + (column, row)) / atlas.side).astype(np.float32))
    return Mesh(np.concatenate(positions), np.concatenate(normals), np.concatenate(uvs), triangles, index)


def _side_by_side(materials: list[Material], atlas: Atlas) -> Material:
    """One material of all: maps that some have, those of others in their default value, at the largest tile's size."""
    size = max(max(material.size) for material in materials)
    kinds = [kind for kind in MapKind if any(kind in material.maps for material in materials)]
    maps = {kind: _one_map(kind, materials, size, atlas) for kind in kinds}
    return replace(materials[0], name=materials[0].name.rpartition(".")[0], maps=maps)


def _one_map(kind: MapKind, materials: list[Material], size: int, atlas: Atlas) -> TextureMap:
    given = {place: material.maps[kind] for place, material in enumerate(materials) if kind in material.maps}
    bytes_only = all(texture.texels.dtype == np.uint8 for texture in given.values())
    dtype: np.dtype[Any] = np.dtype(np.uint8 if bytes_only else np.uint16)
    whole = np.empty((size * atlas.side, size * atlas.side, CHANNELS[kind]), dtype)
    whole[:] = (np.array(DEFAULT_TEXEL[kind]) * np.iinfo(dtype).max + 0.5).astype(dtype)
    for place, texture in given.items():
        row, column = atlas.corner(place, size)
        sized = texture if texture.size == (size, size) else resample(texture, size, size)
        texels = sized.texels if sized.texels.dtype == dtype else encode_linear(kind, sized.linear(), dtype)
        whole[row : row + size, column : column + size] = texels
    return TextureMap(kind, whole)
