"""Files over HTTP: PUT and GET /files/SHA256, carried piece by piece by AssetService, in whose hands all checks are."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any
from urllib.parse import quote

from aiohttp import web

from grpc import aio
from texsynth_rpc.transcoding import Refused, bearer, refused
from texsynth_rpc.v1 import assets_pb2, assets_pb2_grpc

STALLED = 120.0  # seconds without a byte in or out after which a transfer is given up
FOREVER = "private, max-age=31536000, immutable"  # a digest's bytes never change; for the caller's own cache only
TYPES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "exr": "image/x-exr",
    "json": "application/json", "glb": "model/gltf-binary", "ktx2": "image/ktx2", "dds": "image/vnd-ms.dds",
    "html": "text/plain; charset=utf-8",
}  # fmt: skip
"""By the end of the name that the client gives. Files are strangers': none is ever a document of this origin."""
LONGEST_NAME = 255
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


class Files:
    """The handlers of /files over `channel`."""

    def __init__(self, channel: aio.Channel) -> None:
        self._assets: Any = assets_pb2_grpc.AssetServiceStub(channel)  # type: ignore[no-untyped-call]

    async def put(self, request: web.Request) -> web.Response:
        """Upload the body. Raises Refused."""
        if request.content_length is None:
            raise Refused("INVALID_ARGUMENT", "the request has no Content-Length", "NO_LENGTH", status=411)
        header = assets_pb2.UploadHeader(size=request.content_length, sha256=request.match_info["digest"])
        call = self._assets.Upload(metadata=bearer(request))
        sending = asyncio.create_task(_send(call, header, request))
        answering = asyncio.create_task(_answer(call))
        try:
            # the service may answer before all bytes are there, for good or ill
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            answer = await answering
            sending.cancel()
            await asyncio.wait({sending})  # two may not read at once
            await _drain(request)
        except aio.AioRpcError as error:
            raise refused(error) from None
        except TimeoutError:
            raise Refused("DEADLINE_EXCEEDED", f"no byte came for {STALLED:.0f} s; send it again", status=408) from None
        finally:
            sending.cancel()
            answering.cancel()
            call.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
        return web.json_response({"asset": {"sha256": answer.asset.sha256, "size": str(answer.asset.size)}})

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Download the file, or the part of it that Range names; HEAD too. Raises Refused."""
        digest = request.match_info["digest"]
        try:
            known = await self._assets.Describe(assets_pb2.DescribeRequest(sha256=[digest]), metadata=bearer(request))
        except aio.AioRpcError as error:
            raise refused(error) from None
        if not known.assets:
            raise Refused("NOT_FOUND", f"file {digest} is not here", "NOT_FOUND")
        size, tag = known.assets[0].size, f'"{digest}"'
        headers = _headers(request.query.get("name", "")[:LONGEST_NAME]) | {"ETag": tag}
        if tag in (part.strip() for part in request.headers.get("If-None-Match", "").split(",")):
            return web.Response(status=304, headers=headers)
        part = _part(request.headers.get("Range", ""), size)
        if part is None or request.headers.get("If-Range", tag) != tag:
            first, end, status = 0, size, 200
        else:
            first, end, status = *part, 206
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = end - first
        if request.method != "HEAD":
            return await self._pass(request, response, assets_pb2.DownloadRequest(sha256=digest, offset=first), end)
        await response.prepare(request)
        return response

    async def _pass(
        self, request: web.Request, response: web.StreamResponse, wanted: assets_pb2.DownloadRequest, end: int
    ) -> web.StreamResponse:
        """The bytes from wanted.offset up to `end`."""
        call = self._assets.Download(wanted, metadata=bearer(request))
        try:
            async for piece in call:  # a damaged file is refused before its first piece
                if not response.prepared:
                    await response.prepare(request)
                async with asyncio.timeout(STALLED):
                    await response.write(piece.data[: end - piece.offset])
                if piece.offset + len(piece.data) >= end:
                    break
            await response.write_eof()
        except aio.AioRpcError as error:
            if response.prepared:
                raise ConnectionResetError(str(error)) from None  # the length says that bytes are missing
            raise refused(error) from None
        finally:
            call.cancel()
        return response


async def _send(call: Any, header: assets_pb2.UploadHeader, request: web.Request) -> None:
    """The header and the body as they come. Raises TimeoutError."""
    with contextlib.suppress(asyncio.InvalidStateError, aio.AioRpcError):  # it is answered already; the answer says how
        await call.write(assets_pb2.UploadRequest(header=header))
        while piece := await _piece(request):
            await call.write(assets_pb2.UploadRequest(data=piece))
        await call.done_writing()


async def _answer(call: Any) -> assets_pb2.UploadResponse:
    answer: assets_pb2.UploadResponse = await call
    return answer


async def _piece(request: web.Request) -> bytes:
    async with asyncio.timeout(STALLED):
        return await request.content.readany()


async def _drain(request: web.Request) -> None:
    """Take what still comes of a file that is there already: a client that is cut off while it sends sees an error."""
    while await _piece(request):
        pass


def _headers(name: str) -> dict[str, str]:
    """For a file that the client calls `name`, "" for none."""
    suffix = name.rpartition(".")[2].lower()
    headers = {
        "Content-Type": TYPES.get(suffix, "application/octet-stream"),
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": FOREVER,
        "Vary": "Authorization",
        "Accept-Ranges": "bytes",
    }
    if name:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}"
    return headers


def _part(header: str, size: int) -> tuple[int, int] | None:
    """First byte and end of what a Range header asks for; None for the whole file. Raises Refused for what is none."""
    match = _RANGE.match(header)
    if match is None or match.groups() == ("", ""):
        return None  # several parts, or another unit: the whole is allowed too
    first, last = match.groups()
    if first:
        begin, end = int(first), min(int(last) + 1 if last else size, size)
    else:
        begin, end = max(0, size - int(last)), size
    if begin >= end:
        raise Refused("OUT_OF_RANGE", f"the file has {size} bytes; {header} names none", "RANGE", status=416)
    return begin, end
