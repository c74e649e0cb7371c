"""Ghost texels: the texels beyond a chart's border, and the place across the seam that each of them continues to.

Around them and around borders without a seam, a ring of texels repeats the nearest one. No sample on the surface reads
further on any level: the longest anisotropic footprint, 16 texels, reaches 8 from its middle, and bilinear filtering
one more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from texsynth.material import MapKind
from texsynth.surface.plane import Doubles, Plane
from texsynth.surface.reach import Ints, nearest_texels
from texsynth.surface.strips import Strips

Mask = NDArray[np.bool_]
Repeats = tuple[Ints, Ints, Ints, Ints]  # rows and columns of texels, and of those that they repeat
GUTTER = 8  # texels beyond a border that show what lies across; size / 256 where that is more
RING = 16  # texels around charts that no background is left in
AT_ONCE = 1 << 16  # texels that are worked on together


@dataclass(frozen=True)
class Ghosts:
    """Some texels, by their centres (x, y), float64 (N, 2); the places that they show, likewise; and the turns, float64
    (N, 2, 2), that take a normal's X and Y from there to here."""

    texels: Doubles
    places: Doubles
    turn: Doubles


def gutter_width(size: int) -> int:
    """Texels beyond a chart's border that belong to it, in a texture of `size` x `size`."""
    return max(GUTTER, size // 256)


def seam_tree(strips: Strips, size: int) -> cKDTree:
    """To find the nearest sample of either side; the first half are those of the giving side."""
    return cKDTree(np.mod(np.concatenate([strips.gives, strips.keeps]), size), boxsize=size)


def ghost_texels(
    strips: Strips, size: int, covered: Mask, width: int, changeable: Mask | None = None, near: cKDTree | None = None
) -> list[Ghosts]:
    """All within `width` texels of the charts, `covered`, whose place across the seam is covered, in parts.

    changeable: bool (size, size), only those; near: `seam_tree(strips, size)` where it is at hand.
    """
    near = seam_tree(strips, size) if near is None else near
    grown = cv2.dilate(covered.astype(np.uint8), np.ones((2 * width + 1, 2 * width + 1), np.uint8))
    beyond = (grown > 0) & ~covered
    free = beyond if changeable is None else beyond & changeable
    return [_across(strips, size, near, covered, width, texels) for texels in centres(free)]


def fill_ghosts(plane: Plane, ghosts: Sequence[Ghosts]) -> None:
    """Let them show what lies across. All is read before anything is written."""
    across = [plane.turned(plane.values(each.places), each.turn) for each in ghosts]
    for each, values in zip(ghosts, across, strict=True):
        plane.write(each.texels, values)


def with_ghosts(known: Mask, ghosts: Sequence[Ghosts]) -> Mask:
    """`known` and the ghosts' texels."""
    both = known.copy()
    for each in ghosts:
        both[each.texels[:, 1].astype(np.int64), each.texels[:, 0].astype(np.int64)] = True
    return both


def ring_around(known: Mask, changeable: Mask | None = None) -> list[Repeats]:
    """The texels within `RING` of those that are `known`, of `changeable` only where it is given."""
    found = []
    for part in nearest_texels(known, RING):
        free = slice(None) if changeable is None else changeable[part[0], part[1]]
        found.append((part[0][free], part[1][free], part[2][free], part[3][free]))
    return found


def fill_ring(maps: Mapping[MapKind, NDArray[Any]], ring: Sequence[Repeats]) -> None:
    """Let its texels repeat the nearest ones, in place."""
    for texels in maps.values():
        for rows, columns, from_rows, from_columns in ring:
            texels[rows, columns] = texels[from_rows, from_columns]


def centres(mask: Mask) -> Iterator[Doubles]:
    """The centres (x, y) of the texels of a mask, some at a time."""
    rows, columns = np.nonzero(mask)
    for first in range(0, len(rows), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        yield np.stack([columns[part] + 0.5, rows[part] + 0.5], axis=1)


def _across(strips: Strips, size: int, near: cKDTree, covered: Mask, width: int, texels: Doubles) -> Ghosts:
    distance, nearest = near.query(texels)
    close = distance < 2 * width
    texels, nearest = texels[close], nearest[close]
    count = len(strips.gives)
    gives, sample = nearest < count, nearest % count
    turn = strips.turn[sample]
    flat = np.abs(np.linalg.det(turn)) < 1e-9
    turn[flat] = np.eye(2)
    turn[~gives] = np.linalg.inv(turn[~gives])
    here = np.where(gives[:, None], strips.gives[sample], strips.keeps[sample])
    there = np.where(gives[:, None], strips.keeps[sample], strips.gives[sample])
    offset = np.mod(texels - here + size / 2, size) - size / 2  # the short way round
    place = there + np.einsum("nij,nj->ni", turn, offset)
    cell = np.mod(np.floor(place), size).astype(np.int64)
    known = covered[cell[:, 1], cell[:, 0]] & ~flat
    return Ghosts(texels[known], place[known], turn[known].swapaxes(1, 2))
