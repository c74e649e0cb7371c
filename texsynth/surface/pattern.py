"""`PatternPlane`: the surface of a mesh laid out anew, at one scale and one way up, for a pattern to be made on.

In the texture every chart has its own texel density and lies as it was packed, so a pattern that is made there shows
bricks of many sizes, and grain that runs another way on every chart. On the plane all charts have the size that they
have on the surface (`flatten`), lie edge to edge where they unfold (`unfold`), and are turned the way of the grain.
What is made there is carried into the texture by `rebake`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.surface.flatten import areas, flattened, linear_maps, triangle_shapes
from texsynth.surface.level import along_limbs, levelled
from texsynth.surface.limbs import limb_axes, one_way
from texsynth.surface.mesh import Mesh, uv_areas
from texsynth.surface.packing import packed
from texsynth.surface.raster import UvRaster, uv_mask
from texsynth.surface.unfold import Seam, covered_cells, turned_upright, unfolded
from texsynth.surface.uv_topology import Topology

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

APART = 8  # texels around sheets that stay free
CELLS = 256  # to the side of a square that holds all sheets, in which they are packed
MULTIPLE = 64  # of texels, that the plane's side is
LARGEST = 2.0  # of the texture's side: how large the plane may become
OWNED = 0.5  # of a chart's texels that must be its own for it to have a pattern of its own
STEEP = 0.8  # of a sheet's area, in the mean, that must be upright for its courses to be at the surface's height
CLEAR = 0.5  # how sure the axis of a limb must be
ONCE = 0.97  # of the area of charts that go over the texture's edge that must be covered for them not to repeat it
SMALL = 4  # texels of a chart, in the mean, for which that is not asked
OWNER_SIZE = 1024  # texels a side at which that is counted


@dataclass(frozen=True)
class PatternPlane:
    """size: texels a side of the plane. density: its texels per unit of length on the surface.

    mesh: the asset's triangles of one material, with the plane for their texture (`uvs` 0..1 of it), without the charts
    whose texels another chart has. triangles: int64 (T,), which of the asset's triangles they are. shift: float64
    (T, 2), texels (x, y), equal on a sheet: at a place less its shift, what is at one height on the surface is at one
    height on the plane, on all sheets that stand upright; 0 on others.
    """

    size: int
    density: float
    mesh: Mesh
    triangles: Ints
    shift: Doubles

    @cached_property
    def corners(self) -> Doubles:
        """float64 (T, 3, 2): the triangles on the plane, in texels."""
        return np.asarray(self.mesh.uvs[self.mesh.triangles].astype(np.float64) * self.size)


def fits(topology: Topology) -> bool:
    """Whether a pattern plane can be made: not where the texture repeats on the surface, for there the pattern has to
    repeat with it, nor where no triangle has an area in the texture. A chart that is rolled round a form, and meets
    itself at the texture's edge, does not repeat it: it has each texel once."""
    area = np.abs(uv_areas(topology.mesh, topology.triangles))
    if not (area > 1e-14).any():
        return False
    over = np.isin(topology.chart, topology.over_edge)
    if not over.any():
        return True
    alone = np.full(len(topology.mesh.triangles), -1, np.int32)
    alone[np.flatnonzero(topology.chosen)[over]] = 0
    covered = uv_mask(replace(topology.mesh, material_index=alone), OWNER_SIZE, 0, gutter=0).mean()
    return bool(covered >= ONCE * area[over].sum())


def mean_density(topology: Topology, size: int) -> float:
    """Texels per unit of length that a texture of `size` x `size` has on the surface, by the two's areas."""
    mesh, triangles = topology.mesh, topology.triangles
    world = np.abs(areas(triangle_shapes(mesh.positions[triangles].astype(np.float64)))).sum()
    return float(size * np.sqrt(np.abs(uv_areas(mesh, triangles)).sum() / world))


class Follow(Enum):
    """What the way up of a pattern follows, besides what is up in space.

    NOTHING: each sheet has one. HEIGHT: level lines of the surface, for courses. LIMBS: limbs are upright, for a grain
    that is. LYING_LIMBS: limbs lie, for a grain that is level.
    """

    NOTHING = auto()
    HEIGHT = auto()
    LIMBS = auto()
    LYING_LIMBS = auto()


def plan_plane(
    topology: Topology, size: int, density: float, grain: float, *, join: bool, follow: Follow = Follow.NOTHING
) -> PatternPlane:
    """The plane of a material's surface for a texture of `size` x `size`, at `density` texels per unit of length, or
    fewer where it would become too large.

    grain: degrees clockwise, seen from outside, that the pattern is turned from upright. join: whether charts that
    unfold into one sheet do. follow: charts are bent where the pattern would not follow it otherwise.
    """
    mesh, points, owns = topology.mesh, topology.points, _owners(topology)
    chosen = topology.chosen.copy()
    chosen[chosen] = owns
    triangles = topology.triangles[owns]
    used, of = np.unique(points[triangles], return_inverse=True)
    of = of.reshape(-1, 3)
    point_of = np.full(int(points.max()) + 1, -1)
    point_of[used] = np.arange(len(used))
    uvs = np.zeros((len(used), 2))
    uvs[of] = mesh.uvs[triangles]
    chart = np.unique(topology.chart[owns], return_inverse=True)[1]  # a chart stays or goes as a whole
    shapes = triangle_shapes(mesh.positions[triangles].astype(np.float64))
    places = flattened(uvs, of, shapes, chart)
    up = _in_shapes(mesh, triangles, UP)
    if follow is Follow.HEIGHT:
        places = levelled(places, of, shapes, chart, up)
    elif follow is not Follow.NOTHING:
        field, sure = _along_limbs(topology, owns, lying=follow is Follow.LYING_LIMBS)
        up = _in_shapes(mesh, triangles, field)
        places = along_limbs(places, of, shapes, chart, up, sure)
    sheets = chart
    if join:
        seams = _seams(topology, point_of)
        places, sheet_of_chart = unfolded(places, of, chart, _directions(up, shapes, places, of), seams)
        sheets = sheet_of_chart[chart]
    ways = [_directions(way, shapes, places, of) for way in (up, _in_shapes(mesh, triangles, AWAY))]
    places = turned_upright(places, of, sheets, ways, np.deg2rad(grain))
    placed, side, density = _packed(places, of, sheets, density, size)
    vertices = np.zeros((len(mesh.positions), 2), np.float32)
    vertices[triangles] = placed[of] / side
    plane = Mesh(mesh.positions, mesh.normals, vertices, mesh.triangles[chosen], mesh.material_index[chosen])
    shift = np.zeros((len(triangles), 2))
    if follow in (Follow.NOTHING, Follow.HEIGHT):  # there are no courses elsewhere
        height = (mesh.positions[triangles] @ UP).mean(axis=1) * density
        middles, weight = placed[of].mean(axis=1), np.abs(areas(shapes))
        shift = _shift_to_height(middles, height, ways[0], weight, sheets, np.deg2rad(grain))
    return PatternPlane(side, density, plane, np.flatnonzero(chosen), shift)


UP, AWAY = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])


def ups_in_texture(topology: Topology) -> Doubles:
    """float64 (T, 2): on each triangle the direction in the texture, x and y down, that is up on the surface, as long
    as the area that it is upright on."""
    mesh, triangles = topology.mesh, topology.triangles
    shapes = triangle_shapes(mesh.positions[triangles].astype(np.float64))
    ups = _in_shapes(mesh, triangles, UP)
    there = np.einsum("tij,tj->ti", linear_maps(mesh.uvs[triangles].astype(np.float64), shapes), ups)
    length = np.linalg.norm(ups, axis=1) * np.abs(areas(shapes)) / np.maximum(np.linalg.norm(there, axis=1), 1e-300)
    return np.asarray(there * length[:, None], np.float64)


def _owners(topology: Topology) -> NDArray[np.bool_]:
    """bool (T,): which triangles of the material are of a chart that shows texels of its own; of charts that share
    theirs the first does."""
    mesh, chart = topology.mesh, topology.chart
    of = np.full(len(mesh.triangles), -1)
    of[topology.chosen] = chart
    covers = np.bincount(chart, np.abs(uv_areas(mesh, topology.triangles)) * OWNER_SIZE**2)
    shown = UvRaster(mesh, OWNER_SIZE, topology.material).rows(0, OWNER_SIZE).triangle
    owned = np.bincount(of[shown[shown >= 0]], minlength=len(covers))
    # charts of a texel or two may show none: no texel is lost if they go, and none is wrong if they stay
    stays = (owned >= OWNED * covers) | (covers < SMALL)
    return np.asarray(stays[chart])


def _seams(topology: Topology, point_of: Ints) -> list[Seam]:
    """All chains of seams between triangles of the plane."""
    found = []
    for chain in topology.chains:
        one, two = (point_of[topology.points[side[:, :2]]].reshape(-1) for side in (chain.keeps, chain.gives))
        if (one >= 0).all() and (two >= 0).all():
            found.append(Seam(one, two))
    return found


def _along_limbs(topology: Topology, owns: NDArray[np.bool_], *, lying: bool) -> tuple[Doubles, Doubles]:
    """Of the owning triangles the direction, float64 (T, 3), that is up on the pattern: along a limb, or across it if
    they are to be lying, and elsewhere up; and how sure the limb is, (T,)."""
    corners = topology.mesh.positions[topology.triangles].astype(np.float64)
    axes, sure = limb_axes(corners, topology.places[topology.triangles])
    area = np.abs(areas(triangle_shapes(corners)))
    axes = one_way(axes, sure, area, topology.shared_edges[1], (UP, AWAY))
    if lying:
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        axes = np.cross(normal / np.maximum(np.linalg.norm(normal, axis=1), 1e-300)[:, None], axes)
    return np.where(sure[:, None] > CLEAR, axes, UP)[owns], np.where(sure > CLEAR, sure, 0.0)[owns]


def _directions(flat: Doubles, shapes: Doubles, places: Doubles, of: Ints) -> Doubles:
    """float64 (T, 2): a direction on each of `triangle_shapes` as it shows on the flat triangle, times the area."""
    # from the triangle's own frame to where it lies, sheared perhaps: at right angles to what is level there
    level = np.einsum("tij,tj->ti", linear_maps(places[of], shapes), np.stack([-flat[:, 1], flat[:, 0]], axis=1))
    length = np.linalg.norm(flat, axis=1) / np.maximum(np.linalg.norm(level, axis=1), 1e-300)
    turned = np.stack([level[:, 1], -level[:, 0]], axis=1)
    return np.asarray(turned * (length * np.abs(areas(shapes)))[:, None], np.float64)


def _in_shapes(mesh: Mesh, triangles: Ints, way: Doubles) -> Doubles:
    """float64 (T, 2): a direction in space (3,), or one of each triangle (T, 3), as it shows on each of
    `triangle_shapes`."""
    corners = mesh.positions[triangles].astype(np.float64)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    along = one / np.maximum(np.linalg.norm(one, axis=1), 1e-30)[:, None]
    normal = np.cross(one, two)
    normal /= np.maximum(np.linalg.norm(normal, axis=1), 1e-30)[:, None]
    across = -np.cross(normal, along)  # y of `triangle_shapes` runs down
    return np.stack([(along * way).sum(axis=1), (across * way).sum(axis=1)], axis=1)


def _shift_to_height(
    middles: Doubles, height: Doubles, up: Doubles, area: Doubles, sheets: Ints, grain: float
) -> Doubles:
    """As `PatternPlane.shift`, from the middles of triangles on the plane (T, 2), their height in texels (T,), `up` as
    of `_directions`, and their area and sheet."""
    total = np.maximum(np.bincount(sheets, area), 1e-300)
    steep = np.hypot(np.bincount(sheets, up[:, 0]), np.bincount(sheets, up[:, 1])) > STEEP * total
    top = np.array([np.sin(grain), -np.cos(grain)])  # where up is on the plane
    apart = np.bincount(sheets, area * (middles @ top - height)) / total
    return np.asarray(np.where(steep, apart, 0.0)[sheets][:, None] * top, np.float64)


def _packed(places: Doubles, of: Ints, sheets: Ints, density: float, size: int) -> tuple[Doubles, int, float]:
    """Places in texels of the plane, its side, and the density that it became."""
    sheet_of = np.zeros(len(places), np.int64)
    sheet_of[of] = sheets[:, None]
    order = np.argsort(sheets, kind="stable")
    triangles = np.split(order, np.searchsorted(sheets[order], np.arange(1, int(sheets.max()) + 1)))
    z = np.asarray(places[:, 0] + 1j * places[:, 1])
    texels = np.sqrt(np.abs(areas(places[of])).sum()) * density  # a side, if no room were lost
    cell = max(1.0, texels / CELLS, APART / 2)
    while True:
        found = [covered_cells(z[of[mine]] * (density / cell), touched=True) for mine in triangles]
        apart = int(np.ceil(APART / cell))
        kernel = np.ones((2 * apart + 1, 2 * apart + 1), np.uint8)
        shapes = [cv2.dilate(np.pad(cells, apart).astype(np.uint8), kernel) > 0 for cells, _ in found]
        corners, side = packed(shapes)
        if side * cell <= max(LARGEST * size, MULTIPLE):
            break
        density *= 0.95
    low = np.array([(corner.real, corner.imag) for _, corner in found])
    moved = places * density + ((corners + apart - low) * cell)[sheet_of]
    return moved, -(-int(np.ceil(side * cell)) // MULTIPLE) * MULTIPLE, density
