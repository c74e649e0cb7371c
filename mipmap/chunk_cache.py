"""Encoded chunks on disk, found by what they were encoded from.

An entry is one file `<first two digits>/<key>` under the cache's folder: a head of 48 bytes and the payload.

    offset  bytes  little-endian
    0       4      "MMC1"
    4       4      CRC-32C of all that follows
    8       8      payload length
    16      32     key, so that an entry under a wrong name is not served
    48      ...    payload

An entry is written under another name and renamed, so a reader sees it whole or not at all. What was damaged on the
disk fails the length or the checksum, is removed and counts as missing. A file's time of change is the time of its last
use; when the cache has grown beyond its size the entries that were used longest ago go. Any number of processes and
threads may share the folder: they need no lock, since files appear and go whole and every entry with one key is alike.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import google_crc32c

HEAD = struct.Struct("<4sIQ32s")
MAGIC = b"MMC1"
KEPT = 0.9  # of the size remains when entries are removed, so that not every new one has to remove another
LOOK = 1 / 16  # of the size: written by this process, it looks again how large the cache is, for others write too
STALE = 3600.0  # seconds after which an unfinished file must be of a process that has died
UNFINISHED = ".part-"


class ChunkCache:
    """Payloads by key (64 hexadecimal digits) in `folder`, which is made where it is missing.

    capacity: bytes on disk, heads included. Processes that write at the same time may exceed it for a moment, each by
    a sixteenth. Raises ValueError for a capacity below 1, OSError where the folder cannot be made.
    """

    def __init__(self, folder: Path, capacity: int = 4 << 30) -> None:
        if capacity < 1:
            raise ValueError(f"a cache of {capacity} bytes holds nothing; the capacity must be at least 1")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._capacity = folder, capacity
        self._lock = threading.Lock()
        self._unseen = capacity  # bytes written since the last look; the first write looks

    def get_or_make(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The payload under `key`, made and kept if it is missing. Two that ask at the same time may both make it."""
        found = self.get(key)
        if found is not None:
            return found
        payload = make()
        self.put(key, payload)
        return payload

    def get(self, key: str) -> bytes | None:
        """The payload, or None where it is missing or damaged. Counts as a use."""
        path = self._path(key)
        try:
            entry = path.read_bytes()
        except OSError:  # missing, removed by another process just now, or unreadable: it can be made again
            return None
        payload = _payload_of(entry, key)
        with contextlib.suppress(OSError):
            if payload is None:
                path.unlink()
            else:
                os.utime(path)
        return payload

    def put(self, key: str, payload: bytes) -> bool:
        """Keep a payload. False where it is larger than the cache or the disk refuses: a cache is never needed."""
        entry = _entry(key, payload)
        if len(entry) > self._capacity:
            return False
        try:
            _write_whole(self._path(key), entry)
        except OSError:
            return False
        with self._lock:
            self._unseen += len(entry)
            look = self._unseen > self._capacity * LOOK
            if look:
                self._unseen = 0
        if look:
            self._make_room()
        return True

    def size(self) -> int:
        """Bytes on disk, heads included."""
        return sum(size for _, size, _ in self._entries())

    def _path(self, key: str) -> Path:
        _key_bytes(key)
        return self._folder / key[:2] / key

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(time of last use in ns, bytes, file) of every entry; files of processes that died are removed."""
        entries = []
        for folder in _listed(self._folder):
            for file in _listed(Path(folder.path)) if folder.is_dir(follow_symlinks=False) else []:
                try:
                    state = file.stat(follow_symlinks=False)
                    if not file.name.startswith(UNFINISHED):
                        entries.append((state.st_mtime_ns, state.st_size, Path(file.path)))
                    elif time.time() - state.st_mtime > STALE:
                        Path(file.path).unlink()
                except OSError:  # another process was quicker
                    continue
        return entries

    def _make_room(self) -> None:
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        if total <= self._capacity * (1 - LOOK):  # room for what is written before the next look
            return
        for _, size, path in sorted(entries):
            if total <= self._capacity * KEPT:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _key_bytes(key: str) -> bytes:
    if len(key) != 64 or set(key) - set("0123456789abcdef"):
        raise ValueError(f"a key is 64 lower-case hexadecimal digits, not {key[:80]!r}")
    return bytes.fromhex(key)


def _entry(key: str, payload: bytes) -> bytes:
    checked = HEAD.pack(MAGIC, 0, len(payload), _key_bytes(key))[8:] + payload
    return MAGIC + struct.pack("<I", google_crc32c.value(checked)) + checked


def _payload_of(entry: bytes, key: str) -> bytes | None:
    if len(entry) < HEAD.size:
        return None
    magic, checksum, length, written_key = HEAD.unpack_from(entry)
    if magic != MAGIC or written_key != _key_bytes(key) or length != len(entry) - HEAD.size:
        return None
    return entry[HEAD.size :] if google_crc32c.value(entry[8:]) == checksum else None


def _write_whole(path: Path, entry: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(entry)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
