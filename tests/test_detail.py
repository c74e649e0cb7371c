"""The detail band against a float64 reference, and what its three numbers must say about noise and structure."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipmap.chain import box_chain
from mipmap.detail import STEPS, Window, detail_band, entropy, measure, measure_detail, span_below, structure, whole

SIDE = 128


def to_linear(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def to_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def bilinear(coarser: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolation between texel centres at (i + 0.5)/n, nearest beyond the outermost ones."""
    if coarser.size == 0:
        return np.empty((height, width, 0))
    for axis, size in enumerate((height, width)):
        centres = (np.arange(coarser.shape[axis]) + 0.5) / coarser.shape[axis]
        wanted = (np.arange(size) + 0.5) / size
        coarser = np.apply_along_axis(lambda values, c=centres, w=wanted: np.interp(w, c, values), axis, coarser)
    return coarser


def reference(texels: np.ndarray, coarser: np.ndarray, filtering: str) -> np.ndarray:
    limit = np.iinfo(texels.dtype).max if texels.dtype.kind == "u" else None
    fine, coarse = (x.astype(np.float64) / (limit or 1) for x in (texels, coarser))
    alpha = bilinear(coarse[:, :, 3:], *texels.shape[:2])
    if filtering == "colour":
        light = to_linear(coarse[:, :, :3]) if limit else coarse[:, :, :3]
        shown = np.concatenate([to_srgb(bilinear(light, *texels.shape[:2])), alpha], axis=2)
        return (fine if limit else np.concatenate([to_srgb(fine[:, :, :3]), fine[:, :, 3:]], axis=2)) - shown
    shown = bilinear(coarse, *texels.shape[:2])
    if filtering == "normal":
        vectors = 2 * shown - 1
        shown = vectors / np.linalg.norm(vectors, axis=2, keepdims=True) / 2 + 0.5
    return fine - shown


def random_texels(seed: int, height: int, width: int, channels: int, dtype: Any) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.uniform(0, 4, (height, width, channels)).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype, endpoint=True)


def levels_of(texels: np.ndarray, filtering: Any = "scalar") -> list[np.ndarray]:
    levels: dict[int, list[np.ndarray]] = {}
    for level, _, rows in box_chain([texels], *texels.shape[:2], filtering):
        levels.setdefault(level, []).append(rows.copy())
    return [np.concatenate(levels[level]) for level in sorted(levels)]


def measured(texels: np.ndarray, filtering: Any = "scalar") -> Any:
    levels = levels_of(texels, filtering)
    return measure(whole(levels[0]), whole(levels[1]), filtering)


def white_noise(seed: int = 0) -> np.ndarray:
    return random_texels(seed, SIDE, SIDE, 1, np.uint8)


def chequers(side: int) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] // side
    return np.where((y + x) % 2, 220, 20).astype(np.uint8)[:, :, None]


def rings() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return np.round(128 + 100 * np.sin(np.hypot(y, x) / 2)).astype(np.uint8)[:, :, None]


def dots() -> np.ndarray:
    texels = np.zeros((SIDE, SIDE, 1), np.uint8)
    texels[4::9, 4::9] = 255
    return texels


@pytest.mark.parametrize(
    ("filtering", "channels", "dtype"),
    [
        ("colour", 3, np.uint8),
        ("colour", 4, np.uint16),
        ("colour", 4, np.float32),
        ("colour", 3, np.float16),
        ("normal", 3, np.uint8),
        ("scalar", 1, np.uint16),
        ("scalar", 2, np.float16),
    ],
)
@pytest.mark.parametrize("size", [(12, 20), (7, 9), (1, 5), (2, 1)])
def test_the_detail_is_what_bilinear_filtering_of_the_coarser_level_leaves(
    filtering: Any, channels: int, dtype: Any, size: tuple[int, int]
) -> None:
    fine = random_texels(1, *size, channels, dtype)
    coarse = random_texels(2, max(1, size[0] // 2), max(1, size[1] // 2), channels, dtype)
    made = detail_band(whole(fine), whole(coarse), filtering)
    assert np.abs(made - reference(fine, coarse, filtering)).max() < 5e-6


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_part_has_the_detail_that_it_has_in_the_whole_level(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(2, 40)), data.draw(st.integers(2, 40))
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(y + 1, height)), data.draw(st.integers(x + 1, width))
    fine = random_texels(3, height, width, 3, np.uint8)
    coarse = random_texels(4, height // 2, width // 2, 3, np.uint8)
    rows, columns = span_below(y, bottom, height, height // 2), span_below(x, right, width, width // 2)
    part = Window(fine[y:bottom, x:right], y, x, (height, width))
    below = Window(coarse[slice(*rows), slice(*columns)], rows[0], columns[0], (height // 2, width // 2))
    full = detail_band(whole(fine), whole(coarse), "colour")
    assert np.array_equal(detail_band(part, below, "colour"), full[y:bottom, x:right])


@pytest.mark.parametrize("filtering", ["colour", "scalar"])
@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_a_constant_has_no_detail(filtering: Any, code: int) -> None:
    detail = measured(np.full((SIDE, SIDE, 3), code, np.uint8), filtering)
    assert (detail.entropy, detail.structure) == (0, 0)
    assert detail.mean_square < 1e-12


def test_over_nothing_the_error_is_the_texture_itself() -> None:
    texels = white_noise()
    over_nothing = measure(whole(texels), None, "scalar").mean_square
    assert over_nothing == pytest.approx(np.mean((texels / 255.0) ** 2), rel=1e-6)


def test_white_replaced_by_black_is_an_error_of_one() -> None:
    white, black = np.full((8, 8, 3), 255, np.uint8), np.zeros((4, 4, 3), np.uint8)
    assert measure(whole(white), whole(black), "colour").mean_square == pytest.approx(1)


def test_a_shortened_normal_between_two_texels_is_no_error_of_its_own() -> None:
    """A shader makes the filtered vector a unit vector, so between two bent normals the flat one is shown whole."""
    bent = np.array([[[0.5 + 0.3, 0.5, 0.9], [0.5 - 0.3, 0.5, 0.9]]], np.float32)
    middle = np.full((1, 4, 3), (0.5, 0.5, 1.0), np.float32)
    shown = middle - detail_band(whole(middle), whole(bent), "normal")
    assert np.allclose(np.linalg.norm(2 * shown - 1, axis=2), 1, atol=1e-6)


@pytest.mark.parametrize("bits", [0, 1, 3, 8])
def test_the_entropy_of_equally_frequent_values_is_the_logarithm_of_their_number(bits: int) -> None:
    steps = (np.arange(SIDE * SIDE) % 2**bits).astype(np.int16).reshape(SIDE, SIDE, 1) - 2**bits // 2
    assert entropy(steps) == pytest.approx(bits, abs=1e-12)


def test_the_entropy_of_several_channels_is_their_mean() -> None:
    a, b = (np.random.default_rng(seed).integers(-9, 9 * seed, (32, 32, 1)).astype(np.int16) for seed in (1, 2))
    assert entropy(np.concatenate([a, b], axis=2)) == pytest.approx((entropy(a) + entropy(b)) / 2)


@pytest.mark.parametrize("pattern", [chequers(8), rings(), dots()], ids=["chequers", "rings", "dots"])
def test_shuffled_texels_keep_the_entropy_and_lose_the_structure(pattern: np.ndarray) -> None:
    levels = levels_of(pattern)
    ordered = detail_band(whole(levels[0]), whole(levels[1]), "scalar")
    shuffled = np.random.default_rng(0).permutation(ordered.reshape(-1)).reshape(ordered.shape)
    before, after = measure_detail(ordered), measure_detail(shuffled)
    assert after.entropy == before.entropy
    assert before.structure > 0.25
    assert after.structure < 0.02


def test_white_noise_has_more_entropy_and_less_structure_than_edges() -> None:
    noise, edges = measured(white_noise()), measured(chequers(8))
    assert noise.entropy > 2 * edges.entropy
    assert noise.structure < 0.03
    assert edges.structure > 0.25


@pytest.mark.parametrize("axis", [0, 1])
def test_structure_is_found_in_rows_as_in_columns(axis: int) -> None:
    noise = np.random.default_rng(5).integers(-100, 100, SIDE)
    steps = np.repeat(np.expand_dims(noise, axis), SIDE, axis)[:, :, None].astype(np.int16)
    assert structure(steps) == pytest.approx(1)


@pytest.mark.parametrize("size", [(1, 300), (3, 5), (12, 12), (24, 24), (4, 256), (SIDE, SIDE)])
def test_noise_has_no_structure_in_parts_of_any_size(size: tuple[int, int]) -> None:
    found = [structure(np.random.default_rng(seed).integers(-40, 40, (*size, 3)).astype(np.int16)) for seed in range(8)]
    assert np.mean(found) < 0.03


def test_detail_beyond_the_displayable_range_counts_as_its_end() -> None:
    steps_of = [measure_detail(np.array([[[0.0], [value]]], np.float32)).entropy for value in (1.0, 50.0)]
    assert steps_of == [1, 1]
    assert entropy(np.full((2, 2, 1), STEPS, np.int16)) == 0


@pytest.mark.parametrize(
    ("part", "coarser", "filtering", "message"),
    [
        (whole(np.zeros((4, 4), np.uint8)), None, "scalar", "height, width, channels"),
        (whole(np.zeros((4, 4, 3), np.float64)), None, "scalar", "float64"),
        (whole(np.zeros((4, 4, 2), np.uint8)), None, "normal", "2 channels"),
        (Window(np.zeros((4, 4, 1), np.uint8), 5, 0, (8, 8)), None, "scalar", "do not fit"),
        (whole(np.zeros((4, 4, 1), np.uint8)), whole(np.zeros((2, 2, 3), np.uint8)), "scalar", "coarser level 3"),
        (
            whole(np.zeros((4, 4, 1), np.uint8)),
            Window(np.zeros((1, 2, 1), np.uint8), 0, 0, (2, 2)),
            "scalar",
            "rows 0..0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(part: Window, coarser: Window | None, filtering: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(part, coarser, filtering)
