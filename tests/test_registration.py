"""Pieces are shifted to where they meet their neighbours, and by no more than is allowed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from texsynth.model.latent import BLOCK
from texsynth.pieces import label_pieces
from texsynth.registration import register_pieces

SIDE = 128  # texels of the exemplar


def coherent(rows: int, columns: int, corner: tuple[int, int]) -> NDArray[np.int32]:
    """One piece, from `corner` on."""
    return np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).astype(
        np.int32
    ) * BLOCK + np.array(corner, np.int32)


def stripes(period: int) -> NDArray[np.float32]:
    """Upright lines."""
    line = (np.arange(SIDE) % period < 2).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(line[None, :, None], (SIDE, SIDE, 1)))


@pytest.mark.parametrize("apart", [-3, -1, 2, 3])
def test_lines_of_two_pieces_that_are_a_little_apart_meet(apart: int) -> None:
    positions = coherent(8, 8, (16, 32))
    positions[4:] += np.array([16, apart], np.int32)  # the lower half comes from elsewhere, its lines beside the others
    moved = register_pieces(stripes(16), positions, (False, False), (False, False), 4, 0)
    upper, lower = moved[0, 0, 1] % 16, moved[4, 0, 1] % 16
    assert upper == lower


def test_a_shift_across_the_lines_that_nothing_asks_for_is_not_made() -> None:
    positions = coherent(8, 8, (16, 32))
    positions[4:] += np.array([16, 0], np.int32)
    np.testing.assert_array_equal(
        register_pieces(stripes(16), positions, (False, False), (False, False), 4, 0), positions
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.integers(1, 4))
def test_pieces_stay_whole_within_reach_and_inside_the_exemplar(
    seed: int, wrap: bool, closed: bool, reach: int
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(SIDE, SIDE, 2)).astype(np.float32)
    blocks = rng.integers(0, SIDE - 4 * BLOCK + 1, (3, 3, 2))  # of 4 x 4 tokens
    positions = np.concatenate(
        [np.concatenate([coherent(4, 4, tuple(corner)) for corner in line], axis=1) for line in blocks], axis=0
    )
    wraps, torus = (wrap, wrap), (closed, closed)
    moved = register_pieces(features, positions, wraps, torus, reach, seed)
    shift = moved - positions
    if wrap:
        shift = (shift + SIDE // 2) % SIDE - SIDE // 2
    assert int(np.abs(shift).max()) <= reach
    assert int(moved.min()) >= 0
    assert int(moved.max()) <= SIDE - (1 if wrap else BLOCK)
    pieces = label_pieces(positions, (SIDE, SIDE), wraps, torus)
    for piece in np.unique(pieces):
        assert len(np.unique(shift[pieces == piece], axis=0)) == 1
    np.testing.assert_array_equal(moved, register_pieces(features, positions, wraps, torus, reach, seed))


def test_neighbours_do_not_grow_together() -> None:
    positions = coherent(8, 8, (16, 32))
    positions[4:] += np.array([0, 3], np.int32)  # two texels nearer and both would be one piece
    rng = np.random.default_rng(1)
    features = rng.normal(size=(SIDE, SIDE, 2)).astype(np.float32)
    moved = register_pieces(features, positions, (False, False), (False, False), 4, 0)
    assert len(np.unique(label_pieces(moved, (SIDE, SIDE), (False, False), (False, False)))) == 2


def test_one_piece_alone_is_left_where_it_is() -> None:
    positions = coherent(4, 4, (8, 8))
    np.testing.assert_array_equal(
        register_pieces(stripes(16), positions, (False, False), (False, False), 4, 0), positions
    )
