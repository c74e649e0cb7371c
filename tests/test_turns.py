"""Turns: one piece of work at a time, the shortest of those that wait first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from texsynth_rpc.turns import Turns


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 30))


class Works:
    """Pieces of work that note their order, and of which the first lasts until it may end."""

    def __init__(self) -> None:
        self.turns, self.done, self.at_once = Turns(), list[str](), 0
        self.may_end = asyncio.Event()

    def begin(self, name: str, length: int) -> asyncio.Task[str]:
        async def work() -> str:
            self.at_once += 1
            assert self.at_once == 1, "two at a time"
            if name == "first":
                await self.may_end.wait()
            self.at_once -= 1
            self.done.append(name)
            if name == "fails":
                raise OSError(name)
            return name

        return asyncio.create_task(self.turns.take(length, work))


async def begun(works: Works, *named: tuple[str, int]) -> list[asyncio.Task[str]]:
    tasks = []
    for name, length in named:
        tasks.append(works.begin(name, length))
        await asyncio.sleep(0)
    return tasks


def test_the_shortest_of_those_that_wait_is_next_and_of_equal_ones_who_came_first() -> None:
    async def work() -> None:
        works = Works()
        tasks = await begun(works, ("first", 9), ("long", 5), ("short", 1), ("as short", 1), ("middle", 3))
        works.may_end.set()
        assert await asyncio.gather(*tasks) == ["first", "long", "short", "as short", "middle"]
        assert works.done == ["first", "short", "as short", "middle", "long"]
        (again,) = await begun(works, ("again", 7))
        assert await again == "again"

    run(work())


def test_work_that_fails_or_is_given_up_passes_its_turn_on() -> None:
    async def work() -> None:
        works = Works()
        _, given_up, fails, last = await begun(works, ("first", 9), ("given up", 1), ("fails", 2), ("last", 3))
        given_up.cancel()
        works.may_end.set()
        assert await last == "last"
        assert works.done == ["first", "fails", "last"]
        with pytest.raises(OSError, match="fails"):
            await fails

    run(work())


def test_who_is_given_up_as_the_turn_comes_passes_it_on() -> None:
    async def work() -> None:
        works = Works()
        works.turns._taken = True
        given_up, last = await begun(works, ("given up", 1), ("last", 3))
        works.turns._pass_on()
        given_up.cancel()
        assert await last == "last"
        assert works.done == ["last"]

    run(work())


def test_short_work_waits_for_nobody() -> None:
    async def work() -> None:
        async def short() -> str:
            return "short"

        turns, may_end = Turns(short=3), asyncio.Event()
        long = asyncio.create_task(turns.take(4, may_end.wait))
        await asyncio.sleep(0)
        assert await turns.take(3, short) == "short"
        assert not long.done()
        may_end.set()
        assert await long

    run(work())
