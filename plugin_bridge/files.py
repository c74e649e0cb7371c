"""Files on their way to the service and back: read, written, checked. These functions block; none of them calls."""

from __future__ import annotations

import glob
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
from texsynth_rpc.v1 import assets_pb2, textures_pb2

from plugin_bridge.connection import PathLike
from plugin_bridge.errors import ServiceError

Told = Callable[[int, int], None]  # bytes done, and of all

UPLOAD_PIECE = 256 << 10
MOST_UNHASHED = 8  # pieces of a download that are held until they are hashed


def no_one(done: int, total: int) -> None:
    """The progress of a file that nobody wants to know."""
    del done, total


def hash_of(path: PathLike) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    _hash_into(found, Path(path))
    return found.hexdigest()


def is_there(path: Path, digest: str, size: int) -> bool:
    """Whether `path` has these very bytes."""
    return path.exists() and path.stat().st_size == size and hash_of(path) == digest


def digest_and_size(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a file."""
    return hash_of(path), path.stat().st_size


def upload_requests(path: Path, digest: str, size: int) -> Iterator[assets_pb2.UploadRequest]:
    """The messages of an upload."""
    yield assets_pb2.UploadRequest(header=assets_pb2.UploadHeader(size=size, sha256=digest))
    with path.open("rb") as file:
        while True:
            data = file.read(UPLOAD_PIECE)
            if not data:
                return
            yield assets_pb2.UploadRequest(data=data)


class Part:
    """The bytes of a download so far, in a file beside `path` that a later try goes on with.

    Its name has the digest, so no bytes of another version are taken for this one's.
    """

    def __init__(self, digest: str, path: PathLike) -> None:
        self._digest, self._path = digest, Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._part = self._path.with_name(f"{self._path.name}.{digest[:16]}.part")
        for stale in self._path.parent.glob(f"{glob.escape(self._path.name)}.{'[0-9a-f]' * 16}.part"):
            if stale != self._part:
                stale.unlink()
        self._file = self._part.open("ab")
        self._found = hashlib.sha256()
        self._beside = ThreadPoolExecutor(1)
        self._unhashed: deque[Future[None]] = deque()
        kept = self._file.tell()
        if kept:  # and not what is written after it meanwhile
            self._unhashed.append(self._beside.submit(_hash_into, self._found, self._part, kept))

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bytes for another try; after `finish` without effect."""
        self._beside.shutdown()
        self._file.close()

    def request(self) -> assets_pb2.DownloadRequest:
        """For the bytes that lack."""
        return assets_pb2.DownloadRequest(sha256=self._digest, offset=self._file.tell())

    def take(self, piece: assets_pb2.DownloadResponse) -> int:
        """Write the next bytes; how many there are now. Raises OSError for bytes that are not the next ones."""
        data = piece.data
        if piece.offset != self._file.tell() or google_crc32c.value(data) != piece.crc32c:
            raise OSError(f"{self._path}: a piece came damaged; fetch it again")
        self._unhashed.append(self._beside.submit(self._found.update, data))
        if len(self._unhashed) > MOST_UNHASHED:
            self._unhashed.popleft().result()
        self._file.write(data)
        return self._file.tell()

    def finish(self) -> None:
        """Give the file its name. Raises OSError, and forgets the bytes, if they are not those of the digest."""
        self._file.close()
        for hashed in self._unhashed:
            hashed.result()
        if self._found.hexdigest() != self._digest:
            self._forget()
            raise OSError(f"{self._path}: the bytes that came are not those of {self._digest}; fetch it again")
        self._part.replace(self._path)

    def refused(self, error: ServiceError) -> None:
        """The service sends nothing more; bytes that are more than the file has are forgotten."""
        if error.field == "offset":
            self._forget()

    def _forget(self) -> None:
        self._file.close()
        self._part.unlink()


class Gathered:
    """The bytes so far of a level or chunk of a job's texture."""

    def __init__(self, job: str, version: str, digest: str) -> None:
        self._asked, self._digest, self._data = (job, version), digest, bytearray()

    def request(self) -> textures_pb2.FetchRequest:
        """For the bytes that lack."""
        job, version = self._asked
        return textures_pb2.FetchRequest(job=job, version=version, sha256=self._digest, offset=len(self._data))

    def take(self, piece: textures_pb2.FetchResponse) -> None:
        """The next bytes. Raises OSError for others."""
        if piece.offset != len(self._data) or google_crc32c.value(piece.data) != piece.crc32c:
            raise OSError(f"{self._digest}: a piece came damaged; fetch it again")
        self._data += piece.data

    def finish(self) -> bytes:
        """All of them. Raises OSError if they are not those of the digest."""
        if hashlib.sha256(self._data).hexdigest() != self._digest:
            raise OSError(f"{self._digest}: other bytes came; fetch it again")
        return bytes(self._data)


def _hash_into(found: Any, path: Path, count: int = -1) -> None:
    """Hash a file, or its first `count` bytes."""
    with path.open("rb") as file:
        while data := file.read(1 << 20 if count < 0 else min(1 << 20, count)):
            found.update(data)
            count -= len(data) if count > 0 else 0
