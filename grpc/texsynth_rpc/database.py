"""The service's SQLite database: its tables, how older ones become them, and transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

_TABLES = """
CREATE TABLE jobs (
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
CREATE INDEX by_turn ON jobs (state, batch, tenant, sequence);
CREATE TABLE events (
  job TEXT NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, state TEXT NOT NULL,
  stage TEXT NOT NULL, fraction REAL NOT NULL, remaining REAL NOT NULL, preview TEXT NOT NULL,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE inputs (job TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (job, digest)) WITHOUT ROWID;
CREATE TABLE files (
  job TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (job, name)
) WITHOUT ROWID;
CREATE TABLE served (
  tenant TEXT NOT NULL, batch INTEGER NOT NULL, time REAL NOT NULL, PRIMARY KEY (tenant, batch)
) WITHOUT ROWID;
CREATE TABLE owners (
  tenant TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (tenant, digest)
) WITHOUT ROWID;
CREATE INDEX input_digests ON inputs (digest);
CREATE INDEX file_digests ON files (digest);
"""
# Version 2: every file that a job needs is in `uses`, whatever for; owners know how much they own and since when.
_USES = """
ALTER TABLE inputs RENAME TO uses;
INSERT OR IGNORE INTO uses SELECT job, digest FROM files;
INSERT OR IGNORE INTO uses SELECT job, preview FROM events WHERE preview != '';
ALTER TABLE owners ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE owners ADD COLUMN since REAL NOT NULL DEFAULT 0;
UPDATE owners SET size = COALESCE((SELECT MAX(size) FROM files WHERE files.digest = owners.digest), 0);
CREATE INDEX owner_digests ON owners (digest);
DROP INDEX file_digests;
ALTER TABLE jobs ADD COLUMN deadline REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN texture TEXT NOT NULL DEFAULT '';
CREATE INDEX by_deadline ON jobs (deadline) WHERE deadline > 0;
CREATE INDEX by_age ON jobs (changed);
ALTER TABLE events ADD COLUMN metrics TEXT NOT NULL DEFAULT '';
"""
# Version 3: scenes; the index of a texture says what its chunks add to the screen, so older ones are made again.
_SCENES = """
CREATE TABLE surfaces (
  tenant TEXT NOT NULL, scene TEXT NOT NULL, surface TEXT NOT NULL, version INTEGER NOT NULL, job TEXT NOT NULL,
  PRIMARY KEY (tenant, scene, surface, version)
) WITHOUT ROWID;
CREATE INDEX surface_jobs ON surfaces (job);
UPDATE jobs SET texture = '';
"""
_STEPS = (_TABLES, _USES, _SCENES)  # number k leads from version k to version k + 1


class Database:
    """The file at `path`. To be used from one thread.

    Raises sqlite3.Error where the disk does not do what it should, and for a file of a later version than this one.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(_STEPS):
            raise sqlite3.DatabaseError(f"{path}: is of version {version}; this service knows {len(_STEPS)}")
        for number, step in enumerate(_STEPS[version:], version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def execute(self, statement: str, values: Iterable[object] = ()) -> sqlite3.Cursor:
        """One statement."""
        return self._db.execute(statement, tuple(values))

    def execute_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """One statement for every row."""
        self._db.executemany(statement, rows)

    def transaction(self) -> Transaction:
        """`with` it: all of what happens inside, or nothing."""
        return Transaction(self._db)

    def damage(self) -> str:
        """What SQLite's own check finds, in one line; empty if nothing."""
        found = "; ".join(str(row[0]) for row in self._db.execute("PRAGMA integrity_check(5)"))
        return "" if found == "ok" else found


class Transaction:
    """BEGIN IMMEDIATE, then COMMIT, or ROLLBACK on any error. One inside another is part of it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._inside = False

    def __enter__(self) -> None:
        self._inside = self._db.in_transaction
        if not self._inside:
            self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if not self._inside and self._db.in_transaction:  # a full disk may have rolled it back already
            self._db.execute("COMMIT" if kind is None else "ROLLBACK")
