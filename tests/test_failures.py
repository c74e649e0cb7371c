"""Every error that the service can give, provoked for real: it arrives whole, short and without the server's inside."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc_status import rpc_status
from service_process import LONG, ROOT, serving, until
from texsynth_rpc.v1 import jobs_pb2

import grpc
from plugin_bridge.client import Client
from plugin_bridge.errors import STATUS, ServiceError

MOST_DETAILS = 2048  # bytes
SMALL = {"size": 64, "preset": "draft"}


def refusal(call: Callable[[], object], code: grpc.StatusCode, reason: str) -> ServiceError:
    """The error of a call, as the client gives it, after a look at all that came."""
    with pytest.raises(ServiceError) as raised:
        call()
    error, answer = raised.value, raised.value.__context__
    assert (error.code, error.reason) == (code, reason)
    assert "\n" not in str(error)
    assert str(error)
    (details,) = (value for key, value in answer.trailing_metadata() if key == STATUS)
    assert len(details) <= MOST_DETAILS
    assert b"Traceback" not in details
    assert b'File "' not in details
    status = rpc_status.from_call(answer)
    assert (status.code, status.message) == (code.value[0], str(error))
    assert all("texsynth_rpc" not in str(detail) for detail in status.details)
    return error


@contextlib.contextmanager
def renamed(data: Path, table: str) -> Iterator[None]:
    """A database in which a table has gone."""
    with contextlib.closing(sqlite3.connect(data / "jobs.sqlite")) as database:
        database.execute(f"ALTER TABLE {table} RENAME TO gone")
        try:
            yield
        finally:
            database.execute(f"ALTER TABLE gone RENAME TO {table}")


def test_a_wrong_field_is_named(server: Any, gravel: Path) -> None:
    with server.client() as client:
        error = refusal(lambda: client.synthesize(gravel, size=500), grpc.StatusCode.INVALID_ARGUMENT, "BAD_FIELD")
        assert error.field == "work.synthesize"
        assert error.retry_seconds == 0


def test_a_long_text_does_not_make_a_long_error(server: Any, gravel: Path) -> None:
    with server.client() as client:
        error = refusal(
            lambda: client.synthesize(gravel, preset="\N{SNOWMAN}" * 100_000), grpc.StatusCode.INVALID_ARGUMENT,
            "BAD_FIELD",
        )  # fmt: skip
        assert len(str(error).encode()) <= 700


def test_what_is_absent_and_what_comes_too_late(server: Any, gravel: Path) -> None:
    with server.client() as client:
        job = client.wait(client.synthesize(gravel, **SMALL).id)
        refusal(lambda: client.get("0" * 32), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        refusal(lambda: client.retry(job.id), grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
        refusal(
            lambda: client.submit(job.work, request_id=job.request_id, batch=True), grpc.StatusCode.ALREADY_EXISTS,
            "ANOTHER_JOB",
        )  # fmt: skip


def test_damage_is_told(server: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(os.urandom(1000))
    with server.client() as client:
        digest = client.upload(tmp_path / "data")
        (server.data / "objects" / digest[:2] / digest).write_bytes(os.urandom(1000))
        refusal(lambda: client.download(digest, tmp_path / "copy"), grpc.StatusCode.DATA_LOSS, "DAMAGED")


def test_a_disk_that_takes_no_more_says_when_to_come_back(server: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(os.urandom(1 << 20))
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    with server.client() as client:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 19, before[1]))
        try:
            error = refusal(lambda: client.upload(tmp_path / "data"), grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK")
        finally:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
        assert error.retry_seconds == 60
        assert client.upload(tmp_path / "data")


def test_a_caller_without_token_or_scope(guarded: Any) -> None:
    with guarded.client("wrong") as nobody, guarded.client(guarded.guest) as guest:
        refusal(lambda: list(nobody.jobs()), grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")
        refusal(lambda: guest.cancel("0" * 32), grpc.StatusCode.PERMISSION_DENIED, "NO_SCOPE")


def test_a_full_queue_and_a_service_that_stops_say_when_to_come_back(gravel: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--queue", "0") as small, Client(small.address, patience=0) as client:
        work = jobs_pb2.Work(synthesize=jobs_pb2.SynthesizeJob(exemplar=client.input(gravel)))
        error = refusal(lambda: client.submit(work), grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert error.retry_seconds == 10
    with serving(tmp_path / "data") as stopping, Client(stopping.address, patience=0) as client:
        job = client.synthesize(gravel, **LONG)
        until(client, job.id, 0.1)
        worker = stopping.worker()
        os.kill(worker, signal.SIGSTOP)  # so that there is something to wait for
        try:
            stopping.process.send_signal(signal.SIGTERM)

            def submit_for_ever() -> None:
                while True:
                    client.submit(work)

            error = refusal(submit_for_ever, grpc.StatusCode.UNAVAILABLE, "STOPPING")
        finally:
            os.kill(worker, signal.SIGCONT)
        assert error.retry_seconds == 10


def test_a_tenant_who_has_all_that_it_may(gravel: Path, tmp_path: Path) -> None:
    limits = "--tenant-jobs", "1", "--tenant-gb", "0.001"
    with serving(tmp_path / "data", *limits) as small, Client(small.address, patience=0) as client:
        work = jobs_pb2.Work(synthesize=jobs_pb2.SynthesizeJob(exemplar=client.input(gravel)))
        client.submit(work)
        error = refusal(lambda: client.submit(work), grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_JOBS")
        assert error.retry_seconds == 10
        (tmp_path / "data.bin").write_bytes(os.urandom(1_000_000))
        refusal(lambda: client.upload(tmp_path / "data.bin"), grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_BYTES")


def test_a_texture_of_another_version_and_none_at_all(server: Any, gravel: Path) -> None:
    with server.client() as client:
        job = client.wait(client.synthesize(gravel, **SMALL).id)
        level = client.texture(job.id).maps[0].levels[0].sha256
        refusal(lambda: client.part(job.id, "old", level), grpc.StatusCode.FAILED_PRECONDITION, "STALE_VERSION")
        measured = client.wait(client.measure(gravel, gravel).id)
        refusal(lambda: client.texture(measured.id), grpc.StatusCode.FAILED_PRECONDITION, "NO_TEXTURE")
        made = client.wait(client.synthesize(gravel, **SMALL, format="exr").id)
        refusal(lambda: client.show("room", "wall", made.id), grpc.StatusCode.FAILED_PRECONDITION, "NO_BLOCKS")


def test_what_no_one_foresaw_is_one_line_to_the_client_and_a_traceback_in_the_log(
    gravel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path / "data") as broken, broken.client() as client:
        job = client.wait(client.synthesize(gravel, **SMALL).id)
        with renamed(tmp_path / "data", "jobs"):
            refusal(lambda: client.get(job.id), grpc.StatusCode.INTERNAL, "INTERNAL")
        with renamed(tmp_path / "data", "events"):
            refusal(lambda: list(client.watch(job.id)), grpc.StatusCode.INTERNAL, "INTERNAL")
        assert client.get(job.id) == job, "it lives"
    log = capfd.readouterr().err
    for method, table in (("Get", "jobs"), ("Watch", "events")):
        assert f"/texsynth.v1.JobService/{method} failed" in log
        assert f"sqlite3.OperationalError: no such table: {table}" in log


def test_bytes_that_are_no_message_are_refused_without_a_traceback(server: Any) -> None:
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/texsynth.v1.JobService/Get")(b"\xff\xff\xff")
    assert "Traceback" not in refused.value.details()
    assert "\n" not in refused.value.details()


def test_all_of_them_are_provoked_here() -> None:
    """A reason that is added to the service fails here until something above provokes it."""
    source = "".join(path.read_text() for path in (ROOT / "grpc" / "texsynth_rpc").glob("*.py"))
    reasons = set(re.findall(r'(?:reason=|_refusing\([^\n]*, )"([A-Z_]+)"', source))
    assert reasons == set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', Path(__file__).read_text())) - {"INTERNAL"} | {
        "INTERNAL"
    }
    assert len(reasons) >= 11
