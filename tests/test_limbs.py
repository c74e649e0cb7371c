"""Limbs of a mesh, the way they run, and grain that follows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

from texsynth.grain import Grain, coherence_of, grain_of
from texsynth.image_io import read_image
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.surface.flatten import areas
from texsynth.surface.limbs import limb_axes, one_way
from texsynth.surface.mesh import Mesh
from texsynth.surface.pattern import Follow, PatternPlane, plan_plane
from texsynth.surface.uv_topology import Topology, places_of

Doubles = NDArray[np.float64]
SIZE = 256
UP = np.array([0.0, 1.0, 0.0])


def bent_tube(turn: float, radius: float = 0.3, steps: int = 24, around: int = 16) -> Mesh:
    """A tube from the ground on, that bends by `turn` radians over a length of 4; two charts, of its two sides."""
    half = np.linspace(0, 0.5, around // 2 + 1)
    s, u = np.meshgrid(np.linspace(0, 1, steps + 1), np.r_[half, half + 0.5], indexing="ij")
    bend = 4 / turn
    angle, round_it = s * turn, u * 2 * np.pi
    out = np.stack([np.cos(angle), -np.sin(angle), 0 * s], -1)  # away from the axis that it bends about
    middle = np.stack([bend * (1 - np.cos(angle)), bend * np.sin(angle), 0 * s], -1)
    places = middle + radius * (np.cos(round_it)[..., None] * -out + np.sin(round_it)[..., None] * [0, 0, 1])
    uvs = np.stack([0.1 + 0.3 * u + 0.2 * (np.arange(around + 2) > around // 2), 0.9 - 0.8 * s], -1)
    row, column = np.divmod(np.arange(steps * around), around)
    low = row * (around + 2) + column + (column >= around // 2)
    high = low + around + 2
    triangles = np.concatenate([np.stack(t, 1) for t in ([low, high + 1, low + 1], [low, high, high + 1])])
    positions = places.reshape(-1, 3).astype(np.float32)
    return Mesh(
        positions, np.zeros_like(positions), uvs.reshape(-1, 2).astype(np.float32), triangles.astype(np.int32),
        np.zeros(len(triangles), np.int32),
    )  # fmt: skip


def true_axes(mesh: Mesh, turn: float) -> Doubles:
    middles = mesh.positions[mesh.triangles].mean(axis=1)
    bend = 4 / turn
    angle = np.arctan2(middles[:, 1], bend - middles[:, 0])
    return np.stack([np.sin(angle), np.cos(angle), 0 * angle], 1)


def facets(mesh: Mesh) -> tuple[Doubles, NDArray[np.int64]]:
    return mesh.positions[mesh.triangles].astype(np.float64), places_of(mesh)[mesh.triangles]


def of_solid(solid: trimesh.Trimesh) -> Mesh:
    positions, triangles = np.array(solid.vertices, np.float32), np.array(solid.faces, np.int32)
    return Mesh(
        positions, np.zeros_like(positions), np.zeros((len(positions), 2), np.float32), triangles,
        np.zeros(len(triangles), np.int32),
    )  # fmt: skip


@pytest.mark.parametrize("turn", [0.01, 1.5, 3.0])
def test_the_axis_of_a_tube_is_found_however_far_it_bends(turn: float) -> None:
    mesh = bent_tube(turn)
    axes, sure = limb_axes(*facets(mesh))
    assert np.mean(sure > 0.5) > 0.9
    off = np.degrees(np.arccos(np.clip(np.abs((axes * true_axes(mesh, turn)).sum(axis=1)), 0, 1)))
    assert np.median(off[sure > 0.5]) < 3


@pytest.mark.parametrize(
    "solid",
    [
        trimesh.creation.icosphere(subdivisions=3),
        trimesh.creation.box((1, 1, 1)).subdivide().subdivide().subdivide(),
        trimesh.creation.box((1, 1.3, 0.05)).subdivide().subdivide().subdivide().subdivide(),
    ],
    ids=["ball", "box", "board"],
)
def test_balls_boxes_and_boards_are_no_limbs(solid: trimesh.Trimesh) -> None:
    _, sure = limb_axes(*facets(of_solid(solid)))
    assert np.mean(sure > 0.5) < 0.05


def test_a_long_beam_is_a_limb() -> None:
    beam = trimesh.creation.box((3, 0.3, 0.25)).subdivide().subdivide().subdivide().subdivide()
    axes, sure = limb_axes(*facets(of_solid(beam)))
    middle = np.abs(beam.triangles_center[:, 0]) < 1
    assert np.mean(sure[middle] > 0.5) > 0.9
    assert np.median(np.abs(axes[middle & (sure > 0.5), 0])) > 0.99


def test_axes_run_one_way_along_the_whole_limb_and_up_where_most_of_it_rises() -> None:
    mesh = bent_tube(2.0)
    corners, of = facets(mesh)
    axes, sure = limb_axes(corners, of)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], len(axes))
    beside = Topology(mesh, 0).shared_edges[1]
    made = one_way(axes * signs[:, None], sure, np.ones(len(axes)), beside, (UP,))
    assert np.all((made * true_axes(mesh, 2.0)).sum(axis=1)[sure > 0.5] > 0.9)


def off_upright(plane: PatternPlane, ways: Doubles) -> Doubles:
    """Degrees, from 0 to 90, between what a direction (T, 3) shows as on the plane and its vertical."""
    corners = plane.mesh.positions[plane.mesh.triangles].astype(np.float64)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    shares = np.stack([np.linalg.lstsq(np.stack([a, b], 1), c)[0] for a, b, c in zip(one, two, ways, strict=True)])
    flat = np.stack([plane.corners[:, k] - plane.corners[:, 0] for k in (1, 2)], axis=1)
    x, y = np.einsum("tk,tki->it", shares, flat)
    return np.asarray(np.degrees(np.arctan2(np.abs(x), np.abs(y))))


@pytest.mark.parametrize(("follow", "grain", "lies"), [
    (Follow.LIMBS, 0.0, 0), (Follow.LIMBS, 30.0, 30), (Follow.LYING_LIMBS, 0.0, 90),
])  # fmt: skip
def test_grain_follows_a_tube_round_its_bend(follow: Follow, grain: float, lies: float) -> None:
    turn = 2.5
    surface = Topology(bent_tube(turn), 0)
    ways = true_axes(surface.mesh, turn)
    straight, bent = (
        plan_plane(surface, SIZE, 40.0, grain, join=True, follow=each) for each in (Follow.NOTHING, follow)
    )
    assert np.median(np.abs(off_upright(straight, ways) - lies)) > 20
    off = np.abs(off_upright(bent, ways) - lies)
    assert np.median(off) < 3
    assert np.quantile(off, 0.9) < 12
    assert (areas(bent.corners) < 0).all(), "nothing is folded"


def test_lines_of_an_exemplar_run_along_a_bent_tube(tmp_path: Path) -> None:
    mesh = bent_tube(2.5)
    lines = np.random.default_rng(5).random((1, 128, 3)).repeat(2, axis=1).repeat(256, axis=0)
    Image.fromarray((lines * 255).astype(np.uint8)).save(tmp_path / "lines.png")
    solid = trimesh.Trimesh(mesh.positions, mesh.triangles, process=False)
    solid.visual = trimesh.visual.TextureVisuals(uv=mesh.uvs * (1, -1) + (0, 1))
    solid.export(tmp_path / "tube.glb")
    options = Options(size=512, preset="draft", content=0, maps=(MapKind.ALBEDO,), style_size=1.0)
    restyle(tmp_path / "tube.glb", tmp_path / "lines.png", tmp_path / "out", options, Run())
    albedo = read_image(tmp_path / "out" / "albedo.png").texels / 255.0
    for left in (0.1, 0.45):  # of each chart, which is straight in the texture
        for top in np.linspace(0.1, 0.8, 8):
            part = albedo[int(512 * top) : int(512 * (top + 0.1)), int(512 * (left + 0.02)) : int(512 * (left + 0.13))]
            coherence, angle = coherence_of(part)
            assert coherence > 0.3
            assert abs(np.degrees(angle)) < 12


def test_lines_of_an_exemplar_stand_lie_or_have_no_way() -> None:
    random = np.random.default_rng(3)
    lines = np.repeat(random.random((1, 128, 3)), 128, axis=0) + 0.05 * random.random((128, 128, 3))
    assert grain_of(lines) is Grain.UPRIGHT
    assert grain_of(lines.swapaxes(0, 1)) is Grain.LEVEL
    assert grain_of(random.random((128, 128, 3))) is Grain.NONE
    slanted = np.stack([np.roll(lines[0], k, axis=0) for k in range(128)])
    assert grain_of(slanted) is Grain.NONE
    assert grain_of(np.full((64, 64, 3), 0.5)) is Grain.NONE
