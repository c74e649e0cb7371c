"""Mip levels of a mesh's texture in which no chart shows what is not its surface.

A level's texel is the mean of what belongs to charts under it (`mipmap.charts`), their gutters included, never of the
background. Then, as on level 0, the texels beyond each border at this level show what lies across the seam, and a ring
of `RING` more repeats the nearest texel (`ghosts`). The strip on which the two sides of a seam were brought together on
level 0 is soon less than a texel wide, and their tones meet as a step again; so a texel at a seam also takes up some of
its mirror image on the other side, the more the coarser the level is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.compiled import in_threads
from texsynth.material import MapKind
from texsynth.surface.ghosts import (
    Ghosts,
    Mask,
    Repeats,
    beside,
    border_texels,
    fill_ghosts,
    fill_ring,
    ghost_texels,
    gutter_width,
    nearest_samples,
    ring_around,
    with_ghosts,
)
from texsynth.surface.plane import Plane
from texsynth.surface.raster import uv_mask
from texsynth.surface.strips import Strips, seam_strips
from texsynth.surface.uv_topology import Topology

Level = tuple[int, int, NDArray[Any]]
MIXED, MOST_MIXED = 0.1, 0.3  # share of the mirror image at a seam, for each level; and at most
ACROSS = 4  # of them, on levels beyond the first, show what lies across a seam
LARGEST = 2048  # texels a side of the levels that are held whole; the gutters of larger ones are that wide


@dataclass(frozen=True)
class _Border:
    """What is filled around the charts of one level: ghosts, the texels at seams, ghosts of those, and the ring."""

    ghosts: list[Ghosts]
    mixed: list[Ghosts]
    again: list[Ghosts]
    ring: list[Repeats]

    def fill(self, maps: dict[MapKind, NDArray[Any]]) -> None:
        plane = Plane(maps)
        fill_ring(maps, self.ring)  # ghosts read a texel beyond charts
        for ghosts in (self.ghosts, self.mixed, self.again):
            fill_ghosts(plane, ghosts)
        fill_ring(maps, self.ring)


class Gutters:
    """Of the material of a mesh, in a texture of `size` x `size` texels.

    charts: uint8 (size, size), 1 in charts and their gutters, for `mipmap.material_chain`; None if they cover it all.
    """

    def __init__(self, topology: Topology, size: int) -> None:
        self._size = size
        mesh, material = topology.mesh, topology.material
        belongs = uv_mask(mesh, size, material, gutter_width(size))
        self.charts: NDArray[np.uint8] | None = None if belongs.all() else belongs.view(np.uint8)
        levels = [belongs]
        while len(levels[-1]) > 1:
            rows = levels[-1][::2] | levels[-1][1::2]
            levels.append(rows[:, ::2] | rows[:, 1::2])
        _ = topology.chains  # not once in each thread

        def border(level: int) -> _Border:
            side = size >> level
            covered = uv_mask(mesh, side, material, gutter=0)
            return _border(seam_strips(topology, side), covered, levels[level], level)

        held = [level for level in range(1, len(levels)) if size >> level <= LARGEST]
        self._borders: dict[int, _Border] = dict(zip(held, in_threads(border, held), strict=True))

    def refilled(self, kind: MapKind, chain: Iterator[Level]) -> Iterator[Level]:
        """The chain of one map, (level, first row, rows), with its borders filled. Levels of at most `LARGEST` texels
        a side come whole."""
        parts: dict[int, list[NDArray[Any]]] = {}
        for level, first, rows in chain:
            if level not in self._borders:
                yield level, first, rows
                continue
            parts.setdefault(level, []).append(rows)
            if first + len(rows) == self._size >> level:
                maps = {kind: np.concatenate(parts.pop(level))}
                self._borders[level].fill(maps)
                yield level, 0, maps[kind]


def _border(strips: Strips | None, covered: Mask, owned: Mask, level: int) -> _Border:
    size = len(covered)
    if strips is None:
        return _Border([], [], [], ring_around(owned))
    near = nearest_samples(strips, size)
    ghosts = ghost_texels(strips, size, covered, ACROSS, near=near)
    mixed = border_texels(strips, size, covered, min(MIXED * level, MOST_MIXED), near)
    return _Border(ghosts, mixed, beside(ghosts, mixed, size), ring_around(with_ghosts(owned, ghosts)))
