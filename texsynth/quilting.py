"""Quilting: fields of pieces that are too large are replaced by other parts of the exemplar that fit around them.

A result made of a few huge pieces is a copy with seams. Each piece that is too large is cut like a chequerboard with a
random origin, and every other field of it is fetched from where the exemplar best continues the field's surroundings
(Efros and Freeman, "Image quilting", 2001; here the search is exact), away from where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.model.coherent_score import Keys, _into
from texsynth.model.latent import BLOCK
from texsynth.pieces import fields_of_large_pieces, label_pieces

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Places = NDArray[np.int64]
Doubles = NDArray[np.float64]

APART = 0.08  # of the exemplar's side: a source nearer than this to the old one is the same piece to the eye
TWICE = 0.01  # of the result: a piece that is shown a second time can be told from there on
MERGES = 2  # texels; a source that continues a neighbour this nearly would grow its piece
# In units of `Keys.spacing` for each token of the surroundings: a phase error of one tolerance, one nat of guidance,
# and use of the exemplar's cells e times as often as even.
PHASE, GUIDE, EVEN = 1.0, 0.2, 0.15
MOST_CANDIDATES = 2**14  # places that are compared at once; among more, a grid of them and then the best one's vicinity
IMPOSSIBLE = np.float32(1e30)


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _costs(  # type: ignore[no-untyped-def]
    candidates, members, ring, home, positions, tokens, stride, height, width, wrap_y, wrap_x, guide, guide_keys,
    waves, phases, phase_weight, guide_weight, apart, use_cost, cell, out
):  # fmt: skip
    limit_y, limit_x = (tokens.shape[0] - 1) * stride, (tokens.shape[1] - 1) * stride
    rows, columns = positions.shape[:2]
    y0, x0 = members[0, 0], members[0, 1]
    share = np.float32(max(1, len(ring))) / np.float32(len(members))
    for n in prange(len(candidates)):
        ey, ex = candidates[n, 0], candidates[n, 1]
        total = np.float32(0)
        dy, dx = ey - home[0], ex - home[1]
        if wrap_y:
            dy = (dy + height // 2) % height - height // 2
        if wrap_x:
            dx = (dx + width // 2) % width - width // 2
        possible = abs(dy) > apart or abs(dx) > apart
        for m in range(len(members)):
            py, px = ey + (members[m, 0] - y0) * BLOCK, ex + (members[m, 1] - x0) * BLOCK
            if (not wrap_y and (py < 0 or py > limit_y)) or (not wrap_x and (px < 0 or px > limit_x)):
                possible = False
                break
            py, px = _into(py, height, limit_y, wrap_y), _into(px, width, limit_x, wrap_x)
            total += use_cost[min(py // cell, use_cost.shape[0] - 1), min(px // cell, use_cost.shape[1] - 1)] * share
            for f in range(guide.shape[2]):
                d = guide[members[m, 0] % rows, members[m, 1] % columns, f] - guide_keys[py // stride, px // stride, f]
                total += guide_weight * d * d
        if not possible:
            out[n] = IMPOSSIBLE
            continue
        for w in range(waves.shape[0]):
            turn = waves[w, 0] * ey + waves[w, 1] * ex - phases[y0 % rows, x0 % columns, w]
            turn -= np.round(turn)
            total += np.float32(turn * turn * phase_weight * len(ring))
        for r in range(len(ring)):
            ry, rx = ring[r, 0] % rows, ring[r, 1] % columns
            py, px = ey + (ring[r, 0] - y0) * BLOCK, ex + (ring[r, 1] - x0) * BLOCK
            py, px = _into(py, height, limit_y, wrap_y), _into(px, width, limit_x, wrap_x)
            qy, qx = positions[ry, rx, 0], positions[ry, rx, 1]
            if abs(py - qy) <= MERGES and abs(px - qx) <= MERGES:
                total = IMPOSSIBLE
                break
            for c in range(tokens.shape[2]):
                d = tokens[py // stride, px // stride, c] - tokens[qy // stride, qx // stride, c]
                total += d * d
        out[n] = total


@dataclass
class _Quilt:
    """The field that is being worked on; arguments as of `replace_large_pieces`."""

    keys: Keys
    positions: Ints
    torus: tuple[bool, bool]
    guide: Floats
    phases: Doubles
    cell: int

    def __post_init__(self) -> None:
        keys = self.keys
        self.limits = [(n - 1) * keys.stride for n in keys.tokens.shape[:2]]
        self.cells = -(-keys.size[0] // self.cell), -(-keys.size[1] // self.cell)
        self.use = np.zeros(self.cells)
        self.count(self.positions.reshape(-1, 2), 1)
        self.step = keys.stride  # between the candidates
        while (self.limits[0] // self.step + 1) * (self.limits[1] // self.step + 1) > MOST_CANDIDATES:
            self.step += keys.stride

    def count(self, sources: Ints, sign: int) -> None:
        """Add or take away the use of exemplar cells by tokens from `sources` (n, 2)."""
        np.add.at(self.use, (sources[:, 0] // self.cell, sources[:, 1] // self.cell), sign)

    def replace(self, members: Places, rng: np.random.Generator) -> None:
        """Fetch the tokens `members` (n, 2) as one piece from where it fits best, if there is such a place."""
        at = tuple((members % self.positions.shape[:2]).T)
        self.count(self.positions[at], -1)
        offset = rng.integers(0, self.step // self.keys.stride, 2) * self.keys.stride
        lines = [np.arange(offset[axis], self.limits[axis] + 1, self.step) for axis in range(2)]
        best, cost = self._best(members, _grid(*lines))
        if self.step > self.keys.stride and cost < IMPOSSIBLE:
            around = np.arange(self.keys.stride - self.step, self.step, self.keys.stride)
            best, cost = self._best(members, self._into(best + _grid(around, around)))
        if cost < IMPOSSIBLE:
            self.positions[at] = self._into(best + (members - members[0]) * BLOCK)
        self.count(self.positions[at], 1)

    def _best(self, members: Places, candidates: Places) -> tuple[Places, float]:
        keys, size = self.keys, self.positions.shape[:2]
        even = self.positions.shape[0] * self.positions.shape[1] / self.use.size
        use_cost = (EVEN * keys.spacing * np.log((self.use / even + 0.1) / 1.1)).astype(np.float32)
        costs = np.empty(len(candidates), np.float32)
        _costs(
            candidates, members, _ring(members, size, self.torus), self.positions[tuple(members[0] % size)],
            self.positions, keys.tokens, keys.stride, *keys.size, *keys.wraps, self.guide, keys.guide, keys.waves,
            self.phases, 0.5 * PHASE * keys.spacing / keys.tolerance**2, np.float32(0.5 * GUIDE * keys.spacing),
            int(APART * min(keys.size)), use_cost, self.cell, costs,
        )  # fmt: skip
        return candidates[costs.argmin()], float(costs.min())

    def _into(self, places: Places) -> Places:
        """Places brought into the exemplar: wrapped, or clamped to the last whole block."""
        return np.where(self.keys.wraps, places % self.keys.size, places.clip(0, self.limits))


def replace_large_pieces(
    keys: Keys,
    positions: Ints,
    torus: tuple[bool, bool],
    guide: Floats,
    phases: Doubles,
    longest: float,
    limit: float,
    cell: int,
    rng: np.random.Generator,
) -> Ints:
    """Positions int32 (h, w, 2) in which no piece is much longer than `longest` tokens.

    limit: side in tokens of the fields that longer pieces are cut into. torus, guide, phases: as in
    `coherent_score.attend`. cell: side in texels of the exemplar's cells that are to be used evenly.
    """
    fields, count = fields_of_large_pieces(positions, keys.size, keys.wraps, torus, longest, limit, rng)
    quilt = _Quilt(keys, positions.copy(), torus, guide, phases, cell)
    order = np.argsort(fields, axis=None, kind="stable")
    starts = np.searchsorted(fields.ravel()[order], np.arange(count + 1))
    for field in rng.permutation(count):
        flat = order[starts[field] : starts[field + 1]]
        quilt.replace(_members(flat, fields.shape, torus), rng)
    return quilt.positions


def replace_repeated(
    keys: Keys, positions: Ints, torus: tuple[bool, bool], guide: Floats, phases: Doubles, rng: np.random.Generator
) -> Ints:
    """Positions int32 (h, w, 2) in which no large part of the exemplar is shown twice; arguments as above.

    Of two pieces that share blocks the smaller one's are fetched from elsewhere: for results no larger than the
    exemplar.
    """
    pieces = label_pieces(positions, keys.size, keys.wraps, torus).ravel()
    order = np.lexsort((pieces, -np.bincount(pieces)[pieces]))  # the largest piece first
    blocks = (positions.reshape(-1, 2)[order] + BLOCK // 2) // BLOCK
    first, seen = np.unique(blocks, axis=0, return_index=True, return_inverse=True)[1:]
    repeated = order[first[seen.ravel()] != np.arange(len(order))]
    quilt = _Quilt(keys, positions.copy(), torus, guide, phases, BLOCK)
    names, counts = np.unique(pieces[repeated], return_counts=True)
    for piece in rng.permutation(names[counts >= TWICE * len(pieces)]):
        quilt.replace(_members(repeated[pieces[repeated] == piece], positions.shape[:2], torus), rng)
    return quilt.positions


def _members(flat: Places, size: tuple[int, ...], torus: tuple[bool, bool]) -> Places:
    """Tokens (n, 2) from their numbers, as seen from the first one across the edge that wraps."""
    members = np.stack([flat // size[1], flat % size[1]], -1)
    for axis, side in enumerate(size):
        if torus[axis]:
            apart = members[:, axis] - members[0, axis]
            members[:, axis] = members[0, axis] + (apart + side // 2) % side - side // 2
    return members


def _grid(ys: Places, xs: Places) -> Places:
    return np.stack(np.meshgrid(ys, xs, indexing="ij"), -1).reshape(-1, 2)


def _ring(members: Places, size: tuple[int, ...], torus: tuple[bool, bool]) -> Places:
    """The tokens around `members` (n, 2), in the same coordinates."""
    around = _grid(np.arange(-1, 2), np.arange(-1, 2))
    every = (members[:, None] + around).reshape(-1, 2)
    for axis in range(2):
        if not torus[axis]:
            every = every[(every[:, axis] >= 0) & (every[:, axis] < size[axis])]
    inside = {(int(y) % size[0], int(x) % size[1]) for y, x in members}
    ring = {(int(y), int(x)) for y, x in every if (int(y) % size[0], int(x) % size[1]) not in inside}
    return np.array(sorted(ring), np.int64).reshape(-1, 2)
