"""Write a PNG row band by row band, so that an 8192 x 8192 map never lies in memory as a whole, and read it back.

pypng takes rows but filters in pure Python; libvips streams only from its own readers and compresses at a third of the
speed. The container itself is four kinds of chunk (W3C PNG, third edition), so it is written here and compressed by
ISA-L, whose level 1 takes half a second for 201 MB of texture where zlib's takes three to four, at nearly zlib's size.

Every row has the filter Up. On textures it gives files within 2 % of the best fixed filter (Paeth), and it is one
subtraction. The reader knows that filter only: it takes the files that the writer makes and refuses everything else.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from mipmap.formats import FormatError, check_levels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPE = {1: 0, 3: 2}  # greyscale, truecolour
FILTER_UP = 2
COMPRESSION_LEVEL = 1
PERCEPTUAL = 0  # rendering intent of the sRGB chunk
CHUNK_BYTES = 1 << 18
GAMMA = struct.pack(">I", 45455)  # 1/2.2, which PNG asks for beside sRGB
# Deflate cannot make data smaller than this many times, so a header that promises more is refused unread.
DEFLATE_LIMIT = 1040


class PngWriter:
    """Streams one image of (height, width, channels) uint8 or uint16 texels to `write`; 1 or 3 channels.

    srgb: the texels are sRGB-encoded colour, and the file says so (chunks sRGB and gAMA). Without it the file says
    nothing about colour, so that viewers hand data such as normals through as they are.
    Raises ValueError for what a PNG of this kind cannot hold or for rows of another shape.
    """

    def __init__(
        self, write: Callable[[bytes], None], shape: tuple[int, int, int], dtype: np.dtype[Any], *, srgb: bool
    ) -> None:
        height, width, channels = shape
        if channels not in COLOUR_TYPE or dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
            raise ValueError(f"{channels} channels of {dtype}; a PNG is written from 1 or 3 of uint8 or uint16")
        self._write, self._shape, self._dtype = write, shape, dtype
        self._rows_left = height
        self._above = np.zeros(width * channels * dtype.itemsize, np.uint8)
        self._deflate = isal_zlib.compressobj(COMPRESSION_LEVEL)
        self._packed = bytearray()
        write(SIGNATURE)
        header = struct.pack(">IIBBBBB", width, height, 8 * dtype.itemsize, COLOUR_TYPE[channels], 0, 0, 0)
        self._chunk(b"IHDR", header)
        if srgb:
            self._chunk(b"sRGB", bytes([PERCEPTUAL]))
            self._chunk(b"gAMA", GAMMA)

    def write_rows(self, rows: NDArray[Any]) -> None:
        """rows: (h, width, channels), the next h rows from the top."""
        if rows.shape[1:] != self._shape[1:] or rows.dtype != self._dtype or rows.shape[0] > self._rows_left:
            raise ValueError(
                f"{rows.shape} {rows.dtype}; expected at most {self._rows_left} rows of {self._shape[1:]} {self._dtype}"
            )
        if rows.shape[0] == 0:
            return
        self._rows_left -= rows.shape[0]
        stored = rows.astype(">u2") if rows.dtype == np.uint16 else np.ascontiguousarray(rows)
        values = stored.reshape(rows.shape[0], -1).view(np.uint8)
        filtered = np.empty((values.shape[0], values.shape[1] + 1), np.uint8)
        filtered[:, 0] = FILTER_UP
        np.subtract(values[0], self._above, out=filtered[0, 1:])
        np.subtract(values[1:], values[:-1], out=filtered[1:, 1:])
        self._above = values[-1].copy()
        self._pack(self._deflate.compress(filtered.data))

    def close(self) -> None:
        """End the image. Raises ValueError when rows are missing."""
        if self._rows_left:
            raise ValueError(f"{self._rows_left} rows are missing")
        self._pack(self._deflate.flush())
        if self._packed:
            self._chunk(b"IDAT", bytes(self._packed))
        self._chunk(b"IEND", b"")

    def _pack(self, data: bytes) -> None:
        self._packed += data
        if len(self._packed) >= CHUNK_BYTES:
            self._chunk(b"IDAT", bytes(self._packed))
            self._packed.clear()

    def _chunk(self, name: bytes, data: bytes) -> None:
        self._write(struct.pack(">I", len(data)) + name)
        self._write(data)
        self._write(struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))


def parse_png(data: bytes) -> tuple[NDArray[Any], bool]:
    """(texels, srgb) of a PNG that PngWriter made: (H, W, 1 or 3) uint8 or uint16, and whether they are sRGB-encoded.

    Raises FormatError, in one line, for anything else. Memory: the texels, and no more than `data` can hold of them.
    """
    if not data.startswith(SIGNATURE):
        raise FormatError(f"{len(data)} bytes that do not begin as a PNG does")
    chunks = _parse_chunks(data)
    names = [name for name, _ in chunks]
    srgb = names[1:3] == [b"sRGB", b"gAMA"]
    first = 3 if srgb else 1
    packed = [content for _, content in chunks[first:-1]]
    if names != [b"IHDR", *names[1:first], *[b"IDAT"] * len(packed), b"IEND"] or not packed or chunks[-1][1]:
        raise FormatError("the chunks are not those that are written here")
    if srgb and [chunks[1][1], chunks[2][1]] != [bytes([PERCEPTUAL]), GAMMA]:
        raise FormatError("the chunks sRGB and gAMA are not as they are written here")
    if len(chunks[0][1]) != 13:
        raise FormatError(f"a header of {len(chunks[0][1])} bytes; 13 are right")
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    check_levels(height, width, 1)
    channels = {colour_type: number for number, colour_type in COLOUR_TYPE.items()}.get(colour)
    if channels is None or depth not in (8, 16) or rest != [0, 0, 0]:
        raise FormatError(f"depth {depth}, colour type {colour}, methods {rest}; not a PNG that is written here")
    row_bytes = 1 + width * channels * depth // 8
    rows = np.frombuffer(inflate(b"".join(packed), height * row_bytes), np.uint8).reshape(height, row_bytes)
    if (rows[:, 0] != FILTER_UP).any():
        raise FormatError("a row has another filter than Up")
    values = np.add.accumulate(rows[:, 1:], axis=0, dtype=np.uint8)
    texels = values if depth == 8 else values.reshape(-1).view(">u2").astype(np.uint16)
    return texels.reshape(height, width, channels), srgb


def _parse_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(name, content) of every chunk up to the end of `data`, each with the right check sum."""
    chunks = []
    position = len(SIGNATURE)
    while position < len(data):
        if len(data) - position < 12:
            raise FormatError(f"{len(data) - position} bytes after a chunk")
        length, name = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        position += 12 + length
        if position > len(data):
            raise FormatError(f"the chunk {name!r} reaches {position - len(data)} bytes beyond the end")
        if zlib.crc32(content, zlib.crc32(name)) != struct.unpack_from(">I", data, position - 4)[0]:
            raise FormatError(f"the chunk {name!r} has a wrong check sum")
        chunks.append((name, content))
    return chunks


def inflate(packed: bytes, size: int) -> bytes:
    """The `size` bytes that a zlib stream holds, which ends where `packed` does. Raises FormatError if it does not."""
    if size > DEFLATE_LIMIT * len(packed):
        raise FormatError(f"{len(packed)} compressed bytes cannot hold the {size} that the header promises")
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(packed, size)
        more = stream.decompress(stream.unconsumed_tail, 1)  # reads what is left: the check sum, or bytes too many
    except zlib.error as error:
        raise FormatError(f"compressed data are damaged: {error}") from error
    if len(unpacked) != size or more or not stream.eof or stream.unused_data:
        raise FormatError(f"compressed data do not hold {size} bytes exactly")
    return unpacked
