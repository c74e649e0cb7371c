"""What uploads cost a frame of the WebXR viewer, and its pictures as a texture sharpens.

    python benchmarks/webxr.py [--size 8192] [--pictures docs/pictures] [--parts pictures,uploads]

A plane with albedo, normal and roughness of 8192 texels for quest3 is streamed over loopback as fast as it goes to
headless Chromium with iwer's Quest 3, for 90 s or until all is on the GPU; the page measures each frame's uploads. Then
the demo's urn and a wall of 2048 texels come over a slow line, photographed when they are coarse, in the middle, and
sharp. Chromium draws with SwiftShader on the CPU, which decodes a whole level again for every part of it that changes:
what counts is the uploads' own time. Needs what `make test` installs; the second time the textures are there.
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
    arguments.out.mkdir(parents=True, exist_ok=True)
    with serving(arguments.out / "data") as (address, url), Client(address, patience=600) as client:
        if "uploads" in arguments.parts:
            show_large(client, arguments.out, arguments.size)
        if "pictures" in arguments.parts:
            show_room(client, arguments.out)
        command = [str(tools().node()), str(DRIVER), str(tools().chromium()), url, str(arguments.out)]
        command.append(arguments.parts)
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
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
    own = np.array([duration for _, duration, _ in told["uploads"]])
    gaps, idle = np.diff(told["frames"]), np.diff(told["idle"])

    def one(what: str, bar: str, value: float, most: float | None = None) -> Row:
        return row(what, bar, [("", float(value))], None if most is None else lambda v: max(v) <= most)

    def percent(values: Sequence[float], share: float) -> float:
        return float(np.percentile(values, share)) if len(values) else float("nan")

    return [
        one("uploads of a frame, p99, ms", "<= 2", percent(own, 99), 2.0),
        one("uploads of a frame, median, ms", "-", percent(own, 50)),
        one("uploads of a frame, most, ms", "-", own.max()),
        one(f"frames whose uploads alone took over {FRAME:.1f} ms", "0", (own > FRAME).sum(), 0),
        one("frames with uploads", "-", len(own)),
        one("kB in a frame with uploads, median", "-", percent([b for _, _, b in told["uploads"]], 50) / 1e3),
        one("from frame to frame while it streams, median, ms", "-", percent(gaps, 50)),
        one("from frame to frame without, median, ms", "-", percent(idle, 50)),
        one("MB", "-", told["bytes"] / 1e6),
        one("Mbit/s that reached the GPU", "-", 8 * told["bytes"] / told["seconds"] / 1e6),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
