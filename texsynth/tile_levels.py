"""Mip levels of the tiles of a UDIM set, cut out of those of the texture in which the tiles lie side by side.

A tile's own levels know nothing of its neighbours, so beyond a chart's border they could only repeat the nearest texel
where the surface goes on in another tile. On the whole texture's levels these texels show what lies across.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.material_chain import Rows
from texsynth.material import MapKind
from texsynth.storage import Storage, map_levels
from texsynth.surface.gutters import LARGEST, Gutters

Level = tuple[int, int, NDArray[Any]]


@dataclass(frozen=True)
class TileLevels:
    """What `texsynth.storage.Gutters` is, of one tile: `side` texels from (`row`, `column`) of the whole texture on.

    charts: uint8 (side, side), None: all. levels: of each map the whole texture's levels of at most `LARGEST` texels a
    side, by number.
    """

    charts: NDArray[np.uint8] | None
    levels: Mapping[MapKind, Mapping[int, NDArray[Any]]]
    row: int
    column: int
    side: int

    def refilled(self, kind: MapKind, chain: Iterator[Level]) -> Iterator[Level]:
        """The chain of one map, (level, first row, rows), with what the whole texture has in its place."""
        for level, first, rows in chain:
            whole = self.levels[kind].get(level)
            if whole is None:
                yield level, first, rows
                continue
            top, left = (self.row >> level) + first, self.column >> level
            yield level, first, np.ascontiguousarray(whole[top : top + len(rows), left : left + rows.shape[1]])


@dataclass(frozen=True)
class WholeLevels:
    """Of the texture in which the tiles lie. charts, levels: as of `TileLevels`, of all of it."""

    charts: NDArray[np.uint8] | None
    levels: Mapping[MapKind, Mapping[int, NDArray[Any]]]

    @classmethod
    def of(cls, gutters: Gutters, maps: Mapping[MapKind, Rows], storage: Storage) -> WholeLevels:
        """From its maps, as they will be published."""
        return cls(gutters.charts, {kind: _small(map_levels(kind, maps, storage, gutters)) for kind in maps})

    def tile(self, row: int, column: int, side: int) -> TileLevels:
        """The part of one tile, whose first texel is at (`row`, `column`)."""
        here = None if self.charts is None else self.charts[row : row + side, column : column + side]
        charts = None if here is None or here.all() else here
        return TileLevels(charts, self.levels, row, column, side)


def _small(chain: Iterator[Level]) -> dict[int, NDArray[Any]]:
    """The levels beyond the first that have at most `LARGEST` texels a side."""
    parts = dict[int, list[NDArray[Any]]]()
    for level, _, rows in chain:
        if level > 0 and rows.shape[1] <= LARGEST:
            parts.setdefault(level, []).append(rows.copy())
    return {level: np.concatenate(each) for level, each in parts.items()}
