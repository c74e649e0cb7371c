"""Stereolithography .stl as glTF, so that the rest of the engine knows one container."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import trimesh
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from texsynth.errors import bad_input
from texsynth.surface.gltf import Gltf, checked, read_limited, refusing_unreadable, split_glb

_HEAD_BYTES, _TRIANGLE_BYTES = 84, 50


def stl_as_gltf(path: Path) -> Gltf:
    """Convert an .stl, ASCII or binary, read by trimesh: its triangles, which share the vertices at one place.

    An .stl has neither UVs nor materials; colours that some tools hide in its spare bytes are left out.
    Raises TexsynthError for a file that is missing, too large, cut short, without triangles or not an .stl.
    """
    data = _checked_size(path, read_limited(path))
    with refusing_unreadable(path):
        scene: Any = trimesh.load_scene(io.BytesIO(data), file_type="stl", process=False)
        if not scene.geometry:
            raise bad_input(path, "holds no triangles", "use a mesh with a surface")
        for geometry in scene.geometry.values():
            geometry.merge_vertices()
            material = PBRMaterial(name="default", metallicFactor=0.0)  # type: ignore[no-untyped-call]
            geometry.visual = TextureVisuals(material=material)  # type: ignore[no-untyped-call]
        tree_text, chunk = split_glb(path, scene.export(file_type="glb"))
    return checked(path, json.loads(tree_text), chunk)


def _checked_size(path: Path, data: bytes) -> bytes:
    """What trimesh is to read: a binary file whose size is right, or text."""
    if len(data) >= _HEAD_BYTES:
        (count,) = struct.unpack_from("<I", data, _HEAD_BYTES - 4)
        if len(data) == _HEAD_BYTES + _TRIANGLE_BYTES * count:
            return data
        if b"\0" in data:
            room = (len(data) - _HEAD_BYTES) / _TRIANGLE_BYTES
            raise bad_input(path, f"claims {count} triangles and has room for {room:g}", "export or copy it again")
    # Text in an unknown encoding would be guessed at, which takes minutes where it is large.
    return data.decode("utf-8", "replace").encode()
