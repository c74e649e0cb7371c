"""An index field for results that come without one, by matching their blocks with the exemplar."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from mipmap.metrics.images import as_image

COMPONENTS = 8
CANDIDATES = 4
SWEEPS = 8


def match_index(result: ArrayLike, exemplar: ArrayLike, block: int = 8) -> NDArray[np.int32]:
    """(H / block, W / block, 3): for each block of the result the exemplar texel (y, x) it most resembles, and 0.

    For the copy metrics of results from elsewhere. Blocks are looked up among all positions of the exemplar by their
    first 8 principal components (approximate nearest neighbours), the candidates compared texel by texel; then a
    block takes the continuation of a neighbour's match if that is no worse than 1.2 x its own best plus one step of 8
    bits, so that a copied piece is found whole although single blocks of it may look alike elsewhere.
    Only upright copies are found (orientation 0), and only copies at the exemplar's own scale.
    Both (H, W, C) float, encoded 0..1, equal C. About 3 s for 1024 x 1024 on one core.
    """
    made, source = as_image(result), as_image(exemplar)
    if made.shape[2] != source.shape[2] or min(*made.shape[:2], *source.shape[:2]) < block:
        raise ValueError(
            f"images of equal channels and at least {block} texels are needed: {made.shape}, {source.shape}"
        )
    rows, columns = made.shape[0] // block, made.shape[1] // block
    blocks = made[: rows * block, : columns * block].reshape(rows, block, columns, block, -1).transpose(0, 2, 4, 1, 3)
    places = sliding_window_view(source, (block, block), axis=(0, 1))  # (Y, X, C, block, block), a view
    found, error = _nearest(blocks.reshape(rows * columns, -1), places)
    field, error = found.reshape(rows, columns, 2), error.reshape(rows, columns)
    own_best = error.copy()
    for _ in range(SWEEPS):
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            field, error = _continue(field, error, own_best, step, blocks=blocks, places=places)
    return np.concatenate([field, np.zeros((rows, columns, 1), np.int32)], axis=2)


def _nearest(blocks: NDArray[np.float32], places: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    height, width = places.shape[:2]
    sample = places[:: max(1, height // 64), :: max(1, width // 64)].reshape(-1, blocks.shape[1])
    mean = sample.mean(0)
    axes = np.linalg.svd(sample - mean, full_matrices=False)[2][:COMPONENTS].T
    tree = cKDTree(
        np.concatenate([(row.reshape(width, -1) - mean) @ axes for row in places]),
        leafsize=32,
        balanced_tree=False,
        compact_nodes=False,
    )
    _, near = tree.query((blocks - mean) @ axes, k=CANDIDATES, eps=0.5)
    best, error = np.zeros((len(blocks), 2), np.int32), np.full(len(blocks), np.inf, np.float32)
    for candidate in np.asarray(near).T:
        y, x = np.divmod(candidate, width)
        distance = np.square(places[y, x].reshape(len(blocks), -1) - blocks).mean(1)
        better = distance < error
        best[better] = np.stack([y, x], 1)[better]
        error[better] = distance[better]
    return best, error


def _continue(
    field: NDArray[np.int32],
    error: NDArray[np.float32],
    own_best: NDArray[np.float32],
    step: tuple[int, int],
    *,
    blocks: NDArray[np.float32],
    places: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Offer every block the match of the neighbour at -step, moved on by one block."""
    block, (height, width) = blocks.shape[-1], places.shape[:2]
    offered = np.roll(field, step, (0, 1)) + block * np.array(step, np.int32)
    y, x = offered[..., 0], offered[..., 1]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    distance = np.full(error.shape, np.inf, np.float32)
    distance[inside] = np.square(places[y[inside], x[inside]] - blocks[inside]).mean(axis=(1, 2, 3))
    allowed = (1.2 * np.sqrt(own_best) + 1 / 255) ** 2
    agrees = (distance <= allowed) & ((distance < error) | _alone(field, block))
    return np.where(agrees[..., None], offered, field), np.where(agrees, distance, error)


def _alone(field: NDArray[np.int32], block: int) -> NDArray[np.bool_]:
    """Blocks that continue neither of the four neighbours' matches."""
    alone = np.ones(field.shape[:2], np.bool_)
    for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        moved = field - np.roll(field, step, (0, 1)) - block * np.array(step, np.int32)
        alone &= (moved != 0).any(-1)
    return alone
