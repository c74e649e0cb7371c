"""Files known by the SHA-256 of their bytes: complete under their name or not there, checked before they are served."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from mipmap.atomic import atomic_file, sync_folder
from texsynth_rpc.mapped_files import MappedFiles

DIGEST = re.compile(r"[0-9a-f]{64}\Z")
PIECE = 1 << 20


class Damaged(Exception):
    """A stored file no longer has the bytes that it is named after."""


class ObjectStore:
    """`folder`/ab/abcd...: one file an object; `folder`/incoming: uploads that are not complete.

    beside: another process has opened it, too; else what a process that ended has left half written is removed.
    """

    def __init__(self, folder: Path, *, beside: bool = False) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"
        if not beside:
            shutil.rmtree(self._incoming, ignore_errors=True)
            self._incoming.mkdir(parents=True)
            for left in folder.glob("??/.*.tmp"):
                left.unlink()
        self._checked: dict[str, tuple[int, int]] = {}  # digest: (size, time of change) as read or written
        self._damaged: set[str] = set()  # of those that were read
        self._mapped = MappedFiles()
        self._uploads = 0

    def path(self, digest: str) -> Path:
        """Where an object is or would be. Raises ValueError for what is no digest."""
        if not DIGEST.match(digest):
            raise ValueError(f"{digest!r} is no SHA-256 of 64 lower-case hexadecimal digits")
        return self.folder / digest[:2] / digest

    def size(self, digest: str) -> int | None:
        """Bytes of an object, None if it is not there or was found damaged: then it may be sent again."""
        try:
            size = self.path(digest).stat().st_size
        except FileNotFoundError:
            return None
        return None if digest in self._damaged else size

    def begin(self) -> Upload:
        """An upload to write to."""
        self._uploads += 1
        return Upload(self, self._incoming / str(self._uploads))

    def adopt(self, file: Path) -> tuple[str, int]:
        """Make a finished file of this machine an object (a second name of it where the disk can): digest and bytes.

        `file` must not be written to afterwards.
        """
        digest = hash_of(file)
        target = self._vacant(digest)
        if target is not None:
            try:
                os.link(file, target)
                sync_folder(target.parent)
            except FileExistsError:
                pass
            except OSError:
                with file.open("rb") as source, atomic_file(target) as copy:
                    shutil.copyfileobj(source, copy, PIECE)
        return digest, file.stat().st_size

    def put(self, data: bytes) -> str:
        """Store `data`; returns its digest."""
        digest = hashlib.sha256(data).hexdigest()
        target = self._vacant(digest)
        if target is not None:
            with atomic_file(target) as file:
                file.write(data)
            self.written(digest)
        return digest

    def written(self, digest: str) -> None:
        """Counts as checked: its bytes were hashed as they were written. Raises FileNotFoundError."""
        self._checked[digest] = _seen(self.path(digest))

    def _vacant(self, digest: str) -> Path | None:
        """Where an object is to be written, with its folder; None if it is there as it should be."""
        try:
            self.check(digest)
            return None
        except (FileNotFoundError, Damaged):
            target = self.path(digest)
            target.unlink(missing_ok=True)
            self._damaged.discard(digest)
            target.parent.mkdir(exist_ok=True)
            return target

    def check(self, digest: str) -> Path:
        """The path of an object whose bytes were read and found right since it last changed.

        Raises FileNotFoundError, and Damaged.
        """
        path = self.path(digest)
        seen = _seen(path)
        if self._checked.get(digest) != seen:
            if hash_of(path) != digest:
                self._damaged.add(digest)
                raise Damaged(f"{digest}: its bytes have changed on the disk")
            self._checked[digest] = seen
        return path

    def is_as_checked(self, digest: str) -> bool:
        """Whether `check` would find it right without reading it; quick."""
        try:
            status = os.stat(f"{self.folder}/{digest[:2]}/{digest}")  # noqa: PTH116 (Path takes ten times as long)
        except OSError:
            return False
        return self._checked.get(digest) == (status.st_size, status.st_mtime_ns)

    def mapped(self, digest: str) -> memoryview:
        """The bytes of an object that was checked. Raises FileNotFoundError, OSError."""
        return self._mapped.of(self.path(digest))

    def mended(self, digest: str) -> None:
        """An object was written anew."""
        self._damaged.discard(digest)
        self._checked.pop(digest, None)
        self._mapped.forget(self.path(digest))

    def remove(self, digest: str) -> None:
        """Forget an object."""
        self.mended(digest)
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> list[str]:
        """All objects."""
        return sorted(path.name for path in self.folder.glob("??/*") if DIGEST.match(path.name))


def _seen(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class Upload:
    """Bytes of one object on their way in."""

    def __init__(self, store: ObjectStore, path: Path) -> None:
        self._store, self._path = store, path
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises OSError."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """Of the bytes so far."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Give the object its name, durably. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        target = self._store.path(self.digest)
        target.parent.mkdir(exist_ok=True)
        self._path.replace(target)
        self._store.mended(self.digest)
        sync_folder(target.parent)

    def abandon(self) -> None:
        """Forget it; after `finish` without effect."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
