"""Meshes without UVs get some by xatlas, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from gltf_builder import QUAD_INDICES, Builder, rigged, textured

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.material import MapKind
from texsynth.surface.gltf import Gltf, accessor_rows, read_gltf
from texsynth.surface.mesh import load_mesh, uv_areas, write_glb
from texsynth.surface.raster import uv_mask
from texsynth.surface.unwrap import MAX_UNWRAPPED
from texsynth.surface.uv_notes import uv_notes
from texsynth.surface.uv_topology import Topology

NEW = {MapKind.ALBEDO: np.full((4, 4, 3), 9, np.uint8)}


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    pytest.importorskip("xatlas")
    (tmp_path / "ball.glb").write_bytes(
        trimesh.Scene(trimesh.creation.icosphere(subdivisions=3)).export(file_type="glb")
    )
    return tmp_path / "ball.glb"


def refusal(path: Path) -> str:
    with pytest.raises(TexsynthError) as caught:
        load_mesh(path)
    assert caught.value.kind is ErrorKind.BAD_INPUT
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_xatlas_a_mesh_without_uvs_is_refused_with_the_extra_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xatlas", None)  # what Python does for a module that cannot be imported
    (tmp_path / "box.stl").write_bytes(trimesh.creation.box().export(file_type="stl"))
    assert refusal(tmp_path / "box.stl").endswith(
        "box.stl: has no UVs; unwrap it in your modeller, or pip install 'texsynth[unwrap]' to have it done here"
    )


def test_the_charts_do_not_overlap_and_are_not_mirrored(ball: Path) -> None:
    mesh = load_mesh(ball).mesh
    assert mesh.uvs.min() >= 0 and mesh.uvs.max() <= 1
    areas = uv_areas(mesh, mesh.triangles)
    assert (areas < 0).all()
    covered = uv_mask(mesh, 1024, gutter=0).mean()
    np.testing.assert_allclose(covered, -areas.sum(), rtol=0.005)
    assert not any("mirrored" in note or "other places show" in note for note in uv_notes(Topology(mesh, None)))


def test_the_surface_is_equally_dense_in_the_texture(ball: Path) -> None:
    mesh = load_mesh(ball).mesh
    corners = mesh.positions[mesh.triangles].astype(np.float64)
    space = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    density = -uv_areas(mesh, mesh.triangles) / space
    assert np.quantile(density, 0.95) / np.quantile(density, 0.05) < 1.5


@pytest.mark.parametrize("size", [256, 1024, 4096])
def test_charts_lie_apart_by_texels_of_the_size_that_is_asked_for(ball: Path, size: int) -> None:
    mesh = load_mesh(ball, size=size).mesh
    links = trimesh.graph.connected_component_labels(trimesh.Trimesh(mesh.uvs, mesh.triangles, process=False).edges)
    chart = links[mesh.triangles[:, 0]]
    grown = np.zeros((size, size), np.uint8)
    for number in np.unique(chart):
        one = type(mesh)(
            mesh.positions, mesh.normals, mesh.uvs, mesh.triangles[chart == number], chart[chart == number]
        )
        grown += uv_mask(one, size, gutter=2)
    assert len(np.unique(chart)) > 2
    assert grown.max() == 1


def test_the_same_mesh_gets_the_same_uvs_each_time(ball: Path) -> None:
    first, second = (load_mesh(ball).mesh for _ in range(2))
    assert first.uvs.tobytes() == second.uvs.tobytes()
    assert first.triangles.tobytes() == second.triangles.tobytes()


def test_a_note_says_that_the_uvs_are_new(ball: Path) -> None:
    assert any("xatlas unwrapped it in" in note for note in load_mesh(ball).notes)


def test_the_written_glb_has_the_new_uvs(ball: Path, tmp_path: Path) -> None:
    asset = load_mesh(ball)
    write_glb(asset, tmp_path, {None: NEW})
    again = load_mesh(tmp_path / "asset.glb")
    for field in ("positions", "uvs", "triangles"):
        np.testing.assert_array_equal(getattr(again.mesh, field), getattr(asset.mesh, field))
    assert not any("xatlas" in note for note in again.notes)


def corners_of(gltf: Gltf, primitive: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of each attribute and target its values at the corners of the triangles, one after the other."""
    indices = accessor_rows(gltf, primitive["indices"])[:, 0].astype(np.int64)
    if primitive.get("mode", 4) == 5:
        indices = np.array([0, 1, 2, 2, 1, 3])[:, None] * 0 + indices[[0, 1, 2, 2, 1, 3]][:, None]
        indices = indices[:, 0]
    named = dict(primitive["attributes"])
    for number, target in enumerate(primitive.get("targets", ())):
        named |= {f"target {number} {name}": accessor for name, accessor in target.items()}
    return {name: accessor_rows(gltf, accessor)[indices] for name, accessor in named.items()}


def test_an_unwrapped_rig_keeps_its_vertices_joints_targets_and_animations(tmp_path: Path) -> None:
    pytest.importorskip("xatlas")
    before = read_gltf(rigged(uvs=False).save(tmp_path, "rig.glb"))
    write_glb(load_mesh(before.path), tmp_path, {None: NEW})
    after = read_gltf(tmp_path / "asset.glb")
    for old_mesh, new_mesh in zip(before.tree["meshes"], after.tree["meshes"], strict=True):
        for old, new in zip(old_mesh["primitives"], new_mesh["primitives"], strict=True):
            given, made = corners_of(before, old), corners_of(after, new)
            assert made.keys() == given.keys() | {"TEXCOORD_0"}
            for name, values in given.items():
                np.testing.assert_array_equal(made[name], values, name)
    for key in ("nodes", "skins", "scenes", "animations"):
        assert after.tree[key] == before.tree[key]
    for part in ("input", "output"):
        for sampler in before.tree["animations"][0]["samplers"]:
            np.testing.assert_array_equal(accessor_rows(after, sampler[part]), accessor_rows(before, sampler[part]))
    assert len(after.tree["accessors"]) == len({*used_accessors(after.tree)})


def used_accessors(tree: dict[str, Any]) -> list[int]:
    primitives = [primitive for mesh in tree["meshes"] for primitive in mesh["primitives"]]
    used = [number for primitive in primitives for number in (*primitive["attributes"].values(), primitive["indices"])]
    used += [n for primitive in primitives for target in primitive.get("targets", ()) for n in target.values()]
    used += [sampler[key] for one in tree["animations"] for sampler in one["samplers"] for key in ("input", "output")]
    return [*used, *(skin["inverseBindMatrices"] for skin in tree["skins"])]


def test_a_node_that_scales_a_mesh_gives_it_more_of_the_texture(tmp_path: Path) -> None:
    pytest.importorskip("xatlas")
    builder = Builder()
    builder.quad(uvs=None, name="small")
    builder.quad(uvs=None, name="large", scale=[3, 3, 3], translation=[9, 0, 0])
    mesh = load_mesh(builder.save(tmp_path)).mesh
    areas = uv_areas(mesh, mesh.triangles)
    np.testing.assert_allclose(areas[2:].sum() / areas[:2].sum(), 9, rtol=0.1)


def test_uvs_that_are_there_are_never_changed(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(name="unwrapped")
    builder.quad(uvs=None, name="bare")
    assert "'bare' has no UVs" in refusal(builder.save(tmp_path))


def test_a_textured_mesh_without_uvs_is_not_unwrapped(tmp_path: Path) -> None:
    builder = Builder()
    builder.quad(textured(builder), uvs=None, name="lost")
    assert "'lost' has no UVs" in refusal(builder.save(tmp_path))


def test_a_mesh_that_has_no_area_to_unwrap_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("xatlas")
    builder = Builder()
    builder.quad(uvs=None, positions=[[1, 1, 1]] * 4)
    assert "no area to unwrap" in refusal(builder.save(tmp_path))


def test_a_mesh_that_would_take_minutes_to_unwrap_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("xatlas")
    builder = Builder()
    builder.quad(uvs=None, indices=np.tile(QUAD_INDICES, MAX_UNWRAPPED // 2 + 1), index_type="<u4")
    assert "has no UVs and 500002 triangles; unwrap it in your modeller" in refusal(builder.save(tmp_path))
