"""How the charts of a mesh hang together: its seams, in chains, and the chart on either side.

A million triangles take a second for it, so it is found once: `Topology` keeps what it has found.

A seam is an edge that two triangles share on the surface but not in the texture. Consecutive seam edges that run
between the same two borders form a chain; of its two sides one keeps its texels, the other gives way (`weld`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from texsynth.surface.mesh import Mesh, uv_areas

Ints = NDArray[np.int64]
SAME_PLACE, SAME_UV = 1e-6, 1e-6  # of the mesh's extent, and of the texture
SAME_EDGE = 1e-4  # of the texture: on its edge
SAME_AREA = 1e-2  # share by which charts must differ for the larger to be told


@dataclass(frozen=True)
class Chain:
    """Seam edges one after the other. keeps, gives: int64 (E, 3), of each side the vertices of start, end and third
    corner. closed: whether the end of the last is the start of the first."""

    keeps: Ints
    gives: Ints
    closed: bool


@dataclass(frozen=True)
class Topology:
    """How the triangles of one material of a mesh hang together (None: those of any textured one, or all where there is
    none). Each part is found when it is first asked for, and kept.

    fitted: whether `mesh.uvs` lie on a pattern plane, where charts have their size on the surface but may be sheared.
    """

    mesh: Mesh
    material: int | None
    fitted: bool = False

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        """bool, one for each triangle of the mesh: whether it is of the material."""
        index = self.mesh.material_index
        chosen = index >= 0 if self.material is None else index == self.material
        return np.ones_like(chosen) if self.material is None and not chosen.any() else chosen

    @cached_property
    def triangles(self) -> Ints:
        """int64 (T, 3): those of the material."""
        return np.asarray(self.mesh.triangles[self.chosen], np.int64)

    @cached_property
    def places(self) -> Ints:
        """A number for each vertex, equal for those at one place in space, to a millionth of the mesh's extent."""
        return places_of(self.mesh)

    @cached_property
    def points(self) -> Ints:
        """A number for each vertex, equal for those at one place in space and in the texture."""
        points = self.places
        for column in np.round(self.mesh.uvs.astype(np.float64) / SAME_UV).astype(np.int64).T:
            distinct, number = np.unique(column, return_inverse=True)
            points = np.unique(points * len(distinct) + number, return_inverse=True)[1]
        return np.asarray(points, np.int64)

    @cached_property
    def shared_edges(self) -> tuple[Ints, Ints]:
        """As `shared_edges` of the material's triangles."""
        return shared_edges(self.places, self.triangles)

    @cached_property
    def seam_edges(self) -> Ints:
        """int64 (E, 2, 3): of each seam edge its two sides, of each side the vertices of start, end and third corner.

        Seams join two triangles whose edges have the same two ends in space and other UVs. An edge of more than two
        triangles is taken in pairs.
        """
        pairs = self.shared_edges[0]
        uvs = self.mesh.uvs[pairs]
        apart = np.abs(uvs[:, 0, :2] - uvs[:, 1, :2]).max(axis=(1, 2)) > SAME_UV
        return np.asarray(pairs[apart], np.int64)

    @cached_property
    def chart(self) -> Ints:
        """int64 (T,): of each of `triangles` the number of its chart, as `charts`."""
        return charts(self.points, self.triangles)

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """All seams in chains, the longest first. The larger chart keeps; of about equal ones, and of a chart's seam
        with itself, the side further up and left in the texture. Seams that lie on top of each other in the texture, as
        those of charts that share texels do, have the same side keep."""
        return tuple(_chains(self))

    @cached_property
    def repeating(self) -> tuple[bool, bool]:
        """Whether the surface goes on over the texture's edge, from bottom to top and from right to left: a triangle
        lies across it, or a seam joins both edges at the same height, as where a map is rolled round a pillar."""
        return _repeating(self)

    @cached_property
    def over_edge(self) -> Ints:
        """The numbers of the charts at which the surface goes on over the texture's edge."""
        return _over_edge(self)


def shared_edges(places: Ints, triangles: Ints) -> tuple[Ints, Ints]:
    """Edges that two of `triangles` (T, 3) share on the surface: as `Topology.seam_edges`, with seams and without; and
    int64 (E, 2), the places in `triangles` of the two. places: of the vertices, as `places_of`."""
    if len(triangles) == 0:
        return np.empty((0, 2, 3), np.int64), np.empty((0, 2), np.int64)
    corners = np.concatenate([triangles[:, [0, 1, 2]], triangles[:, [1, 2, 0]], triangles[:, [2, 0, 1]]])
    ends = places[corners[:, :2]]
    swap = ends[:, 0] > ends[:, 1]
    corners[swap, :2] = corners[swap, 1::-1]
    ends.sort(axis=1)
    key = ends[:, 0] * len(places) + ends[:, 1]
    order = np.argsort(key, kind="stable")
    same = key[order[:-1]] == key[order[1:]]
    pairs = np.stack([order[:-1], order[1:]], axis=1)[same & _in_pairs(same)]
    return corners[pairs], pairs % len(triangles)


def _chains(topology: Topology) -> list[Chain]:
    """As `Topology.chains`."""
    edges, mesh = topology.seam_edges, topology.mesh
    if len(edges) == 0:
        return []
    points = topology.points
    area = _chart_areas(topology)
    known, chains = dict[bytes, bool](), list[Chain]()
    for steps, closed in sorted(_paths(points[edges[:, :, :2]]), key=lambda path: -len(path[0])):
        one, two = _borders(steps, edges, points)
        uvs = np.round(mesh.uvs[np.stack([one, two])[:, :, :2]] / SAME_UV).astype(np.int64)  # side, edge, end, u v
        here, there = (_keys(uvs[[side, 1 - side]]) for side in range(2))
        keeps = next((known[key] for key in here if key in known), None)
        if keeps is None:
            keeps = _larger(area[points[one[0, 0]]], area[points[two[0, 0]]], uvs)
        known |= dict.fromkeys(here, keeps) | dict.fromkeys(there, not keeps)
        chains.append(Chain(one, two, closed) if keeps else Chain(two, one, closed))
    return chains


def _keys(uvs: Ints) -> list[bytes]:
    """One for each edge, by where its two sides lie in the texture, whichever way it runs."""
    forth, back = uvs.swapaxes(0, 1), uvs[:, :, ::-1].swapaxes(0, 1)
    return [min(a.tobytes(), b.tobytes()) for a, b in zip(forth, back, strict=True)]


def _larger(one: float, two: float, uvs: Ints) -> bool:
    """Whether the first border is that of the larger chart, or further up and left."""
    if abs(one - two) > SAME_AREA * max(one, two):
        return one > two
    middles = uvs.mean(axis=(1, 2)).sum(axis=1)
    return bool(middles[0] <= middles[1])


def _repeating(topology: Topology) -> tuple[bool, bool]:
    """As `Topology.repeating`."""
    found = _across_edges(topology).any(axis=0) | (_rolled(topology) != 0).any(axis=(0, 1))
    return bool(found[1]), bool(found[0])


def _over_edge(topology: Topology) -> Ints:
    """As `Topology.over_edge`."""
    rolled = (_rolled(topology) != 0).any(axis=(1, 2))
    _, at = _charts(topology.points[topology.triangles]) if len(topology.triangles) else (None, np.empty(0, np.int64))
    beside = at[topology.points[topology.seam_edges[rolled][:, :, 0]]]
    return np.union1d(topology.chart[_across_edges(topology).any(axis=1)], beside)


def _across_edges(topology: Topology) -> NDArray[np.bool_]:
    """bool (T, u v): triangles that lie across an edge of the texture."""
    triangles = topology.mesh.uvs[topology.triangles].astype(np.float64)
    return np.asarray(np.floor(triangles.min(axis=1) + SAME_EDGE) < np.floor(triangles.max(axis=1) - SAME_EDGE))


def _rolled(topology: Topology) -> Ints:
    """int64 (E, end, u v): by how many whole textures the sides of each seam edge are apart, 0 where by another way."""
    edges = topology.mesh.uvs[topology.seam_edges][:, :, :2].astype(np.float64)
    apart = edges[:, 0] - edges[:, 1]  # edge, end, u v
    whole = np.rint(apart)
    rolled = np.asarray((np.abs(apart - whole) < SAME_EDGE).all(axis=(1, 2)), np.bool_)
    return np.asarray(np.where(rolled[:, None, None], whole, 0), np.int64)


def places_of(mesh: Mesh) -> Ints:
    """As `Topology.places`."""
    low = mesh.positions.min(axis=0).astype(np.float64)
    extent = float(np.ptp(mesh.positions, axis=0).max()) or 1.0
    x, y, z = np.round((mesh.positions - low) / (extent * SAME_PLACE)).astype(np.int64).T  # 0..10^6: 20 bits each
    return np.asarray(np.unique(x << 42 | y << 21 | z, return_inverse=True)[1], np.int64)


def _in_pairs(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of each run of true values the first, third, fifth ...: neighbours in a sorted list without sharing one."""
    index = np.arange(len(same))
    start = np.maximum.accumulate(np.where(same & ~np.r_[False, same[:-1]], index, 0))
    chosen: NDArray[np.bool_] = (index - start) % 2 == 0
    return chosen


def charts(points: Ints, triangles: Ints) -> Ints:
    """int64 (T,): of each of `triangles` (T, 3) the number of its chart, which triangles that share a corner in space
    and in the texture are one of. Charts are numbered from 0 by their first triangle. points: `Topology.points`."""
    return np.empty(0, np.int64) if len(triangles) == 0 else _charts(points[triangles])[0]


def _charts(of: Ints) -> tuple[Ints, Ints]:
    """As `charts` by the points (T, 3) of triangles; and of each point, to the highest, its chart (-1: none)."""
    count = int(of.max()) + 1
    links = coo_matrix((np.ones(2 * len(of)), (of[:, [0, 1]].ravel(), of[:, [1, 2]].ravel())), (count, count))
    found, first, chart = np.unique(
        connected_components(links, directed=False)[1][of[:, 0]], return_index=True, return_inverse=True
    )
    numbers = np.empty(len(found), np.int64)
    numbers[np.argsort(first)] = np.arange(len(found))
    chart = numbers[chart]
    at = np.full(count, -1, np.int64)
    at[of] = chart[:, None]
    return chart, at


def _chart_areas(topology: Topology) -> NDArray[np.float64]:
    """Of each point the area in the texture of the chart that it belongs to."""
    chart, at = _charts(topology.points[topology.triangles])
    areas = np.abs(uv_areas(topology.mesh, topology.triangles))
    return np.asarray(np.bincount(chart, weights=areas)[at], np.float64)


# A step of a path: (edge, which of its ends it is entered at). Two edges meet where both sides' points are the same
# two, whichever is whose; a path ends where not exactly two edges meet, and where both sides have one point (the tip of
# a cut).
Step = tuple[int, int]
Joint = tuple[int, int]


def _paths(ends: Ints) -> list[tuple[list[Step], bool]]:
    """ends: points, (E, side, end). Every edge is in one path; with whether it is closed."""
    joints = {
        (edge, end): (min(pair), max(pair))
        for edge in range(len(ends))
        for end in range(2)
        if (pair := (int(ends[edge, 0, end]), int(ends[edge, 1, end])))
    }
    at: dict[Joint, list[Step]] = {}
    for step, joint in joints.items():
        at.setdefault(joint, []).append(step)
    goes_on = {joint: len(steps) == 2 and joint[0] != joint[1] for joint, steps in at.items()}
    used, paths = set[int](), list[tuple[list[Step], bool]]()
    begins = [step for joint, steps in at.items() if not goes_on[joint] for step in steps]
    for edge, end in [*begins, *((edge, 0) for edge in range(len(ends)))]:
        if edge in used:
            continue
        path, step = list[Step](), (edge, end)
        while step[0] not in used:
            used.add(step[0])
            path.append(step)
            leaving = step[0], 1 - step[1]
            joint = joints[leaving]
            if goes_on[joint]:
                step = next(other for other in at[joint] if other != leaving)
        paths.append((path, len(path) > 2 and step == path[0]))
    return paths


def _borders(steps: list[Step], edges: Ints, points: Ints) -> tuple[Ints, Ints]:
    """The vertices of the two borders of a path, (edges, (start, end, third corner)) each."""
    one, two, side = list[Ints](), list[Ints](), 0
    for number, (edge, end) in enumerate(steps):
        if number:
            side = int(points[edges[edge, 0, end]] != points[one[-1][1]])
        way = [end, 1 - end, 2]
        one.append(edges[edge, side, way])
        two.append(edges[edge, 1 - side, way])
    return np.array(one), np.array(two)
