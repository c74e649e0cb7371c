"""What each chunk of a chain of GPU blocks adds to the screen, measured on the blocks as a GPU decodes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.chain import Filtering, level_sizes
from mipmap.chunks import Place, layout, tail_level
from mipmap.compiled import in_threads
from mipmap.detail import Detail, Texels, Window, measure, span_below, whole
from mipmap.encode import decode_level, normal_codes
from mipmap.formats import TexelFormat

CHANNELS: dict[Filtering, int] = {"colour": 3, "normal": 3, "scalar": 1}


def chunk_details(
    levels: Mapping[int, NDArray[np.uint8]], level: int, height: int, width: int, texel_format: TexelFormat, side: int,
    filtering: Filtering,
) -> Iterator[Detail]:  # fmt: skip
    """The `Detail` of each chunk of one level, row by row, for a texture of `height` x `width` texels; of the largest
    level of the mip tail that of the tail.

    levels: the bytes of that level and, but for the tail's, of the next coarser one, arrays or memory maps. Two rows of
    chunks are decoded at a time, and chunks of a row are measured on all cores. Raises FormatError for levels of other
    lengths.
    """
    sizes = level_sizes(height, width)

    def rows(level: int, start: int, stop: int) -> tuple[int, Texels]:
        """At least these rows of a level, decoded, and the number of the first."""
        return _rows(levels[level], sizes[level], start, stop, texel_format, filtering)

    places = [place for place in layout(height, width, side, texel_format.block_width) if place.level == level]
    if level == tail_level(height, width, side):
        yield measure(whole(rows(level, 0, places[0].height)[1]), None, filtering)
        return
    for _, row in groupby(places, lambda place: place.y):
        yield from _row_of_details(list(row), sizes, rows, filtering)


def _row_of_details(row: list[Place], sizes: list[tuple[int, int]], rows: Any, filtering: Filtering) -> list[Detail]:
    level, y, height = row[0].level, row[0].y, row[0].height
    size, coarser_size = sizes[level], sizes[level + 1]
    top, texels = rows(level, y, y + height)
    start, stop = span_below(y, y + height, size[0], coarser_size[0])
    coarser_top, coarser = rows(level + 1, start, stop)

    def detail(place: Place) -> Detail:
        left, right = span_below(place.x, place.x + place.width, size[1], coarser_size[1])
        part = texels[y - top : y - top + height, place.x : place.x + place.width]
        below = Window(coarser[:, left:right], coarser_top, left, coarser_size)
        return measure(Window(np.ascontiguousarray(part), y, place.x, size), below, filtering)

    return in_threads(detail, row)


def _rows(
    blocks: NDArray[np.uint8], size: tuple[int, int], start: int, stop: int, texel_format: TexelFormat,
    filtering: Filtering,
) -> tuple[int, Texels]:  # fmt: skip
    """Rows start..stop of a level, and those that share their blocks, with the channels that are shown."""
    block, row_bytes = texel_format.block_height, texel_format.row_bytes(size[1])
    first, last = start // block, texel_format.rows_of_blocks(stop)
    decoded: Texels = decode_level(
        blocks[first * row_bytes : last * row_bytes].tobytes(), min(size[0], last * block) - first * block, size[1],
        texel_format,
    )  # fmt: skip
    if filtering == "normal" and decoded.shape[2] == 2:
        decoded = normal_codes(decoded)
    return first * block, np.ascontiguousarray(decoded[..., : CHANNELS[filtering]])
