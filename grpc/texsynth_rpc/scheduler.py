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
- Feedback that differs from the last by less than `tolerance` changes nothing.
- A new version takes the place of the old one at once: nothing that was queued of the old one goes out any more. Chunks
  at the same place with the same content are kept: they belong to the new version once the chunk over them came.
  What is in flight arrives before the notice of the new version, and is kept or dropped by that notice.
- Equal events give equal messages; ties go to the smaller texture name and the coarser chunk.

For n chunks an event costs O(log n) for each chunk whose weight, credit or presence it changes, a selection for each
texture, and a new version for each of its chunks.

What the caller must do: name the version of each texture by a growing number; on a new version, drop at the client all
chunks of the old one that the notice does not keep; after a reconnection start a new scheduler with `Added` and
`Resumed`, upon which the client drops all that the token does not name.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from texsynth_rpc.chunk_tree import Node, Tree
from texsynth_rpc.lazy_heap import LazyHeap
from texsynth_rpc.priorities import HALVES_AT, OURS, Piece, Policy, falloff
from texsynth_rpc.resume import Held, StaleToken, held

WEIGHT_UNIT = 256  # of a pixel that is looked at: weights are whole numbers


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
    """There is a texture, or a new version of it, with all its chunks in the order of `mipmap.chunks.layout`."""

    texture: str
    version: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Removed:
    """There is no such texture any more."""

    texture: str


@dataclass(frozen=True)
class Resumed:
    """The client still holds chunks from an earlier stream. Before anything of their textures is sent."""

    holdings: tuple[Held, ...]


@dataclass(frozen=True)
class Row:
    """Feedback of virtual texturing: how many pixels want a level of one place, and where they are on the screen.

    Of a level within the mip tail any place counts. A row of a texture or place that does not exist is ignored: a
    client may be a version behind. Raises ValueError for numbers out of range.
    """

    texture: str
    level: int
    row: int
    column: int
    pixels: int
    x: float = 0.0
    """Degrees from the middle of the screen, of the pixels' centre; to the right."""
    y: float = 0.0
    """Degrees downwards."""

    def __post_init__(self) -> None:
        if min(self.level, self.row, self.column, self.pixels) < 0 or not math.isfinite(self.x + self.y):
            raise ValueError(f"{self} has a number below 0 or a direction that is not finite")


@dataclass(frozen=True)
class Viewed:
    """The whole feedback table, in place of the last one: what is not in it is not seen."""

    rows: tuple[Row, ...]


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


Event = Added | Removed | Resumed | Viewed | Gazed | Selected | Budgeted | Granted | Acknowledged


@dataclass(frozen=True)
class NewVersion:
    """From here on all is of this version. kept: (level, row, column) of chunks that stay, of the last version."""

    texture: str
    version: int
    kept: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Send:
    """This chunk is to be sent. Sequence numbers count from 1 without a gap."""

    sequence: int
    texture: str
    version: int
    piece: Piece


@dataclass(frozen=True)
class Evict:
    """The client is to drop this chunk."""

    texture: str
    version: int
    piece: Piece


@dataclass(frozen=True)
class LevelComplete:
    """The client has every chunk of a level, and so of all coarser ones, until one of them is evicted."""

    texture: str
    version: int
    level: int


@dataclass(frozen=True)
class Forget:
    """The client is to drop all of a texture."""

    texture: str


Message = NewVersion | Send | Evict | LevelComplete | Forget


@dataclass(frozen=True)
class _InFlight:
    sequence: int
    texture: str
    version: int
    index: int
    byte_length: int


class Scheduler:
    """The state of one stream. An event that raises ValueError or StaleToken has changed nothing."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._trees: dict[str, Tree] = {}
        self._versions: dict[str, int] = {}  # of removed textures too
        self._rows: dict[str, tuple[Row, ...]] = {}
        self._weighed: dict[str, set[int]] = {}  # nodes whose weight is not 0
        self._gaze: tuple[float, float] | None = None
        self._selected: frozenset[str] = frozenset()
        self._best: LazyHeap[str] = LazyHeap()  # textures by their first offer
        self._worst: LazyHeap[str] = LazyHeap()  # textures by the leaf that goes first
        self._kept: dict[str, list[Node]] = {}  # not yet usable, coarsest first
        self._outbox: deque[NewVersion | Evict | LevelComplete | Forget] = deque()
        self._flying: deque[_InFlight] = deque()
        self._events = self._sequence = self._credit = 0
        self._budget: int | None = None
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
        first = self._best.first()
        offer = self._trees[first[1]].offers.first() if first else None
        return offer is not None and first is not None and self._held_back(self._trees[first[1]].nodes[offer[1]])

    def _held_back(self, node: Node) -> bool:
        return node.piece.byte_length > min(self._credit, self._rules.window - self._in_flight)

    @property
    def work(self) -> int:
        """Operations on queues, and nodes valued, so far: a measure of cost that does not depend on the machine."""
        trees = sum(tree.offers.operations + tree.leaves.operations + tree.visits for tree in self._trees.values())
        return self._past_work + trees + self._best.operations + self._worst.operations

    def holdings(self) -> tuple[Held, ...]:
        """What the client is known to hold: acknowledged and not evicted. For `resume.to_token`; O(n)."""
        flying = {(f.texture, f.version, f.index) for f in self._flying}
        found = []
        for tree in self._trees.values():
            name, version = tree.texture, tree.version
            there = [n.index for n in tree.nodes if (n.sent or n.kept) and (name, version, n.index) not in flying]
            if there:
                found.append(held(name, version, len(tree.nodes), there))
        return tuple(found)

    def receive(self, event: Event) -> None:
        """Something happened. ValueError for an event that cannot be; StaleToken from `Resumed`."""
        self._events += 1
        match event:
            case Added():
                self._add(event)
            case Removed(texture):
                self._remove(texture)
            case Resumed(holdings):
                self._resume(holdings)
            case Viewed(rows):
                self._view(rows)
            case Gazed(at):
                self._gaze = at
                self._reweigh()
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
        first = self._best.first()
        if first is None:
            return None
        tree = self._trees[first[1]]
        offer = tree.offers.first()
        assert offer is not None  # else the texture would not be among the best
        node = tree.nodes[offer[1]]
        if self._held_back(node):
            return None
        fits = self._make_room(tree, node, first[0])
        if self._outbox:  # what is evicted goes before what takes its place
            return self._outbox.popleft()
        return self._send(tree, node) if fits else None

    def _send(self, tree: Tree, node: Node) -> Send:
        length = node.piece.byte_length
        self._sequence += 1
        self._credit -= length
        self._in_flight += length
        self._memory += node.piece.memory
        self._flying.append(_InFlight(self._sequence, tree.texture, tree.version, node.index, length))
        self._attach(tree, node)
        return Send(self._sequence, tree.texture, tree.version, node.piece)

    def _attach(self, tree: Tree, node: Node) -> None:
        attached = tree.attach(node)
        for level in sorted({n.piece.level for n in attached if not tree.missing[n.piece.level]}, reverse=True):
            self._outbox.append(LevelComplete(tree.texture, tree.version, level))
        self._refresh(tree)

    def _acknowledge(self, sequence: int) -> None:
        if sequence > self._sequence or sequence < 0:
            raise ValueError(f"chunk {sequence} is acknowledged; {self._sequence} were sent")
        while self._flying and self._flying[0].sequence <= sequence:
            self._in_flight -= self._flying.popleft().byte_length

    def _add(self, event: Added) -> None:
        name, pieces = event.texture, event.pieces
        if event.version <= self._versions.get(name, event.version - 1):
            raise ValueError(f"version {event.version} of {name!r} comes after version {self._versions[name]}")
        longest = max((piece.byte_length for piece in pieces), default=0)
        if longest > self._rules.window:
            raise ValueError(f"a chunk of {name!r} has {longest} bytes; the window takes {self._rules.window}")
        tree = Tree(name, event.version, pieces, self._rules.policy)
        old = self._trees.get(name)
        if old:
            self._keep(old, tree)
            self._let_go(old)
        self._trees[name], self._versions[name] = tree, event.version
        self._announce(tree)
        self._reweigh_texture(name)
        self._settle(tree)

    def _keep(self, old: Tree, new: Tree) -> None:
        """Marks what is the same in the new version and at the client; nothing where the chunks are cut otherwise."""
        if not old.is_cut_as(new):
            return
        before = {(n.piece.level, n.piece.row, n.piece.column): n for n in old.nodes if n.sent or n.kept}
        renamed: dict[int, int] = {}
        for node in new.nodes:
            was = before.get((node.piece.level, node.piece.row, node.piece.column))
            if was and was.piece.content and was.piece.content == node.piece.content:
                node.kept = was.piece.memory == node.piece.memory
                renamed[was.index] = node.index
        self._flying = deque(
            replace(chunk, version=new.version, index=renamed[chunk.index])
            if (chunk.texture, chunk.version) == (old.texture, old.version) and chunk.index in renamed
            else chunk
            for chunk in self._flying
        )

    def _let_go(self, tree: Tree) -> None:
        """Takes a tree out of all that counts it."""
        name = tree.texture
        self._memory -= sum(node.piece.memory for node in tree.nodes if node.sent or node.kept)
        self._past_work += tree.offers.operations + tree.leaves.operations + tree.visits
        self._outbox = deque(message for message in self._outbox if message.texture != name)
        self._best.discard(name)
        self._worst.discard(name)
        self._weighed.pop(name, None)
        self._kept.pop(name, None)

    def _remove(self, texture: str) -> None:
        if texture not in self._trees:
            raise ValueError(f"the texture {texture!r} is to be removed; there is none of that name")
        self._let_go(self._trees.pop(texture))
        self._outbox.append(Forget(texture))

    def _announce(self, tree: Tree) -> None:
        """The version with the chunks that are kept, which count to memory from here on."""
        kept = [node for node in tree.nodes if node.kept]
        self._memory += sum(node.piece.memory for node in kept)
        places = tuple((n.piece.level, n.piece.row, n.piece.column) for n in kept)
        self._outbox.append(NewVersion(tree.texture, tree.version, places))
        if kept:
            self._kept[tree.texture] = kept

    def _settle(self, tree: Tree) -> None:
        if tree.root.kept:
            self._attach(tree, tree.root)
        self._refresh(tree)
        self._shrink()

    def _resume(self, holdings: tuple[Held, ...]) -> None:
        if len({one.texture for one in holdings}) != len(holdings):
            raise ValueError("a token names a texture twice")
        for one in holdings:
            tree = self._trees.get(one.texture)
            if tree is None or (tree.version, len(tree.nodes)) != (one.version, one.chunks):
                now = f"version {tree.version} with {len(tree.nodes)} chunks" if tree else "gone"
                raise StaleToken(f"the client holds {one.texture!r} version {one.version} of {one.chunks}; it is {now}")
            if any(node.sent or node.kept for node in tree.nodes):
                raise ValueError(f"a token came for {one.texture!r} after chunks of it were sent")
        for one in holdings:
            tree = self._trees[one.texture]
            self._outbox = deque(message for message in self._outbox if message.texture != one.texture)
            for index in one.indices():
                tree.nodes[index].kept = True
            self._announce(tree)
            self._settle(tree)

    def _view(self, rows: tuple[Row, ...]) -> None:
        table: dict[str, list[Row]] = {}
        for row in rows:
            table.setdefault(row.texture, []).append(row)
        self._rows = {texture: tuple(some) for texture, some in table.items()}
        self._reweigh()

    def _reweigh(self) -> None:
        for texture in sorted((self._rows.keys() | self._weighed.keys()) & self._trees.keys()):
            self._reweigh_texture(texture)

    def _reweigh_texture(self, texture: str) -> None:
        tree, last = self._trees[texture], self._weighed.get(texture, set())
        weights = self._weights(tree)
        for index in sorted(last | weights.keys()):
            node, weight = tree.nodes[index], weights.get(index, 0)
            if abs(weight - node.weight) > self._rules.tolerance * node.weight:  # always so to or from 0
                tree.reweigh(node, weight, self._events)
        self._weighed[texture] = set(weights)
        if not weights:
            del self._weighed[texture]
        self._refresh(tree)

    def _weights(self, tree: Tree) -> dict[int, int]:
        """Of nodes by index, above 0."""
        weights: dict[int, int] = {}
        for row in self._rows.get(tree.texture, ()):
            node = tree.find(row.level, row.row, row.column)
            if node and row.pixels:
                away = math.hypot(row.x - self._gaze[0], row.y - self._gaze[1]) if self._gaze else 0.0
                weight = max(1, round(row.pixels * falloff(away, self._rules.halves_at) * WEIGHT_UNIT))
                weights[node.index] = weights.get(node.index, 0) + weight
        return weights

    def _refresh(self, tree: Tree) -> None:
        """Puts a texture in its place among all, after its queues or its selection changed."""
        factor = self._rules.selection if tree.texture in self._selected and self._rules.policy.heeds_view else 1.0
        offer, leaf = tree.offers.first(), tree.leaves.first()
        if offer:
            self._best.put(tree.texture, (offer[0][0], offer[0][1] * factor))
        else:
            self._best.discard(tree.texture)
        if leaf:
            seen, last_seen, ratio, _ = leaf[0]
            self._worst.put(tree.texture, (seen, last_seen, ratio * factor))
        else:
            self._worst.discard(tree.texture)

    def _over(self, more: int) -> bool:
        return self._budget is not None and self._memory + more > self._budget

    def _make_room(self, tree: Tree, node: Node, key: tuple[int, float]) -> bool:
        """Whether the node fits; evicts what is worth less if that is enough, else nothing."""
        if not self._over(node.piece.memory):
            return True
        gone: list[tuple[Tree, Node]] = []
        while self._over(node.piece.memory):
            if node.parent:  # it must stay, even as the least of all
                tree.leaves.discard(node.parent.index)
                self._refresh(tree)
            worst = self._worst.first()
            if worst is None or not self._beats(key, worst[0]):
                break
            gone.append(self._detach_leaf(self._trees[worst[1]]))
        wanted = key[0] < 0  # seen, or a tail
        if self._over(node.piece.memory) and not (wanted and self._release_kept(node.piece.memory)):
            for its_tree, victim in reversed(gone):
                its_tree.attach(victim)
                self._memory += victim.piece.memory
                self._refresh(its_tree)
            gone = []
        self._outbox.extend(Evict(its_tree.texture, its_tree.version, victim.piece) for its_tree, victim in gone)
        if node.parent:
            tree.requeue(node.parent)
            self._refresh(tree)
        return not self._over(node.piece.memory)

    def _beats(self, offer: tuple[int, float], leaf: tuple[int, int, float]) -> bool:
        rank, value = -offer[0], -offer[1]
        if not leaf[0]:
            return rank > 0
        return rank > 1 or (rank == 1 and value > self._rules.hysteresis * leaf[2])

    def _detach_leaf(self, tree: Tree) -> tuple[Tree, Node]:
        leaf = tree.leaves.first()
        assert leaf is not None  # else the texture would not be among the worst
        node = tree.nodes[leaf[1]]
        tree.detach(node)
        self._memory -= node.piece.memory
        self._refresh(tree)
        return tree, node

    def _shrink(self) -> None:
        """Evicts until memory is within the budget, or only tails are left."""
        while self._over(0):
            worst = self._worst.first()
            if worst:
                tree, node = self._detach_leaf(self._trees[worst[1]])
                self._outbox.append(Evict(tree.texture, tree.version, node.piece))
            else:
                self._release_kept(0)
                return

    def _release_kept(self, more: int) -> bool:
        """Evicts kept chunks that are of no use yet, finest first, until `more` bytes fit; whether they do."""
        for texture in sorted(self._kept):
            tree, nodes = self._trees[texture], self._kept[texture]
            while nodes and self._over(more):
                node = nodes.pop()
                if node.kept:
                    node.kept = False
                    self._memory -= node.piece.memory
                    self._outbox.append(Evict(texture, tree.version, node.piece))
            if not nodes:
                del self._kept[texture]
        return not self._over(more)
