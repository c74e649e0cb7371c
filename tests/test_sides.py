"""What is there once a side of an exemplar: joints, boards of many widths, slabs in a chess pattern."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from texsynth.exemplar import build_exemplar
from texsynth.expand import expand
from texsynth.fit import Ground, in_whole_sides
from texsynth.image_io import read_image
from texsynth.lattice import Lattice, find_lattice
from texsynth.layout import plan_frame, sample_layout
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.presets import PRESETS
from texsynth.restyle import synthesize
from texsynth.run import Run

Floats = NDArray[np.float32]
SIDE = 256
TORUS, OPEN = (True, True), (False, False)


def grain(seed: int, along: tuple[float, float] = (1, 1)) -> NDArray[np.float64]:
    """(256, 256) noise of unit deviation, longer `along` y and x, that tiles."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), along, mode="wrap")
    return np.asarray(noise / noise.std())


def stacked(image: NDArray[np.float64]) -> Floats:
    """float32 (H, W, 1) of unit deviation."""
    return np.asarray(image[:, :, None] / image.std(), np.float32)


def boards(widths: list[int], seed: int = 0) -> NDArray[np.float64]:
    """(256, 256): boards of these widths along x, joints of 5 texels, each board of a tone of its own."""
    ends = np.cumsum(widths)
    assert ends[-1] == SIDE
    board = np.searchsorted(ends, np.arange(SIDE), "right")
    tone = np.random.default_rng(seed).normal(0, 0.02, len(widths))[board]
    image = 0.6 + tone[:, None] + 0.03 * grain(seed, (1, 6))
    for end in ends:
        image[np.arange(end - 5, end) % SIDE] -= 0.35
    return np.asarray(image)


@pytest.mark.parametrize("upright", [False, True])
def test_a_joint_that_is_there_once_repeats_with_the_side(upright: bool) -> None:
    image = 0.6 + 0.05 * grain(1)
    image[100:104] -= 0.3
    lattice = find_lattice(stacked(image.T if upright else image), TORUS)
    np.testing.assert_allclose(lattice.waves, [[0, 1 / SIDE] if upright else [1 / SIDE, 0]])
    assert lattice.otherwise is not None
    assert len(lattice.otherwise.waves) == 0


def test_what_does_not_tile_has_no_side_to_repeat_with() -> None:
    image = 0.6 + 0.05 * grain(1)
    image[100:104] -= 0.3
    assert len(find_lattice(stacked(image), OPEN).waves) == 0


@pytest.mark.parametrize("along", [(1, 1), (1, 12), (6, 6)])
def test_grain_has_no_joint(along: tuple[float, float]) -> None:
    for seed in range(4):
        assert find_lattice(stacked(grain(seed, along)), TORUS).otherwise is None


def test_a_joint_across_boards_joins_their_period() -> None:
    image = boards([32] * 8)
    image[:, 40:44] -= 0.4
    lattice = find_lattice(stacked(image), TORUS)
    np.testing.assert_allclose(np.sort(np.abs(lattice.waves) * SIDE, axis=0), [[0, 0], [8, 1]])


@pytest.mark.parametrize("widths", [[52, 37, 46, 33, 47, 41], [50, 60, 35, 65, 46], [43, 43, 48, 43, 39, 40]])
def test_boards_of_many_widths_repeat_with_the_side(widths: list[int]) -> None:
    np.testing.assert_allclose(find_lattice(stacked(boards(widths)), TORUS).waves, [[1 / SIDE, 0]])


def test_even_boards_repeat_with_their_own_width() -> None:
    even = find_lattice(stacked(boards([32] * 8)), TORUS)
    np.testing.assert_allclose(even.waves, [[8 / SIDE, 0]])


def slabs(turned: bool) -> NDArray[np.float64]:
    """(256, 256): two by two slabs between joints, the grain of every other one turned."""
    upright, level = 0.1 * grain(2, (8, 1)), 0.1 * grain(3, (1, 8))
    y, x = np.mgrid[:SIDE, :SIDE] // 128
    image = np.where((y + x) % 2 == 1, upright, level) if turned else level
    joint = np.mgrid[:SIDE, :SIDE] % 128 < 4
    return np.asarray(np.where(joint.any(axis=0), -0.4, image))


def test_parquet_whose_slabs_are_turned_in_turn_repeats_along_its_diagonals() -> None:
    np.testing.assert_allclose(find_lattice(stacked(slabs(True)), TORUS).waves * SIDE, [[1, 1], [1, -1]])
    np.testing.assert_allclose(
        np.sort(find_lattice(stacked(slabs(False)), TORUS).waves * SIDE, axis=0), [[0, 0], [2, 2]]
    )


def test_two_by_two_checks_repeat_along_their_diagonals() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] // 128
    lattice = find_lattice(stacked((y + x) % 2 + 0.1 * grain(4)), TORUS)
    np.testing.assert_allclose(lattice.waves * SIDE, [[1, 1], [1, -1]])


def test_a_result_without_room_for_a_side_has_the_lattice_without_it() -> None:
    boards_alone = Lattice(np.array([[6 / SIDE, 0]]), 0.02, 0.5)
    lattice = Lattice(np.array([[1 / SIDE, 0]]), 0.004, 0.5, boards_alone)
    for size in (SIDE, 2 * SIDE):
        own, made = lattice.fitted((size, size), TORUS)
        assert own is lattice
        np.testing.assert_allclose(made.waves, [[1 / SIDE, 0]])
    own, made = lattice.fitted((3 * SIDE // 2, SIDE), TORUS)
    assert own is boards_alone
    np.testing.assert_allclose(made.waves, [[6 / SIDE, 0]])
    assert lattice.fitted((3 * SIDE // 2, SIDE), (False, True))[0] is lattice


def test_a_tileable_result_smaller_than_the_period_is_made_without_the_lattice(tmp_path: Path) -> None:
    grey = np.clip(0.5 + slabs(False), 0, 1).astype(np.float32)
    exemplar = build_exemplar(np.repeat(grey[:, :, None], 3, 2), (MapKind.ALBEDO,))
    assert len(exemplar.lattice.waves) == 2
    frame = plan_frame(exemplar, (64, 64), TORUS, 0)
    assert len(frame.own.waves) == len(frame.lattice.waves) == 0
    layout = sample_layout(exemplar, frame, None, PRESETS["draft"], Run())
    positions, _ = expand(exemplar, frame, None, layout, None, PRESETS["draft"], tmp_path, Run(), lambda p, scale: None)
    assert positions.shape == (8, 8, 2)


def uneven() -> NDArray[np.float64]:
    """Six boards across, none of which the edge cuts."""
    return np.roll(boards([52, 37, 46, 33, 47, 41]), 20, axis=0)


@pytest.mark.parametrize(
    ("size", "share"),
    [(256, 1.0), (512, 1.0), (1000, 1.0), (640, 640 / 768), (272, 272 / 256), (320, 320 / 256), (160, 160 / 256)],
)
def test_whole_sides_fit_into_a_result_that_tiles(size: int, share: float) -> None:
    exemplar = build_exemplar(uneven()[:, :, None].repeat(3, axis=2).astype(np.float32), (MapKind.ALBEDO,))
    ground = Ground(size, None, None, None, 1.0, TORUS)
    assert 1 / in_whole_sides(ground, exemplar, free=False).density == pytest.approx(share)
    for same in (replace(ground, torus=OPEN), replace(ground, torus=(False, True))):
        assert in_whole_sides(same, exemplar, free=False) is same
    assert in_whole_sides(ground, exemplar, free=True) is ground, "whole boards fit in, in another order"


@pytest.mark.parametrize("size", [96, 120])
def test_where_no_whole_side_fits_in_nothing_is_scaled(size: int) -> None:
    exemplar = build_exemplar(uneven()[:, :, None].repeat(3, axis=2).astype(np.float32), (MapKind.ALBEDO,))
    ground = Ground(size, None, None, None, 1.0, TORUS)
    assert in_whole_sides(ground, exemplar, free=False) is ground


def test_boards_of_many_widths_keep_their_joints_in_a_result_that_tiles(tmp_path: Path) -> None:
    image = uneven().clip(0, 1)
    Image.fromarray((image * 255).astype(np.uint8)).resize((320, 320)).convert("RGB").save(tmp_path / "boards.png")
    options = Options(size=512, preset="draft", tileable=True, maps=(MapKind.ALBEDO,))
    manifest = synthesize(tmp_path / "boards.png", tmp_path / "out", options, Run())
    assert not any("shown at" in note for note in manifest["notes"])
    made = read_image(tmp_path / "out" / "albedo.png").texels[:, :, 0] / 255.0
    assert made.mean(axis=1).std() > 0.8 * image.mean(axis=1).std(), "joints go all the way"
