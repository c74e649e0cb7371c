"""Ambient occlusion: the share of the sky over a point that nearby surface hides, by rays through a tree of boxes.

Triangles are sorted along a Morton curve, so that a complete binary tree over groups of them needs no building: node i
has the children 2 i and 2 i + 1 (after Karras 2012, with the splits in the middle).
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.surface.mesh import Mesh

Floats = NDArray[np.float32]
DIRECTIONS = 96  # over the whole sphere; a point looks along the half of them that its surface faces
_LEAF = 4  # triangles in a box of the lowest level
_MORTON_BITS = 21
_GRAZING = 0.05  # rays flatter than 3 degrees would hit the facets next to them on a curved surface
_LIFT = 1e-3  # of the reach: how far above the surface a ray begins
_NOWHERE = 1e30  # where empty boxes are


class Occluders:
    """The triangles of a mesh, ready for rays. Takes about 90 bytes a triangle; sorting a million takes about 1 s."""

    def __init__(self, mesh: Mesh) -> None:
        corners = mesh.positions[mesh.triangles]
        self._corners: Floats = np.ascontiguousarray(corners[np.argsort(_morton(corners.mean(axis=1)))])
        groups = -(-len(corners) // _LEAF)
        self._leaves = 1 << max(groups - 1, 0).bit_length()
        self._boxes = np.empty((2 * self._leaves, 2, 3), np.float32)
        low, high = self._boxes[:, 0], self._boxes[:, 1]
        low[:], high[:] = np.inf, -np.inf
        if groups:
            starts = np.arange(groups) * _LEAF
            low[self._leaves : self._leaves + groups] = np.minimum.reduceat(self._corners.min(axis=1), starts)
            high[self._leaves : self._leaves + groups] = np.maximum.reduceat(self._corners.max(axis=1), starts)
        first = self._leaves
        while first > 1:
            first //= 2
            children = slice(2 * first, 4 * first)
            low[first : 2 * first] = low[children].reshape(-1, 2, 3).min(axis=1)
            high[first : 2 * first] = high[children].reshape(-1, 2, 3).max(axis=1)
        self._boxes[np.isinf(low).any(axis=1)] = _NOWHERE

    def hidden(self, points: Floats, normals: Floats, faces: Floats, reach: float) -> Floats:
        """float32 (N,), 0 (open) to 1: the share of the hemisphere over each point, weighted by the cosine, in which
        a surface lies nearer than `reach`.

        points, normals, faces: float32 (N, 3): places, shading normals, and unit normals of the triangles there.
        """
        out = np.zeros(len(points), np.float32)
        _hidden(points, normals, faces, _sphere(), np.float32(reach), self._corners, self._boxes, self._leaves, out)
        return out


def _sphere() -> Floats:
    """float32 (DIRECTIONS, 3): directions spread evenly (a Fibonacci lattice), none along an axis."""
    place = np.arange(DIRECTIONS) + 0.5
    z = 1 - 2 * place / DIRECTIONS
    turn = place * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1).astype(np.float32)


def _morton(points: Floats) -> NDArray[np.uint64]:
    """uint64 (N,): the bits of x, y and z, each over the points' extent, in turns."""
    if len(points) == 0:
        return np.empty(0, np.uint64)
    low = points.min(axis=0)
    extent = float((points - low).max()) or 1.0
    grid = ((points - low) * ((1 << _MORTON_BITS) - 1.0) / extent).astype(np.uint64)
    for shift, mask in (
        (32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):  # fmt: skip
        grid = (grid | grid << np.uint64(shift)) & np.uint64(mask)
    return np.asarray(grid[:, 0] | grid[:, 1] << np.uint64(1) | grid[:, 2] << np.uint64(2))


# The kernels allocate nothing per ray: arrays made for each would cost more than the boxes.
@njit(cache=True, nogil=True, parallel=True, fastmath=True)
def _hidden(  # type: ignore[no-untyped-def]
    points, normals, faces, directions, reach, corners, boxes, leaves, out
):
    lift = reach * np.float32(_LIFT)
    for i in prange(points.shape[0]):
        stack = np.empty(64, np.int64)
        total = blocked = np.float32(0)
        for k in range(directions.shape[0]):
            x, y, z = directions[k, 0], directions[k, 1], directions[k, 2]
            weight = x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]
            if weight <= 0 or x * faces[i, 0] + y * faces[i, 1] + z * faces[i, 2] < np.float32(_GRAZING):
                continue
            total += weight
            start = (
                points[i, 0] + faces[i, 0] * lift, points[i, 1] + faces[i, 1] * lift, points[i, 2] + faces[i, 2] * lift
            )  # fmt: skip
            if _hits(start, (x, y, z), reach, corners, boxes, leaves, stack):
                blocked += weight
        if total > 0:
            out[i] = blocked / total


@njit(cache=True, nogil=True, fastmath=True)
def _hits(start, way, reach, corners, boxes, leaves, stack):  # type: ignore[no-untyped-def]
    """Whether a ray meets any triangle nearer than `reach`."""
    x, y, z = np.float32(1) / way[0], np.float32(1) / way[1], np.float32(1) / way[2]
    stack[0], depth = 1, 1
    while depth:
        depth -= 1
        node = stack[depth]
        x0, x1 = (boxes[node, 0, 0] - start[0]) * x, (boxes[node, 1, 0] - start[0]) * x
        y0, y1 = (boxes[node, 0, 1] - start[1]) * y, (boxes[node, 1, 1] - start[1]) * y
        z0, z1 = (boxes[node, 0, 2] - start[2]) * z, (boxes[node, 1, 2] - start[2]) * z
        near = max(min(x0, x1), min(y0, y1), min(z0, z1), np.float32(0))
        far = min(max(x0, x1), max(y0, y1), max(z0, z1), reach)
        if near > far:
            continue
        if node < leaves:
            stack[depth], stack[depth + 1] = 2 * node + 1, 2 * node
            depth += 2
            continue
        first = (node - leaves) * _LEAF
        for t in range(first, min(first + _LEAF, corners.shape[0])):
            if _meets(start, way, reach, corners, t):
                return True
    return False


@njit(cache=True, nogil=True, fastmath=True)
def _meets(start, way, reach, corners, t):  # type: ignore[no-untyped-def]
    """Whether a ray meets a triangle, from either side, nearer than `reach` (Moller and Trumbore 1997)."""
    px, py, pz = corners[t, 0, 0], corners[t, 0, 1], corners[t, 0, 2]
    ax, ay, az = corners[t, 1, 0] - px, corners[t, 1, 1] - py, corners[t, 1, 2] - pz
    bx, by, bz = corners[t, 2, 0] - px, corners[t, 2, 1] - py, corners[t, 2, 2] - pz
    sx, sy, sz = start[0] - px, start[1] - py, start[2] - pz
    px, py, pz = way[1] * bz - way[2] * by, way[2] * bx - way[0] * bz, way[0] * by - way[1] * bx
    scale = ax * px + ay * py + az * pz
    if scale == 0:
        return False
    u = (sx * px + sy * py + sz * pz) / scale
    if u < 0 or u > 1:
        return False
    qx, qy, qz = sy * az - sz * ay, sz * ax - sx * az, sx * ay - sy * ax
    v = (way[0] * qx + way[1] * qy + way[2] * qz) / scale
    if v < 0 or u + v > 1:
        return False
    distance = (bx * qx + by * qy + bz * qz) / scale
    return 0 < distance < reach
