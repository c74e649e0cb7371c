"""`texsynth bake` as a person sees it: one line an entry, what is under way, a summary; Ctrl-C keeps checkpoints."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from texsynth.bake.manifest import Entry
from texsynth.bake.run import Outcome, bake
from texsynth.bake.summary import write_summary
from texsynth.errors import EXIT_STATUS, ErrorKind, from_os_error

FAILED = 1


def bake_with_progress(entries: list[Entry], out: Path, workers: int, as_json: bool) -> int:
    """Bake and report; the exit status: 0, 1 if an entry failed, 130 if interrupted.

    Raises TexsynthError where the summary cannot be written.
    """
    stop = threading.Event()

    def interrupted(_: int, __: FrameType | None) -> None:
        stop.set()

    before = [signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)]
    console = Console(file=sys.stderr)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    done: dict[str, Outcome] = {}
    try:
        with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as bars:
            whole = bars.add_task("bake", total=len(entries))
            under_way: dict[str, Any] = {}

            def heard(entry: Entry, stage: str, fraction: float) -> None:
                if as_json:
                    _tell(event="progress", name=entry.name, stage=stage, fraction=fraction)
                    return
                if entry.name not in under_way:
                    under_way[entry.name] = bars.add_task(entry.name, total=1.0)
                bars.update(under_way[entry.name], completed=fraction, description=f"  {entry.name}: {stage}")

            def finished(outcome: Outcome) -> None:
                done[outcome.entry.name] = outcome
                if task := under_way.pop(outcome.entry.name, None):
                    bars.remove_task(task)
                bars.advance(whole)
                line = f"{outcome.entry.name}: {outcome.state}" + (f": {outcome.error}" if outcome.error else "")
                if as_json:
                    _tell(event="outcome", name=outcome.entry.name, state=outcome.state, error=outcome.error)
                else:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                write_summary(out, [done.get(entry.name, Outcome(entry, "left")) for entry in entries])

            outcomes = bake(entries, out, workers, stop.is_set, heard, finished)
        write_summary(out, outcomes)
    except OSError as error:
        raise from_os_error(error, error.filename or out) from error
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    counts = {state: sum(o.state == state for o in outcomes) for state in ("made", "kept", "failed", "left")}
    if as_json:
        print(json.dumps(counts))
    else:
        print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
        print(out / "summary.html")
    if counts["left"]:
        return EXIT_STATUS[ErrorKind.CANCELLED]
    return FAILED if counts["failed"] else 0


def _tell(**news: Any) -> None:
    print(json.dumps(news), file=sys.stderr, flush=True)
