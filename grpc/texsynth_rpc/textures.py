"""What a job made, as a texture: the levels of its maps and, of maps in GPU blocks, the chunks of these.

Levels in a KTX2 or DDS file become files of their own when somebody first asks, since there they may be compressed; a
chunk is some rows of blocks of one of them. A PNG or EXR is its level; where a scene shows PNGs they are encoded, once
for all who look. The index that says all of it is a `Texture` message, kept as a file like the others.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mipmap.block_detail import CHANNELS, chunk_details
from mipmap.chain import level_sizes
from mipmap.chunks import chunk_side, layout, level_sides, tail_level
from mipmap.compiled import in_threads
from mipmap.dds import DdsTexture, read_dds
from mipmap.encode import encode_level
from mipmap.formats import FormatError, TexelFormat, format_named
from mipmap.ktx2 import Ktx2Texture, read_ktx2
from mipmap.material_chain import FILTERING
from mipmap.png import parse_png
from mipmap.targets import TARGETS
from texsynth_rpc.objects import Damaged, ObjectStore
from texsynth_rpc.v1 import textures_pb2

Levels: TypeAlias = "FileLevels | PictureLevels"
"""What gives the levels of a map as blocks."""

RAW_DEFLATE = -15  # what zlib calls it: the largest window, no header
READERS: dict[str, Callable[[Path], Ktx2Texture | DdsTexture]] = {"ktx2": read_ktx2, "dds": read_dds}
SHOWN_AS = TARGETS["quest3"]  # what pictures are encoded as where a scene shows them


class NoTexture(Exception):
    """The job made something else."""


class NoBlocks(Exception):
    """A map that GPUs do not read and that is not encoded here."""


@dataclass(frozen=True)
class Part:
    """Where the bytes of a level or chunk lie. spans: (digest of a file, offset, bytes), one after the other."""

    spans: tuple[tuple[str, int, int], ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(length for _, _, length in self.spans)


def described(
    files: Mapping[str, str], manifest: Mapping[str, Any], objects: ObjectStore
) -> tuple[textures_pb2.Texture, dict[str, Levels]]:
    """The texture whose material.json is `manifest`, and where the levels come from that `filled` adds, by kind of map.

    files: the job's, digest by name. Raises FileNotFoundError, Damaged, OSError.
    """
    texture, sources = textures_pb2.Texture(), dict[str, Levels]()
    for kind, entry in manifest["maps"].items():
        made = texture.maps.add(kind=kind, colour_space=entry["colour_space"])
        if entry["format"] in READERS:
            sources[kind] = FileLevels(files[entry["file"]], entry["format"], objects)
            _outline(made, sources[kind])
        else:
            _as_files(made, entry)
    return texture, sources


def encoded(pictures: textures_pb2.Texture) -> tuple[textures_pb2.Texture, dict[str, Levels]]:
    """The texture `pictures` with its maps that are PNG encoded for a headset, which `filled` does, as `described`.

    Raises NoBlocks.
    """
    texture, sources = textures_pb2.Texture(), dict[str, Levels]()
    for picture in pictures.maps:
        if picture.chunks:
            texture.maps.add().CopyFrom(picture)
            continue
        if picture.format != "png" or picture.kind not in SHOWN_AS.formats:
            raise NoBlocks(f"{picture.kind} is {picture.format}, which GPUs do not read; make it for quest3, or as PNG")
        made = texture.maps.add(kind=picture.kind, colour_space=picture.colour_space)
        sources[picture.kind] = PictureLevels(picture)
        _outline(made, sources[picture.kind])
    return texture, sources


def filled(outline: bytes, number: int, source: Levels, folder: Path) -> tuple[bytes, list[tuple[str, int]]]:
    """A `TextureMap` that has all coarser levels with another one, or with its whole mip tail from the largest level of
    it on; and what was stored for it in `folder`, (digest, bytes) each. Messages are serialized, to go from one process
    to another. Raises FileNotFoundError, Damaged, OSError."""
    made, objects = textures_pb2.TextureMap.FromString(outline), _objects(folder)
    tail = number == made.chunks[0].level
    try:
        blocks = source.levels(range(number, len(made.levels)) if tail else [number], objects)
    except FormatError as error:
        raise Damaged(str(error)) from error
    stored = list[tuple[str, int]]()
    for level, data in zip(made.levels[number:], blocks, strict=False):
        level.sha256 = objects.put(data)
        stored.append((level.sha256, len(data)))
    chunks = [chunk for chunk in made.chunks if chunk.level == number]
    _measure(made, number, chunks, objects)

    def packed(chunk: textures_pb2.TextureChunk) -> tuple[str, bytes]:
        payload = b"".join(blocks) if tail else _cut(blocks[0], chunk, made.levels[number].width, source.texel_format)
        small = zlib.compress(payload, wbits=RAW_DEFLATE)
        return hashlib.sha256(payload).hexdigest(), small if len(small) < chunk.size else b""

    parts = in_threads(packed, chunks)
    for chunk, (digest, small) in zip(chunks, parts, strict=True):
        chunk.sha256, chunk.deflated_size = digest, len(small)
    if data := b"".join(small for _, small in parts):
        made.levels[number].deflated_sha256 = objects.put(data)
        stored.append((made.levels[number].deflated_sha256, len(data)))
    return made.SerializeToString(), stored


@lru_cache(maxsize=1)
def _objects(folder: Path) -> ObjectStore:
    """Those of the service, seen from another process."""
    return ObjectStore(folder, beside=True)


def warm_up() -> None:
    """Compiles and loads what `filled` takes for pictures."""
    sizes = level_sizes(64, 64)
    for kind, texel_format in ((kind, SHOWN_AS.texel_format(kind)) for kind in SHOWN_AS.formats):
        grey = np.full((64, 64, CHANNELS[FILTERING[kind]]), 128, np.uint8)
        blocks = {
            k: np.frombuffer(encode_level(grey[:h, :w], texel_format), np.uint8) for k, (h, w) in enumerate(sizes)
        }
        side = chunk_side(texel_format.block_width, 32)
        for level in (tail_level(64, 64, side), 0):
            list(chunk_details(blocks, level, 64, 64, texel_format, side, FILTERING[kind]))


def steps(texture: textures_pb2.Texture, sources: Mapping[str, Levels]) -> list[tuple[int, textures_pb2.TextureMap]]:
    """What `filled` is to be called with, the fewest texels first: (level, map) each."""
    found = [(k, made) for made in texture.maps if made.kind in sources for k in range(made.chunks[0].level + 1)]
    return sorted(found, key=lambda step: step[1].levels[step[0]].height * step[1].levels[step[0]].width)


def copy_of(texture: textures_pb2.Texture) -> textures_pb2.Texture:
    """Another message of the same."""
    found = textures_pb2.Texture()
    found.CopyFrom(texture)
    return found


def named(texture: textures_pb2.Texture) -> textures_pb2.Texture:
    """A copy that says its version."""
    found = copy_of(texture)
    words = [[made.kind, made.format, *(level.sha256 for level in made.levels)] for made in texture.maps]
    found.version = hashlib.sha256(json.dumps(words).encode()).hexdigest()
    return found


class FileLevels:
    """The levels of a map in a KTX2 or DDS file. It is read anew each time: nothing of it stays in memory.

    Raises FileNotFoundError, Damaged, OSError.
    """

    def __init__(self, digest: str, container: str, objects: ObjectStore) -> None:
        self._digest, self._container = digest, container
        read = self._read(objects)
        self.texel_format, self.height, self.width = read.texel_format, read.height, read.width

    def levels(self, numbers: Iterable[int], objects: ObjectStore) -> list[bytes]:
        """The blocks of each, row by row. Raises FormatError, FileNotFoundError, Damaged, OSError."""
        read = self._read(objects)
        return [read.level(number) for number in numbers]

    def _read(self, objects: ObjectStore) -> Ktx2Texture | DdsTexture:
        try:
            return READERS[self._container](objects.check(self._digest))
        except FormatError as error:
            raise Damaged(str(error)) from error


class PictureLevels:
    """The levels of a map that are PNG files of ours, encoded when they are asked for."""

    def __init__(self, picture: textures_pb2.TextureMap) -> None:
        self._files = [level.sha256 for level in picture.levels]
        self.texel_format = SHOWN_AS.texel_format(picture.kind)
        self.height, self.width = picture.levels[0].height, picture.levels[0].width

    def levels(self, numbers: Iterable[int], objects: ObjectStore) -> list[bytes]:
        """The blocks of each, row by row. Raises FormatError, FileNotFoundError, Damaged."""
        files = (objects.check(self._files[number]).read_bytes() for number in numbers)
        return [encode_level(parse_png(data)[0], self.texel_format) for data in files]


def _as_files(made: textures_pb2.TextureMap, entry: Mapping[str, Any]) -> None:
    made.format, made.block_width, made.block_height = entry["format"], 1, 1
    for level in (entry, *entry["mips"]):
        made.levels.add(width=level["width"], height=level["height"], sha256=level["sha256"], size=level["bytes"])


def _outline(made: textures_pb2.TextureMap, source: Levels) -> None:
    """All that is known of its levels and chunks before there are any."""
    texel_format = source.texel_format
    made.format, made.block_bytes = texel_format.name, texel_format.block_bytes
    made.block_width, made.block_height = texel_format.block_width, texel_format.block_height
    made.chunk_side = chunk_side(texel_format.block_width)
    shape = source.height, source.width, made.chunk_side, texel_format.block_width
    for (height, width), side in zip(level_sizes(source.height, source.width), level_sides(*shape), strict=True):
        made.levels.add(width=width, height=height, size=texel_format.level_bytes(height, width), chunk_side=side)
    for place in layout(*shape):
        made.chunks.add(
            level=place.level, levels=place.levels, y=place.y, x=place.x, height=place.height, width=place.width,
            size=texel_format.level_bytes(place.height, place.width),
        )  # fmt: skip
    tail = made.chunks[0]
    tail.size = sum(level.size for level in made.levels[tail.level :])


def _measure(
    made: textures_pb2.TextureMap, number: int, chunks: Sequence[textures_pb2.TextureChunk], objects: ObjectStore
) -> None:
    """Says of each chunk of a level what it adds to the screen."""
    coming = made.levels[number : number + 2]
    levels = {k: np.memmap(objects.path(level.sha256), mode="r") for k, level in enumerate(coming, number)}
    size = made.levels[0].height, made.levels[0].width
    details = chunk_details(levels, number, *size, format_named(made.format), made.chunk_side, FILTERING[made.kind])
    for chunk, detail in zip(chunks, details, strict=True):
        chunk.error, chunk.entropy = detail.mean_square, detail.entropy


def _rows(place: textures_pb2.TextureChunk, width: int, texel_format: TexelFormat) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of the rows of blocks of a chunk in its level, which is `width` texels wide."""
    stride, length = texel_format.row_bytes(width), texel_format.row_bytes(place.width)
    first, column = place.y // texel_format.block_height, texel_format.row_bytes(place.x)
    for row in range(first, first + texel_format.rows_of_blocks(place.height)):
        yield row * stride + column, length


def _cut(blocks: bytes, place: textures_pb2.TextureChunk, width: int, texel_format: TexelFormat) -> bytes:
    return b"".join(blocks[offset : offset + length] for offset, length in _rows(place, width, texel_format))


class Parts:
    """The levels and chunks of a texture by digest."""

    def __init__(self, texture: textures_pb2.Texture) -> None:
        self.texture = texture
        self._levels = {level.sha256: level for made in texture.maps for level in made.levels}
        self._chunks = {chunk.sha256: (made, chunk) for made in texture.maps for chunk in made.chunks}

    def find(self, digest: str) -> Part | None:
        """Where the bytes of a level or chunk lie."""
        if level := self._levels.get(digest):
            return Part(((digest, 0, level.size),))
        if digest not in self._chunks:
            return None
        made, chunk = self._chunks[digest]
        return Part(tuple(_spans(chunk, made.levels, format_named(made.format))))


def _spans(
    chunk: textures_pb2.TextureChunk, levels: Sequence[textures_pb2.TextureLevel], texel_format: TexelFormat
) -> Iterator[tuple[str, int, int]]:
    if chunk.levels > 1 or len(levels) == chunk.level + 1:  # the mip tail
        for level in levels[chunk.level :]:
            yield level.sha256, 0, level.size
        return
    level = levels[chunk.level]
    for offset, length in _rows(chunk, level.width, texel_format):
        yield level.sha256, offset, length
