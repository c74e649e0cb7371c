"""A line of some rate and delay between two network namespaces, for which no rights are needed.

    run_apart()                            # goes on as root of a user namespace, with a network of its own
    with Link() as link:                   # a second network, joined to it by a pair of veth
        link.shape(20)                     # Mbit/s, both ways: tc tbf
        with Delay(address, 0.005) as delay:
            link.start([...])              # a process in the second network, which reaches us at `delay.address`

The rate is real: tc's token bucket on both ends. Kernels often come without netem, so the delay is a proxy's, which
holds what comes for a time, each way, and can cut all lines. It stands beside the service, which so stays on loopback.
tests/support/vanished_headset.py uses the link, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any

HERE, THERE = "10.99.0.1", "10.99.0.2"
PIECE = 1 << 16  # bytes that the proxy reads at once
HELD = 1 << 20  # bytes that it holds each way at most: 1,200 Mbit/s for 7 ms
APART = "TEXSYNTH_BENCHMARK_APART"


def run_apart() -> None:
    """Start this program again in namespaces of its own, unless that was done. Needs unshare of util-linux."""
    if APART in os.environ:
        run("ip", "link", "set", "lo", "up")
        return
    command = ["unshare", "--user", "--map-root-user", "--net", "--kill-child", sys.executable, *sys.argv]
    os.environ[APART] = "1"
    os.execvp(command[0], command)


def run(*command: str) -> None:
    """A command that must not fail. Raises RuntimeError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


class Link:
    """The second network."""

    def __enter__(self) -> Link:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        inside = f"/proc/{self._holder.pid}/ns/net"
        while os.readlink(inside) == os.readlink("/proc/self/ns/net"):  # noqa: PTH115
            time.sleep(0.01)
        self._enter = ["nsenter", f"--net={inside}"]
        run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there")
        run("ip", "link", "set", "there", "netns", str(self._holder.pid))
        run("ip", "addr", "add", f"{HERE}/24", "dev", "here")
        run("ip", "link", "set", "here", "up")
        for words in (f"addr add {THERE}/24 dev there", "link set there up", "link set lo up"):
            run(*self._enter, "ip", *words.split())
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()

    def shape(self, megabits: float) -> None:
        """The rate of both ways. Up to 50 ms of it wait in the queue, as in a home router; more is lost."""
        burst = max(32_000, round(megabits * 1e6 / 8 / 250))  # what flows in a tick of the slowest kernels
        words = f"root tbf rate {megabits:g}mbit burst {burst} latency 50ms"
        run("tc", "qdisc", "replace", "dev", "here", *words.split())
        run(*self._enter, "tc", "qdisc", "replace", "dev", "there", *words.split())

    def break_silently(self) -> None:
        """The second network is gone, as a headset that left the Wi-Fi: nobody is told."""
        run(*self._enter, "ip", "link", "set", "there", "down")

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """A process in the second network."""
        return subprocess.Popen([*self._enter, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Delay:
    """A proxy before `target` (HOST:PORT) that delays every byte by `seconds`, each way."""

    def __init__(self, target: str, seconds: float, host: str = HERE) -> None:
        self._target, self._seconds, self._host = target, seconds, host
        self._lines: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self.passed = 0  # bytes towards the client

    def __enter__(self) -> Delay:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Break every line, as a lost connection does: what is under way is lost."""

        def now() -> None:
            for writer in tuple(self._lines):
                writer.transport.abort()

        self._loop.call_soon_threadsafe(now)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._join, self._host, 0, limit=PIECE))
        self.address = f"{self._host}:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        their_reader, their_writer = await asyncio.open_connection(host, int(port), limit=PIECE)
        self._lines |= {writer, their_writer}
        try:
            both = (self._pass(reader, their_writer, False), self._pass(their_reader, writer, True))
            await asyncio.wait([asyncio.ensure_future(way) for way in both], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (writer, their_writer):
                self._lines.discard(one)
                one.close()  # what was written is still sent

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: bool) -> None:
        held: deque[tuple[float, bytes]] = deque()
        came, room = asyncio.Event(), asyncio.Event()
        waiting = [0]

        async def send() -> None:
            while True:
                while not held:
                    came.clear()
                    await came.wait()
                due, data = held.popleft()
                if not data:
                    return
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                writer.write(data)
                waiting[0] -= len(data)
                if counted:
                    self.passed += len(data)
                room.set()
                await writer.drain()

        sending = asyncio.ensure_future(send())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(PIECE):
                held.append((self._loop.time() + self._seconds, data))
                waiting[0] += len(data)
                came.set()
                while waiting[0] > HELD and not sending.done():
                    room.clear()
                    await room.wait()
                if sending.done():
                    break
        held.append((0.0, b""))
        came.set()
        with contextlib.suppress(ConnectionError):
            await sending


def ended(process: subprocess.Popen[Any], seconds: float) -> str:
    """What a process printed. Raises RuntimeError where it fails or takes longer."""
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        raise RuntimeError(f"{process.args!r}: still at work after {seconds:g} s") from None
    if process.returncode:
        raise RuntimeError(f"{process.args!r}: ended with {process.returncode}: {said[-500:]}")
    return str(said)
