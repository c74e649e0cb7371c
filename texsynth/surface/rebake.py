"""What was made on a pattern plane, carried into the texture of a mesh, and what is in the texture, onto the plane.

Each texel takes the value at its triangle's place on the other side; gutters go on as their nearest triangle does.
Where the plane is finer than the texture the value is a mean over the texel; everywhere else it is Catmull-Rom's, which
keeps more of the detail than a bilinear one. Normals turn with their triangle.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.material import MapKind, linear_to_srgb, srgb_to_linear
from texsynth.surface.flatten import linear_maps
from texsynth.surface.mesh import Mesh
from texsynth.surface.pattern import PatternPlane
from texsynth.surface.plane import Floats, Plane
from texsynth.surface.raster import TexelTriangles, UvRaster

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SHARPEN = 0.07  # what resampling takes from the energy of the Laplacian, which it halves on photos of materials
BAND, THREADS = 128, 2  # rows at once, and how often
MOST_SAMPLES = 8  # along each side of a texel: charts that are eight times as coarse as the plane


@dataclass(frozen=True)
class Passage:
    """From one layout of the same triangles to another.

    here: the triangles in the layout that texels are wanted of. there: float64 (T, 3, 2), their corners in the other
    layout, in whatever unit is wanted. maps: float64 (T, 2, 2), from offsets here, in texels, to offsets there; zero
    for triangles without area here.
    """

    here: UvRaster
    there: Doubles
    maps: Doubles

    @classmethod
    def between(cls, here: Mesh, size: int, there: Doubles) -> Passage:
        """From a layout of `size` texels a side, the `uvs` of a mesh."""
        corners = here.uvs[here.triangles].astype(np.float64) * size
        return cls(UvRaster(here, size), there, linear_maps(there, corners))

    @property
    def size(self) -> int:
        """Texels a side here."""
        return self.here.size

    @cached_property
    def _middles(self) -> tuple[Ints, Ints]:
        """Columns and rows of the texels that the middles of the triangles here lie in."""
        corners = self.here.corners / (1 << self.here.bits)
        columns, rows = np.mod(np.floor(corners.mean(axis=1)).astype(np.int64), self.size).T
        return columns, rows

    def _add_small(self, found: TexelTriangles, top: int, bottom: int) -> None:
        """Let a texel without a triangle have the one whose middle lies in it: charts that hold no texel's centre
        would have no texel."""
        columns, rows = self._middles
        near = np.flatnonzero((rows >= top) & (rows < bottom))[::-1]  # of several the first counts
        near = near[found.triangle[rows[near] - top, columns[near]] < 0]
        found.triangle[rows[near] - top, columns[near]] = self.here.chosen[near]
        found.weights[rows[near] - top, columns[near]] = 1 / 3

    @cached_property
    def turns(self) -> Doubles:
        """float64 (T, 2, 2): the rotation, or mirroring, of a direction there to the same one here."""
        u, _, v = np.linalg.svd(self.maps)
        return np.asarray(np.swapaxes(u @ v, 1, 2), np.float64)

    def rows(self, first: int, last: int, gutter: int) -> tuple[Mask, Doubles, Ints]:
        """Of the texels of some rows: bool (rows, size), whether they have a place there, and of those that do the
        place, (N, 2) x, y, and the triangle, (N,). gutter: how far from a triangle a texel may lie, in texels."""
        top, bottom = max(0, first - gutter), min(self.size, last + gutter)
        found = self.here.rows(top, bottom)
        triangle = found.triangle
        self._add_small(found, top, bottom)
        covered = triangle >= 0
        if not covered.any():
            return np.zeros((last - first, self.size), np.bool_), np.zeros((0, 2)), np.zeros(0, np.int64)
        part = slice(first - top, last - top)
        distance, nearest = cv2.distanceTransformWithLabels(
            (~covered).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        of_label = np.zeros(int(nearest.max()) + 1, np.int64)
        of_label[nearest[covered]] = np.flatnonzero(covered)
        wanted = distance[part] <= gutter
        source = of_label[nearest[part][wanted]]
        rows, columns = np.nonzero(wanted)
        offset = np.stack([columns - source % self.size, rows + (first - top) - source // self.size], axis=1)
        of = triangle.ravel()[source].astype(np.int64)
        weights = found.weights.reshape(-1, 3)[source].astype(np.float64)
        place = np.einsum("nk,nki->ni", weights, self.there[of])
        beyond = offset.any(axis=1)
        place[beyond] += np.einsum("nij,nj->ni", self.maps[of[beyond]], offset[beyond])
        return wanted, place, of


def to_texture(plane: PatternPlane, mesh: Mesh, size: int) -> Passage:
    """From texels of the asset's texture to places on the plane, in its texels."""
    here = Mesh(mesh.positions, mesh.normals, mesh.uvs, plane.mesh.triangles, plane.mesh.material_index)
    return Passage.between(here, size, plane.corners)


def to_plane(plane: PatternPlane, mesh: Mesh, side: int) -> Passage:
    """From texels of the plane, `side` of them a side, to places in the asset's texture, 0..1."""
    return Passage.between(plane.mesh, side, mesh.uvs[plane.mesh.triangles].astype(np.float64))


class Rebake:
    """Rows of the asset's texture from maps on the plane, (P, P, C) of each kind, arrays or memory maps.

    background: float32 (K,), the value of texels that no triangle is near to, in the order of the maps.
    """

    def __init__(self, passage: Passage, maps: Mapping[MapKind, NDArray[Any]], gutter: int, background: Floats) -> None:
        self._passage, self._plane, self._gutter, self._background = passage, Plane(maps), gutter, background
        self._albedo = slice(0, 3) if next(iter(maps)) is MapKind.ALBEDO else slice(0, 0)
        scale = np.linalg.svd(passage.maps, compute_uv=False)[:, 0]
        self._samples = np.clip(np.ceil(scale - 0.25), 1, MOST_SAMPLES).astype(np.int64)
        self._turns = passage.turns.astype(np.float32)
        self._turned = MapKind.NORMAL in maps

    def rows(self, first: int, last: int) -> Floats:
        """float32 (last - first, size, K), encoded 0..1."""
        top, bottom = max(0, first - 1), min(self._passage.size, last + 1)
        band, single = self._resampled(top, bottom)
        edge = np.array([-SHARPEN, 1 + 2 * SHARPEN, -SHARPEN], np.float32)
        for channel in range(band.shape[2]):
            values = band[:, :, channel]
            values[single] = cv2.sepFilter2D(values, -1, edge, edge, borderType=cv2.BORDER_REPLICATE)[single]
        return np.clip(band[first - top : last - top], 0, 1)

    def bands(self) -> Iterator[Floats]:
        """All rows, `BAND` at a time, from the top; `THREADS` of them are made at once."""
        size = self._passage.size
        with ThreadPoolExecutor(THREADS) as pool:
            made = deque[Future[Floats]]()
            for first in range(0, size, BAND):
                made.append(pool.submit(self.rows, first, min(first + BAND, size)))
                if len(made) == THREADS:
                    yield made.popleft().result()
            while made:
                yield made.popleft().result()

    def _resampled(self, first: int, last: int) -> tuple[Floats, Mask]:
        """Those rows without sharpening, and which texels are not means of several places."""
        wanted, place, of = self._passage.rows(first, last, self._gutter)
        band = np.broadcast_to(self._background, (*wanted.shape, len(self._background))).copy()
        values = np.empty((len(place), len(self._background)), np.float32)
        samples = self._samples[of]
        for count in np.unique(samples):
            some = samples == count
            values[some] = self._means(place[some], of[some], int(count))
        band[wanted] = self._plane.turned(values, self._turns[of]) if self._turned else values
        single = np.zeros_like(wanted)
        single[wanted] = samples == 1
        return band, single

    def _means(self, place: Doubles, of: Ints, count: int) -> Floats:
        if count == 1:
            return self._plane.values(place, cubic=True)
        total = np.zeros((len(place), len(self._background)), np.float32)
        steps = (np.arange(count) + 0.5) / count - 0.5
        for x, y in itertools.product(steps, steps):
            offset = np.einsum("nij,j->ni", self._passage.maps[of], np.array([x, y]))
            values = self._plane.values(place + offset)
            values[:, self._albedo] = srgb_to_linear(values[:, self._albedo])
            total += values
        total /= np.float32(count * count)
        total[:, self._albedo] = linear_to_srgb(total[:, self._albedo])
        return total


def carried(image: NDArray[Any], passage: Passage) -> NDArray[Any]:
    """An image of the asset's texture, (H, W) or (H, W, C), as it lies on the plane: (side, side, ...), texels that
    are on no triangle as the nearest one that is; bilinear."""
    side = passage.size
    _, place, _ = passage.rows(0, side, 2 * side)
    grid = place.astype(np.float32).reshape(side, side, 2)
    x, y = grid[:, :, 0] * image.shape[1] - 0.5, grid[:, :, 1] * image.shape[0] - 0.5
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))
