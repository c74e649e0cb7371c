"""From the layout to full size: coverage, repetition from a seed, windows that need no work, going on after a stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.content import prepare_content
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.exemplar import Exemplar, build_exemplar, coarsest_scale
from texsynth.expand import EVEN, TONE, Steps, _Balance, _State, expand
from texsynth.lattice import NO_LATTICE
from texsynth.layout import Frame, _nearest, plan_frame, sample_layout
from texsynth.material import MapKind, Material, TextureMap
from texsynth.model.coherent_score import WINDOW, build_keys
from texsynth.model.latent import BLOCK
from texsynth.presets import PRESETS
from texsynth.run import Progress, Run

Ints = NDArray[np.int32]
DRAFT = PRESETS["draft"]
OPEN, TORUS = (False, False), (True, True)


def exemplar_of(height: int, width: int, seed: int = 0) -> Exemplar:
    """Smooth noise in four channels, albedo and roughness, that wraps."""
    white = np.random.default_rng(seed).normal(size=(height, width, 4))
    image = sum(ndimage.gaussian_filter(white, (sigma, sigma, 0), mode="wrap") * sigma for sigma in (1.0, 3.0, 8.0))
    image = np.clip(0.5 + 0.15 * image / np.std(image), 0, 1).astype(np.float32)
    return build_exemplar(image, (MapKind.ALBEDO, MapKind.ROUGHNESS))


@pytest.fixture(scope="module")
def exemplar() -> Exemplar:
    return exemplar_of(240, 248)


def scattered(exemplar: Exemplar, frame: Frame, seed: int = 0) -> tuple[Ints, int]:
    """A layout in which tokens in squares of four come from random places."""
    scale = coarsest_scale(exemplar)
    rows, columns = frame.tokens(scale)
    tops = [n // scale - 4 * BLOCK for n in exemplar.size]
    starts = np.random.default_rng(seed).integers(0, tops, (-(-rows // 4), -(-columns // 4), 2))
    positions = starts.repeat(4, 0).repeat(4, 1)[:rows, :columns]
    inside = np.stack(np.meshgrid(np.arange(rows) % 4, np.arange(columns) % 4, indexing="ij"), -1) * BLOCK
    return (positions + inside).astype(np.int32), scale


@dataclass
class Shown:
    """The previews of a run."""

    levels: list[tuple[tuple[int, ...], int]] = field(default_factory=list)

    def __call__(self, positions: Ints, scale: int) -> None:
        self.levels.append((positions.shape, scale))


def expanded(
    exemplar: Exemplar, frame: Frame, work: Path, *, run: Run | None = None, layout: tuple[Ints, int] | None = None,
    mask: NDArray[np.bool_] | None = None, material: Material | None = None, strength: float = 0.0,
) -> tuple[Ints, Steps, Shown]:  # fmt: skip
    shown = Shown()
    content = None if material is None else prepare_content(material, strength)
    positions, steps = expand(
        exemplar, frame, content, layout or scattered(exemplar, frame), mask, DRAFT, work, run or Run(), shown
    )
    return positions, steps, shown


def assert_inside(positions: Ints, exemplar: Exemplar) -> None:
    for axis in range(2):
        limit = exemplar.size[axis] - (1 if exemplar.wraps[axis] else BLOCK)
        assert 0 <= int(positions[..., axis].min()) <= int(positions[..., axis].max()) <= limit


@pytest.mark.parametrize(("size", "torus"), [((512, 512), OPEN), ((64, 64), TORUS), ((256, 64), TORUS)])
def test_every_token_of_the_result_gets_a_place_inside_the_exemplar(
    exemplar: Exemplar, size: tuple[int, int], torus: tuple[bool, bool], tmp_path: Path
) -> None:
    positions, steps, shown = expanded(exemplar, plan_frame(exemplar, size, torus, 0), tmp_path)
    assert positions.shape == (size[0] // BLOCK, size[1] // BLOCK, 2)
    assert positions.dtype == np.int32
    assert_inside(positions, exemplar)
    assert steps.done > 0
    rows, columns = positions.shape[:2]
    assert shown.levels == [((max(1, rows // 2), max(1, columns // 2), 2), 2), ((rows, columns, 2), 1)]


def test_a_cut_exemplar_that_does_not_wrap_is_never_left(tmp_path: Path) -> None:
    cut = exemplar_of(300, 300)
    cut = build_exemplar(np.ascontiguousarray(cut.stack[:130, 40:140]), cut.maps)
    assert cut.wraps == OPEN
    positions, _, _ = expanded(cut, plan_frame(cut, (256, 256), OPEN, 0), tmp_path)
    assert_inside(positions, cut)


def test_most_neighbours_of_the_result_continue_each_other(exemplar: Exemplar, tmp_path: Path) -> None:
    frame = plan_frame(exemplar, (256, 256), OPEN, 0)
    unrelated = np.random.default_rng(0).integers(0, 100, (16, 16, 2)).astype(np.int32)
    positions, _, _ = expanded(exemplar, frame, tmp_path, layout=(unrelated, 2))
    right = (positions[:, 1:] - positions[:, :-1] - (0, BLOCK)) % np.array(exemplar.size)
    down = (positions[1:] - positions[:-1] - (BLOCK, 0)) % np.array(exemplar.size)
    whole = float(np.mean([(right == 0).all(axis=2).mean(), (down == 0).all(axis=2).mean()]))
    assert whole > 0.6, "in the layout none do"


def test_the_same_seed_gives_the_same_places_and_another_seed_others(exemplar: Exemplar, tmp_path: Path) -> None:
    results = [
        expanded(exemplar, plan_frame(exemplar, (128, 128), OPEN, seed), tmp_path / name)[0].tobytes()
        for seed, name in ((5, "a"), (5, "b"), (6, "c"))
    ]
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_tones_that_are_used_too_much_become_dear_and_cells_are_evened_out_for_large_results_only() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    image = np.ascontiguousarray(np.broadcast_to(ramp[:, None, None], (256, 256, 3)))
    keys = build_keys(image, OPEN, NO_LATTICE, 1, 0.15, np.zeros((256, 256, 0), np.float32))
    half = np.stack(np.meshgrid(np.arange(0, 128, 8), np.arange(0, 256, 8), indexing="ij"), -1).astype(np.int32)
    small = _Balance(keys, 128)  # an eighth of the exemplar's tokens
    small.update(half, keys.spacing)  # the dark half is shown, and all of its columns
    rows = small.potentials.mean(axis=1) / keys.spacing
    assert small.area == 0.125
    assert float(rows[:15].max()) < float(rows[17:].min()) - TONE
    large = _Balance(keys, 16 * 1024)
    large.update(half[:, :16], keys.spacing)  # the dark half's left half
    dark = large.potentials[:15] / keys.spacing
    assert float(dark[:, :15].max()) < float(dark[:, 17:].min()) - 0.5 * EVEN


def test_windows_that_nobody_wants_cost_no_steps(exemplar: Exemplar, tmp_path: Path) -> None:
    frame = plan_frame(exemplar, (512, 512), OPEN, 0)
    mask = np.zeros((64, 64), np.bool_)
    mask[:WINDOW, :WINDOW] = True
    _, all_steps, _ = expanded(exemplar, frame, tmp_path / "all")
    _, some_steps, _ = expanded(exemplar, frame, tmp_path / "some", mask=mask)
    assert some_steps.done + some_steps.saved == all_steps.done + all_steps.saved
    assert some_steps.done < 0.6 * all_steps.done


def test_a_settled_window_needs_fewer_steps(tmp_path: Path) -> None:
    square = exemplar_of(256, 256)
    frame = plan_frame(square, (256, 256), TORUS, 0)
    copy = np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="ij"), -1) * BLOCK
    unrelated = np.random.default_rng(0).integers(0, 128, (16, 16, 2)).astype(np.int32)
    _, settled, _ = expanded(square, frame, tmp_path / "settled", layout=(copy.astype(np.int32), 2))
    _, busy, _ = expanded(square, frame, tmp_path / "busy", layout=(unrelated, 2))
    assert settled.saved > busy.saved
    assert settled.saved + settled.done == busy.saved + busy.done


class StopAt:
    """Cancels a run at its n-th progress event."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.run = Run(listener=self)

    def __call__(self, _: Progress) -> None:
        self.left -= 1
        if self.left == 0:
            self.run.cancel()


def test_a_run_stopped_at_every_band_in_turn_ends_in_the_same_places(exemplar: Exemplar, tmp_path: Path) -> None:
    frame = plan_frame(exemplar, (512, 128), OPEN, 3)  # two bands of windows at full size
    whole, whole_steps, _ = expanded(exemplar, frame, tmp_path / "whole")
    stops = 0
    while True:
        try:
            positions, steps, _ = expanded(exemplar, frame, tmp_path / "stopped", run=StopAt(1).run)
            break
        except TexsynthError as error:
            assert error.kind is ErrorKind.CANCELLED
            stops += 1
    assert stops == DRAFT.settle_steps + 2 * DRAFT.fine[0].steps - 1
    assert positions.tobytes() == whole.tobytes()
    assert steps == whole_steps


def test_a_finished_level_is_not_made_again(exemplar: Exemplar, tmp_path: Path) -> None:
    frame = plan_frame(exemplar, (128, 128), OPEN, 3)
    first, steps, _ = expanded(exemplar, frame, tmp_path)
    heard: list[Progress] = []
    again, same, shown = expanded(exemplar, frame, tmp_path, run=Run(listener=heard.append))
    assert again.tobytes() == first.tobytes()
    assert same == steps
    assert not heard
    assert len(shown.levels) == 2, "the preview is still there to be seen"


def test_finished_levels_leave_only_small_files(exemplar: Exemplar, tmp_path: Path) -> None:
    frame = plan_frame(exemplar, (512, 512), OPEN, 3)
    expanded(exemplar, frame, tmp_path)
    left = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert left < 4 * 64 * 64 * 8, "the latents, 64 bytes a token, are gone"


# The layout


def test_a_layout_lies_inside_the_exemplar_and_follows_from_the_seed() -> None:
    small = exemplar_of(64, 80)
    made = []
    for seed in (1, 1, 2):
        positions, scale = sample_layout(small, plan_frame(small, (96, 64), OPEN, seed), None, DRAFT, Run())
        assert scale == 1
        assert positions.shape == (12, 8, 2)
        assert_inside(positions, small)
        made.append(positions.tobytes())
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_a_layout_uses_all_parts_of_the_exemplar() -> None:
    small = exemplar_of(64, 64)
    positions, _ = sample_layout(small, plan_frame(small, (256, 256), TORUS, 0), None, DRAFT, Run())
    cells = np.bincount((positions // 16 @ (4, 1)).ravel(), minlength=16) / (positions.size // 2)
    assert float(cells.min()) > 0.01
    assert float(cells.max()) < 0.2


def test_a_layout_of_a_regular_exemplar_keeps_its_phase_and_closes_on_a_torus() -> None:
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[0:96, 0:96]
    image = np.where((yy % 16 < 3) | ((xx + 16 * (yy // 16 % 2)) % 32 < 3), 0.2, 0.7)
    image = (image + rng.normal(0, 0.03, (96, 96))).clip(0, 1).astype(np.float32)[:, :, None].repeat(3, 2)
    bricks = build_exemplar(np.ascontiguousarray(image), (MapKind.ALBEDO,))
    assert len(bricks.lattice.waves) == 2
    frame = plan_frame(bricks, (128, 128), TORUS, 4)
    turns = frame.lattice.waves * 128
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    positions, scale = sample_layout(bricks, frame, None, DRAFT, Run())
    error = positions @ (bricks.lattice.waves * scale).T - frame.phases(scale)
    assert float(np.quantile(np.abs(error - np.round(error)), 0.95)) < 0.1


def test_a_layout_can_be_cancelled_between_steps() -> None:
    small = exemplar_of(64, 64)
    stop = StopAt(3)
    with pytest.raises(TexsynthError) as caught:
        sample_layout(small, plan_frame(small, (64, 64), OPEN, 0), None, DRAFT, stop.run)
    assert caught.value.kind is ErrorKind.CANCELLED


def test_content_decides_where_light_and_dark_of_the_exemplar_go(tmp_path: Path) -> None:
    small = exemplar_of(96, 96)
    halves = np.full((64, 64, 3), 40, np.uint8)
    halves[:, 32:] = 220
    asset = Material("halves", {MapKind.ALBEDO: TextureMap(MapKind.ALBEDO, halves)})
    frame = plan_frame(small, (128, 128), OPEN, 0)
    content = prepare_content(asset, 1.0)
    layout = sample_layout(small, frame, content, DRAFT, Run())
    positions, _, _ = expanded(small, frame, tmp_path, layout=layout, material=asset, strength=1.0)
    tone = ndimage.uniform_filter(small.stack[:, :, :3].mean(axis=2), BLOCK, mode="wrap", origin=-BLOCK // 2)
    found = tone[positions[..., 0], positions[..., 1]]
    assert float(found[:, 10:].mean() - found[:, :6].mean()) > 0.5 * float(tone.std())


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="resident memory is read from Linux's /proc")
def test_what_is_taken_out_of_memory_is_still_there(tmp_path: Path) -> None:
    state = _State(tmp_path, 1, (512, 512))
    state.begin(np.zeros((512, 512, 2), np.int32), np.zeros((4, 4), np.float32))
    latent = state.latent(0)
    before = resident_bytes()
    latent[:] = np.arange(512, dtype=np.float32)[:, None, None]
    touched = resident_bytes()
    state.keep(0, 0, 1)
    assert touched - before > 0.9 * latent.nbytes
    assert resident_bytes() < touched - 0.9 * latent.nbytes
    assert (latent[:, 0, 0] == np.arange(512)).all()


def resident_bytes() -> int:
    status = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line for line in status if line.startswith("Rss:")).split()[1]) * 1024


@pytest.mark.parametrize("torus", [OPEN, TORUS, (False, True)])
def test_the_nearest_centre_is_the_brute_force_one(torus: tuple[bool, bool]) -> None:
    rng, extent = np.random.default_rng(0), np.array([60.0, 90.0])
    points, centres = rng.uniform(0, 1, (500, 2)) * extent, rng.uniform(0, 1, (40, 2)) * extent
    apart = points[:, None] - centres
    for axis in range(2):
        if torus[axis]:
            apart[:, :, axis] -= np.round(apart[:, :, axis] / extent[axis]) * extent[axis]
    expected = (apart**2).sum(axis=2).argmin(axis=1)
    nearest, offset = _nearest(points, centres, extent, torus)
    assert np.array_equal(nearest, expected)
    assert np.allclose(offset, apart[np.arange(500), expected])
