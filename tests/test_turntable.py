"""The GL renderer and the turntable, with a real driver."""

from __future__ import annotations

import os
from pathlib import Path

import forked
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mipmap.gl_context import GlUnavailable
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.report.environment import prefiltered, split_sum_table
from texsynth.report.gl_render import GlRenderer, Scene
from texsynth.report.gl_scene import made_levels, scene_of, views_around
from texsynth.report.turntable import draw
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.sample_asset import write_sample_asset
from texsynth.surface.mesh import Mesh
from texsynth.train.procedural import generate, write

GREY = (0.5, 0.5, 0.5, 1.0)


def ball(rings: int = 24, sectors: int = 48) -> Mesh:
    """A unit sphere, u around and v down."""
    v, u = np.mgrid[0 : rings + 1, 0 : sectors + 1]
    theta, phi = np.pi * v.ravel() / rings, 2 * np.pi * u.ravel() / sectors
    places = np.stack([-np.sin(theta) * np.sin(phi), np.cos(theta), -np.sin(theta) * np.cos(phi)], axis=1)
    uvs = np.stack([u.ravel() / sectors, v.ravel() / rings], axis=1).astype(np.float32)
    corner = (np.arange(rings)[:, None] * (sectors + 1) + np.arange(sectors)).ravel()
    below = corner + sectors + 1
    faces = np.concatenate([np.stack([corner, below, corner + 1], 1), np.stack([corner + 1, below, below + 1], 1)])
    places32 = places.astype(np.float32)
    return Mesh(places32, places32, uvs, faces.astype(np.int32), np.zeros(len(faces), np.int32))


def scene(albedo: int = 188, roughness: int = 128, metalness: int = 0) -> Scene:
    maps = {
        MapKind.ALBEDO: np.full((64, 64, 3), albedo, np.uint8),
        MapKind.ROUGHNESS: np.full((64, 64, 1), roughness, np.uint8),
        MapKind.METALNESS: np.full((64, 64, 1), metalness, np.uint8),
    }
    return scene_of(ball(), [made_levels(maps)])


def drawn(what: Scene, *, lit: bool = True, size: int = 128) -> NDArray[np.float32]:
    try:
        with GlRenderer(what, size, lit=lit) as renderer:
            return renderer.draw(next(views_around(ball(), 1)), GREY)
    except GlUnavailable as error:
        pytest.skip(f"no GL here: {error}")


def test_the_table_never_reflects_more_than_comes_in() -> None:
    table = split_sum_table()
    assert (table >= 0).all()
    assert table.sum(axis=2).max() < 1.02
    assert table[0, -1, 0] > 0.95, "a mirror seen head on"


def test_a_rougher_lobe_sees_the_same_light_blurred() -> None:
    layers = prefiltered()
    contrast = layers.max(axis=(1, 2, 3)) / layers.mean(axis=(1, 2, 3))
    assert (np.diff(contrast) < 0).all()


def test_colours_are_filtered_in_linear_light() -> None:
    """Black and white texels one by one: half of the light."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    maps = {MapKind.ALBEDO: np.repeat(board[..., None], 3, axis=2).astype(np.uint8)}
    shown = drawn(scene_of(ball(), [made_levels(maps)]), lit=False, size=32)
    assert float(np.median(shown[12:20, 12:20, 0])) == pytest.approx(0.5, abs=0.02)


def test_a_smooth_metal_shows_the_studio_and_a_rough_one_does_not() -> None:
    smooth, rough = (drawn(scene(roughness=each, metalness=255))[40:88, 40:88, :3] for each in (20, 250))
    assert np.ptp(smooth) > 1.5 * np.ptp(rough)


def test_the_light_comes_from_the_upper_left_of_the_viewer() -> None:
    shown = drawn(scene(roughness=250))[..., 1]
    assert shown[48, 48] > shown[84, 84] + 0.1


def test_the_mesh_is_whole_in_every_view_and_fills_most_of_it() -> None:
    try:
        with GlRenderer(scene(), 96) as renderer:
            for view in views_around(ball(), 5):
                shown = renderer.draw(view, (0, 0, 0, 0))[..., 3] > 0
                assert not (shown[0].any() or shown[-1].any() or shown[:, 0].any() or shown[:, -1].any())
                assert shown.any(axis=0).sum() > 84
    except GlUnavailable as error:
        pytest.skip(f"no GL here: {error}")


def test_a_driver_process_that_is_called_off_is_gone() -> None:
    run = Run()
    run.cancel()
    with pytest.raises(TexsynthError) as caught:
        draw(scene(), list(views_around(ball(), 64)), run, 512)
    assert caught.value.kind is ErrorKind.CANCELLED


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    write(generate("pebbles", 80, 1), folder / "pebbles")
    return write_sample_asset(folder, 256), folder / "pebbles"


def test_a_restyled_mesh_comes_with_a_strip_and_an_animation(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    manifest = restyle(*inputs, tmp_path, Options(size=128, preset="draft"), Run())
    if "turntable.png" not in manifest["files"]:
        pytest.skip(f"no GL here: {manifest['notes']}")
    strip = np.asarray(Image.open(tmp_path / "turntable.png"))
    assert strip.shape in ((256, 8 * 256, 3), (256, 4 * 256, 3)), "a slow driver draws every fourth view"
    assert len(np.unique(strip[:, 100:150].reshape(-1, 3), axis=0)) > 500
    with Image.open(tmp_path / "turntable.webp") as turning:
        assert (getattr(turning, "n_frames", 0), turning.size) in ((16, (256, 256)), (8, (256, 256)), (4, (256, 256)))
    assert "data:image/webp;base64" in (tmp_path / "report.html").read_text()


def test_without_gl_the_result_is_whole_and_a_note_says_why_it_has_no_turntable(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    nowhere = {"__EGL_VENDOR_LIBRARY_DIRS": str(tmp_path), "__EGL_VENDOR_LIBRARY_FILENAMES": ""}
    done = forked.texsynth(
        "restyle", inputs[0], "--style", inputs[1], "-o", tmp_path, "--json", "--size", "128", "--preset", "draft",
        environment=os.environ | nowhere,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "there is no turntable: " in (tmp_path / "material.json").read_text()
    assert not (tmp_path / "turntable.png").exists()
