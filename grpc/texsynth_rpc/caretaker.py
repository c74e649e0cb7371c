"""The caretaker: forgets old jobs, and files that nobody needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable

from texsynth_rpc.jobs import JobStore, NoSuchJob, NotNow, Record
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.scenes import SceneStore
from texsynth_rpc.supervisor import Supervisor
from texsynth_rpc.v1 import jobs_pb2
from texsynth_rpc.work import digests_in

log = logging.getLogger(__name__)

ROUND = 600.0  # seconds between two rounds
UNUSED_UPLOAD = 86400.0  # seconds for which a file is kept that no job uses
UNOWNED = 3600.0  # seconds after which a file without an owner is one that a crash left
AT_ONCE = 500  # files that are looked at before others have their turn


class Caretaker:
    """keep: seconds for which a job that has ended is kept, 0: for ever. unfinished: tells the files, by digest, that
    will have an owner when what they belong to is whole."""

    def __init__(
        self, jobs: JobStore, ledger: Ledger, objects: ObjectStore, supervisor: Supervisor, scenes: SceneStore,
        keep: float, unfinished: Callable[[], set[str]],
    ) -> None:  # fmt: skip
        self._jobs, self._ledger, self._objects, self._supervisor = jobs, ledger, objects, supervisor
        self._scenes, self._keep, self._unfinished = scenes, keep, unfinished

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            for each in (self.remove_unowned, self.go_round):
                try:
                    await each()
                except (sqlite3.Error, OSError) as error:
                    log.error("the disk: %s; trying again at the next round", error)
            await asyncio.sleep(min(ROUND, self._keep / 4) if self._keep else ROUND)

    async def go_round(self) -> None:
        """Delete jobs that are old enough, and files that came long ago and that no job uses."""
        now = time.time()
        for job in self._jobs.ended_before(now - self._keep) if self._keep else ():
            with contextlib.suppress(NoSuchJob, NotNow):
                self.delete(job)
                log.info("job is old and forgotten", extra={"job": job.id, "tenant": job.tenant})
        for digest in self._ledger.sweep(now - UNUSED_UPLOAD):
            self._objects.remove(digest)

    def delete(self, job: Record) -> None:
        """Forget a job that has ended and what it made; what was sent for it stays. Raises NoSuchJob, NotNow."""
        shown = self._scenes.showing(job.id)
        if shown is not None:
            raise NotNow(f"surface {shown[1]} of scene {shown[0]} shows the job's texture; show another, or hide it")
        made = set(self._jobs.used(job.id)) - digests_in(jobs_pb2.Work.FromString(job.work))
        self._jobs.delete(job.tenant, job.id)
        self._supervisor.forget(job.id)
        for digest in self._ledger.release(job.tenant, made):
            self._objects.remove(digest)

    async def remove_unowned(self) -> None:
        """Files that a process left which died before it could say whose they are."""
        digests = await asyncio.to_thread(self._objects.digests)
        for number, digest in enumerate(digests):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            with contextlib.suppress(FileNotFoundError):
                old = time.time() - self._objects.path(digest).stat().st_mtime > UNOWNED
                if old and not self._ledger.known(digest) and digest not in self._unfinished():
                    self._objects.remove(digest)
