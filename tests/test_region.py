"""The region that may change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from texsynth.region import SOFT_BORDER, Region


@pytest.fixture
def region() -> Region:
    y, x = np.mgrid[0:1024, 0:1024]
    inside = ((y - 500) ** 2 + (x - 300) ** 2 < 250**2) | (x > 900)
    inside[::97, ::53] = False
    return Region(inside)


@pytest.mark.parametrize("band", [1, 37, 256])
def test_weights_are_the_same_for_any_division_into_bands(region: Region, band: int) -> None:
    whole = region.weights(0, 1024)
    bands = [region.weights(y, min(y + band, 1024)) for y in range(0, 1024, band)]
    assert np.array_equal(np.concatenate(bands), whole)


def test_weights_rise_with_the_distance_from_the_outside(region: Region) -> None:
    depth = cv2.distanceTransform(region.inside.astype(np.uint8), cv2.DIST_L2, 5)
    assert np.array_equal(region.weights(0, 1024), np.clip(depth / np.float32(1024 * SOFT_BORDER), 0, 1))


def test_weights_are_positive_exactly_inside(region: Region) -> None:
    assert np.array_equal(region.weights(100, 700) > 0, region.inside[100:700])


def test_a_region_without_an_outside_has_weight_one_everywhere() -> None:
    assert (Region(np.ones((64, 64), np.bool_)).weights(16, 48) == 1).all()
