"""The whole path with real files: synthesize and restyle, every kind of asset, and what lies in the folder
afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import trimesh
from gltf_builder import QUAD_POSITIONS, Builder, textured
from numpy.typing import NDArray

from mipmap.metrics import edge_correlation, laplacian_energy, wrap_ratio
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.image_io import read_image, save_image
from texsynth.material import MapKind, load_material
from texsynth.options import Options
from texsynth.publish import verify
from texsynth.restyle import restyle, synthesize
from texsynth.run import Progress, Run
from texsynth.sample_asset import write_sample_asset
from texsynth.train.procedural import generate, write

ALBEDO, NORMAL, ROUGHNESS = MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS
SIZE = 128
ROOT = Path(__file__).resolve().parent.parent


def options(**changes: Any) -> Options:
    return Options(**({"size": SIZE, "preset": "draft"} | changes))


def digests(manifest: dict[str, Any]) -> dict[str, list[str]]:
    """SHA-256 of every map and mip."""
    return {
        kind: [entry["sha256"], *(mip["sha256"] for mip in entry["mips"])] for kind, entry in manifest["maps"].items()
    }


def image(path: Path) -> NDArray[Any]:
    return np.asarray(iio.imread(path))


def levels(out: Path, kind: str = "albedo") -> NDArray[np.float32]:
    return np.asarray(image(out / f"{kind}.png"), np.float32) / 255


def refusal(work: Any, *arguments: Any) -> str:
    with pytest.raises(TexsynthError) as caught:
        work(*arguments, Run())
    assert caught.value.kind is ErrorKind.BAD_INPUT
    return str(caught.value)


class CancelIn:
    """A run that is cancelled as soon as it reports the stage."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.run = Run(listener=self)

    def __call__(self, progress: Progress) -> None:
        if progress.stage == self.stage:
            self.run.cancel()


@pytest.fixture(scope="module")
def pebbles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exemplar: a folder of maps, 80 x 80."""
    folder = tmp_path_factory.mktemp("exemplar") / "pebbles"
    write(generate("pebbles", 80, 1), folder)
    return folder


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An asset: albedo and normal, 128 x 128, of a board of large squares."""
    folder = tmp_path_factory.mktemp("asset") / "panel"
    folder.mkdir()
    yy, xx = np.mgrid[0:SIZE, 0:SIZE]
    board = (yy // 32 + xx // 32) % 2
    save_image(folder / "albedo.png", np.stack([60 + 120 * board] * 3, -1).astype(np.uint8))
    slope = np.gradient(np.minimum(np.abs(xx % 32 - 16), 8).astype(float), axis=1)
    normal = np.stack([-slope, 0 * slope, np.ones_like(slope)], -1) / np.hypot(slope, 1)[..., None]
    save_image(folder / "normal.png", np.round(127.5 + 127.5 * normal).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def made(pebbles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`synthesize` with seed 0."""
    out = tmp_path_factory.mktemp("made") / "result"
    synthesize(pebbles, out, options(), Run())
    return out


def manifest_of(out: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((out / "material.json").read_text())
    return manifest


# What lies in the folder


def test_a_folder_of_maps_is_synthesised_and_verifies(made: Path) -> None:
    assert verify(made) == []
    manifest = manifest_of(made)
    assert manifest["size"] == [SIZE, SIZE]
    assert list(manifest["maps"]) == ["albedo", "normal", "roughness"]
    assert manifest["estimated"] == []
    for kind, channels in (("albedo", 3), ("normal", 3), ("roughness", 1)):
        entry = manifest["maps"][kind]
        assert (entry["file"], entry["channels"], len(entry["mips"])) == (f"{kind}.png", channels, 7)
        texels = image(made / entry["file"])
        assert texels.shape == ((SIZE, SIZE, 3) if channels == 3 else (SIZE, SIZE))
        assert texels.dtype == np.uint8


def test_nothing_but_what_the_manifest_lists_is_left_in_the_folder(made: Path) -> None:
    manifest = manifest_of(made)
    listed = {entry["file"] for entry in manifest["maps"].values()} | set(manifest["files"]) | {"material.json"}
    assert {path.name for path in made.iterdir() if path.is_file()} == listed
    assert {path.name for path in made.iterdir() if path.is_dir()} == {"mips"}
    assert {"index.npy", "preview.png", "report.html", "report.json"} <= listed


def test_the_index_says_where_in_the_exemplar_each_block_comes_from(made: Path, pebbles: Path) -> None:
    index = np.load(made / "index.npy")
    assert index.shape == (SIZE // 8, SIZE // 8, 3)
    assert not index[:, :, 2].any(), "nothing is turned"
    # the normal, which alone is not levelled beside cuts
    exemplar, result = image(pebbles / "normal.png").astype(int), image(made / "normal.png").astype(int)
    source = (index[:, :, :2] + 4) % 80
    middles = result[4::8, 4::8]
    np.testing.assert_array_equal(middles.shape[:2], index.shape[:2])
    off = np.abs(middles - exemplar[source[..., 0], source[..., 1]]).max(axis=2)
    assert float((off == 0).mean()) > 0.6, "all but those beside a cut; of an exemplar of 80 texels pieces are small"
    elsewhere = np.abs(middles - exemplar[source[..., 1], source[..., 0]]).max(axis=2)
    assert float(off.mean()) < 0.1 * float(elsewhere.mean())


def test_where_pieces_cross_fade_the_middle_of_every_block_is_the_exemplars(pebbles: Path, tmp_path: Path) -> None:
    synthesize(pebbles, tmp_path / "out", options(overlap="hann"), Run())
    index = np.load(tmp_path / "out" / "index.npy")
    exemplar, result = image(pebbles / "normal.png"), image(tmp_path / "out" / "normal.png")  # not levelled
    hits = 0
    for y in range(SIZE // 8):
        for x in range(SIZE // 8):
            rows, columns = (np.arange(8) + index[y, x, 0]) % 80, (np.arange(8) + index[y, x, 1]) % 80
            block = exemplar[np.ix_(rows, columns)][2:6, 2:6]  # beyond the reach of the cross-fade
            hits += np.array_equal(block, result[8 * y + 2 : 8 * y + 6, 8 * x + 2 : 8 * x + 6])
    assert hits == (SIZE // 8) ** 2


def test_normals_of_the_result_are_unit(made: Path) -> None:
    normal = image(made / "normal.png").astype(float) / 127.5 - 1
    assert float(np.abs(np.linalg.norm(normal, axis=2) - 1).max()) < 0.02


def test_progress_rises_through_every_stage_to_one(pebbles: Path, tmp_path: Path) -> None:
    heard: list[Progress] = []
    run = Run(listener=heard.append)
    synthesize(pebbles, tmp_path / "out", options(size=64), run)
    fractions = [progress.fraction for progress in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    stages = list(dict.fromkeys(progress.stage for progress in heard))
    assert stages == ["load", "layout", "expand", "cut", "gather", "publish", "report"]
    assert set(run.timings) == set(stages)
    assert any(progress.preview is not None for progress in heard)


# Seeds and options


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_result(
    made: Path, pebbles: Path, tmp_path: Path
) -> None:
    again = synthesize(pebbles, tmp_path / "again", options(), Run())
    other = synthesize(pebbles, tmp_path / "other", options(seed=1), Run())
    first = digests(manifest_of(made))
    assert digests(again) == first
    for kind, found in digests(other).items():
        assert found[0] != first[kind][0]
    assert float(np.abs(levels(tmp_path / "other") - levels(made)).mean()) > 0.05


def test_the_first_job_of_a_process_gives_the_bytes_of_the_next_whatever_the_number_of_threads(
    pebbles: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from texsynth.options import Options; from texsynth.run import Run\n"
        "from texsynth.restyle import synthesize\n"
        "for out in sys.argv[2:]:\n"
        "    options = Options(size=64, preset='draft', maps=('albedo',))\n"
        "    print(synthesize(Path(sys.argv[1]), Path(out), options, Run())['maps']['albedo']['sha256'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, pebbles, tmp_path / "first", tmp_path / "next"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # numba starts as many threads as there are processors
        capture_output=True,
        text=True,
        check=True,
    )
    first, following = done.stdout.split()
    assert first == following


def test_a_tileable_result_continues_across_its_edges(made: Path, pebbles: Path, tmp_path: Path) -> None:
    synthesize(pebbles, tmp_path / "out", options(tileable=True, maps=(ALBEDO,)), Run())
    tiled = [edge.ratio for edge in wrap_ratio(levels(tmp_path / "out"))]
    cut = [edge.ratio for edge in wrap_ratio(levels(made))]
    assert max(tiled) < 1.3
    assert max(tiled) < min(cut)


def test_only_the_maps_asked_for_are_written_and_exr_holds_half_floats(pebbles: Path, tmp_path: Path) -> None:
    manifest = synthesize(pebbles, tmp_path, options(maps=(ROUGHNESS, ALBEDO), format="exr", size=64), Run())
    assert set(manifest["maps"]) == {"roughness", "albedo"}
    assert verify(tmp_path) == []
    assert not (tmp_path / "normal.exr").exists()
    assert any("its normal" in note and "--maps" in note for note in manifest["notes"])
    assert not list(tmp_path.glob("*[sold].png"))
    entry = manifest["maps"]["albedo"]
    assert (entry["file"], entry["bits"], entry["colour_space"]) == ("albedo.exr", 16, "linear")
    texels = read_image(tmp_path / "albedo.exr").texels
    assert texels.shape == (64, 64, 3)
    assert 0 <= float(texels.min()) < float(texels.max()) <= 1


def test_a_result_of_a_small_part_of_its_exemplar_says_which_density_fits_all_of_it_in(
    pebbles: Path, tmp_path: Path
) -> None:
    def advice(folder: str, density: float) -> list[str]:
        manifest = synthesize(pebbles, tmp_path / folder, options(maps=(ALBEDO,), size=64, density=density), Run())
        return [note for note in manifest["notes"] if "--density" in note]

    side = min(load_material(pebbles).size)
    (note,) = advice("part", 0.5)  # the exemplar at twice its size
    assert f"--density {side / 64:.2g} " in note
    assert advice("whole", side / 64) == []


def test_without_detail_the_result_is_smooth(made: Path, pebbles: Path, tmp_path: Path) -> None:
    synthesize(pebbles, tmp_path, options(detail=0.0, maps=(ALBEDO,)), Run())
    assert laplacian_energy(levels(tmp_path)) < 0.1 * laplacian_energy(levels(made))


def test_density_of_two_makes_the_pattern_half_as_large(tmp_path: Path) -> None:
    stripes = np.where(np.arange(160) // 8 % 2, 200, 50)[None, :, None].repeat(160, 0).repeat(3, 2)
    save_image(
        tmp_path / "stripes.png", (stripes + np.random.default_rng(0).integers(-9, 10, (160, 160, 1))).astype("u1")
    )
    edges = []
    for density in (1.0, 2.0):
        synthesize(tmp_path / "stripes.png", tmp_path / f"{density}", options(density=density, maps=(ALBEDO,)), Run())
        light = levels(tmp_path / f"{density}").mean(axis=2) > 0.5
        edges.append(float((light[:, 1:] != light[:, :-1]).sum(axis=1).mean()))
    assert edges[0] == pytest.approx(16, abs=3)
    assert edges[1] == pytest.approx(32, abs=6)


# Exemplars


def test_a_photo_alone_gives_all_maps_and_says_which_are_estimated(pebbles: Path, tmp_path: Path) -> None:
    shutil.copy(pebbles / "albedo.png", tmp_path / "photo.png")
    manifest = synthesize(tmp_path / "photo.png", tmp_path / "out", options(size=64), Run())
    assert set(manifest["maps"]) == {"albedo", "normal", "roughness"}
    assert manifest["estimated"] == ["normal", "roughness"]
    assert any("estimated" in note for note in manifest["notes"])
    assert verify(tmp_path / "out") == []


def test_a_result_never_goes_where_the_exemplar_lies(pebbles: Path) -> None:
    before = {path.name: path.read_bytes() for path in pebbles.iterdir()}
    assert "could be overwritten" in refusal(synthesize, pebbles, pebbles, options())
    assert {path.name: path.read_bytes() for path in pebbles.iterdir()} == before


def test_a_flat_exemplar_gives_a_flat_result(tmp_path: Path) -> None:
    save_image(tmp_path / "grey.png", np.full((72, 72, 3), 137, np.uint8))
    synthesize(tmp_path / "grey.png", tmp_path / "out", options(size=64), Run())
    assert bool((image(tmp_path / "out" / "albedo.png") == 137).all())


@pytest.mark.parametrize(
    ("exemplar", "changes", "message"),
    [
        ((48, 90), {}, r"the exemplar has 90 x 48 texels at this density; give one with at least 64 a side"),
        ((90, 90), {"density": 2.0}, r"the exemplar has 45 x 45 texels"),
        ((90, 90), {"maps": (MapKind.METALNESS,)}, r"the exemplar has no metalness; ask for some of albedo"),
    ],
)
def test_an_exemplar_that_cannot_serve_is_refused_in_one_line(
    exemplar: tuple[int, int], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_image(tmp_path / "small.png", np.zeros((*exemplar, 3), np.uint8))
    found = refusal(synthesize, tmp_path / "small.png", tmp_path / "out", options(**changes))
    assert re.search(message, found)
    assert not (tmp_path / "out" / "material.json").exists()


# Assets


def test_content_zero_leaves_no_trace_of_the_asset(made: Path, panel: Path, pebbles: Path, tmp_path: Path) -> None:
    manifest = restyle(panel, pebbles, tmp_path, options(content=0.0), Run())
    assert digests(manifest) == digests(manifest_of(made))


def test_the_higher_the_content_the_more_of_its_edges_show(
    made: Path, panel: Path, pebbles: Path, tmp_path: Path
) -> None:
    content = image(panel / "albedo.png").astype(np.float32) / 255
    found = [edge_correlation(content, levels(made))]
    for strength in (0.5, 1.0):
        restyle(panel, pebbles, tmp_path / f"{strength}", options(content=strength), Run())
        found.append(edge_correlation(content, levels(tmp_path / f"{strength}")))
    assert found == sorted(found)
    assert found[-1] > found[0] + 0.2
    bent = image(tmp_path / "1.0" / "normal.png").astype(np.float32)[:, :, 0].ravel()
    wanted = image(panel / "normal.png").astype(np.float32)[:, :, 0].ravel()
    assert float(np.corrcoef(bent, wanted)[0, 1]) > 0.3


def test_an_image_and_a_folder_with_it_are_restyled_alike(panel: Path, pebbles: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for copy in (tmp_path / "board.png", tmp_path / "folder" / "albedo.png"):
        shutil.copy(panel / "albedo.png", copy)
    made = [
        restyle(asset, pebbles, tmp_path / f"out{i}", options(size=64), Run())
        for i, asset in enumerate((tmp_path / "board.png", tmp_path / "folder"))
    ]
    assert digests(made[0]) == digests(made[1])


def test_an_asset_with_nothing_but_normals_is_restyled(panel: Path, pebbles: Path, tmp_path: Path) -> None:
    (tmp_path / "asset").mkdir()
    shutil.copy(panel / "normal.png", tmp_path / "asset" / "normal.png")
    restyle(tmp_path / "asset", pebbles, tmp_path / "out", options(content=1.0), Run())
    assert verify(tmp_path / "out") == []


def test_outside_the_region_every_texel_is_the_assets_own_and_its_border_is_soft(tmp_path: Path) -> None:
    size = 256
    rng = np.random.default_rng(0)
    old = rng.integers(0, 256, (size, size, 3), np.uint8)
    old[64:192, 64:192] = 0
    mask = np.zeros((size, size), np.uint8)
    mask[80:176, 80:176] = 255
    save_image(tmp_path / "old.png", old)
    save_image(tmp_path / "mask.png", mask)
    save_image(tmp_path / "light.png", rng.integers(150, 250, (64, 64, 3), np.uint8))
    chosen = options(size=size, region=tmp_path / "mask.png", maps=(ALBEDO, ROUGHNESS), content=0.0)
    restyle(tmp_path / "old.png", tmp_path / "light.png", tmp_path / "out", chosen, Run())
    made = image(tmp_path / "out" / "albedo.png")
    outside = mask == 0
    np.testing.assert_array_equal(made[outside], old[outside])
    assert bool((image(tmp_path / "out" / "roughness.png")[outside] == 128).all()), "the asset had no roughness"
    inner = float(made[84:172, 84:172].mean())
    rim = float(made[80, 84:172].mean())
    assert inner > 150
    assert 0.3 * inner < rim < 0.7 * inner


def test_a_region_that_is_black_everywhere_is_refused(panel: Path, pebbles: Path, tmp_path: Path) -> None:
    save_image(tmp_path / "mask.png", np.zeros((40, 40), np.uint8))
    message = refusal(restyle, panel, pebbles, tmp_path / "out", options(region=tmp_path / "mask.png"))
    assert "mask.png: the mask is black everywhere" in message


@pytest.fixture(scope="module")
def urn(pebbles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sample asset and the folder of its restyle."""
    folder = tmp_path_factory.mktemp("urn")
    asset = write_sample_asset(folder, 256)
    restyle(asset, pebbles, folder / "out", options(content=0.3), Run())
    return asset, folder / "out"


def test_a_restyled_mesh_opens_and_carries_the_new_images(urn: tuple[Path, Path]) -> None:
    asset, out = urn
    assert verify(out) == []
    assert "asset.glb" in manifest_of(out)["files"]
    before, after = (
        next(iter(trimesh.load(path, process=False).geometry.values())) for path in (asset, out / "asset.glb")
    )
    np.testing.assert_array_equal(after.vertices, before.vertices)
    np.testing.assert_array_equal(after.faces, before.faces)
    np.testing.assert_allclose(after.visual.uv, before.visual.uv)
    material = after.visual.material
    np.testing.assert_array_equal(np.asarray(material.baseColorTexture)[..., :3], image(out / "albedo.png"))
    np.testing.assert_array_equal(np.asarray(material.normalTexture)[..., :3], image(out / "normal.png"))
    packed = np.asarray(material.metallicRoughnessTexture)
    np.testing.assert_array_equal(packed[..., 1], image(out / "roughness.png"))


@pytest.mark.parametrize(("target", "container"), [("quest3", "ktx2"), ("desktop", "dds")])
def test_a_mesh_restyled_for_a_gpu_has_its_files_and_a_mesh_that_shows_the_same_texels(
    urn: tuple[Path, Path], pebbles: Path, tmp_path: Path, target: str, container: str
) -> None:
    asset, pictures = urn
    manifest = restyle(asset, pebbles, tmp_path, options(target=target, content=0.3), Run())
    assert manifest["options"]["format"] == container
    assert {path.name for path in tmp_path.iterdir()} - {"turntable.png", "turntable.webp"} == {
        *(f"{kind}.{container}" for kind in (ALBEDO, NORMAL, ROUGHNESS)),
        *("asset.glb", "index.npy", "material.json", "preview.png", "report.html", "report.json"),
    }
    assert verify(tmp_path) == []
    given = next(iter(trimesh.load(pictures / "asset.glb", process=False).geometry.values()))
    shown = next(iter(trimesh.load(tmp_path / "asset.glb", process=False).geometry.values()))
    assert np.array_equal(np.asarray(shown.visual.material.baseColorTexture), image(pictures / "albedo.png"))
    normals = (np.asarray(each.visual.material.normalTexture).astype(int) for each in (shown, given))
    assert np.abs(np.subtract(*normals)).max() <= 1  # those of pictures are rounded by error diffusion
    assert "<!--levels-->" in (tmp_path / "report.html").read_text()
    wanted = read_image(pictures / "albedo.png").texels.astype(int)
    stored = read_image(tmp_path / f"albedo.{container}").texels
    assert np.abs(stored - wanted).mean() < 8


def test_a_new_result_without_a_mesh_leaves_no_mesh_of_an_earlier_one(
    urn: tuple[Path, Path], pebbles: Path, tmp_path: Path
) -> None:
    shutil.copytree(urn[1], tmp_path / "out")
    synthesize(pebbles, tmp_path / "out", options(size=64), Run())
    assert verify(tmp_path / "out") == []
    assert not (tmp_path / "out" / "asset.glb").exists()


def test_an_unknown_material_of_a_mesh_is_refused_with_the_known_ones(
    urn: tuple[Path, Path], pebbles: Path, tmp_path: Path
) -> None:
    message = refusal(restyle, urn[0], pebbles, tmp_path / "out", options(material="lid"))
    assert re.search(r"asset.glb: has no material 'lid'; use one of: 0 urn", message)


def test_of_several_materials_the_one_that_was_replaced_is_told_unless_it_was_named(
    pebbles: Path, tmp_path: Path
) -> None:
    builder = Builder()
    for name, edge in (("lid", 0.5), ("seat", 2.0)):
        slot = textured(builder, name=name)
        builder.quad(slot, positions=[[edge * x, edge * y, edge] for x, y, _ in QUAD_POSITIONS])
    chair = builder.save(tmp_path, "chair.glb")
    notes = restyle(chair, pebbles, tmp_path / "out", options(size=64), Run())["notes"]
    assert [note for note in notes if "of the mesh's 2 materials 1 seat, which covers the most, was replaced" in note]
    named = restyle(chair, pebbles, tmp_path / "out", options(size=64, material="lid"), Run())["notes"]
    assert not [note for note in named if "was replaced" in note]


def test_a_mesh_without_any_texture_gets_one(pebbles: Path, tmp_path: Path) -> None:
    lines = ["v 0 0 0", "v 1 0 0", "v 1 1 0", "v 0 1 0", "vt 0.1 0.1", "vt 0.9 0.1", "vt 0.9 0.9", "vt 0.1 0.9"]
    (tmp_path / "quad.obj").write_text("\n".join([*lines, "f 1/1 2/2 3/3", "f 1/1 3/3 4/4"]) + "\n")
    restyle(tmp_path / "quad.obj", pebbles, tmp_path / "out", options(size=64), Run())
    assert verify(tmp_path / "out") == []
    loaded = next(iter(trimesh.load(tmp_path / "out" / "asset.glb").geometry.values()))
    texture = np.asarray(loaded.visual.material.baseColorTexture)[..., :3]
    np.testing.assert_array_equal(texture, image(tmp_path / "out" / "albedo.png"))


# Cancelled and resumed


@pytest.mark.parametrize("stage", ["layout", "gather", "report"])
def test_a_cancelled_run_publishes_nothing_and_a_resumed_one_gives_the_same_bytes(
    stage: str, made: Path, pebbles: Path, tmp_path: Path
) -> None:
    with pytest.raises(TexsynthError) as caught:
        synthesize(pebbles, tmp_path, options(), CancelIn(stage).run)
    assert caught.value.kind is ErrorKind.CANCELLED
    assert "--resume" in str(caught.value)
    assert not (tmp_path / "material.json").exists()
    manifest = synthesize(pebbles, tmp_path, options(resume=True), Run())
    assert digests(manifest) == digests(manifest_of(made))
    assert verify(tmp_path) == []
    assert not (tmp_path / ".work").exists()
    assert not (tmp_path / "progress.png").exists()


def test_a_cancelled_run_leaves_the_earlier_result_as_it_was(made: Path, pebbles: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "out")
    with pytest.raises(TexsynthError):
        synthesize(pebbles, tmp_path / "out", options(seed=9), CancelIn("gather").run)
    assert verify(tmp_path / "out") == []
    assert (tmp_path / "out" / "material.json").read_bytes() == (made / "material.json").read_bytes()


def test_resuming_a_run_of_other_options_or_inputs_is_refused(pebbles: Path, panel: Path, tmp_path: Path) -> None:
    with pytest.raises(TexsynthError):
        synthesize(pebbles, tmp_path, options(), CancelIn("layout").run)
    for attempt in (
        lambda: refusal(synthesize, pebbles, tmp_path, options(resume=True, seed=1)),
        lambda: refusal(synthesize, panel, tmp_path, options(resume=True)),
        lambda: refusal(restyle, panel, pebbles, tmp_path, options(resume=True)),
    ):
        assert attempt().endswith(
            "holds an unfinished run of other inputs or options; leave out --resume to start anew"
        )
