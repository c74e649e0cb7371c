"""When a call is made again, and after how long: for both clients, which do the waiting."""

from __future__ import annotations

import random
import time

import grpc
from plugin_bridge.errors import ServiceError

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds before a call is repeated; twice as long each time
LATER = 0.1  # share by which clients that were told the same time come later, so that they do not come together


class Retries:
    """One call's tries: made again where the line was lost (UNAVAILABLE), for `patience` seconds since it last gave
    something. for_room: also where the service has no room yet (RESOURCE_EXHAUSTED) and says when it will.

    Only for calls that may be carried out twice.
    """

    def __init__(self, patience: float, *, for_room: bool = False) -> None:
        self._patience, self._for_room = patience, for_room
        self.reset()

    def reset(self) -> None:
        """The call has given something: all its patience is there again."""
        self._until, self._next = time.monotonic() + self._patience, FIRST_PAUSE

    def pause(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next try: as long as the service said, else at random and longer each time.

        Raises ServiceError for an error that another try would not mend, or not in time.
        """
        refused = ServiceError(error)
        told = refused.retry_seconds
        if told:
            pause = told * random.uniform(1, 1 + LATER)
        else:
            pause = self._next * random.uniform(0.5, 1)
            self._next = min(2 * self._next, LONGEST_PAUSE)
        mendable = refused.code is grpc.StatusCode.UNAVAILABLE or (
            self._for_room and told > 0 and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        )
        if not mendable or time.monotonic() + pause > self._until:
            raise refused from None
        return pause
