"""`Canvas`: one map as a raw file on disk, read and written in row bands or windows.

Texels go through pread and pwrite, never through a mapping: the pages of a mapping count into resident memory, the page
cache does not. So a map of 8192 x 8192 texels costs the process the band or window it holds and nothing else.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth.errors import ErrorKind, TexsynthError, from_os_error
from texsynth.material import MapKind

Texels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Canvas:
    """A map of `height` x `width` texels of `channels` values (uint8 or uint16, as encoded) in the file at `path`.

    The file holds rows from the top, channels interleaved, in the machine's byte order, without a header. Threads and
    processes may read and write at the same time as long as their rows or windows are disjoint. A resumed run makes the
    same object again and calls `check`.
    """

    path: Path
    kind: MapKind
    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.channels) < 1:
            raise ValueError(f"{self.path}: {self.height} x {self.width} x {self.channels} must all be at least 1")
        if self.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
            raise ValueError(f"{self.path}: texels are {self.dtype}; a canvas holds uint8 or uint16")

    @classmethod
    def create(cls, path: Path, kind: MapKind, height: int, width: int, channels: int, dtype: Any = np.uint8) -> Canvas:
        """A canvas of zeros in a new file at `path`, replacing what was there, with its disk space reserved.

        Space is reserved now so that a full disk shows at the start of a run and not at its end.
        Raises TexsynthError: NO_SPACE when the disk cannot hold the file, BAD_INPUT when `path` cannot be written.
        No file is left behind then.
        """
        canvas = cls(path, kind, height, width, channels, np.dtype(dtype))
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise from_os_error(error, path) from error
        try:
            # Asked for first because posix_fallocate, on file systems without the call, fills the disk to find out.
            if shutil.disk_usage(path.parent).free < canvas.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.posix_fallocate(descriptor, 0, canvas.nbytes)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise from_os_error(error, path) from error
        finally:
            os.close(descriptor)
        return canvas

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels): a canvas is a source of rows for `mipmap.material_chain`."""
        return self.height, self.width, self.channels

    def __getitem__(self, rows: slice, /) -> Texels:
        first, end, step = rows.indices(self.height)
        if step != 1:
            raise ValueError(f"{self.path}: rows of a canvas are read without gaps, not by {step}")
        return self.read_rows(first, max(first, end))

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        return self.height * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return self.width * self.channels * self.dtype.itemsize

    def check(self) -> None:
        """Raise TexsynthError(CORRUPT) unless the file is there with the size that this canvas must have."""
        try:
            found = self.path.stat().st_size
        except OSError as error:
            raise from_os_error(error, self.path) from error
        if found != self.nbytes:
            raise self._corrupt(f"it has {found} bytes")

    def read_rows(self, y0: int, y1: int) -> Texels:
        """Rows y0 <= y < y1 as a new (y1 - y0, width, channels) array."""
        return self.read_window(y0, 0, y1 - y0, self.width)

    def write_rows(self, y0: int, rows: Texels) -> None:
        """Write `rows`, (h, width, channels) of the canvas's dtype, from row y0 on."""
        self._check_window(y0, 0, *rows.shape[:2])
        if rows.shape[1] != self.width:
            raise ValueError(f"{self.path}: rows of {rows.shape[1]} texels on a canvas {self.width} wide")
        self.write_window(y0, 0, rows)

    def read_window(self, y0: int, x0: int, height: int, width: int) -> Texels:
        """The texels of `height` rows from y0 and `width` columns from x0 as a new (height, width, channels) array.

        Raises ValueError outside the canvas; TexsynthError(CORRUPT) when the file is shorter than it must be, and
        BAD_INPUT when it cannot be read.
        """
        self._check_window(y0, x0, height, width)
        texels = np.empty((height, width, self.channels), self.dtype)
        self._transfer(texels, y0, x0, write=False)
        return texels

    def write_window(self, y0: int, x0: int, texels: Texels) -> None:
        """Write `texels`, (h, w, channels) of the canvas's dtype, with its top left texel at row y0, column x0.

        Raises ValueError for another shape or dtype or outside the canvas; TexsynthError as `from_os_error` has it.
        """
        if texels.ndim != 3 or texels.shape[2] != self.channels or texels.dtype != self.dtype:
            raise ValueError(
                f"{self.path}: got {texels.shape} {texels.dtype}; expected (h, w, {self.channels}) {self.dtype}"
            )
        self._check_window(y0, x0, *texels.shape[:2])
        self._transfer(np.ascontiguousarray(texels), y0, x0, write=True)

    def sync(self) -> None:
        """Make everything written so far durable (fsync). Raises TexsynthError as `from_os_error` has it."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise from_os_error(error, self.path) from error

    def _check_window(self, y0: int, x0: int, height: int, width: int) -> None:
        if min(y0, x0, height, width) < 0 or y0 + height > self.height or x0 + width > self.width:
            raise ValueError(
                f"{self.path}: rows {y0}..{y0 + height}, columns {x0}..{x0 + width} "
                f"leave the canvas of {self.height} x {self.width}"
            )

    def _transfer(self, texels: NDArray[Any], y0: int, x0: int, *, write: bool) -> None:
        """Move contiguous `texels` from or to the file: in one run for whole rows, row by row for a narrower window."""
        if texels.size == 0:
            return
        whole_rows = texels.shape[1] == self.width
        parts = texels.reshape(1 if whole_rows else texels.shape[0], -1).view(np.uint8)
        start = y0 * self._row_bytes + x0 * self.channels * self.dtype.itemsize
        try:
            descriptor = os.open(self.path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
            try:
                for i, part in enumerate(parts):
                    self._transfer_run(descriptor, part.data, start + i * self._row_bytes, write=write)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise from_os_error(error, self.path) from error

    def _transfer_run(self, descriptor: int, part: memoryview, offset: int, *, write: bool) -> None:
        done = 0
        while done < len(part):  # one call moves at most 2 GiB, and less when a signal comes in between
            move = os.pwritev if write else os.preadv
            moved = move(descriptor, [part[done:]], offset + done)
            if moved == 0:
                raise self._corrupt(f"it ends at byte {offset + done}")
            done += moved

    def _corrupt(self, what: str) -> TexsynthError:
        return TexsynthError(
            ErrorKind.CORRUPT, f"{self.path}: {what}; it must have {self.nbytes}; delete it and run without --resume"
        )
