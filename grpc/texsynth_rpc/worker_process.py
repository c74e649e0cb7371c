"""A worker process from outside: started, told what to do, heard, and replaced when it dies or says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds without a sign of life
LONGEST_LINE = 1 << 20


def environment_for(own: Mapping[str, str]) -> dict[str, str]:
    """Variables of a process of this package, with some of its own."""
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, **own}


class WorkerProcess:
    """One `texsynth_rpc.worker`. name: for the log. environment: its own variables. died: called when it has ended."""

    def __init__(self, name: str, environment: Mapping[str, str], died: Callable[[], None]) -> None:
        self.name = name
        self._environment, self._died = dict(environment), died
        self._process: asyncio.subprocess.Process | None = None
        self._news: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._heard = 0.0
        self._reading: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> bool:
        """Run, with libraries loaded; whether it does."""
        if self.alive:
            return True
        await self.end()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "texsynth_rpc.worker", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=environment_for(self._environment), limit=LONGEST_LINE, start_new_session=True,
        )  # fmt: skip
        self._news, self._heard = asyncio.Queue(), time.monotonic()
        self._reading = asyncio.create_task(self._read(self._process))
        news = await self.hear()
        while news is not None and "ready" not in news:
            news = await self.hear()
        return news is not None

    def order(self, **order: Any) -> None:
        """Tell it something; without effect on one that has died."""
        process = self._process
        if self.alive and process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write((json.dumps(order) + "\n").encode())

    async def hear(self) -> dict[str, Any] | None:
        """Its next news; None when it has died or hangs, and then it is gone."""
        while True:
            left = self._heard + PATIENCE - time.monotonic()
            try:
                news = await asyncio.wait_for(self._news.get(), max(left, 0.0))
            except TimeoutError:
                if time.monotonic() - self._heard < PATIENCE:
                    continue
                log.error("worker %s hangs; it is replaced", self.name)
                news = None
            if news is None:
                await self.end()
            return news

    async def end(self) -> None:
        """Kill it and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if self._reading is not None:
            await self._reading

    def kill(self) -> None:
        """Let `hear` find it dead."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # a line that is too long, or no JSON: as if it had died
            while line := await process.stdout.readline():
                news = json.loads(line)
                self._heard = time.monotonic()
                if "alive" not in news:
                    self._news.put_nowait(news)
        self._news.put_nowait(None)
        self._died()
