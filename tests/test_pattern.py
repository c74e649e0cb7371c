"""The pattern plane: the surface of a mesh at one scale and upright, and what is carried from it into the texture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

from texsynth.content import Content
from texsynth.errors import TexsynthError
from texsynth.fit import choose_ground, content_on, course_shift, shown_on, wanted_tokens
from texsynth.material import MapKind, Material, TextureMap, unit_normals
from texsynth.options import Options
from texsynth.quarter_turn import index_of_unturned, quarter_turned
from texsynth.region import Region
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.surface.flatten import areas, flattened, linear_maps, triangle_shapes
from texsynth.surface.mesh import Mesh, load_mesh
from texsynth.surface.packing import packed
from texsynth.surface.pattern import Follow, PatternPlane, fits, mean_density, plan_plane
from texsynth.surface.rebake import SHARPEN, Rebake, carried, to_plane, to_texture
from texsynth.surface.uv_topology import Topology

SIZE = 256
Doubles = NDArray[np.float64]


def quads(corners: list[list[list[float]]], uvs: list[list[list[float]]]) -> Mesh:
    """A mesh of quads, counter-clockwise seen from outside, with the UVs of their corners (v down)."""
    positions = np.array(corners, np.float32).reshape(-1, 3)
    flat = np.array(uvs, np.float32).reshape(-1, 2)
    first = 4 * np.arange(len(corners))[:, None]
    triangles = np.concatenate([first + (0, 1, 2), first + (0, 2, 3)], axis=1).reshape(-1, 3).astype(np.int32)
    return Mesh(positions, np.zeros_like(positions), flat, triangles, np.zeros(len(triangles), np.int32))


def rectangle(left: float, top: float, width: float, height: float) -> list[list[float]]:
    """UVs of an upright wall's corners: bottom left, bottom right, top right, top left."""
    bottom, right = top + height, left + width
    return [[left, bottom], [right, bottom], [right, top], [left, top]]


def turned(uvs: list[list[float]], quarters: int) -> list[list[float]]:
    """The same chart as if it had been packed lying on its side."""
    middle = np.mean(uvs, axis=0)
    turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), quarters)
    return ((np.array(uvs) - middle) @ turn.T + middle).tolist()


FRONT = [[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]
RIGHT = [[1, 0, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
TOP = [[0, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0]]


def corner_of_a_house(density: float = 0.5, quarters: int = 1) -> Mesh:
    """Two walls that meet at an edge; the second has `density` times the first's texels and lies on its side."""
    second = turned(rectangle(0.55, 0.1, 0.4 * density, 0.4 * density), quarters)
    return quads([FRONT, RIGHT], [rectangle(0.05, 0.1, 0.4, 0.4), second])


def box(rng: np.random.Generator) -> Mesh:
    """A unit cube whose six faces are charts of their own, each turned and mirrored at random."""
    faces = [
        FRONT,
        RIGHT,
        TOP,
        [[1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]],
        [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]],
    ]
    charts = []
    for i in range(6):
        side = float(rng.uniform(0.1, 0.28))
        chart = turned(rectangle(0.02 + 0.33 * (i % 3), 0.02 + 0.5 * (i // 3), side, side), int(rng.integers(4)))
        charts.append(chart[::-1] if rng.integers(2) else chart)
    return quads(faces, charts)


def plane_of(mesh: Mesh, grain: float = 0.0, *, join: bool = True) -> PatternPlane:
    surface = Topology(mesh, 0)
    return plan_plane(surface, SIZE, mean_density(surface, SIZE), grain, join=join)


def scales(plane: PatternPlane) -> Doubles:
    """Singular values of the maps from the surface to the plane, over the density: 1 is neither stretch nor shear."""
    shapes = triangle_shapes(plane.mesh.positions[plane.mesh.triangles].astype(np.float64))
    return np.asarray(np.linalg.svd(linear_maps(plane.corners, shapes), compute_uv=False) / plane.density)


# Flattening


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_chart_that_the_texture_stretches_turns_and_mirrors_gets_its_size_and_side_on_the_surface(
    mirrored: bool,
) -> None:
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), -1).reshape(-1, 2)
    cells = np.array([[0, 1, 6], [0, 6, 5]])
    of = np.concatenate([cells + 5 * y + x for y in range(3) for x in range(4)])
    positions = np.concatenate([grid, np.zeros((20, 1))], axis=1)
    shear = np.array([[0.05, 0.02], [-0.01, 0.1]]) @ np.diag([1, 1 if mirrored else -1])
    shapes = triangle_shapes(positions[of])
    places = flattened(grid @ shear.T + rng.uniform(), of, shapes, np.zeros(len(of), np.int64))
    np.testing.assert_allclose(np.linalg.svd(linear_maps(places[of], shapes), compute_uv=False), 1, atol=1e-6)
    assert (areas(places[of]) < 0).all(), "seen from outside, y down, corners go round as on the surface"


def test_a_bent_chart_is_relaxed_until_its_triangles_have_nearly_their_own_shape() -> None:
    angle, height = np.meshgrid(np.linspace(0, np.pi, 25), np.linspace(0, 1, 9))
    positions = np.stack([np.cos(angle), height, np.sin(angle)], -1).reshape(-1, 3)
    uvs = np.stack([angle + 0.5 * np.sin(2 * angle), -(height**2) - 0.3 * height], -1).reshape(-1, 2)
    cells = np.array([[0, 26, 1], [0, 25, 26]])
    of = np.concatenate([cells + 25 * y + x for y in range(8) for x in range(24)])
    shapes = triangle_shapes(positions[of])
    before = np.linalg.svd(linear_maps(uvs[of], shapes), compute_uv=False)
    places = flattened(uvs, of, shapes, np.zeros(len(of), np.int64))
    after = np.linalg.svd(linear_maps(places[of], shapes), compute_uv=False)
    assert np.ptp(before) > 0.8
    np.testing.assert_allclose(after, 1, atol=0.02)


# The plane


@pytest.mark.parametrize("seed", range(4))
def test_on_the_plane_a_box_has_one_scale_and_its_faces_do_not_lie_on_each_other(seed: int) -> None:
    plane = plane_of(box(np.random.default_rng(seed)))
    np.testing.assert_allclose(scales(plane), 1, atol=1e-3)
    assert (areas(plane.corners) < 0).all(), "no face is mirrored"
    total = np.abs(areas(plane.corners)).sum()
    covered = (to_texture(plane, replace(plane.mesh), plane.size).here.rows(0, plane.size).triangle >= 0).sum()
    assert covered == pytest.approx(total, rel=0.02)


def test_walls_that_meet_lie_edge_to_edge_and_apart_where_joining_is_off() -> None:
    mesh = corner_of_a_house()
    for join in (True, False):
        plane = plane_of(mesh, join=join)
        uvs = plane.mesh.uvs * plane.size
        gap = np.abs(uvs[[1, 2]] - uvs[[4, 7]]).max()  # the two ends of the edge, on either wall
        assert gap < 0.1 if join else gap > 8


@pytest.mark.parametrize("grain", [0.0, 30.0, -90.0])
def test_up_on_the_surface_is_up_on_the_plane_turned_by_the_grain(grain: float) -> None:
    for quarters in range(4):
        plane = plane_of(corner_of_a_house(quarters=quarters), grain)
        rise = plane.mesh.uvs[[3, 7]] - plane.mesh.uvs[[0, 4]]  # from the bottom to the top of both walls
        angle = np.rad2deg(np.arctan2(rise[:, 0], -rise[:, 1]))
        np.testing.assert_allclose(angle, grain, atol=0.1)


def test_the_shift_brings_one_height_on_the_surface_to_one_height_on_the_plane() -> None:
    mesh = corner_of_a_house()
    plane = plane_of(mesh, join=False)
    heights = plane.mesh.positions[plane.mesh.triangles][:, :, 1] * plane.density
    placed = plane.corners[:, :, 1] - plane.shift[:, None, 1]
    np.testing.assert_allclose(placed, -heights, atol=0.1)
    tokens = course_shift(plane)
    assert tokens.shape == (plane.size // 8, plane.size // 8, 2)
    middle = plane.corners[0].mean(axis=0).astype(int) // 8
    np.testing.assert_allclose(tokens[middle[1], middle[0]], plane.shift[0, ::-1], atol=1e-3)
    lying = plane_of(quads([TOP], [rectangle(0.1, 0.1, 0.5, 0.5)]))
    assert not lying.shift.any(), "what lies flat has no height to be kept"


def test_of_charts_that_share_their_texels_one_has_a_place() -> None:
    mesh = quads([FRONT, RIGHT], [rectangle(0.1, 0.1, 0.5, 0.5)] * 2)
    plane = plane_of(mesh)
    np.testing.assert_array_equal(plane.triangles, [0, 1])


def test_no_plane_is_made_where_the_texture_repeats_on_the_surface() -> None:
    assert fits(Topology(corner_of_a_house(), 0))
    repeated = quads([FRONT], [rectangle(0.5, 0.1, 2.0, 0.5)])
    assert not fits(Topology(repeated, 0))
    ground = choose_ground(Topology(repeated, 0), 128, Options(size=SIZE))
    assert ground.plane is None
    assert ground.torus == (False, True)


def test_shapes_are_packed_without_overlap_in_a_small_square() -> None:
    rng = np.random.default_rng(0)
    shapes = [rng.random((int(h), int(w))) < 0.7 for h, w in rng.integers(1, 30, (40, 2))]
    corners, side = packed(shapes)
    taken = np.zeros((side, side), int)
    for (x, y), shape in zip(corners, shapes, strict=True):
        taken[y : y + shape.shape[0], x : x + shape.shape[1]] += shape
    assert taken.max() == 1
    assert taken.mean() > 0.5


def test_the_preview_shows_what_is_fitted_on_the_plane_and_other_materials_in_their_texture() -> None:
    mesh = replace(corner_of_a_house(), material_index=np.array([0, 0, 1, 1], np.int32))
    plane = plane_of(mesh)
    shown = shown_on(plane, mesh)
    np.testing.assert_array_equal(shown.material_index, [0, 0, 1, 1])
    np.testing.assert_array_equal(shown.uvs[shown.triangles[:2]] * plane.size, plane.corners.astype(np.float32))
    np.testing.assert_array_equal(shown.uvs[shown.triangles[2:]], mesh.uvs[mesh.triangles[2:]])
    np.testing.assert_array_equal(shown.positions[shown.triangles], mesh.positions[mesh.triangles])


# Courses


def rolled(
    radius: tuple[float, float] = (1.0, 1.0), *, quarters: int = 0, repeats: float = 1.0, lying: bool = False
) -> Mesh:
    """A tube about +Y from y = 0 to 2, with its radii at bottom and top, whose map is rolled once round it; it meets
    itself at the texture's edge. lying: about +Z instead."""
    columns, rows = 32, 12
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    r = radius[0] + (radius[1] - radius[0]) * v
    places = [r * np.sin(2 * np.pi * u), 2 * v, r * np.cos(2 * np.pi * u)]
    if lying:
        places = [places[2], places[0], places[1]]
    uvs = np.stack([u, 1 - v], -1).reshape(-1, 2)
    for _ in range(quarters):
        uvs = np.stack([1 - uvs[:, 1], uvs[:, 0]], 1)
    row, column = np.divmod(np.arange(columns * rows), columns)
    low = row * (columns + 1) + column
    cells = [[low, low + 1, low + columns + 2], [low, low + columns + 2, low + columns + 1]]
    triangles = np.concatenate([np.stack(each, 1) for each in cells]).astype(np.int32)
    positions = np.stack(places, -1).reshape(-1, 3).astype(np.float32)
    return Mesh(
        positions, np.zeros_like(positions), (uvs * repeats).astype(np.float32), triangles,
        np.zeros(len(triangles), np.int32),
    )  # fmt: skip


def climbs(plane: PatternPlane) -> Doubles:
    """Of each triangle by how many degrees, to either side, what is level on the surface is not on the plane."""
    corners = plane.mesh.positions[plane.mesh.triangles].astype(np.float64)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    level = np.cross(np.cross(one, two), [0.0, 1.0, 0.0])
    shares = np.stack([np.linalg.lstsq(np.stack([a, b], 1), c)[0] for a, b, c in zip(one, two, level, strict=True)])
    flat = np.stack([plane.corners[:, k] - plane.corners[:, 0] for k in (1, 2)], axis=1)
    x, y = np.einsum("tk,tki->it", shares, flat)
    return np.asarray(np.rad2deg(np.abs(np.arctan(y / x))))


@pytest.mark.parametrize("quarters", range(4))
def test_a_map_rolled_round_a_tube_has_a_plane_and_is_upright_on_it(quarters: int) -> None:
    surface = Topology(rolled(quarters=quarters), 0)
    assert any(surface.repeating)
    assert fits(surface)
    plane = plan_plane(surface, SIZE, 40.0, 0.0, join=True)
    np.testing.assert_allclose(scales(plane), 1, atol=0.02)
    assert climbs(plane).max() < 0.5


def test_a_map_that_is_rolled_twice_round_a_tube_repeats_and_has_no_plane() -> None:
    assert not fits(Topology(rolled(repeats=2.0), 0))


def test_courses_are_level_on_a_cone_which_flat_is_a_fan() -> None:
    surface = Topology(rolled((1.0, 0.4)), 0)
    fan, bent = (
        plan_plane(surface, SIZE, 40.0, 0.0, join=True, follow=follow) for follow in (Follow.NOTHING, Follow.HEIGHT)
    )
    assert climbs(fan).max() > 30
    assert climbs(bent).max() < 1
    assert (areas(bent.corners) < 0).all(), "nothing is folded"


def test_courses_run_along_a_tube_that_lies_which_is_upright_on_both_sides_and_has_no_way_up() -> None:
    plane = plan_plane(Topology(rolled(lying=True), 0), SIZE, 40.0, 0.0, join=True, follow=Follow.HEIGHT)
    corners = plane.mesh.positions[plane.mesh.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sides = np.abs(normals[:, 0]) > 0.7 * np.linalg.norm(normals, axis=1)
    assert climbs(plane)[sides].max() < 1


def test_grain_turns_a_bent_chart_as_it_turns_others() -> None:
    plane = plan_plane(Topology(rolled((1.0, 0.4)), 0), SIZE, 40.0, 30.0, join=True, follow=Follow.HEIGHT)
    np.testing.assert_allclose(climbs(plane), 30, atol=1)


@pytest.mark.parametrize("quarters", range(4))
def test_where_the_texture_repeats_the_exemplar_is_turned_by_the_quarters_that_bring_its_top_up(quarters: int) -> None:
    ground = choose_ground(Topology(rolled(quarters=quarters, repeats=2.0), 0), 128, Options(size=SIZE))
    assert ground.plane is None
    assert ground.quarters == quarters
    as_it_lies = Options(size=SIZE, fit="uv")
    assert choose_ground(Topology(rolled(quarters=quarters, repeats=2.0), 0), 128, as_it_lies).quarters == 0


@pytest.mark.parametrize("quarters", range(4))
def test_normals_of_a_turned_exemplar_belong_to_its_turned_height(quarters: int) -> None:
    height = np.random.default_rng(2).random((24, 40))
    slope_y, slope_x = np.gradient(height)
    vectors = np.stack([-slope_x, slope_y, np.ones_like(height)], -1).astype(np.float32)
    maps = {
        MapKind.HEIGHT: TextureMap.from_linear(MapKind.HEIGHT, height[:, :, None].astype(np.float32), np.float32),
        MapKind.NORMAL: TextureMap.from_linear(MapKind.NORMAL, unit_normals(vectors), np.uint16),
    }
    made = quarter_turned(Material("bumps", maps), quarters).maps
    down, right = np.gradient(made[MapKind.HEIGHT].linear()[:, :, 0])
    normal = made[MapKind.NORMAL].linear()
    np.testing.assert_allclose(normal[:, :, 0] / normal[:, :, 2], -right, atol=1e-3)
    np.testing.assert_allclose(normal[:, :, 1] / normal[:, :, 2], down, atol=1e-3)


@pytest.mark.parametrize("quarters", range(4))
def test_an_index_into_a_turned_exemplar_names_the_blocks_of_the_exemplar_itself(quarters: int) -> None:
    texels = np.arange(24 * 40).reshape(24, 40)
    turned_texels = np.rot90(texels, -quarters)
    size = turned_texels.shape
    index = np.array([[[3, 5, 0], [size[0] - 8, size[1] - 8, 0]]], np.int32)
    found = index_of_unturned(index, (size[0], size[1]), quarters)
    assert (found[..., 2] == 90 * quarters).all()
    for (y, x, _), (there_y, there_x, _) in zip(index[0], found[0], strict=True):
        block = texels[there_y : there_y + 8, there_x : there_x + 8]
        np.testing.assert_array_equal(np.rot90(block, -quarters), turned_texels[y : y + 8, x : x + 8])


# Carrying


def test_what_lies_on_the_plane_arrives_at_its_place_in_the_texture() -> None:
    mesh = corner_of_a_house(quarters=1)
    plane = plane_of(mesh)
    y, x = np.mgrid[0 : plane.size, 0 : plane.size] / plane.size
    ramp = np.stack([x, y, 0 * x], -1)
    maps = {MapKind.ALBEDO: (ramp * 65535).astype(np.uint16)}
    rebake = Rebake(to_texture(plane, mesh, SIZE), maps, 8, np.zeros(3, np.float32))
    made = np.concatenate([rebake.rows(first, first + 64) for first in range(0, SIZE, 64)])
    texels = rebake._passage.here.rows(0, SIZE)
    inside = texels.triangle >= 0
    corners = plane.corners[texels.triangle[inside]] - 0.5
    expected = np.einsum("nk,nki->ni", texels.weights[inside], corners) / plane.size
    np.testing.assert_allclose(made[inside][:, :2], expected, atol=2e-3)
    assert not made[:8, :8].any(), "nothing is near this corner"
    assert (made[inside] > 0).any(axis=1).all()


def test_a_chart_that_holds_no_texels_centre_has_a_texel() -> None:
    mesh = quads(
        [FRONT, TOP], [rectangle(0.1, 0.1, 0.3, 0.3), rectangle(0.8 + 0.7 / SIZE, 0.8, 0.2 / SIZE, 0.2 / SIZE)]
    )
    plane = plane_of(mesh)
    maps = {MapKind.ROUGHNESS: np.full((plane.size, plane.size, 1), 200, np.uint8)}
    made = Rebake(to_texture(plane, mesh, SIZE), maps, 8, np.zeros(1, np.float32)).rows(0, SIZE)[:, :, 0]
    x, y = np.floor(mesh.uvs[4:8].mean(axis=0) * SIZE).astype(int)
    assert made[y, x] == pytest.approx(200 / 255, abs=1e-3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_normals_turn_with_the_chart_that_they_are_carried_to(mirrored: bool) -> None:
    uvs = turned(rectangle(0.1, 0.1, 0.5, 0.5), 1)
    if mirrored:
        uvs = (np.array(uvs) * (-1, 1) + (0.8, 0)).tolist()
    mesh = quads([FRONT], [uvs])
    plane = plane_of(mesh)
    leaning = np.array([0.5 + 0.3, 0.5, 0.9])  # to the right on the wall
    maps = {MapKind.NORMAL: np.tile((leaning * 65535).astype(np.uint16), (plane.size, plane.size, 1))}
    made = Rebake(to_texture(plane, mesh, SIZE), maps, 8, np.full(3, 0.5, np.float32)).rows(0, SIZE)
    u, v = np.array(uvs).mean(axis=0) * SIZE
    across = np.array(uvs[1]) - np.array(uvs[0])  # to the right on the wall, as it lies in the texture, y down
    expected = 0.3 * across / np.linalg.norm(across)
    found = made[int(v), int(u)]
    np.testing.assert_allclose([found[0] - 0.5, 0.5 - found[1], found[2]], [*expected, 0.9], atol=2e-3)


def test_resampling_keeps_the_sharpness_of_noise_within_a_quarter() -> None:
    rng = np.random.default_rng(1)
    mesh = quads([FRONT], [(np.array(turned(rectangle(0.2, 0.2, 0.6, 0.6), 1)) + 0.0013).tolist()])
    plane = plane_of(mesh, grain=17.0)
    smooth = np.asarray(Image.fromarray((rng.random((300, 300)) * 255).astype(np.uint8)).resize((plane.size,) * 2, 3))
    maps = {MapKind.ROUGHNESS: smooth[:, :, None]}
    made = Rebake(to_texture(plane, mesh, SIZE), maps, 8, np.zeros(1, np.float32)).rows(0, SIZE)[90:160, 90:160, 0]
    there = plane.corners.reshape(-1, 2).mean(axis=0).astype(int)
    source = smooth[there[1] - 35 : there[1] + 35, there[0] - 35 : there[0] + 35] / 255

    def energy(image: Doubles) -> float:
        laplacian = 4 * image[1:-1, 1:-1] - image[:-2, 1:-1] - image[2:, 1:-1] - image[1:-1, :-2] - image[1:-1, 2:]
        return float((laplacian**2).mean())

    assert SHARPEN > 0
    assert energy(np.asarray(made, np.float64)) == pytest.approx(energy(source), rel=0.25)


def test_content_and_regions_lie_on_the_plane_where_their_walls_do() -> None:
    mesh = corner_of_a_house(quarters=1)
    plane = plane_of(mesh)
    tone = np.full((SIZE, SIZE), 0.2, np.float32)
    tone[:, SIZE // 2 :] = 0.9  # the second wall's half of the texture
    moved = content_on(plane, mesh, Content(1.0, tone, None)).tone
    middles = [plane.corners[i : i + 2].mean(axis=(0, 1)).astype(int) for i in (0, 2)]
    assert [round(float(moved[y, x]), 2) for x, y in middles] == [0.2, 0.9]
    region = Region(tone > 0.5)
    ground = choose_ground(Topology(mesh, 0), 128, Options(size=SIZE))
    assert ground.plane is not None
    wanted = wanted_tokens(ground, region, Options(size=SIZE))
    assert wanted is not None
    assert [bool(wanted[y // 8, x // 8]) for x, y in middles] == [False, True]


def test_slopes_of_the_content_turn_with_their_chart() -> None:
    mesh = quads([FRONT], [turned(rectangle(0.1, 0.1, 0.5, 0.5), 1)])
    plane = plane_of(mesh)
    slope = np.zeros((SIZE, SIZE, 2), np.float32)
    slope[:, :, 0] = 0.5  # to the right in the texture, which is up on the wall, or down
    moved = content_on(plane, mesh, Content(1.0, np.zeros((SIZE, SIZE), np.float32), slope)).slope
    assert moved is not None
    x, y = plane.corners.mean(axis=(0, 1)).astype(int)
    rise = plane.mesh.uvs[3] - plane.mesh.uvs[0]
    across = mesh.uvs[3] - mesh.uvs[0]
    assert abs(across[1]) < 1e-6
    assert abs(rise[0]) < 1e-6
    expected = 0.5 * np.sign(across[0])  # up on the plane; +y of a normal is up
    np.testing.assert_allclose(moved[y, x], [0, expected], atol=0.01)


def test_a_picture_carried_to_the_plane_is_the_texture_of_the_wall() -> None:
    mesh = quads([FRONT], [rectangle(0.25, 0.25, 0.5, 0.5)])
    plane = plane_of(mesh)
    picture = np.random.default_rng(0).random((SIZE, SIZE)).astype(np.float32)
    found = carried(picture, to_plane(plane, mesh, plane.size))
    left, top = plane.corners.reshape(-1, 2).min(axis=0)
    offset = np.array([left, top]) - np.floor([left, top])
    np.testing.assert_allclose(offset, 0, atol=1e-3)
    there = found[int(top) : int(top) + SIZE // 2, int(left) : int(left) + SIZE // 2]
    np.testing.assert_allclose(there, picture[SIZE // 4 : 3 * SIZE // 4, SIZE // 4 : 3 * SIZE // 4], atol=1e-3)


# Restyling


def written(mesh: Mesh, folder: Path) -> Path:
    folder.mkdir()
    visual = trimesh.visual.TextureVisuals(uv=mesh.uvs * (1, -1) + (0, 1), image=Image.new("RGB", (64, 64), "grey"))
    path = folder / "asset.glb"
    trimesh.Trimesh(mesh.positions, mesh.triangles, visual=visual, process=False).export(path)
    return path


def stripes(folder: Path) -> Path:
    """Eight level stripes with grain: one wave and no other."""
    folder.mkdir()
    wave = np.sin(np.arange(256) * 2 * np.pi / 32)[:, None] * 60 + 128
    grain = np.random.default_rng(0).normal(0, 12, (256, 256))
    Image.fromarray(np.clip(wave + grain, 0, 255).astype(np.uint8)).convert("RGB").save(folder / "albedo.png")
    return folder


def courses(image: Doubles) -> float:
    """Texels from one course to the next: the strongest period of the rows' mean."""
    rows = image.mean(axis=1) - image.mean()
    spectrum = np.abs(np.fft.rfft(rows * np.hanning(len(rows)), 4096))
    spectrum[: 4096 // len(rows) * 2] = 0
    return 4096 / float(spectrum.argmax())


def test_courses_have_one_height_and_lie_level_on_charts_of_other_densities_that_lie_on_their_side(
    tmp_path: Path,
) -> None:
    mesh = corner_of_a_house(density=0.5, quarters=1)
    asset, exemplar = written(mesh, tmp_path / "mesh"), stripes(tmp_path / "stripes")
    found = {}
    for fit in ("surface", "uv"):
        out = tmp_path / fit
        restyle(asset, exemplar, out, Options(size=512, preset="draft", content=0, fit=fit, style_size=0.7), Run())
        texels = np.asarray(Image.open(out / "albedo.png").convert("L"), np.float64)
        front = texels[60:250, 32:224]  # the first wall, 205 texels high
        y, x = int(0.2 * 512), int(0.65 * 512)  # the middle of the second, 102 texels high, which lies on its side
        side = texels[y - 45 : y + 45, x - 45 : x + 45]
        found[fit] = [courses(front) / 205, courses(side.T) / 102, courses(side) / 102]
    one, two, _ = found["surface"]
    assert [one, two] == pytest.approx([0.7 / 8] * 2, rel=0.1), "eight to the exemplar, which is 0.7 wide"
    one, _, two = found["uv"]
    assert two == pytest.approx(2 * one, rel=0.1), "as the chart lies, and as large as it has few texels"


def test_texels_outside_the_region_are_untouched_to_the_bit_on_a_fitted_mesh(tmp_path: Path) -> None:
    asset, exemplar = written(corner_of_a_house(), tmp_path / "mesh"), stripes(tmp_path / "stripes")
    mask = np.zeros((256, 256), np.uint8)
    mask[:, 128:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = Options(size=256, preset="draft", region=tmp_path / "mask.png", maps=(MapKind.ALBEDO,))
    restyle(asset, exemplar, tmp_path / "out", options, Run())
    made = np.asarray(Image.open(tmp_path / "out" / "albedo.png"))
    before = load_mesh(asset).materials[0].maps[MapKind.ALBEDO].texels
    assert (made[:, :128] == before[0, 0]).all()
    assert made[26:77, 141:192].std() > 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fit": "world"}, "fit"),
        ({"grain": 400.0}, "grain"),
        ({"style_size": -1.0}, "style_size"),
        ({"style_size": 2.0, "density": 2.0}, "density"),
    ],
)
def test_choices_out_of_range_are_refused_in_one_line(options: dict[str, float], says: str) -> None:
    with pytest.raises(TexsynthError, match=says) as caught:
        Options(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
