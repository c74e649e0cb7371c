"""`texsynth mips`: any texture set for any target, without torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mipmap.encode import decode_level
from mipmap.ktx2 import read_ktx2
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.image_io import read_image, save_image
from texsynth.material import MapKind, load_material
from texsynth.mips import MipOptions, load_charts, make_mips
from texsynth.publish import verify
from texsynth.run import Run
from texsynth.storage import choose_storage
from texsynth.train.procedural import generate, write

ROOT = Path(__file__).resolve().parent.parent
PNG = MipOptions(choose_storage(None, "png"))


@pytest.fixture(scope="module")
def bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps") / "bricks"
    write(generate("brick", 64, 0), folder)
    return folder


def test_a_folder_becomes_a_verified_set_for_the_headset_without_torch(bricks: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from texsynth.cli import main\n"
        "sys.exit(main(['mips', *sys.argv[1:], '--target', 'quest3', '--json']))"
    )
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", code, str(bricks), "-o", str(out)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert manifest == json.loads((out / "material.json").read_text())
    assert manifest["size"] == [64, 64]
    assert manifest["options"]["target"] == "quest3"
    assert set(manifest["maps"]) == {"albedo", "normal", "roughness", "height"}
    assert verify(out) == []
    for kind, texture_map in load_material(bricks).maps.items():
        texture = read_ktx2(out / f"{kind}.ktx2")
        decoded = decode_level(texture.level(0), 64, 64, texture.texel_format)[..., : texture_map.texels.shape[2]]
        error = np.abs(decoded / 255 - texture_map.encoded()).mean()
        assert error < 0.03


def test_an_odd_size_keeps_its_texels_and_chosen_maps_only(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (13, 30, 3), np.uint8)
    (tmp_path / "in").mkdir()
    save_image(tmp_path / "in" / "rock_albedo.png", colour)
    save_image(tmp_path / "in" / "rock_rough.png", colour[..., 0])
    options = MipOptions(choose_storage(None, "png"), maps=[MapKind.ALBEDO])
    manifest = make_mips(tmp_path / "in", tmp_path / "out", options, Run())
    assert list(manifest["maps"]) == ["albedo"]
    mips = manifest["maps"]["albedo"]["mips"]
    assert [(mip["height"], mip["width"]) for mip in mips] == [(6, 15), (3, 7), (1, 3), (1, 1)]
    assert (read_image(tmp_path / "out" / "albedo.png").texels == colour).all()


def test_a_single_image_is_the_map_that_its_name_says(tmp_path: Path) -> None:
    texels = np.full((8, 8, 3), (128, 100, 255), np.uint8)
    save_image(tmp_path / "wall_NormalDX.png", texels)
    save_image(tmp_path / "wall.png", texels)
    manifest = make_mips(tmp_path / "wall_NormalDX.png", tmp_path / "n", PNG, Run())
    assert list(manifest["maps"]) == ["normal"]
    assert read_image(tmp_path / "n" / "normal.png").texels[0, 0].tolist() == [128, 155, 255]
    assert any("by its name" in note for note in manifest["notes"])
    assert list(make_mips(tmp_path / "wall.png", tmp_path / "a", PNG, Run())["maps"]) == ["albedo"]


def test_colours_of_the_chart_image_keep_charts_apart(tmp_path: Path) -> None:
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[:, :5], colour[:, 5:11] = (200, 0, 0), (0, 0, 200)
    charts = np.zeros((16, 16, 3), np.uint8)
    charts[:, :5], charts[:, 5:11] = (255, 255, 0), (0, 255, 0)
    save_image(tmp_path / "albedo.png", colour)
    save_image(tmp_path / "charts.png", charts)
    options = MipOptions(choose_storage(None, "png"), charts=tmp_path / "charts.png")
    manifest = make_mips(tmp_path / "albedo.png", tmp_path / "out", options, Run())
    for mip in manifest["maps"]["albedo"]["mips"]:
        for texel in read_image(tmp_path / "out" / mip["file"]).texels.reshape(-1, 3).tolist():
            assert texel in ([200, 0, 0], [0, 0, 200], [0, 0, 0])
    assert np.unique(load_charts(tmp_path / "charts.png", (16, 16))).tolist() == [0, 1, 2]


def test_a_chart_image_without_black_has_no_empty_texels(tmp_path: Path) -> None:
    save_image(tmp_path / "charts.png", np.array([[10, 10], [20, 10]], np.uint8))
    assert load_charts(tmp_path / "charts.png", (2, 2)).tolist() == [[1, 1], [2, 1]]


def test_charts_of_another_size_are_refused(bricks: Path, tmp_path: Path) -> None:
    save_image(tmp_path / "charts.png", np.zeros((32, 64), np.uint8))
    with pytest.raises(TexsynthError, match="is 64 x 32 texels but the maps are 64 x 64"):
        make_mips(bricks, tmp_path / "out", MipOptions(PNG.storage, charts=tmp_path / "charts.png"), Run())


def test_a_map_that_the_input_lacks_is_refused(bricks: Path, tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="has no opacity; leave out --maps, or name some of albedo, normal"):
        make_mips(bricks, tmp_path / "out", MipOptions(PNG.storage, maps=[MapKind.OPACITY]), Run())


def test_the_input_folder_is_not_written_into(bricks: Path) -> None:
    before = {path.name: path.read_bytes() for path in bricks.iterdir()}
    with pytest.raises(TexsynthError, match="holds the input bricks, which could be overwritten") as caught:
        make_mips(bricks, bricks, PNG, Run())
    assert caught.value.kind == ErrorKind.BAD_INPUT
    assert {path.name: path.read_bytes() for path in bricks.iterdir()} == before


def test_an_image_that_the_result_would_replace_is_not_overwritten(tmp_path: Path) -> None:
    save_image(tmp_path / "Normal.png", np.full((8, 8, 3), (128, 100, 255), np.uint8))
    save_image(tmp_path / "wall.png", np.zeros((8, 8, 3), np.uint8))
    before = (tmp_path / "Normal.png").read_bytes()
    with pytest.raises(TexsynthError, match=r"holds the input Normal\.png"):
        make_mips(tmp_path / "Normal.png", tmp_path, PNG, Run())
    assert (tmp_path / "Normal.png").read_bytes() == before
    make_mips(tmp_path / "wall.png", tmp_path, PNG, Run())  # nothing has this name


# --- its files are input again


@pytest.mark.parametrize("target", ["quest3", "desktop"])
def test_written_files_are_read_as_a_material_again(bricks: Path, tmp_path: Path, target: str) -> None:
    make_mips(bricks, tmp_path, MipOptions(choose_storage(target, None)), Run())
    given, found = load_material(bricks), load_material(tmp_path)
    assert found.maps.keys() == given.maps.keys()
    for kind, texture in given.maps.items():
        assert np.abs(found.maps[kind].linear() - texture.linear()).mean() < 0.05


@pytest.mark.parametrize("target", ["quest3", "desktop"])
def test_a_damaged_or_foreign_file_is_one_line(bricks: Path, tmp_path: Path, target: str) -> None:
    storage = choose_storage(target, None)
    make_mips(bricks, tmp_path, MipOptions(storage), Run())
    path = tmp_path / f"albedo.{storage.container}"
    data = path.read_bytes()
    for damaged in (data[:-1], data[:60], data + b"\0", data[:20] + b"\xff" * 20 + data[40:]):
        path.write_bytes(damaged)
        with pytest.raises(TexsynthError, match="is damaged or another kind of") as caught:
            load_material(path)
        assert "\n" not in str(caught.value)
