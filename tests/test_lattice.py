"""The lattice of regular exemplars: synthetic tiles, bricks, skewed plates and planks of known periods."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from texsynth.exemplar import prepare_exemplar
from texsynth.lattice import NO_LATTICE, Lattice, find_lattice
from texsynth.material import MapKind
from texsynth.train.procedural import generate

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
OPEN, TORUS = (False, False), (True, True)


def tiled(size: tuple[int, int], periods: ArrayLike, seed: int = 0, shade: float = 0.05, joint: float = 2.0) -> Floats:
    """float32 (H, W, 1): parallelogram tiles between the translations `periods` (rows y, x), each of a shade of its
    own,
    with dark joints of 2 x `joint` texels and grain, of unit deviation."""
    rng = np.random.default_rng(seed)
    inverse = np.linalg.inv(np.array(periods, float))
    phases = np.stack(np.mgrid[0 : size[0], 0 : size[1]] + 0.5, -1) @ inverse
    inside = phases - np.floor(phases)
    shades = rng.normal(0, shade, (64, 64))
    tile = np.floor(phases).astype(int) % 64
    image = 0.6 + shades[tile[..., 0], tile[..., 1]]
    across = np.minimum(inside, 1 - inside) / np.linalg.norm(inverse, axis=0)
    image = np.where(across.min(axis=2) < joint, 0.2, image)
    image += 0.1 * ndimage.gaussian_filter(rng.normal(size=size), 1)
    return np.asarray(image[:, :, None] / image.std(), np.float32)


def planks(length: int, period: float, seed: int = 0) -> Floats:
    """float32 (256, L, 1): rows of `period` texels with dark joints, each with a run of colour of its own along it."""
    rng = np.random.default_rng(seed)
    y = np.arange(256) + 0.5
    row, inside = np.floor(y / period).astype(int), y / period - np.floor(y / period)
    along = ndimage.gaussian_filter1d(rng.normal(size=(64, length)), 12, axis=1) * 0.3
    image = 0.6 + along[row] + rng.normal(0, 0.06, 64)[row][:, None] + rng.normal(0, 0.03, (256, length))
    image = np.where((np.minimum(inside, 1 - inside) * period < 2)[:, None], 0.2, image)
    return np.asarray(image[:, :, None] / image.std(), np.float32)


def assert_periods(lattice: Lattice, periods: ArrayLike, within: float = 0.01) -> None:
    """The lattice is the one that `periods` span: they have whole phases, and its cell is as large as theirs."""
    assert lattice.waves.shape == (2, 2)
    assert 0 < lattice.strength <= 1
    phases = lattice.waves @ np.array(periods, float).T
    np.testing.assert_allclose(phases, np.round(phases), atol=within, rtol=within)
    assert abs(np.linalg.det(np.round(phases))) == pytest.approx(1), "the found cell is not a multiple or part"
    assert abs(np.linalg.det(phases)) == pytest.approx(1, abs=2 * within)


GRIDS = {
    "square": [[20, 0], [0, 20]],
    "axis-aligned": [[32, 0], [0, 64]],
    "of broken texels": [[25.6, 0], [0, 40.3]],
    "running bond": [[24, 32], [0, 64]],
    "third bond": [[30.5, 20.3], [0, 61]],
    "skewed": [[40, 10], [-12, 36]],
    "slightly turned": [[48, 7], [5, 60]],
}


@pytest.mark.parametrize("size", [(256, 256), (192, 320)])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_periods_of_a_grid_are_found_to_one_percent(grid: str, size: tuple[int, int]) -> None:
    assert_periods(find_lattice(tiled(size, GRIDS[grid]), OPEN), GRIDS[grid])


@settings(max_examples=16, deadline=None, derandomize=True)
@given(st.floats(17, 52), st.floats(17, 52), st.floats(0, 1), st.booleans(), st.integers(0, 99))
def test_any_periods_and_any_offset_of_the_rows_give_translations_that_the_grid_has(
    row: float, length: float, offset: float, upright: bool, seed: int
) -> None:
    """The found lattice is the grid's or, where its points are too uneven, a coarser one of whole grid periods."""
    periods = np.array([[row, offset * length], [0, length]])
    if upright:
        periods = periods[:, ::-1]
    waves = find_lattice(tiled((256, 256), periods, seed), OPEN).waves
    assert len(waves) == 2
    steps = np.linalg.inv(waves).T @ np.linalg.inv(periods)
    assert np.abs(steps - np.round(steps)).max() < 0.1


@pytest.mark.parametrize("periods", [[[32, 0], [0, 64]], [[32, 32], [0, 64]], [[128 / 3, 0], [0, 256 / 5]]])
def test_in_a_tiling_exemplar_whole_numbers_of_periods_fit_exactly(periods: list[list[float]]) -> None:
    lattice = find_lattice(tiled((256, 256), periods), TORUS)
    assert_periods(lattice, periods, 1e-6)
    turns = lattice.waves * 256
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_lattice_of_tiling_bricks_closes_on_them(seed: int) -> None:
    """Seed 0's courses shift by a third: a triple of its cell has alike lattice points too, but does not close."""
    exemplar = prepare_exemplar(generate("brick", 1024, seed), (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS))
    assert exemplar.wraps == TORUS
    turns = exemplar.lattice.waves * 1024
    assert len(turns) > 0
    assert turns == pytest.approx(np.round(turns))


def test_in_an_exemplar_above_the_search_size_periods_are_in_its_own_texels() -> None:
    periods = [[48, 20], [0, 40]]
    assert_periods(find_lattice(tiled((1040, 320), periods), OPEN), periods, 0.02)


@pytest.mark.parametrize("period", [16, 23.7, 40, 51])
@pytest.mark.parametrize("upright", [False, True])
def test_rows_without_a_rhythm_along_them_have_one_period(period: float, upright: bool) -> None:
    image = planks(256, period)
    lattice = find_lattice(image.swapaxes(0, 1) if upright else image, OPEN)
    assert lattice.waves.shape == (1, 2)
    assert lattice.waves[0, int(not upright)] == 0
    assert 1 / abs(lattice.waves[0, int(upright)]) == pytest.approx(period, rel=0.01)


@pytest.mark.parametrize("wraps", [OPEN, TORUS])
@pytest.mark.parametrize("grain", [0.5, 1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_noise_of_any_grain_has_no_lattice(grain: float, wraps: tuple[bool, bool], seed: int) -> None:
    white = np.random.default_rng(seed).normal(size=(256, 256, 2))
    image = ndimage.gaussian_filter(white, (grain, grain, 0), mode="wrap")
    assert len(find_lattice(np.asarray(image / image.std(), np.float32), wraps).waves) == 0


@pytest.mark.parametrize("wraps", [OPEN, TORUS])
def test_a_flat_exemplar_has_no_lattice(wraps: tuple[bool, bool]) -> None:
    assert len(find_lattice(np.zeros((96, 80, 3), np.float32), wraps).waves) == 0


@pytest.mark.parametrize("kind", ["gravel", "sand", "rock", "grass", "marble"])
def test_irregular_materials_have_no_lattice(kind: str) -> None:
    exemplar = prepare_exemplar(generate(kind, 256, 1), (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS))
    assert len(exemplar.lattice.waves) == 0


@pytest.mark.parametrize("kind", ["brick", "floor_tile", "diamond_plate", "roof_tile", "knit"])
@pytest.mark.parametrize("seed", [0, 3])
def test_moving_a_regular_material_by_its_lattice_leaves_its_joints_where_they_are(kind: str, seed: int) -> None:
    material = generate(kind, 384, seed)
    exemplar = prepare_exemplar(material, (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS))
    waves = exemplar.lattice.waves
    assert len(waves) > 0
    image = np.zeros((384, 384))
    for kind_of_map in (MapKind.HEIGHT, MapKind.ALBEDO):  # joints are deep, stripes of a knit coloured
        values = material.maps[kind_of_map].encoded()[:, :, 0].astype(np.float64)
        image += (values - ndimage.gaussian_filter(values, 24, mode="wrap")) / values.std()
    image = ndimage.gaussian_filter(image, 1.5, mode="wrap")

    def likeness(lag: Doubles) -> float:
        moved = ndimage.shift(image, lag, order=1, mode="grid-wrap")
        return float(np.corrcoef(image.ravel(), moved.ravel())[0, 1])

    periods = np.linalg.pinv(waves).T  # rows: the translations of one whole phase
    along = [likeness(period) for period in periods]
    between = [likeness(period / 2) for period in periods]
    assert min(along) > 0.3
    assert min(along) > max(between)


# The lattice of a result that tiles


# cycles a texel; those of found lattices are whole numbers of them over some thousand texels
CYCLES = st.floats(-0.05, 0.05).map(lambda cycles: round(cycles, 5))
WAVE = st.tuples(CYCLES, CYCLES)


@settings(max_examples=50)
@given(
    st.lists(WAVE, max_size=2),
    st.sampled_from([64, 256, 1024, 8192]),
    st.sampled_from([64, 512, 4096]),
    st.sampled_from([(True, True), (True, False), (False, True)]),
)
def test_a_fitted_lattice_closes_where_the_result_tiles_and_stays_as_it_is_elsewhere(
    waves: list[tuple[float, float]], height: int, width: int, torus: tuple[bool, bool]
) -> None:
    lattice = Lattice(np.array(waves, float).reshape(-1, 2), 0.03, 0.5)
    own, fitted = lattice.fitted((height, width), torus)
    assert len(own.waves) == len(fitted.waves)
    if len(fitted.waves) == 0:
        return
    assert own is lattice
    assert (fitted.tolerance, fitted.strength) == (lattice.tolerance, lattice.strength)
    turns = fitted.waves * np.array([height, width])
    for axis in range(2):
        if torus[axis]:
            np.testing.assert_allclose(turns[:, axis], np.round(turns[:, axis]), atol=1e-9)
        else:
            np.testing.assert_array_equal(fitted.waves[:, axis], lattice.waves[:, axis])


# Herringbone, and two bonds of bricks, over sides that they do not divide.
@pytest.mark.parametrize(
    "turns", [[[-64 / 3, 32 / 3], [32 / 3, 0.0]], [[16.0, 16.0], [16 / 3, -16 / 3]], [[-16, 33.6], [16, -11.2]]]
)
def test_a_fitted_lattice_neither_slants_nor_turns(turns: list[list[float]]) -> None:
    waves = np.array(turns) / 1024
    change = np.linalg.solve(waves, Lattice(waves, 0.02, 0.5).fitted((1024, 1024), (True, True))[1].waves)
    np.testing.assert_allclose(change[[0, 1], [1, 0]], 0, atol=1e-9)
    np.testing.assert_allclose(np.diag(change), 1, atol=0.07)


def test_a_result_smaller_than_a_period_is_fitted_to_no_lattice() -> None:
    lattice = Lattice(np.array([[0.2, 0.0], [0.0, 0.4]]) / 64, 0.02, 0.5)
    assert all(len(each.waves) == 0 for each in lattice.fitted((64, 64), (True, True)))


def test_no_lattice_is_fitted_to_no_lattice() -> None:
    assert NO_LATTICE.fitted((256, 256), (True, True)) == (NO_LATTICE, NO_LATTICE)


@pytest.mark.parametrize("periods", [(128 / 3, 32.0), (32.0, 128 / 3)])
def test_the_cell_of_tiles_of_many_tones_is_one_tile(periods: tuple[float, float]) -> None:
    rows, columns = (np.floor(np.arange(1024) / period).astype(int) for period in periods)
    tones = np.random.default_rng(3).normal(0.5, 0.05, (rows.max() + 1, columns.max() + 1))
    joints = [np.minimum(np.arange(1024) % period, -np.arange(1024) % period) < 1.5 for period in periods]
    image = tones[rows][:, columns] - 0.4 * (joints[0][:, None] | joints[1])
    found = find_lattice(image[:, :, None].astype(np.float32), (True, True))
    cell = 1 / abs(np.linalg.det(found.waves))
    assert cell == pytest.approx(periods[0] * periods[1], rel=0.01)


@pytest.mark.parametrize("depth", [0.12, 0.17, 0.25])
@pytest.mark.parametrize("upright", [False, True])
def test_tiles_whose_joints_of_one_direction_are_faint_keep_their_length(depth: float, upright: bool) -> None:
    rng = np.random.default_rng(0)
    long, short = np.arange(512) % (512 / 5), np.arange(512) % (512 / 10)
    image = 0.7 - np.maximum(depth * (long < 4)[:, None], 0.5 * (short < 4)[None, :])
    image += 0.03 * ndimage.gaussian_filter(rng.normal(size=(512, 512)), 1)
    image = image if upright else image.T
    lattice = find_lattice(np.asarray(image[:, :, None] / image.std(), np.float32), TORUS)
    periods = np.diag([512 / 5, 512 / 10])
    assert_periods(lattice, periods if upright else periods[::-1, ::-1])


def test_a_weave_whose_threads_differ_over_many_of_its_cells_closes_on_an_exemplar_of_whole_cells() -> None:
    rng = np.random.default_rng(0)
    cell = ndimage.gaussian_filter(rng.normal(size=(32, 32)), 2, mode="wrap")
    image = np.tile(cell / cell.std(), (32, 32))
    places = np.stack(np.mgrid[0:1024, 0:1024], -1) // 8  # a second pattern, of 21 cells
    phases = places @ np.linalg.inv(np.array([[8, 12], [20, -12]]))
    number = np.round((phases - np.floor(phases + 1e-6)) * 1000).astype(int)
    image += 0.35 * rng.normal(size=(1001, 1001))[number[..., 0], number[..., 1]]
    lattice = find_lattice(np.asarray(image[:, :, None] / image.std(), np.float32), (False, True))
    assert_periods(lattice, [[32, 0], [0, 32]])


def slabs(joints: tuple[list[int], list[int]], seed: int = 0) -> Floats:
    """float32 (256, 256, 1): grained slabs, each of a shade of its own, with dark joints at these rows and columns."""
    rng = np.random.default_rng(seed)
    image = 0.6 + 0.05 * ndimage.gaussian_filter(rng.normal(size=(256, 256)), 1, mode="wrap")
    y, x = (np.searchsorted(np.array(places), np.arange(256)) for places in joints)
    image += rng.normal(0, 0.01, (8, 8))[y][:, x]
    for at in joints[0]:
        image[at - 2 : at + 2] = 0.2
    for at in joints[1]:
        image[:, at - 2 : at + 2] = 0.2
    return np.asarray(image[:, :, None] / image.std(), np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_two_slabs_a_side_of_a_tiling_exemplar_have_periods_of_half_its_sides(seed: int) -> None:
    lattice = find_lattice(slabs(([60, 188], [100, 228]), seed), TORUS)
    np.testing.assert_allclose(np.sort(np.abs(lattice.waves), axis=0), [[0, 0], [2 / 256, 2 / 256]])


def test_two_courses_in_a_tiling_exemplar_have_a_period_of_half_its_height() -> None:
    np.testing.assert_allclose(find_lattice(slabs(([60, 188], [])), TORUS).waves, [[2 / 256, 0]])


def panel(seed: int = 0) -> Floats:
    """float32 (256, 256, 1): a dark frame and, inside, grooves of several widths and depths, with grain."""
    rng = np.random.default_rng(seed)
    image = 0.7 + 0.05 * ndimage.gaussian_filter(rng.normal(size=(256, 256)), 1, mode="wrap")
    for first, last, shade in ((40, 44, 0.5), (110, 118, 0.4), (150, 153, 0.55), (205, 210, 0.45), (0, 14, 0.1)):
        image[first:last] = image[:, first + 3 : last + 3] = shade
    return np.asarray(image[:, :, None] / image.std(), np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_a_tiling_exemplar_that_is_one_framed_panel_repeats_by_its_own_sides(seed: int) -> None:
    np.testing.assert_allclose(find_lattice(panel(seed), TORUS).waves, np.eye(2) / 256)


def test_grain_along_one_side_does_not_make_a_panel() -> None:
    rng = np.random.default_rng(1)
    grain = ndimage.gaussian_filter(rng.normal(size=256), 2, mode="wrap")
    image = grain[:, None] + 0.5 * ndimage.gaussian_filter(rng.normal(size=(256, 256)), 1, mode="wrap")
    assert len(find_lattice(np.asarray(image[:, :, None] / image.std(), np.float32), TORUS).waves) == 0


@pytest.mark.parametrize("seed", range(3))
def test_halves_that_are_copies_of_each_other_are_no_two_courses(seed: int) -> None:
    half = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(128, 256)), (1.5, 8), mode="wrap")
    image = np.concatenate([half, np.roll(half, 128, axis=1)])
    assert len(find_lattice((image / image.std())[:, :, None].astype(np.float32), TORUS).waves) == 0


def courses(offsets: ArrayLike, loose: float, seed: int) -> Floats:
    """float32 (400, 400, 1): courses of 25 texels between strong joints, in each of them bricks of 50 between faint
    ones, moved by one of `offsets` and by normal deviations of `loose` texels, as a hand lays them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:400, 0:400]
    course = y // 25
    at = (x + (np.array(offsets)[np.arange(16) % len(np.array(offsets))] + rng.normal(0, loose, 16))[course]) % 400
    image = 0.6 + rng.normal(0, 0.15, (16, 8))[course, (at // 50).astype(int)] + 0.05 * rng.normal(size=(400, 400))
    image = np.where(at % 50 < 4, image - 0.35, image)
    image = np.where(y % 25 < 5, 0.1, image)
    return np.asarray(image[:, :, None] / image.std(), np.float32)


@pytest.mark.parametrize("bond", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_the_lattice_of_hand_laid_courses_moves_each_onto_another(seed: int, bond: bool) -> None:
    offsets = [0, 25] if bond else np.random.default_rng([seed, 1]).integers(0, 50, 16)
    lattice = find_lattice(courses(offsets, 3, seed), TORUS)
    periods = np.linalg.pinv(lattice.waves).T
    moves = periods @ (np.array([[1 / 25, 0], [-1 / 50, 1 / 50]]).T if bond else np.array([[1 / 25], [0]]))
    np.testing.assert_allclose(moves[:, :1], np.round(moves[:, :1]), atol=0.02)
    if bond and len(periods) == 2:
        np.testing.assert_allclose(moves, np.round(moves), atol=0.1)
