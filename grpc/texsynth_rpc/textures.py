"""What a job made, as a texture: the levels of its maps and, of maps in GPU blocks, the chunks of these.

Levels in a KTX2 or DDS file become files of their own when somebody first asks, since there they may be compressed; a
chunk is some rows of blocks of one of them. A PNG or EXR is its level; where a scene shows PNGs they are encoded, once
for all who look. The index that says all of it is a `Texture` message, kept as a file like the others.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mipmap.block_detail import chunk_details
from mipmap.chain import level_sizes
from mipmap.chunks import Place, chunk_side, layout, level_sides
from mipmap.compiled import in_threads
from mipmap.dds import DdsTexture, read_dds
from mipmap.encode import encode_level
from mipmap.formats import FormatError, TexelFormat, format_named
from mipmap.ktx2 import Ktx2Texture, read_ktx2
from mipmap.material_chain import FILTERING
from mipmap.png import parse_png
from mipmap.targets import TARGETS
from texsynth.publish import MANIFEST
from texsynth_rpc.objects import Damaged, ObjectStore
from texsynth_rpc.v1 import textures_pb2

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


def build_index(
    files: Mapping[str, str], manifest: Mapping[str, Any], objects: ObjectStore
) -> tuple[textures_pb2.Texture, list[tuple[str, int]]]:
    """The texture whose material.json is `manifest`, and what was stored for it: (digest, bytes) each.

    files: the job's, digest by name. Raises FileNotFoundError, Damaged, OSError.
    """
    texture, stored = textures_pb2.Texture(), list[tuple[str, int]]()
    for kind, entry in manifest["maps"].items():
        made = textures_pb2.TextureMap(kind=kind, colour_space=entry["colour_space"])
        if entry["format"] in READERS:
            stored += _in_blocks(made, _read(objects.check(files[entry["file"]]), entry["format"]), objects)
        else:
            _as_files(made, entry)
        texture.maps.append(made)
    return texture, stored + _finish(texture, objects)


def build_blocks(
    pictures: textures_pb2.Texture, objects: ObjectStore
) -> tuple[textures_pb2.Texture, list[tuple[str, int]]]:
    """The texture `pictures` with its maps that are PNG encoded for a headset, and what was stored for it: (digest,
    bytes) each. Some 35 s of two cores for three maps of 8192 texels a side.

    Raises NoBlocks, FileNotFoundError, Damaged, OSError.
    """
    texture, stored = textures_pb2.Texture(), list[tuple[str, int]]()
    for picture in pictures.maps:
        if picture.chunks:
            texture.maps.add().CopyFrom(picture)
            continue
        if picture.format != "png" or picture.kind not in SHOWN_AS.formats:
            raise NoBlocks(f"{picture.kind} is {picture.format}, which GPUs do not read; make it for quest3, or as PNG")
        made = texture.maps.add(kind=picture.kind, colour_space=picture.colour_space)
        stored += _in_blocks(made, EncodedPictures(picture, objects), objects)
    return texture, stored + _finish(texture, objects)


def _finish(texture: textures_pb2.Texture, objects: ObjectStore) -> list[tuple[str, int]]:
    """Names the version, and says of new chunks what they add and what they are deflated."""
    texture.version = hashlib.sha256(texture.SerializeToString(deterministic=True)).hexdigest()
    stored = list[tuple[str, int]]()
    for made in texture.maps:
        if made.chunks and not made.deflated_sha256:
            _measure(made, objects)
            stored += _deflate(made, objects)
    return stored


class EncodedPictures:
    """A map whose levels are PNG files of ours, as blocks: level by level, when it is asked for."""

    def __init__(self, picture: textures_pb2.TextureMap, objects: ObjectStore) -> None:
        self._levels, self._objects = picture.levels, objects
        self.texel_format = SHOWN_AS.texel_format(picture.kind)
        self.height, self.width = picture.levels[0].height, picture.levels[0].width

    def level(self, number: int) -> bytes:
        """Its blocks, row by row. Raises FormatError, FileNotFoundError, Damaged."""
        data = self._objects.check(self._levels[number].sha256).read_bytes()
        return encode_level(parse_png(data)[0], self.texel_format)


def _as_files(made: textures_pb2.TextureMap, entry: Mapping[str, Any]) -> None:
    made.format, made.block_width, made.block_height = entry["format"], 1, 1
    for level in (entry, *entry["mips"]):
        made.levels.add(width=level["width"], height=level["height"], sha256=level["sha256"], size=level["bytes"])


def _read(path: Path, container: str) -> Ktx2Texture | DdsTexture:
    try:
        return READERS[container](path)
    except FormatError as error:
        raise Damaged(str(error)) from error


def _in_blocks(
    made: textures_pb2.TextureMap, read: Ktx2Texture | DdsTexture | EncodedPictures, objects: ObjectStore
) -> Iterator[tuple[str, int]]:
    try:
        texel_format = read.texel_format
        made.format, made.block_bytes = texel_format.name, texel_format.block_bytes
        made.block_width, made.block_height = texel_format.block_width, texel_format.block_height
        made.chunk_side = chunk_side(texel_format.block_width)
        sizes, tail = level_sizes(read.height, read.width), list[bytes]()
        chunks: dict[int, list[textures_pb2.TextureChunk]] = {}
        shape = read.height, read.width, made.chunk_side, texel_format.block_width
        places, sides = list(layout(*shape)), level_sides(*shape)
        for number, (height, width) in enumerate(sizes):
            blocks = read.level(number)
            digest = objects.put(blocks)
            made.levels.add(width=width, height=height, sha256=digest, size=len(blocks), chunk_side=sides[number])
            yield digest, len(blocks)
            if number >= places[0].level:
                tail.append(blocks)
            chunks[number] = [
                _chunk(place, _cut(blocks, place, width, texel_format)) for place in places[1:] if place.level == number
            ]
    except FormatError as error:
        raise Damaged(str(error)) from error
    made.chunks.append(_chunk(places[0], b"".join(tail)))
    for number in sorted(chunks, reverse=True):
        made.chunks.extend(chunks[number])


def _measure(made: textures_pb2.TextureMap, objects: ObjectStore) -> None:
    """Says of each chunk what it adds to the screen."""
    levels = [np.memmap(objects.path(level.sha256), mode="r") for level in made.levels]
    size = made.levels[0].height, made.levels[0].width
    details = chunk_details(levels, *size, format_named(made.format), made.chunk_side, FILTERING[made.kind])
    for chunk, detail in zip(made.chunks, details, strict=True):
        chunk.error, chunk.entropy = detail.mean_square, detail.entropy


def _deflate(made: textures_pb2.TextureMap, objects: ObjectStore) -> Iterator[tuple[str, int]]:
    """Makes the chunks smaller for the line, once for all viewers: synthesised ones by a quarter."""
    texel_format = format_named(made.format)
    levels = {level.sha256: np.memmap(objects.path(level.sha256), mode="r") for level in made.levels}

    def deflated(chunk: textures_pb2.TextureChunk) -> bytes:
        spans = _spans(chunk, made.levels, texel_format)
        small = zlib.compress(
            b"".join(levels[digest][at : at + size].tobytes() for digest, at, size in spans), wbits=RAW_DEFLATE
        )
        return small if len(small) < chunk.size else b""

    parts = in_threads(deflated, made.chunks)
    for chunk, part in zip(made.chunks, parts, strict=True):
        chunk.deflated_size = len(part)
    if data := b"".join(parts):
        made.deflated_sha256 = objects.put(data)
        yield made.deflated_sha256, len(data)


def _chunk(place: Place, payload: bytes) -> textures_pb2.TextureChunk:
    return textures_pb2.TextureChunk(
        level=place.level, levels=place.levels, y=place.y, x=place.x, height=place.height, width=place.width,
        sha256=hashlib.sha256(payload).hexdigest(), size=len(payload),
    )  # fmt: skip


def _rows(place: Place, width: int, texel_format: TexelFormat) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of the rows of blocks of a chunk in its level, which is `width` texels wide."""
    stride, length = texel_format.row_bytes(width), texel_format.row_bytes(place.width)
    first, column = place.y // texel_format.block_height, texel_format.row_bytes(place.x)
    for row in range(first, first + texel_format.rows_of_blocks(place.height)):
        yield row * stride + column, length


def _cut(blocks: bytes, place: Place, width: int, texel_format: TexelFormat) -> bytes:
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
    place, level = Place(chunk.level, 1, chunk.y, chunk.x, chunk.height, chunk.width), levels[chunk.level]
    for offset, length in _rows(place, level.width, texel_format):
        yield level.sha256, offset, length


def manifest_name(files: Mapping[str, str]) -> str:
    """Digest of material.json. Raises NoTexture."""
    if MANIFEST not in files:
        raise NoTexture("the job made no texture; ask for one that restyled, synthesized or made mips")
    return files[MANIFEST]
