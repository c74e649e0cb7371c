"""The command line of texsynth in a process of its own, tied to the one that started it.

It is forked from a process that has loaded the libraries, which takes seconds, and has done nothing else. A pipe is the
tie. A byte asks for the end with a checkpoint, as Ctrl-C does. When it closes, the other process is gone and this one
goes at once: a bake or an actor that was killed leaves nobody behind who writes to the folder in which the next try
works already. Signals would not do, for Ray's workers block SIGINT and their children inherit that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from texsynth.cli import main

LOADED = ["texsynth.cli", "texsynth.tiles"]  # what commands load when they begin, and all that it loads


class Tethered:
    """`texsynth WORDS` in such a process, from outside. Raises OSError where none can be started.

    name: what `top` shows, of which Linux keeps 15 bytes. threads: of the process; None: as many as it likes. Libraries
    read it when they are loaded, so it is that of all later ones too.
    """

    def __init__(self, name: str, words: Sequence[str], threads: int | None) -> None:
        if threads is not None:
            os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(LOADED)
        tie, self._tie = context.Pipe(duplex=False)
        self._messages, messages = context.Pipe(duplex=False)
        given = name, list(words), dict(os.environ), tie, messages
        self._process = context.Process(target=_run, args=given, daemon=True)
        # Ctrl-C in a terminal reaches the process that loads the libraries, too: it never hears it. The tracker's start
        # would let it through again.
        resource_tracker.ensure_running()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with tie, messages:
                self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def messages(self) -> Iterator[str]:
        """Lines of its standard error, until it has ended."""
        with self._messages, open(self._messages.fileno(), errors="replace", closefd=False) as lines:
            yield from lines

    def stop(self) -> None:
        """Ask for the end with a checkpoint."""
        with suppress(BrokenPipeError):  # it has just ended
            os.write(self._tie.fileno(), b"\n")

    def wait(self) -> int:
        """Exit status; negative: the signal's number."""
        self._process.join()
        self._tie.close()
        assert self._process.exitcode is not None
        return self._process.exitcode


def _run(
    name: str, words: list[str], environment: dict[str, str], tie: Connection[Any, Any], messages: Connection[Any, Any]
) -> None:
    os.setsid()  # nobody's keys are meant for it
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(messages.fileno(), 2)
    messages.close()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["texsynth", *words]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # drops one that came before it had a session of its own
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_listen, args=(tie.fileno(),), daemon=True).start()
    sys.exit(main(words))


def _listen(tie: int) -> None:
    while os.read(tie, 1):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGKILL)
