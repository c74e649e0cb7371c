"""What surface lies at each texel: place, normal, tangent, chart and texel size, a band of rows at a time.

Two makers with the same rules: `GBufferRaster` here, by numba, and `GlGBufferRaster` (`gbuffer_gl.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mipmap.compiled import in_threads
from texsynth.surface.mesh import Mesh
from texsynth.surface.raster import UvRaster
from texsynth.surface.uv_topology import Topology, charts

Floats = NDArray[np.float32]
AT_ONCE = 64  # rows that a thread fills before the next
_FLAT = 1e-6  # a sum of unit normals, or the sine between normal and tangent, below it points nowhere


@dataclass(frozen=True)
class GBuffer:
    """The surface at the texels' centres of a band of rows; 0, and -1 for numbers, where there is none.

    triangle: int32 (rows, size), index into `mesh.triangles`. chart: int32 (rows, size), as `uv_topology.charts`
    counts. position: float32 (rows, size, 3), world space. normal: float32 (rows, size, 3), interpolated, unit length.
    tangent: float32 (rows, size, 4): x, y, z of unit length, the way in which u grows, at right angles to the normal;
    w is 1 or -1 (mirrored charts): cross(normal, tangent) * w points up in the image, as green of an OpenGL normal map
    does. stretch: float32 (rows, size, 2), world units per texel in the direction in which a texel is largest, and at
    right angles to it: the singular values of the Jacobian.
    """

    triangle: NDArray[np.int32]
    chart: NDArray[np.int32]
    position: Floats
    normal: Floats
    tangent: Floats
    stretch: Floats

    @property
    def units_per_texel(self) -> Floats:
        """float32 (rows, size): the side of a square as large as a texel on the surface, in world units."""
        return np.asarray(np.sqrt(self.stretch[:, :, 0]) * np.sqrt(self.stretch[:, :, 1]))


@dataclass(frozen=True)
class TriangleFacts:
    """What holds all over a triangle, for those of a `UvRaster` in its order: chart int32 (T,), tangent float32 (T, 4)
    (not yet at right angles to a normal) and stretch float32 (T, 2), as in `GBuffer`; face float32 (T, 3), its own unit
    normal."""

    chart: NDArray[np.int32]
    tangent: Floats
    stretch: Floats
    face: Floats


def triangle_facts(mesh: Mesh, raster: UvRaster, *, with_charts: bool = True) -> TriangleFacts:
    """Facts of the triangles that `raster` was made of. with_charts: False leaves them at -1, unsought."""
    triangles = mesh.triangles[raster.chosen]
    corners = mesh.positions[triangles].astype(np.float64)
    edges = corners[:, 1:] - corners[:, :1]
    right, down = np.moveaxis(np.einsum("tec,tex->txc", edges, raster.to_weights), 1, 0)  # a texel's step, world units
    face = np.cross(edges[:, 0], edges[:, 1])
    aa, bb, ab = ((one * two).sum(axis=1) for one, two in ((right, right), (down, down), (right, down)))
    larger = np.sqrt((aa + bb) / 2 + np.hypot((aa - bb) / 2, ab))
    area = np.linalg.norm(np.cross(right, down), axis=1)
    smaller = np.divide(area, larger, out=np.zeros_like(area), where=larger > 0)
    # A chart seen as its image shows it has corners that run the other way round, because y points down there.
    upright = np.where(np.linalg.det(raster.to_weights) < 0, 1.0, -1.0)
    chart = np.full(len(triangles), -1, np.int64)
    if with_charts:
        chart = charts(Topology(mesh, None).points, triangles.astype(np.int64))
    return TriangleFacts(
        chart.astype(np.int32),
        np.c_[_unit(right), upright].astype(np.float32),
        np.minimum(np.stack([larger, smaller], axis=1), np.finfo(np.float32).max).astype(np.float32),
        _unit(face).astype(np.float32),
    )


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0))


class GBufferRaster:
    """The G-buffer of a (size, size) texture of a mesh by numba: coverage is that of `UvRaster`.

    Takes about 150 bytes a triangle, and a band 60 bytes a texel. material_index: None takes all triangles.
    with_charts: False leaves the charts' numbers at -1, which saves finding them.
    Raises TexsynthError where a triangle repeats the texture too often.
    """

    def __init__(self, mesh: Mesh, size: int, material_index: int | None = None, *, with_charts: bool = True) -> None:
        self._mesh = mesh
        self._raster = UvRaster(mesh, size, material_index)
        self._facts = triangle_facts(mesh, self._raster, with_charts=with_charts)
        self._places = np.full(len(mesh.triangles), -1, np.int32)  # of each triangle of the mesh among the facts
        self._places[self._raster.chosen] = np.arange(len(self._raster.chosen))

    def rows(self, first: int, last: int) -> GBuffer:
        """The texels of the rows first..last - 1, row 0 = top row (v = 0)."""
        shape = last - first, self._raster.size
        triangle, chart = (np.full(shape, -1, np.int32) for _ in range(2))
        position, normal, stretch = (np.zeros((*shape, n), np.float32) for n in (3, 3, 2))
        tangent = np.zeros((*shape, 4), np.float32)
        mesh, facts = self._mesh, self._facts

        def fill(here: slice) -> None:
            found = self._raster.rows(first + here.start, first + here.stop)
            triangle[here] = found.triangle
            _fill(
                found.triangle, found.weights, self._places, mesh.triangles, mesh.positions, mesh.normals,
                facts.chart, facts.tangent, facts.stretch, facts.face,
                chart[here], position[here], normal[here], tangent[here], stretch[here],
            )  # fmt: skip

        if len(facts.chart):
            in_threads(fill, [slice(row, min(row + AT_ONCE, shape[0])) for row in range(0, shape[0], AT_ONCE)])
        return GBuffer(triangle, chart, position, normal, tangent, stretch)


@njit(cache=True, nogil=True)
def _fill(
    triangle: NDArray[np.int32],
    weights: Floats,
    places: NDArray[np.int32],
    triangles: NDArray[np.int32],
    positions: Floats,
    normals: Floats,
    chart_of: NDArray[np.int32],
    tangent_of: Floats,
    stretch_of: Floats,
    face_of: Floats,
    chart: NDArray[np.int32],
    position: Floats,
    normal: Floats,
    tangent: Floats,
    stretch: Floats,
) -> None:
    n = np.empty(3, np.float64)
    d = np.empty(3, np.float64)
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            number = triangle[row, column]
            if number < 0:
                continue
            place = places[number]
            a, b, c = triangles[number]
            second, third = np.float64(weights[row, column, 1]), np.float64(weights[row, column, 2])
            for k in range(3):
                start = np.float64(positions[a, k])
                position[row, column, k] = (
                    start + second * (positions[b, k] - start) + third * (positions[c, k] - start)
                )
                start = np.float64(normals[a, k])
                n[k] = start + second * (normals[b, k] - start) + third * (normals[c, k] - start)
                d[k] = tangent_of[place, k]
            _normalise(n, face_of[place])
            along = n[0] * d[0] + n[1] * d[1] + n[2] * d[2]
            for k in range(3):
                d[k] -= along * n[k]
            if d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < _FLAT * _FLAT:
                _across(n, d)
            _normalise(d, face_of[place])
            for k in range(3):
                normal[row, column, k] = n[k]
                tangent[row, column, k] = d[k]
            tangent[row, column, 3] = tangent_of[place, 3]
            chart[row, column] = chart_of[place]
            stretch[row, column, 0] = stretch_of[place, 0]
            stretch[row, column, 1] = stretch_of[place, 1]


@njit(cache=True, nogil=True)
def _normalise(vector: NDArray[np.float64], instead: Floats) -> None:
    """To unit length; one without a direction becomes `instead`."""
    length = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    for k in range(3):
        vector[k] = vector[k] / length if length >= _FLAT else np.float64(instead[k])


@njit(cache=True, nogil=True)
def _across(normal: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Some direction at right angles to a unit normal: the axis that it is least like, without its part along it."""
    axis = 0
    for k in range(1, 3):
        if abs(normal[k]) < abs(normal[axis]):
            axis = k
    for k in range(3):
        out[k] = (1.0 if k == axis else 0.0) - normal[axis] * normal[k]
