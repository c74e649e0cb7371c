"""Pieces that are too large are broken up, by what fits best around each field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.lattice import NO_LATTICE, Lattice
from texsynth.model.coherent_score import Keys, build_keys
from texsynth.model.latent import BLOCK
from texsynth.pieces import fields_of_large_pieces
from texsynth.quilting import APART, MERGES, replace_large_pieces, replace_repeated

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
OPEN, TORUS = (False, False), (True, True)


def noise(height: int, width: int, seed: int = 0, smooth: float = 3.0) -> Floats:
    white = np.random.default_rng(seed).normal(size=(height, width, 3))
    image = ndimage.gaussian_filter(white, (smooth, smooth, 0), mode="wrap")
    return np.asarray(image / image.std(), np.float32)


def keys_of(image: Floats, wraps: tuple[bool, bool] = TORUS, lattice: Lattice = NO_LATTICE) -> Keys:
    return build_keys(image, wraps, lattice, 1, 0.15, np.zeros((*image.shape[:2], 0), np.float32))


def piece(rows: int, columns: int, start: tuple[int, int], size: tuple[int, int]) -> Ints:
    yy, xx = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return ((np.stack([yy, xx], -1) * BLOCK + start) % size).astype(np.int32)


def quilted(
    keys: Keys, positions: Ints, *, torus: tuple[bool, bool] = TORUS, longest: float = 6, limit: float = 4,
    cell: int = 16, seed: int = 0, guide: Floats | None = None, phases: NDArray[np.float64] | None = None,
) -> Ints:  # fmt: skip
    return replace_large_pieces(
        keys, positions, torus, np.zeros((*positions.shape[:2], 0), np.float32) if guide is None else guide,
        np.zeros((*positions.shape[:2], len(keys.waves))) if phases is None else phases, longest, limit, cell,
        np.random.default_rng(seed),
    )  # fmt: skip


def fields(keys: Keys, positions: Ints, *, torus: tuple[bool, bool] = TORUS, seed: int = 0) -> Ints:
    """The fields that `quilted` replaces, at its default limits."""
    return fields_of_large_pieces(positions, keys.size, keys.wraps, torus, 6, 4, np.random.default_rng(seed))[0]


def moves(keys: Keys, before: Ints, after: Ints) -> Ints:
    """How far each token's source moved, the short way around."""
    apart = after - before
    half = np.array(keys.size) // 2
    return np.asarray((apart + half) % np.array(keys.size) - half)


def test_pieces_within_the_limit_stay_as_they_are() -> None:
    keys = keys_of(noise(96, 96))
    positions = piece(4, 4, (8, 16), keys.size)
    np.testing.assert_array_equal(quilted(keys, positions, torus=OPEN), positions)


def test_every_other_field_of_a_large_piece_moves_as_one_and_far_and_the_rest_stays() -> None:
    keys = keys_of(noise(160, 160))
    positions = piece(20, 20, (0, 0), keys.size)
    after = quilted(keys, positions)
    leaving, moved = fields(keys, positions), moves(keys, positions, after)
    assert not moved[leaving < 0].any()
    assert int(leaving.max()) > 4
    for field in range(int(leaving.max()) + 1):
        apart = moved[leaving == field]
        assert bool((apart == apart[0]).all()), "rigid"
        assert np.abs(apart[0]).max() > APART * 160
    assert fields_of_large_pieces(after, keys.size, keys.wraps, TORUS, 12, 4, np.random.default_rng(1))[1] == 0


def one_field(keys: Keys, positions: Ints) -> tuple[int, NDArray[np.intp]]:
    """A seed with which a single field of `positions` leaves, and the field's tokens (n, 2)."""
    for seed in range(1000):
        leaving = fields(keys, positions, torus=OPEN, seed=seed)
        if leaving.max() == 0:
            return seed, np.argwhere(leaving == 0)
    raise AssertionError("every seed cuts it into more fields")


@pytest.mark.parametrize("period", [96, 192])  # of the larger, not all places are tried, but a grid of them
def test_what_is_there_twice_is_taken_from_its_other_place(period: int) -> None:
    image = np.tile(noise(period, period, 1), (1, 2, 1)) + 0.01 * noise(period, 2 * period, 2)
    keys = keys_of(image)
    positions = piece(7, 3, (8, 16), keys.size)
    seed, members = one_field(keys, positions)
    moved = moves(keys, positions, quilted(keys, positions, torus=OPEN, seed=seed))[tuple(members.T)]
    np.testing.assert_array_equal(np.abs(moved), np.broadcast_to((0, period), moved.shape))


@pytest.mark.parametrize("wraps", [TORUS, OPEN])
def test_the_place_is_the_one_that_continues_the_surroundings_best(wraps: tuple[bool, bool]) -> None:
    keys = keys_of(noise(80, 80, 3), wraps)
    positions = np.random.default_rng(0).integers(0, 72, (9, 9, 2)).astype(np.int32)
    positions[1:8, 2:5] = piece(7, 3, (4, 12), keys.size)
    seed, members = one_field(keys, positions)
    after = quilted(keys, positions, torus=OPEN, cell=10**6, seed=seed)  # one cell: use decides nothing
    home = positions[tuple(members[0])]
    inside = set(map(tuple, members.tolist()))
    ring = {
        (y + dy, x + dx) for y, x in inside for dy in (-1, 0, 1) for dx in (-1, 0, 1)
        if 0 <= y + dy < 9 and 0 <= x + dx < 9
    } - inside  # fmt: skip
    limit = keys.tokens.shape[0] - 1
    costs = {}
    for ey in range(limit + 1):
        for ex in range(limit + 1):
            apart = (np.array([ey, ex]) - home + 40) % 80 - 40 if wraps == TORUS else np.array([ey, ex]) - home
            start = np.array([ey, ex]) - members[0] * BLOCK
            spots = start + members * BLOCK
            if np.abs(apart).max() <= int(APART * 80) or (
                wraps == OPEN and not ((spots >= 0) & (spots <= limit)).all()
            ):
                continue
            cost = 0.0
            for y, x in ring:
                p = start + np.array([y, x]) * BLOCK
                p = p % 80 if wraps == TORUS else p.clip(0, limit)
                q = positions[y, x]
                if np.abs(p - q).max() <= MERGES:
                    cost = np.inf
                cost += float(((keys.tokens[p[0], p[1]] - keys.tokens[q[0], q[1]]) ** 2).sum())
            costs[ey, ex] = cost
    chosen = tuple(after[tuple(members[0])].tolist())
    assert costs[chosen] <= min(costs.values()) * 1.0001


def test_of_places_that_fit_alike_the_less_used_is_taken() -> None:
    image = np.tile(noise(96, 64, 1), (1, 3, 1))
    keys = replace(keys_of(image), spacing=1.0)
    positions = piece(24, 8, (0, 0), keys.size)
    positions[12:] = piece(12, 8, (0, 64), keys.size)  # the second third is in use already
    after = quilted(keys, positions, longest=1000)
    np.testing.assert_array_equal(after, positions)
    after = quilted(keys, positions, longest=11, limit=4, cell=64)
    moved = after[:12][(after[:12] != positions[:12]).any(axis=2)]
    third = moved[:, 1] // 64
    assert int((third == 2).sum()) > int((third == 1).sum())


def test_sources_keep_the_phase_of_the_lattice() -> None:
    lattice = Lattice(np.array([[1 / 16, 0], [0, 1 / 16]]), 0.02, 0.9)
    keys = keys_of(noise(160, 160), lattice=lattice)
    phases = 0.5 * np.stack(np.mgrid[0:20, 0:20], -1)  # token (y, x) has the phase of texel (8 y, 8 x)
    positions = piece(20, 20, (0, 0), keys.size)
    moved = moves(keys, positions, quilted(keys, positions, phases=phases))
    far = np.abs((moved / 16) - np.round(moved / 16))
    assert float((far <= 1 / 16).mean()) > 0.95


def test_guidance_chooses_among_places_that_fit_alike() -> None:
    image = np.tile(noise(96, 64, 1), (1, 3, 1))
    keys = keys_of(image)
    offered = np.zeros((96, 192, 1), np.float32)
    offered[:, 64:128] = 3
    keys = replace(keys, guide=offered[: keys.tokens.shape[0], : keys.tokens.shape[1]])
    positions = piece(7, 3, (8, 16), keys.size)
    seed, members = one_field(keys, positions)
    after = quilted(keys, positions, torus=OPEN, guide=np.full((7, 3, 1), 3, np.float32), cell=10**6, seed=seed)
    moved = moves(keys, positions, after)[tuple(members.T)]
    np.testing.assert_array_equal(moved, np.broadcast_to((0, 64), moved.shape))


def test_sources_stay_inside_an_exemplar_that_does_not_wrap() -> None:
    keys = keys_of(noise(120, 104), OPEN)
    after = quilted(keys, piece(14, 12, (0, 0), (1000, 1000)), torus=OPEN)
    assert int(after.min()) >= 0
    assert bool((after.max(axis=(0, 1)) <= (120 - BLOCK, 104 - BLOCK)).all())


def test_an_exemplar_with_no_other_place_keeps_its_piece() -> None:
    keys = keys_of(noise(40, 40), OPEN)
    positions = piece(5, 5, (0, 0), (1000, 1000))
    after = quilted(keys, positions, torus=OPEN, longest=4, limit=4.9)
    assert int(after.min()) >= 0
    assert int(after.max()) <= 32


def test_the_same_random_numbers_quilt_alike_and_what_is_given_is_not_changed() -> None:
    keys = keys_of(noise(160, 160))
    positions = piece(20, 20, (0, 0), keys.size)
    first, again, other = (quilted(keys, positions, seed=seed) for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    np.testing.assert_array_equal(positions, piece(20, 20, (0, 0), keys.size))


def test_of_two_pieces_with_the_same_blocks_the_smaller_goes_elsewhere_and_the_rest_stays() -> None:
    keys = keys_of(noise(320, 320))
    positions = piece(12, 12, (0, 0), keys.size)
    positions[:, 7:] = piece(12, 5, (160, 200), keys.size)
    positions[4:8, 8:11] = piece(4, 3, (16, 24), keys.size)  # shown already, further left
    no_guide = np.zeros((12, 12, 0), np.float32)
    after = replace_repeated(
        keys, positions, TORUS, no_guide, np.zeros((*positions.shape[:2], 0)), np.random.default_rng(0)
    )
    moved = (after != positions).any(axis=2)
    assert bool(moved[4:8, 8:11].all())
    assert int(moved.sum()) == 12
    assert len(np.unique(after.reshape(-1, 2) // BLOCK, axis=0)) == 144, "nothing is shown twice"


def test_what_is_shown_once_is_left_alone() -> None:
    keys = keys_of(noise(160, 160))
    positions = piece(10, 10, (24, 56), keys.size)
    no_guide = np.zeros((10, 10, 0), np.float32)
    after = replace_repeated(
        keys, positions, TORUS, no_guide, np.zeros((*positions.shape[:2], 0)), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(after, positions)
