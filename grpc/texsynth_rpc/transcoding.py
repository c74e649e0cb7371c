"""gRPC for those who speak HTTP and JSON: every method of the contract as POST /rpc/package.Service/Method.

The body is the request in protobuf's JSON; names are those of the contract. A unary method answers with its response,
a streaming one with a line of JSON for each: {"result": ...}, empty lines while nothing happens, and {"error": ...}
where it fails in the middle. An error is {"code", "message", "reason", "field"}, from google.rpc.Status, under the
HTTP status that google.rpc.Code names for it. Every call goes to the service over a channel with the caller's token, so
scopes, tenants and checks are those of gRPC.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2
from grpc_status import rpc_status

from grpc import aio
from texsynth_rpc.gate import KEY

PREFIX = "/rpc"  # a proxy that serves gRPC and the page under one name tells them apart by it
HEARTBEAT = 15.0  # seconds without an event after which an empty line finds out whether the client is there
HTTP_STATUS = {
    "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400,
    "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}  # fmt: skip
"""As the comments of google/rpc/code.proto say."""


_IN_FIELD = re.compile(r"Failed to parse (\w+) field: ")
_AT_PATH = re.compile(r"\.? at \"?\w+\.[\w.\[\]]*[\w\]]\"?\.*\Z|\.+\Z")


class Refused(Exception):
    """A request that is answered with an error. code: a name of google.rpc.Code; retry_seconds: 0 for never."""

    def __init__(
        self, code: str, message: str, reason: str = "", field: str = "", retry_seconds: int = 0, status: int = 0
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.field, self.retry_seconds = code, reason, field, retry_seconds
        self.status = status or HTTP_STATUS[code]

    def json(self) -> dict[str, str]:
        """What the client is told."""
        return {"code": self.code, "message": str(self), "reason": self.reason, "field": self.field}

    def response(self) -> web.Response:
        """The whole answer."""
        headers = {"Retry-After": str(self.retry_seconds)} if self.retry_seconds else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return web.json_response(self.json(), status=self.status, headers=headers)


def refused(error: aio.AioRpcError) -> Refused:
    """What a call ended with."""
    status = rpc_status.from_call(error)
    found = Refused(error.code().name, error.details() or error.code().name)
    if status is None:
        return found
    reason, field, seconds = "", "", 0
    for detail in status.details:
        info, wrong, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(wrong) and wrong.field_violations:
            field = wrong.field_violations[0].field
        elif detail.Unpack(retry):
            seconds = retry.retry_delay.seconds
    return Refused(code_pb2.Code.Name(status.code), status.message, reason, field, seconds)


@dataclass(frozen=True)
class Method:
    """One method of the contract and the classes of its messages."""

    path: str
    request: type[Message]
    response: type[Message]
    client_streams: bool
    server_streams: bool


def methods(paths: Iterable[str]) -> dict[str, Method]:
    """The methods at `paths` ("/package.Service/Method"), whose generated modules are imported."""
    pool, found = descriptor_pool.Default(), {}
    for path in paths:
        _, service, name = path.split("/")
        described = pool.FindServiceByName(service).FindMethodByName(name)
        found[path] = Method(
            path,
            message_factory.GetMessageClass(described.input_type),
            message_factory.GetMessageClass(described.output_type),
            described.client_streaming,
            described.server_streaming,
        )
    return found


def bearer(request: web.Request) -> list[tuple[str, str]]:
    """The caller's token, as gRPC's metadata."""
    given = request.headers.get("Authorization")
    return [] if given is None else [(KEY, given)]


class Transcoder:
    """Answers POST requests for the methods over `channel`. ending: set when streams have to end."""

    def __init__(self, channel: aio.Channel, known: dict[str, Method], ending: asyncio.Event) -> None:
        self._channel, self._methods, self._ending = channel, known, ending

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The handler of PREFIX/SERVICE/METHOD. Raises Refused."""
        method = self._methods.get(request.path.removeprefix(PREFIX))
        if method is None:
            raise Refused("NOT_FOUND", f"{request.path[:200]} is no method of this service", "NO_METHOD")
        if method.client_streams:
            how = "PUT a file to /files/SHA256, open a scene's stream as the WebSocket /stream"
            raise Refused("UNIMPLEMENTED", f"{request.path} takes a stream; {how}", "STREAM")
        if request.content_type != "application/json":
            # browsers ask first before a foreign page may send this type, and are not answered
            raise Refused("INVALID_ARGUMENT", "the body is not application/json", "NOT_JSON", status=415)
        message = parsed(await request.read(), method.request())
        if method.server_streams:
            return await self._stream(request, method, message)
        call = self._channel.unary_unary(
            method.path, request_serializer=_bytes, response_deserializer=method.response.FromString
        )
        try:
            response = await call(message, metadata=bearer(request))
        except aio.AioRpcError as error:
            raise refused(error) from None
        return web.json_response(_json(response))

    async def _stream(self, request: web.Request, method: Method, message: Message) -> web.StreamResponse:
        call = self._channel.unary_stream(
            method.path, request_serializer=_bytes, response_deserializer=method.response.FromString
        )(message, metadata=bearer(request))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        try:
            async with contextlib.aclosing(_with_pauses(call, self._ending)) as messages:
                first = await anext(messages, None)  # an error that comes before any message has its own HTTP status
                await response.prepare(request)
                await response.write(_line(first))
                async for each in messages:
                    await response.write(_line(each))
        except (aio.AioRpcError, Refused) as error:
            found = error if isinstance(error, Refused) else refused(error)
            if not response.prepared:
                raise found from None
            await response.write(json.dumps({"error": found.json()}).encode() + b"\n")
        finally:
            call.cancel()
        await response.write_eof()
        return response


async def _with_pauses(call: Any, ending: asyncio.Event) -> AsyncGenerator[Message | None]:
    """The messages of a call, None for each HEARTBEAT without one. Raises AioRpcError, and Refused at `ending`."""
    stop = asyncio.ensure_future(ending.wait())
    reading: asyncio.Future[Any] = asyncio.ensure_future(call.read())
    try:
        while True:
            await asyncio.wait({reading, stop}, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                message = reading.result()
                if message is aio.EOF:
                    return
                yield message
                reading = asyncio.ensure_future(call.read())
            elif stop.done():
                raise Refused("UNAVAILABLE", "the service is stopping", "STOPPING", retry_seconds=10)
            else:
                yield None
    finally:
        stop.cancel()
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError, aio.AioRpcError):
            await reading


def parsed(body: bytes, message: Message) -> Message:
    """`message` filled from JSON. Raises Refused."""
    text = ""
    try:
        text = body.decode().strip() or "{}"
        if not text.startswith("{"):  # the parser takes an empty list for an empty message
            raise ValueError("not an object")
        return json_format.Parse(text, message)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _unparsed(str(error), message.DESCRIPTOR.name, text) from None


def _unparsed(error: str, name: str, text: str) -> Refused:
    """From "Failed to parse work field: Failed to parse seed field: Value out of range: -1 at Request.work.x."."""
    *names, what = _IN_FIELD.split(error)
    field = _path([part for part in names if part], text)
    what = " ".join(_AT_PATH.sub("", what).split())
    what = f"{field}: {what}" if field else f"the body is no {name}: {what}"
    return Refused("INVALID_ARGUMENT", what[:300], "BAD_FIELD" if field else "BAD_JSON", field)


def _path(names: list[str], text: str) -> str:
    """`names` with the members of a oneof between them, which the parser's message leaves out."""
    here: Any = json.loads(text) if names else None
    found = []
    for name in names:
        if isinstance(here, dict) and name not in here:
            inner = [key for key, value in here.items() if isinstance(value, dict) and name in value][:1]
            found += inner
            here = here[inner[0]] if inner else None
        found.append(name)
        here = here.get(name) if isinstance(here, dict) else None
    return ".".join(found)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _line(message: Message | None) -> bytes:
    return b"\n" if message is None else json.dumps({"result": _json(message)}).encode() + b"\n"
