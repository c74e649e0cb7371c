"""UDIM: one material whose texture is a set of images, one for each whole tile of UV space.

Tile 1001 + u + 10 v, counted with v up, holds the UVs u..u+1, v..v+1; its image has the number in its name. glTF knows
no such sets, so each tile becomes a material of its own. Its UVs stay where they are: textures repeat.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth.errors import bad_input
from texsynth.surface.gltf import ELEMENT_ARRAY_BUFFER, Gltf, accessor_values, copied, texture_infos, triangle_indices

FIRST, COLUMNS, ROWS = 1001, 10, 100
SAME_EDGE = 1e-4  # of a tile: on its edge
_NUMBER = re.compile(r"(?<=[._ -])(?:<UDIM>|1\d{3})(?=\.[A-Za-z]+$)", re.IGNORECASE)


def with_tiles(container: Gltf) -> Gltf:
    """The file with every material of a UDIM set as one material a tile, NAME.1001 ..., and `tiles` saying which.

    A set is a material with an image file `*.<UDIM>.*`, or with `*.1001.*` beside which there is one for each of the
    several tiles that its UVs lie in; then no triangle may lie across tiles.
    Raises TexsynthError in one line for a `<UDIM>` whose UVs do not keep to the tiles.
    """
    given = texture_infos(container.tree.get("materials", []))
    if not any(_NUMBER.search(_image_name(container.tree, info)) for info in given):
        return container
    tree, blob, groups = copied(container.tree), bytearray(), list[tuple[int, ...]]()
    notes = list(container.notes)
    for slot in range(len(tree.get("materials", ()))):
        infos = list(texture_infos([tree["materials"][slot]]))
        names = [name for name in (_image_name(tree, info) for info in infos) if _NUMBER.search(name)]
        if not names or any("KHR_texture_transform" in info.get("extensions", {}) for info in infos):
            continue
        declared = any("<UDIM>" in name.upper() for name in names)
        users = list(_users(container, tree, slot, f"TEXCOORD_{infos[0].get('texCoord', 0)}"))
        placed = [(mesh, primitive, tiles) for mesh, primitive, tiles in users if tiles is not None]
        if len(placed) < len(users):
            if declared:
                what = "its texture is a UDIM set, but UVs of a triangle lie across tiles or outside them"
                raise bad_input(container.path, what, f"keep each triangle in one tile, u in 0..{COLUMNS}")
            continue
        numbers = {int(tile) for _, _, tiles in placed for tile in np.unique(tiles)}
        if not numbers or not (declared or (len(numbers) > 1 and _all_there(container, names[0], numbers))):
            continue
        slots = _tile_materials(tree, slot, sorted(numbers))
        for mesh, primitive, tiles in placed:
            _split(container, tree, blob, mesh, primitive, tiles, slots)
        if len(slots) > 1:
            groups.append(tuple(slots.values()))
            listed = ", ".join(tree["materials"][each]["name"] for each in slots.values())
            notes.append(f"UDIM tiles {listed}: each is a texture of its own")
    if not blob:
        return container
    tree["buffers"].append({"byteLength": len(blob)})
    return replace(
        container, tree=tree, buffers=(*container.buffers, bytes(blob)), notes=tuple(notes), tiles=tuple(groups)
    )


def _image_name(tree: dict[str, Any], info: dict[str, Any]) -> str:
    """The name of the file that a texture shows; "" where its image lies in a buffer or a data URI."""
    source = tree["textures"][info["index"]].get("source")
    uri = "" if source is None else str(tree["images"][source].get("uri", ""))
    return "" if uri.startswith("data:") else urllib.parse.unquote(uri)


def _all_there(container: Gltf, name: str, numbers: set[int]) -> bool:
    """Whether each tile has its image beside the mesh."""
    return all((container.path.parent / _NUMBER.sub(str(number), name)).is_file() for number in numbers)


def _users(
    container: Gltf, tree: dict[str, Any], slot: int, uvs: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any], NDArray[np.int64] | None]]:
    """The meshes and primitives that show a material, with the tile of each triangle."""
    for mesh in tree.get("meshes", ()):
        for primitive in mesh["primitives"]:
            if primitive.get("material") == slot and uvs in primitive["attributes"]:
                triangles = triangle_indices(container, primitive)
                if triangles is not None and len(triangles):
                    values = accessor_values(container, primitive["attributes"][uvs])
                    if triangles.max() >= len(values):
                        raise bad_input(container.path, "refers to vertices it lacks", "export the mesh again")
                    yield mesh, primitive, _tiles(values[triangles].astype(np.float64))


def _tiles(corners: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The numbers of the tiles of triangles, (T, 3 corners, u v) with v down; None where one lies in none."""
    up = corners * (1, -1) + (0, 1)
    low, high = np.floor(up.min(axis=1) + SAME_EDGE), np.ceil(up.max(axis=1) - SAME_EDGE)
    inside = (high - low <= 1) & (low >= 0) & (low < (COLUMNS, ROWS))  # false for NaN
    return np.asarray(FIRST + low @ (1, COLUMNS), np.int64) if inside.all() else None


def _tile_materials(tree: dict[str, Any], slot: int, numbers: list[int]) -> dict[int, int]:
    """Materials by tile: the first takes the place of the set's, the others are added."""
    made = [_tile_material(tree, slot, number) for number in numbers]
    tree["materials"][slot] = made[0]
    tree["materials"] += made[1:]
    added = len(tree["materials"]) - len(made)
    return {number: slot if place == 0 else added + place for place, number in enumerate(numbers)}


def _tile_material(tree: dict[str, Any], slot: int, number: int) -> dict[str, Any]:
    """A copy of a material that shows the images of one tile."""
    material = copied(tree["materials"][slot])
    material["name"] = f"{material.get('name', slot)}.{number}"
    for info in texture_infos([material]):
        name = _image_name(tree, info)
        if _NUMBER.search(name):
            image = tree["textures"][info["index"]]["source"]
            tree["images"].append(tree["images"][image] | {"uri": urllib.parse.quote(_NUMBER.sub(str(number), name))})
            tree["textures"].append(tree["textures"][info["index"]] | {"source": len(tree["images"]) - 1})
            info["index"] = len(tree["textures"]) - 1
    return material


def _split(
    container: Gltf,
    tree: dict[str, Any],
    blob: bytearray,
    mesh: dict[str, Any],
    primitive: dict[str, Any],
    tiles: NDArray[np.int64],
    slots: dict[int, int],
) -> None:
    """Put in place of a primitive one for each of its tiles, of the same vertices."""
    triangles = triangle_indices(container, primitive)
    assert triangles is not None  # `_users` has seen them
    parts = []
    for number in np.unique(tiles):
        indices = np.ascontiguousarray(triangles[tiles == number].reshape(-1), "<u4")
        view = {"buffer": len(container.buffers), "byteOffset": len(blob), "byteLength": indices.nbytes}
        tree["bufferViews"].append(view | {"target": ELEMENT_ARRAY_BUFFER})
        blob.extend(indices.tobytes())
        accessor = {"componentType": 5125, "count": len(indices), "type": "SCALAR"}
        tree["accessors"].append(accessor | {"bufferView": len(tree["bufferViews"]) - 1})
        part = {"indices": len(tree["accessors"]) - 1, "material": slots[int(number)], "mode": 4}
        parts.append(primitive | part)
    at = next(place for place, each in enumerate(mesh["primitives"]) if each is primitive)
    mesh["primitives"][at : at + 1] = parts
