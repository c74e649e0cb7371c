"""Where a tileable result is cut open: on a line like its neighbours, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mipmap.metrics import wrap_ratio
from texsynth.cut import OWN
from texsynth.gather_cut import Cuts, gather_cut
from texsynth.model.latent import BLOCK
from texsynth.wrap_edge import calm_roll

SIDE = 96


def grid() -> np.ndarray:
    """Grains with joints every 16 texels, one of them along the first row and column."""
    image = 0.5 + 0.05 * np.random.default_rng(0).standard_normal((SIDE, SIDE, 4))
    image[::16] = 0
    image[:, ::16] = 0
    return image.astype(np.float32)


def whole(side: int) -> Cuts:
    """The exemplar itself, in one piece."""
    lines = np.arange(0, side, BLOCK)
    positions = np.stack(np.meshgrid(lines, lines, indexing="ij"), -1).astype(np.int32)
    return Cuts.of(np.full((side, side), OWN, np.uint8), positions, (side, side), (True, True), (True, True), (0, 0))


def gathered(image: np.ndarray, cuts: Cuts) -> np.ndarray:
    return gather_cut(
        image, cuts, (0, SIDE), wraps=(True, True), torus=(True, True), normal=-1, offsets=None, levelled=()
    )


def chosen(image: np.ndarray, cuts: Cuts) -> tuple[int, int]:
    channels = [slice(0, 3), slice(3, 4)]
    return calm_roll(image, cuts, channels, wraps=(True, True), normal=-1, offsets=None, levelled=())


def test_the_edge_leaves_the_joints() -> None:
    image, cuts = grid(), whole(SIDE)
    assert np.array_equal(gathered(image, cuts), image)
    assert not any(0.9 <= edge.ratio <= 1.1 for edge in wrap_ratio(image))
    roll = chosen(image, cuts)
    rolled = gathered(image, replace(cuts, roll=roll))
    assert np.array_equal(rolled, np.roll(image, (-roll[0], -roll[1]), axis=(0, 1)))
    for channels in (slice(0, 3), slice(3, 4)):
        assert all(0.9 <= edge.ratio <= 1.1 for edge in wrap_ratio(rolled[..., channels]))


def test_the_choice_is_the_same_every_time() -> None:
    image, cuts = grid(), whole(SIDE)
    assert chosen(image, cuts) == chosen(image, cuts)
