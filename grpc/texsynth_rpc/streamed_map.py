"""One map of a result as it is streamed: its chunks as the scheduler weighs them, and their bytes."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from mipmap.chunks import Place
from mipmap.formats import format_named
from texsynth_rpc.chunk_plan import Integers, Plan
from texsynth_rpc.feedback import Seen
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.priorities import VISIBILITY, Piece
from texsynth_rpc.v1 import streams_pb2, textures_pb2

MOST_KNOWN = 384  # maps that are kept, each under two keys, about 0.3 MB at 2048 texels
TILE = 256  # texels a side of the squares that views are told in, at most and where they do not say it


class StreamedMap:
    """A map in GPU blocks, whose levels are files of `objects`; those that are not there yet have no digest.

    largest: texels a side that the viewer takes, 0 for any; finer levels are left out. deflate: chunks are sent smaller
    where the index has them so.
    """

    def __init__(
        self, made: textures_pb2.TextureMap, objects: ObjectStore, largest: int = 0, *, deflate: bool = False
    ) -> None:
        self.described = textures_pb2.TextureMap()
        self.described.CopyFrom(made)
        del self.described.chunks[:]
        for level in self.described.levels:
            level.ClearField("deflated_sha256")
        self._deflate, self._visibility = deflate, VISIBILITY.get(made.kind, 1.0)
        self._deflated = [level.deflated_sha256 if deflate else "" for level in made.levels]
        sides = [max(level.height, level.width) for level in made.levels]
        self.finest = next((k for k, side in enumerate(sides) if not largest or side <= largest), len(sides) - 1)
        self.tail, self.side = made.chunks[0].level, sides[0]
        self._chunks = [chunk for chunk in made.chunks if chunk.level >= min(self.finest, self.tail)]
        self._ends = _ends_in_level(self._chunks)
        self._sides = [level.chunk_side or made.chunk_side for level in made.levels]  # 0: indices of before had one
        table = [(level.height, level.width, side) for level, side in zip(made.levels, self._sides, strict=True)]
        self._table = np.array(table, np.int64).T
        pieces = [self._piece(chunk) for chunk in self._chunks]
        self.pieces = Plan(made.kind, pieces, sum(chunk.sha256 != "" for chunk in self._chunks))
        self._heads: list[bytes | None] = [None] * len(pieces)
        self._format = format_named(made.format)
        self._objects = objects

    def is_part_of(self, made: textures_pb2.TextureMap) -> bool:
        """Whether it is that map when fewer of its levels were there."""
        return [(level.height, level.width) for level in self.described.levels] == [
            (level.height, level.width) for level in made.levels
        ] and all(was.sha256 in ("", now.sha256) for was, now in zip(self.described.levels, made.levels, strict=True))

    def grown(self, made: textures_pb2.TextureMap) -> StreamedMap:
        """The map of which this is a part. What is there of it already is not made again."""
        found, before = copy.copy(self), self.pieces.ready
        found.described = textures_pb2.TextureMap()
        found.described.CopyFrom(self.described)
        for level, now in zip(found.described.levels, made.levels, strict=True):
            level.sha256 = now.sha256
        found._deflated = [level.deflated_sha256 if self._deflate else "" for level in made.levels]
        found._chunks = made.chunks[: len(self._chunks)]  # the coarsest come first
        found._ends, found._heads = _ends_in_level(found._chunks), self._heads.copy()
        ready = before + sum(chunk.sha256 != "" for chunk in found._chunks[before:])
        new = [found._piece(chunk) for chunk in found._chunks[before:ready]]
        found.pieces = self.pieces.grown((*self.pieces[:before], *new, *self.pieces[ready:]), ready)
        return found

    @property
    def whole(self) -> bool:
        """Whether all of its chunks can be sent."""
        return self.pieces.ready == len(self.pieces)

    def more_than(self, before: StreamedMap) -> list[streams_pb2.EncodedLevel]:
        """The levels that are here, and were not in `before`."""
        levels = zip(self.described.levels, before.described.levels, strict=True)
        return [
            streams_pb2.EncodedLevel(level=number, sha256=level.sha256)
            for number, (level, was) in enumerate(levels)
            if number >= self.finest and level.sha256 != was.sha256
        ]

    def seen(self, tiles: Seen, side: int, largest: int, most: int) -> Seen:
        """The chunks under the tiles, each with its share of the pixels.

        side: texels, of the squares that tiles are. largest: texels of the longer side of the surface's largest map.
        most: chunks. Raises ValueError where more would come.
        """
        coarser = max(0, (largest // self.side).bit_length() - 1)  # this map's level 0 is the largest's level so much
        level = np.maximum(0, tiles.level - coarser)
        at = np.minimum(level, self.tail)  # any place counts for the tail
        height, width, _ = self._table[:, at]
        sides = self._table[2, np.maximum(at, self.finest)]  # what is finer counts for the finest that comes
        finer = np.clip(coarser - tiles.level, 0, 62)
        rows, columns = (
            Spans.of(number * side >> finer, (number + 1) * side >> finer, end, sides)
            for number, end in ((tiles.row, height), (tiles.column, width))
        )
        counts = np.where(level >= self.tail, 1, rows.count * columns.count)
        if counts.sum() > most:
            raise ValueError(f"has tiles over more than {most} chunks")
        tile = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(tile)) - np.repeat(np.cumsum(counts) - counts, counts)  # of the chunk under its tile
        wide = np.maximum(1, columns.count[tile])
        row, column = rows.first[tile] + number // wide, columns.first[tile] + number % wide
        share = rows.share(tile, row), columns.share(tile, column)
        pixels = np.rint(tiles.pixels[tile] * share[0] * share[1]).astype(np.int64)
        in_tail = level[tile] >= self.tail
        return Seen(
            level[tile], np.where(in_tail, 0, row), np.where(in_tail, 0, column),
            np.where(in_tail, tiles.pixels[tile], pixels), tiles.x[tile], tiles.y[tile],
        )  # fmt: skip

    def _piece(self, chunk: textures_pb2.TextureChunk) -> Piece:
        level, row, column = place_of(chunk, self._sides)
        place = Place(chunk.level, chunk.levels, chunk.y, chunk.x, chunk.height, chunk.width)
        return Piece(
            level=level, row=row, column=column, side=self._sides[level],
            byte_length=self._deflated_size(chunk) or chunk.size, memory=chunk.size, texels=place.texels,
            error=chunk.error * self._visibility, entropy=chunk.entropy, content=chunk.sha256,
        )  # fmt: skip

    def _deflated_size(self, chunk: textures_pb2.TextureChunk) -> int:
        """Bytes, 0 where it is sent as it is."""
        return chunk.deflated_size if self._deflated[chunk.level] else 0

    def payload(self, index: int) -> bytes | memoryview:
        """The bytes of a chunk as they are sent, deflated or not. Raises FileNotFoundError."""
        chunk, end = self._chunks[index], self._ends[index]
        if length := self._deflated_size(chunk):
            return self._objects.mapped(self._deflated[chunk.level])[end - length : end]
        return self._blocks(index, chunk)

    def inflated(self, index: int) -> int:
        """How many bytes the payload of a chunk is inflated, 0 where it is not deflated."""
        chunk = self._chunks[index]
        return chunk.size if self._deflated_size(chunk) else 0

    def head(self, index: int, payload: bytes | memoryview) -> bytes:
        """What is the same of a chunk's message for all viewers, but for the payload itself."""
        found = self._heads[index]
        if found is None:
            crc = google_crc32c.value(bytes(payload))
            head = streams_pb2.StreamedChunk(index=index, crc32c=crc, inflated=self.inflated(index))
            found = self._heads[index] = head.SerializeToString()
        return found

    def _blocks(self, index: int, chunk: textures_pb2.TextureChunk) -> bytes:
        if index == 0:  # the mip tail
            return b"".join(self._level(level).tobytes() for level in range(chunk.level, chunk.level + chunk.levels))
        rows, row_bytes = self._format.rows_of_blocks, self._format.row_bytes
        first, left = chunk.y // self._format.block_height, row_bytes(chunk.x)
        part = self._level(chunk.level)[first : first + rows(chunk.height), left : left + row_bytes(chunk.width)]
        return part.tobytes()

    def _level(self, number: int) -> NDArray[np.uint8]:
        """(rows of blocks, bytes of a row)."""
        level = self.described.levels[number]
        blocks = np.frombuffer(self._objects.mapped(level.sha256), np.uint8)
        return blocks.reshape(-1, self._format.row_bytes(level.width))


@dataclass(frozen=True, eq=False)
class Spans:
    """Along an axis, the chunks that start..stop lies on: (n,) each. None outside, as of a viewer a version behind."""

    start: Integers
    stop: Integers
    first: Integers
    count: Integers
    side: Integers

    @staticmethod
    def of(start: Integers, stop: Integers, end: Integers, side: Integers) -> Spans:
        """Of chunks of `side` texels along an axis of `end` texels."""
        stop = np.minimum(stop, end)
        first = start // side
        return Spans(start, stop, first, np.where(start < stop, -(-stop // side) - first, 0), side)

    def share(self, at: Integers, number: Integers) -> NDArray[np.float64]:
        """Of the texels of span `at` those on the chunk of a number."""
        start, stop, side = self.start[at], self.stop[at], self.side[at]
        length = np.minimum(stop, (number + 1) * side) - np.maximum(start, number * side)
        return np.asarray(length / np.maximum(1, stop - start))


def _ends_in_level(chunks: Sequence[textures_pb2.TextureChunk]) -> list[int]:
    """Where each ends among the deflated ones of its level, in bytes."""
    levels = (list(some) for _, some in groupby(chunks, lambda chunk: chunk.level))
    return [end for some in levels for end in accumulate(chunk.deflated_size for chunk in some)]


def place_of(chunk: textures_pb2.TextureChunk, sides: Sequence[int]) -> tuple[int, int, int]:
    """Level, row and column, counted in chunks. sides: of the chunks of each level, in texels."""
    return chunk.level, chunk.y // sides[chunk.level], chunk.x // sides[chunk.level]


class StreamedMaps:
    """Those that were streamed last: viewers share what is the same for all of them."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._known: OrderedDict[tuple[str, ...], StreamedMap] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, texture: textures_pb2.Texture, largest: int, deflate: bool) -> list[StreamedMap]:
        """All maps of a texture, whose files were read and found right. Raises Damaged, FileNotFoundError."""
        for level in (level for made in texture.maps for level in made.levels if level.sha256):
            for digest in (level.sha256, level.deflated_sha256 if deflate else ""):
                if digest and not self._objects.is_as_checked(digest):
                    self._objects.check(digest)
        with self._lock:
            return [self._map(made, largest, deflate) for made in texture.maps]

    def _map(self, made: textures_pb2.TextureMap, largest: int, deflate: bool) -> StreamedMap:
        key = made.kind, made.format, str(largest), str(deflate), *(level.sha256 for level in made.levels)
        begun = *key[:4], made.levels[-1].sha256  # there first
        if key not in self._known:
            part = self._known.get(begun)
            if part is not None and part.is_part_of(made):
                found = part.grown(made)
            else:
                found = StreamedMap(made, self._objects, largest, deflate=deflate)
            self._known[key] = self._known[begun] = found
        self._known.move_to_end(key)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return self._known[key]
