"""Each metric: identical inputs give its extreme value, growing damage moves it steadily, and it cannot be gamed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity

from mipmap.metrics import (
    autocorrelation,
    distance_unit,
    diversity,
    edge_agreement,
    edge_correlation,
    evenness,
    halves_distance,
    interior_gradient,
    join_sharpness,
    largest_verbatim,
    main_peak,
    match_index,
    regularity,
    repetition,
    rigid_pieces,
    seam_ratio,
    sharpness_ratio,
    sliced_wasserstein,
    spread_windows,
    ssim,
    texture_distance,
    wrap_ratio,
)

Image = NDArray[np.float32]


def stone(height: int = 256, width: int = 256, seed: int = 0) -> Image:
    """A stochastic texture that tiles: blotches, grains and noise in correlated colours."""
    rng = np.random.default_rng(seed)
    value = sum(
        gain * _smooth(rng.standard_normal((height, width)), sigma) for gain, sigma in ((1.0, 8), (1.0, 3), (0.7, 1))
    )
    tint = _smooth(rng.standard_normal((height, width)), 6)
    rgb = np.stack([value + 0.3 * tint, value, 0.8 * value - 0.3 * tint], axis=2)
    return np.clip(0.5 + 0.1 * rgb, 0, 1).astype(np.float32)


def bricks(size: int = 256, seed: int = 0, grain: float = 0.03) -> Image:
    """Running bond, 16 x 32 texels a brick, each of its own brightness, with blotches and grain; it tiles."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size]
    course = y // 16
    x = (x + 16 * (course % 2)) % size
    face = rng.uniform(0.35, 0.55, (size // 16, size // 32))[course, x // 32]
    joint = (y % 16 < 2) | (x % 32 < 2)
    blotches = 0.05 * _smooth(rng.standard_normal((size, size)), 2)
    value = np.where(joint, 0.8, face) + blotches + grain * rng.standard_normal((size, size))
    return np.clip(value[:, :, None] * np.array([1.0, 0.7, 0.6]), 0, 1).astype(np.float32)


def mosaic(exemplar: Image, size: int, block: int, seed: int = 0) -> tuple[Image, NDArray[np.int32]]:
    """Square pieces from random places of the exemplar, and the index field they came from."""
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size, exemplar.shape[2]), np.float32)
    index = np.zeros((size // 8, size // 8, 3), np.int32)
    for y in range(0, size, block):
        for x in range(0, size, block):
            j, i = rng.integers(0, exemplar.shape[0] - block + 1), rng.integers(0, exemplar.shape[1] - block + 1)
            image[y : y + block, x : x + block] = exemplar[j : j + block, i : i + block]
            blocks = 8 * np.indices((block // 8, block // 8)).transpose(1, 2, 0) + (j, i)
            index[y // 8 : (y + block) // 8, x // 8 : (x + block) // 8, :2] = blocks
    return image, index


def blurred(image: Image, sigma: float) -> Image:
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="wrap")


def noisy(image: Image, deviation: float) -> Image:
    rng = np.random.default_rng(5)
    return (image + deviation * rng.standard_normal(image.shape)).astype(np.float32)


def _smooth(noise: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap")
    return smooth / smooth.std()


def increases(values: list[float]) -> bool:
    return bool((np.diff(values) > 0).all())


# Sliced Wasserstein distance and d


def test_an_image_is_at_distance_zero_from_itself() -> None:
    assert sliced_wasserstein(stone(), stone()) == 0


def test_the_distance_is_symmetric_and_deterministic() -> None:
    a, b = stone(256, 256, 1), stone(128, 192, 2)
    assert sliced_wasserstein(a, b) == sliced_wasserstein(a, b) == pytest.approx(sliced_wasserstein(b, a), rel=1e-5)


def test_shifting_one_channel_by_c_costs_c_times_the_mean_sum_of_a_unit_vector() -> None:
    """W1 of a shift by c along u is |c sum(u)|, and E|sum(u)| of a random unit vector is about sqrt(2 / pi)."""
    a = stone()[:, :, :1]
    assert sliced_wasserstein(a, a + 0.1, projections=512) == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.05)


def test_one_dimensional_distance_equals_the_brute_force_optimal_transport() -> None:
    """With 1 x 1 patches of one channel the only directions are +1 and -1: mean difference of the sorted texels."""
    a, b = stone(64, 64, 1)[:, :, :1], stone(64, 64, 2)[:, :, :1] ** 2
    brute = np.abs(np.sort(a.ravel()) - np.sort(b.ravel())).mean()
    assert sliced_wasserstein(a, b, patch=1, scales=1) == pytest.approx(brute, rel=1e-5)


def test_moving_texels_about_leaves_single_texel_distance_but_not_patch_distance() -> None:
    a = stone()
    shuffled = np.random.default_rng(0).permutation(a.reshape(-1, 3)).reshape(a.shape)
    assert sliced_wasserstein(a, shuffled, patch=1, scales=1) < 0.002
    assert texture_distance(shuffled, a) > 2


def test_d_of_another_sample_of_the_same_texture_is_below_one() -> None:
    assert texture_distance(stone(seed=1), stone(seed=2)) < 1


def test_d_of_a_rolled_or_mirrored_texture_is_small() -> None:
    a = stone()
    assert texture_distance(np.roll(a, (31, 77), (0, 1)), a) < 0.25
    assert texture_distance(a[:, ::-1], a) < 0.3


def test_d_of_the_tiled_exemplar_is_small_at_any_size() -> None:
    a = stone(192, 256)
    assert texture_distance(np.tile(a, (2, 3, 1)), a) < 0.2


@pytest.mark.parametrize("damage", [blurred, noisy])
def test_d_grows_with_blur_and_with_noise(damage: object) -> None:
    a = stone()
    amounts = (0.5, 1, 2, 4) if damage is blurred else (0.02, 0.05, 0.1, 0.2)
    assert increases([texture_distance(damage(a, amount), a) for amount in amounts])  # type: ignore[operator]


def test_d_is_not_gamed_by_the_mean_colour_or_by_small_random_pieces() -> None:
    a = stone()
    flat = np.broadcast_to(a.mean((0, 1)), a.shape)
    assert texture_distance(flat, a) > 4
    assert texture_distance(mosaic(a, 256, 8)[0], a) > texture_distance(mosaic(a, 256, 64)[0], a)


def test_the_unit_is_the_larger_of_halves_and_a_tenth_of_the_deviation() -> None:
    even = stone(512, 512)
    uneven = even.copy()
    uneven[:, 256:] *= 0.5
    assert distance_unit(even) == pytest.approx(0.1 * float(np.sqrt(even.var((0, 1)).mean())), rel=1e-3)
    assert distance_unit(uneven) == halves_distance(uneven) > 3 * distance_unit(even)


def test_a_constant_map_has_a_finite_d() -> None:
    flat = np.full((64, 64, 1), 0.5, np.float32)
    assert texture_distance(flat, flat) == 0
    assert texture_distance(flat + 0.1, flat) > 10


def test_windows_of_a_large_image_stand_for_the_whole() -> None:
    a, big = stone(256, 256, 1), stone(1024, 1024, 2)
    sample = texture_distance(spread_windows(big, 256, 3), a)
    assert sample == pytest.approx(texture_distance(big, a), abs=0.15)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 28"):
        sliced_wasserstein(stone(27, 64), stone())


# Sharpness


def test_sharpness_of_itself_is_one_and_falls_with_blur_and_rises_with_noise() -> None:
    a = stone()
    assert sharpness_ratio(a, a) == 1
    assert increases([sharpness_ratio(blurred(a, sigma), a) for sigma in (2.0, 1.0, 0.5, 0.25)])
    assert sharpness_ratio(blurred(a, 0.5), a) < 1 < sharpness_ratio(noisy(a, 0.02), a)


def test_sharpness_scales_with_the_square_of_contrast() -> None:
    a = stone()
    assert sharpness_ratio(0.5 * a, a) == pytest.approx(0.25, rel=1e-4)


def test_sharpness_of_flat_maps_is_one() -> None:
    flat = np.full((32, 32), 0.3)
    assert sharpness_ratio(flat, flat) == 1


# Autocorrelation, regularity, repetition


def test_autocorrelation_equals_the_direct_sum() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((17, 23)).astype(np.float32)
    fast = autocorrelation(a, (6, 9))
    for dy, dx in ((0, 0), (3, 0), (0, -4), (6, 9), (5, -9), (-2, 7)):
        p, q = _overlap(a, dy, dx)
        assert fast[6 + dy, 9 + dx] == pytest.approx((p * q).sum() / np.sqrt((p * p).sum() * (q * q).sum()), abs=1e-4)


def _overlap(a: Image, dy: int, dx: int) -> tuple[Image, Image]:
    h, w = a.shape
    here = a[max(0, -dy) : h - max(0, dy), max(0, -dx) : w - max(0, dx)]
    there = a[max(0, dy) : h - max(0, -dy), max(0, dx) : w - max(0, -dx)]
    return here, there


def test_a_periodic_signal_has_full_autocorrelation_at_every_period_without_wrap() -> None:
    y, x = np.mgrid[0:90, 0:70]
    wave = (np.sin(2 * np.pi * y / 15) + np.cos(2 * np.pi * x / 10)).astype(np.float32)
    correlation = autocorrelation(wave, (45, 35))
    assert correlation[45 + 30, 35 + 20] == pytest.approx(1, abs=1e-4)


def test_the_main_peak_of_bricks_is_a_lattice_vector() -> None:
    found = regularity(bricks(), bricks())
    dy, dx = found.lag
    assert found.regular
    assert dy % 16 == 0 and (dx + dy) % 32 == 0
    assert found.kept == 1


def test_stone_is_not_regular_and_has_nothing_to_keep() -> None:
    found = regularity(stone(seed=1), stone(seed=2))
    assert not found.regular


def test_another_wall_of_the_same_bond_keeps_its_regularity() -> None:
    assert regularity(np.roll(bricks(seed=1), (5, 9), (0, 1)), bricks(seed=2)).kept > 0.9


def test_regularity_is_lost_by_pieces_out_of_phase_by_another_period_and_by_noise() -> None:
    wall = bricks()
    assert regularity(mosaic(wall, 256, 16)[0], wall).kept < 0.3
    stretched = ndimage.zoom(wall, (1.25, 1.25, 1), order=1)[:256, :256]
    assert regularity(stretched, wall).kept < 0.3
    kept = [regularity(noisy(wall, deviation), wall).kept for deviation in (0.4, 0.2, 0.1, 0.05)]
    assert increases(kept)


def test_a_flat_image_has_no_peak() -> None:
    assert main_peak(autocorrelation(np.zeros((32, 32), np.float32), (8, 8))) == ((0, 0), 0.0)


def test_a_tiled_exemplar_is_flagged_as_repetition_at_its_side() -> None:
    exemplar = stone(96, 96)
    found = repetition(np.tile(exemplar, (8, 8, 1)), exemplar)
    assert found.excess > 0.8
    assert found.lag[0] % 96 == 0 and found.lag[1] % 96 == 0


def test_a_larger_sample_of_the_material_is_no_repetition() -> None:
    material = stone(512, 512)
    assert repetition(material, material[:192, :192]).excess < 0.1
    assert repetition(material[200:, 200:], material[:192, :192]).excess < 0.1


def test_regular_material_is_no_repetition_but_its_tiled_exemplar_is() -> None:
    wall = bricks(512)
    exemplar = wall[:128, :128]
    assert repetition(wall, exemplar).excess < 0.1
    assert repetition(np.tile(exemplar, (4, 4, 1)), exemplar).excess > 0.5


def test_the_exemplar_itself_is_no_repetition() -> None:
    assert repetition(stone(), stone()).excess == 0


# Copying


def test_a_verbatim_copy_has_the_diameter_of_the_exemplar() -> None:
    _, index = mosaic(stone(), 256, 256)
    assert largest_verbatim(index, (256, 256)) == pytest.approx(np.sqrt(2), rel=1e-3)


@pytest.mark.parametrize("block", [8, 16, 64, 128])
def test_square_pieces_have_the_diameter_of_their_side(block: int) -> None:
    _, index = mosaic(stone(512, 512), 512, block)
    assert largest_verbatim(index, (512, 512)) == pytest.approx(np.sqrt(2) * block / 512, rel=1e-3)


def test_a_piece_goes_on_across_the_edge_of_the_exemplar_and_over_one_texel_of_slack() -> None:
    _, index = mosaic(stone(), 256, 256)
    index[..., :2] = (index[..., :2] + (100, 40)) % 256
    index[16:, :, 0] += 1
    assert len(np.unique(rigid_pieces(index, (256, 256)))) == 1
    index[16:, :, 0] += 1
    assert len(np.unique(rigid_pieces(index, (256, 256)))) == 2


def test_turned_pieces_are_found_and_do_not_join_upright_ones() -> None:
    _, index = mosaic(stone(), 256, 256)
    turned = np.ascontiguousarray(index[:, ::-1].swapaxes(0, 1))
    turned[..., 2] = 1
    assert len(np.unique(rigid_pieces(turned, (256, 256)))) == 1
    turned[:16, :, 2] = 0
    assert len(np.unique(rigid_pieces(turned, (256, 256)))) > 2


def test_five_per_cent_of_the_area_may_be_copied_without_counting() -> None:
    _, index = mosaic(stone(512, 512), 512, 8)
    _, copy = mosaic(stone(512, 512), 512, 512)
    small, large = index.copy(), index.copy()
    small[:13, :13], large[:16, :16] = copy[:13, :13], copy[:16, :16]
    assert largest_verbatim(small, (512, 512)) < 0.05
    assert largest_verbatim(large, (512, 512)) > 0.3


def test_pieces_are_found_in_an_image_without_an_index() -> None:
    exemplar = stone(256, 256)
    image, index = mosaic(exemplar, 256, 64)
    found = match_index(noisy(image, 0.005), exemplar)
    assert (found == index).all(-1).mean() > 0.98
    assert largest_verbatim(found, (256, 256)) == pytest.approx(largest_verbatim(index, (256, 256)), rel=0.05)


def test_another_sample_of_the_material_holds_no_copied_pieces() -> None:
    assert largest_verbatim(match_index(stone(seed=1), stone(seed=2)), (256, 256)) < 0.1


def test_evenness_is_one_for_uniform_use_and_lower_the_less_is_used() -> None:
    rng = np.random.default_rng(0)
    index = np.zeros((64, 64, 3), np.int32)
    index[..., :2] = rng.integers(0, 512, (64, 64, 2))
    narrow = [evenness(_within(index, share), (512, 512)) for share in (1, 2, 4, 8, 64)]
    assert narrow[0] > 0.99
    assert increases(narrow[::-1])


def _within(index: NDArray[np.int32], share: int) -> NDArray[np.int32]:
    narrow = index.copy()
    narrow[..., 0] //= share
    narrow[..., 1] //= share
    return narrow


def test_a_single_source_has_evenness_zero() -> None:
    assert evenness(np.zeros((32, 32, 3), np.int32), (256, 256)) == 0


def test_an_output_smaller_than_the_exemplar_is_not_blamed_for_what_it_cannot_show() -> None:
    _, index = mosaic(stone(512, 512), 128, 128)
    assert evenness(index, (512, 512)) > 0.9


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**31 - 1))
def test_evenness_and_verbatim_stay_in_range_for_any_index(h: int, w: int, eh: int, ew: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = np.stack([rng.integers(0, eh, (h, w)), rng.integers(0, ew, (h, w)), rng.integers(0, 8, (h, w))], axis=2)
    assert 0 <= evenness(index, (eh, ew)) <= 1
    smallest, largest = 8 * np.sqrt(2) * 0.99, 8 * np.hypot(h, w) * 1.01
    assert smallest <= largest_verbatim(index, (eh, ew)) * min(eh, ew) <= largest


def test_an_index_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(h, w, 3\)"):
        evenness(np.zeros((4, 4, 2), np.int32), (64, 64))


# Diversity


def test_equal_results_have_no_diversity_and_independent_ones_about_one() -> None:
    exemplar = stone(512, 512, 9)
    seeds = [stone(seed=seed) for seed in range(4)]
    assert diversity([exemplar[:256, :256]] * 4, exemplar) == 0
    assert diversity(seeds, exemplar) == pytest.approx(1, abs=0.15)


def test_diversity_grows_as_results_share_less() -> None:
    exemplar = stone(512, 512, 9)
    common, seeds = stone(seed=50), [stone(seed=seed) for seed in range(3)]
    values = []
    for share in (192, 128, 64, 0):
        mixed = [np.concatenate([common[:share], seed[share:]]) for seed in seeds]
        values.append(diversity(mixed, exemplar))
    assert increases(values)


def test_diversity_of_one_result_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        diversity([stone()], stone())


# Seams


def test_a_texture_that_tiles_has_a_wrap_ratio_of_one() -> None:
    for edge in wrap_ratio(stone(512, 512)):
        assert edge.ratio == pytest.approx(1, abs=0.1)
        assert edge.seamless


def test_a_crop_shows_its_seam_on_the_axis_that_was_cut() -> None:
    rows, columns = wrap_ratio(stone()[:200])
    assert rows.ratio > 1.5 and not rows.seamless
    assert columns.seamless


def test_a_smeared_wrap_edge_is_no_seamless_edge() -> None:
    a = stone()
    a[-1] = a[0]
    rows, _ = wrap_ratio(a)
    assert rows.ratio < 0.5 and not rows.seamless


def test_a_joint_at_the_wrap_edge_is_as_usual_as_the_joints_inside() -> None:
    wall = bricks()
    rows, columns = wrap_ratio(wall)
    assert rows.seamless and columns.seamless


def test_a_flat_image_has_no_seam() -> None:
    rows, columns = wrap_ratio(np.full((32, 32), 0.4))
    assert rows.ratio == columns.ratio == 1


def test_joins_that_are_cut_hard_or_blurred_are_seen() -> None:
    exemplar = stone(512, 512)
    _, index = mosaic(exemplar, 256, 32)
    pieces = rigid_pieces(index, (512, 512))
    genuine, cut = stone(seed=3), mosaic(exemplar, 256, 32)[0]
    smooth = blurred(genuine, 1.0)
    faded = np.where(_near_lines(256, 32)[:, :, None], smooth, genuine)
    assert join_sharpness(genuine, pieces) == pytest.approx(1, abs=0.1)
    assert join_sharpness(cut, pieces) > 1.3
    assert join_sharpness(faded, pieces) < 0.7


def _near_lines(size: int, period: int) -> NDArray[np.bool_]:
    phase = (np.arange(size) + 4) % period < 8
    return phase[:, None] | phase[None, :]


def test_a_verbatim_copy_has_no_joins() -> None:
    assert join_sharpness(stone(), np.zeros((32, 32), np.int32)) == 1


def test_seam_ratio_is_one_for_neighbouring_texels_and_grows_with_a_step_between_the_charts() -> None:
    a = stone()
    left, right = a[:, 100], a[:, 101]
    inside = interior_gradient(a)
    assert seam_ratio(left, right, inside) == pytest.approx(1, abs=0.2)
    assert increases([seam_ratio(left, right + step, inside) for step in (0.0, 0.1, 0.2)])


def test_the_interior_gradient_stays_within_its_mask() -> None:
    a = np.zeros((16, 16, 1), np.float32)
    a[:, 8:] = 1
    inside = np.ones((16, 16), bool)
    inside[:, 8] = False
    assert interior_gradient(a) > 0
    assert interior_gradient(a, inside) == 0


# Edges


def maps_of(height: NDArray[np.float64]) -> dict[str, Image]:
    gy, gx = np.gradient(height)
    normal = np.stack([-gx, gy, np.full_like(gx, 0.05)], axis=2)
    normal = 0.5 + 0.5 * normal / np.linalg.norm(normal, axis=2, keepdims=True)
    blocks = (height > 0.5).astype(np.float32)
    return {
        "albedo": np.repeat(0.2 + 0.5 * blocks[:, :, None], 3, axis=2),
        "normal": normal.astype(np.float32),
        "roughness": 0.8 - 0.4 * blocks,
    }


def _cobbles(seed: int) -> NDArray[np.float64]:
    noise = _smooth(np.random.default_rng(seed).standard_normal((192, 192)), 4)
    return 1 / (1 + np.exp(-8 * noise))


def test_maps_of_another_sample_agree_as_in_the_exemplar() -> None:
    exemplar = maps_of(_cobbles(1))
    assert edge_agreement(exemplar, exemplar) == 1
    assert edge_agreement(maps_of(_cobbles(2)), exemplar) == pytest.approx(1, abs=0.05)


def test_agreement_falls_as_the_maps_drift_apart() -> None:
    exemplar, result = maps_of(_cobbles(1)), maps_of(_cobbles(2))
    values = []
    for drift in (12, 4, 2, 1, 0):
        values.append(edge_agreement(result | {"roughness": np.roll(result["roughness"], drift, 1)}, exemplar))
    assert increases(values)
    assert values[0] < 0.5


def test_unrelated_maps_of_the_exemplar_are_not_held_against_the_result() -> None:
    exemplar = {"albedo": stone(seed=1), "roughness": stone(seed=2)[:, :, 0]}
    assert edge_agreement({"albedo": stone(seed=3), "roughness": stone(seed=4)[:, :, 0]}, exemplar) == 1


def test_edge_correlation_is_one_for_the_same_edges_in_other_colours_and_falls_with_mixing() -> None:
    content, other = bricks(), stone()
    assert edge_correlation(content, content) == pytest.approx(1)
    assert edge_correlation(content, 0.9 - 0.5 * content) == pytest.approx(1, abs=1e-3)
    values = [edge_correlation(content, share * content + (1 - share) * other) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert increases(values)
    assert abs(values[0]) < 0.2


def test_edge_correlation_of_two_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        edge_correlation(bricks(), bricks(128))


# SSIM


@pytest.mark.parametrize("shape", [(64, 96), (48, 64, 3)])
def test_ssim_equals_scikit_image(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a = rng.random(shape).astype(np.float32)
    b = np.clip(a + 0.2 * rng.standard_normal(shape), 0, 1).astype(np.float32)
    expected = structural_similarity(
        a.astype(np.float64),
        b.astype(np.float64),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2 if len(shape) == 3 else None,
    )
    assert ssim(a, b) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_itself_is_one_and_falls_with_noise_and_with_blur() -> None:
    a = stone()
    assert ssim(a, a) == 1
    assert increases([ssim(a, noisy(a, deviation)) for deviation in (0.2, 0.1, 0.05)])
    assert increases([ssim(a, blurred(a, sigma)) for sigma in (4.0, 2.0, 1.0)])


def test_ssim_of_overlapping_bands_is_that_of_the_whole() -> None:
    a, b = stone(seed=1), stone(seed=2)
    bands = [ssim(a[top : top + 133], b[top : top + 133]) for top in (0, 123)]
    assert ssim(a, b) == pytest.approx(np.mean(bands), abs=1e-9)


def test_ssim_of_two_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        ssim(stone(64, 64), stone(64, 32))
