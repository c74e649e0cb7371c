"""A `texsynth serve` in a process of its own, and what tests ask of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from texsynth_rpc.certificates import generate_certificates
from texsynth_rpc.gate import new_token
from texsynth_rpc.v1 import jobs_pb2

from plugin_bridge.client import Client

ROOT = Path(__file__).resolve().parent.parent.parent
QUICK = {"size": 64, "preset": "draft"}
LONG = {"size": 256, "preset": "draft"}  # a second or more, most of it before a fifth of it is said to be done


class Server:
    """A `texsynth serve` of its own."""

    def __init__(
        self, data: Path, *more: str, environment: dict[str, str] | None = None, before: Sequence[str] = (),
        stderr: Any = None, program: Sequence[str] = ("-m", "texsynth"),
    ) -> None:  # fmt: skip
        """before: a command that runs the one after it. program: what Python runs."""
        self.data = data
        listen = ["--listen", "127.0.0.1:0", "--data", str(data)]
        command = [*before, sys.executable, *program, "serve", *listen, *more]
        path = os.pathsep.join([str(ROOT), str(ROOT / "grpc")])
        self.process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": path} | (environment or {}), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=data.parent,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "listening on" in line, line
        self.address = line.split()[-1]

    def say(self, line: str) -> None:
        """A line on its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def client(self) -> Client:
        return Client(self.address)

    def worker(self) -> int:
        """The process id of the worker."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[-1])

    def memory(self) -> int:
        """Resident bytes, without the worker."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(60)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # what was said last was not heard
            self.process.stdin.close()
        self.process.stdout.close()
        return status


@contextlib.contextmanager
def serving(data: Path, *more: str) -> Iterator[Server]:
    server = Server(data, *more)
    try:
        yield server
    finally:
        server.stop()


def maps_in(folder: Path) -> dict[str, str]:
    """SHA-256 of every map."""
    maps = json.loads((folder / "material.json").read_text())["maps"]
    return {kind: entry["sha256"] for kind, entry in maps.items()}


def maps_of(job: jobs_pb2.Job) -> dict[str, str]:
    files = {file.name: file.sha256 for file in job.files}
    return {name: files[f"{name}.png"] for name in ("albedo", "normal", "roughness")}


def until(client: Client, job: str, fraction: float) -> int:
    """Waits until a job is so far; the number of the event that says so."""
    for event in client.watch(job):
        if event.progress.fraction >= fraction:
            return int(event.number)
    raise AssertionError("it ended before")


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something that comes."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


class Guarded:
    """A service beyond this machine's trust: certificates, and tokens of two tenants and of one who may only read."""

    def __init__(self, folder: Path, days: float = 1) -> None:
        """days: for which the certificates are valid."""
        self.folder = folder
        generate_certificates(folder / "tls", ["localhost", "127.0.0.1"], days)
        tokens = folder / "tokens.json"
        self.ann = new_token(tokens, "ann", "studio", ("read", "write"))
        self.eve = new_token(tokens, "eve", "other", ("read", "write"))
        self.guest = new_token(tokens, "guest", "studio", ("read",))
        tls = folder / "tls"
        self.server = Server(
            folder / "data", "--tokens", str(tokens), "--certificate", str(tls / "server.pem"), "--key",
            str(tls / "server.key"), "--client-ca", str(tls / "ca.pem"),
        )  # fmt: skip

    def client(self, token: str | None = None, **changes: Path | None) -> Client:
        tls = self.folder / "tls"
        files = {"ca": tls / "ca.pem", "certificate": tls / "client.pem", "key": tls / "client.key"} | changes
        return Client(self.server.address, token=token, patience=1, **files)  # type: ignore[arg-type]
