"""Gather with minimum cuts: every texel from the piece that its label says, all maps with one index.

Inside a piece the exemplar arrives exactly; at a cut the pieces fade into each other over a texel each side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.cut import REACH, SPAN, Labels, block_sources, source_of
from texsynth.model.coherent_score import settled
from texsynth.model.latent import BLOCK

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

FEATHER = np.array([0.25, 0.5, 0.25], np.float32)  # weights of a texel and its two neighbours in a line


@njit(cache=True, nogil=True)
def _settled_blocks(sources, height, width, wrap_y, wrap_x, torus_y, torus_x, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = settled(sources, y, x, height, width, wrap_y, wrap_x, torus_y, torus_x)


@njit(cache=True, parallel=True, nogil=True)
def _gather_cut(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 (one kernel, compiled as a whole)
    stack, positions, labels, sources, quiet, wrap_y, wrap_x, torus_y, torus_x, kernel, normal, offsets, levelled,
    first, last, roll_y, roll_x, out
):  # fmt: skip
    height, width, channels = stack.shape
    rows, columns = positions.shape[:2]
    tall, wide = labels.shape
    reach = len(kernel) // 2
    for line in prange(first, last):
        y = (np.int64(line) + roll_y) % tall
        source = np.empty((len(kernel) ** 2, 2), np.int64)
        weight = np.empty(len(kernel) ** 2, np.float32)
        shift = np.empty(len(levelled), np.float32)
        for column in range(wide):
            x = (column + roll_x) % wide
            by, bx = y // BLOCK, x // BLOCK
            label = np.int64(labels[y, x])
            i, j = by + label // SPAN - REACH, bx + label % SPAN - REACH
            oy, ox = source_of(positions, i, j, y, x, height, width, wrap_y, wrap_x)
            source[0, 0], source[0, 1] = oy, ox
            count = 1
            weight[0] = 1
            if not quiet[by, bx]:
                weight[0] = 0
                for dy in range(-reach, reach + 1):
                    for dx in range(-reach, reach + 1):
                        ny, nx = y + dy, x + dx
                        wy, wx = ny, nx
                        if torus_y:
                            wy = wy % tall
                        if torus_x:
                            wx = wx % wide
                        if wy < 0 or wy >= tall or wx < 0 or wx >= wide:
                            continue
                        label = np.int64(labels[wy, wx])
                        i, j = ny // BLOCK + label // SPAN - REACH, nx // BLOCK + label % SPAN - REACH
                        py, px = source_of(positions, i, j, y, x, height, width, wrap_y, wrap_x)
                        share = kernel[dy + reach] * kernel[dx + reach]
                        known = -1
                        for k in range(count):
                            if source[k, 0] == py and source[k, 1] == px:
                                known = k
                                break
                        if known < 0:
                            known = count
                            source[count, 0], source[count, 1], weight[count] = py, px, 0
                            count += 1
                        weight[known] += share
            whole = np.float32(0)
            for k in range(count):
                whole += weight[k]
                if not wrap_y:
                    source[k, 0] = min(max(source[k, 0], 0), height - 1)
                if not wrap_x:
                    source[k, 1] = min(max(source[k, 1], 0), width - 1)
            at = line - first
            if count == 1:
                for c in range(channels):
                    out[at, column, c] = stack[source[0, 0], source[0, 1], c]
            else:
                for c in range(channels):
                    total = np.float32(0)
                    for k in range(count):
                        total += weight[k] * stack[source[k, 0], source[k, 1], c]
                    out[at, column, c] = total / whole
                if normal >= 0:  # a blend of vectors is shorter than they are
                    length, wanted = np.float32(1e-12), np.float32(0)
                    for c in range(normal, normal + 3):
                        length += (2 * out[at, column, c] - 1) ** 2
                    for k in range(count):
                        square = np.float32(0)
                        for c in range(normal, normal + 3):
                            square += (2 * stack[source[k, 0], source[k, 1], c] - 1) ** 2
                        wanted += weight[k] / whole * np.sqrt(square)
                    scale = wanted / np.sqrt(length)
                    for c in range(normal, normal + 3):
                        value = (2 * out[at, column, c] - 1) * scale * 0.5 + 0.5
                        out[at, column, c] = min(max(value, np.float32(0)), np.float32(1))
            if len(levelled) == 0:
                continue
            # offsets run smoothly inside a piece: between the middles of the nearest blocks of the same piece
            top, left = (y - BLOCK // 2) // BLOCK, (x - BLOCK // 2) // BLOCK
            down = np.float32((y - BLOCK // 2) % BLOCK + 0.5) / BLOCK
            right = np.float32((x - BLOCK // 2) % BLOCK + 0.5) / BLOCK
            for wider in range(3):  # a texel at a cut may lie beyond the blocks of its piece
                shares = np.float32(0)
                shift[:] = 0
                for u in range(top - wider, top + 2 + wider):
                    for v in range(left - wider, left + 2 + wider):
                        wu, wv = u, v
                        if torus_y:
                            wu = wu % rows
                        if torus_x:
                            wv = wv % columns
                        if wu < 0 or wu >= rows or wv < 0 or wv >= columns:
                            continue
                        py, px = sources[wu, wv, 0] + y - u * BLOCK, sources[wu, wv, 1] + x - v * BLOCK
                        if wrap_y:
                            py = py % height
                        if wrap_x:
                            px = px % width
                        if py != oy or px != ox:
                            continue
                        share = np.float32(1)
                        if wider == 0:
                            share = (down if u > top else 1 - down) * (right if v > left else 1 - right)
                        shares += share
                        for c in range(len(levelled)):
                            shift[c] += share * offsets[wu, wv, c]
                if shares > 0:
                    for c in range(len(levelled)):
                        value = out[at, column, levelled[c]] + shift[c] / shares
                        out[at, column, levelled[c]] = min(max(value, np.float32(0)), np.float32(1))
                    break


@dataclass(frozen=True)
class Cuts:
    """Where each texel is fetched from at full size: what `cut.cut_overlaps` found, ready for `gather_cut`.

    labels: uint8 (8 h, 8 w). positions: int32 (h, w, 2), what the labels refer to. sources: int32 (h, w, 2), where each
    block's middle comes from (as the block's top left). quiet: bool (h, w), blocks with no cut in sight. roll: texel
    (y, x) of this field that the result begins with; not (0, 0) on a torus only.
    """

    labels: Labels
    positions: Ints
    sources: Ints
    quiet: NDArray[np.bool_]
    roll: tuple[int, int]

    @classmethod
    def of(
        cls, labels: Labels, positions: Ints, size: tuple[int, int], wraps: tuple[bool, bool],
        torus: tuple[bool, bool], roll: tuple[int, int],
    ) -> Cuts:  # fmt: skip
        """From the labels of `positions` in an exemplar of `size` that wraps as `wraps` says."""
        sources, uniform = block_sources(labels, positions, (0, 0))
        quiet = np.empty(uniform.shape, np.bool_)
        _settled_blocks(sources, *size, *wraps, *torus, quiet)
        edges = ["wrap" if closed else "nearest" for closed in torus]
        quiet &= ndimage.minimum_filter(uniform, 3, mode=edges)
        return cls(labels, positions, sources, quiet, roll)

    def index(self) -> Ints:
        """int32 (h, w, 2): the exemplar texel that the middle of each block of the result comes from, minus (4, 4)."""
        return block_sources(self.labels, self.positions, self.roll)[0]


def gather_cut(
    stack: Floats,
    cuts: Cuts,
    rows: tuple[int, int],
    *,
    wraps: tuple[bool, bool],
    torus: tuple[bool, bool],
    normal: int,
    offsets: Floats | None,
    levelled: tuple[int, ...],
) -> Floats:
    """The texel rows `rows` (first, last) of the result, float32 (rows, 8 w, K); arguments as of `gather.gather`.

    offsets: float32 (h, w, n), from `levelling.level` of `cuts.sources`, for the n channels `levelled`, or None.
    """
    out = np.empty((rows[1] - rows[0], cuts.labels.shape[1], stack.shape[2]), np.float32)
    if offsets is None:
        offsets, levelled = np.zeros((1, 1, 0), np.float32), ()
    _gather_cut(
        stack, cuts.positions, cuts.labels, cuts.sources, cuts.quiet, *wraps, *torus, FEATHER, normal, offsets,
        np.array(levelled, np.int64), *rows, *cuts.roll, out,
    )  # fmt: skip
    return out
