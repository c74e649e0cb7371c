"""Boundaries between pieces move to where they are hardest to see, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.lattice import NO_LATTICE
from texsynth.model.coherent_score import Keys, build_keys
from texsynth.model.latent import BLOCK
from texsynth.seams import anneal_seams

Ints = NDArray[np.int32]
OPEN, TORUS = (False, False), (True, True)


@pytest.fixture(scope="module")
def keys() -> Keys:
    white = np.random.default_rng(0).normal(size=(160, 160, 3))
    image = ndimage.gaussian_filter(white, (3, 3, 0), mode="wrap")
    return keys_of(np.asarray(image / image.std(), np.float32), TORUS)


def keys_of(image: NDArray[np.float32], wraps: tuple[bool, bool]) -> Keys:
    return build_keys(image, wraps, NO_LATTICE, 1, 0.15, np.zeros((*image.shape[:2], 0), np.float32))


def piece(rows: int, columns: int, start: tuple[int, int]) -> Ints:
    yy, xx = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return ((np.stack([yy, xx], -1) * BLOCK + start) % 160).astype(np.int32)


def two_pieces(rows: int = 20, columns: int = 20) -> Ints:
    """Two pieces with a ragged boundary in the middle."""
    edge = columns // 2 + np.random.default_rng(0).integers(-2, 3, rows)
    right = np.arange(columns) >= edge[:, None]
    return np.where(right[:, :, None], piece(rows, columns, (56, 72)), piece(rows, columns, (0, 0))).astype(np.int32)


def annealed(
    keys: Keys, positions: Ints, torus: tuple[bool, bool] = OPEN, seed: int = 1, sweeps: int = 16, radius: float = 1e6
) -> Ints:
    guide = np.zeros((*positions.shape[:2], 0), np.float32)
    return anneal_seams(keys, positions, torus, guide, radius, sweeps, seed)


def translations(positions: Ints) -> set[tuple[int, int]]:
    tokens = np.stack(np.meshgrid(*map(np.arange, positions.shape[:2]), indexing="ij"), -1)
    return set(map(tuple, ((positions - tokens * BLOCK) % 160).reshape(-1, 2).tolist()))


def seam_cost(keys: Keys, positions: Ints) -> float:
    """Squared latent difference between each token and what its left and upper neighbours would continue with."""
    total = 0.0
    for axis in range(2):
        ahead = np.moveaxis(positions, axis, 0)[1:]
        follows = np.moveaxis(positions, axis, 0)[:-1] + np.array([(BLOCK, 0), (0, BLOCK)][axis])
        a, b = ahead % 160, follows % 160
        total += float(((keys.tokens[a[..., 0], a[..., 1]] - keys.tokens[b[..., 0], b[..., 1]]) ** 2).sum())
    return total


def test_one_rigid_piece_has_no_boundary_to_move(keys: Keys) -> None:
    positions = piece(20, 20, (8, 24))
    np.testing.assert_array_equal(annealed(keys, positions, TORUS), positions)


def test_a_boundary_costs_no_more_afterwards_and_uses_no_new_translation(keys: Keys) -> None:
    positions = two_pieces()
    moved = annealed(keys, positions)
    assert seam_cost(keys, moved) < seam_cost(keys, positions)
    assert translations(moved) == translations(positions)
    assert bool((moved[:, :3] == positions[:, :3]).all()), "far from the boundary nothing moves"
    assert bool((moved[:, -3:] == positions[:, -3:]).all())


def test_a_piece_gives_way_where_it_reaches_beyond_its_radius(keys: Keys) -> None:
    right = np.arange(24) >= 18
    positions = np.where(right[None, :, None], piece(8, 24, (56, 72)), piece(8, 24, (0, 0))).astype(np.int32)

    def long(placed: Ints) -> int:
        return int((placed == piece(8, 24, (0, 0))).all(axis=2).sum(axis=1).max())

    assert long(annealed(keys, positions)) >= 17
    assert long(annealed(keys, positions, radius=5)) <= 15


def test_the_same_seed_moves_boundaries_alike(keys: Keys) -> None:
    first = annealed(keys, two_pieces(), TORUS, 3)
    assert all(annealed(keys, two_pieces(), TORUS, 3).tobytes() == first.tobytes() for _ in range(3))
    hot = [annealed(keys, two_pieces(), TORUS, seed, sweeps=1).tobytes() for seed in (3, 4)]
    assert hot[0] != hot[1]


def test_what_is_given_is_not_changed_in_place(keys: Keys) -> None:
    positions = two_pieces()
    annealed(keys, positions)
    np.testing.assert_array_equal(positions, two_pieces())


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 7), (3, 8)])
def test_grids_of_odd_sides_are_annealed_too(keys: Keys, shape: tuple[int, int]) -> None:
    positions = np.random.default_rng(0).integers(0, 160, (*shape, 2)).astype(np.int32)
    moved = annealed(keys, positions, TORUS)
    assert moved.shape == positions.shape
    assert 0 <= int(moved.min()) <= int(moved.max()) < 160


def test_tokens_stay_inside_an_exemplar_that_does_not_wrap() -> None:
    image = np.random.default_rng(0).normal(size=(96, 80, 2)).astype(np.float32)
    keys = keys_of(image, OPEN)
    positions = np.random.default_rng(1).integers(0, (89, 73), (16, 16, 2)).astype(np.int32)
    moved = annealed(keys, positions)
    assert int(moved.min()) >= 0
    assert bool((moved.max(axis=(0, 1)) <= (96 - BLOCK, 80 - BLOCK)).all())
