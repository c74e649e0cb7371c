"""Charts laid flat at the size that they have on the surface, as little stretched as can be.

A chart's UVs are first brought to world size by the linear map that fits its metric best. Where triangles then still
differ from their shape on the surface, the chart is relaxed as rigidly as possible: each triangle finds its best
rotation, then all points the places that suit the rotations (L. Liu et al., "A Local/Global Approach to Mesh
Parameterization", 2008).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu

Doubles = NDArray[np.float64]
Complex = NDArray[np.complex128]
Ints = NDArray[np.int64]

ITERATIONS = 12
STRETCHED = 0.02  # root mean square of the stretch, above which a chart is relaxed
STEEPEST = 10.0  # largest cotangent that counts: slivers would dominate


def triangle_shapes(corners: Doubles) -> Doubles:
    """float64 (T, 3, 2): triangles (T, 3, 3) in space laid flat, x along the first edge, y downwards, seen from
    outside, where their corners go round counter-clockwise."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(one, axis=1)
    along = one / np.maximum(length, 1e-30)[:, None]
    x = np.einsum("ni,ni->n", two, along)
    y = np.linalg.norm(two - x[:, None] * along, axis=1)
    shapes = np.zeros((len(corners), 3, 2))
    shapes[:, 1, 0], shapes[:, 2, 0], shapes[:, 2, 1] = length, x, -y
    return shapes


def areas(corners: Doubles) -> Doubles:
    """Signed areas of triangles (T, 3, 2), positive where x turns to y."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray((one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) / 2, np.float64)


def flattened(uvs: Doubles, of: Ints, shapes: Doubles, charts: Ints) -> Doubles:
    """float64 (P, 2): points in world units, each chart by itself.

    uvs: (P, 2) of the points. of: (T, 3), the points of triangles. shapes: as `triangle_shapes`. charts: (T,), the
    chart of each triangle, 0 ... C - 1.
    """
    places = _at_world_size(uvs, of, shapes, charts)
    jacobians = linear_maps(places[of], shapes)
    weights = np.abs(areas(shapes))
    stretch = ((np.linalg.svd(jacobians, compute_uv=False) - 1) ** 2).mean(axis=1)
    total = np.bincount(charts, weights=weights)
    stretched = np.bincount(charts, weights=weights * np.minimum(stretch, 4.0)) > STRETCHED**2 * np.maximum(
        total, 1e-30
    )
    chosen = stretched[charts]
    if chosen.any():
        used, local = np.unique(of[chosen], return_inverse=True)
        places[used] = relaxed(places[used], local.reshape(-1, 3), shapes[chosen])
    return places


def _at_world_size(uvs: Doubles, of: Ints, shapes: Doubles, charts: Ints) -> Doubles:
    """UVs under the symmetric linear map of each chart that takes its mean metric to that of the surface."""
    here = areas(uvs[of])
    usable = np.abs(here) > 1e-14
    to_world = np.zeros((len(of), 2, 2))
    to_world[usable] = linear_maps(shapes[usable], uvs[of][usable])
    count = int(charts.max()) + 1
    weight = np.where(usable, np.abs(areas(shapes)), 0.0)
    metric = np.zeros((count, 2, 2))
    squares = np.einsum("tki,tkj->tij", to_world, to_world) * weight[:, None, None]
    np.add.at(metric, charts, squares)
    metric /= np.maximum(np.bincount(charts, weights=weight, minlength=count), 1e-300)[:, None, None]
    values, vectors = np.linalg.eigh(metric)
    root = np.einsum("cij,cj,ckj->cik", vectors, np.sqrt(np.maximum(values, 1e-30)), vectors)
    # seen from outside y runs down, so triangles turn the other way; charts that do not are mirrored in the texture
    mirrored = np.bincount(charts, weights=here, minlength=count) > 0
    root[mirrored, 0] *= -1
    chart = np.zeros(len(uvs), np.int64)
    chart[of] = charts[:, None]
    return np.asarray(np.einsum("pij,pj->pi", root[chart], uvs), np.float64)


def linear_maps(to: Doubles, of: Doubles) -> Doubles:
    """(T, 2, 2): the linear maps that take the triangles `of` (T, 3, 2) to `to`; of those without area nothing."""
    source = np.stack([of[:, 1] - of[:, 0], of[:, 2] - of[:, 0]], axis=2)
    target = np.stack([to[:, 1] - to[:, 0], to[:, 2] - to[:, 0]], axis=2)
    det = source[:, 0, 0] * source[:, 1, 1] - source[:, 0, 1] * source[:, 1, 0]
    inverse = np.stack(
        [
            np.stack([source[:, 1, 1], -source[:, 0, 1]], axis=1),
            np.stack([-source[:, 1, 0], source[:, 0, 0]], axis=1),
        ],
        axis=1,
    )
    return np.asarray(target @ inverse / np.where(np.abs(det) > 1e-300, det, np.inf)[:, None, None], np.float64)


def relaxed(places: Doubles, of: Ints, shapes: Doubles, wanted: Complex | None = None) -> Doubles:
    """As rigid as possible, beginning at `places` (P, 2).

    wanted: complex (T,), by which rotation each triangle is drawn, as long as the pull is strong, 1 being as strong as
    that of its own shape; None: none is.
    """
    edges, weight = edge_weights(shapes)
    count = len(places)
    adjacency = links(of, weight, count)
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    # held to where it is by next to nothing: each chart may move freely, and the equations stay solvable
    hold = 1e-7 * degree
    solver = splu(
        (diags(degree + hold) - adjacency).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
    )
    if wanted is not None:
        wanted = wanted * (weight * (edges**2).sum(axis=2)).sum(axis=1)
    for _ in range(ITERATIONS):
        rotation = _rotations(places[of], edges, weight, wanted)
        right = hold[:, None] * places
        for k in range(3):
            pull = weight[:, k, None] * np.einsum("tij,tj->ti", rotation, edges[:, k])
            for axis in range(2):
                right[:, axis] += np.bincount(of[:, (k + 1) % 3], weights=pull[:, axis], minlength=count)
                right[:, axis] -= np.bincount(of[:, (k + 2) % 3], weights=pull[:, axis], minlength=count)
        places = solver.solve(right)
    return places


def edge_weights(shapes: Doubles) -> tuple[Doubles, Doubles]:
    """Of `triangle_shapes` the edges opposite to each corner, float64 (T, 3, 2), and their cotangent weights (T, 3),
    above 0 and bounded."""
    edges = np.stack([shapes[:, (k + 1) % 3] - shapes[:, (k + 2) % 3] for k in range(3)], axis=1)
    twice = np.maximum(2 * np.abs(areas(shapes)), 1e-300)
    cotangent = np.stack(
        [-np.einsum("ti,ti->t", edges[:, (k + 1) % 3], edges[:, (k + 2) % 3]) / twice for k in range(3)], axis=1
    )
    return edges, np.maximum(np.clip(cotangent, -STEEPEST, STEEPEST) / 2, 1e-3)


def links(of: Ints, weight: Doubles, count: int) -> Any:
    """Sparse (count, count): how firmly points are tied to each other by the edges of triangles (T, 3)."""
    starts, ends = np.roll(of, -1, axis=1).ravel(), np.roll(of, -2, axis=1).ravel()
    ties = weight.ravel()
    return coo_matrix((np.r_[ties, ties], (np.r_[starts, ends], np.r_[ends, starts])), (count, count)).tocsr()


def _rotations(corners: Doubles, edges: Doubles, weight: Doubles, wanted: Complex | None) -> Any:
    """(T, 2, 2): the rotation of each triangle that fits its corners (T, 3, 2) best, drawn to the one that is
    wanted."""
    now = np.stack([corners[:, (k + 1) % 3] - corners[:, (k + 2) % 3] for k in range(3)], axis=1)
    covariance = np.einsum("tk,tki,tkj->tij", weight, now, edges)
    cosine = covariance[:, 0, 0] + covariance[:, 1, 1]
    sine = covariance[:, 1, 0] - covariance[:, 0, 1]
    if wanted is not None:
        cosine, sine = cosine + wanted.real, sine + wanted.imag
    length = np.maximum(np.hypot(cosine, sine), 1e-300)
    cosine, sine = cosine / length, sine / length
    return np.stack([np.stack([cosine, -sine], axis=1), np.stack([sine, cosine], axis=1)], axis=1)
