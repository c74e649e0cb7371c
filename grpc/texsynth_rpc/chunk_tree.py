"""The chunks of one version of a texture as a tree, with the two queues that the scheduler draws from.

The mip tail is the root; the parent of a chunk is the one of the next coarser level in its place. What the client has
is always the top of the tree: a chunk is offered once its parent is there, and only a leaf of what is there can go,
never the root. So on the way from the root to any chunk at most one is on offer, and at most one is a leaf that can go.

A chunk's weight is what feedback says of it alone; `visible` is the sum over it and all finer ones. Weights are whole
numbers, so the sums are exact however often they change. A change of one weight walks the way to the root, some ten
chunks, and changes at most two entries of the queues.

The value of a chunk looks ahead: its block is the chunk with those children's blocks that raise gain / cost, the best
first. That is Horn's maximal set but for what follows a child's first block: a lower bound, of O(1) a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from texsynth_rpc.lazy_heap import LazyHeap
from texsynth_rpc.priorities import Piece, Policy


class Node:
    """A chunk in the tree."""

    __slots__ = (
        "children",
        "cost",
        "gain",
        "index",
        "kept",
        "last_seen",
        "parent",
        "piece",
        "present_children",
        "sent",
        "visible",
        "weight",
    )

    def __init__(self, index: int, piece: Piece, parent: Node | None) -> None:
        self.index, self.piece, self.parent = index, piece, parent
        self.children: list[Node] = []
        self.sent = False  # it is at the client or on the way
        self.kept = False  # the client has its bytes, but not yet its parent
        self.present_children = 0  # that are sent
        self.weight = self.visible = 0
        self.last_seen = 0  # number of the event after which no pixel showed it any more
        self.gain, self.cost = 0.0, 1.0  # of its block

    @property
    def ratio(self) -> float:
        """Gain / cost of the block."""
        return self.gain / self.cost


class Tree:
    """One version of a texture. Raises ValueError for pieces that are not in the order of `mipmap.chunks.layout`."""

    def __init__(self, texture: str, version: int, pieces: Sequence[Piece], policy: Policy) -> None:
        self.texture, self.version, self._policy = texture, version, policy
        self.sizes = grid(texture, pieces)
        self._sides = {piece.level: piece.side for piece in pieces}
        self._first = _first_indices(self.sizes)
        self.nodes: list[Node] = []
        for index, piece in enumerate(pieces):
            self._add(Node(index, piece, self._parent(piece)))
        self.missing = {level: rows * columns for level, (rows, columns) in self.sizes.items()}
        self.offers: LazyHeap[int] = LazyHeap()
        self.leaves: LazyHeap[int] = LazyHeap()
        self.visits = 0  # nodes valued anew
        for node in reversed(self.nodes):
            self._value(node)
        self._offer(self.nodes[0])

    @property
    def root(self) -> Node:
        """The mip tail."""
        return self.nodes[0]

    def is_cut_as(self, other: Tree) -> bool:
        """Whether the chunks of the two hold the same texels."""
        return len(self.nodes) == len(other.nodes) and all(
            _cut(one.piece) == _cut(another.piece) for one, another in zip(self.nodes, other.nodes, strict=True)
        )

    def find(self, level: int, row: int, column: int) -> Node | None:
        """The node that holds the place, the mip tail for all its levels; None outside the texture.

        A level finer than all there are counts for the chunk of the finest one in its place; row and column of it
        count chunks of the finest one's side.
        """
        top = self.root.piece.level
        if level >= top:
            return self.root
        finest = self.nodes[-1].piece.level
        shift = max(0, finest - level)
        level, row, column = max(level, finest), row >> shift, column >> shift
        rows, columns = self.sizes[level]
        inside = 0 <= row < rows and 0 <= column < columns
        return self.nodes[self._first[level] + row * columns + column] if inside else None

    def reweigh(self, node: Node, weight: int, now: int) -> None:
        """Feedback says another weight for this node alone. now: the number of the event."""
        change, node.weight = weight - node.weight, weight
        step: Node | None = node
        while step:
            step.visible += change
            if step.visible == 0:
                step.last_seen = now
            self._value(step)
            self.requeue(step)
            step = step.parent

    def attach(self, node: Node) -> list[Node]:
        """The client gets this node, which is on offer; returns it and all kept ones that become usable by it."""
        attached = [node]
        for here in attached:  # grows in the loop
            here.sent, here.kept = True, False
            self.offers.discard(here.index)
            self.missing[here.piece.level] -= 1
            if here.parent:
                here.parent.present_children += 1
                self.leaves.discard(here.parent.index)
            for child in here.children:
                if child.kept:
                    attached.append(child)
                else:
                    self._offer(child)
        for here in attached:
            self._value(here)
            self.requeue(here)
        return attached

    def detach(self, node: Node) -> None:
        """The client loses this node, which is a leaf of what it has."""
        node.sent = False
        self.leaves.discard(node.index)
        self.missing[node.piece.level] += 1
        for child in node.children:
            self.offers.discard(child.index)
        self._value(node)
        self._offer(node)
        if node.parent:
            node.parent.present_children -= 1
            self._value(node.parent)
            self.requeue(node.parent)

    def seen(self, node: Node) -> bool:
        """Whether any pixel shows it, as far as the policy asks."""
        return node.visible > 0 or not self._policy.heeds_view

    def _add(self, node: Node) -> None:
        self.nodes.append(node)
        if node.parent:
            node.parent.children.append(node)

    def _parent(self, piece: Piece) -> Node | None:
        if not self.nodes:
            return None
        rows, columns = self.sizes[piece.level + 1]
        wide = max(1, 2 * self._sides[piece.level + 1] // piece.side)  # chunks of this level along one over them
        row, column = min(piece.row // wide, rows - 1), min(piece.column // wide, columns - 1)  # odd sizes: downwards
        return self.nodes[self._first[piece.level + 1] + row * columns + column]

    def _value(self, node: Node) -> None:
        piece = node.piece
        gain, cost = self._policy.gain(piece, node.visible or piece.texels), self._policy.cost(piece)
        self.visits += 1
        if self._policy.looks_ahead:
            seen = node.visible > 0  # what is not seen adds nothing to what is
            ahead = [child for child in node.children if not child.sent and (child.visible > 0) == seen]
            for child in sorted(ahead, key=lambda child: -child.ratio):  # stable: of equal ones the smaller index
                if child.gain * cost <= gain * child.cost:
                    break
                gain, cost = gain + child.gain, cost + child.cost
        node.gain, node.cost = gain, cost

    def requeue(self, node: Node) -> None:
        """Puts a node into the queue where it belongs, with its present value; elsewhere nothing happens."""
        if not node.sent and (node.parent is None or node.parent.sent):
            self._offer(node)
        elif node.sent and not node.present_children and node.parent:
            seen = self.seen(node)
            key: Any = (1, 0, node.ratio, -node.index) if seen else (0, node.last_seen, node.ratio, -node.index)
            self.leaves.put(node.index, key)

    def _offer(self, node: Node) -> None:
        rank = self.seen(node) + 2 * (node.parent is None)
        self.offers.put(node.index, (-rank, -node.ratio))


def grid(texture: str, pieces: Sequence[Piece]) -> dict[int, tuple[int, int]]:
    """(rows, columns) of chunks of each level. ValueError unless the pieces are all, coarsest first, row by row."""
    sizes: dict[int, tuple[int, int]] = {}
    for piece in pieces:
        rows, columns = sizes.get(piece.level, (0, 0))
        sizes[piece.level] = max(rows, piece.row + 1), max(columns, piece.column + 1)
    top = max(sizes, default=-1)
    fits = list(sizes) == list(range(top, top - len(sizes), -1)) and sizes.get(top) == (1, 1)
    if (
        not fits
        or sum(rows * columns for rows, columns in sizes.values()) != len(pieces)
        or not _in_order(pieces, sizes)
    ):
        raise ValueError(
            f"the {len(pieces)} pieces of {texture!r} are not one mip tail and full finer levels, in order"
        )
    return sizes


def _cut(piece: Piece) -> tuple[int, ...]:
    return piece.level, piece.row, piece.column, piece.texels, piece.side


def _in_order(pieces: Sequence[Piece], sizes: Mapping[int, tuple[int, int]]) -> bool:
    places = (
        (level, row, column)
        for level, (rows, columns) in sizes.items()
        for row in range(rows)
        for column in range(columns)
    )
    return all((p.level, p.row, p.column) == place for p, place in zip(pieces, places, strict=True))


def _first_indices(sizes: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    first, at = {}, 0
    for level, (rows, columns) in sizes.items():
        first[level] = at
        at += rows * columns
    return first
