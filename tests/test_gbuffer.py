"""G-buffers in UV space: what they say of known surfaces, and that GL and numba say the same."""

from __future__ import annotations

import os
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from mipmap.gl_context import GlUnavailable
from texsynth.sample_asset import write_sample_asset
from texsynth.surface.gbuffer import GBuffer, GBufferRaster
from texsynth.surface.gbuffer_gl import GlGBufferRaster
from texsynth.surface.mesh import Mesh, load_mesh
from texsynth.surface.raster import uv_mask

SIZE = 64
FIELDS = ("triangle", "chart", "position", "normal", "tangent", "stretch")


def plate(mirrored: bool = False, wide: float = 1.0) -> Mesh:
    """A rectangle 2 * wide x 2 in the plane z = 0, facing +z, in one upright chart over the middle of the texture."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    uvs = 0.5 + 0.25 * corners * (-1 if mirrored else 1, -1)
    positions = np.c_[corners * (wide, 1), np.zeros(4)].astype(np.float32)
    normals = np.tile(np.float32([0, 0, 1]), (4, 1))
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(positions, normals, uvs.astype(np.float32), triangles, np.zeros(2, np.int32))


def crumpled(count: int = 60, spread: float = 1.6) -> Mesh:
    """Loose triangles that overlap, repeat, are mirrored and thin, with normals of their own."""
    rng = np.random.default_rng(0)
    uvs = rng.uniform(-spread / 2, spread, (count, 3, 2)).astype(np.float32)
    uvs[::3] = uvs[::3, :1] + uvs[::3] / 32
    uvs[1::7, 2] = uvs[1::7, 0] + (uvs[1::7, 1] - uvs[1::7, 0]) * 0.4 + 1e-4
    normals = rng.standard_normal((3 * count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    positions = rng.standard_normal((3 * count, 3)).astype(np.float32)
    triangles = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    numbers = np.arange(count, dtype=np.int32) % 2
    return Mesh(positions, normals.astype(np.float32), uvs.reshape(-1, 2), triangles, numbers)


def whole(mesh: Mesh, size: int = SIZE) -> GBuffer:
    return GBufferRaster(mesh, size).rows(0, size)


def test_positions_are_those_of_the_texels_centres() -> None:
    made = whole(plate(wide=3))
    rows, columns = np.nonzero(made.triangle >= 0)
    assert len(rows) == (SIZE // 2) ** 2
    expected = np.stack([12 * ((columns + 0.5) / SIZE - 0.5), -4 * ((rows + 0.5) / SIZE - 0.5), 0 * rows], axis=1)
    np.testing.assert_allclose(made.position[rows, columns], expected, atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_tangents_run_with_u_and_bitangents_up_the_image(mirrored: bool) -> None:
    made = whole(plate(mirrored))
    covered = made.triangle >= 0
    normal, tangent = made.normal[covered], made.tangent[covered]
    np.testing.assert_allclose(tangent[:, :3], np.tile([-1 if mirrored else 1, 0, 0], (len(tangent), 1)), atol=1e-6)
    up = np.cross(normal, tangent[:, :3]) * tangent[:, 3:]
    np.testing.assert_allclose(up, np.tile([0, 1, 0], (len(up), 1)), atol=1e-6)


def test_stretch_is_the_size_of_a_texel_along_its_longest_and_shortest_axis() -> None:
    made = whole(plate(wide=3))
    covered = made.triangle >= 0
    np.testing.assert_allclose(made.stretch[covered], np.tile([12 / SIZE, 4 / SIZE], (covered.sum(), 1)), rtol=1e-5)
    np.testing.assert_allclose(made.units_per_texel[covered], np.sqrt(48) / SIZE, rtol=1e-5)


def test_texels_without_a_surface_hold_nothing() -> None:
    made = whole(plate())
    empty = made.triangle < 0
    assert (made.chart[empty] == -1).all()
    assert not any(getattr(made, name)[empty].any() for name in ("position", "normal", "tangent", "stretch"))


def test_tangent_and_normal_are_unit_length_and_at_right_angles_on_a_crumpled_mesh() -> None:
    made = whole(crumpled())
    covered = made.triangle >= 0
    normal, tangent = made.normal[covered].astype(np.float64), made.tangent[covered].astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=1), 1, atol=1e-5)
    assert np.abs((normal * tangent[:, :3]).sum(axis=1)).max() < 1e-5
    assert set(tangent[:, 3]) == {-1, 1}


def test_a_surface_whose_normals_cancel_takes_the_triangles_own() -> None:
    mesh = plate()
    opposite = Mesh(mesh.positions, np.zeros_like(mesh.normals), mesh.uvs, mesh.triangles, mesh.material_index)
    made = whole(opposite)
    assert (made.normal[made.triangle >= 0] == [0, 0, 1]).all()


def test_charts_are_those_that_hang_together_in_the_texture() -> None:
    one, two = plate(), plate(wide=2)
    both = Mesh(
        np.concatenate([one.positions, two.positions]),
        np.concatenate([one.normals, two.normals]),
        np.concatenate([one.uvs / 2, two.uvs / 2 + np.float32(0.5)]),
        np.concatenate([one.triangles, two.triangles + 4]),
        np.zeros(4, np.int32),
    )
    made = whole(both)
    assert set(np.unique(made.chart)) == {-1, 0, 1}
    assert (made.chart[: SIZE // 2, : SIZE // 2].max(), made.chart[SIZE // 2 :, SIZE // 2 :].max()) == (0, 1)


def test_a_g_buffer_covers_the_texels_of_the_mask() -> None:
    np.testing.assert_array_equal(whole(crumpled()).triangle >= 0, uv_mask(crumpled(), SIZE, gutter=0))


def same(one: GBuffer, two: GBuffer) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_bands_of_a_g_buffer_are_those_of_the_whole() -> None:
    made = GBufferRaster(crumpled(), SIZE)
    everything = made.rows(0, SIZE)
    for first in range(0, SIZE, 24):
        last = min(first + 24, SIZE)
        same(made.rows(first, last), GBuffer(*(getattr(everything, name)[first:last] for name in FIELDS)))


def test_a_material_that_no_triangle_has_leaves_the_g_buffer_empty() -> None:
    assert (GBufferRaster(plate(), SIZE, 5).rows(0, SIZE).triangle == -1).all()


# ---- by GL


@pytest.fixture(scope="module")
def gl() -> None:
    try:
        GlGBufferRaster(plate(), 8).__exit__(None, None, None)
    except GlUnavailable as error:
        pytest.skip(f"no GL here: {error}")


def agree(mesh: Mesh, size: int, band: int, material: int | None = None) -> int:
    """Compares band by band; how many texels were covered."""
    extent, covered, numba = float(np.ptp(mesh.positions, axis=0).max()), 0, GBufferRaster(mesh, size, material)
    with GlGBufferRaster(mesh, size, material) as drawn:
        for first in range(0, size, band):
            last = min(first + band, size)
            one, two = numba.rows(first, last), drawn.rows(first, last)
            np.testing.assert_array_equal(one.triangle, two.triangle)
            np.testing.assert_array_equal(one.chart, two.chart)
            np.testing.assert_array_equal(one.stretch, two.stretch)
            np.testing.assert_allclose(one.position, two.position, rtol=0, atol=1e-5 * extent)
            np.testing.assert_allclose(one.normal, two.normal, rtol=0, atol=1e-5)
            np.testing.assert_allclose(one.tangent, two.tangent, rtol=0, atol=1e-5)
            covered += int((one.triangle >= 0).sum())
    return covered


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize("size", [16, 64, 200])
def test_gl_and_numba_agree_where_triangles_overlap_repeat_and_are_thin(size: int) -> None:
    assert agree(crumpled(spread=0.7), size, band=24) < size * size  # some texels have nothing
    agree(crumpled(spread=5), size, band=size)


@pytest.mark.usefixtures("gl")
def test_gl_and_numba_agree_on_edges_that_run_through_texel_centres() -> None:
    cells = np.stack(np.divmod(np.arange(256), 16), axis=1)[:, None] * 8
    corners = cells + np.random.default_rng(1).integers(0, 7, (256, 3, 2)) + 0.5  # of 128 texels, each in its own cell
    mesh = crumpled(256)
    uvs = (corners / 128).reshape(-1, 2).astype(np.float32)
    assert agree(Mesh(mesh.positions, mesh.normals, uvs, mesh.triangles, mesh.material_index), 128, band=128)


@pytest.mark.usefixtures("gl")
def test_gl_and_numba_agree_on_the_sample_asset(tmp_path: Path) -> None:
    asset = load_mesh(write_sample_asset(tmp_path, size=256))
    for material in range(len(asset.materials)):
        assert agree(asset.mesh, 512, 160, material)


@pytest.mark.usefixtures("gl")
def test_a_mesh_without_triangles_is_drawn_as_nothing() -> None:
    mesh = plate()
    empty = Mesh(mesh.positions, mesh.normals, mesh.uvs, np.zeros((0, 3), np.int32), np.zeros(0, np.int32))
    with GlGBufferRaster(empty, 16) as drawn:
        assert (drawn.rows(0, 16).triangle == -1).all()


@pytest.mark.skipif(find_library("OSMesa") is None, reason="OSMesa is not installed")
def test_osmesa_and_numba_agree_too(tmp_path: Path) -> None:
    """In a process of its own, because PyOpenGL serves one way of making contexts in each."""
    mesh = crumpled(spread=0.7)
    np.savez(tmp_path / "mesh.npz", **{name: getattr(mesh, name) for name in mesh.__dataclass_fields__})
    script = """
import sys
import numpy as np
from texsynth.surface.gbuffer_gl import GlGBufferRaster
from texsynth.surface.mesh import Mesh
with GlGBufferRaster(Mesh(**np.load(sys.argv[1] + "/mesh.npz")), 64) as drawn:
    np.savez(sys.argv[1] + "/drawn.npz", **vars(drawn.rows(0, 64)))
"""
    environment = os.environ | {"PYOPENGL_PLATFORM": "osmesa"}
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True, timeout=120, env=environment)
    same(whole(mesh), GBuffer(**np.load(tmp_path / "drawn.npz")))
