"""A TCP line on loopback that a test can break, for HTTP/2 without encryption."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # what a client says first, before its frames
HEADERS, END_STREAM = 1, 1  # the type of the frame that begins a request or an answer; the flag of an answer's last one


class Proxy:
    """Carries connections to `target` (HOST:PORT) over `address`, frame by frame.

    requests: those that were passed on to the server; answers: those of them that it has ended. from_server, to_client:
    bytes that came from the one and were passed on to the other. cuts: connections that were broken after their begin.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self.requests = self.answers = self.from_server = self.to_client = self.cuts = 0
        self._refused = self._lost_replies = 0
        self._offsets: list[int] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listening.close()
        self._break(*self._open)

    def refuse(self, connections: int) -> None:
        """Break the next ones as they begin, and those that are there now."""
        self._refused = connections
        self._break(*self._open)

    def lose_replies(self, count: int) -> None:
        """Break the connection after the server got the request and before its answer passes, so many times."""
        self._lost_replies = count

    def cut_at(self, offsets: list[int]) -> None:
        """Break the connection when so many bytes, from now on, have passed to the client; once each."""
        self._offsets = sorted(self.to_client + offset for offset in offsets)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self._refused:
                self._refused -= 1
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            for pump in (self._to_server, self._to_client):
                threading.Thread(target=self._carry, args=(pump, client, server), daemon=True).start()

    def _carry(self, pump: Callable[[socket.socket, socket.socket], None], *ends: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, EOFError):
            pump(*ends)
        self._break(*ends)

    def _break(self, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            self._open.discard(end)

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with client.makefile("rb") as source:
            server.sendall(_exactly(source, len(PREFACE)))
            while True:
                frame = _frame(source)
                self.requests += frame[3] == HEADERS
                server.sendall(frame)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with server.makefile("rb") as source:
            while True:
                frame = _frame(source)
                kind, flags = frame[3:5]
                with self._lock:
                    self.from_server += len(frame)
                    if kind == HEADERS and self._lost_replies:
                        self._lost_replies -= 1
                        self.cuts += 1
                        return
                    cut = self._offsets and self.to_client + len(frame) > self._offsets[0]
                    if cut:
                        frame = frame[: self._offsets.pop(0) - self.to_client]
                        self.cuts += 1
                    self.to_client += len(frame)
                client.sendall(frame)
                self.answers += kind == HEADERS and bool(flags & END_STREAM)
                if cut:
                    return


def _frame(source) -> bytes:  # type: ignore[no-untyped-def]
    """The next frame: 3 bytes of length, type, flags, 4 bytes of stream, then so many bytes (RFC 9113, section 4.1)."""
    head = _exactly(source, 9)
    return head + _exactly(source, int.from_bytes(head[:3], "big"))


def _exactly(source, count: int) -> bytes:  # type: ignore[no-untyped-def]
    data = source.read(count)
    if len(data) < count:
        raise EOFError
    return data
