"""Procedural PBR materials of our own: tileable, with albedo, normal, roughness and height that agree to the texel.

They serve as exemplars in the demo and in tests, and later as training data: nobody else's files are needed.
`generate` makes one in memory, `write` saves it as a folder of maps that `load_material` reads.

A material is a function of (kind, size, seed). `size` is resolution only: the layout, in units of the side, is the
same at every size, and finer noise is added at the fine end. Random numbers are numpy's PCG64; no fast-math and no
threads are involved, so machines differ at most in the rounding of their FFT and elementary functions.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from texsynth.errors import bad_input, from_os_error
from texsynth.material import MapKind, Material, TextureMap, linear_to_srgb, srgb_to_linear
from texsynth.run import write_atomically
from texsynth.train import procedural_crafted as crafted
from texsynth.train import procedural_ground as ground
from texsynth.train import procedural_masonry as masonry
from texsynth.train.procedural_field import Field, Plane, limited, normals_of
from texsynth.train.procedural_surface import Surface

SIZES = range(32, 4097)  # some kinds need 600 bytes a texel while they are made: 10 GB at 4096
# Height fields have no overhangs; a scan's steepest usable slope is about this (76 degrees), and so is ours.
STEEPEST = 4.0


@dataclass(frozen=True)
class _Kind:
    make: Callable[[Plane], Surface]
    side_metres: float
    supersample: int = 1  # 2 where hard outlines cross the texels at any angle


_KINDS = {
    "brick": _Kind(masonry.brick, 1.0),
    "roof_tile": _Kind(masonry.roof_tile, 1.2),
    "floor_tile": _Kind(masonry.floor_tile, 1.2),
    "stone_wall": _Kind(masonry.stone_wall, 1.6),
    "cobble": _Kind(masonry.cobble, 1.4),
    "concrete": _Kind(masonry.concrete, 2.0),
    "plaster": _Kind(masonry.plaster, 1.6),
    "marble": _Kind(masonry.marble, 1.0),
    "rock": _Kind(masonry.rock, 2.5),
    "wood": _Kind(crafted.wood, 0.6),
    "planks": _Kind(crafted.planks, 1.4),
    "cloth": _Kind(crafted.cloth, 0.12),
    "knit": _Kind(crafted.knit, 0.14, 2),
    "leather": _Kind(crafted.leather, 0.2),
    "brushed_metal": _Kind(crafted.brushed_metal, 0.4),
    "rusty_metal": _Kind(crafted.rusty_metal, 1.2),
    "diamond_plate": _Kind(crafted.diamond_plate, 0.5),
    "pebbles": _Kind(ground.pebbles, 0.6, 2),
    "gravel": _Kind(ground.gravel, 0.5, 2),
    "sand": _Kind(ground.sand, 0.8),
    "soil": _Kind(ground.soil, 1.0),
    "leaves": _Kind(ground.leaves, 0.9, 2),
    "grass": _Kind(ground.grass, 0.5, 2),
    "bark": _Kind(ground.bark, 0.7),
}

KINDS: tuple[str, ...] = tuple(_KINDS)


def side_metres(kind: str) -> float:
    """The side of one repeat of the material in the real world, in metres."""
    return _known(kind).side_metres


def _known(kind: str) -> _Kind:
    if kind not in _KINDS:
        raise bad_input(kind, "there is no procedural material of this kind", f"choose from {', '.join(KINDS)}")
    return _KINDS[kind]


def generate_surface(kind: str, size: int = 512, seed: int = 0) -> Surface:
    """One repeat as float fields (size, size), before encoding; see `Surface` for units and ranges.

    Raises TexsynthError for an unknown kind or a size outside 32..4096.
    """
    recipe = _known(kind)
    if size not in SIZES:
        raise bad_input(f"size {size}", "not a size for a procedural material", f"use {SIZES[0]} to {SIZES[-1]}")
    plane = Plane(size * recipe.supersample, (zlib.crc32(kind.encode()), seed & 0xFFFFFFFFFFFFFFFF), recipe.supersample)
    made = recipe.make(plane)
    surface = Surface(
        np.clip(made.colour, 0.01, 0.97, dtype=np.float32),
        made.height,
        np.clip(made.roughness, 0.05, 0.98, dtype=np.float32),
        None if made.metalness is None else np.clip(made.metalness, 0, 1, dtype=np.float32),
    )
    if recipe.supersample == 2:
        surface = _halved(surface)
    return replace(surface, height=limited(surface.height, STEEPEST))


def _halved(s: Surface) -> Surface:
    """Box filter by two; colours are averaged as light."""
    return Surface(
        linear_to_srgb(_box(srgb_to_linear(s.colour))),
        _box(s.height),
        _box(s.roughness),
        None if s.metalness is None else _box(s.metalness),
    )


def _box(field: Field) -> Field:
    return (field[0::2, 0::2] + field[1::2, 0::2] + field[0::2, 1::2] + field[1::2, 1::2]) * np.float32(0.25)


def generate(kind: str, size: int = 512, seed: int = 0) -> Material:
    """The tileable material `kind` (one of KINDS) as float32 maps (size, size, C).

    Albedo is linear light. Normals are unit vectors that follow from the height field by central differences across
    the wrap, OpenGL convention (+Y up), stored as (n + 1) / 2. Height is stretched to 0..1; the note
    "height 0..1 spans R of the side" declares its scale: a texel is 1 / size wide, a height step of 1 is R high.
    Metalness is present where any of it is metal. Raises as `generate_surface`.
    """
    s = generate_surface(kind, size, seed)
    low, high = float(s.height.min()), float(s.height.max())
    maps = {
        MapKind.ALBEDO: srgb_to_linear(s.colour),
        MapKind.NORMAL: normals_of(s.height) * np.float32(0.5) + np.float32(0.5),
        MapKind.ROUGHNESS: s.roughness[..., None],
        MapKind.HEIGHT: ((s.height - np.float32(low)) / np.float32(high - low))[..., None],
    }
    if s.metalness is not None:
        maps[MapKind.METALNESS] = s.metalness[..., None]
    return Material(
        f"{kind}_{seed}",
        {map_kind: TextureMap(map_kind, np.ascontiguousarray(texels)) for map_kind, texels in maps.items()},
        notes=(
            f"procedural: {kind}, seed {seed}, one repeat is {side_metres(kind)} m wide",
            f"height 0..1 spans {high - low:.6g} of the side",
        ),
    )


def write(material: Material, folder: Path, normal_bits: int = 8) -> None:
    """Save the maps as `folder`/albedo.png, normal.png, roughness.png, ... (8 bit; height and, if asked, normal 16).

    The folder is made if need be; about.json holds the name and the notes (scale of the height). Raises TexsynthError
    where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, texture in material.maps.items():
            deep = kind is MapKind.HEIGHT or (kind is MapKind.NORMAL and normal_bits == 16)
            top, dtype = (65535, np.uint16) if deep else (255, np.uint8)
            values = np.rint(np.clip(texture.encoded(), 0, 1) * np.float32(top)).astype(dtype)
            ok, data = cv2.imencode(".png", values[..., ::-1] if values.shape[-1] == 3 else values)
            if not ok:
                raise bad_input(folder / f"{kind}.png", "the map cannot be encoded as PNG", "report this as a bug")
            write_atomically(folder / f"{kind}.png", data.tobytes())
        about = {"name": material.name, "normal": "opengl", "notes": list(material.notes)}
        write_atomically(folder / "about.json", (json.dumps(about, indent=2) + "\n").encode())
    except OSError as error:
        raise from_os_error(error, folder) from error
