"""Bands of grain: long lines of an exemplar stay long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.exemplar import Exemplar, build_exemplar
from texsynth.expand import expand
from texsynth.grain_bands import TOLERANCE, WIDTHS, boards_of, grain_bands
from texsynth.joints import joints_of
from texsynth.layout import plan_frame, sample_layout
from texsynth.material import MapKind
from texsynth.presets import PRESETS
from texsynth.run import Run

Floats = NDArray[np.float32]
SIDE = 256
OPEN, TORUS = (False, False), (True, True)


def wood(seed: int = 0, *, upright: bool = False) -> Exemplar:
    """Lines along x (or y) that change slowly along their way."""
    random = np.random.default_rng(seed)
    lines = ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), (1.5, 60), mode="wrap")
    speckles = ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), (0.8, 2), mode="wrap")
    image = 0.5 + 0.1 * lines / lines.std() + 0.02 * speckles / speckles.std()
    image = image.T if upright else image
    return build_exemplar(image[:, :, None].repeat(3, axis=2).clip(0, 1).astype(np.float32), (MapKind.ALBEDO,))


def test_what_has_no_long_lines_has_no_bands() -> None:
    noise = np.random.default_rng(1).random((SIDE, SIDE, 1)).repeat(3, axis=2).astype(np.float32)
    assert grain_bands(build_exemplar(noise, (MapKind.ALBEDO,)), (512, 512), OPEN, 0) is None


def boards(*, upright: bool = False) -> Exemplar:
    """Eight boards across, each of a tone of its own, with a dark joint; the edge cuts none in its joint."""
    image = np.kron(np.random.default_rng(6).normal(0.5, 0.02, 8), np.ones(SIDE // 8))[:, None]
    image = image + 0.15 * (wood(7).stack[:, :, 0] - 0.5)
    image[np.arange(SIDE) % 32 < 3] = 0.1
    image = np.roll(image, 12, axis=0)
    image = image.T if upright else image
    return build_exemplar(image[:, :, None].repeat(3, axis=2).clip(0, 1).astype(np.float32), (MapKind.ALBEDO,))


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("length", "period"), [(1024, 32.0), (1000, 1000 / 31)])
def test_every_board_is_a_band_in_another_order(upright: bool, length: int, period: float) -> None:
    exemplar = boards(upright=upright)
    assert len(exemplar.lattice.waves) == 1
    axis = 1 if upright else 0
    found = grain_bands(exemplar, (length, length), TORUS, 5)
    assert found is not None
    assert SIDE * found.own.waves[0, axis] == pytest.approx(1)
    assert SIDE * found.lattice.waves[0, axis] == pytest.approx(32 / period)
    along = np.moveaxis(found.shift[:, :, axis], axis, 0)
    assert (along == along[:, :1]).all()
    rows = (np.arange(len(along)) * 8 - along[:, 0]) * 32 / period  # of the exemplar
    board, within = np.divmod(rows - 12, 32)
    assert len(set(board % 8)) == 8, "all are used"
    assert (np.diff(board)[np.diff(within) > 0] == 0).all(), "each is whole"
    assert board[-1] % 8 == board[0] % 8, "the edge of a result that tiles cuts none in two"
    assert (np.diff(board)[np.diff(within) < 0] % 8 != 1).mean() > 0.5, "and most follow another"


WIDTHS_OF_BOARDS = [52, 37, 46, 33, 47, 41]


def floor(*, upright: bool = False) -> Exemplar:
    """Boards of WIDTHS_OF_BOARDS, each row of three lengths, of many tones, with dark joints."""
    random, image = np.random.default_rng(8), np.zeros((SIDE, SIDE))
    for first, width in zip(np.cumsum([0, *WIDTHS_OF_BOARDS[:-1]]), WIDTHS_OF_BOARDS, strict=True):
        ends = np.sort(random.choice(16, 3, replace=False)) * 16
        tones = random.normal(0.6, 0.06, 3)[np.searchsorted(ends, np.arange(SIDE), "right") % 3]
        image[first : first + width] = tones
        image[first : first + width, ends] = image[first : first + width, ends - 1] = 0.15
        image[first : first + 2] = 0.15
    image = np.roll(image + 0.1 * (wood(7).stack[:, :, 0] - 0.5), 20, axis=0)
    image = image.T if upright else image
    return build_exemplar(image[:, :, None].repeat(3, axis=2).clip(0, 1).astype(np.float32), (MapKind.ALBEDO,))


@pytest.mark.parametrize("upright", [False, True])
def test_joints_are_found_however_far_apart_they_lie(upright: bool) -> None:
    exemplar = floor(upright=upright)
    axis = 1 if upright else 0
    found = joints_of(np.moveaxis(exemplar.weighted, axis, 0), wraps=True)
    there = np.cumsum([0, *WIDTHS_OF_BOARDS[:-1]]) + 20 + 1  # the middle of two rows
    np.testing.assert_allclose(found, there, atol=2)
    plain = wood(upright=upright)
    assert boards_of(plain, plain.lattice) is None


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("torus", [OPEN, TORUS])
def test_uneven_boards_are_laid_whole(upright: bool, torus: tuple[bool, bool]) -> None:
    exemplar = floor(upright=upright)
    axis = 1 if upright else 0
    found = grain_bands(exemplar, (768, 768), torus, 3)
    assert found is not None
    assert len(found.lattice.waves) == 2
    scale = float(found.lattice.waves[0, axis]) * SIDE
    assert scale == pytest.approx(1, abs=0.03)
    shift = found.shift if axis == 0 else found.shift.transpose(1, 0, 2)
    assert (shift[:, :, axis] == shift[:, :1, axis]).all()
    rows = (np.arange(96) * 8 - shift[:, 0, axis]) * scale
    lines = np.moveaxis(exemplar.stack[:, :, 0], axis, 0)
    begins = [0, *np.flatnonzero(np.abs(np.diff(rows) - 8 * scale) > 1) + 1]
    assert len(begins) > 9
    for first in begins:
        if first:
            assert lines[near(rows[first])].mean(axis=1).min() < 0.3, "each begins at its joint"
        columns = np.arange(96) * 8 - shift[first, :, 1 - axis]
        line = lines[int(rows[first] + 12) % SIDE]
        for cut in columns[1:][np.abs((np.diff(columns) - 8 + SIDE / 2) % SIDE - SIDE / 2) > 1]:
            assert line[near(cut)].min() < 0.3, "and at its end"


def test_bands_follow_a_surface() -> None:
    shift = np.zeros((96, 96, 2), np.float32)
    shift[:, 48:, 0] = 64  # as on a chart that lies lower
    found = grain_bands(floor(), (768, 768), OPEN, 3, shift)
    assert found is not None
    assert len(found.lattice.waves) == 1
    np.testing.assert_allclose(found.shift[8:, 48:, 0] - 64, found.shift[:-8, :48, 0], atol=1e-3)


def near(place: float) -> NDArray[np.intp]:
    """As far as a token is wide."""
    return np.arange(int(place) - 9, int(place) + 3) % SIDE


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("wraps", [False, True])
def test_bands_show_rows_that_follow_each_other_and_are_in_the_exemplar(upright: bool, wraps: bool) -> None:
    exemplar = replace(wood(2, upright=upright), wraps=(wraps, wraps))
    found = grain_bands(exemplar, (1024, 768), OPEN, 5)
    assert found is not None
    axis, shift = 1 if upright else 0, found.shift
    for lattice in (found.own, found.lattice):
        np.testing.assert_allclose(lattice.waves, np.eye(2)[[axis]] / SIDE)
    assert shift.shape == (128, 96, 2)
    assert (shift[:, :, 1 - axis] == 0).all()
    along = np.moveaxis(shift[:, :, axis], axis, 0)
    assert (along == along[:, :1]).all(), "a band goes all along"
    rows = np.arange(len(along)) * 8 - along[:, 0]
    edges = np.flatnonzero(np.diff(rows) != 8) + 1
    widths = np.diff(np.r_[0, edges, len(rows)]) * 8
    assert (widths >= WIDTHS[0] * SIDE - 8).all()
    assert len(set(rows[np.r_[0, edges]])) > len(edges) / 2, "they begin in many places"
    if not wraps:
        assert rows.min() >= 0
        assert rows.max() + 8 <= SIDE


@pytest.mark.parametrize("torus", [OPEN, TORUS])
def test_a_line_goes_on_where_pieces_meet(torus: tuple[bool, bool], tmp_path: Path) -> None:
    exemplar, run, size = wood(3), Run(), (320, 320)
    straight = share_along(exemplar.stack)
    shares = []
    for free in (False, True):
        frame = plan_frame(exemplar, size, torus, 4, free=free)
        layout = sample_layout(exemplar, frame, None, PRESETS["draft"], run)
        work = tmp_path / str(free)
        work.mkdir()
        positions, _ = expand(exemplar, frame, None, layout, None, PRESETS["draft"], work, run, lambda p, scale: None)
        rows = (positions[:, :, 0, None, None] + np.arange(8)[:, None]) % SIDE
        columns = (positions[:, :, 1, None, None] + np.arange(8)) % SIDE
        made = exemplar.stack[rows, columns].transpose(0, 2, 1, 3, 4).reshape(*size, -1)
        shares.append(share_along(made))
        if free:
            off = (positions[:, :, 0] + frame.shift[:, :, 0] - np.arange(40)[:, None] * 8) / SIDE
            assert np.abs(off - np.round(off)).mean() < 2 * TOLERANCE
    assert shares[1] > 0.6 * straight
    assert shares[1] > 1.5 * shares[0]


def share_along(image: Floats) -> float:
    """Of the energy, that in the means of the rows."""
    return float(image.mean(axis=1).var(axis=0).sum() / image.var(axis=(0, 1)).sum())
