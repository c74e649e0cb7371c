"""MCR and ADF: their extremes, their order under damage, and the exact footprint against brute force in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from mipmap.metrics import Texture, View, adf, adf_slice, mip_consistency, relative_errors, see, ssim
from mipmap.metrics.consistency import area_halved
from mipmap.metrics.textures import Encoding


def stone(height: int = 192, width: int = 192, seed: int = 0) -> NDArray[np.float64]:
    """(H, W, 3) encoded 0..1, a stochastic texture that tiles."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    fields = [ndimage.gaussian_filter(noise, (sigma, sigma, 0), mode="wrap") for sigma in (0.7, 2, 5)]
    return np.clip(0.5 + 0.1 * sum(field / field.std() for field in fields), 0, 1)


def texture(values: NDArray[np.float64], dtype: type = np.uint8, encoding: Encoding = "srgb") -> Texture:
    if dtype is np.float32:
        return Texture(values.astype(np.float32), encoding)
    return Texture(np.round(np.clip(values, 0, 1) * np.iinfo(dtype).max).astype(dtype), encoding)


def blurs() -> list[Texture]:
    return [texture(ndimage.gaussian_filter(stone(), (sigma, sigma, 0), mode="wrap")) for sigma in (0.0, 0.6, 1.2, 3)]


def noises() -> list[Texture]:
    noise = np.random.default_rng(3).standard_normal(stone().shape)
    return [texture(stone() + deviation * noise) for deviation in (0.0, 0.05, 0.1, 0.3)]


def falls(values: list[float]) -> bool:
    return bool((np.diff(values) < 0).all())


# MCR


def test_mcr_of_a_texture_with_itself_is_100() -> None:
    found = mip_consistency(texture(stone()), texture(stone()), tile=64)
    assert found.ratio == 100
    assert found.by_level == (100,) * 5
    assert (found.tile, found.tiles) == (64, 9)


def test_mcr_falls_under_growing_blur_and_noise() -> None:
    for damaged in (blurs(), noises()):
        ratios = [mip_consistency(one, damaged[0], tile=64).ratio for one in damaged]
        assert (np.diff(ratios) <= 0).all()  # a ratio of tiles moves in steps
        assert ratios[0] == 100 and ratios[-1] < 50 and len(set(ratios)) >= 3


def test_detail_that_averages_out_fails_the_fine_levels_only() -> None:
    flat = np.full((64, 64, 1), 0.5)
    checker = flat + 0.2 * (np.indices((64, 64)).sum(axis=0) % 2 * 2 - 1)[:, :, None]
    found = mip_consistency(texture(checker, np.float32, "linear"), texture(flat, np.float32, "linear"))
    assert found.by_level == (0, 100, 100, 100, 100)
    assert found.ratio == 80


def test_mcr_counts_tiles() -> None:
    damaged = stone()
    damaged[:64, :64] *= 0.8
    assert mip_consistency(texture(damaged), texture(stone()), tile=64).ratio == pytest.approx(100 * 8 / 9)


@pytest.mark.parametrize(
    ("shape", "encoding"), [((70, 45, 3), "srgb"), ((33, 64, 3), "normal"), ((64, 16, 1), "scalar")]
)
def test_relative_errors_are_those_of_a_float64_reference(shape: tuple[int, ...], encoding: Encoding) -> None:
    rng = np.random.default_rng(1)
    one, other = (Texture(rng.integers(1, 256, shape, np.uint8), encoding) for _ in range(2))
    found = relative_errors(one, other, tile=32)
    for i, j in np.ndindex(found.shape[:2]):
        tile = slice(32 * i, 32 * i + 32), slice(32 * j, 32 * j + 32)
        made, known = (_decoded(side.texels[tile] / 255, encoding) for side in (one, other))
        for level in range(5):
            assert found[i, j, level] == pytest.approx(np.abs(made - known).sum() / np.abs(known).sum(), rel=1e-4)
            made, known = (_shrunk(_shrunk(side).swapaxes(0, 1)).swapaxes(0, 1) for side in (made, known))


def _decoded(encoded: NDArray[np.float64], encoding: Encoding) -> NDArray[np.float64]:
    if encoding == "srgb":
        return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return 2 * encoded - 1 if encoding == "normal" else encoded


def _shrunk(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every row repeated so often that the mean of equal groups is the area average."""
    rows = max(1, len(image) // 2)
    return image.repeat(rows, axis=0).reshape(rows, len(image), *image.shape[1:]).mean(axis=1)


def test_area_halving_keeps_the_mean_of_odd_sides() -> None:
    image = np.random.default_rng(0).random((13, 7, 2)).astype(np.float32)
    half = area_halved(image)
    assert half.shape == (6, 3, 2)
    assert half.mean(axis=(0, 1)) == pytest.approx(image.mean(axis=(0, 1)), rel=1e-6)


def test_a_black_tile_is_consistent_with_black_alone() -> None:
    black, grey = np.zeros((32, 32, 1)), np.full((32, 32, 1), 0.1)
    assert mip_consistency(texture(black), texture(black)).ratio == 100
    assert mip_consistency(texture(grey), texture(black)).ratio == 0


def test_depths_may_differ() -> None:
    assert mip_consistency(texture(stone(), np.uint16), texture(stone())).ratio == 100
    assert adf(texture(stone(), np.uint16), texture(stone())).value > 0.999


@pytest.mark.parametrize("compare", [mip_consistency, adf, adf_slice])
def test_textures_that_do_not_correspond_are_refused(compare) -> None:  # type: ignore[no-untyped-def]
    one = texture(stone(64, 64))
    with pytest.raises(ValueError, match=r"differ in size.*64, 64.*64, 32"):
        compare(one, texture(stone(64, 32)))
    with pytest.raises(ValueError, match="differ in colour space: srgb against linear"):
        compare(one, texture(stone(64, 64), np.float32, "linear"))


def test_a_texture_of_another_shape_type_or_encoding_is_refused() -> None:
    for texels, encoding in (
        (np.zeros((4, 4)), "srgb"),
        (np.zeros((4, 4, 3)), "srgb"),
        (np.zeros((0, 4, 3), np.uint8), "srgb"),
        (np.zeros((4, 4, 1), np.uint8), "normal"),
        (np.zeros((4, 4, 1), np.uint8), "gamma"),
    ):
        with pytest.raises(ValueError):
            Texture(texels, encoding)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"tile": 0}, {"levels": 0}, {"tolerance": 0.0}])
def test_mcr_without_tiles_levels_or_tolerance_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        mip_consistency(texture(stone(32, 32)), texture(stone(32, 32)), **wrong)  # type: ignore[arg-type]


# The footprint


def brute_force(source: Texture, view: View, row: int, column: int, points: int = 301) -> NDArray[np.float64]:
    """(C,) float64: the mean of points x points samples of the footprint's area, texels taken as squares."""
    cosine, sine = np.cos(np.radians(view.angle)), np.sin(np.radians(view.angle))
    elongation = 1 / np.cos(np.radians(view.incidence))
    height, width = source.size
    rows, columns = view.screen(source.size)
    place = (np.arange(points) + 0.5) / points - 0.5
    across = place[None, :] * max(1, elongation / view.anisotropy) + column + 0.5 - columns / 2
    down = (place[:, None] + row + 0.5 - rows / 2) * elongation
    x, y = width / 2 + cosine * across - sine * down, height / 2 + sine * across + cosine * down
    texels = _decoded(source.texels.astype(np.float64), "scalar")
    return texels[np.floor(y).astype(int) % height, np.floor(x).astype(int) % width].mean(axis=(0, 1))


@settings(max_examples=40, deadline=None)
@given(
    angle=st.sampled_from([0.0, 45.0, 90.0]) | st.floats(-360, 360),
    incidence=st.sampled_from([0.0, 80.0, 88.0]) | st.floats(0, 89),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_view_is_the_brute_force_mean_over_the_footprint(
    angle: float, incidence: float, height: int, width: int, place: tuple[float, float]
) -> None:
    source = Texture(np.random.default_rng(0).random((height, width, 2)).astype(np.float32), "linear")
    view = View(angle, incidence)
    seen = see(source, view)
    row, column = (int(share * (size - 1)) for share, size in zip(place, seen.shape[:2], strict=True))
    assert seen[row, column] == pytest.approx(brute_force(source, view, row, column), abs=0.01)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("encoding", ["srgb", "normal", "scalar"])
def test_a_view_averages_what_the_texels_stand_for(dtype: type, encoding: Encoding) -> None:
    source = texture(np.random.default_rng(0).random((40, 30, 3)), dtype, encoding)
    decoded = Texture(source.linear(), "linear")
    assert np.abs(see(source, View(45)) - see(decoded, View(45))).max() < 1e-6


def test_a_texture_seen_head_on_is_itself() -> None:
    source = texture(stone(40, 56), np.uint16)
    assert np.abs(see(source, View(0, 0)) - source.linear()).max() < 1e-6
    turned = np.rot90(source.linear(), 1)
    assert np.abs(see(source, View(90, 0)) - turned).max() < 1e-6


def test_rows_of_a_view_are_those_of_the_whole() -> None:
    source, view = texture(stone(150, 90)), View(45)
    assert (see(source, view, slice(7, 19)) == see(source, view)[7:19]).all()


def test_a_constant_stays_what_it_is_at_every_angle() -> None:
    source = Texture(np.full((30, 40, 1), 0.3, np.float32), "linear")
    for angle in (0, 30, 45, 90):
        assert see(source, View(angle)) == pytest.approx(0.3, abs=1e-7)


def test_light_is_averaged_in_linear_light() -> None:
    checker = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float64)[:, :, None]
    source = texture(checker)
    seen = source.display(see(source, View(0, np.degrees(np.arccos(1 / 8)))))  # eight texels a pixel
    assert np.round(255 * seen) == pytest.approx(188)


def test_stripes_survive_along_the_line_of_sight_and_average_out_across_it() -> None:
    stripes = np.tile(np.array([0.2, 0.2, 0.8, 0.8]), (64, 16))[:, :, None]
    source = texture(stripes, np.float32, "linear")
    incidence = np.degrees(np.arccos(1 / 8))
    assert np.ptp(see(source, View(0, incidence))) == pytest.approx(0.6, abs=1e-6)
    assert np.ptp(see(source, View(90, incidence))) == pytest.approx(0, abs=1e-6)
    assert np.ptp(see(source, View(0, incidence, anisotropy=2))) < 0.3  # four texels wide


@pytest.mark.parametrize("wrong", [(0, 90, 16), (0, -1, 16), (np.nan, 0, 16), (0, 0, 0.5)])
def test_a_view_from_nowhere_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="incidence"):
        View(*wrong)


# ADF


@pytest.mark.parametrize("encoding", ["srgb", "linear", "normal", "scalar"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_adf_of_a_texture_with_itself_is_exactly_one(dtype: type, encoding: Encoding) -> None:
    source = texture(stone(80, 64), dtype, encoding)
    assert adf(source, source).value == 1
    assert adf_slice(source, source).value == 1


@pytest.mark.parametrize("compare", [adf, adf_slice])
def test_adf_falls_under_growing_blur_and_noise(compare) -> None:  # type: ignore[no-untyped-def]
    for damaged in (blurs(), noises()):
        assert falls([compare(one, damaged[0]).value for one in damaged])


def test_adf_is_the_mean_similarity_of_the_views() -> None:
    one, other = texture(stone(1600, 40)), texture(stone(1600, 40, seed=1))  # more than one band of the screen
    found = adf(one, other, angles=(0, 30))
    for angle, value in zip(found.angles, found.by_angle, strict=True):
        seen = [side.display(see(side, View(angle))) for side in (one, other)]
        assert value == pytest.approx(ssim(*seen), abs=1e-6)
    assert found.value == pytest.approx(np.mean(found.by_angle))
    assert found.incidence == 80 and "exact" in found.source


def test_a_slice_at_a_quarter_turn_is_plain_similarity() -> None:
    one, other = stone(50, 70).astype(np.float32), stone(50, 70, seed=1).astype(np.float32)
    found = adf_slice(Texture(one, "scalar"), Texture(other, "scalar"))
    assert found.by_angle[0] == found.by_angle[2] == pytest.approx(ssim(one, other), abs=1e-6)
    turned = adf(Texture(one, "scalar"), Texture(other, "scalar"), angles=(90,), incidence=0)
    assert turned.value == pytest.approx(found.by_angle[2], abs=1e-6)
    assert found.incidence == 0


def test_adf_without_an_angle_is_refused() -> None:
    with pytest.raises(ValueError, match="angle"):
        adf(texture(stone(32, 32)), texture(stone(32, 32)), angles=())
