"""No background on the surface: magenta around the charts never shows, at any mip level and with any filter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mipmap.gl_context import GlUnavailable
from texsynth.image_io import read_image
from texsynth.material import MapKind
from texsynth.model.latent import BLOCK
from texsynth.options import Options
from texsynth.publish import publish_maps
from texsynth.report.gl_render import GlRenderer, Scene, View
from texsynth.report.gl_scene import scene_of, view_from
from texsynth.run import Run
from texsynth.sample_asset import write_sample_asset
from texsynth.surface.ghosts import ghost_texels
from texsynth.surface.gutters import Gutters
from texsynth.surface.mesh import Mesh, load_mesh
from texsynth.surface.plane import Plane
from texsynth.surface.raster import UvRaster, uv_mask
from texsynth.surface.strips import seam_strips
from texsynth.surface.uv_topology import Topology
from texsynth.surface.weld import needed_texels, weld_seams

SIZE, SIDE = 512, 96
MAGENTA = (255, 0, 255)
REACH = 10  # texels that a footprint of 16 and bilinear filtering read beyond the surface
Levels = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def urn(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """A mesh of many charts with narrow gutters."""
    return load_mesh(write_sample_asset(tmp_path_factory.mktemp("urn"), 256)).mesh


def publish(mesh: Mesh, out: Path, *, guarded: bool) -> Levels:
    """Green noise on the surface and where the pipeline makes texels, magenta elsewhere; welded and published."""
    texels = np.zeros((SIZE, SIZE, 3), np.uint8)
    texels[..., 1] = np.random.default_rng(0).integers(120, 256, (SIZE, SIZE))
    made = uv_mask(mesh, SIZE) | needed_texels(Topology(mesh, None), SIZE)
    blocks = made.reshape(SIZE // BLOCK, BLOCK, SIZE // BLOCK, BLOCK).any(axis=(1, 3))
    texels[~np.kron(blocks, np.ones((BLOCK, BLOCK), np.bool_))] = MAGENTA
    if guarded:
        weld_seams({MapKind.ALBEDO: texels}, Topology(mesh, None), None, Run())
    gutters = Gutters(Topology(mesh, None), SIZE) if guarded else None
    maps = publish_maps(out, {MapKind.ALBEDO: texels}, Options(size=SIZE).storage, Run(), gutters)
    files = [level["file"] for level in (maps["albedo"], *maps["albedo"]["mips"])]
    return [read_image(out / file).texels for file in files]


@pytest.fixture(scope="module")
def guarded(urn: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Levels:
    return publish(urn, tmp_path_factory.mktemp("guarded"), guarded=True)


@pytest.fixture(scope="module")
def plain(urn: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Levels:
    return publish(urn, tmp_path_factory.mktemp("plain"), guarded=False)


def views_of(mesh: Mesh) -> Iterator[View]:
    """From where the mesh fills the picture to where it is a few pixels, from the front, steeply and grazing."""
    low, high = mesh.positions.min(axis=0).astype(float), mesh.positions.max(axis=0).astype(float)
    centre, span = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    for distance in 2.0 ** np.arange(2, 9):
        for turn, tilt in ((0.3, 0.2), (2.1, 1.35), (4.0, -1.2), (5.2, 0.02)):
            away = np.array([np.sin(turn) * np.cos(tilt), np.sin(tilt), np.cos(turn) * np.cos(tilt)])
            yield view_from(centre + distance * span * away, centre, span)


def tinted_pixels(mesh: Mesh, levels: Levels, anisotropy: float) -> tuple[int, int]:
    """Pixels with anything but green in them, over all views; and pixels that show the mesh. Each level is also drawn
    as the finest one, as wider textures and farther viewers have it."""
    tinted = seen = 0
    for first in range(len(levels)):
        scene = scene_of(mesh, [{MapKind.ALBEDO: levels[first:]}])
        try:
            renderer = GlRenderer(scene, SIDE, lit=False, samples=1, anisotropy=anisotropy)
        except GlUnavailable as error:
            pytest.skip(f"no GL here: {error}")
        with renderer:
            for view in views_of(mesh):
                drawn = renderer.draw(view, (0, 0, 0, 0))
                tinted += int((drawn[..., [0, 2]] > 0).any(axis=2).sum())
                seen += int((drawn[..., 3] > 0).sum())
    return tinted, seen


@pytest.mark.parametrize("anisotropy", [1, 16])
def test_no_pixel_of_a_restyled_mesh_shows_what_lies_around_its_charts(
    urn: Mesh, guarded: Levels, anisotropy: float
) -> None:
    tinted, seen = tinted_pixels(urn, guarded, anisotropy)
    assert seen > 50_000
    assert tinted == 0


def test_with_mips_that_know_no_charts_it_shows(urn: Mesh, plain: Levels) -> None:
    tinted, _ = tinted_pixels(urn, plain, 1)
    assert tinted > 1000


def test_no_level_has_background_where_a_sample_on_the_surface_could_read_it(urn: Mesh, guarded: Levels) -> None:
    for texels in guarded:
        size = len(texels)
        near = cv2.dilate(
            np.pad(uv_mask(urn, size, gutter=0).astype(np.uint8), REACH, mode="wrap"),
            np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8),
        )[REACH:-REACH, REACH:-REACH]
        assert not texels[near > 0][:, [0, 2]].any(), f"level of {size} texels"


def test_on_every_level_the_texels_beyond_a_seam_show_what_lies_across(urn: Mesh) -> None:
    """A colour that depends on the place in space alone, so that both sides of a seam agree."""
    seen = UvRaster(urn, SIZE).rows(0, SIZE)
    places = np.einsum("yxk,yxkc->yxc", seen.weights, urn.positions[urn.triangles[seen.triangle]])
    low, high = urn.positions.min(axis=0), urn.positions.max(axis=0)
    texels = np.where((seen.triangle >= 0)[..., None], 40 + 170 * (places - low) / (high - low), 0).astype(np.uint8)
    maps: Mapping[Any, NDArray[np.uint8]] = {MapKind.ALBEDO: texels}
    weld_seams(maps, Topology(urn, None), None, Run())
    gutters, side = Gutters(Topology(urn, None), SIZE), SIZE // 4
    reduced = cv2.resize(texels, (side, side), interpolation=cv2.INTER_AREA)
    level = next(
        rows for number, _, rows in gutters.refilled(MapKind.ALBEDO, iter([(2, 0, reduced.copy())])) if number == 2
    )
    strips = seam_strips(Topology(urn, None), side)
    assert strips is not None
    ghosts = ghost_texels(strips, side, uv_mask(urn, side, gutter=0), 2)
    plane = Plane({MapKind.ALBEDO: level})
    difference = np.concatenate([np.abs(plane.values(each.texels) - plane.values(each.places)) for each in ghosts])
    assert len(difference) > 300
    assert np.quantile(difference, 0.95) < 6 / 255


def test_a_texture_that_is_all_chart_needs_no_chart_map() -> None:
    flat = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    square = Mesh(flat, np.tile(np.float32([0, 0, 1]), (4, 1)), flat[:, :2].copy(), triangles, np.zeros(2, np.int32))
    assert Gutters(Topology(square, None), 64).charts is None
    half = replace(square, uvs=square.uvs * np.float32(0.5))
    charts = Gutters(Topology(half, None), 64).charts
    assert charts is not None
    assert charts.mean() == pytest.approx((49 / 64) ** 2, abs=0.01), "32 texels, 8 to either side, and the outline"


def test_a_scene_keeps_the_triangles_of_each_material_together() -> None:
    flat = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [0, 1, 3]], np.int32)
    normals = np.tile(np.float32([0, 0, 1]), (4, 1))
    mesh = Mesh(flat, normals, flat[:, :2].copy(), triangles, np.array([1, 0, 1], np.int32))
    scene: Scene = scene_of(mesh, [{}, {}])
    assert list(scene.parts) == [(0, 3), (3, 6)]
    np.testing.assert_array_equal(scene.vertices[:3, :3], flat[triangles[1]])
