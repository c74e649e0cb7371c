"""Textured meshes in and out: any mesh file to one triangle soup with UVs, and back as `asset.glb`.

Every format goes through the checked glTF container of `surface/container.py`, and a mesh without UVs through
`surface/unwrap.py`. `write_glb` edits that container instead of exporting the mesh again, so geometry, UVs, animations
and the other materials stay as they were, to the bit.
"""

from __future__ import annotations

import copy
import io
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.errors import bad_input, from_os_error
from texsynth.image_io import read_image
from texsynth.material import CHANNELS, MapKind, Material, encode_linear, load_materials, unit_range
from texsynth.run import write_atomically
from texsynth.surface.container import GLTF_SUFFIXES, read_container
from texsynth.surface.flatten import areas
from texsynth.surface.gltf import (
    MAX_FILE_BYTES,
    TRIANGLE_MODES,
    Gltf,
    accessor_values,
    copied,
    glb_bytes,
    image_sources,
    keep_used,
    read_uri,
    refusing_unreadable,
    texture_infos,
    view_users,
)
from texsynth.surface.unwrap import unwrapped

MAX_TRIANGLES = 20_000_000
EMBED_SIZE = 2048  # texels a side of the textures in asset.glb; larger ones make files that few viewers open
NO_AREA = 1e-12  # of the texture: a millionth of a texel of 1024 x 1024
_PLACEMENT = "KHR_texture_transform"
_GLOSSY = "KHR_materials_pbrSpecularGlossiness"


@dataclass(frozen=True)
class Mesh:
    """One triangle soup in world space.

    positions float32 (V, 3); normals float32 (V, 3), unit length; uvs float32 (V, 2) in the glTF convention (v = 0 is
    the TOP row of the image); triangles int32 (T, 3), counter-clockwise seen from outside; material_index int32 (T,),
    -1 = no texture.
    """

    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    uvs: NDArray[np.float32]
    triangles: NDArray[np.int32]
    material_index: NDArray[np.int32]


@dataclass(frozen=True)
class Origin:
    """Where the triangles of a mesh come from in its file.

    triangles: int32 (T,), their numbers among all `count` that the file's scene has, dropped ones included. slots:
    int32 (T,), the numbers of their materials; `names` are those of the file's materials.
    """

    triangles: NDArray[np.int32]
    slots: NDArray[np.int32]
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class MeshAsset:
    """A mesh file: its triangles and its textured materials (`mesh.material_index` counts in `materials`).

    `slots` are the materials' numbers in the file; `notes` say, one line each, what was dropped or assumed. `container`
    is what `write_glb` edits: None is the file itself, else what it was converted to or unwrapped as. `origin` is None
    where the mesh comes from no file. `tiles`: of each UDIM set the numbers of the materials that are its tiles.
    """

    path: Path
    mesh: Mesh
    materials: tuple[Material, ...]
    slots: tuple[int, ...]
    notes: tuple[str, ...] = ()
    container: Gltf | None = None
    origin: Origin | None = None
    tiles: tuple[tuple[int, ...], ...] = ()


def load_mesh(
    path: Path,
    *,
    directx: bool | None = None,
    nonfinite: Literal["refuse", "clamp"] = "refuse",
    size: int = EMBED_SIZE,
) -> MeshAsset:
    """Load a mesh file with every node's transform applied (mirrored ones keep their triangles outward).

    Triangles without area are dropped, with a note. UVs are those the base colour uses, its KHR_texture_transform
    applied. A mesh without any texture is fine (`materials` is empty); if it has no UVs at all, it gets some that suit
    a texture of `size` texels (`surface/unwrap.py`). `directx` and `nonfinite` are for the materials, as in
    `load_material`.
    Raises TexsynthError in one line: unreadable or broken file, no triangles, a textured geometry without UVs,
    positions or UVs that are not finite, UVs without any area, more than `MAX_TRIANGLES`.
    """
    read = read_container(path)
    slots = _textured_slots(read.tree)
    container = read if slots or _has_uvs(read.tree) else unwrapped(read, size)
    notes = [*container.notes]
    if not slots:
        notes.append("the mesh names no textures: every surface counts as one material")
    parts, origins, total = [], [], 0
    for geometry in _placed_geometries(container):
        index = slots.index(geometry.slot) if geometry.slot in slots else -1
        part, kept = _soup(path, geometry, index, uvs_needed=index >= 0 or not slots)
        origins.append(np.stack([total + np.flatnonzero(kept), np.full(len(part.triangles), geometry.slot)]))
        total += len(kept)
        dropped = len(geometry.faces) - len(part.triangles)
        if dropped:
            name, count = geometry.name, len(geometry.faces)
            notes.append(f"geometry '{name}': {dropped} of {count} triangles have no area and were dropped")
        parts.append(part)
    mesh = _joined(path, parts)
    textured = mesh.triangles[mesh.material_index >= 0] if slots else mesh.triangles
    if not (np.abs(uv_areas(mesh, textured)) > NO_AREA).any():
        raise bad_input(path, "has UVs without any area", "unwrap it in your modeller and export it again")
    materials = load_materials(path, slots=slots, directx=directx, nonfinite=nonfinite, container=container)
    own = container if container is not read or path.suffix.lower() not in GLTF_SUFFIXES else None
    tiles = tuple(tuple(map(slots.index, group)) for group in container.tiles)
    numbers, of = np.concatenate(origins, axis=1).astype(np.int32)
    names = tuple(str(each.get("name", "")) for each in container.tree.get("materials", ()))
    return MeshAsset(path, mesh, materials, slots, tuple(notes), own, Origin(numbers, of, total, names), tiles)


def uv_areas(mesh: Mesh, triangles: NDArray[Any]) -> NDArray[np.float64]:
    """Of triangles (T, 3) their areas in the texture, 1 the whole of it, float64 (T,); negative where a
    chart is not mirrored, since v points down."""
    return areas(mesh.uvs[triangles].astype(np.float64))


def write_glb(
    asset: MeshAsset,
    out: Path,
    textures: Mapping[int | None, Mapping[MapKind, Path | NDArray[np.uint8]]],
    *,
    embed_size: int = EMBED_SIZE,
    keep_metalness: bool = True,
) -> tuple[str, ...]:
    """Publish OUT/asset.glb: the asset with the images of some materials replaced, everything else untouched.

    `textures`: by index into `asset.materials` (None = every one; of an untextured mesh, every surface) the map files
    to use, or (H, W, C) texels of 8 bits as such a file would hold them. Base colour and normal are embedded as PNG;
    roughness is packed as glTF wants it (G = roughness, B = metalness: the given map, else the old material's when
    `keep_metalness`, else 0). A map larger than `embed_size` is embedded as its mip level of that size
    (OUT/mips/NAME.k.png; reduced here where there is none).
    Returns notes, one line each. Raises TexsynthError for unreadable maps or a full disk.
    """
    draft = _Draft(asset.container or read_container(asset.path))
    notes: list[str] = []
    for key, maps in textures.items():
        packed = _packed_maps(maps, embed_size, notes)
        for index, slot in enumerate(asset.slots):
            if key in (None, index):
                _replace_textures(draft, slot, asset.materials[index], packed, keep_metalness)
        for slot in [] if asset.slots else draft.every_surface():
            _replace_textures(draft, slot, None, packed, keep_metalness)
    target = out / "asset.glb"
    try:
        write_atomically(target, draft.finished())
    except OSError as error:
        raise from_os_error(error, target) from None
    return tuple(dict.fromkeys(notes))


# ---- reading


def _has_uvs(tree: dict[str, Any]) -> bool:
    """Whether any surface has the UVs that an untextured one is taken to use."""
    return any("TEXCOORD_0" in part["attributes"] for mesh in tree.get("meshes", ()) for part in mesh["primitives"])


def _textured_slots(tree: dict[str, Any]) -> tuple[int, ...]:
    """Numbers of the materials that surfaces use and that have a base colour, normal or roughness texture."""
    used = {primitive.get("material") for mesh in tree.get("meshes", ()) for primitive in mesh["primitives"]}
    return tuple(i for i, material in enumerate(tree.get("materials", ())) if i in used and _uv_info(material))


def _uv_info(material: dict[str, Any]) -> dict[str, Any]:
    """The textureInfo that says which UVs a material uses: base colour's, else the first other; {} without texture."""
    pbr = material.get("pbrMetallicRoughness", {})
    glossy = material.get("extensions", {}).get(_GLOSSY, {})
    owners = ((pbr, "baseColorTexture"), (glossy, "diffuseTexture"), (material, "normalTexture"))
    found = (owner[key] for owner, key in (*owners, (pbr, "metallicRoughnessTexture")) if key in owner)
    return dict(next(found, {}))


@dataclass(frozen=True)
class _Placed:
    """One geometry of the scene in its own space, and where it stands. `uvs` as trimesh has them (v up), or None."""

    name: str
    slot: int
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    normals: NDArray[np.float64]
    uvs: NDArray[np.float64] | None
    transform: NDArray[np.float64]


def _placed_geometries(container: Gltf) -> list[_Placed]:
    """Every geometry of the scene, by trimesh from a bare copy of the file, in a fixed order.

    The bare copy holds triangles only: no image is decoded here, and a material is nothing but its number.
    """
    import trimesh  # half a second

    with refusing_unreadable(container.path):
        scene = trimesh.load_scene(io.BytesIO(_bare_glb(container)), file_type="glb", process=False)
        placed = []
        for node in scene.graph.nodes_geometry:
            transform, name = scene.graph[node]
            geometry: Any = scene.geometry[name]
            uvs = geometry.visual.uv
            placed.append(
                _Placed(
                    str(name),
                    int(geometry.visual.material.name),
                    np.asarray(geometry.vertices, np.float64),
                    np.asarray(geometry.faces, np.int64),
                    np.asarray(geometry.vertex_normals, np.float64),
                    None if uvs is None else np.asarray(uvs, np.float64),
                    np.asarray(transform, np.float64),
                )
            )
    order = {name: position for position, name in enumerate(scene.geometry)}
    return sorted(placed, key=lambda item: (order[item.name], item.transform.tobytes()))


def _bare_glb(container: Gltf) -> bytes:
    """A .glb with the triangles of `container` and nothing else: float positions, normals and the UVs in use.

    Each primitive gets only the vertices it uses, since files often share one vertex buffer among many primitives.
    """
    tree = container.tree
    materials = tree.get("materials", [])
    bare: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "accessors": [],
        "bufferViews": [],
        "materials": [{"name": str(slot)} for slot in range(len(materials) + 1)],
        "meshes": [],
        "nodes": [_bare_node(node) for node in tree.get("nodes", ())],
        "scenes": [{"nodes": scene.get("nodes", [])} for scene in tree.get("scenes", ())],
        "scene": tree.get("scene", 0),
    }
    if not bare["scenes"]:
        children = {child for node in bare["nodes"] for child in node.get("children", ())}
        bare["scenes"] = [{"nodes": [i for i in range(len(bare["nodes"])) if i not in children]}]
    views: list[bytes] = []

    def add(values: NDArray[Any], kind: str) -> int:
        code = 5125 if kind == "SCALAR" else 5126
        bare["accessors"].append({"bufferView": len(views), "componentType": code, "count": len(values), "type": kind})
        bare["bufferViews"].append({})
        views.append(np.ascontiguousarray(values, np.uint32 if kind == "SCALAR" else np.float32).tobytes())
        return len(views) - 1

    corners = 0
    for mesh in tree.get("meshes", ()):
        primitives = []
        for primitive in mesh["primitives"]:
            if primitive.get("mode", 4) not in TRIANGLE_MODES or "POSITION" not in primitive["attributes"]:
                continue
            slot = primitive.get("material", len(materials))
            material = materials[slot] if slot < len(materials) else {}
            arrays, indices = _primitive_arrays(container, mesh, primitive, material)
            if len(indices) < 3:
                continue
            corners += len(indices)
            if corners > 3 * MAX_TRIANGLES:
                raise bad_input(container.path, "too many triangles", f"use a mesh of at most {MAX_TRIANGLES}")
            primitives.append(
                {
                    "attributes": {name: add(values, f"VEC{values.shape[1]}") for name, values in arrays.items()},
                    "indices": add(indices, "SCALAR"),
                    "material": slot,
                    "mode": primitive.get("mode", 4),
                }
            )
        bare["meshes"].append({"name": str(mesh.get("name", "mesh")), "primitives": primitives})
    if corners == 0:
        raise bad_input(container.path, "holds no triangles", "use a mesh with a surface")
    return glb_bytes(bare, views)


def _bare_node(node: dict[str, Any]) -> dict[str, Any]:
    kept = ("name", "mesh", "children", "matrix", "translation", "rotation", "scale")
    return {key: node[key] for key in kept if key in node}


def _primitive_arrays(
    container: Gltf, mesh: dict[str, Any], primitive: dict[str, Any], material: dict[str, Any]
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """The vertex arrays that the triangles of a primitive use, under glTF's names, and indices into them."""
    given = primitive["attributes"]
    info = _uv_info(material)
    placement = info.get("extensions", {}).get(_PLACEMENT, {})
    sources = {
        "POSITION": given["POSITION"],
        "NORMAL": given.get("NORMAL"),
        "TEXCOORD_0": given.get(f"TEXCOORD_{placement.get('texCoord', info.get('texCoord', 0))}"),
    }
    arrays = {name: accessor_values(container, index) for name, index in sources.items() if index is not None}
    count = min(len(values) for values in arrays.values())
    indices = accessor_values(container, primitive["indices"])[:, 0] if "indices" in primitive else np.arange(count)
    used, indices = np.unique(indices, return_inverse=True)
    if used.size and used[-1] >= count:
        name = mesh.get("name", "mesh")
        raise bad_input(container.path, f"geometry '{name}' refers to vertices it lacks", "export the mesh again")
    arrays = {name: values[used] for name, values in arrays.items()}
    if "TEXCOORD_0" in arrays:
        arrays["TEXCOORD_0"] = _placed_uvs(arrays["TEXCOORD_0"], placement)
    return arrays, indices


def _placed_uvs(uvs: NDArray[Any], placement: dict[str, Any]) -> NDArray[Any]:
    """UVs after KHR_texture_transform: scale, then rotation (as seen on the image, v down), then offset."""
    if not placement:
        return uvs
    turn = float(placement.get("rotation", 0.0))
    scaled = uvs.astype(np.float64) * np.asarray(placement.get("scale", (1.0, 1.0)), np.float64)
    u, v = scaled[:, 0], scaled[:, 1]
    rotated = np.stack([np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u], axis=1)
    return (rotated + np.asarray(placement.get("offset", (0.0, 0.0)), np.float64)).astype(np.float32)


def _soup(path: Path, geometry: _Placed, index: int, *, uvs_needed: bool) -> tuple[Mesh, NDArray[np.bool_]]:
    """One geometry in world space as a Mesh of material `index`, without triangles of zero area; which were kept."""
    transform, triangles = geometry.transform, geometry.faces
    if geometry.uvs is None and uvs_needed:
        what = f"geometry '{geometry.name}' has no UVs"
        raise bad_input(path, what, "unwrap it in your modeller and export it again")
    uvs = np.zeros((len(geometry.vertices), 2)) if geometry.uvs is None else geometry.uvs * (1, -1) + (0, 1)  # v down
    positions = geometry.vertices @ transform[:3, :3].T + transform[:3, 3]
    if not (np.abs(positions).max(initial=0) < 1e30 and np.abs(uvs).max(initial=0) < 1e30):  # also refuses NaN
        what = f"geometry '{geometry.name}' has NaN or infinite positions or UVs"
        raise bad_input(path, what, "export the mesh again")
    mirrored = np.linalg.det(transform[:3, :3]) < 0
    if mirrored:
        triangles = triangles[:, ::-1]
    corners = positions.astype(np.float32).astype(np.float64)[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    kept: NDArray[np.bool_] = np.any(cross != 0, axis=1)
    # Normals transform by the inverse transpose; that times the determinant is the cofactor matrix, which needs no
    # inverse and so allows flat scales.
    linear = transform[:3, :3]
    cofactor = np.stack([np.cross(linear[(i + 1) % 3], linear[(i + 2) % 3]) for i in range(3)])
    normals = geometry.normals @ cofactor.T * (-1 if mirrored else 1)
    mesh = Mesh(
        positions.astype(np.float32),
        _unit(normals).astype(np.float32),
        uvs.astype(np.float32),
        np.ascontiguousarray(triangles[kept], np.int32),
        np.full(int(kept.sum()), index, np.int32),
    )
    return mesh, kept


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors; zero and non-finite ones become +Z."""
    vectors = np.nan_to_num(vectors, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1.0), (0.0, 0.0, 1.0))


def _joined(path: Path, parts: list[Mesh]) -> Mesh:
    total = sum(len(part.triangles) for part in parts)
    if total == 0:
        raise bad_input(path, "holds no triangles", "use a mesh with a surface")
    if total > MAX_TRIANGLES:
        raise bad_input(path, "too many triangles with its instances", f"use a mesh of at most {MAX_TRIANGLES}")
    offsets = np.cumsum([0] + [len(part.positions) for part in parts[:-1]])
    return Mesh(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.uvs for part in parts]),
        np.concatenate([part.triangles + np.int32(offset) for part, offset in zip(parts, offsets, strict=True)]),
        np.concatenate([part.material_index for part in parts]),
    )


# ---- writing


@dataclass(frozen=True)
class _Packed:
    """The new maps of one material, 8 bits as glTF stores them."""

    colour: NDArray[np.uint8] | None  # (H, W, 3) RGB, sRGB
    opacity: NDArray[np.uint8] | None  # (H, W)
    normal: NDArray[np.uint8] | None  # (H, W, 3), OpenGL
    roughness: NDArray[np.uint8] | None  # (H, W)
    metalness: NDArray[np.uint8] | None  # (H, W)


class _Draft:
    """A glTF file being edited: its tree, the bytes of its bufferViews, and new images as further bufferViews."""

    def __init__(self, container: Gltf) -> None:
        self._container = container
        self.tree = copied(container.tree)
        count = len(self.tree.get("bufferViews", ()))
        if sum(view["byteLength"] for view in self.tree.get("bufferViews", ())) > MAX_FILE_BYTES:
            raise bad_input(container.path, "its bufferViews overlap beyond 1 GiB", "export the mesh again")
        self._views = [bytes(container.view(index)) for index in range(count)]

    def every_surface(self) -> list[int]:
        """Numbers of all materials that surfaces use; surfaces without a material get a new one."""
        materials = self.tree.setdefault("materials", [])
        used = set()
        for mesh in self.tree.get("meshes", ()):
            for primitive in mesh["primitives"]:
                if "material" not in primitive:
                    if not materials or materials[-1].get("name") != "texsynth":
                        materials.append({"name": "texsynth"})
                    primitive["material"] = len(materials) - 1
                used.add(primitive["material"])
        return sorted(used)

    def add_texture(self, image: bytes, sampler: int | None) -> int:
        """Embed a PNG; returns the number of a new texture that shows it."""
        self.tree.setdefault("bufferViews", []).append({"byteLength": len(image)})
        self._views.append(image)
        images = self.tree.setdefault("images", [])
        images.append({"bufferView": len(self._views) - 1, "mimeType": "image/png"})
        textures = self.tree.setdefault("textures", [])
        textures.append({"source": len(images) - 1} | ({} if sampler is None else {"sampler": sampler}))
        return len(textures) - 1

    def finished(self) -> bytes:
        """The .glb: textures, images and bufferViews that nothing uses any more are gone, the other images embedded."""
        tree = self.tree
        keep_used(tree, "textures", [(info, "index") for info in texture_infos(tree.get("materials", []))])
        keep_used(tree, "images", [(owner, "source") for owner in image_sources(tree.get("textures", []))])
        for image in tree.get("images", ()):
            if "bufferView" not in image:
                data = read_uri(self._container.path, image.pop("uri"))
                image["mimeType"] = _image_type(self._container.path, data)
                tree.setdefault("bufferViews", []).append({"byteLength": len(data)})
                self._views.append(data)
                image["bufferView"] = len(self._views) - 1
        kept = keep_used(tree, "bufferViews", [(user, "bufferView") for user in view_users(tree)])
        return glb_bytes(tree, [self._views[index] for index in kept])


def _image_type(path: Path, data: bytes) -> str:
    for magic, kind in ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"\xabKTX 20", "ktx2"), (b"RIFF", "webp")):
        if data.startswith(magic):
            return f"image/{kind}"
    raise bad_input(path, "one of its textures is neither PNG nor JPEG", "convert that texture to PNG")


def _packed_maps(maps: Mapping[MapKind, Path | NDArray[np.uint8]], embed_size: int, notes: list[str]) -> _Packed:
    loaded = {kind: _embedded_texels(kind, path, embed_size, notes) for kind, path in maps.items()}
    flat = {kind: texels[..., 0] for kind, texels in loaded.items() if texels.shape[2] == 1}
    return _Packed(
        colour=loaded.get(MapKind.ALBEDO),
        opacity=flat.get(MapKind.OPACITY),
        normal=loaded.get(MapKind.NORMAL),
        roughness=flat.get(MapKind.ROUGHNESS),
        metalness=flat.get(MapKind.METALNESS),
    )


def _level_file(path: Path, embed_size: int) -> Path:
    """The published mip level of a map whose longer side is at most `embed_size`, or the map itself without mips."""
    names = [path.parent / "mips" / f"{path.stem}.{level}{path.suffix}" for level in range(1, 32)]
    mips = list(itertools.takewhile(Path.exists, names))
    # A chain ends at 1 x 1, so n mips mean a longer side of at least 2^n.
    return [path, *mips][max(0, len(mips) - int(math.log2(embed_size)))]


def _embedded_texels(
    kind: MapKind, given: Path | NDArray[np.uint8], embed_size: int, notes: list[str]
) -> NDArray[np.uint8]:
    """The map in the file `given` as (H, W, C) uint8 as glTF stores it, no side longer than `embed_size`."""
    smaller = False
    if isinstance(given, Path):
        file = _level_file(given, embed_size)
        smaller = file != given
        texels = read_image(file, colour=kind == MapKind.ALBEDO).texels[..., : CHANNELS[kind]]
    else:
        texels = given
    if smaller or max(texels.shape[:2]) > embed_size:
        notes.append(f"asset.glb holds its textures at {embed_size} texels; the full maps lie beside it")
    if texels.dtype == np.float32 and kind == MapKind.ALBEDO:  # linear light
        texels = encode_linear(kind, texels, np.dtype(np.uint8))
    elif texels.dtype != np.uint8:
        texels = np.rint(np.clip(unit_range(texels), 0, 1) * 255).astype(np.uint8)
    if max(texels.shape[:2]) > embed_size:
        scale = embed_size / max(texels.shape[:2])
        shape = (max(1, round(texels.shape[0] * scale)), max(1, round(texels.shape[1] * scale)))
        texels = _resized(texels, shape).reshape(*shape, CHANNELS[kind])
    return np.ascontiguousarray(texels, np.uint8)


def _replace_textures(draft: _Draft, slot: int, old: Material | None, new: _Packed, keep_metalness: bool) -> None:
    """Point one material at new images. Its factors become neutral where a new map says it all."""
    material = draft.tree["materials"][slot]
    pbr = material.setdefault("pbrMetallicRoughness", {})
    info = _uv_info(material)
    sampler = draft.tree["textures"][info["index"]].get("sampler") if info else None
    placement: dict[str, Any] = {key: info[key] for key in ("texCoord",) if key in info}
    if _PLACEMENT in info.get("extensions", {}):
        placement["extensions"] = {_PLACEMENT: info["extensions"][_PLACEMENT]}

    def texture(texels: NDArray[np.uint8]) -> dict[str, Any]:
        return {"index": draft.add_texture(_png(texels), sampler)} | copy.deepcopy(placement)

    if new.colour is not None:
        opacity = new.opacity if new.opacity is not None else _old_map(old, MapKind.OPACITY)
        colour = new.colour
        if opacity is not None and material.get("alphaMode", "OPAQUE") != "OPAQUE":
            colour = np.dstack([colour, _resized(opacity, colour.shape[:2])])
        pbr["baseColorTexture"] = texture(colour)
        pbr.pop("baseColorFactor", None)  # the old opacity already holds its share of it
        material.get("extensions", {}).pop(_GLOSSY, None)  # viewers that know this old extension would prefer it
    if new.normal is not None:
        material["normalTexture"] = texture(new.normal)
    if new.roughness is not None:
        metalness = new.metalness
        if metalness is None and keep_metalness:
            metalness = _old_map(old, MapKind.METALNESS)
        if metalness is None:
            metalness = np.zeros((1, 1), np.uint8)
        blank = np.full_like(new.roughness, 255)
        packed = np.dstack([blank, new.roughness, _resized(metalness, new.roughness.shape)])
        pbr["metallicRoughnessTexture"] = texture(packed)
        pbr["roughnessFactor"], pbr["metallicFactor"] = 1.0, 1.0
    if not material.get("extensions", {"": None}):
        del material["extensions"]


def _old_map(old: Material | None, kind: MapKind) -> NDArray[np.uint8] | None:
    if old is None or kind not in old.maps:
        return None
    return np.rint(old.maps[kind].encoded()[..., 0] * 255).astype(np.uint8)


def _resized(texels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) texels at another size: box filter down, linear up."""
    if texels.shape == tuple(shape[:2]):
        return texels
    smaller = shape[0] < texels.shape[0]
    resized = cv2.resize(texels, (shape[1], shape[0]), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _png(texels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) RGB or (H, W, 4) RGBA texels."""
    order = cv2.COLOR_RGB2BGR if texels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    done, data = cv2.imencode(".png", cv2.cvtColor(texels, order), [cv2.IMWRITE_PNG_COMPRESSION, 4])
    assert done
    return data.tobytes()
