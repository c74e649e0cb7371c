"""A material: named maps of one size in known colour spaces, loaded from a photo, a folder of maps or a mesh.

Whatever convention a file follows (sRGB or linear, OpenGL or DirectX, packed or single, glossiness or roughness) is
settled here once; everything behind works with albedo in sRGB primaries, OpenGL normals, and scalars in 0..1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from texsynth.errors import from_os_error

if TYPE_CHECKING:
    from texsynth.image_io import DecodeLimits
    from texsynth.surface.gltf import Gltf

Float32 = npt.NDArray[np.float32]
NonFinite = Literal["refuse", "clamp"]

MESH_SUFFIXES = frozenset({".glb", ".gltf", ".obj", ".ply", ".stl"})
MESH_NAMES = ".glb, .gltf, .obj, .ply or .stl"
# Whole-map conversions go through float32 in bands of so many rows, so that an 8K map never needs 0.8 GB at once.
BAND = 256


class MapKind(StrEnum):
    """The maps of a material."""

    ALBEDO = "albedo"
    NORMAL = "normal"
    ROUGHNESS = "roughness"
    METALNESS = "metalness"
    HEIGHT = "height"
    OPACITY = "opacity"


CHANNELS: dict[MapKind, int] = {
    MapKind.ALBEDO: 3,
    MapKind.NORMAL: 3,
    MapKind.ROUGHNESS: 1,
    MapKind.METALNESS: 1,
    MapKind.HEIGHT: 1,
    MapKind.OPACITY: 1,
}
# Encoded values of a map that says nothing.
DEFAULT_TEXEL: dict[MapKind, tuple[float, ...]] = {
    MapKind.ALBEDO: (0.5, 0.5, 0.5),
    MapKind.NORMAL: (0.5, 0.5, 1.0),
    MapKind.ROUGHNESS: (0.5,),
    MapKind.METALNESS: (0.0,),
    MapKind.HEIGHT: (0.5,),
    MapKind.OPACITY: (1.0,),
}


def srgb_to_linear(x: Float32) -> Float32:
    """sRGB-encoded 0..1 to linear light 0..1, any shape (IEC 61966-2-1, exact piecewise curve)."""
    curve = ((np.maximum(x, np.float32(0.04045)) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.asarray(np.where(x <= 0.04045, x / np.float32(12.92), curve), np.float32)


def linear_to_srgb(x: Float32) -> Float32:
    """Linear light 0..1 to sRGB-encoded 0..1, any shape (IEC 61966-2-1, exact piecewise curve)."""
    curve = np.float32(1.055) * np.maximum(x, np.float32(0.0031308)) ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.asarray(np.where(x <= 0.0031308, x * np.float32(12.92), curve), np.float32)


@cache
def linear_levels(top: int) -> Float32:
    """Linear light of every sRGB-encoded integer 0..top."""
    return srgb_to_linear(np.arange(top + 1, dtype=np.float32) / np.float32(top))


def unit_normals(vectors: Float32) -> Float32:
    """(..., 3) vectors scaled to length 1; those without a direction become (0, 0, 1)."""
    length = np.sqrt(np.einsum("...c,...c->...", vectors, vectors))[..., None]
    out: Float32 = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-6)
    out[..., 2:] += (length <= 1e-6).astype(np.float32)
    return out


@dataclass(frozen=True)
class TextureMap:
    """One map as stored.

    texels: (H, W, C), dtype uint8, uint16 or float32; row 0 is the top row, texel centres lie at (i + 0.5).
    Albedo: integers are sRGB-encoded, float32 is linear light. Normal: OpenGL (+Y towards row 0); integers encode
    [-1, 1] as 0..max, float32 holds 0..1 encoded the same way. Scalars: 0..1, integers over their maximum.
    """

    kind: MapKind
    texels: npt.NDArray[Any] = field(repr=False)

    def __post_init__(self) -> None:
        shape, dtype = self.texels.shape, self.texels.dtype
        if len(shape) != 3 or shape[2] != CHANNELS[self.kind] or 0 in shape:
            raise ValueError(f"{self.kind} needs texels of shape (H, W, {CHANNELS[self.kind]}), got {shape}")
        if dtype not in (np.uint8, np.uint16, np.float32):
            raise ValueError(f"{self.kind} needs uint8, uint16 or float32, got {dtype}")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.texels.shape[0], self.texels.shape[1]

    def linear(self, rows: slice = slice(None)) -> Float32:
        """(h, W, C) float32: albedo in linear light, normals as unit vectors, scalars 0..1."""
        texels = self.texels[rows]
        if self.kind is MapKind.ALBEDO:
            if texels.dtype == np.float32:
                return texels.copy()
            light: Float32 = linear_levels(int(np.iinfo(texels.dtype).max))[texels]
            return light
        encoded = unit_range(texels)
        return unit_normals(encoded * 2 - 1) if self.kind is MapKind.NORMAL else encoded

    def encoded(self, rows: slice = slice(None)) -> Float32:
        """(h, W, C) float32 in 0..1: albedo sRGB-encoded, normals as (n + 1) / 2 as stored, scalars as they are."""
        texels = self.texels[rows]
        if self.kind is MapKind.ALBEDO and texels.dtype == np.float32:
            return linear_to_srgb(np.clip(texels, 0, 1))
        return unit_range(texels)

    @classmethod
    def from_linear(cls, kind: MapKind, linear: Float32, dtype: npt.DTypeLike = np.uint8) -> TextureMap:
        """The inverse of `linear`: (H, W, C) float32 to storage in uint8, uint16 or float32, rounded to nearest."""
        return cls(kind, encode_linear(kind, linear, np.dtype(dtype)))


def unit_range(texels: npt.NDArray[Any]) -> Float32:
    """A float32 copy of stored texels, integers over their maximum."""
    if texels.dtype == np.float32:
        return texels.copy()
    return texels.astype(np.float32) / np.float32(np.iinfo(texels.dtype).max)


def encode_linear(kind: MapKind, linear: Float32, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Texels of any shape as a TextureMap of `kind` stores them: the inverse of `linear`, rounded to nearest."""
    if kind is MapKind.ALBEDO and dtype != np.float32:
        linear = linear_to_srgb(np.clip(linear, 0, 1))
    elif kind is MapKind.NORMAL:
        linear = linear * np.float32(0.5) + np.float32(0.5)
    if dtype == np.float32:
        return linear.astype(np.float32, copy=False)
    return (np.clip(linear, 0, 1) * np.float32(np.iinfo(dtype).max) + np.float32(0.5)).astype(dtype)


@dataclass(frozen=True)
class Material:
    """Named maps, all of one size.

    maps: in the order of MapKind. estimated: the maps that were estimated, not given. notes: what was assumed or
    converted, one line each.
    """

    name: str
    maps: dict[MapKind, TextureMap]
    estimated: frozenset[MapKind] = frozenset()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.maps:
            raise ValueError(f"{self.name}: a material needs at least one map")
        if len({texture.size for texture in self.maps.values()}) != 1:
            sizes = {str(kind): texture.size for kind, texture in self.maps.items()}
            raise ValueError(f"{self.name}: maps of one material share one size, got {sizes}")
        object.__setattr__(self, "maps", {kind: self.maps[kind] for kind in MapKind if kind in self.maps})

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every map."""
        return next(iter(self.maps.values())).size


def material_digest(material: Material) -> str:
    """SHA-256 in hexadecimal over kind, dtype, shape and texels of every map. Equal exactly when the maps are."""
    digest = hashlib.sha256()
    for kind, texture in material.maps.items():
        digest.update(f"{kind} {texture.texels.dtype.str} {texture.texels.shape}\n".encode())
        digest.update(np.ascontiguousarray(texture.texels).data)
    return digest.hexdigest()


# --- from files -------------------------------------------------------------------------------------------------
# The functions below import their parts when called: decoders take a fifth of a second, and most modules only need
# the types above.


def load_material(
    path: Path,
    *,
    directx: bool | None = None,
    limits: DecodeLimits | None = None,
    nonfinite: NonFinite = "refuse",
    by_name: bool = False,
) -> Material:
    """One image (a photo: albedo, and opacity from its alpha), a folder of maps, or a mesh (`MESH_SUFFIXES`).

    Of a mesh this is the first material with an albedo texture; `load_materials` gives all.
    directx: True or False says what the normal map is, whatever its name; None goes by the name.
    limits: what a file may ask for before it is decoded (default `DecodeLimits()`).
    nonfinite: what to do with NaN and infinity in float images: refuse, or clamp and say so in the notes.
    by_name: one image is the map that its name says, and not always an albedo.
    Raises TexsynthError, one line, for every input that is not a readable material (`texsynth.image_io` and
    `texsynth.material_files` say for what).
    """
    path = Path(path)
    if path.suffix.lower() in MESH_SUFFIXES and not path.is_dir():
        from texsynth.mesh_material import load_first_textured

        return load_first_textured(path, directx=directx, limits=limits, nonfinite=nonfinite)
    from texsynth.material_files import load_folder, load_named_map, load_photo

    try:
        if path.is_dir():
            return load_folder(path, directx=directx, limits=limits, nonfinite=nonfinite)
    except OSError as error:
        raise from_os_error(error, path) from None
    if by_name:
        return load_named_map(path, directx=directx, limits=limits, nonfinite=nonfinite)
    return load_photo(path, limits=limits, nonfinite=nonfinite)


def load_materials(
    path: Path,
    *,
    slots: Sequence[int] | None = None,
    directx: bool | None = None,
    limits: DecodeLimits | None = None,
    nonfinite: NonFinite = "refuse",
    container: Gltf | None = None,
) -> tuple[Material, ...]:
    """The materials of a mesh file, in the file's order; with `slots` only those of these numbers, in theirs.

    container: the file as read before, perhaps changed since. The other arguments and errors as in `load_material`;
    `texsynth.mesh_material` says how glTF's factors are settled.
    """
    from texsynth.mesh_material import load_slots

    return load_slots(path, slots, directx=directx, limits=limits, nonfinite=nonfinite, container=container)


def estimate_missing(material: Material, wanted: Iterable[MapKind] = (MapKind.NORMAL, MapKind.ROUGHNESS)) -> Material:
    """The material with those of `wanted` (normal, roughness, height) that it lacks, estimated from its albedo.

    They are listed in `estimated` and in the notes; `texsynth.estimate` documents how. Unchanged if nothing lacks.
    Raises TexsynthError if something is to be estimated and there is no albedo.
    """
    from texsynth.estimate import with_estimates

    return with_estimates(material, frozenset(wanted))


def directx_likelihood(normal: TextureMap) -> float:
    """-1 (surely OpenGL) .. 1 (surely DirectX) by the curl: dp/dy = dq/dx holds for the slopes p, q of any height.

    With green inverted the two sides have opposite signs; this is minus their correlation over the central 1024 x 1024
    texels, slopes blurred by 3 x 3. Maps that are no gradient of a height (detail over a sculpted base, lossy flat
    maps) lie near 0: of 223 published maps called OpenGL, 6 exceed 0.15, half of them of unknown origin.
    """
    height, width = normal.size
    y, x = max(0, height // 2 - 512), max(0, width // 2 - 512)
    vectors = normal.linear(slice(y, y + 1024))[:, x : x + 1024]
    if min(vectors.shape[:2]) < 8:
        return 0.0
    slopes = -vectors[..., :2] / np.maximum(vectors[..., 2:], np.float32(0.1))
    for _ in range(2):  # Quantisation of flat maps must not outweigh the shape.
        slopes = (slopes[:-1] + slopes[1:])[:, :-1] + (slopes[:-1] + slopes[1:])[:, 1:]
    upward = slopes[:-2, 1:-1, 0] - slopes[2:, 1:-1, 0]
    across = slopes[1:-1, 2:, 1] - slopes[1:-1, :-2, 1]
    norm = float(np.sqrt(np.vdot(upward, upward) * np.vdot(across, across)))
    return -float(np.vdot(upward, across)) / norm if norm > 1e-9 else 0.0


# --- sizes ------------------------------------------------------------------------------------------------------


def resample(texture: TextureMap, height: int, width: int) -> TextureMap:
    """Bilinear to (height, width) by texel centres, edges clamped, in `linear()`; normals are renormalised.

    For enlarging; dtype is kept and memory beyond the result is a band of rows.
    """
    source_height, source_width, channels = texture.texels.shape
    left, right, across = bilinear_taps(source_width, width, np.arange(width))
    out = np.empty((height, width, channels), texture.texels.dtype)
    for start in range(0, height, BAND):
        top, bottom, down = bilinear_taps(source_height, height, np.arange(start, min(start + BAND, height)))
        first = int(top.min())
        rows = texture.linear(slice(first, int(bottom.max()) + 1))
        band = rows[top - first] * (1 - down)[:, None, None] + rows[bottom - first] * down[:, None, None]
        band = np.asarray(band[:, left] * (1 - across)[:, None] + band[:, right] * across[:, None], np.float32)
        if texture.kind is MapKind.NORMAL:
            band = unit_normals(band)
        out[start : start + len(band)] = encode_linear(texture.kind, band, texture.texels.dtype)
    return TextureMap(texture.kind, out)


def bilinear_taps(
    source: int, target: int, at: npt.NDArray[np.intp] | npt.NDArray[np.float64], *, wrap: bool = False
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float32]:
    """For output texels `at` of `target`: the two source texels whose centres enclose theirs, and the weight of the
    second. At the edge clamped, or wrapped around."""
    centre = (at + 0.5) * (source / target) - 0.5
    low = np.floor(centre).astype(np.intp)
    weight = (centre - low).astype(np.float32)
    if wrap:
        return low % source, (low + 1) % source, weight
    return np.clip(low, 0, source - 1), np.clip(low + 1, 0, source - 1), weight
