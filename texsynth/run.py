"""`Run`: progress, cancellation and checkpoints in one small object that rides along with the work.

The command line, the service and batch baking all drive the same code through it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mipmap.atomic import atomic_file
from texsynth.errors import ErrorKind, TexsynthError


@dataclass(frozen=True)
class Progress:
    """One progress event. `fraction` (0..1) is of the whole run; `remaining_s` is an estimate or None."""

    stage: str
    fraction: float
    remaining_s: float | None
    preview: Path | None = None


def _ignore(_: Progress) -> None:
    return None


@dataclass
class Run:
    """Carries one piece of work from start to end.

    `listener` hears every progress event; `cancel()` makes the next `step` raise CANCELLED;
    `timings` holds seconds by stage.
    """

    listener: Callable[[Progress], None] = _ignore
    timings: dict[str, float] = field(default_factory=dict)
    preview: Path | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _started: float = field(default_factory=time.monotonic)
    _stage: str = "start"
    _span: tuple[float, float] = (0.0, 0.0)

    def cancel(self) -> None:
        """Ask the work to stop at its next step. Safe from a signal handler or another thread."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the work was asked to stop."""
        return self._cancelled.is_set()

    def part(self, start: float, end: float) -> Run:
        """A run that covers the fractions `start`..`end` of this one, and is cancelled with it."""

        def listener(progress: Progress) -> None:
            fraction = start + (end - start) * progress.fraction
            self.listener(replace(progress, fraction=fraction, remaining_s=self._remaining(fraction)))

        return Run(listener, _cancelled=self._cancelled)

    @contextmanager
    def stage(self, name: str, start: float, end: float) -> Iterator[None]:
        """Work that covers the fractions `start`..`end` of the run; its seconds go into `timings`."""
        self._stage, self._span = name, (start, end)
        self.step(0.0)
        began = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - began
        self.step(1.0)

    def step(self, fraction_of_stage: float) -> None:
        """Report how far the stage is, 0..1. Raises TexsynthError(CANCELLED) if the run was cancelled."""
        if self._cancelled.is_set():
            raise TexsynthError(
                ErrorKind.CANCELLED, f"cancelled during {self._stage}; run the same command with --resume to go on"
            )
        start, end = self._span
        fraction = start + (end - start) * min(max(fraction_of_stage, 0.0), 1.0)
        self.listener(Progress(self._stage, fraction, self._remaining(fraction), self.preview))

    def _remaining(self, fraction: float) -> float | None:
        elapsed = time.monotonic() - self._started
        return elapsed * (1 - fraction) / fraction if fraction > 0.02 else None


def write_atomically(path: Path, data: bytes) -> None:
    """Publish `data` at `path` complete or not at all (see `mipmap.atomic`)."""
    with atomic_file(path) as file:
        file.write(data)


def write_json_atomically(path: Path, value: Any) -> None:
    """`write_atomically` of indented UTF-8 JSON; NaN is refused because JSON has none."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
