"""`texsynth bake` as a person sees it: one line an entry, what is under way, a summary; Ctrl-C keeps checkpoints."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mipmap.encode import usable_cores
from texsynth.bake.manifest import Entry
from texsynth.bake.remote import Shelf, is_url
from texsynth.bake.run import BakeOne, Outcome, Setup, bake, bake_one
from texsynth.bake.summary import FILES, write_summary
from texsynth.errors import EXIT_STATUS, ErrorKind, from_os_error

FAILED = 1
SUMMARY_EVERY_S = 2.0


def bake_with_progress(entries: list[Entry], setup: Setup, workers: int | None, ray: str | None, as_json: bool) -> int:
    """Bake and report; the exit status: 0, 1 if an entry failed, 130 if interrupted.

    ray: address of a cluster, or None to bake in processes here.
    Raises TexsynthError where the summary cannot be written or the cluster not be reached.
    """
    try:
        with _hands(setup, workers, ray) as (count, one):
            outcomes = _bake(entries, setup, count, one, as_json)
    except OSError as error:
        raise from_os_error(error, error.filename or setup.out) from error
    counts = {state: sum(o.state == state for o in outcomes) for state in ("made", "kept", "failed", "left")}
    if as_json:
        print(json.dumps(counts))
    else:
        print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
        print(f"{setup.out.rstrip('/')}/summary.html")
    if counts["left"]:
        return EXIT_STATUS[ErrorKind.CANCELLED]
    return FAILED if counts["failed"] else 0


@contextmanager
def _hands(setup: Setup, workers: int | None, ray: str | None) -> Iterator[tuple[int, BakeOne]]:
    """How many entries are baked side by side, and how each is."""
    if ray is None:
        count = workers or 1
        threads = None if count == 1 else max(1, usable_cores() // count)
        yield count, partial(bake_one, replace(setup, threads=threads))
        return
    from texsynth.bake.cluster import cluster

    with cluster(ray, setup, workers) as hands:
        yield hands


def _bake(entries: list[Entry], setup: Setup, workers: int, one: BakeOne, as_json: bool) -> list[Outcome]:
    stop = threading.Event()

    def interrupted(_: int, __: FrameType | None) -> None:
        stop.set()

    before = [signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)]
    console = Console(file=sys.stderr)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    done: dict[str, Outcome] = {}
    written = time.monotonic()
    try:
        _summarise(setup, [Outcome(entry, "left") for entry in entries])  # now, for a folder that cannot be written
        shown = not as_json and console.is_terminal
        with Progress(*columns, console=console, disable=not shown, redirect_stdout=False) as bars:
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
                nonlocal written
                done[outcome.entry.name] = outcome
                if task := under_way.pop(outcome.entry.name, None):
                    bars.remove_task(task)
                bars.advance(whole)
                line = f"{outcome.entry.name}: {outcome.state}" + (f": {outcome.error}" if outcome.error else "")
                if as_json:
                    _tell(event="outcome", name=outcome.entry.name, state=outcome.state, error=outcome.error)
                else:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                if time.monotonic() - written > SUMMARY_EVERY_S:
                    _summarise(setup, [done.get(entry.name, Outcome(entry, "left")) for entry in entries])
                    written = time.monotonic()

            outcomes = bake(entries, workers, one, stop.is_set, heard, finished)
        _summarise(setup, outcomes)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    return outcomes


def _summarise(setup: Setup, outcomes: list[Outcome]) -> None:
    setup.folder.mkdir(parents=True, exist_ok=True)
    write_summary(setup.folder, outcomes)
    if is_url(setup.out):
        Shelf(setup.out).put([setup.folder / name for name in FILES])


def _tell(**news: Any) -> None:
    sys.stderr.write(json.dumps(news) + "\n")  # in one piece, for several threads tell
    sys.stderr.flush()
