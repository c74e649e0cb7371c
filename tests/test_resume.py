"""Real processes killed in the middle, at named places and at random ones: --resume ends in the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forked import synthesized, texsynth

from texsynth.image_io import save_image
from texsynth.options import Options
from texsynth.publish import verify
from texsynth.restyle import synthesize
from texsynth.run import Run
from texsynth.train.procedural import generate, write

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = Options(size=128, preset="draft", seed=7)
AGAIN = replace(OPTIONS, resume=True)


def words(exemplar: Path, out: Path, *more: str) -> list[str]:
    """After `texsynth`."""
    options = ["--size", str(OPTIONS.size), "--preset", OPTIONS.preset, "--seed", str(OPTIONS.seed)]
    return ["synthesize", str(exemplar), "-o", str(out), *options, *more]


def command(exemplar: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "texsynth", *words(exemplar, out)]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def resume(exemplar: Path, out: Path) -> None:
    """What the command with --resume does, without the start of a process."""
    synthesize(exemplar, out, AGAIN, Run())


def digests(out: Path) -> dict[str, list[str]]:
    """SHA-256 of every map and mip, as the manifest has them."""
    maps = json.loads((out / "material.json").read_text())["maps"]
    return {kind: [entry["sha256"], *(mip["sha256"] for mip in entry["mips"])] for kind, entry in maps.items()}


def assert_complete(out: Path, expected: dict[str, list[str]]) -> None:
    assert verify(out) == []
    assert digests(out) == expected
    assert not (out / ".work").exists()
    assert not (out / "progress.png").exists()
    assert not list(out.rglob("*.tmp"))


@pytest.fixture(scope="module")
def gravel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exemplar of 240 x 240: two pyramid levels."""
    folder = tmp_path_factory.mktemp("exemplar") / "gravel"
    write(generate("gravel", 240, 1), folder)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(gravel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], float]:
    """Digests of the result, and how many seconds it takes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    began = time.monotonic()
    done = run(command(gravel, out))
    assert done.returncode == 0, done.stderr
    return digests(out), time.monotonic() - began


@pytest.fixture(scope="module")
def interrupted(gravel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed when its layout was done."""
    out = tmp_path_factory.mktemp("killed") / "out"
    assert synthesized(gravel, out, OPTIONS, "layout:1") == -signal.SIGKILL
    return out


def test_a_run_killed_at_one_named_place_after_the_other_ends_in_the_same_bytes(
    gravel: Path, interrupted: Path, uninterrupted: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    out = shutil.copytree(interrupted, tmp_path / "out")
    faults = ["expand_band:2", "expand_band:5", "expand_seams:1", "cut:1", "gather_band:1"]
    faults += ["publish_band:2", "after_rename:3", "before_manifest:1"]
    for fault in faults:
        assert synthesized(gravel, out, AGAIN, fault) == -signal.SIGKILL, fault
        assert not (out / "material.json").exists(), f"nothing is published when killed at {fault}"
    done = texsynth(*words(gravel, out, "--resume"))
    assert done.returncode == 0, done.stderr
    assert_complete(out, uninterrupted[0])


def test_a_run_killed_at_a_random_moment_ends_in_the_same_bytes(
    gravel: Path, uninterrupted: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    expected, seconds = uninterrupted
    delay = random.SystemRandom().uniform(0.2, 1.0) * seconds
    process = subprocess.Popen(
        command(gravel, tmp_path), cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    time.sleep(delay)
    process.kill()
    process.wait()
    resume(gravel, tmp_path)
    assert verify(tmp_path) == [], f"killed after {delay:.2f} s"
    assert_complete(tmp_path, expected)


@pytest.mark.parametrize("fault", ["expand_band:3", "expand_seams:1", "cut:1"])
def test_a_checkpoint_that_has_rotted_is_made_anew_and_the_bytes_are_the_same(
    fault: str, gravel: Path, interrupted: Path, uninterrupted: tuple[dict[str, list[str]], float], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    out = shutil.copytree(interrupted, tmp_path / "out")
    assert synthesized(gravel, out, AGAIN, fault) == -signal.SIGKILL
    state = [path for path in (out / ".work" / "0").rglob("*") if path.is_file()]
    for path in state:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert len(state) >= 5
    resume(gravel, out)
    assert "the checkpoint is damaged" in caplog.text
    assert_complete(out, uninterrupted[0])


def test_any_one_bit_of_a_checkpoint_is_noticed_or_does_not_matter(
    gravel: Path, interrupted: Path, uninterrupted: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    whole = shutil.copytree(interrupted, tmp_path / "whole")
    assert synthesized(gravel, whole, AGAIN, "expand_band:5") == -signal.SIGKILL
    chance = random.SystemRandom()
    state = sorted(path for path in (whole / ".work" / "0").rglob("*") if path.is_file())
    for number, path in enumerate(chance.sample(state, 4)):
        out = shutil.copytree(whole, tmp_path / str(number))
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (out / path.relative_to(whole)).write_bytes(content)
        resume(gravel, out)
        assert digests(out) == uninterrupted[0], path


@pytest.mark.parametrize("change", [("--seed", "8"), ("--maps", "albedo")])
def test_resuming_with_other_options_is_refused_in_one_line_with_status_2(
    change: tuple[str, str], gravel: Path, interrupted: Path
) -> None:
    before = {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()}
    done = texsynth(*words(gravel, interrupted, "--resume", *change))
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("texsynth: error: ")]
    assert len(errors) == 1
    assert errors[0].endswith(": holds an unfinished run of other inputs or options; leave out --resume to start anew")
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()} == before


def test_state_that_cannot_be_written_is_one_line_and_no_crash(tmp_path: Path) -> None:
    save_image(tmp_path / "photo.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    # The limit stands for a full disk: the file system refuses to make the state's files as large as they must be.
    code = (
        "import resource, sys; from texsynth.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = run([sys.executable, "-c", code, *words(tmp_path / "photo.png", tmp_path / "out")])
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("texsynth: error: ")
    assert "File too large" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "material.json").exists()
