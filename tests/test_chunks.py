"""Chunks: they cover a texture once, an edit encodes what it touched, and a manifest is read back or refused."""

import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipmap.chain import box_chain, level_sizes
from mipmap.chunk_cache import ChunkCache
from mipmap.chunks import (
    Chunk,
    ChunkEncoder,
    Manifest,
    Place,
    chunk_bands,
    chunk_levels,
    chunk_side,
    is_payload_of,
    layout,
    level_sides,
    manifest_of,
    tail_level,
)
from mipmap.detail import measure, whole

RAW = ChunkEncoder("raw", 4, "plain", "1", lambda texels: texels.tobytes())


def counting() -> tuple[ChunkEncoder, list[tuple[int, ...]]]:
    """An encoder, and the shapes of the texels that it was given."""
    shapes: list[tuple[int, ...]] = []

    def encode(texels: np.ndarray) -> bytes:
        shapes.append(texels.shape)
        return texels.tobytes()

    return replace(RAW, encode=encode), shapes


def texture(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype, endpoint=True)


def levels_of(texels: np.ndarray, filtering: Any = "colour") -> list[np.ndarray]:
    levels: dict[int, list[np.ndarray]] = {}
    for level, _, rows in box_chain([texels], *texels.shape[:2], filtering):
        levels.setdefault(level, []).append(rows.copy())
    return [np.concatenate(levels[level]) for level in sorted(levels)]


def cut(texels: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Bands that all use the same memory, as a reader of files may."""
    buffer = np.empty((rows, *texels.shape[1:]), texels.dtype)
    for y in range(0, texels.shape[0], rows):
        band = texels[y : y + rows]
        buffer[: len(band)] = band
        yield buffer[: len(band)]


def small_manifest() -> Manifest:
    texels = texture(40, 24)
    chunks = [chunk for chunk, _ in chunk_levels(levels_of(texels), "colour", RAW, side=16)]
    return manifest_of(chunks, 40, 24, 3, np.uint8, "colour", RAW, 16)


@pytest.mark.parametrize(("block", "side"), [(1, 256), (4, 256), (8, 256), (6, 192), (5, 160), (12, 192), (256, 256)])
def test_the_default_side_is_the_largest_block_times_a_power_of_two(block: int, side: int) -> None:
    assert chunk_side(block) == side
    assert chunk_side(block, 2 * side) == 2 * side


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(2, 24), st.integers(1, 4))
def test_the_layout_covers_every_texel_of_every_level_once(height: int, width: int, side: int, block: int) -> None:
    sizes = level_sizes(height, width)
    seen = [np.zeros(size, int) for size in sizes]
    for place in layout(height, width, side, block):
        seen[place.level][place.y : place.y + place.height, place.x : place.x + place.width] += 1
        for further in range(1, place.levels):
            seen[place.level + further] += 1
    assert all((level == 1).all() for level in seen)
    assert sum(place.texels for place in layout(height, width, side, block)) == sum(h * w for h, w in sizes)


def test_chunks_but_the_last_of_a_row_or_column_are_multiples_of_the_block() -> None:
    side = chunk_side(6)
    for place in layout(1000, 1000, side, 6):
        if place.levels == 1:
            size = 1000 >> place.level
            assert place.y % 6 == 0
            assert place.height % 6 == 0 or place.y + place.height == size
            assert place.width % 6 == 0 or place.x + place.width == size


def test_chunks_shrink_with_the_levels_that_are_seen_from_afar() -> None:
    assert level_sides(8192, 4096, 256, 4) == (256, 256, 256, 128, 64, 32, 32, 32, 32, 32, 32, 32, 32, 32)
    assert level_sides(2048, 2048, 192, 6)[:6] == (192, 192, 96, 48, 24, 24)
    assert level_sides(1024, 512, 256, 64)[:4] == (256, 128, 64, 64)  # never less than a block
    assert len(list(layout(8192, 8192, 256, 4))) < 1.2 * len(list(layout(8192, 8192, 256, 256)))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(2, 64), st.integers(1, 8))
def test_every_chunk_lies_under_one_chunk_of_the_next_level(height: int, width: int, side: int, block: int) -> None:
    sides = level_sides(height, width, side, block)
    assert all(2 * coarser in (finer, 2 * finer) for finer, coarser in pairwise(sides))
    assert all(each == side or each % block == 0 for each in sides)


def test_the_mip_tail_is_one_chunk_and_comes_first_in_the_layout() -> None:
    places = list(layout(1024, 512, 256, 4))
    assert places[0] == Place(5, 6, 0, 0, 32, 16)
    assert [place.levels for place in places[1:]] == [1] * (len(places) - 1)
    assert [place.level for place in places] == sorted((place.level for place in places), reverse=True)
    assert (tail_level(32, 32, 256), tail_level(33, 32, 256), tail_level(1, 1, 2)) == (0, 1, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([4, 8, 12, 20]), st.integers(1, 33))
def test_bands_of_any_height_give_the_chunks_of_the_whole_levels(height: int, width: int, side: int, rows: int) -> None:
    texels = texture(height, width)
    bands = box_chain(cut(texels, rows), height, width, "colour")
    streamed = sorted(chunk_bands(bands, height, width, "colour", RAW, side=side), key=lambda made: str(made[0].place))
    levels = chunk_levels(levels_of(texels), "colour", RAW, side=side)
    assert streamed == sorted(levels, key=lambda made: str(made[0].place))


def test_a_payload_is_the_encoded_rectangle_and_of_the_tail_its_levels_one_after_the_other() -> None:
    levels = levels_of(texture(50, 70))
    for chunk, payload in chunk_levels(levels, "colour", RAW, side=16):
        place = chunk.place
        parts = [levels[place.level][place.y : place.y + place.height, place.x : place.x + place.width]]
        parts += levels[place.level + 1 : place.level + place.levels]
        assert payload == b"".join(part.tobytes() for part in parts)
        assert chunk.part_lengths == tuple(part.nbytes for part in parts)
        assert chunk.byte_length == len(payload)


def test_each_chunk_is_worth_what_its_rectangle_adds_to_the_screen() -> None:
    levels = levels_of(texture(16, 16))
    for chunk, _ in chunk_levels(levels, "colour", RAW, side=16):
        coarser = whole(levels[chunk.place.level + 1]) if chunk.place.levels == 1 else None
        assert chunk.detail == measure(whole(levels[chunk.place.level]), coarser, "colour")


def test_errors_of_chunks_add_up_to_the_error_of_their_level() -> None:
    levels = levels_of(texture(50, 70, 1, np.uint16), "scalar")
    chunks = [chunk for chunk, _ in chunk_levels(levels, "scalar", RAW, side=16)]
    parts = [chunk.detail.mean_square * chunk.place.texels for chunk in chunks if chunk.place.level == 0]
    all_of_it = measure(whole(levels[0]), whole(levels[1]), "scalar")
    assert sum(parts) == pytest.approx(all_of_it.mean_square * 50 * 70, rel=1e-9)


def test_the_checksum_is_castagnolis() -> None:
    levels = levels_of(texture(1, 1))
    said = replace(RAW, encode=lambda texels: b"123456789")
    ((chunk, payload),) = chunk_levels(levels, "colour", said)
    assert chunk.crc32c == 0xE3069283  # the check value of CRC-32C in RFC 3720 and every catalogue since
    assert chunk.crc32c != zlib.crc32(payload)


def test_a_changed_or_truncated_payload_is_told_from_the_right_one() -> None:
    ((chunk, payload),) = chunk_levels(levels_of(texture(9, 9)), "colour", RAW)
    assert is_payload_of(payload, chunk)
    assert not is_payload_of(payload[:-1], chunk)
    assert not is_payload_of(bytes([payload[0] ^ 1]) + payload[1:], chunk)


def test_the_content_hash_hangs_on_everything_that_the_payload_hangs_on() -> None:
    texels = texture(8, 8, 4)
    others = [
        RAW.key(texels ^ 1),
        RAW.key(texels.reshape(4, 16, 4)),
        RAW.key(texels.view(np.uint16)),
        replace(RAW, format="other").key(texels),
        replace(RAW, block=8).key(texels),
        replace(RAW, quality="best").key(texels),
        replace(RAW, version="2").key(texels),
    ]
    assert len({RAW.key(texels), *others}) == 1 + len(others)
    assert RAW.key(np.asfortranarray(texels)) == RAW.key(texels.copy())


def test_several_threads_make_the_same_chunks_in_the_same_order() -> None:
    levels = levels_of(texture(90, 100))
    one = list(chunk_levels(levels, "colour", RAW, side=16))
    assert list(chunk_levels(levels, "colour", RAW, side=16, threads=3)) == one


def test_an_edit_encodes_only_what_it_touched_and_its_ancestors(tmp_path: Path) -> None:
    encoder, shapes = counting()
    cache, texels = ChunkCache(tmp_path), texture(128, 128)
    before = dict(chunk_levels(levels_of(texels), "colour", encoder, side=16, cache=cache))
    shapes.clear()
    texels[64:80, 32:48] = 255
    after = dict(chunk_levels(levels_of(texels), "colour", encoder, side=16, cache=cache))
    hashes = {chunk.place: chunk.content_hash for chunk in before}
    changed = sorted(
        (chunk.place.level, chunk.place.y, chunk.place.x)
        for chunk in after
        if hashes[chunk.place] != chunk.content_hash
    )
    assert changed == [(0, 64, 32), (1, 32, 16), (2, 16, 8), (3, 8, 4), (4, 4, 0), (5, 0, 0), (6, 0, 0)]
    assert sorted(shapes) == sorted((side, side, 3) for side in (16, 8, 4, 4, 4, 4, 2, 1))
    assert list(after) == [chunk for chunk, _ in chunk_levels(levels_of(texels), "colour", RAW, side=16)]


def test_a_damaged_cache_entry_is_encoded_again(tmp_path: Path) -> None:
    encoder, shapes = counting()
    cache, levels = ChunkCache(tmp_path), levels_of(texture(40, 40))
    first = list(chunk_levels(levels, "colour", encoder, side=16, cache=cache))
    shapes.clear()
    victim = next(path for path in tmp_path.rglob("*") if path.is_file())
    victim.write_bytes(victim.read_bytes()[:-1])
    assert list(chunk_levels(levels, "colour", encoder, side=16, cache=cache)) == first
    assert len(shapes) == 1


def test_equal_chunks_are_encoded_once(tmp_path: Path) -> None:
    encoder, shapes = counting()
    levels = levels_of(np.full((64, 64, 3), 9, np.uint8))
    list(chunk_levels(levels, "colour", encoder, side=16, cache=ChunkCache(tmp_path)))
    assert len(shapes) == len(set(shapes))


def test_a_tall_memory_map_is_cut_in_a_fraction_of_its_size(tmp_path: Path) -> None:
    texels = np.lib.format.open_memmap(tmp_path / "tall.npy", "w+", np.uint8, (16384, 64, 3))
    texels[:] = np.arange(251, dtype=np.uint8)[np.arange(16384) % 251, None, None]

    def cut_all() -> int:
        bands = box_chain((texels[y : y + 64] for y in range(0, 16384, 64)), 16384, 64, "colour")
        return sum(len(payload) for _, payload in chunk_bands(bands, 16384, 64, "colour", RAW, side=64))

    assert cut_all() > texels.nbytes  # and compiles the kernels, which take memory of their own
    tracemalloc.start()
    try:
        cut_all()
        assert tracemalloc.get_traced_memory()[1] < texels.nbytes / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ([], "level 0 ended after 0 of 4 rows"),
        ([(0, 0, np.zeros((2, 4, 3), np.uint8))], "level 0 ended after 2"),
        ([(0, 1, np.zeros((2, 4, 3), np.uint8))], "row 0 of 4 x 4 texels was to come"),
        ([(0, 0, np.zeros((2, 5, 3), np.uint8))], r"a band \(2, 5, 3\)"),
        ([(0, 0, np.zeros((5, 4, 3), np.uint8))], r"a band \(5, 4, 3\)"),
        ([(3, 0, np.zeros((1, 1, 3), np.uint8))], "the levels are 0..2"),
        ([(0, 0, np.zeros((2, 4, 3), np.uint8)), (0, 2, np.zeros((2, 4, 1), np.uint8))], "the first one was"),
    ],
)
def test_bands_that_are_no_chain_are_refused(bands: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(chunk_bands(bands, 4, 4, "scalar", RAW))


def test_levels_that_are_no_chain_are_refused() -> None:
    with pytest.raises(ValueError, match="are not the chain of 8 x 8"):
        chunk_levels(levels_of(texture(8, 8))[:-1], "colour", RAW)


@pytest.mark.parametrize("side", [0, 6, 1])
def test_a_side_that_cuts_blocks_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        chunk_levels(levels_of(texture(8, 8)), "colour", RAW, side=side)
    with pytest.raises(ValueError, match="does not go into"):
        chunk_side(12, 10)


def test_what_the_encoder_raises_comes_out_of_threads_too() -> None:
    def fail(texels: np.ndarray) -> bytes:
        raise OSError("no encoder here")

    with pytest.raises(OSError, match="no encoder here"):
        list(chunk_levels(levels_of(texture(40, 40)), "colour", replace(RAW, encode=fail), side=16, threads=2))


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    manifest = small_manifest()
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.chunks[0].place.levels == tail_level(1, 1, 2) + len(level_sizes(40, 24)) - tail_level(40, 24, 16)


def test_every_truncated_manifest_and_one_extra_byte_is_refused() -> None:
    text = small_manifest().to_json()
    for wrong in [text[:length] for length in range(0, len(text), 7)] + [text + "}"]:
        with pytest.raises(ValueError, match=r"manifest|JSON|Expecting|Unterminated|Extra data|decode|delimiter"):
            Manifest.from_json(wrong)


def edited(change: Callable[[dict[str, Any]], None]) -> str:
    values = json.loads(small_manifest().to_json())
    change(values)
    return json.dumps(values)


def in_chunk(name: str, value: Any, number: int = 1) -> Callable[[dict[str, Any]], None]:
    return lambda values: values["chunks"][number].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("side"), "manifest has no field 'side'"),
        (lambda values: values.update(more=1), "manifest has an unknown field 'more'"),
        (lambda values: values.update(version=1), "version is 1; 3 is known"),
        (lambda values: values.update(height=41), r"chunk 0: height is 10|chunks; 41 x 24|chunk \d+: \w+ is"),
        (lambda values: values.update(height=10**9), "height is 1000000000"),
        (lambda values: values.update(height=65536, width=65536, side=4), "65536 x 65536 texels have"),
        (lambda values: values.update(height=40.0), "height is 40.0"),
        (lambda values: values.update(channels=True), "channels is True"),
        (lambda values: values.update(dtype="int64"), "dtype is 'int64'"),
        (lambda values: values.update(filtering=["colour"]), "filtering is"),
        (lambda values: values.update(quality=""), "quality is ''"),
        (lambda values: values.update(side=18), "side is 18; it must be a multiple of the block, 4"),
        (lambda values: values.update(chunks={}), "chunks must be a list"),
        (lambda values: values["chunks"].pop(), "chunks; 40 x 24 texels have"),
        (lambda values: values["chunks"].reverse(), "chunk 0: level is 0"),
        (lambda values: values["chunks"].__setitem__(2, 7), "chunk 2 must be an object, not int"),
        (in_chunk("format", "other"), "chunk 1: format is 'other'"),
        (in_chunk("part_lengths", [1, 2]), "chunk 1: 2 part_lengths for 1 levels"),
        (in_chunk("part_lengths", [-1]), "chunk 1: part_lengths is -1"),
        (in_chunk("part_lengths", 3), "chunk 1: part_lengths must be a list"),
        (in_chunk("crc32c", 1 << 32), "chunk 1: crc32c is 4294967296"),
        (in_chunk("content_hash", "0" * 63), "chunk 1: content_hash is"),
        (in_chunk("content_hash", 5), "chunk 1: content_hash is 5"),
        (in_chunk("detail", {"entropy": 0}), "chunk 1: detail has no field"),
        (in_chunk("detail", {"entropy": 99, "structure": 0, "mean_square": 0}), "chunk 1: entropy is 99"),
        (in_chunk("detail", {"entropy": 1, "structure": "1", "mean_square": 0}), "chunk 1: structure is '1'"),
        (in_chunk("detail", {"entropy": 1, "structure": 1, "mean_square": float("nan")}), "the manifest holds NaN"),
        (in_chunk("place", None), "chunk 1: place must be an object, not NoneType"),
    ],
)
def test_a_manifest_with_a_wrong_value_is_refused_by_its_name(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        Manifest.from_json(edited(change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"a"', "[" * 100_000, b"\xff\xfe\xfd"])
def test_what_is_no_manifest_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"manifest|JSON|Expecting|Unterminated|Extra data|decode|delimiter"):
        Manifest.from_json(text)


def test_a_chunk_cannot_be_changed() -> None:
    chunk: Chunk = small_manifest().chunks[0]
    with pytest.raises(AttributeError):
        chunk.crc32c = 0  # type: ignore[misc]
