"""What the service does unasked: deadlines, quotas, retention, repair, counting, logging, going on with a full disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import forked
import pytest
from service_process import LONG, QUICK, Server, eventually, maps_of, serving, until
from texsynth_rpc.database import Database
from texsynth_rpc.devices import VISIBLE, worker_environments
from texsynth_rpc.jobs import JobStore, Limits
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.states import State
from texsynth_rpc.v1 import jobs_pb2

import grpc
from plugin_bridge.client import Client, JobFailed, ServiceError

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def work(client: Client, exemplar: Path, **options: object) -> jobs_pb2.Work:
    given = jobs_pb2.SynthesizeJob(exemplar=client.input(exemplar), options=client.options_of(**options))
    return jobs_pb2.Work(synthesize=given)


def verify(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return forked.texsynth("verify", folder, *more, cwd=folder)


def ended(client: Client, job: str) -> jobs_pb2.Job:
    list(client.watch(job))
    return client.get(job)


def test_a_job_that_is_late_is_called_off_whether_it_runs_or_waits(gravel: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, server.client() as client:
        client.wait(client.synthesize(gravel, **QUICK).id)  # the worker is there
        running = client.submit(work(client, gravel, size=2048, preset="high"), request_id="runs", deadline=2.0)
        waiting = client.submit(work(client, gravel, **QUICK), request_id="waits", deadline=1.0)
        assert running.deadline.seconds >= running.submitted.seconds + 1
        for job in (waiting, running):
            late = ended(client, job.id)
            assert (late.state, late.error.kind) == (jobs_pb2.JOB_STATE_FAILED, "deadline")
        events = list(client.watch(running.id))
        assert max(event.progress.fraction for event in events) < 0.9
        again = client.retry(waiting.id)
        assert not again.HasField("deadline")
        assert ended(client, again.id).state == jobs_pb2.JOB_STATE_SUCCEEDED
        with pytest.raises(ServiceError, match="deadline_seconds"):
            client.submit(work(client, gravel, **QUICK), request_id="odd", deadline=float("nan"))


def test_a_deadline_outlives_the_service(gravel: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    with server.client() as client:
        job = client.submit(work(client, gravel, **LONG), request_id="late", deadline=1.5)
    server.stop(signal.SIGKILL)
    time.sleep(1.5)
    with serving(tmp_path / "data") as server, server.client() as client:
        assert ended(client, job.id).error.kind == "deadline"


def test_two_workers_do_two_jobs_at_once_and_a_person_takes_one_of_them(gravel: Path, tmp_path: Path) -> None:
    large = LONG | {"size": 512}  # the first one must still run when the other worker has its libraries
    with serving(tmp_path / "data", "--workers", "2") as server, server.client() as client:
        batches = [
            client.submit(work(client, gravel, **large, seed=k), request_id=f"batch {k}", batch=True) for k in range(2)
        ]
        for job in batches:
            until(client, job.id, 0.2)
        running = [client.get(job.id).state for job in batches]
        person = client.wait(client.synthesize(gravel, **QUICK).id)
        done = [client.wait(job.id) for job in batches]
        assert running == [jobs_pb2.JOB_STATE_RUNNING] * 2
        states = [
            [event.state.state for event in client.watch(job.id) if event.WhichOneof("event") == "state"]
            for job in batches
        ]
        assert sorted(map(len, states)) == [3, 5], "one of them made room, and only one"
        assert all(job.attempts == 1 for job in (person, *done))


def test_a_worker_is_replaced_after_so_many_jobs(gravel: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--worker-jobs", "2") as server, server.client() as client:
        workers = []
        for seed in range(3):
            job = client.synthesize(gravel, **QUICK, seed=seed)
            until(client, job.id, 0.01)
            workers.append(server.worker())
            assert client.wait(job.id).attempts == 1
            time.sleep(0.5)  # for the one who is replaced to go
        assert workers[0] == workers[1] != workers[2]


def test_a_gpu_is_one_worker_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VISIBLE, "0,3")
    assert worker_environments() == {"gpu0.0": {VISIBLE: "0"}, "gpu3.1": {VISIBLE: "3"}}
    assert [v[VISIBLE] for v in worker_environments(3).values()] == ["0", "3", "0"]
    monkeypatch.setenv(VISIBLE, "")
    assert worker_environments() == {"cpu.0": {}}
    monkeypatch.delenv(VISIBLE)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA Orin'\necho 'GPU 1: NVIDIA Orin'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert list(worker_environments()) == ["gpu0.0", "gpu1.1"]


def test_a_tenant_keeps_no_more_bytes_than_it_may(gravel: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server, server.client() as client:
        first = client.wait(client.synthesize(gravel, **QUICK).id)
        kept = sum(path.stat().st_size for path in (data / "objects").glob("??/*"))
    room = kept * 3 // 2  # for one job and a half
    with serving(data, "--tenant-gb", str(room / 1e9)) as server, server.client() as client:
        large = tmp_path / "large.png"
        large.write_bytes(os.urandom(kept))
        with pytest.raises(ServiceError, match=rf"you keep [0-9]+ of {room} bytes") as refused:
            client.upload(large)
        assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        asked = work(client, gravel, **QUICK, seed=2)
        second = client.wait(client.submit(asked, request_id="second").id)  # what is taken is not stopped
        with pytest.raises(ServiceError, match="you keep"):
            client.submit(asked, request_id="third")
        client.delete(first.id)
        client.delete(second.id)
        client.wait(client.submit(asked, request_id="third").id)


def test_old_jobs_go_with_what_they_made_and_nothing_else_does(gravel: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server, server.client() as client:
        old = client.wait(client.synthesize(gravel, **QUICK).id)
        made = {file.sha256 for file in old.files}
    with serving(data, "--keep-days", str(3 / 86400)) as server, server.client() as client:
        for _ in range(100):
            if not list(client.jobs()):
                break
            time.sleep(0.2)
        assert list(client.jobs()) == []
        left = {path.name for path in (data / "objects").glob("??/*")}
        assert not made & left
        inputs = {hashlib.sha256(path.read_bytes()).hexdigest() for path in gravel.iterdir()}
        assert inputs & left, "what was sent is kept for a day"


def test_a_deleted_job_leaves_what_another_one_made_too(server: Server, gravel: Path, tmp_path: Path) -> None:
    with server.client() as client:
        first, second = (client.wait(client.synthesize(gravel, **QUICK, seed=7).id) for _ in range(2))
        client.delete(first.id)
        client.fetch(second.id, tmp_path / "out")
        client.delete(second.id)
        with pytest.raises(ServiceError, match="not here"):
            client.download(second.files[0].sha256, tmp_path / "gone")


def rot(data: Path, digest: str) -> bytes:
    """Change one bit of a stored file; what it holds then."""
    path = data / "objects" / digest[:2] / digest
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return bytes(content)


def test_verify_names_a_damaged_result_and_repair_lets_the_job_be_retried(gravel: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server, server.client() as client:
        job = client.wait(client.synthesize(gravel, **QUICK).id)
        assert "in use" in verify(data).stderr
    assert verify(data).returncode == 0
    digest = {file.name: file.sha256 for file in job.files}["albedo.png"]
    content = rot(data, digest)
    left = data / "objects" / digest[:2] / ".half.1.tmp"
    left.write_bytes(b"half")
    for command in ((), ("--repair",)):
        told = verify(data, *command)
        assert told.returncode == 4
        assert digest in told.stdout
        assert f"job {job.id} (succeeded): lacks albedo.png" in told.stdout
    assert not left.exists()
    assert (data / "damaged" / digest).read_bytes() == content
    assert verify(data).returncode == 0
    with serving(data) as server, server.client() as client:
        failed = client.get(job.id)
        assert (failed.state, failed.error.kind) == (jobs_pb2.JOB_STATE_FAILED, "corrupt")
        client.retry(job.id)
        assert maps_of(client.wait(job.id)) == maps_of(job)


def test_a_waiting_job_whose_input_is_lost_fails_and_goes_on_when_it_is_sent_again(
    gravel: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with serving(data) as server, server.client() as client:
        waits = [client.submit(work(client, gravel, **LONG), request_id=str(number)).id for number in range(2)]
    rot(data, hashlib.sha256((gravel / "albedo.png").read_bytes()).hexdigest())
    assert verify(data, "--repair").stdout.count("lacks an input") == 2
    assert verify(data).returncode == 0
    with serving(data) as server, server.client() as client:
        assert all("upload it again" in client.get(name).error.message for name in waits)
        client.input(gravel)
        client.retry(waits[0])
        client.wait(waits[0])


def test_a_damaged_upload_is_mended_by_sending_it_again(server: Server, gravel: Path, tmp_path: Path) -> None:
    with server.client() as client:
        digest = client.upload(gravel / "albedo.png")
        (server.data / "objects" / digest[:2] / digest).write_bytes(b"rotten")
        with pytest.raises(ServiceError, match="changed on the disk") as refused:
            client.download(digest, tmp_path / "fetched")
        assert refused.value.code is grpc.StatusCode.DATA_LOSS
        client.upload(gravel / "albedo.png")
        client.download(digest, tmp_path / "fetched")


def test_verify_repair_is_for_folders_of_the_service(tmp_path: Path) -> None:
    told = verify(tmp_path, "--repair")
    assert told.returncode == 2
    assert "no folder of texsynth serve" in told.stderr


def test_a_database_of_the_first_version_is_read_on(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "golden" / "jobs-v1.sqlite", tmp_path / "jobs.sqlite")
    database = Database(tmp_path / "jobs.sqlite")
    try:
        jobs, ledger = JobStore(database, Limits()), Ledger(database)
        second, first = jobs.page("default", None, [], 10)
        assert (first.state, second.state, first.deadline) == (State.SUCCEEDED, State.QUEUED, 0)
        assert jobs.files(first.id) == [("albedo.png", "b" * 64, 1234)]
        assert set(jobs.used(first.id)) == {"a" * 64, "b" * 64, "c" * 64}
        assert [event.number for event in jobs.events(first.id, 0)] == [0, 1, 2, 3]
        assert ledger.owns("default", "b" * 64)
        assert ledger.kept("default") == 1234
        assert ledger.sweep(time.time()) == []
        assert database.damage() == ""
    finally:
        database.close()


def test_a_damaged_database_is_named_by_verify(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "jobs.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    told = verify(tmp_path)
    assert told.returncode == 4
    assert "jobs.sqlite" in told.stderr


@dataclass(frozen=True)
class Told:
    """What a service that did one job, and was asked once for a job that it has not, tells: where, and which job."""

    metrics: str
    log: Path
    job: str


@pytest.fixture(scope="module")
def told(gravel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("told")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (folder / "log").open("w") as log:
        server = Server(folder / "data", "--metrics", address, "--log-format", "json", stderr=log)
        try:
            with server.client() as client:
                job = client.wait(client.synthesize(gravel, **QUICK).id)
                with pytest.raises(ServiceError):
                    client.get("no such job")
            yield Told(address, folder / "log", job.id)
        finally:
            server.stop()


def test_prometheus_reads_what_happens(told: Told) -> None:
    def tells(line: str) -> bool:
        with urllib.request.urlopen(f"http://{told.metrics}/metrics") as answer:
            return line in answer.read().decode()

    eventually(lambda: tells('texsynth_jobs{state="succeeded"} 1.0'))
    eventually(lambda: tells('texsynth_job_seconds_count{kind="synthesize",state="succeeded"} 1.0'))
    eventually(lambda: tells('texsynth_calls_total{code="NOT_FOUND",method="/texsynth.v1.JobService/Get"} 1.0'))
    assert tells("process_resident_memory_bytes")


def test_the_log_is_json_with_the_job_in_a_field(told: Told) -> None:
    eventually(lambda: "job ends" in told.log.read_text())
    lines = [json.loads(line) for line in told.log.read_text().splitlines()]
    about = [line for line in lines if line.get("job") == told.job]
    assert [line["message"] for line in about] == ["job begins", "job ends: succeeded"]
    assert about[0].keys() >= {"time", "level", "logger", "tenant", "worker"}
    assert any(line["logger"] == "texsynth.audit" for line in lines)


def tmpfs_can_be_mounted() -> bool:
    if shutil.which(NAMESPACE[0]) is None:
        return False
    trial = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not tmpfs_can_be_mounted(), reason="this machine lets nobody mount a tmpfs")
@pytest.mark.parametrize("megabytes", [8, 32, 64])
def test_a_full_disk_is_said_and_the_service_goes_on_when_it_has_room(
    gravel: Path, tmp_path: Path, megabytes: int
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs "{data}" && exec "$@"'
    server = Server(data, before=[*NAMESPACE, "sh", "-c", mount, "sh"])
    inside = Path(f"/proc/{server.process.pid}/root{data}")
    try:
        with server.client() as client:
            first = client.wait(client.synthesize(gravel, **QUICK).id)
            asked = work(client, gravel, **QUICK, seed=7)
            ballast = inside / "ballast"
            _fill(ballast)
            refused = _refused(client, tmp_path, asked)
            assert refused in (grpc.StatusCode.RESOURCE_EXHAUSTED, None)
            ballast.unlink()
            done = client.wait(client.synthesize(gravel, **QUICK, seed=8).id)
            assert {job.state for job in (first, done)} == {jobs_pb2.JOB_STATE_SUCCEEDED}
            client.fetch(done.id, tmp_path / "out")
        left = [path for path in inside.rglob("*") if path.name.endswith(".tmp") or path.parent.name == "incoming"]
        assert left == []
    finally:
        assert server.stop() == 0


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def _refused(client: Client, folder: Path, asked: jobs_pb2.Work) -> grpc.StatusCode | None:
    """The code with which an upload is refused, and a job if it is taken ends with the reason."""
    large = folder / "large.bin"
    large.write_bytes(os.urandom(3 << 20))
    with pytest.raises(ServiceError, match="disk") as upload:
        client.upload(large)
    assert upload.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    try:
        job = client.submit(asked, request_id="while full")
    except ServiceError as error:
        return error.code
    try:
        client.wait(job.id)
    except JobFailed as failed:
        assert failed.job.error.kind == "no_space"
    return None


def test_sqlite_is_told_to_be_durable(tmp_path: Path) -> None:
    database = Database(tmp_path / "jobs.sqlite")
    try:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        with pytest.raises(sqlite3.IntegrityError), database.transaction():
            database.execute("INSERT INTO owners VALUES ('a', 'b', 1, 1)")
            database.execute("INSERT INTO owners VALUES ('a', 'b', 1, 1)")
        assert database.execute("SELECT COUNT(*) FROM owners").fetchone() == (0,), "all of a transaction, or nothing"
    finally:
        database.close()
