import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import trimesh
from scipy import ndimage

from texsynth.errors import TexsynthError
from texsynth.sample_asset import GUTTER, write_sample_asset

Array = npt.NDArray[np.float64]
SIZE = 256


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_asset(tmp_path_factory.mktemp("asset") / "made", SIZE)


@pytest.fixture(scope="module")
def mesh(asset: Path) -> Any:
    return trimesh.load(asset, force="mesh", process=False)


@pytest.fixture(scope="module")
def corners(mesh: Any) -> Array:
    """UVs of the triangles (n, 3, 2), v down."""
    uv = np.asarray(mesh.visual.uv, np.float64)
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1)[mesh.faces]


def doubled_areas(corners: Array) -> Array:
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def chart_of(mesh: Any) -> npt.NDArray[np.int64]:
    """The chart of every triangle: charts share no vertices."""
    graph = trimesh.graph.connected_component_labels(mesh.edges, node_count=len(mesh.vertices))
    return np.asarray(graph)[mesh.faces[:, 0]]


def covered(corners: Array, size: int) -> npt.NDArray[np.int64]:
    """How many triangles hold each texel centre well inside."""
    count = np.zeros((size, size), np.int64)
    for triangle in corners * size:
        x0, y0 = np.floor(triangle.min(axis=0)).astype(int)
        x1, y1 = np.ceil(triangle.max(axis=0)).astype(int)
        x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
        (ax, ay), (bx, by), (cx, cy) = triangle
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        count[y0:y1, x0:x1] += (b > 1e-4) & (c > 1e-4) & (b + c < 1 - 1e-4)
    return count


def test_the_asset_is_one_mesh_of_moderate_size_with_one_textured_material(asset: Path) -> None:
    scene = trimesh.load(asset)
    assert len(scene.geometry) == 1
    (body,) = scene.geometry.values()
    assert 2000 <= len(body.faces) <= 12000
    material = body.visual.material
    for image in (material.baseColorTexture, material.normalTexture, material.metallicRoughnessTexture):
        assert image.size == (SIZE, SIZE)
    assert np.asarray(material.baseColorTexture).std() > 20


def test_uvs_lie_inside_the_texture(mesh: Any) -> None:
    uv = np.asarray(mesh.visual.uv)
    assert uv.min() >= 0
    assert uv.max() <= 1


def test_charts_do_not_overlap(corners: Array) -> None:
    count = covered(corners, 512)
    assert count.max() == 1
    assert count.mean() > 0.55


def test_charts_keep_a_gutter_between_them(mesh: Any, corners: Array) -> None:
    size = 512
    chart = chart_of(mesh)
    names = np.unique(chart)
    grown = np.zeros((size, size), np.int64)
    for name in names:
        mask = covered(corners[chart == name], size) > 0
        grown += ndimage.binary_dilation(mask, iterations=int(GUTTER * size), structure=np.ones((3, 3)))
    assert len(names) > 10
    assert grown.max() == 1


def test_no_chart_is_mirrored_and_every_triangle_faces_outwards(mesh: Any, corners: Array) -> None:
    # Counter-clockwise from outside is clockwise in an image whose v runs down only if the chart is mirrored.
    assert (doubled_areas(corners) < 0).all()
    outward = np.einsum("ij,ij->i", mesh.face_normals, mesh.vertex_normals[mesh.faces].mean(axis=1))
    assert (outward > 0.2).all()


def test_normals_point_away_from_the_pedestal(mesh: Any) -> None:
    centre = mesh.triangles_center
    shaft = (centre[:, 1] > 0.2) & (centre[:, 1] < 0.6)
    outward = np.einsum("ij,ij->i", mesh.face_normals[shaft][:, [0, 2]], centre[shaft][:, [0, 2]])
    assert shaft.sum() > 50
    assert (outward > 0).all()


def test_texel_density_is_even(mesh: Any, corners: Array) -> None:
    density = np.sqrt(np.abs(doubled_areas(corners)) / 2 / mesh.area_faces)
    order = np.argsort(density)
    share = np.cumsum(mesh.area_faces[order]) / mesh.area_faces.sum()
    low, middle, high = (density[order][np.searchsorted(share, q)] for q in (0.03, 0.5, 0.97))
    assert middle / low < 1.3
    assert high / middle < 1.3


def test_the_top_of_the_image_is_up_on_every_side(mesh: Any, corners: Array) -> None:
    side = np.abs(mesh.face_normals[:, 1]) < 0.4
    points, uv = mesh.triangles[side], corners[side]
    edges, turns = points[:, 1:] - points[:, :1], uv[:, 1:] - uv[:, :1]
    # dP/dv, from P = p0 + du T + dv B over both edges; the tangent frame's B is its negative (v runs down).
    determinant = turns[:, 0, 0] * turns[:, 1, 1] - turns[:, 0, 1] * turns[:, 1, 0]
    down = (turns[:, 0, :1] * edges[:, 1] - turns[:, 1, :1] * edges[:, 0]) / determinant[:, None]
    assert side.sum() > 1000
    assert (down[:, 1] < 0).all()


def test_texture_coordinates_in_the_file_count_from_the_top_row_as_gltf_asks(asset: Path) -> None:
    data = asset.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    tree = json.loads(data[20 : 20 + length])
    binary = data[20 + length + 8 :]

    def values(accessor: dict[str, Any], width: int) -> npt.NDArray[np.float32]:
        start = tree["bufferViews"][accessor["bufferView"]]["byteOffset"] + accessor.get("byteOffset", 0)
        return np.frombuffer(binary, "<f4", accessor["count"] * width, start).reshape(-1, width)

    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    assert {"POSITION", "NORMAL", "TEXCOORD_0"} <= set(attributes)
    position = values(tree["accessors"][attributes["POSITION"]], 3)
    uv = values(tree["accessors"][attributes["TEXCOORD_0"]], 2)
    front = (np.abs(position[:, 0]) < 0.2) & (position[:, 2] > 0.2) & (position[:, 2] < 0.2455)
    upper, lower = (front & (np.abs(position[:, 1] - y) < 1e-4) for y in (0.68, 0.155))
    assert upper.any()
    assert uv[upper, 1].max() < uv[lower, 1].min()


def test_only_the_brass_is_metal(mesh: Any, corners: Array) -> None:
    packed = np.asarray(mesh.visual.material.metallicRoughnessTexture)
    middle = np.clip((corners.mean(axis=1) * SIZE).astype(int), 0, SIZE - 1)
    metal = packed[middle[:, 1], middle[:, 0], 2]
    height = mesh.triangles_center[:, 1]
    brass = ((height > 1.125) & (height < 1.155)) | ((height > 0.975) & (height < 0.995))
    assert (metal[brass] > 128).all()
    assert (metal[(height < 0.96) | (height > 1.17)] == 0).all()


def test_gutters_hold_the_material_of_their_chart(mesh: Any, corners: Array) -> None:
    albedo = np.asarray(mesh.visual.material.baseColorTexture)[..., :3]
    background = np.all(albedo == round(0.35 * 255), axis=-1)
    inside = covered(corners, SIZE) > 0
    near = ndimage.binary_dilation(inside, iterations=int(GUTTER * SIZE) - 1, structure=np.ones((3, 3)))
    assert background.any()
    assert (background & near).mean() < 0.001


def test_the_same_size_gives_the_same_file(asset: Path, tmp_path: Path) -> None:
    assert write_sample_asset(tmp_path, SIZE).read_bytes() == asset.read_bytes()


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TexsynthError) as refused:
        write_sample_asset(tmp_path / "file", SIZE)
    assert "\n" not in str(refused.value)


def test_a_size_too_small_for_its_gutters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="256 to 8192"):
        write_sample_asset(tmp_path, 64)
