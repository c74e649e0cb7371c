"""Texture honesty from the index field: how large the verbatim pieces are, and how evenly the exemplar is used.

The index field (h, w, 3) holds, for every 8 x 8 block of the output, the exemplar texel (y, x) of its top left corner
and its orientation 0..7 (one of the square's symmetries).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

DIRECTIONS = 16  # of the extent: the true diameter is missed by at most 1 - cos(pi / 32) = 0.5 %
CELLS = 32  # a side, for evenness


def rigid_pieces(
    index: ArrayLike, exemplar_size: tuple[int, int], block: int = 8, tolerance: int = 1
) -> NDArray[np.int32]:
    """(h, w) labels of the connected pieces of output blocks that one rigid piece of the exemplar was copied to.

    Two neighbouring blocks (left/right or above/below) belong together if their orientation is the same and their
    source positions differ by one block's step, modulo the exemplar's size, within `tolerance` texels on each axis.
    For orientation 0 that is (0, block) to the right and (block, 0) down; for any other one the step may point along
    any of the four axis directions, so that the answer does not hang on how orientations are numbered.
    """
    field = _checked(index)
    height, width = field.shape[:2]
    ids = np.arange(height * width, dtype=np.int32).reshape(height, width)
    right = _rigid(field[:, :-1], field[:, 1:], (0, block), exemplar_size, tolerance)
    down = _rigid(field[:-1], field[1:], (block, 0), exemplar_size, tolerance)
    one = np.concatenate([ids[:, :-1][right], ids[:-1][down]])
    other = np.concatenate([ids[:, 1:][right], ids[1:][down]])
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(ids.size, ids.size))
    labels = connected_components(graph, directed=False)[1]
    return np.asarray(labels, np.int32).reshape(height, width)


def largest_verbatim(
    index: ArrayLike, exemplar_size: tuple[int, int], block: int = 8, tolerance: int = 1, percentile: float = 95.0
) -> float:
    """95th percentile, over output texels, of the diameter of the texel's rigid piece, over the exemplar's side.

    The percentile is by area: five per cent of the output lies in pieces larger than this. Diameter is the largest
    extent of the piece in any direction (Feret diameter), block corners included, in output texels; the side is the
    exemplar's shorter one. A verbatim copy of the exemplar gives sqrt(2), blocks placed singly 8 sqrt(2) / side.
    index: (h, w, 3) integers. Pieces that wrap round the output's edge count as two.
    """
    diameters = piece_diameters(rigid_pieces(index, exemplar_size, block, tolerance), block)
    return float(np.percentile(diameters, percentile)) / min(exemplar_size)


def piece_diameters(labels: NDArray[np.int32], block: int = 8) -> NDArray[np.float64]:
    """(h, w) labels of pieces to the (h, w) Feret diameter in texels of the piece each block lies in."""
    height, width = labels.shape
    flat = labels.ravel()
    y, x = (np.indices((height, width)).reshape(2, -1) + 0.5) * block
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[order], prepend=-1))
    largest = np.zeros(len(starts))
    for angle in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        along = (y * np.sin(angle) + x * np.cos(angle))[order]
        extent = np.maximum.reduceat(along, starts) - np.minimum.reduceat(along, starts)
        corner = block * (abs(np.sin(angle)) + abs(np.cos(angle)))
        np.maximum(largest, extent + corner, out=largest)
    return np.asarray(largest[flat].reshape(height, width))


def evenness(index: ArrayLike, exemplar_size: tuple[int, int], block: int = 8) -> float:
    """Entropy of how often each part of the exemplar is used, over its maximum; 1 = as even as can be.

    The exemplar is cut into at most 32 x 32 cells, fewer if there would be under 16 output blocks a cell; the centre
    of each block's source falls in one cell (positions wrap). The maximum is log(cells), or, for an output smaller
    than the exemplar, log(cells x output area / exemplar area): more it cannot show in whole pieces. Finite counts
    lower the entropy even of a perfectly uniform draw, by (occupied cells - 1) / (2 blocks) in the mean; this is
    added back (Miller and Madow, 1955) and the result is cut to 0..1.
    For an output as large as the exemplar: blocks or pieces drawn uniformly give 1 or about 0.93, half of the
    exemplar unused 0.9, a quarter of it used 0.8, a single cell 0.
    """
    field = _checked(index).astype(np.int64)
    blocks = field.shape[0] * field.shape[1]
    side = int(np.clip(np.sqrt(blocks / 16), 2, CELLS))
    height, width = exemplar_size
    rows, columns = min(side, height), min(side, width)
    y = (field[..., 0] + block // 2) % height * rows // height
    x = (field[..., 1] + block // 2) % width * columns // width
    counts = np.bincount((y * columns + x).ravel(), minlength=rows * columns)
    used = counts[counts > 0] / blocks
    entropy = -float((used * np.log(used)).sum()) + (len(used) - 1) / (2 * blocks)
    shown = min(1.0, blocks * block * block / (height * width))
    return float(np.clip(entropy / np.log(max(2.0, rows * columns * shown)), 0, 1))


def _checked(index: ArrayLike) -> NDArray[np.int32]:
    field = np.asarray(index)
    if field.ndim != 3 or field.shape[2] != 3 or field.size == 0 or not np.issubdtype(field.dtype, np.integer):
        raise ValueError(f"an index field has the shape (h, w, 3) and integers, not {field.shape} {field.dtype}")
    return field.astype(np.int32)


def _rigid(
    here: NDArray[np.int32],
    there: NDArray[np.int32],
    step: tuple[int, int],
    exemplar_size: tuple[int, int],
    tolerance: int,
) -> NDArray[np.bool_]:
    block = max(step)
    moved = there[..., :2] - here[..., :2]
    size = np.array(exemplar_size, np.int32)
    orientation = here[..., 2]
    joined = np.zeros(orientation.shape, np.bool_)
    for dy, dx in ((0, block), (0, -block), (block, 0), (-block, 0)):
        apart = (moved - np.array([dy, dx], np.int32) + size // 2) % size - size // 2
        near = (np.abs(apart) <= tolerance).all(-1)
        joined |= near if (dy, dx) == step else near & (orientation != 0)
    return np.asarray(joined & (orientation == there[..., 2]))
