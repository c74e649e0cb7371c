import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from gltf_builder import QUAD_INDICES, QUAD_POSITIONS, QUAD_UVS, Builder, png, rigged, textured
from hypothesis import given, settings
from hypothesis import strategies as st

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.image_io import decode_image, save_image
from texsynth.material import MapKind
from texsynth.surface.gltf import read_gltf
from texsynth.surface.mesh import Mesh, load_mesh, write_glb
from texsynth.surface.raster import MAX_UV_TILES, UvRaster, uv_mask, visible
from texsynth.surface.uv_notes import uv_notes
from texsynth.surface.uv_topology import Topology


def simple(tmp_path: Path, **node: Any) -> Path:
    builder = Builder()
    builder.quad(textured(builder), **node)
    return builder.save(tmp_path)


def refusal(path: Path) -> str:
    with pytest.raises(TexsynthError) as caught:
        load_mesh(path)
    assert caught.value.kind is ErrorKind.BAD_INPUT
    assert "\n" not in str(caught.value)
    return str(caught.value)


def soup(uvs: Any, triangles: Any, index: Any = None) -> Mesh:
    uvs = np.asarray(uvs, np.float32)
    triangles = np.asarray(triangles, np.int32)
    flat = np.zeros((len(uvs), 3), np.float32)
    numbers = np.zeros(len(triangles), np.int32) if index is None else np.asarray(index, np.int32)
    return Mesh(flat, flat, uvs, triangles, numbers)


def outward(mesh: Mesh) -> np.ndarray:
    corners = mesh.positions[mesh.triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.einsum("tc,tc->t", cross, mesh.normals[mesh.triangles].mean(axis=1))


# ---- loading


def test_a_textured_quad_loads_with_its_material_and_uvs_from_the_top(tmp_path: Path) -> None:
    asset = load_mesh(simple(tmp_path))
    assert len(asset.mesh.triangles) == 2
    top = asset.mesh.uvs[asset.mesh.positions[:, 1] == 1]
    assert (top[:, 1] == 0).all()
    assert asset.mesh.material_index.tolist() == [0, 0]
    assert asset.materials[0].maps[MapKind.ALBEDO].texels[0, 0].tolist() == [200, 100, 50]


def test_node_transforms_are_applied(tmp_path: Path) -> None:
    asset = load_mesh(simple(tmp_path, translation=[5, 0, 0], scale=[2, 2, 2]))
    assert asset.mesh.positions.min(axis=0).tolist() == [3, -2, 0]
    assert asset.mesh.positions.max(axis=0).tolist() == [7, 2, 0]


def test_a_mirrored_node_keeps_its_triangles_facing_outward(tmp_path: Path) -> None:
    mesh = load_mesh(simple(tmp_path, scale=[-1, 1, 1])).mesh
    assert (outward(mesh) > 0).all()
    np.testing.assert_allclose(mesh.normals, np.tile([0, 0, 1], (4, 1)), atol=1e-6)


def test_normals_stay_perpendicular_under_uneven_scale(tmp_path: Path) -> None:
    builder = Builder()
    slope = [[-1, 1, -1], [1, 1, -1], [1, -1, 1], [-1, -1, 1]]
    builder.quad(textured(builder), positions=slope, scale=[1, 4, 1])
    mesh = load_mesh(builder.save(tmp_path)).mesh
    edge = mesh.positions[mesh.triangles[:, 1]] - mesh.positions[mesh.triangles[:, 0]]
    assert np.abs(np.einsum("tc,tc->t", edge, mesh.normals[mesh.triangles[:, 0]])).max() < 1e-5


def test_each_textured_material_gets_its_own_index(tmp_path: Path) -> None:
    builder = Builder()
    builder.material(pbrMetallicRoughness={"baseColorFactor": [1, 0, 0, 1]})
    first, second = textured(builder, (10, 20, 30)), textured(builder, (40, 50, 60))
    for material in (second, 0, first):
        builder.quad(material)
    asset = load_mesh(builder.save(tmp_path))
    assert asset.slots == (first, second)
    assert asset.mesh.material_index.tolist() == [1, 1, -1, -1, 0, 0]
    assert [m.maps[MapKind.ALBEDO].texels[0, 0, 0] for m in asset.materials] == [10, 40]


def test_triangles_without_area_are_dropped_with_a_note(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), indices=[*QUAD_INDICES, 0, 0, 1, 2, 2, 2], name="lid")
    asset = load_mesh(builder.save(tmp_path))
    assert len(asset.mesh.triangles) == 2
    assert "'lid': 2 of 4 triangles" in asset.notes[0]


def test_a_textured_geometry_without_uvs_is_refused_by_name(tmp_path: Path) -> None:
    builder = Builder()
    material = textured(builder)
    builder.quad(material)
    builder.quad(material, uvs=None, name="handle")
    assert "'handle' has no UVs" in refusal(builder.save(tmp_path))


def test_a_mesh_without_textures_loads_when_it_has_uvs(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad()
    asset = load_mesh(builder.save(tmp_path))
    assert asset.materials == ()
    assert asset.mesh.material_index.tolist() == [-1, -1]


def test_nan_uvs_are_refused(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), uvs=[[0, np.nan], *QUAD_UVS[1:]])
    assert "NaN or infinite" in refusal(builder.save(tmp_path))


def test_the_second_uv_set_is_used_where_the_texture_says_so(tmp_path: Path) -> None:
    builder = Builder()
    material = textured(builder)
    builder.tree["materials"][material]["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] = 1
    primitive = builder.quad(material)
    primitive["attributes"]["TEXCOORD_1"] = builder.accessor(np.array(QUAD_UVS) / 2, "<f4", "VEC2")
    assert load_mesh(builder.save(tmp_path)).mesh.uvs.max() == 0.5


def test_the_texture_transform_moves_the_uvs(tmp_path: Path) -> None:
    builder = Builder()
    material = textured(builder)
    info = builder.tree["materials"][material]["pbrMetallicRoughness"]["baseColorTexture"]
    info["extensions"] = {"KHR_texture_transform": {"offset": [0.25, 0.5], "scale": [0.5, 0.25]}}
    builder.quad(material)
    uvs = load_mesh(builder.save(tmp_path)).mesh.uvs
    np.testing.assert_allclose([uvs.min(axis=0), uvs.max(axis=0)], [[0.25, 0.5], [0.75, 0.75]], atol=1e-6)


def test_normalised_integer_uvs_become_floats(tmp_path: Path) -> None:
    builder = Builder()
    primitive = builder.quad(textured(builder))
    values = np.rint(np.array(QUAD_UVS) * 65535)
    primitive["attributes"]["TEXCOORD_0"] = builder.accessor(values, "<u2", "VEC2", normalized=True)
    np.testing.assert_allclose(np.sort(load_mesh(builder.save(tmp_path)).mesh.uvs, axis=0)[-1], [1, 1], atol=1e-6)


def test_an_obj_with_two_materials_loads(tmp_path: Path) -> None:
    for name, value in (("red one.png", (255, 0, 0)), ("blue.png", (0, 0, 255))):
        (tmp_path / name).write_bytes(png(value))
    (tmp_path / "box.mtl").write_text(
        "newmtl red\nmap_Kd -s 1 1 1 red one.png\nnewmtl blue\nKd 1 1 1\nmap_Kd blue.png\n"
    )
    (tmp_path / "box.obj").write_text(
        "mtllib box.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "usemtl red\nf 1/1 2/2 3/3\nusemtl blue\nf 1/1 3/3 4/4\n"
    )
    asset = load_mesh(tmp_path / "box.obj")
    colours = {material.name: material.maps[MapKind.ALBEDO].texels[0, 0].tolist() for material in asset.materials}
    assert colours == {"red": [255, 0, 0], "blue": [0, 0, 255]}
    top = asset.mesh.uvs[asset.mesh.positions[:, 1] == 1]
    assert (top[:, 1] == 0).all()


def test_an_obj_without_its_material_file_counts_as_untextured(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(
        "mtllib gone.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nf 1/1 2/2 3/3\n"
    )
    assert load_mesh(tmp_path / "a.obj").materials == ()


def test_text_that_is_no_mesh_is_refused(tmp_path: Path) -> None:
    for name in ("a.obj", "a.gltf", "a.glb"):
        (tmp_path / name).write_text("this is not a mesh")
        refusal(tmp_path / name)


def test_a_missing_mesh_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "gone.glb")


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/hostname", "file:///etc/hostname", "http://localhost/a.bin"])
def test_a_buffer_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "asset"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    tree = {"asset": {"version": "2.0"}, "buffers": [{"uri": name, "byteLength": 10}]}
    (folder / "a.gltf").write_text(json.dumps(tree))
    assert "outside its folder" in refusal(folder / "a.gltf")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "asset"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    (folder / "a.bin").symlink_to(tmp_path / "secret.bin")
    tree = {"asset": {"version": "2.0"}, "buffers": [{"uri": "a.bin", "byteLength": 10}]}
    (folder / "a.gltf").write_text(json.dumps(tree))
    assert "outside its folder" in refusal(folder / "a.gltf")


def test_a_gltf_with_a_data_uri_buffer_loads(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad()
    gltf = read_gltf(builder.save(tmp_path))
    uri = "data:application/octet-stream;base64," + base64.b64encode(gltf.buffers[0]).decode()
    tree = gltf.tree | {"buffers": [{"uri": uri, "byteLength": len(gltf.buffers[0])}]}
    (tmp_path / "b.gltf").write_text(json.dumps(tree))
    assert len(load_mesh(tmp_path / "b.gltf").mesh.triangles) == 2


def test_every_truncation_of_a_glb_is_refused_in_one_line(tmp_path: Path) -> None:
    data = simple(tmp_path).read_bytes()
    path = tmp_path / "cut.glb"
    for length in [*range(0, 40), *range(40, len(data), 97)]:
        path.write_bytes(data[:length])
        refusal(path)


BROKEN = {
    "accessor count beyond its view": lambda t: t["accessors"][0].update(count=2**31),
    "accessor offset beyond its view": lambda t: t["accessors"][0].update(byteOffset=2**40),
    "negative byte offset": lambda t: t["bufferViews"][0].update(byteOffset=-4),
    "view outside its buffer": lambda t: t["bufferViews"][0].update(byteLength=2**40),
    "unknown component type": lambda t: t["accessors"][0].update(componentType=1),
    "no such accessor": lambda t: t["meshes"][0]["primitives"][0]["attributes"].update(POSITION=99),
    "no such material": lambda t: t["meshes"][0]["primitives"][0].update(material=99),
    "no such texture": lambda t: t["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"].update(index=9),
    "no such image": lambda t: t["textures"][0].update(source=9),
    "node that is its own child": lambda t: t["nodes"][0].update(children=[0]),
    "cyclic nodes": lambda t: t.update(nodes=[{"mesh": 0, "children": [1]}, {"children": [0]}]),
    "material that is a list": lambda t: t["materials"][0].update(pbrMetallicRoughness=[]),
    "Draco": lambda t: t.update(extensionsUsed=["KHR_draco_mesh_compression"]),
    "sparse positions": lambda t: t["accessors"][0].update(sparse={"count": 1}),
    "glTF 1": lambda t: t["asset"].update(version="1.0"),
    "no asset": lambda t: t.pop("asset"),
    "nodes of text": lambda t: t.update(nodes="many"),
    "rotation of text": lambda t: t["nodes"][0].update(rotation=["a", "b", "c", "d"]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_gltf_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    gltf = read_gltf(simple(tmp_path))
    BROKEN[what](gltf.tree)
    text = json.dumps(gltf.tree).encode()
    text += b" " * (-len(text) % 4)
    blob = gltf.buffers[0]
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(blob))
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(blob), 0x004E4942) + blob
    (tmp_path / "broken.glb").write_bytes(head + body)
    refusal(tmp_path / "broken.glb")


def test_an_index_beyond_the_vertices_is_refused(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), indices=[0, 1, 9])
    assert "vertices it lacks" in refusal(builder.save(tmp_path))


# ---- writing


def new_maps(folder: Path, size: int = 16) -> dict[MapKind, Path]:
    values = {MapKind.ALBEDO: [11, 22, 33], MapKind.NORMAL: [128, 128, 255], MapKind.ROUGHNESS: [77]}
    for kind, value in values.items():
        save_image(folder / f"{kind}.png", np.full((size, size, len(value)), value, np.uint8))
    return {kind: folder / f"{kind}.png" for kind in values}


def image_of(path: Path, slot: int, *keys: str) -> np.ndarray:
    gltf = read_gltf(path)
    info: Any = gltf.tree["materials"][slot]
    for key in keys:
        info = info[key]
    return decode_image(gltf.image(gltf.tree["textures"][info["index"]]["source"]), "image").texels


def test_the_new_material_is_in_the_glb_and_the_geometry_is_the_same_to_the_bit(tmp_path: Path) -> None:
    asset = load_mesh(simple(tmp_path, scale=[-1, 2, 1]))
    out = tmp_path / "out"
    out.mkdir()
    write_glb(asset, out, {None: new_maps(out)})
    again = load_mesh(out / "asset.glb")
    for field in ("positions", "normals", "uvs", "triangles", "material_index"):
        np.testing.assert_array_equal(getattr(again.mesh, field), getattr(asset.mesh, field))
    maps = again.materials[0].maps
    assert [maps[kind].texels[0, 0].tolist() for kind in new_maps(out)] == [[11, 22, 33], [128, 128, 255], [77]]


def test_the_glb_opens_in_trimesh_with_the_new_colour(tmp_path: Path) -> None:
    write_glb(load_mesh(simple(tmp_path)), tmp_path, {None: new_maps(tmp_path)})
    geometry: Any = next(iter(trimesh.load_scene(tmp_path / "asset.glb").geometry.values()))
    assert geometry.visual.material.baseColorTexture.getpixel((0, 0))[:3] == (11, 22, 33)


def test_only_thechosen_material_changes(tmp_path: Path) -> None:
    builder = Builder()
    first, second = textured(builder, (10, 20, 30)), textured(builder, (40, 50, 60))
    builder.quad(first)
    builder.quad(second)
    asset = load_mesh(builder.save(tmp_path, "source.glb"))
    write_glb(asset, tmp_path, {1: new_maps(tmp_path)})
    colours = [m.maps[MapKind.ALBEDO].texels[0, 0].tolist() for m in load_mesh(tmp_path / "asset.glb").materials]
    assert colours == [[10, 20, 30], [11, 22, 33]]
    before, after = read_gltf(asset.path), read_gltf(tmp_path / "asset.glb")
    assert after.tree["materials"][first] == before.tree["materials"][first]
    assert after.image(0) == before.image(0)


def test_roughness_is_packed_into_green_beside_the_old_metalness_in_blue(tmp_path: Path) -> None:
    builder = Builder()
    packed = builder.texture(png((9, 99, 199)))
    builder.quad(textured(builder, pbr={"metallicRoughnessTexture": packed, "metallicFactor": 0.5}))
    write_glb(load_mesh(builder.save(tmp_path, "s.glb")), tmp_path, {None: new_maps(tmp_path)})
    texel = image_of(tmp_path / "asset.glb", 0, "pbrMetallicRoughness", "metallicRoughnessTexture")[0, 0]
    assert texel[1] == 77
    assert abs(int(texel[2]) - 199 * 0.5) <= 1
    pbr = read_gltf(tmp_path / "asset.glb").tree["materials"][0]["pbrMetallicRoughness"]
    assert (pbr["roughnessFactor"], pbr["metallicFactor"]) == (1.0, 1.0)


def test_metalness_is_zero_when_the_old_one_is_not_kept(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder, pbr={"metallicFactor": 1.0}))
    asset = load_mesh(builder.save(tmp_path, "s.glb"))
    write_glb(asset, tmp_path, {None: new_maps(tmp_path)}, keep_metalness=False)
    assert image_of(tmp_path / "asset.glb", 0, "pbrMetallicRoughness", "metallicRoughnessTexture")[..., 2].max() == 0


def test_images_that_nothing_uses_any_more_are_left_out(tmp_path: Path) -> None:
    path = simple(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    write_glb(load_mesh(path), out, {None: {MapKind.ALBEDO: new_maps(out)[MapKind.ALBEDO]}})
    tree = read_gltf(out / "asset.glb").tree
    assert len(tree["images"]) == len(tree["textures"]) == 1
    assert len(tree["bufferViews"]) == 4  # positions, UVs, indices, the new image


def test_the_opacity_of_a_blended_material_is_kept(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder, (200, 100, 50, 64), alphaMode="BLEND"))
    write_glb(load_mesh(builder.save(tmp_path, "s.glb")), tmp_path, {None: new_maps(tmp_path)})
    texel = image_of(tmp_path / "asset.glb", 0, "pbrMetallicRoughness", "baseColorTexture")[0, 0]
    assert texel.tolist() == [11, 22, 33, 64]


def test_large_maps_are_embedded_as_the_mip_level_of_the_right_size(tmp_path: Path) -> None:
    maps = new_maps(tmp_path, 32)
    (tmp_path / "mips").mkdir()
    for level in range(1, 6):
        side = 32 >> level
        save_image(tmp_path / "mips" / f"albedo.{level}.png", np.full((side, side, 3), 100 + level, np.uint8))
    notes = write_glb(load_mesh(simple(tmp_path)), tmp_path, {None: maps}, embed_size=8)
    colour = image_of(tmp_path / "asset.glb", 0, "pbrMetallicRoughness", "baseColorTexture")
    assert colour.shape == (8, 8, 3)
    assert (colour == 102).all()
    assert image_of(tmp_path / "asset.glb", 0, "normalTexture").shape == (8, 8, 3)  # no mip: reduced here
    assert notes == ("asset.glb holds its textures at 8 texels; the full maps lie beside it",)


def test_sixteen_bit_maps_are_embedded_with_eight(tmp_path: Path) -> None:
    maps = new_maps(tmp_path)
    save_image(maps[MapKind.NORMAL], np.full((16, 16, 3), [32768, 32768, 65535], np.uint16))
    write_glb(load_mesh(simple(tmp_path)), tmp_path, {None: maps})
    normal = image_of(tmp_path / "asset.glb", 0, "normalTexture")
    assert normal.dtype == np.uint8
    assert normal[0, 0].tolist() == [128, 128, 255]


def test_linear_float_colour_is_embedded_as_srgb(tmp_path: Path) -> None:
    save_image(tmp_path / "albedo.exr", np.full((4, 4, 3), 0.5, np.float32))
    write_glb(load_mesh(simple(tmp_path)), tmp_path, {None: {MapKind.ALBEDO: tmp_path / "albedo.exr"}})
    assert image_of(tmp_path / "asset.glb", 0, "pbrMetallicRoughness", "baseColorTexture")[0, 0].tolist() == [188] * 3


def test_skins_animations_targets_and_geometry_stay_the_same_to_the_bit(tmp_path: Path) -> None:
    asset = load_mesh(rigged().save(tmp_path, "rig.glb"))
    write_glb(asset, tmp_path, {None: new_maps(tmp_path)})
    before, after = read_gltf(asset.path), read_gltf(tmp_path / "asset.glb")
    changing = {"materials", "textures", "images", "bufferViews", "buffers", "accessors"}
    for key in (before.tree.keys() | after.tree.keys()) - changing:
        assert after.tree[key] == before.tree[key], key
    assert after.tree["materials"][1] == before.tree["materials"][1]
    assert len(after.tree["accessors"]) == len(before.tree["accessors"]) > 15
    for old, new in zip(before.tree["accessors"], after.tree["accessors"], strict=True):
        views = old["bufferView"], new["bufferView"]
        assert new | {"bufferView": 0} == old | {"bufferView": 0}
        assert bytes(after.view(views[1])) == bytes(before.view(views[0]))


@pytest.mark.parametrize("index_type", ["<u1", "<u2", "<u4"])
def test_indices_of_every_width_give_the_same_triangles(tmp_path: Path, index_type: str) -> None:
    builder = Builder()
    builder.quad(textured(builder), index_type=index_type)
    assert load_mesh(builder.save(tmp_path)).mesh.triangles.ravel().tolist() == QUAD_INDICES


def test_a_strip_gives_the_triangles_of_a_list(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), indices=[0, 3, 1, 2])["mode"] = 5
    mesh = load_mesh(builder.save(tmp_path)).mesh
    assert {frozenset(triangle) for triangle in mesh.triangles.tolist()} == {frozenset({0, 3, 1}), frozenset({3, 1, 2})}
    assert (outward(mesh) > 0).all()


def test_a_triangle_that_is_there_twice_is_kept_and_said_to_share_its_texels(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), indices=[*QUAD_INDICES, *QUAD_INDICES[:3]])
    mesh = load_mesh(builder.save(tmp_path)).mesh
    assert len(mesh.triangles) == 3
    assert "UVs: 33% of the surface lies on texels that other places show too; they look alike" in uv_notes(
        Topology(mesh, 0)
    )


def test_charts_on_top_of_each_other_in_different_tiles_are_said_to_share_their_texels(tmp_path: Path) -> None:
    builder = Builder()
    material = textured(builder)
    builder.quad(material)
    builder.quad(material, uvs=np.array(QUAD_UVS) + [3, -2], positions=np.array(QUAD_POSITIONS) + [5, 0, 0])
    notes = uv_notes(Topology(load_mesh(builder.save(tmp_path)).mesh, 0))
    assert any(note.startswith("UVs: 50% of the surface lies on texels that other places show too") for note in notes)


def test_a_mirrored_chart_is_said_to_be_mirrored_and_a_mirrored_node_is_not(tmp_path: Path) -> None:
    builder = Builder()
    material = textured(builder)
    builder.quad(material, uvs=np.array(QUAD_UVS) / 2)
    builder.quad(material, uvs=np.array(QUAD_UVS) * [-0.5, 0.5] + [1, 0.5])
    notes = uv_notes(Topology(load_mesh(builder.save(tmp_path)).mesh, 0))
    assert "UVs: 50% of the surface is mirrored in the texture" in notes
    notes = uv_notes(Topology(load_mesh(simple(tmp_path, rotation=[0, 0.6, 0, 0.8], scale=[2, 1, 3])).mesh, 0))
    assert not any("mirrored" in note for note in notes)


def test_two_meshes_on_several_nodes_are_placed_by_all_the_nodes_above_them(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), scale=[-1, 1, 1], translation=[0, 0, 5])
    builder.tree["nodes"] += [{"mesh": 0, "translation": [10, 0, 0]}, {"children": [1], "scale": [2, 2, 2]}]
    builder.tree["scenes"][0]["nodes"].append(2)
    mesh = load_mesh(builder.save(tmp_path)).mesh
    assert len(mesh.triangles) == 4
    assert (mesh.positions.min(axis=0).tolist(), mesh.positions.max(axis=0).tolist()) == ([-1, -2, 0], [22, 2, 5])
    assert (outward(mesh) > 0).all()


def test_uvs_without_any_area_are_refused(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), uvs=[[0.5, 0.5]] * 4)
    assert "UVs without any area" in refusal(builder.save(tmp_path))


def test_infinite_uvs_are_refused(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), uvs=[[0, np.inf], *QUAD_UVS[1:]])
    assert "NaN or infinite" in refusal(builder.save(tmp_path))


def test_a_mesh_without_faces_is_refused(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), indices=[])
    assert "holds no triangles" in refusal(builder.save(tmp_path))


def test_an_untextured_mesh_gets_its_first_material(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad()
    write_glb(load_mesh(builder.save(tmp_path, "s.glb")), tmp_path, {None: new_maps(tmp_path)})
    assert load_mesh(tmp_path / "asset.glb").materials[0].maps[MapKind.ALBEDO].texels[0, 0].tolist() == [11, 22, 33]


def test_images_beside_a_gltf_are_embedded(tmp_path: Path) -> None:
    (tmp_path / "colour.png").write_bytes(png((1, 2, 3)))
    builder = Builder()
    shared = builder.texture("colour.png")
    builder.quad(builder.material(pbrMetallicRoughness={"baseColorTexture": shared}, emissiveTexture=dict(shared)))
    asset = load_mesh(builder.save(tmp_path, "s.glb"))
    write_glb(asset, tmp_path, {None: new_maps(tmp_path)})
    assert image_of(tmp_path / "asset.glb", 0, "emissiveTexture")[0, 0].tolist() == [1, 2, 3]


def test_a_glb_in_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    asset = load_mesh(simple(tmp_path))
    with pytest.raises(TexsynthError, match=r"asset\.glb"):
        write_glb(asset, tmp_path / "nowhere", {None: new_maps(tmp_path)})


# ---- UV raster


def brute_force(uvs: Any, size: int, closed: bool = False) -> np.ndarray:
    """Texel centres inside the triangle repeated over the tiles, in float64; `closed`: on its edges too."""
    corners = np.rint(np.asarray(uvs, np.float64) * size * 4096) / 4096
    low, high = np.floor(corners.min() / size), np.ceil(corners.max() / size) + 1
    axis = np.arange(low * size, high * size) + 0.5
    x, y = np.meshgrid(axis, axis)
    pairs = zip(corners, np.roll(corners, -1, 0), strict=True)
    sides = np.array([side(a, b, (x, y)) for a, b in pairs])
    positive, negative = (sides >= 0, sides <= 0) if closed else (sides > 0, sides < 0)
    tiles = int(high - low)
    inside = positive.all(axis=0) | negative.all(axis=0)
    return inside.reshape(tiles, size, tiles, size).any(axis=(0, 2))


def side(a: Any, b: Any, p: Any) -> Any:
    """Above 0 on one side of the line a-b, below 0 on the other."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-0.875, 1.875, width=32), min_size=6, max_size=6), st.integers(1, 20))
def test_covered_texels_are_those_whose_centre_lies_inside(numbers: list[float], size: int) -> None:
    uvs = np.array(numbers, np.float32).reshape(3, 2)
    covered = uv_mask(soup(uvs, [[0, 1, 2]]), size, gutter=0)
    assert covered[brute_force(uvs, size)].all()
    assert brute_force(uvs, size, closed=True)[covered].all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 32), min_size=8, max_size=8), st.sampled_from([4, 8, 16]))
def test_a_shared_edge_is_covered_exactly_once(numbers: list[int], size: int) -> None:
    corners = np.array(numbers).reshape(4, 2) / 32  # many edges run exactly through texel centres
    a, b, c, d = corners
    if side(a, c, b) * side(a, c, d) >= 0:
        return  # b and d on one side of the shared edge: the triangles overlap by right
    one = uv_mask(soup(corners, [[0, 1, 2]]), size, gutter=0).astype(int)
    other = uv_mask(soup(corners, [[0, 2, 3]]), size, gutter=0).astype(int)
    assert (one + other).max() <= 1
    both = uv_mask(soup(corners, [[0, 1, 2], [0, 2, 3]]), size, gutter=0)
    hull = brute_force([a, b, c], size) | brute_force([a, c, d], size)
    assert (both | ~hull).all()


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_full_square_covers_every_texel_once(size: int) -> None:
    halves = [uv_mask(soup(QUAD_UVS, [t]), size, gutter=0).astype(int) for t in ([0, 1, 2], [0, 2, 3])]
    assert (sum(halves) == 1).all()


def test_winding_does_not_matter() -> None:
    uvs = [[0.1, 0.2], [0.9, 0.3], [0.4, 0.8]]
    np.testing.assert_array_equal(
        uv_mask(soup(uvs, [[0, 1, 2]]), 32, gutter=0), uv_mask(soup(uvs, [[2, 1, 0]]), 32, gutter=0)
    )


def test_uvs_outside_the_unit_square_repeat() -> None:
    uvs = np.array([[0.1, 0.2], [0.9, 0.3], [0.4, 0.8]])
    here = uv_mask(soup(uvs, [[0, 1, 2]]), 32, gutter=2)
    far = uv_mask(soup(uvs + np.array([3, -5]), [[0, 1, 2]]), 32, gutter=2)
    np.testing.assert_array_equal(here, far)


def test_a_triangle_across_the_border_wraps_around() -> None:
    mask = uv_mask(soup([[0.9, 0.4], [1.1, 0.4], [1.1, 0.6]], [[0, 1, 2]]), 20, gutter=0)
    assert mask[9, 19]
    assert mask[9, 1]
    assert not mask[9, 10]


def test_row_zero_is_the_top_of_the_image() -> None:
    mask = uv_mask(soup([[0, 0], [1, 0], [0, 0.2]], [[0, 1, 2]]), 16, gutter=0)
    assert mask[0].any()
    assert not mask[8:].any()


def test_the_gutter_grows_a_chart_by_so_many_texels_and_wraps() -> None:
    mask = uv_mask(soup([[0, 0], [0.25, 0], [0.25, 0.25], [0, 0.25]], [[0, 1, 2], [0, 2, 3]]), 16, gutter=3)
    rows = np.flatnonzero(mask.any(axis=1))
    # The outline at texel 4.0 touches texel 4, then three more on either side.
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 13, 14, 15]


def test_a_sliver_between_texel_centres_is_not_lost_with_a_gutter() -> None:
    sliver = soup([[0.1, 0.501], [0.9, 0.501], [0.9, 0.502]], [[0, 1, 2]])
    assert not uv_mask(sliver, 16, gutter=0).any()
    assert uv_mask(sliver, 16, gutter=1)[8, 2:14].all()


def test_only_thechosen_material_is_covered() -> None:
    uvs = [[0, 0], [1, 0], [1, 1], [0, 1]]
    mesh = soup(uvs, [[0, 1, 2], [0, 2, 3]], [0, 1])
    upper, lower = (uv_mask(mesh, 16, index, gutter=0) for index in (0, 1))
    assert upper[2, 12]
    assert lower[12, 2]
    assert not (upper & lower).any()
    assert not uv_mask(mesh, 16, 7).any()


def test_a_many_times_repeated_texture_covers_everything() -> None:
    mesh = soup(np.array(QUAD_UVS) * 100, [[0, 1, 2], [0, 2, 3]])
    assert uv_mask(mesh, 256, gutter=0).all()


def test_absurd_uvs_are_refused_instead_of_taking_for_ever() -> None:
    with pytest.raises(TexsynthError, match=f"at most {MAX_UV_TILES} tiles"):
        uv_mask(soup([[0, 0], [1e30, 0], [0, 1e30]], [[0, 1, 2]]), 64)


def test_a_mesh_without_triangles_covers_nothing() -> None:
    assert not uv_mask(soup(np.zeros((0, 2)), np.zeros((0, 3))), 16).any()


# ---- which triangle lies at a texel

CROWD = np.random.default_rng(0).uniform(-0.4, 1.6, (40, 3, 2)).astype(np.float32)
CROWD[::3] = CROWD[::3, :1] + CROWD[::3] / 16  # small ones among large ones that overlap and repeat


def crowd() -> Mesh:
    return soup(CROWD.reshape(-1, 2), np.arange(120).reshape(-1, 3))


@pytest.mark.parametrize("size", [1, 20, 64])
def test_texels_with_a_triangle_are_those_of_the_mask(size: int) -> None:
    found = UvRaster(crowd(), size, None).rows(0, size)
    np.testing.assert_array_equal(found.triangle >= 0, uv_mask(crowd(), size, gutter=0))


def test_where_triangles_overlap_the_lowest_number_wins() -> None:
    alone = np.array([uv_mask(soup(corners, [[0, 1, 2]]), 48, gutter=0) for corners in CROWD])
    lowest = np.where(alone.any(axis=0), alone.argmax(axis=0), -1)
    np.testing.assert_array_equal(UvRaster(crowd(), 48, None).rows(0, 48).triangle, lowest)


def test_weights_rebuild_the_centre_of_the_texel() -> None:
    size = 256
    found = UvRaster(crowd(), size, None).rows(0, size)
    covered = found.triangle >= 0
    corners = CROWD[found.triangle[covered]].astype(np.float64)
    rebuilt = (found.weights[covered][:, :, None] * corners).sum(axis=1) * size
    centres = np.argwhere(covered)[:, ::-1] + 0.5
    off = np.abs((rebuilt - centres + size / 2) % size - size / 2)
    assert off.max() < 2 / 4096  # of a centre that only the snapped triangle covers
    assert np.median(off) < 1e-4
    assert found.weights[covered].min() >= 0
    np.testing.assert_allclose(found.weights[covered].sum(axis=1), 1, atol=1e-6)
    assert not found.weights[~covered].any()


def test_bands_of_rows_are_those_of_the_whole() -> None:
    raster = UvRaster(crowd(), 64)
    whole = raster.rows(0, 64)
    for height in (1, 5, 64):
        bands = [raster.rows(first, min(first + height, 64)) for first in range(0, 64, height)]
        np.testing.assert_array_equal(np.concatenate([band.triangle for band in bands]), whole.triangle)
        np.testing.assert_array_equal(np.concatenate([band.weights for band in bands]), whole.weights)


def test_every_triangle_that_reaches_into_a_band_is_near_it_once() -> None:
    raster = UvRaster(crowd(), 64)
    rows = raster.corners[:, :, 1] / (1 << raster.bits)
    for first in range(0, 64 * raster.rows_of_tiles, 8):
        near = np.concatenate([raster.order[a:b] for a, b in raster.near(first, first + 8)])
        reach = np.flatnonzero((rows.min(axis=1) < first + 8) & (rows.max(axis=1) > first))
        assert len(near) == len(set(near.tolist()))
        assert set(reach.tolist()) <= set(near.tolist())


def test_triangles_are_numbered_as_in_the_mesh_whatever_the_material() -> None:
    mesh = soup(QUAD_UVS, [[0, 1, 2], [0, 2, 3]], [0, 1])
    assert set(np.unique(UvRaster(mesh, 16, 1).rows(0, 16).triangle)) == {-1, 1}
    assert set(np.unique(UvRaster(mesh, 16, 7).rows(0, 16).triangle)) == {-1}


def test_a_sliver_that_only_snapping_gives_an_area_still_has_weights_inside_it() -> None:
    # on a line through texel centres, in 1/4096 texel: the halves of the first two round up and down
    line = np.array([[1, 1024.5], [59999, 31023.5], [10000, 6024]]) / (16 * 4096)
    found = UvRaster(soup(line, [[0, 1, 2]]), 16, None).rows(0, 16)
    weights = found.weights[found.triangle >= 0]
    assert len(weights)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


# ---- screen raster


def test_barycentric_weights_are_perspective_correct() -> None:
    clip = np.array([[10, 10, 1.0], [100, 20, 3.0], [50, 90, 2.0]])
    for order in ([0, 1, 2], [0, 2, 1]):
        seen = visible(clip, np.array([order], np.int32), 128, 128)
        y, x = np.nonzero(seen.triangle == 0)
        corners = clip[order]
        homogeneous = seen.weights[y, x] @ np.c_[corners[:, :2] * corners[:, 2:], corners[:, 2]]
        np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], np.c_[x + 0.5, y + 0.5], atol=0.01)
        np.testing.assert_allclose(seen.inverse_depth[y, x], 1 / homogeneous[:, 2], rtol=1e-4)


def test_the_nearer_triangle_hides_the_farther_whatever_the_order() -> None:
    clip = np.array([[0, 0, 5.0], [40, 0, 5], [0, 40, 5], [0, 0, 2], [40, 0, 2], [0, 40, 2]])
    near_last = visible(clip, np.array([[0, 1, 2], [3, 4, 5]], np.int32), 20, 20)
    near_first = visible(clip, np.array([[3, 4, 5], [0, 1, 2]], np.int32), 20, 20)
    assert near_last.triangle[5, 5] == 1
    assert near_first.triangle[5, 5] == 0


def test_a_second_layer_shows_only_what_is_before_the_first() -> None:
    clip = np.array([[0, 0, 5.0], [40, 0, 5], [0, 40, 5], [0, 0, 2], [40, 0, 2], [0, 40, 2]])
    first = visible(clip, np.array([[0, 1, 2]], np.int32), 20, 20)
    assert visible(clip, np.array([[3, 4, 5]], np.int32), 20, 20, first).triangle[5, 5] == 0
    nearest = visible(clip, np.array([[3, 4, 5]], np.int32), 20, 20)
    assert (visible(clip, np.array([[0, 1, 2]], np.int32), 20, 20, nearest).triangle == -1).all()


def test_triangles_behind_the_eye_are_left_out() -> None:
    clip = np.array([[0, 0, -1.0], [40, 0, 1], [0, 40, 1]])
    assert (visible(clip, np.array([[0, 1, 2]], np.int32), 20, 20).triangle == -1).all()
