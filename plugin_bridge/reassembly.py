"""A texture put together from its chunks: which ones are there, and the bytes of each level, checked by digest."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from texsynth_rpc.v1 import streams_pb2

from plugin_bridge.connection import PathLike


@dataclass(frozen=True)
class Rectangle:
    """Texels of one level that a chunk holds; of the mip tail, whose `levels` are several, of the largest one."""

    level: int
    levels: int
    y: int
    x: int
    height: int
    width: int


def layout(sizes: list[tuple[int, int]], sides: list[int], tail: int, finest: int = 0) -> Iterator[Rectangle]:
    """The chunks of a texture with levels of (height, width) `sizes`, down to 1 x 1, coarsest first, row by row; the
    levels from `tail` on are the first one. sides: of the chunks of each level. finest: the level that it ends with."""
    yield Rectangle(tail, len(sizes) - tail, 0, 0, *sizes[tail])
    for level in range(tail - 1, finest - 1, -1):
        (height, width), side = sizes[level], sides[level]
        for y in range(0, height, side):
            for x in range(0, width, side):
                yield Rectangle(level, 1, y, x, min(side, height - y), min(side, width - x))


class ReceivedTexture:
    """One map of a surface, as far as it has come. told: the message that announced it."""

    def __init__(self, told: streams_pb2.NewVersion) -> None:
        self.told = told
        self.sizes = [(level.height, level.width) for level in told.map.levels]
        sides = [level.chunk_side or told.map.chunk_side for level in told.map.levels]
        self.chunks = list(layout(self.sizes, sides, told.tail_level, told.finest_level))
        self.held = [False] * len(self.chunks)
        self._levels: dict[int, bytearray] = {}

    @property
    def name(self) -> str:
        """SURFACE/MAP."""
        return f"{self.told.surface.name}/{self.told.map.kind}"

    def renew(self, told: streams_pb2.NewVersion) -> ReceivedTexture:
        """The new version, with the chunks that it keeps of this one. Raises ValueError for one that is not here."""
        new, kept = ReceivedTexture(told), set(told.kept)
        if not kept:
            return new
        if new.chunks != self.chunks or not all(self.held[index] for index in kept):
            raise ValueError(f"version {told.surface.version} of {self.name} keeps chunks that are not here")
        new._levels = self._levels
        new.held = [index in kept for index in range(len(self.chunks))]
        return new

    def know(self, levels: Iterable[streams_pb2.EncodedLevel]) -> None:
        """The digests of levels that were not encoded yet when the texture was announced."""
        for level in levels:
            self.told.map.levels[level.level].sha256 = level.sha256

    def take(self, index: int, data: bytes) -> None:
        """Put the bytes of a chunk into place. Raises ValueError for another number of bytes than it has."""
        chunk, at = self.chunks[index], 0
        if len(data) != self.byte_length(index):
            raise ValueError(f"chunk {index} of {self.name} has {len(data)} bytes, not {self.byte_length(index)}")
        if chunk.levels > 1 or index == 0:
            for level in range(chunk.level, chunk.level + chunk.levels):
                length = self._level_length(level)
                self._bytes(level)[:] = data[at : at + length]
                at += length
        else:
            into, stride, left = self._bytes(chunk.level), self._row(self.sizes[chunk.level][1]), self._row(chunk.x)
            first, length = chunk.y // self.told.map.block_height, self._row(chunk.width)
            for row in range(first, first + self._rows(chunk.height)):
                start = row * stride + left
                into[start : start + length] = data[at : at + length]
                at += length
        self.held[index] = True

    def drop(self, index: int) -> None:
        """It is no longer here."""
        self.held[index] = False

    def byte_length(self, index: int) -> int:
        """Of a chunk."""
        chunk = self.chunks[index]
        if index == 0:
            return sum(self._level_length(level) for level in range(chunk.level, chunk.level + chunk.levels))
        return self._rows(chunk.height) * self._row(chunk.width)

    def memory(self) -> int:
        """Bytes of the chunks that are here."""
        return sum(self.byte_length(index) for index, there in enumerate(self.held) if there)

    def is_whole(self, level: int) -> bool:
        """Whether every chunk of a level is here."""
        return all(
            there
            for chunk, there in zip(self.chunks, self.held)
            if chunk.level == level or chunk.level < level < chunk.level + chunk.levels
        ) and level >= min(self.told.finest_level, self.chunks[0].level)

    def level(self, number: int) -> bytes:
        """The bytes of a level that is whole. Raises ValueError where they are not those that were published."""
        if not self.is_whole(number):
            raise ValueError(f"level {number} of {self.name} is not whole")
        data = bytes(self._bytes(number))
        if hashlib.sha256(data).hexdigest() != self.told.map.levels[number].sha256:
            raise ValueError(f"level {number} of {self.name} is not what was published")
        return data

    def write_ktx2(self, path: PathLike) -> None:
        """All levels from the finest that is streamed as a KTX2 file. Raises ValueError as `level`. Needs the texsynth
        package, unlike all else here."""
        from pathlib import Path

        from mipmap.formats import format_named
        from mipmap.ktx2 import write_ktx2

        finest = self.told.finest_level
        levels = ((number - finest, self.level(number)) for number in range(finest, len(self.sizes)))
        write_ktx2(Path(path), levels, format_named(self.told.map.format), *self.sizes[finest])

    def entry(self) -> list[object]:
        """Of the resume token: what is held of which version."""
        bits = bytearray((len(self.held) + 7) // 8)
        for index, there in enumerate(self.held):
            bits[index // 8] |= there << index % 8
        packed = base64.b64encode(bytes(bits).rstrip(b"\0")).decode()
        return [self.name, self.told.surface.version, len(self.held), packed]

    def _rows(self, height: int) -> int:
        return -(-height // self.told.map.block_height)

    def _row(self, width: int) -> int:
        return -(-width // self.told.map.block_width) * self.told.map.block_bytes

    def _level_length(self, level: int) -> int:
        height, width = self.sizes[level]
        return self._rows(height) * self._row(width)

    def _bytes(self, level: int) -> bytearray:
        if level not in self._levels:
            self._levels[level] = bytearray(self._level_length(level))
        return self._levels[level]
