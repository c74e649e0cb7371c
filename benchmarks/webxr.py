"""What uploads cost a frame of the WebXR viewer, and its pictures as a texture sharpens.

    python benchmarks/webxr.py [--size 8192] [--pictures docs/pictures] [--parts pictures,uploads]

A plane with albedo, normal and roughness of 8192 texels for quest3 is streamed over loopback as fast as it goes to
headless Chromium with iwer's Quest 3, for four minutes or until all is on the GPU. Chromium's own trace tells what each
frame and its uploads took, by the clock and of the time of the page's main thread: on a machine of few cores the thread
waits for one in the middle of an upload, and what it waits is no cost of uploads. Chromium draws with SwiftShader, on
the CPU, which decodes a whole level again for every part of it that changes: so the viewer looks away first, and at the
plane the second time. Then the demo's urn and a wall of 2048 texels come over a slow line, photographed when they are
coarse, in the middle, and sharp. Needs what `make test` installs; the second time the textures are there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from exemplars import generated
from numpy.typing import NDArray
from page import beside, serving, tools
from reporting import Row, row, show, write_results
from texsynth_rpc.v1 import jobs_pb2

from plugin_bridge.client import Client
from texsynth.sample_asset import write_sample_asset

KINDS = ("albedo", "normal", "roughness")
STATES = ("coarse", "middle", "sharp")
FRAME = 1000 / 90  # milliseconds
DRIVER = Path(__file__).with_name("webxr.mjs")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="texels a side")
    parser.add_argument("--parts", default="pictures,uploads", help="which are done")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="where the picture goes, too")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/webxr"))
    arguments = parser.parse_args()
    for folder in filter(None, (arguments.out, arguments.pictures)):
        folder.mkdir(parents=True, exist_ok=True)
    with serving(arguments.out / "data") as (address, url), Client(address, patience=600) as client:
        if "uploads" in arguments.parts:
            show_large(client, arguments.out, arguments.size)
        if "pictures" in arguments.parts:
            show_room(client, arguments.out)
        command = [str(tools().node()), str(DRIVER), str(tools().chromium()), url, str(arguments.out)]
        command.append(arguments.parts)
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    rows = summary(told["uploads"]) if "uploads" in told else []
    show(f"webxr, {arguments.size} x {arguments.size}, {', '.join(KINDS)}", rows)
    write_results(arguments.out, "webxr", arguments, rows, told)
    if arguments.pictures:
        shots = [cv2.imread(str(arguments.out / f"{state}.png")) for state in STATES]
        cv2.imwrite(str(arguments.pictures / "viewer.jpg"), beside(shots, 400), [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(", ".join(f"{state} {sent / 1e3:.0f} kB" for state, sent in told.get("pictures", {}).items()))
    return 0 if all(line.passed is not False for line in rows) else 1


def show_large(client: Client, out: Path, size: int) -> None:
    """Scene "large": a plane with a tiled material."""
    if client.scene("large"):
        return
    source = client.input(tiled(generated("stone_wall", out.parent / "exemplars"), size, out / "tiled"))
    work = jobs_pb2.Work(mips=jobs_pb2.MipsJob(source=source, target="quest3"))
    client.show("large", "wall", client.wait(client.submit(work).id).id)
    shutil.rmtree(out / "tiled")


def show_room(client: Client, out: Path) -> None:
    """Scene "room": the demo's urn, restyled, and a wall."""
    if client.scene("room"):
        return
    options: dict[str, Any] = {"size": 2048, "preset": "draft", "target": "quest3"}
    stone, marble = (generated(kind, out.parent / "exemplars") for kind in ("stone_wall", "marble"))
    jobs = {
        "urn": client.restyle(write_sample_asset(out / "urn"), marble, **options),
        "wall": client.synthesize(stone, **options),
    }
    for surface, job in jobs.items():
        client.show("room", surface, client.wait(job.id).id)


def tiled(exemplar: Path, size: int, folder: Path) -> Path:
    """A material repeated to `size` texels a side: what it shows does not matter here, how large it is does."""
    folder.mkdir(exist_ok=True)
    for kind in KINDS:
        texels = cv2.imread(str(next(exemplar.glob(f"{kind}.*"))), cv2.IMREAD_UNCHANGED)
        times = [-(-size // side) for side in texels.shape[:2]] + [1] * (texels.ndim - 2)
        large = np.tile(texels, times)[:size, :size]
        cv2.imwrite(str(folder / f"{kind}.png"), large, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return folder


def summary(told: dict[str, Any]) -> list[Row]:
    away, seen = told["away"], told["seen"]
    return [*uploads(away, "looking away"), *uploads(seen, "drawn by the CPU between"), *pace(away, seen)]


def uploads(run: dict[str, Any], how: str) -> list[Row]:
    """What the uploads of a frame took. own: of the time of the page's thread; wall: by the clock."""
    frames = [frame for frame in run["frames"] if frame["bytes"]]
    own, wall = (np.array([frame["uploads"][clock] for frame in frames]) for clock in ("own", "wall"))
    return [
        one(f"uploads of a frame, the thread's own time, p99, ms, {how}", "<= 2", percent(own, 99), 2.0),
        one(f"median, ms, {how}", "-", percent(own, 50)),
        one(f"most, ms, {how}", "-", own.max()),
        one(f"of that V8's collection of garbage, {how}", "-", frames[own.argmax()]["uploads"]["garbage"]),
        one(f"by the clock, with waiting for a processor, p99, ms, {how}", "-", percent(wall, 99)),
        one(f"frames over {FRAME:.1f} ms by their uploads, own time, {how}", "0", caused(frames, "own"), 0),
        one(f"the same by the clock, {how}", "-", caused(frames, "wall")),
        one(f"frames over {FRAME:.1f} ms, by the clock, {how}", "-", sum(frame["wall"] > FRAME for frame in frames)),
        one(f"frames with uploads, {how}", "-", len(frames)),
        one(f"kB in a frame with uploads, median, {how}", "-", percent([frame["bytes"] for frame in frames], 50) / 1e3),
    ]


def caused(frames: Sequence[dict[str, Any]], clock: str) -> int:
    """Frames whose work in the page took longer than a frame has, and would not have without their uploads."""
    return sum(frame[clock] > FRAME >= frame[clock] - frame["uploads"][clock] for frame in frames)


def pace(away: dict[str, Any], seen: dict[str, Any]) -> list[Row]:
    """From frame to frame, and megabits."""
    begins = {how: [frame["begin"] for frame in run["frames"]] for how, run in (("away", away), ("seen", seen))}
    return [
        one("from frame to frame while it streams, looking away, median, ms", "-", between(begins["away"])),
        one("the same, drawn by the CPU, median, ms", "-", between(begins["seen"])),
        one("from frame to frame afterwards, drawn by the CPU, median, ms", "-", between(seen["idle"])),
        one("MB, looking away", "-", away["bytes"] / 1e6),
        one("MB, drawn by the CPU", "-", seen["bytes"] / 1e6),
        one("Mbit/s of chunks, looking away", "-", 8 * away["bytes"] / away["seconds"] / 1e6),
    ]


def between(begins: Sequence[float]) -> float:
    """The median, of times in their order."""
    return percent(np.diff(begins), 50)


def one(what: str, bar: str, value: float, most: float | None = None) -> Row:
    """A figure of one run."""
    return row(what, bar, [("", float(value))], None if most is None else lambda values: max(values) <= most)


def percent(values: Sequence[float] | NDArray[np.float64], share: float) -> float:
    """The value below which so many in a hundred lie; NaN of none."""
    return float(np.percentile(values, share)) if len(values) else float("nan")


if __name__ == "__main__":
    raise SystemExit(main())
