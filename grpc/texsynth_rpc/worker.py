"""`python -m texsynth_rpc.worker`: one process that does one job after the other for the supervisor.

It stays warm between jobs: libraries are imported and kernels compiled once. A crash, a hang or the kernel's memory
killer takes the job along, not the service. Orders come as JSON lines on standard input, news go as JSON lines to what
was standard output; what libraries print goes to standard error. When the input ends, so does the process.

orders: {"job": folder} with work.bin and in/ inside; {"stop": true} ends the job within one step.
news: {"ready"}, {"progress", stage, fraction, remaining, preview}, {"done", metrics}, {"error", kind, message},
{"alive"}.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from texsynth.allocator import KeptMemory, keep_freed_memory
from texsynth.errors import TexsynthError
from texsynth.run import Progress, Run, write_atomically
from texsynth_rpc.lent_models import of_this_process, without_paths
from texsynth_rpc.v1 import jobs_pb2
from texsynth_rpc.work import BadWork, carry_out

HEARTBEAT = 2.0  # seconds between signs of life
PROGRESS = 0.25  # seconds between two reports of progress
IDLE = 10.0  # seconds without an order after which freed memory goes back to the kernel


class _Worker:
    def __init__(self) -> None:
        self._news = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._run = Run()  # the one that a stop is for
        self._orders: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        self._models = of_this_process()

    def main(self) -> None:
        keep_freed_memory()
        threading.Thread(target=self._beat, daemon=True).start()
        from texsynth.restyle import restyle  # the slow imports  # noqa: F401

        memory = KeptMemory()
        self._tell(ready=True)
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            with self._arrived:
                if not self._arrived.wait_for(lambda: self._orders, IDLE):
                    memory.give_back()
                    self._arrived.wait_for(lambda: self._orders)
                order = self._orders.pop(0)
            if order.get("end"):
                return
            self._do(Path(order["job"]), order["run"])
            memory.give_back_excess()

    def _listen(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if order.get("stop"):
                self._run.cancel()
                continue
            listener = self._listener(Path(order["job"]))
            self._run = order["run"] = Run(listener)  # now: a stop may follow before the job begins
            self._put(order)
        self._run.cancel()
        self._put({"end": True})

    def _put(self, order: dict[str, Any]) -> None:
        with self._arrived:
            self._orders.append(order)
            self._arrived.notify()

    def _listener(self, folder: Path) -> Callable[[Progress], None]:
        """Tells progress now and then, and the first preview always; of previews it keeps a copy, for the job removes
        its own at its end."""
        last, shown = 0.0, folder / "shown.png"

        def listen(progress: Progress) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PROGRESS or (progress.preview and not shown.exists()):
                last = now
                if progress.preview:
                    with contextlib.suppress(OSError):  # a full disk: the picture before it, or none
                        write_atomically(shown, progress.preview.read_bytes())
                self._tell(
                    progress=True, stage=progress.stage, fraction=progress.fraction,
                    remaining=progress.remaining_s or 0.0, preview=str(shown) if shown.exists() else "",
                )  # fmt: skip

        return listen

    def _do(self, folder: Path, run: Run) -> None:
        try:
            work = jobs_pb2.Work.FromString((folder / "work.bin").read_bytes())
            metrics = carry_out(work, folder / "in", folder / "out", run, self._models)
        except TexsynthError as error:
            self._tell(error=True, kind=error.kind.name.lower(), message=self._plain(str(error), folder))
        except BadWork as error:
            self._tell(error=True, kind="bad_input", message=self._plain(f"{error.field}: {error}", folder))
        except MemoryError:
            self._tell(error=True, kind="no_space", message="there is not enough memory; ask for a smaller size")
        except Exception as error:
            import traceback

            traceback.print_exc()
            name = type(error).__name__
            self._tell(error=True, kind="internal", message=f"{name}: a defect of texsynth; the server's log has more")
        else:
            self._tell(done=True, metrics=metrics)

    def _plain(self, message: str, folder: Path) -> str:
        """Without the server's paths."""
        return without_paths(message, self._models).replace(f"{folder / 'in'}/", "").replace(f"{folder}/", "")

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT)
            self._tell(alive=True)

    def _tell(self, **news: Any) -> None:
        with self._lock:
            try:
                self._news.write(json.dumps(news) + "\n")
            except OSError:  # the supervisor is gone
                os._exit(0)


if __name__ == "__main__":
    _Worker().main()
