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

from texsynth.material import MapKind
from texsynth.surface.nearest import Nearest
from texsynth.surface.plane import Doubles, Floats, Plane
from texsynth.surface.reach import Ints, nearest_texels
from texsynth.surface.strips import Strips

Mask = NDArray[np.bool_]
Repeats = tuple[Ints, Ints, Ints, Ints]  # rows and columns of texels, and of those that they repeat
GUTTER = 8  # texels beyond a border that show what lies across; size / 256 where that is more
RING = 16  # texels around charts that no background is left in
BORDER = 1.5  # texels inside a seam over which both sides mix on mip levels
AT_ONCE = 1 << 16  # texels that are worked on together


@dataclass(frozen=True)
class Ghosts:
    """Some texels, by their centres (x, y), float64 (N, 2); the places that they show, likewise; the turns, float64
    (N, 2, 2), that take a normal's X and Y from there to here; and how much of a texel it is, float32 (N,), None: all.
    """

    texels: Doubles
    places: Doubles
    turn: Doubles
    share: NDArray[np.float32] | None = None

    def some(self, chosen: Mask) -> Ghosts:
        """Only these texels."""
        share = None if self.share is None else self.share[chosen]
        return Ghosts(self.texels[chosen], self.places[chosen], self.turn[chosen], share)


def gutter_width(size: int) -> int:
    """Texels beyond a chart's border that belong to it, in a texture of `size` x `size`."""
    return max(GUTTER, size // 256)


def nearest_samples(strips: Strips, size: int) -> Nearest:
    """To find the nearest sample of either side; the first half are those of the giving side."""
    return Nearest(np.concatenate([strips.gives, strips.keeps]), size)


def ghost_texels(
    strips: Strips, size: int, covered: Mask, width: int, changeable: Mask | None = None, near: Nearest | None = None
) -> list[Ghosts]:
    """All within `width` texels of the charts, `covered`, whose place across the seam is covered, in parts.

    changeable: bool (size, size), only those; near: `nearest_samples(strips, size)` where it is at hand.
    """
    near = nearest_samples(strips, size) if near is None else near
    grown = cv2.dilate(covered.astype(np.uint8), np.ones((2 * width + 1, 2 * width + 1), np.uint8))
    beyond = (grown > 0) & ~covered
    free = beyond if changeable is None else beyond & changeable
    return [_across(strips, size, near, covered, width, texels) for texels in centres(free)]


def fill_ghosts(plane: Plane, ghosts: Sequence[Ghosts], *, cubic: bool = False) -> None:
    """Let them show what lies across. All is read before anything is written. cubic: as of `Plane.values`; it reads two
    texels beyond charts."""
    across = [_shown(plane, each, cubic) for each in ghosts]
    for each, values in zip(ghosts, across, strict=True):
        plane.write(each.texels, values)


def _shown(plane: Plane, ghosts: Ghosts, cubic: bool) -> Floats:
    values = plane.turned(plane.values(ghosts.places, cubic=cubic), ghosts.turn)
    if ghosts.share is None:
        return values
    own = plane.values(ghosts.texels)
    return np.asarray(own + ghosts.share[:, None] * (values - own), np.float32)


def beside(ghosts: Sequence[Ghosts], changed: Sequence[Ghosts], size: int) -> list[Ghosts]:
    """Those ghosts whose places are within two texels, which a cubic filter reads, of texels that were changed."""
    marked = np.zeros((size, size), np.bool_)
    near = cv2.dilate(with_ghosts(marked, changed).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return [each.some(_in_chart(near, each.places)) for each in ghosts]


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


def border_texels(strips: Strips, size: int, covered: Mask, share: float, near: Nearest) -> list[Ghosts]:
    """The texels of charts within `BORDER` of a seam, and as places their mirror images across it: of what lies there
    they take `share` at the seam itself, and less the further they are from it."""
    marked = np.zeros((size, size), np.uint8)
    for side in (strips.gives, strips.keeps):
        cell = np.mod(np.floor(side), size).astype(np.int64)
        marked[cell[:, 1], cell[:, 0]] = 1
    near_seams = cv2.dilate(marked, np.ones((5, 5), np.uint8)) > 0
    found = []
    for texels in centres(near_seams & covered):
        distance, nearest = near.query(texels, BORDER)
        found.append(_mirrored(strips, size, covered, share, texels[distance < BORDER], nearest[distance < BORDER]))
    return found


def _across(strips: Strips, size: int, near: Nearest, covered: Mask, width: int, texels: Doubles) -> Ghosts:
    distance, nearest = near.query(texels, 2 * width)
    close = distance < 2 * width
    texels, nearest = texels[close], nearest[close]
    joint = _joint(strips, size, texels, nearest)
    place = joint.there + np.einsum("nij,nj->ni", joint.turn, joint.offset)
    known = _in_chart(covered, place) & joint.sound
    return Ghosts(texels[known], place[known], joint.turn[known].swapaxes(1, 2))


def _mirrored(
    strips: Strips, size: int, covered: Mask, share: float, texels: Doubles, nearest: NDArray[np.int64]
) -> Ghosts:
    joint = _joint(strips, size, texels, nearest)
    inward = strips.inward[nearest % len(strips.gives)]
    # The offset from the seam as the giving side has it, where what is inside is known.
    gives = (nearest < len(strips.gives))[:, None]
    offset = np.where(gives, joint.offset, np.einsum("nij,nj->ni", joint.turn, joint.offset))
    depth = np.einsum("nj,nj->n", offset, inward)
    mirrored = offset - 2 * depth[:, None] * inward
    place = joint.there + np.where(gives, np.einsum("nij,nj->ni", joint.turn, mirrored), mirrored)
    shares = share * np.clip(1 - np.linalg.norm(joint.offset, axis=1) / BORDER, 0, 1)
    known = _in_chart(covered, place) & joint.sound & (shares > 0)
    return Ghosts(texels[known], place[known], joint.turn[known].swapaxes(1, 2), shares[known].astype(np.float32))


@dataclass(frozen=True)
class _Joint:
    """Of each of N texels the nearest sample of a seam: the texel's offset from it on this side, the sample's place
    `there` on the other side, the turn from here to there, and whether that can be turned back."""

    offset: Doubles
    there: Doubles
    turn: Doubles
    sound: Mask


def _joint(strips: Strips, size: int, texels: Doubles, nearest: NDArray[np.int64]) -> _Joint:
    count = len(strips.gives)
    gives, sample = nearest < count, nearest % count
    back, sound = strips.turn_back
    turn = np.where(gives[:, None, None], strips.turn[sample], back[sample])
    here = np.where(gives[:, None], strips.gives[sample], strips.keeps[sample])
    there = np.where(gives[:, None], strips.keeps[sample], strips.gives[sample])
    offset = np.mod(texels - here + size / 2, size) - size / 2  # the short way round
    return _Joint(offset, there, turn, sound[sample])


def _in_chart(covered: Mask, place: Doubles) -> Mask:
    cell = np.mod(np.floor(place), len(covered)).astype(np.int64)
    return covered[cell[:, 1], cell[:, 0]]
