"""The supervisor: gives waiting jobs to the worker process, one at a time, and sees that none is lost.

A person's job overtakes a batch's: the running one stops at its next step, keeps its checkpoint and goes on later. A
worker that dies or says nothing for PATIENCE seconds is replaced; its job goes on where it was, MOST_ATTEMPTS times at
most.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from texsynth_rpc.jobs import JobStore, NoSuchJob, NotNow, Record
from texsynth_rpc.objects import Damaged, ObjectStore
from texsynth_rpc.states import Event, State
from texsynth_rpc.v1 import jobs_pb2
from texsynth_rpc.work import lay_out

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds without a sign of life
PREVIEW_EVERY = 0.5  # seconds between two previews


class Supervisor:
    """Runs until `stop`. folder: where the jobs' files lie while they are worked on."""

    def __init__(self, jobs: JobStore, objects: ObjectStore, folder: Path) -> None:
        self._jobs, self._objects, self._folder = jobs, objects, folder
        self._wake = asyncio.Event()
        self._worker: asyncio.subprocess.Process | None = None
        self._running: Record | None = None
        self._reason: Event | None = None  # why the running job was told to stop
        self._stopping = False
        self.ready = asyncio.Event()

    def wake(self) -> None:
        """Something changed in the queue."""
        self._wake.set()
        running = self._running
        if running is not None and running.batch and self._reason is None and self._jobs.person_waits():
            self._stop_job(Event.YIELD)

    async def run(self) -> None:
        """Work until `stop` is called."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._jobs.running():  # by a service that was killed
            self._jobs.happen(left.id, Event.CRASH, ("internal", "the service died with it several times"))
        known = self._jobs.names()
        for folder in self._folder.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        while not self._stopping:
            self._wake.clear()  # before the wait: a stop that comes while the worker starts must not be forgotten
            await self._hire()
            if self._stopping:
                break
            job = self._jobs.next()
            if job is None:
                await self._wake.wait()
                continue
            await self._do(job)
        await self._dismiss()

    async def stop(self) -> None:
        """Let the running job keep its checkpoint and go back into the queue; then end."""
        self._stopping = True
        self._wake.set()
        if self._running is not None and self._reason is None:
            self._stop_job(Event.YIELD)

    def cancel(self, job: Record) -> Record:
        """Call a job off. Raises NotNow if it has ended."""
        if self._running is not None and self._running.id == job.id:
            self._stop_job(Event.CANCEL)
            return job
        return self._jobs.happen(job.id, Event.CANCEL, ("cancelled", "was called off before it began"))

    def forget(self, name: str) -> None:
        """Remove the files of a job that is deleted."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def _stop_job(self, reason: Event) -> None:
        self._reason = reason
        self._order(stop=True)

    def _order(self, **order: Any) -> None:
        worker = self._worker
        if worker is not None and worker.stdin is not None and not worker.stdin.is_closing():
            worker.stdin.write((json.dumps(order) + "\n").encode())

    async def _hire(self) -> None:
        if self._worker is not None and self._worker.returncode is None:
            return
        self.ready.clear()
        root = str(Path(__file__).parent.parent)
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
        self._worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "texsynth_rpc.worker", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path}, limit=1 << 20, start_new_session=True,
        )  # fmt: skip
        news = await self._hear()
        while news is not None and "ready" not in news:
            news = await self._hear()
        if news is None:
            log.error("the worker process did not start (status %s)", self._worker.returncode)
            await self._dismiss()
            await asyncio.sleep(1)
        else:
            self.ready.set()

    async def _hear(self) -> dict[str, Any] | None:
        """The worker's next news; None when it has died or hangs, and then it is gone."""
        worker = self._worker
        assert worker is not None and worker.stdout is not None
        try:
            line = await asyncio.wait_for(worker.stdout.readline(), PATIENCE)
            if line:
                heard: dict[str, Any] = json.loads(line)
                return heard
        except (TimeoutError, ValueError):
            log.error("the worker process hangs; it is replaced")
        await self._dismiss()
        return None

    async def _dismiss(self) -> None:
        worker, self._worker = self._worker, None
        self.ready.clear()
        if worker is None:
            return
        if worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
        await worker.wait()

    async def _do(self, job: Record) -> None:
        folder = self._folder / job.id
        self._running, self._reason = self._jobs.happen(job.id, Event.BEGIN), None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "work.bin").write_bytes(job.work)
            await asyncio.to_thread(lay_out, jobs_pb2.Work.FromString(job.work), self._objects, folder / "in")
            if self._reason is None:
                self._order(job=str(folder))
                await self._follow(job, folder)
            else:  # called off meanwhile
                self._jobs.happen(job.id, self._reason, ("cancelled", "was called off"))
        except (Damaged, FileNotFoundError) as error:
            self._end(job, Event.REFUSE, ("corrupt", f"an input is damaged; upload it again ({error})"))
        except OSError as error:
            self._end(job, Event.REFUSE, ("no_space", f"the server's disk: {error.strerror}; free space, then retry"))
        finally:
            self._running = None

    async def _follow(self, job: Record, folder: Path) -> None:
        shown = 0.0
        while True:
            news = await self._hear()
            if news is None:
                reason = self._reason or Event.CRASH
                self._end(job, reason, ("internal", "its worker process died or hung, several times in a row"))
                return
            if "progress" in news:
                preview = ""
                if news["preview"] and time.monotonic() - shown >= PREVIEW_EVERY:
                    shown = time.monotonic()
                    with contextlib.suppress(OSError):  # the next one may be written
                        preview = self._objects.put(Path(news["preview"]).read_bytes())
                self._jobs.progress(job.id, news["stage"], news["fraction"], news["remaining"], preview)
            elif "done" in news:
                files = await asyncio.to_thread(self._publish, folder / "out")
                self._jobs.finish(job.id, files)
                shutil.rmtree(folder, ignore_errors=True)
                return
            elif "error" in news:
                stopped = news["kind"] == "cancelled"
                reason = self._reason if stopped and self._reason is not None else Event.REFUSE
                self._end(job, reason, (news["kind"], news["message"]))
                return

    def _end(self, job: Record, event: Event, error: tuple[str, str]) -> None:
        with contextlib.suppress(NoSuchJob, NotNow):
            ended = self._jobs.happen(job.id, event, error)
            if ended.state is State.FAILED:
                log.error("job %s failed: %s: %s", job.id, *error)

    def _publish(self, out: Path) -> list[tuple[str, str, int]]:
        """Every file of a result becomes an object."""
        paths = sorted(path for path in out.rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
        return [(path.relative_to(out).as_posix(), *self._objects.adopt(path)) for path in paths]
