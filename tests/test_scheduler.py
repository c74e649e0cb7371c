"""The order of chunks: what always holds, whatever a client does, and what it gains over simpler orders."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texsynth_rpc.chunk_plan import Plan
from texsynth_rpc.feedback import Row, tables
from texsynth_rpc.lazy_heap import LazyHeap
from texsynth_rpc.priorities import (
    COARSE_FIRST,
    ENTROPY,
    HALVES_AT,
    OURS,
    RASTER,
    VIEW,
    Piece,
    Policy,
    falloff,
    pieces_of,
)
from texsynth_rpc.resume import Held, StaleToken, from_token, held, to_token
from texsynth_rpc.scheduler import (
    Acknowledged,
    Added,
    Budgeted,
    Event,
    Evict,
    Forget,
    Gazed,
    Granted,
    Grown,
    LevelComplete,
    Message,
    NewVersion,
    Removed,
    Resumed,
    Rules,
    Scheduler,
    Selected,
    Send,
    Viewed,
)

from mipmap.chain import box_chain
from mipmap.chunks import ChunkEncoder, chunk_levels, layout, level_sides, manifest_of

PLENTY = 1 << 50
SIDE = 16

Place = tuple[int, int, int]


def place_of(piece: Piece) -> Place:
    return piece.level, piece.row, piece.column


def pieces(height: int, width: int, seed: int = 0, *, largest: int = 100, block: int = SIDE) -> tuple[Piece, ...]:
    """A texture in chunks of 16 texels, at coarse levels down to a block's, of random length, memory and error; some
    errors are 0."""
    draw, sides = np.random.default_rng(seed), level_sides(height, width, SIDE, block)
    return tuple(
        Piece(
            level=place.level,
            row=place.y // sides[place.level],
            column=place.x // sides[place.level],
            side=sides[place.level],
            byte_length=int(draw.integers(1, largest + 1)),
            memory=int(draw.integers(1, largest + 1)),
            texels=place.texels,
            error=float(draw.choice([0.0, 0.25, 1.0]) * draw.random()),
            entropy=float(draw.random()),
            content=f"{seed} {number}",
        )
        for number, place in enumerate(layout(height, width, SIDE, block))
    )


def viewed(rows: Iterable[Row]) -> Viewed:
    return Viewed(tables(rows))


def edited(old: tuple[Piece, ...], keep: Callable[[Piece], bool], edit: int) -> tuple[Piece, ...]:
    return tuple(p if keep(p) else replace(p, content=f"{p.content} {edit}") for p in old)


def outlined(some: tuple[Piece, ...], ready: int) -> Plan:
    """The texture while only the first `ready` of its pieces are encoded."""
    unknown = {"byte_length": 1, "error": 0.0, "entropy": 0.0, "content": ""}
    return Plan("", [*some[:ready], *(replace(piece, **unknown) for piece in some[ready:])], ready)


class Client:
    """Does what it is told, and notes what it must never be told. begins: share of a new version that is ready."""

    def __init__(self, rules: Rules, begins: float = 1.0) -> None:
        self.scheduler = Scheduler(rules)
        self.begins = begins
        self.ready: dict[str, int] = {}
        self.rules = rules
        self.pieces: dict[str, dict[Place, Piece]] = {}  # of the versions that the scheduler was told
        self.told: dict[str, int] = {}
        self.version: dict[str, int] = {}  # as the client heard
        self.holds: dict[str, dict[Place, Piece]] = {}
        self.budget: int | None = None
        self.granted = self.received = 0
        self.unacknowledged: list[Send] = []
        self.sent: list[Send] = []
        self.evicted: list[Evict] = []

    def tell(self, event: Event) -> None:
        self.scheduler.receive(event)
        match event:
            case Added(texture, version, some):
                self.pieces[texture] = {place_of(piece): piece for piece in some}
                self.told[texture] = version
                self.ready[texture] = Plan.of(texture, some).ready
            case Removed(texture):
                del self.pieces[texture], self.told[texture]
            case Grown(texture, _, some):
                self.ready[texture] = some.ready
            case Budgeted(memory):
                self.budget = memory
            case Granted(count):
                self.granted += count
            case Acknowledged(sequence):
                self.unacknowledged = [send for send in self.unacknowledged if send.sequence > sequence]

    def add(self, texture: str, version: int, some: tuple[Piece, ...]) -> None:
        """A version that is still being encoded."""
        self.tell(Added(texture, version, outlined(some, round(self.begins * len(some)))))
        self.pieces[texture] = {place_of(piece): piece for piece in some}

    def grow(self, texture: str, count: int) -> None:
        """So many more chunks of it have been encoded."""
        some = tuple(self.pieces[texture].values())
        ready = min(len(some), self.ready[texture] + count)
        self.tell(Grown(texture, self.told[texture], outlined(some, ready)))

    def hear(self) -> Message | None:
        message = self.scheduler.next_message()
        match message:
            case NewVersion(texture, version, kept):
                assert version == self.told[texture] > self.version.get(texture, 0)
                old, places = self.holds.get(texture, {}), list(self.pieces[texture])
                self.version[texture] = version
                self.holds[texture] = {places[index]: self.pieces[texture][places[index]] for index in kept}
                assert all(old[place].content == piece.content for place, piece in self.holds[texture].items())
            case Send(sequence, texture, version, piece, index, whole):
                assert sequence == len(self.sent) + 1
                assert index < self.ready[texture], "not encoded yet"
                assert version == self.told[texture] == self.version[texture], "a superseded version"
                assert self.pieces[texture][place_of(piece)] is piece
                assert place_of(piece) not in self.holds[texture], "sent twice"
                self.sent.append(message)
                self.unacknowledged.append(message)
                self.received += piece.byte_length
                self.holds[texture][place_of(piece)] = piece
                parent = self.parent(texture, piece)
                assert parent is None or parent in self.holds[texture], "finer before coarser"
                assert self.budget is None or self.memory <= self.budget
                assert sum(send.piece.byte_length for send in self.unacknowledged) <= self.rules.window
                assert self.received <= self.granted
                for level in whole:
                    self.complete(texture, level)
            case Evict(texture, version, piece):
                assert version == self.version[texture]
                del self.holds[texture][place_of(piece)]
                self.evicted.append(message)
            case LevelComplete(texture, version, level):
                assert version == self.version[texture]
                self.complete(texture, level)
            case Forget(texture):
                self.holds.pop(texture, None)
        return message

    def complete(self, texture: str, level: int) -> None:
        assert {place for place in self.pieces[texture] if place[0] >= level} <= self.holds[texture].keys()

    def parent(self, texture: str, piece: Piece) -> Place | None:
        level = piece.level + 1
        above = [(row, column) for at, row, column in self.pieces[texture] if at == level]
        if not above:
            return None
        rows, columns = map(max, zip(*above, strict=True))
        wide = 2 * self.pieces[texture][level, 0, 0].side // piece.side
        return level, min(piece.row // wide, rows), min(piece.column // wide, columns)

    @property
    def memory(self) -> int:
        return sum(piece.memory for some in self.holds.values() for piece in some.values())

    def listen(self, at_most: int = 1 << 30) -> list[Message]:
        messages = []
        while len(messages) < at_most and (message := self.hear()):
            messages.append(message)
        return messages

    def take_all(self) -> list[Send]:
        """Whatever the scheduler still has, with every chunk acknowledged at once."""
        before = len(self.sent)
        self.tell(Granted(PLENTY))
        self.tell(Acknowledged(len(self.sent)))
        while self.listen():
            self.tell(Acknowledged(len(self.sent)))
        return self.sent[before:]


def client(rules: Rules | None = None, *textures: tuple[Piece, ...]) -> Client:
    """With textures "a", "b", ..., unlimited credit and nothing in view."""
    made = Client(rules or Rules(window=PLENTY))
    for name, some in zip("abcdefgh", textures, strict=False):
        made.tell(Added(name, 1, some))
    made.tell(Granted(PLENTY))
    return made


rows = st.builds(
    Row,
    texture=st.sampled_from("abx"),
    level=st.integers(0, 5),
    row=st.integers(0, 6),
    column=st.integers(0, 6),
    pixels=st.integers(0, 1000),
    x=st.integers(-30, 30).map(float),
    y=st.integers(-30, 30).map(float),
)
views = st.lists(rows, max_size=6).map(viewed)
gazes = st.one_of(st.none(), st.tuples(st.integers(-30, 30), st.integers(-30, 30))).map(Gazed)
selections = st.frozensets(st.sampled_from("abx")).map(Selected)
budgets = st.one_of(st.none(), st.integers(0, 3000)).map(Budgeted)
harmless = st.one_of(views, gazes, selections, st.integers(0, 20_000).map(Granted))
edits = st.tuples(st.just("edit"), st.sampled_from("ab"), st.integers(0, 3))
listens = st.tuples(st.just("listen"), st.integers(1, 40))
acknowledgements = st.tuples(st.just("acknowledge"), st.integers(0, 10))
steps = st.lists(st.one_of(harmless, budgets, edits, listens, listens, acknowledgements), max_size=25)
policies = st.sampled_from([OURS, RASTER, COARSE_FIRST, ENTROPY, VIEW])
sides = st.integers(1, 100)
windows = st.integers(100, 3000)


def do(client: Client, step: Any) -> None:
    match step:
        case ("edit", texture, keep):
            old = tuple(client.pieces[texture].values())
            version = client.told[texture] + 1
            new = edited(old, lambda piece: (piece.row + piece.column + piece.level) % 4 < keep, version)
            client.add(texture, version, new)
        case ("grow", texture, count):
            client.grow(texture, count)
        case ("listen", count):
            client.listen(count)
        case ("acknowledge", back):
            client.tell(Acknowledged(max(0, len(client.sent) - back)))
        case _:
            client.tell(step)
    check(client)


def check(client: Client) -> None:
    assert client.scheduler.in_flight == sum(send.piece.byte_length for send in client.unacknowledged)


@settings(max_examples=150, deadline=None)
@given(sides, sides, sides, st.sampled_from([1, 4, SIDE]), policies, windows, steps)
def test_whatever_happens_the_rules_of_the_stream_hold_and_in_the_end_all_is_there(
    height: int, width: int, other: int, block: int, policy: Policy, window: int, steps: list[Any]
) -> None:
    made = Client(Rules(policy, window))
    made.tell(Added("a", 1, pieces(height, width, 1, block=block)))
    made.tell(Added("b", 1, pieces(other, other, 2)))
    for step in steps:
        do(made, step)
    made.listen()
    assert made.scheduler.memory == made.memory
    only_tails = all(len(some) <= 1 for some in made.holds.values())
    assert made.budget is None or made.memory <= made.budget or only_tails
    made.tell(Budgeted(None))
    made.take_all()
    assert made.holds == made.pieces
    assert made.scheduler.in_flight == 0


grows = st.tuples(st.just("grow"), st.sampled_from("ab"), st.integers(0, 30))


@settings(max_examples=100, deadline=None)
@given(
    sides, sides, policies, windows, st.sampled_from([0, 0.3, 1]),
    st.lists(st.one_of(harmless, budgets, edits, grows, grows, listens, listens, acknowledgements), max_size=25),
)  # fmt: skip
def test_of_textures_that_are_still_encoded_what_is_ready_goes_out_and_in_the_end_all(
    height: int, width: int, policy: Policy, window: int, begins: float, steps: list[Any]
) -> None:
    made = Client(Rules(policy, window), begins)
    made.add("a", 1, pieces(height, width, 1))
    made.add("b", 1, pieces(width, width, 2))
    for step in steps:
        do(made, step)
    made.tell(Budgeted(None))
    made.take_all()
    for texture, some in made.pieces.items():
        assert list(made.holds[texture]) != [] or made.ready[texture] == 0
        assert set(made.holds[texture]) == set(list(some)[: made.ready[texture]]), "all that is ready, and nothing else"
        made.grow(texture, len(some))
    made.take_all()
    assert made.holds == made.pieces


@settings(max_examples=60, deadline=None)
@given(steps, grows, windows)
def test_a_texture_that_has_grown_is_sent_as_one_that_was_whole_from_the_first(
    steps: list[Any], grow: Any, window: int
) -> None:
    whole, growing = Client(Rules(window=window, tolerance=0)), Client(Rules(window=window, tolerance=0))
    some = pieces(100, 70, 1)
    whole.tell(Added("a", 1, some))
    growing.tell(Added("a", 1, outlined(some, 0)))
    growing.pieces["a"] = dict(whole.pieces["a"])
    harmless = [step for step in steps if isinstance(step, Viewed | Gazed | Selected)]
    for one in (whole, growing):
        for step in harmless:
            do(one, step)
    growing.grow("a", grow[2])
    growing.grow("a", len(some))
    assert [send.index for send in growing.take_all()] == [send.index for send in whole.take_all()]


@pytest.mark.parametrize(
    ("version", "ready", "some"), [(2, 9, pieces(60, 60)), (1, 2, pieces(60, 60)), (1, 9, pieces(60, 40))]
)
def test_a_texture_never_grows_into_another_one_or_backwards(version: int, ready: int, some: tuple[Piece, ...]) -> None:
    made = Client(Rules(window=PLENTY))
    made.tell(Added("a", 1, outlined(pieces(60, 60), 4)))
    with pytest.raises(ValueError, match="4 chunks of 24 ready"):
        made.scheduler.receive(Grown("a", version, outlined(some, ready)))
    with pytest.raises(ValueError, match="it is gone"):
        made.scheduler.receive(Grown("b", 1, outlined(pieces(60, 60), 4)))


@settings(max_examples=60, deadline=None)
@given(sides, sides, policies, windows, st.lists(st.one_of(harmless, listens, acknowledgements)))
def test_every_chunk_is_sent_exactly_once_if_nothing_is_evicted(
    height: int, width: int, policy: Policy, window: int, steps: list[Any]
) -> None:
    made = Client(Rules(policy, window))
    made.tell(Added("a", 1, pieces(height, width)))
    for step in steps:
        do(made, step)
    made.take_all()
    assert sorted(place_of(send.piece) for send in made.sent) == sorted(made.pieces["a"])
    assert not made.evicted


@settings(max_examples=60, deadline=None)
@given(steps, windows)
def test_equal_events_give_equal_messages(steps: list[Any], window: int) -> None:
    made = [Client(Rules(window=window)) for _ in range(2)]
    for one in made:
        one.tell(Added("b", 1, pieces(70, 40, 1)))
        one.tell(Added("a", 1, pieces(40, 40, 2)))
        for step in steps:
            do(one, step)
        one.take_all()
    assert made[0].sent == made[1].sent
    assert made[0].evicted == made[1].evicted


@settings(max_examples=100, deadline=None)
@given(steps, windows, views, gazes, selections)
def test_after_any_history_it_goes_on_as_a_new_one_with_that_token_would(
    steps: list[Any], window: int, view: Event, gaze: Event, selection: Event
) -> None:
    rules = Rules(window=window, tolerance=0)
    old = Client(rules)
    old.tell(Added("a", 1, pieces(100, 70, 1)))
    old.tell(Added("b", 1, pieces(40, 40, 2)))
    for step in [*steps, gaze, view, selection, Budgeted(None)]:
        do(old, step)
    old.listen()
    old.tell(Acknowledged(len(old.sent)))
    new = Client(rules)
    for texture in old.pieces:
        new.tell(Added(texture, old.told[texture], tuple(old.pieces[texture].values())))
    for event in (selection, view, gaze):  # in another order
        new.tell(event)
    new.holds = {texture: dict(some) for texture, some in old.holds.items()}
    new.tell(Resumed(from_token(to_token(old.scheduler.holdings()))))
    kept = [message for message in new.listen() if isinstance(message, NewVersion)]
    assert {message.texture: len(message.kept) for message in kept} == {
        texture: len(some) for texture, some in old.holds.items()
    }
    assert new.holds == old.holds
    rest = [(send.texture, send.piece) for send in old.take_all()]
    assert rest == [(send.texture, send.piece) for send in new.take_all()]
    assert new.holds == old.holds == old.pieces


@settings(max_examples=60, deadline=None)
@given(st.lists(rows.filter(lambda row: row.texture != "x"), min_size=1, max_size=4), st.integers(1, 60))
def test_after_a_view_change_the_next_chunk_but_tails_is_of_the_new_view(new: list[Row], sent: int) -> None:
    made = client(None, pieces(200, 200, 1), pieces(200, 200, 2, block=2))
    made.tell(viewed((Row("a", 0, 3, 3, 500), Row("b", 0, 0, 0, 100))))
    made.listen(sent)
    view = tuple(replace(row, pixels=row.pixels + 1) for row in new)
    made.tell(viewed(view))
    wanted = {(row.texture, place) for row in view for place in way(made, row)}
    wanted |= {(texture, place_of(pieces(200, 200)[0])) for texture in "ab"}
    wanted -= {(texture, place) for texture, some in made.holds.items() for place in some}
    follow = [message for message in made.listen() if isinstance(message, Send)]
    assert {(send.texture, place_of(send.piece)) for send in follow[: len(wanted)]} == wanted


def way(client: Client, row: Row) -> Iterator[Place]:
    """The places from the mip tail to a row's, if there is one."""
    some = client.pieces[row.texture]
    top = max(place[0] for place in some)
    level = min(row.level, top)
    place: Place | None = (level, row.row, row.column) if level < top else (top, 0, 0)
    while place in some:
        yield place
        place = client.parent(row.texture, some[place])


def test_a_new_version_that_is_cut_into_other_chunks_keeps_none() -> None:
    made = client(None, pieces(128, 128, 1, block=4))
    made.take_all()
    other = zip(pieces(128, 128, 1), made.pieces["a"].values(), strict=False)
    made.tell(Added("a", 2, tuple(replace(piece, content=was.content) for piece, was in other)))
    assert made.listen()[0] == NewVersion("a", 2, ())


def test_the_tail_of_what_is_seen_goes_first_then_that_of_what_is_not_then_what_is_seen() -> None:
    made = client(None, pieces(64, 64, 1), pieces(64, 64, 2))
    made.tell(viewed((Row("b", 1, 0, 0, 100),)))
    order = [(send.texture, send.piece.level) for send in made.take_all()]
    assert order[:6] == [("b", 5), ("a", 5), ("b", 4), ("b", 3), ("b", 2), ("b", 1)]


def test_a_row_counts_for_all_coarser_chunks_in_its_place_and_for_no_finer_one() -> None:
    made = client(None, pieces(128, 128, 1))
    made.tell(viewed((Row("a", 1, 3, 2, 10),)))
    first = [place_of(send.piece) for send in made.take_all()[:6]]
    assert first == [(6, 0, 0), (5, 0, 0), (4, 0, 0), (3, 0, 0), (2, 1, 1), (1, 3, 2)]


def uniform(height: int, width: int, error: Callable[[Piece], float]) -> tuple[Piece, ...]:
    made = pieces(height, width)
    return tuple(replace(piece, byte_length=10, memory=10, error=error(piece)) for piece in made)


def test_a_flat_chunk_goes_early_when_much_detail_waits_behind_it() -> None:
    def error(piece: Piece) -> float:
        behind = piece.row >> (2 - piece.level) == 1 if piece.level < 2 else False
        return (1.0 if piece.level == 0 else 0.0) if behind else 0.1

    made = client(None, uniform(128, 16, error))
    finest = [Row("a", 0, row, 0, 100) for row in range(8)]
    made.tell(viewed(finest))
    order = [place_of(send.piece) for send in made.take_all()]
    assert order.index((1, 2, 0)) < order.index((1, 0, 0))
    assert order.index((0, 4, 0)) < order.index((0, 0, 0))


def test_what_is_looked_at_goes_first() -> None:
    made = client(None, uniform(128, 128, lambda _: 1.0))
    made.tell(viewed(tuple(Row("a", 0, 0, column, 100, x=10.0 * column) for column in range(8))))
    made.tell(Gazed((70.0, 0.0)))
    finest = [send.piece.column for send in made.take_all() if send.piece.level == 0 and send.piece.row == 0]
    assert finest[0] == 7
    assert finest[-1] == 0


def test_a_view_and_a_gaze_that_come_together_are_weighed_once() -> None:
    texture = uniform(128, 128, lambda _: 1.0)
    view = viewed(Row("a", 0, row, column, 100, x=10.0 * column) for row in range(8) for column in range(8))
    in_turn, together = client(None, texture), client(None, texture)
    in_turn.tell(view)
    assert in_turn.scheduler.waits is False  # which weighs
    in_turn.tell(Gazed((70.0, 0.0)))
    together.tell(view)
    together.tell(Gazed((70.0, 0.0)))
    assert together.take_all() == in_turn.take_all()
    assert together.scheduler.work < in_turn.scheduler.work


def test_the_falloff_is_one_at_the_gaze_and_a_quarter_where_the_smallest_angle_has_doubled() -> None:
    assert falloff(0) == 1
    assert falloff(HALVES_AT) == pytest.approx(0.25)


def test_a_selected_texture_goes_before_an_equal_one() -> None:
    some = uniform(64, 64, lambda _: 1.0)
    made = client(None, some, some)
    made.tell(viewed((Row("a", 0, 0, 0, 100), Row("b", 0, 0, 0, 100))))
    made.tell(Selected(frozenset("b")))
    assert [send.texture for send in made.take_all()[:5]] == ["b", "a", "b", "b", "b"]  # both tails before all


def test_a_chunk_that_is_slow_to_encode_waits_for_one_that_lies_ready() -> None:
    some = uniform(64, 64, lambda _: 1.0)
    slow = tuple(replace(piece, encode_seconds=0.01) if piece.level < 3 else piece for piece in some)
    made = client(None, slow, some)
    made.tell(viewed((Row("a", 0, 0, 0, 100), Row("b", 0, 0, 0, 100))))
    fine = [send.texture for send in made.take_all() if send.piece.level == 2]
    assert fine[0] == "b"


def test_a_chunk_that_does_not_fit_the_credit_is_not_overtaken_by_a_smaller_one() -> None:
    first, *rest = pieces(64, 64, 1)
    made = Client(Rules(window=1000))
    made.tell(Added("a", 1, (replace(first, byte_length=500), *rest)))
    made.tell(Added("b", 1, pieces(64, 64, 2)))
    made.tell(viewed((Row("a", 3, 0, 0, 10),)))
    made.tell(Granted(499))
    assert not [message for message in made.listen() if isinstance(message, Send)]
    made.tell(Granted(1))
    sends = [message for message in made.listen() if isinstance(message, Send)]
    assert [send.texture for send in sends] == ["a"]


def two_views() -> tuple[Client, Event, Event]:
    """Memory for the mip tail and the way to one chunk of the finest level, and two such chunks to look at."""
    made = client(None, uniform(64, 64, lambda _: 1.0))
    made.tell(Budgeted(60))
    return made, viewed((Row("a", 0, 0, 0, 100),)), viewed((Row("a", 0, 0, 1, 100),))


def test_what_is_out_of_view_makes_room_for_what_comes_into_view() -> None:
    made, here, there = two_views()
    made.tell(here)
    made.listen()
    made.tell(there)
    changes = [(type(m), place_of(m.piece)) for m in made.listen() if isinstance(m, Send | Evict)]
    assert changes == [(Evict, (0, 0, 0)), (Send, (0, 0, 1))]


def test_a_view_that_flickers_between_almost_equal_chunks_evicts_nothing() -> None:
    made, here, _ = two_views()
    made.tell(here)
    made.listen()
    for flicker in range(20):
        pixels = (100, 190) if flicker % 2 else (190, 100)
        made.tell(viewed((Row("a", 0, 0, 0, pixels[0]), Row("a", 0, 0, 1, pixels[1]))))
        assert not made.listen()


def test_what_was_out_of_view_the_longest_goes_first() -> None:
    made = client(None, uniform(64, 64, lambda _: 1.0))
    made.tell(Budgeted(80))
    for column in (2, 1, 0):
        made.tell(viewed((Row("a", 1, 0, 0, 9), Row("a", 0, 0, column // 2, 9) if column else Row("a", 1, 0, 1, 9))))
        made.listen()
    before = {place_of(piece) for piece in made.holds["a"].values()}
    assert {(0, 0, 1), (0, 0, 0)} <= before
    made.tell(viewed((Row("a", 1, 1, 1, 9),)))
    made.listen()
    assert place_of(made.evicted[-1].piece)[0] == 0


def test_a_smaller_budget_evicts_down_to_it_but_never_a_tail() -> None:
    made = client(None, pieces(100, 100, 1), pieces(64, 64, 2))
    made.listen()
    tails = sum(max(some.values(), key=lambda piece: piece.level).memory for some in made.pieces.values())
    for budget in (made.memory // 2, made.memory // 10, tails, 0):
        made.tell(Budgeted(budget))
        made.listen()
        assert made.memory <= max(budget, tails)
    assert made.memory == tails


def test_a_chunk_never_makes_room_for_itself_by_the_one_that_it_needs() -> None:
    some = uniform(64, 64, lambda piece: float(place_of(piece) == (0, 0, 0)))
    costly = tuple(replace(piece, byte_length=1000) if piece.level == 1 else piece for piece in some)
    made = client(None, costly)
    made.tell(viewed((Row("a", 0, 0, 0, 100),)))
    made.tell(Budgeted(50))
    made.listen(50)
    assert set(made.holds["a"]) == {(5, 0, 0), (4, 0, 0), (3, 0, 0), (2, 0, 0), (1, 0, 0)}
    assert not made.evicted


def test_nothing_is_evicted_in_vain() -> None:
    """The new chunk is worth more than all leaves out of view, but they are too small to make room for it."""
    some = uniform(128, 128, lambda _: 1.0)
    large = (*some[:-1], replace(some[-1], memory=1000))
    made = client(None, large)
    made.tell(Budgeted(10 * len(some)))
    made.listen()
    before = dict(made.holds["a"])
    assert len(before) == len(some) - 1
    made.tell(viewed((Row("a", 0, 7, 7, 1000),)))
    made.listen()
    assert made.holds["a"] == before
    assert not made.evicted
    made.tell(Budgeted(None))
    made.take_all()
    assert len(made.sent) == len(large)


def test_detail_that_is_too_fine_to_be_seen_does_not_count() -> None:
    errors = {(1, 0, 0): 0.1, (1, 0, 1): 0.2} | {(0, row, column): 1.0 for row in (0, 1) for column in (0, 1)}
    made = client(None, uniform(64, 64, lambda piece: errors.get(place_of(piece), 0.0)))
    made.tell(viewed((Row("a", 1, 0, 0, 1), Row("a", 1, 0, 1, 1))))
    assert [place_of(send.piece) for send in made.take_all()[4:6]] == [(1, 0, 1), (1, 0, 0)]


def test_a_token_after_an_edit_does_not_name_what_is_still_in_flight() -> None:
    made = client(None, pieces(100, 100))
    made.listen(20)
    count = len(made.sent)
    made.tell(Acknowledged(count - 3))
    made.tell(Added("a", 2, edited(pieces(100, 100), lambda _: True, 2)))
    assert sum(len(list(there.indices())) for there in made.scheduler.holdings()) == count - 3
    made.tell(Acknowledged(count))
    assert sum(len(list(there.indices())) for there in made.scheduler.holdings()) == count


def test_kept_chunks_that_cannot_be_used_yet_make_room_for_the_tail() -> None:
    some = uniform(64, 64, lambda _: 1.0)
    made = client(None, some)
    made.tell(Budgeted(10 * len(some)))
    made.listen()
    larger = replace(some[0], memory=30, content="larger")
    made.tell(Added("a", 2, (larger, *some[1:])))
    made.listen()
    assert (5, 0, 0) in made.holds["a"]
    assert {place_of(evict.piece)[0] for evict in made.evicted} == {0}


def test_kept_chunks_that_cannot_be_used_yet_go_when_the_budget_shrinks() -> None:
    some = uniform(64, 64, lambda _: 1.0)
    made = client(None, some)
    made.listen()
    made.tell(Added("a", 2, (replace(some[0], content="new"), *some[1:])))
    made.tell(Budgeted(50))
    assert made.scheduler.memory <= 50
    made.listen()
    assert made.memory <= 50
    assert (5, 0, 0) in made.holds["a"]


def test_an_edit_drops_what_was_queued_and_keeps_the_chunks_that_did_not_change() -> None:
    made = client(None, pieces(100, 100))
    made.listen(30)
    held_before = set(made.holds["a"])
    touched = {(6, 0, 0), (5, 0, 0), (4, 0, 0), (3, 0, 0), (2, 0, 0), (1, 0, 0), (0, 0, 0)}
    made.tell(Added("a", 2, edited(pieces(100, 100), lambda piece: place_of(piece) not in touched, 2)))
    notice = made.hear()
    assert isinstance(notice, NewVersion)
    assert set(made.holds["a"]) == held_before - touched
    again = {place_of(send.piece) for send in made.take_all()}
    assert again == made.pieces["a"].keys() - (held_before - touched)


def test_the_view_outlasts_an_edit() -> None:
    made = client(None, uniform(128, 128, lambda _: 1.0))
    made.tell(viewed((Row("a", 1, 3, 3, 10),)))
    made.tell(Added("a", 2, edited(uniform(128, 128, lambda _: 1.0), lambda _: False, 2)))
    first = [place_of(send.piece) for send in made.take_all()[:6]]
    assert first == [(6, 0, 0), (5, 0, 0), (4, 0, 0), (3, 0, 0), (2, 1, 1), (1, 3, 3)]


def test_a_removed_texture_is_forgotten_and_its_chunks_in_flight_still_count_to_the_window() -> None:
    made = Client(Rules(window=150))
    made.tell(Added("a", 1, uniform(64, 64, lambda _: 1.0)))
    made.tell(Granted(PLENTY))
    made.listen()
    made.tell(Removed("a"))
    assert made.listen() == [Forget("a")]
    assert made.scheduler.memory == 0
    assert made.scheduler.in_flight == 150
    made.tell(Acknowledged(len(made.sent)))
    assert made.scheduler.in_flight == 0


def test_a_stale_token_is_refused_and_changes_nothing() -> None:
    made = client(None, pieces(64, 64), pieces(64, 64))
    made.tell(Added("b", 2, pieces(64, 64, 1)))
    count = len(pieces(64, 64))
    with pytest.raises(StaleToken, match=r"'b' version 1 of \d+; it is version 2"):
        made.tell(Resumed((held("a", 1, count, [0, 1]), held("b", 1, count, [0]))))
    made.take_all()
    assert len(made.sent) == 2 * count


def test_a_token_names_only_what_was_acknowledged() -> None:
    made = client(None, pieces(64, 64))
    made.listen(12)
    made.tell(Acknowledged(5))
    (there,) = made.scheduler.holdings()
    wanted = {place_of(send.piece) for send in made.sent[:5]}
    assert {place_of(pieces(64, 64)[index]) for index in there.indices()} == wanted
    assert len(made.sent) > 5


@given(st.dictionaries(st.text(max_size=5), st.tuples(st.integers(0, 9), st.sets(st.integers(0, 40)))))
def test_a_token_is_read_back(words: dict[str, tuple[int, set[int]]]) -> None:
    holdings = [held(texture, version, 41, indices) for texture, (version, indices) in words.items()]
    read = from_token(to_token(holdings))
    assert {one.texture: (one.version, set(one.indices())) for one in read} == words
    assert to_token(reversed(holdings)) == to_token(holdings)


@pytest.mark.parametrize(
    "words",
    ["", "[", "{}", "7", "[7]", '[["a",1,8]]', '[["a",1,8,"A"]]', '[["a",1,8,"/w8="]]', '[["a",1,8,"AAA="]]',
     '[["a",1.0,8,"/w=="]]', '[["a",true,8,"/w=="]]', '[[1,1,8,"/w=="]]', '[["a",1,0,""]]', '[["a", 1,8,"/w=="]]',
     '[["a",1,8,"/w=="],["a",2,8,"/w=="]]', "[" * 100_000, " " * (1 << 21)],
)  # fmt: skip
def test_what_is_no_token_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="the token"):
        from_token(words.encode())


def test_every_prefix_of_a_token_is_refused() -> None:
    token = to_token([held("wall", 3, 100, range(0, 100, 3))])
    assert json.loads(token)[0][:3] == ["wall", 3, 100]
    for end in range(len(token)):
        with pytest.raises(ValueError, match="the token"):
            from_token(token[:end])


def test_bits_beyond_the_chunks_are_refused() -> None:
    with pytest.raises(ValueError, match="beyond its 3"):
        Held("a", 1, 3, b"\x08")


def test_a_chunk_longer_than_the_window_is_refused_at_once() -> None:
    made = Client(Rules(window=5))
    with pytest.raises(ValueError, match="the window takes 5"):
        made.tell(Added("a", 1, uniform(64, 64, lambda _: 1.0)))


@pytest.mark.parametrize("version", [0, 1])
def test_a_version_must_grow(version: int) -> None:
    made = client(None, pieces(64, 64))
    with pytest.raises(ValueError, match=f"version {version} of 'a' comes after version 1"):
        made.tell(Added("a", version, pieces(64, 64)))


@pytest.mark.parametrize("wrong", [lambda some: (some[0], *some[2:]), lambda some: some[:-1], lambda some: some[::-1],
                                   lambda some: (some[0], *some), lambda some: ()])  # fmt: skip
def test_pieces_that_are_not_a_whole_texture_in_order_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="one mip tail and full finer levels"):
        Client(Rules()).tell(Added("a", 1, wrong(pieces(96, 96))))


def test_numbers_out_of_range_are_refused() -> None:
    made = client(None, pieces(64, 64))
    for wrong in (
        lambda: viewed([Row("a", 0, 0, 0, -1)]),
        lambda: viewed([Row("a", 0, 0, 0, 1, x=math.nan)]),
        lambda: Gazed((math.inf, 0.0)),
        lambda: Granted(-1),
        lambda: Budgeted(-1),
        lambda: Rules(hysteresis=0.5),
        lambda: replace(pieces(1, 1)[0], error=math.nan),
        lambda: made.tell(Acknowledged(1)),
        lambda: made.tell(Removed("b")),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            wrong()


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(-1, 5))))
def test_a_lazy_heap_finds_the_smallest_of_what_is_in_it(changes: list[tuple[int, int]]) -> None:
    heap: LazyHeap[int] = LazyHeap()
    wanted: dict[int, int] = {}
    for name, key in changes:
        if key < 0:
            heap.discard(name)
            wanted.pop(name, None)
        else:
            heap.put(name, (key,))
            wanted[name] = key
        smallest = min(((key, name) for name, key in wanted.items()), default=None)
        first = heap.first()
        assert (first and (first[0][0], first[1])) == smallest
        assert len(heap) == len(wanted)


@pytest.fixture(scope="module")
def huge() -> tuple[Piece, ...]:
    """87,381 + chunks: 4096 x 4096 texels in chunks of 16."""
    some = tuple(
        Piece(p.level, p.y // SIDE, p.x // SIDE, 10, 10, p.texels, (1 + 7919 * i % 1000) / 1000, content=str(i))
        for i, p in enumerate(layout(4096, 5120, SIDE, SIDE))
    )
    assert len(some) > 100_000
    return some


def test_an_event_costs_in_proportion_to_what_it_changes_at_a_hundred_thousand_chunks(huge: tuple[Piece, ...]) -> None:
    """Operations on heaps, each O(log n), and nodes valued, as a running account: 3 for each of the levels over a tile
    that changes, and 8 a chunk that is sent. Outdated entries may be paid for later than they were made."""
    made = Scheduler(Rules(window=PLENTY))
    made.receive(Added("a", 1, huge))
    made.receive(Granted(PLENTY))
    draw = np.random.default_rng(0)
    view: list[Row] = []
    levels = huge[0].level + 1
    allowed = made.work

    def send(chunks: int) -> int:
        sent = 0
        while sent < chunks:
            sent += isinstance(made.next_message(), Send)
        return 8 * chunks

    allowed += send(20_000)
    assert made.work <= allowed
    for tiles in (1, 30, 300):
        for _ in range(20):
            changed = len(view) + tiles
            view = [Row("a", 0, int(r), int(c), 90) for r, c in draw.integers(0, 256, (tiles, 2))]
            made.receive(viewed(view))
            allowed += 3 * levels * changed + send(10)
            assert made.work <= allowed
    before = made.work
    made.receive(viewed(view))
    made.receive(Budgeted(None))  # upon which the view is weighed
    made.receive(Acknowledged(100))
    assert made.work == before
    made.receive(Selected(frozenset("a")))
    assert made.work <= before + 4


def test_eviction_costs_in_proportion_to_what_it_evicts_at_a_hundred_thousand_chunks(huge: tuple[Piece, ...]) -> None:
    made = Scheduler(Rules(window=PLENTY))
    made.receive(Budgeted(10 * 20_000))
    made.receive(Added("a", 1, huge))
    made.receive(Granted(PLENTY))
    while made.next_message():
        pass
    before = made.work
    tiles = [(row, column) for row in range(200, 210) for column in range(200, 210)]
    made.receive(viewed(tuple(Row("a", 0, row, column, 90) for row, column in tiles)))
    messages = 0
    while made.next_message():
        messages += 1
    assert messages > 100
    assert made.work - before <= 3 * 9 * len(tiles) + 16 * messages


RAW = ChunkEncoder("raw", 32, "plain", "1", lambda texels: texels.tobytes())  # a block a chunk: no smaller ones


@pytest.fixture(scope="module")
def bricks() -> tuple[Piece, ...]:
    """512 x 512 texels: faint noise on the left, bricks at the right, flat at the bottom; raw chunks of 32 texels."""
    y, x = np.mgrid[:512, :512]
    noise = np.random.default_rng(0).normal(0, 12, (512, 512))
    joints = np.where((y % 32 < 4) | ((x + 32 * (y // 32 % 2)) % 64 < 4), 90, -60)
    grey = 128 + np.where(x < 256, noise, joints)
    grey[384:] = 128
    texels = np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    levels: dict[int, list[np.ndarray]] = {}
    for level, _, some in box_chain([texels], 512, 512, "colour"):
        levels.setdefault(level, []).append(some.copy())
    chain = [np.concatenate(levels[level]) for level in sorted(levels)]
    chunks = [chunk for chunk, _ in chunk_levels(chain, "colour", RAW, side=32)]
    return pieces_of(manifest_of(chunks, 512, 512, 3, np.uint8, "colour", RAW, 32))


def remaining_error(policy: Policy, some: tuple[Piece, ...], view: tuple[Row, ...]) -> tuple[float, list[float]]:
    """Mean over the bytes sent of the share of the squared error that is still visible, and that share after each."""
    made = client(Rules(policy, window=PLENTY), some)
    seen: dict[Place, int] = {}
    for row in view:
        for place in way(made, row):
            seen[place] = seen.get(place, 0) + row.pixels
    total = left = sum(piece.error * seen.get(place_of(piece), 0) for piece in some)
    made.tell(viewed(view))
    area, curve = 0.0, [1.0]
    for send in made.take_all():
        area += left * send.piece.byte_length
        left -= send.piece.error * seen.get(place_of(send.piece), 0)
        curve.append(left / total)
    return area / total / sum(piece.byte_length for piece in some), curve


def test_ours_leaves_less_visible_error_per_byte_than_every_other_order(bricks: tuple[Piece, ...]) -> None:
    view = tuple(Row("a", 0, row, column, 1024) for row in range(4, 16) for column in range(4, 12))
    areas = {policy.name: remaining_error(policy, bricks, view)[0] for policy in (OURS, VIEW, COARSE_FIRST)}
    areas |= {policy.name: remaining_error(policy, bricks, view)[0] for policy in (ENTROPY, RASTER)}
    assert areas["ours"] < 0.5 * areas["entropy"]
    assert areas["ours"] < 0.5 * areas["raster"]
    assert areas["ours"] < 0.5 * areas["coarse first"]
    assert areas["ours"] < areas["view"]


def test_the_visible_error_never_grows_and_ends_at_nothing(bricks: tuple[Piece, ...]) -> None:
    _, curve = remaining_error(OURS, bricks, (Row("a", 0, 5, 9, 1000), Row("a", 2, 1, 1, 300)))
    assert all(after <= before for before, after in pairwise(curve))
    assert curve[-1] == pytest.approx(0, abs=1e-9)


def test_a_client_with_small_textures_is_not_sent_levels_that_it_cannot_hold() -> None:
    texels = np.zeros((128, 64, 3), np.uint8)
    chain = [texels[:: 1 << k, :: 1 << k] for k in range(7)] + [texels[:1, :1]]
    chunks = [chunk for chunk, _ in chunk_levels(chain, "colour", RAW, side=32)]
    manifest = manifest_of(chunks, 128, 64, 3, np.uint8, "colour", RAW, 32)
    made = client(None, pieces_of(manifest, largest=64))
    made.tell(viewed((Row("a", 0, 3, 1, 10),)))
    sent = made.take_all()
    assert [send.piece.level for send in sent[:5]] == [5, 4, 3, 2, 1]
    assert place_of(sent[4].piece) == (1, 1, 0)
    assert len(sent) == len(layout_levels(128, 64)) - 8


def layout_levels(height: int, width: int) -> list[int]:
    return [place.level for place in layout(height, width, 32, 32)]
