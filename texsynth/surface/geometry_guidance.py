"""What wears and what gathers dirt on a mesh, as a tone in its texture: convex edges lighter, cavities darker.

Bends are the mesh's curvature measure (Cohen-Steiner and Morvan 2003): each edge counts by its length times the angle
of its two faces, averaged over a small ball, so an edge that is one crease and one that is ten facets come out alike.
Cavities are where nearby surface hides the sky (`occlusion.py`), and where the surface bends inwards.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.surface.gbuffer import GBufferRaster
from texsynth.surface.occlusion import Occluders
from texsynth.surface.uv_topology import Topology, shared_edges

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

TONE_SIZE = 1024  # texels a side at most
HIDDEN_SIZE = 384  # of the occlusion, which is smooth, and most of the cost
FLAT_TONE = 0.5
WORN, DIRTY = 0.25, 0.4  # what is added at a full edge, and taken away in a full cavity
LEAST_BEND = 0.12  # radians: what a dome of few facets turns by at each of their edges is no edge
FULL_BEND = np.pi / 4  # an edge of that angle is worn as much as any
REACH = 0.08  # of the mesh's extent: surface farther away hides nothing
BALL = 0.008  # of the extent: the deviation of the Gaussian over which bends are averaged
_CELLS = 192  # of the grid in which they are, along the extent
_MOST_POINTS = 1 << 23  # along all edges
_FOLDED = np.deg2rad(170)  # two faces back to back are a sheet, not an edge
_BAND = 256


def geometry_tone(topology: Topology, size: int) -> Floats:
    """float32 (S, S), 0..1, S = `size` or `TONE_SIZE`: `FLAT_TONE` where the surface is plain and open, and where there
    is none; lighter on convex edges, darker in cavities; a gutter of S / 64 texels goes on as the nearest one."""
    side = min(size, TONE_SIZE)
    hidden = _hidden(topology, min(side, HIDDEN_SIZE))
    bends = Bends(topology)
    bend: Floats = np.zeros((side, side), np.float32)
    covered = np.zeros((side, side), np.bool_)
    raster = GBufferRaster(topology.mesh, side, topology.material, with_charts=False)
    for first in range(0, side, _BAND):
        band = raster.rows(first, min(first + _BAND, side))
        here = band.triangle >= 0
        covered[first : first + len(here)] = here
        bend[first : first + len(here)][here] = bends.at(band.position[here])
    outwards, inwards = (np.clip((way * bend - LEAST_BEND) / (FULL_BEND - LEAST_BEND), 0, 1) for way in (1, -1))
    hidden = np.asarray(cv2.resize(hidden, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
    tone = FLAT_TONE + WORN * outwards * (1 - hidden) - DIRTY * np.maximum(hidden, 0.7 * inwards)
    return np.asarray(_extended(tone, covered, FLAT_TONE, side / 64), np.float32)


class Bends:
    """By how much a mesh turns near a point: radians, above 0 where it is convex.

    A straight edge between two planes has the angle between their normals; a smooth surface turns by the sum of its
    principal curvatures over 2.5 deviations of the ball.
    """

    def __init__(self, topology: Topology) -> None:
        mesh = topology.mesh
        self._low = mesh.positions.min(axis=0, initial=np.inf).astype(np.float64)
        extent = float(np.ptp(mesh.positions, axis=0).max(initial=0)) or 1.0
        self._cell = extent / _CELLS
        deviation = BALL * extent / self._cell  # in cells
        self._pad = int(np.ceil(3 * deviation)) + 1
        shape = np.ceil(np.ptp(mesh.positions, axis=0) / self._cell).astype(int) + 1 + 2 * self._pad
        points, weights = _bent_points(topology, self._cell)
        cells = np.rint(self._cells(points)).astype(np.int64)
        counted = np.bincount(np.ravel_multi_index(tuple(cells.T), tuple(shape)), weights, int(np.prod(shape)))
        # of an edge in a plane's middle the Gaussian takes 1 / (2 pi deviation^2)
        grid = (counted * (2 * np.pi * deviation**2 / self._cell)).astype(np.float32).reshape(shape)
        self._grid = np.asarray(ndimage.gaussian_filter(grid, deviation, mode="constant", truncate=3), np.float32)

    def at(self, points: Floats) -> Floats:
        """float32 (N,): the bend at points (N, 3) of the surface."""
        cells = self._cells(points.astype(np.float64))
        return np.asarray(ndimage.map_coordinates(self._grid, cells.T, order=1, prefilter=False), np.float32)

    def _cells(self, points: Doubles) -> Doubles:
        return np.asarray((points - self._low) / self._cell + self._pad)


def _bent_points(topology: Topology, spacing: float) -> tuple[Doubles, Doubles]:
    """Points (N, 3) along all edges, about `spacing` apart, and what each stands for: length times angle."""
    mesh = topology.mesh
    pairs, owners = (
        topology.shared_edges
        if topology.chosen.all()
        else shared_edges(topology.places, mesh.triangles.astype(np.int64))
    )
    places = mesh.positions.astype(np.float64)
    corners = places[mesh.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    faces /= np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    one, two = faces[owners[:, 0]], faces[owners[:, 1]]
    angle = np.arctan2(np.linalg.norm(np.cross(one, two), axis=1), (one * two).sum(axis=1))
    start, end, across = places[pairs[:, 0, 0]], places[pairs[:, 0, 1]], places[pairs[:, 1, 2]]
    convex = ((across - start) * one).sum(axis=1) < 0
    angle = np.where(angle < _FOLDED, np.where(convex, angle, -angle), 0)
    length = np.linalg.norm(end - start, axis=1)
    counts = np.ceil(length / max(spacing, length.sum() / _MOST_POINTS)).astype(np.int64)
    edge = np.repeat(np.arange(len(pairs)), counts)
    share = (np.arange(len(edge)) - (np.cumsum(counts) - counts)[edge] + 0.5) / counts[edge]
    return start[edge] + share[:, None] * (end - start)[edge], (angle * length / np.maximum(counts, 1))[edge]


def _hidden(topology: Topology, size: int) -> Floats:
    """float32 (size, size): the occlusion, with that of the nearest texel where no surface lies."""
    mesh = topology.mesh
    occluders, raster = Occluders(mesh), GBufferRaster(mesh, size, topology.material, with_charts=False)
    reach = REACH * float(np.ptp(mesh.positions, axis=0).max(initial=0))
    hidden: Floats = np.zeros((size, size), np.float32)
    covered = np.zeros((size, size), np.bool_)
    for first in range(0, size, _BAND):
        band = raster.rows(first, min(first + _BAND, size))
        here = band.triangle >= 0
        covered[first : first + len(here)] = here
        corners = mesh.positions[mesh.triangles[band.triangle[here]]]
        faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        faces /= np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        hidden[first : first + len(here)][here] = occluders.hidden(
            band.position[here], band.normal[here], faces.astype(np.float32), reach
        )
    return _extended(hidden, covered, 0.0, float(size))


def _extended(values: Floats, covered: NDArray[np.bool_], beyond: float, reach: float) -> Floats:
    """Each texel that is not covered takes the value of the nearest one that is, if within `reach`, else `beyond`."""
    if covered.all() or not covered.any():
        return values if covered.any() else np.full_like(values, beyond)
    distance, nearest = ndimage.distance_transform_edt(~covered, return_indices=True)
    return np.asarray(np.where(distance <= reach, values[tuple(nearest)], beyond), np.float32)
