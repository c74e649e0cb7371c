"""Edges and cavities of a mesh as content: what bends, what is hidden, and what a restyle makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

from texsynth.content import Content, with_geometry
from texsynth.errors import TexsynthError
from texsynth.image_io import read_image, save_image
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.surface.geometry_guidance import BALL, FLAT_TONE, Bends, geometry_tone
from texsynth.surface.mesh import Mesh
from texsynth.surface.occlusion import Occluders
from texsynth.surface.uv_topology import Topology

Floats = NDArray[np.float32]


def mesh_of(positions: object, triangles: object, uvs: object = None) -> Mesh:
    """Without shared vertices, so that its normals are those of its faces."""
    corners = np.asarray(positions, np.float32)[np.asarray(triangles)].reshape(-1, 3)
    faces = np.cross(corners[1::3] - corners[::3], corners[2::3] - corners[::3])
    normals = np.repeat(faces / np.linalg.norm(faces, axis=1, keepdims=True), 3, axis=0).astype(np.float32)
    count = len(corners) // 3
    given = corners[:, :2] if uvs is None else np.asarray(uvs, np.float32).reshape(-1, 2)
    return Mesh(
        corners, normals, given, np.arange(3 * count, dtype=np.int32).reshape(-1, 3), np.full(count, -1, np.int32)
    )


def box() -> Mesh:
    """A cube from -1 to 1, facing outwards."""
    shape = trimesh.creation.box((2, 2, 2))
    return mesh_of(shape.vertices, shape.faces)


def step(way: float) -> Mesh:
    """Two planes that meet at 90 degrees in the middle of the texture: a ridge (way 1) or a valley (-1)."""
    places = [[-4, -4, -4 * way], [0, -4, 0], [0, 4, 0], [-4, 4, -4 * way], [4, -4, -4 * way], [4, 4, -4 * way]]
    triangles = np.array([[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2]])
    return mesh_of(places, triangles, (np.array(places)[triangles][:, :, :2] + 4) / 8)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_an_edge_bends_by_its_angle_and_the_faces_beside_it_by_nothing(way: float) -> None:
    bends = Bends(Topology(step(way), None)).at(np.array([[0, 0, 0], [3, 1, -3 * way]], np.float32))
    assert bends[0] == pytest.approx(way * np.pi / 2, rel=0.1)
    assert abs(bends[1]) < 1e-3


def test_a_sphere_bends_as_its_radius_says_however_fine_it_is() -> None:
    for subdivisions in (4, 5):
        sphere = trimesh.creation.icosphere(subdivisions, radius=1)
        points = trimesh.sample.sample_surface(sphere, 20000, seed=0)[0].astype(np.float32)
        bends = Bends(Topology(mesh_of(sphere.vertices, sphere.faces), None)).at(points)
        assert bends.mean() == pytest.approx(2 * 2.507 * 2 * BALL, rel=0.1)  # 2 / r over 2.5 deviations


def test_a_sheet_that_is_closed_back_to_back_does_not_bend_in_its_middle() -> None:
    sheet = [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]
    bends = Bends(Topology(mesh_of(sheet, [[0, 1, 2], [0, 2, 3], [0, 2, 1], [0, 3, 2]]), None))
    assert bends.at(np.zeros((1, 3), np.float32))[0] == 0


def test_the_middle_of_a_plain_is_open_and_the_inside_of_a_box_hidden() -> None:
    up, point = np.array([[0, 0, 1]], np.float32), np.zeros((1, 3), np.float32)
    plain = mesh_of([[-9, -9, 0], [9, -9, 0], [9, 9, 0], [-9, 9, 0]], [[0, 1, 2], [0, 2, 3]])
    assert Occluders(plain).hidden(point, up, up, 5)[0] == 0
    assert Occluders(box()).hidden(point, up, up, 5)[0] == 1
    assert Occluders(box()).hidden(point, up, up, 0.9)[0] == 0  # its walls are farther away


def test_the_foot_of_a_wall_is_half_hidden() -> None:
    wall = mesh_of([[0, -99, 0], [0, 99, 0], [0, 99, 99], [0, -99, 99]], [[0, 1, 2], [0, 2, 3]])
    up, point = np.array([[0, 0, 1]], np.float32), np.array([[1e-3, 0, 0]], np.float32)
    assert Occluders(wall).hidden(point, up, up, 50)[0] == pytest.approx(0.5, abs=0.05)


def test_rays_meet_the_triangles_that_trying_all_of_them_finds() -> None:
    rng = np.random.default_rng(0)
    soup = mesh_of(rng.uniform(-1, 1, (300, 3)), np.arange(300).reshape(-1, 3))
    up = np.tile(np.float32([0, 0, 1]), (50, 1))
    points = rng.uniform(-1, 1, (50, 3)).astype(np.float32)
    one_by_one = [Occluders(mesh_of(soup.positions[t], [[0, 1, 2]])).hidden(points, up, up, 1) for t in soup.triangles]
    together = Occluders(soup).hidden(points, up, up, 1)
    assert (together >= np.max(one_by_one, axis=0)).all()
    assert (together <= np.minimum(np.sum(one_by_one, axis=0), 1) + 1e-6).all()
    assert 0 < together.mean() < 1


def test_a_mesh_of_no_triangles_hides_nothing() -> None:
    empty = mesh_of(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
    assert Occluders(empty).hidden(np.zeros((1, 3), np.float32), *2 * [np.float32([[0, 0, 1]])], 1)[0] == 0


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_tone_is_light_on_a_ridge_dark_in_a_valley_and_flat_beside_them(way: float) -> None:
    tone = geometry_tone(Topology(step(way), None), 256)
    assert way * (tone[10:-10, 126:130] - FLAT_TONE).min() > 0.2
    np.testing.assert_allclose(tone[10:-10, 40:80], FLAT_TONE, atol=1e-3)


def test_tone_is_flat_away_from_the_surface() -> None:
    ridge = step(1)
    small = Mesh(ridge.positions, ridge.normals, ridge.uvs / 2, ridge.triangles, ridge.material_index)
    assert (geometry_tone(Topology(small, None), 256)[150:] == FLAT_TONE).all()


def test_a_material_that_no_triangle_has_gives_a_flat_tone() -> None:
    assert (geometry_tone(Topology(step(1), 5), 64) == FLAT_TONE).all()


def test_geometry_is_added_to_the_assets_own_tone() -> None:
    own = Content(0.7, np.full((8, 8), 0.4, np.float32), np.zeros((8, 8, 2), np.float32))
    tone = np.full((16, 16), 0.6, np.float32)
    both = with_geometry(own, tone, 0.7)
    np.testing.assert_allclose(both.tone, np.full((16, 16), 0.5), atol=1e-6)
    assert both.slope is own.slope
    assert with_geometry(None, tone, 0.7).tone is tone


# ---- through a restyle

SIDE = 128  # texels


@pytest.fixture(scope="module")
def exemplar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exemplar") / "noise.png"
    save_image(path, np.random.default_rng(0).integers(100, 140, (96, 96, 3), np.uint8))
    return path


def glb(path: Path, mesh: Mesh, texture: Floats | None = None) -> Path:
    uvs = mesh.uvs * (1, -1) + (0, 1)
    image = None if texture is None else Image.fromarray((texture * 255).astype(np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image, baseColorFactor=[255, 255, 255, 255])
    visual = trimesh.visual.TextureVisuals(uvs, material=material)
    trimesh.Trimesh(mesh.positions, mesh.triangles, visual=visual, process=False).export(path)
    return path


def albedo(folder: Path) -> Floats:
    return np.asarray(read_image(folder / "albedo.png").texels, np.float32).mean(axis=2)


def made(asset: Path, exemplar: Path, out: Path, geometry: str, content: float = 1.0) -> Floats:
    options = Options(size=SIDE, maps=(MapKind.ALBEDO,), preset="draft", content=content, geometry=geometry)  # type: ignore[arg-type]
    restyle(asset, exemplar, out, options, Run())
    return albedo(out)


def lighter(texels: Floats) -> float:
    """By how much the middle is lighter than what lies to the left of it."""
    middle = SIDE // 2
    return float(texels[10:-10, middle - 2 : middle + 2].mean() - texels[10:-10, middle // 3 : 2 * middle // 3].mean())


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_an_asset_without_textures_gets_light_ridges_and_dark_valleys(
    tmp_path: Path, exemplar: Path, way: float
) -> None:
    assert way * lighter(made(glb(tmp_path / "step.glb", step(way)), exemplar, tmp_path / "out", "auto")) > 20


def test_geometry_can_be_switched_off(tmp_path: Path, exemplar: Path) -> None:
    assert abs(lighter(made(glb(tmp_path / "step.glb", step(1)), exemplar, tmp_path / "out", "off"))) < 5


def test_an_asset_with_textures_gets_light_ridges_only_when_geometry_is_on(tmp_path: Path, exemplar: Path) -> None:
    asset = glb(tmp_path / "step.glb", step(1), np.full((64, 64, 3), 0.5, np.float32))
    assert abs(lighter(made(asset, exemplar, tmp_path / "auto", "auto"))) < 5
    assert lighter(made(asset, exemplar, tmp_path / "on", "on")) > 20


def test_without_content_geometry_is_none_either(tmp_path: Path, exemplar: Path) -> None:
    asset = glb(tmp_path / "step.glb", step(1))
    with_it, without = (made(asset, exemplar, tmp_path / way, way, content=0) for way in ("auto", "off"))
    np.testing.assert_array_equal(with_it, without)


def test_geometry_of_a_picture_is_refused_in_one_line(tmp_path: Path, exemplar: Path) -> None:
    with pytest.raises(TexsynthError, match=r"noise\.png is no mesh"):
        restyle(exemplar, exemplar, tmp_path / "out", Options(size=64, geometry="on"), Run())
