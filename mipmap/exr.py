"""Write an OpenEXR image of half floats row band by row band, and read it back.

OpenEXR's Python interface takes whole images, and its class for scanlines is deprecated. A single-part scanline file is
small, so it is written here: a header of attributes, a table of offsets, then blocks of 16 rows in ZIP compression
("Technical Introduction to OpenEXR" and "OpenEXR File Layout", openexr.com). The tests read it back with OpenEXR.

The reader takes exactly the layout that the writer makes and refuses everything else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from mipmap.formats import LARGEST_SIDE, FormatError
from mipmap.png import inflate

MAGIC = 20000630
VERSION = 2  # single part, scanlines, names of at most 31 characters
HALF = 1
ZIP_COMPRESSION = 3
ROWS_PER_BLOCK = 16  # fixed by ZIP_COMPRESSION
COMPRESSION_LEVEL = 1
CHANNEL_NAMES = {1: ("Y",), 3: ("R", "G", "B")}


def _attribute(name: str, type_name: str, value: bytes) -> bytes:
    return f"{name}\0{type_name}\0".encode() + struct.pack("<i", len(value)) + value


def _header(height: int, width: int, names: tuple[str, ...]) -> bytes:
    channels = b"".join(f"{name}\0".encode() + struct.pack("<iB3xii", HALF, 0, 1, 1) for name in sorted(names)) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    return b"".join(
        [
            struct.pack("<ii", MAGIC, VERSION),
            _attribute("channels", "chlist", channels),
            _attribute("compression", "compression", bytes([ZIP_COMPRESSION])),
            _attribute("dataWindow", "box2i", window),
            _attribute("displayWindow", "box2i", window),
            _attribute("lineOrder", "lineOrder", b"\0"),
            _attribute("pixelAspectRatio", "float", struct.pack("<f", 1)),
            _attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
            _attribute("screenWindowWidth", "float", struct.pack("<f", 1)),
            b"\0",
        ]
    )


def _compress(block: NDArray[np.float16]) -> bytes:
    """ZIP_COMPRESSION of (rows, C, width) half floats: bytes split by significance, differences, deflate."""
    data = block.astype("<f2", copy=False).reshape(-1).view(np.uint8)
    split = np.concatenate([data[0::2], data[1::2]])
    split[1:] = split[1:] - split[:-1] + np.uint8(128)
    packed: bytes = isal_zlib.compress(split.data, COMPRESSION_LEVEL)
    # The format's rule: what did not become smaller is stored as it was, and readers tell by the size.
    return packed if len(packed) < data.size else data.tobytes()


class ExrWriter:
    """Streams one image of (height, width, channels) half floats, 1 (Y) or 3 (R, G, B) channels, to `write`.

    The table of offsets stands before the blocks and is known only after them: `close` hands it to `patch(offset,
    data)`, which overwrites what was written there.
    Raises ValueError for another number of channels or rows of another shape.
    """

    def __init__(
        self, write: Callable[[bytes], None], patch: Callable[[int, bytes], None], shape: tuple[int, int, int]
    ) -> None:
        height, width, channels = shape
        if channels not in CHANNEL_NAMES:
            raise ValueError(f"{channels} channels; an EXR is written from 1 or 3")
        self._write, self._patch, self._shape = write, patch, shape
        names = CHANNEL_NAMES[channels]
        self._order = [names.index(name) for name in sorted(names)]
        header = _header(height, width, names)
        self._table_at, self._offsets = len(header), []
        blocks = -(-height // ROWS_PER_BLOCK)
        write(header)
        write(bytes(8 * blocks))
        self._position = len(header) + 8 * blocks
        self._waiting = np.empty((0, width, channels), np.float16)
        self._row = 0  # the first row not yet written

    _offsets: list[int]

    def write_rows(self, rows: NDArray[Any]) -> None:
        """rows: (h, width, channels) of any float dtype, the next h rows from the top, rounded to half here."""
        waiting = np.concatenate([self._waiting, rows.astype(np.float16)])
        left = self._shape[0] - self._row - waiting.shape[0]
        if rows.shape[1:] != self._shape[1:] or left < 0:
            raise ValueError(f"{rows.shape}; expected rows of {self._shape[1:]}, {self._shape[0]} in all")
        full = waiting.shape[0] if left == 0 else waiting.shape[0] // ROWS_PER_BLOCK * ROWS_PER_BLOCK
        for y in range(0, full, ROWS_PER_BLOCK):
            block = waiting[y : min(full, y + ROWS_PER_BLOCK)]
            packed = _compress(np.ascontiguousarray(block[..., self._order].transpose(0, 2, 1)))
            self._offsets.append(self._position)
            self._write(struct.pack("<ii", self._row, len(packed)) + packed)
            self._position += 8 + len(packed)
            self._row += block.shape[0]
        self._waiting = waiting[full:]

    def close(self) -> None:
        """End the image. Raises ValueError when rows are missing."""
        if self._row != self._shape[0]:
            raise ValueError(f"{self._shape[0] - self._row} rows are missing")
        self._patch(self._table_at, struct.pack(f"<{len(self._offsets)}Q", *self._offsets))


def parse_exr(data: bytes) -> NDArray[np.float16]:
    """(H, W, 1 or 3) float16 texels of an EXR that ExrWriter made, channels Y or R, G, B.

    Raises FormatError, in one line, for anything else. Memory: the texels, and no more than `data` can hold of them.
    """
    height, width, channels, position = _parse_header(data)
    blocks = -(-height // ROWS_PER_BLOCK)
    if len(data) < position + 8 * blocks:
        raise FormatError(f"{len(data)} bytes; the table of {blocks} blocks is not whole")
    offsets = struct.unpack_from(f"<{blocks}Q", data, position)
    position += 8 * blocks
    order = [sorted(CHANNEL_NAMES[channels]).index(name) for name in CHANNEL_NAMES[channels]]
    rows = []
    for block, offset in enumerate(offsets):
        first = block * ROWS_PER_BLOCK
        count = min(ROWS_PER_BLOCK, height - first)
        if offset != position or len(data) < position + 8:
            raise FormatError(f"block {block} is said to lie at {offset} of {len(data)} bytes; {position} is right")
        row, length = struct.unpack_from("<ii", data, position)
        packed = data[position + 8 : position + 8 + max(0, length)]
        if row != first or length != len(packed):
            raise FormatError(
                f"block {block} tells of row {row} and {length} bytes; row {first} is right, {len(packed)} are there"
            )
        rows.append(_unpack(packed, (count, channels, width))[:, order].transpose(0, 2, 1))
        position += 8 + length
    if position != len(data):
        raise FormatError(f"{len(data)} bytes; header and blocks take {position}")
    return np.concatenate(rows)


def _parse_header(data: bytes) -> tuple[int, int, int, int]:
    """(height, width, channels, bytes of the header): the header written for them is the one that stands there."""
    for channels, names in CHANNEL_NAMES.items():
        empty = _header(0, 0, names)
        at = empty.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
        if len(data) < len(empty):
            continue
        _, _, right, bottom = struct.unpack_from("<4i", data, at)
        if 0 <= right < LARGEST_SIDE and 0 <= bottom < LARGEST_SIDE:
            header = _header(bottom + 1, right + 1, names)
            if data.startswith(header):
                return bottom + 1, right + 1, channels, len(header)
    raise FormatError(f"{len(data)} bytes that do not begin as an EXR written here does")


def _unpack(packed: bytes, shape: tuple[int, int, int]) -> NDArray[np.float16]:
    """The inverse of `_compress`."""
    size = 2 * shape[0] * shape[1] * shape[2]
    if len(packed) == size:
        return np.frombuffer(packed, "<f2").astype(np.float16).reshape(shape)
    differences = np.frombuffer(inflate(packed, size), np.uint8) - np.uint8(128)
    differences[0] ^= 128  # the first byte is no difference: that it had 128 taken off is undone
    split = np.add.accumulate(differences, dtype=np.uint8)
    joined = np.empty(size, np.uint8)
    joined[0::2], joined[1::2] = split[: size // 2], split[size // 2 :]
    return joined.view("<f2").astype(np.float16).reshape(shape)
