"""DDS files of one 2D texture with its mip levels, with the DX10 header: written while levels are encoded, read back.

Layout: "DDS_HEADER structure" and "DDS_HEADER_DXT10 structure" of the Windows documentation (Direct3D, Programming
Guide for DDS). After the 148 bytes of headers come the levels without gaps, the largest first.

The reader takes exactly what the writer makes and refuses everything else; what it accepts comes out of the writer
again as the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from mipmap.atomic import atomic_file
from mipmap.formats import FORMATS, FormatError, TexelFormat, check_levels, parse_file

# magic; size, flags, height, width, pitch or size of level 0, depth, levels, 11 unused; pixel format: size, flags,
# four characters, 5 unused; 4 caps, 1 unused; DX10: format, dimension, flags, array size, alpha mode
HEADER = struct.Struct("<4s7I44s2I4s20s4I4x5I")
HEADER_BYTES, PIXEL_FORMAT_BYTES = 124, 32
CAPS_HEIGHT_WIDTH_FORMAT_MIPMAPS = 0x1 | 0x2 | 0x4 | 0x1000 | 0x20000
PITCH, LINEAR_SIZE = 0x8, 0x80000
FOUR_CHARACTERS = 0x4
TEXTURE, COMPLEX_MIPMAP = 0x1000, 0x8 | 0x400000
DIMENSION_2D = 3


class DdsWriter:
    """Writes one texture into `file`, which is empty, seekable and open in binary mode.

    levels: how many there are (default: down to 1 x 1). They may come in any order and mixed, each from its first byte
    on, and go straight to their place.
    Raises FormatError for a format without a DXGI number, and for sizes that such a file cannot have.
    """

    def __init__(
        self, file: BinaryIO, texel_format: TexelFormat, height: int, width: int, *, levels: int | None = None
    ) -> None:
        count = max(height, width).bit_length() if levels is None else levels
        self._file = file
        self._full = _level_bytes(texel_format, height, width, count)
        self._offsets = list(accumulate(self._full, initial=HEADER.size))
        self._received = [0] * count
        file.write(_header(texel_format, height, width, count))

    def write(self, level: int, data: bytes) -> None:
        """The next bytes of `level`. Raises FormatError for more than the level holds."""
        if self._received[level] + len(data) > self._full[level]:
            raise FormatError(f"level {level} gets more than its {self._full[level]} bytes")
        self._file.seek(self._offsets[level] + self._received[level])
        self._file.write(data)
        self._received[level] += len(data)

    def close(self) -> None:
        """Raises FormatError when bytes are missing."""
        for level, (received, full) in enumerate(zip(self._received, self._full, strict=True)):
            if received != full:
                raise FormatError(f"level {level} has {received} of {full} bytes")


def write_dds(
    path: Path,
    encoded: Iterable[tuple[int, bytes]],
    texel_format: TexelFormat,
    height: int,
    width: int,
    *,
    levels: int | None = None,
) -> None:
    """Write `encoded`, (level, the next bytes of that level) as `encode_chain` yields them, as the file `path`.

    The file is there when this returns and is complete then; on any error nothing of it is left.
    Raises FormatError and OSError, and what `encoded` raises.
    """
    with atomic_file(path) as file:
        writer = DdsWriter(file, texel_format, height, width, levels=levels)
        for level, data in encoded:
            writer.write(level, data)
        writer.close()


@dataclass(frozen=True)
class DdsTexture:
    """A file that was read. height, width: texels of level 0. stored: the blocks of each level, level 0 first."""

    texel_format: TexelFormat
    height: int
    width: int
    stored: tuple[memoryview, ...] = field(repr=False)

    def level(self, level: int) -> bytes:
        """The blocks of one level, for `decode_level`."""
        return bytes(self.stored[level])


def read_dds(path: Path) -> DdsTexture:
    """Raises FormatError, with the file's name, for what is not a whole file of ours; OSError."""
    return parse_file(path, parse_dds)


def parse_dds(data: bytes) -> DdsTexture:
    """The texture in the bytes of a file. Memory: none beyond `data`, whatever the header says. Raises FormatError."""
    if len(data) < HEADER.size or not data.startswith(b"DDS "):
        raise FormatError(f"{len(data)} bytes that do not begin as a DDS file with a DX10 header does")
    _, _, _, height, width, _, _, count, *_, dxgi, _, _, _, _ = HEADER.unpack_from(data)
    found = [each for each in FORMATS.values() if each.dxgi == dxgi]
    if not found:
        raise FormatError(f"DXGI format {dxgi} is not one that is read")
    full = _level_bytes(found[0], height, width, count)
    # Everything else in the header must be as it is written here, so it is written again and compared.
    if data[: HEADER.size] != _header(found[0], height, width, count):
        raise FormatError("the header is not as it is written here")
    if len(data) != HEADER.size + sum(full):
        raise FormatError(f"{len(data)} bytes; header and levels take {HEADER.size + sum(full)}")
    view = memoryview(data)
    offsets = accumulate(full, initial=HEADER.size)
    levels = tuple(view[offset : offset + length] for offset, length in zip(offsets, full, strict=False))
    return DdsTexture(found[0], height, width, levels)


def _level_bytes(texel_format: TexelFormat, height: int, width: int, count: int) -> list[int]:
    check_levels(height, width, count)
    return [texel_format.level_bytes(max(1, height >> k), max(1, width >> k)) for k in range(count)]


def _header(texel_format: TexelFormat, height: int, width: int, count: int) -> bytes:
    if texel_format.dxgi is None:
        raise FormatError(f"Direct3D has no number for {texel_format.name}; write it as KTX2")
    blocks = texel_format.block_width > 1
    pitch = texel_format.level_bytes(height, width) if blocks else texel_format.row_bytes(width)
    flags = CAPS_HEIGHT_WIDTH_FORMAT_MIPMAPS | (LINEAR_SIZE if blocks else PITCH)
    caps = TEXTURE | (COMPLEX_MIPMAP if count > 1 else 0)
    return HEADER.pack(
        b"DDS ",
        *(HEADER_BYTES, flags, height, width, pitch, 0, count, bytes(44)),
        *(PIXEL_FORMAT_BYTES, FOUR_CHARACTERS, b"DX10", bytes(20)),
        *(caps, 0, 0, 0),
        *(texel_format.dxgi, DIMENSION_2D, 0, 1, 0),
    )
