"""Files that are either complete under their name or not there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path
from typing import cast


@contextmanager
def atomic_file(path: Path) -> Iterator[BufferedRandom]:
    """A binary file open for writing and reading, which takes the name `path` when the block ends without an error.

    It is made durable (fsync) before it is renamed. On any error it is removed, and what `path` was before stays.
    Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}.{os.getpid()}.tmp")
    file = cast(BufferedRandom, temporary.open("w+b", buffering=1 << 18))
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        with suppress(OSError):  # close writes what is buffered, which fails again on a full disk
            file.close()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable, where the file system can. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse it for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
