"""Kaiser and Lanczos chains against dense float64 matrices, and what a filter must keep."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mipmap.filters
from mipmap.chain import level_sizes
from mipmap.filters import sinc_chain, sinc_taps

WINDOWS = st.sampled_from(["kaiser", "lanczos3"])
WRAPS = st.sampled_from(["repeat", "clamp"])


def filter_matrix(size: int, window: str, wrap: str) -> np.ndarray:
    """(max(1, size // 2), size) float64 from the formula, one tap at a time."""
    out = max(1, size // 2)
    matrix = np.zeros((out, size))
    if size == 1:
        return np.ones((1, 1))
    for i in range(out):
        centre = (i + 0.5) * size / out
        for j in range(-4 * size - 20, 5 * size + 20):
            u = (j + 0.5 - centre) * out / size
            if abs(u) < 3:
                v = u / 3
                shape = np.sinc(v) if window == "lanczos3" else np.i0(4 * np.sqrt(1 - v * v)) / np.i0(4)
                matrix[i, j % size if wrap == "repeat" else min(max(j, 0), size - 1)] += np.sinc(u) * shape
    return matrix / matrix.sum(axis=1, keepdims=True)


def reference(values: np.ndarray, window: str, wrap: str) -> list[np.ndarray]:
    levels = [values.astype(np.float64)]
    while levels[-1].shape[:2] != (1, 1):
        rows, columns = (filter_matrix(side, window, wrap) for side in levels[-1].shape[:2])
        levels.append(np.einsum("ai,bj,ijc->abc", rows, columns, levels[-1]))
    return levels


def whole_levels(values: np.ndarray, window: Any, wrap: Any, band_rows: int = 64) -> list[np.ndarray]:
    levels: dict[int, list[np.ndarray]] = {}
    read = lambda y0, y1: values[y0:y1]  # noqa: E731
    for level, first_row, rows in sinc_chain(read, *values.shape, window, wrap, band_rows=band_rows):
        parts = levels.setdefault(level, [])
        assert first_row == sum(part.shape[0] for part in parts)
        parts.append(rows.copy())
    return [np.concatenate(levels[level]) for level in range(len(level_sizes(*values.shape[:2])))]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 37), st.integers(1, 37), WINDOWS, WRAPS)
def test_every_level_is_what_the_dense_matrices_give(height: int, width: int, window: str, wrap: str) -> None:
    values = np.random.default_rng(height * 40 + width).random((height, width, 2), np.float32)
    got, want = whole_levels(values, window, wrap), reference(values, window, wrap)
    assert [level.shape for level in got] == [level.shape for level in want]
    for level, exact in zip(got, want, strict=True):
        assert np.abs(level - exact).max() < 2e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 40), WINDOWS, WRAPS, st.integers(1, 70), st.integers(1, 400))
def test_streaming_in_bands_gives_the_same_as_whole_levels(
    height: int, width: int, window: str, wrap: str, band_rows: int, kept: int
) -> None:
    values = np.random.default_rng(height).random((height, width, 1), np.float32)
    at_once = whole_levels(values, window, wrap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mipmap.filters, "WHOLE_LEVEL_VALUES", kept)
        streamed = whole_levels(values, window, wrap, band_rows)
    for level, same in zip(streamed, at_once, strict=True):
        assert (level == same).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), WINDOWS, WRAPS, st.floats(0, 2.0**100, width=32))
def test_a_constant_stays_itself_to_the_bit(height: int, width: int, window: str, wrap: str, value: float) -> None:
    for level in whole_levels(np.full((height, width, 3), value, np.float32), window, wrap):
        assert (level == np.float32(value)).all()


@pytest.mark.parametrize("window", ["kaiser", "lanczos3"])
def test_a_repeating_map_of_even_sides_keeps_its_mean(window: str) -> None:
    light = np.random.default_rng(1).lognormal(0, 3, (32, 64, 3)).astype(np.float32)
    for level in whole_levels(light, window, "repeat")[:6]:
        assert level.astype(np.float64).mean(axis=(0, 1)) == pytest.approx(
            light.astype(np.float64).mean((0, 1)), rel=1e-5
        )


@pytest.mark.parametrize("window", ["kaiser", "lanczos3"])
def test_shifting_a_repeating_map_by_two_texels_shifts_its_first_level_by_one(window: str) -> None:
    values = np.random.default_rng(2).random((16, 24, 1), np.float32)
    shifted = whole_levels(np.roll(values, (2, 4), (0, 1)), window, "repeat")[1]
    assert (shifted == np.roll(whole_levels(values, window, "repeat")[1], (1, 2), (0, 1))).all()


@pytest.mark.parametrize("window", ["kaiser", "lanczos3"])
def test_a_clamped_map_does_not_see_its_other_end(window: str) -> None:
    values = np.zeros((64, 64, 1), np.float32)
    values[:, 32:] = 1
    first = whole_levels(values, window, "clamp")[1]
    assert (first[:, :8] == 0).all()
    assert (whole_levels(values, window, "repeat")[1][:, 0] != 0).all()


def test_what_the_finer_level_cannot_show_is_kept_better_than_by_the_box() -> None:
    """A wave of 8 texels a period, well within what level 1 can show."""
    wave = np.sin(2 * np.pi * (np.arange(64) + 0.5) / 8, dtype=np.float64).astype(np.float32)[None, :, None]
    wave = np.repeat(wave, 8, axis=0)
    box = np.abs(wave.reshape(8, 32, 2).mean(axis=2)).max()
    for window in ("kaiser", "lanczos3"):
        assert np.abs(whole_levels(wave, window, "repeat")[1]).max() > box + 0.03


@pytest.mark.parametrize(("window", "wrap"), [("box", "clamp"), ("kaiser", "mirror")])
def test_unknown_filters_and_wraps_are_refused(window: Any, wrap: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        sinc_taps(8, window, wrap)
