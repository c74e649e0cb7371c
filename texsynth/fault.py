"""Fault points: named places where a test lets the process die as it would in a power cut."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

from texsynth.errors import bad_input

VARIABLE = "TEXSYNTH_FAULT"

_passed: Counter[str] = Counter()
_lock = threading.Lock()


def fault_point(name: str) -> None:
    """Kill this process with SIGKILL at the count-th passage when TEXSYNTH_FAULT is `name:count` (count from 1).

    Without the variable this does nothing. No handler, `finally` or exit hook runs after the kill, which is the point.
    Raises TexsynthError(BAD_INPUT) when the variable is set to something else than `name:count`.
    """
    setting = os.environ.get(VARIABLE)
    if not setting:
        return
    wanted, _, count = setting.rpartition(":")
    if not wanted or not count.isdecimal() or int(count) < 1:
        raise bad_input(VARIABLE, f"it is {setting!r}", "it must be name:count with a count of at least 1")
    if name != wanted:
        return
    with _lock:
        _passed[name] += 1
        if _passed[name] == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
