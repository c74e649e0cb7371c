"""Streams for browsers: GET /stream is a WebSocket that carries the messages of StreamService.Open, one to one.

The first message is text: the bearer token, or nothing where none is asked for. (Browsers cannot set headers here. A
subprotocol could hold the token too, but then it would be in the headers, which proxies write into their logs.) All
others are binary: an OpenRequest from the browser, an OpenResponse from the service.

Nothing is read from one side before the other has taken what came before, so a slow reader stops the stream and not
the memory. A ping that is not answered ends it, within 30 s of the last sign of life.

It ends with 1000, or with 4000 + the number of a google.rpc.Code and the reason {"code", "message"} as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import WSMsgType, web
from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from grpc import aio
from texsynth_rpc.gate import KEY, SCHEME
from texsynth_rpc.transcoding import Refused, refused
from texsynth_rpc.v1 import streams_pb2

OPEN = "/texsynth.v1.StreamService/Open"
LARGEST_REQUEST = 256 << 10
GREETING = 10.0  # seconds in which the token has to come
HEARTBEAT = 20.0  # seconds between pings; aiohttp waits half of it for the answer
LARGEST_REASON = 120  # bytes; RFC 6455 has room for 123
CLOSED = 4000  # the first of the codes that are free to use


class Streams:
    """The handler of /stream over `channel`. ending: set when streams have to end."""

    def __init__(self, channel: aio.Channel, ending: asyncio.Event) -> None:
        self._channel, self._ending = channel, ending

    async def get(self, request: web.Request) -> web.WebSocketResponse:
        """Carry messages until one side ends."""
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=LARGEST_REQUEST, compress=False)
        if not socket.can_prepare(request).ok:
            raise Refused("INVALID_ARGUMENT", "/stream is a WebSocket", "NO_WEBSOCKET")
        await socket.prepare(request)
        try:
            await self._carry(socket)
            await socket.close()
        except aio.AioRpcError as error:
            await _refuse(socket, refused(error))
        except Refused as error:
            await _refuse(socket, error)
        except ConnectionError:
            pass  # the browser went away
        return socket

    async def _carry(self, socket: web.WebSocketResponse) -> None:
        call = self._channel.stream_stream(OPEN)(metadata=await _token(socket))  # bytes in, bytes out
        tasks = [
            asyncio.create_task(work) for work in (_requests(socket, call), _responses(socket, call), self._stopped())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:  # where several ended, the first of them says why
                if task in done:
                    await task
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stopped(self) -> None:
        await self._ending.wait()
        raise Refused("UNAVAILABLE", "the service is stopping", "STOPPING")


async def _token(socket: web.WebSocketResponse) -> list[tuple[str, str]]:
    """The first message, as gRPC's metadata. Raises Refused."""
    try:
        first = await socket.receive(GREETING)
    except TimeoutError:
        raise Refused("UNAUTHENTICATED", "no token came as the first message", "NO_TOKEN") from None
    if first.type is not WSMsgType.TEXT or not first.data.isascii() or not (first.data or "-").isprintable():
        raise Refused("UNAUTHENTICATED", "the first message is to be text: the token, or nothing", "NO_TOKEN")
    return [(KEY, SCHEME + first.data)] if first.data else []


async def _requests(socket: web.WebSocketResponse, call: Any) -> None:
    """What the browser says, until it ends. Raises Refused, AioRpcError."""
    async for message in socket:
        if message.type is not WSMsgType.BINARY:
            raise Refused("INVALID_ARGUMENT", "a message is to be a binary OpenRequest", "NOT_BINARY")
        try:
            streams_pb2.OpenRequest.FromString(message.data)
        except DecodeError:
            raise Refused("INVALID_ARGUMENT", "a message is no OpenRequest", "BAD_MESSAGE") from None
        with contextlib.suppress(asyncio.InvalidStateError):  # the call has ended, which the other side tells
            await call.write(message.data)


async def _responses(socket: web.WebSocketResponse, call: Any) -> None:
    """What the service says, until it ends. Raises AioRpcError, ConnectionError."""
    while (message := await call.read()) is not aio.EOF:
        await socket.send_bytes(message)
    code = await call.code()
    if code.value[0]:
        raise Refused(code.name, await call.details() or code.name)


async def _refuse(socket: web.WebSocketResponse, error: Refused) -> None:
    number = CLOSED + code_pb2.Code.Value(error.code)
    with contextlib.suppress(ConnectionError):
        await socket.close(code=number, message=_reason(error.code, str(error)))


def _reason(code: str, message: str) -> bytes:
    """As JSON, the message cut to what there is room for."""
    while len(text := json.dumps({"code": code, "message": message}, ensure_ascii=False).encode()) > LARGEST_REASON:
        message = message[: -max(1, (len(text) - LARGEST_REASON) // 4)]
    return text
