"""Whose file is which, how much each tenant keeps, and what nobody needs any more."""

from __future__ import annotations

import time
from collections.abc import Iterable

from texsynth_rpc.database import Database

_UNUSED = (
    "NOT EXISTS (SELECT 1 FROM uses JOIN jobs ON uses.job = jobs.id "
    "WHERE uses.digest = owners.digest AND jobs.tenant = owners.tenant)"
)


class Ledger:
    """Owners in `database`. A tenant owns the files that it sent and those that its jobs made, whoever else does."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def own(self, tenant: str, files: Iterable[tuple[str, int]]) -> None:
        """From now on the tenant may read these: (digest, bytes)."""
        now = time.time()
        self._db.execute_many(
            "INSERT INTO owners (tenant, digest, size, since) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET size = excluded.size, since = MAX(since, excluded.since)",
            [(tenant, digest, size, now) for digest, size in files],
        )

    def owns(self, tenant: str, digest: str) -> bool:
        """Whether the tenant may read a file."""
        return self._any("SELECT 1 FROM owners WHERE tenant = ? AND digest = ?", tenant, digest)

    def kept(self, tenant: str) -> int:
        """Bytes of all files of a tenant; one that it has twice counts once."""
        return int(
            self._db.execute("SELECT COALESCE(SUM(size), 0) FROM owners WHERE tenant = ?", [tenant]).fetchone()[0]
        )

    def known(self, digest: str) -> bool:
        """Whether anyone owns a file."""
        return self._any("SELECT 1 FROM owners WHERE digest = ?", digest)

    def disown(self, tenant: str, digests: Iterable[str]) -> None:
        """Take these from the tenant, used or not: they are lost."""
        self._db.execute_many(
            "DELETE FROM owners WHERE tenant = ? AND digest = ?", [(tenant, digest) for digest in digests]
        )

    def release(self, tenant: str, digests: Iterable[str]) -> list[str]:
        """Take these from their owner where no job of the tenant uses them; those that nobody owns now."""
        asked = [(tenant, digest) for digest in digests]
        with self._db.transaction():
            self._db.execute_many(f"DELETE FROM owners WHERE tenant = ? AND digest = ? AND {_UNUSED}", asked)
        return [digest for _, digest in asked if not self.known(digest)]

    def sweep(self, before: float) -> list[str]:
        """Take from their owners the files that no job of theirs uses and that came before `before` (seconds since
        1970); the digests that nobody owns now."""
        with self._db.transaction():
            rows = self._db.execute(f"SELECT tenant, digest FROM owners WHERE since < ? AND {_UNUSED}", [before])
            gone = [(str(row[0]), str(row[1])) for row in rows]
            self._db.execute_many("DELETE FROM owners WHERE tenant = ? AND digest = ?", gone)
        return sorted({digest for _, digest in gone if not self.known(digest)})

    def _any(self, statement: str, *values: str) -> bool:
        return self._db.execute(statement, values).fetchone() is not None
