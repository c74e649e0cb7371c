"""A viewer's stream for asyncio programs: a scene's textures, the chunks that matter first.

    async with AsyncClient("127.0.0.1:50051") as client:
        stream = TextureStream(client, "living room", formats=["astc-4x4-srgb", "astc-4x4-normal", "astc-4x4"])
        stream.look({"sofa": [Tile(level=2, row=0, column=1, pixels=4000)]})
        async for event in stream:
            if event.WhichOneof("event") == "settled":
                break
        stream.textures["sofa/albedo"].write_ktx2("sofa_albedo.ktx2")

A line that breaks, or a chunk that came wrong, opens a new stream that goes on from what is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import google_crc32c
from texsynth_rpc.v1 import streams_pb2

import grpc
from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.reassembly import ReceivedTexture
from plugin_bridge.retries import Retries

Tile = streams_pb2.Tile
CREDIT = 4 << 20  # bytes of chunks that may be on their way before the service waits for more


LOST_WHILE_WRITING = "Internal error from Core"  # what grpc says, as INTERNAL, of a line that broke under a write


class WrongChunk(Exception):
    """What came is not what was sent."""


class TextureStream:
    """What a scene shows, as far as it has come: `textures` by "SURFACE/MAP". Iterate to let it come.

    formats: those that are read, any if empty. largest_texture: texels a side. memory_budget: bytes. 0: any.
    order: one of streams_pb2.Order, to compare. deflate: chunks come smaller, where that helps.
    """

    def __init__(
        self, client: AsyncClient, scene: str, *, formats: Iterable[str] = (), largest_texture: int = 0,
        memory_budget: int = 0, credit: int = CREDIT, order: streams_pb2.Order = streams_pb2.ORDER_UNSPECIFIED,
        deflate: bool = True,
    ) -> None:  # fmt: skip
        self._client = client
        self._hello = streams_pb2.Hello(
            scene=scene, formats=formats, largest_texture=largest_texture, memory_budget=memory_budget, order=order,
            deflate=deflate, batches=True, marks=True,
        )  # fmt: skip
        self._credit = streams_pb2.Credit(bytes=credit)
        self.textures: dict[str, ReceivedTexture] = {}
        self.streams = 0
        """How many were opened so far."""
        self._said: dict[str, streams_pb2.OpenRequest] = {}  # the last of each kind, to be said again
        self._requests: asyncio.Queue[streams_pb2.OpenRequest] = asyncio.Queue()
        self._begin()

    # --- what the viewer says -----------------------------------------------------------------------------------

    def look(
        self, seen: Mapping[str, Iterable[streams_pb2.Tile]], tile_side: int = 256,
        gaze: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        """What is seen of which surface, in place of what was. tile_side: texels of a tile; smaller ones tell more of
        what is seen from afar. gaze: as of `gaze`, in the same message; None: where it was."""
        surfaces = [streams_pb2.SeenSurface(surface=name, tiles=tiles) for name, tiles in seen.items()]
        view = streams_pb2.View(surfaces=surfaces, tile_side=tile_side)
        self._said["view"] = request = streams_pb2.OpenRequest(view=view)
        if gaze is not None:
            self._said["gaze"] = _gazing(*gaze)
            view.gaze.CopyFrom(self._said["gaze"].gaze)
            request = streams_pb2.OpenRequest(view=view)
        self._requests.put_nowait(request)

    def gaze(self, x: float, y: float) -> None:
        """Where the eye looks, in degrees from the middle of the screen, to the right and downwards."""
        self._say(_gazing(x, y))

    def select(self, surfaces: Iterable[str]) -> None:
        """What the user works on."""
        self._say(streams_pb2.OpenRequest(selection=streams_pb2.Selection(surfaces=surfaces)))

    def limit_memory(self, byte_count: int) -> None:
        """Another budget, 0 for any."""
        self._hello.memory_budget = byte_count
        self._requests.put_nowait(streams_pb2.OpenRequest(budget=streams_pb2.MemoryBudget(bytes=byte_count)))

    def _say(self, request: streams_pb2.OpenRequest) -> None:
        self._said[str(request.WhichOneof("event"))] = request
        self._requests.put_nowait(request)

    # --- what comes ---------------------------------------------------------------------------------------------

    async def __aiter__(self) -> AsyncIterator[streams_pb2.OpenResponse]:
        """Every response, after it was carried out, and chunk by chunk; a chunk's `complete` names the levels that are
        whole by it. Raises ServiceError for what another try would not mend."""
        retries = Retries(self._client.patience)
        while True:
            self._begin()
            self.streams += 1
            call, pause = self._client.open_stream(), 0.0
            sending = asyncio.create_task(_send(call, self._requests))
            try:
                while (response := await call.read()) is not grpc.aio.EOF:
                    retries.reset()
                    for each in _one_by_one(response):
                        self._take(each)
                        yield each
                    self._acknowledge()
                return
            except WrongChunk:
                pass
            except grpc.RpcError as error:
                if error.details() != LOST_WHILE_WRITING:
                    pause = retries.pause(error)
            finally:
                sending.cancel()
                call.cancel()
            await asyncio.sleep(pause)

    def token(self) -> bytes:
        """What is here, for a stream that goes on from it."""
        entries = sorted(texture.entry() for texture in self.textures.values() if any(texture.held))
        return json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode() if entries else b""

    def _begin(self) -> None:
        """A new stream: nothing is known of it."""
        self._numbers: dict[int, str] = {}
        self._sequence = self._owed = 0
        self._hello.resume_token = self.token()
        self._requests = asyncio.Queue()
        self._requests.put_nowait(streams_pb2.OpenRequest(hello=self._hello))
        for request in self._said.values():
            self._requests.put_nowait(request)
        # after what is seen, so that the first chunks are of it
        self._requests.put_nowait(streams_pb2.OpenRequest(credit=self._credit))

    def _take(self, response: streams_pb2.OpenResponse) -> None:
        kind: Any = response.WhichOneof("event")
        if kind == "new_version":
            self._renew(response.new_version)
        elif kind == "encoded":
            self._texture(response.encoded.texture).know(response.encoded.levels)
        elif kind == "chunk":
            self._put(response.chunk)
        elif kind == "eviction":
            self._texture(response.eviction.texture).drop(response.eviction.index)
        elif kind == "forgotten":
            del self.textures[self._numbers.pop(response.forgotten.texture)]
        elif kind == "announced":
            for name in self.textures.keys() - set(self._numbers.values()):
                del self.textures[name]

    def _renew(self, told: streams_pb2.NewVersion) -> None:
        name = f"{told.surface.name}/{told.map.kind}"
        old = self.textures.get(name)
        self.textures[name] = old.renew(told) if old else ReceivedTexture(told)
        self._numbers[told.texture] = name

    def _put(self, chunk: streams_pb2.StreamedChunk) -> None:
        if chunk.sequence != self._sequence + 1 or google_crc32c.value(chunk.data) != chunk.crc32c:
            raise WrongChunk
        self._texture(chunk.texture).take(chunk.index, inflated(chunk))
        self._sequence = chunk.sequence
        self._owed += len(chunk.data)

    def _acknowledge(self) -> None:
        """The chunks of a message."""
        if self._owed:
            told = streams_pb2.Acknowledgement(sequence=self._sequence, credit=self._owed)
            self._owed = 0
            self._requests.put_nowait(streams_pb2.OpenRequest(acknowledgement=told))

    def _texture(self, number: int) -> ReceivedTexture:
        return self.textures[self._numbers[number]]


def _gazing(x: float, y: float) -> streams_pb2.OpenRequest:
    return streams_pb2.OpenRequest(gaze=streams_pb2.Gaze(known=True, x=x, y=y))


def _one_by_one(response: streams_pb2.OpenResponse) -> Iterable[streams_pb2.OpenResponse]:
    """A message of several chunks as several."""
    if response.WhichOneof("event") != "chunks":
        return [response]
    return (streams_pb2.OpenResponse(chunk=chunk) for chunk in response.chunks.chunks)


def inflated(chunk: streams_pb2.StreamedChunk) -> bytes:
    """The blocks of a chunk. Raises WrongChunk where they are not as many as it says."""
    if not chunk.inflated:
        return chunk.data
    reader = zlib.decompressobj(wbits=-15)  # raw DEFLATE
    try:
        data = reader.decompress(chunk.data, chunk.inflated)
    except zlib.error as error:
        raise WrongChunk from error
    if len(data) != chunk.inflated or reader.decompress(reader.unconsumed_tail, 1) or not reader.eof:
        raise WrongChunk
    return data


async def _send(call: Any, requests: asyncio.Queue[streams_pb2.OpenRequest]) -> None:
    """Whatever is put there, until the call ends; how, its reader learns."""
    with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
        while True:
            await call.write(await requests.get())
