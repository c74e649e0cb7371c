"""The thin client of the service: needs grpcio, protobuf and google-crc32c, neither torch nor texsynth.

    with Client("127.0.0.1:50051") as client:
        job = client.restyle("chair.glb", "bricks/", size=2048)
        for event in client.watch(job.id):
            print(event.progress.fraction)
        client.fetch(job.id, "out/chair")

What the line loses is asked for again (see retries.py): a submit under its request_id, a download from its last byte, a
watch from its last event. Retry and Delete, which cannot be repeated, are sent once. All calls block; an editor makes
them through background.py, an asyncio program through aio_client.py. Python 3.9 syntax, for the interpreters inside
engines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from texsynth_rpc.v1 import assets_pb2, jobs_pb2, streams_pb2, textures_pb2

import grpc
from plugin_bridge import messages
from plugin_bridge.connection import SERVING, Connection, PathLike
from plugin_bridge.errors import JobFailed, ServiceError
from plugin_bridge.files import Gathered, Part, Told, digest_and_size, hash_of, is_there, no_one, upload_requests
from plugin_bridge.retries import Retries

__all__ = ["Client", "JobFailed", "ServiceError", "hash_of"]

Answer = TypeVar("Answer")
Heard = Callable[[jobs_pb2.Progress], None]


class Client(Connection):
    """Calls that block. Arguments: those of `Connection`."""

    _grpc = grpc

    def close(self) -> None:
        """Close the connection; jobs go on."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- files ------------------------------------------------------------------------------------------------

    def upload(self, path: PathLike, progress: Told = no_one) -> str:
        """Send a file if the service has it not yet; returns its SHA-256. progress: told bytes done and of all, in
        another thread."""
        path = Path(path)
        digest, size = digest_and_size(path)
        if self._ask(self._assets.Describe, assets_pb2.DescribeRequest(sha256=[digest])).assets:
            progress(size, size)
            return digest

        def requests() -> Iterator[assets_pb2.UploadRequest]:
            done = 0
            for request in upload_requests(path, digest, size):
                yield request
                done += len(request.data)
                progress(done, size)

        self._again(lambda: self._assets.Upload(requests(), metadata=self._metadata))
        return digest

    def download(self, digest: str, path: PathLike, progress: Told = no_one) -> None:
        """Fetch a file to `path`; what an earlier try left beside it is gone on with.

        Raises ServiceError, and OSError for bytes that are not the file's.
        """
        with Part(digest, path) as part:
            try:
                for piece in self._stream(self._assets.Download, part.request):
                    progress(part.take(piece), piece.size)
            except ServiceError as error:
                part.refused(error)
                raise
            part.finish()

    def input(self, path: PathLike, progress: Told = no_one) -> jobs_pb2.Input:
        """Upload what the engine is to read: one file, a folder of maps, or a mesh with the files that it names."""
        path = Path(path)
        sent = [(name, self.upload(file, progress)) for file, name in messages.files_of(path)]
        return messages.input_of(path, sent)

    # --- jobs -------------------------------------------------------------------------------------------------

    def restyle(
        self, asset: PathLike, exemplar: PathLike, *, batch: bool = False, deadline: float = 0.0, **options: Any
    ) -> jobs_pb2.Job:
        """Submit: give `asset` the material of `exemplar`. options: as `options_of`; batch, deadline: as `submit`."""
        job = jobs_pb2.RestyleJob(
            asset=self.input(asset), exemplar=self.input(exemplar), options=self.options_of(**options)
        )
        return self.submit(jobs_pb2.Work(restyle=job), batch=batch, deadline=deadline)

    def synthesize(
        self, exemplar: PathLike, *, batch: bool = False, deadline: float = 0.0, **options: Any
    ) -> jobs_pb2.Job:
        """Submit: a new texture like `exemplar`. options: as `options_of`; batch, deadline: as `submit`."""
        job = jobs_pb2.SynthesizeJob(exemplar=self.input(exemplar), options=self.options_of(**options))
        return self.submit(jobs_pb2.Work(synthesize=job), batch=batch, deadline=deadline)

    def measure(self, generated: PathLike, reference: PathLike, *, unpaired: bool = False) -> jobs_pb2.Job:
        """Submit: compare two textures; the result's file is metrics.json."""
        job = jobs_pb2.MeasureJob(generated=self.input(generated), reference=self.input(reference), unpaired=unpaired)
        return self.submit(jobs_pb2.Work(measure=job))

    def bake(self, entries: Iterable[Mapping[str, Any]], *, batch: bool = True, deadline: float = 0.0) -> jobs_pb2.Job:
        """Submit: many results and one summary of them. entries: each with name, exemplar, perhaps asset and reference,
        and options as `options_of` has them."""
        job = jobs_pb2.BakeJob()
        for entry in entries:
            inputs = {name: self.input(entry[name]) for name in messages.BAKED if entry.get(name) is not None}
            options = {name: value for name, value in entry.items() if name not in ("name", *messages.BAKED)}
            job.entries.add(name=entry["name"], options=self.options_of(**options), **inputs)
        return self.submit(jobs_pb2.Work(bake=job), batch=batch, deadline=deadline)

    def options_of(self, **values: Any) -> jobs_pb2.Options:
        """`jobs_pb2.Options` from the command line's names; numbers for content, tone, faithful, detail and blend,
        paths for region, second and a blend that is an image. Raises ValueError for a name that is no option."""
        sent: dict[str, Any] = {}
        for name, value in values.items():
            if messages.is_file(name, value):
                sent[name] = self.upload(value)
            elif messages.is_input(name, value):
                sent[name] = self.input(value)
        return messages.options_of(values, sent)

    def submit(
        self, work: jobs_pb2.Work, *, batch: bool = False, request_id: str | None = None, deadline: float = 0.0
    ) -> jobs_pb2.Job:
        """Put work into the queue; a repeated request_id gives the job that is there. deadline: seconds after which
        the job is called off, 0: never."""
        request = messages.submission(work, batch, request_id, deadline)
        found: jobs_pb2.Job = self._ask(self._jobs.Submit, request, for_room=True).job
        return found

    def get(self, job: str) -> jobs_pb2.Job:
        """A job as it stands."""
        found: jobs_pb2.Job = self._ask(self._jobs.Get, jobs_pb2.GetRequest(id=job)).job
        return found

    def jobs(self) -> Iterator[jobs_pb2.Job]:
        """All jobs, the newest first."""
        token = ""
        while True:
            page = self._ask(self._jobs.List, jobs_pb2.ListRequest(page_token=token))
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def models(self) -> list[str]:
        """What the option `model` may name."""
        lent = self._ask(self._jobs.ListModels, jobs_pb2.ListModelsRequest())
        return [model.name for model in lent.models]

    def watch(self, job: str, from_event: int = 0) -> Iterator[jobs_pb2.WatchResponse]:
        """Events from a number on until the job has ended, over lost lines without a gap."""
        request = jobs_pb2.WatchRequest(id=job, from_event=from_event)
        for event in self._stream(self._jobs.Watch, lambda: request):
            request.from_event = event.number + 1
            yield event

    def wait(self, job: str, heard: Heard = lambda _: None) -> jobs_pb2.Job:
        """The job when it has succeeded. heard: told its progress. Raises JobFailed, ServiceError."""
        for event in self.watch(job):
            if event.WhichOneof("event") == "progress":
                heard(event.progress)
        return messages.succeeded(self.get(job))

    def fetch(self, job: str, folder: PathLike, progress: Told = no_one) -> list[Path]:
        """The files of a job that succeeded, into `folder`; complete ones that are there already are kept."""
        found = messages.succeeded(self.get(job))
        total, done, wanted = sum(file.size for file in found.files), 0, messages.targets(found, folder)
        for file, path in wanted:
            if not is_there(path, file.sha256, file.size):
                self.download(file.sha256, path, lambda here, _, before=done: progress(before + here, total))  # type: ignore[misc]
            done += file.size
            progress(done, total)
        return [path for _, path in wanted]

    def cancel(self, job: str) -> jobs_pb2.Job:
        """Call a job off."""
        found: jobs_pb2.Job = self._ask(self._jobs.Cancel, jobs_pb2.CancelRequest(id=job)).job
        return found

    def retry(self, job: str) -> jobs_pb2.Job:
        """Put a failed or cancelled job into the queue again."""
        found: jobs_pb2.Job = self._once(self._jobs.Retry, jobs_pb2.RetryRequest(id=job)).job
        return found

    def delete(self, job: str) -> None:
        """Forget a job that has ended."""
        self._once(self._jobs.Delete, jobs_pb2.DeleteRequest(id=job))

    # --- textures ---------------------------------------------------------------------------------------------

    def texture(self, job: str) -> textures_pb2.Texture:
        """The maps that a job made, with their levels and chunks."""
        found: textures_pb2.Texture = self._ask(
            self._textures.GetManifest, textures_pb2.GetManifestRequest(job=job)
        ).texture
        return found

    def part(self, job: str, version: str, digest: str) -> bytes:
        """The bytes of a level or chunk of a job's texture, of this version. Raises ServiceError, OSError."""
        gathered = Gathered(job, version, digest)
        for piece in self._stream(self._textures.Fetch, gathered.request):
            gathered.take(piece)
        return gathered.finish()

    def report(self, job: str) -> dict[str, float]:
        """What was measured of a job's result, by name."""
        request = textures_pb2.GetReportRequest(job=job)
        return messages.figures(self._ask(self._textures.GetReport, request).metrics)

    # --- scenes -----------------------------------------------------------------------------------------------

    def show(self, scene: str, surface: str, job: str) -> streams_pb2.Surface:
        """Let a surface of a scene show the texture of a job, for all who look at it; streams are for `AsyncClient`."""
        request = streams_pb2.ShowRequest(scene=scene, surface=surface, job=job)
        shown: streams_pb2.Surface = self._ask(self._streams.Show, request).surface
        return shown

    def hide(self, scene: str, surface: str) -> None:
        """Take a surface out of a scene."""
        self._once(self._streams.Hide, streams_pb2.HideRequest(scene=scene, surface=surface))

    def scene(self, scene: str) -> list[streams_pb2.Surface]:
        """The surfaces of a scene, by name."""
        return list(self._ask(self._streams.GetScene, streams_pb2.GetSceneRequest(scene=scene)).surfaces)

    def ready(self) -> bool:
        """Whether the service takes up work now. Raises ServiceError where it cannot be reached."""
        return bool(self._ask(self._health, b"") == SERVING)

    # --- a line that may break ----------------------------------------------------------------------------------

    def _ask(self, method: Any, request: Any, *, for_room: bool = False) -> Any:
        return self._again(lambda: method(request, metadata=self._metadata), for_room=for_room)

    def _again(self, call: Callable[[], Answer], *, for_room: bool = False) -> Answer:
        retries = Retries(self.patience, for_room=for_room)
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                pause = retries.pause(error)
            time.sleep(pause)

    def _once(self, method: Any, request: Any) -> Any:
        """Sent when the line is there, and not again."""
        try:
            return method(request, metadata=self._metadata, wait_for_ready=True, timeout=self.patience)
        except grpc.RpcError as error:
            raise ServiceError(error) from None

    def _stream(self, method: Any, request: Callable[[], Any]) -> Iterator[Any]:
        """All messages of a stream; `request` asks for those that have not come."""
        retries = Retries(self.patience)
        while True:
            call = method(request(), metadata=self._metadata)
            try:
                for message in call:
                    retries.reset()
                    yield message
                return
            except grpc.RpcError as error:
                pause = retries.pause(error)
            finally:
                call.cancel()
            time.sleep(pause)
