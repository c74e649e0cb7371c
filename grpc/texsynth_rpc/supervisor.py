"""The supervisor: gives waiting jobs to the worker processes, one each at a time, and sees that none is lost.

A person's job overtakes a batch's: a running one stops at its next step, keeps its checkpoint and goes on later. A
worker that dies or hangs is replaced; its job goes on where it was, MOST_ATTEMPTS times at most. A job that is called
off, or whose deadline passes, stops within a step; its worker is killed if it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from texsynth_rpc.jobs import JobStore, NoSuchJob, NotNow, Record
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.meters import Meters
from texsynth_rpc.objects import Damaged, ObjectStore
from texsynth_rpc.states import Event, State
from texsynth_rpc.v1 import jobs_pb2
from texsynth_rpc.work import lay_out
from texsynth_rpc.worker_process import WorkerProcess

log = logging.getLogger(__name__)

PREVIEW_EVERY = 0.5  # seconds between two previews
STOP_PATIENCE = 30.0  # seconds in which a worker must have stopped; a step of the largest textures takes some
LONGEST_NAP = 3600.0  # seconds
DISK_PAUSE = 1.0  # seconds between two tries of a change that a full disk refused
CALLED_OFF = "cancelled", "was called off"
TOO_LATE = "deadline", "was not done by its deadline; retry it, or submit it with more time"


@dataclass
class _Place:
    """A worker and what it does. reason: why its job was told to stop."""

    worker: WorkerProcess
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    job: Record | None = None
    reason: Event | None = None
    ready: bool = False
    jobs: int = 0  # that its worker has had


class Supervisor:
    """Runs until `stop`. folder: where the jobs' files lie while they are worked on. workers: what each one has in its
    environment, by its name. worker_jobs: after which one is replaced when nobody waits, against leaks of libraries."""

    def __init__(
        self, jobs: JobStore, ledger: Ledger, objects: ObjectStore, folder: Path,
        workers: Mapping[str, Mapping[str, str]], worker_jobs: int, meters: Meters,
    ) -> None:  # fmt: skip
        self._jobs, self._ledger, self._objects, self._folder = jobs, ledger, objects, folder
        self._worker_jobs, self._meters = worker_jobs, meters
        self._places = [_Place(WorkerProcess(name, variables, self.wake)) for name, variables in workers.items()]
        self._clock_changed = asyncio.Event()
        self._stopping = False
        self.ready = asyncio.Event()

    def wake(self) -> None:
        """Something changed in the queue."""
        people = 0
        with contextlib.suppress(sqlite3.Error):  # who asks next says so
            people = self._jobs.people_waiting()
        free = sum(place.job is None and place.ready for place in self._places)
        leaving = sum(place.reason is not None for place in self._places)
        batches = [p for p in self._places if p.job is not None and p.job.batch and p.reason is None]
        for place in batches[: max(0, people - free - leaving)]:
            self._stop_job(place, Event.YIELD)
        for place in self._places:
            place.wake.set()
        self._clock_changed.set()

    async def run(self) -> None:
        """Work until `stop` is called."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._jobs.running():  # by a service that was killed
            self._jobs.happen(left.id, Event.CRASH, ("internal", "the service died with it several times"))
        known = self._jobs.names()
        for folder in self._folder.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        async with asyncio.TaskGroup() as group:
            for place in self._places:
                group.create_task(self._work(place))
            group.create_task(self._watch_the_clock())

    async def stop(self) -> None:
        """Let the running jobs keep their checkpoints and go back into the queue; then end."""
        self._stopping = True
        for place in self._places:
            place.wake.set()
            if not place.ready:
                place.worker.kill()
            elif place.job is not None and place.reason is None:
                self._stop_job(place, Event.YIELD)
        self._clock_changed.set()

    def cancel(self, job: Record) -> Record:
        """Call a job off. Raises NotNow if it has ended."""
        return self._end_early(job, Event.CANCEL, CALLED_OFF)

    def forget(self, name: str) -> None:
        """Remove the files of a job that is deleted."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def _end_early(self, job: Record, event: Event, error: tuple[str, str]) -> Record:
        for place in self._places:
            if place.job is not None and place.job.id == job.id:
                self._stop_job(place, event)
                return job
        return self._jobs.happen(job.id, event, error)

    def _stop_job(self, place: _Place, reason: Event) -> None:
        if place.reason not in (Event.CANCEL, Event.EXPIRE):
            place.reason = reason
        place.worker.order(stop=True)
        asyncio.get_running_loop().call_later(STOP_PATIENCE, self._insist, place, place.job)

    def _insist(self, place: _Place, job: Record | None) -> None:
        if place.job is job and job is not None and place.reason is not None:
            log.error("worker %s does not stop; it is replaced", place.worker.name, extra={"job": job.id})
            place.worker.kill()

    async def _watch_the_clock(self) -> None:
        while not self._stopping:
            self._clock_changed.clear()
            try:
                for job in self._jobs.overdue(time.time()):
                    with contextlib.suppress(NotNow, NoSuchJob):
                        self._end_early(job, Event.EXPIRE, TOO_LATE)
                following = self._jobs.next_deadline()
                nap = min(max(following - time.time(), 0.01), LONGEST_NAP) if following else LONGEST_NAP
            except sqlite3.Error as error:
                log.error("the database: %s; trying again", error)
                nap = DISK_PAUSE
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._clock_changed.wait(), nap)

    async def _work(self, place: _Place) -> None:
        while not self._stopping:
            if not place.worker.alive:
                place.ready, place.jobs = False, 0
                if not await place.worker.start():
                    if not self._stopping:
                        log.error("worker %s did not start", place.worker.name)
                    await asyncio.sleep(1)
                    continue
                self._meters.workers_started.inc()
            place.ready = True
            self.ready.set()
            place.wake.clear()
            try:
                job = None if self._stopping else self._jobs.next()
                if job is not None:
                    place.job, place.reason = self._jobs.happen(job.id, Event.BEGIN), None
            except sqlite3.Error as error:  # it still waits
                log.error("the database: %s; trying again", error)
                await asyncio.sleep(DISK_PAUSE)
                continue
            if job is not None:
                place.jobs += 1
                await self._do(place, job)
            elif place.jobs >= self._worker_jobs:
                await place.worker.end()
            elif not self._stopping:
                await place.wake.wait()
        await place.worker.end()

    async def _durably(self, change: Callable[[], None]) -> None:
        """Make a change of the database, if need be when its disk has room again. Raises NotNow, NoSuchJob."""
        while True:
            try:
                change()
                return
            except sqlite3.Error as error:
                if self._stopping:  # the job is found running at the next start, and goes on
                    return
                log.error("the database: %s; trying again", error)
            await asyncio.sleep(DISK_PAUSE)

    async def _do(self, place: _Place, job: Record) -> None:
        folder = self._folder / job.id
        self._meters.waited.observe(time.time() - job.changed)
        log.info("job begins", extra={"job": job.id, "tenant": job.tenant, "worker": place.worker.name})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "work.bin").write_bytes(job.work)
            await asyncio.to_thread(lay_out, jobs_pb2.Work.FromString(job.work), self._objects, folder / "in")
            if place.reason is None:
                place.worker.order(job=str(folder))
                await self._follow(place, job, folder)
            else:  # called off meanwhile
                await self._end(job, place.reason, _why(place.reason))
        except (Damaged, FileNotFoundError) as error:
            await self._end(job, Event.REFUSE, ("corrupt", f"an input is damaged; upload it again ({error})"))
        except OSError as error:
            await self._end(
                job, Event.REFUSE, ("no_space", f"the server's disk: {error.strerror}; free space, then retry")
            )
        finally:
            place.job, place.reason = None, None

    async def _follow(self, place: _Place, job: Record, folder: Path) -> None:
        shown = 0.0
        while True:
            news = await place.worker.hear()
            if news is None:
                reason = place.reason or Event.CRASH
                crashed = "internal", "its worker process died or hung, several times in a row"
                await self._end(job, reason, crashed if reason is Event.CRASH else _why(reason))
                return
            if "progress" in news:
                preview = ""
                if news["preview"] and time.monotonic() - shown >= PREVIEW_EVERY:
                    shown = time.monotonic()
                    preview = self._preview(job, Path(news["preview"]))
                with contextlib.suppress(sqlite3.Error):  # a full disk: there will be more news
                    self._jobs.progress(job.id, news["stage"], news["fraction"], news["remaining"], preview)
            elif "done" in news:
                await self._finish(job, folder / "out", news["metrics"])
                shutil.rmtree(folder, ignore_errors=True)
                return
            elif "error" in news:
                stopped = news["kind"] == "cancelled" and place.reason is not None
                reason = place.reason if stopped and place.reason is not None else Event.REFUSE
                error = _why(reason) if stopped else (news["kind"], news["message"])
                await self._end(job, reason, error)
                return

    def _preview(self, job: Record, picture: Path) -> str:
        """Digest of a picture of the job, empty if it cannot be kept."""
        with contextlib.suppress(OSError, sqlite3.Error):  # the next one may be written
            data = picture.read_bytes()
            digest = self._objects.put(data)
            self._ledger.own(job.tenant, [(digest, len(data))])
            return digest
        return ""

    async def _finish(self, job: Record, out: Path, metrics: Mapping[str, float]) -> None:
        """What lies in `out` is the result."""
        files = await asyncio.to_thread(self._publish, out)

        def change() -> None:
            self._ledger.own(job.tenant, [(digest, size) for _, digest, size in files])
            if metrics:
                self._jobs.measured(job.id, metrics)
            self._jobs.finish(job.id, files)
            self._ended(job, State.SUCCEEDED)

        await self._durably(change)

    async def _end(self, job: Record, event: Event, error: tuple[str, str]) -> None:
        def change() -> None:
            ended = self._jobs.happen(job.id, event, error)
            if ended.state.ended:
                self._ended(job, ended.state)
            if ended.state is State.FAILED:
                log.error("job failed: %s: %s", *error, extra={"job": job.id, "tenant": job.tenant})

        with contextlib.suppress(NoSuchJob, NotNow):
            await self._durably(change)

    def _ended(self, job: Record, state: State) -> None:
        self._meters.ended(
            state, str(jobs_pb2.Work.FromString(job.work).WhichOneof("kind")), time.time() - job.submitted
        )
        log.info("job ends: %s", state.value, extra={"job": job.id, "tenant": job.tenant})

    def _publish(self, out: Path) -> Sequence[tuple[str, str, int]]:
        """Every file of a result becomes an object."""
        paths = sorted(path for path in out.rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
        return [(path.relative_to(out).as_posix(), *self._objects.adopt(path)) for path in paths]


def _why(reason: Event) -> tuple[str, str]:
    """Kind and message of a job that was told to stop."""
    return TOO_LATE if reason is Event.EXPIRE else CALLED_OFF
