"""The files that maps become for each target: what they hold is the chain, level by level, and nothing else is left."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mipmap.chain import level_sizes
from mipmap.dds import read_dds
from mipmap.encode import encode_level
from mipmap.ktx2 import read_ktx2
from mipmap.material_chain import ChainOptions, material_levels
from mipmap.targets import TARGETS
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.material import CHANNELS, MapKind, TextureMap
from texsynth.publish import file_entry, publish_maps, verify, write_manifest
from texsynth.run import Run
from texsynth.storage import Charts, Storage, choose_storage

KINDS = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)
BLOCKS = [("quest3", "ktx2"), ("desktop", "ktx2"), ("desktop", "dds")]


def texels_of(height: int = 37, width: int = 50, dtype: Any = np.uint8) -> dict[MapKind, np.ndarray]:
    rng = np.random.default_rng(3)
    top = np.iinfo(dtype).max + 1
    return {kind: rng.integers(0, top, (height, width, CHANNELS[kind]), dtype=dtype) for kind in KINDS}


def publish(out: Path, sources: dict[MapKind, np.ndarray], storage: Storage) -> dict[str, Any]:
    maps = publish_maps(out, sources, storage, Run())
    size = list(next(iter(sources.values())).shape[:2])
    manifest: dict[str, Any] = {"schema": 1, "name": "x", "size": size, "maps": maps, "files": {}, "seed": 0}
    write_manifest(out, manifest | {"estimated": [], "options": {}, "model": {}, "notes": []})
    return maps


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- which files


@pytest.mark.parametrize(
    ("target", "container", "expected"),
    [
        (None, None, ("source", "png")),
        ("source", None, ("source", "png")),
        ("desktop", None, ("desktop", "dds")),
        ("quest3", None, ("quest3", "ktx2")),
        (None, "exr", ("source", "exr")),
        (None, "dds", ("desktop", "dds")),
        (None, "ktx2", ("quest3", "ktx2")),
        ("desktop", "ktx2", ("desktop", "ktx2")),
    ],
)
def test_a_target_or_a_format_alone_is_enough(
    target: str | None, container: str | None, expected: tuple[str, str]
) -> None:
    storage = choose_storage(target, container)
    assert (storage.target.name, storage.container) == expected


@pytest.mark.parametrize(
    ("target", "container", "message"),
    [
        ("quest3", "dds", r"^format: target quest3 has no dds files; use ktx2$"),
        ("source", "ktx2", "use png or exr"),
        ("desktop", "png", "use dds or ktx2"),
        ("console", None, "'console' is unknown; use any of source, desktop, quest3"),
        (None, "tiff", "'tiff' is unknown; use any of ktx2, dds, png, exr"),
    ],
)
def test_a_format_that_the_target_has_not_is_refused_with_those_it_has(
    target: str | None, container: str | None, message: str
) -> None:
    with pytest.raises(TexsynthError, match=message) as caught:
        choose_storage(target, container)
    assert caught.value.kind == ErrorKind.BAD_INPUT


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(TexsynthError, match="use any of fast, medium, slow"):
        choose_storage("quest3", None, "best")  # type: ignore[arg-type]


# --- what they hold


@pytest.mark.parametrize(("target", "container"), BLOCKS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_in_the_file_is_that_of_the_chain_encoded(
    tmp_path: Path, target: str, container: str, dtype: Any
) -> None:
    sources = texels_of(dtype=dtype)
    storage = choose_storage(target, container)
    maps = publish(tmp_path, sources, storage)
    levels = material_levels({str(kind): texels for kind, texels in sources.items()})
    for kind in KINDS:
        path = tmp_path / f"{kind}.{container}"
        texture = read_ktx2(path) if container == "ktx2" else read_dds(path)
        assert texture.texel_format == TARGETS[target].texel_format(kind)
        assert (texture.height, texture.width, len(texture.stored)) == (37, 50, 6)
        for number, texels in enumerate(levels[kind]):
            assert texture.level(number) == encode_level(texels, texture.texel_format)
        assert maps[kind] | {"sha256": "", "bytes": 0} == {
            "file": path.name,
            "width": 50,
            "height": 37,
            "channels": CHANNELS[kind],
            "bits": 8,
            "colour_space": "srgb" if kind is MapKind.ALBEDO else "linear",
            "normal_convention": "opengl" if kind is MapKind.NORMAL else None,
            "format": container,
            "texel_format": texture.texel_format.name,
            "levels": 6,
            "sha256": "",
            "bytes": 0,
            "mips": [],
        }
        assert file_entry(path).items() <= maps[kind].items()
    assert files_in(tmp_path) == {*(f"{kind}.{container}" for kind in KINDS), "material.json"}
    assert verify(tmp_path) == []


def test_the_filter_and_the_charts_reach_the_files(tmp_path: Path) -> None:
    sources = texels_of(32, 32)
    charts = np.repeat(np.array([[1, 2]], np.int32), 16, axis=1).repeat(32, axis=0)
    for name, chain, given in (("kaiser", ChainOptions("kaiser", "repeat"), None), ("charts", ChainOptions(), charts)):
        storage = choose_storage("desktop", "dds", chain=chain)
        publish_maps(tmp_path / name, sources, storage, Run(), None if given is None else Charts(given))
        wanted = material_levels({str(k): texels for k, texels in sources.items()}, chain, charts=given)
        texture = read_dds(tmp_path / name / "albedo.dds")
        for number, texels in enumerate(wanted["albedo"]):
            assert texture.level(number) == encode_level(texels, texture.texel_format)


@pytest.mark.parametrize("container", ["png", "ktx2"])
def test_floating_point_becomes_codes_in_files_of_integers(tmp_path: Path, container: str) -> None:
    linear = np.random.default_rng(1).random((16, 16, 3), np.float32)
    light = TextureMap(MapKind.ALBEDO, linear)
    codes = TextureMap.from_linear(MapKind.ALBEDO, linear, np.uint16).texels
    maps = publish_maps(tmp_path / "a", {MapKind.ALBEDO: light.texels}, choose_storage(None, container), Run())
    same = publish_maps(tmp_path / "b", {MapKind.ALBEDO: codes}, choose_storage(None, container), Run())
    assert maps == same
    if container == "png":
        assert maps["albedo"]["bits"] == 16
        shown = cv2.imread(str(tmp_path / "a" / "albedo.png"), cv2.IMREAD_UNCHANGED)
        assert shown is not None
        assert (shown[..., ::-1] == codes).all()


# --- nothing half done


def test_another_format_in_the_same_folder_replaces_all_files_of_the_first(tmp_path: Path) -> None:
    sources = texels_of(32, 32)
    publish(tmp_path, sources, choose_storage(None, "png"))
    assert "mips/albedo.5.png" in files_in(tmp_path)
    publish(tmp_path, sources, choose_storage("quest3", None))
    assert files_in(tmp_path) == {*(f"{kind}.ktx2" for kind in KINDS), "material.json"}
    publish(tmp_path, sources, choose_storage(None, "png"))
    levels = len(level_sizes(32, 32))
    pictures = {f"mips/{kind}.{k}.png" for kind in KINDS for k in range(1, levels)}
    assert files_in(tmp_path) == {*(f"{kind}.png" for kind in KINDS), *pictures, "mips", "material.json"}


@pytest.mark.parametrize(("target", "container"), BLOCKS)
def test_cancelling_keeps_the_earlier_result_and_leaves_nothing_else(
    tmp_path: Path, target: str, container: str
) -> None:
    publish(tmp_path, texels_of(16, 16), choose_storage(target, container))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run = Run()
    run.cancel()
    with pytest.raises(TexsynthError) as caught:
        publish_maps(tmp_path, texels_of(1024, 1024), choose_storage(target, container), run)
    assert caught.value.kind == ErrorKind.CANCELLED
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert verify(tmp_path) == []


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    heard: list[float] = []
    run = Run(listener=lambda progress: heard.append(progress.fraction))
    with run.stage("publish", 0, 1):
        publish_maps(tmp_path, texels_of(512, 512), choose_storage("quest3", None), run)
    assert heard == sorted(heard)
    assert heard[-1] == 1


def test_a_size_beyond_what_a_container_holds_is_one_line(tmp_path: Path) -> None:
    wide = {MapKind.ROUGHNESS: np.zeros((1, 40000, 1), np.uint8)}
    with pytest.raises(TexsynthError, match="1 x 40000 texels") as caught:
        publish_maps(tmp_path, wide, choose_storage("desktop", None), Run())
    assert caught.value.kind == ErrorKind.BAD_INPUT
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
