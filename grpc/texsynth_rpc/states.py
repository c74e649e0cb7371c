"""The life of a job as a table: which state follows which, and on what. Knows neither disk nor network."""

from __future__ import annotations

from enum import Enum

MOST_ATTEMPTS = 3  # a job whose worker died so often is given up: it would take down every worker after it


class State(Enum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing happens any more unless someone tries again."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Event(Enum):
    """What can happen to a job."""

    BEGIN = "begin"  # a worker takes it
    FINISH = "finish"  # its files are published
    REFUSE = "refuse"  # it cannot be done: bad input, a full disk
    CRASH = "crash"  # its worker died or hung
    YIELD = "yield"  # it makes room for another, or the service stops
    CANCEL = "cancel"  # the client calls it off
    EXPIRE = "expire"  # its deadline has passed
    LOSE = "lose"  # a file that it needs or made is damaged or gone
    RETRY = "retry"  # the client wants it again


_NEXT: dict[tuple[State, Event], State] = {
    (State.QUEUED, Event.BEGIN): State.RUNNING,
    (State.QUEUED, Event.CANCEL): State.CANCELLED,
    (State.QUEUED, Event.REFUSE): State.FAILED,
    (State.QUEUED, Event.EXPIRE): State.FAILED,
    (State.QUEUED, Event.LOSE): State.FAILED,
    (State.RUNNING, Event.FINISH): State.SUCCEEDED,
    (State.RUNNING, Event.REFUSE): State.FAILED,
    (State.RUNNING, Event.YIELD): State.QUEUED,
    (State.RUNNING, Event.CANCEL): State.CANCELLED,
    (State.RUNNING, Event.EXPIRE): State.FAILED,
    (State.SUCCEEDED, Event.LOSE): State.FAILED,
    (State.FAILED, Event.RETRY): State.QUEUED,
    (State.CANCELLED, Event.RETRY): State.QUEUED,
}


def following(state: State, event: Event, attempts: int) -> State | None:
    """The state after `event`, or None if it does not apply. attempts: how often the job was begun since its submission
    or last retry."""
    if (state, event) == (State.RUNNING, Event.CRASH):
        return State.QUEUED if attempts < MOST_ATTEMPTS else State.FAILED
    return _NEXT.get((state, event))
