"""Bands of grain: where lines of an exemplar run far, as in wood and brushed metal, no piece may be moved across them.

Each band of the result shows rows (or columns) of the exemplar that follow each other, all along it, so that no line
ends where two pieces meet. The bands are of many widths and begin anywhere in the exemplar, where the last one's next
rows are alike: nothing repeats, and a band's edge is a line among lines. Of boards (`joints.py`) and of courses whose
bond has no rhythm each is a band, and in any order: none changes its tone, or its height by a texel or two, on its way.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from texsynth.exemplar import Exemplar
from texsynth.grain import Grain, coherence_of, grain_of
from texsynth.joints import joints_of
from texsynth.lattice import Lattice
from texsynth.model.latent import BLOCK

COHERENT = 0.5  # of the gradients' energy: shorter lines need no bands,
JOINTED = 0.3  # unless there are boards
WIDTHS = 0.2, 0.5  # of the exemplar's side: of a band
CANDIDATES = 24  # places where the next band might begin
ALIKE = 12  # texels on either side of an edge that are compared
FEWEST = 4  # boards or courses of an exemplar, for each to be a band; more of uneven ones
CROSSING = 2  # joints across them, at most: what has more is tiles
WIDEST = 2.0  # times the narrower half's median: a wider board is two whose joint was not seen, or more
UNSEEN = 1 / 3  # of the side: as much may be such boards
LIKE_WAVE = 0.3  # as many boards as waves, but for so many: they are even;
EVEN = 0.03  # and where the wave is as crisp, in cycles
ORDERS = 64  # of uneven boards, of which that is taken whose width fits best
TOLERANCE = 0.012  # of the side: how far a line may be moved across itself,
CRISP = 0.004  # and a joint
ENDS = 3.5  # times what is usual across a board: its end
END_PARTS, MARGIN = 4, 0.12  # of a board's width: parts that show an end, and what is left out on either side
ENDED = 0.6  # of the rows must have several boards, for each to be laid whole
MISFIT = 0.1  # logarithm: by which a row's boards may be longer or shorter, so that it tiles


@dataclass(frozen=True)
class Bands:
    """own, lattice: of the exemplar and of the result, the wave of a side of the exemplar, and of the other one too
    where boards are laid whole. shift: float32 (size / 8, size / 8, 2), as `layout.Frame` has it."""

    own: Lattice
    lattice: Lattice
    shift: NDArray[np.float32]


@dataclass(frozen=True)
class _Plan:
    """begins: where bands begin in the result, texels. sources: the row of the exemplar that each begins with. scale:
    rows of the exemplar to a texel of the result."""

    begins: NDArray[np.float64]
    sources: NDArray[np.float64]
    scale: float


def grain_bands(
    exemplar: Exemplar, size: tuple[int, int], torus: tuple[bool, bool], seed: int,
    shift: NDArray[np.float32] | None = None,
) -> Bands | None:  # fmt: skip
    """The bands of a result of `size` (height, width); of boards each is one. None where the exemplar has no such
    grain, or another lattice than that of boards. shift: as `layout.Frame` has it, and the bands follow it."""
    own, _ = exemplar.lattice.fitted(size, torus)
    boards = boards_of(exemplar, exemplar.lattice)
    if boards is None and own is not exemplar.lattice:
        boards = boards_of(exemplar, own)
    if boards is None:
        grain = Grain.NONE if len(own.waves) else grain_of(exemplar.weighted, COHERENT)
        if grain is Grain.NONE:
            return None
        axis = 0 if grain is Grain.LEVEL else 1
    else:
        axis = boards.axis
    blocks = -(-size[0] // BLOCK), -(-size[1] // BLOCK)
    further = np.zeros((*blocks, 2), np.float32) if shift is None else shift.copy()
    places = np.indices(blocks)[axis] * BLOCK - further[:, :, axis]
    first = float(places.min())
    length = int(np.ceil(places.max() - first)) + BLOCK
    rng = np.random.default_rng([seed, 3])
    ends = dict[int, NDArray[np.float64]]()
    if boards is None:
        plan = _planned(exemplar, axis, length, rng)
    else:
        ends = _ends(exemplar, boards, size[1 - axis], torus[1 - axis]) if shift is None else {}
        firsts, widths = boards.joints[:-1], np.diff(boards.joints)
        used = sorted(ends) or list(range(len(firsts)))
        plan = _in_any_order(firsts[used], widths[used], length, torus[axis], rng)
    band = np.searchsorted(plan.begins, places - first, "right") - 1
    further[:, :, axis] += first + (plan.begins - plan.sources / plan.scale)[band]
    waves, scales = np.eye(2)[[axis]] / exemplar.size[axis], [plan.scale]
    if boards is not None and ends:
        waves, scales = np.vstack([waves, np.eye(2)[1 - axis] / exemplar.size[1 - axis]]), [plan.scale, 1.0]
        columns = np.arange(blocks[1 - axis]) * BLOCK
        rows = np.searchsorted(boards.joints, plan.sources, "right") - 1
        laid = [_laid(ends[row], columns, size[1 - axis], torus[1 - axis], rng) for row in rows]
        if torus[axis]:
            laid[-1] = laid[0]
        along = np.array(laid)[np.moveaxis(band, axis, 0)[:, 0]]  # by row of tokens, across and along the boards
        further[:, :, 1 - axis] = along if axis == 0 else along.T
    tolerance = TOLERANCE if boards is None else boards.tolerance
    lattices = [Lattice(waves * each, tolerance, own.strength) for each in (1.0, np.array(scales)[:, None])]
    return Bands(lattices[0], lattices[1], further)


def _ends(exemplar: Exemplar, boards: Boards, length: int, closes: bool) -> dict[int, NDArray[np.float64]]:
    """By row of boards, of those that have several, the joints at their ends, as `Boards.joints`; none at all where
    most rows show none. Bricks are too short to be laid so: their joints are finer than tokens. length, closes: of the
    result, along them."""
    if boards.even:
        return {}
    image = np.moveaxis(exemplar.weighted, boards.axis, 0)
    wraps, found = exemplar.wraps[1 - boards.axis], dict[int, NDArray[np.float64]]()
    for number, (first, last) in enumerate(itertools.pairwise(boards.joints)):
        margin = MARGIN * (last - first)
        row = image[np.arange(round(first + margin), round(last - margin)) % len(image)]
        ends = joints_of(np.moveaxis(row, 1, 0), wraps, parts=END_PARTS, steep=ENDS)
        if wraps and len(ends):
            ends = np.r_[ends, ends[0] + image.shape[1]]
        if len(ends) > 2:
            plan = _in_any_order(ends[:-1], np.diff(ends), length, closes, np.random.default_rng(number))
            if abs(np.log(plan.scale)) < MISFIT:
                found[number] = ends
    return found if len(found) > ENDED * (len(boards.joints) - 1) else {}


def _laid(
    ends: NDArray[np.float64], columns: NDArray[np.intp], length: int, closes: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    """How much further the boards of a row lie at each of `columns` of a result of `length` than in the exemplar."""
    plan = _in_any_order(ends[:-1], np.diff(ends), length, closes, rng)
    further = plan.begins - plan.sources
    return np.asarray(further[np.searchsorted(plan.begins, columns, "right") - 1], np.float64)


@dataclass(frozen=True)
class Boards:
    """axis: across them. joints: float64 (n,), where each begins, and where the last one ends. tolerance: of the
    exemplar's side, by which one may be moved. even: whether they are all of one width, as courses of bricks are."""

    axis: int
    joints: NDArray[np.float64]
    tolerance: float
    even: bool


def boards_of(exemplar: Exemplar, lattice: Lattice) -> Boards | None:
    """The boards of an exemplar, side by side, or its courses: of several widths, seen by their joints, or of one, by
    `lattice`. What has joints both ways is tiles."""
    waves = lattice.waves
    if len(waves) > 1:
        return None
    coherence, angle = coherence_of(exemplar.weighted)
    axis = 0 if abs(angle) > np.pi / 4 else 1
    side, wraps = exemplar.size[axis], exemplar.wraps[axis]
    count = abs(float(waves[0, axis])) * side if len(waves) and not waves[0, 1 - axis] else 0.0
    if coherence > JOINTED and (count < FEWEST or lattice.tolerance > EVEN):
        joints = _uneven(exemplar, axis)
        if len(joints) and abs(count / len(joints) - 1) > LIKE_WAVE:
            return Boards(axis, joints, CRISP, even=False)
    if count < FEWEST or grain_of(exemplar.weighted, COHERENT) is not (Grain.UPRIGHT if axis else Grain.LEVEL):
        return None
    means, period = exemplar.weighted.mean(axis=1 - axis), side / count
    profile = np.square(means - means.mean(axis=0)).sum(axis=1)
    phase = (np.arange(side) % period).astype(int)
    joint = float((np.bincount(phase, profile) / np.maximum(np.bincount(phase), 1)).argmax())
    whole = round(count) if wraps else int((side - joint) / period + 1e-6)
    joints = np.asarray(joint + period * np.arange(whole + 1), np.float64)
    return Boards(axis, joints, lattice.tolerance / count, even=True)


def _uneven(exemplar: Exemplar, axis: int) -> NDArray[np.float64]:
    """`Boards.joints` of boards of several widths; none where there are not enough."""
    joints, crossing = (joints_of(np.moveaxis(exemplar.weighted, at, 0), exemplar.wraps[at]) for at in (axis, 1 - axis))
    if len(joints) <= FEWEST or len(crossing) > CROSSING:
        return np.empty(0)
    if exemplar.wraps[axis]:
        joints = np.r_[joints, joints[0] + exemplar.size[axis]]
    widths = np.diff(joints)
    wide = widths > WIDEST * np.quantile(widths, 0.25)
    return joints if widths[wide].sum() < UNSEEN * widths.sum() else np.empty(0)


def _in_any_order(
    firsts: NDArray[np.float64], widths: NDArray[np.float64], length: int, closes: bool, rng: np.random.Generator
) -> _Plan:
    """Whole boards in any order, that begin at `firsts` of the exemplar. closes: whether the result tiles across them;
    their sizes change a little then."""
    most = int(2 * length / widths.sum()) + 2
    best, off = np.empty(0, int), np.inf
    for _ in range(ORDERS if closes else 1):
        order = np.concatenate([rng.permutation(len(widths)) for _ in range(most)])
        ends = np.cumsum(widths[order])
        count = int(np.abs(ends - length).argmin()) + 1 if closes else len(ends)
        if (miss := abs(float(np.log(ends[count - 1] / length)))) < off or not closes:
            best, off = order[:count], miss
    scale = float(widths[best].sum()) / length if closes else 1.0
    if closes:  # the last board goes on over the edge, in the first
        best = np.r_[best, best[0]]
    begins = (np.cumsum(widths[best]) - widths[best] - rng.uniform(0.25, 0.75) * widths[best[0]]) / scale
    return _Plan(begins, firsts[best], scale)


def _planned(exemplar: Exemplar, axis: int, length: int, rng: np.random.Generator) -> _Plan:
    """Bands that begin anywhere in the exemplar, where the last one's next rows are alike."""
    wraps = exemplar.wraps[axis]
    means = exemplar.weighted.mean(axis=1 - axis)
    means = means - ndimage.gaussian_filter1d(means, len(means) / 4, axis=0, mode="wrap" if wraps else "nearest")
    side = len(means)
    low, high = (max(2 * BLOCK, round(share * side)) for share in WIDTHS)
    begins, sources, used = [0], list[int](), np.zeros(side)
    while True:
        width = min(int(rng.integers(low, high + 1)) // BLOCK * BLOCK, length - begins[-1])
        if length - begins[-1] - width < low:
            width = length - begins[-1]
        starts = rng.integers(0, side if wraps else max(1, side - width + 1), CANDIDATES)
        cost = np.array([used[_rows(start, width, side)].mean() for start in starts])
        if sources:
            end = sources[-1] + begins[-1] - begins[-2]
            here = means[_rows(end - ALIKE, 2 * ALIKE, side)]
            step = [np.square(means[_rows(start - ALIKE, 2 * ALIKE, side)] - here).mean() for start in starts]
            cost += np.sqrt(np.array(step) / max(float(means.var()), 1e-12))
        start = int(starts[cost.argmin()])
        used[_rows(start, width, side)] += 1
        sources.append(start)
        if begins[-1] + width >= length:
            return _Plan(np.array(begins, float), np.array(sources, float), 1.0)
        begins.append(begins[-1] + width)


def _rows(first: int, count: int, side: int) -> NDArray[np.intp]:
    return np.arange(first, first + count) % side
