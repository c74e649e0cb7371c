"""UV seams: which edges they are, and what a texture shows along them."""

import numpy as np
import pytest

from texsynth.material import MapKind, TextureMap
from texsynth.surface.mesh import Mesh
from texsynth.surface.uv_seams import sample_seams, seam_error
from texsynth.surface.uv_topology import Topology


def two_quads(left: float, right: float, *, gap: float = 0.0) -> Mesh:
    """Two unit quads that meet at x = 1: the left one's UVs end at u = `left`, the right one's begin at `right`."""
    x = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    positions = np.concatenate([x, x + (1 + gap, 0)])
    positions = np.concatenate([positions, np.zeros((8, 1), np.float32)], axis=1)
    v = np.array([1, 1, 0, 0], np.float32)
    u = np.concatenate([left - 0.4 + 0.4 * x[:, 0], right + 0.4 * x[:, 0]])
    uvs = np.stack([u, np.tile(v, 2)], axis=1)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (8, 1))
    return Mesh(positions.astype(np.float32), normals, uvs.astype(np.float32), triangles, np.zeros(4, np.int32))


def noise(seed: int = 0, size: int = 128) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = rng.random((size, size, 3))
    for axis in (0, 1):
        smooth = (np.roll(smooth, 1, axis) + smooth + np.roll(smooth, -1, axis)) / 3
    return smooth.astype(np.float32)


def albedo(values: np.ndarray) -> TextureMap:
    return TextureMap(MapKind.ALBEDO, np.rint(255 * values).astype(np.uint8))


def test_an_edge_with_the_same_uvs_on_both_sides_is_no_seam() -> None:
    assert sample_seams(Topology(two_quads(0.5, 0.5), None), (64, 64)) is None


def test_edges_that_do_not_meet_in_space_are_no_seam() -> None:
    assert sample_seams(Topology(two_quads(0.4, 0.5, gap=0.01), None), (64, 64)) is None


def test_points_lie_half_a_texel_and_one_and_a_half_inside_each_chart() -> None:
    samples = sample_seams(Topology(two_quads(0.4, 0.5), None), (100, 50))
    assert samples is not None
    (a, b), (further_a, further_b) = samples.sides, samples.inside
    assert len(a) == 100  # one a texel along v
    columns = sorted([a[:, 1].mean(), b[:, 1].mean()])
    np.testing.assert_allclose(columns, [0.4 * 50 - 0.5, 0.5 * 50 + 0.5], atol=1e-4)
    columns = sorted([further_a[:, 1].mean(), further_b[:, 1].mean()])
    np.testing.assert_allclose(columns, [0.4 * 50 - 1.5, 0.5 * 50 + 1.5], atol=1e-4)
    np.testing.assert_allclose(a[:, 0], b[:, 0], atol=1e-4)  # the same place along the edge
    assert a[:, 0].min() > 0
    assert a[:, 0].max() < 100


def test_a_texture_that_continues_over_the_seam_gives_one_and_a_jump_gives_more() -> None:
    size = 128
    values = noise()
    continued = values.copy()
    start = round(0.5 * size)
    # What lies right of u = 0.4 on the surface is what the right chart shows from u = 0.5 on.
    continued[:, start:] = values[:, round(0.4 * size) : round(0.4 * size) + size - start]
    samples = sample_seams(Topology(two_quads(round(0.4 * size) / size, 0.5), None), (size, size))
    assert samples is not None
    seamless = seam_error(albedo(continued), samples)
    assert seamless.ratio == pytest.approx(1, abs=0.12)
    jumps = []
    for step in (0.1, 0.2, 0.3):
        jumped = continued.copy()
        jumped[:, start:] = np.clip(jumped[:, start:] + step, 0, 1)
        jumps.append(seam_error(albedo(jumped), samples).ratio)
    assert seamless.ratio < jumps[0] < jumps[1] < jumps[2]


def test_flat_ground_has_no_visible_seam() -> None:
    samples = sample_seams(Topology(two_quads(0.4, 0.5), None), (64, 64))
    assert samples is not None
    assert seam_error(albedo(np.full((64, 64, 3), 0.5)), samples).ratio == 1


def test_only_the_seams_of_the_material_count() -> None:
    mesh = two_quads(0.4, 0.5)
    other = Mesh(mesh.positions, mesh.normals, mesh.uvs, mesh.triangles, np.array([0, 0, 1, 1], np.int32))
    assert sample_seams(Topology(other, 0), (64, 64)) is None
    assert sample_seams(Topology(other, None), (64, 64)) is not None


def test_uvs_outside_0_to_1_repeat() -> None:
    values = albedo(noise())
    inside, outside = (sample_seams(Topology(two_quads(0.4 + k, 0.5 + 2 * k), None), (128, 128)) for k in (0, 3))
    assert inside is not None
    assert outside is not None
    assert seam_error(values, inside).across == pytest.approx(seam_error(values, outside).across, rel=1e-3)


def test_an_edge_of_many_triangles_is_taken_in_pairs() -> None:
    """Three charts that meet in one edge, each elsewhere in the texture: one pair."""
    positions = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1]], np.float32)[
        [0, 1, 2, 0, 1, 3, 0, 1, 4]
    ]
    uvs = np.random.default_rng(1).random((9, 2)).astype(np.float32)
    triangles = np.arange(9, dtype=np.int32).reshape(3, 3)
    mesh = Mesh(positions, positions * 0, uvs, triangles, np.zeros(3, np.int32))
    samples = sample_seams(Topology(mesh, None), (32, 32))
    assert samples is not None
    longest = 32 * max(float(np.linalg.norm(uvs[3 * k] - uvs[3 * k + 1])) for k in range(3))
    assert len(samples.sides[0]) <= np.ceil(longest)
