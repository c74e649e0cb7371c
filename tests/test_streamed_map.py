"""A map as it is streamed: what a view's tiles are in its chunks, and the messages that its chunks go in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texsynth_rpc.chunk_message import ChunkMessage, varint
from texsynth_rpc.chunk_plan import Plan
from texsynth_rpc.feedback import Seen
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.streamed_map import StreamedMap
from texsynth_rpc.v1 import streams_pb2, textures_pb2

from mipmap.chain import level_sizes
from mipmap.chunks import layout, level_sides

MANY = 1 << 18


def streamed(height: int, width: int, side: int, block: int, objects: ObjectStore, largest: int = 0) -> StreamedMap:
    return StreamedMap(described(height, width, side, block), objects, largest)


def described(height: int, width: int, side: int, block: int, there_from: int = 0) -> textures_pb2.TextureMap:
    """A map of which the levels from `there_from` on are there."""
    made = textures_pb2.TextureMap(
        kind="albedo", format="astc-4x4", block_width=4, block_height=4, block_bytes=16, chunk_side=side
    )
    sides = level_sides(height, width, side, block)
    for number, ((rows, columns), each) in enumerate(zip(level_sizes(height, width), sides, strict=True)):
        digest = f"{number:064x}" if number >= there_from else ""
        made.levels.add(width=columns, height=rows, sha256=digest, chunk_side=each, deflated_sha256=digest)
    for number, place in enumerate(layout(height, width, side, block)):
        chunk = made.chunks.add(
            level=place.level, levels=place.levels, y=place.y, x=place.x, height=place.height, width=place.width, size=9
        )
        if place.level >= there_from:
            chunk.sha256, chunk.error, chunk.entropy, chunk.deflated_size = f"{number:064x}", number, 2, number % 9
    return made


def table(*tiles: tuple[int, int, int, int]) -> Seen:
    level, row, column, pixels = np.array(tiles, np.int64).reshape(-1, 4).T
    return Seen(level, row, column, pixels, np.zeros(len(level)), np.zeros(len(level)))


def texel_by_texel(
    one: StreamedMap, level: int, row: int, column: int, pixels: int, tile: int
) -> dict[tuple[int, int, int], int]:
    """Level, row, column and pixels of the chunks under a tile, by counting its texels."""
    size, side = one.described.levels[level], one.described.levels[level].chunk_side
    y, x = (np.arange(number * tile, (number + 1) * tile) for number in (row, column))
    rows, of_rows = np.unique(y[y < size.height] // side, return_counts=True)
    columns, of_columns = np.unique(x[x < size.width] // side, return_counts=True)
    total = int(of_rows.sum()) * int(of_columns.sum())
    return {
        (level, int(r), int(c)): round(pixels * int(a) * int(b) / total)
        for r, a in zip(rows, of_rows, strict=True)
        for c, b in zip(columns, of_columns, strict=True)
    }


tiles = st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9), st.integers(0, 10_000))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(60, 700), st.integers(60, 700), st.sampled_from([(48, 12), (32, 4), (64, 64)]),
    st.sampled_from([16, 32, 64, 80]), st.lists(tiles, max_size=5),
)  # fmt: skip
def test_the_pixels_of_a_tile_fall_to_chunks_by_their_share_of_its_texels(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, cut: tuple[int, int], tile: int,
    looked: list[tuple[int, int, int, int]],
) -> None:  # fmt: skip
    one = streamed(height, width, *cut, ObjectStore(tmp_path_factory.mktemp("objects")))
    looked = [each for each in looked if each[0] < one.tail]
    seen = one.seen(table(*looked), tile, one.side, MANY)
    found = list(zip(seen.level.tolist(), seen.row.tolist(), seen.column.tolist(), seen.pixels.tolist(), strict=True))
    wanted = [(*place, pixels) for each in looked for place, pixels in texel_by_texel(one, *each, tile).items()]
    assert [each[:3] for each in found] == [each[:3] for each in wanted]
    assert all(abs(a[3] - b[3]) <= 1 for a, b in zip(found, wanted, strict=True)), "but for the rounding of halves"


def test_a_tile_within_the_mip_tail_counts_for_it_wherever_it_is(tmp_path: Path) -> None:
    one = streamed(256, 256, 64, 64, ObjectStore(tmp_path))
    seen = one.seen(table((one.tail, 900, 7, 5), (31, 0, 0, 6)), 64, one.side, MANY)
    assert one.pieces.indices(seen.level, seen.row, seen.column).tolist() == [0, 0]
    assert seen.pixels.tolist() == [5, 6]


def test_a_map_half_as_large_as_the_largest_one_takes_its_tiles_a_level_finer(tmp_path: Path) -> None:
    one = streamed(256, 256, 64, 64, ObjectStore(tmp_path))
    seen = one.seen(table((1, 2, 3, 5), (0, 2, 3, 6)), 64, 2 * one.side, MANY)
    assert list(zip(seen.level, seen.row, seen.column, seen.pixels, strict=True)) == [(0, 2, 3, 5), (0, 1, 1, 6)]


def test_a_view_over_more_chunks_than_are_taken_is_refused_before_they_are_listed(
    tmp_path: Path,
) -> None:
    one = streamed(256, 256, 16, 16, ObjectStore(tmp_path))
    with pytest.raises(ValueError, match="more than 15 chunks"):
        one.seen(table((0, 0, 0, 5)), 64, one.side, 15)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 1 << 40), st.integers(1, 9), st.binary(max_size=300)), min_size=1, max_size=4))
def test_a_message_of_chunks_is_the_one_that_the_library_reads(chunks: list[tuple[int, int, bytes]]) -> None:
    made, wanted = ChunkMessage(), list[streams_pb2.StreamedChunk]()
    for sequence, texture, data in chunks:
        shared = streams_pb2.StreamedChunk(index=len(wanted), crc32c=len(data), inflated=7 * len(wanted))
        whole = range(sequence % 3)
        made.add(sequence, texture, shared.SerializeToString(), memoryview(data), whole)
        wanted.append(streams_pb2.StreamedChunk(sequence=sequence, texture=texture, data=data, complete=whole))
        wanted[-1].MergeFrom(shared)
    outgoing = made.finish()
    read = streams_pb2.OpenResponse.FromString(outgoing.message)
    assert ([read.chunk] if read.HasField("chunk") else list(read.chunks.chunks)) == wanted
    assert read.HasField("chunk") == (len(chunks) == 1)
    assert outgoing.of_chunks == sum(len(data) for _, _, data in chunks)


@pytest.mark.parametrize(("number", "encoded"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_numbers_are_written_seven_bits_a_byte(number: int, encoded: bytes) -> None:
    assert varint(number) == encoded


def test_a_plan_of_pieces_that_are_one_already_is_that_one(tmp_path: Path) -> None:
    pieces = streamed(256, 128, 64, 64, ObjectStore(tmp_path)).pieces
    assert Plan.of("another", pieces) is pieces
    assert Plan.of("another", list(pieces)).is_cut_as(pieces)


@pytest.mark.parametrize(("largest", "deflate"), [(0, True), (0, False), (128, True)])
def test_a_map_that_has_grown_is_the_one_that_is_made_anew(tmp_path: Path, largest: int, deflate: bool) -> None:
    objects = ObjectStore(tmp_path)
    anew = [StreamedMap(described(300, 256, 32, 4, level), objects, largest, deflate=deflate) for level in (3, 1, 0)]
    grown = anew[0]
    for wanted, level in zip(anew[1:], (1, 0), strict=True):
        made = described(300, 256, 32, 4, level)
        assert grown.is_part_of(made)
        grown = grown.grown(made)
        assert grown.described == wanted.described
        assert grown.pieces.pieces == wanted.pieces.pieces
        assert (grown.pieces.ready, grown.whole) == (wanted.pieces.ready, wanted.whole)
        assert grown.pieces.longest == wanted.pieces.longest
        assert [grown.inflated(index) for index in range(len(grown.pieces))] == [
            wanted.inflated(index) for index in range(len(wanted.pieces))
        ]
    assert [level.level for level in grown.more_than(anew[0])] == ([0, 1, 2] if not largest else [2])
    assert not grown.is_part_of(described(300, 256, 32, 4, 1)), "it has more"
    assert not anew[0].is_part_of(described(300, 250, 32, 4, 0)), "it has another size"
