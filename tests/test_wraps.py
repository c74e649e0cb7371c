"""Whether an exemplar goes on across its edges: bricks that are whole, cut, jointed at the edge, framed, or none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.wraps import goes_on

Floats = NDArray[np.float32]
COURSE, BRICK = 32, 64  # texels
SHIFTS = np.array([[7, -4, 5, 0, -8], [0, 6, -3, 9, -5], [-6, 3, 0, -9, 4]], float) / 100


def wall(height: int, width: int, top: int = 0, left: int = 0) -> Floats:
    """float32 (H, W, 1): a running bond with joints of 4 texels, each brick of a tone of its own and of grain, cut from
    a wall of 256 x 512 texels that tiles, from `top`, `left` on."""
    y, x = np.mgrid[0:256, 0:512]
    row = y // COURSE
    along = x + row % 2 * BRICK // 2
    tone = SHIFTS[row % 3, (along % 512 // BRICK) % 5]
    joint = (y % COURSE < 4) | (along % BRICK < 4)
    grain = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=y.shape), 1, mode="wrap") * 0.3
    whole = np.where(joint, 0.15, 0.6 + tone) + 0.2 * grain
    return (np.roll(whole, (-top, -left), (0, 1))[:height, :width, None] / whole.std()).astype(np.float32)


def test_a_wall_that_tiles_goes_on_wherever_its_edge_lies() -> None:
    for top, left in ((0, 0), (2, 2), (4, 4), (15, 33)):
        assert goes_on(wall(256, 512, top, left)) == (True, True)


@pytest.mark.parametrize("lost", [8, 16, 24])
def test_bricks_that_are_cut_break_off_though_the_step_is_no_larger_than_at_a_joint(lost: int) -> None:
    cut = wall(256 - lost, 512, top=10)
    steps = np.abs(np.diff(cut, axis=0)).mean(axis=(1, 2))
    assert np.abs(cut[0] - cut[-1]).mean() < 1.15 * steps.max()
    assert goes_on(cut) == (False, True)
    assert goes_on(wall(256, 512 - 2 * lost, left=12)) == (True, False)


def test_a_step_larger_than_all_others_counts_less_than_bricks_that_go_on() -> None:
    """As after lossy compression, whose blocks end at the edge."""
    image = ndimage.gaussian_filter(wall(256, 512, 16, 40), (2, 2, 0), mode="wrap")
    uneven = np.zeros((256, 512, 1), np.float32)
    uneven[-1] = 0.8 * np.random.default_rng(1).normal(size=(512, 1))
    image += uneven
    steps = np.abs(np.diff(image[:-1], axis=0)).mean(axis=(1, 2))
    assert np.abs(image[0] - image[-1]).mean() > 1.15 * steps.max()
    assert goes_on(image) == (True, True)


def slabs(first: int = 0, last: int = 256) -> Floats:
    """float32 (last - first, 256, 1): of two courses of slabs that tile 256 rows, with soft joints on the edge, where
    it is a little deeper, and in the middle."""
    y = np.arange(256)
    rows = 0.6 - 0.4 * np.exp(-0.5 * ((y - 128) / 3) ** 2) - 0.4 * np.exp(-0.5 * ((y - 255) / 3) ** 2)
    rows[:3] -= 0.1
    image = rows[:, None] + 0.02 * ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), 1)
    return np.asarray(image[first:last, :, None] / image.std(), np.float32)


def test_two_slabs_a_side_go_on_though_the_joint_on_the_edge_has_the_largest_step() -> None:
    steps = np.abs(np.diff(slabs(), axis=0)).mean(axis=(1, 2))
    assert np.abs(slabs()[0] - slabs()[-1]).mean() > 1.15 * steps.max()
    assert goes_on(slabs())[0]
    assert not goes_on(slabs(25))[0]


def test_the_frame_of_a_panel_full_of_bricks_goes_on() -> None:
    panel = wall(250, 500)
    frame = np.full((290, 540, 1), panel.mean(), np.float32)
    frame[20:-20, 20:-20] = panel
    frame += 0.02 * np.random.default_rng(0).normal(size=frame.shape).astype(np.float32)
    assert goes_on(frame) == (True, True)


@pytest.mark.parametrize("shape", [(64, 64, 3), (65, 200, 1)])
def test_what_has_no_lattice_is_judged_by_its_step(shape: tuple[int, int, int]) -> None:
    assert goes_on(np.zeros(shape, np.float32)) == (True, True)
    ramp = np.broadcast_to(np.linspace(0, 1, shape[0], dtype=np.float32)[:, None, None], shape)
    assert goes_on(ramp) == (False, True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(512, 64), (64, 512), (4096, 64), (64, 2048)])
def test_a_narrow_exemplar_is_judged_too(shape: tuple[int, int]) -> None:
    """Its lattice's periods lead farther aside than it is wide."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    slanted = ((y + x) % 64 < 6) | ((y - x) % 96 < 6)
    assert all(isinstance(side, bool) for side in goes_on(slanted[:, :, None].astype(np.float32)))
