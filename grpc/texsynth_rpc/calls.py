"""Every call: counted, timed, and kept from showing what no one foresaw.

To the client that is INTERNAL in one line, to the server's log it is the whole traceback. A disk that does not do what
it should is no defect: RESOURCE_EXHAUSTED, to be tried again.
"""

from __future__ import annotations

import inspect
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from google.rpc import code_pb2

import grpc
from grpc import aio
from texsynth_rpc.failures import DISK_RETRY, Context, refuse
from texsynth_rpc.meters import Meters

log = logging.getLogger(__name__)

CODES = {code.value[0]: code.name for code in grpc.StatusCode}
# A database whose file cannot be read is CORRUPT to SQLite until it can.
OF_THE_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT)
ENDED = (aio.AbortError, aio.InternalError)  # it was refused; the client has left, so that nothing can be sent to it
Behaviour = Callable[..., Any]


class Calls(aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Lets no exception of a servicer reach grpc, which would send its text."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Called by grpc for every call."""
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if handler is None:
            return None
        asked, given = (
            "stream" if streams else "unary" for streams in (handler.request_streaming, handler.response_streaming)
        )
        kind = f"{asked}_{given}"
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        guarded = self._guarded(getattr(handler, kind), method)
        return make(guarded, handler.request_deserializer, _serialised(handler.response_serializer))

    def _guarded(self, behaviour: Behaviour, method: str) -> Behaviour:
        if inspect.isasyncgenfunction(behaviour):

            async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
                with self._counted(method, context):
                    try:
                        async for response in behaviour(request, context):
                            yield response
                    except ENDED:
                        raise
                    except Exception as error:
                        await _hide(error, context, method)

            return stream
        if not inspect.iscoroutinefunction(behaviour):
            return behaviour  # a library's own, which grpc runs in a thread

        async def answer(request: Any, context: Context) -> Any:
            with self._counted(method, context):
                try:
                    return await behaviour(request, context)
                except ENDED:
                    raise
                except Exception as error:
                    await _hide(error, context, method)

        return answer

    @contextmanager
    def _counted(self, method: str, context: Context) -> Iterator[None]:
        began, code = time.monotonic(), "CANCELLED"  # by the client, if nothing else is said
        try:
            yield
            code = _said(context)
        except ENDED:
            code = _said(context)
            raise
        finally:
            self._meters.calls.labels(method, code).inc()
            self._meters.call_seconds.labels(method).observe(time.monotonic() - began)


def _serialised(serializer: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Streams put their messages together from bytes that are there."""
    return lambda response: response if isinstance(response, bytes) else serializer(response)


def _said(context: Context) -> str:
    code = context.code()
    return CODES.get(code, str(code)) if isinstance(code, int) else "OK" if code is None else code.name


async def _hide(error: Exception, context: Context, method: str) -> NoReturn:
    if isinstance(error, OSError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in OF_THE_DISK:
        log.error("%s: the disk: %s", method, error)
        message = "the server's disk is full or fails; try again later"
        await refuse(context, code_pb2.RESOURCE_EXHAUSTED, message, reason="DISK", retry_seconds=DISK_RETRY)
    log.exception("%s failed", method)
    await refuse(context, code_pb2.INTERNAL, "the service failed; its log says why", reason="INTERNAL")
