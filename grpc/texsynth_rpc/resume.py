"""The resume token of a stream: which chunks of which versions a client holds.

It is made from what is there, by the client or by the server for it, and read by the server when the client comes back.
It is UTF-8 JSON: `[[texture, version, chunks, bits], ...]`, where bits is base64 of one bit a chunk in the order of the
manifest, bit i in byte i // 8 at value 1 << i % 8, without the zero bytes at its end. It holds no secret and grants
nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

LONGEST = 1 << 20  # bytes of a token: seven million chunks


class StaleToken(Exception):
    """A token speaks of a version that is not the present one; nothing of it was used."""


@dataclass(frozen=True)
class Held:
    """What a client holds of one version of a texture. Raises ValueError for bits beyond its chunks."""

    texture: str
    version: int
    chunks: int
    """That the version has in all."""
    bits: bytes

    def __post_init__(self) -> None:
        if self.chunks < 1 or int.from_bytes(self.bits, "little") >> self.chunks:
            raise ValueError(f"the token has chunks of {self.texture!r:.80} beyond its {self.chunks}")

    def indices(self) -> Iterator[int]:
        """Of the chunks that are held, upwards."""
        for at, byte in enumerate(self.bits):
            yield from (8 * at + bit for bit in range(8) if byte >> bit & 1)


def held(texture: str, version: int, chunks: int, indices: Iterable[int]) -> Held:
    """Of chunks by index."""
    bits = bytearray((chunks + 7) // 8)
    for index in indices:
        bits[index // 8] |= 1 << index % 8
    return Held(texture, version, chunks, bytes(bits).rstrip(b"\0"))


def to_token(holdings: Iterable[Held]) -> bytes:
    """The same bytes for equal holdings, in whatever order they come."""
    words = sorted([h.texture, h.version, h.chunks, base64.b64encode(h.bits).decode()] for h in holdings)
    return json.dumps(words, separators=(",", ":"), ensure_ascii=False).encode()


def from_token(token: bytes) -> tuple[Held, ...]:
    """ValueError, in one line, for anything that `to_token` would not have written."""
    if len(token) > LONGEST:
        raise ValueError(f"the token has {len(token)} bytes; at most {LONGEST} are read")
    try:
        holdings = tuple(_held_from(words) for words in json.loads(token))
        canonical = to_token(holdings) == token
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the token is not a resume token: {str(error)[:120]}") from error
    if not canonical or len({h.texture for h in holdings}) != len(holdings):
        raise ValueError("the token is not a resume token: not as it was written")
    return holdings


def _held_from(words: Any) -> Held:
    texture, version, chunks, bits = words
    if not isinstance(texture, str) or type(version) is not int or type(chunks) is not int:
        raise ValueError("an entry is not [texture, version, chunks, bits]")
    decoded = base64.b64decode(bits, validate=True)
    if decoded.endswith(b"\0"):
        raise ValueError("zero bytes at the end of the bits")
    return Held(texture, version, chunks, decoded)
