"""The command line from outside: real processes, real files, exit statuses, and what stands on which stream."""

import dataclasses
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forked
import imageio.v3 as iio
import numpy as np
import pytest
import trimesh

from texsynth import cli
from texsynth.options import RESTYLE_ONLY, Options

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"}


def texsynth(*arguments: object) -> subprocess.CompletedProcess[str]:
    return forked.texsynth(*arguments, cwd=ROOT, environment=ENVIRONMENT)


def python_m_texsynth(*arguments: object) -> subprocess.CompletedProcess[str]:
    """As a person starts it, with all that Python does before."""
    return subprocess.run(
        [sys.executable, "-m", "texsynth", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=ENVIRONMENT,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *parts: object, status: int = 2) -> None:
    """One line `texsynth: error: ...` that holds every part, nothing on standard output, the status."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("texsynth: error: ")
    for part in parts:
        assert str(part) in lines[0]


def assert_refused_while_loading(done: subprocess.CompletedProcess[str], *parts: object) -> None:
    """As `assert_refused`, after the line that says that loading has begun."""
    progress, _, error = done.stderr.partition("\n")
    assert progress.startswith("texsynth:   0% load")
    assert_refused(subprocess.CompletedProcess(done.args, done.returncode, done.stdout, error), *parts)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 256 x 256 sRGB photo of speckled ground."""
    noise = np.random.default_rng(3).normal(size=(256, 256))
    spectrum = np.fft.rfft2(noise) * np.exp(-((np.fft.rfftfreq(256) * 12) ** 2))
    grain = np.fft.irfft2(spectrum)
    grain = (grain - grain.min()) / (grain.max() - grain.min())
    colours = np.stack([grain * 200 + 30, grain * 150 + 40, grain * 90 + 30], axis=-1)
    path = tmp_path_factory.mktemp("exemplar") / "ground.png"
    iio.imwrite(path, colours.astype(np.uint8))
    return path


# Help and usage


def test_help_names_every_command_and_loads_nothing_that_takes_long() -> None:
    done = python_m_texsynth("--help")
    assert done.returncode == 0
    for command in ("restyle", "synthesize", "measure", "verify", "view", "doctor", "procedural", "sample-asset"):
        assert f" {command} " in done.stdout
    script = "import sys; from texsynth.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=300)
    slow = {"torch", "numba", "scipy", "cv2", "transformers", "grpc", "ray", "trimesh", "PIL"}
    assert "typer" in loaded.stderr.split()
    assert not slow & set(loaded.stderr.split())


def test_no_argument_at_all_shows_the_help() -> None:
    done = python_m_texsynth()
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize("command", ["restyle", "synthesize"])
def test_the_help_of_the_main_commands_names_every_option(command: str) -> None:
    shown = texsynth(command, "--help").stdout
    for field in dataclasses.fields(Options):
        if command == "synthesize" and field.name in RESTYLE_ONLY:
            continue
        flag = {"nonfinite": "clamp-nonfinite"}.get(field.name, field.name)
        assert f"--{flag.replace('_', '-')}" in shown


@pytest.mark.parametrize("command", [cli.restyle_command, cli.synthesize_command])
def test_the_defaults_of_the_command_line_are_those_of_options(command: object) -> None:
    assert callable(command)
    parameters = inspect.signature(command).parameters
    for field in dataclasses.fields(Options):
        if field.name in parameters and field.name != "maps":
            assert parameters[field.name].default == field.default, field.name
    assert parameters["maps"].default == ",".join(Options().maps)


def test_version_is_printed() -> None:
    done = python_m_texsynth("--version")
    assert (done.returncode, done.stdout) == (0, "texsynth 0.1.0\n")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["explode"], "No such command 'explode'; see texsynth --help"),
        (["synthesize"], "Missing argument 'EXEMPLAR'; see texsynth synthesize --help"),
        (["synthesize", "x.png"], "Missing option '--output'"),
        (["synthesize", "x.png", "-o", "y", "--sizes", "512"], "No such option: --sizes"),
        (["synthesize", "x.png", "-o", "y", "--size", "big"], "Invalid value for '--size'"),
        (["restyle", "x.glb", "-o", "y"], "Missing option '--style'"),
    ],
)
def test_a_usage_error_is_one_line_with_status_2(arguments: list[str], part: str) -> None:
    assert_refused(texsynth(*arguments), part)


def test_with_json_an_error_is_a_json_event(tmp_path: Path) -> None:
    done = texsynth("synthesize", tmp_path / "none.png", "-o", tmp_path / "out", "--json")
    event = json.loads(done.stderr)
    assert (done.returncode, done.stdout, event["event"]) == (2, "", "error")
    assert "does not exist" in event["message"]


# Bad options and inputs, refused before the engine is loaded


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--size", "1000"], ["size: got 1000", "power of two from 64 to 8192"]),
        (["--size", "16384"], ["size: got 16384"]),
        (["--size", "-1"], ["size: got -1"]),
        (["--maps", "albedo,bump"], ["maps: 'bump' is unknown", "albedo, normal, roughness"]),
        (["--maps", ","], ["maps: no map is asked for"]),
        (["--maps", "albedo,albedo"], ["names a map twice"]),
        (["--preset", "fast"], ["preset: 'fast' is unknown", "draft, standard, high"]),
        (["--profile", "laptop"], ["profile: 'laptop' is unknown"]),
        (["--format", "bmp"], ["format: 'bmp' is unknown", "png, exr"]),
        (["--seed", "-3"], ["seed: got -3"]),
        (["--density", "0"], ["density: got 0"]),
        (["--density", "nan"], ["density: got nan"]),
        (["--detail", "1.5"], ["detail: got 1.5", "from 0 to 1"]),
    ],
)
def test_an_option_outside_its_range_is_refused(
    options: list[str], parts: list[str], photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert_refused(texsynth("synthesize", photo, "-o", out, *options), *parts)
    assert not out.exists()


def test_content_outside_0_to_1_is_refused(photo: Path, tmp_path: Path) -> None:
    done = texsynth("restyle", photo, "--style", photo, "-o", tmp_path, "--content", "2")
    assert_refused(done, "content: got 2", "from 0 to 1")


def test_a_missing_exemplar_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = python_m_texsynth("synthesize", tmp_path / "none.png", "-o", out)
    assert_refused(done, tmp_path / "none.png", "does not exist")
    assert not out.exists()


@pytest.mark.parametrize("missing", ["asset", "style", "region"])
def test_a_missing_input_of_restyle_is_named(missing: str, photo: Path, tmp_path: Path) -> None:
    paths = {name: tmp_path / "none.png" if name == missing else photo for name in ("asset", "style", "region")}
    out = tmp_path / "out"
    done = texsynth("restyle", paths["asset"], "--style", paths["style"], "--region", paths["region"], "-o", out)
    assert_refused(done, tmp_path / "none.png", "does not exist")
    assert not out.exists()


def test_an_output_that_is_a_file_is_refused_and_kept(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    assert_refused(texsynth("synthesize", photo, "-o", out), out, "is a file", "name a folder")
    assert out.read_text() == "mine"


@pytest.mark.parametrize("folder", ["/proc/texsynth", "/sys/texsynth"])
def test_an_output_that_cannot_be_written_is_refused(folder: str, photo: Path) -> None:
    assert_refused(texsynth("synthesize", photo, "-o", folder), folder, "name a folder where files may be made")


def test_a_full_disk_is_status_3(photo: Path, tmp_path: Path) -> None:
    # RLIMIT_FSIZE gives EFBIG, not ENOSPC; /dev/full is the one real full device, and no folder. So: from errno.
    code = "import errno; from texsynth.cli import _explain; from texsynth.errors import from_os_error"
    code += "; print(*_explain(from_os_error(OSError(errno.ENOSPC, 'full'), 'out/albedo.png')), sep='|')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    message, status = done.stdout.strip().split("|")
    assert message.startswith("out/albedo.png: the disk is full")
    assert status == "3"


def test_something_that_is_not_an_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_text("this is a letter, not a picture")
    assert_refused_while_loading(texsynth("synthesize", path, "-o", tmp_path / "out"), path)


def test_a_truncated_photo_is_refused(photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(photo.read_bytes()[:2000])
    assert_refused_while_loading(texsynth("synthesize", path, "-o", tmp_path / "out"), path)


def test_an_empty_folder_as_exemplar_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    assert_refused_while_loading(texsynth("synthesize", folder, "-o", tmp_path / "out"), folder)


# Defects


def test_an_unexpected_error_is_one_line_that_asks_for_a_report() -> None:
    done = run_with_defect()
    assert_refused(done, "RuntimeError: a wheel came off", "please report", status=1)


def test_texsynth_debug_shows_the_traceback_of_an_unexpected_error() -> None:
    done = run_with_defect(TEXSYNTH_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("texsynth: error: RuntimeError: a wheel came off")


def run_with_defect(**environment: str) -> subprocess.CompletedProcess[str]:
    """`verify` in a process whose `verify` breaks in a way that nobody foresaw."""
    code = """
import sys, texsynth.publish
from texsynth.cli import main
def verify(folder):
    raise RuntimeError("a wheel\\ncame off")
texsynth.publish.verify = verify
sys.exit(main(["verify", "."]))
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=ENVIRONMENT | environment,
        check=False,
    )


# verify


def test_verify_refuses_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert_refused(texsynth("verify", tmp_path / "none"), tmp_path / "none", "does not exist")


def test_verify_of_a_folder_without_manifest_is_status_4(tmp_path: Path) -> None:
    done = texsynth("verify", tmp_path)
    assert done.returncode == 4
    assert "material.json" in done.stdout


# measure


def test_measure_of_a_texture_with_itself_is_a_perfect_match(photo: Path) -> None:
    done = texsynth("measure", photo, photo, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_measure_of_two_sizes_is_refused_but_an_exemplar_may_have_its_own(photo: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    iio.imwrite(small, np.full((96, 64, 3), 90, np.uint8))
    assert_refused(texsynth("measure", photo, small), "64 x 96", "--unpaired")
    done = texsynth("measure", photo, small, "--unpaired", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["maps"]["albedo"]["ssim"] is None


def test_measure_of_a_missing_file_is_refused(photo: Path, tmp_path: Path) -> None:
    assert_refused(texsynth("measure", tmp_path / "none.png", photo), "none.png", "does not exist")


# procedural, sample-asset


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--filter", "gauss"], ["filter: 'gauss' is unknown", "use any of box, kaiser, lanczos3"]),
        (["--wrap", "mirror"], ["wrap: 'mirror' is unknown", "use any of repeat, clamp"]),
        (["--alpha-test", "2"], ["alpha-test: got 2", "to 1"]),
        (["--target", "quest3", "--format", "dds"], ["format: target quest3 has no dds files", "use ktx2"]),
        (["--compression", "best"], ["compression: 'best' is unknown", "fast, medium, slow"]),
        (["--maps", "albedo,gloss"], ["maps: 'gloss' is unknown"]),
        (["--charts", "nowhere.png"], ["nowhere.png: does not exist"]),
    ],
)
def test_mips_refuses_a_wrong_option_in_one_line(
    options: list[str], parts: list[str], photo: Path, tmp_path: Path
) -> None:
    assert_refused(texsynth("mips", photo, "-o", tmp_path / "out", *options), *parts)
    assert not (tmp_path / "out").exists()


def test_mips_says_what_it_wrote_and_view_may_show_it(photo: Path, tmp_path: Path) -> None:
    done = texsynth("mips", photo, "-o", tmp_path / "out", "--target", "desktop")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'out' / 'albedo.dds'}  bc7-srgb, " in done.stdout
    assert f" view {tmp_path / 'out'}" in done.stdout
    assert texsynth("verify", tmp_path / "out").returncode == 0


def test_procedural_writes_a_folder_of_maps(tmp_path: Path) -> None:
    done = texsynth("procedural", "brick", "-o", tmp_path / "brick", "--size", "128", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "brick") in done.stdout
    assert len(list((tmp_path / "brick").iterdir())) >= 3


def test_an_unknown_procedural_kind_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    assert_refused(texsynth("procedural", "unobtainium", "-o", tmp_path / "x"), "unobtainium", "brick")
    assert not (tmp_path / "x").exists()


def test_sample_asset_writes_a_mesh_that_trimesh_reads_with_its_texture(tmp_path: Path) -> None:
    done = texsynth("sample-asset", "-o", tmp_path, "--size", "256")
    assert done.returncode == 0, done.stderr
    scene = trimesh.load_scene(tmp_path / "asset.glb")
    (mesh,) = scene.geometry.values()
    assert mesh.visual.material.baseColorTexture.size == (256, 256)


def test_a_sample_asset_of_a_wrong_size_is_refused(tmp_path: Path) -> None:
    assert_refused(texsynth("sample-asset", "-o", tmp_path / "x", "--size", "100"), "size: got 100")


# view


def test_view_of_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    assert_refused(texsynth("view", tmp_path, "--no-open"), tmp_path, "holds no finished result")


# The main job, end to end


@pytest.fixture(scope="module")
def result(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A 256 x 256 synthesis with --json."""
    out = tmp_path_factory.mktemp("result") / "made" / "here"
    return out, texsynth("synthesize", photo, "-o", out, "--size", 256, "--preset", "draft", "--json")


def test_synthesize_makes_every_map_and_says_so_as_json(
    result: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = result
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert set(manifest["maps"]) == {"albedo", "normal", "roughness"}
    assert manifest == json.loads((out / "material.json").read_text())
    for name in ("albedo.png", "normal.png", "roughness.png", "preview.png", "report.html", "report.json"):
        assert (out / name).exists(), name
    assert iio.imread(out / "albedo.png").shape == (256, 256, 3)


def test_synthesize_reports_its_progress_as_json_events(
    result: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    events = [json.loads(line) for line in result[1].stderr.splitlines()]
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_verify_agrees_with_what_synthesize_published(
    result: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    done = texsynth("verify", result[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert "every digest matches" in done.stdout


def test_view_serves_the_report_until_ctrl_c(result: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    with started("view", result[0], "--no-open") as process:
        assert process.stdout is not None
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        with urllib.request.urlopen(address, timeout=10) as answer:
            page = answer.read()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    link = b'<p><a href="/levels">Every mip level</a></p>'
    assert page.count(link) == 1
    assert page.replace(link, b"<!--levels-->") == (result[0] / "report.html").read_bytes()
    assert process.returncode == 0


@dataclasses.dataclass(frozen=True)
class Resumed:
    """A synthesis stopped by Ctrl-C, without --json, and the same command again with --resume."""

    out: Path
    status: int
    stdout: str
    stderr: str
    left_a_manifest: bool
    second: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def resumed(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    out = tmp_path_factory.mktemp("resumed") / "a result"
    command = ("synthesize", photo, "-o", out, "--size", 256, "--preset", "draft")
    with started(*command) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first stage has begun
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    left_a_manifest = (out / "material.json").exists()
    return Resumed(out, process.returncode, stdout, stderr, left_a_manifest, texsynth(*command, "--resume"))


def test_ctrl_c_is_status_130_and_the_last_line_says_how_to_resume(resumed: Resumed) -> None:
    assert (resumed.status, resumed.stdout, resumed.left_a_manifest) == (130, "", False)
    assert "--resume" in resumed.stderr.splitlines()[-1]


def test_a_resumed_run_gives_the_same_bytes(
    resumed: Resumed, result: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    assert resumed.second.returncode == 0, resumed.second.stderr
    for name in ("albedo.png", "normal.png", "roughness.png"):
        assert (resumed.out / name).read_bytes() == (result[0] / name).read_bytes(), name


def test_without_json_the_last_lines_say_where_the_result_is(resumed: Resumed) -> None:
    first, *rest = resumed.second.stdout.splitlines()
    assert first.startswith(f"{resumed.out}: done in ")
    assert f"  {resumed.out / 'report.html'}" in rest
    assert rest[-1].endswith(f"view '{resumed.out}'")
    notes = json.loads((resumed.out / "material.json").read_text())["notes"]
    assert notes and [line for line in rest if line.startswith("  note: ")] == [f"  note: {note}" for note in notes]
    assert resumed.second.stderr.startswith("texsynth:   0% load")
    assert not list(resumed.out.glob(".*")), "no working files are left"


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; it is ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "texsynth", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
