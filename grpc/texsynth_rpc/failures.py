"""Errors as clients see them: google.rpc.Status with details, never a traceback."""

from __future__ import annotations

from typing import NoReturn, TypeAlias

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from grpc import aio

DOMAIN = "texsynth"
DISK_RETRY = 60.0  # seconds after which a full disk may have room
LONGEST_MESSAGE, LONGEST_FIELD = 700, 200  # bytes; the message is sent twice, and all details are to be below 2 KB

Context: TypeAlias = aio.ServicerContext


async def refuse(
    context: Context, code: int, message: str, *, field: str = "", reason: str = "", retry_seconds: float = 0.0
) -> NoReturn:
    """End the call. code: of google.rpc.Code. field: that is wrong (BadRequest); reason: for programs (ErrorInfo), in
    CAPITALS; retry_seconds: after which the call may pass (RetryInfo)."""
    details, message = [], _line(message, LONGEST_MESSAGE)
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=_line(field, LONGEST_FIELD), description=message)
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if reason:
        details.append(_packed(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)))
    if retry_seconds:
        delay = duration_pb2.Duration(seconds=int(retry_seconds), nanos=int(retry_seconds % 1 * 1e9))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    status = status_pb2.Status(code=code, message=message, details=details)
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort raises")


async def bad_request(context: Context, field: str, message: str) -> NoReturn:
    """INVALID_ARGUMENT for `field`."""
    await refuse(context, code_pb2.INVALID_ARGUMENT, f"{field}: {message}", field=field, reason="BAD_FIELD")


async def not_found(context: Context, what: str) -> NoReturn:
    """NOT_FOUND, the same for what is absent and for what is another tenant's."""
    await refuse(context, code_pb2.NOT_FOUND, f"{what} is not here", reason="NOT_FOUND")


def _line(text: str, longest: int) -> str:
    """`text` in one line of so many bytes at most."""
    return " ".join(text.split())[:longest].encode()[:longest].decode(errors="ignore")


def _packed(
    message: error_details_pb2.BadRequest | error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
