"""The client in an editor: calls run in threads, and what they tell arrives on the editor's own tick.

service = Background(Client("127.0.0.1:50051"))

def restyle(client, tell):                      # in a thread
    job = client.restyle("chair.glb", "bricks/", size=2048)
    client.wait(job.id, lambda progress: tell(progress.fraction))
    return client.fetch(job.id, "out/chair")

future = service.start(restyle, heard=show_progress, done=lambda future: import_files(future.result()))

unreal.register_slate_post_tick_callback(lambda seconds: service.poll())         # Unreal
bpy.app.timers.register(lambda: service.poll() or 0.1)                           # Blender
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from plugin_bridge.client import Client

Answer = TypeVar("Answer")


class Background:
    """Runs work with a client beside the caller's thread. `poll` is to be called on the thread that may touch the
    editor; the functions given to `start` are called there, and nowhere else."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._due: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def start(
        self,
        work: Callable[[Client, Callable[..., None]], Answer],
        heard: Callable[..., object] = lambda *_: None,
        done: Callable[[Future[Answer]], object] = lambda _: None,
    ) -> Future[Answer]:
        """Run work(client, tell) in a thread. What it passes to `tell` is passed to `heard`; `done` gets the future
        that is returned here, which has the work's result or error."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()

        def tell(*news: Any) -> None:
            self._due.put(lambda: heard(*news))

        def run() -> None:
            try:
                result = work(self._client, tell)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            self._due.put(lambda: done(future))

        # a daemon: an editor that is closed does not wait for a job of an hour, which goes on without it
        threading.Thread(target=run, name="texsynth", daemon=True).start()
        return future

    def poll(self) -> None:
        """Call what is due; returns at once when there is nothing."""
        for _ in range(self._due.qsize()):  # not what comes meanwhile: a tick has an end
            self._due.get()()

    def close(self) -> None:
        """Close the connection: work that is under way ends with an error. Jobs go on."""
        self._client.close()
