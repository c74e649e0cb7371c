"""Meshes whose texture is a UDIM set: its tiles are made as one texture, and published each in a folder of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth.canvas import Canvas
from texsynth.errors import bad_input, from_os_error
from texsynth.material import MESH_SUFFIXES, MapKind, load_materials
from texsynth.model.latent import BLOCK
from texsynth.options import LARGEST_SEED, LARGEST_SIZE, Options
from texsynth.profiles import choose_compute
from texsynth.publish import require_apart
from texsynth.restyle import (
    BAND,
    MADE,
    PREVIEW,
    Made,
    end_work,
    make_maps,
    publish_made,
    restyle,
    work_folder,
)
from texsynth.run import Run
from texsynth.sources import Asset, load_sources, material_areas
from texsynth.surface.atlas import Atlas, atlas_side, udim_atlas
from texsynth.surface.gutters import Gutters
from texsynth.surface.mesh import MeshAsset, load_mesh, write_glb
from texsynth.threads import settle_threads
from texsynth.tile_levels import WholeLevels


def restyle_tiles(asset: Path, exemplar: Path, out: Path, options: Options, run: Run) -> dict[str, Any]:
    """`restyle`, of every tile where the chosen material is a UDIM set; then returns {"tiles": manifests by folder}.

    Tiles are published in OUT/1001, OUT/1002 ..., and OUT/asset.glb shows them all. Patterns go on from tile to tile,
    unless the tiles side by side have more than 8192 texels a side, or repeat: then each is restyled by itself.
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
    together = not options.tileable and atlas_side(len(tiles)) * options.size <= LARGEST_SIZE
    manifests = (_together if together else _by_themselves)(mesh, tiles, exemplar, out, options, run)
    made: dict[int | None, dict[MapKind, Path | NDArray[Any]]] = {}
    for tile, folder in zip(tiles, manifests, strict=True):
        (material,) = load_materials(out / folder / "asset.glb", slots=[mesh.slots[tile]])
        made[tile] = {kind: texture.texels for kind, texture in material.maps.items()}
    write_glb(mesh, out, made)
    return {"tiles": manifests}


def _by_themselves(
    mesh: MeshAsset, tiles: tuple[int, ...], exemplar: Path, out: Path, options: Options, run: Run
) -> dict[str, Any]:
    """Each tile with a seed of its own."""
    manifests = {}
    for number, tile in enumerate(tiles):
        part = run.part(number / len(tiles), (number + 1) / len(tiles))
        seed = (options.seed + number) % (LARGEST_SEED + 1)
        chosen = replace(options, material=mesh.materials[tile].name, seed=seed)
        manifests[_folder(mesh, tile)] = restyle(mesh.path, exemplar, out / _folder(mesh, tile), chosen, part)
    return manifests


def _together(
    mesh: MeshAsset, tiles: tuple[int, ...], exemplar: Path, out: Path, options: Options, run: Run
) -> dict[str, Any]:
    """All tiles from one texture that they lie in side by side."""
    settle_threads()
    compute = choose_compute(options.profile)
    try:
        with run.stage("load", 0.0, 0.015):
            atlas = udim_atlas(mesh, tiles)
            whole = replace(options, size=atlas.side * options.size, material=None)
            asset = Asset(mesh.path, atlas.asset.materials[atlas.material], atlas.asset, atlas.material)
            sources = load_sources(exemplar, asset, out, whole)
            work = work_folder(out, sources, whole)
        made = make_maps(sources, work, out / PREVIEW, whole, compute, run)
        levels = None
        if options.seams == "weld" and asset.topology is not None:
            levels = WholeLevels.of(Gutters(asset.topology, whole.size), made.canvases, options.storage)
        manifests = {}
        for place, tile in enumerate(tiles):
            first, last = (MADE + (1 - MADE) * (place + k) / len(tiles) for k in range(2))
            one = replace(sources, asset=Asset(mesh.path, mesh.materials[tile], mesh, tile), region=None)
            chosen = replace(options, material=mesh.materials[tile].name)
            part = _cut_out(made, atlas, place, options.size, work)
            folder = _folder(mesh, tile)
            gutters = None if levels is None else levels.tile(*atlas.corner(place, options.size), options.size)
            manifests[folder] = publish_made(part, one, out / folder, chosen, run, (first, last), gutters)
        end_work(out)
    except OSError as error:
        raise from_os_error(error, error.filename or out) from error
    return manifests


def _cut_out(made: Made, atlas: Atlas, place: int, size: int, work: Path) -> Made:
    """What was made of one tile; its maps lie in `work`, in place of those of the tile before."""
    row, column = atlas.corner(place, size)
    canvases = {}
    for kind, whole in made.canvases.items():
        tile = Canvas.create(work / f"tile_{kind}.raw", kind, size, size, whole.channels, whole.dtype)
        for first in range(0, size, BAND):
            rows = min(BAND, size - first)
            tile.write_rows(first, whole.read_window(row + first, column, rows, size))
        canvases[kind] = tile
    blocks = size // BLOCK
    row, column = atlas.corner(place, blocks)
    indices = tuple(index[row : row + blocks, column : column + blocks] for index in made.indices)
    return replace(made, canvases=canvases, indices=indices)


def _folder(mesh: MeshAsset, tile: int) -> str:
    """The number of a tile, as its folder is called."""
    return mesh.materials[tile].name.rpartition(".")[2]


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
