"""What synthesis takes from an exemplar: its stack, its weights, its edges, its size at another density."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.exemplar import MAP_WEIGHT, build_exemplar, halved, prepare_exemplar
from texsynth.material import CHANNELS, MapKind, Material, TextureMap
from texsynth.train.procedural import generate

Floats = NDArray[np.float32]
MAPS = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)


def smooth(height: int, width: int, channels: int, seed: int = 0) -> Floats:
    """float32 (H, W, K), 0..1, that wraps."""
    white = np.random.default_rng(seed).normal(size=(height, width, channels))
    field = ndimage.gaussian_filter(white, (3, 3, 0), mode="wrap")
    return np.asarray(0.5 + 0.15 * field / field.std(), np.float32).clip(0, 1)


def material_of(height: int, width: int, maps: tuple[MapKind, ...] = MAPS) -> Material:
    rng = np.random.default_rng(1)
    texels = {kind: rng.integers(60, 200, (height, width, CHANNELS[kind]), np.uint8) for kind in maps}
    return Material("rock", {kind: TextureMap(kind, values) for kind, values in texels.items()})


def refusal(material: Material, maps: tuple[MapKind, ...], density: float = 1.0) -> str:
    with pytest.raises(TexsynthError) as caught:
        prepare_exemplar(material, maps, density)
    assert caught.value.kind is ErrorKind.BAD_INPUT
    return str(caught.value)


def test_the_stack_holds_the_encoded_maps_unchanged_albedo_first() -> None:
    material = material_of(64, 72)
    exemplar = prepare_exemplar(material, (MapKind.ROUGHNESS, MapKind.NORMAL, MapKind.ALBEDO))
    assert exemplar.maps == MAPS
    assert exemplar.size == (64, 72)
    expected = np.concatenate([material.maps[kind].encoded() for kind in MAPS], axis=2)
    np.testing.assert_array_equal(exemplar.stack, expected)


def test_maps_that_the_exemplar_lacks_are_left_out() -> None:
    exemplar = prepare_exemplar(material_of(64, 64, (MapKind.ALBEDO,)), (MapKind.ALBEDO, MapKind.METALNESS))
    assert exemplar.maps == (MapKind.ALBEDO,)


def test_an_exemplar_without_any_of_the_maps_is_refused_in_one_line() -> None:
    message = refusal(material_of(64, 64, (MapKind.ALBEDO,)), (MapKind.METALNESS, MapKind.HEIGHT))
    assert message == "rock: the exemplar has no metalness, height; ask for some of albedo"


@pytest.mark.parametrize(("height", "width", "density"), [(63, 200, 1.0), (200, 120, 2.0)])
def test_an_exemplar_that_is_too_small_is_refused_with_its_size(height: int, width: int, density: float) -> None:
    message = refusal(material_of(height, width), MAPS, density)
    assert f"has {round(width / density)} x {round(height / density)} texels" in message
    assert "at least 64" in message


@pytest.mark.parametrize("density", [0.5, 0.7, 1.3, 1.5, 2.0])
def test_density_resizes_all_seven_channels_together(density: float) -> None:
    material = generate("pebbles", 160, 2)
    exemplar = prepare_exemplar(material, MAPS, density)
    assert exemplar.stack.shape == (round(160 / density), round(160 / density), 7)
    assert exemplar.stack.dtype == np.float32
    assert 0 <= float(exemplar.stack.min()) <= float(exemplar.stack.max()) <= 1
    whole = prepare_exemplar(material, MAPS).stack
    np.testing.assert_allclose(exemplar.stack.mean(axis=(0, 1)), whole.mean(axis=(0, 1)), atol=0.01)


def test_density_of_two_averages_texels_in_pairs() -> None:
    material = material_of(128, 160)
    np.testing.assert_allclose(
        prepare_exemplar(material, MAPS, 2.0).stack, halved(prepare_exemplar(material, MAPS).stack, 1), atol=1e-5
    )


def test_each_map_counts_by_its_weight_whatever_its_contrast() -> None:
    stack = np.concatenate([smooth(64, 64, 3), smooth(64, 64, 3, 1) * 0.3, smooth(64, 64, 1, 2)], axis=2)
    weighted = build_exemplar(stack, MAPS).weighted
    assert weighted.shape == (64, 64, 6), "of the normal x and y"
    for kind, part in zip(MAPS, np.split(weighted, [3, 5], axis=2), strict=True):
        assert float(np.sqrt(part.var(axis=(0, 1)).sum())) == pytest.approx(MAP_WEIGHT[kind], rel=1e-3)


def test_a_nearly_flat_map_is_not_blown_up_to_full_weight() -> None:
    flat = 0.5 + 0.001 * (smooth(64, 64, 1, 2) - 0.5)
    stack = np.concatenate([smooth(64, 64, 3), flat], axis=2)
    weighted = build_exemplar(stack, (MapKind.ALBEDO, MapKind.ROUGHNESS)).weighted
    assert float(weighted[:, :, 3].std()) < 0.1 * MAP_WEIGHT[MapKind.ROUGHNESS]


def test_a_tiling_exemplar_wraps_and_a_cut_of_it_does_not() -> None:
    tile = smooth(128, 128, 3)
    assert build_exemplar(tile, (MapKind.ALBEDO,)).wraps == (True, True)
    assert build_exemplar(tile[:90], (MapKind.ALBEDO,)).wraps == (False, True)
    assert build_exemplar(tile[:, 20:97], (MapKind.ALBEDO,)).wraps == (True, False)


@pytest.mark.parametrize("kind", ["brick", "gravel", "planks", "cloth", "marble"])
def test_procedural_materials_are_seen_to_wrap(kind: str) -> None:
    exemplar = prepare_exemplar(generate(kind, 256, 0), MAPS)
    assert exemplar.wraps == (True, True)


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 3))
def test_halving_is_the_mean_of_each_square_of_texels(height: int, width: int, times: int) -> None:
    image = np.random.default_rng(height).random((height, width, 2), dtype=np.float32)
    small = halved(image, times)
    factor = 2**times
    rows, columns = height // factor, width // factor
    expected = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(small, expected, atol=1e-6)
