"""Two exemplars in one result: shares, masks, and where the second one lies."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
from forked import synthesized
from typer.testing import CliRunner

from texsynth import cli
from texsynth.blend import Blend, _weights, blended, load_blend, ranks_of_relief, with_same_maps
from texsynth.errors import TexsynthError
from texsynth.exemplar import prepare_exemplar
from texsynth.image_io import save_image
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.publish import verify
from texsynth.restyle import restyle, synthesize
from texsynth.run import Run
from texsynth.train.procedural import generate, write

RED, BLUE = (230, 40, 20), (20, 40, 230)


def options(**changes: Any) -> Options:
    return Options(**({"size": 128, "preset": "draft"} | changes))


def digests(out: Path) -> dict[str, list[str]]:
    """SHA-256 of every map and mip."""
    maps = json.loads((out / "material.json").read_text())["maps"]
    return {kind: [entry["sha256"], *(mip["sha256"] for mip in entry["mips"])] for kind, entry in maps.items()}


def levels(out: Path, kind: str = "albedo") -> np.ndarray:
    return np.asarray(iio.imread(out / f"{kind}.png"), np.float32) / 255


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Cobbles in red and sand in blue, 96 x 96, so that each texel of a blend tells where it is from."""
    folder = tmp_path_factory.mktemp("two")
    for kind, colour in (("cobble", RED), ("sand", BLUE)):
        material = generate(kind, 96, 2)
        write(material, folder / kind)
        grey = material.maps[MapKind.ALBEDO].encoded().mean(axis=2, keepdims=True)
        save_image(folder / kind / "albedo.png", (np.array(colour) * (0.6 + 0.4 * grey)).astype(np.uint8))
    return folder / "cobble", folder / "sand"


def blue(albedo: np.ndarray) -> np.ndarray:
    """0 where a texel is of the red exemplar, 1 where it is of the blue one."""
    return np.asarray(albedo[..., 2] / (albedo[..., 0] + albedo[..., 2]) > 0.5)


@pytest.mark.parametrize(("share", "shown"), [(0.0, 0), (1.0, 1)])
def test_no_share_and_all_of_it_are_the_exemplars_alone(
    two: tuple[Path, Path], share: float, shown: int, tmp_path: Path
) -> None:
    synthesize(two[shown], tmp_path / "alone", options(), Run())
    both = synthesize(two[0], tmp_path / "both", options(second=two[1], blend=share), Run())
    assert digests(tmp_path / "both") == digests(tmp_path / "alone")
    assert both["second_share"] == share


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_second_covers_its_share_and_the_report_says_so(
    two: tuple[Path, Path], share: float, tmp_path: Path
) -> None:
    manifest = synthesize(two[0], tmp_path, options(second=two[1], blend=share, tileable=True), Run())
    covered = blue(levels(tmp_path)).mean()
    assert covered == pytest.approx(share, abs=0.08)
    assert manifest["second_share"] == pytest.approx(covered, abs=0.03)
    assert any("sand" in note and f"{manifest['second_share']:.0%}" in note for note in manifest["notes"])
    assert verify(tmp_path) == []
    assert (tmp_path / "index_second.npy").exists()
    assert "sand" in (tmp_path / "report.html").read_text()


def test_the_low_places_of_the_first_are_covered_first(two: tuple[Path, Path], tmp_path: Path) -> None:
    maps = (MapKind.ALBEDO, MapKind.HEIGHT)
    synthesize(two[0], tmp_path / "first", options(maps=maps), Run())
    synthesize(two[0], tmp_path / "both", options(maps=maps, second=two[1], blend=0.3), Run())
    covered, height = blue(levels(tmp_path / "both")), levels(tmp_path / "first", "height")
    assert height[covered].mean() < height[~covered].mean() - height.std()


def test_an_image_says_where(two: tuple[Path, Path], tmp_path: Path) -> None:
    mask = np.zeros((64, 64, 1), np.uint8)
    mask[:, 32:] = 255
    save_image(tmp_path / "mask.png", mask)
    synthesize(two[0], tmp_path / "out", options(second=two[1], blend=tmp_path / "mask.png"), Run())
    covered = blue(levels(tmp_path / "out"))
    assert not covered[:, :56].any()
    assert covered[:, 72:].all()
    border = covered[:, 56:72].argmax(axis=1)
    assert len(np.unique(border)) > 2, "relief shapes the border"


def test_normals_of_a_blend_are_unit_vectors(two: tuple[Path, Path], tmp_path: Path) -> None:
    synthesize(two[0], tmp_path, options(second=two[1]), Run())
    length = np.linalg.norm(levels(tmp_path, "normal") * 2 - 1, axis=2)
    assert np.abs(length - 1).max() < 0.02


def test_an_asset_keeps_its_content_and_what_lies_outside_the_region(two: tuple[Path, Path], tmp_path: Path) -> None:
    asset = generate("planks", 128, 4)
    write(asset, tmp_path / "asset")
    mask = np.zeros((128, 128, 1), np.uint8)
    mask[:64] = 255
    save_image(tmp_path / "region.png", mask)
    changes = {"second": two[1], "blend": 0.5, "region": tmp_path / "region.png"}
    restyle(tmp_path / "asset", two[0], tmp_path / "out", options(**changes), Run())
    assert (levels(tmp_path / "out")[64:] == levels(tmp_path / "asset")[64:]).all()
    shown = blue(levels(tmp_path / "out")[:56])
    assert 0.25 < shown.mean() < 0.75


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.9])
def test_weights_cover_the_share_whatever_the_reliefs(share: float) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 400, 400), np.float32)
    weights = _weights(a, b, np.full_like(a, share))
    assert weights.mean() == pytest.approx(share, abs=0.01)
    assert set(np.unique(_weights(a, b, np.zeros_like(a)))) == {0}
    assert set(np.unique(_weights(a, b, np.ones_like(a)))) == {1}


def test_weights_grow_with_the_share_and_fall_with_the_first_ones_height() -> None:
    line = np.linspace(0, 1, 50, dtype=np.float32)[None]
    half = np.full_like(line, 0.5)
    assert (np.diff(_weights(half, half, line)) >= 0).all()
    assert (np.diff(_weights(line, half, half)) <= 0).all()
    assert (np.diff(_weights(half, line, half)) >= 0).all()


def test_blended_leaves_texels_of_one_exemplar_alone() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 16, 16, 5), np.float32)
    mixed, weights = blended(first, second, np.full((16, 16), 0.5, np.float32), normal=1)
    assert mixed.shape == (16, 16, 4)
    assert (mixed[weights == 0] == first[..., :4][weights == 0]).all()
    assert mixed[weights == 1] == pytest.approx(second[..., :4][weights == 1], abs=1e-6)


def test_ranks_are_even_and_follow_the_height() -> None:
    material = generate("cobble", 128, 0)
    exemplar = prepare_exemplar(material, (MapKind.ALBEDO,), density=2.0)
    ranks = ranks_of_relief(material, exemplar)
    assert ranks.shape == (64, 64, 1)
    assert np.sort(ranks.ravel()) == pytest.approx((np.arange(4096) + 0.5) / 4096, abs=1e-5)
    height = cv2.resize(material.maps[MapKind.HEIGHT].linear()[..., 0], (64, 64), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(height.ravel(), ranks.ravel())[0, 1] > 0.85


def test_a_map_that_only_one_has_is_a_constant_of_the_other() -> None:
    metal, cloth = generate("rusty_metal", 64, 0), generate("cloth", 64, 0)
    plain = type(cloth)("cloth", {k: v for k, v in cloth.maps.items() if k is not MapKind.METALNESS})
    first, second = with_same_maps(metal, plain, (MapKind.ALBEDO, MapKind.METALNESS))
    assert (second.maps[MapKind.METALNESS].encoded() == 0).all()
    assert first.maps[MapKind.METALNESS] is metal.maps[MapKind.METALNESS]


def test_a_mask_of_another_size_and_depth_is_resampled(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 100).astype(np.uint16)
    save_image(tmp_path / "ramp.png", np.tile(ramp, (30, 1))[:, :, None])
    blend = load_blend(tmp_path / "ramp.png", 128)
    shares = blend.shares(0, 128)
    assert shares.shape == (128, 128)
    assert shares[64] == pytest.approx(np.linspace(0, 1, 128), abs=0.02)
    assert blend.share == pytest.approx(0.5, abs=0.01)
    assert load_blend(None, 128).share == 0.5
    assert Blend(128, 0.25, None).shares(8, 16).tolist() == [[0.25] * 128] * 8


def test_a_killed_blend_goes_on_to_the_same_bytes(two: tuple[Path, Path], tmp_path: Path) -> None:
    chosen = options(second=two[1], resume=True)
    synthesize(two[0], tmp_path / "whole", chosen, Run())
    for fault in ("layout:2", "cut:1", "gather_band:1"):
        assert synthesized(two[0], tmp_path / "out", chosen, fault) == -signal.SIGKILL, fault
    synthesize(two[0], tmp_path / "out", chosen, Run())
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--blend", "0.3"], "second exemplar"),
        (["--second", "SAND", "--blend", "1.5"], "from 0 to 1"),
        (["--second", "SAND", "--blend", "nowhere.png"], "nowhere.png"),
        (["--second", "nowhere"], "nowhere"),
    ],
)
def test_a_blend_that_cannot_be_is_refused_in_one_line(
    two: tuple[Path, Path], arguments: list[str], words: str, tmp_path: Path
) -> None:
    given = [str(two[1]) if word == "SAND" else word for word in arguments]
    with pytest.raises(TexsynthError) as refused:
        CliRunner().invoke(
            cli.app, ["synthesize", str(two[0]), "-o", str(tmp_path / "out"), *given], catch_exceptions=False
        )
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_mask_that_is_no_image_is_refused(two: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("no image")
    changes: dict[str, Any] = {"second": two[1], "blend": tmp_path / "mask.png"}
    with pytest.raises(TexsynthError, match=r"mask\.png"):
        synthesize(two[0], tmp_path / "out", options(**changes), Run())


def test_another_blend_is_another_job(two: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".work").mkdir(parents=True)
    (out / ".work" / "job").write_text("another")
    with pytest.raises(TexsynthError, match="other inputs"):
        synthesize(two[0], out, options(second=two[1], resume=True), Run())
