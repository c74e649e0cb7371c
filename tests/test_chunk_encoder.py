"""Chunks of real formats: their blocks are those of the whole level."""

from typing import Any

import numpy as np
import pytest

from mipmap.chain import level_sizes
from mipmap.chunk_encoder import chunk_encoder
from mipmap.chunks import chunk_levels, chunk_side, manifest_of
from mipmap.encode import encode_level
from mipmap.formats import FORMATS, FormatError, TexelFormat

HEIGHT, WIDTH = 70, 53


def levels_for(texel_format: TexelFormat) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    dtype: Any = np.float16 if texel_format.codec == "rgba16f" else np.uint8
    return [
        (generator.random((*size, texel_format.channels)) * (1 if dtype == np.float16 else 255)).astype(dtype)
        for size in level_sizes(HEIGHT, WIDTH)
    ]


def placed(blocks: np.ndarray, payload: bytes, y: int, x: int, texel_format: TexelFormat) -> None:
    """Write a chunk's payload to its place in a level's (rows, columns, bytes) of blocks."""
    block = texel_format.block_width
    rows, columns = blocks[y // block :, x // block :].shape[:2]
    part = np.frombuffer(payload, np.uint8)
    side = chunk_side(block, 24) // block
    columns = min(columns, side)
    part = part.reshape(min(rows, side), columns, texel_format.block_bytes)
    blocks[y // block : y // block + part.shape[0], x // block : x // block + columns] = part


@pytest.mark.parametrize("name", [*FORMATS])
def test_the_blocks_of_chunks_put_together_are_the_blocks_of_the_level(name: str) -> None:
    texel_format = FORMATS[name]
    levels, encoder = levels_for(texel_format), chunk_encoder(texel_format)
    filtering: Any = "scalar"
    whole = encode_level(levels[0], texel_format)
    block = texel_format.block_width
    together = np.zeros((-(-HEIGHT // block), -(-WIDTH // block), texel_format.block_bytes), np.uint8)
    for chunk, payload in chunk_levels(levels, filtering, encoder, side=chunk_side(block, 24)):
        assert chunk.format == name
        sizes = level_sizes(chunk.place.height, chunk.place.width)[: chunk.place.levels]
        assert chunk.part_lengths == tuple(texel_format.level_bytes(*size) for size in sizes)
        if chunk.place.level == 0:
            placed(together, payload, chunk.place.y, chunk.place.x, texel_format)
    assert together.tobytes() == whole


@pytest.mark.parametrize("name", ["astc-4x4", "bc7"])
def test_another_quality_is_another_key(name: str) -> None:
    texels = levels_for(FORMATS[name])[0]
    keys = {chunk_encoder(FORMATS[name], quality).key(texels) for quality in ("fast", "medium", "slow")}
    assert len(keys) == 3


def test_the_version_names_the_library() -> None:
    assert "astc-encoder-py" in chunk_encoder(FORMATS["astc-6x6-srgb"]).version
    assert "etcpak" in chunk_encoder(FORMATS["etc2-rgb"]).version


def test_a_manifest_of_real_chunks_names_their_encoder() -> None:
    texel_format = FORMATS["astc-8x8-srgb"]
    encoder = chunk_encoder(texel_format)
    chunks = [chunk for chunk, _ in chunk_levels(levels_for(texel_format), "colour", encoder)]
    manifest = manifest_of(chunks, HEIGHT, WIDTH, 4, np.uint8, "colour", encoder)
    assert (manifest.format, manifest.block, manifest.side) == ("astc-8x8-srgb", 8, 256)
    assert manifest.encoder_version == encoder.version


def test_blocks_that_are_not_square_are_refused() -> None:
    oblong = TexelFormat("astc-8x5", "astc", 173, None, 8, 5, 16, "linear", 4)
    with pytest.raises(FormatError, match="8 x 5 texels"):
        chunk_encoder(oblong)
