"""The texel formats that are written here, each with its numbers in Vulkan (KTX2) and DXGI (DDS).

Numbers: `VkFormat` of Vulkan 1.3 and `DXGI_FORMAT` of the Windows SDK. Direct3D has no number for ASTC, ETC2 and EAC,
so those have no DDS form.

A block of `block_width` x `block_height` texels takes `block_bytes`; an uncompressed format is a block of one texel.
Blocks go row by row from the top left. The blocks at the right and bottom edges reach beyond the level; what they hold
there is the last texel, repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

ColourSpace = Literal["srgb", "linear"]
Codec = Literal["astc", "bc7", "bc5", "bc4", "etc2", "etc2a", "eac1", "eac2", "rgba8", "rgba16f"]

# More than any GPU takes today (16384), and small enough that no size computed from it overflows 64 bits.
LARGEST_SIDE = 1 << 15
LARGEST_TEXTURE = 1 << 32  # bytes of a file or of all its levels
Texture = TypeVar("Texture")


class FormatError(ValueError):
    """Texels that a format cannot hold, or a file that is not one of ours: one line that says what and where."""


@dataclass(frozen=True)
class TexelFormat:
    """One way to store texels.

    channels: how many channels come back from decoding. 4-channel formats take 1 (grey), 3 or 4 channels; 3-channel
    formats 1 or 3; 2-channel formats hold X and Y of a normal and take 2 channels or 3, of which Z is left out;
    1-channel formats take 1.
    colour_space: "srgb" when the hardware is to decode IEC 61966-2-1 on sampling, before it filters.
    swizzle: how a shader gets at the channels as meant, in the notation of KTXswizzle (KTX 2.0, section 5.4); "rgba"
    where nothing has to be moved. "ra01" is X in red and Y in alpha.
    """

    name: str
    codec: Codec
    vulkan: int
    dxgi: int | None
    block_width: int
    block_height: int
    block_bytes: int
    colour_space: ColourSpace
    channels: int
    swizzle: str = "rgba"

    def rows_of_blocks(self, height: int) -> int:
        """How many rows of blocks cover `height` texels."""
        return -(-height // self.block_height)

    def row_bytes(self, width: int) -> int:
        """Bytes of one row of blocks over `width` texels."""
        return -(-width // self.block_width) * self.block_bytes

    def level_bytes(self, height: int, width: int) -> int:
        """Bytes of a level of height x width texels."""
        return self.rows_of_blocks(height) * self.row_bytes(width)


def _astc(side: int, vulkan: int) -> tuple[TexelFormat, ...]:
    size = f"astc-{side}x{side}"
    return (
        TexelFormat(size, "astc", vulkan, None, side, side, 16, "linear", 4),
        TexelFormat(f"{size}-srgb", "astc", vulkan + 1, None, side, side, 16, "srgb", 4),
        TexelFormat(f"{size}-normal", "astc", vulkan, None, side, side, 16, "linear", 2, "ra01"),
    )


_ALL = (
    *_astc(4, 157),
    *_astc(6, 165),
    *_astc(8, 171),
    TexelFormat("bc7", "bc7", 145, 98, 4, 4, 16, "linear", 4),
    TexelFormat("bc7-srgb", "bc7", 146, 99, 4, 4, 16, "srgb", 4),
    TexelFormat("bc5", "bc5", 141, 83, 4, 4, 16, "linear", 2),
    TexelFormat("bc4", "bc4", 139, 80, 4, 4, 8, "linear", 1),
    TexelFormat("etc2-rgb", "etc2", 147, None, 4, 4, 8, "linear", 3),
    TexelFormat("etc2-rgb-srgb", "etc2", 148, None, 4, 4, 8, "srgb", 3),
    TexelFormat("etc2-rgba", "etc2a", 151, None, 4, 4, 16, "linear", 4),
    TexelFormat("etc2-rgba-srgb", "etc2a", 152, None, 4, 4, 16, "srgb", 4),
    TexelFormat("eac-r11", "eac1", 153, None, 4, 4, 8, "linear", 1),
    TexelFormat("eac-rg11", "eac2", 155, None, 4, 4, 16, "linear", 2),
    TexelFormat("rgba8", "rgba8", 37, 28, 1, 1, 4, "linear", 4),
    TexelFormat("rgba8-srgb", "rgba8", 43, 29, 1, 1, 4, "srgb", 4),
    TexelFormat("rgba16f", "rgba16f", 97, 10, 1, 1, 8, "linear", 4),
)

FORMATS: dict[str, TexelFormat] = {texel_format.name: texel_format for texel_format in _ALL}


def format_named(name: str) -> TexelFormat:
    """Raises FormatError for a name that is not in FORMATS."""
    if name not in FORMATS:
        raise FormatError(f"{name!r} is not a format; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def parse_file(path: Path, parse: Callable[[bytes], Texture]) -> Texture:
    """What `parse` makes of the bytes of a file. Raises FormatError, with the file's name; OSError."""
    size = path.stat().st_size
    if size > LARGEST_TEXTURE:
        raise FormatError(f"{path}: {size} bytes; at most {LARGEST_TEXTURE} are read")
    try:
        return parse(path.read_bytes())
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def check_levels(height: int, width: int, levels: int) -> None:
    """Raises FormatError unless a texture of height x width may have that many levels, by the floor rule."""
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise FormatError(f"{height} x {width} texels; each side must be 1 to {LARGEST_SIDE}")
    most = max(height, width).bit_length()
    if not 1 <= levels <= most:
        raise FormatError(f"{levels} levels; {height} x {width} texels have 1 to {most}")
