"""Long pieces of work one after the other, the shortest of those that wait first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

Result = TypeVar("Result")


class Turns:
    """One turn at a time. short: work of at most that length waits for nobody."""

    def __init__(self, short: int = 0) -> None:
        self._short = short
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number, self._taken = count(), False

    async def take(self, length: int, work: Callable[[], Awaitable[Result]]) -> Result:
        """`work`, when it is its turn; of equal lengths who came first is first."""
        if length <= self._short:
            return await work()
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
            return await work()
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False
