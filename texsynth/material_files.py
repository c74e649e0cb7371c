"""From files to a material: one photo, or a folder of maps under the usual names.

What a file is, is told by its name (ambientCG, Poly Haven, Unreal, Substance and plain names); what it holds is then
settled once: channel, colour space, OpenGL normals, roughness instead of glossiness, one size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from texsynth.errors import bad_input
from texsynth.image_io import FORMATS, SUFFIXES, DecodedImage, DecodeLimits, read_image
from texsynth.material import (
    BAND,
    MESH_NAMES,
    MESH_SUFFIXES,
    Float32,
    MapKind,
    Material,
    NonFinite,
    TextureMap,
    directx_likelihood,
    encode_linear,
    resample,
    unit_range,
)

# Images as other programs keep them, of which a user may think that they are read.
_UNREAD = frozenset(
    {".psd", ".psb", ".bmp", ".gif", ".jp2", ".jxl", ".avif", ".heic", ".heif", ".sbsar", ".xcf", ".kra"}
)
TEXTURES = "textures"  # the subfolder in which Poly Haven's packages keep the maps


def load_named_map(
    path: Path,
    *,
    directx: bool | None = None,
    limits: DecodeLimits | None = None,
    nonfinite: NonFinite = "refuse",
) -> Material:
    """One image as the map that its name says (`role_of`), or as `load_photo` takes it. Raises TexsynthError."""
    role, _ = role_of(path.stem)
    if role in (None, Role.ALBEDO, Role.UNUSED):
        return load_photo(path, limits=limits, nonfinite=nonfinite)
    maps, notes = settle(role, read_image(path, limits, colour=False), path, directx=directx, nonfinite=nonfinite)
    return Material(path.stem, maps, notes=(f"{path.name}: taken as {role}, by its name", *notes))


def load_photo(path: Path, *, limits: DecodeLimits | None = None, nonfinite: NonFinite = "refuse") -> Material:
    """One image as albedo, and opacity from its alpha. Raises TexsynthError."""
    if path.suffix.lower() in (".fbx", ".blend", ".usd", ".usda", ".usdc", ".usdz", ".dae", ".stl", ".ply"):
        raise bad_input(path, "is a kind of mesh that texsynth does not read", "export it as .glb")
    image = read_image(path, limits)
    maps, notes = settle(Role.ALBEDO, image, path, nonfinite=nonfinite)
    role, _ = role_of(path.stem)
    if role in {Role.NORMAL, Role.NORMAL_GL, Role.NORMAL_DX, Role.PACKED, *_SCALAR_OF}:
        notes = (*notes, f"{path.name}: named like {role}, but a single image is taken as albedo; give its folder")
    return Material(path.stem, maps, notes=notes)


# --- file names -------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """What a file of a folder is, told by its name."""

    ALBEDO = "albedo"
    NORMAL_GL = "normal (OpenGL)"
    NORMAL_DX = "normal (DirectX)"
    NORMAL = "normal"
    ROUGHNESS = "roughness"
    GLOSSINESS = "glossiness"
    METALNESS = "metalness"
    HEIGHT = "height"
    OPACITY = "opacity"
    PACKED = "packed occlusion, roughness, metalness"
    UNUSED = "not used"


# Names by role, in lower case without separators; the earlier of two names in one folder is preferred.
_NAMES: dict[Role, str] = {
    Role.ALBEDO: "albedo basecolor basecolour color colour col diffuse diff bc alb basemap d "
    "albedotransparency basecoloropacity diffuseopacity",
    Role.NORMAL_GL: "normalgl norgl nrmgl normalopengl noropengl normalogl",
    Role.NORMAL_DX: "normaldx nordx nrmdx normaldirectx nordirectx",
    Role.NORMAL: "normal normals nor nrm norm nrml n",
    Role.ROUGHNESS: "roughness rough rgh r",
    Role.GLOSSINESS: "glossiness gloss smoothness",
    Role.METALNESS: "metalness metallic metallness metal met mtl m",
    Role.HEIGHT: "height displacement disp displ depth bump h",
    Role.OPACITY: "opacity alpha transparency",
    Role.PACKED: "orm arm occlusionroughnessmetallic occlusionroughnessmetalness occlusionroughmetal aoroughmetal "
    "aoroughnessmetallic metallicroughness metalroughness metalrough roughnessmetallic roughmetal",
    Role.UNUSED: "ao ambientocclusion occlusion occ mixedao emissive emission emit specular spec specularlevel "
    "cavity curvature preview thumb thumbnail render translucency sss mask maskmap id idmap anisotropy "
    "metallicsmoothness specularsmoothness s e",
}
_RANK = {name: (role, rank) for role, names in _NAMES.items() for rank, name in enumerate(names.split())}
# What may follow the name of the map: a resolution, a number, a file format, a filler word.
_TRAILER = re.compile(r"\d+k?|px|var|bit|png|jpe?g|webp|tiff?|tga|exr|hdr|map|tex|texture|lod|u|v|tile")
# Poliigon ends the names of all maps of a set with its workflow, behind the resolution: *_COL_2K_METALNESS.
_WORKFLOWS = ("metalness", "specular")
_RESOLUTION = re.compile(r"\d+k")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+(?:[kK](?![a-z]))?")
UNDERSTOOD = (
    "*_Color, *_BaseColor, *_diff, *_albedo, T_*_BC or T_*_D; *_NormalGL, *_nor_gl, *_NormalDX, *_nor_dx, *_Normal or "
    "*_N; *_Roughness, *_rough, *_Glossiness; *_Metalness, *_Metallic; *_Displacement, *_disp, *_Height; *_Opacity; "
    "packed *_ORM, *_arm"
)


def _parse(stem: str) -> tuple[str | None, list[str]]:
    """The name of a map at the end of `stem` and the words before it; None and all words if there is none."""
    words = [word.lower() for word in _WORD.findall(stem)]
    if len(words) > 2 and words[-1] in _WORKFLOWS and _RESOLUTION.fullmatch(words[-2]):
        name, rest = _named_at_the_end(words[:-2])
        if name is not None:
            return name, rest
    return _named_at_the_end(words)


def _named_at_the_end(words: list[str]) -> tuple[str | None, list[str]]:
    end = len(words)
    while end > 1 and _TRAILER.fullmatch(words[end - 1]) and words[end - 1] not in _RANK:
        end -= 1
    for length in range(min(4, end), 0, -1):
        name = "".join(words[end - length : end])
        if name in _RANK:
            return name, words[: end - length]
    return None, words


def role_of(stem: str) -> tuple[Role | None, str]:
    """What a file called `stem` (no suffix) holds by the usual conventions, and the rest of its name (the set).

    Conventions: ambientCG, Poly Haven, Unreal (T_*_BC), Substance, and plain names; None if there is no telling.
    """
    name, rest = _parse(stem)
    role = _RANK[name][0] if name is not None else None
    if name == "n" and rest[:1] == ["t"]:
        role = Role.NORMAL_DX  # Unreal's T_*_N; the engine is DirectX throughout.
    return role, " ".join(word for word in rest if word.isdigit() or not _TRAILER.fullmatch(word))


_FORMAT_RANK = {suffix: rank for rank, suffix in enumerate((".exr", ".tif", ".tiff", ".png", ".tga", ".hdr", ".webp"))}


def _choose(role: Role, paths: list[Path], notes: list[str]) -> Path:
    """One of several files that claim the same map: the preferred name, then format, then the larger file."""
    if len(paths) == 1:
        return paths[0]
    sets = sorted({role_of(path.stem)[1] for path in paths})
    if len(sets) > 1:
        listed = ", ".join(path.name for path in paths[:6])
        raise bad_input(
            paths[0].parent, f"holds {len(paths)} files for {role} ({listed})", "give one material per folder"
        )

    def preference(path: Path) -> tuple[int, int, int, str]:
        name, _ = _parse(path.stem)
        rank = _RANK[name][1] if name is not None else 0
        return rank, _FORMAT_RANK.get(path.suffix.lower(), 9), -path.stat().st_size, path.name

    chosen = min(paths, key=preference)
    others = ", ".join(path.name for path in paths if path != chosen)
    notes.append(f"{chosen.name}: taken for {role}; not used: {others}")
    return chosen


# --- a folder of maps -------------------------------------------------------------------------------------------


def load_folder(
    folder: Path,
    *,
    directx: bool | None = None,
    limits: DecodeLimits | None = None,
    nonfinite: NonFinite = "refuse",
) -> Material:
    """The maps in a folder (or in its subfolder `textures`), brought to one size.

    Raises TexsynthError: no images, no known name, two materials in one folder, maps of different aspect, an image
    that cannot be read.
    """
    files, unread = _images_of(folder)
    named = {path: role_of(path.stem) for path in files}
    found: dict[Role, list[Path]] = {}
    for path, (role, _) in named.items():
        if role is not None and role is not Role.UNUSED:
            found.setdefault(role, []).append(path)
    if not found:
        what = f"holds no map with a known name (found {_listed(files)})"
        raise bad_input(folder, what, f"give a photo by itself, or name maps like {UNDERSTOOD}")
    notes: list[str] = []
    if unread:
        _require_colours(unread, found)
        notes.append(f"{folder.name}: not read: {_listed(unread)}")
    chosen = {role: _choose(role, paths, notes) for role, paths in found.items()}
    _drop_superseded(chosen, directx, notes)
    sets = sorted({named[path][1] for path in chosen.values()} - {""})
    if len(sets) > 1:
        notes.append(f"{folder.name}: its maps have different names ({', '.join(sets[:4])}); taken as one material")
    ignored = [path for path, (role, _) in named.items() if role in (None, Role.UNUSED)]
    if ignored:
        notes.append(f"{folder.name}: not used: {_listed(ignored)}")
    maps: dict[MapKind, TextureMap] = {}
    for role, path in chosen.items():
        image = read_image(path, limits, colour=role is Role.ALBEDO)
        settled, remarks = settle(role, image, path, directx=directx, nonfinite=nonfinite)
        for kind, texture in settled.items():
            # A map of its own comes before the same map in a packed file or an alpha channel.
            if kind not in maps or role not in (Role.PACKED, Role.ALBEDO):
                maps[kind] = texture
        notes += remarks
    if MapKind.ALBEDO not in maps:
        notes.append(f"{folder.name}: has no albedo")
    return combine(folder.name, maps, notes, folder)


def _images_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images in a folder or its subfolder `textures`, and those of kinds that are not read."""
    inside = folder / TEXTURES
    files = _image_files(folder) or (_image_files(inside) if inside.is_dir() else [])
    unread = _unread_images(folder) or (_unread_images(inside) if inside.is_dir() else [])
    if not files:
        if unread:
            raise bad_input(folder, f"holds no image that texsynth reads (found {_listed(unread)})", f"save {FORMATS}")
        if any(path.suffix.lower() in MESH_SUFFIXES for path in folder.iterdir()):
            raise bad_input(folder, "is the folder of a mesh", f"give the {MESH_NAMES} file itself")
        raise bad_input(folder, "holds no images", f"give a folder of {FORMATS} maps named like {UNDERSTOOD}")
    return files, unread


def _require_colours(unread: list[Path], found: dict[Role, list[Path]]) -> None:
    """Without its colours a material would be another one: to go on would be a surprise at the end of the run."""
    colours = [path for path in unread if role_of(path.stem)[0] is Role.ALBEDO]
    if colours and Role.ALBEDO not in found:
        raise bad_input(colours[0], "is a kind of image that texsynth does not read", f"save it as {FORMATS}")


def _image_files(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def _unread_images(folder: Path) -> list[Path]:
    return _image_files(folder, _UNREAD)


def _listed(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:8]) + (", ..." if len(paths) > 8 else "")


def _drop_superseded(chosen: dict[Role, Path], directx: bool | None, notes: list[str]) -> None:
    """Of several normals keep one (OpenGL first, or DirectX if the flag says so); roughness before glossiness."""
    order = [Role.NORMAL_GL, Role.NORMAL, Role.NORMAL_DX]
    for choice in (order[::-1] if directx else order, [Role.ROUGHNESS, Role.GLOSSINESS]):
        present = [role for role in choice if role in chosen]
        for role in present[1:]:
            notes.append(f"{chosen[present[0]].name}: taken; not used: {chosen[role].name}")
            del chosen[role]
    singles = {Role.ROUGHNESS, Role.GLOSSINESS} & chosen.keys()
    if Role.PACKED in chosen and singles and Role.METALNESS in chosen:
        notes.append(f"{chosen[Role.PACKED].name}: not used, its maps are given singly")
        del chosen[Role.PACKED]


def combine(name: str, maps: Mapping[MapKind, TextureMap], notes: Iterable[str], where: Path | str) -> Material:
    """A material of maps that may differ in size: all are brought to the largest.

    Raises TexsynthError if they differ in aspect by a texel of the smaller map or more.
    """
    remarks = list(notes)
    height, width = max((texture.size for texture in maps.values()), key=lambda size: size[0] * size[1])
    settled = dict(maps)
    for kind, texture in maps.items():
        h, w = texture.size
        if abs(w * height - h * width) >= min(width, height):
            sizes = ", ".join(f"{k} {t.size[1]} x {t.size[0]}" for k, t in maps.items())
            raise bad_input(where, f"has maps of different aspect ({sizes})", "give maps of one aspect")
        if (h, w) != (height, width):
            remarks.append(f"{kind}: resampled from {w} x {h} to {width} x {height}")
            settled[kind] = resample(texture, height, width)
    return Material(name, settled, notes=tuple(remarks))


# --- from pixels to a map ---------------------------------------------------------------------------------------

_SCALAR_OF = {
    Role.ROUGHNESS: MapKind.ROUGHNESS,
    Role.GLOSSINESS: MapKind.ROUGHNESS,
    Role.METALNESS: MapKind.METALNESS,
    Role.HEIGHT: MapKind.HEIGHT,
    Role.OPACITY: MapKind.OPACITY,
}


@dataclass
class _Input:
    """One image on its way to a map: what to call it, what to do with NaN, and what has been assumed so far."""

    where: Path | str
    nonfinite: NonFinite
    notes: list[str]

    def note(self, text: str) -> None:
        self.notes.append(f"{self.where.name if isinstance(self.where, Path) else self.where}: {text}")


def settle(
    role: Role,
    image: DecodedImage,
    where: Path | str,
    *,
    directx: bool | None = None,
    nonfinite: NonFinite = "refuse",
) -> tuple[dict[MapKind, TextureMap], tuple[str, ...]]:
    """The maps that one image holds in `role`, with every convention settled, and notes.

    The image is consumed: its texels may be reused and changed.
    Raises TexsynthError: too few channels for the role, NaN or infinity with nonfinite="refuse".
    """
    source = _Input(where, nonfinite, list(image.notes))
    if role is Role.ALBEDO:
        maps = _settle_albedo(image, source)
    elif role in (Role.NORMAL, Role.NORMAL_GL, Role.NORMAL_DX):
        flip = role is Role.NORMAL_DX if directx is None else directx
        maps = {MapKind.NORMAL: _settle_normal(image, source, flip)}
        if directx is None and directx_likelihood(maps[MapKind.NORMAL]) > 0.15:
            taken, other = ("DirectX", "OpenGL") if flip else ("OpenGL", "DirectX")
            source.note(
                f"taken as {taken}, but its curl looks like {other}; say --{other.lower()} if it looks inverted"
            )
    elif role is Role.PACKED:
        if image.texels.shape[2] - image.alpha != 3:
            raise bad_input(where, "is not RGB", "a packed map holds occlusion, roughness and metalness")
        maps = {
            kind: _settle_scalar(kind, image.texels[..., channel], source)
            for kind, channel in ((MapKind.ROUGHNESS, 1), (MapKind.METALNESS, 2))
        }
    else:
        kind = _SCALAR_OF[role]
        scalar = _settle_scalar(kind, _scalar_channel(role, image, source), source)
        if role is Role.GLOSSINESS:
            scalar = TextureMap(kind, _top(scalar.texels.dtype) - scalar.texels)
            source.note("glossiness was inverted to roughness")
        maps = {kind: scalar}
    return maps, tuple(source.notes)


def _top(dtype: np.dtype[Any]) -> Any:
    """The stored value that stands for 1, in the dtype itself."""
    return dtype.type(1 if dtype == np.float32 else np.iinfo(dtype).max)


def _settle_albedo(image: DecodedImage, source: _Input) -> dict[MapKind, TextureMap]:
    colours = image.texels.shape[2] - image.alpha
    texels = image.texels[..., :colours]
    if colours == 2:
        raise bad_input(source.where, "has two colour channels", "an albedo is grey or RGB")
    if colours == 1:
        texels = np.repeat(texels, 3, axis=2)
    if texels.dtype == np.float32:
        texels = _finite(texels, source)
        _clamp_negative(texels, source)
        _expose(texels, source)
    maps = {MapKind.ALBEDO: TextureMap(MapKind.ALBEDO, np.ascontiguousarray(texels))}
    if image.alpha:
        alpha = _settle_scalar(MapKind.OPACITY, image.texels[..., colours], source)
        if alpha.texels.min() >= _top(alpha.texels.dtype):
            source.note("its alpha is opaque everywhere and was dropped")
        else:
            maps[MapKind.OPACITY] = alpha
    return maps


def _expose(texels: Float32, source: _Input) -> None:
    """Albedo ends at 1. Some texels above it are clipped; a picture that is above it as a whole is scaled down."""
    above = float(np.mean(texels > 1))
    if above > 0.001:
        # The 99.9th percentile of a sample of about a million texels: a few glints must not darken the whole.
        step = max(1, texels.shape[0] * texels.shape[1] // 2**20)
        scale = float(np.quantile(texels.reshape(-1, 3)[::step].max(axis=1), 0.999, method="lower"))
        if scale > 1:
            texels /= np.float32(scale)
            source.note(f"its light was divided by {scale:.4g} to fit 0..1")
    elif above > 0:
        source.note(f"{above:.2%} of its values exceed 1 and were clipped")
    np.minimum(texels, 1, out=texels)


def _settle_normal(image: DecodedImage, source: _Input, flip: bool) -> TextureMap:
    channels = image.texels.shape[2]
    if channels == 1:
        raise bad_input(source.where, "has one channel", "a normal map has two or three; name a bump map *_Height")
    if channels == 4:
        source.note("the alpha of the normal map was dropped")
    texels = np.require(image.texels[..., :3], requirements=["C", "W", "O"])
    if texels.dtype == np.float32:
        texels = _finite(texels, source)
        if float(texels[..., :2].min()) < -0.01:
            source.note("taken as vectors in -1..1")
            texels *= np.float32(0.5)
            texels += np.float32(0.5)
        np.clip(texels, 0, 1, out=texels)
    top = _top(texels.dtype)
    # A third channel with one value everywhere, and one too small for a unit vector's, is a filler.
    if channels == 2 or (texels[..., 2].min() == texels[..., 2].max() < 0.6 * top):
        texels = _with_rebuilt_z(texels)
        source.note("has two channels; Z was rebuilt")
    if flip:
        texels[..., 1] = top - texels[..., 1]
        source.note("DirectX normals were converted to OpenGL (green inverted)")
    return TextureMap(MapKind.NORMAL, texels)


def _with_rebuilt_z(texels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    out = np.empty((*texels.shape[:2], 3), texels.dtype)
    out[..., :2] = texels[..., :2]
    for start in range(0, len(out), BAND):
        xy = unit_range(texels[start : start + BAND, :, :2]) * 2 - 1
        z = np.sqrt(np.maximum(0, 1 - np.einsum("yxc,yxc->yx", xy, xy)))
        out[start : start + BAND, :, 2] = encode_linear(MapKind.NORMAL, z, texels.dtype)
    return out


def _scalar_channel(role: Role, image: DecodedImage, source: _Input) -> npt.NDArray[Any]:
    """(H, W). Of grey saved as RGB the green channel, which lossy formats keep best; of opacity a real alpha."""
    texels, colours = image.texels, image.texels.shape[2] - image.alpha
    top = _top(texels.dtype)
    if role is Role.OPACITY and image.alpha and texels[..., colours].min() < top:
        source.note("opacity was taken from its alpha")
        return texels[..., colours]
    if colours == 1:
        return texels[..., 0]
    sample = texels[:: max(1, texels.shape[0] // 256), :: max(1, texels.shape[1] // 256), :colours]
    sample = np.clip(np.nan_to_num(sample.astype(np.float64)), 0, top)
    if float(np.mean(sample.max(axis=-1) - sample.min(axis=-1))) > 0.03 * top:
        source.note("is coloured; its green channel was taken")
    return texels[..., 1]


def _settle_scalar(kind: MapKind, plane: npt.NDArray[Any], source: _Input) -> TextureMap:
    texels = np.array(plane[..., None], order="C")
    if texels.dtype == np.float32:
        texels = _finite(texels, source)
        low, high = float(texels.min()), float(texels.max())
        if kind is MapKind.HEIGHT and (low < 0 or high > 1):
            # Displacement in metres or around zero: only its shape matters here.
            texels = ((texels - np.float64(low)) / max(high - low, 1e-30)).astype(np.float32)
            source.note(f"heights {low:.4g} .. {high:.4g} were scaled to 0..1")
        else:
            _clamp_negative(texels, source)
            if high > 1:
                source.note(f"{kind} above 1 was clipped")
        np.clip(texels, 0, 1, out=texels)
    return TextureMap(kind, texels)


def _finite(texels: Float32, source: _Input) -> Float32:
    """A writable copy without NaN and infinity: refused, or NaN and -inf become 0 and +inf the largest finite."""
    texels = np.require(texels, requirements=["C", "W", "O"])
    bad = sum(int(np.count_nonzero(~np.isfinite(texels[y : y + BAND]))) for y in range(0, len(texels), BAND))
    if bad == 0:
        return texels
    if source.nonfinite == "refuse":
        raise bad_input(
            source.where,
            f"holds {bad} values that are NaN or infinite",
            "export it again, or let them be clamped (--clamp-nonfinite)",
        )
    largest = float(np.max(texels, initial=0, where=np.isfinite(texels)))
    np.nan_to_num(texels, copy=False, nan=0, posinf=largest, neginf=0)
    source.note(f"{bad} values that were NaN or infinite were clamped")
    return texels


def _clamp_negative(texels: Float32, source: _Input) -> None:
    negative = int(np.count_nonzero(texels < 0))
    if negative:
        np.maximum(texels, 0, out=texels)
        source.note(f"{negative} negative values were clamped to 0")
