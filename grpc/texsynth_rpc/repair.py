"""`texsynth verify` of a service's folder: every file against its digest, every job against its files."""

from __future__ import annotations

import fcntl
import sqlite3
from collections import defaultdict
from pathlib import Path

from texsynth.errors import ErrorKind, TexsynthError, bad_input
from texsynth_rpc.database import Database
from texsynth_rpc.jobs import JobStore, Limits
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.objects import DIGEST, hash_of
from texsynth_rpc.states import Event, State
from texsynth_rpc.v1 import jobs_pb2
from texsynth_rpc.work import digests_in

DAMAGED = "damaged"  # folder of what was moved away
LOST = "corrupt", "a file of the result was damaged or lost on the server's disk; retry the job"
INPUT_LOST = "corrupt", "an input was damaged or lost on the server's disk; upload it again, then retry the job"


def examine(data: Path, repair: bool) -> list[str]:
    """What is wrong in the folder of a service, a line each.

    repair: damaged files are moved to DAMAGED, what a crash left half-done is removed, and jobs that lack a file fail
    with a reason, so that they can be retried. Raises TexsynthError for a service that runs, and for a database that is
    damaged.
    """
    with (data / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise bad_input(data, "is in use by texsynth serve", "stop it first") from None
        try:
            database = Database(data / "jobs.sqlite")
            found = database.damage()
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found:
            right = "restore it from a backup; the files in objects are checked without it after that"
            raise TexsynthError(ErrorKind.CORRUPT, f"{data / 'jobs.sqlite'}: {found}; {right}")
        try:
            return _examine(data, database, repair)
        finally:
            database.close()


def _examine(data: Path, database: Database, repair: bool) -> list[str]:
    objects, jobs, ledger = data / "objects", JobStore(database, Limits()), Ledger(database)
    problems, there = [], set()
    for path in sorted(objects.glob("*/*")):
        if path.parent.name == "incoming" or not DIGEST.match(path.name):
            problems.append(f"{path}: is a file that was not finished")
            if repair:
                path.unlink()
        elif path.name[:2] != path.parent.name or hash_of(path) != path.name:
            problems.append(f"{path}: its bytes are not those of its digest")
            if repair:
                (data / DAMAGED).mkdir(exist_ok=True)
                path.replace(data / DAMAGED / path.name)
        else:
            there.add(path.name)
    for line in _lost(jobs, there, repair):
        problems.append(line)
    if repair:
        _disown(database, ledger, there)
    return problems


def _lost(jobs: JobStore, there: set[str], repair: bool) -> list[str]:
    """Jobs that lack a file: one that is still to be done an input, one that has succeeded a part of its result."""
    problems = []
    for job in jobs.everything():
        lacking = set(jobs.used(job.id)) - there
        names = sorted({name for name, digest, _ in jobs.files(job.id) if digest in lacking})
        if job.state in (State.QUEUED, State.RUNNING):
            names = ["an input"] if lacking & digests_in(jobs_pb2.Work.FromString(job.work)) else []
        elif job.state is not State.SUCCEEDED:
            names = []
        if names:
            problems.append(f"job {job.id} ({job.state.value}): lacks {', '.join(names)}")
        if repair and lacking:
            if job.state is State.RUNNING:  # by a service that was killed
                jobs.happen(job.id, Event.YIELD)
            if names:
                jobs.happen(job.id, Event.LOSE, LOST if job.state is State.SUCCEEDED else INPUT_LOST)
            jobs.index(job.id, "")  # levels are made again when someone asks
            jobs.unuse(job.id, lacking)
    return problems


def _disown(database: Database, ledger: Ledger, there: set[str]) -> None:
    """Nobody owns what is not there: who sent it may send it again."""
    owners: dict[str, list[str]] = defaultdict(list)
    for tenant, digest in database.execute("SELECT tenant, digest FROM owners"):
        if digest not in there:
            owners[tenant].append(digest)
    for tenant, digests in owners.items():
        ledger.disown(tenant, digests)
