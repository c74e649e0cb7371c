"""The chunk encoder of each texel format: `encode.encode_level`, with every word on which its bytes depend."""

from __future__ import annotations

from importlib.metadata import version

from mipmap.chunks import ChunkEncoder
from mipmap.encode import ASTC_QUALITY, BC7_PROFILE, Quality, encode_level
from mipmap.formats import Codec, FormatError, TexelFormat

REVISION = 1  # of how `encode` calls the libraries; to be raised when the same texels come to give other blocks
_LIBRARIES: dict[Codec, str] = {
    "astc": "astc-encoder-py",
    **dict.fromkeys(("bc7", "bc5", "bc4"), "ispc-texcomp"),
    **dict.fromkeys(("etc2", "etc2a", "eac1", "eac2"), "etcpak"),
}


def chunk_encoder(texel_format: TexelFormat, quality: Quality = "fast") -> ChunkEncoder:
    """Encodes chunks into blocks of a format, row by row from the top left of the chunk.

    The texels that it takes, and FormatError for others, as `encode.encode_level`. Raises FormatError for a format
    whose blocks are not square, for a chunk has one side.
    """
    if texel_format.block_width != texel_format.block_height:
        sides = f"{texel_format.block_width} x {texel_format.block_height}"
        raise FormatError(f"blocks of {sides} texels; chunks are made of square ones")
    return ChunkEncoder(
        texel_format.name,
        texel_format.block_width,
        quality,
        f"{REVISION} {_library_version(texel_format.codec, quality)}",
        lambda texels: encode_level(texels, texel_format, quality=quality),
    )


def _library_version(codec: Codec, quality: Quality) -> str:
    """The version of the library and what the quality means to it; "" for formats that need none."""
    if codec not in _LIBRARIES:
        return ""
    setting = {"astc": str(ASTC_QUALITY[quality]), "bc7": BC7_PROFILE[quality]}.get(codec, "")
    return f"{_LIBRARIES[codec]} {version(_LIBRARIES[codec])} {setting}".rstrip()
