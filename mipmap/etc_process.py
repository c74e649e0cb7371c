"""ETC2 and EAC blocks from processes of their own: etcpak keeps the interpreter lock, so threads cannot share it.

A process reads jobs from its standard input and writes blocks to its standard output until the former is closed, which
the end of the caller, however it comes, does too. It imports nothing but etcpak and is ready after some 30 ms.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

import etcpak

_JOB = struct.Struct("<32sIII")  # name of etcpak's function, width, height, bytes of RGBA
_REPLY = struct.Struct("<I")  # bytes of blocks
_PROGRAM = f"""
import sys
sys.path[:0] = [sys.argv[1]]
import struct, etcpak
job, reply, read = struct.Struct({_JOB.format!r}), struct.Struct({_REPLY.format!r}), sys.stdin.buffer.read
while header := read(job.size):
    name, width, height, size = job.unpack(header)
    blocks = getattr(etcpak, name.rstrip(b"\\0").decode())(read(size), width, height)
    sys.stdout.buffer.write(reply.pack(len(blocks)) + blocks)
    sys.stdout.buffer.flush()
"""

_idle: deque[subprocess.Popen[bytes]] = deque()  # taking and putting back are atomic


def available() -> bool:
    """Whether `sys.executable` is an interpreter that can be started again; inside an editor it is the editor."""
    return Path(sys.executable or "").stem.lower().startswith(("python", "pypy"))


def compress(function: str, rgba: bytes, width: int, height: int) -> bytes:
    """`etcpak.<function>(rgba, width, height)`, in an idle process or in a new one. Raises OSError if it dies."""
    try:
        process = _idle.pop()
    except IndexError:
        folder = str(Path(etcpak.__file__).parent)
        folder = str(Path(folder).parent) if Path(etcpak.__file__).stem == "__init__" else folder
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    try:
        assert process.stdin is not None and process.stdout is not None  # for they are pipes
        process.stdin.write(_JOB.pack(function.encode(), width, height, len(rgba)))
        process.stdin.write(rgba)
        process.stdin.flush()
        header = process.stdout.read(_REPLY.size)
        blocks = process.stdout.read(_REPLY.unpack(header)[0]) if len(header) == _REPLY.size else b""
        if not blocks:
            raise OSError(f"the process that compresses ETC2 ended (status {process.wait()})")
    except BaseException:
        _end(process)
        raise
    _idle.append(process)
    return blocks


def close_idle() -> None:
    """End the processes that nobody is using."""
    while _idle:
        try:
            _end(_idle.pop())
        except IndexError:  # another thread took the last one
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):  # what was still to be written
            pipe.close()
