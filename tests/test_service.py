"""The service as a real process on a loopback port: files, jobs, events, crashes and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import forked
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from service_process import LONG, QUICK, ROOT, Guarded, Server, maps_in, maps_of, serving, until
from texsynth_rpc import services
from texsynth_rpc.certificates import Certificates, generate_certificates
from texsynth_rpc.gate import SCOPES
from texsynth_rpc.server import CONTRACT
from texsynth_rpc.v1 import assets_pb2, assets_pb2_grpc, jobs_pb2, jobs_pb2_grpc

import grpc
from plugin_bridge.__main__ import main as command
from plugin_bridge.client import Client, JobFailed, ServiceError, hash_of
from texsynth.errors import TexsynthError
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.publish import verify
from texsynth.restyle import restyle, synthesize
from texsynth.run import Run
from texsynth.sample_asset import write_sample_asset
from texsynth.selection import Brush, Selection
from texsynth.train.procedural import generate, write

BUF = ROOT / "tests" / "web" / "node_modules" / ".bin" / "buf"


@pytest.fixture(scope="module")
def long_digests(gravel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("long")
    synthesize(gravel, out, Options(**LONG), Run())
    return maps_in(out)


def details(error: grpc.RpcError, kind: type) -> list:
    found = rpc_status.from_call(error)
    assert found is not None
    out = []
    for detail in found.details:
        message = kind()
        if detail.Unpack(message):
            out.append(message)
    return out


def test_a_job_gives_the_very_files_of_the_command_line(server: Server, gravel: Path, tmp_path: Path) -> None:
    synthesize(gravel, tmp_path / "alone", Options(**QUICK, seed=5, tileable=True), Run())
    with server.client() as client:
        job = client.synthesize(gravel, **QUICK, seed=5, tileable=True)
        assert job.state == jobs_pb2.JOB_STATE_QUEUED
        heard = []
        done = client.wait(job.id, heard.append)
        client.fetch(job.id, tmp_path / "fetched")
        assert done.attempts == 1
        assert not done.error.message
    assert maps_in(tmp_path / "fetched") == maps_in(tmp_path / "alone")
    assert verify(tmp_path / "fetched") == []
    assert [p.fraction for p in heard] == sorted(p.fraction for p in heard)


def test_restyle_with_every_kind_of_input(server: Server, gravel: Path, tmp_path: Path) -> None:
    write(generate("planks", 96, 2), tmp_path / "planks")
    write(generate("grass", 96, 2), tmp_path / "grass")
    mask = gravel / "albedo.png"
    with server.client() as client:
        job = client.restyle(
            tmp_path / "planks", gravel, **QUICK, content=0.0, detail=0.5, region=mask, second=tmp_path / "grass",
            blend=0.25, maps=["albedo"],
        )  # fmt: skip
        client.wait(job.id)
        client.fetch(job.id, tmp_path / "fetched")
    options = Options(
        **QUICK, content=0.0, detail=0.5, region=mask, second=tmp_path / "grass", blend=0.25,
        maps=Options(maps=("albedo",)).maps,  # type: ignore[arg-type]
    )  # fmt: skip
    restyle(tmp_path / "planks", gravel, tmp_path / "alone", options, Run())
    assert maps_in(tmp_path / "fetched") == maps_in(tmp_path / "alone")


def test_a_selection_on_a_mesh_arrives_as_it_was_sent(server: Server, gravel: Path, tmp_path: Path) -> None:
    asset = write_sample_asset(tmp_path, 256)
    size = QUICK | {"size": 128}  # at which the exemplar has texels enough for the mesh
    brush = {"x": 0.0, "y": 0.125, "z": 0.25, "radius": 0.25, "falloff": 0.25}  # what float holds as it is
    with server.client() as client:
        job = client.restyle(asset, gravel, **size, maps=["albedo"], selection={"brushes": [brush]})
        client.wait(job.id)
        client.fetch(job.id, tmp_path / "fetched")
        nothing = jobs_pb2.MeshSelection()
        with pytest.raises(ServiceError, match="chooses nothing"):
            client.restyle(asset, gravel, **size, selection=nothing)
    selection = Selection(brushes=(Brush(**brush),))
    restyle(asset, gravel, tmp_path / "alone", Options(**size, maps=(MapKind.ALBEDO,), selection=selection), Run())
    assert maps_in(tmp_path / "fetched") == maps_in(tmp_path / "alone")


def test_mips_and_measure_are_jobs_too(server: Server, gravel: Path, tmp_path: Path) -> None:
    with server.client() as client:
        work = jobs_pb2.Work(mips=jobs_pb2.MipsJob(source=client.input(gravel), target="desktop"))
        made = client.wait(client.submit(work).id)
        assert {"albedo.dds", "normal.dds", "material.json"} <= {file.name for file in made.files}
        measured = client.wait(client.measure(gravel, gravel).id)
        client.fetch(measured.id, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["maps"]["albedo"]["ssim"] == pytest.approx(1)


def test_events_have_no_gap_and_end_with_the_terminal_one(server: Server, gravel: Path) -> None:
    with server.client() as client:
        job = client.synthesize(gravel, **QUICK, seed=11)
        events = list(client.watch(job.id))
        assert [event.number for event in events] == list(range(len(events)))
        states = [event.state.state for event in events if event.WhichOneof("event") == "state"]
        assert states == [jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING, jobs_pb2.JOB_STATE_SUCCEEDED]
        assert events[-1].state.files
        rest = list(client.watch(job.id, from_event=3))
        assert rest == events[3:]
        previews = {event.progress.preview_sha256 for event in events} - {""}
        assert previews, "a picture of the texture on its way"


def test_a_repeated_request_is_one_job_and_another_body_is_refused(server: Server, gravel: Path) -> None:
    with server.client() as client:
        exemplar = client.input(gravel)

        def work(seed: int) -> jobs_pb2.Work:
            options = client.options_of(**QUICK, seed=seed)
            return jobs_pb2.Work(synthesize=jobs_pb2.SynthesizeJob(exemplar=exemplar, options=options))

        first = client.submit(work(1), request_id="one")
        assert client.submit(work(1), request_id="one").id == first.id
        with pytest.raises(ServiceError, match="another job") as refused:
            client.submit(work(2), request_id="one")
        assert refused.value.code is grpc.StatusCode.ALREADY_EXISTS
        client.wait(first.id)
        assert client.submit(work(1), request_id="one").state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert [job.id for job in client.jobs()].count(first.id) == 1


def test_a_cancelled_job_stops_soon_and_goes_on_when_it_is_retried(
    server: Server, gravel: Path, long_digests: dict[str, str]
) -> None:
    with server.client() as client:
        job = client.synthesize(gravel, **LONG)
        number = until(client, job.id, 0.1)
        began = time.monotonic()
        client.cancel(job.id)
        with pytest.raises(JobFailed):
            client.wait(job.id)
        assert time.monotonic() - began < 5
        assert client.get(job.id).state == jobs_pb2.JOB_STATE_CANCELLED
        assert client.cancel(job.id).state == jobs_pb2.JOB_STATE_CANCELLED
        assert client.retry(job.id).state in (jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING)
        client.wait(job.id)
        assert maps_of(client.get(job.id)) == long_digests
        assert len(list(client.watch(job.id, number))) > 3, "one sequence of events over both tries"


def test_a_dead_worker_is_replaced_and_its_job_ends_in_the_same_bytes(
    server: Server, gravel: Path, long_digests: dict[str, str]
) -> None:
    with server.client() as client:
        job = client.synthesize(gravel, **LONG, batch=True)
        until(client, job.id, 0.4)
        os.kill(server.worker(), signal.SIGKILL)
        done = client.wait(job.id)
        assert done.attempts == 2
        assert maps_of(done) == long_digests


def test_a_job_that_kills_every_worker_is_given_up(server: Server, gravel: Path) -> None:
    with server.client() as client:
        job = client.synthesize(gravel, **LONG, seed=3)
        begun = 0
        for event in client.watch(job.id):
            if event.state.state == jobs_pb2.JOB_STATE_RUNNING:
                begun += 1
                os.kill(server.worker(), signal.SIGKILL)
        failed = client.get(job.id)
        assert (begun, failed.state, failed.attempts) == (3, jobs_pb2.JOB_STATE_FAILED, 3)
        assert "worker process died" in failed.error.message
        client.wait(client.synthesize(gravel, **QUICK, seed=22).id)


def test_a_person_overtakes_a_batch_which_goes_on_afterwards(
    server: Server, gravel: Path, long_digests: dict[str, str]
) -> None:
    with server.client() as client:
        batch = client.synthesize(gravel, **LONG, batch=True, seed=0)
        until(client, batch.id, 0.1)
        person = client.wait(client.synthesize(gravel, **QUICK, seed=21).id)
        waiting = client.get(batch.id)
        assert waiting.state != jobs_pb2.JOB_STATE_SUCCEEDED
        done = client.wait(batch.id)
        assert maps_of(done) == long_digests
        assert done.attempts == 1, "making room is no failed try"
        assert person.changed.ToNanoseconds() < done.changed.ToNanoseconds()


def test_lists_have_pages_and_filters_and_what_is_deleted_is_gone(server: Server, gravel: Path) -> None:
    with server.client() as client:
        names = [client.wait(client.synthesize(gravel, size=64, preset="draft", seed=s).id).id for s in range(3)]
        stub = jobs_pb2_grpc.JobServiceStub(grpc.insecure_channel(server.address))
        page = stub.List(jobs_pb2.ListRequest(page_size=2))
        assert [job.id for job in page.jobs] == names[:0:-1]
        following = stub.List(jobs_pb2.ListRequest(page_size=1, page_token=page.next_page_token))
        assert following.jobs[0].id == names[0]
        failed = stub.List(jobs_pb2.ListRequest(states=[jobs_pb2.JOB_STATE_FAILED]))
        assert all(job.state == jobs_pb2.JOB_STATE_FAILED for job in failed.jobs)
        client.delete(names[0])
        with pytest.raises(ServiceError) as gone:
            client.get(names[0])
        assert gone.value.code is grpc.StatusCode.NOT_FOUND


def test_it_can_be_stopped_while_its_worker_still_starts(tmp_path: Path, gravel: Path) -> None:
    with serving(tmp_path / "data") as server:
        assert server.stop() == 0
    with serving(tmp_path / "data") as server:
        with server.client() as client:
            job = client.synthesize(gravel, **LONG)
        assert server.stop() == 0
    with serving(tmp_path / "data") as server, server.client() as client:
        assert client.get(job.id).state in (jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "..", "../albedo.png", "/etc/passwd", "a/../b.png", "a//b.png", "a\\b.png", "C:x.png", "a\0.png", "x" * 300],
)
def test_names_that_lead_elsewhere_are_refused(server: Server, gravel: Path, name: str) -> None:
    with server.client() as client:
        digest = client.upload(gravel / "albedo.png")
        exemplar = jobs_pb2.Input(files=[jobs_pb2.InputFile(name=name, sha256=digest)])
        with pytest.raises(ServiceError, match="relative name") as refused:
            client.submit(jobs_pb2.Work(synthesize=jobs_pb2.SynthesizeJob(exemplar=exemplar)))
        assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 500}, "power of two"),
        ({"preset": "best"}, "draft"),
        ({"content": 1.5}, "from 0 to 1"),
        ({"maps": ["albedo", "paint"]}, "paint"),
        ({"normals": "sideways"}, "directx"),
        ({"blend": 0.5}, "second"),
    ],
)
def test_options_out_of_range_are_refused_before_they_wait(
    server: Server, gravel: Path, options: dict[str, object], words: str
) -> None:
    with server.client() as client, pytest.raises(ServiceError, match=words) as refused:
        client.synthesize(gravel, **options)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_an_error_names_its_field(server: Server) -> None:
    stub = jobs_pb2_grpc.JobServiceStub(grpc.insecure_channel(server.address))
    image = jobs_pb2.InputFile(name="a.png", sha256="0" * 64)
    work = jobs_pb2.Work(synthesize=jobs_pb2.SynthesizeJob(exemplar=jobs_pb2.Input(files=[image])))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Submit(jobs_pb2.SubmitRequest(request_id="x", work=work))
    (wrong,) = details(refused.value, error_details_pb2.BadRequest)
    assert wrong.field_violations[0].field == "work.synthesize.exemplar.files[0].sha256"
    assert "upload it first" in wrong.field_violations[0].description
    with pytest.raises(grpc.RpcError) as refused:
        stub.Submit(jobs_pb2.SubmitRequest(request_id="x"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_bad_input_fails_the_job_in_one_line_without_the_servers_paths(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image at all")
    with server.client() as client:
        job = client.synthesize(tmp_path / "broken.png", **QUICK)
        with pytest.raises(JobFailed, match=r"broken\.png") as failed:
            client.wait(job.id)
    assert failed.value.job.state == jobs_pb2.JOB_STATE_FAILED
    assert failed.value.job.error.kind == "bad_input"
    assert str(server.data) not in failed.value.job.error.message
    assert command(["--server", server.address, "watch", job.id]) == 1
    assert "broken.png" in capsys.readouterr().err


def test_uploads_that_are_not_what_they_say_are_refused(server: Server) -> None:
    stub = assets_pb2_grpc.AssetServiceStub(grpc.insecure_channel(server.address))
    data = b"some bytes"
    header = assets_pb2.UploadHeader(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def upload(*parts: assets_pb2.UploadRequest) -> assets_pb2.UploadResponse:
        return stub.Upload(iter(parts))

    first = assets_pb2.UploadRequest(header=header)
    wrong = [
        (),
        (assets_pb2.UploadRequest(data=data),),
        (first, assets_pb2.UploadRequest(data=data[:-1])),
        (first, assets_pb2.UploadRequest(data=data[:-1] + b"!")),
        (first, assets_pb2.UploadRequest(data=data + b"!")),
        (first, first),
        (assets_pb2.UploadRequest(header=assets_pb2.UploadHeader(size=1, sha256="../x")),),
        (assets_pb2.UploadRequest(header=assets_pb2.UploadHeader(size=2**60, sha256=header.sha256)),),
    ]
    for parts in wrong:
        with pytest.raises(grpc.RpcError) as refused:
            upload(*parts)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not stub.Describe(assets_pb2.DescribeRequest(sha256=[header.sha256])).assets
    assert not list((server.data / "objects" / "incoming").iterdir())
    assert upload(first, assets_pb2.UploadRequest(data=data)).asset.size == len(data)


def test_a_download_resumes_at_any_byte_and_damage_is_never_served(server: Server, tmp_path: Path) -> None:
    data = os.urandom(700_000)
    (tmp_path / "data").write_bytes(data)
    with server.client() as client:
        digest = client.upload(tmp_path / "data")
        (tmp_path / f"copy.{digest[:16]}.part").write_bytes(data[:300_001])
        client.download(digest, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data
        stored = server.data / "objects" / digest[:2] / digest
        changed = bytearray(data)
        changed[5] ^= 1
        stored.write_bytes(bytes(changed))
        with pytest.raises(ServiceError, match="changed") as refused:
            client.download(digest, tmp_path / "other")
        assert refused.value.code is grpc.StatusCode.DATA_LOSS
        with pytest.raises(ServiceError) as absent:
            client.download("0" * 64, tmp_path / "other")
        assert absent.value.code is grpc.StatusCode.NOT_FOUND


def test_a_full_queue_says_when_to_come_back_and_takes_no_memory(tmp_path: Path, gravel: Path) -> None:
    with serving(tmp_path / "data", "--queue", "16") as small, small.client() as client:
        running = client.synthesize(gravel, size=8192, preset="high")
        until(client, running.id, 0.01)
        exemplar = client.input(gravel)
        stub = jobs_pb2_grpc.JobServiceStub(grpc.insecure_channel(small.address))
        codes, memory = [], []
        for number in range(200):
            options = client.options_of(**LONG, seed=number)
            work = jobs_pb2.Work(synthesize=jobs_pb2.SynthesizeJob(exemplar=exemplar, options=options))
            try:
                stub.Submit(jobs_pb2.SubmitRequest(request_id=str(number), work=work))
            except grpc.RpcError as error:
                codes.append(error.code())
                assert details(error, error_details_pb2.RetryInfo)[0].retry_delay.seconds > 0
            memory.append(small.memory())
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 184
        assert memory[-1] - memory[20] < 8 << 20


# --- the service itself dies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_outlives_the_service(
    number: signal.Signals, gravel: Path, long_digests: dict[str, str], tmp_path: Path
) -> None:
    server = Server(tmp_path / "data")
    with server.client() as client:
        job = client.synthesize(gravel, **LONG)
        until(client, job.id, 0.4)
        worker = server.worker()
        status = server.stop(number)
    assert status == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists(), "the worker ends with the service"
    with serving(tmp_path / "data") as again, again.client() as client:
        done = client.wait(job.id)
        assert maps_of(done) == long_digests
        numbers = [event.number for event in client.watch(job.id)]
        assert numbers == list(range(len(numbers)))


def test_live_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as fresh:
        stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(fresh.address))
        states = []
        deadline = time.monotonic() + 60
        while not states or (states[-1] != health_pb2.HealthCheckResponse.SERVING and time.monotonic() < deadline):
            states.append(stub.Check(health_pb2.HealthCheckRequest()).status)
            time.sleep(0.05)
        assert states[0] == health_pb2.HealthCheckResponse.NOT_SERVING, "before the worker has its libraries"
        assert states[-1] == health_pb2.HealthCheckResponse.SERVING


def test_a_service_that_is_stopped_while_its_worker_loads_ends(tmp_path: Path) -> None:
    assert Server(tmp_path / "data").stop() == 0


def test_two_services_do_not_share_a_folder_and_no_other_address_is_listened_on(server: Server) -> None:
    def refused(*arguments: str) -> str:
        done = forked.texsynth("serve", *arguments)
        assert done.returncode == 2
        return done.stderr.splitlines()[-1]

    assert "in use" in refused("--listen", "127.0.0.1:0", "--data", str(server.data))
    assert "cannot be bound" in refused("--listen", server.address, "--data", str(server.data.parent / "other"))
    assert "loopback" in refused("--listen", "0.0.0.0:0", "--data", str(server.data.parent / "other"))
    assert "HOST:PORT" in refused("--listen", "nonsense", "--data", str(server.data.parent / "other"))


# --- the client ---------------------------------------------------------------------------------------------------


def test_the_clients_command_line(
    server: Server, gravel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ["--server", server.address]
    out = tmp_path / "out"
    assert command([*shown, "synthesize", str(gravel), "--size", "64", "--preset", "draft", "-o", str(out)]) == 0
    printed = capsys.readouterr()
    name = printed.out.splitlines()[0]
    assert verify(out) == []
    assert "%" in printed.err
    assert command([*shown, "list"]) == 0
    assert f"{name}  succeeded  synthesize" in capsys.readouterr().out
    assert command([*shown, "fetch", name, "-o", str(tmp_path / "again")]) == 0
    assert maps_in(tmp_path / "again") == maps_in(out)
    assert command([*shown, "measure", str(out), str(out), "-o", str(tmp_path / "measured")]) == 0
    assert (tmp_path / "measured" / "metrics.json").exists()
    assert command([*shown, "cancel", name]) == 0
    assert command([*shown, "watch", "nothing"]) == 2
    assert "not here" in capsys.readouterr().err
    assert command([*shown, "synthesize", str(tmp_path / "nowhere")]) == 2


def test_files_of_a_mesh_travel_with_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "textures").mkdir()
    (tmp_path / "chair.obj").write_text("mtllib chair.mtl\n")
    (tmp_path / "chair.mtl").write_text("newmtl wood\nmap_Kd textures/wood.png\n")
    (tmp_path / "textures" / "wood.png").write_bytes(b"png")
    (tmp_path / "unrelated.png").write_bytes(b"holiday")
    with server.client() as client:
        given = client.input(tmp_path / "chair.obj")
    assert given.main == "chair.obj"
    assert [file.name for file in given.files] == ["chair.obj", "chair.mtl", "textures/wood.png"]
    assert given.files[1].sha256 == hash_of(tmp_path / "chair.mtl")


def test_an_unknown_database_is_refused(tmp_path: Path) -> None:
    from texsynth_rpc.database import Database

    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(sqlite3.DatabaseError, match="version 99"):
        Database(tmp_path / "jobs.sqlite")


# --- who may call what --------------------------------------------------------------------------------------------


def test_with_certificate_and_token_all_is_as_it_was(guarded: Guarded, gravel: Path, tmp_path: Path) -> None:
    with guarded.client(guarded.ann) as client:
        job = client.wait(client.synthesize(gravel, size=64, preset="draft").id)
        client.fetch(job.id, tmp_path)
    assert verify(tmp_path) == []
    assert (guarded.folder / "tokens.json").stat().st_mode & 0o077 == 0
    assert (guarded.folder / "tls" / "server.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("lacking", ["everything", "certificate", "authority", "name"])
def test_a_line_that_is_not_what_was_agreed_is_refused(guarded: Guarded, tmp_path: Path, lacking: str) -> None:
    if lacking == "everything":
        client = Client(guarded.server.address, token=guarded.ann, patience=1)
    elif lacking == "certificate":
        client = guarded.client(guarded.ann, certificate=None, key=None)
    elif lacking == "authority":
        generate_certificates(tmp_path, ["localhost"])
        client = guarded.client(guarded.ann, ca=tmp_path / "ca.pem")
    else:
        port = guarded.server.address.rpartition(":")[2]
        client = guarded.client(guarded.ann)
        client.close()
        tls = guarded.folder / "tls"
        client = Client(
            f"127.0.0.2:{port}", token=guarded.ann, patience=1, ca=tls / "ca.pem", certificate=tls / "client.pem",
            key=tls / "client.key",
        )  # fmt: skip
    with client, pytest.raises(ServiceError) as refused:
        list(client.jobs())
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (("server.pem", "client.key", None), "server.pem: and .*client.key are no certificate and its unencrypted key"),
        (("server.key", "server.pem", None), "made together"),
        (("server.pem", "server.key", "server.key"), "server.key: holds no certificate"),
    ],
)
def test_files_that_are_no_certificates_are_named_where_the_service_starts(
    guarded: Guarded, shown: tuple[str, str, str | None], words: str
) -> None:
    chain, key, authority = (None if name is None else guarded.folder / "tls" / name for name in shown)
    assert chain is not None and key is not None
    with pytest.raises(TexsynthError, match=words):
        Certificates(chain, key, authority).credentials()


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"key": None}, "give both"),
        ({"certificate": None}, "give both"),
        ({"key": "client.pem"}, "client.pem: holds no private key"),
        ({"ca": "client.key"}, "client.key: holds no certificate"),
    ],
)
def test_half_of_a_certificate_is_refused_before_grpc_ends_the_process(
    guarded: Guarded, lacking: dict[str, str | None], words: str
) -> None:
    tls = guarded.folder / "tls"
    named = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"} | lacking
    with pytest.raises(ValueError, match=words):
        Client("127.0.0.1:1", **{name: None if file is None else tls / file for name, file in named.items()})


def test_certificates_that_have_expired_are_refused(tmp_path: Path) -> None:
    expired = Guarded(tmp_path, days=-1 / 1440)
    try:
        with expired.client(expired.ann) as client, pytest.raises(ServiceError) as refused:
            list(client.jobs())
        assert refused.value.code is grpc.StatusCode.UNAVAILABLE
        assert "expired" in str(refused.value).lower() or "verify" in str(refused.value).lower()
    finally:
        expired.server.stop()


def test_every_method_wants_its_scope(guarded: Guarded) -> None:
    """A method that is added to the contract fails here until the gate lists it."""
    services = [s for f in CONTRACT for s in f.DESCRIPTOR.services_by_name.values()]
    methods = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert methods == set(SCOPES)
    tls = guarded.folder / "tls"
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(), (tls / "client.key").read_bytes(), (tls / "client.pem").read_bytes()
    )
    channel = grpc.secure_channel(guarded.server.address, credentials)

    def code(method: str, secret: str | None) -> grpc.StatusCode:
        call = channel.stream_stream(method, lambda x: x, lambda x: x)
        metadata = () if secret is None else (("authorization", f"Bearer {secret}"),)
        try:
            list(call(iter([b""]), metadata=metadata, timeout=20))
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    for method in sorted(methods):
        for secret in (None, "", "wrong", guarded.ann[:-1]):
            assert code(method, secret) is grpc.StatusCode.UNAUTHENTICATED, method
        allowed = code(method, guarded.guest) is not grpc.StatusCode.PERMISSION_DENIED
        assert allowed == (SCOPES[method] == "read"), method
    assert code("/texsynth.v1.JobService/Unknown", guarded.ann) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(("contract", "ours"), [(assets_pb2, services.Assets), (jobs_pb2, services.Jobs)])
def test_every_method_of_the_contract_is_written(contract: Any, ours: type) -> None:
    """The generated base classes raise NotImplementedError for those that are not."""
    (service,) = contract.DESCRIPTOR.services_by_name.values()
    assert {method.name for method in service.methods} <= set(vars(ours))


def test_tenants_do_not_see_each_other(guarded: Guarded, gravel: Path, tmp_path: Path) -> None:
    with guarded.client(guarded.ann) as ann, guarded.client(guarded.eve) as eve:
        job = ann.wait(ann.synthesize(gravel, size=64, preset="draft", seed=9).id)
        digest, absent = job.files[0].sha256, "0" * 64
        calls = {
            "get": eve.get, "cancel": eve.cancel, "retry": eve.retry, "delete": eve.delete,
            "watch": lambda name: list(eve.watch(name)),
        }  # fmt: skip
        for name, call in calls.items():
            seen = []
            for target in (job.id, "f" * 32):
                with pytest.raises(ServiceError) as refused:
                    call(target)
                seen.append((refused.value.code, str(refused.value).replace(target, "")))
            assert seen[0] == seen[1], f"{name} says the same of what is foreign and of what is absent"
            assert seen[0][0] is grpc.StatusCode.NOT_FOUND
        for target in (digest, absent):
            with pytest.raises(ServiceError) as refused:
                eve.download(target, tmp_path / "stolen")
            assert refused.value.code is grpc.StatusCode.NOT_FOUND
        exemplar = jobs_pb2.Input(files=[jobs_pb2.InputFile(name="a.png", sha256=digest)])
        with pytest.raises(ServiceError, match="upload it first"):
            eve.submit(jobs_pb2.Work(synthesize=jobs_pb2.SynthesizeJob(exemplar=exemplar)))
        assert job.id not in [other.id for other in eve.jobs()]
        assert ann.get(job.id).state == jobs_pb2.JOB_STATE_SUCCEEDED
        # who has the bytes may send them, and then has them
        assert eve.upload(gravel / "albedo.png") == ann.upload(gravel / "albedo.png")
        eve.download(hash_of(gravel / "albedo.png"), tmp_path / "own")


def test_secrets_are_never_written_down(guarded: Guarded) -> None:
    for path in guarded.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret.encode() in data for secret in (guarded.ann, guarded.eve, guarded.guest)), path


def test_stubs_are_what_the_protos_give() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "grpc" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    if "No matching distribution" in done.stderr or "Could not find a version" in done.stderr:
        pytest.skip("the pinned grpcio-tools cannot be installed here")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not BUF.exists(), reason="no tests/web/node_modules (npm ci)")
@pytest.mark.parametrize(
    "check", [["lint"], ["breaking", "--against", str(ROOT / "tests" / "golden" / "contract-v1.binpb")]]
)
def test_the_contract_is_documented_and_old_clients_understand_it(check: list[str]) -> None:
    """Every field has a comment; nothing that the kept first version has is renumbered, renamed or gone."""
    done = subprocess.run([BUF, *check], cwd=ROOT / "proto", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_keeps_to_what_engines_plugins_know() -> None:
    for path in (ROOT / "proto").rglob("*.proto"):
        words = [word for line in path.read_text().splitlines() for word in line.split("//")[0].split()]
        assert "optional" not in words
        assert not any("google.protobuf.Any" in word for word in words)
