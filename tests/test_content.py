"""How an asset's own texture steers a restyle: guidance by tone and slope, relief laid over, rows resized in bands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from mipmap.metrics import edge_correlation
from texsynth.content import (
    FEATURES,
    LARGEST_CONTENT,
    LUMINANCE,
    Content,
    Relief,
    guidance_of_content,
    guidance_of_exemplar,
    prepare_content,
    reoriented,
    resized_rows,
)
from texsynth.material import CHANNELS, MapKind, Material, TextureMap

Floats = NDArray[np.float32]
TORUS = (True, True)
MAPS = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)


def smooth(height: int, width: int, channels: int = 1, seed: int = 0, sigma: float = 4.0) -> Floats:
    """float32 (H, W, K), 0..1, that wraps."""
    white = np.random.default_rng(seed).normal(size=(height, width, channels))
    field = ndimage.gaussian_filter(white, (sigma, sigma, 0), mode="wrap")
    return np.asarray(0.5 + 0.15 * field / field.std(), np.float32).clip(0, 1)


def normals(height: int, width: int, seed: int = 0, steepness: float = 0.6) -> Floats:
    """Unit vectors float32 (H, W, 3) of a bumpy surface."""
    xy = (smooth(height, width, 2, seed) - 0.5) * np.float32(2 * steepness)
    vectors = np.concatenate([xy, np.ones((height, width, 1), np.float32)], axis=2)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=2, keepdims=True), np.float32)


def encoded(values: Floats) -> NDArray[np.uint8]:
    return np.round(values * 255).astype(np.uint8)


def asset(height: int = 96, width: int = 128, kinds: tuple[MapKind, ...] = MAPS) -> Material:
    values = {kind: smooth(height, width, CHANNELS[kind], i) for i, kind in enumerate(kinds)}
    if MapKind.NORMAL in values:
        values[MapKind.NORMAL] = normals(height, width) * np.float32(0.5) + np.float32(0.5)
    return Material("urn", {kind: TextureMap(kind, encoded(texels)) for kind, texels in values.items()})


def content_of(material: Material, strength: float = 1.0) -> Content:
    content = prepare_content(material, strength)
    assert content is not None
    return content


# What is taken from the asset


def test_strength_zero_takes_nothing_from_the_asset() -> None:
    assert prepare_content(asset(), 0.0) is None


def test_tone_is_the_encoded_luminance_and_slope_the_normals_x_and_y() -> None:
    material = asset()
    content = content_of(material)
    expected = material.maps[MapKind.ALBEDO].encoded() @ LUMINANCE
    np.testing.assert_allclose(content.tone, expected, atol=1e-6)
    assert content.slope is not None
    np.testing.assert_allclose(content.slope, material.maps[MapKind.NORMAL].encoded()[:, :, :2] * 2 - 1, atol=1e-6)


@pytest.mark.parametrize("kind", [MapKind.HEIGHT, MapKind.ROUGHNESS])
def test_without_albedo_another_map_gives_the_tone(kind: MapKind) -> None:
    material = asset(kinds=(kind, MapKind.METALNESS))
    content = content_of(material)
    np.testing.assert_array_equal(content.tone, material.maps[kind].encoded()[:, :, 0])
    assert content.slope is None


@pytest.mark.parametrize("kinds", [(MapKind.NORMAL,), (MapKind.METALNESS,), (MapKind.OPACITY, MapKind.NORMAL)])
def test_an_asset_without_any_tone_steers_by_its_normals_alone(kinds: tuple[MapKind, ...]) -> None:
    content = content_of(asset(kinds=kinds))
    assert content.tone.shape == (96, 128)
    assert float(content.tone.std()) == 0
    assert not guidance_of_content(content, 12, 16).any()
    assert (content.slope is not None) == (MapKind.NORMAL in kinds)


def test_estimated_normals_are_not_content() -> None:
    material = asset()
    guessed = Material("photo", material.maps, estimated=frozenset({MapKind.NORMAL}))
    assert content_of(guessed).slope is None


def test_content_of_a_large_asset_is_kept_at_a_bounded_size() -> None:
    texels = np.zeros((LARGEST_CONTENT // 4, 2 * LARGEST_CONTENT, 1), np.uint8)
    content = content_of(Material("large", {MapKind.ROUGHNESS: TextureMap(MapKind.ROUGHNESS, texels)}))
    assert content.tone.shape == (LARGEST_CONTENT // 8, LARGEST_CONTENT)


# Guidance


def test_guidance_of_an_exemplar_at_its_own_places_is_its_guidance_as_content() -> None:
    material = asset(128, 128)
    content = content_of(material)
    stack = material.maps[MapKind.ALBEDO].encoded()
    offered = guidance_of_exemplar(content, stack, 1, 8, TORUS)
    wanted = guidance_of_content(content, 16, 16)
    assert offered.shape == (128, 128, FEATURES)
    assert wanted.shape == (16, 16, FEATURES)
    assert offered.dtype == wanted.dtype == np.float32
    for f in range(FEATURES):
        assert np.corrcoef(offered[::8, ::8, f].ravel(), wanted[:, :, f].ravel())[0, 1] > 0.95
    # the block that starts at its own place is the one that fits best
    flat = offered[::8, ::8].reshape(-1, FEATURES)
    distance = ((wanted.reshape(-1, 1, FEATURES) - flat) ** 2).sum(axis=2)
    assert float((distance.argmin(axis=1) == np.arange(256)).mean()) > 0.6


def test_guidance_of_an_exemplar_is_that_of_the_block_that_starts_at_a_texel() -> None:
    stack = np.zeros((64, 64, 3), np.float32)
    stack[24:32, 40:48] = 1
    tone = guidance_of_exemplar(Content(1.0, stack[:, :, 0], None), stack, 1, 8, TORUS)[:, :, 0]
    lightest = np.argwhere(tone == tone.max())
    np.testing.assert_array_equal(lightest.mean(axis=0), [24, 40])


def test_guidance_is_by_rank_so_that_contrast_and_gamma_of_the_content_do_not_matter() -> None:
    tone = smooth(96, 96)[:, :, 0]
    plain = guidance_of_content(Content(1.0, tone, None), 96, 96)
    dim = guidance_of_content(Content(1.0, 0.1 + 0.8 * tone**2, None), 96, 96)
    assert float(np.abs(plain - dim).mean()) < 0.02 * float(np.abs(plain).mean())


def test_guidance_counts_for_more_the_stronger_the_content() -> None:
    tone = smooth(96, 96)[:, :, 0]
    sizes = [float(np.abs(guidance_of_content(Content(s, tone, None), 12, 12)).mean()) for s in (0.1, 0.4, 0.7, 1.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.2 * sizes[-1]


# Relief


def laid_over(content: Content, stack: Floats, maps: tuple[MapKind, ...] = MAPS) -> Floats:
    result = stack.copy()
    Relief(content, stack.shape[:2]).lay_over(result, maps, 0)
    return result


def result_stack(height: int = 192, width: int = 192) -> Floats:
    made = normals(height, width, 8) * np.float32(0.5) + np.float32(0.5)
    return np.concatenate([smooth(height, width, 3, 7, 2.0), made, smooth(height, width, 1, 9)], axis=2)


def test_relief_keeps_normals_unit_and_facing_outwards() -> None:
    steep = normals(96, 96, 3, steepness=3.0)[:, :, :2]
    content = Content(1.0, smooth(96, 96)[:, :, 0], np.ascontiguousarray(steep))
    made = laid_over(content, result_stack())[:, :, 3:6] * 2 - 1
    np.testing.assert_allclose(np.linalg.norm(made, axis=2), 1, atol=1e-4)
    assert float((made[:, :, 2] < 0).mean()) < 0.01


def test_relief_leaves_the_maps_that_are_neither_albedo_nor_normal_alone() -> None:
    stack = result_stack()
    content = content_of(asset())
    np.testing.assert_array_equal(laid_over(content, stack)[:, :, 6], stack[:, :, 6])
    turned = np.concatenate([stack[:, :, 6:], stack[:, :, 3:6], stack[:, :, :3]], axis=2)
    other = laid_over(content, turned, (MapKind.ROUGHNESS, MapKind.NORMAL, MapKind.ALBEDO))
    np.testing.assert_array_equal(other[:, :, 4:], laid_over(content, stack)[:, :, :3])


def test_relief_without_content_normals_leaves_the_normals_alone() -> None:
    stack = result_stack()
    content = Content(1.0, smooth(96, 96)[:, :, 0], None)
    np.testing.assert_array_equal(laid_over(content, stack)[:, :, 3:], stack[:, :, 3:])


def test_the_edges_of_the_content_show_more_the_higher_the_slider_in_albedo_and_normal() -> None:
    yy, xx = np.mgrid[0:192, 0:192] // 48
    board = ((yy + xx) % 2).astype(np.float32) * 0.5 + 0.25
    dy, dx = ndimage.sobel(board, 0), ndimage.sobel(board, 1)
    slope = np.stack([-dx, dy], 2).astype(np.float32) * np.float32(0.2)
    stack = result_stack()
    tones, slopes = [], []
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        made = laid_over(Content(strength, board, slope), stack)
        tones.append(edge_correlation(board, made[:, :, :3]))
        slopes.append(float(np.corrcoef(made[:, :, 3].ravel(), slope[:, :, 0].ravel())[0, 1]))
    assert tones == sorted(tones)
    assert tones[-1] > tones[0] + 0.3
    assert slopes == sorted(slopes)
    assert slopes[-1] > slopes[0] + 0.3


def test_relief_in_bands_is_the_whole_to_the_bit() -> None:
    content = content_of(asset(100, 90), 0.8)
    stack = result_stack()
    whole = laid_over(content, stack)
    relief = Relief(content, (192, 192))
    for first, last in ((150, 192), (0, 1), (1, 64), (64, 150)):
        band = stack[first:last].copy()
        relief.lay_over(band, MAPS, first)
        assert band.tobytes() == whole[first:last].tobytes()


def test_relief_of_a_content_larger_than_the_result_is_averaged_and_not_sampled() -> None:
    fine = np.indices((256, 256)).sum(axis=0).astype(np.float32) % 2  # a checkerboard of single texels
    slope = np.stack([fine - 0.5, 0.5 - fine], axis=2)
    stack = result_stack(80, 96)
    made = laid_over(Content(1.0, fine, slope), stack)
    assert float(np.abs(made - stack).max()) < 0.06


def test_a_flat_normal_bends_nothing_and_bends_by_itself_to_the_content() -> None:
    detail = normals(32, 32)
    np.testing.assert_allclose(reoriented(np.zeros((32, 32, 2), np.float32), detail), detail, atol=1e-6)
    up = np.broadcast_to(np.array([0, 0, 1], np.float32), (32, 32, 3))
    np.testing.assert_allclose(reoriented(detail[:, :, :2], np.ascontiguousarray(up)), detail, atol=1e-6)


def test_reorienting_turns_the_detail_with_the_surface_it_lies_on() -> None:
    """The rotation that takes +z to the base takes the detail to the result."""
    base, detail = normals(16, 16, 1), normals(16, 16, 2)
    found = reoriented(base[:, :, :2], detail).astype(np.float64)
    for y, x in ((0, 0), (5, 9), (15, 3)):
        b = base[y, x].astype(np.float64)
        axis = np.cross([0, 0, 1], b)
        sine, cosine = np.linalg.norm(axis), b[2]
        axis /= sine
        d = detail[y, x].astype(np.float64)
        turned = d * cosine + np.cross(axis, d) * sine + axis * (axis @ d) * (1 - cosine)
        np.testing.assert_allclose(found[y, x], turned, atol=1e-5)


# Rows resized in bands


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 90), st.integers(2, 90), st.data())
def test_rows_resized_in_bands_are_the_whole_to_the_bit(
    height: int, width: int, rows: int, columns: int, data: st.DataObject
) -> None:
    image = np.random.default_rng(height).random((height, width, 3), dtype=np.float32)
    whole = resized_rows(image, (rows, columns), (0, rows))
    assert whole.shape == (rows, columns, 3)
    cut = data.draw(st.integers(1, rows - 1))
    for first, last in ((0, cut), (cut, rows), (cut - 1, cut)):
        assert resized_rows(image, (rows, columns), (first, last)).tobytes() == whole[first:last].tobytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 4), st.integers(1, 4))
def test_enlarged_rows_are_those_of_a_bilinear_resize(height: int, width: int, more_y: int, more_x: int) -> None:
    image = smooth(height, width, 2, height)
    rows, columns = height * more_y, width * more_x
    expected = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resized_rows(image, (rows, columns), (0, rows)), expected, atol=0.02)


def test_rows_of_the_same_size_are_unchanged() -> None:
    image = smooth(24, 30, 3)
    np.testing.assert_array_equal(resized_rows(image, (24, 30), (3, 20)), image[3:20])
