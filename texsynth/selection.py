"""What part of a mesh's surface may change, as editors say it: triangles, material slots, strokes of a brush.

As JSON it has the form of the message `texsynth.v1.MeshSelection`; every key may be absent:

    {"triangles": [0, 1, 17], "slots": ["Seat"],
     "brushes": [{"x": 0.1, "y": 0.4, "z": 0, "radius": 0.2, "falloff": 0.5}]}
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from texsynth.errors import bad_input, from_os_error

MOST_BRUSHES = 4096
LARGEST_FILE = 64 << 20  # bytes; a list of all triangles of the largest mesh is longer, but then it is the whole mesh


@dataclass(frozen=True)
class Brush:
    """One dab: the surface nearer than `radius` to (x, y, z), in the mesh's world units, glTF axes.

    falloff: the outer share of the radius, 0..1, over which the weight falls smoothly from 1 to 0; 0 is a hard edge.
    Raises TexsynthError(BAD_INPUT).
    """

    x: float
    y: float
    z: float
    radius: float
    falloff: float = 0.0

    def __post_init__(self) -> None:
        if not all(_is_number(getattr(self, field.name)) for field in fields(self)):
            raise bad_input("selection", f"has the brush {self}", "x, y, z, radius and falloff are finite numbers")
        if not self.radius > 0:
            raise bad_input("selection", f"has a brush of radius {self.radius:g}", "it must be above 0")
        if not 0 <= self.falloff <= 1:
            raise bad_input("selection", f"has a brush of falloff {self.falloff:g}", "it must be 0 to 1")


@dataclass(frozen=True)
class Selection:
    """The union of triangles, all triangles of material slots, and what brushes reach.

    triangles: counted from 0 as they come in the file, mesh by mesh and primitive by primitive. slots: names of the
    file's materials, or their numbers. Raises TexsynthError(BAD_INPUT).
    """

    triangles: tuple[int, ...] = ()
    slots: tuple[str, ...] = ()
    brushes: tuple[Brush, ...] = ()

    def __post_init__(self) -> None:
        wrong = next((each for each in self.triangles if type(each) is not int or not 0 <= each < 2**31), None)
        if wrong is not None:
            raise bad_input("selection", f"has the triangle {wrong!r}", "triangles are whole numbers from 0 on")
        if not all(isinstance(slot, str) for slot in self.slots):
            raise bad_input("selection", f"has the slots {self.slots!r}", "slots are names in quotes")
        if len(self.brushes) > MOST_BRUSHES:
            raise bad_input("selection", f"has {len(self.brushes)} brushes", f"at most {MOST_BRUSHES} are taken")

    def __bool__(self) -> bool:
        return bool(self.triangles or self.slots or self.brushes)


def read_selection(choice: str) -> Selection:
    """From JSON, or from the file of this name. Raises TexsynthError(BAD_INPUT)."""
    if choice.lstrip().startswith("{"):
        return parse_selection(choice, "selection")
    path = Path(choice)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise from_os_error(error, path) from error
    if len(content) > LARGEST_FILE:
        raise bad_input(path, f"has more than {LARGEST_FILE} bytes", "name a material slot instead of its triangles")
    return parse_selection(content.decode("utf-8-sig", "replace"), str(path))


def parse_selection(text: str, where: str) -> Selection:
    """The Selection that JSON says; `where` names it in messages. Raises TexsynthError(BAD_INPUT)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_input(where, f"is no JSON: {' '.join(str(error).split())[:100]}", "see the README") from None
    return selection_of(value, where)


def selection_of(value: Any, where: str) -> Selection:
    """The Selection that a JSON or TOML value says. Raises TexsynthError(BAD_INPUT)."""
    keys = [field.name for field in fields(Selection)]
    if not isinstance(value, dict) or not all(isinstance(value.get(key, []), list) for key in keys):
        raise bad_input(where, "has another shape", 'use {"triangles": [..], "slots": [..], "brushes": [{..}]}')
    unknown = sorted(set(value) - set(keys))
    if unknown:
        raise bad_input(where, f"has {', '.join(unknown)[:80]}", f"there are {', '.join(keys)}")
    chosen = Selection(
        tuple(value.get("triangles", ())),
        tuple(value.get("slots", ())),
        tuple(_brush(each, where) for each in value.get("brushes", ())),
    )
    if not chosen:
        raise bad_input(where, "chooses nothing", "name triangles, slots or brushes")
    return chosen


def _brush(value: Any, where: str) -> Brush:
    try:
        return Brush(**value)
    except TypeError:
        raise bad_input(
            where, f"has the brush {value!r:.100}", 'use {"x": 0, "y": 0, "z": 0, "radius": 0.1, "falloff": 0.5}'
        ) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
