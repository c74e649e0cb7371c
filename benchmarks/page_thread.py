"""The main threads of a browser's pages before all other threads, so that what a page takes is not other work's time.

Linux, with the right to use SCHED_RR (root, or CAP_SYS_NICE).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

OFTEN = 0.5  # seconds between two looks for new pages
IS_PAGE = b"--type=renderer"  # Chromium's word for a process that shows pages


def run_with_pages_first(command: Sequence[str]) -> tuple[str, bool]:
    """What a program prints that drives a Chromium, and whether its pages could go first. CalledProcessError."""
    ended, first = threading.Event(), set[int]()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watching = threading.Thread(target=_watch, args=(process.pid, ended, first))
        watching.start()
        said, _ = process.communicate()
        ended.set()
        watching.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, said)
    return said, bool(first)


def _watch(pid: int, ended: threading.Event, first: set[int]) -> None:
    while not ended.wait(OFTEN):
        for each in _below(pid):
            with contextlib.suppress(OSError):  # it has ended, or it is not allowed
                if each not in first and IS_PAGE in Path(f"/proc/{each}/cmdline").read_bytes():
                    os.sched_setscheduler(each, os.SCHED_RR, os.sched_param(1))  # of a process, the main thread
                    first.add(each)


def _below(pid: int) -> Iterator[int]:
    """All processes that descend from one."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _below(child)
