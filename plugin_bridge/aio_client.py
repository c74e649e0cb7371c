"""The client for asyncio programs: the methods of client.py, to be awaited.

    async with AsyncClient("127.0.0.1:50051") as client:
        job = await client.restyle("chair.glb", "bricks/", size=2048)
        async for event in client.watch(job.id):
            print(event.progress.fraction)
        await client.fetch(job.id, "out/chair")

Files are read, hashed and written in threads, so the event loop goes on meanwhile; progress is told in the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from texsynth_rpc.v1 import assets_pb2, jobs_pb2, streams_pb2, textures_pb2

import grpc
from grpc import aio
from plugin_bridge import messages
from plugin_bridge.connection import SERVING, Connection, PathLike
from plugin_bridge.errors import ServiceError
from plugin_bridge.files import Gathered, Part, Told, digest_and_size, is_there, no_one, upload_requests
from plugin_bridge.retries import Retries


class AsyncClient(Connection):
    """Calls to be awaited. To be made inside of the event loop that uses it; arguments: those of `Connection`."""

    _grpc = aio

    async def close(self) -> None:
        """Close the connection; jobs go on."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- files ------------------------------------------------------------------------------------------------

    async def upload(self, path: PathLike, progress: Told = no_one) -> str:
        """As `Client.upload`."""
        path = Path(path)
        digest, size = await asyncio.to_thread(digest_and_size, path)
        if (await self._ask(self._assets.Describe, assets_pb2.DescribeRequest(sha256=[digest]))).assets:
            progress(size, size)
            return digest

        async def requests() -> AsyncIterator[assets_pb2.UploadRequest]:
            reading, done = upload_requests(path, digest, size), 0
            while True:
                request = await asyncio.to_thread(next, reading, None)
                if request is None:
                    return
                yield request
                done += len(request.data)
                progress(done, size)

        await self._again(lambda: self._assets.Upload(requests(), metadata=self._metadata))
        return digest

    async def download(self, digest: str, path: PathLike, progress: Told = no_one) -> None:
        """As `Client.download`."""
        part = await asyncio.to_thread(Part, digest, path)
        try:
            async for piece in self._stream(self._assets.Download, part.request):
                progress(await asyncio.to_thread(part.take, piece), piece.size)
            await asyncio.to_thread(part.finish)
        except ServiceError as error:
            await asyncio.to_thread(part.refused, error)
            raise
        finally:
            await asyncio.to_thread(part.close)

    async def input(self, path: PathLike, progress: Told = no_one) -> jobs_pb2.Input:
        """As `Client.input`."""
        path = Path(path)
        files = await asyncio.to_thread(messages.files_of, path)
        return messages.input_of(path, [(name, await self.upload(file, progress)) for file, name in files])

    # --- jobs -------------------------------------------------------------------------------------------------

    async def restyle(
        self, asset: PathLike, exemplar: PathLike, *, batch: bool = False, deadline: float = 0.0, **options: Any
    ) -> jobs_pb2.Job:
        """As `Client.restyle`."""
        job = jobs_pb2.RestyleJob(
            asset=await self.input(asset), exemplar=await self.input(exemplar), options=await self.options_of(**options)
        )
        return await self.submit(jobs_pb2.Work(restyle=job), batch=batch, deadline=deadline)

    async def synthesize(
        self, exemplar: PathLike, *, batch: bool = False, deadline: float = 0.0, **options: Any
    ) -> jobs_pb2.Job:
        """As `Client.synthesize`."""
        job = jobs_pb2.SynthesizeJob(exemplar=await self.input(exemplar), options=await self.options_of(**options))
        return await self.submit(jobs_pb2.Work(synthesize=job), batch=batch, deadline=deadline)

    async def measure(self, generated: PathLike, reference: PathLike, *, unpaired: bool = False) -> jobs_pb2.Job:
        """As `Client.measure`."""
        job = jobs_pb2.MeasureJob(
            generated=await self.input(generated), reference=await self.input(reference), unpaired=unpaired
        )
        return await self.submit(jobs_pb2.Work(measure=job))

    async def bake(
        self, entries: Iterable[Mapping[str, Any]], *, batch: bool = True, deadline: float = 0.0
    ) -> jobs_pb2.Job:
        """As `Client.bake`."""
        job = jobs_pb2.BakeJob()
        for entry in entries:
            inputs = {name: await self.input(entry[name]) for name in messages.BAKED if entry.get(name) is not None}
            options = {name: value for name, value in entry.items() if name not in ("name", *messages.BAKED)}
            job.entries.add(name=entry["name"], options=await self.options_of(**options), **inputs)
        return await self.submit(jobs_pb2.Work(bake=job), batch=batch, deadline=deadline)

    async def options_of(self, **values: Any) -> jobs_pb2.Options:
        """As `Client.options_of`."""
        sent: dict[str, Any] = {}
        for name, value in values.items():
            if messages.is_file(name, value):
                sent[name] = await self.upload(value)
            elif messages.is_input(name, value):
                sent[name] = await self.input(value)
        return messages.options_of(values, sent)

    async def submit(
        self, work: jobs_pb2.Work, *, batch: bool = False, request_id: str | None = None, deadline: float = 0.0
    ) -> jobs_pb2.Job:
        """As `Client.submit`."""
        request = messages.submission(work, batch, request_id, deadline)
        found: jobs_pb2.Job = (await self._ask(self._jobs.Submit, request, for_room=True)).job
        return found

    async def get(self, job: str) -> jobs_pb2.Job:
        """As `Client.get`."""
        found: jobs_pb2.Job = (await self._ask(self._jobs.Get, jobs_pb2.GetRequest(id=job))).job
        return found

    async def jobs(self) -> AsyncIterator[jobs_pb2.Job]:
        """As `Client.jobs`."""
        token = ""
        while True:
            page = await self._ask(self._jobs.List, jobs_pb2.ListRequest(page_token=token))
            for job in page.jobs:
                yield job
            token = page.next_page_token
            if not token:
                return

    async def models(self) -> list[str]:
        """As `Client.models`."""
        lent = await self._ask(self._jobs.ListModels, jobs_pb2.ListModelsRequest())
        return [model.name for model in lent.models]

    async def watch(self, job: str, from_event: int = 0) -> AsyncIterator[jobs_pb2.WatchResponse]:
        """As `Client.watch`."""
        request = jobs_pb2.WatchRequest(id=job, from_event=from_event)
        async for event in self._stream(self._jobs.Watch, lambda: request):
            request.from_event = event.number + 1
            yield event

    async def wait(self, job: str, heard: Callable[[jobs_pb2.Progress], None] = lambda _: None) -> jobs_pb2.Job:
        """As `Client.wait`."""
        async for event in self.watch(job):
            if event.WhichOneof("event") == "progress":
                heard(event.progress)
        return messages.succeeded(await self.get(job))

    async def fetch(self, job: str, folder: PathLike, progress: Told = no_one) -> list[Path]:
        """As `Client.fetch`."""
        found = messages.succeeded(await self.get(job))
        total, done, wanted = sum(file.size for file in found.files), 0, messages.targets(found, folder)
        for file, path in wanted:
            if not await asyncio.to_thread(is_there, path, file.sha256, file.size):
                await self.download(file.sha256, path, lambda here, _, before=done: progress(before + here, total))  # type: ignore[misc]
            done += file.size
            progress(done, total)
        return [path for _, path in wanted]

    async def cancel(self, job: str) -> jobs_pb2.Job:
        """As `Client.cancel`."""
        found: jobs_pb2.Job = (await self._ask(self._jobs.Cancel, jobs_pb2.CancelRequest(id=job))).job
        return found

    async def retry(self, job: str) -> jobs_pb2.Job:
        """As `Client.retry`."""
        found: jobs_pb2.Job = (await self._once(self._jobs.Retry, jobs_pb2.RetryRequest(id=job))).job
        return found

    async def delete(self, job: str) -> None:
        """As `Client.delete`."""
        await self._once(self._jobs.Delete, jobs_pb2.DeleteRequest(id=job))

    # --- textures ---------------------------------------------------------------------------------------------

    async def texture(self, job: str) -> textures_pb2.Texture:
        """As `Client.texture`."""
        found: textures_pb2.Texture = (
            await self._ask(self._textures.GetManifest, textures_pb2.GetManifestRequest(job=job))
        ).texture
        return found

    async def part(self, job: str, version: str, digest: str) -> bytes:
        """As `Client.part`."""
        gathered = Gathered(job, version, digest)
        async for piece in self._stream(self._textures.Fetch, gathered.request):
            gathered.take(piece)
        return gathered.finish()

    async def report(self, job: str) -> dict[str, float]:
        """As `Client.report`."""
        request = textures_pb2.GetReportRequest(job=job)
        return messages.figures((await self._ask(self._textures.GetReport, request)).metrics)

    # --- scenes -----------------------------------------------------------------------------------------------

    async def show(self, scene: str, surface: str, job: str) -> streams_pb2.Surface:
        """As `Client.show`."""
        request = streams_pb2.ShowRequest(scene=scene, surface=surface, job=job)
        shown: streams_pb2.Surface = (await self._ask(self._streams.Show, request)).surface
        return shown

    async def hide(self, scene: str, surface: str) -> None:
        """As `Client.hide`."""
        await self._once(self._streams.Hide, streams_pb2.HideRequest(scene=scene, surface=surface))

    async def scene(self, scene: str) -> list[streams_pb2.Surface]:
        """As `Client.scene`."""
        return list((await self._ask(self._streams.GetScene, streams_pb2.GetSceneRequest(scene=scene))).surfaces)

    async def ready(self) -> bool:
        """As `Client.ready`."""
        return bool(await self._ask(self._health, b"") == SERVING)

    # --- a line that may break ----------------------------------------------------------------------------------

    async def _ask(self, method: Any, request: Any, *, for_room: bool = False) -> Any:
        return await self._again(lambda: method(request, metadata=self._metadata), for_room=for_room)

    async def _again(self, call: Callable[[], Awaitable[Any]], *, for_room: bool = False) -> Any:
        retries = Retries(self.patience, for_room=for_room)
        while True:
            try:
                return await call()
            except grpc.RpcError as error:
                pause = retries.pause(error)
            await asyncio.sleep(pause)

    async def _once(self, method: Any, request: Any) -> Any:
        """Sent when the line is there, and not again."""
        try:
            return await method(request, metadata=self._metadata, wait_for_ready=True, timeout=self.patience)
        except grpc.RpcError as error:
            raise ServiceError(error) from None

    async def _stream(self, method: Any, request: Callable[[], Any]) -> AsyncIterator[Any]:
        """All messages of a stream; `request` asks for those that have not come."""
        retries = Retries(self.patience)
        while True:
            call = method(request(), metadata=self._metadata)
            try:
                async for message in call:
                    retries.reset()
                    yield message
                return
            except grpc.RpcError as error:
                pause = retries.pause(error)
            finally:
                call.cancel()
            await asyncio.sleep(pause)
