"""Which chunk of which texture a client gets next: events in, messages out, no I/O and no clock.

The caller tells a `Scheduler` what happened (`receive`) and sends what it says (`next_message`, until None), in that
order, over a stream that keeps the order. The rules:

- A chunk goes out only after the coarser one in its place; of what may go out, the one of the most value (`priorities`)
  goes first: the mip tail of what is seen, then that of what is not, then what is seen, then the rest.
- If the first in line does not fit into the credit or the window, nothing goes out: smaller chunks do not overtake it.
  At most `window` bytes are out without an acknowledgement, and never more than the client granted.
- A chunk counts to the client's memory from the moment it is sent until its eviction is sent, in flight or not. Memory
  stays within the budget: what does not fit goes out only if enough leaves can be evicted that are worth less. A leaf
  in view must be worth less by the factor `hysteresis`, so that the two do not take turns; one out of view goes before
  that, the longest out of view first. What is out of view displaces nothing, but for a tail. Tails are never evicted.
  A chunk is worth the same on offer and as a leaf, so with a view that stays evictions come to an end.
- Feedback that differs from the last by less than `tolerance` changes nothing. It is weighed when something depends on
  it: views and gazes that come one after the other cost as one.
- A new version takes the place of the old one at once: nothing that was queued of the old one goes out any more. Chunks
  at the same place with the same content are kept: they belong to the new version once the chunk over them came.
  What is in flight arrives before the notice of the new version, and is kept or dropped by that notice.
- Of a texture that is still being encoded only the chunks that are ready go out; the others wait for `Grown`.
- Equal events give equal messages; ties go to the smaller texture name and the coarser chunk.

For n chunks an event costs O(log n) for each chunk whose weight, credit or presence it changes, a selection for each
texture, a new version and each growth for each of its chunks, and the first lack of memory for each chunk that the
client has.

What the caller must do: name the version of each texture by a growing number; on a new version, drop at the client all
chunks of the old one that the notice does not keep; after a reconnection start a new scheduler with `Added` and
`Resumed`, upon which the client drops all that the token does not name.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from texsynth_rpc.chunk_plan import Plan
from texsynth_rpc.chunk_tree import ROOT, Tree
from texsynth_rpc.feedback import Seen, weights_of
from texsynth_rpc.lazy_heap import LazyHeap
from texsynth_rpc.priorities import HALVES_AT, OURS, Piece, Policy
from texsynth_rpc.resume import Held, StaleToken, held


@dataclass(frozen=True)
class Rules:
    """How a scheduler weighs and how far it goes. Raises ValueError out of range."""

    policy: Policy = OURS
    window: int = 512 * 1024
    """Bytes that may be out without an acknowledgement; no chunk may be longer."""
    hysteresis: float = 2.0
    """How many times the value of what is evicted the new chunk must have; at least 1."""
    selection: float = 4.0
    """By how much the value of selected textures is multiplied; at least 1."""
    tolerance: float = 0.125
    """Relative change of a weight that is ignored; 0..1."""
    halves_at: float = HALVES_AT
    """Degrees from the gaze, of `falloff`; above 0."""

    def __post_init__(self) -> None:
        factors = 1 <= self.hysteresis < math.inf and 1 <= self.selection < math.inf
        if self.window < 1 or not factors or not 0 <= self.tolerance < 1 or not self.halves_at > 0:
            raise ValueError(
                f"{self}: window, hysteresis and selection must be at least 1, tolerance in 0..1, halves_at above 0"
            )


@dataclass(frozen=True)
class Added:
    """There is a texture, or a new version of it, with all its chunks in the order of `mipmap.chunks.layout`: as a
    `Plan` where several schedulers are told of it."""

    texture: str
    version: int
    pieces: Sequence[Piece]
    seen: Seen | None = None
    """What is seen of it, where the last `Viewed` does not say so."""


@dataclass(frozen=True)
class Grown:
    """More chunks of a texture's present version can be sent. pieces: all of them, with `Plan.ready` for those that
    can; what was said before of those that could stays. ValueError for fewer, other chunks or another version."""

    texture: str
    version: int
    pieces: Plan


@dataclass(frozen=True)
class Removed:
    """There is no such texture any more."""

    texture: str


@dataclass(frozen=True)
class Resumed:
    """The client still holds chunks from an earlier stream. Before anything of their textures is sent."""

    holdings: tuple[Held, ...]


@dataclass(frozen=True)
class Viewed:
    """The whole feedback, by texture, in place of the last one: what is not in it is not seen. A texture that does not
    exist is ignored."""

    seen: Mapping[str, Seen]


@dataclass(frozen=True)
class Gazed:
    """Where the eye looks, in the degrees of `Row`; None where that is not known and all pixels count alike.

    Raises ValueError for a direction that is not finite.
    """

    at: tuple[float, float] | None

    def __post_init__(self) -> None:
        if self.at is not None and not math.isfinite(self.at[0] + self.at[1]):
            raise ValueError(f"a gaze at {self.at}; it must be two finite angles in degrees")


@dataclass(frozen=True)
class Selected:
    """The textures that are selected now, in place of the last ones."""

    textures: frozenset[str]


@dataclass(frozen=True)
class Budgeted:
    """Bytes of memory that the client has for chunks; None, as at first, for any number. ValueError below 0."""

    memory: int | None

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < 0:
            raise ValueError(f"a memory budget of {self.memory} bytes; it must be at least 0")


@dataclass(frozen=True)
class Granted:
    """The client takes that many more bytes. At first it takes none. ValueError below 0."""

    byte_count: int

    def __post_init__(self) -> None:
        if self.byte_count < 0:
            raise ValueError(f"a grant of {self.byte_count} bytes; it must be at least 0")


@dataclass(frozen=True)
class Acknowledged:
    """The client has all chunks up to this sequence number."""

    sequence: int


Event = Added | Grown | Removed | Resumed | Viewed | Gazed | Selected | Budgeted | Granted | Acknowledged


@dataclass(frozen=True)
class NewVersion:
    """From here on all is of this version. kept: indices of chunks that stay, of the last version, upwards."""

    texture: str
    version: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class Ready:
    """From here on chunks may come that were not ready before."""

    texture: str
    version: int


@dataclass(frozen=True)
class Send:
    """This chunk is to be sent. Sequence numbers count from 1 without a gap."""

    sequence: int
    texture: str
    version: int
    piece: Piece
    index: int
    """Of the piece among those of its version."""
    whole: tuple[int, ...] = ()
    """Levels of which the client has every chunk by this one, as `LevelComplete` says; the coarsest first."""


@dataclass(frozen=True)
class Evict:
    """The client is to drop this chunk."""

    texture: str
    version: int
    piece: Piece
    index: int


@dataclass(frozen=True)
class LevelComplete:
    """The client has every chunk of a level, and so of all coarser ones, until one of them is evicted: of what it kept.
    What is whole by a chunk that is sent, `Send` says."""

    texture: str
    version: int
    level: int


@dataclass(frozen=True)
class Forget:
    """The client is to drop all of a texture."""

    texture: str


Notice = NewVersion | Ready | Evict | LevelComplete | Forget
Message = Notice | Send


class _InFlight(NamedTuple):
    sequence: int
    texture: str
    version: int
    chunk: int
    byte_length: int


class Scheduler:
    """The state of one stream. An event that raises ValueError or StaleToken has changed nothing."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._trees: dict[str, Tree] = {}
        self._versions: dict[str, int] = {}  # of removed textures too
        self._seen: Mapping[str, Seen] = {}
        self._gaze: tuple[float, float] | None = None
        self._weighed = True  # all of the last view and gaze
        self._selected: frozenset[str] = frozenset()
        self._best: LazyHeap[str] = LazyHeap()  # textures by their first offer
        self._worst: LazyHeap[str] = LazyHeap()  # textures by the leaf that goes first
        self._kept: dict[str, list[int]] = {}  # not yet usable, coarsest first
        self._outbox: deque[Notice] = deque()
        self._flying: deque[_InFlight] = deque()
        self._events = self._sequence = self._credit = 0
        self._budget: int | None = None
        self._lacks_memory = False  # or did once: only then the leaves are queued
        self._memory = self._in_flight = self._past_work = 0

    @property
    def memory(self) -> int:
        """Bytes that the client holds once it has done all that it was told."""
        return self._memory

    @property
    def in_flight(self) -> int:
        """Bytes sent and not acknowledged."""
        return self._in_flight

    @property
    def waits(self) -> bool:
        """Whether a chunk is on offer that credit or window hold back."""
        self._weigh()
        first = self._best.first()
        if first is None:
            return False
        tree = self._trees[first[1]]
        offer = tree.offers.first()
        return offer is not None and self._held_back(tree.pieces[offer[1]])

    def _held_back(self, piece: Piece) -> bool:
        return piece.byte_length > min(self._credit, self._rules.window - self._in_flight)

    @property
    def work(self) -> int:
        """Operations on queues, and nodes valued, so far: a measure of cost that does not depend on the machine."""
        trees = sum(tree.offers.operations + tree.leaves.operations + tree.visits for tree in self._trees.values())
        return self._past_work + trees + self._best.operations + self._worst.operations

    def holdings(self) -> tuple[Held, ...]:
        """What the client is known to hold: acknowledged and not evicted. For `resume.to_token`; O(n)."""
        flying = {(f.texture, f.version, f.chunk) for f in self._flying}
        found = []
        for tree in self._trees.values():
            name, version = tree.texture, tree.version
            there = [index for index in _present(tree) if (name, version, index) not in flying]
            if there:
                found.append(held(name, version, len(tree.plan), there))
        return tuple(found)

    def present(self, texture: str) -> list[int]:
        """Indices of the chunks of the present version that the client has, or will have of what is under way."""
        tree = self._trees.get(texture)
        return list(_present(tree)) if tree else []

    def receive(self, event: Event) -> None:
        """Something happened. ValueError for an event that cannot be; StaleToken from `Resumed`."""
        self._events += 1
        if isinstance(event, Added | Grown | Resumed | Budgeted):  # upon which something may be evicted
            self._weigh()
        match event:
            case Added():
                self._add(event)
            case Grown(texture, version, plan):
                self._grow(texture, version, plan)
            case Removed(texture):
                self._remove(texture)
            case Resumed(holdings):
                self._resume(holdings)
            case Viewed(seen):
                self._seen, self._weighed = seen, False
            case Gazed(at):
                self._gaze, self._weighed = at, False
            case Selected(textures):
                changed, self._selected = textures ^ self._selected, textures
                for texture in changed & self._trees.keys():
                    self._refresh(self._trees[texture])
            case Budgeted(memory):
                self._budget = memory
                self._shrink()
            case Granted(byte_count):
                self._credit += byte_count
            case Acknowledged(sequence):
                self._acknowledge(sequence)

    def next_message(self) -> Message | None:
        """What is to be sent next, or None until something happens."""
        if self._outbox:
            return self._outbox.popleft()
        self._weigh()
        first = self._best.first()
        if first is None:
            return None
        tree = self._trees[first[1]]
        offer = tree.offers.first()
        assert offer is not None  # else the texture would not be among the best
        index = offer[1]
        if self._held_back(tree.pieces[index]):
            return None
        fits = self._make_room(tree, index, first[0])
        if self._outbox:  # what is evicted goes before what takes its place
            return self._outbox.popleft()
        return self._send(tree, index) if fits else None

    def _send(self, tree: Tree, index: int) -> Send:
        piece = tree.pieces[index]
        length = piece.byte_length
        self._sequence += 1
        self._credit -= length
        self._in_flight += length
        self._memory += piece.memory
        self._flying.append(_InFlight(self._sequence, tree.texture, tree.version, index, length))
        whole = self._attach(tree, index)
        return Send(self._sequence, tree.texture, tree.version, piece, index, whole)

    def _attach(self, tree: Tree, index: int) -> tuple[int, ...]:
        """The levels that are whole by it, the coarsest first."""
        levels, missing = tree.plan.levels, tree.missing
        whole = {levels[attached] for attached in tree.attach(index) if not missing[levels[attached]]}
        self._refresh(tree)
        return tuple(sorted(whole, reverse=True))

    def _acknowledge(self, sequence: int) -> None:
        if sequence > self._sequence or sequence < 0:
            raise ValueError(f"chunk {sequence} is acknowledged; {self._sequence} were sent")
        while self._flying and self._flying[0].sequence <= sequence:
            self._in_flight -= self._flying.popleft().byte_length

    def _add(self, event: Added) -> None:
        name, plan = event.texture, Plan.of(event.texture, event.pieces)
        if event.version <= self._versions.get(name, event.version - 1):
            raise ValueError(f"version {event.version} of {name!r} comes after version {self._versions[name]}")
        self._check_window(name, plan)
        tree = Tree(name, event.version, plan, self._rules.policy)
        if self._lacks_memory:
            tree.find_leaves()
        old = self._trees.get(name)
        if old:
            self._keep(old, tree)
            self._let_go(old)
        self._trees[name], self._versions[name] = tree, event.version
        self._announce(tree)
        if event.seen is not None:
            self._seen = {**self._seen, name: event.seen}
        self._reweigh_texture(name)
        self._settle(tree)

    def _check_window(self, texture: str, plan: Plan) -> None:
        if plan.longest > self._rules.window:
            raise ValueError(f"a chunk of {texture!r} has {plan.longest} bytes; the window takes {self._rules.window}")

    def _grow(self, texture: str, version: int, plan: Plan) -> None:
        tree = self._trees.get(texture)
        if tree is None or tree.version != version or plan.ready < tree.plan.ready or not plan.is_cut_as(tree.plan):
            now = f"version {tree.version}, {tree.plan.ready} chunks of {len(tree.plan)} ready" if tree else "gone"
            raise ValueError(f"{plan.ready} chunks of version {version} of {texture!r} are ready; it is {now}")
        self._check_window(texture, plan)
        tree.grow(plan)
        self._refresh(tree)
        self._outbox.append(Ready(texture, version))

    def _keep(self, old: Tree, new: Tree) -> None:
        """Marks what is the same in the new version and at the client; nothing where the chunks are cut otherwise."""
        if not old.plan.is_cut_as(new.plan):
            return
        for index in _present(old):
            was, now = old.pieces[index], new.pieces[index]
            new.kept[index] = bool(was.content) and (was.content, was.memory) == (now.content, now.memory)
        self._flying = deque(
            one._replace(version=new.version)
            if (one.texture, one.version) == (old.texture, old.version) and new.kept[one.chunk]
            else one
            for one in self._flying
        )

    def _let_go(self, tree: Tree) -> None:
        """Takes a tree out of all that counts it."""
        name = tree.texture
        self._memory -= sum(tree.pieces[index].memory for index in _present(tree))
        self._past_work += tree.offers.operations + tree.leaves.operations + tree.visits
        self._outbox = deque(message for message in self._outbox if message.texture != name)
        self._best.discard(name)
        self._worst.discard(name)
        self._kept.pop(name, None)

    def _remove(self, texture: str) -> None:
        if texture not in self._trees:
            raise ValueError(f"the texture {texture!r} is to be removed; there is none of that name")
        self._let_go(self._trees.pop(texture))
        self._outbox.append(Forget(texture))

    def _announce(self, tree: Tree) -> None:
        """The version with the chunks that are kept, which count to memory from here on."""
        kept = [index for index, is_kept in enumerate(tree.kept) if is_kept]
        self._memory += sum(tree.pieces[index].memory for index in kept)
        self._outbox.append(NewVersion(tree.texture, tree.version, tuple(kept)))
        if kept:
            self._kept[tree.texture] = kept

    def _settle(self, tree: Tree) -> None:
        if tree.kept[ROOT]:
            whole = self._attach(tree, ROOT)
            self._outbox.extend(LevelComplete(tree.texture, tree.version, level) for level in whole)
        self._refresh(tree)
        self._shrink()

    def _resume(self, holdings: tuple[Held, ...]) -> None:
        if len({one.texture for one in holdings}) != len(holdings):
            raise ValueError("a token names a texture twice")
        for one in holdings:
            tree = self._trees.get(one.texture)
            if tree is None or (tree.version, len(tree.plan)) != (one.version, one.chunks):
                now = f"version {tree.version} with {len(tree.plan)} chunks" if tree else "gone"
                raise StaleToken(f"the client holds {one.texture!r} version {one.version} of {one.chunks}; it is {now}")
            if any(tree.sent) or any(tree.kept):
                raise ValueError(f"a token came for {one.texture!r} after chunks of it were sent")
        for one in holdings:
            tree = self._trees[one.texture]
            self._outbox = deque(message for message in self._outbox if message.texture != one.texture)
            for index in one.indices():
                tree.kept[index] = 1
            self._announce(tree)
            self._settle(tree)

    def _weigh(self) -> None:
        if not self._weighed:
            self._weighed = True
            for texture in sorted(self._trees):
                self._reweigh_texture(texture)

    def _reweigh_texture(self, texture: str) -> None:
        tree, seen = self._trees[texture], self._seen.get(texture)
        if seen is None and not tree.weights:
            return
        weights = {} if seen is None else weights_of(seen, tree.plan, self._gaze, self._rules.halves_at)
        last, tolerance = tree.weights, self._rules.tolerance
        changed = {
            index: weight
            for index, weight in weights.items()
            if abs(weight - last.get(index, 0)) > tolerance * last.get(index, 0)  # always so from 0
        }
        changed |= dict.fromkeys(last.keys() - weights.keys(), 0)
        if changed:
            tree.reweigh(changed, self._events)
            self._refresh(tree)

    def _refresh(self, tree: Tree) -> None:
        """Puts a texture in its place among all, after its queues or its selection changed."""
        factor = self._rules.selection if tree.texture in self._selected and self._rules.policy.heeds_view else 1.0
        offer, leaf = tree.offers.first(), tree.leaves.first()
        if offer:
            self._best.put(tree.texture, (offer[0][0], offer[0][1] * factor))
        else:
            self._best.discard(tree.texture)
        if not self._lacks_memory:
            return
        if leaf:
            seen, last_seen, ratio, _ = leaf[0]
            self._worst.put(tree.texture, (seen, last_seen, ratio * factor))
        else:
            self._worst.discard(tree.texture)

    def _over(self, more: int) -> bool:
        return self._budget is not None and self._memory + more > self._budget

    def _make_room(self, tree: Tree, index: int, key: tuple[int, float]) -> bool:
        """Whether the chunk fits; evicts what is worth less if that is enough, else nothing."""
        memory, parent = tree.pieces[index].memory, tree.plan.parents[index]
        if not self._over(memory):
            return True
        self._find_leaves()
        gone: list[tuple[Tree, int]] = []
        while self._over(memory):
            if index != ROOT:  # its parent must stay, even as the least of all
                tree.leaves.discard(parent)
                self._refresh(tree)
            worst = self._worst.first()
            if worst is None or not self._beats(key, worst[0]):
                break
            gone.append(self._detach_leaf(self._trees[worst[1]]))
        wanted = key[0] < 0  # seen, or a tail
        if self._over(memory) and not (wanted and self._release_kept(memory)):
            for its_tree, victim in reversed(gone):
                its_tree.attach(victim)
                self._memory += its_tree.pieces[victim].memory
                self._refresh(its_tree)
            gone = []
        self._outbox.extend(_evicted(its_tree, victim) for its_tree, victim in gone)
        if index != ROOT:
            tree.requeue(parent)
            self._refresh(tree)
        return not self._over(memory)

    def _find_leaves(self) -> None:
        """From now on what can go is queued."""
        if not self._lacks_memory:
            self._lacks_memory = True
            for tree in self._trees.values():
                tree.find_leaves()
                self._refresh(tree)

    def _beats(self, offer: tuple[int, float], leaf: tuple[int, int, float]) -> bool:
        rank, value = -offer[0], -offer[1]
        if not leaf[0]:
            return rank > 0
        return rank > 1 or (rank == 1 and value > self._rules.hysteresis * leaf[2])

    def _detach_leaf(self, tree: Tree) -> tuple[Tree, int]:
        leaf = tree.leaves.first()
        assert leaf is not None  # else the texture would not be among the worst
        tree.detach(leaf[1])
        self._memory -= tree.pieces[leaf[1]].memory
        self._refresh(tree)
        return tree, leaf[1]

    def _shrink(self) -> None:
        """Evicts until memory is within the budget, or only tails are left."""
        while self._over(0):
            self._find_leaves()
            worst = self._worst.first()
            if worst:
                self._outbox.append(_evicted(*self._detach_leaf(self._trees[worst[1]])))
            else:
                self._release_kept(0)
                return

    def _release_kept(self, more: int) -> bool:
        """Evicts kept chunks that are of no use yet, finest first, until `more` bytes fit; whether they do."""
        for texture in sorted(self._kept):
            tree, indices = self._trees[texture], self._kept[texture]
            while indices and self._over(more):
                index = indices.pop()
                if tree.kept[index]:
                    tree.kept[index] = 0
                    self._memory -= tree.pieces[index].memory
                    self._outbox.append(_evicted(tree, index))
            if not indices:
                del self._kept[texture]
        return not self._over(more)


def _present(tree: Tree) -> Iterable[int]:
    """What the client has or will have of it."""
    return (index for index, (sent, kept) in enumerate(zip(tree.sent, tree.kept, strict=True)) if sent or kept)


def _evicted(tree: Tree, index: int) -> Evict:
    return Evict(tree.texture, tree.version, tree.pieces[index], index)
