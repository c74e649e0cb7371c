"""What clients raise, read from the service's google.rpc.Status without the library of its messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import any_pb2, duration_pb2, empty_pb2, unknown_fields
from texsynth_rpc.v1 import jobs_pb2

import grpc

STATUS = "grpc-status-details-bin"  # the trailing metadata with a serialised google.rpc.Status


class ServiceError(Exception):
    """The service refused, or the line to it is lost for good.

    code: its grpc.StatusCode; str(): its one line. reason: one word in CAPITALS for programs, such as QUEUE_FULL; empty
    where the service gave none, as for a lost line. field: what in the request is wrong, such as work.restyle.asset.
    retry_seconds: after which the same call may pass, 0 where it says nothing of that.
    """

    def __init__(self, error: grpc.RpcError) -> None:
        super().__init__(error.details())
        self.code: grpc.StatusCode = error.code()
        self.reason, self.field, self.retry_seconds = "", "", 0.0
        for kind, value in _details(error):
            if kind == "ErrorInfo":
                self.reason = _text(value, 1)
            elif kind == "BadRequest":
                self.field = _text(next(_fields(value, 1), b""), 1)
            elif kind == "RetryInfo":
                delay = duration_pb2.Duration.FromString(next(_fields(value, 1), b""))
                self.retry_seconds = delay.seconds + delay.nanos / 1e9


class JobFailed(Exception):
    """A job ended without a result; `job` says why."""

    def __init__(self, job: jobs_pb2.Job) -> None:
        super().__init__(job.error.message)
        self.job = job


def _details(error: grpc.RpcError) -> Iterator[tuple[str, bytes]]:
    """The name of each detail's message of google.rpc, and its bytes."""
    for key, status in error.trailing_metadata() or ():
        if key == STATUS:
            for detail in _fields(status, 3):
                packed = any_pb2.Any.FromString(detail)
                yield packed.type_url.rpartition(".")[2], packed.value


def _fields(message: bytes, number: int) -> Iterator[Any]:
    """The values of one field: any message is an Empty with fields that are not known."""
    found = unknown_fields.UnknownFieldSet(empty_pb2.Empty.FromString(message))
    for field in found:  # type: ignore[attr-defined]  # its published types lack __iter__
        if field.field_number == number:
            yield field.data


def _text(message: bytes, number: int) -> str:
    return bytes(next(_fields(message, number), b"")).decode(errors="replace")
