"""The gRPC side of results as textures: TextureService."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import google_crc32c
from google.rpc import code_pb2

from texsynth_rpc.failures import Context, not_found, refuse
from texsynth_rpc.jobs import JobStore
from texsynth_rpc.meters import Meters
from texsynth_rpc.objects import Damaged, ObjectStore
from texsynth_rpc.results import Results, damaged
from texsynth_rpc.services import DOWNLOAD_PIECE, metrics_of
from texsynth_rpc.textures import Part
from texsynth_rpc.v1 import textures_pb2, textures_pb2_grpc


class Textures(textures_pb2_grpc.TextureServiceServicer):
    """Manifests, figures, levels and chunks of results."""

    def __init__(self, objects: ObjectStore, jobs: JobStore, results: Results, meters: Meters) -> None:
        self._objects, self._jobs, self._results, self._meters = objects, jobs, results, meters

    async def GetManifest(
        self, request: textures_pb2.GetManifestRequest, context: Context
    ) -> textures_pb2.GetManifestResponse:
        """See textures.proto."""
        return textures_pb2.GetManifestResponse(texture=(await self._results.parts(request.job, context)).texture)

    async def GetReport(
        self, request: textures_pb2.GetReportRequest, context: Context
    ) -> textures_pb2.GetReportResponse:
        """See textures.proto."""
        job = await self._results.job(request.job, context)
        return textures_pb2.GetReportResponse(metrics=metrics_of(self._jobs.metrics(job.id)))

    async def Fetch(
        self, request: textures_pb2.FetchRequest, context: Context
    ) -> AsyncIterator[textures_pb2.FetchResponse]:
        """See textures.proto."""
        parts = await self._results.parts(request.job, context)
        if request.version != parts.texture.version:
            await refuse(
                context, code_pb2.FAILED_PRECONDITION, "the texture is of another version; ask for its manifest again",
                reason="STALE_VERSION",
            )  # fmt: skip
        part = parts.find(request.sha256)
        if part is None or request.offset > part.size:
            await not_found(context, f"part {request.sha256[:64]} of job {request.job}, at {request.offset}")
        try:
            for digest in {digest for digest, _, _ in part.spans}:
                await asyncio.to_thread(self._objects.check, digest)
        except (Damaged, FileNotFoundError) as error:
            await damaged(error, context)
        offset, size = request.offset, part.size
        for data in _pieces(self._objects, part, offset):
            yield textures_pb2.FetchResponse(offset=offset, data=data, crc32c=google_crc32c.value(data), size=size)
            offset += len(data)
            self._meters.sent.inc(len(data))
        if size == request.offset:
            yield textures_pb2.FetchResponse(offset=offset, size=size)


def _pieces(objects: ObjectStore, part: Part, offset: int) -> Iterator[bytes]:
    """The bytes of a part from `offset` on."""
    gathered = bytearray()
    for digest, start, length in part.spans:
        skipped = min(offset, length)
        offset -= skipped
        at, end = start + skipped, start + length
        with objects.path(digest).open("rb", buffering=0) as file:
            while at < end:
                data = os.pread(file.fileno(), min(end - at, DOWNLOAD_PIECE - len(gathered)), at)
                if not data:
                    return  # it was cut short: the reader misses bytes and asks again
                gathered += data
                at += len(data)
                if len(gathered) == DOWNLOAD_PIECE:
                    yield bytes(gathered)
                    gathered.clear()
    if gathered:
        yield bytes(gathered)
