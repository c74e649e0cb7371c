"""What no one foresaw: to the client it is INTERNAL in one line, to the server's log it is the whole traceback."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

from google.rpc import code_pb2

import grpc
from grpc import aio
from texsynth_rpc.failures import Context, refuse

log = logging.getLogger(__name__)


class Unexpected(aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Lets no exception of a servicer reach grpc, which would send its text."""

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
        return make(_guarded(getattr(handler, kind), method), handler.request_deserializer, handler.response_serializer)


def _guarded(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behaviour):

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async for response in behaviour(request, context):
                    yield response
            except aio.AbortError:
                raise
            except Exception:
                await _hide(context, method)

        return stream
    if not inspect.iscoroutinefunction(behaviour):
        return behaviour  # a library's own, which grpc runs in a thread

    async def answer(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except aio.AbortError:
            raise
        except Exception:
            await _hide(context, method)

    return answer


async def _hide(context: Context, method: str) -> NoReturn:
    log.exception("%s failed", method)
    await refuse(context, code_pb2.INTERNAL, "the service failed; its log says why", reason="INTERNAL")
