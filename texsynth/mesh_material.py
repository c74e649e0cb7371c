"""Materials of a mesh file: textures times factors, as maps.

The container is read and checked by `texsynth.surface.container` and the images decoded within limits by
`texsynth.image_io`; trimesh would hand them to Pillow, which drops the low byte of 16 bits and decodes first.
Settled as glTF 2.0 defines: albedo = baseColorTexture x baseColorFactor, roughness and metalness = G and B of
metallicRoughnessTexture x their factors, normals OpenGL with `scale`; opacity only where alphaMode is not OPAQUE.
A factor without its texture is a constant map. A normal that is not there stays absent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from texsynth.errors import bad_input
from texsynth.image_io import DecodedImage, DecodeLimits, decode_image
from texsynth.material import (
    BAND,
    Float32,
    MapKind,
    Material,
    NonFinite,
    TextureMap,
    encode_linear,
    linear_levels,
    unit_normals,
)
from texsynth.material_files import Role, combine, settle
from texsynth.surface.container import read_container
from texsynth.surface.gltf import Gltf, texture_infos


@dataclass(frozen=True)
class _Reader:
    """A mesh file and how its images are to be read."""

    container: Gltf
    directx: bool | None
    limits: DecodeLimits
    nonfinite: NonFinite

    def image(self, info: dict[str, Any], *, colour: bool) -> tuple[DecodedImage, str]:
        """The image that a textureInfo names, and what to call it."""
        tree, path = self.container.tree, self.container.path
        texture = tree["textures"][info["index"]]
        source = texture.get("source", texture.get("extensions", {}).get("EXT_texture_webp", {}).get("source"))
        if source is None:
            raise bad_input(path, "has a texture in a format beyond PNG, JPEG and WebP", "export it with PNG textures")
        label = f"{path.name}, image {tree['images'][source].get('name', source)}"
        data = self.container.image(source)
        if len(data) > self.limits.file_bytes:
            raise bad_input(label, f"has {len(data)} bytes", f"at most {self.limits.file_bytes} are read")
        return decode_image(data, label, self.limits, colour=colour), label

    def maps(self, role: Role, info: dict[str, Any]) -> tuple[dict[MapKind, TextureMap], tuple[str, ...]]:
        image, label = self.image(info, colour=role is Role.ALBEDO)
        if role is Role.PACKED and image.texels.shape[2] - image.alpha == 1:
            # A sampler gives grey in red, green and blue alike: roughness alone, with a metallicFactor of 0, is valid.
            image = replace(image, texels=np.repeat(image.texels[..., :1], 3, axis=2), alpha=False)
        return settle(role, image, label, directx=self.directx, nonfinite=self.nonfinite)


def load_slots(
    path: Path,
    slots: Sequence[int] | None,
    *,
    directx: bool | None = None,
    limits: DecodeLimits | None = None,
    nonfinite: NonFinite = "refuse",
    container: Gltf | None = None,
) -> tuple[Material, ...]:
    """See `texsynth.material.load_materials`. A file without materials has one, glTF's default.

    Raises TexsynthError: not a mesh within the limits, no UVs, a slot that does not exist, an unreadable image.
    """
    reader = _reader(path, directx, limits, nonfinite, container)
    materials = reader.container.tree.get("materials") or [{"name": "default"}]
    chosen = range(len(materials)) if slots is None else slots
    for slot in chosen:
        if not 0 <= slot < len(materials):
            raise bad_input(path, f"has no material {slot}", f"its materials are 0..{len(materials) - 1}")
    with _refusing_broken(path):
        return tuple(_settled(reader, materials[slot], slot) for slot in chosen)


def load_first_textured(
    path: Path,
    *,
    directx: bool | None = None,
    limits: DecodeLimits | None = None,
    nonfinite: NonFinite = "refuse",
) -> Material:
    """The first material that a surface uses and that has an albedo texture, else any texture, else the first used."""
    reader = _reader(path, directx, limits, nonfinite)
    tree = reader.container.tree
    materials = tree.get("materials") or [{"name": "default"}]
    with _refusing_broken(path):
        used = sorted({primitive.get("material", 0) for mesh in tree["meshes"] for primitive in mesh["primitives"]})
        coloured = [slot for slot in used if _albedo_info(materials[slot])]
        textured = [slot for slot in used if any(texture_infos([materials[slot]]))]
        slot = (coloured or textured or used)[0]
        material = _settled(reader, materials[slot], slot)
    if len(coloured) > 1:
        note = f"{path.name}: has {len(coloured)} textured materials; {material.name} was taken"
        return replace(material, notes=(*material.notes, note))
    return material


@contextmanager
def _refusing_broken(path: Path) -> Iterator[None]:
    """glTF's values may be of any type; whatever stumbles over one ends in one line."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise bad_input(path, f"has a broken material ({reason})", "export the mesh again") from None


def _reader(
    path: Path,
    directx: bool | None,
    limits: DecodeLimits | None,
    nonfinite: NonFinite,
    container: Gltf | None = None,
) -> _Reader:
    container = read_container(path) if container is None else container
    primitives = [primitive for mesh in container.tree.get("meshes", ()) for primitive in mesh["primitives"]]
    if not primitives:
        raise bad_input(path, "holds no mesh", "export it with a mesh")
    if not any(name.startswith("TEXCOORD_") for primitive in primitives for name in primitive["attributes"]):
        raise bad_input(path, "has no UVs", "unwrap it in your modeller and export it again")
    return _Reader(container, directx, limits or DecodeLimits(), nonfinite)


def _albedo_info(material: dict[str, Any]) -> dict[str, Any] | None:
    glossy = _glossy(material)
    owner, key = (
        (glossy, "diffuseTexture") if glossy else (material.get("pbrMetallicRoughness", {}), "baseColorTexture")
    )
    info = owner.get(key)
    return info if isinstance(info, dict) else None


def _glossy(material: dict[str, Any]) -> dict[str, Any]:
    """The old specular-glossiness description, where the material has no metallic-roughness one beside it."""
    if "pbrMetallicRoughness" in material:
        return {}
    return dict(material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {}))


@dataclass(frozen=True)
class _Parts:
    """A material under construction."""

    name: str
    maps: dict[MapKind, TextureMap] = field(default_factory=dict)
    constants: dict[MapKind, Float32] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _settled(reader: _Reader, material: dict[str, Any], slot: int) -> Material:
    name = str(material.get("name") or f"{reader.container.path.stem} material {slot}")
    parts = _Parts(name)
    glossy, pbr = _glossy(material), material.get("pbrMetallicRoughness", {})
    _add_colour(parts, reader, material, glossy.get("diffuseFactor") if glossy else pbr.get("baseColorFactor"))
    if glossy:
        _add_glossiness(parts, reader, glossy)
    else:
        _add_metallic_roughness(parts, reader, pbr)
    if "normalTexture" in material:
        info = material["normalTexture"]
        found, remarks = reader.maps(Role.NORMAL_GL, info)
        parts.notes.extend(remarks)
        parts.maps[MapKind.NORMAL] = _scaled(found[MapKind.NORMAL], float(info.get("scale", 1.0)))
    height, width = max((texture.size for texture in parts.maps.values()), default=(1, 1), key=math.prod)
    for kind, value in parts.constants.items():
        texels = np.broadcast_to(encode_linear(kind, value, np.dtype(np.uint8)), (height, width, len(value)))
        parts.maps[kind] = TextureMap(kind, np.ascontiguousarray(texels))
        parts.notes.append(f"{name}: {kind} is the constant {', '.join(f'{number:.3g}' for number in value)}")
    return combine(name, parts.maps, parts.notes, reader.container.path)


def _add_colour(parts: _Parts, reader: _Reader, material: dict[str, Any], factor: Any) -> None:
    base = _factors(factor, 4)
    see_through = material.get("alphaMode", "OPAQUE") != "OPAQUE"
    found: dict[MapKind, TextureMap] = {}
    if info := _albedo_info(material):
        found, remarks = reader.maps(Role.ALBEDO, info)
        parts.notes.extend(remarks)
        parts.maps[MapKind.ALBEDO] = _times(found[MapKind.ALBEDO], base[:3])
    else:
        parts.constants[MapKind.ALBEDO] = base[:3]
    if MapKind.OPACITY in found and see_through:
        parts.maps[MapKind.OPACITY] = _times(found[MapKind.OPACITY], base[3:])
    elif MapKind.OPACITY in found:
        parts.notes.append(f"{parts.name}: is opaque; the alpha of its texture was dropped")
    elif see_through and base[3] < 1:
        parts.constants[MapKind.OPACITY] = base[3:]


def _add_metallic_roughness(parts: _Parts, reader: _Reader, pbr: dict[str, Any]) -> None:
    factors = {
        MapKind.ROUGHNESS: _factors([pbr.get("roughnessFactor", 1.0)], 1),
        MapKind.METALNESS: _factors([pbr.get("metallicFactor", 1.0)], 1),
    }
    if "metallicRoughnessTexture" in pbr:
        found, remarks = reader.maps(Role.PACKED, pbr["metallicRoughnessTexture"])
        parts.notes.extend(remarks)
        parts.maps.update({kind: _times(found[kind], factor) for kind, factor in factors.items()})
    else:
        parts.constants.update(factors)


def _add_glossiness(parts: _Parts, reader: _Reader, glossy: dict[str, Any]) -> None:
    factor = _factors([glossy.get("glossinessFactor", 1.0)], 1)
    if "specularGlossinessTexture" in glossy:
        image, label = reader.image(glossy["specularGlossinessTexture"], colour=False)
        if not image.alpha:
            raise bad_input(label, "has no alpha", "a specular-glossiness texture keeps glossiness there")
        plane = DecodedImage(np.ascontiguousarray(image.texels[..., -1:]))
        found, _ = settle(Role.ROUGHNESS, plane, label, nonfinite=reader.nonfinite)
        gloss = _times(found[MapKind.ROUGHNESS], factor)
        rough = encode_linear(MapKind.ROUGHNESS, 1 - gloss.linear(), gloss.texels.dtype)
        parts.maps[MapKind.ROUGHNESS] = TextureMap(MapKind.ROUGHNESS, rough)
    else:
        parts.constants[MapKind.ROUGHNESS] = 1 - factor
    parts.notes.append(f"{parts.name}: glossiness was inverted to roughness; its specular colour is not used")


def _factors(value: Any, count: int) -> Float32:
    """`count` numbers of 0..1; all 1 if there are none."""
    if value is None:
        return np.ones(count, np.float32)
    numbers = np.array([float(number) for number in value], np.float32)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{value!r} should be {count} numbers")
    return np.clip(numbers, 0, 1)


def _times(texture: TextureMap, factors: Float32) -> TextureMap:
    """Texels times a factor for each channel, in linear light, rounded once."""
    if (factors == 1).all():
        return texture
    texels = texture.texels
    if texels.dtype == np.float32:
        return TextureMap(texture.kind, texels * factors)
    top = int(np.iinfo(texels.dtype).max)
    levels = linear_levels(top) if texture.kind is MapKind.ALBEDO else np.arange(top + 1, dtype=np.float32) / top
    out: npt.NDArray[Any] = np.empty_like(texels)
    for channel, factor in enumerate(factors):
        table = encode_linear(texture.kind, np.asarray(levels * factor, np.float32), texels.dtype)
        out[..., channel] = np.take(table, texels[..., channel])
    return TextureMap(texture.kind, out)


def _scaled(normal: TextureMap, scale: float) -> TextureMap:
    """glTF 2.0, normalTextureInfo.scale: normalise((2 t - 1) * (scale, scale, 1))."""
    if scale == 1 or not math.isfinite(scale):
        return normal
    out = np.empty_like(normal.texels)
    for start in range(0, len(out), BAND):
        vectors = normal.linear(slice(start, start + BAND)) * np.array([scale, scale, 1], np.float32)
        out[start : start + BAND] = encode_linear(MapKind.NORMAL, unit_normals(vectors), out.dtype)
    return TextureMap(MapKind.NORMAL, out)
