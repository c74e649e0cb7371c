"""The one closed set of errors. A message is one line: what was wrong, in which input, what would be right."""

from __future__ import annotations

import errno
from enum import Enum
from pathlib import Path


class ErrorKind(Enum):
    """What went wrong, to be mapped once to exit statuses and once to gRPC status codes."""

    BAD_INPUT = "bad input"
    NO_SPACE = "no space"
    NO_DEVICE = "no device"
    CORRUPT = "corrupt"
    CANCELLED = "cancelled"


EXIT_STATUS = {
    ErrorKind.BAD_INPUT: 2,
    ErrorKind.NO_SPACE: 3,
    ErrorKind.NO_DEVICE: 3,
    ErrorKind.CORRUPT: 4,
    ErrorKind.CANCELLED: 130,
}


class TexsynthError(Exception):
    """An error that the user can act on. `str(error)` is one line, without a traceback."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        line = " ".join(message.split())  # names come from files, and could hold what steers a terminal
        super().__init__("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line))
        self.kind = kind


def bad_input(where: Path | str, what: str, right: str) -> TexsynthError:
    """BAD_INPUT as `where: what; right`."""
    return TexsynthError(ErrorKind.BAD_INPUT, f"{where}: {what}; {right}")


def from_os_error(error: OSError, path: Path | str) -> TexsynthError:
    """Name an operating-system failure on `path`: a full disk or quota is NO_SPACE, everything else BAD_INPUT."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TexsynthError(
            ErrorKind.NO_SPACE, f"{path}: the disk is full; free some space and run the same command with --resume"
        )
    return bad_input(path, error.strerror or str(error), "check that the path exists and may be read or written")
