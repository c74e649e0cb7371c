"""Who is ahead of the others, of late."""

from __future__ import annotations

import pytest
from texsynth_rpc import fairness
from texsynth_rpc.fairness import Shares


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(fairness, "time", found)
    return found


def test_one_alone_is_never_ahead_and_of_several_who_sent_more(clock: Clock) -> None:
    shares = Shares()
    one = shares.open()
    one.add(1000)
    assert not one.is_ahead
    other = shares.open()
    other.add(500)
    clock.now += 0.1
    assert one.is_ahead
    assert not other.is_ahead


def test_what_was_sent_long_ago_and_by_who_is_gone_or_silent_does_not_count(clock: Clock) -> None:
    shares = Shares()
    one, other, silent = shares.open(), shares.open(), shares.open()
    silent.add(1)
    one.add(10_000)
    clock.now += 10
    one.add(1000)
    other.add(990)
    clock.now += 0.1
    assert not one.is_ahead  # by 5 % at most is not ahead; the silent one would halve the mean
    shares.close(other)
    clock.now += 0.1
    one.add(1000)
    assert not one.is_ahead
