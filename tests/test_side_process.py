"""A process beside the service: several things at once, at a lower priority, started anew, ended with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from texsynth_rpc.objects import Damaged
from texsynth_rpc.side_process import NICE, SideProcess

MODULE = """
import os, threading, time
from pathlib import Path

from texsynth_rpc.objects import Damaged

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one)

def damaged():
    raise Damaged("as the disk says")

def odd():
    raise Odd(1, 2)

def wait_for(path):
    for _ in range(2000):
        if path.exists():
            return os.getpid()
        time.sleep(0.01)

def touch(path):
    path.touch()

def priority():
    found = []
    inner = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
    inner.start()
    inner.join()
    return found[0]

def die_at_first(path):
    if not path.exists():
        path.touch()
        os._exit(1)
    return "lives"
"""


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module that the other process can load, too."""
    (tmp_path / "things_done_beside.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    import things_done_beside

    yield things_done_beside
    del sys.modules["things_done_beside"]


@pytest.fixture
def side() -> Iterator[SideProcess]:
    process = SideProcess()
    yield process
    process.stop()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_what_is_asked_later_does_not_wait_for_what_lasts(things: Any, side: SideProcess, tmp_path: Path) -> None:
    async def work() -> tuple[int, int]:
        long = asyncio.create_task(side.do(things.wait_for, tmp_path / "there"))
        own = await side.do(os.getpid)
        assert not long.done()
        await side.do(things.touch, tmp_path / "there")
        return own, await long

    first, second = run(work())
    assert first == second != os.getpid()


def test_it_stands_back_behind_the_service(things: Any, side: SideProcess) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert run(side.do(things.priority)) == min(19, own + NICE)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_errors_come_back_as_what_they_are_with_their_trace(things: Any, side: SideProcess, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        run(side.do(Path.read_bytes, tmp_path / "missing"))
    assert "read_bytes" in "".join(missing.value.__notes__)
    with pytest.raises(RuntimeError, match="Odd"):  # which cannot be sent
        run(side.do(things.odd))
    with pytest.raises(Damaged):
        run(side.do(things.damaged))


def test_it_is_started_anew_when_it_has_died_but_not_for_ever(things: Any, side: SideProcess, tmp_path: Path) -> None:
    async def work() -> None:
        long = asyncio.create_task(side.do(things.wait_for, tmp_path / "there"))
        os.kill(await side.do(os.getpid), signal.SIGKILL)
        await side.do(things.touch, tmp_path / "there")
        assert await long
        assert await side.do(things.die_at_first, tmp_path / "died") == "lives"
        with pytest.raises(OSError, match="_exit died 3 times"):
            await side.do(os._exit, 3)
        assert await side.do(len, "abc") == 3

    run(work())


def test_a_stopped_one_says_so_to_who_waits_and_to_who_comes(things: Any, side: SideProcess, tmp_path: Path) -> None:
    async def work() -> None:
        long = asyncio.create_task(side.do(things.wait_for, tmp_path / "never"))
        await side.do(os.getpid)
        side.stop()
        for waiting in (long, side.do(os.getpid)):
            with pytest.raises(OSError, match="stops"):
                await waiting

    run(work())


def test_it_rests_for_a_while_and_at_most_half_of_the_time(side: SideProcess) -> None:
    def state() -> str:
        return stat_of(process)

    async def work() -> None:
        nonlocal process
        side.rest(0.2)  # there is none
        process = await side.do(os.getpid)
        began = time.monotonic()
        side.rest(0.5)
        while state() != "T":
            await asyncio.sleep(0.01)
        assert await side.do(len, "abc") == 3
        assert time.monotonic() - began > 0.4
        side.rest(0.5)  # too soon
        assert await side.do(len, "abc") == 3
        assert state() != "T"

    process = 0
    run(work())


@pytest.mark.parametrize("rest", ["", "side.rest(60)"])
def test_it_does_not_outlive_who_started_it(rest: str) -> None:
    script = f"""
import asyncio, os, time
from texsynth_rpc.side_process import SideProcess
async def main():
    side = SideProcess()
    print(await side.do(os.getpid), flush=True)
    {rest}
    time.sleep(0.2)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    told = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert told.returncode == -signal.SIGKILL, told.stderr
    for _ in range(500):
        if stat_of(int(told.stdout)) in "Z":
            return
        time.sleep(0.02)
    raise AssertionError("it still runs")


def stat_of(process: int) -> str:
    """Its state as ps shows it, "" for none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_many_at_once_each_get_their_own(things: Any, side: SideProcess) -> None:
    async def work() -> list[int]:
        return await asyncio.gather(*(side.do(len, bytes(n)) for n in range(64)))

    assert run(work()) == list(range(64))
