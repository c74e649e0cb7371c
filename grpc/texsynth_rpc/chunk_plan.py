"""How a texture is cut, as a tree of its chunks: what all who look at it share.

The mip tail is the root; the parent of a chunk is the one of the next coarser level in its place. Chunks are numbered
in the order of `mipmap.chunks.layout`, the coarsest first, so a parent has a smaller number than its children.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from texsynth_rpc.priorities import Piece, Policy

Integers = NDArray[np.int64]


class Plan(Sequence[Piece]):
    """The pieces of a texture and their places in the tree.

    ready: how many of them, from the first, can be sent so far; of the others only place and memory are known. None:
    all. name: for the message of ValueError, which is raised for pieces that are not in the order of
    `mipmap.chunks.layout`.
    """

    def __init__(self, name: str, pieces: Sequence[Piece], ready: int | None = None) -> None:
        self.pieces = tuple(pieces)
        self.ready = len(self.pieces) if ready is None else ready
        self.sizes = grid(name, self.pieces)
        self.levels = [piece.level for piece in self.pieces]
        self.longest = max((piece.byte_length for piece in self.pieces), default=0)
        self._sides = {piece.level: piece.side for piece in self.pieces}
        self._first = _first_indices(self.sizes)
        # rows, columns and first chunk of each level, the finest first
        self._table = np.array([(*self.sizes[k], self._first[k]) for k in reversed(self.sizes)], np.int64).T
        self.parents = [self._parent(piece) for piece in self.pieces]
        children: list[list[int]] = [[] for _ in self.pieces]
        for index, parent in enumerate(self.parents[1:], 1):
            children[parent].append(index)
        self.children = [tuple(some) for some in children]
        self.valued: dict[Policy, tuple[list[float], list[float]]] = {}
        """Gain and cost of each chunk's block while nothing is seen and nothing sent, as `chunk_tree.Tree` found."""

    def grown(self, pieces: Sequence[Piece], ready: int) -> Plan:
        """The same chunks, of which more are ready. pieces: all of them."""
        found = copy.copy(self)
        found.pieces, found.ready, found.valued = tuple(pieces), ready, {}
        found.longest = max(piece.byte_length for piece in found.pieces)
        return found

    @staticmethod
    def of(name: str, pieces: Sequence[Piece]) -> Plan:
        """Of pieces that may be one already."""
        return pieces if isinstance(pieces, Plan) else Plan(name, pieces)

    @overload
    def __getitem__(self, index: int) -> Piece: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Piece]: ...
    def __getitem__(self, index: int | slice) -> Piece | Sequence[Piece]:
        return self.pieces[index]

    def __len__(self) -> int:
        return len(self.pieces)

    def is_cut_as(self, other: Plan) -> bool:
        """Whether the chunks of the two hold the same texels."""
        return self.parents is other.parents or [_cut(piece) for piece in self] == [_cut(piece) for piece in other]

    def indices(self, level: Integers, row: Integers, column: Integers) -> Integers:
        """(n,) the chunk that holds each place, the mip tail for all its levels; -1 outside the texture.

        A level finer than all there are counts for the chunk of the finest one in its place; row and column of it
        count chunks of the finest one's side.
        """
        top, finest = self.levels[0], self.levels[-1]
        shift = np.clip(finest - level, 0, 62)
        rows, columns, first = self._table[:, np.clip(level, finest, top) - finest]
        row, column = row >> shift, column >> shift
        inside = (row < rows) & (column < columns)
        return np.where(level >= top, 0, np.where(inside, first + row * columns + column, -1))

    def _parent(self, piece: Piece) -> int:
        """-1: none."""
        if piece.level + 1 not in self.sizes:
            return -1
        rows, columns = self.sizes[piece.level + 1]
        wide = max(1, 2 * self._sides[piece.level + 1] // piece.side)  # chunks of this level along one over them
        row, column = min(piece.row // wide, rows - 1), min(piece.column // wide, columns - 1)  # odd sizes: downwards
        return self._first[piece.level + 1] + row * columns + column


def grid(name: str, pieces: Sequence[Piece]) -> dict[int, tuple[int, int]]:
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
        raise ValueError(f"the {len(pieces)} pieces of {name!r} are not one mip tail and full finer levels, in order")
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
