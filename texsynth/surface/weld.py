"""UV seams welded shut: the pattern of one chart goes on over the seam, and gives way to the other's where that is seen
least.

The texture is one plane in which charts lie like islands, so each chart's pattern goes on beyond its border. On a strip
along every seam the side that gives way has two textures to choose from, its own and the other side's continued
(`strips`). The boundary between the two is the path along the strip that costs least, its cost at each point the
difference of the two (the minimum error boundary of image quilting: A. Efros and W. Freeman, 2001), so what was a step
at the seam becomes a cut like those between pieces of the exemplar anywhere else. Tone, which no cut can hide, passes
slowly from one to the other (two bands, as P. Burt and E. Adelson blend images, 1983).

Then every texel beyond a chart's border, up to `GUTTER`, shows what lies across the seam, so that filtering over the
border, and every mip level for as long as the gutter lasts, blends what belongs together. Normals are turned from one
chart's tangent frame to the other's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from texsynth.material import MapKind
from texsynth.run import Run
from texsynth.surface.mesh import Mesh
from texsynth.surface.plane import Doubles, Floats, Plane
from texsynth.surface.raster import uv_mask
from texsynth.surface.strip_cut import WIDTH, Cut, cut_strips
from texsynth.surface.strips import Strips, seam_strips

Mask = NDArray[np.bool_]
FADE = 1.5  # texels to either side of the cut over which the two patterns mix
SLOW = 8  # texels at least over which the tone passes; twice the cut's depth where that is more
GUTTER = 8  # texels beyond a border that show what lies across; size / 256 where that is more
AT_ONCE = 1 << 16  # texels that are worked on together


def weld_seams(
    maps: Mapping[MapKind, NDArray[Any]], mesh: Mesh, material_index: int | None, changeable: Mask | None, run: Run
) -> None:
    """Weld all seams of a material in its maps, as `Plane` has them, in place.

    changeable: bool (size, size), texels that may be written, all if None; seams with a side elsewhere stay as they
    are.
    """
    plane = Plane(maps)
    strips = seam_strips(mesh, plane.size, material_index)
    if strips is not None and changeable is not None:
        strips = strips.some(changeable[plane.cells(strips.gives)] & changeable[plane.cells(strips.keeps)])
    if strips is None or len(strips.gives) == 0:
        return
    covered = uv_mask(mesh, plane.size, material_index, gutter=0)
    near = cKDTree(np.mod(np.concatenate([strips.gives, strips.keeps]), plane.size), boxsize=plane.size)
    cut = cut_strips(plane, strips, run)
    free = covered if changeable is None else covered & changeable
    # nothing is written before all is read
    given = [_given(plane, strips, cut, near, texels) for texels in _in_turn(_in_strips(plane, strips) & free)]
    for texels, values in given:
        plane.write(texels, values)
    run.step(0.7)
    _fill(plane, strips, near, covered, changeable)


def fill_gutters(
    maps: Mapping[MapKind, NDArray[Any]], mesh: Mesh, material_index: int | None, changeable: Mask | None
) -> None:
    """Let the texels beyond the borders of charts show what lies across; arguments as of `weld_seams`."""
    plane = Plane(maps)
    strips = seam_strips(mesh, plane.size, material_index)
    if strips is not None:
        near = cKDTree(np.mod(np.concatenate([strips.gives, strips.keeps]), plane.size), boxsize=plane.size)
        _fill(plane, strips, near, uv_mask(mesh, plane.size, material_index, gutter=0), changeable)


def _fill(plane: Plane, strips: Strips, near: cKDTree, covered: Mask, changeable: Mask | None) -> None:
    beyond = _gutter(covered, gutter_width(plane.size))
    free = beyond if changeable is None else beyond & changeable
    across = [_across(plane, strips, near, covered, texels) for texels in _in_turn(free)]
    for texels, values in across:
        plane.write(texels, values)


def gutter_width(size: int) -> int:
    """Texels beyond a chart's border that belong to it, in a texture of `size` x `size`."""
    return max(GUTTER, size // 256)


def needed_tokens(mesh: Mesh, size: int, material_index: int | None, block: int) -> Mask:
    """Blocks, bool (size / block, size / block), that the continuations of charts lie in, for them to be made too."""
    wanted = np.zeros((size // block, size // block), np.bool_)
    strips = seam_strips(mesh, size, material_index)
    if strips is not None:
        for depth in range(0, WIDTH, block // 2):
            place = np.mod(np.floor(strips.continued(slice(None), depth * strips.inward)), size).astype(np.int64)
            wanted[place[:, 1] // block, place[:, 0] // block] = True
    return wanted


def _given(plane: Plane, strips: Strips, cut: Cut, near: cKDTree, texels: Doubles) -> tuple[Doubles, Floats]:
    """The texels of strips that change, and their new values."""
    nearest = near.query(texels)[1]
    mine = nearest < len(strips.gives)
    texels, nearest = texels[mine], nearest[mine]
    offset = plane.shortest(texels - strips.gives[nearest])
    into, depth = np.einsum("nj,nj->n", offset, strips.inward[nearest]), cut.depth[nearest]
    reach = np.clip(2 * depth, SLOW, WIDTH)
    chosen = (depth > 0) & (into > -1) & (into < reach)
    texels, nearest, offset, into, depth, reach = (
        part[chosen] for part in (texels, nearest, offset, into, depth, reach)
    )
    own = plane.values(texels)
    new = plane.values(strips.continued(nearest, offset), cubic=True)
    new = plane.turned(new, strips.turn[nearest].swapaxes(1, 2))
    tone = cut.tone[nearest, np.clip(np.rint(into + 0.5), 0, WIDTH).astype(np.int64)].astype(np.float32)
    sharp = np.clip((depth - into) / (2 * np.minimum(FADE, depth - 0.5)) + 0.5, 0, 1)[:, None]
    slow = np.clip(1 - into / reach, 0, 1)[:, None]
    return texels, np.asarray(own + sharp * (new - own - tone) + slow * tone, np.float32)


def _across(plane: Plane, strips: Strips, near: cKDTree, covered: Mask, texels: Doubles) -> tuple[Doubles, Floats]:
    """The texels beyond a border whose place across the seam is covered, and what is there."""
    distance, nearest = near.query(texels)
    close = distance < 2 * gutter_width(plane.size)
    texels, nearest = texels[close], nearest[close]
    count = len(strips.gives)
    gives, sample = nearest < count, nearest % count
    turn = strips.turn[sample]
    flat = np.abs(np.linalg.det(turn)) < 1e-9
    turn[flat] = np.eye(2)
    turn[~gives] = np.linalg.inv(turn[~gives])
    here = np.where(gives[:, None], strips.gives[sample], strips.keeps[sample])
    there = np.where(gives[:, None], strips.keeps[sample], strips.gives[sample])
    place = there + np.einsum("nij,nj->ni", turn, plane.shortest(texels - here))
    known = covered[plane.cells(place)] & ~flat
    return texels[known], plane.turned(plane.values(place[known]), turn[known].swapaxes(1, 2))


def _in_strips(plane: Plane, strips: Strips) -> Mask:
    marked = np.zeros((plane.size, plane.size), np.uint8)
    for depth in range(WIDTH):
        marked[plane.cells(strips.gives + (depth + 0.5) * strips.inward)] = 1
    return np.asarray(cv2.dilate(marked, np.ones((3, 3), np.uint8)) > 0)


def _gutter(covered: Mask, width: int) -> Mask:
    grown = cv2.dilate(covered.astype(np.uint8), np.ones((2 * width + 1, 2 * width + 1), np.uint8))
    return np.asarray((grown > 0) & ~covered)


def _in_turn(mask: Mask) -> Iterator[Doubles]:
    """The centres (x, y) of the texels of a mask, some at a time."""
    rows, columns = np.nonzero(mask)
    for first in range(0, len(rows), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        yield np.stack([columns[part] + 0.5, rows[part] + 0.5], axis=1)
