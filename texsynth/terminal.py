"""What a run shows while it works, and how it is stopped from the keyboard.

Everything here goes to standard error; standard output is kept for results.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from texsynth.run import Progress, Run

if TYPE_CHECKING:
    import rich.progress

# A terminal or a reading program gains nothing from more, and a run may report thousands of steps.
_SHORTEST_GAP_S = 0.2

_CANCEL_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h\n"
_STOPPED = "stopped at once; run the same command with --resume to go on"


class Display(Protocol):
    """Hears the progress of a run and says single lines. May be called from any thread.

    `last_words` is written without any lock when the process ends at once.
    """

    last_words: str

    def progress(self, event: Progress) -> None:
        """Show `event`."""

    def say(self, text: str) -> None:
        """Show one line that is not progress."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def open_display(as_json: bool) -> Display:
    """JSON events if asked for, a live bar on a terminal, one line a stage everywhere else (log files, CI)."""
    if as_json:
        return _JsonEvents()
    return _LiveBar() if sys.stderr.isatty() else _PlainLines()


class _JsonEvents:
    """One JSON object a line: `{"event": "progress", "stage", "fraction", "elapsed_s", "remaining_s", "preview"}`.

    Other lines are `{"event": "message", "text"}`. A change of stage or preview is never left out.
    """

    last_words = json.dumps({"event": "message", "text": _STOPPED})

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last: tuple[str, Path | None] | None = None
        self._last_time = 0.0
        self._lock = threading.Lock()

    def progress(self, event: Progress) -> None:
        now = time.monotonic()
        with self._lock:
            subject = (event.stage, event.preview)
            if subject == self._last and now - self._last_time < _SHORTEST_GAP_S and event.fraction < 1:
                return
            self._last, self._last_time = subject, now
            self._write(
                event="progress",
                stage=event.stage,
                fraction=round(event.fraction, 4),
                elapsed_s=round(now - self._started, 2),
                remaining_s=None if event.remaining_s is None else round(event.remaining_s, 1),
                preview=None if event.preview is None else str(event.preview),
            )

    def say(self, text: str) -> None:
        with self._lock:
            self._write(event="message", text=text)

    def close(self) -> None:
        return None

    @staticmethod
    def _write(**fields: Any) -> None:
        print(json.dumps(fields), file=sys.stderr, flush=True)


class _PlainLines:
    """One line when a stage starts, and one when a preview appears."""

    last_words = f"texsynth: {_STOPPED}"

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._stage: str | None = None
        self._preview: Path | None = None
        self._lock = threading.Lock()

    def progress(self, event: Progress) -> None:
        with self._lock:
            if event.stage != self._stage:
                self._stage = event.stage
                elapsed = duration(time.monotonic() - self._started)
                remaining = "" if event.remaining_s is None else f", about {duration(event.remaining_s)} left"
                self._write(f"{event.fraction:4.0%} {event.stage} (after {elapsed}{remaining})")
            if event.preview is not None and event.preview != self._preview:
                self._preview = event.preview
                self._write(f"preview: {event.preview}")

    def say(self, text: str) -> None:
        with self._lock:
            self._write(text)

    def close(self) -> None:
        return None

    @staticmethod
    def _write(text: str) -> None:
        print(f"texsynth: {text}", file=sys.stderr, flush=True)


class _LiveBar:
    """A bar with stage, percent, elapsed and remaining time; the preview's path stands above it once it exists."""

    last_words = f"{_SHOW_CURSOR}texsynth: {_STOPPED}"

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[remaining]}"),
            console=Console(stderr=True, highlight=False),
            refresh_per_second=5,
            redirect_stdout=False,  # what goes to standard output is a result, terminal or not
        )
        self._task: rich.progress.TaskID = self._bars.add_task("start", total=1.0, remaining="")
        self._preview: Path | None = None
        self._bars.start()

    def progress(self, event: Progress) -> None:
        ending = event.remaining_s is None or event.fraction >= 1
        remaining = "" if ending else f"about {duration(event.remaining_s or 0)} left"
        self._bars.update(self._task, description=event.stage, completed=event.fraction, remaining=remaining)
        if event.preview is not None and event.preview != self._preview:
            self._preview = event.preview
            self.say(f"preview: {event.preview}")

    def say(self, text: str) -> None:
        self._bars.console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._bars.stop()


def duration(seconds: float) -> str:
    """Seconds in words for people: `9 s`, `2 min 05 s`, `1 h 10 min`."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def log_through(say: Callable[[str], None]) -> Iterator[None]:
    """Log records of every logger become lines of the display, so that they do not break its bar."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for line in self.format(record).splitlines():
                say(line)

    root = logging.getLogger()
    handler = Lines()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    before = root.handlers[:]
    root.handlers[:] = [handler]
    try:
        yield
    finally:
        root.handlers[:] = before


@contextmanager
def cancel_on_signals(run: Run, display: Display) -> Iterator[None]:
    """The first SIGINT or SIGTERM cancels `run` at its next step; the second ends the process at once, status 130.

    Signals are heard by a thread through a pipe: Python runs a signal handler only between two bytecodes of the main
    thread, which may be seconds inside one kernel, and merges two signals that arrive meanwhile into one.
    A signal that the process was started with ignored (`nohup`, a background job) stays ignored.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        heard = 0
        while number := os.read(reader, 1):
            if number[0] not in _CANCEL_SIGNALS:
                continue
            heard += 1
            if heard == 1:
                run.cancel()
                display.say("stopping at the next step; press Ctrl-C again to stop at once")
            else:
                os.write(2, f"{display.last_words}\n".encode())
                os._exit(130)
        os.close(reader)

    heeded = [number for number in _CANCEL_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in heeded}
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=listen, name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)
