"""Gathering texels by blocks: exact where blocks continue each other, a convex cross-fade where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from texsynth import levelling
from texsynth.cut import OWN
from texsynth.gather import fade, gather
from texsynth.levelling import MOST
from texsynth.model.latent import BLOCK

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Doubles = NDArray[np.float64]
OPEN, TORUS = (False, False), (True, True)
EDGES = st.tuples(st.booleans(), st.booleans())


def stack_of(height: int, width: int, channels: int = 4, seed: int = 0) -> Floats:
    """float32 (H, W, K) of noise, 0..1."""
    return np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)


def piece(rows: int, columns: int, start: tuple[int, int]) -> Ints:
    yy, xx = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.stack([start[0] + BLOCK * yy, start[1] + BLOCK * xx], -1).astype(np.int32)


def anywhere(stack: Floats, rows: int, columns: int, wraps: tuple[bool, bool], seed: int) -> Ints:
    rng = np.random.default_rng(seed)
    tops = [n if wrap else n - BLOCK + 1 for n, wrap in zip(stack.shape[:2], wraps, strict=True)]
    return np.stack([rng.integers(0, top, (rows, columns)) for top in tops], -1).astype(np.int32)


def gather_all(stack: Floats, positions: Ints, **how: object) -> Floats:
    arguments = {"wraps": TORUS, "torus": TORUS} | how
    return gather(stack, positions, (0, positions.shape[0] * BLOCK), **arguments)  # type: ignore[arg-type]


def reference(
    stack: Floats, positions: Ints, wraps: tuple[bool, bool], torus: tuple[bool, bool], overlap: int
) -> Doubles:
    """Each texel as the weighted mean of the blocks that reach it, in float64, texel by texel."""
    ramp = fade(overlap).astype(np.float64)
    size, grid = stack.shape[:2], positions.shape[:2]
    out = np.zeros((grid[0] * BLOCK, grid[1] * BLOCK, stack.shape[2]))
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            lines = []
            for axis, at in enumerate((y, x)):
                block, inside = divmod(at, BLOCK)
                step = -1 if inside < BLOCK // 2 else 1
                other = block + step
                if torus[axis]:
                    other %= grid[axis]
                if 0 <= other < grid[axis]:
                    weight = ramp[inside]
                    lines.append([(block, inside, weight), (other, inside - step * BLOCK, 1 - weight)])
                else:
                    lines.append([(block, inside, 1.0)])
            for by, iy, wy in lines[0]:
                for bx, ix, wx in lines[1]:
                    place = [int(positions[by, bx, 0]) + iy, int(positions[by, bx, 1]) + ix]
                    for a in range(2):
                        place[a] = place[a] % size[a] if wraps[a] else min(max(place[a], 0), size[a] - 1)
                    out[y, x] += wy * wx * stack[place[0], place[1]]
    return out


@settings(max_examples=10, deadline=None)
@given(EDGES, EDGES, st.integers(0, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 999))
def test_every_texel_is_the_cross_fade_of_the_blocks_that_reach_it(
    wraps: tuple[bool, bool], torus: tuple[bool, bool], overlap: int, rows: int, columns: int, seed: int
) -> None:
    stack = stack_of(24, 29, 2, seed)
    positions = anywhere(stack, rows, columns, wraps, seed)
    out = gather_all(stack, positions, wraps=wraps, torus=torus, overlap=overlap)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, reference(stack, positions, wraps, torus, overlap), atol=2e-6)


@pytest.mark.parametrize("overlap", range(5))
def test_one_rigid_piece_is_the_exemplar_to_the_bit(overlap: int) -> None:
    stack = stack_of(96, 80)
    out = gather_all(stack, piece(8, 7, (11, 5)), wraps=OPEN, torus=OPEN, overlap=overlap)
    assert out.tobytes() == np.ascontiguousarray(stack[11 : 11 + 64, 5 : 5 + 56]).tobytes()


def test_a_piece_across_the_exemplars_edge_that_wraps_is_exact_too() -> None:
    stack = stack_of(64, 48)
    positions = piece(8, 6, (40, 33)) % np.array([64, 48], np.int32)
    assert gather_all(stack, positions).tobytes() == np.roll(stack, (-40, -33), (0, 1)).tobytes()


def test_a_piece_is_exact_up_to_its_join_with_another() -> None:
    stack = stack_of(96, 96)
    positions = piece(6, 6, (8, 8))
    positions[:, 3:] = piece(6, 3, (20, 60))
    out = gather_all(stack, positions, torus=OPEN, overlap=2)
    np.testing.assert_array_equal(out[:, : 3 * BLOCK - 2], stack[8:56, 8 : 8 + 3 * BLOCK - 2])
    np.testing.assert_array_equal(out[:, 3 * BLOCK + 2 :], stack[20:68, 62 : 62 + 3 * BLOCK - 2])
    fading = out[:, 3 * BLOCK - 2 : 3 * BLOCK + 2]
    assert bool((fading != stack[8:56, 8 + 3 * BLOCK - 2 : 8 + 3 * BLOCK + 2]).any(axis=(0, 2)).all())


def test_a_torus_fades_across_its_edge_and_an_open_result_does_not() -> None:
    stack = stack_of(64, 64)
    positions = piece(3, 3, (0, 0))
    tiled, cut = gather_all(stack, positions, wraps=OPEN, torus=TORUS), gather_all(stack, positions, torus=OPEN)
    np.testing.assert_array_equal(cut, stack[:24, :24])
    np.testing.assert_array_equal(tiled[2:-2, 2:-2], stack[2:22, 2:22])
    for edge in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]):
        assert bool((tiled[edge] != cut[edge]).any())


@settings(max_examples=20, deadline=None)
@given(EDGES, EDGES, st.integers(0, 4), st.integers(0, 999))
def test_the_weights_of_all_blocks_at_a_texel_sum_to_one(
    wraps: tuple[bool, bool], torus: tuple[bool, bool], overlap: int, seed: int
) -> None:
    flat = np.full((32, 40, 2), 0.7, np.float32)
    out = gather_all(flat, anywhere(flat, 4, 5, wraps, seed), wraps=wraps, torus=torus, overlap=overlap)
    np.testing.assert_allclose(out, 0.7, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(EDGES, EDGES, st.integers(0, 4), st.integers(0, 999))
def test_blends_stay_within_the_exemplars_range(
    wraps: tuple[bool, bool], torus: tuple[bool, bool], overlap: int, seed: int
) -> None:
    stack = stack_of(40, 32, 3, seed)
    out = gather_all(stack, anywhere(stack, 5, 4, wraps, seed), wraps=wraps, torus=torus, overlap=overlap)
    assert float((out - stack.max(axis=(0, 1))).max()) < 1e-6
    assert float((out - stack.min(axis=(0, 1))).min()) > -1e-6


@pytest.mark.parametrize("overlap", range(1, 5))
def test_the_fade_is_a_hann_window_that_both_sides_share(overlap: int) -> None:
    weights = fade(overlap).astype(np.float64)
    np.testing.assert_array_equal(weights, weights[::-1])
    assert bool((np.diff(weights[:4]) >= 0).all())
    np.testing.assert_allclose(weights[overlap:4], 1)
    # across the border the block's weight goes on as what its neighbour leaves it: one falling Hann flank
    flank = np.concatenate([weights[4:], 1 - weights[:4]])
    t = np.clip(0.5 + (np.arange(8) - 3.5) / (2 * overlap), 0, 1)
    np.testing.assert_allclose(flank, 0.5 + 0.5 * np.cos(np.pi * t), atol=1e-6)


def test_without_overlap_blocks_are_pasted() -> None:
    np.testing.assert_array_equal(fade(0), np.ones(BLOCK))


def test_blended_unit_normals_stay_unit_and_the_other_channels_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(64, 64, 3)) + (0, 0, 1.5)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    stack = np.concatenate([stack_of(64, 64, 2), normals * 0.5 + 0.5, stack_of(64, 64, 1)], 2, dtype=np.float32)
    positions = anywhere(stack, 6, 6, TORUS, 1)
    out, plain = gather_all(stack, positions, normal=2), gather_all(stack, positions)
    made = 2 * out[:, :, 2:5].astype(np.float64) - 1
    np.testing.assert_allclose(np.linalg.norm(made, axis=2), 1, atol=1e-5)
    assert float(np.linalg.norm(2 * plain[:, :, 2:5] - 1, axis=2).min()) < 0.8, "a plain blend is shorter"
    np.testing.assert_array_equal(np.delete(out, [2, 3, 4], 2), np.delete(plain, [2, 3, 4], 2))


def test_bands_in_any_order_are_the_whole_to_the_bit() -> None:
    stack = stack_of(64, 64)
    positions = anywhere(stack, 6, 5, TORUS, 3)
    offsets = np.random.default_rng(0).uniform(-0.1, 0.1, (6, 5, 2)).astype(np.float32)
    how = {"wraps": TORUS, "torus": TORUS, "normal": 1, "offsets": offsets, "levelled": (0, 2)}
    whole = gather(stack, positions, (0, 48), **how)  # type: ignore[arg-type]
    for bands in ([(0, 48)], [(40, 48), (0, 3), (3, 40)], [(y, y + 1) for y in range(48)]):
        parts = {band: gather(stack, positions, band, **how) for band in bands}  # type: ignore[arg-type]
        assert np.concatenate([parts[band] for band in sorted(parts)]).tobytes() == whole.tobytes()


# Levelling


def level(
    stack: Floats, positions: Ints, channels: tuple[int, ...], wraps: tuple[bool, bool], torus: tuple[bool, bool],
    labels: NDArray[np.uint8] | None = None,
) -> Floats:  # fmt: skip
    """Offsets of blocks that are cut nowhere, or as the labels say, but for their middles."""
    shape = positions.shape[0] * BLOCK, positions.shape[1] * BLOCK
    labels = np.full(shape, OWN, np.uint8) if labels is None else labels
    return levelling.level(stack, positions, labels, positions, channels, wraps, torus)


def two_tones() -> tuple[Floats, Ints]:
    """An exemplar whose right half is lighter by 0.08, and a result that jumps between the halves in its middle."""
    stack = np.full((64, 128, 1), 0.5, np.float32)
    stack[:, 64:] += 0.08
    positions = piece(16, 64, (0, 0)) % np.array([32, 32], np.int32)
    positions[:, 32:, 1] += 80
    return stack, positions


def test_levelling_leaves_a_rigid_piece_alone() -> None:
    stack = stack_of(80, 80, 3)
    offsets = level(stack, piece(8, 8, (3, 5)), (0, 2), OPEN, OPEN)
    assert offsets.shape == (8, 8, 2)
    assert not offsets.any()


def test_levelling_closes_a_step_in_tone_at_a_join_and_fades_away_from_it() -> None:
    stack, positions = two_tones()
    offsets = level(stack, positions, (0,), OPEN, OPEN)
    out = gather_all(stack, positions, torus=OPEN, offsets=offsets, levelled=(0,))[:, :, 0]
    plain = gather_all(stack, positions, torus=OPEN)[:, :, 0]
    across = out[:, 260] - out[:, 251]
    assert float(np.abs(plain[:, 260] - plain[:, 251]).mean()) == pytest.approx(0.08, abs=1e-4)
    assert float(np.abs(across).mean()) < 0.02
    size = np.abs(offsets[:, :, 0]).mean(axis=0)
    assert size[0] < 0.2 * size[31]
    assert size[63] < 0.2 * size[32]
    assert not offsets[:, 0].any(), "exact where no step is near"


def test_levelling_sees_no_step_where_the_cut_runs_in_what_both_pieces_share() -> None:
    rows, columns = 8, 16
    stack = np.full((64, 256, 1), 0.5, np.float32)
    stack[:, 112:] += 0.1  # two bricks
    stack[:, 56:60] = stack[:, 120:124] = 0.2  # and mortar at the same place of both
    positions = piece(rows, columns, (0, 0)) % np.array([64, 256], np.int32)
    positions[:, 8:, 1] += 64  # the second comes from the lighter brick, and continues the first one's grid
    straight = level(stack, positions, (0,), OPEN, OPEN)
    labels = np.full((rows * BLOCK, columns * BLOCK), OWN, np.uint8)
    labels[:, 58:64] = OWN + 1  # the cut moves into the mortar
    cut = level(stack, positions, (0,), OPEN, OPEN, labels)
    assert float(np.abs(straight).max()) > 0.02
    assert not cut.any()


def test_levelling_never_moves_a_texel_far_or_out_of_range() -> None:
    stack = stack_of(64, 64, 1, 5)
    positions = anywhere(stack, 12, 12, TORUS, 6)
    stack = np.asarray(stack > 0.5, np.float32)
    offsets = level(stack, positions, (0,), TORUS, TORUS)
    assert float(np.abs(offsets).max()) <= np.float32(MOST)
    out = gather_all(stack, positions, offsets=offsets, levelled=(0,))
    assert 0 <= float(out.min()) <= float(out.max()) <= 1


def test_levelling_gives_the_same_bytes_again() -> None:
    stack, positions = two_tones()
    first = level(stack, positions, (0,), TORUS, TORUS)
    assert all(level(stack, positions, (0,), TORUS, TORUS).tobytes() == first.tobytes() for _ in range(3))
