"""The nearest of points in a texture that repeats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from texsynth.surface.nearest import Nearest


@pytest.mark.parametrize(("size", "count"), [(2, 3), (8, 5), (64, 1), (128, 200)])
def test_a_place_finds_its_nearest_point_also_over_the_edge(size: int, count: int) -> None:
    draw = np.random.default_rng(size)
    points = (draw.random((count, 2)) * 3 - 1) * size  # some of other tiles
    places = np.floor(draw.random((300, 2)) * size) + 0.5
    distance, number = Nearest(points, size).query(places)
    wanted, _ = cKDTree(np.mod(points, size), boxsize=size).query(places)
    np.testing.assert_allclose(distance, wanted)
    apart = np.abs(np.mod(points, size)[number] - places)
    np.testing.assert_allclose(np.linalg.norm(np.minimum(apart, size - apart), axis=1), wanted)


def test_none_is_found_further_away_than_asked_for() -> None:
    distance, number = Nearest(np.array([[10.0, 10.0]]), 128).query(np.array([[14.5, 10.5], [60.5, 10.5]]), within=5)
    assert distance[0] == pytest.approx(np.hypot(4.5, 0.5))
    assert list(number) == [0, 1]
    assert np.isinf(distance[1])
