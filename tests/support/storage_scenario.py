"""Under failing_io.so: one life of a file and of a job in the stores, with the Nth call of the storage failing.

    storage_scenario.py FOLDER once|ever ENOSPC|EIO

For N = 1, 2, ... until no call fails: all that may come up is OSError and sqlite3.Error; after it, with a storage that
works again, nothing half-done has a name, the database is whole, and the same life passes. Prints what was counted.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import sqlite3
import sys
from collections import Counter
from pathlib import Path

from texsynth_rpc.database import Database
from texsynth_rpc.jobs import JobStore, Limits, NotNow
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.objects import DIGEST, ObjectStore
from texsynth_rpc.states import Event, State

SENT, MADE, PICTURE = os.urandom(300_000), os.urandom(200_000), os.urandom(50_000)
shim = ctypes.CDLL(os.environ["LD_PRELOAD"])


def main() -> None:
    folder, for_good, code = Path(sys.argv[1]), sys.argv[2] == "ever", getattr(errno, sys.argv[3])
    number, came_up = 0, Counter[str]()
    while True:
        number += 1
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "work").mkdir(parents=True)
        shim.fail_at(number, code, for_good)
        try:
            live(folder)
            failed = False
        except (OSError, sqlite3.Error) as error:
            came_up[type(error).__name__] += 1
            failed = True
        calls = shim.calls_so_far()
        shim.fail_at(0, 0, 0)
        look(folder, number)
        live(folder)
        look(folder, number)
        if not failed and calls < number:
            break
    print(json.dumps({"calls": number - 1, "came_up": came_up}))


def live(folder: Path) -> None:
    """Send a file, submit a job, do it, publish what it made, read it back."""
    objects = ObjectStore(folder / "objects")
    database = Database(folder / "jobs.sqlite")
    try:
        jobs, ledger = JobStore(database, Limits()), Ledger(database)
        upload = objects.begin()
        try:
            upload.write(SENT)
            upload.finish()
        finally:
            upload.abandon()
        ledger.own("default", [(upload.digest, upload.size)])
        job = jobs.submit("default", "once", b"work", False, [upload.digest])
        if job.state is State.SUCCEEDED:
            return
        if job.state is State.RUNNING:  # by a life that was cut short
            jobs.happen(job.id, Event.CRASH)
        jobs.happen(job.id, Event.BEGIN)
        picture = objects.put(PICTURE)
        ledger.own("default", [(picture, len(PICTURE))])
        jobs.progress(job.id, "expand", 0.5, 1.0, picture)
        made = folder / "work" / "albedo.png"
        made.write_bytes(MADE)
        digest, size = objects.adopt(made)
        ledger.own("default", [(digest, size)])
        jobs.finish(job.id, [("albedo.png", digest, size)])
        assert objects.check(digest).read_bytes() == MADE
    finally:
        database.close()


def look(folder: Path, number: int) -> None:
    """What is there is whole."""
    for path in (folder / "objects").glob("??/*"):
        if DIGEST.match(path.name):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, (number, path)
    if not (folder / "jobs.sqlite").exists():
        return
    database = Database(folder / "jobs.sqlite")
    try:
        assert database.damage() == "", number
        jobs = JobStore(database, Limits())
        for job in jobs.everything():
            events = jobs.events(job.id, 0)
            assert [event.number for event in events] == list(range(len(events))), number
            assert [event.state for event in events if event.state][-1] is job.state, number
            if job.state is State.SUCCEEDED:
                digests = [digest for _, digest, _ in jobs.files(job.id)]
                assert [path.read_bytes() for path in map(ObjectStore(folder / "objects").check, digests)] == [MADE]
    finally:
        database.close()


if __name__ == "__main__":
    try:
        main()
    except NotNow as error:
        sys.exit(f"a job in a state that none of its events explains: {error}")
