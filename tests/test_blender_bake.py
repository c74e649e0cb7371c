"""Blender as a judge of our G-buffers from outside. Needs the package bpy, which is Blender itself, 370 MB."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from texsynth.sample_asset import write_sample_asset
from texsynth.surface.gbuffer import GBufferRaster
from texsynth.surface.mesh import load_mesh

pytestmark = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed")

SIZE = 256
UNTOUCHED = np.float32(1e9)  # what texels hold before the bake
# Runs in a process of its own, because Blender takes over signals, exit and floating point of the one that it is in.
BAKE = """
import sys
import bpy
import numpy as np

given = np.load(sys.argv[1])
size = int(given["size"])
mesh = bpy.data.meshes.new("mesh")
mesh.from_pydata(given["positions"].tolist(), [], given["triangles"].tolist())
mesh.shade_smooth()
mesh.normals_split_custom_set_from_vertices(given["normals"].tolist())
layer = mesh.uv_layers.new(name="uv")
loops = np.empty(len(mesh.loops), np.int32)
mesh.loops.foreach_get("vertex_index", loops)
uvs = given["uvs"][loops] * (1, -1) + (0, 1)
layer.data.foreach_set("uv", uvs.astype(np.float32).ravel())
thing = bpy.data.objects.new("thing", mesh)
scene = bpy.context.scene
scene.collection.objects.link(thing)
for other in list(scene.collection.all_objects):
    if other is not thing:
        bpy.data.objects.remove(other)
material = bpy.data.materials.new("material")
material.use_nodes = True
mesh.materials.append(material)
image = bpy.data.images.new("bake", size, size, alpha=True, float_buffer=True)
image.colorspace_settings.name = "Non-Color"
node = material.node_tree.nodes.new("ShaderNodeTexImage")
node.image = image
material.node_tree.nodes.active = node
scene.render.engine = "CYCLES"
scene.cycles.device, scene.cycles.samples = "CPU", 1
scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
bpy.context.view_layer.objects.active = thing
thing.select_set(True)
baked = {}
for kind in ("POSITION", "NORMAL"):
    image.pixels.foreach_set(np.full(4 * size * size, 1e9, np.float32))
    bpy.ops.object.bake(type=kind, margin=0, use_clear=False, normal_space="OBJECT")
    texels = np.empty(4 * size * size, np.float32)
    image.pixels.foreach_get(texels)
    baked[kind] = texels.reshape(size, size, 4)[::-1]
np.savez(sys.argv[2], **baked)
"""


@pytest.fixture(scope="module")
def bakes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, NDArray[np.float32]], GBufferRaster]:
    folder = tmp_path_factory.mktemp("bake")
    mesh = load_mesh(write_sample_asset(folder, size=256)).mesh
    arrays = {name: getattr(mesh, name) for name in ("positions", "normals", "uvs", "triangles")}
    np.savez(folder / "mesh.npz", size=SIZE, **arrays)
    script = folder / "bake.py"
    script.write_text(BAKE)
    subprocess.run(
        [sys.executable, script, folder / "mesh.npz", folder / "out.npz"], check=True, capture_output=True, timeout=300
    )
    return dict(np.load(folder / "out.npz")), GBufferRaster(mesh, SIZE)


def test_blender_bakes_the_same_texels(bakes: tuple[dict[str, NDArray[np.float32]], GBufferRaster]) -> None:
    baked, raster = bakes
    np.testing.assert_array_equal(baked["POSITION"][:, :, 0] < UNTOUCHED, raster.rows(0, SIZE).triangle >= 0)


def test_blender_bakes_positions_within_a_hundredth_of_a_texel(
    bakes: tuple[dict[str, NDArray[np.float32]], GBufferRaster],
) -> None:
    baked, raster = bakes
    ours = raster.rows(0, SIZE)
    covered = ours.triangle >= 0
    off = np.linalg.norm(ours.position - baked["POSITION"][:, :, :3], axis=2)[covered]
    assert (off / ours.stretch[:, :, 0][covered]).max() < 0.01  # Blender bakes 0.001 texel beside the centre


def test_blender_bakes_the_same_normals(bakes: tuple[dict[str, NDArray[np.float32]], GBufferRaster]) -> None:
    baked, raster = bakes
    ours = raster.rows(0, SIZE)
    covered = ours.triangle >= 0
    theirs = baked["NORMAL"][:, :, :3] * 2 - 1
    assert np.abs(ours.normal - theirs)[covered].max() < 0.005
