"""The glTF 2.0 container: read .gltf and .glb within limits, and write .glb.

Nothing is trusted: sizes, ranges, indices and the node tree are checked before any of it is used, files are read only
from the asset's own folder, and nothing is fetched from a network.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth.errors import TexsynthError, bad_input, from_os_error

MAX_FILE_BYTES = 1 << 30
MAX_JSON_BYTES = 64 << 20
MAX_NODE_DEPTH = 256
TRIANGLE_MODES = (4, 5)  # triangles and strips
# What a reader may ignore without misreading positions, UVs or the maps we replace. The others (Draco, meshopt,
# quantised vertices, ...) change the bytes of the geometry, so they are refused by name.
_HARMLESS_EXTENSIONS = ("KHR_materials_", "KHR_texture_transform", "KHR_lights_punctual", "EXT_texture_webp", "KHR_xmp")
_GEOMETRY_EXTENSIONS = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_mesh_quantization")
_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963  # what a bufferView holds: vertices, or indices
_UNSIGNED = (5121, 5123, 5125)
_TYPES = {"POSITION": "VEC3", "NORMAL": "VEC3", "TEXCOORD": "VEC2"}  # of the vertices that we read
_TRANSFORM = {"matrix": 16, "translation": 3, "rotation": 4, "scale": 3}
_GLB_MAGIC, _JSON_CHUNK, _BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


@dataclass(frozen=True)
class Gltf:
    """A checked glTF file: its JSON tree and the bytes of its buffers. `path` is the file itself.

    notes: what was assumed or left out where another format was converted, one line each. tiles: of each UDIM set the
    numbers of the materials that are its tiles (`surface/udim.py`).
    """

    path: Path
    tree: dict[str, Any]
    buffers: tuple[bytes, ...]
    notes: tuple[str, ...] = ()
    tiles: tuple[tuple[int, ...], ...] = ()

    def view(self, index: int) -> memoryview:
        """The bytes of bufferView `index`."""
        view = self.tree["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return memoryview(self.buffers[view["buffer"]])[start : start + view["byteLength"]]

    def image(self, index: int) -> bytes:
        """The encoded bytes (PNG, JPEG, ...) of image `index`, wherever they are stored."""
        image = self.tree["images"][index]
        if "bufferView" in image:
            return bytes(self.view(image["bufferView"]))
        return read_uri(self.path, image["uri"])


def read_gltf(path: Path) -> Gltf:
    """Read a .gltf (JSON beside files or data URIs) or .glb file and check that it is whole.

    Raises TexsynthError(BAD_INPUT), one line, for anything that is not a complete glTF 2.0 file within the limits:
    a broken or truncated container, an index or range out of bounds, a cyclic node tree, an outside URI, or an
    extension that stores the geometry in another way.
    """
    data = read_limited(path)
    text, chunk = split_glb(path, data) if data[:4] == b"glTF" else (data, b"")
    if len(text) > MAX_JSON_BYTES:
        raise bad_input(path, "its JSON is larger than 64 MiB", "export a smaller scene")
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        raise bad_input(path, "not glTF: its JSON does not parse", "use a glTF 2.0 file, .glb or .gltf") from None
    return checked(path, tree, chunk)


def read_limited(path: Path) -> bytes:
    """A whole mesh file. Raises TexsynthError where it cannot be read or has more than `MAX_FILE_BYTES`."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise bad_input(path, "the file is larger than 1 GiB", "export a smaller mesh")
        return path.read_bytes()
    except OSError as error:
        raise from_os_error(error, path) from None


@contextmanager
def refusing_unreadable(path: Path) -> Iterator[None]:
    """trimesh raises whatever its parsing stumbles over; here it ends in one line."""
    try:
        yield
    except TexsynthError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise bad_input(path, f"the mesh cannot be read ({reason})", "export it again") from None


def as_uri(name: str) -> str:
    """The name of a file, as other formats state it, as a URI that `read_uri` understands."""
    return urllib.parse.quote(name.replace("\\", "/"))


def checked(path: Path, tree: Any, chunk: bytes, notes: tuple[str, ...] = ()) -> Gltf:
    """`tree` with its buffers read, after every check. `chunk` is what a buffer without a URI means (.glb)."""
    try:
        if not str(tree["asset"]["version"]).startswith("2."):
            raise bad_input(path, f"glTF version {tree['asset']['version']}", "glTF 2.0 is needed")
        for name in (*tree.get("extensionsRequired", ()), *tree.get("extensionsUsed", ())):
            required = name in tree.get("extensionsRequired", ())
            if name in _GEOMETRY_EXTENSIONS or (required and not str(name).startswith(_HARMLESS_EXTENSIONS)):
                raise bad_input(path, f"uses the extension {name}", "export it without compression or quantisation")
        buffers = tuple(_read_buffer(path, buffer, chunk) for buffer in tree.get("buffers", ()))
        _check_views(tree, [len(buffer) for buffer in buffers])
        _check_accessors(tree)
        _check_meshes(tree)
        _check_nodes(tree)
        _check_textures(tree)
        _check_writable(path, tree)
    except (RecursionError, KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError) as error:
        what = f"broken glTF ({type(error).__name__}: {error})"
        raise bad_input(path, what, "export the mesh again") from None
    return Gltf(path, tree, buffers, notes)


def _check_writable(path: Path, tree: dict[str, Any]) -> None:
    """Python reads NaN in JSON, which is none."""
    try:
        copied(tree)
    except ValueError:
        raise bad_input(path, "holds NaN or infinite numbers", "export the mesh again") from None


def copied(tree: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of a JSON tree, as deep as it may be. Raises ValueError for NaN and infinity."""
    copy: dict[str, Any] = json.loads(json.dumps(tree, allow_nan=False))
    return copy


def read_uri(path: Path, uri: str) -> bytes:
    """The bytes that `uri`, found in the file `path`, means: a base64 data URI or a file in the folder of `path`.

    Raises TexsynthError for a remote or absolute URI and for one that leads out of the folder (`..`, symbolic links).
    """
    if uri.startswith("data:"):
        try:
            head, _, payload = uri.partition(",")
            if not head.endswith(";base64"):
                raise ValueError("not base64")
            return base64.b64decode(payload, validate=True)
        except (ValueError, binascii.Error):
            raise bad_input(path, "a data URI in it is not base64", "export the mesh again") from None
    name = urllib.parse.unquote(uri)
    shown = name if len(name) <= 80 else name[:77] + "..."
    folder = path.parent.resolve()
    try:
        target = (folder / name).resolve()
        inside = target.is_relative_to(folder) and ":" not in name.split("/")[0] and "\0" not in name
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise bad_input(path, f"refers to '{shown}' outside its folder", "keep the files beside the mesh")
    try:
        if target.stat().st_size > MAX_FILE_BYTES:
            raise bad_input(target, "the file is larger than 1 GiB", "use smaller buffers and images")
        return target.read_bytes()
    except OSError as error:
        raise from_os_error(error, target) from None


def glb_bytes(tree: dict[str, Any], views: list[bytes]) -> bytes:
    """A .glb file of `tree`, whose bufferViews get the bytes `views` (one each, aligned to 4) in a single buffer."""
    blob = bytearray()
    for view, data in zip(tree.get("bufferViews", ()), views, strict=True):
        blob.extend(b"\0" * (-len(blob) % 4))
        view["buffer"], view["byteOffset"], view["byteLength"] = 0, len(blob), len(data)
        blob.extend(data)
    if views:
        tree["buffers"] = [{"byteLength": len(blob)}]
    else:
        tree.pop("buffers", None)
        tree.pop("bufferViews", None)
    blob.extend(b"\0" * (-len(blob) % 4))
    text = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + (8 + len(blob) if blob else 0)
    if total > 0xFFFFFFFF:
        raise bad_input("asset.glb", "more than 4 GiB", "a .glb cannot be that large; embed smaller textures")
    parts = [struct.pack("<3I", _GLB_MAGIC, 2, total), struct.pack("<2I", len(text), _JSON_CHUNK), text]
    if blob:
        parts += [struct.pack("<2I", len(blob), _BIN_CHUNK), bytes(blob)]
    return b"".join(parts)


def texture_infos(materials: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every textureInfo ({"index": ...}) of the materials, extensions included."""
    for owner in _objects(materials):
        for key, value in owner.items():
            if key.endswith("Texture") and isinstance(value, dict) and "index" in value:
                yield value


def image_sources(textures: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every object whose "source" names an image: the textures themselves and their extensions (WebP, KTX2)."""
    for texture in textures:
        for owner in (texture, *texture.get("extensions", {}).values()):
            if "source" in owner:
                yield owner


def view_users(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object that names a bufferView: accessors (sparse ones too), images, extensions."""
    return (owner for owner in _objects(tree) if "bufferView" in owner)


def keep_used(tree: dict[str, Any], key: str, users: Iterable[tuple[dict[str, Any], str]]) -> list[int]:
    """Drop the entries of `tree[key]` that no (object, field) of `users` names, renumber those fields.

    Returns the old indices of the kept entries, in order.
    """
    holders = list(users)
    kept = sorted({holder[field] for holder, field in holders})
    renumbered = {old: new for new, old in enumerate(kept)}
    for holder, field in holders:
        holder[field] = renumbered[holder[field]]
    if kept:
        tree[key] = [tree[key][index] for index in kept]
    else:
        tree.pop(key, None)
    return kept


def accessor_rows(gltf: Gltf, index: int) -> NDArray[Any]:
    """The (count, components) values of accessor `index` as they are stored."""
    accessor = gltf.tree["accessors"][index]
    dtype = np.dtype(_DTYPES[accessor["componentType"]])
    components = _COMPONENTS[accessor["type"]]
    view = gltf.tree["bufferViews"][accessor["bufferView"]]
    return np.ndarray(
        (accessor["count"], components),
        dtype,
        buffer=gltf.view(accessor["bufferView"]),
        offset=accessor.get("byteOffset", 0),
        strides=(view.get("byteStride", dtype.itemsize * components), dtype.itemsize),
    )


def accessor_values(gltf: Gltf, index: int) -> NDArray[Any]:
    """The values of `accessor_rows`; normalised integers become floats as glTF 2.0 defines."""
    values = accessor_rows(gltf, index)
    if gltf.tree["accessors"][index].get("normalized") and values.dtype.kind in "iu":
        return np.maximum(values / np.float32(np.iinfo(values.dtype).max), -1.0).astype(np.float32)
    return values


def triangle_indices(gltf: Gltf, primitive: dict[str, Any]) -> NDArray[np.int64] | None:
    """The triangles of a primitive, int64 (T, 3), as indices of vertices; None where it holds none that we read.

    Triangles and strips are; lines, points and fans carry no chart. Raises TexsynthError for an index of no vertex.
    """
    mode = primitive.get("mode", 4)
    if mode not in TRIANGLE_MODES or "POSITION" not in primitive["attributes"]:
        return None
    count = gltf.tree["accessors"][primitive["attributes"]["POSITION"]]["count"]
    flat = accessor_rows(gltf, primitive["indices"])[:, 0] if "indices" in primitive else np.arange(count)
    if flat.size and (flat.min() < 0 or flat.max() >= count):
        raise bad_input(gltf.path, "refers to vertices it lacks", "export the mesh again")
    flat = flat.astype(np.int64)
    if mode == 4:
        return flat[: len(flat) // 3 * 3].reshape(-1, 3)
    strip = np.lib.stride_tricks.sliding_window_view(flat, 3) if len(flat) >= 3 else np.empty((0, 3), np.int64)
    odd = np.arange(len(strip))[:, None] % 2 == 1  # every other triangle of a strip runs the other way
    return np.where(odd, strip[:, [1, 0, 2]], strip)


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def split_glb(path: Path, data: bytes) -> tuple[bytes, bytes]:
    """The JSON text and the binary chunk of a .glb file."""
    cut_short = bad_input(path, "the .glb is cut short", "export or copy it again")
    if len(data) < 20:
        raise cut_short
    _, version, length = struct.unpack_from("<3I", data)
    if version != 2:
        raise bad_input(path, f"glTF version {version}", "glTF 2.0 is needed")
    if length > len(data):
        raise cut_short
    chunks: dict[int, bytes] = {}
    offset = 12
    while offset + 8 <= length:
        size, kind = struct.unpack_from("<2I", data, offset)
        if offset + 8 + size > length:
            raise cut_short
        chunks.setdefault(kind, data[offset + 8 : offset + 8 + size])
        offset += 8 + size
    if _JSON_CHUNK not in chunks:
        raise bad_input(path, "the .glb has no JSON chunk", "export it again")
    return chunks[_JSON_CHUNK], chunks.get(_BIN_CHUNK, b"")


def _read_buffer(path: Path, buffer: dict[str, Any], chunk: bytes) -> bytes:
    data = read_uri(path, buffer["uri"]) if "uri" in buffer else chunk
    length = _natural(buffer["byteLength"])
    if length > len(data):
        raise bad_input(path, f"a buffer has {len(data)} of {length} bytes", "copy the .bin file again")
    return data


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a size or index")
    return value


def _index(value: Any, length: int) -> int:
    if _natural(value) >= length:
        raise IndexError(f"index {value} of {length}")
    return int(value)


def _check_views(tree: dict[str, Any], buffer_lengths: list[int]) -> None:
    for view in tree.get("bufferViews", ()):
        length = buffer_lengths[_index(view["buffer"], len(buffer_lengths))]
        if _natural(view.get("byteOffset", 0)) + _natural(view["byteLength"]) > length:
            raise ValueError("a bufferView ends outside its buffer")
        if not 4 <= _natural(view.get("byteStride", 4)) <= 252:
            raise ValueError("byteStride must be 4..252")


def _check_accessors(tree: dict[str, Any]) -> None:
    views = tree.get("bufferViews", ())
    for accessor in tree.get("accessors", ()):
        element = np.dtype(_DTYPES[accessor["componentType"]]).itemsize * _COMPONENTS[accessor["type"]]
        count = _natural(accessor["count"])
        if "sparse" in accessor or "bufferView" not in accessor:
            continue  # morph targets and the like: `_check_meshes` refuses one that a triangle needs
        view = views[_index(accessor["bufferView"], len(views))]
        stride = view.get("byteStride", element)
        needed = _natural(accessor.get("byteOffset", 0)) + (stride * (count - 1) + element if count else 0)
        if stride < element or needed > view["byteLength"]:
            raise ValueError("an accessor ends outside its bufferView")


def _check_meshes(tree: dict[str, Any]) -> None:
    accessors, materials = len(tree.get("accessors", ())), len(tree.get("materials", ()))
    for mesh in tree.get("meshes", ()):
        for primitive in mesh["primitives"]:
            for name, accessor in primitive["attributes"].items():
                _index(accessor, accessors)
                if name.startswith(tuple(_TYPES)):
                    _require_dense(tree["accessors"][accessor], _TYPES[name.partition("_")[0]])
            for target in primitive.get("targets", ()):
                for accessor in target.values():
                    _index(accessor, accessors)
            if "indices" in primitive:
                index = tree["accessors"][_index(primitive["indices"], accessors)]
                _require_dense(index, "SCALAR")
                if index["componentType"] not in _UNSIGNED:
                    raise ValueError("indices are no unsigned integers")
            if "material" in primitive:
                _index(primitive["material"], materials)


def _require_dense(accessor: dict[str, Any], kind: str) -> None:
    if accessor["type"] != kind:
        raise ValueError(f"{accessor['type']} where {kind} is needed")
    if "sparse" in accessor or "bufferView" not in accessor:
        raise ValueError("triangles in sparse accessors or in accessors without data are not supported")


def _check_nodes(tree: dict[str, Any]) -> None:
    """Nodes must form trees: each has at most one parent, nothing is cyclic, nothing is too deep."""
    nodes = tree.get("nodes", [])
    parent: dict[int, int] = {}
    for index, node in enumerate(nodes):
        for key, length in _TRANSFORM.items():
            values = node.get(key, [0] * length)
            if len(values) != length or not all(isinstance(value, int | float) for value in values):
                raise ValueError(f"{key} of node {index} is not {length} numbers")
        if "mesh" in node:
            _index(node["mesh"], len(tree.get("meshes", ())))
        for child in node.get("children", ()):
            if parent.setdefault(_index(child, len(nodes)), index) != index:
                raise ValueError(f"node {child} has two parents")
    for start in range(len(nodes)):
        depth, index = 0, start
        while index in parent:
            depth, index = depth + 1, parent[index]
            if depth > MAX_NODE_DEPTH:
                raise ValueError(f"nodes are cyclic or deeper than {MAX_NODE_DEPTH}")
    scenes = tree.get("scenes", [])
    for scene in scenes:
        for root in scene.get("nodes", ()):
            _index(root, len(nodes))
    if "scene" in tree:
        _index(tree["scene"], len(scenes))


def _check_textures(tree: dict[str, Any]) -> None:
    for owner in _objects([tree.get("materials", []), tree.get("textures", [])]):
        for key, value in owner.items():
            if key.endswith(("Texture", "extensions", "pbrMetallicRoughness")) and not isinstance(value, dict):
                raise TypeError(f"{key} is no object")
    images, textures = tree.get("images", []), tree.get("textures", [])
    for info in texture_infos(tree.get("materials", [])):
        _index(info["index"], len(textures))
    for owner in image_sources(textures):
        _index(owner["source"], len(images))
    for image in images:
        if "bufferView" in image:
            _index(image["bufferView"], len(tree.get("bufferViews", ())))
        elif not isinstance(image["uri"], str):
            raise TypeError("an image URI is no text")
