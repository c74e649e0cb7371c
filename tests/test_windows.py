"""Windows over a large plane: their shares sum to one, and what they see goes on beyond the edges."""

from __future__ import annotations

import numpy as np
import pytest

from texsynth.model.windows import folded, windows

SHAPES = [(5, 7), (16, 16), (40, 23)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("torus", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("texels", [1, 8])
def test_windows_that_change_nothing_give_the_plane_back(
    shape: tuple[int, int], torus: tuple[bool, bool], texels: int
) -> None:
    plane = np.random.default_rng(0).random((shape[0] * texels, shape[1] * texels, 2), np.float32)
    made = np.zeros_like(plane)
    for window in windows(shape, torus, step=9, margin=3, multiple=8):
        window.add(made, window.take(plane, texels), texels)
    assert np.allclose(made, plane, atol=1e-5)


def test_what_windows_see_is_bounded_and_a_multiple() -> None:
    for window in windows((100, 37), (True, False), step=9, margin=3, multiple=8):
        seen = window.take(np.zeros((100, 37, 1), np.float32), 1)
        assert seen.shape[0] <= 16 and seen.shape[1] <= 16
        assert seen.shape[0] % 8 == 0 and seen.shape[1] % 8 == 0


def test_beyond_an_edge_the_axis_goes_on_or_is_mirrored() -> None:
    assert folded(np.arange(-2, 6), 4, True).tolist() == [2, 3, 0, 1, 2, 3, 0, 1]
    assert folded(np.arange(-2, 6), 4, False).tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
