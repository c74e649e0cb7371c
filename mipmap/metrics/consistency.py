"""MCR, the mip consistency ratio: how many tiles of a texture keep the reference's light at every level of detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mipmap.compiled import in_threads
from mipmap.metrics.textures import Texture, comparable

TILE = 256  # texels a side at LOD0
LEVELS = 5  # LOD0 .. LOD4
TOLERANCE = 0.05


@dataclass(frozen=True)
class MipConsistency:
    """`mip_consistency` of two textures.

    ratio: MCR in per cent, 0..100. by_level: the same for each LOD alone. tile: side of a tile at LOD0 in texels.
    tiles: how many there are. tolerance: tau.
    """

    ratio: float
    by_level: tuple[float, ...]
    tile: int
    tiles: int
    tolerance: float


def mip_consistency(
    generated: Texture,
    reference: Texture,
    *,
    tile: int = TILE,
    levels: int = LEVELS,
    tolerance: float = TOLERANCE,
) -> MipConsistency:
    """MCR = 100 % x mean over tiles i and levels s of [ |down_s(gen_i) - ref|_1 / |ref|_1 < tolerance ], 100 is best.

    ref = down_s(ref_i), and down_s is the exact area average by 2^s in linear light (vectors for normals, values for
    scalars). Tiles are `tile` x `tile` texels from the top left corner; those at the right and bottom edge hold what
    is left, and count as one each. A tile whose reference is black everywhere is consistent only with an equal one.
    One tile row of the textures is decoded at a time. A shift of all texels by a share above the tolerance fails
    every level, detail that averages out fails the fine levels only.
    Raises ValueError for textures that are not `comparable` and for a tile, levels or tolerance that is not positive.
    Source: the ratio's definition in the Muon-AD paper, made a ratio of tiles so that one texture gives no mere bit.
    """
    if tile < 1 or levels < 1 or not tolerance > 0:
        raise ValueError(f"tile, levels and tolerance are positive, not {tile}, {levels} and {tolerance}")
    errors = relative_errors(generated, reference, tile=tile, levels=levels)
    good = errors < tolerance
    return MipConsistency(
        ratio=100 * float(good.mean()),
        by_level=tuple(100 * float(share) for share in good.mean(axis=(0, 1))),
        tile=tile,
        tiles=good.shape[0] * good.shape[1],
        tolerance=tolerance,
    )


def relative_errors(
    generated: Texture, reference: Texture, *, tile: int = TILE, levels: int = LEVELS
) -> NDArray[np.float64]:
    """(tile rows, tile columns, levels): |down_s(gen_i) - down_s(ref_i)|_1 / |down_s(ref_i)|_1, see `mip_consistency`.

    0 where both are zero, infinite where only the reference is. Raises ValueError for textures not `comparable`.
    """
    comparable(generated, reference)
    height, width = reference.size

    def tile_row(top: int) -> list[list[float]]:
        rows = slice(top, top + tile)
        row = []
        for left in range(0, width, tile):
            columns = slice(left, left + tile)
            row.append(_level_errors(generated.linear(rows, columns), reference.linear(rows, columns), levels))
        return row

    return np.array(in_threads(tile_row, range(0, height, tile)), np.float64)


def _level_errors(made: NDArray[np.float32], known: NDArray[np.float32], levels: int) -> list[float]:
    found = []
    for level in range(levels):
        if level:
            made, known = area_halved(made), area_halved(known)
        difference = float(np.abs(made - known).sum(dtype=np.float64))
        scale = float(np.abs(known).sum(dtype=np.float64))
        found.append(difference / scale if scale > 0 else (np.inf if difference > 0 else 0.0))
    return found


def area_halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, C) to (max(1, H // 2), max(1, W // 2), C): the exact area average, odd sides too (see `mipmap.chain`)."""
    return _halved_rows(_halved_rows(image).swapaxes(0, 1)).swapaxes(0, 1)


def _halved_rows(image: NDArray[np.float32]) -> NDArray[np.float32]:
    size = image.shape[0]
    if size == 1:
        return image
    if size % 2 == 0:
        return np.asarray(np.float32(0.5) * (image[0::2] + image[1::2]))
    half = size // 2
    first = (np.arange(half, 0, -1) / size).astype(np.float32)[:, None, None]
    last = (np.arange(1, half + 1) / size).astype(np.float32)[:, None, None]
    middle = np.float32(half / size)
    return np.asarray(first * image[0:-1:2] + middle * image[1::2] + last * image[2::2])
