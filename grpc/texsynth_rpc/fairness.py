"""Streams that are ahead of others let these go first: none of many starves where the processor is the limit."""

from __future__ import annotations

import math
import time

MEMORY = 2.0  # seconds in which what was sent counts less by a factor of e
AHEAD = 1.05  # times the mean


class Share:
    """Of one stream in what all send."""

    def __init__(self, among: Shares) -> None:
        self._among, self.sent, self.at = among, 0.0, time.monotonic()

    def add(self, length: int) -> None:
        """So many bytes were sent."""
        now = time.monotonic()
        self.sent = self.sent * math.exp((self.at - now) / MEMORY) + length
        self.at = now

    @property
    def is_ahead(self) -> bool:
        """Whether it has sent more of late than the mean of those that send."""
        return self.sent > AHEAD * self._among.mean()


class Shares:
    """Of all streams."""

    def __init__(self) -> None:
        self._all: set[Share] = set()
        self._mean, self._until = 0.0, -math.inf

    def open(self) -> Share:
        """Of another stream."""
        self._all.add(share := Share(self))
        return share

    def close(self, share: Share) -> None:
        """It has ended."""
        self._all.discard(share)

    def mean(self) -> float:
        """Bytes that a stream has sent of late, of those that do; a little old."""
        now = time.monotonic()
        if now > self._until:
            sending = [share.sent for share in self._all if now - share.at < MEMORY / 4]
            self._mean, self._until = (sum(sending) / len(sending) if sending else 0.0), now + 0.02
        return self._mean
