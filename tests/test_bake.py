"""Batch baking with real processes: manifests, what is skipped, what fails, interruptions and the summary."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest

from texsynth.bake.manifest import load_manifest
from texsynth.errors import TexsynthError
from texsynth.material import MapKind
from texsynth.publish import verify
from texsynth.sample_asset import write_sample_asset
from texsynth.train.procedural import generate, write

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of exemplars, a mesh, and a file that is no image."""
    folder = tmp_path_factory.mktemp("shop")
    for kind in ("gravel", "cloth"):
        write(generate(kind, 80, 1), folder / "materials" / kind)
    write_sample_asset(folder / "props", 256)
    (folder / "broken").mkdir()
    (folder / "broken" / "photo.png").write_bytes(b"no image")
    return folder


def bake(manifest: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return forked.texsynth("bake", manifest, "-o", out, *more, environment=os.environ | {"PYTHONPATH": str(ROOT)})


def states(out: Path) -> dict[str, str]:
    return {row["name"]: row["state"] for row in json.loads((out / "summary.json").read_text())}


def written(folder: Path, text: str, name: str = "bake.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_bake_makes_what_is_missing_keeps_what_is_done_and_lists_what_failed(shop: Path, tmp_path: Path) -> None:
    manifest = written(
        shop,
        """
        [defaults]
        size = 128
        preset = "draft"

        [[bake]]
        exemplars = ["materials/*"]
        reference = "reference/albedo.png"
        maps = "albedo"

        [[bake]]
        assets = ["props/*.glb"]
        exemplars = ["materials/cloth"]
        content = 0.2

        [[bake]]
        exemplars = ["broken/photo.png"]
        """,
    )
    (shop / "reference").mkdir(exist_ok=True)
    write(generate("gravel", 128, 1), shop / "reference")
    done = bake(manifest, tmp_path, "--workers", "2")
    assert done.returncode == 1, done.stderr
    assert states(tmp_path) == {"gravel": "made", "cloth": "made", "asset_cloth": "made", "photo": "failed"}
    for name in ("gravel", "cloth", "asset_cloth"):
        assert verify(tmp_path / name) == []
    assert "photo.png" in done.stderr and "Traceback" not in done.stderr
    with (tmp_path / "summary.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert float(rows["asset_cloth"]["seam"]) > 0
    assert float(rows["gravel"]["mcr"]) <= 100
    assert 0 < float(rows["gravel"]["adf"]) <= 1.5
    assert rows["photo"]["error"]
    page = (tmp_path / "summary.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 3
    assert 'href="asset_cloth/report.html"' in page

    (shop / "broken" / "photo.png").write_bytes((shop / "materials" / "gravel" / "albedo.png").read_bytes())
    before = (tmp_path / "gravel" / "albedo.png").stat().st_mtime_ns
    damaged = tmp_path / "cloth" / "albedo.png"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = bake(manifest, tmp_path)
    assert again.returncode == 0, again.stderr
    assert states(tmp_path) == {"gravel": "kept", "cloth": "made", "asset_cloth": "kept", "photo": "made"}
    assert (tmp_path / "gravel" / "albedo.png").stat().st_mtime_ns == before

    changed = written(shop, manifest.read_text().replace("content = 0.2", "content = 0.3"))
    assert bake(changed, tmp_path, "--json").returncode == 0
    assert [name for name, state in states(tmp_path).items() if state == "made"] == ["asset_cloth"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_bake_goes_on(shop: Path, tmp_path: Path, number: signal.Signals) -> None:
    manifest = written(
        shop,
        '[[bake]]\nexemplars = ["materials/gravel"]\nsize = 256\npreset = "draft"\nseeds = [1, 2]\nmaps = ["albedo"]\n',
        f"{number.name}.toml",
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "texsynth", "bake", str(manifest), "-o", str(out), "--json"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if json.loads(line).get("state") == "made":
                break
        for line in process.stderr:
            if json.loads(line).get("stage") == "expand":
                break
        process.send_signal(number)
        process.stderr.read()
    assert process.wait() == (130 if number is signal.SIGINT else -signal.SIGKILL)
    if number is signal.SIGINT:
        assert sorted(states(out).values()) == ["left", "made"]
        assert list(out.glob("*/.work")), "the running one kept its checkpoint"
    time.sleep(1)
    done = bake(manifest, out)
    assert done.returncode == 0, done.stderr
    assert sorted(states(out).values()) == ["kept", "made"]
    assert not list(out.glob("*/.work"))


def test_ctrl_c_in_a_terminal_while_libraries_load_leaves_what_was_not_begun(shop: Path, tmp_path: Path) -> None:
    manifest = written(shop, '[[bake]]\nexemplars = ["materials/*"]\nsize = 64\npreset = "draft"\n', "early.toml")
    command = [sys.executable, "-m", "texsynth", "bake", str(manifest), "-o", str(tmp_path), "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, process_group=0)
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if json.loads(line).get("stage") == "check":
                break
        time.sleep(0.5)  # by then the process is started that loads them
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
    assert process.wait() == 130
    assert "Traceback" not in said
    assert [json.loads(line)["event"] for line in said.splitlines()].count("error") == 0
    assert set(states(tmp_path).values()) == {"left"}


def test_csv_has_a_line_an_entry(shop: Path) -> None:
    manifest = written(
        shop,
        "asset,exemplar,name,size,tileable,maps,content\n"
        "props/asset.glb,materials/cloth,urn,256,,,0.25\n"
        ',materials/gravel,"path {size}",512,true,"albedo,normal",\n',
        "list.csv",
    )
    urn, path = load_manifest(manifest)
    assert (urn.name, urn.asset, urn.options.size, urn.options.content) == (
        "urn", shop / "props" / "asset.glb", 256, 0.25,
    )  # fmt: skip
    assert (path.name, path.asset, path.options.tileable) == ("path 512", None, True)
    assert path.options.maps == (MapKind.ALBEDO, MapKind.NORMAL)


def test_csv_of_a_spreadsheet_that_separates_by_semicolons_is_read(shop: Path) -> None:
    text = "\ufeffasset;exemplar;name;content\r\nprops/asset.glb;materials/cloth;urn;0.25\r\n"
    (urn,) = load_manifest(written(shop, text, "excel.csv"))
    assert (urn.name, urn.exemplar.name, urn.options.content) == ("urn", "cloth", 0.25)


def test_a_line_without_an_exemplar_is_refused_by_its_number(shop: Path) -> None:
    with pytest.raises(TexsynthError, match="line 2: has no exemplar"):
        load_manifest(written(shop, "asset,exemplar\nprops/asset.glb,\n", "lacks.csv"))


def test_files_with_any_name_are_found_and_give_their_results_a_valid_one(shop: Path, tmp_path: Path) -> None:
    for name in ("Möbel & Co (1)", "wall [old]"):
        write(generate("cloth", 80, 1), tmp_path / name)
    entries = load_manifest(written(tmp_path, '[[bake]]\nexemplars = ["Möbel*", "wall [old]"]\n'))
    assert [entry.exemplar.name for entry in entries] == ["Möbel & Co (1)", "wall [old]"]
    assert [entry.name for entry in entries] == ["Möbel _ Co _1_", "wall _old_"]


def test_each_asset_meets_each_exemplar_with_each_seed(shop: Path) -> None:
    manifest = written(shop, '[[bake]]\nassets = ["props/*.glb"]\nexemplars = ["materials/*"]\nseeds = [3, 5]\n')
    entries = load_manifest(manifest)
    assert [entry.name for entry in entries] == [
        "asset_cloth_3", "asset_cloth_5", "asset_gravel_3", "asset_gravel_5",
    ]  # fmt: skip
    assert [entry.options.seed for entry in entries] == [3, 5, 3, 5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "asks for nothing"),
        ("[[bake]\n", "no TOML"),
        ("[[oven]]\n", "oven"),
        ("[[bake]]\n", "no exemplars"),
        ('[[bake]]\nexemplars = "materials/*"\n', "list of paths"),
        ('[[bake]]\nexemplars = ["nothing/*"]\n', "nothing/*"),
        ('[[bake]]\nexemplars = ["materials/*"]\nname = "same"\n', "is the name of"),
        ('[[bake]]\nexemplars = ["materials/*"]\nname = "../{exemplar}"\n', "no name of a folder"),
        ('[[bake]]\nexemplars = ["materials/*"]\nname = "{colour}"\n', "cannot be filled in"),
        ('[[bake]]\nexemplars = ["materials/*"]\nsise = 5\n', "'sise' is no option"),
        ('[[bake]]\nexemplars = ["materials/*"]\nsize = "big"\n', "size is 'big'"),
        (
            '[[bake]]\nexemplars = ["materials/*"]\nsize = 500\n',
            "wrong.toml: bake 1: size: got 500; use a power of two",
        ),
        ('[[bake]]\nexemplars = ["materials/*"]\nseeds = 3\n', "give a list, [1, 2], or one `seed`"),
        ('[[bake]]\nexemplars = ["materials/*"]\nseeds = ["a"]\n', "seed is 'a'"),
        ("bake = [1]\n", "has another shape"),
        ('[[bake]]\nexemplars = ["D:\\wall"]\n', "write paths with / or in single quotes"),
        ("[[bake]]\nexemplars = ['materials\\cloth']\n", "have / for \\"),
        ('[[bake]]\nexemplars = ["materials/*"]\ntileable = 3\n', "tileable is 3"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused_in_one_line(shop: Path, text: str, words: str) -> None:
    with pytest.raises(TexsynthError) as refused:
        load_manifest(written(shop, text, "wrong.toml"))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_process_that_dies_is_tried_once_more(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = written(shop, '[[bake]]\nexemplars = ["materials/cloth"]\nsize = 64\npreset = "draft"\n', "dies.toml")
    monkeypatch.setenv("TEXSYNTH_FAULT", "layout:1")
    done = bake(manifest, tmp_path)
    assert done.returncode in (0, 1)
    summary = json.loads((tmp_path / "summary.json").read_text())
    # the layout that the first try left is gone on with by the second one
    assert summary[0]["state"] == "made", summary


def test_a_mesh_is_baked_again_when_a_file_that_it_names_changes_and_not_for_others(shop: Path, tmp_path: Path) -> None:
    folder = shop / "tables"
    folder.mkdir()
    (folder / "table.obj").write_text(
        "mtllib table.mtl\nusemtl wood\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
        "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
    )
    (folder / "table.mtl").write_text("newmtl wood\nmap_Kd wood.png\n")
    wood, other = folder / "wood.png", folder / "other.png"
    for path, kind in ((wood, "gravel"), (other, "cloth")):
        path.write_bytes((shop / "materials" / kind / "albedo.png").read_bytes())
    text = '[[bake]]\nassets = ["tables/*.obj"]\nexemplars = ["materials/cloth"]\nsize = 64\npreset = "draft"\n'
    manifest = written(shop, text, "tables.toml")

    def state() -> str:
        done = bake(manifest, tmp_path)
        assert done.returncode == 0, done.stderr
        return states(tmp_path)["table_cloth"]

    assert state() == "made"
    other.write_bytes(b"something else")
    assert state() == "kept"
    wood.write_bytes((shop / "materials" / "cloth" / "albedo.png").read_bytes())
    assert state() == "made"


def test_an_unfinished_entry_whose_options_change_begins_anew(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[[bake]]\nexemplars = ["materials/cloth"]\nsize = 64\npreset = "draft"\nmaps = "albedo"\n'
    monkeypatch.setenv("TEXSYNTH_FAULT", "gather_band:1")
    assert bake(written(shop, text, "changes.toml"), tmp_path).returncode == 1
    assert (tmp_path / "cloth" / ".work").exists()
    monkeypatch.delenv("TEXSYNTH_FAULT")
    done = bake(written(shop, text + "seed = 7\n", "changes.toml"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "cloth" / "material.json").read_text())["seed"] == 7
