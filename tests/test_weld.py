"""UV seams welded: what continues where, where the cut runs, and what is left as it was."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

from texsynth.material import MapKind, TextureMap
from texsynth.measure import seam_steps
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.sample_asset import write_sample_asset
from texsynth.surface.ghosts import RING
from texsynth.surface.mesh import Mesh, load_mesh
from texsynth.surface.plane import Plane
from texsynth.surface.raster import uv_mask
from texsynth.surface.strip_cut import TAPER, _cheapest, cut_strips, depths_inside
from texsynth.surface.strips import Strips, seam_strips
from texsynth.surface.turns import turned_normals
from texsynth.surface.uv_notes import uv_notes
from texsynth.surface.uv_seams import sample_seams, seam_error
from texsynth.surface.uv_topology import Topology
from texsynth.surface.weld import needed_texels, weld_seams
from texsynth.train.procedural import generate, write

SIZE = 256
Doubles = NDArray[np.float64]


def two_squares(
    angle: float = 0.0, mirrored: bool = False, scale: float = 1.0, second: float = 0.3, shear: float = 0.0
) -> Mesh:
    """Two unit squares that meet at x = 1. Of the texture the left one has 0.05..0.4 square, the right one a square of
    side `second`, sheared, pressed to 1 - `shear` of its height and turned by `angle` degrees, about (0.7, 0.6)."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    flat = np.concatenate([corners, corners + (1, 0)])
    left = 0.05 + 0.35 * np.stack([corners[:, 0], 1 - corners[:, 1]], axis=1)
    turn = np.deg2rad(angle)
    right = np.stack([corners[:, 0], 1 - corners[:, 1]], axis=1) - 0.5
    if mirrored:
        right[:, 1] *= -1
    right = right @ np.array([[1, 0], [shear, 1 - shear]])
    right = scale * second * right @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    uvs = np.concatenate([left, right + (0.7, 0.6)]).astype(np.float32)
    positions = np.concatenate([flat, np.zeros((8, 1))], axis=1).astype(np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (8, 1))
    return Mesh(positions, normals, uvs, triangles, np.zeros(4, np.int32))


def on_surface(mesh: Mesh, points: Doubles, triangle: int) -> Doubles:
    """Where texels (x, y) lie on the surface, by the plane of one triangle, which is continued."""
    corners = mesh.triangles[triangle]
    uvs, places = mesh.uvs[corners].astype(np.float64) * SIZE, mesh.positions[corners, :2].astype(np.float64)
    shares = np.linalg.solve(np.stack([uvs[1] - uvs[0], uvs[2] - uvs[0]], axis=1), (points - uvs[0]).T).T
    return places[0] + shares @ np.stack([places[1] - places[0], places[2] - places[0]])


def random_maps(seed: int = 0) -> dict[MapKind, NDArray[np.uint8]]:
    draw = np.random.default_rng(seed)
    return {
        kind: draw.integers(0, 256, (SIZE, SIZE, channels)).astype(np.uint8)
        for kind, channels in ((MapKind.ALBEDO, 3), (MapKind.NORMAL, 3), (MapKind.ROUGHNESS, 1))
    }


def strips_of(mesh: Mesh, *, fitted: bool = False) -> Strips:
    strips = seam_strips(Topology(mesh, 0, fitted), SIZE)
    assert strips is not None
    return strips


@pytest.mark.parametrize(
    ("angle", "mirrored", "scale", "shear"),
    [
        (0, False, 1, 0),
        (37, False, 1.1, 0),
        (90, True, 0.7, 0),
        (200, True, 1, 0),
        (0, False, 1, 0.4),
        (70, True, 1, 0.3),
    ],
)
def test_an_offset_on_one_side_is_continued_to_the_same_place_of_the_surface(
    angle: float, mirrored: bool, scale: float, shear: float
) -> None:
    mesh = two_squares(angle, mirrored, scale, shear=shear)
    strips = strips_of(mesh, fitted=shear > 0)
    assert np.linalg.norm(strips.inward, axis=1) == pytest.approx(1)
    giving, keeping = (3, 1) if strips.gives[:, 0].mean() > 0.5 * SIZE else (1, 3)
    offset = 9 * strips.inward + np.random.default_rng(0).normal(size=strips.inward.shape)
    there = on_surface(mesh, strips.gives + offset, giving)
    continued = on_surface(mesh, strips.continued(slice(None), offset), keeping)
    np.testing.assert_allclose(continued, there, atol=1e-4)
    outward = on_surface(mesh, strips.keeps, keeping)
    np.testing.assert_allclose(outward[:, 0], 1, atol=1e-4)


def test_the_larger_chart_keeps() -> None:
    strips = strips_of(two_squares(second=0.3))
    assert strips.keeps[:, 0].max() < 0.5 * SIZE
    strips = strips_of(two_squares(second=0.5))
    assert strips.gives[:, 0].max() < 0.5 * SIZE


def test_seams_that_share_texels_have_the_same_side_keep() -> None:
    mesh = two_squares()
    above = mesh.positions + np.array([0, 0, 1], np.float32)
    triangles = mesh.triangles[::-1, ::-1] + 8  # the other way round, and listed from the other end
    twice = Mesh(
        np.concatenate([mesh.positions, above]), np.tile(mesh.normals, (2, 1)), np.tile(mesh.uvs, (2, 1)),
        np.concatenate([mesh.triangles, triangles]), np.zeros(8, np.int32),
    )  # fmt: skip
    one, two = Topology(twice, 0).chains
    ends = [np.sort(twice.uvs[chain.keeps[0, :2]], axis=0) for chain in (one, two)]
    np.testing.assert_array_equal(*ends)


def test_a_border_that_closes_is_one_chain(tmp_path: Path) -> None:
    """A drum whose lid is a chart of its own: round it goes one chain, which closes; its side has one seam, which does
    not."""
    count = 16
    turn = np.arange(count + 1) * 2 * np.pi / count
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    rim, foot = np.c_[ring, np.ones(count + 1)], np.c_[ring, np.zeros(count + 1)]
    lid = np.concatenate([rim[:count], [[0, 0, 1]]])
    side_uvs = np.stack([np.linspace(0.02, 0.98, count + 1)] * 2, axis=1)
    uvs = np.concatenate([
        np.c_[side_uvs[:, 0], np.full(count + 1, 0.5)], np.c_[side_uvs[:, 0], np.full(count + 1, 0.9)],
        0.2 + 0.15 * ring[:count], [[0.2, 0.2]],
    ])  # fmt: skip
    n = count + 1
    side = [t for k in range(count) for t in ((k, k + 1, n + k), (k + 1, n + k + 1, n + k))]
    top = [(2 * n + k, 2 * n + (k + 1) % count, 2 * n + count) for k in range(count)]
    positions = np.concatenate([rim, foot, lid]).astype(np.float32)
    triangles = np.array(side + top, np.int32)
    mesh = Mesh(positions, positions * 0, uvs.astype(np.float32), triangles, np.zeros(len(triangles), np.int32))
    assert len(Topology(mesh, 0).seam_edges) == count + 1
    chains = Topology(mesh, 0).chains
    assert sorted((len(chain.keeps), chain.closed) for chain in chains) == [(1, False), (count, False)]
    # where the side's own seam meets the rim, the rim's chain ends: there the texture of the side jumps
    whole = Mesh(positions, positions * 0, uvs.astype(np.float32), np.array(top, np.int32), mesh.material_index[:count])
    assert Topology(whole, 0).chains == ()


def test_the_cut_costs_no_more_than_any_other_path() -> None:
    draw = np.random.default_rng(3)
    for _ in range(20):
        cost = draw.random((6, 4)).astype(np.float32)
        starts = np.array([0, 6])
        found = _cheapest(cost, starts, np.array([False]), TAPER)
        allowed = [
            path
            for path in itertools.product(range(4), repeat=6)
            if max(abs(a - b) for a, b in itertools.pairwise(path)) <= 1
            and all(depth <= min(i, 5 - i) + TAPER for i, depth in enumerate(path))
        ]
        best = min(sum(cost[i, depth] for i, depth in enumerate(path)) for path in allowed)
        assert tuple(found) in allowed
        assert sum(cost[i, depth] for i, depth in enumerate(found)) == pytest.approx(best, rel=1e-5)


def test_a_closed_cut_ends_where_it_began() -> None:
    cost = np.random.default_rng(4).random((40, 9)).astype(np.float32)
    found = _cheapest(cost, np.array([0, 40]), np.array([True]), TAPER)
    assert found[0] == found[-1]


def smooth_noise(seed: int) -> NDArray[np.uint8]:
    values = np.random.default_rng(seed).random((SIZE, SIZE, 3))
    for axis in (0, 1):
        values = sum(np.roll(values, k, axis) for k in range(-2, 3)) / 5
    spread = (values - values.mean()) / values.std()
    return np.clip(127 + 40 * spread, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("angle", "mirrored"), [(0, False), (37, False), (90, True)])
def test_hardly_a_step_is_left_at_the_seam_even_of_noise(angle: float, mirrored: bool) -> None:
    mesh = two_squares(angle, mirrored)
    maps = {MapKind.ALBEDO: smooth_noise(1), MapKind.NORMAL: smooth_noise(2)}
    before = {kind: texels.copy() for kind, texels in maps.items()}
    weld_seams(maps, Topology(mesh, 0), None, Run())
    for kind, texels in maps.items():
        error = [seam_error_of(kind, each, mesh) for each in (before[kind], texels)]
        assert error[0] > 2.5
        assert error[1] < 0.5 * error[0]
        half = [each.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3)).astype(np.uint8) for each in (before[kind], texels)]
        error = [seam_error_of(kind, each, mesh) for each in half]
        assert error[1] < 0.75 * error[0]


def seam_error_of(kind: MapKind, texels: NDArray[np.uint8], mesh: Mesh) -> float:
    samples = sample_seams(Topology(mesh, 0), texels.shape[:2])
    assert samples is not None
    return seam_error(TextureMap(kind, texels), samples).ratio


def test_what_is_away_from_seams_stays_to_the_bit() -> None:
    mesh, maps = two_squares(37), random_maps()
    before = {kind: texels.copy() for kind, texels in maps.items()}
    weld_seams(maps, Topology(mesh, 0), None, Run())
    changed = np.logical_or.reduce([(maps[kind] != before[kind]).any(axis=2) for kind in maps])
    strips = strips_of(mesh)
    covered = uv_mask(mesh, SIZE, 0, gutter=0)
    rows, columns = np.nonzero(changed & covered)
    seams = np.concatenate([strips.gives, strips.keeps])
    away = np.min(
        np.hypot(*(np.stack([columns + 0.5, rows + 0.5], 1)[:, None] - seams[None]).transpose(2, 0, 1)), axis=1
    )
    assert away.max() < 40
    keeping = covered & (np.arange(SIZE) < 0.45 * SIZE)
    assert not (changed & keeping).any()
    assert (changed & covered).any()
    assert (changed & ~covered).any()


def test_only_texels_that_may_change_do() -> None:
    mesh, maps = two_squares(), random_maps()
    before = {kind: texels.copy() for kind, texels in maps.items()}
    changeable = np.zeros((SIZE, SIZE), np.bool_)
    changeable[:150] = True
    weld_seams(maps, Topology(mesh, 0), changeable, Run())
    changed = np.logical_or.reduce([(maps[kind] != before[kind]).any(axis=2) for kind in maps])
    assert changed.any()
    assert not (changed & ~changeable).any()


def test_of_a_mesh_without_seams_only_the_gutters_are_filled_beyond_what_was_made() -> None:
    mesh = two_squares()
    one = Mesh(mesh.positions, mesh.normals, mesh.uvs, mesh.triangles[:2], mesh.material_index[:2])
    maps = random_maps()
    before = {kind: texels.copy() for kind, texels in maps.items()}
    weld_seams(maps, Topology(one, 0), None, Run())
    made = uv_mask(one, SIZE, 0)
    around = uv_mask(one, SIZE, 0, gutter=RING + 3)
    for kind in maps:
        changed = (maps[kind] != before[kind]).any(axis=2)
        assert not (changed & (made | ~around)).any()
        assert changed.any()
    assert not needed_texels(Topology(one, 0), SIZE).any()


def test_normals_turn_with_their_charts() -> None:
    slope = np.array([[0.8, 0.5, 0.7]], np.float32)  # towards +x
    quarter = np.array([[[0.0, -2.0], [2.0, 0.0]]])  # x to y (down), twice as large
    np.testing.assert_allclose(turned_normals(slope, quarter), [[0.5, 0.2, 0.7]], atol=1e-6)
    flipped = np.array([[[-1.0, 0.0], [0.0, 1.0]]])
    np.testing.assert_allclose(turned_normals(slope, flipped), [[0.2, 0.5, 0.7]], atol=1e-6)
    sheared = np.array([[[1.0, 0.5], [0.0, 1.0]]])
    length = np.linalg.norm(turned_normals(slope, sheared)[:, :2] - 0.5)
    assert length == pytest.approx(np.linalg.norm(slope[:, :2] - 0.5)), "a slope gets no steeper by shear"


def pillar(turns: float) -> trimesh.Trimesh:
    """An upright tube whose UVs go `turns` times over the width of the texture."""
    count = 24
    angle = np.linspace(0, 2 * np.pi, count + 1)
    x, z, one = np.cos(angle), np.sin(angle), np.ones(count + 1)
    positions = np.concatenate([np.stack([x, -one, z], axis=1), np.stack([x, one, z], axis=1)])
    u = np.linspace(0, turns, count + 1)
    uvs = np.concatenate([np.c_[u, np.full(count + 1, 0.1)], np.c_[u, np.full(count + 1, 0.9)]])
    n = count + 1
    faces = [face for k in range(count) for face in ((k, n + k, k + 1), (k + 1, n + k, n + k + 1))]
    skin = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.new("RGB", (64, 64), (128, 128, 128)))
    visual = trimesh.visual.TextureVisuals(uv=uvs, material=skin)
    return trimesh.Trimesh(positions, faces, visual=visual, process=False)


@pytest.mark.parametrize("turns", [1.0, 2.0])
def test_a_map_rolled_round_a_pillar_repeats(turns: float, tmp_path: Path) -> None:
    pillar(turns).export(tmp_path / "pillar.glb")
    write(generate("gravel", 256, 1), tmp_path / "gravel")  # bricks' joints are steps where one is on the seam
    mesh = load_mesh(tmp_path / "pillar.glb").mesh
    assert Topology(mesh, 0).repeating == (False, True)
    steps = {}
    for seams in ("leave", "weld"):
        options = Options(size=256, preset="draft", content=0, seams=seams)  # type: ignore[arg-type]
        restyle(tmp_path / "pillar.glb", tmp_path / "gravel", tmp_path / seams, options, Run())
        steps[seams] = seam_steps(tmp_path / seams)["albedo"]
    assert steps["weld"] < 1.4
    assert steps["leave"] > 1.5 * steps["weld"]


def test_shared_mirrored_and_empty_uvs_are_told() -> None:
    clean = two_squares(37)
    assert uv_notes(Topology(clean, 0)) == ["UVs: seam edges 1, chains of them 1"]
    stacked = Mesh(
        clean.positions, clean.normals, np.concatenate([clean.uvs[:4], clean.uvs[:4]]), clean.triangles,
        clean.material_index,
    )  # fmt: skip
    assert any(
        "50% of the surface lies on texels that other places show" in note for note in uv_notes(Topology(stacked, 0))
    )
    assert any("is mirrored in the texture" in note for note in uv_notes(Topology(two_squares(0, mirrored=True), 0)))
    flat = clean.uvs.copy()
    flat[4:] = 0.5
    empty = Mesh(clean.positions, clean.normals, flat, clean.triangles, clean.material_index)
    assert any(note.startswith("UVs: 2 of 4 triangles have no area") for note in uv_notes(Topology(empty, 0)))
    over = Mesh(clean.positions, clean.normals, clean.uvs + np.float32(0.5), clean.triangles, clean.material_index)
    assert any("repeats" in note for note in uv_notes(Topology(over, 0)))


def test_charts_within_the_texture_do_not_make_it_repeat() -> None:
    assert Topology(two_squares(37), 0).repeating == (False, False)


def test_a_restyled_mesh_shows_no_seams_unless_they_are_to_be_left(tmp_path: Path) -> None:
    asset = write_sample_asset(tmp_path / "asset")
    write(generate("brick", 256, 1), tmp_path / "bricks")
    steps = {}
    for seams in ("leave", "weld"):
        options = Options(size=512, preset="draft", content=0, seams=seams)  # type: ignore[arg-type]
        restyle(asset, tmp_path / "bricks", tmp_path / seams, options, Run())
        steps[seams] = seam_steps(tmp_path / seams)
    for kind in ("albedo", "normal", "roughness"):
        assert steps["weld"][kind] < 1.3
        assert steps["leave"][kind] > 1.5 * steps["weld"][kind]


def test_a_cut_stays_in_the_chart_that_gives_way() -> None:
    """The giving chart is 12 texels deep; beyond it are texels that would match at no cost."""
    mesh = two_squares()
    uvs = mesh.uvs.copy()
    uvs[4:, 0] = 0.6 + (uvs[4:, 0] - uvs[4:, 0].min()) / np.ptp(uvs[4:, 0]) * 12 / SIZE
    thin = Mesh(mesh.positions, mesh.normals, uvs, mesh.triangles, mesh.material_index)
    strips, covered = strips_of(thin), uv_mask(thin, SIZE, 0, gutter=0)
    assert strips.gives[:, 0].min() > 0.5 * SIZE
    inside = depths_inside(strips, covered)
    assert set(inside) <= {12, 13}
    texels = random_maps()[MapKind.ALBEDO]
    texels[:, round(0.6 * SIZE) + 14 :] = 128
    cut = cut_strips(Plane({MapKind.ALBEDO: texels}), strips, covered, Run())
    assert cut.depth.max() <= 13
