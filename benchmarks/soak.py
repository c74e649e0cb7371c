"""Nothing grows with time: a service under mixed calls, its memory, descriptors and threads watched.

    python benchmarks/soak.py [--minutes 30] [--clients 4]

Clients submit small jobs of every kind, watch them, cancel half-way, retry, delete, fetch, send bad requests and break
off streams; after each minute and a half they rest until no job is left, and a quarter of a minute more. Every second
the service and its worker are measured. After a warm-up of a fifth of the time nothing may grow: the slope of a line
through each curve, an hour, against its bar (through those of a worker and of the one that replaces it after 200 jobs
lines of one slope); of the memory through the ends of the rests: a job's own comes and goes, a worker keeps freed
memory for the next job until none follows, and a leak is what stays. Leaves results.json and soak.png in OUT.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from exemplars import generated
from reporting import Row, row, show, write_results
from service import Service
from texsynth_rpc.v1 import jobs_pb2

import grpc
from plugin_bridge.client import Client, JobFailed, ServiceError

EVERY = 1.0  # seconds between two measurements
CALLS = 90  # seconds from rest to rest
REST = 15  # seconds without a job: a worker gives freed memory back after ten
LEFT = (jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING)
BARS = {"memory": 20.0, "descriptors": 5.0, "threads": 2.0}  # growth an hour: MB, files, threads
WARM_UP = 0.2  # of the time: of the service, and of a worker that replaces another
UNITS = {"memory": "MB", "descriptors": "", "threads": ""}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=4, metavar="N")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/soak"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    exemplar = generated("gravel", Path("out/benchmarks/exemplars"))
    folder = Path(tempfile.mkdtemp(prefix="texsynth-soak-"))
    service = Service(folder / "data", "--keep-days", str(60 / 86400))
    counts = Counts()
    stop, awake = threading.Event(), threading.Event()
    callers = [
        threading.Thread(target=call, args=(service.address, exemplar, folder / str(k), k, stop, awake, counts))
        for k in range(arguments.clients)
    ]
    try:
        for caller in callers:
            caller.start()
        curves, rests = watch(service, arguments.minutes * 60, awake)
        stop.set()
        awake.set()
        for caller in callers:
            caller.join()
    finally:
        stop.set()
        awake.set()
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)
    plot(curves, arguments.out / "soak.png")  # also where there is too little for a summary
    rows = summary(curves, rests)
    show(f"soak, {arguments.minutes:g} min, {sum(counts.of.values())} calls", rows)
    write_results(arguments.out, "soak", arguments, rows, {"calls": counts.of, "curves": curves, "rests": rests})
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.of.items())))
    return 0 if counts.of and all(line.passed is not False for line in rows) else 1


@dataclass
class Counts:
    """How often each thing was done."""

    of: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str) -> None:
        with self.lock:
            self.of[name] = self.of.get(name, 0) + 1


def call(
    address: str,
    exemplar: Path,
    folder: Path,
    seed: int,
    stop: threading.Event,
    awake: threading.Event,
    counts: Counts,
) -> None:
    """One client's life, which goes on while `awake` is set."""
    chance = random.Random(seed)
    while not stop.is_set():
        with Client(address) as client:  # a new line now and then
            for _ in range(20):
                if stop.is_set():
                    return
                act = chance.choice(ACTS)
                try:
                    act(client, exemplar, folder, chance)
                except (ServiceError, JobFailed, grpc.RpcError, OSError) as error:
                    counts.add(f"{act.__name__} refused ({type(error).__name__})")
                else:
                    counts.add(act.__name__)
                stop.wait(0.1)
                awake.wait()


def finish(client: Client, exemplar: Path, folder: Path, chance: random.Random) -> None:
    job = client.synthesize(exemplar, size=64, preset="draft", seed=chance.randrange(1 << 30), target="quest3")
    client.wait(job.id)
    client.fetch(job.id, folder)
    texture = client.texture(job.id)
    client.part(job.id, texture.version, chance.choice(texture.maps[0].levels).sha256)
    client.delete(job.id)
    shutil.rmtree(folder)


def cancel(client: Client, exemplar: Path, folder: Path, chance: random.Random) -> None:
    job = client.synthesize(exemplar, size=512, preset="draft", seed=chance.randrange(1 << 30), batch=True)
    for event in client.watch(job.id):
        if event.progress.fraction > chance.random() * 0.5:
            break
    client.cancel(job.id)
    if chance.random() < 0.3:
        client.retry(job.id)
        client.cancel(job.id)


def late(client: Client, exemplar: Path, folder: Path, chance: random.Random) -> None:
    client.wait(client.synthesize(exemplar, size=256, preset="draft", deadline=0.5).id)


def measure(client: Client, exemplar: Path, folder: Path, chance: random.Random) -> None:
    job = client.measure(exemplar, exemplar)
    if chance.random() < 0.5:
        client.cancel(job.id)


def upload(client: Client, exemplar: Path, folder: Path, chance: random.Random) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "new.bin").write_bytes(chance.randbytes(chance.randrange(1 << 20)))
    client.upload(folder / "new.bin")


def ask(client: Client, exemplar: Path, folder: Path, chance: random.Random) -> None:
    for job, _ in zip(client.jobs(), range(20), strict=False):
        client.get(job.id)


def err(client: Client, exemplar: Path, folder: Path, chance: random.Random) -> None:
    client.get("no such job")


def break_off(client: Client, exemplar: Path, folder: Path, chance: random.Random) -> None:
    job = client.synthesize(exemplar, size=128, preset="draft", seed=chance.randrange(1 << 30))
    stream = client._jobs.Watch(jobs_pb2.WatchRequest(id=job.id))
    next(stream)
    stream.cancel()


ACTS = (finish, finish, cancel, late, measure, upload, ask, err, break_off)


def watch(service: Service, seconds: float, awake: threading.Event) -> tuple[dict[str, list[list[float]]], list[int]]:
    """[seconds, value, process] of each curve, measured until the time is over, and which of the values end a rest.

    `awake` is set but in the rests.
    """
    began, curves, rests = time.monotonic(), dict[str, list[list[float]]](), list[int]()
    awake.set()
    called = idle = began
    with Client(service.address) as client:
        while (now := time.monotonic()) < began + seconds:
            if awake.is_set():
                if now > called + CALLS:
                    awake.clear()
                idle = now
            elif any(job.state in LEFT for job in client.jobs()):
                idle = now
            elif now > idle + REST:
                rests.append(len(curves["service memory"]) - 1)
                awake.set()
                called = now
            time.sleep(EVERY)
            for name, process in (("service", service.process.pid), ("worker", child_of(service.process.pid))):
                for what, value in measured(process).items():
                    curves.setdefault(f"{name} {what}", []).append([time.monotonic() - began, value, process])
    return curves, rests


def child_of(process: int) -> int:
    """The worker, which may be replaced; the service itself while there is none."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(children[-1]) if children else process


def measured(process: int) -> dict[str, float]:
    folder = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return {
        "memory": float(status["VmRSS"].split()[0]) / 1e3,
        "descriptors": float(len(list((folder / "fd").iterdir()))),
        "threads": float(status["Threads"]),
    }


def summary(curves: dict[str, list[list[float]]], rests: list[int]) -> list[Row]:
    rows = []
    for name, curve in curves.items():
        what = name.split()[1]
        warm = curve[-1][0] * WARM_UP
        most = max(value for seconds, value, _ in curve if seconds >= warm)
        counted = [curve[at] for at in rests] if what == "memory" else curve
        slope = growth(curve, counted, warm)
        if slope is None:
            raise SystemExit(f"{name}: too few values after the warm-up: give more --minutes")
        unit, bar = f", {UNITS[what]}" if UNITS[what] else "", BARS[what]
        passes = partial(_none_above, bar)
        rows.append(row(f"{name} grows an hour{unit}", f"<= {bar:g}", [("", slope)], passes))
        rows.append(row(f"{name}, most{unit}", "-", [("", most)]))
    return rows


def growth(curve: list[list[float]], counted: list[list[float]], warm: float) -> float | None:
    """The slope, an hour, that lines through the `counted` values of each process have in common, each from `warm`
    seconds after the process began: a worker that replaced another starts anew. None for too few values."""
    born = {process: seconds for seconds, _, process in reversed(curve)}
    times, values, free = list[float](), list[float](), 0
    for process, first in born.items():
        settled = np.array([[t / 3600, value] for t, value, p in counted if p == process and t >= first + warm])
        if len(settled):
            middled = settled - settled.mean(axis=0)
            times, values, free = [*times, *middled[:, 0]], [*values, *middled[:, 1]], free + len(settled) - 1
    return float(np.dot(times, values) / np.dot(times, times)) if free > 1 else None


def _none_above(bar: float, values: list[float]) -> bool:
    return all(value <= bar for value in values)


def plot(curves: dict[str, list[list[float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(8, 7), sharex=True, constrained_layout=True)
    for axis, what in zip(axes, BARS, strict=True):
        for name, curve in curves.items():
            if name.endswith(what):
                times, values, _ = np.array(curve).T
                axis.plot(times / 60, values, label=name.split()[0])
        axis.set_ylabel(f"{what}, {UNITS[what]}" if UNITS[what] else what)
        axis.set_ylim(bottom=0)
        axis.legend()
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
