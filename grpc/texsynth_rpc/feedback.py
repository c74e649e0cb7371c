"""Feedback of virtual texturing, in arrays: a view has thousands of places, and comes ten times a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from texsynth_rpc.chunk_plan import Integers, Plan
from texsynth_rpc.priorities import falloff

WEIGHT_UNIT = 256  # of a pixel that is looked at: weights are whole numbers
Angles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Seen:
    """How many pixels want a level of each place, and where they are on the screen: (n,) each.

    Of a level within the mip tail any place counts. A place that does not exist is ignored: a client may be a version
    behind. Raises ValueError for numbers out of range.
    """

    level: Integers
    row: Integers
    column: Integers
    pixels: Integers
    x: Angles
    """Degrees from the middle of the screen, of the pixels' centre; to the right."""
    y: Angles
    """Degrees downwards."""

    def __post_init__(self) -> None:
        wrong = ~np.isfinite(self.x + self.y)
        for some in (self.level, self.row, self.column, self.pixels):
            wrong |= some < 0
        if wrong.any():
            at = int(wrong.argmax())
            told = ", ".join(f"{one.name} {getattr(self, one.name)[at]}" for one in fields(self))
            raise ValueError(f"{told}: a number below 0 or a direction that is not finite")


@dataclass(frozen=True)
class Row:
    """One line of a `Seen`, of a texture."""

    texture: str
    level: int
    row: int
    column: int
    pixels: int
    x: float = 0.0
    y: float = 0.0


def tables(rows: Iterable[Row]) -> dict[str, Seen]:
    """By texture. Raises ValueError as `Seen`."""
    some: dict[str, list[Row]] = {}
    for row in rows:
        some.setdefault(row.texture, []).append(row)
    return {texture: _table(of_texture) for texture, of_texture in some.items()}


def _table(rows: Sequence[Row]) -> Seen:
    whole = np.array([(row.level, row.row, row.column, row.pixels) for row in rows], np.int64).T
    x, y = np.array([(row.x, row.y) for row in rows], np.float64).T
    return Seen(whole[0], whole[1], whole[2], whole[3], x, y)


def weights_of(seen: Seen, plan: Plan, gaze: tuple[float, float] | None, halves_at: float) -> dict[int, int]:
    """Of chunks by number, above 0: pixels by their distance from the gaze, in units of 1 / WEIGHT_UNIT."""
    index = plan.indices(seen.level, seen.row, seen.column)
    there = (index >= 0) & (seen.pixels > 0)
    if not there.any():
        return {}
    index, factor = index[there], np.ones(int(there.sum()))
    if gaze:
        factor = falloff(np.hypot(seen.x[there] - gaze[0], seen.y[there] - gaze[1]), halves_at)
    weight = np.maximum(1, np.rint(seen.pixels[there] * factor * WEIGHT_UNIT).astype(np.int64))
    order = np.argsort(index, kind="stable")
    index, weight = index[order], weight[order]
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    return dict(zip(index[starts].tolist(), np.add.reduceat(weight, starts).tolist(), strict=True))
