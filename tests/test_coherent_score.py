"""Sparse attention of the fine levels: against a slow reference over the same candidates, and by what it promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.lattice import NO_LATTICE, Lattice
from texsynth.model.coherent_score import (
    SIMILAR_APART,
    TOKEN_CHANNELS,
    WINDOW,
    Keys,
    attend,
    build_keys,
)
from texsynth.model.latent import BLOCK

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Doubles = NDArray[np.float64]
OPEN, TORUS = (False, False), (True, True)


def noise(height: int, width: int, channels: int = 3, seed: int = 0, smooth: float = 2.0) -> Floats:
    """float32 (H, W, K), smooth noise of unit deviation that wraps."""
    white = np.random.default_rng(seed).normal(size=(height, width, channels))
    field = ndimage.gaussian_filter(white, (smooth, smooth, 0), mode="wrap")
    return np.asarray(field / field.std(), np.float32)


def without_guide(image: Floats) -> Floats:
    return np.zeros((*image.shape[:2], 0), np.float32)


def keys_of(image: Floats, wraps: tuple[bool, bool] = TORUS, lattice: Lattice = NO_LATTICE) -> Keys:
    return build_keys(image, wraps, lattice, 1, 0.15, without_guide(image))


def continuing(keys: Keys, rows: int, columns: int, start: tuple[int, int] = (0, 0)) -> Ints:
    """Positions int32 (rows, columns, 2) of one rigid piece of the exemplar."""
    yy, xx = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    positions = np.stack([start[0] + BLOCK * yy, start[1] + BLOCK * xx], -1)
    for axis in range(2):
        if keys.wraps[axis]:
            positions[..., axis] %= keys.size[axis]
    return positions.astype(np.int32)


def scattered(keys: Keys, rows: int, columns: int, seed: int) -> Ints:
    """Random positions inside the exemplar, a third of them continuing their left neighbour."""
    rng = np.random.default_rng(seed)
    top = [keys.size[a] if keys.wraps[a] else (keys.tokens.shape[a] - 1) * keys.stride + 1 for a in range(2)]
    positions = np.stack([rng.integers(0, n, (rows, columns)) for n in top], -1)
    for x in range(1, columns):
        follow = rng.random(rows) < 0.33
        moved = positions[:, x - 1] + (0, BLOCK)
        inside = (moved[:, 1] < top[1]) | keys.wraps[1]
        moved[:, 1] %= keys.size[1]
        positions[:, x] = np.where((follow & inside)[:, None], moved, positions[:, x])
    positions -= positions % keys.stride
    return positions.astype(np.int32)


def clean(keys: Keys, positions: Ints) -> Floats:
    return np.ascontiguousarray(keys.tokens[positions[..., 0] // keys.stride, positions[..., 1] // keys.stride])


def run(keys: Keys, z: Floats, positions: Ints, sigma: float, rows: tuple[int, int] | None = None, **how: Any) -> Any:
    """`attend` with nothing but the patches deciding, except for what `how` says."""
    height, width = positions.shape[:2]
    arguments: dict[str, Any] = {
        "radius": 1, "torus": TORUS, "phases": np.zeros((height, width, len(keys.waves))),
        "potentials": np.zeros((1, 1), np.float32),
        "cell": 1 << 20, "guide": np.zeros((height, width, keys.guide.shape[2]), np.float32),
        "middles": np.zeros((height, width, 2), np.float32), "piece_radius": 1e6, "spread_cost": 0.0,
        "jump_cost": 0.1, "jitter": 2, "seed": 7,
        "active": np.ones((-(-height // WINDOW), -(-width // WINDOW)), np.bool_),
    }  # fmt: skip
    mean, chosen, _ = attend(keys, z, positions, sigma, rows or (0, height), **(arguments | how))
    return mean, chosen


def reference(
    keys: Keys, z: Floats, positions: Ints, sigma: float, *, torus: tuple[bool, bool], radius: int, phases: Doubles,
    potentials: Floats, cell: int, guide: Floats,
) -> tuple[Doubles, dict[tuple[int, int], dict[tuple[int, int], float]]]:  # fmt: skip
    """Mean (h, w, C), and for every token the log weights of its own place and of those that continue its
    neighbours."""
    rows, columns = positions.shape[:2]
    limit = [(n - 1) * keys.stride for n in keys.tokens.shape[:2]]
    tokens, latent = keys.tokens.astype(np.float64), z.astype(np.float64)

    def into(value: int, axis: int) -> int:
        return value % keys.size[axis] if keys.wraps[axis] else min(max(value, 0), limit[axis])

    def output(y: int, x: int) -> tuple[int, int] | None:
        if not ((torus[0] or 0 <= y < rows) and (torus[1] or 0 <= x < columns)):
            return None
        return y % rows, x % columns

    means, weights_of = np.zeros(z.shape), {}
    for y in range(rows):
        for x in range(columns):
            places: set[tuple[int, int]] = set()
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    at = output(y + dy, x + dx)
                    if at is None:
                        continue
                    place = [int(positions[at][0]) - dy * BLOCK, int(positions[at][1]) - dx * BLOCK]
                    if all(keys.wraps[a] or 0 <= place[a] <= limit[a] for a in range(2)):
                        py, px = into(place[0], 0), into(place[1], 1)
                        places.add((py - py % keys.stride, px - px % keys.stride))
            logs = {}
            for py, px in sorted(places):
                distance = 0.0
                for i in range(-radius, radius + 1):
                    for j in range(-radius, radius + 1):
                        at = output(y + i, x + j)
                        if at is not None:
                            ty, tx = into(py + i * BLOCK, 0) // keys.stride, into(px + j * BLOCK, 1) // keys.stride
                            distance += float(((latent[at] - tokens[ty, tx]) ** 2).sum())
                log = -distance / (2 * sigma**2) + float(potentials[py // cell, px // cell])
                for wave, phase in zip(keys.waves, phases[y, x], strict=True):
                    turn = float(wave @ (py, px) - phase)
                    log -= (turn - round(turn)) ** 2 / (2 * keys.tolerance**2)
                features = keys.guide[py // keys.stride, px // keys.stride].astype(np.float64)
                logs[py, px] = log - 0.5 * float(((guide[y, x] - features) ** 2).sum())
            weights = np.exp(np.array(list(logs.values())) - max(logs.values()))
            values = np.array([tokens[py // keys.stride, px // keys.stride] for py, px in logs])
            means[y, x] = weights @ values / weights.sum()
            weights_of[y, x] = logs
    return means, weights_of


def neighbours_alone(keys: Keys) -> Keys:
    """Keys without like-looking places, so that the candidates are the own place and the neighbours' continuations."""
    return replace(keys, similar=np.zeros((1, 1, 0, 2), np.int32))


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([TORUS, OPEN, (True, False)]),
    st.sampled_from([TORUS, OPEN, (False, True)]),
    st.sampled_from([0.2, 0.5, 2.0]),
    st.sampled_from([0, 1]),
    st.sampled_from([1, 2]),
    st.integers(0, 999),
)
def test_the_mean_is_the_softmax_over_the_neighbours_continuations_and_the_likeliest_is_chosen(
    wraps: tuple[bool, bool], torus: tuple[bool, bool], sigma: float, radius: int, stride: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    lattice = Lattice(np.array([[1 / 16, 0], [1 / 40, 1 / 20]]), 0.03, 0.5)
    keys = build_keys(noise(64, 80, seed=seed % 3), wraps, lattice, 1, 0.15, rng.normal(size=(64, 80, 2)).astype("f4"))
    keys = neighbours_alone(keys)
    if stride > 1:
        tokens, guide = keys.tokens[::stride, ::stride], keys.guide[::stride, ::stride]
        keys = replace(keys, tokens=np.ascontiguousarray(tokens), guide=np.ascontiguousarray(guide), stride=stride)
    positions = scattered(keys, 5, 6, seed)
    z = clean(keys, positions) + np.float32(sigma) * rng.normal(size=(5, 6, TOKEN_CHANNELS)).astype(np.float32)
    how: dict[str, Any] = {
        "torus": torus, "radius": radius, "phases": rng.normal(size=(5, 6, 2)), "cell": 16,
        "potentials": rng.normal(size=(4, 5)).astype(np.float32),
        "guide": rng.normal(size=(5, 6, 2)).astype(np.float32),
    }  # fmt: skip
    mean, chosen = run(keys, z, positions, sigma, jitter=0, **how)
    expected, logs = reference(keys, z, positions, sigma, **how)
    np.testing.assert_allclose(mean, expected, atol=0.02)
    for (y, x), weights in logs.items():
        assert weights[tuple(chosen[y, x].tolist())] >= max(weights.values()) - 0.02


# What a coherent field is worth


@pytest.mark.parametrize("wraps", [TORUS, OPEN])
def test_a_perfect_copy_stays_as_it_is_when_the_noise_is_gone(wraps: tuple[bool, bool]) -> None:
    keys = keys_of(noise(96, 96), wraps)
    positions = continuing(keys, 12, 12) if wraps == TORUS else continuing(keys, 10, 9, (5, 9))
    z = clean(keys, positions)
    mean, chosen = run(keys, z, positions, 0.01, torus=wraps)
    np.testing.assert_array_equal(chosen, positions)
    np.testing.assert_allclose(mean, z, atol=1e-4)


@pytest.mark.parametrize("noise_level", [0.05, 0.3])
def test_a_wrong_token_among_coherent_neighbours_is_repaired(noise_level: float) -> None:
    keys = keys_of(noise(96, 96))
    positions = continuing(keys, 12, 12, (3, 4))
    z = clean(keys, positions)
    z += np.float32(noise_level) * np.random.default_rng(0).normal(size=z.shape).astype(np.float32)
    wrong = positions.copy()
    wrong[5, 6] = 40, 77
    wrong[0, 11] = 80, 8  # its neighbours lie across the wrap edge
    _, chosen = run(keys, z, wrong, noise_level)
    np.testing.assert_array_equal(chosen, positions)


def test_noise_is_taken_out_of_a_coherent_field() -> None:
    keys = keys_of(noise(96, 96))
    positions = continuing(keys, 12, 12)
    z = clean(keys, positions)
    noisy = z + 0.4 * np.random.default_rng(0).normal(size=z.shape).astype(np.float32)
    mean, _ = run(keys, noisy, positions, 0.4)
    assert float(np.sqrt(((mean - z) ** 2).mean())) < 0.05


def test_a_token_far_off_finds_the_like_looking_place() -> None:
    half = noise(64, 64, seed=4)
    image = np.tile(half, (1, 2, 1)) + 0.02 * noise(64, 128, seed=5)  # every place is there twice
    keys = keys_of(image)
    assert keys.spacing < 1
    positions = continuing(keys, 6, 6, (8, 16))
    potentials = np.array([[-1e4, 0]], np.float32)  # of the exemplar's two halves
    mean, chosen = run(keys, clean(keys, positions) + 0, positions, 0.05, potentials=potentials, cell=64)
    moved = (chosen - positions)[..., 1] % 128
    assert float((moved == 64).mean()) > 0.9, (
        "where its half may not be used, a token moves to the same place half a turn on"
    )
    assert mean.shape == (6, 6, TOKEN_CHANNELS)


# Costs


def test_a_piece_is_continued_within_its_radius_and_left_beyond_it_at_a_price() -> None:
    keys = keys_of(noise(96, 96))
    positions = continuing(keys, 12, 12)
    positions[:, 8:] = (positions[:, 8:] + (24, 40)) % 96
    z = clean(keys, positions)
    middles = np.zeros((12, 12, 2), np.float32)
    middles[:, 8:] = 5, 9  # the left piece's middle is far from its right edge, the other piece's is near
    middles[:, :8] = 5, 2
    how = {"middles": middles, "piece_radius": 3.5, "torus": OPEN, "jump_cost": 1e6, "jitter": 0}
    _, free = run(keys, z, positions, 1.0, **how, spread_cost=0.0)
    _, priced = run(keys, z, positions, 1.0, **how, spread_cost=1e6)
    own = (free == positions).all(axis=2)
    assert bool(own.all())
    assert bool((priced[3:8, 2:5] == positions[3:8, 2:5]).all()), "within the radius nothing changes"
    follows = (positions[4:7, 8] - np.array([0, BLOCK])) % 96
    np.testing.assert_array_equal(priced[4:7, 7], follows)


def test_places_that_continue_no_neighbour_can_be_priced_out() -> None:
    keys = keys_of(noise(96, 96))
    positions = scattered(keys, 8, 8, 1)
    z = np.random.default_rng(2).normal(size=(8, 8, TOKEN_CHANNELS)).astype(np.float32)
    _, free = run(keys, z, positions, 2.0, jump_cost=0.0)
    _, priced = run(keys, z, positions, 2.0, jump_cost=1e6)

    def continues(chosen: Ints) -> NDArray[np.bool_]:
        found = np.zeros((8, 8), np.bool_)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                place = np.roll(positions, (-dy, -dx), (0, 1)) - np.array([dy * BLOCK, dx * BLOCK])
                found |= (place % 96 == chosen).all(axis=2)
        return found

    assert bool(continues(priced).all())
    assert not bool(continues(free).all())


def test_potentials_draw_tokens_to_a_cell_and_a_crisp_lattice_keeps_them_in_phase() -> None:
    keys = replace(neighbours_alone(keys_of(noise(96, 96))), waves=np.array([[1 / 24, 0.0]]), tolerance=0.01)
    positions = scattered(keys, 8, 8, 3)
    z = np.random.default_rng(0).normal(size=(8, 8, TOKEN_CHANNELS)).astype(np.float32)
    plain = replace(keys, waves=np.zeros((0, 2)))
    potentials = np.zeros((2, 2), np.float32)
    potentials[1, 1] = 1e4
    _, drawn = run(plain, z, positions, 3.0, potentials=potentials, cell=48, jitter=0)
    _, before = run(plain, z, positions, 3.0, jitter=0)
    assert int((drawn >= 48).all(axis=2).sum()) > int((before >= 48).all(axis=2).sum()) + 10
    phases = np.broadcast_to((np.arange(8) / 3 + 0.25)[:, None, None], (8, 8, 1)).copy()

    def error(chosen: Ints) -> Doubles:
        turn = chosen[..., 0] / 24 - phases[..., 0]
        return np.asarray(np.abs(turn - np.round(turn)))

    _, phased = run(keys, z, positions, 3.0, phases=phases, jitter=0)
    assert float(error(phased).mean()) < 0.5 * float(error(before).mean())


# Windows


def test_bands_in_any_order_and_of_any_height_are_the_whole_to_the_bit() -> None:
    keys = keys_of(noise(96, 96))
    positions = scattered(keys, 37, 21, 5)
    z = clean(keys, positions) + np.random.default_rng(1).normal(size=(37, 21, TOKEN_CHANNELS)).astype(np.float32)
    whole_mean, whole_chosen = run(keys, z, positions, 0.7)
    for bands in ([(30, 37), (0, 13), (13, 30)], [(y, y + 1) for y in range(36, -1, -1)], [(5, 20), (0, 5), (20, 37)]):
        mean, chosen = np.zeros_like(whole_mean), np.zeros_like(whole_chosen)
        for first, last in bands:
            mean[first:last], chosen[first:last] = run(keys, z, positions, 0.7, (first, last))
        assert mean.tobytes() == whole_mean.tobytes()
        assert chosen.tobytes() == whole_chosen.tobytes()


def test_the_same_seed_gives_the_same_bytes_and_another_tries_other_places() -> None:
    keys = keys_of(noise(96, 96))
    positions = scattered(keys, 16, 16, 5)
    z = np.random.default_rng(1).normal(size=(16, 16, TOKEN_CHANNELS)).astype(np.float32)
    first, again, other = (run(keys, z, positions, 1.0, seed=seed) for seed in (11, 11, 12))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    assert bool((first[1] != other[1]).any())


def test_tokens_of_windows_without_work_keep_their_place_and_do_not_change_the_others() -> None:
    keys = keys_of(noise(96, 96))
    positions = scattered(keys, 40, 70, 5)
    z = np.random.default_rng(1).normal(size=(40, 70, TOKEN_CHANNELS)).astype(np.float32)
    active = np.array([[True, False, True], [False, True, True]])
    mean, chosen = run(keys, z, positions, 1.0, active=active)
    all_mean, all_chosen = run(keys, z, positions, 1.0)
    works = active.repeat(WINDOW, 0).repeat(WINDOW, 1)[:40, :70]
    np.testing.assert_array_equal(chosen[~works], positions[~works])
    np.testing.assert_array_equal(mean[~works], clean(keys, positions)[~works])
    np.testing.assert_array_equal(chosen[works], all_chosen[works])
    np.testing.assert_array_equal(mean[works], all_mean[works])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.floats(0.05, 5), st.sampled_from([TORUS, OPEN, (False, True)]))
def test_means_lie_among_the_exemplars_tokens_and_places_inside_the_exemplar(
    seed: int, sigma: float, wraps: tuple[bool, bool]
) -> None:
    keys = keys_of(noise(64, 88, seed=seed % 4), wraps)
    rng = np.random.default_rng(seed)
    positions = scattered(keys, 9, 7, seed)
    z = (rng.normal(size=(9, 7, TOKEN_CHANNELS)) * 3).astype(np.float32)
    mean, chosen = run(keys, z, positions, sigma, jitter=3)
    for axis in range(2):
        assert int(chosen[..., axis].min()) >= 0
        assert int(chosen[..., axis].max()) < (
            keys.size[axis] if wraps[axis] else (keys.tokens.shape[axis] - 1) * keys.stride + 1
        )
    directions = rng.normal(size=(TOKEN_CHANNELS, 40))
    reach = (keys.tokens.reshape(-1, TOKEN_CHANNELS) @ directions).max(axis=0)
    assert bool((mean @ directions <= reach + 1e-3).all())


# Keys


def test_like_looking_places_are_the_nearest_patches_that_lie_apart() -> None:
    image = noise(96, 112, seed=2)
    keys = keys_of(image)
    tokens = keys.tokens.astype(np.float64)
    step = keys.similar_step
    grid = [(y, x) for y in range(0, keys.tokens.shape[0], step) for x in range(0, keys.tokens.shape[1], step)]

    def patch(y: int, x: int) -> Doubles:
        return np.concatenate(
            [tokens[(y + i * BLOCK) % 96, (x + j * BLOCK) % 112] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        )

    patches = np.array([patch(y, x) for y, x in grid])
    nearest = []
    for n, (y, x) in enumerate(grid):
        distance = ((patches - patches[n]) ** 2).sum(axis=1)
        for m, (v, u) in enumerate(grid):
            apart = min(abs(v - y), 96 - abs(v - y)), min(abs(u - x), 112 - abs(u - x))
            if max(apart) < SIMILAR_APART:
                distance[m] = np.inf
        nearest.append(distance.min())
        found = keys.similar[y // step, x // step]
        order = np.sort(distance)[: len(found)]
        offered = np.sort([distance[grid.index((int(v), int(u)))] for v, u in found])
        np.testing.assert_allclose(offered, order, rtol=0.25)  # 48 of 144 dimensions decide
    assert keys.spacing == pytest.approx(float(np.median(nearest)), rel=0.25)


def test_keys_carry_the_lattice_and_the_guide_of_their_level() -> None:
    image = noise(64, 64)
    guide = np.random.default_rng(0).normal(size=(64, 64, 3)).astype(np.float32)
    keys = build_keys(image, OPEN, Lattice(np.array([[0.02, 0.0]]), 0.03, 0.4), 4, 0.15, guide)
    np.testing.assert_allclose(keys.waves, [[0.08, 0.0]])
    assert keys.tolerance == 0.03
    np.testing.assert_array_equal(keys.guide, guide[: 64 - BLOCK + 1, : 64 - BLOCK + 1])


def test_a_flat_exemplar_has_keys() -> None:
    keys = keys_of(np.full((64, 72, 4), 0.3, np.float32))
    assert bool(np.isfinite(keys.tokens).all())
    assert np.isfinite(keys.spacing)
    assert keys.spacing > 0


def test_a_large_exemplar_of_odd_size_that_wraps_is_covered_by_whole_strides() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2051, 2055, 1)).astype(np.float32)
    keys = keys_of(image)
    assert keys.stride == 2
    assert keys.tokens.shape[:2] == (keys.size[0] // 2, keys.size[1] // 2)
    assert keys.size[0] % 2 == keys.size[1] % 2 == 0, "the last place of a line would have no token"


@pytest.mark.parametrize("torus", [TORUS, OPEN])
def test_tokens_that_all_neighbours_continue_rest_and_the_others_attend_as_ever(torus: tuple[bool, bool]) -> None:
    keys = keys_of(noise(96, 96))
    positions = continuing(keys, 12, 12)
    positions[:, 7:] = (positions[:, 7:] + (24, 40)) % 96
    z = clean(keys, positions) + np.random.default_rng(0).normal(size=(12, 12, TOKEN_CHANNELS)).astype(np.float32)
    mean, chosen = run(keys, z, positions, 1.0, rest=True, torus=torus)
    all_mean, all_chosen = run(keys, z, positions, 1.0, torus=torus)
    rests = np.ones((12, 12), np.bool_)
    rests[:, 6:8] = False
    if torus == TORUS:  # 12 tokens are the exemplar's side: downwards the pieces are closed
        rests[:, [0, 11]] = False
    np.testing.assert_array_equal(chosen[rests], positions[rests])
    np.testing.assert_array_equal(mean[rests], clean(keys, positions)[rests])
    np.testing.assert_array_equal(chosen[~rests], all_chosen[~rests])
    np.testing.assert_array_equal(mean[~rests], all_mean[~rests])
