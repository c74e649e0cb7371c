import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from texsynth.errors import TexsynthError
from texsynth.material import CHANNELS, MapKind, Material, load_material
from texsynth.train.procedural import KINDS, STEEPEST, generate, generate_surface, side_metres, write
from texsynth.train.procedural_field import Plane, blur, cavity, limited, mix, noise, normals_of, sample, slopes
from texsynth.train.procedural_shapes import (
    add_leaves,
    add_stones,
    add_strokes,
    add_threads,
    cells,
    courses,
    empty_pile,
    jittered,
    scatter,
)

Array = npt.NDArray[np.float32]
SIZE = 128


@pytest.fixture(scope="module")
def materials() -> dict[str, Material]:
    return {kind: generate(kind, SIZE, 1) for kind in KINDS}


def relief(material: Material) -> float:
    found = re.search(r"height 0\.\.1 spans (\S+) of the side", " ".join(material.notes))
    assert found, material.notes
    return float(found[1])


def steps_between_rows(values: Array) -> Array:
    """Mean absolute difference of every row to the next, the last entry across the wrap."""
    return np.abs(np.roll(values, -1, axis=0) - values).mean(axis=tuple(range(1, values.ndim)))


def correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


# The materials


def test_there_are_all_sorts_of_materials() -> None:
    assert len(KINDS) >= 20
    assert {"brick", "planks", "wood", "marble", "cloth", "leather", "rusty_metal", "gravel", "grass"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_have_the_right_shape_and_lie_in_range(kind: str, materials: dict[str, Material]) -> None:
    material = materials[kind]
    assert {MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS, MapKind.HEIGHT} <= set(material.maps)
    assert not material.estimated
    for map_kind, texture in material.maps.items():
        assert texture.texels.shape == (SIZE, SIZE, CHANNELS[map_kind])
        assert texture.texels.dtype == np.float32
        assert np.isfinite(texture.texels).all()
        assert texture.texels.min() >= 0
        assert texture.texels.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_material_continues_across_its_edges(kind: str, materials: dict[str, Material]) -> None:
    for map_kind, texture in materials[kind].maps.items():
        values = texture.encoded()
        for turned in (values, values.swapaxes(0, 1)):
            steps = steps_between_rows(turned)
            assert steps[-1] <= 1.3 * steps[:-1].max() + 1e-6, (map_kind, steps[-1], steps[:-1].max())


def test_the_check_for_continuing_across_edges_sees_a_cut(materials: dict[str, Material]) -> None:
    for kind in ("marble", "wood", "rock", "pebbles", "bark"):
        steps = steps_between_rows(materials[kind].maps[MapKind.HEIGHT].encoded()[:90])
        assert steps[-1] > 1.3 * steps[:-1].max(), kind


@pytest.mark.parametrize("kind", KINDS)
def test_normals_are_unit_vectors_and_follow_from_the_declared_height(
    kind: str, materials: dict[str, Material]
) -> None:
    material = materials[kind]
    normals = material.maps[MapKind.NORMAL].linear().astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)
    height = material.maps[MapKind.HEIGHT].linear()[..., 0].astype(np.float64) * relief(material)
    right = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) * SIZE / 2
    up = (np.roll(height, 1, 0) - np.roll(height, -1, 0)) * SIZE / 2
    expected = np.stack([-right, -up, np.ones_like(right)], axis=-1)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(normals, expected, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_layout_does_not_depend_on_the_resolution(kind: str, materials: dict[str, Material]) -> None:
    large = generate_surface(kind, 2 * SIZE, 1)
    small = generate_surface(kind, SIZE, 1)

    def halved(values: Array) -> Array:
        return (values[0::2, 0::2] + values[1::2, 0::2] + values[0::2, 1::2] + values[1::2, 1::2]) / 4

    # Below four texels the smaller one cannot hold what the larger one shows, so that much is smoothed away first.
    def soft(values: Array) -> Array:
        return blur(values, 3 / SIZE)

    assert correlation(soft(halved(large.height)), soft(small.height)) > 0.9
    assert correlation(soft(halved(large.colour[..., 1])), soft(small.colour[..., 1])) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_material_and_another_seed_another(
    kind: str, materials: dict[str, Material]
) -> None:
    again, other = generate(kind, SIZE, 1), generate(kind, SIZE, 2)
    for map_kind, texture in materials[kind].maps.items():
        assert np.array_equal(texture.texels, again.maps[map_kind].texels)
    ours, theirs = (m.maps[MapKind.ALBEDO].encoded() for m in (again, other))
    assert np.abs(ours - theirs).mean() > 0.01


def test_a_seed_still_means_the_material_it_meant_before() -> None:
    material = generate("marble", 64, 4)
    albedo = material.maps[MapKind.ALBEDO].encoded()
    np.testing.assert_allclose(albedo.mean(axis=(0, 1)), (0.807, 0.797, 0.780), atol=0.005)


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_stay_within_what_a_normal_map_can_hold(kind: str) -> None:
    for slope in slopes(generate_surface(kind, SIZE, 3).height):
        assert np.abs(slope).max() <= STEEPEST * 1.001


@pytest.mark.parametrize("kind", KINDS)
def test_materials_show_detail_down_to_the_texel(kind: str, materials: dict[str, Material]) -> None:
    albedo = materials[kind].maps[MapKind.ALBEDO].encoded()
    fine = (
        albedo - (np.roll(albedo, 1, 0) + np.roll(albedo, -1, 0) + np.roll(albedo, 1, 1) + np.roll(albedo, -1, 1)) / 4
    )
    assert fine.std() > 0.02 * albedo.std()
    assert fine.std() > 0.002


def test_brick_edges_are_at_the_same_place_in_albedo_and_height() -> None:
    surface = generate_surface("brick", 256, 1)
    luminance = surface.colour.mean(axis=-1)
    edges = [np.hypot(*slopes(blur(field, 0.003))) for field in (luminance, surface.height)]
    assert correlation(edges[0], edges[1]) > 0.4


def test_mortar_is_recessed_and_rougher_than_brick() -> None:
    surface = generate_surface("brick", 256, 2)
    low, high = np.quantile(surface.height, [0.15, 0.6])
    mortar, face = surface.height < low, surface.height > high
    assert surface.roughness[mortar].mean() > surface.roughness[face].mean() + 0.05


def test_brick_courses_repeat_down_the_wall() -> None:
    rows = generate_surface("brick", 256, 2).height.mean(axis=1)
    spectrum = np.abs(np.fft.rfft(rows - rows.mean()))
    assert int(spectrum.argmax()) in (12, 14, 15, 16)


@pytest.mark.parametrize(("kind", "metal"), [("brushed_metal", 0.8), ("diamond_plate", 0.3), ("rusty_metal", 0.0)])
def test_metals_have_metalness(kind: str, metal: float, materials: dict[str, Material]) -> None:
    metalness = materials[kind].maps[MapKind.METALNESS].linear()
    assert metalness.mean() > metal
    assert metalness.max() > 0.5


def test_materials_without_metal_have_no_metalness_map(materials: dict[str, Material]) -> None:
    assert MapKind.METALNESS not in materials["brick"].maps


def test_sizes_need_not_be_powers_of_two() -> None:
    for kind in ("brick", "leaves"):
        material = generate(kind, 97, 0)
        assert material.maps[MapKind.ALBEDO].texels.shape == (97, 97, 3)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TexsynthError, match=r"unobtainium.*brick.*bark"):
        generate("unobtainium")
    with pytest.raises(TexsynthError, match="unobtainium"):
        side_metres("unobtainium")


@pytest.mark.parametrize("size", [0, 31, 4097, -5])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(TexsynthError, match="32 to 4096"):
        generate("brick", size)


# Files


@pytest.mark.parametrize("kind", ["brick", "diamond_plate"])
def test_a_written_folder_loads_as_the_same_material(kind: str, tmp_path: Path, materials: dict[str, Material]) -> None:
    write(materials[kind], tmp_path / "made" / kind)
    loaded = load_material(tmp_path / "made" / kind)
    assert set(loaded.maps) == set(materials[kind].maps)
    assert loaded.maps[MapKind.HEIGHT].texels.dtype == np.uint16
    for map_kind, texture in materials[kind].maps.items():
        level = 1 / np.iinfo(loaded.maps[map_kind].texels.dtype).max
        difference = np.abs(loaded.maps[map_kind].encoded() - texture.encoded()).max()
        assert difference <= 0.5 * level + 1e-6, map_kind


def test_normals_can_be_written_with_16_bits(tmp_path: Path, materials: dict[str, Material]) -> None:
    write(materials["marble"], tmp_path, normal_bits=16)
    loaded = load_material(tmp_path)
    difference = loaded.maps[MapKind.NORMAL].encoded() - materials["marble"].maps[MapKind.NORMAL].encoded()
    assert np.abs(difference).max() < 1 / 65535


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path, materials: dict[str, Material]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TexsynthError) as refused:
        write(materials["brick"], tmp_path / "file" / "brick")
    assert "\n" not in str(refused.value)


# The ground they stand on


def test_noise_has_unit_deviation_and_the_same_low_frequencies_at_every_size() -> None:
    small, large = (noise(Plane(size, (7,)), "n", 2, 24) for size in (128, 256))
    assert 0.7 < small.std() < 1.4
    k = np.arange(20)[:, None] + np.arange(20)[None]
    at_centres = [np.exp(-1j * np.pi * k / field.shape[0]) for field in (small, large)]
    low = [np.fft.rfft2(f)[:20, :20] / f.size * phase for f, phase in zip((small, large), at_centres, strict=True)]
    assert np.abs(low[0]).max() > 0.01
    np.testing.assert_allclose(low[0], low[1], atol=1e-5)


def test_noise_is_stretched_along_its_angle() -> None:
    field = noise(Plane(256, (7,)), "n", 8, stretch=6, angle=np.pi / 2)
    dx, dy = slopes(field)
    assert dx.std() > 3 * dy.std()


def test_streams_of_different_labels_are_independent() -> None:
    plane = Plane(128, (7,))
    assert abs(correlation(noise(plane, "a", 8), noise(plane, "b", 8))) < 0.1


def test_blur_keeps_the_mean_and_cavity_is_positive_in_a_pit() -> None:
    field = noise(Plane(64, (3,)), "n", 2) + np.float32(5)
    np.testing.assert_allclose(blur(field, 0.05).mean(), field.mean(), rtol=1e-5)
    pit = np.zeros((64, 64), np.float32)
    pit[30:34, 30:34] = -1
    assert cavity(pit, 0.05)[32, 32] > 0.5


def test_sampling_at_texel_centres_returns_the_texels() -> None:
    plane = Plane(32, (3,))
    field = noise(plane, "n", 2)
    x, y = plane.axes()
    np.testing.assert_allclose(sample(field, x + 0 * y, y + 1 + 0 * x), field, atol=1e-4)


def test_limited_is_the_least_gentle_field_above_the_given_one() -> None:
    cliff = np.zeros((64, 64), np.float32)
    cliff[20:40, 20:40] = 0.5
    gentle = limited(cliff, 2.0)
    assert (gentle >= cliff).all()
    assert np.abs(np.diff(gentle, axis=1)).max() <= 2.0 / 64 + 1e-6
    assert np.isclose(gentle[30, 45], 0.5 - 6 * 2.0 / 64)


def test_normals_of_a_slope_that_rises_to_the_right_lean_to_the_left() -> None:
    ramp = np.tile(np.linspace(0, 0.5, 32, dtype=np.float32), (32, 1))
    assert normals_of(ramp)[16, 16, 0] < -0.3
    assert normals_of(ramp.T.copy())[16, 16, 1] > 0.3  # rises downwards, so it leans up


def test_mix_of_colours_uses_one_weight_for_all_channels() -> None:
    black, white = np.zeros((4, 4, 3), np.float32), np.ones(3, np.float32)
    weight = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    np.testing.assert_allclose(mix(black, white, weight), np.repeat(weight[..., None], 3, -1), atol=1e-6)


def test_courses_put_every_texel_into_the_block_that_holds_it() -> None:
    x, y = Plane(64, (1,)).axes()
    blocks = courses(x + 0 * y, y + 0 * x, [0.1, 0.4, 0.8], [[0.0, 0.5], [0.25, 0.6, 0.9], [0.3]])
    assert blocks.count == 6
    assert (np.abs(blocks.dx) <= blocks.half_width + 1e-6).all()
    assert (np.abs(blocks.dy) <= blocks.half_height + 1e-6).all()
    area = np.bincount(blocks.ident.ravel(), minlength=6) / 64**2
    np.testing.assert_allclose(area, [0.15, 0.15, 0.14, 0.12, 0.14, 0.3], atol=0.02)


def test_cells_match_a_brute_force_power_diagram() -> None:
    rng = np.random.default_rng(5)
    site_x, site_y = jittered(rng, 6, 6, 0.8)
    radius = rng.uniform(0, 0.05, len(site_x))
    x, y = Plane(48, (1,)).axes()
    found = cells(x, y, site_x, site_y, radius)
    images = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], float)
    sites = (np.stack([site_x, site_y], -1)[:, None] + images[None]).reshape(-1, 2)
    weight = np.repeat(radius**2, len(images))
    at = np.stack(np.broadcast_arrays(x, y), -1).astype(np.float64)[:, :, None]
    power = np.square(at - sites).sum(-1) - weight
    nearest = power.argmin(-1)
    assert (nearest // len(images) == found.ident).mean() > 0.999
    gap = np.linalg.norm(sites[nearest][:, :, None] - sites, axis=-1)
    distance = (power - power.min(-1, keepdims=True)) / (2 * np.maximum(gap, 1e-9))
    distance[gap < 1e-9] = np.inf
    np.testing.assert_allclose(found.edge, distance.min(-1), atol=1e-5)


def test_scattered_discs_do_not_overlap_across_the_wrap() -> None:
    x, y, radius = scatter(np.random.default_rng(2), 0.08, 0.02, 2000)
    dx, dy = (np.abs(a[:, None] - a[None]) for a in (x, y))
    apart = np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy))
    np.fill_diagonal(apart, 9)
    assert len(x) > 50
    assert (apart >= radius[:, None] + radius[None] - 1e-9).all()


def test_elements_that_cross_an_edge_come_in_on_the_other_side() -> None:
    middle, corner = (empty_pile(np.zeros((64, 64), np.float32)) for _ in range(2))
    facets = np.array([[[np.cos(a), np.sin(a), 0.9, 2.0] for a in np.arange(6)] + [[0, 0, 1.0, 1.0]]])
    for pile, at in ((middle, 0.5), (corner, 0.0)):
        add_stones(pile, np.array([[at, at, 0, 0.1, 0.08, 0.4, 0.05, 0.1]]), facets)
        add_leaves(pile, np.array([[at, at, 0.2, 0.2, 0.04, 2.0, 0, 0]]), np.array([[1, 0.7, 1, 0, 0, 0, 0]]), 1)
        add_threads(pile, np.array([[[at, at, 0.3, 0.02], [at + 0.2, at + 0.1, 0.3, 0.01]]]), 1.0, 2)
        add_strokes(pile.height, np.array([[at, at, 1.0, 0.1, 0.02, 0.1, 0.01]]))
    assert set(np.unique(middle.ident)) == {-1, 0, 1, 2}
    assert np.array_equal(np.roll(corner.ident, (32, 32), (0, 1)), middle.ident)
    np.testing.assert_allclose(np.roll(corner.height, (32, 32), (0, 1)), middle.height, atol=1e-5)
