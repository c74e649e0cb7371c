"""UV seams welded shut: the pattern of one chart goes on over the seam, and gives way to the other's where that is seen
least.

The texture is one plane in which charts lie like islands, so each chart's pattern goes on beyond its border. On a strip
along every seam the side that gives way has two textures to choose from, its own and the other side's continued
(`strips`). The boundary between the two is the path along the strip that costs least, its cost at each point the
difference of the two (the minimum error boundary of image quilting: A. Efros and W. Freeman, 2001), so what was a step
at the seam becomes a cut like those between pieces of the exemplar anywhere else. Tone, which no cut can hide, passes
slowly from one to the other (two bands, as P. Burt and E. Adelson blend images, 1983).

Then every texel beyond a chart's border, up to `GUTTER`, shows what lies across the seam, so that filtering over the
border blends what belongs together (`ghosts`; `gutters` does it on every mip level). Normals are turned from one
chart's tangent frame to the other's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.material import MapKind
from texsynth.run import Run
from texsynth.surface.ghosts import (
    beside,
    border_texels,
    centres,
    fill_ghosts,
    fill_ring,
    ghost_texels,
    gutter_width,
    nearest_samples,
    ring_around,
    with_ghosts,
)
from texsynth.surface.nearest import Nearest
from texsynth.surface.plane import Doubles, Floats, Plane
from texsynth.surface.raster import dilate_wrapped, uv_mask
from texsynth.surface.strip_cut import WIDTH, Cut, cut_strips, depths_inside
from texsynth.surface.strips import Strips, seam_strips
from texsynth.surface.uv_topology import Topology

Mask = NDArray[np.bool_]
FADE = 1.5  # texels to either side of the cut over which the two patterns mix
MIXED = 0.1  # share of the mirror image at a seam that texels take up: resampling a plane leaves a step of 5 to 20 %
SLOW = 8  # texels at least over which the tone passes; twice the cut's depth where that is more


def weld_seams(
    maps: Mapping[MapKind, NDArray[Any]], topology: Topology, changeable: Mask | None, run: Run, *, fill: bool = True
) -> None:
    """Weld all seams of a material in its maps, as `Plane` has them, in place, and fill its gutters.

    changeable: bool (size, size), texels that may be written, all if None; seams with a side elsewhere stay as they
    are. fill: False leaves the gutters to `fill_gutters`.
    """
    plane, strips = Plane(maps), _changeable_strips(topology, maps, changeable)
    covered = uv_mask(topology.mesh, plane.size, topology.material, gutter=0)
    near = None if strips is None else nearest_samples(strips, plane.size)
    if strips is not None and near is not None:
        _give_way(plane, strips, near, covered, changeable, run)
    if fill:
        _fill_gutters(maps, topology, strips, near, covered, changeable, 0.0)


def fill_gutters(maps: Mapping[MapKind, NDArray[Any]], topology: Topology, changeable: Mask | None) -> None:
    """Let the texels beyond the borders of charts show what lies across, and those at the borders take up a little of
    it (`MIXED`); arguments as of `weld_seams`."""
    strips = _changeable_strips(topology, maps, changeable)
    size = Plane(maps).size
    near = None if strips is None else nearest_samples(strips, size)
    covered = uv_mask(topology.mesh, size, topology.material, gutter=0)
    _fill_gutters(maps, topology, strips, near, covered, changeable, MIXED)


def _changeable_strips(
    topology: Topology, maps: Mapping[MapKind, NDArray[Any]], changeable: Mask | None
) -> Strips | None:
    """Of the seams both sides of which may be written; None without any."""
    plane = Plane(maps)
    strips = seam_strips(topology, plane.size)
    if strips is not None and changeable is not None:
        strips = strips.some(changeable[plane.cells(strips.gives)] & changeable[plane.cells(strips.keeps)])
    return strips if strips is not None and len(strips.gives) else None


def _fill_gutters(
    maps: Mapping[MapKind, NDArray[Any]],
    topology: Topology,
    strips: Strips | None,
    near: Nearest | None,
    covered: Mask,
    changeable: Mask | None,
    share: float,
) -> None:
    """What lies across a seam; around that and around borders without one, a ring of the nearest texel. share: that
    texels at a seam take up of their mirror images."""
    plane = Plane(maps)
    known = uv_mask(topology.mesh, plane.size, topology.material)
    if strips is not None and near is not None:
        ghosts = ghost_texels(strips, plane.size, covered, gutter_width(plane.size), changeable, near)
        fill_ghosts(plane, ghosts, cubic=True)
        if share > 0:
            free = covered if changeable is None else covered & changeable
            mixed = border_texels(strips, plane.size, free, share, near)
            fill_ghosts(plane, mixed, cubic=True)
            fill_ghosts(plane, beside(ghosts, mixed, plane.size), cubic=True)
        known = with_ghosts(known, ghosts)
    fill_ring(maps, ring_around(known, changeable))


def _give_way(plane: Plane, strips: Strips, near: Nearest, covered: Mask, changeable: Mask | None, run: Run) -> None:
    """Write the texels of one side that take up the pattern of the other."""
    cut = cut_strips(plane, strips, covered, run)
    free = covered if changeable is None else covered & changeable
    reach = np.where(cut.depth > 0, np.minimum(_slow(cut.depth), cut.inside + 1), 0)
    # nothing is written before all is read
    given = [(part.texels, _given(plane, strips, cut, part)) for part in _in_strips(strips, near, free, reach)]
    for texels, values in given:
        plane.write(texels, values)
    run.step(0.7)


def needed_texels(topology: Topology, size: int) -> Mask:
    """Texels, bool (size, size), that welding reads of the continuations of charts, for them to be made too."""
    wanted = np.zeros((size, size), np.uint8)
    strips = seam_strips(topology, size)
    if strips is None:
        return wanted > 0
    covered = uv_mask(topology.mesh, size, topology.material, gutter=0)
    inside = depths_inside(strips, covered)
    for depth in range(1, WIDTH + 1):  # what `cut_strips` compares
        some = np.flatnonzero(inside >= depth)
        _mark(wanted, strips.continued(some, (depth - 0.5) * strips.inward[some]))
    reach = np.minimum(WIDTH, inside + 1)
    for part in _in_strips(strips, nearest_samples(strips, size), covered, reach):
        _mark(wanted, strips.continued(part.nearest, part.offset))
    return dilate_wrapped(wanted, 2) > 0  # a cubic filter reads so far


def _mark(texels: NDArray[np.uint8], places: Doubles) -> None:
    cell = np.mod(np.floor(places), len(texels)).astype(np.int64)
    texels[cell[:, 1], cell[:, 0]] = 1


@dataclass(frozen=True)
class _Part:
    """Some texels of strips by their centres (x, y), the nearest samples, the offsets from these, and how deep they
    lie in the giving side."""

    texels: Doubles
    nearest: NDArray[np.int64]
    offset: Doubles
    into: Doubles


def _in_strips(strips: Strips, near: Nearest, free: Mask, reach: NDArray[np.int64]) -> Iterator[_Part]:
    """The texels of the giving sides that are `free`, as deep as `reach` has it for each sample."""
    size = len(free)
    marked = np.zeros((size, size), np.uint8)
    for depth in range(WIDTH):
        some = reach > depth
        _mark(marked, strips.gives[some] + (depth + 0.5) * strips.inward[some])
    for texels in centres((cv2.dilate(marked, np.ones((3, 3), np.uint8)) > 0) & free):
        nearest = near.query(texels, 2 * WIDTH)[1]
        mine = nearest < len(strips.gives)
        place, nearest = texels[mine], nearest[mine]
        offset = np.mod(place - strips.gives[nearest] + size / 2, size) - size / 2  # the short way round
        into = np.einsum("nj,nj->n", offset, strips.inward[nearest])
        chosen = (into > -1) & (into < reach[nearest])
        yield _Part(place[chosen], nearest[chosen], offset[chosen], into[chosen])


def _slow(depth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Texels over which the tone passes."""
    return np.clip(2 * depth, SLOW, WIDTH)


def _given(plane: Plane, strips: Strips, cut: Cut, part: _Part) -> Floats:
    """The new values of texels of strips."""
    nearest, into, depth = part.nearest, part.into, cut.depth[part.nearest]
    own = plane.values(part.texels)
    new = plane.values(strips.continued(nearest, part.offset), cubic=True)
    new = plane.turned(new, strips.turn[nearest].swapaxes(1, 2))
    tone = cut.tone[nearest, np.clip(np.rint(into + 0.5), 0, WIDTH).astype(np.int64)].astype(np.float32)
    sharp = np.clip((depth - into) / (2 * np.minimum(FADE, depth - 0.5)) + 0.5, 0, 1)[:, None]
    slow = np.clip(1 - into / _slow(depth), 0, 1)[:, None]
    return np.asarray(own + sharp * (new - own - tone) + slow * tone, np.float32)
