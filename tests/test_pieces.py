"""Which parts of pieces that are too large are to be fetched from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from texsynth.model.latent import BLOCK
from texsynth.pieces import beyond, fields_of_large_pieces, middles_of_pieces

Ints = NDArray[np.int32]
OPEN, TORUS = (False, False), (True, True)


def piece(rows: int, columns: int, start: tuple[int, int] = (0, 0)) -> Ints:
    yy, xx = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.stack([start[0] + BLOCK * yy, start[1] + BLOCK * xx], -1).astype(np.int32)


def unrelated(rows: int, columns: int) -> Ints:
    """Places of which none continues another, even across an edge that wraps."""
    yy, xx = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.stack([100 * (xx % 3) + 31 * (yy % 3), 100 * (yy % 3) + 37 * (xx % 3)], -1).astype(np.int32)


def leaving(
    positions: Ints, longest: float, *, field: float | None = None, size: tuple[int, int] = (1000, 1000),
    wraps: tuple[bool, bool] = OPEN, torus: tuple[bool, bool] = OPEN, seed: int = 0,
) -> Ints:  # fmt: skip
    side = longest if field is None else field
    fields, count = fields_of_large_pieces(positions, size, wraps, torus, longest, side, np.random.default_rng(seed))
    assert fields.shape == positions.shape[:2]
    assert set(np.unique(fields).tolist()) - {-1} == set(range(count)), "numbered without a gap"
    return fields


def marked(fields: Ints) -> NDArray[np.bool_]:
    return np.asarray(fields >= 0)


def test_a_piece_within_the_limit_is_left_alone() -> None:
    positions = unrelated(20, 20)
    positions[4:9, 6:11] = piece(5, 5, (300, 400))
    assert not marked(leaving(positions, 7.1)).any()
    assert marked(leaving(positions, 7, field=4)).any(), "its diagonal is 7.07 tokens"


def test_part_of_a_piece_that_is_too_long_is_told_to_leave_and_part_may_stay() -> None:
    positions = unrelated(30, 30)
    positions[3:24, 5:26] = piece(21, 21, (300, 400))
    told = marked(leaving(positions, 5))
    inside = np.zeros((30, 30), np.bool_)
    inside[3:24, 5:26] = True
    assert not (told & ~inside).any()
    assert 0.2 < float(told[inside].mean()) < 0.8


def test_every_field_is_connected_and_no_larger_than_the_side_that_is_asked_for() -> None:
    fields = leaving(piece(30, 30, (80, 160)), 6)
    for field in range(int(fields.max()) + 1):
        ys, xs = np.nonzero(fields == field)
        assert len(ys) == (np.ptp(ys) + 1) * (np.ptp(xs) + 1), "a rectangle of a rectangular piece"
        assert max(np.ptp(ys), np.ptp(xs)) + 1 <= 6


@settings(max_examples=30, deadline=None)
@given(st.integers(12, 40), st.integers(12, 40), st.floats(3, 9), st.integers(0, 99))
def test_what_may_stay_of_a_long_piece_is_no_longer_than_the_limit_allows(
    rows: int, columns: int, limit: float, seed: int
) -> None:
    staying = ~marked(leaving(piece(rows, columns), limit, seed=seed))
    for y in range(rows):  # a run along a line
        edges = np.flatnonzero(np.diff(np.concatenate([[0], staying[y].astype(int), [0]])))
        longest = max((b - a for a, b in zip(edges[::2], edges[1::2], strict=True)), default=0)
        assert longest <= np.ceil(limit) or columns <= limit


def test_a_piece_that_is_too_long_is_cut_into_fields_of_the_side_that_is_asked_for() -> None:
    positions = piece(40, 40)
    assert not marked(leaving(positions, 57, field=5)).any()
    told = marked(leaving(positions, 56, field=5))
    borders = np.diff(told.astype(int), axis=1) != 0
    assert 6 <= int(borders.sum(axis=1).min()) <= int(borders.sum(axis=1).max()) <= 8


def test_a_long_thin_piece_is_cut_along_its_length() -> None:
    positions = unrelated(20, 40)
    positions[7:9, 2:38] = piece(2, 36, (300, 300))
    told = marked(leaving(positions, 6))
    assert bool((told[7] == told[8]).all())
    assert 0.2 < float(told[7, 2:38].mean()) < 0.8


def test_a_piece_across_the_wrap_edge_of_the_result_is_one_piece() -> None:
    positions = unrelated(24, 24)
    across = piece(8, 8, (200, 200))
    for y in range(8):
        for x in range(8):
            positions[(20 + y) % 24, (20 + x) % 24] = across[y, x]
    assert not marked(leaving(positions, 12, torus=TORUS)).any()
    assert marked(leaving(positions, 11, field=6, torus=TORUS)).any()
    assert not marked(leaving(positions, 11, field=6, torus=OPEN)).any(), "cut by the edge it is four pieces of 4 x 4"


def test_a_piece_across_the_wrap_edge_of_the_exemplar_is_one_piece() -> None:
    positions = piece(20, 20, (0, 60)) % np.array([96, 96], np.int32)
    assert marked(leaving(positions, 14, size=(96, 96), wraps=TORUS)).any()
    assert not marked(leaving(positions[:11, :4], 14, size=(96, 96), wraps=OPEN)).any()
    cut_by_the_edge = leaving(positions, 14, size=(96, 96), wraps=OPEN)
    assert int(marked(cut_by_the_edge).sum()) < int(marked(leaving(positions, 14, size=(96, 96), wraps=TORUS)).sum())


@pytest.mark.parametrize("offset", [1, -1])
def test_a_shift_by_one_texel_does_not_end_a_piece(offset: int) -> None:
    positions = piece(16, 16, (100, 100))
    positions[:, 8:] += offset
    assert marked(leaving(positions, 10)).any()


def test_the_same_random_numbers_cut_alike_and_others_elsewhere() -> None:
    positions = piece(30, 30)
    first, again, other = (leaving(positions, 6, seed=seed) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


# Middles


def test_every_token_knows_the_middle_of_its_piece() -> None:
    positions = unrelated(20, 20)
    positions[4:9, 6:12] = piece(5, 6, (300, 400))
    middles = middles_of_pieces(positions, (1000, 1000), OPEN, OPEN)
    np.testing.assert_array_equal(middles[4:9, 6:12], np.broadcast_to(np.float32([6, 8.5]), (5, 6, 2)))
    np.testing.assert_array_equal(middles[0, 0], (0, 0))
    np.testing.assert_array_equal(middles[15, 3], (15, 3))


def test_the_middle_of_a_piece_across_the_wrap_edge_lies_in_it() -> None:
    positions = unrelated(24, 24)
    for y in range(8):
        for x in range(6):
            positions[(20 + y) % 24, (20 + x) % 24] = piece(8, 6, (200, 200))[y, x]
    middles = middles_of_pieces(positions, (1000, 1000), OPEN, TORUS)
    corner = middles[1, 0] % 24
    np.testing.assert_array_equal(corner, (23.5, 22.5))
    for y, x in ((20, 20), (3, 1)):  # opposite corners of the piece
        far = beyond(y, x, *middles[y, x], 24, 24, True, True, 2.0)
        assert far == pytest.approx(np.hypot(3.5, 2.5) / 2 - 1)
    assert beyond(0, 0, *middles[0, 0], 24, 24, True, True, 2.0) == 0


def test_beyond_its_radius_the_distance_counts_in_radii() -> None:
    assert beyond(3, 4, 0.0, 0.0, 100, 100, False, False, 5.0) == 0
    assert beyond(6, 8, 0.0, 0.0, 100, 100, False, False, 5.0) == pytest.approx(1)
    assert beyond(94, 0, 0.0, 0.0, 100, 100, True, False, 5.0) == pytest.approx(0.2)
