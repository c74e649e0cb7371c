"""Chunks over a line, in our order and in four simpler ones: what a viewer sees after each byte, and when.

    python benchmarks/streaming.py --meshes FOLDER [--data FOLDER] [--paths NAMES] [--rates MBIT ...]

A `texsynth serve` and the reference client stand in two network namespaces, joined by a pair of veth: its rate is tc's
token bucket (20, 100 and 1,200 Mbit/s), its delay of 5 ms each way a proxy's. The client follows recorded heads and
gazes (`camera_paths.py`) over four meshes and notes every chunk; what each of them showed is drawn afterwards
(`viewer.py`) and compared with the final view of the same moment by SSIM, over the windows that show a surface.
The textures are made once, at 2048 for quest3, and kept in OUT/data. Needs Linux with unshare, ip and tc, no rights.

What a headset's GPU does with the chunks is not run here. On a machine of few cores the 1,200 Mbit/s are not reached:
the rate that was is among the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from camera_paths import SCENE, CameraPath, load_paths
from exemplars import generated
from reporting import Row, contact_sheet, row, show, write_results
from service import Service
from shaped_link import Delay, Link, ended, run_apart
from texsynth_rpc.v1 import streams_pb2
from view_quality import GOOD, Arrival, Curve, Quality
from viewer import KINDS, TILE, Textures, feedback, load_map, load_scene, look

from mipmap.ktx2 import read_ktx2
from plugin_bridge.client import Client, ServiceError

SIZE = 2048
DELAY = 0.005  # seconds, each way
RATES = (20, 100, 1200)  # Mbit/s
WINDOW = 512 * 1024  # bytes that the service sends ahead of acknowledgements
CUTS, CROWD = 20, 64
ORDERS = {
    "ours": streams_pb2.ORDER_UNSPECIFIED,
    "view": streams_pb2.ORDER_VIEW,
    "coarse first": streams_pb2.ORDER_COARSE_FIRST,
    "entropy": streams_pb2.ORDER_ENTROPY,
    "raster": streams_pb2.ORDER_RASTER,
}
# Which material each surface gets: of the eval exemplars, or of the procedural ones.
MATERIALS = {
    "cabinet": ("ph_rosewood_veneer1", "wood"),
    "helmet": ("ph_rusty_metal_05", "rusty_metal"),
    "boombox": ("t3d_pebbles_024", "pebbles"),
    "tea": ("ph_fabric_pattern_07", "cloth"),
}
HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshes", type=Path, required=True, metavar="FOLDER", help="of the eval meshes")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of exemplars (default: procedural materials)")
    parser.add_argument("--paths", default="", metavar="NAMES", help="of benchmarks/paths, by commas (default: all)")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, metavar="MBIT", help="of the line, Mbit/s")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="where the plots go, too")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/streaming"))
    arguments = parser.parse_args()
    run_apart()
    paths, rates = load_paths(), tuple(arguments.rates)
    if arguments.paths:
        paths = tuple(path for path in paths if path.name in arguments.paths.split(","))
    folders = [folder for folder in (arguments.out, arguments.pictures) if folder]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    service = Service(arguments.out / "data", "--keep-days", "0")
    try:
        textures = show_scenes(service.address, arguments)
        scene = load_scene(arguments.meshes, SCENE)
        told = {path.name: [frame_of(pose, scene) for pose in path.frames] for path in paths}
        close = next(frame_of(path.frames[30], scene) for path in load_paths() if path.name == "around")
        with Link() as link:
            bench = Bench(service, link)
            logs = {
                (path.name, rate, order): bench.follow(path, told[path.name], rate, order)
                for rate in rates
                for path in paths
                for order in ORDERS
            }
            turns = [(f"{rate} Mbit/s", bench.turn(close, rate)) for rate in rates]
            cuts = bench.cut(arguments.out / "cut", textures_files(arguments.out))
        crowd = bench.crowd(close)
    finally:
        service.stop()
    runs = judged(logs, paths, scene, textures)
    rows = [*quality_rows(runs), *line_rows(logs, rates, turns), *service_rows(crowd, cuts)]
    show(f"streaming, {len(paths)} paths, {len(rates)} links", rows)
    for rate in rates:
        plot({(p, o): c for (p, r, o), c in runs.items() if r == rate}, rate, folders)
    sheet(logs, paths[-1], rates[0], scene, textures, arguments.out)
    details = {f"{p}, {r} Mbit/s, {o}": {"until": c.until, "points": c.points} for (p, r, o), c in runs.items()}
    write_results(arguments.out, "streaming", arguments, rows, {"curves": details, "crowd": crowd, "cuts": cuts})
    return 0 if all(line.passed is not False for line in rows) else 1


# --- what is shown --------------------------------------------------------------------------------------------------


def show_scenes(address: str, arguments: argparse.Namespace) -> Textures:
    """Makes the materials where they are not there yet, and shows them: scene "room", all of them, and "pair", one on
    two surfaces. Their maps, decoded."""
    with Client(address) as client:
        jobs = {surface: material(client, surface, arguments) for surface in MATERIALS}
        for surface, job in jobs.items():
            client.show("room", surface, job)
        for surface in ("left", "right"):
            client.show("pair", surface, jobs["boombox"])
    files = textures_files(arguments.out)
    return {s: {kind: load_map(files[f"{s}/{kind}"], kind) for kind in KINDS} for s in MATERIALS}


def material(client: Client, surface: str, arguments: argparse.Namespace) -> str:
    """The job that made a surface's material, whose files are fetched into OUT/materials."""
    named, procedural = MATERIALS[surface]
    exemplar = arguments.data / named if arguments.data else generated(procedural, arguments.out.parent / "exemplars")
    folder = arguments.out / "materials" / surface
    note = arguments.out / "materials" / f"{surface}.json"
    wanted = {"exemplar": str(exemplar.name), "size": SIZE}
    if note.exists():
        known = json.loads(note.read_text())
        try:
            client.get(known.pop("job"))
        except ServiceError:  # the service's data were removed
            known = {}
        if known == wanted:
            return str(json.loads(note.read_text())["job"])
    began = time.monotonic()
    job = client.synthesize(exemplar, size=SIZE, target="quest3", preset="draft")
    client.wait(job.id)
    shutil.rmtree(folder, ignore_errors=True)
    client.fetch(job.id, folder)
    note.write_text(json.dumps({**wanted, "job": job.id}))
    print(f"{surface}: {exemplar.name} in {time.monotonic() - began:.0f} s", flush=True)
    return str(job.id)


def textures_files(out: Path) -> dict[str, Path]:
    """The KTX2 file of each map, by "SURFACE/MAP"."""
    return {
        f"{surface}/{kind}": out / "materials" / surface / f"{kind}.ktx2" for surface in MATERIALS for kind in KINDS
    }


def frame_of(pose: Any, scene: Any) -> dict[str, Any]:
    """The feedback of a pose, as `stream_viewer` is told it."""
    table = feedback(look(scene, pose), scene, SIZE)
    tiles = {s: [[t.level, t.row, t.column, t.pixels, t.x, t.y] for t in some] for s, some in table.items()}
    return {"tiles": tiles, "gaze": pose.gaze}


# --- what is run ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """The service, and the line before it."""

    service: Service
    link: Link

    def follow(self, path: CameraPath, frames: list[dict[str, Any]], rate: int, order: str) -> list[Arrival]:
        task = {"scene": "room", "frames": frames, "every": path.every, "order": int(ORDERS[order]), "tile_side": TILE}
        arrivals = self._over_line("follow", task, rate)["arrivals"]
        print(f"{path.name}, {rate} Mbit/s, {order}: {arrivals[-1][1] / 1e6:.1f} MB", flush=True)
        return [Arrival(t, sent, path.at(t), texture, index) for t, sent, texture, index in arrivals]

    def turn(self, frame: dict[str, Any], rate: int) -> float:
        """Bytes between a change of gaze and the first chunk of what is looked at now."""
        tiles = [[0, r, c, TILE * TILE] for r in range(SIZE // TILE) for c in range(SIZE // TILE)]
        task = {
            "scene": "pair", "surfaces": ["left", "right"], "tiles": tiles, "after": 2_000_000, "tile_side": TILE,
        }  # fmt: skip
        return float(self._over_line("turn", task, rate)["bytes"])

    def cut(self, folder: Path, published: dict[str, Path]) -> dict[str, Any]:
        """Everything over a line that breaks CUTS times, against the published files."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.link.shape(100)
        total = sum(len(level) for path in published.values() for level in _levels(path))
        chance = random.Random(0)
        with Delay(self.service.address, DELAY) as delay:
            task = {"server": delay.address, "scene": "room", "folder": str(folder)}
            process = self._start("fetch", task, self.link.start)
            at, done = sorted(chance.sample(range(total), CUTS)), 0
            while process.poll() is None:
                if done < CUTS and delay.passed >= at[done]:
                    delay.cut()
                    done += 1
                time.sleep(0.002)
            streams = json.loads(ended(process, 60))["streams"]
            passed = delay.passed
        equal = [
            (name, float(_levels(folder / f"{name.replace('/', '_')}.ktx2") == _levels(path)))
            for name, path in published.items()
        ]
        shutil.rmtree(folder)
        return {"cuts": done, "streams": streams, "sent": passed, "needed": total, "equal": equal}

    def crowd(self, frame: dict[str, Any]) -> dict[str, Any]:
        """CROWD viewers at once over loopback."""
        before, cpu = self.service.memory(), self._cpu()
        task = {
            "server": self.service.address, "scene": "room", "frame": frame, "count": CROWD, "largest": SIZE // 2,
            "tile_side": TILE,
        }  # fmt: skip
        process = self._start("crowd", task, lambda command: subprocess.Popen(command, **PIPES))
        most = before
        while process.poll() is None:
            most = max(most, self.service.memory())
            time.sleep(0.1)
        found: dict[str, Any] = json.loads(ended(process, 60))
        return {**found, "cpu": self._cpu() - cpu, "memory_before": before, "memory": most}

    def _cpu(self) -> float:
        """Seconds of processor that the service has used."""
        fields = Path(f"/proc/{self.service.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _over_line(self, what: str, task: dict[str, Any], rate: int) -> dict[str, Any]:
        self.link.shape(rate)
        with Delay(self.service.address, DELAY) as delay:
            process = self._start(what, {"server": delay.address, **task}, self.link.start)
            found: dict[str, Any] = json.loads(ended(process, 120))
            return found

    def _start(self, what: str, task: dict[str, Any], start: Callable[[list[str]], Any]) -> Any:
        process = start([sys.executable, str(HERE / "stream_viewer.py"), what])
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        process.stdin = None
        return process


PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def _levels(path: Path) -> list[bytes]:
    """The blocks of each level; none where the file is missing."""
    if not path.exists():
        return []
    read = read_ktx2(path)
    return [read.level(number) for number in range(len(read.stored))]


# --- what came of it ------------------------------------------------------------------------------------------------

Key = tuple[str, int, str]
"""Path, Mbit/s, order."""


def judged(
    logs: dict[Key, list[Arrival]], paths: Sequence[CameraPath], scene: Any, textures: Textures
) -> dict[Key, Curve]:
    """The curve of every run."""
    found = {}
    for path in paths:
        quality = Quality(scene, textures, path.frames)
        for key, arrivals in logs.items():
            if key[0] == path.name:
                found[key] = quality.curve(arrivals)
        print(f"{path.name}: judged", flush=True)
    return {key: found[key] for key in logs}


def quality_rows(runs: dict[Key, Curve]) -> list[Row]:
    places = list(dict.fromkeys((path, rate) for path, rate, _ in runs))

    def against(other: str) -> list[tuple[str, float]]:
        found = []
        for path, rate in places:
            ours, theirs = (runs[path, rate, order] for order in ("ours", other))
            if ours.until is None:
                found.append((f"{path}, {rate}, ours never", float("inf")))
            else:  # what never was good in all its bytes would have needed more: the ratio is less than this
                needed = theirs.until[0] if theirs.until else theirs.points[-1][0]
                found.append((f"{path}, {rate}{'' if theirs.until else ', less'}", ours.until[0] / needed))
        return found

    def area(path: str, rate: int) -> dict[str, float]:
        shortest = min(curve.points[-1][0] for (p, r, _), curve in runs.items() if (p, r) == (path, rate))
        return {order: runs[path, rate, order].area(shortest) for order in ORDERS}

    areas = {place: area(*place) for place in places}
    best = [(f"{p}, {r}", float(max(found.values()) == found["ours"])) for (p, r), found in areas.items()]
    bars = (("raster", 0.25), ("coarse first", 0.65), ("entropy", 1.0))
    rows = [
        row(f"bytes until SSIM {GOOD}, ours / {other}", f"<= {bar}", against(other), _at_most(bar))
        for other, bar in bars
    ]
    rows.append(row(f"bytes until SSIM {GOOD}, ours / view", "-", against("view")))
    rows.append(row("area under quality over bytes: ours is best", "all", best, lambda v: min(v) == 1, lambda v: -v))
    for order in ORDERS:
        values = [(f"{p}, {r}", found[order]) for (p, r), found in areas.items()]
        rows.append(row(f"mean SSIM over the bytes, {order}", "-", values, None, lambda v: -v))
    reached = [(f"{p}, {r}", runs[p, r, "ours"].until) for p, r in places]
    rows.append(row(f"MB until SSIM {GOOD}, ours", "-", [(label, u[0] / 1e6) for label, u in reached if u]))
    rows.append(row(f"s until SSIM {GOOD}, ours", "-", [(label, u[1]) for label, u in reached if u]))
    return rows


def line_rows(logs: dict[Key, list[Arrival]], rates: Sequence[int], turns: Sequence[tuple[str, float]]) -> list[Row]:
    firsts = [
        (path, 1e3 * first_coarse(arrivals))
        for (path, rate, order), arrivals in logs.items()
        if (rate, order) == (20, "ours")
    ]
    rows = [
        row(
            "ms from nothing, no line yet, to the first whole coarse texture, 20 Mbit/s",
            "<= 150",
            firsts,
            _at_most(150),
        ),
        row("bytes from a change of gaze to its first chunk", f"<= {WINDOW}", turns, _at_most(WINDOW)),
    ]
    for rate in rates:
        speeds = [
            (f"{path}, {order}", arrivals[-1].sent * 8e-6 / arrivals[-1].seconds)
            for (path, r, order), arrivals in logs.items()
            if r == rate
        ]
        rows.append(row(f"Mbit/s of chunks on a line of {rate}", "-", speeds, None, lambda v: -v))
    return rows


def first_coarse(arrivals: Sequence[Arrival]) -> float:
    """Seconds until the mip tails of all maps of one surface were there."""
    there: dict[str, int] = {}
    for arrival in arrivals:
        if arrival.index == 0:
            surface = arrival.texture.partition("/")[0]
            there[surface] = there.get(surface, 0) + 1
            if there[surface] == len(KINDS):
                return arrival.seconds
    return float("inf")


def service_rows(crowd: dict[str, Any], cuts: dict[str, Any]) -> list[Row]:
    mean = float(np.mean(crowd["bytes"]))
    shares = [(str(number), taken / mean) for number, taken in enumerate(crowd["bytes"])]
    who = f"{CROWD} clients"
    lines = [
        row(f"{who}: share of the mean, when the first has all", ">= 0.5", shares, _at_least(0.5), lambda v: -v),
        row(f"{who}: MB/s together", "-", [("", crowd["total"] / 1e6 / crowd["all_seconds"])]),
        row(f"{who}: processor of the service, s a GB", "-", [("", crowd["cpu"] / (crowd["total"] / 1e9))]),
        row(f"{who}: MB of the service, and before", "-", [("with", crowd["memory"]), ("", crowd["memory_before"])]),
    ]
    return [
        *lines,
        row(f"bit-equal after {cuts['cuts']} cut lines", "all", cuts["equal"], _at_least(1.0), lambda v: -v),
        row("bytes over the line with cuts / needed", "-", [("", cuts["sent"] / cuts["needed"])]),
    ]


def _at_most(bar: float) -> Callable[[list[float]], bool]:
    return lambda values: max(values) <= bar


def _at_least(bar: float) -> Callable[[list[float]], bool]:
    return lambda values: min(values) >= bar


# --- pictures -------------------------------------------------------------------------------------------------------


def plot(curves: dict[tuple[str, str], Curve], rate: int, folders: Sequence[Path]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    paths = list(dict.fromkeys(path for path, _ in curves))
    figure, axes = pyplot.subplots(
        1, len(paths), figsize=(2.6 * len(paths) + 0.6, 2.8), sharey=True, constrained_layout=True, squeeze=False
    )
    for axis, path in zip(axes[0], paths, strict=True):
        for order in ORDERS:
            sent, _, quality = np.array(curves[path, order].points).T
            axis.plot(np.maximum(sent, 1e4) / 1e6, quality, label=order, linewidth=2 if order == "ours" else 1.2)
        axis.axhline(GOOD, color="grey", linewidth=0.6, linestyle=":")
        axis.set_xscale("log")
        axis.set_title(path, fontsize=10)
        axis.set_xlabel("MB")
    axes[0][0].set_ylabel("SSIM of the view")
    axes[0][-1].legend(fontsize=8, loc="lower right")
    for folder in folders:
        figure.savefig(folder / f"streaming_{rate}.png", dpi=90)
    pyplot.close(figure)


def sheet(
    logs: dict[Key, list[Arrival]], path: CameraPath, rate: int, scene: Any, textures: Textures, out: Path
) -> None:
    """What each order shows of the path's last view after so many megabytes."""
    quality, last = Quality(scene, textures, path.frames), len(path.frames) - 1
    cells = []
    for order in ORDERS:
        arrivals = logs[path.name, rate, order]
        line = []
        for megabytes in (0.2, 1, 4):
            some = [arrival for arrival in arrivals if arrival.sent <= megabytes * 1e6]
            label = f"{order}, {megabytes:g} MB: {quality.of(last, some):.3f}"
            line.append((label, quality.picture(last, some)))
        cells.append(line)
    contact_sheet(out / "sheet.png", cells, 512)


if __name__ == "__main__":
    raise SystemExit(main())
