"""Scenes in SQLite: which job's texture each surface shows, and what it showed before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from texsynth_rpc.database import Database

REMEMBERED = 8  # versions of a surface: a viewer that comes back keeps the chunks that are still the same

_NEWEST = (
    "version = (SELECT MAX(version) FROM surfaces AS newer WHERE newer.tenant = surfaces.tenant "
    "AND newer.scene = surfaces.scene AND newer.surface = surfaces.surface)"
)


@dataclass(frozen=True)
class Shown:
    """What a surface shows. version: grows with each change. job: empty for a surface that was taken out."""

    surface: str
    version: int
    job: str


class SceneStore:
    """Scenes in `database`. heard: called with tenant and scene when one has changed."""

    def __init__(self, database: Database, heard: Callable[[str, str], None]) -> None:
        self._db, self._heard = database, heard

    def show(self, tenant: str, scene: str, surface: str, job: str) -> Shown:
        """From now on; the same job again changes nothing. job "": take the surface out."""
        with self._db.transaction():
            last = self._newest(tenant, scene, surface)
            if last.job == job:
                return last
            key = (tenant, scene, surface)
            self._db.execute("INSERT INTO surfaces VALUES (?, ?, ?, ?, ?)", (*key, last.version + 1, job))
            self._db.execute(
                "DELETE FROM surfaces WHERE tenant = ? AND scene = ? AND surface = ? AND version <= ?",
                (*key, last.version + 1 - REMEMBERED),
            )
        self._heard(tenant, scene)
        return Shown(surface, last.version + 1, job)

    def surfaces(self, tenant: str, scene: str) -> list[Shown]:
        """Of a scene, by name."""
        rows = self._db.execute(
            f"SELECT surface, version, job FROM surfaces WHERE tenant = ? AND scene = ? AND job != '' AND {_NEWEST} "
            "ORDER BY surface",
            (tenant, scene),
        )
        return [Shown(*row) for row in rows]

    def before(self, tenant: str, scene: str, surface: str, version: int) -> str:
        """The job of an earlier version, "" if that is forgotten."""
        row = self._db.execute(
            "SELECT job FROM surfaces WHERE tenant = ? AND scene = ? AND surface = ? AND version = ?",
            (tenant, scene, surface, version),
        ).fetchone()
        return "" if row is None else str(row[0])

    def showing(self, job: str) -> tuple[str, str] | None:
        """(scene, surface) that shows a job's texture now."""
        row = self._db.execute(f"SELECT scene, surface FROM surfaces WHERE job = ? AND {_NEWEST}", (job,)).fetchone()
        return None if row is None else (str(row[0]), str(row[1]))

    def _newest(self, tenant: str, scene: str, surface: str) -> Shown:
        row = self._db.execute(
            "SELECT surface, version, job FROM surfaces WHERE tenant = ? AND scene = ? AND surface = ? "
            "ORDER BY version DESC LIMIT 1",
            (tenant, scene, surface),
        ).fetchone()
        return Shown(surface, 0, "") if row is None else Shown(*row)
