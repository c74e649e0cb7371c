"""What one viewer has of one version of a texture, with the two queues that the scheduler draws from.

What the client has is always the top of the tree of `chunk_plan.Plan`: a chunk is offered once its parent is there, and
only a leaf of what is there can go, never the root. So on the way from the root to any chunk at most one is on offer,
and at most one is a leaf that can go. Chunks are told by their numbers in the plan.

A chunk's weight is what feedback says of it alone; `visible` is the sum over it and all finer ones. Weights are whole
numbers, so the sums are exact however often they change. A change of weights values each chunk on the ways to the root
once, and changes at most two entries of the queues for each.

The value of a chunk looks ahead: its block is the chunk with those children's blocks that raise gain / cost, the best
first. That is Horn's maximal set but for what follows a child's first block: a lower bound, of O(1) a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from texsynth_rpc.chunk_plan import Plan
from texsynth_rpc.lazy_heap import LazyHeap
from texsynth_rpc.priorities import Policy

ROOT = 0  # the number of the mip tail


class Tree:
    """One version of a texture at one viewer."""

    def __init__(self, texture: str, version: int, plan: Plan, policy: Policy) -> None:
        self.texture, self.version, self.plan = texture, version, plan
        self.pieces, self._policy = plan.pieces, policy
        count = len(plan)
        self.sent = bytearray(count)  # it is at the client or on the way
        self.kept = bytearray(count)  # the client has its bytes, but not yet its parent
        self.weights: dict[int, int] = {}  # what feedback says of each, where that is not 0
        self.visible = [0] * count
        self._last_seen: dict[int, int] = {}  # number of the event after which no pixel showed it any more
        self._present_children = [0] * count  # that are sent
        self.missing = {level: rows * columns for level, (rows, columns) in plan.sizes.items()}
        self.offers: LazyHeap[int] = LazyHeap()
        self.leaves: LazyHeap[int] = LazyHeap()
        self._has_leaves = False
        self.visits = 0  # nodes valued anew
        self._gains, self._costs = self._first_values()  # of the blocks
        self._ratios = [gain / cost for gain, cost in zip(self._gains, self._costs, strict=True)]
        self._offer(ROOT)

    def _first_values(self) -> tuple[list[float], list[float]]:
        """Found once for all who look at the texture by the same policy."""
        plan, policy = self.plan, self._policy
        if policy not in plan.valued:
            self._gains, self._costs, self._ratios = ([nothing] * len(plan) for nothing in (0.0, 1.0, 0.0))
            for index in reversed(range(plan.ready)):
                self._value(index)
            plan.valued[policy] = self._gains, self._costs
        gains, costs = plan.valued[policy]
        return gains.copy(), costs.copy()

    def reweigh(self, weights: Mapping[int, int], now: int) -> None:
        """Feedback says other weights for these chunks, the others stay. now: the number of the event."""
        levels, parents, visible = self.plan.levels, self.plan.parents, self.visible
        changes: dict[int, dict[int, int]] = {level: {} for level in self.plan.sizes}
        for index, weight in weights.items():
            changes[levels[index]][index] = weight - self.weights.get(index, 0)
            if weight:
                self.weights[index] = weight
            else:
                del self.weights[index]
        for level in reversed(changes):  # the finest first: a chunk is valued after its children
            above = changes.get(level + 1, {})
            for index, change in changes[level].items():
                visible[index] += change
                if not visible[index]:
                    self._last_seen[index] = now
                self._value(index)
                self.requeue(index)
                if index != ROOT:
                    parent = parents[index]
                    above[parent] = above.get(parent, 0) + change

    def grow(self, plan: Plan) -> None:
        """More of the version can be sent. plan: of the same chunks. Each is valued anew."""
        self.plan, self.pieces = plan, plan.pieces
        for index in reversed(range(plan.ready)):
            self._value(index)
            self.requeue(index)

    def attach(self, index: int) -> list[int]:
        """The client gets this chunk, which is on offer; returns it and all kept ones that become usable by it."""
        attached = [index]
        for here in attached:  # grows in the loop
            self.sent[here], self.kept[here] = 1, 0
            self.offers.discard(here)
            self.missing[self.plan.levels[here]] -= 1
            if here != ROOT:
                parent = self.plan.parents[here]
                self._present_children[parent] += 1
                self.leaves.discard(parent)
            for child in self.plan.children[here]:
                if self.kept[child]:
                    attached.append(child)
                else:
                    self._offer(child)
        if self._has_leaves:
            for here in attached:
                self._value(here)
                self.requeue(here)
        return attached

    def detach(self, index: int) -> None:
        """The client loses this chunk, which is a leaf of what it has."""
        self.sent[index] = 0
        self.leaves.discard(index)
        self.missing[self.plan.levels[index]] += 1
        for child in self.plan.children[index]:
            self.offers.discard(child)
        self._value(index)
        self._offer(index)
        if index != ROOT:
            parent = self.plan.parents[index]
            self._present_children[parent] -= 1
            self._value(parent)
            self.requeue(parent)

    def find_leaves(self) -> None:
        """From now on `leaves` holds those that can go. Memory that is enough for all needs none, and they cost."""
        if not self._has_leaves:
            self._has_leaves = True
            for index, sent in enumerate(self.sent):
                if sent:
                    self._value(index)
                    self.requeue(index)

    def seen(self, index: int) -> bool:
        """Whether any pixel shows it, as far as the policy asks."""
        return self.visible[index] > 0 or not self._policy.heeds_view

    def _value(self, index: int) -> None:
        piece, visible = self.pieces[index], self.visible
        shown = visible[index]
        gain, cost = self._policy.gain(piece, shown or piece.texels), self._policy.cost(piece)
        self.visits += 1
        if self._policy.looks_ahead:
            seen, sent, ratios = shown > 0, self.sent, self._ratios  # what is not seen adds nothing to what is
            ready = self.plan.ready
            ahead = [
                child
                for child in self.plan.children[index]
                if child < ready and not sent[child] and (visible[child] > 0) == seen
            ]
            ahead.sort(key=ratios.__getitem__, reverse=True)  # stable: of equal ones the smaller index
            for child in ahead:
                if self._gains[child] * cost <= gain * self._costs[child]:
                    break
                gain, cost = gain + self._gains[child], cost + self._costs[child]
        self._gains[index], self._costs[index], self._ratios[index] = gain, cost, gain / cost

    def requeue(self, index: int) -> None:
        """Puts a chunk into the queue where it belongs, with its present value; elsewhere nothing happens."""
        if not self.sent[index]:
            if index == ROOT or self.sent[self.plan.parents[index]]:
                self._offer(index)
        elif self._has_leaves and not self._present_children[index] and index != ROOT:
            seen, ratio = self.seen(index), self._ratios[index]
            key: Any = (1, 0, ratio, -index) if seen else (0, self._last_seen.get(index, 0), ratio, -index)
            self.leaves.put(index, key)

    def _offer(self, index: int) -> None:
        if index >= self.plan.ready:
            return
        rank = self.seen(index) + 2 * (index == ROOT)
        self.offers.put(index, (-rank, -self._ratios[index]))
