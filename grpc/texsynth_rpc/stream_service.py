"""The gRPC side of scenes and of viewers' streams: StreamService."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import NoReturn

from google.rpc import code_pb2

from texsynth_rpc.bell import Bell
from texsynth_rpc.failures import Context, bad_request, not_found, refuse
from texsynth_rpc.fairness import Shares
from texsynth_rpc.gate import Gate
from texsynth_rpc.growing import Growing
from texsynth_rpc.jobs import NoSuchJob
from texsynth_rpc.meters import Meters
from texsynth_rpc.objects import Damaged, ObjectStore
from texsynth_rpc.results import Results, damaged
from texsynth_rpc.scenes import SceneStore, Shown
from texsynth_rpc.streamed_map import StreamedMap, StreamedMaps
from texsynth_rpc.texture_index import TextureIndex
from texsynth_rpc.textures import NoBlocks, NoTexture
from texsynth_rpc.v1 import streams_pb2, streams_pb2_grpc, textures_pb2
from texsynth_rpc.viewer import BadRequest, Viewer, checked_name

GROWN = "textures"  # the name under which the bell rings when there is more of one than there was
FIRST_REQUEST = 30.0  # seconds that a viewer has for its Hello


class Streams(streams_pb2_grpc.StreamServiceServicer):
    """Scenes, and a stream for each viewer. bell: rings by `scene_key`. stopping: set when streams are to end."""

    def __init__(
        self, scenes: SceneStore, results: Results, objects: ObjectStore, index: TextureIndex, gate: Gate,
        meters: Meters, bell: Bell, stopping: asyncio.Event,
    ) -> None:  # fmt: skip
        self._scenes, self._results, self._index = scenes, results, index
        self._maps_of = StreamedMaps(objects)
        self._gate, self._meters, self._bell, self._stopping = gate, meters, bell, stopping
        self._tasks: set[asyncio.Task[None]] = set()
        self._shares = Shares()

    async def Show(self, request: streams_pb2.ShowRequest, context: Context) -> streams_pb2.ShowResponse:
        """See streams.proto."""
        scene, surface = await _name(context, "scene", request.scene), await _name(context, "surface", request.surface)
        blocks = await self._results.blocks(request.job, context)  # of which more comes while it is streamed
        await self._describe(blocks.texture)
        if not blocks.ends:
            self._tasks.add(task := asyncio.create_task(self._describe_all(blocks)))
            task.add_done_callback(self._tasks.discard)
        shown = self._scenes.show(self._gate.tenant(context), scene, surface, request.job)
        return streams_pb2.ShowResponse(surface=_message(shown))

    async def Hide(self, request: streams_pb2.HideRequest, context: Context) -> streams_pb2.HideResponse:
        """See streams.proto."""
        scene, surface = await _name(context, "scene", request.scene), await _name(context, "surface", request.surface)
        tenant = self._gate.tenant(context)
        if surface not in {shown.surface for shown in self._scenes.surfaces(tenant, scene)}:
            await not_found(context, f"surface {surface} of scene {scene}")
        self._scenes.show(tenant, scene, surface, "")
        return streams_pb2.HideResponse()

    async def GetScene(self, request: streams_pb2.GetSceneRequest, context: Context) -> streams_pb2.GetSceneResponse:
        """See streams.proto."""
        scene = await _name(context, "scene", request.scene)
        found = self._scenes.surfaces(self._gate.tenant(context), scene)
        return streams_pb2.GetSceneResponse(surfaces=[_message(shown) for shown in found])

    async def Open(self, requests: AsyncIterator[streams_pb2.OpenRequest], context: Context) -> AsyncIterator[bytes]:
        """See streams.proto. Responses come serialised."""
        self._index.stand_back()
        viewer = await self._viewer(requests, context)
        tenant, wake, ends = self._gate.tenant(context), asyncio.Event(), list[Exception | None]()
        tasks = [
            asyncio.create_task(_until(work, wake, ends))
            for work in (_listen(requests, viewer, wake), self._follow(tenant, viewer, wake), self._stopped())
        ]
        self._meters.streams.inc()
        share = self._shares.open()
        try:
            while not ends:
                wake.clear()
                while (outgoing := viewer.next()) is not None:
                    yield outgoing.message
                    self._meters.sent.inc(outgoing.of_chunks)
                    if outgoing.of_chunks:
                        share.add(outgoing.of_chunks)
                        if share.is_ahead:
                            await asyncio.sleep(0)
                    if ends:
                        break
                if not ends:
                    await wake.wait()
            await _end(ends[0], context)
        except FileNotFoundError as error:
            await damaged(error, context)
        finally:
            self._meters.streams.dec()
            self._shares.close(share)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _describe(self, texture: textures_pb2.Texture) -> None:
        """Else the first viewer waits until its files are read."""
        with contextlib.suppress(Damaged, FileNotFoundError):  # which those who look are told
            await self._maps(texture, 0, deflate=True)

    async def _describe_all(self, blocks: Growing) -> None:
        """What comes of a texture, as it comes."""
        with self._bell.listening(GROWN) as news:
            while not blocks.ends:
                await news.wait()
                news.clear()
                await self._describe(blocks.texture)

    async def _viewer(self, requests: AsyncIterator[streams_pb2.OpenRequest], context: Context) -> Viewer:
        try:
            first = await asyncio.wait_for(anext(aiter(requests), None), FIRST_REQUEST)
        except TimeoutError:
            first = None
        try:
            if first is None or first.WhichOneof("event") != "hello":
                raise BadRequest("hello", "comes first")
            return Viewer(first.hello)
        except BadRequest as error:
            await bad_request(context, error.field, str(error))

    async def _follow(self, tenant: str, viewer: Viewer, wake: asyncio.Event) -> None:
        """Tells the viewer what the scene shows, and what changes. Raises BadRequest, Damaged, FileNotFoundError."""
        with self._bell.listening(scene_key(tenant, viewer.scene), GROWN) as news:
            announced, blocks = False, dict[Shown, Growing]()
            while True:
                news.clear()
                now = self._scenes.surfaces(tenant, viewer.scene)
                for surface in viewer.surfaces.keys() - {shown.surface for shown in now}:
                    viewer.hide(surface)
                for gone in blocks.keys() - now:
                    del blocks[gone]
                for shown in now:
                    with contextlib.suppress(NoSuchJob):  # it was hidden and deleted meanwhile: the bell has rung
                        await self._bring(tenant, shown, viewer, blocks)
                        wake.set()
                if not announced:
                    viewer.announce_end()
                    announced = True
                wake.set()
                await news.wait()

    async def _bring(self, tenant: str, shown: Shown, viewer: Viewer, blocks: dict[Shown, Growing]) -> None:
        """Gives the viewer what there is of a surface. blocks: what was looked up already."""
        if viewer.surfaces.get(shown.surface) == shown:
            if shown.surface in viewer.growing:
                viewer.grow(shown.surface, await self._maps_for(viewer, blocks[shown]))
            return
        held = viewer.held_version(shown.surface)
        if 0 < held < shown.version:  # what it holds of an older version may still be the same
            with contextlib.suppress(NoSuchJob, NoTexture, NoBlocks, Damaged, FileNotFoundError):
                job = self._scenes.before(tenant, viewer.scene, shown.surface, held)
                older = await self._maps_for(viewer, await self._index.blocks(job))
                viewer.show(Shown(shown.surface, held, job), older)
        if shown not in blocks:
            blocks[shown] = await self._index.blocks(shown.job)
        maps = await self._maps_for(viewer, blocks[shown])
        if not viewer.would_lose(shown.surface, maps):  # else when more of it is there
            viewer.show(shown, maps)

    async def _maps_for(self, viewer: Viewer, blocks: Growing) -> list[StreamedMap]:
        blocks.check()
        return await self._maps(blocks.texture, viewer.largest, deflate=viewer.deflate)

    async def _maps(self, texture: textures_pb2.Texture, largest: int, *, deflate: bool) -> list[StreamedMap]:
        return await asyncio.to_thread(self._maps_of.of, texture, largest, deflate)

    async def _stopped(self) -> NoReturn:
        await self._stopping.wait()
        raise Stopping


class Stopping(Exception):
    """The service stops."""


def scene_key(tenant: str, scene: str) -> str:
    """The name under which the bell rings for a scene."""
    return f"{tenant}/{scene}"


async def _listen(requests: AsyncIterator[streams_pb2.OpenRequest], viewer: Viewer, wake: asyncio.Event) -> None:
    """Until the viewer has said all. Raises BadRequest."""
    async for request in requests:
        viewer.take(request)
        wake.set()


async def _until(work: Awaitable[None], wake: asyncio.Event, ends: list[Exception | None]) -> None:
    """Notes how `work` ended, None for well."""
    try:
        await work
        ends.append(None)
    except Exception as error:
        ends.append(error)
    wake.set()


async def _end(error: Exception | None, context: Context) -> None:
    if isinstance(error, BadRequest):
        await bad_request(context, error.field, str(error))
    if isinstance(error, Stopping):
        message = "the service is stopping; open the stream again with your resume token"
        await refuse(context, code_pb2.UNAVAILABLE, message, reason="STOPPING")
    if isinstance(error, Damaged | FileNotFoundError):
        await damaged(error, context)
    if error is not None:
        raise error


async def _name(context: Context, field: str, name: str) -> str:
    try:
        return checked_name(field, name)
    except BadRequest as error:
        await bad_request(context, error.field, str(error))


def _message(shown: Shown) -> streams_pb2.Surface:
    return streams_pb2.Surface(name=shown.surface, version=shown.version, job=shown.job)
