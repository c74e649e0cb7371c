"""An asset enlarged with the detail that an exemplar of its own material lets expect."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from texsynth.content import resized_rows
from texsynth.errors import TexsynthError
from texsynth.exemplar import Exemplar, build_exemplar
from texsynth.faithful import Enlarged, bands, enlarge
from texsynth.image_io import read_image, save_image
from texsynth.material import MapKind, Material, TextureMap, encode_linear, load_material
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Progress, Run

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

SIZE, FACTOR, PERIOD = 256, 8, 36
FREE = (False, False)
BOTH = (MapKind.ALBEDO, MapKind.ROUGHNESS)


def tiles(seed: int, period: int = PERIOD, size: int = SIZE) -> Floats:
    """Tiles of many greys between dark rough joints of three texels: encoded albedo and roughness, (size, size, 4)."""
    rng = np.random.default_rng(seed)
    at = np.arange(size) + int(rng.integers(period)) * (size % period != 0)
    greys = rng.uniform(0.5, 0.8, (size // period + 2,) * 2)[at[:, None] // period, at // period]
    joint = np.minimum(at[:, None] % period, at % period) < 3
    albedo = np.where(joint, 0.15, greys)[:, :, None].repeat(3, axis=2)
    return np.concatenate([albedo, np.where(joint, 0.9, 0.3)[:, :, None]], axis=2).astype(np.float32)


def exemplar(size: int = SIZE) -> Exemplar:
    return build_exemplar(tiles(0, size=size), BOTH)


def reduced(stack: Floats, factor: int = FACTOR, kinds: tuple[MapKind, ...] = BOTH) -> Material:
    """The material that `stack` is, reduced."""
    maps = {}
    for kind, part in zip(BOTH, (slice(0, 3), slice(3, 4)), strict=True):
        linear = TextureMap(kind, (stack[:, :, part] * 255 + 0.5).astype(np.uint8)).linear()
        small = cv2.resize(linear, (SIZE // factor,) * 2, interpolation=cv2.INTER_AREA)
        texels = encode_linear(kind, small.reshape(*small.shape[:2], -1), np.dtype(np.uint8))
        maps[kind] = TextureMap(kind, texels)
    return Material("tiles", {kind: maps[kind] for kind in kinds})


def made(enlarged: Enlarged, torus: tuple[bool, bool] = FREE) -> Floats:
    return np.concatenate(list(bands(enlarged, torus)))


@pytest.mark.parametrize("factor", [2, 8, 16])
def test_joints_that_the_asset_has_lost_come_back_in_all_maps(tmp_path: Path, factor: int) -> None:
    truth = tiles(1)
    asset = reduced(truth, factor)
    known = exemplar(2 * SIZE if factor > 8 else SIZE)
    result = made(enlarge(known, asset, SIZE, FREE, 1.0, 4096, 0, tmp_path / "work", Run()))
    smooth = np.concatenate(
        [resized_rows(asset.maps[kind].encoded(), (SIZE, SIZE), (0, SIZE)) for kind in BOTH], axis=2
    )
    for part in (slice(0, 3), slice(3, 4)):
        errors = [float(((image - truth)[:, :, part] ** 2).mean()) for image in (result, smooth)]
        assert errors[0] < 0.75 * errors[1]


def test_reduced_again_the_result_is_the_asset(tmp_path: Path) -> None:
    asset = reduced(tiles(2))
    again = reduced(made(enlarge(exemplar(), asset, SIZE, FREE, 1.0, 2048, 0, tmp_path / "work", Run())))
    for kind in BOTH:
        apart = np.abs(again.maps[kind].texels.astype(int) - asset.maps[kind].texels)
        assert np.quantile(apart, 0.99) <= 3


def test_a_map_that_the_asset_lacks_is_the_exemplars_under_the_others(tmp_path: Path) -> None:
    truth = tiles(3)
    asset = reduced(truth, kinds=(MapKind.ALBEDO,))
    result = made(enlarge(exemplar(), asset, SIZE, FREE, 1.0, 4096, 0, tmp_path / "work", Run()))
    assert np.corrcoef(result[:, :, 3].ravel(), truth[:, :, 3].ravel())[0, 1] > 0.7
    assert abs(float(result[:, :, 3].mean() - truth[:, :, 3].mean())) < 0.05


def test_less_than_the_mean_alone_is_sharper(tmp_path: Path) -> None:
    asset = reduced(tiles(7))
    sharpness = [
        np.abs(
            np.diff(
                made(enlarge(exemplar(), asset, SIZE, FREE, share, 2048, 0, tmp_path / str(share), Run())), n=2, axis=0
            )
        ).mean()
        for share in (1.0, 0.3)
    ]
    assert sharpness[1] > 1.05 * sharpness[0]


def test_a_tileable_asset_stays_tileable(tmp_path: Path) -> None:
    stack = tiles(4, 32)
    moved = np.roll(stack, (64, 64), (0, 1))
    results = [
        made(enlarge(exemplar(), reduced(each), SIZE, (True, True), 1.0, 2048, 0, tmp_path / name, Run()), (True, True))
        for name, each in (("still", stack), ("moved", moved))
    ]
    np.testing.assert_allclose(np.roll(results[0], (64, 64), (0, 1)), results[1], atol=2e-3)


def test_a_cancelled_enlargement_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("texsynth.faithful.BLOCKS", 8 * SIZE // 8)  # four bands
    asset = reduced(tiles(5))
    seen: list[float] = []

    def stop_at_the_third_band(progress: Progress) -> None:
        seen.append(progress.fraction)
        if len(seen) == 2:
            run.cancel()

    run = Run(stop_at_the_third_band)
    with pytest.raises(TexsynthError, match="cancelled"):
        enlarge(exemplar(), asset, SIZE, FREE, 1.0, 2048, 0, tmp_path / "stopped", run)
    again = enlarge(exemplar(), asset, SIZE, FREE, 1.0, 2048, 0, tmp_path / "stopped", Run(seen.append))  # type: ignore[arg-type]
    assert len(seen) == 2 + 2  # the other two bands
    whole = enlarge(exemplar(), asset, SIZE, FREE, 1.0, 2048, 0, tmp_path / "whole", Run())
    for kind in BOTH:
        assert again.canvases[kind].path.read_bytes() == whole.canvases[kind].path.read_bytes()
    np.testing.assert_array_equal(again.places, whole.places)


def test_a_restyle_enlarges_inside_the_region_and_says_so(tmp_path: Path) -> None:
    style, asset, mask = tmp_path / "style", tmp_path / "asset", np.zeros((SIZE, SIZE, 1), np.uint8)
    mask[:, SIZE // 2 :] = 255
    save_image(tmp_path / "mask.png", mask)
    small = reduced(tiles(6))
    for folder, codes in (
        (style, (tiles(0) * 255).astype(np.uint8)),
        (asset, np.concatenate([small.maps[kind].texels for kind in BOTH], axis=2)),
    ):
        folder.mkdir()
        save_image(folder / "albedo.png", codes[:, :, :3])
        save_image(folder / "roughness.png", codes[:, :, 3:])
    manifest = restyle(
        asset, style, tmp_path / "out",
        Options(size=SIZE, maps=BOTH, preset="draft", faithful=1.0, region=tmp_path / "mask.png"), Run(),
    )  # fmt: skip
    assert any(note.startswith("it is the asset, enlarged") for note in manifest["notes"])
    texels = read_image(tmp_path / "out" / "albedo.png", colour=True).texels
    own = resized_rows(load_material(asset).maps[MapKind.ALBEDO].encoded(), (SIZE, SIZE), (0, SIZE))
    outside = np.s_[:, : SIZE // 2]
    np.testing.assert_array_equal(texels[outside], (own * 255 + 0.5).astype(np.uint8)[outside])
    inside = np.s_[:, SIZE // 2 + 8 :]
    assert texels[inside].std() > 1.1 * (own * 255)[inside].std()


def test_what_cannot_be_enlarged_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="faithful: the asset's maps have 256 x 256 texels already"):
        enlarge(exemplar(), reduced(tiles(0), 1), SIZE, FREE, 1.0, 2048, 0, tmp_path / "work", Run())
    small = build_exemplar(np.ascontiguousarray(tiles(0)[:100]), BOTH)
    with pytest.raises(TexsynthError, match="faithful: an exemplar of 256 x 100 texels is too small"):
        enlarge(small, reduced(tiles(0)), SIZE, FREE, 1.0, 2048, 0, tmp_path / "work", Run())
    with pytest.raises(TexsynthError, match="faithful: it knows one exemplar"):
        Options(faithful=0.5, second=Path("other"))
    with pytest.raises(TexsynthError, match="model: an enlargement has no layout to lead"):
        Options(faithful=1.0, model=Path("checkpoint"))
    assert Options(faithful=0.5).fit == "uv"
