"""One map of a result as it is streamed: its chunks as the scheduler weighs them, and their bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mipmap.chunks import Place
from mipmap.formats import format_named
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.priorities import VISIBILITY, Piece
from texsynth_rpc.v1 import streams_pb2, textures_pb2

MOST_KNOWN = 64  # textures whose maps are kept, about a MB each at 2048 texels
TILE = 256  # texels a side of the squares that views are told in, at most and where they do not say it


class StreamedMap:
    """A map in GPU blocks, whose levels are files of `objects`.

    largest: texels a side that the viewer takes, 0 for any; finer levels are left out. deflate: chunks are sent smaller
    where the index has them so.
    """

    def __init__(
        self, made: textures_pb2.TextureMap, objects: ObjectStore, largest: int = 0, *, deflate: bool = False
    ) -> None:
        self.described = textures_pb2.TextureMap()
        self.described.CopyFrom(made)
        del self.described.chunks[:]
        self.described.ClearField("deflated_sha256")
        self._deflated = objects.path(made.deflated_sha256) if deflate and made.deflated_sha256 else None
        ends = list(accumulate(chunk.deflated_size for chunk in made.chunks))
        sides = [max(level.height, level.width) for level in made.levels]
        self.finest = next((k for k, side in enumerate(sides) if not largest or side <= largest), len(sides) - 1)
        self.tail, self.side = made.chunks[0].level, sides[0]
        self._chunks = [chunk for chunk in made.chunks if chunk.level >= min(self.finest, self.tail)]
        self._ends = ends[: len(self._chunks)]  # the coarsest come first
        self._sides = [level.chunk_side or made.chunk_side for level in made.levels]  # 0: indices of before had one
        self._index = {place_of(chunk, self._sides): i for i, chunk in enumerate(self._chunks)}
        visibility = VISIBILITY.get(made.kind, 1.0)
        self.pieces = tuple(_piece(chunk, self._sides, visibility, self._length(chunk)) for chunk in self._chunks)
        self._format = format_named(made.format)
        self._paths = [objects.path(level.sha256) for level in made.levels]
        self._levels: dict[int, NDArray[np.uint8]] = {}
        self._small: NDArray[np.uint8] | None = None

    def index(self, level: int, row: int, column: int) -> int:
        """Of the chunk at a place, counted in chunks."""
        return self._index[level, row, column]

    def places(self, tile: streams_pb2.Tile, side: int, largest: int) -> Iterator[tuple[int, int, int, int]]:
        """(level, row, column, pixels) of the chunks under a tile, each with its share of the pixels.

        side: texels, of the squares that tiles are. largest: texels of the longer side of the surface's largest map.
        """
        coarser = max(0, (largest // self.side).bit_length() - 1)  # this map's level 0 is the largest's level so much
        level = max(0, tile.level - coarser)
        if level >= self.tail:
            yield level, 0, 0, tile.pixels
            return
        size, finer = self.described.levels[level], max(0, coarser - tile.level)
        chunk_side = self._sides[max(level, self.finest)]  # what is finer counts for the finest that comes
        top, left = tile.row * side >> finer, tile.column * side >> finer
        bottom, right = ((number + 1) * side >> finer for number in (tile.row, tile.column))
        row, column = top // chunk_side, left // chunk_side
        one = top < bottom <= (row + 1) * chunk_side and left < right <= (column + 1) * chunk_side
        if one and top < size.height and left < size.width:  # as most do
            yield level, row, column, tile.pixels
            return
        rows, columns = (
            list(shares(number * side >> finer, (number + 1) * side >> finer, end, chunk_side))
            for number, end in ((tile.row, size.height), (tile.column, size.width))
        )
        for row, of_rows in rows:
            for column, of_columns in columns:
                yield level, row, column, round(tile.pixels * of_rows * of_columns)

    def _length(self, chunk: textures_pb2.TextureChunk) -> int:
        """Bytes on the line."""
        return chunk.deflated_size if self._deflated and chunk.deflated_size else chunk.size

    def payload(self, index: int) -> tuple[bytes, int]:
        """The bytes of a chunk as they are sent, and how many they are inflated, 0 where they are not deflated. Raises
        FileNotFoundError."""
        chunk, end = self._chunks[index], self._ends[index]
        if self._deflated and chunk.deflated_size:
            if self._small is None:
                self._small = np.memmap(self._deflated, mode="r")
            return self._small[end - chunk.deflated_size : end].tobytes(), chunk.size
        return self._blocks(index, chunk), 0

    def _blocks(self, index: int, chunk: textures_pb2.TextureChunk) -> bytes:
        if index == 0:  # the mip tail
            return b"".join(self._level(level).tobytes() for level in range(chunk.level, chunk.level + chunk.levels))
        rows, row_bytes = self._format.rows_of_blocks, self._format.row_bytes
        first, left = chunk.y // self._format.block_height, row_bytes(chunk.x)
        part = self._level(chunk.level)[first : first + rows(chunk.height), left : left + row_bytes(chunk.width)]
        return part.tobytes()

    def _level(self, number: int) -> NDArray[np.uint8]:
        """(rows of blocks, bytes of a row)."""
        if number not in self._levels:
            row_bytes = self._format.row_bytes(self.described.levels[number].width)
            self._levels[number] = np.memmap(self._paths[number], mode="r").reshape(-1, row_bytes)
        return self._levels[number]


def shares(start: int, stop: int, end: int, side: int) -> Iterator[tuple[int, float]]:
    """(number, share) of the chunks of `side` texels along an axis of `end` texels that start..stop lies on, if any."""
    stop = min(stop, end)
    if start >= stop:  # outside, as of a viewer that is a version behind
        return
    for number in range(start // side, -(-stop // side)):
        yield number, (min(stop, (number + 1) * side) - max(start, number * side)) / (stop - start)


def place_of(chunk: textures_pb2.TextureChunk, sides: Sequence[int]) -> tuple[int, int, int]:
    """Level, row and column, counted in chunks. sides: of the chunks of each level, in texels."""
    return chunk.level, chunk.y // sides[chunk.level], chunk.x // sides[chunk.level]


def _piece(chunk: textures_pb2.TextureChunk, sides: Sequence[int], visibility: float, length: int) -> Piece:
    level, row, column = place_of(chunk, sides)
    place = Place(chunk.level, chunk.levels, chunk.y, chunk.x, chunk.height, chunk.width)
    return Piece(
        level=level, row=row, column=column, side=sides[level], byte_length=length, memory=chunk.size,
        texels=place.texels, error=chunk.error * visibility, entropy=chunk.entropy, content=chunk.sha256,
    )  # fmt: skip


class StreamedMaps:
    """Those of the textures that were streamed last: viewers share what is the same for all of them."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._known: OrderedDict[tuple[str, int, bool], list[StreamedMap]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, texture: textures_pb2.Texture, largest: int, deflate: bool) -> list[StreamedMap]:
        """All maps of a texture, whose files were read and found right. Raises Damaged, FileNotFoundError."""
        for made in texture.maps:
            if deflate and made.deflated_sha256:
                self._objects.check(made.deflated_sha256)
            for level in made.levels:
                self._objects.check(level.sha256)
        key = texture.version, largest, deflate
        with self._lock:
            if key not in self._known:
                self._known[key] = [StreamedMap(made, self._objects, largest, deflate=deflate) for made in texture.maps]
            self._known.move_to_end(key)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
            return self._known[key]
