"""Pieces of large maps as small 8-bit images: whole maps reduced, and windows at full size.

Overviews come from the published mips and windows from the canvases or from the rows of the PNG that they touch, so an
8K result costs the report a few MB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from mipmap.png import COLOUR_TYPE, FILTER_UP, SIGNATURE
from texsynth.canvas import Canvas
from texsynth.errors import from_os_error
from texsynth.image_io import read_image
from texsynth.material import CHANNELS, MapKind, TextureMap, encode_linear, unit_range

Image = NDArray[np.uint8]
_BAND = 256


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

    def whole(self, kind: MapKind, most: int) -> Image:
        """The largest level of the chain whose sides are at most `most` (the smallest level if none is): (h, w, C)."""
        levels = [self.entries[kind], *self.entries[kind]["mips"]]
        fitting = [level for level in levels if max(level["height"], level["width"]) <= most] or levels[-1:]
        return self._decoded(kind, fitting[0])

    def level(self, kind: MapKind, number: int) -> Image:
        """Level `number` of the chain, 0 = full size."""
        return self._decoded(kind, [self.entries[kind], *self.entries[kind]["mips"]][number])

    def window(self, kind: MapKind, y: int, x: int, side: int, step: int = 1) -> Image:
        """`side` x `side` texels from (y, x) on, reduced by `step` (a power of two) through the mip of that step."""
        number = step.bit_length() - 1
        levels = [self.entries[kind], *self.entries[kind]["mips"]]
        level = levels[min(number, len(levels) - 1)]
        y, x = y // step, x // step
        height, width = min(side // step, level["height"] - y), min(side // step, level["width"] - x)
        if number == 0 and kind in self.canvases:
            return _eight_bits(kind, self.canvases[kind].read_window(y, x, height, width))
        if str(level["file"]).endswith(".png"):
            texels = read_png_window(self.out / level["file"], y, x, height, width)
            if texels is not None:
                return _eight_bits(kind, texels)
        return np.ascontiguousarray(self._decoded(kind, level)[y : y + height, x : x + width])

    def _decoded(self, kind: MapKind, level: Mapping[str, Any]) -> Image:
        image = read_image(self.out / level["file"], colour=False)
        return _eight_bits(kind, image.texels[..., : CHANNELS[kind]])


def reduced(texture: TextureMap, most: int) -> Image:
    """A map of any depth as (h, w, C) uint8 with sides of at most `most`, box-filtered by a power of two.

    The filter works on linear light, and on vectors for normals (renormalised); texels that do not fill the last box
    are left out.
    """
    height, width = texture.size
    step = 1
    while max(height, width) // step > most:
        step *= 2
    if step == 1:
        return _eight_bits(texture.kind, texture.texels)
    rows, columns = max(height // step, 1), max(width // step, 1)
    out = np.empty((rows, columns, CHANNELS[texture.kind]), np.uint8)
    per_band = max(1, _BAND // step)
    for start in range(0, rows, per_band):
        count = min(per_band, rows - start)
        band = texture.linear(slice(start * step, (start + count) * step))[:, : columns * step]
        # At a whole factor this is the exact box filter.
        mean = np.atleast_3d(cv2.resize(band, (columns, count), interpolation=cv2.INTER_AREA)).astype(np.float32)
        if texture.kind is MapKind.NORMAL:
            mean /= np.maximum(np.linalg.norm(mean, axis=2, keepdims=True), 1e-6)
        out[start : start + count] = encode_linear(texture.kind, mean, np.dtype(np.uint8))
    return out


def centre_crop(texture: TextureMap, side: int) -> TextureMap:
    """The middle `side` x `side` texels (or what there is of them)."""
    height, width = texture.size
    y, x = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return TextureMap(texture.kind, texture.texels[y : y + side, x : x + side])


def telling_place(image: Image, share: float) -> tuple[float, float]:
    """Where to look closer: (y, x), 0..1, of the top left of a window of `share` of the side with ample detail.

    The window whose gradient energy is at the 80th percentile: neither empty space between charts nor the one odd spot.
    """
    grey = image.astype(np.float32).mean(axis=2)
    energy = np.zeros_like(grey)
    energy[:, 1:] += np.abs(np.diff(grey, axis=1))
    energy[1:] += np.abs(np.diff(grey, axis=0))
    total = np.pad(energy.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows, columns = (max(1, min(length, round(length * share))) for length in grey.shape)
    sums = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    wanted = np.quantile(sums, 0.8, method="nearest")
    y, x = np.unravel_index(int(np.argmin(np.abs(sums - wanted))), sums.shape)
    return float(y) / grey.shape[0], float(x) / grey.shape[1]


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


def _eight_bits(kind: MapKind, texels: NDArray[Any]) -> Image:
    """Texels as stored (albedo float32 = linear) as sRGB or data in 8 bits."""
    if texels.dtype == np.uint8:
        return np.ascontiguousarray(texels)
    if texels.dtype == np.float32 and kind is MapKind.ALBEDO:
        return encode_linear(kind, texels, np.dtype(np.uint8))
    texels = texels.astype(np.float32) if texels.dtype == np.float32 else texels.astype(np.uint16)
    return np.rint(np.clip(unit_range(texels), 0, 1) * 255).astype(np.uint8)
