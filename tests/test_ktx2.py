"""KTX2 files: what is written, read back, checked against the specification, and what is refused."""

from __future__ import annotations

import io
import struct
from math import lcm
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mipmap.encode import encode_chain
from mipmap.formats import FORMATS, FormatError, TexelFormat
from mipmap.ktx2 import HEADER, LEVEL, Ktx2Writer, parse_ktx2, read_ktx2, write_ktx2

EVERY = list(FORMATS.values())


def names(texel_format: TexelFormat) -> str:
    return texel_format.name


def blocks(texel_format: TexelFormat, height: int, width: int, levels: int) -> list[bytes]:
    """Arbitrary bytes of the right lengths: a container does not look into the blocks."""
    rng = np.random.default_rng(texel_format.vulkan)
    sizes = [(max(1, height >> k), max(1, width >> k)) for k in range(levels)]
    return [rng.integers(0, 4, texel_format.level_bytes(*size), np.uint8).tobytes() for size in sizes]


def written(texel_format: TexelFormat, height: int, width: int, levels: int, **options: object) -> bytes:
    file = io.BytesIO()
    writer = Ktx2Writer(file, texel_format, height, width, levels=levels, **options)  # type: ignore[arg-type]
    for level, data in enumerate(blocks(texel_format, height, width, levels)):
        writer.write(level, data)
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "zstd"])
@pytest.mark.parametrize("texel_format", EVERY, ids=names)
def test_what_is_written_is_read_back(texel_format: TexelFormat, compress: bool) -> None:
    texture = parse_ktx2(written(texel_format, 37, 20, 6, compress=compress, keys={"map": "normal"}))
    assert texture.texel_format is texel_format
    assert (texture.height, texture.width, texture.compressed) == (37, 20, compress)
    assert texture.keys == {"map": "normal"}
    assert [texture.level(k) for k in range(6)] == blocks(texel_format, 37, 20, 6)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "zstd"])
@pytest.mark.parametrize("texel_format", EVERY, ids=names)
def test_levels_lie_as_the_specification_says(texel_format: TexelFormat, compress: bool) -> None:
    data = written(texel_format, 19, 33, 6, compress=compress)
    index = [LEVEL.unpack_from(data, HEADER.size + LEVEL.size * k) for k in range(6)]
    alignment = 1 if compress else lcm(texel_format.block_bytes, 4)
    assert all(offset % alignment == 0 for offset, _, _ in index)
    for (larger, _, _), (smaller, length, _) in zip(index[:-1], index[1:], strict=True):
        assert smaller + length <= larger < smaller + length + alignment
    assert index[0][0] + index[0][1] == len(data)
    assert [full for _, _, full in index] == [len(level) for level in blocks(texel_format, 19, 33, 6)]


@pytest.mark.parametrize("texel_format", EVERY, ids=names)
def test_the_descriptor_agrees_with_the_format(texel_format: TexelFormat) -> None:
    data = written(texel_format, 8, 8, 1)
    at, size = struct.unpack_from("<II", data, 48)
    assert struct.unpack_from("<I", data, at)[0] == size
    transfer = data[at + 4 + 10]
    assert transfer == {"linear": 1, "srgb": 2}[texel_format.colour_space]
    assert tuple(data[at + 16 : at + 18]) == (texel_format.block_width - 1, texel_format.block_height - 1)
    assert data[at + 20] == texel_format.block_bytes
    samples = [struct.unpack_from("<HBB", data, sample) for sample in range(at + 28, at + size, 16)]
    assert sum(bits + 1 for _, bits, _ in samples) == 8 * texel_format.block_bytes
    assert [first for first, _, _ in samples] == [
        sum(bits + 1 for _, bits, _ in samples[:k]) for k in range(len(samples))
    ]


@given(
    texel_format=st.sampled_from(EVERY),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    levels=st.integers(1, 7),
    compress=st.booleans(),
    key=st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=9).filter(
        lambda key: "KTX" not in key.upper()
    ),
)
def test_any_size_and_key_comes_back(
    texel_format: TexelFormat, height: int, width: int, levels: int, compress: bool, key: str
) -> None:
    count = min(levels, max(height, width).bit_length())
    texture = parse_ktx2(written(texel_format, height, width, count, compress=compress, keys={key: "x"}))
    assert (texture.texel_format, texture.height, texture.width) == (texel_format, height, width)
    assert texture.keys == {key: "x"}
    assert [texture.level(k) for k in range(count)] == blocks(texel_format, height, width, count)


def test_a_normal_in_two_channels_of_astc_says_where_they_are() -> None:
    data = written(FORMATS["astc-4x4-normal"], 8, 8, 1)
    assert b"KTXswizzle\0ra01\0" in data
    assert parse_ktx2(data).texel_format.name == "astc-4x4-normal"
    assert b"KTXswizzle" not in written(FORMATS["astc-4x4"], 8, 8, 1)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "zstd"])
def test_levels_may_come_mixed_and_in_pieces(compress: bool) -> None:
    bc4, file = FORMATS["bc4"], io.BytesIO()
    writer = Ktx2Writer(file, bc4, 16, 16, levels=3, compress=compress)
    first, second, third = blocks(bc4, 16, 16, 3)
    for level, data in [
        (0, first[:40]),
        (1, second[:8]),
        (2, third),
        (0, first[40:64]),
        (1, second[8:]),
        (0, first[64:]),
    ]:
        writer.write(level, data)
    writer.close()
    texture = parse_ktx2(file.getvalue())
    assert [texture.level(k) for k in range(3)] == [first, second, third]


def test_a_level_that_is_missing_bytes_or_gets_too_many_is_refused() -> None:
    writer = Ktx2Writer(io.BytesIO(), FORMATS["bc4"], 4, 4)
    writer.write(0, bytes(8))
    with pytest.raises(FormatError, match="level 0 gets more than its 8"):
        writer.write(0, b"x")
    with pytest.raises(FormatError, match="level 1 has 0 of 8"):
        writer.close()


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "zstd"])
def test_a_file_is_there_only_when_it_is_complete(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "albedo.ktx2"
    path.write_bytes(b"what was before")
    chain = [(0, 0, np.zeros((8, 8, 1), np.uint8))]  # the other levels never come
    bc4 = FORMATS["bc4"]
    with pytest.raises(FormatError, match="missing"):
        write_ktx2(path, encode_chain(chain, 8, 8, bc4), bc4, 8, 8, compress=compress)
    assert [entry.name for entry in tmp_path.iterdir()] == ["albedo.ktx2"]
    assert path.read_bytes() == b"what was before"
    write_ktx2(path, encode_chain(chain, 8, 8, bc4, levels=1), bc4, 8, 8, levels=1, compress=compress)
    assert [entry.name for entry in tmp_path.iterdir()] == ["albedo.ktx2"]
    assert read_ktx2(path).height == 8


@pytest.mark.parametrize(
    "keys", [{"KTXfoo": "x"}, {"ktxfoo": "x"}, {"": "x"}, {"a\0": "x"}, {"a": "x\n"}, {"a": "x" * 5000}]
)
def test_keys_that_the_file_cannot_have_are_refused(keys: dict[str, str]) -> None:
    with pytest.raises(FormatError):
        Ktx2Writer(io.BytesIO(), FORMATS["bc4"], 4, 4, keys=keys)


@pytest.mark.parametrize(("height", "width", "levels"), [(0, 4, 1), (4, 1 << 16, 1), (4, 4, 4), (4, 4, 0)])
def test_sizes_and_numbers_of_levels_that_cannot_be_are_refused(height: int, width: int, levels: int) -> None:
    with pytest.raises(FormatError):
        Ktx2Writer(io.BytesIO(), FORMATS["bc4"], height, width, levels=levels)


def test_a_damaged_level_is_refused_in_one_line() -> None:
    data = bytearray(written(FORMATS["bc7"], 32, 32, 1, compress=True))
    data[-20:] = bytes(20)
    with pytest.raises(FormatError, match="level 0 cannot be decompressed"):
        parse_ktx2(bytes(data)).level(0)


def test_a_level_that_claims_to_be_larger_is_refused_before_memory_is_taken() -> None:
    good = written(FORMATS["bc7"], 32, 32, 1, compress=True)
    frame = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    offset, _, full = LEVEL.unpack_from(good, HEADER.size)
    bad = bytearray(good[:offset] + frame)
    LEVEL.pack_into(bad, HEADER.size, offset, len(frame), full)
    with pytest.raises(FormatError, match="level 0 claims 1048576 bytes when decompressed; 1024 are right"):
        parse_ktx2(bytes(bad)).level(0)


def test_the_name_of_a_refused_file_is_in_the_message(tmp_path: Path) -> None:
    (tmp_path / "x.ktx2").write_bytes(b"no")
    with pytest.raises(FormatError, match=r"x\.ktx2: 2 bytes"):
        read_ktx2(tmp_path / "x.ktx2")
