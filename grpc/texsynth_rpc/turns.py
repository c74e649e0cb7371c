"""Long pieces of work one after the other, the shortest of those that wait first; other threads go before them."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TypeVar

Result = TypeVar("Result")

NICE = 10  # added to that of the threads: streams and calls go before them


class Turns:
    """One turn at a time. short: work of at most that length waits for nobody."""

    def __init__(self, short: int = 0) -> None:
        self._short = short
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number, self._taken = count(), False
        self._threads = ThreadPoolExecutor(thread_name_prefix="turn", initializer=_stand_back)

    async def take(self, length: int, work: Callable[[], Result]) -> Result:
        """`work` in a thread, when it is its turn; of equal lengths who came first is first."""
        if length <= self._short:
            return await self._done(work)
        if self._taken:
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (length, next(self._number), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it had come just now
                    self._pass_on()
                raise
        self._taken = True
        try:
            return await self._done(work)
        finally:
            self._pass_on()

    async def _done(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


def _stand_back() -> None:
    """Lowers the priority of this thread and of those that it starts, where threads have one of their own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)
