"""The maps of a finished folder as 8-bit images, level by level and window by window, whatever files hold them.

Windows come from the rows of a PNG or the rows of blocks that they touch, so an 8K result costs a few MB to look at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from mipmap.chain import level_sizes
from mipmap.dds import read_dds
from mipmap.encode import decode_level, normal_codes
from mipmap.formats import FormatError
from mipmap.ktx2 import read_ktx2
from mipmap.png import COLOUR_TYPE, FILTER_UP, SIGNATURE
from mipmap.targets import IN_BLOCKS
from texsynth.canvas import Canvas
from texsynth.errors import bad_input, from_os_error
from texsynth.image_io import read_image
from texsynth.material import CHANNELS, MapKind, encode_linear, unit_range

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Published:
    """The maps of a finished folder: `entries` is the manifest's `maps`; `canvases` the raw maps while they exist."""

    out: Path
    entries: Mapping[str, Any]
    canvases: Mapping[MapKind, Canvas] = field(default_factory=dict)

    @property
    def kinds(self) -> list[MapKind]:
        """The maps there are, in the order of MapKind."""
        return [kind for kind in MapKind if kind in self.entries]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the full maps in texels."""
        entry = self.entries[self.kinds[0]]
        return int(entry["height"]), int(entry["width"])

    def sizes(self, kind: MapKind) -> list[tuple[int, int]]:
        """(height, width) of every level of a map, level 0 first."""
        entry = self.entries[kind]
        if entry["format"] in IN_BLOCKS:
            return level_sizes(int(entry["height"]), int(entry["width"]))
        return [(int(level["height"]), int(level["width"])) for level in (entry, *entry["mips"])]

    def whole(self, kind: MapKind, most: int) -> Image:
        """The largest level of the chain whose sides are at most `most` (the smallest level if none is): (h, w, C)."""
        sizes = self.sizes(kind)
        return self.level(kind, next((k for k, size in enumerate(sizes) if max(size) <= most), len(sizes) - 1))

    def level(self, kind: MapKind, number: int) -> Image:
        """Level `number` of the chain, 0 = full size."""
        height, width = self.sizes(kind)[number]
        return self._texels(kind, number, 0, 0, height, width)

    def window(self, kind: MapKind, y: int, x: int, side: int, step: int = 1) -> Image:
        """`side` x `side` texels from (y, x) on, reduced by `step` (a power of two) through the mip of that step."""
        number = min(step.bit_length() - 1, len(self.sizes(kind)) - 1)
        rows, columns = self.sizes(kind)[number]
        y, x = y // step, x // step
        height, width = min(side // step, rows - y), min(side // step, columns - x)
        if number == 0 and kind in self.canvases:
            return eight_bits(kind, self.canvases[kind].read_window(y, x, height, width))
        return self._texels(kind, number, y, x, height, width)

    def middle(self, kind: MapKind, number: int, side: int) -> Image:
        """The middle `side` x `side` texels of a level, or what there is of them."""
        rows, columns = self.sizes(kind)[number]
        height, width = min(side, rows), min(side, columns)
        return self._texels(kind, number, (rows - height) // 2, (columns - width) // 2, height, width)

    def _texels(self, kind: MapKind, number: int, y: int, x: int, height: int, width: int) -> Image:
        entry = self.entries[kind]
        if entry["format"] in IN_BLOCKS:
            texels = read_block_window(self.out / entry["file"], number, y, x, height, width)
            return eight_bits(kind, _as_map(kind, texels))
        path = self.out / [entry, *entry["mips"]][number]["file"]
        window = read_png_window(path, y, x, height, width) if path.suffix == ".png" else None
        if window is None:
            whole = read_image(path, colour=False).texels[..., : CHANNELS[kind]]
            window = np.ascontiguousarray(whole[y : y + height, x : x + width])
        return eight_bits(kind, window)


def read_block_window(path: Path, number: int, y: int, x: int, height: int, width: int) -> NDArray[Any]:
    """(height, width, C) texels of one level of a KTX2 or DDS file of ours, from (y, x) on, as `decode_level` gives.

    Only the rows of blocks that the window touches are decoded. Raises TexsynthError for a file that is not of ours.
    """
    try:
        texture = read_ktx2(path) if path.suffix == ".ktx2" else read_dds(path)
        texel_format = texture.texel_format
        if number >= len(texture.stored):
            raise FormatError(f"{len(texture.stored)} levels; level {number} is not there")
        rows, columns = level_sizes(texture.height, texture.width)[number]
        block = texel_format.block_height
        first, last = y // block, texel_format.rows_of_blocks(y + height)
        row_bytes = texel_format.row_bytes(columns)
        blocks = memoryview(texture.level(number))[first * row_bytes : last * row_bytes]
        texels = decode_level(blocks, min(rows, last * block) - first * block, columns, texel_format)
    except OSError as error:
        raise from_os_error(error, path) from error
    except FormatError as error:
        raise bad_input(path, str(error).removeprefix(f"{path}: "), "make it again") from error
    return np.ascontiguousarray(texels[y - first * block :][:height, x : x + width])


def _as_map(kind: MapKind, texels: NDArray[Any]) -> NDArray[Any]:
    """Decoded blocks with the channels of a map: Z computed where a normal has X and Y, grey from its first channel."""
    shown: NDArray[Any] = texels[..., : CHANNELS[kind]]
    if kind is MapKind.NORMAL and texels.shape[2] == 2:
        shown = normal_codes(texels)
    return shown


def read_png_window(path: Path, y: int, x: int, height: int, width: int) -> NDArray[Any] | None:
    """(height, width, C) uint8 or uint16 texels of a PNG, holding no more than a few rows of it at a time.

    Only of files as `PngWriter` makes them: grey or RGB, 8 or 16 bits, every row filtered Up. None for any other, which
    then has to be decoded whole. Raises TexsynthError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(8) != SIGNATURE:
                return None
            return _window_of_rows(_chunks(file), y, x, height, width)
    except OSError as error:
        raise from_os_error(error, path) from error
    except (IsalError, struct.error, StopIteration):  # type: ignore[misc]  # its stub calls it an instance
        return None  # damaged: the full decoder says how


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while head := file.read(8):
        length, name = struct.unpack(">I4s", head)
        yield name, file.read(length)
        file.read(4)


def _window_of_rows(
    chunks: Iterator[tuple[bytes, bytes]], y: int, x: int, height: int, width: int
) -> NDArray[Any] | None:
    _, header = next(chunks)
    columns, rows, depth, colour, _, _, interlaced = struct.unpack(">2I5B", header)
    channels = {kind: count for count, kind in COLOUR_TYPE.items()}.get(colour)
    if channels is None or depth not in (8, 16) or interlaced or y + height > rows or x + width > columns:
        return None
    texel = channels * depth // 8
    stride = 1 + columns * texel
    inflate = isal_zlib.decompressobj()
    above = np.zeros(width * texel, np.uint8)  # the row before, as far as the window reaches
    window = np.empty((height, width * texel), np.uint8)
    pending = bytearray()
    row = 0
    for name, data in chunks:
        if name != b"IDAT":
            continue
        pending += inflate.decompress(data)
        count = min(len(pending) // stride, y + height - row)
        if count == 0:
            continue
        band = np.frombuffer(bytes(pending[: count * stride]), np.uint8).reshape(count, stride)
        del pending[: count * stride]
        if (band[:, 0] != FILTER_UP).any():
            return None
        # Filter Up stores differences to the row above, modulo 256, so texels are running sums.
        texels = np.cumsum(band[:, 1 + x * texel : 1 + (x + width) * texel], axis=0, dtype=np.uint8) + above
        above = texels[-1]
        if row + count > y:
            window[max(row - y, 0) : row + count - y] = texels[max(y - row, 0) :]
        row += count
        if row == y + height:
            return window.view(">u2" if depth == 16 else np.uint8).reshape(height, width, channels)
    return None


def eight_bits(kind: MapKind, texels: NDArray[Any]) -> Image:
    """Texels as stored (albedo float32 = linear) as sRGB or data in 8 bits."""
    if texels.dtype == np.uint8:
        return np.ascontiguousarray(texels)
    if texels.dtype == np.float32 and kind is MapKind.ALBEDO:
        return encode_linear(kind, texels, np.dtype(np.uint8))
    texels = texels.astype(np.float32) if texels.dtype == np.float32 else texels.astype(np.uint16)
    return np.rint(np.clip(unit_range(texels), 0, 1) * 255).astype(np.uint8)
