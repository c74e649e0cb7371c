"""`--model FOLDER`: small checkpoints with random weights, which diffusers wrote, lead a synthesis and a restyle.

What random weights make is no picture; that a result follows a lead is tested in test_lead.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import forked
import imageio.v3 as iio
import numpy as np
import pytest
from checkpoints import change, small_sd15, small_sdxl

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.fault import VARIABLE
from texsynth.image_io import save_image
from texsynth.material import MapKind
from texsynth.model.diffusers_model import SD15, SDXL, identify
from texsynth.options import Options
from texsynth.publish import verify
from texsynth.restyle import restyle, synthesize
from texsynth.run import Progress, Run
from texsynth.sample_asset import write_sample_asset
from texsynth.sheet import reduction_for

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_sd15(tmp_path_factory.mktemp("sd15") / "tiny")


def options(folder: Path | None, **changes: Any) -> Options:
    return Options(**({"size": 128, "preset": "draft", "seed": 7, "model": folder} | changes))


def digests(manifest: dict[str, Any]) -> dict[str, str]:
    return {kind: entry["sha256"] for kind, entry in manifest["maps"].items()}


@pytest.fixture(scope="module")
def led(gravel: Path, sd15: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("led") / "out"
    synthesize(gravel, out, options(sd15), Run())
    return out


def manifest_of(out: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((out / "material.json").read_text())
    return made


def test_a_led_result_is_whole_and_says_what_led_it(led: Path, sd15: Path) -> None:
    assert verify(led) == []
    made = manifest_of(led)
    assert made["model"]["name"] == "exemplar-score"
    assert made["model"]["led_by"] == {"name": "tiny", "kind": "SD 1.5", "sha256": identify(sd15).sha256}
    assert any("led by tiny" in note for note in made["notes"])
    assert made["options"]["model"] == "tiny"  # its name: paths of a machine stay there
    assert json.loads((led / "report.json").read_text())["timings"]["model"] > 0


def test_the_same_seed_gives_the_same_bytes_and_the_checkpoint_matters(
    gravel: Path, sd15: Path, led: Path, tmp_path: Path
) -> None:
    again = synthesize(gravel, tmp_path / "again", options(sd15), Run())
    free = synthesize(gravel, tmp_path / "free", options(None), Run())
    assert digests(again) == digests(manifest_of(led))
    assert digests(free) != digests(again)


def test_the_command_line_killed_between_noise_levels_resumes_to_the_same_bytes(
    gravel: Path, sd15: Path, led: Path, tmp_path: Path
) -> None:
    def texsynth(*more: str, fault: str = "") -> subprocess.CompletedProcess[str]:
        command = ["synthesize", gravel, "-o", tmp_path / "out", "--size", "128", "--preset", "draft", "--seed", "7"]
        environment = os.environ | ({VARIABLE: fault} if fault else {})
        return forked.texsynth(*command, "--model", sd15, *more, environment=environment)

    assert texsynth(fault="sheet_level:3").returncode == -signal.SIGKILL
    assert (tmp_path / "out/.work/sheet.npz").is_file()
    done = texsynth("--resume")
    assert done.returncode == 0, done.stderr
    assert digests(manifest_of(tmp_path / "out")) == digests(manifest_of(led))


def test_a_cancelled_distillation_stops_at_its_next_step_and_resumes_to_the_same_bytes(
    gravel: Path, sd15: Path, led: Path, tmp_path: Path
) -> None:
    heard: list[float] = []

    def listener(progress: Progress) -> None:
        if progress.stage == "model":
            heard.append(progress.fraction)
            if len(heard) == 20:
                run.cancel()

    run = Run(listener)
    with pytest.raises(TexsynthError) as caught:
        synthesize(gravel, tmp_path / "out", options(sd15), run)
    assert caught.value.kind is ErrorKind.CANCELLED
    assert len(heard) == 20 and heard == sorted(heard)
    made = synthesize(gravel, tmp_path / "out", options(sd15, resume=True), Run())
    assert digests(made) == digests(manifest_of(led))


def test_resuming_with_other_weights_is_refused(gravel: Path, sd15: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sd15, tmp_path / "tiny"))

    def listener(progress: Progress) -> None:
        if progress.stage == "model":
            run.cancel()

    run = Run(listener)
    with pytest.raises(TexsynthError):
        synthesize(gravel, tmp_path / "out", options(folder), run)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(TexsynthError, match="unfinished run of other inputs or options"):
        synthesize(gravel, tmp_path / "out", options(folder, resume=True), Run())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="open mappings are read from Linux's /proc")
def test_the_checkpoint_is_out_of_memory_before_the_layout_begins(gravel: Path, sd15: Path, tmp_path: Path) -> None:
    mapped: dict[str, bool] = {}

    def listener(progress: Progress) -> None:
        here = str(sd15) in Path("/proc/self/maps").read_text()
        mapped[progress.stage] = mapped.get(progress.stage, False) or here

    synthesize(gravel, tmp_path / "out", options(sd15), Run(listener))
    assert mapped["model"]
    assert not mapped["layout"] and not mapped["expand"]


def test_a_mesh_fitted_to_its_surface_is_led_with_its_content_and_a_second_exemplar(
    gravel: Path, tmp_path: Path
) -> None:
    write_sample_asset(tmp_path / "asset", size=256)
    sdxl = small_sdxl(tmp_path / "xl")
    made = restyle(
        tmp_path / "asset" / "asset.glb", gravel, tmp_path / "out",
        options(sdxl, content=0.5, second=gravel, blend=0.3), Run(),
    )  # fmt: skip
    assert verify(tmp_path / "out") == []
    assert made["model"]["led_by"]["kind"] == "SDXL"


def test_a_tileable_result_is_led_in_a_region_of_an_image(gravel: Path, sd15: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    old = rng.integers(0, 256, (128, 128, 3), np.uint8)
    mask = np.zeros((128, 128, 1), np.uint8)
    mask[:, 64:] = 255
    save_image(tmp_path / "old.png", old)
    save_image(tmp_path / "mask.png", mask)
    chosen = options(sd15, tileable=True, region=tmp_path / "mask.png", maps=(MapKind.ALBEDO,))
    restyle(tmp_path / "old.png", gravel, tmp_path / "out", chosen, Run())
    made = iio.imread(tmp_path / "out" / "albedo.png")
    assert np.array_equal(made[:, :60], old[:, :60])
    assert not np.array_equal(made[:, 68:], old[:, 68:])


# What is refused, each in one line


def refusal(gravel: Path, out: Path, folder: Path, **changes: Any) -> str:
    with pytest.raises(TexsynthError) as caught:
        synthesize(gravel, out, options(folder, **changes), Run())
    assert caught.value.kind is ErrorKind.BAD_INPUT
    assert "\n" not in str(caught.value)
    assert not (out / "material.json").exists()
    return str(caught.value)


def test_a_folder_that_is_absent_a_file_or_of_another_model_is_refused(
    gravel: Path, sd15: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "is absent; name a folder in diffusers layout" in refusal(gravel, out, tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"")
    assert "is a file; name a folder in diffusers layout" in refusal(gravel, out, tmp_path / "file")
    folder = Path(shutil.copytree(sd15, tmp_path / "foreign"))
    change(folder / "model_index.json", _class_name="FluxPipeline")
    assert "is of class FluxPipeline; SD 1.5 and SDXL are known" in refusal(gravel, out, folder)


def test_damaged_weights_are_refused(gravel: Path, sd15: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sd15, tmp_path / "tiny"))
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-7])
    assert "is no whole safetensors file" in refusal(gravel, tmp_path / "out", folder)


def test_maps_without_albedo_cannot_be_led(sd15: Path) -> None:
    with pytest.raises(TexsynthError, match="leads by albedo, which is not asked for; add albedo to the maps"):
        options(sd15, maps=(MapKind.NORMAL,))


def test_an_exemplar_without_albedo_cannot_lead(gravel: Path, sd15: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    shutil.copy(gravel / "normal.png", tmp_path / "bare")
    assert "leads by albedo, which the exemplar has not" in refusal(
        tmp_path / "bare", tmp_path / "out", sd15, maps=(MapKind.ALBEDO, MapKind.NORMAL)
    )


def test_without_the_extra_one_line_says_what_to_install(gravel: Path, sd15: Path, tmp_path: Path) -> None:
    arguments = ["synthesize", gravel, "-o", tmp_path / "out", "--size", "64", "--model", sd15]
    done = forked.texsynth(*arguments, without=["diffusers"])
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("texsynth: error: ")]
    assert len(errors) == 1 and errors[0].endswith("run: pip install 'texsynth[diffusers]'")


def test_exemplar_and_result_are_seen_at_one_scale_the_larger_at_the_size_that_was_trained() -> None:
    assert reduction_for(2048, (1024, 1024), 512, "SD 1.5") == 4
    assert reduction_for(1024, (2048, 1024), 1024, "SDXL") == 2
    assert reduction_for(256, (128, 128), 512, "SD 1.5") == 1, "nothing is enlarged"


@pytest.mark.parametrize(("size", "exemplar"), [(8192, (512, 512)), (128, (4096, 4096)), (4096, (2048, 256))])
def test_a_result_and_an_exemplar_too_different_in_size_are_refused(size: int, exemplar: tuple[int, int]) -> None:
    with pytest.raises(TexsynthError, match=r"too different in size for SD 1\.5, which sees 512 texels at once"):
        reduction_for(size, exemplar, SD15.side * 8, SD15.name)
    assert SDXL.side == 2 * SD15.side
