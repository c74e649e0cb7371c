"""The asset's own colour, kept where it varies slowly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from texsynth.canvas import Canvas
from texsynth.errors import TexsynthError
from texsynth.image_io import read_image, save_image
from texsynth.material import MapKind, TextureMap
from texsynth.options import Options
from texsynth.region import Region
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.sample_asset import write_sample_asset
from texsynth.surface.mesh import load_mesh
from texsynth.surface.raster import uv_mask
from texsynth.tone import CELL, keep_tone

SIZE = 512  # two bands


def canvas(folder: Path, texels: NDArray[np.uint8]) -> Canvas:
    made = Canvas.create(folder / "albedo.raw", MapKind.ALBEDO, *texels.shape)
    made.write_rows(0, texels)
    return made


def grain(seed: int, low: int = 90, high: int = 170) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(low, high, (SIZE, SIZE, 3), np.uint8)


def stains() -> TextureMap:
    """Light and dark, slowly."""
    wave = np.sin(np.linspace(0, 6, 256))[:, None] * np.cos(np.linspace(0, 5, 256))[None]
    return TextureMap(MapKind.ALBEDO, (130 + 40 * wave[:, :, None] * (1, 0.5, -1)).astype(np.uint8))


def means(texels: NDArray[np.uint8], cells: int) -> NDArray[np.float32]:
    return np.asarray(
        cv2.resize(TextureMap(MapKind.ALBEDO, texels).linear(), (cells, cells), interpolation=cv2.INTER_AREA)
    )


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_means_of_cells_move_as_far_as_asked_and_the_grain_stays(tmp_path: Path, strength: float) -> None:
    before = grain(0)
    albedo = canvas(tmp_path, before)
    keep_tone(albedo, stains(), strength, None, None, Run())
    after, cells = albedo.read_rows(0, SIZE), SIZE // CELL
    aim = (1 - strength) * means(before, cells) + strength * means(stains().texels, cells)
    assert np.abs(means(after, cells) - aim).max() < 0.02
    fine = [
        image - cv2.GaussianBlur(image, (0, 0), 4) for image in (before.astype(np.float32), after.astype(np.float32))
    ]
    assert np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1] > 0.97


def test_a_coarse_asset_has_a_say_at_its_own_scale_only(tmp_path: Path) -> None:
    before = grain(1)
    albedo = canvas(tmp_path, before)
    keep_tone(albedo, TextureMap(MapKind.ALBEDO, np.full((1, 1, 3), 60, np.uint8)), 1.0, None, None, Run())
    after = albedo.read_rows(0, SIZE)
    assert np.allclose(means(after, 1), means(np.full((1, 1, 3), 60, np.uint8), 1), atol=0.003)
    change = means(after, SIZE // CELL) - means(before, SIZE // CELL)
    assert np.corrcoef(change[..., 0].ravel(), means(before, SIZE // CELL)[..., 0].ravel())[0, 1] < -0.9  # by a factor


def test_texels_outside_the_region_are_untouched_to_the_bit(tmp_path: Path) -> None:
    before = grain(2)
    albedo = canvas(tmp_path, before)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:, 300:] = 255
    region = Region(mask, None)
    keep_tone(albedo, stains(), 1.0, None, region, Run())
    after = albedo.read_rows(0, SIZE)
    outside = region.weights(0, SIZE) == 0
    assert outside.any()
    np.testing.assert_array_equal(after[outside], before[outside])
    assert (after[:, 400:] != before[:, 400:]).mean() > 0.5


def test_what_lies_beyond_the_charts_has_no_say(tmp_path: Path) -> None:
    before, own = np.full((SIZE, SIZE, 3), 120, np.uint8), np.full((SIZE, SIZE, 3), 120, np.uint8)
    covered = np.zeros((SIZE, SIZE), np.bool_)
    covered[101:333, 57:401] = True
    own[~covered] = 0  # as a black background
    albedo = canvas(tmp_path, before)
    keep_tone(albedo, TextureMap(MapKind.ALBEDO, own), 1.0, covered, None, Run())
    after = albedo.read_rows(0, SIZE)
    assert np.abs(after[covered].astype(int) - 120).max() <= 1


def test_a_restyled_mesh_keeps_its_colours(tmp_path: Path, gravel: Path) -> None:
    asset = write_sample_asset(tmp_path / "asset", 256)
    made = {}
    for tone in (0.0, 1.0):
        out = tmp_path / str(tone)
        restyle(asset, gravel, out, Options(size=256, preset="draft", tone=tone, content=0.0), Run())
        made[tone] = read_image(out / "albedo.png", colour=True).texels[:, :, :3]
    mesh = load_mesh(asset)
    inside = cv2.erode(uv_mask(mesh.mesh, 256, 0, gutter=0).astype(np.uint8), np.ones((9, 9))) > 0
    own = mesh.materials[0].maps[MapKind.ALBEDO].texels
    apart = {
        tone: np.abs(cv2.blur(image.astype(np.float32), (16, 16)) - cv2.blur(own.astype(np.float32), (16, 16)))[
            inside
        ].mean()
        for tone, image in made.items()
    }
    assert apart[1.0] < 0.25 * apart[0.0]


def test_tone_without_an_albedo_is_refused_in_one_line(tmp_path: Path, gravel: Path) -> None:
    with pytest.raises(TexsynthError, match="tone: it is that of the albedo, which is not asked for"):
        Options(tone=0.5, maps=(MapKind.NORMAL,))
    folder = tmp_path / "bare"
    folder.mkdir()
    save_image(folder / "bare_roughness.png", np.full((64, 64, 1), 100, np.uint8))
    with pytest.raises(TexsynthError, match="tone: the asset has no albedo to keep it of"):
        restyle(folder, gravel, tmp_path / "out", Options(size=64, preset="draft", tone=0.5), Run())
