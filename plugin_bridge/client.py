"""The thin client of the service: needs grpcio, protobuf and google-crc32c, neither torch nor texsynth.

    with Client("127.0.0.1:50051") as client:
        job = client.restyle("chair.glb", "bricks/", size=2048)
        for event in client.watch(job.id):
            print(event.progress.fraction)
        client.fetch(job.id, "out/chair")

Every call may be repeated: what the line lost is asked for again (UNAVAILABLE only), with the same request_id, from the
same byte or event on. Nothing here runs on the caller's thread unless it is called there; an editor calls it from a
worker thread. Python 3.9 syntax, for the interpreters inside engines.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, Union

import google_crc32c
from texsynth_rpc.v1 import assets_pb2, assets_pb2_grpc, jobs_pb2, jobs_pb2_grpc

import grpc

PathLike = Union[str, "os.PathLike[str]"]
Told = Callable[[int, int], None]
Answer = TypeVar("Answer")

UPLOAD_PIECE = 256 << 10
MOST_UNHASHED = 8  # pieces of a download that are held until they are hashed
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds before a call is repeated; twice as long each time
ENDED = (jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED)
MESHES = (".glb", ".gltf", ".obj")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".exr", ".hdr", ".ktx2", ".dds")


class ServiceError(Exception):
    """The service refused. code: its gRPC status code; str(): its one line."""

    def __init__(self, error: grpc.RpcError) -> None:
        super().__init__(error.details())
        self.code = error.code()


class JobFailed(Exception):
    """A job ended without a result; `job` says why."""

    def __init__(self, job: jobs_pb2.Job) -> None:
        super().__init__(job.error.message)
        self.job = job


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """Sends a token with every call."""

    def __init__(self, token: str) -> None:
        self._entry = ("authorization", f"Bearer {token}")

    def _with(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), self._entry]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = _with


def _no_one(done: int, total: int) -> None:
    del done, total


class Client:
    """One connection to a service at `server` (HOST:PORT).

    token: secret of a token, sent with every call. ca, certificate, key: PEM files; with any of them the line is
    encrypted, `ca` is whom the server's certificate must be of (else whom this machine trusts), the others are what
    the client shows. patience: seconds during which a lost line is mended.
    """

    def __init__(
        self,
        server: str = "127.0.0.1:50051",
        *,
        token: str | None = None,
        ca: PathLike | None = None,
        certificate: PathLike | None = None,
        key: PathLike | None = None,
        patience: float = 60.0,
    ) -> None:
        options = [
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.enable_retries", 0),
        ]
        if ca or certificate or key:
            roots, shown, secret = (
                None if path is None else Path(path).read_bytes() for path in (ca, certificate, key)
            )
            credentials = grpc.ssl_channel_credentials(roots, secret, shown)
            channel = grpc.secure_channel(server, credentials, options)
        else:
            channel = grpc.insecure_channel(server, options)
        self._closing = channel
        self._channel = channel if token is None else grpc.intercept_channel(channel, _Bearer(token))
        self._patience = patience
        self._assets: Any = assets_pb2_grpc.AssetServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._jobs: Any = jobs_pb2_grpc.JobServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the connection; jobs go on."""
        self._closing.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- files ------------------------------------------------------------------------------------------------

    def upload(self, path: PathLike, progress: Told = _no_one) -> str:
        """Send a file if the service has it not yet; returns its SHA-256. progress: told bytes done and of all."""
        path = Path(path)
        digest, size = hash_of(path), path.stat().st_size
        known = self._call(lambda: self._assets.Describe(assets_pb2.DescribeRequest(sha256=[digest])))
        if known.assets:
            progress(size, size)
            return digest

        def requests() -> Iterator[assets_pb2.UploadRequest]:
            yield assets_pb2.UploadRequest(header=assets_pb2.UploadHeader(size=size, sha256=digest))
            done = 0
            with path.open("rb") as file:
                while True:
                    data = file.read(UPLOAD_PIECE)
                    if not data:
                        return
                    yield assets_pb2.UploadRequest(data=data)
                    done += len(data)
                    progress(done, size)

        self._call(lambda: self._assets.Upload(requests()))
        return digest

    def download(self, digest: str, path: PathLike, progress: Told = _no_one) -> None:
        """Fetch a file to `path`; what an earlier try left in `path`.part is gone on with.

        Raises ServiceError, and OSError for bytes that are not the file's.
        """
        part = Path(str(path) + ".part")
        if self._call(lambda: self._download(digest, part, progress)) != digest:
            part.unlink()
            raise OSError(f"{path}: the bytes that came are not those of {digest}; fetch it again")
        part.replace(path)

    def _download(self, digest: str, part: Path, progress: Told) -> str:
        """Append what lacks to `part`; the digest of all of it, which is computed while the next bytes arrive."""
        found = hashlib.sha256()
        with part.open("ab") as file, ThreadPoolExecutor(1) as beside:
            if file.tell():
                _hash_into(found, part)
            hashed: deque[Future[None]] = deque()
            for piece in self._assets.Download(assets_pb2.DownloadRequest(sha256=digest, offset=file.tell())):
                if piece.offset != file.tell() or google_crc32c.value(piece.data) != piece.crc32c:
                    raise OSError(f"{part}: a piece came damaged; fetch it again")
                hashed.append(beside.submit(found.update, piece.data))
                if len(hashed) > MOST_UNHASHED:
                    hashed.popleft().result()
                file.write(piece.data)
                progress(file.tell(), piece.size)
        return found.hexdigest()

    def input(self, path: PathLike, progress: Told = _no_one) -> jobs_pb2.Input:
        """Upload what the engine is to read: one file, a folder of maps, or a mesh with the files beside it."""
        path = Path(path)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES or p.name == "material.json")
            return jobs_pb2.Input(files=[self._file(p, p.name, progress) for p in found])
        files = [self._file(path, path.name, progress)]
        if path.suffix.lower() in MESHES[1:]:  # they refer to other files
            beside = sorted(p for p in path.parent.rglob("*") if p.suffix.lower() in (*IMAGES, ".bin", ".mtl"))
            files += [self._file(p, p.relative_to(path.parent).as_posix(), progress) for p in beside]
        return jobs_pb2.Input(files=files, main=path.name if len(files) > 1 else "")

    def _file(self, path: Path, name: str, progress: Told) -> jobs_pb2.InputFile:
        return jobs_pb2.InputFile(name=name, sha256=self.upload(path, progress))

    # --- jobs -------------------------------------------------------------------------------------------------

    def restyle(self, asset: PathLike, exemplar: PathLike, *, batch: bool = False, **options: Any) -> jobs_pb2.Job:
        """Submit: give `asset` the material of `exemplar`. options: as `options_of`."""
        job = jobs_pb2.RestyleJob(
            asset=self.input(asset), exemplar=self.input(exemplar), options=self.options_of(**options)
        )
        return self.submit(jobs_pb2.Work(restyle=job), batch=batch)

    def synthesize(self, exemplar: PathLike, *, batch: bool = False, **options: Any) -> jobs_pb2.Job:
        """Submit: a new texture like `exemplar`. options: as `options_of`."""
        job = jobs_pb2.SynthesizeJob(exemplar=self.input(exemplar), options=self.options_of(**options))
        return self.submit(jobs_pb2.Work(synthesize=job), batch=batch)

    def measure(self, generated: PathLike, reference: PathLike, *, unpaired: bool = False) -> jobs_pb2.Job:
        """Submit: compare two textures; the result's file is metrics.json."""
        job = jobs_pb2.MeasureJob(generated=self.input(generated), reference=self.input(reference), unpaired=unpaired)
        return self.submit(jobs_pb2.Work(measure=job))

    def options_of(self, **values: Any) -> jobs_pb2.Options:
        """`jobs_pb2.Options` from the command line's names; numbers for content, detail and blend, paths for region,
        second and a blend that is an image. Raises ValueError for a name that is no option."""
        options = jobs_pb2.Options()
        for name, value in values.items():
            if value is None:
                continue
            if name in ("content", "detail") or (name == "blend" and isinstance(value, (int, float))):
                getattr(options, name).value = value
            elif name in ("region", "blend"):
                setattr(options, name + "_sha256", self.upload(value))
            elif name == "second":
                options.second.CopyFrom(self.input(value))
            elif name == "maps":
                options.maps.extend(value)
            elif name in options.DESCRIPTOR.fields_by_name:
                setattr(options, name, value)
            else:
                raise ValueError(
                    f"{name} is no option; there are {', '.join(sorted(options.DESCRIPTOR.fields_by_name))}"
                )
        return options

    def submit(self, work: jobs_pb2.Work, *, batch: bool = False, request_id: str | None = None) -> jobs_pb2.Job:
        """Put work into the queue; a repeated request_id gives the job that is there."""
        request = jobs_pb2.SubmitRequest(
            request_id=request_id or uuid.uuid4().hex, work=work,
            priority=jobs_pb2.PRIORITY_BATCH if batch else jobs_pb2.PRIORITY_INTERACTIVE,
        )  # fmt: skip
        found: jobs_pb2.Job = self._call(lambda: self._jobs.Submit(request)).job
        return found

    def get(self, job: str) -> jobs_pb2.Job:
        """A job as it stands."""
        found: jobs_pb2.Job = self._call(lambda: self._jobs.Get(jobs_pb2.GetRequest(id=job))).job
        return found

    def jobs(self) -> Iterator[jobs_pb2.Job]:
        """All jobs, the newest first."""
        token = ""
        while True:
            asked = jobs_pb2.ListRequest(page_token=token)
            page = self._call(lambda asked=asked: self._jobs.List(asked))  # type: ignore[misc]
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def watch(self, job: str, from_event: int = 0) -> Iterator[jobs_pb2.WatchResponse]:
        """Events from a number on until the job has ended, over lost lines without a gap."""
        following, pause, lost = from_event, FIRST_PAUSE, 0.0
        while True:
            try:
                for event in self._jobs.Watch(jobs_pb2.WatchRequest(id=job, from_event=following)):
                    following, pause, lost = event.number + 1, FIRST_PAUSE, 0.0
                    yield event
                return
            except grpc.RpcError as error:
                lost += pause
                if error.code() is not grpc.StatusCode.UNAVAILABLE or lost > self._patience:
                    raise ServiceError(error) from None
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def wait(self, job: str, heard: Callable[[jobs_pb2.Progress], None] = lambda _: None) -> jobs_pb2.Job:
        """The job when it has succeeded. heard: told its progress. Raises JobFailed, ServiceError."""
        for event in self.watch(job):
            if event.WhichOneof("event") == "progress":
                heard(event.progress)
        ended = self.get(job)
        if ended.state != jobs_pb2.JOB_STATE_SUCCEEDED:
            raise JobFailed(ended)
        return ended

    def fetch(self, job: str, folder: PathLike, progress: Told = _no_one) -> list[Path]:
        """The files of a job that succeeded, into `folder`; complete ones that are there already are kept."""
        found = self.get(job)
        if found.state != jobs_pb2.JOB_STATE_SUCCEEDED:
            raise JobFailed(found)
        total, done, paths = sum(file.size for file in found.files), 0, []
        for file in found.files:
            path = Path(folder).joinpath(*_safe_parts(file.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (path.exists() and path.stat().st_size == file.size and hash_of(path) == file.sha256):
                self.download(file.sha256, path, lambda here, _, before=done: progress(before + here, total))  # type: ignore[misc]
            done += file.size
            progress(done, total)
            paths.append(path)
        return paths

    def cancel(self, job: str) -> jobs_pb2.Job:
        """Call a job off."""
        found: jobs_pb2.Job = self._call(lambda: self._jobs.Cancel(jobs_pb2.CancelRequest(id=job))).job
        return found

    def retry(self, job: str) -> jobs_pb2.Job:
        """Put a failed or cancelled job into the queue again."""
        found: jobs_pb2.Job = self._call(lambda: self._jobs.Retry(jobs_pb2.RetryRequest(id=job))).job
        return found

    def delete(self, job: str) -> None:
        """Forget a job that has ended."""
        self._call(lambda: self._jobs.Delete(jobs_pb2.DeleteRequest(id=job)))

    # --- a line that may break ----------------------------------------------------------------------------------

    def _call(self, call: Callable[[], Answer]) -> Answer:
        pause, until = FIRST_PAUSE, time.monotonic() + self._patience
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() + pause > until:
                    raise ServiceError(error) from None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def hash_of(path: PathLike) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    _hash_into(found, Path(path))
    return found.hexdigest()


def _hash_into(found: Any, path: Path) -> None:
    with path.open("rb") as file:
        while True:
            data = file.read(1 << 20)
            if not data:
                return
            found.update(data)


def _safe_parts(name: str) -> list[str]:
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
        raise OSError(f"{name!r}: the service names a file outside of the result")
    return parts
