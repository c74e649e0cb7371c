"""What the service costs: first event, a job against the command line, downloads, and a long queue.

    python benchmarks/service.py [--size 1024] [--repeats 5] [--queue 1000]

Against bounds, in one run: a job over the service against the same job by the command line's own function in a warm
process (its stages and files are the same, so the rest is what the service adds); a download against a bare grpcio
stream of the same bytes. Leaves results.json in OUT.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before its libraries are there
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
from exemplars import generated
from reporting import Row, row, show, write_results
from texsynth_rpc.services import DOWNLOAD_PIECE
from texsynth_rpc.v1 import assets_pb2, jobs_pb2

import grpc
from plugin_bridge.client import Client
from plugin_bridge.connection import OPTIONS
from texsynth.allocator import keep_freed_memory
from texsynth.options import Options
from texsynth.restyle import synthesize
from texsynth.run import Run

STREAMED = 256 << 20  # bytes of the download


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--queue", type=int, default=1000, metavar="N", help="jobs that wait")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/service"))
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command line and the worker do
    arguments.out.mkdir(parents=True, exist_ok=True)
    exemplar = generated("gravel", Path("out/benchmarks/exemplars"))
    folder = Path(tempfile.mkdtemp(prefix="texsynth-service-"))
    service = Service(folder / "data")
    try:
        with Client(service.address) as client:
            job = client.synthesize(exemplar, size=64, preset="draft")
            client.wait(job.id)  # the worker is warm
            first = {watchers: first_events(client, exemplar, watchers, arguments.repeats * 4) for watchers in (1, 50)}
            overhead = overheads(client, exemplar, arguments)
            downloads = download_ratios(client, folder, arguments.repeats)
            queued = queue(client, service, exemplar, arguments.queue)
        restart = service.restart()
    finally:
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)
    rows = summary(first, overhead, downloads, queued, restart, arguments)
    show(f"service, {arguments.size} px, gravel", rows)
    details = {"first": first, "overhead": overhead, "downloads": downloads, "queue": queued, "restart": restart}
    write_results(arguments.out, "service", arguments, rows, {str(key): value for key, value in details.items()})
    return 0 if all(line.passed is not False for line in rows) else 1


class Service:
    """A `texsynth serve` in a process of its own."""

    def __init__(self, data: Path, *more: str) -> None:
        self._data, self._more = data, more
        self._begin()

    def _begin(self) -> None:
        command = [sys.executable, "-m", "texsynth", "serve", "--listen", "127.0.0.1:0", "--data", str(self._data)]
        self.process = subprocess.Popen(
            [*command, "--queue", "100000", *self._more],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]

    def memory(self) -> float:
        """MB that the service (not its worker) holds."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1e3

    def restart(self) -> float:
        """Killed and started again: seconds until it answers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        began = time.monotonic()
        self._begin()
        with Client(self.address) as client:
            next(client.jobs())
        return time.monotonic() - began

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def first_events(client: Client, exemplar: Path, watchers: int, repeats: int) -> list[float]:
    """Milliseconds from Submit to the first event, on each of so many clients' lines."""
    given = client.input(exemplar)
    work = jobs_pb2.Work(
        synthesize=jobs_pb2.SynthesizeJob(exemplar=given, options=client.options_of(size=64, preset="draft"))
    )
    waited: list[float] = []
    for _ in range(repeats if watchers == 1 else 1):
        began = time.monotonic()
        job = client.submit(work)

        def watch(job: Any = job, began: float = began) -> None:
            next(iter(client.watch(job.id)))
            waited.append(1e3 * (time.monotonic() - began))

        threads = [threading.Thread(target=watch) for _ in range(watchers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.wait(job.id)
    return waited


def overheads(client: Client, exemplar: Path, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Seconds of the same job over the service and by the engine's function in this process, in turns."""
    measured = []
    for number in range(arguments.repeats + 1):  # the first one of each warms up
        began = time.monotonic()
        job = client.synthesize(exemplar, size=arguments.size, seed=number)
        client.wait(job.id)
        over_service = time.monotonic() - began
        folder = Path(tempfile.mkdtemp(prefix="texsynth-service-"))
        began = time.monotonic()
        synthesize(exemplar, folder, Options(size=arguments.size, seed=number), Run())
        alone = time.monotonic() - began
        shutil.rmtree(folder)
        measured.append({"service": over_service, "alone": alone})
    return measured[1:]


def download_ratios(client: Client, folder: Path, repeats: int) -> list[dict[str, float]]:
    """MB/s of a bare stream written to a file, of the service's stream read by the same loop, and of the client's
    download, which checks every piece and the whole; in turns."""
    (folder / "sent").write_bytes(os.urandom(STREAMED))
    digest = client.upload(folder / "sent")
    bare, address = bare_stream(folder / "sent")
    asked = assets_pb2.DownloadRequest(sha256=digest)

    def written(pieces: Iterable[bytes]) -> None:
        with (folder / "copy").open("wb") as file:
            for piece in pieces:
                file.write(piece)

    with grpc.insecure_channel(address, OPTIONS) as channel:
        stream = channel.unary_stream("/bare/Stream", lambda x: x, lambda x: x)
        ways = {
            "bare": lambda: written(stream(b"")),
            "stream": lambda: written(piece.data for piece in client._assets.Download(asked)),
            "client": lambda: client.download(digest, folder / "copy"),
        }
        measured = [{name: speed(way) for name, way in ways.items()} for _ in range(repeats + 1)]
    bare.stop(0)
    return measured[1:]  # the first one of each warms up


def speed(way: Callable[[], object]) -> float:
    """MB/s."""
    began = time.monotonic()
    way()
    return STREAMED / 1e6 / (time.monotonic() - began)


def bare_stream(path: Path) -> tuple[Any, str]:
    """A grpcio server that streams a file's bytes and does nothing else, and its address."""

    def stream(_: bytes, __: Any) -> Iterator[bytes]:
        with path.open("rb") as file:
            while data := file.read(DOWNLOAD_PIECE):
                yield data

    server = grpc.server(futures.ThreadPoolExecutor(2))
    handler = grpc.unary_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", {"Stream": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def queue(client: Client, service: Service, exemplar: Path, count: int) -> dict[str, float]:
    """Many jobs that wait: how fast they are taken, and the service's memory before and after."""
    given, before = client.input(exemplar), service.memory()
    began = time.monotonic()
    for number in range(count):
        options = client.options_of(size=4096, seed=number)
        job = jobs_pb2.SynthesizeJob(exemplar=given, options=options)
        client.submit(jobs_pb2.Work(synthesize=job), batch=True)
    return {"per_second": count / (time.monotonic() - began), "memory_before": before, "memory": service.memory()}


def summary(
    first: dict[int, list[float]],
    overhead: list[dict[str, float]],
    downloads: list[dict[str, float]],
    queued: dict[str, float],
    restart: float,
    arguments: argparse.Namespace,
) -> list[Row]:
    """The lines of the README."""
    added = [(str(n), m["service"] / m["alone"] - 1) for n, m in enumerate(overhead)]
    streams, clients = (
        [(str(n), m[which] / m["bare"]) for n, m in enumerate(downloads)] for which in ("stream", "client")
    )
    return [
        *(
            row(f"Submit to first event, ms, {n} watching, p{p}", "-", [("", float(np.percentile(values, p)))])
            for n, values in first.items()
            for p in (50, 99)
        ),
        row("job over the service, time added", "median <= 0.03", added, lambda v: float(np.median(v)) <= 0.03),
        row("stream of a file against a bare stream", "median >= 0.8", streams, lambda v: float(np.median(v)) >= 0.8),
        row("the client's download, every byte checked, against it", "-", clients),
        row("the client's download, MB/s", "-", [(str(n), m["client"]) for n, m in enumerate(downloads)]),
        row(f"{arguments.queue} jobs submitted, a second", "-", [("", queued["per_second"])]),
        row(
            "MB of the service with them, and before", "-", [("with", queued["memory"]), ("", queued["memory_before"])]
        ),
        row("killed with them, seconds until it answers again", "-", [("", restart)]),
    ]


if __name__ == "__main__":
    sys.exit(main())
