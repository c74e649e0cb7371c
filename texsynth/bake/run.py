"""Baking: every entry of a manifest in a process of its own, several side by side.

What is done is known by what it was made from: a result whose inputs, options and version have not changed and whose
files are whole is left as it is, so a manifest that was interrupted, or grew, is run again. A process that dies takes
nothing along; failures that are not the input's are tried once more at the end. Where an entry is baked, here or on
another machine, the scheduling does not know: it is given a function.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from plugin_bridge.references import named_by
from texsynth import __version__
from texsynth.bake.manifest import Entry
from texsynth.bake.record import make_record, read_record, write_record
from texsynth.bake.remote import Shelf, fetched, is_url
from texsynth.bake.tether import Tethered
from texsynth.errors import EXIT_STATUS, ErrorKind, TexsynthError, from_os_error
from texsynth.measure import measure, seam_steps
from texsynth.options import RESTYLE_ONLY, Options
from texsynth.publish import verify
from texsynth.report.page import plain
from texsynth.run import write_atomically

THUMBNAIL = 192  # pixels across
BAD_INPUT = EXIT_STATUS[ErrorKind.BAD_INPUT]
LOST = -1  # status of an entry whose worker was lost, by no fault of its own
MOST_TRIES = {BAD_INPUT: 1, LOST: 4}
OTHERWISE = 2
BEGUN = ".bake"  # in a result's folder: what the unfinished run there is made from


@dataclass(frozen=True)
class Outcome:
    """What became of an entry. state: made, kept (it was there already), failed or left (not begun or interrupted)."""

    entry: Entry
    state: str
    seconds: float = 0.0
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """Where results are made.

    out: a folder, or a URL to which they are uploaded. scratch: a folder of each machine for copies of inputs and for
    results on their way to a URL; None: the user's cache there. threads: of one entry; None: as many as it likes.
    """

    out: str
    scratch: Path | None = None
    threads: int | None = None

    @property
    def folder(self) -> Path:
        """The local folder of the results' folders; the same each time, so that what was interrupted goes on."""
        if is_url(self.out):
            return self._cache / "out" / hashlib.sha256(self.out.encode()).hexdigest()[:16]
        return Path(self.out)

    @property
    def inputs(self) -> Path:
        """The local folder for copies of inputs."""
        return self._cache / "inputs"

    @property
    def _cache(self) -> Path:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return self.scratch or home / "texsynth" / "bake"


Heard = Callable[[Entry, str, float], None]  # what is being done, and how much of it
Stopped = Callable[[], bool]
BakeOne = Callable[[Entry, Stopped, Heard], Outcome]


def bake(
    entries: list[Entry],
    workers: int,
    bake_one: BakeOne,
    stopped: Stopped,
    heard: Heard,
    done: Callable[[Outcome], None],
) -> list[Outcome]:
    """Bake all entries, `workers` at a time, each by a call of `bake_one` in a thread; the outcomes in their order.

    stopped: asked often; when it says yes, running processes keep a checkpoint and end. done: told each outcome.
    """
    outcomes: dict[str, Outcome] = {}
    tries: Counter[str] = Counter()
    waiting, again = deque(entries), list[Entry]()
    with ThreadPoolExecutor(workers) as pool:
        running: dict[Future[Outcome], Entry] = {}
        while (waiting or running or again) and not (stopped() and not running):
            if not waiting and not running:
                waiting, again = deque(again), []
            while waiting and len(running) < workers and not stopped():
                entry = waiting.popleft()
                running[pool.submit(bake_one, entry, stopped, heard)] = entry
            for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                entry, outcome = running.pop(future), future.result()
                outcomes[entry.name] = outcome
                tries[entry.name] += 1
                status = outcome.facts.get("status", 0)
                if outcome.state != "failed" or tries[entry.name] >= MOST_TRIES.get(status, OTHERWISE):
                    done(outcome)
                elif status == LOST:
                    waiting.append(entry)
                else:
                    again.append(entry)
    return [outcomes.get(entry.name, Outcome(entry, "left")) for entry in entries]


def bake_one(setup: Setup, entry: Entry, stopped: Stopped, heard: Heard) -> Outcome:
    """Bake an entry on this machine, in a process of its own. Raises nothing for what goes wrong with it."""
    began = time.monotonic()
    try:
        heard(entry, "check", 0.0)
        copies = {name: fetched(url, setup.inputs) for name, url in entry.urls.items()}
        here = entry.with_inputs(copies)
        key = _key(here)
        shelf = Shelf(f"{setup.out}/{entry.name}") if is_url(setup.out) else None
        if shelf is not None and (record := shelf.finished(key)) is not None:
            return Outcome(entry, "kept", record["seconds"], facts=record["facts"])
        folder, state = setup.folder / entry.name, "kept"
        record = read_record(folder)
        if record.get("key") != key or verify(folder):
            status, error = _process(here, folder, key, setup.threads, stopped, heard)
            if status != 0:
                state = "left" if status == EXIT_STATUS[ErrorKind.CANCELLED] or stopped() else "failed"
                for name, url in entry.urls.items():
                    error = error.replace(str(copies[name]), url)
                return Outcome(entry, state, time.monotonic() - began, error, {"status": status})
            record, state = make_record(key, time.monotonic() - began, _facts(here, folder)), "made"
            write_record(folder, record)
        if shelf is not None:
            heard(entry, "upload", 1.0)
            shelf.publish(folder, record)
            shutil.rmtree(folder)
            state = "made"
        return Outcome(entry, state, record["seconds"], facts=record["facts"])
    except TexsynthError as error:
        return Outcome(entry, "failed", time.monotonic() - began, str(error), {"status": EXIT_STATUS[error.kind]})
    except OSError as error:
        what = str(from_os_error(error, error.filename or entry.name))
        return Outcome(entry, "failed", time.monotonic() - began, what, {"status": 3})


def _key(entry: Entry) -> str:
    """Of all that a result depends on, wherever it lies."""
    options = {name: value for name, value in dataclasses.asdict(entry.options).items() if not isinstance(value, Path)}
    digest = hashlib.sha256(json.dumps([__version__, plain(options)], sort_keys=True).encode())
    chosen = entry.options
    blend = chosen.blend if isinstance(chosen.blend, Path) else None
    for path in (entry.asset, entry.exemplar, chosen.region, chosen.second, chosen.model, blend, entry.reference):
        digest.update(b"-" if path is None else _content(path))
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        files = [path, *(path.parent / name for name in named_by(path))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path if path.is_dir() else path.parent)).encode() + b"\0")
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.digest()


def _process(
    entry: Entry, folder: Path, key: str, threads: int | None, stopped: Stopped, heard: Heard
) -> tuple[int, str]:
    """Exit status of the command line for this entry, and its error. What was begun for this key is gone on with."""
    begun = folder / BEGUN
    resume = ["--resume"] if begun.is_file() and begun.read_text() == key else []
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(begun, key.encode())
    process = Tethered(entry.name, [*command_line(entry, folder), "--json", *resume], threads)
    error, told = "", False
    for line in process.messages():
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
            process.stop()
    status = process.wait()
    if status == 0:
        begun.unlink(missing_ok=True)
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
        if entry.asset is None and option.name in RESTYLE_ONLY:
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
        "thumbnail": _thumbnail(folder / "preview.png"),
        "seam": None if entry.asset is None else seam_steps(folder).get("albedo"),
    }
    if entry.reference is not None:
        maps = measure(folder, entry.reference, paired=True)["maps"]
        albedo = maps.get("albedo") or next(iter(maps.values()))
        facts |= {"mcr": albedo["mcr"]["ratio"], "adf": albedo["adf"]["value"]}
    return facts


def _thumbnail(picture: Path) -> str:
    """A small one for the summary, as a data: URL, so that the page shows it wherever it is read."""
    image = cv2.imread(str(picture))
    if image is None:
        return ""
    small = cv2.resize(image, (THUMBNAIL, THUMBNAIL * image.shape[0] // image.shape[1]), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
