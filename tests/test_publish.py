"""Published files decode to the texels of the canvas, are complete or absent, and are found out when they change."""

import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from mipmap.chain import level_sizes
from mipmap.material_chain import material_levels
from texsynth.canvas import Canvas
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.material import CHANNELS, MapKind
from texsynth.publish import file_entry, publish_maps, verify, withdraw, write_manifest
from texsynth.run import Progress, Run
from texsynth.storage import Storage

ROOT = Path(__file__).resolve().parent.parent
PNG, EXR = Storage(), Storage(container="exr")
KINDS = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)


def canvases_of(folder: Path, height: int, width: int, dtype: Any = np.uint8, seed: int = 0) -> dict[MapKind, Canvas]:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    canvases = {}
    for kind in KINDS:
        canvas = Canvas.create(folder / f"{kind}.raw", kind, height, width, CHANNELS[kind], dtype)
        shape = (height, width, CHANNELS[kind])
        canvas.write_rows(0, random.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype))
        canvases[kind] = canvas
    return canvases


def manifest_of(maps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    entry = maps["albedo"]
    return {
        "schema": 1,
        "name": "brick",
        "size": [entry["height"], entry["width"]],
        "maps": maps,
        "files": {},
        "estimated": [],
        "seed": 0,
        "options": {},
        "model": {},
        "notes": [],
        **changes,
    }


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A complete folder of 20 x 12 texels with one file besides the maps."""
    out = tmp_path / "out"
    maps = publish_maps(out, canvases_of(tmp_path / "work", 20, 12), PNG, Run())
    (out / "preview.png").write_bytes(b"a preview")
    write_manifest(out, manifest_of(maps, files={"preview.png": file_entry(out / "preview.png")}))
    return out


def levels_of(canvases: dict[MapKind, Canvas], **options: Any) -> dict[str, list[np.ndarray]]:
    return material_levels({kind: canvas.read_rows(0, canvas.height) for kind, canvas in canvases.items()}, **options)


def chunks_of(png: Path) -> list[tuple[bytes, bytes]]:
    data, at, chunks = png.read_bytes(), 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- what the files hold


@pytest.mark.parametrize(("height", "width"), [(37, 50), (64, 64), (1, 9), (300, 3)])
def test_every_published_level_decodes_in_opencv_to_the_texels_of_the_chain(
    tmp_path: Path, height: int, width: int
) -> None:
    canvases = canvases_of(tmp_path / "work", height, width)
    maps = publish_maps(tmp_path / "out", canvases, PNG, Run())
    for kind in canvases:
        entry = maps[kind]
        for item, texels in zip([entry, *entry["mips"]], levels_of(canvases)[kind], strict=True):
            decoded = cv2.imread(str(tmp_path / "out" / item["file"]), cv2.IMREAD_UNCHANGED)
            assert decoded is not None
            shown = decoded[..., None] if decoded.ndim == 2 else decoded[..., ::-1]
            assert shown.shape == (item["height"], item["width"], entry["channels"])
            assert (shown == texels).all()


def test_16_bit_maps_decode_to_the_same_texels_in_opencv(tmp_path: Path) -> None:
    canvases = canvases_of(tmp_path / "work", 33, 21, np.uint16)
    publish_maps(tmp_path / "out", canvases, PNG, Run())
    for kind, canvas in canvases.items():
        decoded = cv2.imread(str(tmp_path / "out" / f"{kind}.png"), cv2.IMREAD_UNCHANGED)
        assert decoded is not None
        assert decoded.dtype == np.uint16
        shown = decoded[..., None] if decoded.ndim == 2 else decoded[..., ::-1]
        assert (shown == canvas.read_rows(0, 33)).all()


def test_pillow_decodes_the_same_texels(published: Path, tmp_path: Path) -> None:
    canvases = canvases_of(tmp_path / "again", 20, 12)
    for kind, canvas in canvases.items():
        with Image.open(published / f"{kind}.png") as image:
            decoded = np.asarray(image).reshape(20, 12, CHANNELS[kind])
        assert (decoded == canvas.read_rows(0, 20)).all()


def test_the_albedo_says_that_it_is_srgb_and_the_other_maps_say_nothing_about_colour(published: Path) -> None:
    albedo = dict(chunks_of(published / "albedo.png"))
    assert albedo[b"sRGB"] == b"\0"
    assert struct.unpack(">I", albedo[b"gAMA"]) == (45455,)
    assert {b"sRGB", b"gAMA"} <= dict(chunks_of(published / "mips" / "albedo.1.png")).keys()
    for kind in ("normal", "roughness"):
        assert dict(chunks_of(published / f"{kind}.png")).keys() == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize(("height", "width"), [(50, 37), (16, 16), (1, 5)])
def test_exr_holds_the_half_floats_of_every_level(tmp_path: Path, height: int, width: int) -> None:
    canvases = canvases_of(tmp_path / "work", height, width)
    maps = publish_maps(tmp_path / "out", canvases, EXR, Run())
    for kind in canvases:
        entry = maps[kind]
        for item, texels in zip([entry, *entry["mips"]], levels_of(canvases, as_float=True)[kind], strict=True):
            with OpenEXR.File(str(tmp_path / "out" / item["file"]), separate_channels=True) as file:
                planes = {name: channel.pixels for name, channel in file.channels().items()}
            names = ["Y"] if entry["channels"] == 1 else ["R", "G", "B"]
            decoded = np.stack([planes[name] for name in names], axis=-1)
            assert decoded.dtype == np.float16
            assert (decoded == texels.astype(np.float16)).all()
    assert maps["albedo"]["colour_space"] == "linear"
    assert maps["albedo"]["bits"] == 16


def test_a_constant_map_is_compressed_and_reads_back_as_exr(tmp_path: Path) -> None:
    canvas = Canvas.create(tmp_path / "a.raw", MapKind.ROUGHNESS, 40, 64, 1)
    maps = publish_maps(tmp_path, {MapKind.ROUGHNESS: canvas}, EXR, Run())
    assert maps["roughness"]["bytes"] < 40 * 64 * 2 / 4
    with OpenEXR.File(str(tmp_path / "roughness.exr"), separate_channels=True) as file:
        assert not file.channels()["Y"].pixels.any()


def test_the_roughness_of_published_mips_takes_up_the_bumps_that_their_normals_lose(tmp_path: Path) -> None:
    canvases = canvases_of(tmp_path / "work", 16, 16)
    canvases[MapKind.ROUGHNESS].write_rows(0, np.full((16, 16, 1), 50, np.uint8))
    for name, normals in (("bumpy", canvases[MapKind.NORMAL].read_rows(0, 16)), ("flat", None)):
        if normals is None:
            flat = np.broadcast_to(np.array([128, 128, 255], np.uint8), (16, 16, 3))
            canvases[MapKind.NORMAL].write_rows(0, np.ascontiguousarray(flat))
        publish_maps(tmp_path / name, canvases, PNG, Run())
    bumpy, flat_mip = (cv2.imread(str(tmp_path / name / "mips" / "roughness.2.png"), -1) for name in ("bumpy", "flat"))
    assert bumpy is not None and flat_mip is not None
    assert (flat_mip == 50).all()
    assert (bumpy > 100).all()


# --- the manifest


def test_the_manifest_describes_every_map_and_every_level(published: Path) -> None:
    manifest = json.loads((published / "material.json").read_text())
    albedo, normal = manifest["maps"]["albedo"], manifest["maps"]["normal"]
    assert {key: albedo[key] for key in ("file", "width", "height", "channels", "bits", "format", "colour_space")} == {
        "file": "albedo.png",
        "width": 12,
        "height": 20,
        "channels": 3,
        "bits": 8,
        "format": "png",
        "colour_space": "srgb",
    }
    assert (albedo["normal_convention"], normal["normal_convention"]) == (None, "opengl")
    assert manifest["maps"]["roughness"]["colour_space"] == "linear"
    assert [(m["level"], m["file"], m["height"], m["width"]) for m in albedo["mips"]] == [
        (level, f"mips/albedo.{level}.png", *size) for level, size in enumerate(level_sizes(20, 12)) if level
    ]


def test_a_published_folder_verifies_and_holds_nothing_else(published: Path) -> None:
    assert verify(published) == []
    mips = {f"mips/{kind}.{level}.png" for kind in KINDS for level in range(1, len(level_sizes(20, 12)))}
    assert files_in(published) == mips | {f"{kind}.png" for kind in KINDS} | {"preview.png", "material.json"}


def test_the_same_canvases_give_the_same_bytes(published: Path, tmp_path: Path) -> None:
    again = publish_maps(tmp_path / "again", canvases_of(tmp_path / "work2", 20, 12), PNG, Run())
    assert again == json.loads((published / "material.json").read_text())["maps"]


def test_a_manifest_that_breaks_the_schema_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no notes of type list"):
        write_manifest(tmp_path, {**manifest_of({"albedo": {"height": 1, "width": 1}}), "notes": None})
    assert list(tmp_path.iterdir()) == []


# --- verify


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["albedo.png", "mips/normal.2.png", "mips/roughness.4.png", "preview.png"])
@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (Path.unlink, "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "altered"),
        (flip_byte, "altered"),
    ],
    ids=["removed", "one byte short", "one byte more", "one bit flipped"],
)
def test_verify_names_a_harmed_file_in_one_line(
    published: Path, name: str, harm: Callable[[Path], Any], word: str
) -> None:
    harm(published / name)
    problems = verify(published)
    assert len(problems) == 1
    assert problems[0].startswith(f"{name}: {word}")


def test_verify_names_every_harmed_file(published: Path) -> None:
    flip_byte(published / "albedo.png")
    (published / "mips" / "normal.1.png").unlink()
    assert [line.split(":")[0] for line in verify(published)] == ["albedo.png", "mips/normal.1.png"]


def test_verify_names_files_in_mips_that_the_manifest_does_not_list(published: Path) -> None:
    (published / "mips" / "albedo.99.png").write_bytes(b"")
    assert verify(published) == ["mips/albedo.99.png: not listed in material.json"]


def test_verify_overlooks_the_temporary_file_of_a_later_run_that_was_killed(published: Path) -> None:
    (published / "mips" / ".albedo.1.png.123.tmp").write_bytes(b"half")
    assert verify(published) == []


def test_a_folder_without_a_manifest_holds_nothing_published(published: Path) -> None:
    withdraw(published)
    assert verify(published) == ["material.json: No such file or directory; nothing complete is published here"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"schema": ' + b"9" * 5000 + b"}", b" " * (17 << 20)],
    ids=["empty", "cut off", "not text", "deeply nested", "huge number", "too long"],
)
def test_a_manifest_that_is_not_json_is_one_line(published: Path, content: bytes) -> None:
    (published / "material.json").write_bytes(content)
    problems = verify(published)
    assert len(problems) == 1
    assert problems[0].startswith("material.json: not readable as JSON")
    assert "\n" not in problems[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda m: m.update(schema=2), "schema is 2"),
        (lambda m: m.pop("schema"), "schema is None"),
        (lambda m: m.pop("maps"), "no maps of type dict"),
        (lambda m: m.update(seed=True), "no seed of type int"),
        (lambda m: m["maps"].update(colour={}), "'colour' is not a kind of map"),
        (lambda m: m["maps"]["albedo"].pop("sha256"), "map albedo has no sha256"),
        (lambda m: m["maps"]["albedo"].update(bytes="7"), "map albedo has no bytes of type int"),
        (lambda m: m["maps"]["albedo"]["mips"].append(3), "mip of albedo is not an object"),
        (lambda m: m["files"].update({"a\nb": None}), r"file 'a\nb' is not an object"),
    ],
)
def test_a_manifest_of_another_schema_is_named(published: Path, change: Callable[[Any], Any], word: str) -> None:
    manifest = json.loads((published / "material.json").read_text())
    change(manifest)
    (published / "material.json").write_text(json.dumps(manifest))
    problems = verify(published)
    assert any(word in problem for problem in problems)
    assert not any("\n" in problem for problem in problems)


@pytest.mark.parametrize("content", ["3", "null", "[]", '"text"'])
def test_a_manifest_that_is_no_object_is_named(published: Path, content: str) -> None:
    (published / "material.json").write_text(content)
    assert verify(published) == ["material.json: the manifest is not an object"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("../secret", "leads out of the folder"),
        ("/etc/hostname", "leads out of the folder"),
        ("mips/../../secret", "leads out of the folder"),
        ("elsewhere/secret", "leads out of the folder"),
        ("link", "symbolic links"),
        ("", "not a regular file"),
        ("mips", "not a regular file"),
        ("pipe", "not a regular file"),
        ("a\0b", "cannot be the name"),
        ("\ud800", "cannot be the name"),
        ("x" * 300, "too long"),
        ("preview.png/x", "Not a directory"),
    ],
)
def test_a_listed_name_that_is_no_file_of_the_folder_is_refused(published: Path, name: str, word: str) -> None:
    (published.parent / "elsewhere").mkdir()
    for secret in (published.parent / "secret", published.parent / "elsewhere" / "secret"):
        secret.write_bytes(b"secret")
    (published / "elsewhere").symlink_to(published.parent / "elsewhere")
    (published / "link").symlink_to(published.parent / "secret")
    os.mkfifo(published / "pipe")
    manifest = json.loads((published / "material.json").read_text())
    manifest["files"][name] = file_entry(published.parent / "secret")
    (published / "material.json").write_text(json.dumps(manifest))
    problems = verify(published)
    assert len(problems) == 1
    assert word in problems[0]
    problems[0].encode()


def test_verify_of_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert len(verify(tmp_path / "missing")) == 1


def test_a_digest_of_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match=r"preview\.png: No such file"):
        file_entry(tmp_path / "preview.png")


# --- complete or absent


def test_progress_runs_from_start_to_end(tmp_path: Path) -> None:
    events: list[Progress] = []
    run = Run(listener=events.append)
    with run.stage("publish", 0.5, 1.0):
        publish_maps(tmp_path / "out", canvases_of(tmp_path / "work", 64, 64), PNG, run)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_cancelling_leaves_the_earlier_result_as_it_was(published: Path, tmp_path: Path) -> None:
    before = {name: (published / name).read_bytes() for name in files_in(published)}
    run = Run()
    run.cancel()
    with pytest.raises(TexsynthError) as caught:
        publish_maps(published, canvases_of(tmp_path / "new", 64, 64), PNG, run)
    assert caught.value.kind is ErrorKind.CANCELLED
    assert {name: (published / name).read_bytes() for name in files_in(published)} == before


def test_a_canvas_that_was_cut_short_leaves_the_earlier_result_as_it_was(published: Path, tmp_path: Path) -> None:
    before = files_in(published)
    canvases = canvases_of(tmp_path / "new", 64, 64)
    os.truncate(canvases[MapKind.NORMAL].path, 5000)
    with pytest.raises(TexsynthError, match=r"normal\.raw") as caught:
        publish_maps(published, canvases, PNG, Run())
    assert caught.value.kind is ErrorKind.CORRUPT
    assert verify(published) == []
    assert files_in(published) == before


def test_a_smaller_result_with_fewer_maps_replaces_a_larger_one_completely(published: Path, tmp_path: Path) -> None:
    canvases = canvases_of(tmp_path / "new", 4, 4)
    maps = publish_maps(published, {MapKind.ALBEDO: canvases[MapKind.ALBEDO]}, EXR, Run())
    write_manifest(published, manifest_of(maps))
    assert verify(published) == []
    assert files_in(published) == {
        "albedo.exr",
        "mips/albedo.1.exr",
        "mips/albedo.2.exr",
        "material.json",
    }


def test_files_that_no_manifest_lists_are_not_touched(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "mips").mkdir(parents=True)
    theirs = ("metalness.png", "mips/notes.txt", "asset.glb", "report.html")
    for name in theirs:
        (out / name).write_bytes(b"the user's own")
    publish_maps(out, canvases_of(tmp_path / "work", 4, 4), PNG, Run())
    assert {*theirs} <= files_in(out)


def test_of_what_a_manifest_lists_only_names_of_ours_are_ever_removed(published: Path, tmp_path: Path) -> None:
    names = ("notes.txt", "../outside.txt", "mips/notes.txt")
    manifest = json.loads((published / "material.json").read_text())
    for name in names:
        (published / name).write_bytes(b"the user's own")
        manifest["files"][name] = file_entry(published / name)
    write_manifest(published, manifest)
    publish_maps(published, canvases_of(tmp_path / "new", 4, 4), PNG, Run())
    assert all((published / name).read_bytes() == b"the user's own" for name in names)


def test_leftovers_of_a_killed_process_are_removed_and_those_of_a_living_one_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "mips").mkdir(parents=True)
    for name in (".albedo.png.1.tmp", "mips/.albedo.1.png.1.tmp", ".report.html.1.tmp", ".mine.tmp"):
        (out / name).write_bytes(b"half")
    script = "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    living = out / ".normal.png.2.tmp"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(living)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        publish_maps(out, canvases_of(tmp_path / "work", 4, 4), PNG, Run())
        left = {name for name in files_in(out) if name.endswith(".tmp")}
        process.communicate("\n")
    assert left == {".normal.png.2.tmp", ".mine.tmp"}


def test_an_output_folder_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(TexsynthError, match="out") as caught:
        publish_maps(tmp_path / "out", canvases_of(tmp_path / "work", 4, 4), PNG, Run())
    assert caught.value.kind is ErrorKind.BAD_INPUT


def test_a_folder_in_the_place_of_a_map_is_bad_input_and_leaves_no_temporary(tmp_path: Path) -> None:
    (tmp_path / "out" / "albedo.png" / "inside").mkdir(parents=True)
    with pytest.raises(TexsynthError):
        publish_maps(tmp_path / "out", canvases_of(tmp_path / "work", 4, 4), PNG, Run())
    assert not [name for name in files_in(tmp_path / "out") if name.endswith(".tmp")]


def test_canvases_of_different_sizes_are_refused(tmp_path: Path) -> None:
    canvases = canvases_of(tmp_path / "work", 4, 4) | {
        MapKind.HEIGHT: Canvas.create(tmp_path / "h.raw", MapKind.HEIGHT, 4, 5, 1)
    }
    with pytest.raises(ValueError, match="one size"):
        publish_maps(tmp_path / "out", canvases, PNG, Run())


def test_several_results_may_be_published_at_once_by_one_process(tmp_path: Path) -> None:
    def publish(index: int) -> None:
        canvases = canvases_of(tmp_path / f"work{index}", 40, 30, seed=index)
        maps = publish_maps(tmp_path / f"out{index}", canvases, PNG, Run())
        write_manifest(tmp_path / f"out{index}", manifest_of(maps))

    threads = [threading.Thread(target=publish, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [verify(tmp_path / f"out{index}") for index in range(4)] == [[], [], [], []]


# --- full disks and kills, in child processes

PRELUDE = """
    import json, os, resource, signal, sys, time
    from pathlib import Path
    import numpy as np
    from texsynth.canvas import Canvas
    from texsynth.errors import TexsynthError
    from texsynth.material import CHANNELS, MapKind
    from texsynth.publish import publish_maps, verify, write_manifest
    from texsynth.storage import Storage
    from texsynth.run import Run

    def canvases_of(folder, size, kinds):
        folder.mkdir(parents=True, exist_ok=True)
        made = {kind: Canvas.create(folder / kind, kind, size, size, CHANNELS[kind]) for kind in kinds}
        for kind, canvas in made.items():
            canvas.write_rows(0, np.random.default_rng(size).integers(0, 256, (size, size, CHANNELS[kind]), np.uint8))
        return made

    def publish(out, canvases):
        maps = publish_maps(out, canvases, Storage(), Run())
        size = next(iter(canvases.values())).height
        write_manifest(out, {"schema": 1, "name": "x", "size": [size, size], "maps": maps, "files": {}, "seed": 0,
                             "estimated": [], "options": {}, "model": {}, "notes": []})

    def files_in(out):
        return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())

    work, out = Path(sys.argv[1]), Path(sys.argv[2])
    small = canvases_of(work / "small", 16, [MapKind.ALBEDO, MapKind.METALNESS])
    large = canvases_of(work / "large", 128, [MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS])
"""


def run_script(script: str, work: Path, out: Path, prefix: tuple[str, ...] = ()) -> Any:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(script), str(work), str(out)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# What a full disk is here: a limit on the size of a file, which needs no rights, and a small tmpfs where the machine
# lets a test mount one.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def tmpfs_can_be_mounted() -> bool:
    if shutil.which("unshare") is None:
        return False
    trial = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return trial.returncode == 0


FULL_DISKS = {"file size limit": "File too large"} | ({"tmpfs": "the disk is full"} if tmpfs_can_be_mounted() else {})


@pytest.mark.parametrize("disk", list(FULL_DISKS))
def test_a_full_disk_is_one_line_keeps_the_earlier_result_and_passes_once_there_is_space(
    tmp_path: Path, disk: str
) -> None:
    script = """
        publish(out, small)
        before = files_in(out)
        LIMIT
        try:
            publish(out, large)
            error = ""
        except TexsynthError as failure:
            error = str(failure)
        kept, problems = files_in(out) == before, verify(out)
        RELIEF
        publish(out, large)
        print(json.dumps({"error": error, "kept": kept, "before": problems, "after": verify(out),
                          "temporary": [name for name in files_in(out) if name.endswith(".tmp")]}))
    """
    prefix: tuple[str, ...] = ()
    (tmp_path / "out").mkdir()
    if disk == "tmpfs":
        mount = f'mount -t tmpfs -o size=100k,nr_inodes=1000 tmpfs "{tmp_path}/out" && exec "$@"'
        prefix = (*NAMESPACE, "sh", "-c", mount, "sh")
        limit, relief = "", f'os.system("mount -o remount,size=9m {tmp_path}/out")'
    else:
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (30000, resource.RLIM_INFINITY))"
        relief = "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))"
    script = script.replace("LIMIT", limit).replace("RELIEF", relief)
    got = run_script(script, tmp_path / "work", tmp_path / "out", prefix)
    assert FULL_DISKS[disk] in got["error"]
    assert ".png" in got["error"]
    assert "\n" not in got["error"]
    assert (got["kept"], got["before"], got["after"], got["temporary"]) == (True, [], [], [])


# The kills fork one warm process, so that 60 of them take seconds: each child publishes `large` over a complete
# `small`, dies, and the folder is looked at; then the same run again must end well.
KILLS = """
    import random, shutil
    publish(work / "whole", large)
    expected = files_in(work / "whole")
    random.seed(0)

    def killed(fault=None, delay=None):
        shutil.rmtree(out, ignore_errors=True)
        publish(out, small)
        child = os.fork()
        if child == 0:
            if fault:
                os.environ["TEXSYNTH_FAULT"] = fault
            publish(out, large)
            os._exit(0)
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        absent = not (out / "material.json").exists()
        result = {"fault": fault, "died": os.WIFSIGNALED(status), "absent": absent,
                  "problems": [] if absent else verify(out), "finals": [n for n in files_in(out) if ".tmp" not in n]}
        publish(out, large)
        there = files_in(out)
        result |= {"after": verify(out), "differ": sorted({*there} ^ {*expected}) + [
            name for name in expected if name in there
            and (out / name).read_bytes() != (work / "whole" / name).read_bytes()]}
        return result

    began = time.monotonic(); publish(out, large); length = time.monotonic() - began
"""


def test_a_kill_at_every_fault_point_leaves_a_complete_result_or_none(tmp_path: Path) -> None:
    files = 3 * len(level_sizes(128, 128))
    faults = [
        "publish_band:1",
        "publish_band:3",
        "before_rename:1",
        "after_withdraw:1",
        "after_rename:1",
        f"after_rename:{files}",
        "before_manifest:1",
        "after_manifest:1",
    ]
    script = f"{KILLS}\n    print(json.dumps([killed(fault=fault) for fault in {faults!r}]))"
    results = run_script(script, tmp_path / "work", tmp_path / "out")
    assert [result["fault"] for result in results if result["died"]] == faults
    assert [result["absent"] for result in results] == [False, False, False, True, True, True, True, False]
    assert [result for result in results if result["problems"] or result["after"] or result["differ"]] == []


def test_50_kills_at_random_times_leave_a_complete_result_or_none(tmp_path: Path) -> None:
    script = f"{KILLS}\n    print(json.dumps([killed(delay=random.uniform(0, 1.3 * length)) for _ in range(50)]))"
    results = run_script(script, tmp_path / "work", tmp_path / "out")
    assert [result for result in results if result["problems"] or result["after"] or result["differ"]] == []
    assert sum(result["died"] for result in results) >= 10


@pytest.mark.parametrize("setting", ["before_rename", "before_rename:0", "before_rename:x", ":3"])
def test_a_malformed_fault_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("TEXSYNTH_FAULT", setting)
    with pytest.raises(TexsynthError, match="name:count"):
        publish_maps(tmp_path / "out", canvases_of(tmp_path / "work", 4, 4), PNG, Run())


def test_memory_stays_flat_however_large_the_maps(tmp_path: Path) -> None:
    """A map of 50 MB and its mips pass through a child process that has published a small one before."""
    script = """
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        publish(out, large)
        canvas = Canvas.create(work / "huge", MapKind.ALBEDO, 4096, 4096, 3)
        before = peak()
        publish(out, {MapKind.ALBEDO: canvas})
        print(json.dumps(peak() - before))
    """
    assert run_script(script, tmp_path / "work", tmp_path / "out") < 30 << 10
