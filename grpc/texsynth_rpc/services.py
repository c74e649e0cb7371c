"""The gRPC side: AssetService and JobService over the stores and the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime

import google_crc32c
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2

from grpc import aio
from texsynth_rpc.bell import Bell
from texsynth_rpc.caretaker import Caretaker
from texsynth_rpc.failures import Context, bad_request, not_found, refuse
from texsynth_rpc.gate import Gate
from texsynth_rpc.jobs import AnotherJob, Happening, JobStore, NoSuchJob, NotNow, QueueFull, Record, TooMany
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.lent_models import Models
from texsynth_rpc.meters import Meters
from texsynth_rpc.objects import DIGEST, Damaged, ObjectStore
from texsynth_rpc.quota import Quota
from texsynth_rpc.states import Event, State
from texsynth_rpc.supervisor import Supervisor
from texsynth_rpc.v1 import assets_pb2, assets_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from texsynth_rpc.work import BadWork, check, digests_in

DOWNLOAD_PIECE = 512 << 10  # the client's window: the next one is on its way while one is written
UPLOAD_PIECE = 1 << 20
MOST_DESCRIBED, MOST_LISTED = 1000, 1000
LONGEST_REQUEST_ID = 128
LARGEST_UPLOAD = 8 << 30
LONGEST_DEADLINE = 30 * 86400.0  # seconds
QUEUE_RETRY = 10.0  # seconds after which a full queue may have room

_STATES = {
    State.QUEUED: jobs_pb2.JOB_STATE_QUEUED,
    State.RUNNING: jobs_pb2.JOB_STATE_RUNNING,
    State.SUCCEEDED: jobs_pb2.JOB_STATE_SUCCEEDED,
    State.FAILED: jobs_pb2.JOB_STATE_FAILED,
    State.CANCELLED: jobs_pb2.JOB_STATE_CANCELLED,
}
_STATE_OF = {number: state for state, number in _STATES.items()}


class Assets(assets_pb2_grpc.AssetServiceServicer):
    """Files in and out. A tenant sees the files that it sent and those that its jobs made, whoever else has them."""

    def __init__(self, objects: ObjectStore, ledger: Ledger, gate: Gate, quota: Quota, meters: Meters) -> None:
        self._objects, self._ledger, self._gate, self._quota, self._meters = objects, ledger, gate, quota, meters

    async def Upload(
        self, requests: AsyncIterator[assets_pb2.UploadRequest], context: Context
    ) -> assets_pb2.UploadResponse:
        """See assets.proto."""
        header, tenant = await self._header(requests, context), self._gate.tenant(context)
        size = self._size(tenant, header.sha256)
        if size is not None:
            return _asset(header.sha256, size)
        await self._quota.require(tenant, header.size, context)
        upload = None
        try:
            upload = self._objects.begin()
            async for request in requests:
                if request.WhichOneof("part") != "data" or len(request.data) > UPLOAD_PIECE:
                    await bad_request(context, "data", f"must be at most {UPLOAD_PIECE} bytes after the header")
                if upload.size + len(request.data) > header.size:
                    await bad_request(context, "data", f"is more than the {header.size} bytes that were announced")
                upload.write(request.data)
            if upload.size != header.size or upload.digest != header.sha256:
                await bad_request(
                    context, "data", f"{upload.size} bytes of digest {upload.digest} came; send the file again"
                )
            await asyncio.to_thread(upload.finish)
            self._ledger.own(tenant, [(header.sha256, header.size)])
            self._meters.received.inc(header.size)
            return _asset(header.sha256, header.size)
        finally:
            if upload is not None:
                upload.abandon()

    def _size(self, tenant: str, digest: str) -> int | None:
        """Bytes of a file of this tenant, None if it has none such. Raises ValueError."""
        size = self._objects.size(digest)
        return size if self._ledger.owns(tenant, digest) else None

    async def _header(
        self, requests: AsyncIterator[assets_pb2.UploadRequest], context: Context
    ) -> assets_pb2.UploadHeader:
        """The first message's, checked."""
        first = await anext(aiter(requests), assets_pb2.UploadRequest())
        if first.WhichOneof("part") != "header":
            await bad_request(context, "header", "is missing; send it first, then the bytes")
        if not DIGEST.match(first.header.sha256):
            await bad_request(context, "header.sha256", "is not 64 lower-case hexadecimal digits")
        if first.header.size > LARGEST_UPLOAD:
            await bad_request(context, "header.size", f"is {first.header.size}; {LARGEST_UPLOAD} is the most")
        return first.header

    async def Download(
        self, request: assets_pb2.DownloadRequest, context: Context
    ) -> AsyncIterator[assets_pb2.DownloadResponse]:
        """See assets.proto."""
        try:
            self._objects.path(request.sha256)  # raises for what is no digest
            if not self._ledger.owns(self._gate.tenant(context), request.sha256):
                raise FileNotFoundError
            path = await asyncio.to_thread(self._objects.check, request.sha256)
        except ValueError as error:
            await bad_request(context, "sha256", str(error))
        except FileNotFoundError:
            await not_found(context, f"file {request.sha256}")
        except Damaged as error:
            await refuse(context, code_pb2.DATA_LOSS, str(error), reason="DAMAGED")
        with path.open("rb") as file:
            size = path.stat().st_size
            if request.offset > size:
                await bad_request(context, "offset", f"is {request.offset}; the file has {size} bytes")
            file.seek(request.offset)
            offset = request.offset
            while data := file.read(DOWNLOAD_PIECE):
                yield assets_pb2.DownloadResponse(offset=offset, data=data, crc32c=google_crc32c.value(data), size=size)
                offset += len(data)
                self._meters.sent.inc(len(data))
            if size == request.offset:
                yield assets_pb2.DownloadResponse(offset=offset, size=size)

    async def Describe(self, request: assets_pb2.DescribeRequest, context: Context) -> assets_pb2.DescribeResponse:
        """See assets.proto."""
        if len(request.sha256) > MOST_DESCRIBED:
            await bad_request(context, "sha256", f"names {len(request.sha256)} files; {MOST_DESCRIBED} are the most")
        try:
            tenant = self._gate.tenant(context)
            sizes = [(digest, self._size(tenant, digest)) for digest in request.sha256]
        except ValueError as error:
            await bad_request(context, "sha256", str(error))
        known = [assets_pb2.Asset(sha256=digest, size=size) for digest, size in sizes if size is not None]
        return assets_pb2.DescribeResponse(assets=known)


def _asset(digest: str, size: int) -> assets_pb2.UploadResponse:
    return assets_pb2.UploadResponse(asset=assets_pb2.Asset(sha256=digest, size=size))


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    """Work in, events and results out."""

    def __init__(
        self, jobs: JobStore, objects: ObjectStore, ledger: Ledger, supervisor: Supervisor, caretaker: Caretaker,
        bell: Bell, gate: Gate, quota: Quota, draining: Callable[[], bool], models: Models,
    ) -> None:  # fmt: skip
        self._models = models
        self._jobs, self._objects, self._ledger, self._supervisor = jobs, objects, ledger, supervisor
        self._caretaker, self._bell, self._gate, self._quota, self._draining = caretaker, bell, gate, quota, draining

    async def Submit(self, request: jobs_pb2.SubmitRequest, context: Context) -> jobs_pb2.SubmitResponse:
        """See jobs.proto."""
        name = request.request_id
        if not name or len(name) > LONGEST_REQUEST_ID or not name.isprintable():
            await bad_request(context, "request_id", f"must be 1 to {LONGEST_REQUEST_ID} printable characters")
        if self._draining():
            await refuse(
                context, code_pb2.UNAVAILABLE, "the service is stopping", reason="STOPPING", retry_seconds=QUEUE_RETRY
            )
        try:
            tenant = self._gate.tenant(context)
            needed = check(
                request.work,
                lambda digest: self._objects.size(digest) is not None and self._ledger.owns(tenant, digest),
                self._models,
            )
            if not 0 <= request.deadline_seconds <= LONGEST_DEADLINE:
                raise BadWork("deadline_seconds", f"is {request.deadline_seconds:g}; use 0 to {LONGEST_DEADLINE:g}")
            await self._quota.require(tenant, 0, context)
            batch = request.priority == jobs_pb2.PRIORITY_BATCH
            work = request.work.SerializeToString(deterministic=True)
            job = self._jobs.submit(tenant, name, work, batch, needed, request.deadline_seconds)
        except BadWork as error:
            await bad_request(context, error.field, str(error))
        except AnotherJob:
            await refuse(
                context, code_pb2.ALREADY_EXISTS, f"request_id {name} was used for another job; use a new one",
                reason="ANOTHER_JOB",
            )  # fmt: skip
        except TooMany:
            await refuse(
                context, code_pb2.RESOURCE_EXHAUSTED, "you have as many unfinished jobs as you may; wait for one",
                reason="QUOTA_JOBS", retry_seconds=QUEUE_RETRY,
            )  # fmt: skip
        except QueueFull:
            await refuse(
                context, code_pb2.RESOURCE_EXHAUSTED, "the queue is full; try again later", reason="QUEUE_FULL",
                retry_seconds=QUEUE_RETRY,
            )  # fmt: skip
        self._supervisor.wake()
        return jobs_pb2.SubmitResponse(job=self._message(job))

    async def Get(self, request: jobs_pb2.GetRequest, context: Context) -> jobs_pb2.GetResponse:
        """See jobs.proto."""
        return jobs_pb2.GetResponse(job=self._message(await self._job(request.id, context)))

    async def List(self, request: jobs_pb2.ListRequest, context: Context) -> jobs_pb2.ListResponse:
        """See jobs.proto."""
        count = request.page_size or 100
        if count > MOST_LISTED:
            await bad_request(context, "page_size", f"is {count}; {MOST_LISTED} is the most")
        if request.page_token and not request.page_token.isdecimal():
            await bad_request(context, "page_token", "is none that this service gave")
        if any(state not in _STATE_OF for state in request.states):
            await bad_request(context, "states", "holds a number that is no state")
        before = int(request.page_token) if request.page_token else None
        states = [_STATE_OF[state] for state in request.states]
        found = self._jobs.page(self._gate.tenant(context), before, states, count + 1)
        token = str(found[count - 1].sequence) if len(found) > count else ""
        return jobs_pb2.ListResponse(jobs=[self._message(job) for job in found[:count]], next_page_token=token)

    async def Watch(self, request: jobs_pb2.WatchRequest, context: Context) -> AsyncIterator[jobs_pb2.WatchResponse]:
        """See jobs.proto."""
        await self._job(request.id, context)
        number = request.from_event
        with self._bell.listening(request.id) as news:
            while True:
                news.clear()
                events = self._jobs.events(request.id, number)
                try:
                    job = self._jobs.get(self._gate.tenant(context), request.id)
                except NoSuchJob:
                    await not_found(context, f"job {request.id}")
                for event in events:
                    last = event.number == events[-1].number
                    yield self._event(event, job)
                    number = event.number + 1
                    if event.state is not None and event.state.ended and event.state is job.state and last:
                        return
                if not events:
                    if job.state.ended and number > 0:
                        return
                    await news.wait()

    async def Cancel(self, request: jobs_pb2.CancelRequest, context: Context) -> jobs_pb2.CancelResponse:
        """See jobs.proto."""
        job = await self._job(request.id, context)
        if not job.state.ended:
            job = self._supervisor.cancel(job)
        return jobs_pb2.CancelResponse(job=self._message(job))

    async def Retry(self, request: jobs_pb2.RetryRequest, context: Context) -> jobs_pb2.RetryResponse:
        """See jobs.proto."""
        job = await self._job(request.id, context)
        try:
            self._jobs.use(job.id, digests_in(jobs_pb2.Work.FromString(job.work)))
            job = self._jobs.happen(job.id, Event.RETRY)
        except NotNow as error:
            await refuse(context, code_pb2.FAILED_PRECONDITION, str(error), reason="WRONG_STATE")
        self._supervisor.wake()
        return jobs_pb2.RetryResponse(job=self._message(job))

    async def Delete(self, request: jobs_pb2.DeleteRequest, context: Context) -> jobs_pb2.DeleteResponse:
        """See jobs.proto."""
        job = await self._job(request.id, context)
        try:
            self._caretaker.delete(job)
        except NotNow as error:
            await refuse(context, code_pb2.FAILED_PRECONDITION, str(error), reason="WRONG_STATE")
        return jobs_pb2.DeleteResponse()

    async def ListModels(self, request: jobs_pb2.ListModelsRequest, context: Context) -> jobs_pb2.ListModelsResponse:
        """See jobs.proto."""
        return jobs_pb2.ListModelsResponse(models=[jobs_pb2.Model(name=name) for name in sorted(self._models)])

    async def _job(self, name: str, context: Context) -> Record:
        try:
            return self._jobs.get(self._gate.tenant(context), name)
        except NoSuchJob:
            await not_found(context, f"job {name}")

    def _event(self, event: Happening, job: Record) -> jobs_pb2.WatchResponse:
        response = jobs_pb2.WatchResponse(number=event.number, time=_time(event.time))
        if event.metrics:
            response.metrics.CopyFrom(jobs_pb2.Metrics(metrics=metrics_of(event.metrics)))
        elif event.state is None:
            response.progress.CopyFrom(_progress(event))
        else:
            response.state.CopyFrom(self._message(job))
            response.state.state = _STATES[event.state]
        return response

    def _message(self, job: Record) -> jobs_pb2.Job:
        message = jobs_pb2.Job(
            id=job.id, request_id=job.request_id, state=_STATES[job.state],
            priority=jobs_pb2.PRIORITY_BATCH if job.batch else jobs_pb2.PRIORITY_INTERACTIVE,
            work=jobs_pb2.Work.FromString(job.work), progress=_progress(job), attempts=max(0, job.attempts),
            submitted=_time(job.submitted), changed=_time(job.changed),
        )  # fmt: skip
        if job.deadline:
            message.deadline.CopyFrom(_time(job.deadline))
        if job.state in (State.FAILED, State.CANCELLED):
            message.error.CopyFrom(jobs_pb2.JobError(kind=job.error_kind, message=job.error))
        if job.state is State.SUCCEEDED:
            message.files.extend(
                jobs_pb2.ResultFile(name=name, sha256=digest, size=size)
                for name, digest, size in self._jobs.files(job.id)
            )
        return message


def metrics_of(values: Mapping[str, float]) -> list[jobs_pb2.Metric]:
    """As messages."""
    return [jobs_pb2.Metric(name=name, value=value) for name, value in values.items()]


def _progress(source: Happening | Record) -> jobs_pb2.Progress:
    return jobs_pb2.Progress(
        stage=source.stage, fraction=source.fraction, remaining_seconds=source.remaining, preview_sha256=source.preview
    )


def _time(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromtimestamp(seconds, UTC))
    return stamp


def add(server: aio.Server, assets: Assets, jobs: Jobs) -> None:
    """Register both services."""
    assets_pb2_grpc.add_AssetServiceServicer_to_server(assets, server)  # type: ignore[no-untyped-call]
    jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)  # type: ignore[no-untyped-call]
