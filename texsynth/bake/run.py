"""Baking: every entry of a manifest in a process of its own, several side by side.

What is done is known by what it was made from: a result whose inputs, options and version have not changed and whose
files are whole is left as it is, so a manifest that was interrupted, or grew, is run again. A process that dies takes
nothing along; failures that are not the input's are tried once more at the end.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mipmap.encode import usable_cores
from texsynth import __version__
from texsynth.bake.manifest import Entry
from texsynth.errors import EXIT_STATUS, ErrorKind, TexsynthError
from texsynth.measure import measure, seam_steps
from texsynth.options import Options
from texsynth.publish import verify
from texsynth.report.page import plain
from texsynth.run import write_json_atomically

RECORD = "bake.json"
BAD_INPUT = EXIT_STATUS[ErrorKind.BAD_INPUT]
MESH_COMPANIONS = (".gltf", ".obj")  # these refer to files beside them


@dataclass(frozen=True)
class Outcome:
    """What became of an entry. state: made, kept (it was there already), failed or left (not begun or interrupted)."""

    entry: Entry
    state: str
    seconds: float = 0.0
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


Heard = Callable[[Entry, str, float], None]  # what is being done, and how much of it


def bake(
    entries: list[Entry],
    out: Path,
    workers: int,
    stopped: Callable[[], bool],
    heard: Heard,
    done: Callable[[Outcome], None],
) -> list[Outcome]:
    """Bake all entries into `out`/name, `workers` at a time; the outcomes in the entries' order.

    stopped: asked often; when it says yes, running processes keep a checkpoint and end. done: told each outcome.
    """
    outcomes: dict[str, Outcome] = {}
    waiting, again = deque(entries), list[Entry]()
    with ThreadPoolExecutor(workers) as pool:
        running: dict[Future[Outcome], Entry] = {}
        while (waiting or running or again) and not (stopped() and not running):
            if not waiting and not running:
                waiting, again = deque(again), []
            while waiting and len(running) < workers and not stopped():
                entry = waiting.popleft()
                running[pool.submit(_bake_one, entry, out, workers, stopped, heard)] = entry
            for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                entry, outcome = running.pop(future), future.result()
                first_try = entry.name not in outcomes
                outcomes[entry.name] = outcome
                if outcome.state == "failed" and first_try and outcome.facts.get("status") != BAD_INPUT:
                    again.append(entry)
                else:
                    done(outcome)
    return [outcomes.get(entry.name, Outcome(entry, "left")) for entry in entries]


def _bake_one(entry: Entry, out: Path, workers: int, stopped: Callable[[], bool], heard: Heard) -> Outcome:
    folder, began = out / entry.name, time.monotonic()
    try:
        heard(entry, "check", 0.0)
        key = _key(entry)
        record = _record(folder)
        if record.get("key") == key and not verify(folder):
            return Outcome(entry, "kept", record["seconds"], facts=record["facts"])
        status, error = _process(entry, folder, workers, stopped, heard)
        if status != 0:
            state = "left" if status == EXIT_STATUS[ErrorKind.CANCELLED] or stopped() else "failed"
            return Outcome(entry, state, time.monotonic() - began, error, {"status": status})
        facts = _facts(entry, folder)
        seconds = time.monotonic() - began
        write_json_atomically(folder / RECORD, plain({"key": key, "seconds": seconds, "facts": facts}))
        return Outcome(entry, "made", seconds, facts=facts)
    except TexsynthError as error:
        return Outcome(entry, "failed", time.monotonic() - began, str(error), {"status": EXIT_STATUS[error.kind]})
    except OSError as error:
        return Outcome(entry, "failed", time.monotonic() - began, f"{error.filename}: {error.strerror}", {"status": 3})


def _key(entry: Entry) -> str:
    """Of all that a result depends on."""
    digest = hashlib.sha256(
        json.dumps([__version__, plain(dataclasses.asdict(entry.options))], sort_keys=True).encode()
    )
    blend = entry.options.blend if isinstance(entry.options.blend, Path) else None
    for path in (entry.asset, entry.exemplar, entry.options.region, entry.options.second, blend, entry.reference):
        digest.update(b"-" if path is None else _content(path))
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    elif path.suffix.lower() in MESH_COMPANIONS:
        files = sorted(p for p in path.parent.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path if path.is_dir() else path.parent)).encode() + b"\0")
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.digest()


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and {"key", "seconds", "facts"} <= set(record) else {}


def _process(entry: Entry, folder: Path, workers: int, stopped: Callable[[], bool], heard: Heard) -> tuple[int, str]:
    """Exit status of the command line for this entry, and its error."""
    threads = str(max(1, usable_cores() // workers))
    limits = {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads} if workers > 1 else {}
    process = subprocess.Popen(
        [sys.executable, "-m", "texsynth", *command_line(entry, folder), "--json", "--resume"],
        env=os.environ | limits, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    error, told = "", False
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            try:
                news = json.loads(line)
            except ValueError:
                error = line.strip() or error
                continue
            if news.get("event") == "progress":
                heard(entry, news["stage"], news["fraction"])
            elif news.get("event") == "error":
                error = news["message"]
            if stopped() and not told:
                told = True
                process.send_signal(signal.SIGINT)
    status = process.wait()
    return status, error or (f"its process ended with status {status}" if status else "")


def command_line(entry: Entry, folder: Path) -> list[str]:
    """The arguments of `texsynth` that make this entry."""
    words = ["synthesize", str(entry.exemplar)]
    if entry.asset is not None:
        words = ["restyle", str(entry.asset), "--style", str(entry.exemplar)]
    words += ["-o", str(folder)]
    for option in dataclasses.fields(Options):
        value = getattr(entry.options, option.name)
        if option.name in ("resume", "directx", "nonfinite") or value is None:
            continue
        if entry.asset is None and option.name in ("content", "region", "material"):
            continue
        if isinstance(value, bool):
            words += [f"--{option.name}"] if value else []
        else:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words.append(f"--{option.name}={text}")
    return words


def _facts(entry: Entry, folder: Path) -> dict[str, Any]:
    """What the summary shows of a result."""
    report = json.loads((folder / "report.json").read_text())
    manifest = json.loads((folder / "material.json").read_text())
    facts = {
        "size": manifest["size"],
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "memory": report["peak_memory_bytes"],
        "seam": None if entry.asset is None else seam_steps(folder).get("albedo"),
    }
    if entry.reference is not None:
        maps = measure(folder, entry.reference, paired=True)["maps"]
        albedo = maps.get("albedo") or next(iter(maps.values()))
        facts |= {"mcr": albedo["mcr"]["ratio"], "adf": albedo["adf"]["value"]}
    return facts
