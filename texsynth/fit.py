"""The ground that a restyle's pattern is made on: the texture itself, or for a mesh a plane that has its pattern at one
scale and one way up, and is carried into the texture afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.blend import Blend
from texsynth.content import Content, no_larger
from texsynth.exemplar import Exemplar
from texsynth.grain_bands import boards_of
from texsynth.lattice import SIDE_CHANGE
from texsynth.material import MapKind
from texsynth.model.latent import BLOCK
from texsynth.options import Options
from texsynth.quarter_turn import quarters_to_turn
from texsynth.region import Region
from texsynth.surface.ghosts import gutter_width
from texsynth.surface.mesh import Mesh
from texsynth.surface.pattern import Follow, PatternPlane, fits, mean_density, plan_plane, ups_in_texture
from texsynth.surface.raster import uv_mask
from texsynth.surface.rebake import Rebake, carried, to_plane, to_texture
from texsynth.surface.turns import turned_normals
from texsynth.surface.uv_topology import Topology
from texsynth.surface.weld import needed_texels

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

LARGEST_GUIDE = 2048  # texels a side of guidance that is carried onto a plane
_HALF = np.float32(0.5)
MIRRORED = 360  # added to the turn of a block in an index
# By how much an exemplar that repeats with its sides may be scaled for whole ones to fit into a result that tiles: to
# LITTLE_GROWN it is enlarged, else reduced to no less than MOST_SHRUNK, or ONCE_SHRUNK if only one side fits in.
LITTLE_GROWN, MOST_GROWN, MOST_SHRUNK, ONCE_SHRUNK = 1.1, 1.35, 0.65, 0.5
COARSER = 4  # how much coarser than the plane a region is carried onto it


@dataclass(frozen=True)
class Ground:
    """What layers are made on: `size` x `size` texels.

    surface: a mesh whose `uvs` are of this ground, None for a plain texture. plane: None where the ground is the
    texture itself; texture: the mesh with its own UVs. density: exemplar texels per texel of the ground. quarters: by
    how many quarters, clockwise, an exemplar is to be turned for its top to be up on most of the surface.
    """

    size: int
    surface: Topology | None
    plane: PatternPlane | None
    texture: Topology | None
    density: float
    torus: tuple[bool, bool]
    quarters: int = 0


def choose_ground(
    surface: Topology | None,
    exemplar_width: int,
    options: Options,
    follows: Callable[[float], Follow] = lambda density: Follow.NOTHING,
) -> Ground:
    """The plane of a mesh's surface where that is asked for and can be had, else the texture.

    exemplar_width: texels; with `style_size` they say how many there are to a metre. follows: what its
    pattern follows on the surface, at so many of its texels per texel of the ground.
    """
    tiles = options.tileable, options.tileable
    if surface is None:
        return Ground(options.size, None, None, None, options.density, tiles)
    mean = mean_density(surface, options.size)
    offered = mean * options.density if options.style_size is None else exemplar_width / options.style_size
    if options.fit == "surface" and not options.tileable and fits(surface):
        wanted = min(mean, offered)  # a finer plane would hold nothing more
        join, follow = options.seams == "weld", follows(offered / wanted)
        plane = plan_plane(surface, options.size, wanted, options.grain, join=join, follow=follow)
        return Ground(
            plane.size, Topology(plane.mesh, None, fitted=True), plane, surface, offered / plane.density, (False, False)
        )
    if options.seams == "weld" and not options.tileable:
        tiles = surface.repeating
    quarters = quarters_to_turn(ups_in_texture(surface)) if options.fit == "surface" else 0
    return Ground(options.size, surface, None, surface, offered / mean, tiles, quarters)


def in_whole_sides(ground: Ground, exemplar: Exemplar, *, free: bool) -> Ground:
    """The ground where it tiles and the exemplar repeats with its sides: with the density at which whole sides fit in,
    if that is near; the same ground otherwise. free: as of `layout.plan_frame`, so boards fit in whatever its size."""
    sides = exemplar.lattice.sides(exemplar.size)
    along = [axis for axis in range(2) if ground.torus[axis] and sides[axis]]
    if along and free and (boards := boards_of(exemplar, exemplar.lattice)) is not None:
        along = [axis for axis in along if axis != boards.axis]
    if not along or ground.plane is not None:
        return ground
    times = ground.size / exemplar.size[along[0]]
    larger, smaller = times / max(1, math.floor(times)), times / math.ceil(times)
    if abs(math.log(smaller)) < SIDE_CHANGE or 0 <= math.log(larger) < SIDE_CHANGE:
        return ground  # as it is, some rows are left out or come twice
    shrinks = larger < 1 or (smaller >= MOST_SHRUNK and larger > LITTLE_GROWN)
    scale = smaller if shrinks else larger
    return replace(ground, density=ground.density / scale) if ONCE_SHRUNK <= scale <= MOST_GROWN else ground


def wanted_tokens(ground: Ground, region: Region | None, options: Options) -> Mask | None:
    """Tokens, bool (size / 8, size / 8), with a texel to be made: in a chart, its gutter or its continuation over a
    seam, and in the region. None: all."""
    masks = list[Mask]()
    if ground.surface is not None:
        mesh, material = ground.surface.mesh, ground.surface.material
        if options.seams == "weld":  # further out gutters are filled
            made = uv_mask(mesh, ground.size, material) | needed_texels(ground.surface, ground.size)
        else:
            made = uv_mask(mesh, ground.size, material, gutter_width(ground.size))
        masks.append(any_in_blocks(made, BLOCK))
    if region is not None and ground.plane is None:
        masks.append(any_in_blocks(region.inside, BLOCK))
    elif region is not None and ground.plane is not None and ground.texture is not None:
        passage = to_plane(ground.plane, ground.texture.mesh, ground.size // COARSER)
        inside = carried(region.inside.astype(np.uint8), passage) > 0
        # what is carried from texel to texel may miss by one
        masks.append(cv2.dilate(any_in_blocks(inside, BLOCK // COARSER).astype(np.uint8), np.ones((3, 3))) > 0)
    return np.logical_and.reduce(masks) if masks else None


def any_in_blocks(mask: Mask, block: int) -> Mask:
    """bool (H / block, W / block), whether any texel of a block is set."""
    h, w = mask.shape[0] // block, mask.shape[1] // block
    return np.asarray(mask.reshape(h, block, w, block).any(axis=(1, 3)))


def shown_on(plane: PatternPlane, mesh: Mesh) -> Mesh:
    """The mesh with the plane for the texture of what lies on it, and everything of other materials as it was."""
    fitted = np.isin(mesh.material_index, plane.mesh.material_index)  # charts that share texels have no place there
    others = mesh.triangles[~fitted] + len(mesh.positions)
    return Mesh(
        np.concatenate([mesh.positions, mesh.positions]), np.concatenate([mesh.normals, mesh.normals]),
        np.concatenate([plane.mesh.uvs, mesh.uvs]), np.concatenate([plane.mesh.triangles, others.astype(np.int32)]),
        np.concatenate([plane.mesh.material_index, mesh.material_index[~fitted]]),
    )  # fmt: skip


def content_on(plane: PatternPlane, mesh: Mesh, content: Content) -> Content:
    """An asset's content as it lies on the plane."""
    passage = to_plane(plane, mesh, min(plane.size, LARGEST_GUIDE))
    tone = carried(no_larger(content.tone, (passage.size, passage.size)), passage)
    if content.slope is None:
        return replace(content, tone=tone)
    flat = np.concatenate([content.slope, np.zeros_like(content.slope[:, :, :1])], axis=2) * _HALF + _HALF
    slope = carried(no_larger(flat, (passage.size, passage.size)), passage)
    _, _, triangles = passage.rows(0, passage.size, 2 * passage.size)
    turned = turned_normals(slope.reshape(-1, 3), passage.turns[triangles]).reshape(slope.shape)
    return replace(content, tone=tone, slope=np.ascontiguousarray(turned[:, :, :2] * 2 - 1))


def course_shift(plane: PatternPlane) -> Floats:
    """float32 (size / 8, size / 8, 2), as of `layout.Frame`: what brings the courses of bricks on all upright sheets to
    one height on the surface."""
    _, _, triangles = to_plane(plane, plane.mesh, plane.size // BLOCK).rows(0, plane.size // BLOCK, 2 * plane.size)
    tokens = plane.shift[triangles].reshape(plane.size // BLOCK, plane.size // BLOCK, 2)
    return np.ascontiguousarray(tokens[:, :, ::-1], np.float32)  # y before x


def blend_on(plane: PatternPlane, mesh: Mesh, blend: Blend) -> Blend:
    """A blend whose mask lies on the plane."""
    if blend.mask is None:
        return replace(blend, size=plane.size)
    mask = carried(blend.mask, to_plane(plane, mesh, plane.size))
    return Blend(plane.size, float(mask.mean() / 255), mask)


def in_texture(
    plane: PatternPlane, mesh: Mesh, size: int, maps: Mapping[MapKind, NDArray[Any]], background: Floats
) -> Rebake:
    """Rows of the asset's texture from maps that were made on the plane, as `Rebake`."""
    return Rebake(to_texture(plane, mesh, size), maps, gutter_width(size), background)


def index_in_texture(plane: PatternPlane, mesh: Mesh, size: int, index: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where the texels of the texture's blocks lie in the exemplar, int32 (size / 8, size / 8, 3): y and x of the top
    left, were the block upright, and how it is turned, degrees clockwise 0..359, plus `MIRRORED` where it is mirrored.

    index: int32 (plane.size / 8, plane.size / 8, 2), the same of the plane's blocks. Blocks on no triangle are those of
    the nearest one that is.
    """
    blocks = size // BLOCK
    passage = to_texture(plane, mesh, blocks)
    _, middle, triangles = passage.rows(0, blocks, 2 * blocks)
    at = np.clip(np.floor(middle / BLOCK).astype(np.int64), 0, len(index) - 1)
    places = index[at[:, 1], at[:, 0]] + np.rint(middle - at * BLOCK - BLOCK / 2)[:, ::-1].astype(np.int32)
    turn = passage.turns[triangles]
    degrees = np.rint(np.rad2deg(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]))).astype(np.int32) % 360
    degrees += MIRRORED * (np.linalg.det(turn) < 0)
    return np.concatenate([places, degrees[:, None]], axis=1).astype(np.int32).reshape(blocks, blocks, 3)
