"""Herringbone: bands of slanted grain, which are found by its direction."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.bands import find_bands
from texsynth.lattice import find_lattice

SIDE = 256


def herringbone(bands: int, upright: bool = False, seed: int = 0) -> NDArray[np.float64]:
    """(256, 256, 1): bands of boards that lean to the right and to the left in turn, each of a tone of its own."""
    y, x = np.mgrid[:SIDE, :SIDE]
    band = y * bands // SIDE
    along = np.where(band % 2 == 0, x + y, x - y) % SIDE
    tones = np.random.default_rng(seed).normal(size=(bands, SIDE // 8 + 1))
    ends = np.sort(np.random.default_rng(seed + 1).integers(0, SIDE, (bands, SIDE // 8)), axis=1)  # of all widths
    board = np.concatenate([np.searchsorted(ends[b], along[band == b]) for b in range(bands)]).reshape(SIDE, SIDE)
    image = tones[band, board] + 0.1 * ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), 1)
    return np.asarray((image.T if upright else image)[:, :, None] / image.std())


@pytest.mark.parametrize("wraps", [(True, True), (False, False)])
@pytest.mark.parametrize("upright", [False, True])
def test_bands_are_found_by_the_direction_of_their_grain(upright: bool, wraps: tuple[bool, bool]) -> None:
    for seed in range(3):
        found = find_bands(herringbone(6, upright, seed), wraps)
        assert found is not None
        np.testing.assert_allclose(found[0], [[0, 3] if upright else [3, 0]], atol=0.15)
        assert 0.5 < found[1] <= 1


def test_they_are_the_lattice_of_herringbone_whose_boards_have_none() -> None:
    lattice = find_lattice(herringbone(6).astype(np.float32), (True, True))
    np.testing.assert_allclose(lattice.waves * SIDE, [[3, 0]])


@pytest.mark.parametrize("along", [(1, 1), (1, 8), (5, 5)])
def test_grain_that_runs_one_way_or_none_has_no_bands(along: tuple[float, float]) -> None:
    for seed in range(4):
        noise = ndimage.gaussian_filter(
            np.random.default_rng(seed).normal(size=(SIDE, SIDE, 2)), (*along, 0), mode="wrap"
        )
        assert find_bands(noise / noise.std(), (True, True)) is None


def test_what_is_flat_has_no_bands() -> None:
    assert find_bands(np.full((64, 64, 1), 0.5), (True, True)) is None
