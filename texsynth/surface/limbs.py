"""Limbs: legs, rails, handles, hoses; and which way each runs, as a smooth field of directions over the surface.

Around a limb the surface faces all ways but its own. So the squares of the normals, and the normals, are diffused over
the surface, ever farther: where the normals cancel and two of the three axes of their squares are left, the third is
the limb's. The nearest scale at which it is clear counts most. A board, a ball and the body of a pot have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, diags
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.sparse.linalg import splu

from texsynth.surface.flatten import areas, edge_weights, links, triangle_shapes

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

CELLS = 128  # to the side of a square as large as the surface: points nearer to each other are one
SCALES = 7  # how far normals are diffused, halves of that side, quarters, ...
# From where to where a limb is no longer one: the mean normal along either other axis, over their squares' (1 at the
# rim of a board, whose normals do not cancel); the axis' share over that of the middle one. And from where to where it
# becomes one: the share of the middle one.
CANCELS, ROUND, THICK = (0.4, 0.7), (0.25, 0.5), (0.12, 0.25)


def limb_axes(corners: Doubles, of: Ints) -> tuple[Doubles, Doubles]:
    """The axis of the limb that each triangle is of, float64 (T, 3), of length 1, in its plane and of either sign, and
    how sure that is, (T,), 0..1.

    corners: float64 (T, 3, 3), in space; of: int64 (T, 3), equal numbers at equal places.
    """
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1), 1e-300)[:, None]
    area = np.abs(areas(triangle_shapes(corners)))
    tensors, sure = _diffused(corners, of, normal, area)
    for _ in range(2):  # what is not in the triangle's plane
        tensors -= np.einsum("ti,tj,tjk->tik", normal, normal, tensors)
        tensors = tensors.swapaxes(1, 2)
    values, vectors = np.linalg.eigh(tensors)
    return np.asarray(vectors[:, :, 2]), np.asarray(np.minimum(sure, values[:, 2] - np.maximum(values[:, 1], 0)))


def _diffused(corners: Doubles, of: Ints, normal: Doubles, area: Doubles) -> tuple[Doubles, Doubles]:
    """Of each triangle the mean square of the axes, (T, 3, 3), weighed by how sure they are; and how sure, (T,)."""
    side = np.sqrt(area.sum())
    cells, number = _merged(corners, of, side / CELLS)
    whole = (cells[:, 0] != cells[:, 1]) & (cells[:, 1] != cells[:, 2]) & (cells[:, 2] != cells[:, 0])
    ties = links(cells[whole], edge_weights(triangle_shapes(corners[whole]))[1], number)
    stiff = diags(np.asarray(ties.sum(axis=1)).ravel()) - ties
    squares = np.einsum("ti,tj->tij", normal, normal).reshape(-1, 9)
    fields = np.concatenate([np.ones((len(area), 1)), normal, squares], axis=1) * area[:, None] / 3
    sums = np.stack([sum(np.bincount(c, field, number) for c in cells.T) for field in fields.T], axis=1)
    mass, axes, left = np.maximum(sums[:, 0], 1e-12 * sums[:, 0].max()), np.zeros((number, 3, 3)), np.ones(number)
    for scale in range(SCALES, 0, -1):
        reach = (side / 2**scale) ** 2
        solver = splu(
            (diags(mass) + reach * stiff).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
        )
        spread = solver.solve(sums)
        spread = spread[:, 1:] / np.maximum(spread[:, :1], 1e-300)
        axis, sure = _limb(spread[:, :3], spread[:, 3:].reshape(-1, 3, 3))
        axes += (left * sure)[:, None, None] * np.einsum("ni,nj->nij", axis, axis)
        left *= 1 - sure
    return axes[cells].mean(axis=1), 1 - left[cells].mean(axis=1)


def _limb(normals: Doubles, squares: Doubles) -> tuple[Doubles, Doubles]:
    """By the means of normals (N, 3) and of their squares (N, 3, 3): the axis, and how sure it is."""
    values, vectors = np.linalg.eigh(squares)
    along = np.abs(np.einsum("ni,nik->nk", normals, vectors[:, :, 1:])) / np.maximum(values[:, 1:], 1e-300)
    cancel = 1 - _risen(along.max(axis=1), *CANCELS)
    long = 1 - _risen(values[:, 0] / np.maximum(values[:, 1], 1e-300), *ROUND)
    return vectors[:, :, 0], cancel * long * _risen(values[:, 1], *THICK)


def _risen(values: Doubles, low: float, high: float) -> Doubles:
    """0 below `low`, 1 above `high`."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share**2 * (3 - 2 * share))


def _merged(corners: Doubles, of: Ints, cell: float) -> tuple[Ints, int]:
    """`of` with one number for all in a cell of space, and how many there are."""
    low = corners.min(axis=(0, 1))
    first = np.unique(of, return_index=True)[1]
    x, y, z = ((corners.reshape(-1, 3)[first] - low) / cell).astype(np.int64).T
    _, number = np.unique(x << 42 | y << 21 | z, return_inverse=True)
    of = np.unique(of, return_inverse=True)[1].reshape(-1, 3)
    return np.asarray(number[of], np.int64), int(number.max()) + 1


def one_way(axes: Doubles, sure: Doubles, area: Doubles, beside: Ints, ways: tuple[Doubles, ...]) -> Doubles:
    """The axes (T, 3), some turned round, so that neighbours run the same way, and of each part of the surface most
    along the first of the directions `ways` (3,) that it runs along.

    beside: int64 (E, 2), triangles that share an edge.
    """
    count = len(axes)
    alike = np.einsum("ei,ei->e", axes[beside[:, 0]], axes[beside[:, 1]])
    cost = 1.001 - np.abs(alike) * sure[beside].min(axis=1)  # signs are carried along where they are clear
    part = connected_components(coo_matrix((cost, tuple(beside.T)), (count, count)), directed=False)[1]
    roots = np.unique(part, return_index=True)[1]
    starts, ends = np.r_[beside[:, 0], np.full(len(roots), count)], np.r_[beside[:, 1], roots]
    tree = minimum_spanning_tree(coo_matrix((np.r_[cost, np.ones(len(roots))], (starts, ends)), (count + 1, count + 1)))
    order, before = breadth_first_order(tree, count, directed=False)
    sign = np.ones(count)
    _carry(axes, order[1:], before, sign)
    axes = axes * sign[:, None]
    weight = sure * area
    total = np.maximum(np.bincount(part, weight), 1e-300)
    side, settled = np.ones(len(total)), np.zeros(len(total), np.bool_)
    for way in ways:
        along = np.bincount(part, weight * (axes @ way)) / total
        clear = ~settled & (np.abs(along) > 0.05)
        side[clear] = np.sign(along[clear])
        settled |= clear
    return np.asarray(axes * side[part][:, None])


@njit(cache=True, nogil=True)
def _carry(axes: Any, order: Any, before: Any, sign: Any) -> None:  # pragma: no cover - compiled
    for n in order:
        b = before[n]
        if b < len(sign):
            along = axes[n, 0] * axes[b, 0] + axes[n, 1] * axes[b, 1] + axes[n, 2] * axes[b, 2]
            sign[n] = sign[b] if along >= 0 else -sign[b]
