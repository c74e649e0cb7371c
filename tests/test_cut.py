"""Cuts run where pieces look alike, and every texel comes from where its label says."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from texsynth.cut import OWN, REACH, SPAN, Labels, block_sources, cut_overlaps
from texsynth.gather_cut import FEATHER, Cuts, gather_cut
from texsynth.model.latent import BLOCK

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Doubles = NDArray[np.float64]
OPEN, TORUS = (False, False), (True, True)
EDGES = st.tuples(st.booleans(), st.booleans())
SWEEPS = {8: 12, 4: 8, 2: 6, 1: 6}


def piece(rows: int, columns: int, start: tuple[int, int]) -> Ints:
    yy, xx = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.stack([start[0] + BLOCK * yy, start[1] + BLOCK * xx], -1).astype(np.int32)


def two_pieces(rows: int, columns: int, apart: tuple[int, int]) -> Ints:
    """Left and right half from two places of the exemplar that lie `apart`."""
    right = np.arange(columns) >= columns // 2
    return np.where(right[None, :, None], piece(rows, columns, apart), piece(rows, columns, (0, 0))).astype(np.int32)


def random_positions(size: tuple[int, int], rows: int, columns: int, wraps: tuple[bool, bool], seed: int) -> Ints:
    rng = np.random.default_rng(seed)
    tops = [n if wrap else n - BLOCK + 1 for n, wrap in zip(size, wraps, strict=True)]
    return np.stack([rng.integers(0, top, (rows, columns)) for top in tops], -1).astype(np.int32)


def cut(*arguments: Any, radius: float = 1e6, **how: Any) -> Labels:
    """`cut_overlaps` of pieces that may be as large as they like."""
    return cut_overlaps(*arguments, radius=radius, **how)


def sources(labels: Labels, positions: Ints) -> Ints:
    """Exemplar texel (y, x) of every texel, texel by texel as the label's definition says; not wrapped, not clamped."""
    grid = positions.shape[:2]
    out = np.empty((*labels.shape, 2), np.int32)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = int(labels[y, x])
            i, j = y // BLOCK + label // SPAN - REACH, x // BLOCK + label % SPAN - REACH
            out[y, x] = positions[i % grid[0], j % grid[1]] + (y - BLOCK * i, x - BLOCK * j)
    return out


def seam_cost(image: Floats, placed: Ints, wraps: tuple[bool, bool] = TORUS) -> float:
    """|A(p) - B(p)|^2 + |A(q) - B(q)|^2 over all neighbouring texels p, q of different pieces A, B (no torus)."""
    size = np.array(image.shape[:2])

    def texels(at: Ints) -> Floats:
        at = np.where(wraps, at % size, at.clip(0, size - 1))
        return image[at[..., 0], at[..., 1]]

    total = 0.0
    for step, here, there in (
        ((1, 0), placed[:-1], placed[1:]),
        ((0, 1), placed[:, :-1], placed[:, 1:]),
    ):
        one = texels(here) - texels(there - np.array(step))
        two = texels(here + np.array(step)) - texels(there)
        total += float((one.astype(float) ** 2).sum() + (two.astype(float) ** 2).sum())
    return total


def bricks(side: int = 128, seed: int = 0) -> Floats:
    """float32 (side, side, 3): blotchy tiles of 32 texels, between them mortar of 4 texels without any contrast."""
    rng = np.random.default_rng(seed)
    image = rng.random((side, side, 3), dtype=np.float32)
    mortar = np.arange(side) % 32 < 4
    image[mortar] = image[:, mortar] = 0.5
    return image


def test_one_rigid_piece_is_not_cut() -> None:
    labels = cut(bricks(), piece(8, 9, (16, 24)), TORUS, OPEN, SWEEPS, 0)
    assert labels.shape == (64, 72)
    assert labels.dtype == np.uint8
    assert bool((labels == OWN).all())


def test_the_cut_finds_the_joint_to_the_texel() -> None:
    image = bricks()
    # the pieces meet in the middle of a tile; the joint lies 12 texels to the right of it
    positions = two_pieces(16, 16, (0, 32)) - np.array([0, 44], np.int32)
    before = seam_cost(image, sources(np.full((128, 128), OWN, np.uint8), positions))
    labels = cut(image, positions, TORUS, OPEN, {8: 64, 4: 16, 2: 8, 1: 8}, 0)
    assert seam_cost(image, sources(labels, positions)) < 1e-3 * before


def test_a_cut_runs_in_rough_mortar_rather_than_through_tiles_of_two_tones() -> None:
    rng = np.random.default_rng(0)
    image = np.full((128, 128, 3), 0.5, np.float32)
    image[:, 64:] += 0.145  # where the right piece comes from, no more than two texels' grain
    image += 0.1 * rng.normal(size=image.shape).astype(np.float32)
    mortar = np.arange(128) % 32 < 8
    image[:, mortar] = 0.5 + 0.13 * rng.normal(size=(128, int(mortar.sum()), 3)).astype(np.float32)
    # the pieces meet in the middle of a tile; the joint begins 12 texels to the right of it
    positions = two_pieces(12, 16, (0, 64)) - np.array([0, 52], np.int32)
    placed = sources(cut(image, positions, TORUS, OPEN, {8: 64, 4: 16, 2: 8, 1: 8}, 0), positions)
    broken = np.diff(placed[..., 1], axis=1) != 1
    assert mortar[placed[:, :-1, 1][broken] % 128].mean() > 0.8


@pytest.mark.parametrize("torus", [OPEN, TORUS])
@pytest.mark.parametrize("seed", range(3))
def test_a_cut_costs_less_than_the_join_of_the_blocks(torus: tuple[bool, bool], seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.cumsum(rng.normal(size=(96, 96, 2)), axis=1).astype(np.float32)
    positions = random_positions((96, 96), 8, 8, TORUS, seed)
    positions = np.repeat(np.repeat(positions[::4, ::4], 4, axis=0), 4, axis=1) + piece(8, 8, (0, 0))
    labels = cut(image, positions, TORUS, torus, SWEEPS, seed)
    own = sources(np.full(labels.shape, OWN, np.uint8), positions)
    assert seam_cost(image, sources(labels, positions)) < 0.9 * seam_cost(image, own)


def test_cuts_stay_out_of_blocks_that_are_not_wanted() -> None:
    image = np.random.default_rng(0).random((96, 96, 3), dtype=np.float32)
    positions = random_positions((96, 96), 10, 10, TORUS, 0)
    wanted = np.ones((10, 10), np.bool_)
    wanted[3:6, 2:9] = False
    labels = cut(image, positions, TORUS, TORUS, SWEEPS, 0, wanted=wanted)
    texels = np.repeat(np.repeat(wanted, BLOCK, 0), BLOCK, 1)
    assert bool((labels[~texels] == OWN).all())
    assert bool((labels[texels] != OWN).any())


def test_a_piece_gives_way_where_it_reaches_beyond_its_radius() -> None:
    image = np.full((128, 128, 3), 0.5, np.float32)
    image += 0.01 * np.random.default_rng(0).random(image.shape, dtype=np.float32)  # a cut costs little anywhere
    positions = np.where(
        np.arange(24)[None, :, None] < 18, piece(8, 24, (0, 0)), piece(8, 24, (40, 24))
    ).astype(np.int32)  # fmt: skip

    def long(labels: Labels) -> float:
        apart = sources(labels, positions) - np.stack(np.meshgrid(np.arange(64), np.arange(192), indexing="ij"), -1)
        return float((apart == 0).all(axis=2).sum(axis=1).mean()) / BLOCK

    assert 17 < long(cut(image, positions, TORUS, OPEN, SWEEPS, 0)) < 21
    assert long(cut(image, positions, TORUS, OPEN, SWEEPS, 0, radius=7)) < 16.5


def test_texels_come_from_inside_an_exemplar_that_does_not_wrap() -> None:
    image = np.random.default_rng(0).random((64, 80, 3), dtype=np.float32)
    positions = random_positions((64, 80), 9, 7, OPEN, 0)
    placed = sources(cut(image, positions, OPEN, OPEN, SWEEPS, 0), positions)
    assert int(placed.min()) >= 0
    assert bool((placed.max(axis=(0, 1)) < (64, 80)).all())


def test_cuts_depend_on_the_seed_and_not_on_the_number_of_threads() -> None:
    image = np.random.default_rng(0).random((96, 96, 3), dtype=np.float32)
    positions = random_positions((96, 96), 9, 12, TORUS, 0)
    first, other = (cut(image, positions, TORUS, TORUS, SWEEPS, seed) for seed in (0, 1))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = cut(image, positions, TORUS, TORUS, SWEEPS, 0)
    finally:
        numba.set_num_threads(threads)
    assert first.tobytes() == alone.tobytes()
    assert first.tobytes() != other.tobytes()


def test_progress_rises() -> None:
    heard: list[float] = []
    cut(bricks(), two_pieces(8, 8, (0, 32)), TORUS, OPEN, SWEEPS, 0, step=heard.append)
    assert heard == sorted(heard)
    assert 0 <= heard[0] < 0.1
    assert 0.9 < heard[-1] <= 1


# Texels


def reference(
    stack: Floats, labels: Labels, positions: Ints, wraps: tuple[bool, bool], torus: tuple[bool, bool]
) -> Doubles:
    """Each texel as the binomial mean of what its neighbours' pieces have there, in float64, texel by texel."""
    size, (rows, columns) = stack.shape[:2], positions.shape[:2]
    out = np.zeros((*labels.shape, stack.shape[2]))
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            total = 0.0
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    ny, nx = y + dy, x + dx
                    if not ((torus[0] or 0 <= ny < labels.shape[0]) and (torus[1] or 0 <= nx < labels.shape[1])):
                        continue
                    label = int(labels[ny % labels.shape[0], nx % labels.shape[1]])
                    i, j = ny // BLOCK + label // SPAN - REACH, nx // BLOCK + label % SPAN - REACH
                    place = positions[i % rows, j % columns] + (y - BLOCK * i, x - BLOCK * j)
                    at = [
                        int(p) % n if w else min(max(int(p), 0), n - 1)
                        for p, n, w in zip(place, size, wraps, strict=True)
                    ]
                    weight = float(FEATHER[dy + 1] * FEATHER[dx + 1])
                    out[y, x] += weight * stack[at[0], at[1]].astype(float)
                    total += weight
            out[y, x] /= total
    return out


def some_labels(rows: int, columns: int, torus: tuple[bool, bool], seed: int) -> Labels:
    """Labels as a cut leaves them: mostly whole blocks, of blocks that are there."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(-2, 3, (rows, columns, 2))
    labels = np.repeat(np.repeat(blocks, BLOCK, 0), BLOCK, 1)
    labels[rng.random(labels.shape[:2]) < 0.5] = 0
    for axis, side in enumerate((rows, columns)):
        if not torus[axis]:
            own = np.arange(side * BLOCK) // BLOCK
            own = own[:, None] if axis == 0 else own[None, :]
            labels[..., axis] = np.clip(own + labels[..., axis], 0, side - 1) - own
    return np.asarray((labels[..., 0] + REACH) * SPAN + labels[..., 1] + REACH, np.uint8)


@settings(max_examples=12, deadline=None)
@given(EDGES, EDGES, st.integers(1, 4), st.integers(1, 4), st.tuples(st.integers(0, 9), st.integers(0, 9)),
       st.integers(0, 999))  # fmt: skip
def test_every_texel_is_fetched_where_its_label_says_and_fades_at_cuts(
    wraps: tuple[bool, bool], torus: tuple[bool, bool], rows: int, columns: int, roll: tuple[int, int], seed: int
) -> None:
    stack = np.random.default_rng(seed).random((24, 29, 2), dtype=np.float32)
    positions = random_positions((24, 29), rows, columns, wraps, seed)
    labels = some_labels(rows, columns, torus, seed)
    roll = roll if torus == TORUS else (0, 0)
    cuts = Cuts.of(labels, positions, (24, 29), wraps, torus, roll)
    out = gather_cut(
        stack, cuts, (0, rows * BLOCK), wraps=wraps, torus=torus, normal=-1, offsets=None, levelled=()
    )  # fmt: skip
    expected = np.roll(reference(stack, labels, positions, wraps, torus), (-roll[0], -roll[1]), (0, 1))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_inside_a_piece_texels_are_the_exemplars_to_the_bit_in_any_bands() -> None:
    stack = np.random.default_rng(0).random((96, 96, 4), dtype=np.float32)
    positions = two_pieces(8, 8, (8, 40))
    labels = cut(stack, positions, TORUS, OPEN, SWEEPS, 0)
    cuts = Cuts.of(labels, positions, (96, 96), TORUS, OPEN, (0, 0))
    shared = {"wraps": TORUS, "torus": OPEN, "normal": -1, "offsets": None, "levelled": ()}
    whole = gather_cut(stack, cuts, (0, 64), **shared)  # type: ignore[arg-type]
    bands = [gather_cut(stack, cuts, rows, **shared) for rows in ((0, 13), (13, 40), (40, 64))]  # type: ignore[arg-type]
    assert np.concatenate(bands).tobytes() == whole.tobytes()
    placed = sources(labels, positions) % 96
    move = placed - np.stack(np.meshgrid(np.arange(64), np.arange(64), indexing="ij"), -1)
    inside = np.ones((64, 64), np.bool_)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            inside &= (np.roll(move, (dy, dx), (0, 1)) % 96 == move % 96).all(axis=2)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    assert float(inside.mean()) > 0.5
    np.testing.assert_array_equal(whole[inside], stack[placed[..., 0], placed[..., 1]][inside])


def test_normals_that_fade_into_each_other_keep_their_length() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(64, 64, 3)) * (1, 1, 0.3) + (0, 0, 1)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    stack = np.concatenate([rng.random((64, 64, 1)), vectors / 2 + 0.5], axis=2).astype(np.float32)
    positions = random_positions((64, 64), 6, 6, TORUS, 1)
    cuts = Cuts.of(some_labels(6, 6, TORUS, 1), positions, (64, 64), TORUS, TORUS, (0, 0))
    out = gather_cut(stack, cuts, (0, 48), wraps=TORUS, torus=TORUS, normal=1, offsets=None, levelled=())
    np.testing.assert_allclose(np.linalg.norm(out[:, :, 1:] * 2 - 1, axis=2), 1, atol=1e-3)


def test_offsets_move_the_channels_that_are_levelled_and_run_smoothly_inside_a_piece() -> None:
    stack = np.full((64, 64, 2), 0.5, np.float32)
    positions = piece(6, 6, (0, 0))
    offsets = np.linspace(-0.1, 0.1, 6, dtype=np.float32)[None, :, None].repeat(6, 0)
    cuts = Cuts.of(np.full((48, 48), OWN, np.uint8), positions, (64, 64), TORUS, OPEN, (0, 0))
    out = gather_cut(stack, cuts, (0, 48), wraps=TORUS, torus=OPEN, normal=-1, offsets=offsets, levelled=(1,))
    np.testing.assert_array_equal(out[:, :, 0], stack[:48, :48, 0])
    line = out[20, :, 1] - 0.5
    np.testing.assert_allclose(
        line, np.interp(np.arange(48) + 0.5, np.arange(6) * 8 + 4.0, offsets[0, :, 0]), atol=1e-6
    )


@pytest.mark.parametrize("roll", [(0, 0), (3, 5), (4, 4)])
def test_a_blocks_source_is_that_of_its_middle_texel(roll: tuple[int, int]) -> None:
    positions = random_positions((96, 96), 5, 6, TORUS, 3)
    labels = some_labels(5, 6, TORUS, 3)
    found, uniform = block_sources(labels, positions, roll)
    placed = np.roll(sources(labels, positions), (-roll[0], -roll[1]), (0, 1))
    np.testing.assert_array_equal(found % 96, (placed[4::8, 4::8] - 4) % 96)
    if roll == (0, 0):
        blocks = labels.reshape(5, 8, 6, 8).transpose(0, 2, 1, 3).reshape(5, 6, 64)
        np.testing.assert_array_equal(uniform, (blocks == blocks[..., :1]).all(axis=2))
