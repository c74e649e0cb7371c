"""Chains of charted maps: charts stay apart, nothing thins out, and inside a chart the filter is the filter."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipmap.chain import box_taps, level_sizes, mean_chain
from mipmap.charts import chart_chain
from mipmap.filters import sinc_chain, sinc_taps

FILTERS = st.sampled_from(["box", "kaiser", "lanczos3"])


def whole_levels(
    values: np.ndarray, charts: np.ndarray, chart_filter: Any, band_rows: int = 64
) -> list[tuple[np.ndarray, np.ndarray]]:
    levels: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    chain = chart_chain(
        lambda y0, y1: values[y0:y1],
        lambda y0, y1: charts[y0:y1],
        *values.shape,
        chart_filter,
        band_rows=band_rows,
    )
    for level, first_row, rows, ids in chain:
        parts = levels.setdefault(level, [])
        assert first_row == sum(part[0].shape[0] for part in parts)
        parts.append((rows.copy(), ids.copy()))
    return [
        (np.concatenate([part[0] for part in levels[k]]), np.concatenate([part[1] for part in levels[k]]))
        for k in range(len(level_sizes(*values.shape[:2])))
    ]


def dense(size: int, chart_filter: Any) -> np.ndarray:
    """(max(1, size // 2), size) weights; those of the filters are checked in test_filters."""
    out = max(1, size // 2)
    matrix = np.zeros((out, size))
    if chart_filter == "box":
        start, weights = 2 * np.arange(out), box_taps(size)
    else:
        taps = sinc_taps(size, chart_filter, "clamp")
        start, weights = taps.start, taps.weights
    for i in range(out):
        for t, weight in enumerate(weights[i]):
            if weight:
                matrix[i, start[i] + t] += weight
    return matrix


def reference_step(values: np.ndarray, charts: np.ndarray, chart_filter: str) -> tuple[np.ndarray, np.ndarray]:
    (wy, wx), (by, bx) = ([dense(side, name) for side in charts.shape] for name in (chart_filter, "box"))
    result = np.zeros((len(wy), len(wx), values.shape[2]))
    owner = np.zeros((len(wy), len(wx)), int)
    for i in range(len(wy)):
        for x in range(len(wx)):
            area, weight = np.outer(by[i], bx[x]), np.outer(wy[i], wx[x])
            shares = {int(c): round(area[charts == c].sum(), 12) for c in np.unique(charts) if c}
            best = max(shares.values(), default=0)
            own = min((c for c, share in shares.items() if share == best), default=0) if best > 0 else 0
            mask = charts == own
            mean = np.tensordot(area * mask, values, 2) / (area * mask).sum()
            result[i, x] = np.tensordot(weight * mask, values, 2) + (1 - (weight * mask).sum()) * mean
            owner[i, x] = own
    return result, owner


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 13), st.integers(1, 13), FILTERS, st.integers(1, 4), st.integers(0, 99))
def test_every_level_is_what_the_formula_gives(
    height: int, width: int, chart_filter: str, numbers: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = random.random((height, width, 2), np.float32)
    charts = random.integers(0, numbers, (height, width))
    got = whole_levels(values, charts, chart_filter)
    want = (values.astype(np.float64), charts)
    for rows, ids in got:
        assert (ids == want[1]).all()
        assert np.abs(rows - want[0]).max() < 1e-5
        want = reference_step(*want, chart_filter)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), FILTERS, st.integers(0, 99))
def test_no_texel_takes_anything_from_another_chart(height: int, width: int, chart_filter: str, seed: int) -> None:
    """Each chart is a constant of its own: every texel of every level must be the constant of its chart, to the bit."""
    random = np.random.default_rng(seed)
    charts = np.kron(random.integers(0, 4, (height // 2 + 1, width // 2 + 1)), np.ones((2, 2), int))[:height, :width]
    constants = random.random(4).astype(np.float32)
    for rows, ids in whole_levels(constants[charts][..., None], charts, chart_filter):
        assert (rows[..., 0] == constants[ids]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["kaiser", "lanczos3"]))
def test_a_map_of_one_chart_is_filtered_as_without_charts(height: int, width: int, window: Any) -> None:
    values = np.random.default_rng(height).random((height, width, 1), np.float32)
    levels = whole_levels(values, np.ones((height, width), np.uint8), window)
    plain: dict[int, list[np.ndarray]] = {}
    for level, _, rows in sinc_chain(lambda y0, y1: values[y0:y1], height, width, 1, window, "clamp"):
        plain.setdefault(level, []).append(rows.copy())
    for k, (rows, _) in enumerate(levels):
        assert np.abs(rows - np.concatenate(plain[k])).max() < 1e-6


def test_a_map_of_one_chart_with_the_box_is_the_box_chain() -> None:
    values = np.random.default_rng(3).random((21, 18, 2), np.float32)
    levels = whole_levels(values, np.ones((21, 18), np.uint8), "box")
    for level, _, _, mean in mean_chain([values], 21, 18, "scalar"):
        if mean is not None:
            assert np.abs(levels[level][0] - mean).max() < 1e-6


def test_a_chart_of_one_texel_is_still_there_on_the_last_level() -> None:
    charts = np.zeros((32, 32), np.uint16)
    charts[13, 7] = 9
    values = np.where(charts == 9, np.float32(0.25), np.float32(1))[..., None]
    for rows, ids in whole_levels(values, charts, "kaiser"):
        assert (ids == 9).sum() == 1
        assert (rows[ids == 9] == 0.25).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), FILTERS, st.integers(1, 9))
def test_the_cut_into_bands_changes_nothing(height: int, width: int, chart_filter: str, band_rows: int) -> None:
    random = np.random.default_rng(height)
    values, charts = random.random((height, width, 1), np.float32), random.integers(0, 3, (height, width))
    for cut, whole in zip(
        whole_levels(values, charts, chart_filter, band_rows), whole_levels(values, charts, chart_filter), strict=True
    ):
        assert (cut[0] == whole[0]).all()
        assert (cut[1] == whole[1]).all()


@pytest.mark.parametrize(
    "charts", [np.zeros((4, 5), int), np.full((4, 4), -1), np.zeros((4, 4)), np.full((4, 4), 2**31)]
)
def test_wrong_chart_maps_are_refused(charts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="they must be"):
        whole_levels(np.zeros((4, 4, 1), np.float32), charts, "box")
