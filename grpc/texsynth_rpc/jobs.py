"""Jobs and their events in SQLite: what was answered to a client is on the disk."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from texsynth_rpc.states import Event, State, following

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  work BLOB NOT NULL,
  batch INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  submitted REAL NOT NULL,
  changed REAL NOT NULL,
  error_kind TEXT NOT NULL DEFAULT '',
  error TEXT NOT NULL DEFAULT '',
  stage TEXT NOT NULL DEFAULT '',
  fraction REAL NOT NULL DEFAULT 0,
  remaining REAL NOT NULL DEFAULT 0,
  preview TEXT NOT NULL DEFAULT '',
  UNIQUE (tenant, request_id)
);
CREATE INDEX IF NOT EXISTS by_turn ON jobs (state, batch, tenant, sequence);
CREATE TABLE IF NOT EXISTS events (
  job TEXT NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, state TEXT NOT NULL,
  stage TEXT NOT NULL, fraction REAL NOT NULL, remaining REAL NOT NULL, preview TEXT NOT NULL,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inputs (job TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (job, digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  job TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (job, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS served (
  tenant TEXT NOT NULL, batch INTEGER NOT NULL, time REAL NOT NULL, PRIMARY KEY (tenant, batch)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (
  tenant TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (tenant, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS input_digests ON inputs (digest);
CREATE INDEX IF NOT EXISTS file_digests ON files (digest);
"""
VERSION = 1
_FIELDS = (
    "sequence, id, tenant, request_id, work, batch, state, attempts, submitted, changed, error_kind, error, stage, "
    "fraction, remaining, preview"
)


class NoSuchJob(KeyError):
    """No job of this tenant has that name."""


class NotNow(Exception):
    """What was asked for does not go with the job's state."""


class QueueFull(Exception):
    """No further job is taken at present."""


class AnotherJob(Exception):
    """The request_id was used for another job."""


@dataclass(frozen=True)
class Record:
    """A job as the database has it. Times are seconds since 1970; sequence grows with each job."""

    sequence: int
    id: str
    tenant: str
    request_id: str
    work: bytes
    batch: bool
    state: State
    attempts: int
    submitted: float
    changed: float
    error_kind: str
    error: str
    stage: str
    fraction: float
    remaining: float
    preview: str


@dataclass(frozen=True)
class Happening:
    """One event of a job. state: that was reached, None for progress."""

    number: int
    time: float
    state: State | None
    stage: str
    fraction: float
    remaining: float
    preview: str


class JobStore:
    """The database at `path`. To be used from one thread.

    queue_limit: jobs that may wait. heard: called with the name of each job that something happened to.
    Raises sqlite3.Error where the disk does not do what it should.
    """

    def __init__(self, path: Path, queue_limit: int, heard: Callable[[str], None] = lambda _: None) -> None:
        self._limit = queue_limit
        self.heard = heard
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"{path}: is of version {version}; this service knows {VERSION}")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def submit(self, tenant: str, request_id: str, work: bytes, batch: bool, inputs: Iterable[str]) -> Record:
        """A new job, or the one that this request made before. Raises AnotherJob, QueueFull."""
        with self._transaction():
            known = self._one("tenant = ? AND request_id = ?", tenant, request_id)
            if known is not None:
                if known.work != work or known.batch != batch:
                    raise AnotherJob(request_id)
                return known
            if self.waiting() >= self._limit:
                raise QueueFull
            name, now = uuid.uuid4().hex, time.time()
            self._db.execute(
                "INSERT INTO jobs (id, tenant, request_id, work, batch, state, submitted, changed) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (name, tenant, request_id, work, batch, State.QUEUED.value, now, now),
            )
            self._db.executemany("INSERT OR IGNORE INTO inputs VALUES (?, ?)", [(name, digest) for digest in inputs])
            self._tell(name, now, State.QUEUED)
            made = self._one("id = ?", name)
        self.heard(name)
        assert made is not None
        return made

    def own(self, tenant: str, digests: Iterable[str]) -> None:
        """From now on the tenant may read these objects."""
        self._db.executemany("INSERT OR IGNORE INTO owners VALUES (?, ?)", [(tenant, digest) for digest in digests])

    def owns(self, tenant: str, digest: str) -> bool:
        """Whether the tenant sent this object, or a job of theirs made it."""
        found = self._db.execute("SELECT 1 FROM owners WHERE tenant = ? AND digest = ?", (tenant, digest)).fetchone()
        return found is not None

    def waiting(self) -> int:
        """How many jobs wait."""
        return int(self._db.execute("SELECT COUNT(*) FROM jobs WHERE state = ?", (State.QUEUED.value,)).fetchone()[0])

    def get(self, tenant: str | None, name: str) -> Record:
        """A job; tenant None: whoever's. Raises NoSuchJob."""
        found = self._one("id = ?", name) if tenant is None else self._one("id = ? AND tenant = ?", name, tenant)
        if found is None:
            raise NoSuchJob(name)
        return found

    def page(self, tenant: str, before: int | None, states: Iterable[State], count: int) -> list[Record]:
        """The newest jobs with a sequence below `before`, `count` at most; states: only these, all if empty."""
        wanted = [state.value for state in states] or [state.value for state in State]
        marks = ", ".join("?" * len(wanted))
        rows = self._db.execute(
            f"SELECT {_FIELDS} FROM jobs WHERE tenant = ? AND sequence < ? AND state IN ({marks}) "
            "ORDER BY sequence DESC LIMIT ?",
            (tenant, 2**62 if before is None else before, *wanted, count),
        )
        return [_record(row) for row in rows]

    def next(self) -> Record | None:
        """The job whose turn it is: people before batches, then the tenant who has waited longest for a begin."""
        row = self._db.execute(
            f"SELECT {_FIELDS} FROM jobs WHERE sequence = (SELECT first FROM "
            "(SELECT tenant, batch, MIN(sequence) AS first FROM jobs WHERE state = ? GROUP BY batch, tenant) "
            "LEFT JOIN served USING (tenant, batch) ORDER BY batch, COALESCE(time, 0), first LIMIT 1)",
            (State.QUEUED.value,),
        ).fetchone()
        return None if row is None else _record(row)

    def person_waits(self) -> bool:
        """Whether a job waits that is no batch's."""
        return (
            self._db.execute(
                "SELECT 1 FROM jobs WHERE state = ? AND batch = 0 LIMIT 1", (State.QUEUED.value,)
            ).fetchone()
            is not None
        )

    def happen(self, name: str, event: Event, error: tuple[str, str] = ("", "")) -> Record:
        """Let `event` happen to a job. error: (kind, message) of one that failed. Raises NoSuchJob, NotNow."""
        with self._transaction():
            job = self.get(None, name)
            state = following(job.state, event, job.attempts)
            if state is None:
                raise NotNow(f"a job that is {job.state.value} cannot {event.value}")
            attempts = {Event.BEGIN: job.attempts + 1, Event.RETRY: 0, Event.YIELD: job.attempts - 1}.get(
                event, job.attempts
            )
            kind, message = error if state in (State.FAILED, State.CANCELLED) else ("", "")
            now = time.time()
            self._db.execute(
                "UPDATE jobs SET state = ?, attempts = ?, changed = ?, error_kind = ?, error = ? WHERE id = ?",
                (state.value, attempts, now, kind, message, name),
            )
            self._tell(name, now, state)
            if event is Event.BEGIN:
                self._db.execute("INSERT OR REPLACE INTO served VALUES (?, ?, ?)", (job.tenant, job.batch, now))
            changed = self.get(None, name)
        self.heard(name)
        return changed

    def finish(self, name: str, files: Iterable[tuple[str, str, int]]) -> Record:
        """The job is done and has made `files`: (name, digest, bytes). Raises NoSuchJob, NotNow."""
        files = list(files)
        self.own(self.get(None, name).tenant, [digest for _, digest, _ in files])
        self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", [(name, *file) for file in files])
        return self.happen(name, Event.FINISH)

    def progress(self, name: str, stage: str, fraction: float, remaining: float, preview: str) -> None:
        """A running job went on; preview: digest of its picture, or empty for the one before."""
        now = time.time()
        with self._transaction():
            job = self.get(None, name)
            if preview:
                self.own(job.tenant, [preview])
            preview = preview or job.preview
            self._db.execute(
                "UPDATE jobs SET stage = ?, fraction = ?, remaining = ?, preview = ? WHERE id = ?",
                (stage, fraction, remaining, preview, name),
            )
            self._tell(name, now, None, stage, fraction, remaining, preview)
        self.heard(name)

    def events(self, name: str, first: int, count: int = 1000) -> list[Happening]:
        """Events of a job from number `first` on."""
        rows = self._db.execute(
            "SELECT number, time, state, stage, fraction, remaining, preview FROM events "
            "WHERE job = ? AND number >= ? ORDER BY number LIMIT ?",
            (name, first, count),
        )
        return [Happening(row[0], row[1], State(row[2]) if row[2] else None, *row[3:]) for row in rows]

    def files(self, name: str) -> list[tuple[str, str, int]]:
        """(name, digest, bytes) of what a job made."""
        rows = self._db.execute("SELECT name, digest, size FROM files WHERE job = ? ORDER BY name", (name,))
        return [(str(row[0]), str(row[1]), int(row[2])) for row in rows]

    def delete(self, tenant: str, name: str) -> None:
        """Forget a job that has ended. Raises NoSuchJob, NotNow."""
        with self._transaction():
            job = self.get(tenant, name)
            if not job.state.ended:
                raise NotNow(f"a job that is {job.state.value} cannot be deleted; cancel it first")
            for table, key in (("jobs", "id"), ("events", "job"), ("inputs", "job"), ("files", "job")):
                self._db.execute(f"DELETE FROM {table} WHERE {key} = ?", (name,))
        self.heard(name)

    def running(self) -> list[Record]:
        """Jobs that a process which ended has left as running."""
        rows = self._db.execute(f"SELECT {_FIELDS} FROM jobs WHERE state = ?", (State.RUNNING.value,))
        return [_record(row) for row in rows]

    def names(self) -> set[str]:
        """All jobs."""
        return {str(row[0]) for row in self._db.execute("SELECT id FROM jobs")}

    def _one(self, where: str, *values: str) -> Record | None:
        row = self._db.execute(f"SELECT {_FIELDS} FROM jobs WHERE {where}", values).fetchone()
        return None if row is None else _record(row)

    def _tell(
        self, name: str, now: float, state: State | None, stage: str = "", fraction: float = 0.0,
        remaining: float = 0.0, preview: str = "",
    ) -> None:  # fmt: skip
        self._db.execute(
            "INSERT INTO events SELECT ?, COALESCE(MAX(number) + 1, 0), ?, ?, ?, ?, ?, ? FROM events WHERE job = ?",
            (name, now, "" if state is None else state.value, stage, fraction, remaining, preview, name),
        )

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """BEGIN IMMEDIATE, then COMMIT, or ROLLBACK on any error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def _record(row: tuple[object, ...]) -> Record:
    values = list(row)
    values[5], values[6] = bool(values[5]), State(values[6])
    return Record(*values)  # type: ignore[arg-type]
