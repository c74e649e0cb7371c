"""Meshes in .ply and .stl, as other tools write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from gltf_builder import png

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.material import MapKind, load_material
from texsynth.surface.container import read_container
from texsynth.surface.gltf import accessor_values, read_gltf
from texsynth.surface.mesh import load_mesh, write_glb

CORNERS = [(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0)]
UVS = [(0.25, 0.5), (0.75, 0.5), (0.75, 1.0), (0.25, 1.0)]  # v up, as these formats have it
EXPECTED = [(u, 1 - v) for u, v in UVS]
HEAD = ["ply", "format ascii 1.0", "comment made by hand"]
XYZ = [f"property float {name}" for name in "xyz"]


def ply(folder: Path, lines: list[str]) -> Path:
    (folder / "quad.ply").write_text("\n".join([*HEAD, *lines]) + "\n")
    return folder / "quad.ply"


def vertex_uv_ply(folder: Path, names: tuple[str, str], faces: list[str], extra: list[str] | None = None) -> Path:
    properties = [*XYZ, *(f"property float {name}" for name in names)]
    rows = [" ".join(map(str, (*corner, *uv))) for corner, uv in zip(CORNERS, UVS, strict=True)]
    listed = [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    return ply(folder, [*(extra or []), "element vertex 4", *properties, *listed, *rows, *faces])


def uvs_by_place(path: Path) -> dict[tuple[float, ...], tuple[float, ...]]:
    mesh = load_mesh(path).mesh
    return {tuple(p.tolist()): tuple(uv.tolist()) for p, uv in zip(mesh.positions, mesh.uvs, strict=True)}


def refusal(path: Path) -> str:
    with pytest.raises(TexsynthError) as caught:
        load_mesh(path)
    assert caught.value.kind is ErrorKind.BAD_INPUT
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("names", [("s", "t"), ("u", "v"), ("texture_u", "texture_v")])
@pytest.mark.parametrize("faces", [["3 0 1 2", "3 0 2 3"], ["4 0 1 2 3"]], ids=["triangles", "quad"])
def test_a_ply_keeps_the_uvs_of_its_vertices(tmp_path: Path, names: tuple[str, str], faces: list[str]) -> None:
    path = vertex_uv_ply(tmp_path, names, faces)
    assert uvs_by_place(path) == dict(zip(CORNERS, EXPECTED, strict=True))
    assert len(load_mesh(path).mesh.triangles) == 2


def corner_uv_ply(folder: Path) -> Path:
    """Two triangles whose shared edge is a seam: the second lies elsewhere in the texture; normals differ."""
    lists = ["property list uchar int vertex_indices", "property list uchar float texcoord"]
    normals = [f"property float n{name}" for name in "xyz"]
    rows = [f"{x} {y} {z} {n}" for (x, y, z), n in zip(CORNERS, ["0 0 1", "0 1 0", "1 0 0", "0.6 0 0.8"], strict=True)]
    faces = ["3 0 1 2 6 0 0 0.5 0 0.5 0.5", "3 0 2 3 6 0.5 0.5 1 1 0.5 1"]
    return ply(folder, ["element vertex 4", *XYZ, *normals, "element face 2", *lists, "end_header", *rows, *faces])


def test_a_ply_with_uvs_at_corners_is_cut_along_its_seams(tmp_path: Path) -> None:
    mesh = load_mesh(corner_uv_ply(tmp_path)).mesh
    given = [[[0, 1], [0.5, 1], [0.5, 0.5]], [[0.5, 0.5], [1, 0], [0.5, 0]]]
    np.testing.assert_allclose(mesh.uvs[mesh.triangles], given, atol=1e-6)
    assert len(mesh.positions) == 6


def test_a_ply_cut_along_its_seams_keeps_its_normals(tmp_path: Path) -> None:
    mesh = load_mesh(corner_uv_ply(tmp_path)).mesh
    given = dict(zip(CORNERS, [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0.6, 0, 0.8)], strict=True))
    expected = [given[tuple(place)] for place in mesh.positions.tolist()]
    np.testing.assert_allclose(mesh.normals, expected, atol=1e-6)


@pytest.mark.parametrize("encoding", ["binary_little_endian", "ascii"])
def test_a_ply_written_by_trimesh_keeps_its_uvs(tmp_path: Path, encoding: str) -> None:
    visual = trimesh.visual.TextureVisuals(uv=np.array(UVS))
    made = trimesh.Trimesh(CORNERS, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)
    (tmp_path / "quad.ply").write_bytes(made.export(file_type="ply", encoding=encoding))
    assert uvs_by_place(tmp_path / "quad.ply") == dict(zip(CORNERS, EXPECTED, strict=True))


def test_a_binary_ply_of_either_byte_order_loads(tmp_path: Path) -> None:
    for order, name in (("<", "little"), (">", "big")):
        properties = [*XYZ, "property double u", "property double v"]
        lines = [HEAD[0], f"format binary_{name}_endian 1.0", "element vertex 4", *properties, "element face 2"]
        lines += ["property list uchar uint vertex_indices", "end_header\n"]
        vertices = np.empty(4, [("p", order + "f4", 3), ("t", order + "f8", 2)])
        vertices["p"], vertices["t"] = CORNERS, UVS
        faces = np.array([(3, [0, 1, 2]), (3, [0, 2, 3])], [("n", "u1"), ("i", order + "u4", 3)])
        path = tmp_path / f"{name}.ply"
        path.write_bytes("\n".join(lines).encode() + vertices.tobytes() + faces.tobytes())
        assert uvs_by_place(path) == dict(zip(CORNERS, EXPECTED, strict=True))


@pytest.mark.parametrize(("order", "name"), [("<", "little"), (">", "big")])
def test_a_binary_ply_of_triangles_quads_and_larger_polygons_loads(tmp_path: Path, order: str, name: str) -> None:
    around = [(np.cos(turn), np.sin(turn), 0.0) for turn in np.arange(6) * np.pi / 3]
    lines = ["ply", f"format binary_{name}_endian 1.0", "comment Created in Blender", "element vertex 6", *XYZ]
    lines += ["property float s", "property float t", "element face 4"]
    lines += ["property list uchar uint vertex_indices", "end_header\n"]
    vertices = np.array([(*place, place[0] / 2 + 0.5, place[1] / 2 + 0.5) for place in around], order + "f4")
    faces = [[0, 1, 2, 3, 4, 5], [0, 1, 2], [0, 2, 3, 4], [0, 4]]
    lists = b"".join(bytes([len(face)]) + np.array(face, order + "u4").tobytes() for face in faces)
    (tmp_path / "fan.ply").write_bytes("\n".join(lines).encode() + vertices.tobytes() + lists)
    mesh = load_mesh(tmp_path / "fan.ply").mesh
    places = np.array(around, np.float32)[[[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5], [0, 1, 2], [0, 2, 3], [0, 3, 4]]]
    np.testing.assert_array_equal(mesh.positions[mesh.triangles], places)
    np.testing.assert_allclose(mesh.uvs[mesh.triangles], places[..., :2] * (0.5, -0.5) + 0.5, atol=1e-6)


def test_the_image_that_a_ply_names_is_its_base_colour(tmp_path: Path) -> None:
    (tmp_path / "old wood.png").write_bytes(png((200, 100, 50)))
    path = vertex_uv_ply(tmp_path, ("s", "t"), ["4 0 1 2 3"], ["comment TextureFile old wood.png"])
    assert load_mesh(path).materials[0].maps[MapKind.ALBEDO].texels[0, 0].tolist() == [200, 100, 50]
    assert load_material(path).maps[MapKind.ALBEDO].texels[0, 0].tolist() == [200, 100, 50]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "http://localhost/a.png"])
def test_a_ply_cannot_name_an_image_outside_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(png((1, 2, 3)))
    folder = tmp_path / "asset"
    folder.mkdir()
    path = vertex_uv_ply(folder, ("s", "t"), ["4 0 1 2 3"], [f"comment TextureFile {name}"])
    assert "outside its folder" in refusal(path)


def test_a_ply_of_several_textures_is_refused_with_what_to_do(tmp_path: Path) -> None:
    several = ["comment TextureFile a.png", "comment TextureFile b.png"]
    assert "export it as .glb or .obj" in refusal(vertex_uv_ply(tmp_path, ("s", "t"), ["4 0 1 2 3"], several))


def test_colours_of_vertices_are_left_out_with_a_note(tmp_path: Path) -> None:
    colours = [f"property uchar {name}" for name in ("red", "green", "blue")]
    rows = [f"{x} {y} {z} {u} {v} 255 0 0" for (x, y, z), (u, v) in zip(CORNERS, UVS, strict=True)]
    listed = ["element face 1", "property list uchar int vertex_indices", "end_header", *rows, "4 0 1 2 3"]
    path = ply(tmp_path, ["element vertex 4", *XYZ, "property float s", "property float t", *colours, *listed])
    asset = load_mesh(path)
    assert "quad.ply: its colours of vertices or faces are not used" in asset.notes
    write_glb(asset, tmp_path, {None: {MapKind.ALBEDO: np.full((4, 4, 3), 9, np.uint8)}})
    primitive = read_gltf(tmp_path / "asset.glb").tree["meshes"][0]["primitives"][0]
    assert sorted(primitive["attributes"]) == ["POSITION", "TEXCOORD_0"]


def test_the_glb_of_a_ply_has_its_uvs_and_the_new_colour(tmp_path: Path) -> None:
    asset = load_mesh(vertex_uv_ply(tmp_path, ("s", "t"), ["4 0 1 2 3"]))
    write_glb(asset, tmp_path, {None: {MapKind.ALBEDO: np.full((4, 4, 3), 9, np.uint8)}})
    again = load_mesh(tmp_path / "asset.glb")
    np.testing.assert_array_equal(again.mesh.uvs, asset.mesh.uvs)
    assert again.materials[0].maps[MapKind.ALBEDO].texels[0, 0].tolist() == [9, 9, 9]


def test_a_ply_of_points_is_refused(tmp_path: Path) -> None:
    assert "no triangles" in refusal(ply(tmp_path, ["element vertex 1", *XYZ, "end_header", "0 0 0"]))


def test_a_ply_that_refers_to_vertices_it_lacks_is_refused(tmp_path: Path) -> None:
    for face in ("3 0 1 4", "3 0 -1 2"):
        assert "quad.ply" in refusal(vertex_uv_ply(tmp_path, ("s", "t"), [face]))


def test_a_ply_whose_uvs_are_not_finite_is_refused(tmp_path: Path) -> None:
    path = vertex_uv_ply(tmp_path, ("s", "t"), ["4 0 1 2 3"])
    for bad in ("nan", "inf", "1e300"):
        (tmp_path / "bad.ply").write_text(path.read_text().replace("0.25 0.5", f"{bad} 0.5", 1))
        assert "infinite" in refusal(tmp_path / "bad.ply")


def test_uvs_without_any_area_are_refused(tmp_path: Path) -> None:
    path = vertex_uv_ply(tmp_path, ("s", "t"), ["4 0 1 2 3"])
    path.write_text(path.read_text().replace("0.75", "0.25"))
    assert "UVs without any area" in refusal(path)


def test_the_triangles_of_an_stl_share_their_vertices(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    (tmp_path / "binary.stl").write_bytes(ball.export(file_type="stl"))
    (tmp_path / "text.stl").write_text(ball.export(file_type="stl_ascii"))
    for name in ("binary.stl", "text.stl"):
        container = read_container(tmp_path / name)
        primitive = container.tree["meshes"][0]["primitives"][0]
        assert len(accessor_values(container, primitive["attributes"]["POSITION"])) == len(ball.vertices)
        assert len(accessor_values(container, primitive["indices"])) == 3 * len(ball.faces)


def test_an_stl_of_several_solids_has_all_of_them(tmp_path: Path) -> None:
    pytest.importorskip("xatlas")
    solids = [trimesh.creation.box(), trimesh.creation.icosphere(subdivisions=1)]
    text = "".join(solid.export(file_type="stl_ascii") for solid in solids)
    (tmp_path / "two.stl").write_text(text)
    assert len(load_mesh(tmp_path / "two.stl").mesh.triangles) == sum(len(solid.faces) for solid in solids)


def test_an_stl_without_triangles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.stl").write_bytes(bytes(84))
    (tmp_path / "text.stl").write_text("solid nothing\nendsolid nothing\n")
    for name in ("none.stl", "text.stl"):
        assert "no triangles" in refusal(tmp_path / name)


def test_an_stl_cut_short_is_refused(tmp_path: Path) -> None:
    data = trimesh.creation.box().export(file_type="stl")
    (tmp_path / "cut.stl").write_bytes(data[:-7])
    assert "claims 12 triangles and has room for 11.86" in refusal(tmp_path / "cut.stl")
