"""`Surface`, what a procedural material is before it is encoded into maps."""

from __future__ import annotations

from dataclasses import dataclass

from texsynth.train.procedural_field import Field


@dataclass(frozen=True)
class Surface:
    """One repeat of a material. colour (size, size, 3): sRGB-encoded 0..1; roughness, metalness: 0..1.

    `height` is in units of the side, so that slopes, and therefore normals, follow from it alone.
    """

    colour: Field
    height: Field
    roughness: Field
    metalness: Field | None = None
