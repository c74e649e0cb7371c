"""Meshes whose texture is a UDIM set: every tile is restyled by the main path, in a folder of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth.errors import bad_input
from texsynth.material import MESH_SUFFIXES, MapKind, load_materials
from texsynth.options import LARGEST_SEED, Options
from texsynth.publish import require_apart
from texsynth.restyle import material_areas, restyle
from texsynth.run import Run
from texsynth.surface.mesh import MeshAsset, load_mesh, write_glb


def restyle_tiles(asset: Path, exemplar: Path, out: Path, options: Options, run: Run) -> dict[str, Any]:
    """`restyle`, of every tile where the chosen material is a UDIM set; then returns {"tiles": manifests by folder}.

    Tiles are published in OUT/1001, OUT/1002 ..., each with a seed of its own, and OUT/asset.glb shows them all.
    `options.material` names the set, or one of its tiles (NAME.1002), which is then the result.
    Raises TexsynthError as `restyle` does, and for a region, which would mean another place in each tile.
    """
    mesh = load_mesh(asset, size=options.size) if asset.suffix.lower() in MESH_SUFFIXES else None
    tiles = () if mesh is None else chosen_tiles(mesh, options.material)
    if mesh is None or not tiles:
        return restyle(asset, exemplar, out, options, run)
    if options.region is not None:
        raise bad_input("region", "the mesh has several UDIM tiles", "name one of them as the material")
    require_apart(out, asset)
    manifests = {}
    for number, tile in enumerate(tiles):
        name = mesh.materials[tile].name
        seed = (options.seed + number) % (LARGEST_SEED + 1)
        part = run.part(number / len(tiles), (number + 1) / len(tiles))
        folder = name.rpartition(".")[2]
        chosen = replace(options, material=name, seed=seed)
        manifests[folder] = restyle(asset, exemplar, out / folder, chosen, part)
    made: dict[int | None, dict[MapKind, Path | NDArray[Any]]] = {}
    for tile, folder in zip(tiles, manifests, strict=True):
        (material,) = load_materials(out / folder / "asset.glb", slots=[mesh.slots[tile]])
        made[tile] = {kind: texture.texels for kind, texture in material.maps.items()}
    write_glb(mesh, out, made)
    return {"tiles": manifests}


def chosen_tiles(asset: MeshAsset, name: str | None) -> tuple[int, ...]:
    """The materials that are the tiles of the UDIM set of this name; without a name, of that which covers the largest
    area of the mesh. Empty where the name is another's, or a single material covers more."""
    if name is not None:
        return next((group for group in asset.tiles if set_name(asset, group) == name), ())
    areas = material_areas(asset)
    largest = max(asset.tiles, key=lambda group: areas[list(group)].sum(), default=())
    alone = np.delete(areas, [tile for group in asset.tiles for tile in group])
    return largest if areas[list(largest)].sum() > alone.max(initial=0.0) else ()


def set_name(asset: MeshAsset, tiles: tuple[int, ...]) -> str:
    """The name of the material whose tiles these are."""
    return asset.materials[tiles[0]].name.rpartition(".")[0]
