"""Both clients over a line that breaks, stalls and refuses, each against a real service."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from proxy import Proxy
from service_process import LONG, eventually, serving
from texsynth_rpc.services import DOWNLOAD_PIECE, QUEUE_RETRY
from texsynth_rpc.v1 import jobs_pb2

import grpc
from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.background import Background
from plugin_bridge.client import Client
from plugin_bridge.connection import WINDOW
from plugin_bridge.errors import JobFailed, ServiceError
from plugin_bridge.files import hash_of

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SMALL = {"size": 64, "preset": "draft"}


class Driven:
    """The asyncio client under the blocking one's methods: each call runs the loop until it has its answer."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._loop = asyncio.new_event_loop()

        async def make() -> AsyncClient:
            return AsyncClient(*arguments, **named)

        self._client = self._loop.run_until_complete(make())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            answer = getattr(self._client, name)(*arguments, **named)
            return self._each(answer) if hasattr(answer, "__aiter__") else self._loop.run_until_complete(answer)

        return call

    def _each(self, answer: Any) -> Iterator[Any]:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self._loop.run_until_complete(answer.__anext__())

    def __enter__(self) -> Driven:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@pytest.fixture(params=[Client, Driven], ids=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def line(server: Any) -> Iterator[Any]:
    with Proxy(server.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def done(server: Any, gravel: Path) -> jobs_pb2.Job:
    with server.client() as client:
        return client.wait(client.synthesize(gravel, **SMALL).id)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big"
    path.write_bytes(random.Random(1).randbytes(16 << 20))
    return path


def work(client: Any, gravel: Path, seed: int, **options: Any) -> jobs_pb2.Work:
    job = jobs_pb2.SynthesizeJob(exemplar=client.input(gravel), options=client.options_of(seed=seed, **options))
    return jobs_pb2.Work(synthesize=job)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that is bound and not listened at, so that nobody else may have it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# --- the command line ---------------------------------------------------------------------------------------------


def asked_of(address: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plugin_bridge", "--server", address, *words]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'grpc'}"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_health_of_a_service_that_is_not_there_is_one_line_without_patience(free_port: int) -> None:
    asked = asked_of(f"127.0.0.1:{free_port}", "health")
    assert asked.returncode == 2
    assert asked.stderr.count("\n") == 1
    assert f"127.0.0.1:{free_port}: " in asked.stderr and "is `texsynth serve` running there" in asked.stderr


def test_a_service_that_does_not_answer_is_told_before_the_wait_for_it(free_port: int) -> None:
    asked = asked_of(f"127.0.0.1:{free_port}", "--patience", "0.5", "list")
    waits, error = asked.stderr.splitlines()
    assert waits == f"127.0.0.1:{free_port} does not answer; trying for 0.5 s"
    assert "is `texsynth serve` running there" in error


def test_an_input_that_is_not_there_is_named(server: Any) -> None:
    asked = asked_of(server.address, "synthesize", "nothing.jpg")
    assert asked.returncode == 2
    assert asked.stderr.startswith("texsynth: nothing.jpg: No such file")


def test_maps_in_the_subfolder_of_a_package_are_sent(kind: Any, server: Any, gravel: Path, tmp_path: Path) -> None:
    (tmp_path / "rock_1k.blend").write_bytes(b"no image")
    with kind(server.address) as client:
        with pytest.raises(ValueError, match="holds no images"):
            client.input(tmp_path)
        (tmp_path / "textures").mkdir()
        (tmp_path / "textures" / "rock_diff_1k.png").write_bytes((gravel / "albedo.png").read_bytes())
        (sent,) = client.input(tmp_path).files
    assert (sent.name, sent.sha256) == ("rock_diff_1k.png", hash_of(gravel / "albedo.png"))


# --- all methods --------------------------------------------------------------------------------------------------


def test_both_clients_have_the_same_methods() -> None:
    ours, theirs = ({name for name in vars(kind) if not name.startswith("_")} for kind in (Client, AsyncClient))
    assert ours == theirs


def test_a_job_from_input_to_files(kind: Any, server: Any, gravel: Path, tmp_path: Path) -> None:
    with kind(server.address) as client:
        told: list[tuple[int, int]] = []
        job = client.restyle(
            gravel, gravel, **SMALL, region=gravel / "albedo.png", second=gravel, blend=gravel / "albedo.png"
        )
        heard: list[Any] = []
        ended = client.wait(job.id, heard.append)
        paths = client.fetch(job.id, tmp_path, lambda *n: told.append(n))
        assert {path.name: hash_of(path) for path in paths} == {
            file.name.split("/")[-1]: file.sha256 for file in ended.files
        }
        assert heard
        assert told[-1] == (sum(file.size for file in ended.files),) * 2
        assert [a for a, _ in told] == sorted(a for a, _ in told)
        before = {path: path.stat().st_mtime_ns for path in paths}
        client.fetch(job.id, tmp_path)
        assert {path: path.stat().st_mtime_ns for path in paths} == before, "what is complete is kept"
        measured = client.wait(client.measure(gravel, gravel).id)
        assert [file.name for file in measured.files] == ["metrics.json"]
        assert [other.id for other in client.jobs()][:2] == [measured.id, job.id]
        assert client.cancel(job.id).state == jobs_pb2.JOB_STATE_SUCCEEDED
        with pytest.raises(ServiceError):
            client.retry(job.id)
        client.delete(measured.id)
        with pytest.raises(ServiceError):
            client.get(measured.id)


def test_an_upload_tells_its_progress_and_is_not_sent_twice(kind: Any, line: Any, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(os.urandom(1 << 20))
    told: list[tuple[int, int]] = []
    with kind(line.address) as client:
        digest = client.upload(tmp_path / "new", lambda *n: told.append(n))
        assert digest == hash_of(tmp_path / "new")
        assert told == [(n << 18, 1 << 20) for n in range(5)]
        before = line.requests
        client.upload(tmp_path / "new")
        assert line.requests == before + 1, "it is only asked for"


def test_the_asyncio_client_opens_no_file_in_the_loops_thread(server: Any, gravel: Path, tmp_path: Path) -> None:
    opened: list[tuple[str, bool]] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(tmp_path)):
            opened.append((str(arguments[0]), threading.get_ident() == ours))

    async def all_of_it() -> None:
        async with AsyncClient(server.address) as client:
            digest = await client.upload(tmp_path / "sent")
            await client.download(digest, tmp_path / "copy")

    (tmp_path / "sent").write_bytes(os.urandom(3 << 20))
    ours = threading.get_ident()
    sys.addaudithook(hook)  # for good; hence the flag
    try:
        asyncio.run(all_of_it())
    finally:
        watching = False
    assert {Path(path).name.split(".")[0] for path, _ in opened} == {"sent", "copy"}
    assert not any(in_loop for _, in_loop in opened)


# --- a line that breaks -------------------------------------------------------------------------------------------


def test_a_submit_whose_reply_is_lost_is_one_job(kind: Any, line: Any, gravel: Path) -> None:
    with kind(line.address) as client:
        name = f"lost-{kind.__name__}"
        first, other = work(client, gravel, 1, **SMALL), work(client, gravel, 2, **SMALL)
        before = line.requests
        line.lose_replies(2)
        job = client.submit(first, request_id=name)
        assert (line.requests - before, line.cuts) == (3, 2)
        assert [found.id for found in client.jobs() if found.request_id == name] == [job.id]
        with pytest.raises(ServiceError) as refused:
            client.submit(other, request_id=name)
        assert refused.value.code is grpc.StatusCode.ALREADY_EXISTS


def test_a_download_that_is_cut_at_twenty_bytes_is_the_same_file(
    kind: Any, line: Any, big: Path, tmp_path: Path
) -> None:
    size, cuts = big.stat().st_size, 20
    with kind(line.address) as client:
        digest = client.upload(big)
        before = line.from_server
        line.cut_at(random.Random(2).sample(range(size), cuts))
        told: list[int] = []
        client.download(digest, tmp_path / "copy", lambda n, _: told.append(n))
    assert line.cuts == cuts
    assert hash_of(tmp_path / "copy") == digest
    assert told == sorted(set(told)), "no byte is taken twice"
    assert line.from_server - before <= 1.01 * size + cuts * (WINDOW + DOWNLOAD_PIECE)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_download_goes_on_where_another_process_left_it(kind: Any, line: Any, big: Path, tmp_path: Path) -> None:
    with kind(line.address, patience=0) as client:
        digest = client.upload(big)
        line.cut_at([10 << 20])
        with pytest.raises(ServiceError) as lost:
            client.download(digest, tmp_path / "copy")
        assert lost.value.code is grpc.StatusCode.UNAVAILABLE
        (part,) = tmp_path.iterdir()
        kept, before = part.stat().st_size, line.from_server
        assert kept > 8 << 20
    with kind(line.address) as client:
        client.download(digest, tmp_path / "copy")
    assert line.from_server - before <= 1.01 * (big.stat().st_size - kept) + 1000
    assert hash_of(tmp_path / "copy") == digest


def test_bytes_of_an_older_version_are_never_mixed_in(kind: Any, server: Any, gravel: Path, tmp_path: Path) -> None:
    """A texture that is made anew has another digest; what was fetched of the old one is not gone on with."""
    with kind(server.address) as client:
        old, new = (client.wait(client.synthesize(gravel, **SMALL, seed=seed).id) for seed in (31, 32))
        client.fetch(old.id, tmp_path / "old")
        (tmp_path / "new").mkdir()
        for file in old.files:
            if "/" not in file.name:
                stale = tmp_path / "new" / f"{file.name}.{file.sha256[:16]}.part"
                stale.write_bytes((tmp_path / "old" / file.name).read_bytes()[:100])
        client.fetch(new.id, tmp_path / "new")
        found = {
            path.relative_to(tmp_path / "new").as_posix(): hash_of(path)
            for path in (tmp_path / "new").rglob("*")
            if path.is_file()
        }
        assert found == {file.name: file.sha256 for file in new.files}


def test_damaged_bytes_beside_a_file_are_found_and_forgotten(kind: Any, server: Any, big: Path, tmp_path: Path) -> None:
    with kind(server.address) as client:
        digest = client.upload(big)
        part = tmp_path / f"copy.{digest[:16]}.part"
        part.write_bytes(b"!" + big.read_bytes()[1:1000])
        with pytest.raises(OSError, match="not those of"):
            client.download(digest, tmp_path / "copy")
        assert not list(tmp_path.iterdir())
        part.write_bytes(big.read_bytes() + b"more")
        with pytest.raises(ServiceError) as refused:
            client.download(digest, tmp_path / "copy")
        assert refused.value.field == "offset"
        client.download(digest, tmp_path / "copy")
        assert hash_of(tmp_path / "copy") == digest


def test_a_watch_over_a_breaking_line_has_no_gap_and_nothing_twice(kind: Any, line: Any, gravel: Path) -> None:
    with kind(line.address) as client:
        job = client.synthesize(gravel, **SMALL, seed=41)
        line.cut_at([700, 1500, 2500, 3100])
        seen = list(client.watch(job.id))
        assert line.cuts == 4
        assert [event.number for event in seen] == list(range(len(seen)))
        assert [(event.time, event.progress) for event in seen] == [
            (event.time, event.progress) for event in client.watch(job.id)
        ]


# --- what is tried again, and what is not -------------------------------------------------------------------------


def test_a_call_is_made_again_until_the_line_holds(kind: Any, line: Any, done: jobs_pb2.Job) -> None:
    with kind(line.address) as client:
        client.get(done.id)
        line.refuse(2)
        assert client.get(done.id) == done
        before = line.requests
        line.lose_replies(3)
        assert client.get(done.id) == done
        assert line.requests - before == 4


def test_patience_has_an_end(kind: Any, line: Any, done: jobs_pb2.Job) -> None:
    line.lose_replies(1000)
    with kind(line.address, patience=1.5) as client, pytest.raises(ServiceError) as lost:
        client.get(done.id)
    assert lost.value.code is grpc.StatusCode.UNAVAILABLE
    assert lost.value.reason == ""
    assert 2 <= line.requests <= 6, "pauses grow: at least 0.1, 0.2, 0.4, 0.8 s"


@pytest.mark.parametrize("method", ["retry", "delete"])
def test_what_cannot_be_repeated_is_sent_once(
    kind: Any, server: Any, line: Any, done: jobs_pb2.Job, method: str
) -> None:
    with kind(line.address) as client:
        client.get(done.id)
        before = line.requests
        line.lose_replies(1)
        with pytest.raises(ServiceError) as lost:
            getattr(client, method)("0" * 32)
        assert lost.value.code is grpc.StatusCode.UNAVAILABLE
        assert line.requests - before == 1
    with Proxy(server.address) as other:  # grpc may go on with a broken line to the same address
        other.refuse(1)
        with kind(other.address) as client, pytest.raises(ServiceError) as absent:
            getattr(client, method)("0" * 32)
        assert absent.value.code is grpc.StatusCode.NOT_FOUND, "it waits for the line"


def test_an_answer_is_no_reason_to_ask_again(kind: Any, line: Any, done: jobs_pb2.Job, tmp_path: Path) -> None:
    with kind(line.address) as client:
        client.get(done.id)
        for call, code in (
            (lambda: client.get("0" * 32), grpc.StatusCode.NOT_FOUND),
            (lambda: list(client.watch("0" * 32)), grpc.StatusCode.NOT_FOUND),
            (lambda: client.download("0" * 64, tmp_path / "none"), grpc.StatusCode.NOT_FOUND),
            (lambda: client.download("none", tmp_path / "none"), grpc.StatusCode.INVALID_ARGUMENT),
            (lambda: client.submit(jobs_pb2.Work()), grpc.StatusCode.INVALID_ARGUMENT),
            (lambda: client.submit(done.work, request_id=done.request_id, batch=True), grpc.StatusCode.ALREADY_EXISTS),
            (lambda: client.retry(done.id), grpc.StatusCode.FAILED_PRECONDITION),
        ):
            before = line.requests
            with pytest.raises(ServiceError) as refused:
                call()
            assert refused.value.code is code
            assert line.requests - before == 1, code


def test_a_full_queue_is_waited_for_as_long_as_the_service_says(kind: Any, gravel: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--queue", "1") as small, Proxy(small.address) as line, small.client() as other:
        running = other.synthesize(gravel, **LONG, seed=1)
        next(event for event in other.watch(running.id) if event.state.state == jobs_pb2.JOB_STATE_RUNNING)
        waiting = other.synthesize(gravel, **LONG, seed=2)
        wanted = work(other, gravel, 3, **SMALL)
        with kind(line.address, patience=QUEUE_RETRY / 2) as hasty, pytest.raises(ServiceError) as full:
            hasty.submit(wanted)
        assert (full.value.code, full.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert full.value.retry_seconds == QUEUE_RETRY
        assert line.requests == 1
        with kind(line.address) as patient:
            answered: list[jobs_pb2.Job] = []
            thread = threading.Thread(target=lambda: answered.append(patient.submit(wanted)))
            thread.start()
            eventually(lambda: line.answers == 2)
            other.cancel(waiting.id)
            thread.join()
        assert line.requests == 3
        assert other.get(answered[0].id).id == answered[0].id
        other.cancel(running.id)


def settled(number: Callable[[], int]) -> int:
    """A number that grows, when it has stopped to."""
    before, still = -1, 0
    while still < 10:
        before, still = number(), still + 1 if number() == before else 0
        time.sleep(0.05)
    return before


# --- a reader that stands still -----------------------------------------------------------------------------------


def test_a_reader_that_stands_still_costs_a_window_and_harms_no_other(
    kind: Any, server: Any, line: Any, big: Path, tmp_path: Path
) -> None:
    go_on, taken = threading.Event(), []

    def stand_still(count: int, _: int) -> None:
        taken.append(count)
        assert go_on.wait(120)

    with kind(line.address) as client:
        digest = client.upload(big)
        before = line.from_server
        thread = threading.Thread(target=client.download, args=(digest, tmp_path / "copy", stand_still))
        thread.start()
        eventually(lambda: bool(taken))
        ahead = settled(lambda: line.from_server) - before - taken[0]
        try:
            assert 0 < ahead <= 1.01 * WINDOW, "a hundredth for the frames' heads"
            with server.client() as other:
                other.download(digest, tmp_path / "other")
            assert len(taken) == 1
        finally:
            go_on.set()
            thread.join()
    assert hash_of(tmp_path / "copy") == hash_of(tmp_path / "other") == digest


# --- in an editor -------------------------------------------------------------------------------------------------


def test_an_editor_hears_of_its_job_on_its_own_thread_alone(server: Any, gravel: Path, tmp_path: Path) -> None:
    editor = threading.get_ident()
    heard: list[tuple[int, float]] = []
    ended: list[tuple[int, Any]] = []
    worked: list[int] = []

    def restyle(client: Client, tell: Callable[..., None]) -> list[Path]:
        worked.append(threading.get_ident())
        job = client.synthesize(gravel, **SMALL, seed=51)
        client.wait(job.id, lambda progress: tell(progress.fraction))
        return client.fetch(job.id, tmp_path)

    background = Background(Client(server.address))
    future = background.start(
        restyle, lambda fraction: heard.append((threading.get_ident(), fraction)),
        lambda future: ended.append((threading.get_ident(), future.result())),
    )  # fmt: skip
    paths = future.result(120)
    assert (heard, ended) == ([], []), "nothing is told before the editor asks"
    background.poll()
    assert {thread for thread, _ in heard} == {editor}
    assert [fraction for _, fraction in heard] == sorted(fraction for _, fraction in heard)
    assert ended == [(editor, paths)]
    assert worked != [editor]
    background.poll()
    assert len(ended) == 1
    background.close()


def test_an_editor_gets_what_went_wrong(server: Any, gravel: Path) -> None:
    background = Background(Client(server.address))
    raised = background.start(lambda client, _: client.get("0" * 32)).exception(60)
    assert isinstance(raised, ServiceError)
    assert raised.code is grpc.StatusCode.NOT_FOUND
    job = background.start(lambda client, _: client.synthesize(gravel, **LONG, seed=52)).result(60)
    waiting = background.start(lambda client, tell: client.wait(job.id, tell))
    background.start(lambda client, _: client.cancel(job.id)).result(60)
    assert isinstance(waiting.exception(60), JobFailed)
    queued = background.start(lambda client, _: client.synthesize(gravel, **LONG, seed=53)).result(60)
    following = background.start(lambda client, _: client.wait(queued.id))
    background.close()
    assert isinstance(following.exception(60), ServiceError), "the call ends with the connection; the job does not"
    with server.client() as client:
        assert client.cancel(queued.id).id == queued.id


# --- the client's own environment ---------------------------------------------------------------------------------

NEEDED = ("grpcio", "protobuf", "google-crc32c", "typing_extensions")  # the last one is what grpcio needs
JOB = """
import asyncio, sys
from pathlib import Path
from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.background import Background
from plugin_bridge.client import Client
import plugin_bridge.__main__

address, exemplar, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

with Client(address) as client:
    job = client.wait(client.synthesize(exemplar, size=64, preset="draft", seed=61).id)
    client.fetch(job.id, out / "blocking")

async def again():
    async with AsyncClient(address) as client:
        job = await client.synthesize(exemplar, size=64, preset="draft", seed=61)
        await client.wait(job.id)
        await client.fetch(job.id, out / "asyncio")

asyncio.run(again())
found = {name.partition(".")[0] for name in sys.modules}
print(*sorted(found & {"torch", "texsynth", "numpy", "mipmap", "grpc_status", "PIL"}))
"""


def link_needed(folder: Path) -> None:
    """A folder to import from: the client, its stubs and the packages it needs, as links."""
    for name in NEEDED:
        for file in importlib.metadata.distribution(name).files or ():
            depth = 2 if file.parts[0] == "google" else 1  # a namespace that several packages share
            link, target = folder.joinpath(*file.parts[:depth]), Path(str(file.locate())).parents
            if ".." in file.parts or file.parts[0].endswith(("-info", "__pycache__")) or link.exists():
                continue
            link.parent.mkdir(exist_ok=True)
            whole = Path(str(file.locate()))
            link.symlink_to(whole if len(file.parts) == depth else target[len(file.parts) - depth - 1])
    (folder / "plugin_bridge").symlink_to(ROOT / "plugin_bridge")
    (folder / "texsynth_rpc").mkdir()
    for name in ("__init__.py", "v1"):
        (folder / "texsynth_rpc" / name).symlink_to(ROOT / "grpc" / "texsynth_rpc" / name)


def test_both_clients_run_where_nothing_else_is_installed(server: Any, gravel: Path, tmp_path: Path) -> None:
    (tmp_path / "needed").mkdir()
    link_needed(tmp_path / "needed")
    run = [sys.executable, "-S", "-E", "-P", "-c", f"import sys; sys.path.append({str(tmp_path / 'needed')!r})\n{JOB}"]
    done = subprocess.run(
        [*run, server.address, str(gravel), str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
    digests = [
        {path.name: hash_of(path) for path in (tmp_path / kind).glob("*.png")} for kind in ("blocking", "asyncio")
    ]
    assert digests[0]
    assert digests[0]["albedo.png"] == digests[1]["albedo.png"]


@pytest.mark.parametrize("path", sorted((ROOT / "plugin_bridge").rglob("*.py")), ids=lambda path: path.name)
def test_the_client_is_written_in_the_syntax_of_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


# --- a client of the first contract -------------------------------------------------------------------------------


class FirstContract:
    """A client that knows nothing but the contract as it was first published."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel, self._pool = channel, descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString((TESTS / "golden" / "contract-v1.binpb").read_bytes())
        for file in files.file:
            self._pool.Add(file)

    def message(self, kind: str, /, **fields: Any) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"texsynth.v1.{kind}"))(**fields)

    def call(self, service: str, method: str, request: Any) -> Any:
        found = self._pool.FindServiceByName(f"texsynth.v1.{service}").FindMethodByName(method)
        kinds = {(False, False): "unary_unary", (False, True): "unary_stream", (True, False): "stream_unary"}
        make = getattr(self._channel, kinds[found.client_streaming, found.server_streaming])
        answer = message_factory.GetMessageClass(found.output_type)
        return make(f"/texsynth.v1.{service}/{method}", lambda message: message.SerializeToString(), answer.FromString)(
            request
        )


def test_a_client_of_the_first_contract_gets_its_work_done(server: Any, gravel: Path) -> None:
    with grpc.insecure_channel(server.address) as channel:
        old = FirstContract(channel)
        data = (gravel / "albedo.png").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        header = old.message("UploadHeader", size=len(data), sha256=digest)
        parts = [old.message("UploadRequest", header=header), old.message("UploadRequest", data=data)]
        assert old.call("AssetService", "Upload", iter(parts)).asset.size == len(data)
        exemplar = old.message("Input", files=[old.message("InputFile", name="albedo.png", sha256=digest)])
        job = old.message("SynthesizeJob", exemplar=exemplar, options=old.message("Options", size=64, preset="draft"))
        request = old.message("SubmitRequest", request_id="old", work=old.message("Work", synthesize=job))
        submitted = old.call("JobService", "Submit", request).job
        events = list(old.call("JobService", "Watch", old.message("WatchRequest", id=submitted.id)))
        assert [event.number for event in events] == list(range(len(events)))
        ended = events[-1].state
        assert (
            ended.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[ended.state].name
            == "JOB_STATE_SUCCEEDED"
        )
        for file in ended.files:
            pieces = list(old.call("AssetService", "Download", old.message("DownloadRequest", sha256=file.sha256)))
            assert hashlib.sha256(b"".join(piece.data for piece in pieces)).hexdigest() == file.sha256
        assert old.call("JobService", "Get", old.message("GetRequest", id=submitted.id)).job == ended
        page = old.call("JobService", "List", old.message("ListRequest", page_size=1))
        assert page.jobs[0].id == submitted.id
        old.call("JobService", "Delete", old.message("DeleteRequest", id=submitted.id))


def test_grpc_knows_every_option_that_is_set() -> None:
    """It says nothing of one that it does not know."""
    files = ROOT / "grpc" / "texsynth_rpc" / "server.py", ROOT / "plugin_bridge" / "connection.py"
    names = {name for file in files for name in re.findall(r'\("(grpc\.[a-z0-9_.]+)", ', file.read_text())}
    assert len(names) >= 8
    library = Path(grpc._cython.cygrpc.__file__).read_bytes()
    assert [name for name in sorted(names) if name.encode() + b"\0" not in library] == []
