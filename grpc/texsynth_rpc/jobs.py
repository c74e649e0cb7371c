"""Jobs and their events in SQLite: what was answered to a client is on the disk."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from texsynth_rpc.database import Database
from texsynth_rpc.states import Event, State, following

_FIELDS = (
    "sequence, id, tenant, request_id, work, batch, state, attempts, submitted, changed, error_kind, error, stage, "
    "fraction, remaining, preview, deadline, texture"
)


class NoSuchJob(KeyError):
    """No job of this tenant has that name."""


class NotNow(Exception):
    """What was asked for does not go with the job's state."""


class QueueFull(Exception):
    """No further job is taken at present."""


class TooMany(Exception):
    """The tenant has as many unfinished jobs as it may."""


class AnotherJob(Exception):
    """The request_id was used for another job."""


@dataclass(frozen=True)
class Record:
    """A job as the database has it. Times are seconds since 1970; sequence grows with each job. deadline: 0 for none;
    texture: digest of the index of its levels (`textures.py`), empty while nobody has asked for it."""

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
    deadline: float
    texture: str


@dataclass(frozen=True)
class Limits:
    """waiting: jobs that may wait. unfinished: jobs of one tenant that may wait or run."""

    waiting: int = 1000
    unfinished: int = 1000


@dataclass(frozen=True)
class Happening:
    """One event of a job. state: that was reached, None for progress. metrics: figures by name, else empty."""

    number: int
    time: float
    state: State | None
    stage: str
    fraction: float
    remaining: float
    preview: str
    metrics: Mapping[str, float]


class JobStore:
    """Jobs in `database`. heard: called with the name of each job that something happened to."""

    def __init__(self, database: Database, limits: Limits, heard: Callable[[str], None] = lambda _: None) -> None:
        self._db, self._limits, self.heard = database, limits, heard

    def submit(
        self, tenant: str, request_id: str, work: bytes, batch: bool, inputs: Iterable[str], seconds: float = 0.0
    ) -> Record:
        """A new job, or the one that this request made before. seconds: after which it is overdue, 0: never.

        Raises AnotherJob, QueueFull, TooMany.
        """
        with self._db.transaction():
            known = self._one("tenant = ? AND request_id = ?", tenant, request_id)
            if known is not None:
                if known.work != work or known.batch != batch:
                    raise AnotherJob(request_id)
                return known
            if self.waiting() >= self._limits.waiting:
                raise QueueFull
            if self._count("tenant = ? AND state IN ('queued', 'running')", tenant) >= self._limits.unfinished:
                raise TooMany
            name, now = uuid.uuid4().hex, time.time()
            self._db.execute(
                "INSERT INTO jobs (id, tenant, request_id, work, batch, state, submitted, changed, deadline) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, tenant, request_id, work, batch, State.QUEUED.value, now, now, now + seconds if seconds else 0),
            )
            self.use(name, inputs)
            self._tell(name, now, State.QUEUED)
            made = self._one("id = ?", name)
        self.heard(name)
        assert made is not None
        return made

    def use(self, name: str, digests: Iterable[str]) -> None:
        """A job needs these files for as long as it is known."""
        self._db.execute_many("INSERT OR IGNORE INTO uses VALUES (?, ?)", [(name, digest) for digest in digests])

    def unuse(self, name: str, digests: Iterable[str]) -> None:
        """A job does without these files."""
        self._db.execute_many("DELETE FROM uses WHERE job = ? AND digest = ?", [(name, digest) for digest in digests])

    def used(self, name: str) -> list[str]:
        """Digests of the files that a job needs."""
        return [str(row[0]) for row in self._db.execute("SELECT digest FROM uses WHERE job = ?", (name,))]

    def waiting(self) -> int:
        """How many jobs wait."""
        return self._count("state = ?", State.QUEUED.value)

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        rows = self._db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state")
        return {State(row[0]): int(row[1]) for row in rows}

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

    def people_waiting(self) -> int:
        """How many jobs wait that are no batch's."""
        return self._count("state = ? AND batch = 0", State.QUEUED.value)

    def overdue(self, now: float) -> list[Record]:
        """Jobs that have not ended at their deadline."""
        return self._all("deadline > 0 AND deadline <= ? AND state IN ('queued', 'running')", now)

    def next_deadline(self) -> float:
        """The first one of a job that has not ended; 0 if there is none."""
        row = self._db.execute(
            "SELECT MIN(deadline) FROM jobs WHERE deadline > 0 AND state IN ('queued', 'running')"
        ).fetchone()
        return float(row[0] or 0)

    def ended_before(self, time: float) -> list[Record]:
        """Jobs that have ended by then."""
        return self._all("changed < ? AND state NOT IN ('queued', 'running')", time)

    def happen(self, name: str, event: Event, error: tuple[str, str] = ("", "")) -> Record:
        """Let `event` happen to a job. error: (kind, message) of one that failed. Raises NoSuchJob, NotNow."""
        with self._db.transaction():
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
                "UPDATE jobs SET state = ?, attempts = ?, changed = ?, error_kind = ?, error = ?, deadline = ? "
                "WHERE id = ?",
                (state.value, attempts, now, kind, message, 0 if event is Event.RETRY else job.deadline, name),
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
        with self._db.transaction():
            self._db.execute("DELETE FROM files WHERE job = ?", (name,))
            self._db.execute_many("INSERT INTO files VALUES (?, ?, ?, ?)", [(name, *file) for file in files])
            self.use(name, [digest for _, digest, _ in files])
            return self.happen(name, Event.FINISH)

    def index(self, name: str, texture: str) -> None:
        """Keep the digest of the index of a job's levels."""
        self._db.execute("UPDATE jobs SET texture = ? WHERE id = ?", (texture, name))

    def progress(self, name: str, stage: str, fraction: float, remaining: float, preview: str) -> None:
        """A running job went on; preview: digest of its picture, or empty for the one before."""
        now = time.time()
        with self._db.transaction():
            job = self.get(None, name)
            if preview:
                self.use(name, [preview])
            preview = preview or job.preview
            self._db.execute(
                "UPDATE jobs SET stage = ?, fraction = ?, remaining = ?, preview = ? WHERE id = ?",
                (stage, fraction, remaining, preview, name),
            )
            self._tell(name, now, None, stage, fraction, remaining, preview)
        self.heard(name)

    def measured(self, name: str, metrics: Mapping[str, float]) -> None:
        """A running job's result was measured. metrics: figures by name."""
        with self._db.transaction():
            self._tell(name, time.time(), None, metrics=json.dumps(metrics))
        self.heard(name)

    def metrics(self, name: str) -> Mapping[str, float]:
        """The figures that a job was last measured with, by name."""
        row = self._db.execute(
            "SELECT metrics FROM events WHERE job = ? AND metrics != '' ORDER BY number DESC LIMIT 1", (name,)
        ).fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    def events(self, name: str, first: int, count: int = 1000) -> list[Happening]:
        """Events of a job from number `first` on."""
        rows = self._db.execute(
            "SELECT number, time, state, stage, fraction, remaining, preview, metrics FROM events "
            "WHERE job = ? AND number >= ? ORDER BY number LIMIT ?",
            (name, first, count),
        )
        return [_happening(row) for row in rows]

    def files(self, name: str) -> list[tuple[str, str, int]]:
        """(name, digest, bytes) of what a job made."""
        rows = self._db.execute("SELECT name, digest, size FROM files WHERE job = ? ORDER BY name", (name,))
        return [(str(row[0]), str(row[1]), int(row[2])) for row in rows]

    def delete(self, tenant: str, name: str) -> None:
        """Forget a job that has ended. Raises NoSuchJob, NotNow."""
        with self._db.transaction():
            job = self.get(tenant, name)
            if not job.state.ended:
                raise NotNow(f"a job that is {job.state.value} cannot be deleted; cancel it first")
            for table, key in (("jobs", "id"), ("events", "job"), ("uses", "job"), ("files", "job")):
                self._db.execute(f"DELETE FROM {table} WHERE {key} = ?", (name,))
        self.heard(name)

    def running(self) -> list[Record]:
        """Jobs that a process which ended has left as running."""
        return self._all("state = ?", State.RUNNING.value)

    def everything(self) -> list[Record]:
        """All jobs of all tenants, the oldest first."""
        return self._all("1 ORDER BY sequence")

    def names(self) -> set[str]:
        """All jobs."""
        return {str(row[0]) for row in self._db.execute("SELECT id FROM jobs")}

    def _one(self, where: str, *values: str) -> Record | None:
        row = self._db.execute(f"SELECT {_FIELDS} FROM jobs WHERE {where}", values).fetchone()
        return None if row is None else _record(row)

    def _all(self, where: str, *values: object) -> list[Record]:
        return [_record(row) for row in self._db.execute(f"SELECT {_FIELDS} FROM jobs WHERE {where}", values)]

    def _count(self, where: str, *values: object) -> int:
        return int(self._db.execute(f"SELECT COUNT(*) FROM jobs WHERE {where}", values).fetchone()[0])

    def _tell(
        self, name: str, now: float, state: State | None, stage: str = "", fraction: float = 0.0,
        remaining: float = 0.0, preview: str = "", metrics: str = "",
    ) -> None:  # fmt: skip
        self._db.execute(
            "INSERT INTO events SELECT ?, COALESCE(MAX(number) + 1, 0), ?, ?, ?, ?, ?, ?, ? FROM events WHERE job = ?",
            (name, now, "" if state is None else state.value, stage, fraction, remaining, preview, metrics, name),
        )


def _record(row: tuple[object, ...]) -> Record:
    values = list(row)
    values[5], values[6] = bool(values[5]), State(values[6])
    return Record(*values)  # type: ignore[arg-type]


def _happening(row: tuple[Any, ...]) -> Happening:
    number, time, state, stage, fraction, remaining, preview, metrics = row
    reached = State(state) if state else None
    return Happening(number, time, reached, stage, fraction, remaining, preview, json.loads(metrics or "{}"))
