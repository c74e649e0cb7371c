"""`texsynth measure` on real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.image_io import save_image
from texsynth.material import srgb_to_linear
from texsynth.measure import measure, table
from texsynth.mips import MipOptions, make_mips
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.sample_asset import write_sample_asset
from texsynth.storage import choose_storage

Texels = NDArray[np.uint8]
SIDE = 192  # texels; whole blocks of 4 x 4 and of 6 x 6, and so are most of its mips


@pytest.fixture(autouse=True)
def _no_gl(monkeypatch: pytest.MonkeyPatch) -> None:
    """ADF from the exact footprint without asking the drivers, which takes a second each time."""
    monkeypatch.setattr("mipmap.metrics.gl_trial.ask", lambda module: [])
    monkeypatch.setattr("mipmap.metrics.memory_counters.ask", lambda module: [])


def stone(height: int = 96, width: int = 128, seed: int = 0) -> NDArray[np.float64]:
    """(H, W) 0..1, a stochastic height field that tiles."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    fields = [ndimage.gaussian_filter(noise, sigma, mode="wrap") for sigma in (1, 3, 6)]
    total = sum(field / field.std() for field in fields)
    return 1 / (1 + np.exp(-total))


def write_material(folder: Path, height: NDArray[np.float64], maps: str = "albedo normal roughness") -> Path:
    """A folder of 8-bit maps made from one height field, so that their edges agree."""
    folder.mkdir(parents=True, exist_ok=True)
    slope_y, slope_x = (2 * (np.roll(height, -1, axis) - np.roll(height, 1, axis)) for axis in (0, 1))
    normal = np.stack([-slope_x, slope_y, np.ones_like(height)], axis=2)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    values = {
        "albedo": height[:, :, None] * np.array([0.8, 0.6, 0.4]) + 0.1,
        "normal": 0.5 + 0.5 * normal,
        "roughness": 1 - 0.6 * height[:, :, None],
    }
    for name in maps.split():
        save_image(folder / f"{name}.png", np.round(255 * values[name]).astype(np.uint8))
    return folder


def refusal(generated: Path, reference: Path) -> str:
    with pytest.raises(TexsynthError) as caught:
        measure(generated, reference)
    assert caught.value.kind is ErrorKind.BAD_INPUT
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_material_compared_with_itself_has_the_best_value_everywhere(tmp_path: Path) -> None:
    folder = write_material(tmp_path / "a", stone())
    measured = measure(folder, folder)
    assert list(measured["maps"]) == ["albedo", "normal", "roughness"]
    for values in measured["maps"].values():
        assert values["distance"] == 0
        assert values["sharpness"] == values["ssim"] == 1
        assert values["mcr"]["ratio"] == 100
        assert values["adf"]["value"] == values["adf_slice"]["value"] == 1
        assert values["repetition"]["excess"] == 0
        assert values["wrap"] == {"rows": pytest.approx(1, abs=0.25), "columns": pytest.approx(1, abs=0.25)}
    assert measured["edge_agreement"] == pytest.approx(1)
    assert measured["copying"]["verbatim"] > 1  # the diagonal of the copy over the shorter side


def test_the_result_is_json_and_the_table_shows_every_map(tmp_path: Path) -> None:
    measured = measure(write_material(tmp_path / "a", stone()), write_material(tmp_path / "b", stone(seed=1)))
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    lines = table(measured)
    assert lines[0].split() == ["albedo", "normal", "roughness"]
    assert any(line.startswith("distance d") for line in lines)
    assert len({len(line) for line in lines[:14]}) == 1


def test_blur_raises_the_distance_and_lowers_sharpness_and_ssim(tmp_path: Path) -> None:
    reference = write_material(tmp_path / "reference", stone(), "albedo")
    found = []
    for sigma in (0.0, 0.7, 1.5):
        blurred = ndimage.gaussian_filter(stone(), sigma, mode="wrap")
        measured = measure(write_material(tmp_path / str(sigma), blurred, "albedo"), reference)
        found.append(measured["maps"]["albedo"])
    for name, sign in (("distance", 1), ("sharpness", -1), ("ssim", -1)):
        assert (sign * np.diff([values[name] for values in found]) > 0).all(), name


def test_a_pair_of_two_sizes_is_refused_in_one_line(tmp_path: Path) -> None:
    generated = write_material(tmp_path / "a", stone(128, 128))
    message = refusal(generated, write_material(tmp_path / "b", stone(96, 128)))
    assert message.startswith(f"{generated}: is 128 x 128 texels but {tmp_path / 'b'} is 128 x 96; ")
    assert "--unpaired" in message


def test_a_pair_of_two_colour_spaces_is_refused_in_one_line(tmp_path: Path) -> None:
    encoded = np.repeat(stone()[:, :, None], 3, axis=2).astype(np.float32)
    save_image(tmp_path / "a.png", np.round(255 * encoded).astype(np.uint8))
    save_image(tmp_path / "b.exr", srgb_to_linear(encoded))
    message = refusal(tmp_path / "a.png", tmp_path / "b.exr")
    assert f"a.png: has its albedo in sRGB but {tmp_path / 'b.exr'} in linear light; " in message
    assert "--unpaired" in message


def test_an_exemplar_of_another_size_gets_a_distance_but_nothing_texel_by_texel(tmp_path: Path) -> None:
    generated = write_material(tmp_path / "a", stone(128, 128))
    measured = measure(generated, write_material(tmp_path / "b", stone(96, 128)), paired=False)
    values = measured["maps"]["albedo"]
    assert values["distance"] < 2
    assert values["ssim"] is values["mcr"] is values["adf"] is values["adf_slice"] is None
    [why] = [note for note in measured["notes"] if note.startswith("ssim, mcr, adf")]
    lines = table(measured)
    assert f"note: {why}" in lines
    assert [line.split()[-3:] for line in lines if line.startswith(("SSIM", "MCR", "ADF"))] == [["-"] * 3] * 4


def test_a_pair_gets_mcr_and_adf_with_what_they_depend_on(tmp_path: Path) -> None:
    folder = write_material(tmp_path / "a", stone())
    measured = measure(folder, write_material(tmp_path / "b", stone(seed=1)))
    for values in measured["maps"].values():
        assert values["mcr"]["tile"] == 256 and values["mcr"]["tolerance"] == 0.05
        for name in ("adf", "adf_slice"):
            assert values[name]["value"] == pytest.approx(np.mean(values[name]["by_angle"]))
            assert abs(values[name]["value"]) < 0.3  # two seeds have nothing in common
        assert values["adf"]["angles"] == [0, 45, 90] and values["adf"]["incidence"] == 80
        assert values["adf"]["source"] == "exact footprint on the CPU"
    assert [note for note in measured["notes"] if note.startswith("adf: filtered by exact footprint on the CPU")]


def test_video_memory_names_its_source(tmp_path: Path) -> None:
    folder = write_material(tmp_path / "a", stone(64, 64))
    measured = measure(folder, folder)
    texels = sum(4**k for k in range(7))  # levels 64 x 64 to 1 x 1
    assert measured["video_memory"]["bytes"] == texels * (4 + 4 + 1)
    assert measured["video_memory"]["source"] == "computed"
    assert any(line.startswith("video memory") and line.endswith("computed") for line in table(measured))


def test_a_photo_and_a_folder_are_compared_by_their_albedo(tmp_path: Path) -> None:
    folder = write_material(tmp_path / "a", stone())
    measured = measure(folder / "albedo.png", folder)
    assert list(measured["maps"]) == ["albedo"]
    assert measured["maps"]["albedo"]["distance"] == 0
    assert measured["edge_agreement"] is None
    assert any("normal, roughness: only a has it" in note for note in measured["notes"])


def test_colour_spaces_and_depths_are_settled_before_comparing(tmp_path: Path) -> None:
    """8-bit sRGB, 16-bit sRGB and, as an exemplar, linear float of one image are one image."""
    encoded = np.repeat(stone()[:, :, None], 3, axis=2).astype(np.float32)
    save_image(tmp_path / "a.png", np.round(255 * encoded).astype(np.uint8))
    save_image(tmp_path / "b.png", np.round(65535 * encoded).astype(np.uint16))
    save_image(tmp_path / "c.exr", srgb_to_linear(encoded))
    deep = measure(tmp_path / "a.png", tmp_path / "b.png")["maps"]["albedo"]
    assert deep["distance"] < 0.05
    assert deep["ssim"] > 0.999 and deep["adf"]["value"] > 0.999 and deep["mcr"]["ratio"] == 100
    linear = measure(tmp_path / "a.png", tmp_path / "c.exr", paired=False)["maps"]["albedo"]
    assert linear["distance"] < 0.05


def test_materials_without_a_common_map_are_refused_in_one_line(tmp_path: Path) -> None:
    albedo = write_material(tmp_path / "a", stone(), "albedo")
    roughness = write_material(tmp_path / "b", stone(), "roughness")
    assert "has albedo but" in refusal(albedo, roughness)


def test_an_image_below_32_texels_is_refused_in_one_line(tmp_path: Path) -> None:
    small = write_material(tmp_path / "small", stone(16, 64))
    assert "64 x 16 texels; give maps of at least 32 x 32" in refusal(small, write_material(tmp_path / "a", stone()))


def test_a_missing_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    refusal(tmp_path / "nothing", write_material(tmp_path / "a", stone()))


def test_the_index_of_the_result_is_used_where_it_leads_to_the_reference(tmp_path: Path) -> None:
    reference = write_material(tmp_path / "reference", stone(128, 128))
    result = write_material(tmp_path / "result", np.roll(stone(128, 128), (-24, -40), (0, 1)))
    index = np.zeros((16, 16, 3), np.int16)
    index[..., :2] = (8 * np.indices((16, 16)).transpose(1, 2, 0) + (24, 40)) % 128
    np.save(result / "index.npy", index)
    assert measure(result, reference)["copying"] == {
        "verbatim": pytest.approx(np.sqrt(2), rel=0.01),
        "evenness": 1,
        "index": "index.npy",
    }


def test_an_index_that_leads_elsewhere_is_not_used(tmp_path: Path) -> None:
    reference = write_material(tmp_path / "reference", stone(128, 128))
    result = write_material(tmp_path / "result", stone(128, 128, seed=1))
    np.save(result / "index.npy", np.zeros((16, 16, 3), np.int16))
    copying = measure(result, reference)["copying"]
    assert copying["index"] == "matched"
    assert copying["verbatim"] < 0.5


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"not an array"])
def test_a_damaged_index_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    folder = write_material(tmp_path / "a", stone())
    (folder / "index.npy").write_bytes(content)
    assert "index.npy" in refusal(folder, folder)


def test_an_index_of_another_size_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = write_material(tmp_path / "a", stone())
    np.save(folder / "index.npy", np.zeros((4, 4, 3), np.int16))
    assert "has the shape (4, 4, 3)" in refusal(folder, folder)


def test_an_image_above_4096_texels_is_measured_by_windows(tmp_path: Path) -> None:
    wide = np.tile(stone(256, 512), (4, 9))[:, :4400]
    save_image(tmp_path / "wide.png", np.round(255 * wide[:, :, None].repeat(3, 2)).astype(np.uint8))
    save_image(tmp_path / "small.png", np.round(255 * stone(256, 512)[:, :, None].repeat(3, 2)).astype(np.uint8))
    values = measure(tmp_path / "wide.png", tmp_path / "small.png", paired=False)["maps"]["albedo"]
    assert values["distance"] < 0.2
    assert values["sharpness"] == pytest.approx(1, abs=0.05)
    assert values["wrap"]["rows"] == pytest.approx(1, abs=0.15)  # tiles downwards
    assert values["wrap"]["columns"] > 1.3  # cut within the ninth copy
    assert values["repetition"]["excess"] > 0.8


# --- results for GPUs, and meshes


@pytest.mark.parametrize(("target", "bits"), [("quest3", (128 / 36, 8, 128 / 36)), ("desktop", (8, 8, 4))])
def test_video_memory_of_a_result_in_blocks_is_that_of_its_formats(
    tmp_path: Path, target: str, bits: tuple[float, ...]
) -> None:
    """Bits a texel, and a third more for the mips."""
    material = write_material(tmp_path / "in", stone(SIDE, SIDE))
    make_mips(material, tmp_path / "out", MipOptions(choose_storage(target, None)), Run())
    memory = measure(tmp_path / "out", material)["video_memory"]
    assert memory["source"].startswith("computed, as ")
    assert memory["bytes"] == memory["computed"] == pytest.approx(SIDE * SIDE * sum(bits) / 8 * 4 / 3, rel=0.01)


def test_the_step_across_the_seams_of_a_restyled_mesh_is_measured_at_the_maps_size(tmp_path: Path) -> None:
    exemplar = write_material(tmp_path / "in", stone())
    asset = write_sample_asset(tmp_path / "asset", 256)
    restyle(asset, exemplar, tmp_path / "out", Options(size=256, preset="draft", seams="leave"), Run())
    found = measure(tmp_path / "out", exemplar, paired=False)
    assert all(maps["seam"]["samples"] > 100 for maps in found["maps"].values())
    assert found["maps"]["albedo"]["seam"]["ratio"] > 1.2
    assert any(line.startswith("UV seams, step across (1)") for line in table(found))
    # Another result in the same folder has neither the mesh nor the index of the first.
    make_mips(exemplar, tmp_path / "out", MipOptions(choose_storage(None, "png")), Run())
    assert not (tmp_path / "out" / "asset.glb").exists()
    again = measure(tmp_path / "out", exemplar)
    assert again["maps"]["albedo"]["seam"] is None
    assert again["copying"]["index"] == "matched"
