"""Windows over a plane that is too large for a network at once: each sees beyond its edges, neighbours fade over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth.material import Float32


def folded(at: NDArray[np.intp], size: int, wraps: bool) -> NDArray[np.intp]:
    """Positions on an endless axis as positions in 0..size - 1: the axis goes on where it wraps, else is mirrored."""
    return at % size if wraps else np.minimum(at % (2 * size), 2 * size - 1 - at % (2 * size))


@dataclass(frozen=True)
class Span:
    """A window along one axis, in tokens: it decides start..stop, and sees `count` from start - margin on."""

    start: int
    stop: int
    count: int
    size: int
    margin: int
    wraps: bool

    def seen(self, texels: int) -> NDArray[np.intp]:
        """What it sees, as positions on an axis with `texels` for each token: (count texels,)."""
        return folded(self._positions(texels), self.size * texels, self.wraps)

    def weights(self, texels: int) -> Float32:
        """How much of what it sees is taken from here: (count texels,); over all windows they sum to 1 everywhere."""
        where = self._positions(texels)
        rise = self._ramp(where - self.start * texels, texels) if self.wraps or self.start > 0 else 1.0
        fall = self._ramp(where - self.stop * texels, texels) if self.wraps or self.stop < self.size else 0.0
        inside = self.wraps | ((where >= 0) & (where < self.size * texels))
        return np.where(inside, rise - fall, 0.0).astype(np.float32)

    def _positions(self, texels: int) -> NDArray[np.intp]:
        return np.arange((self.start - self.margin) * texels, (self.start - self.margin + self.count) * texels)

    def _ramp(self, distance: NDArray[np.intp], texels: int) -> NDArray[np.float64]:
        return np.clip((distance + 0.5) / (2 * self.margin * texels) + 0.5, 0, 1)


@dataclass(frozen=True)
class Window:
    """A window over a plane of tokens; arrays are (H, W, C) with `texels` x `texels` elements for each token."""

    rows: Span
    columns: Span

    def take(self, array: NDArray[Any], texels: int) -> NDArray[Any]:
        """What the window sees of `array`, a copy."""
        return array[np.ix_(self.rows.seen(texels), self.columns.seen(texels))]

    def add(self, array: Float32, part: Float32, texels: int) -> None:
        """Add the window's share of `part`, made from what it saw, to `array`."""
        weights = self.rows.weights(texels)[:, None] * self.columns.weights(texels)
        np.add.at(array, np.ix_(self.rows.seen(texels), self.columns.seen(texels)), weights[..., None] * part)


def windows(
    shape: tuple[int, int], torus: tuple[bool, bool], *, step: int, margin: int, multiple: int = 1
) -> Iterator[Window]:
    """Windows over `shape` tokens that see at most step + 2 margin a side, rounded up to a multiple of `multiple`.

    Along an axis that does not wrap and is not longer than that there is one window, without fading.
    """
    for rows in _spans(shape[0], torus[0], step, margin, multiple):
        for columns in _spans(shape[1], torus[1], step, margin, multiple):
            yield Window(rows, columns)


def _spans(size: int, wraps: bool, step: int, margin: int, multiple: int) -> list[Span]:
    parts = -(-size // step)
    edges = [size * part // parts for part in range(parts + 1)]
    if size <= step + 2 * margin and not wraps:  # seen at once, nothing to fade over
        return [Span(0, size, size + -size % multiple, size, 0, wraps)]
    spans = []
    for start, stop in pairwise(edges):
        count = stop - start + 2 * margin
        spans.append(Span(start, stop, count + -count % multiple, size, margin, wraps))
    return spans
