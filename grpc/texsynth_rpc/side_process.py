"""Long calculations in a process of their own, so that streams and calls wait neither for its interpreter nor for it.

    python -m texsynth_rpc.side_process DESCRIPTOR

is that process: it takes (number, function, arguments), pickled, from the connection with that descriptor, does several
at once in threads, and answers (number, whether it went well, result or error). It ends when the connection does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from texsynth_rpc.worker_process import environment_for

log = logging.getLogger(__name__)

Result = TypeVar("Result")

NICE = 5  # added to that of the process: streams and calls go before it
ATTEMPTS = 3  # at something during which the process died, which may have been due to something else


class SideProcess:
    """Such a process from outside: started when there is something to do, and anew where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._waiting: dict[int, Future[Any]] = {}
        self._numbers, self._lock, self._stopped = count(), threading.Lock(), False
        self._rested = -math.inf

    async def do(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """`work(*arguments)` there, a function of a module and what can be pickled. Raises what it raises; OSError
        where the process died each time."""
        for _ in range(ATTEMPTS):
            future: Future[Result] = await asyncio.to_thread(self._ask, work, arguments)
            try:
                return await asyncio.wrap_future(future)
            except Died:
                log.warning("the process that calculates beside the service died; it is started anew")
        raise OSError(f"the process that does {work.__name__} died {ATTEMPTS} times; is memory short?")

    def rest(self, seconds: float) -> None:
        """Let what it does stand still, on the running loop; at most half of the time: told again sooner than
        2 * `seconds` after it was told, it goes on. A lower priority is not enough where what runs on one thread of a
        core slows the other."""
        now = time.monotonic()
        if now - self._rested > 2 * seconds and self._signal(signal.SIGSTOP):
            self._rested = now
            asyncio.get_running_loop().call_later(seconds, self._signal, signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.send_signal(number)
        return True

    def stop(self) -> None:
        """Ends the process; who waits for it is told that it died, and it is not started anew."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def _ask(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        future: Future[Any] = Future()
        number = next(self._numbers)
        question = pickle.dumps((number, work, arguments))
        with self._lock:
            if self._stopped:
                raise OSError("the service stops")
            if self._connection is None:
                self._connection = self._start()
            self._waiting[number] = future
            with contextlib.suppress(OSError):  # it has died: who listens to it says so
                self._connection.send_bytes(question)
        return future

    def _start(self) -> Connection[Any, Any]:
        ours, theirs = Pipe()
        with theirs:
            # a group in the session of the service: if the service dies while it rests, it is woken, and ends
            self._process = subprocess.Popen(
                [sys.executable, "-m", "texsynth_rpc.side_process", str(theirs.fileno())], stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()], env=environment_for({}), process_group=0,
            )  # fmt: skip
        threading.Thread(target=self._listen, args=(ours, self._process), name="beside", daemon=True).start()
        return ours

    def _listen(self, connection: Connection[Any, Any], process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, went_well, result = connection.recv()
                with self._lock:
                    future = self._waiting.pop(number)
                if future.set_running_or_notify_cancel():  # else nobody waits for it any more
                    future.set_result(result) if went_well else future.set_exception(result)
        process.wait()
        with self._lock:
            self._connection, waiting = None, list(self._waiting.values())
            self._waiting.clear()
        connection.close()
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(Died())


class Died(Exception):
    """The process has ended before it answered."""


def main(descriptor: int) -> None:
    """Answers until the other end is closed."""
    os.nice(NICE)
    connection: Connection[Any, Any] = Connection(descriptor)
    lock, pool = threading.Lock(), ThreadPoolExecutor()

    def answer(number: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            data = pickle.dumps((number, True, work(*arguments)))
        except Exception as error:
            data = pickle.dumps((number, False, _portable(error)))
        with lock, contextlib.suppress(OSError):
            connection.send_bytes(data)

    with contextlib.suppress(EOFError, OSError):
        while True:
            pool.submit(answer, *connection.recv())
    os._exit(0)  # whatever is in work: nobody waits for it


def _portable(error: Exception) -> Exception:
    """With its trace as a note; a RuntimeError for one that cannot be sent."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
