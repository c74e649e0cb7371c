"""Stanford .ply as glTF, so that the rest of the engine knows one container."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.exchange.ply import load_ply
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from texsynth.errors import bad_input
from texsynth.surface.gltf import Gltf, as_uri, checked, read_limited, refusing_unreadable, split_glb
from texsynth.surface.ply_polygons import with_triangles

MAX_HEADER_BYTES = 1 << 20
# Names of a vertex's texture coordinates: MeshLab's, PCL's and Blender's.
_UV_NAMES = (("texture_u", "texture_v"), ("u", "v"), ("s", "t"))
_COLOURS = ("red", "green", "blue")


def ply_as_gltf(path: Path) -> Gltf:
    """Convert a .ply, ASCII or binary, read by trimesh: positions, faces (polygons become fans of triangles), normals,
    and UVs of vertices (`s t`, `u v`, `texture_u texture_v`) or of face corners (`texcoord`).

    The image that `comment TextureFile` names becomes the base colour, by URI, not decoded. Colours of vertices and
    faces are left out, with a note, since viewers would multiply the new texture by them.
    Raises TexsynthError for a file that is missing, too large, cut short or not a .ply.
    """
    data = read_limited(path)
    texture = _checked_header(path, data)
    with refusing_unreadable(path), np.errstate(all="ignore"):
        given: dict[str, Any] = load_ply(io.BytesIO(with_triangles(data)), fix_texture=False, skip_materials=True)
        raw = given["metadata"]["_ply_raw"]
        faces = given.get("faces")
        if faces is None or len(faces) == 0:
            raise bad_input(path, "holds no triangles", "use a mesh with a surface")
        mesh = _mesh(path, raw, np.asarray(faces, np.int64), given["vertices"], given.get("vertex_normals"))
        scene: Any = trimesh.Scene()
        scene.add_geometry(mesh, geom_name=path.stem)
        tree_text, chunk = split_glb(path, scene.export(file_type="glb"))
    tree = json.loads(tree_text)
    if texture and "TEXCOORD_0" in tree["meshes"][0]["primitives"][0]["attributes"]:
        tree["images"], tree["textures"] = [{"uri": as_uri(texture)}], [{"source": 0}]
        tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    coloured = any(name in raw[kind]["properties"] for kind in ("vertex", "face") if kind in raw for name in _COLOURS)
    notes = (f"{path.name}: its colours of vertices or faces are not used",) if coloured else ()
    return checked(path, tree, chunk, notes)


def _checked_header(path: Path, data: bytes) -> str:
    """The name of the image that the header names, or "". Raises TexsynthError for a header that cannot be true."""
    head, end, _ = data[:MAX_HEADER_BYTES].partition(b"end_header")
    if not (data.startswith(b"ply") and end):
        raise bad_input(path, "is no .ply, its header has no begin or no end", "export it again")
    lines = [line.split() for line in head.decode("utf-8", "replace").splitlines()]
    room = len(data) - len(head)
    for words in lines:
        if words[:1] == ["element"]:
            count = int(words[2]) if len(words) == 3 and words[2].isdecimal() and len(words[2]) < 20 else -1
            if not 0 <= count <= room:
                what = f"claims {' '.join(words[2:])[:40]} of '{' '.join(words[1:2])[:40]}' in {room} bytes"
                raise bad_input(path, what, "export or copy it again")
    textures = re.findall(r"(?im)^comment\s+TextureFile\s+(\S.*?)\s*$", head.decode("utf-8", "replace"))
    if len(textures) > 1:
        what = f"names {len(textures)} textures ({textures[0][:40]}, ...)"
        raise bad_input(path, what, "one is read from a .ply; export it as .glb or .obj")
    return textures[0] if textures else ""


def _mesh(path: Path, raw: Any, faces: NDArray[np.int64], vertices: Any, normals: Any) -> trimesh.Trimesh:
    """The mesh of triangles; a vertex whose corners have several UVs becomes several."""
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise bad_input(path, "refers to vertices it lacks", "export the mesh again")
    sides = faces.shape[1]
    fan = np.array([[0, k, k + 1] for k in range(1, sides - 1)], np.int64)
    corner_uvs = _corner_uvs(raw, len(faces), sides)
    triangles = faces[:, fan].reshape(-1, 3)
    uvs = _vertex_uvs(raw)
    if corner_uvs is not None:
        uvs, kept, triangles = _split(triangles, corner_uvs[:, fan].reshape(-1, 2))
        vertices, normals = vertices[kept], None if normals is None else normals[kept]
    material = PBRMaterial(name="default", metallicFactor=0.0)  # type: ignore[no-untyped-call]
    visual = TextureVisuals(uv=uvs, material=material)  # type: ignore[no-untyped-call]
    return trimesh.Trimesh(vertices, triangles, vertex_normals=normals, visual=visual, process=False)


def _vertex_uvs(raw: Any) -> NDArray[np.float64] | None:
    """(V, 2), v up, or None."""
    vertex = raw["vertex"]
    for pair in _UV_NAMES:
        if all(name in vertex["properties"] for name in pair):
            return np.stack([np.asarray(vertex["data"][name], np.float64).reshape(-1) for name in pair], axis=1)
    return None


def _corner_uvs(raw: Any, count: int, sides: int) -> NDArray[np.float64] | None:
    """(faces, sides, 2), v up, or None where corners have none of their own."""
    if "texcoord" not in raw["face"]["properties"]:
        return None
    values = raw["face"]["data"]["texcoord"]
    values = values["f1"] if getattr(values.dtype, "names", None) else values  # binary files keep the count beside them
    return np.asarray(values, np.float64).reshape(count, sides, 2)


def _split(
    triangles: NDArray[np.int64], uvs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """UVs of corners, (3 T, 2), as those of vertices: UVs (V, 2), which old vertex each is, and triangles (T, 3)."""
    number = np.unique(uvs[:, 0] + 1j * uvs[:, 1], return_inverse=True)[1].reshape(-1)
    pairs = triangles.reshape(-1) * (int(number.max()) + 1) + number
    _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
    return uvs[first], triangles.reshape(-1)[first], inverse.reshape(-1, 3).astype(np.int64)
