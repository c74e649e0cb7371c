"""Messages of chunks, put together from parts that viewers share: a chunk is copied once on its way to the line.

Protocol Buffers of the same bytes as the library's, which would copy every chunk from message to message. In their
encoding the fields of a message may stand one after the other in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from texsynth_rpc.v1 import streams_pb2


def _tag(message: type, field: str) -> bytes:
    """Of a field that has a length."""
    return bytes([message.DESCRIPTOR.fields_by_name[field].number << 3 | 2])  # type: ignore[attr-defined]


_CHUNK = _tag(streams_pb2.OpenResponse, "chunk")
_CHUNKS = _tag(streams_pb2.OpenResponse, "chunks")
_ONE = _tag(streams_pb2.StreamedChunks, "chunks")
_DATA = _tag(streams_pb2.StreamedChunk, "data")


@dataclass(frozen=True)
class Outgoing:
    """A serialised OpenResponse, and the bytes of the chunks in it."""

    message: bytes
    of_chunks: int = 0


class ChunkMessage:
    """An OpenResponse with one chunk, or with several."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._count = self._length = 0
        self.of_chunks = 0
        """Bytes of payloads so far."""

    def add(
        self, sequence: int, texture: int, head: bytes, payload: bytes | memoryview, complete: Sequence[int] = ()
    ) -> None:
        """A chunk. head: serialised fields of its StreamedChunk but for the other four."""
        own = streams_pb2.StreamedChunk(sequence=sequence, texture=texture, complete=complete).SerializeToString()
        size = varint(len(payload))
        length = len(own) + len(head) + len(_DATA) + len(size) + len(payload)
        of_chunk = varint(length)
        self._parts += (_ONE, of_chunk, own, head, _DATA, size, payload)
        self._count += 1
        self._length += len(_ONE) + len(of_chunk) + length
        self.of_chunks += len(payload)

    def finish(self) -> Outgoing:
        """The whole of it."""
        if self._count == 1:
            parts: Sequence[bytes | memoryview] = (_CHUNK, *self._parts[1:])
        else:
            parts = (_CHUNKS, varint(self._length), *self._parts)
        return Outgoing(b"".join(parts), self.of_chunks)


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
