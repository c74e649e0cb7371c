"""The lattice of a regular exemplar: the translations under which bricks, tiles, plates and weaves repeat.

Found from the peaks of the autocorrelation; used as a prior: a token of the result may only attend to exemplar texels
at the same phase of the lattice. Two reciprocal vectors mean a plane lattice, one means rows (planks, courses), none
means that the exemplar is not regular.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from texsynth.bands import find_bands
from texsynth.sides import with_sides

Doubles = NDArray[np.float64]

NEAR_POINTS = 24  # lattice points that are scored exactly; the farther ones are scored with some slack
AS_HIGH = 0.9  # of the lattice's own correlation: points of a finer one belong to it
FLAT = 1e-6  # range of values below which there is nothing to correlate
SHORTEST_PERIOD = 12  # texels; a finer repetition lies inside one or two latent blocks and needs no prior
WHOLE = 0.3  # turns over the exemplar that count as a whole number of them: what a hand lays is that far off
WHOLE_CRISP = 0.1  # the same of a lattice whose points are alike by more than CRISP
CRISP = 0.7
# Rows of this share hide what lies along them, unless the points of a plane lattice are as much higher than they are.
STRONG_ROWS, ABOVE_ROWS = 0.3, 0.1
OFF_ROWS = 0.12  # of a period: a lattice that moves rows so far beside others does not have them
FINER = 1.3  # times as many points: not the same lattice, a little off
LEAST_SHARE = 0.045  # of the energy in the means of the rows, where these have a period
# Of 173 training materials without shorter periods, those of two slabs, panels or courses a side have this correlation
# at half a side, and no other lag within this of it; so have three whose halves are copies, of rock, wood and flames.
HALF, HALF_LEAD = 0.45, 0.2
# Such copies are alike at one lag by more than COPY, and on average over the lags along half a side by less than
# ALONG of that (by at most 0.09; panels and courses that are copies by at least 0.25: their joints go all the way).
COPY, ALONG = 0.5, 0.15
SHORTER = 0.8  # of the height at half a side: a shorter period as high as that is preferred
FRAMED = 0.2  # share in the means of the rows, and in those of the columns, of an exemplar that is one framed panel
EXACT = 0.004  # cycles: halves of an exemplar's sides are long, and no estimate; of 256 texels this is one
MOST_TIMES = 5  # that a wave counts in a sum that is to be whole
LONGEST_LAGS = 1024  # larger exemplars are searched at reduced size
SLANT = 100.0  # how much worse than a change of size, squared, one of direction is
MOST_CHANGE = 0.34
SIDE_CHANGE = 0.05  # of what repeats with a side: rows of texels are left out or come twice wherever its phase says so
WEAK = 0.3  # lattices below it give way to bands of grain, which are sought in images of BANDS_SIDE texels
BANDS_SIDE, BANDS_TOLERANCE = 512, 0.02
# By the number of waves: what whole numbers of turns may be, above those below them.
_NEIGHBOURS = {n: np.array(list(itertools.product(range(-1, 3), repeat=2 * n))).reshape(-1, n, 2) for n in (1, 2)}


@dataclass(frozen=True)
class Lattice:
    """`waves`: float64 (n, 2), n = 0..2 reciprocal vectors (y, x) in cycles per texel; texel p has phases waves @ p.

    tolerance: the deviation of the phase (in cycles) that the exemplar itself shows; a crisp lattice has a small one.
    strength: mean autocorrelation at the lattice points, 0..1.
    otherwise: of a lattice that repeats with a side of the exemplar: the one without that side, for results that have
    no room for it.
    """

    waves: Doubles
    tolerance: float
    strength: float
    otherwise: Lattice | None = None

    def sides(self, size: tuple[int, int]) -> tuple[bool, bool]:
        """Whether it repeats with that side only, down and across, of an exemplar of `size` texels."""
        if self.otherwise is None:
            return False, False
        once = np.round(np.abs(self.waves) * size) == 1
        return bool(once[:, 0].any()), bool(once[:, 1].any())

    def fitted(self, size: tuple[int, int], torus: tuple[bool, bool]) -> tuple[Lattice, Lattice]:
        """This lattice, and the least changed one that closes in the directions of `torus` (y, x), for a result of
        `size` texels.

        Being larger or smaller counts little: what is slanted or turned is seen at once. Where it would have to change
        its size by more than a third, as in a result that is smaller than a period, both are no lattice; where by more
        than SIDE_CHANGE and there is one `otherwise`, that one.
        """
        if len(self.waves) == 0 or not any(torus):
            return self, self
        extent, closed = np.array(size, float), np.array(torus)
        turns = self.waves * extent
        whole = np.floor(turns) + _NEIGHBOURS[len(turns)]  # (n, waves, 2)
        candidates = np.where(closed, whole, turns) / extent
        # from places of the result to the exemplar's places of one phase, less the identity
        change = np.linalg.pinv(self.waves) @ (candidates - self.waves)
        cost = np.square(change).sum(axis=(1, 2)) + SLANT * (change[:, 0, 1] ** 2 + change[:, 1, 0] ** 2)
        best = int(np.argmin(cost))
        changed = np.abs(change[best]).max()
        if self.otherwise is not None and changed > SIDE_CHANGE:
            return self.otherwise.fitted(size, torus)
        if changed > MOST_CHANGE:
            return NO_LATTICE, NO_LATTICE
        return self, replace(self, waves=candidates[best])


NO_LATTICE = Lattice(np.zeros((0, 2)), 0.05, 0.0)


def find_lattice(weighted: NDArray[np.float32], wraps: tuple[bool, bool]) -> Lattice:
    """The lattice of `weighted`, float32 (H, W, K); `wraps` says in which directions (y, x) it continues."""
    reduce = 1
    while max(weighted.shape[:2]) // reduce > LONGEST_LAGS:
        reduce *= 2
    image = averaged(weighted, reduce)
    extent = np.array(image.shape[:2], float)
    if np.ptp(image, axis=(0, 1)).max() < FLAT:
        return NO_LATTICE
    correlation = ndimage.gaussian_filter(_autocorrelation(image, wraps), 0.8)
    waves, strength = _plane_lattice(correlation, extent, wraps, highest=False)
    if len(waves):
        waves, strength = _beside_rows(correlation, extent, wraps, waves, strength)
    if len(waves) == 0:
        waves, strength = _row_lattices(correlation, wraps)
    if len(waves) == 0:
        waves, strength = _plane_lattice(correlation, extent, wraps, highest=True)
    if len(waves) == 0:
        waves, strength = _framed(correlation, wraps)
    turns = _in_whole_turns(waves * extent, wraps, strength)
    if len(turns) == 2 and (kept := _on_rows(turns / extent, correlation, wraps)) is not None:
        turns = kept * extent
    elif len(turns) == 2:
        waves, strength = _row_lattices(correlation, wraps)
        turns = _in_whole_turns(waves * extent, wraps, strength)
    if strength < WEAK:
        bands = find_bands(averaged(image, -(-max(image.shape[:2]) // BANDS_SIDE)), wraps)
        if bands is not None:
            turns = _in_whole_turns(bands[0], wraps, strength)
            return Lattice(turns / extent / reduce, BANDS_TOLERANCE, bands[1])
    found = _of_turns(turns, extent * reduce, strength)
    if len(found.waves) == 0:
        found = NO_LATTICE
    sided = with_sides(image, correlation, *_profiles(correlation), turns, wraps)
    if sided is turns:
        return found
    return replace(_of_turns(sided, extent * reduce, strength or 1.0), otherwise=found)


def _of_turns(turns: Doubles, extent: Doubles, strength: float) -> Lattice:
    are_sides = np.abs(turns).sum(axis=1).max(initial=0) <= 2  # or halves of them
    tolerance = EXACT if are_sides else float(np.clip(0.01 / max(strength, 1e-3), 0.012, 0.04))
    return Lattice(turns / extent, tolerance, strength)


def averaged(image: NDArray[np.floating[Any]], reduce: int) -> Doubles:
    """Means of `reduce` x `reduce` texels of (H, W, K), what is over at the ends left out: a photo's twelve megapixels
    never stand in float64."""
    height, width = image.shape[0] // reduce, image.shape[1] // reduce
    cells = image[: height * reduce, : width * reduce].reshape(height, reduce, width, reduce, -1)
    return np.asarray(cells.mean(axis=(1, 3), dtype=np.float64))


def _in_whole_turns(turns: Doubles, wraps: tuple[bool, bool], strength: float) -> Doubles:
    """Turns of waves (n, 2) over an exemplar, of which one that tiles holds whole numbers of periods."""
    whole = np.round(turns)
    near = np.abs(turns - whole) < (_whole(strength) if len(turns) == 2 else WHOLE)
    return np.where(near & np.array(wraps), whole, turns)


def _autocorrelation(image: Doubles, wraps: tuple[bool, bool]) -> Doubles:
    """Autocorrelation of the high-passed channels together, 1 at lag 0, which lies in the middle; lags to half a
    side."""
    height, width = image.shape[:2]
    channels = np.ascontiguousarray(np.moveaxis(image, 2, 0))
    high = channels - _low_passed(channels, min(height, width) / 14, wraps)
    shape = height if wraps[0] else 2 * height, width if wraps[1] else 2 * width
    power: Any = sum(np.abs(np.fft.rfft2(c, s=shape)) ** 2 for c in high)
    correlation = np.fft.irfft2(power, s=shape)
    for axis, (n, padded) in enumerate(zip((height, width), shape, strict=True)):
        if padded > n:  # fewer texels overlap at long lags
            lag = np.minimum(np.arange(padded), padded - np.arange(padded))
            overlap = np.maximum(n - lag, n / 4) / n
            correlation /= overlap[:, None] if axis == 0 else overlap
    correlation = np.fft.fftshift(correlation / correlation[0, 0])
    cy, cx = correlation.shape[0] // 2, correlation.shape[1] // 2
    ry, rx = min(height // 2, cy), min(width // 2, cx)
    return np.asarray(correlation[cy - ry : cy + ry, cx - rx : cx + rx])


def _low_passed(channels: Doubles, sigma: float, wraps: tuple[bool, bool]) -> Doubles:
    """Each of (K, H, W) as by `scipy.ndimage.gaussian_filter(truncate=3)`, repeated or mirrored beyond its edges: both
    are products of spectra, in a fifth of the time that hundreds of taps take."""
    lags = np.arange(-round(3 * sigma), round(3 * sigma) + 1)
    taps = np.exp(-0.5 * (lags / sigma) ** 2)
    taps /= taps.sum()
    for wrap in reversed(wraps):  # along the last axis, then, both swapped, along the other
        side = channels.shape[2]
        waves = 2 * np.pi * fft.rfftfreq(side) if wrap else np.pi * np.arange(side) / side
        response = np.cos(waves[:, None] * lags) @ taps
        channels = fft.irfft(fft.rfft(channels) * response, side) if wrap else fft.idct(fft.dct(channels) * response)
        channels = np.ascontiguousarray(channels.swapaxes(1, 2))
    return channels


def _peaks(correlation: Doubles, highest: bool) -> Doubles:
    """The highest, or the shortest of the 60 highest, local maxima in the upper half plane as rows (lag y, lag x)."""
    ry, rx = correlation.shape[0] // 2, correlation.shape[1] // 2
    top = correlation == ndimage.maximum_filter(correlation, 9)
    floor = ndimage.minimum_filter(correlation, 33)
    ys, xs = np.nonzero(top & (correlation > 0.12) & (correlation - floor > 0.08))
    lags = np.stack([ys - ry, xs - rx], axis=1).astype(float)
    lags = lags[(lags[:, 0] > 0) | ((lags[:, 0] == 0) & (lags[:, 1] > 0))]
    lags = lags[np.hypot(lags[:, 0], lags[:, 1]) >= SHORTEST_PERIOD]
    heights = correlation[(lags[:, 0] + ry).astype(int), (lags[:, 1] + rx).astype(int)]
    lags = lags[np.argsort(-heights)[:60]]
    if not highest:
        lags = lags[np.argsort(np.hypot(lags[:, 0], lags[:, 1]))]
    shortlist: Doubles = lags[:28]
    return shortlist


_DIRECTIONS = np.stack([np.sin(np.arange(8) * np.pi / 8), np.cos(np.arange(8) * np.pi / 8)], axis=1)
_STEPS = np.stack(np.meshgrid(np.arange(-8, 9), np.arange(-8, 9), indexing="ij"), -1).reshape(-1, 2)


def _plane_lattice(
    correlation: Doubles, extent: Doubles, wraps: tuple[bool, bool], highest: bool
) -> tuple[Doubles, float]:
    """The smallest pair of periods whose lattice points are all as high as the best pair's; () when there is none."""
    radius = np.array(correlation.shape) // 2

    tops = ndimage.maximum_filter(correlation, 3)  # far points of a basis in whole texels are a little off

    def near_heights(lags: Doubles) -> Doubles:
        inside = np.clip(lags, 2 - radius, radius - 3)
        return np.asarray(ndimage.map_coordinates(correlation, (inside + radius).T, order=1))

    def far_height(lags: Doubles) -> float:
        y, x = np.round(np.clip(lags, 2 - radius, radius - 3) + radius).astype(int).T
        return float(tops[y, x].mean())

    def score(basis: Doubles) -> tuple[float, float] | None:
        points = _STEPS[np.abs(_STEPS).sum(axis=1) > 0] @ basis
        points = points[(np.abs(points) < radius - 2).all(axis=1)]
        if len(points) < 4:
            return None
        points = points[np.argsort(np.hypot(points[:, 0], points[:, 1]))]
        near, far = points[:NEAR_POINTS], points[NEAR_POINTS:]
        between = max(near_heights(near + np.array(f) @ basis).mean() for f in ((0.5, 0), (0, 0.5), (0.5, 0.5)))
        # inside one check of a cloth its threads are a lattice; over the whole cloth their points are not alike
        heights = near_heights(near)
        on = float(heights.mean())
        if heights.std() > 0.2 * on or (len(far) and far_height(far) < 0.6 * on):
            return None
        # rows without a rhythm along them are as high beside a point as on it: no plane lattice
        reach = 0.25 * float(np.hypot(basis[:, 0], basis[:, 1]).min())
        beside = max(near_heights(near + reach * direction).mean() for direction in _DIRECTIONS)
        if beside > 0.9 * on:
            return None
        return on, float(between)

    peaks = _peaks(correlation, highest)
    found: list[tuple[float, float, float, Doubles]] = []
    for i, first in enumerate(peaks):
        for second in peaks[i + 1 :]:
            basis = np.stack([first, second])
            area = abs(float(np.linalg.det(basis)))
            lengths = math.hypot(*first) * math.hypot(*second)
            if area < 0.34 * lengths or area < SHORTEST_PERIOD**2:
                continue
            scored = score(basis)
            if scored:
                found.append((*scored, area, basis))
    if not found:
        return np.zeros((0, 2)), 0.0

    def merit(on: float, between: float) -> float:
        return on - 0.5 * max(between, 0.0)

    best = max(merit(on, between) for on, between, _, _ in found)
    good = [f for f in found if merit(f[0], f[1]) >= 0.8 * best and f[0] - f[1] > 0.1]
    if not good or best < 0.12:
        return np.zeros((0, 2)), 0.0
    strength, _, _, basis = min(good, key=lambda f: f[2])
    finer = _finer(basis, strength, score)
    while finer is not None:  # among hundreds of alike peaks of crisp tiles the nearest may not be of the 60 highest
        basis, finer = finer, _finer(finer, strength, score)
    refined = _refined(correlation, basis)
    if abs(np.linalg.det(refined)) < 0.5 * abs(np.linalg.det(basis)):
        return np.zeros((0, 2)), 0.0
    waves: Doubles = np.linalg.inv(refined).T.astype(np.float64)
    closed = _closed(waves * extent, wraps, _whole(strength)) / extent
    return (closed if _alike(correlation, closed, waves) else waves), strength


def _beside_rows(
    correlation: Doubles, extent: Doubles, wraps: tuple[bool, bool], waves: Doubles, strength: float
) -> tuple[Doubles, float]:
    """A plane lattice, or the finer one in what strong rows (or columns) leave, or none, for rows alone.

    The joints between the bricks of a course are faint beside those between courses, so of a lattice only a part may
    have been found: a finer one in what the rows leave is the true one. Where there is none, and the rows are as high
    as the points of the lattice, the bond has no rhythm.
    """
    shares = _profiles(correlation)[1]
    if max(shares) < STRONG_ROWS:
        return waves, strength
    left = correlation - correlation.mean(axis=int(shares[0] > shares[1]), keepdims=True)
    left /= left[left.shape[0] // 2, left.shape[1] // 2]
    found, _ = _plane_lattice(left, extent, wraps, highest=False)
    if len(found) and abs(np.linalg.det(found)) > FINER * abs(np.linalg.det(waves)):
        return found, strength
    alone = len(found) == 0 and strength < max(shares) + ABOVE_ROWS
    return (found if alone else waves), strength


def _on_rows(waves: Doubles, correlation: Doubles, wraps: tuple[bool, bool]) -> Doubles | None:
    """Waves (2, 2) of the lattice whose periods move strong rows (or columns), where there are any, exactly onto
    others; None where those of `waves` do not even nearly."""
    profiles, shares = _profiles(correlation)
    periods = np.linalg.inv(waves)  # one a column
    for axis in range(2):
        row = _profile_period(profiles[axis]) if shares[axis] >= STRONG_ROWS else None
        if row is None:
            continue
        count = len(profiles[axis]) / row
        if wraps[axis] and abs(count - round(count)) < WHOLE:
            row = len(profiles[axis]) / round(count)
        moves = periods[axis] / row
        whole = np.round(moves)
        if (np.abs(moves - whole)[np.abs(moves) > 0.5] > OFF_ROWS).any():
            return None
        periods[axis] = np.where(np.abs(moves) > 0.5, whole * row, periods[axis])
    return np.asarray(np.linalg.inv(periods))


def _whole(strength: float) -> float:
    """Turns that count as whole ones, of a plane lattice."""
    return WHOLE_CRISP if strength > CRISP else WHOLE


def _alike(correlation: Doubles, tried: Doubles, waves: Doubles) -> bool:
    """Whether the lattice of the waves `tried` is nearly as high as that of `waves`, cycles per texel, (2, 2)."""
    radius = np.array(correlation.shape) // 2

    def height(of: Doubles) -> float:
        points = _STEPS[np.abs(_STEPS).sum(axis=1) > 0] @ np.linalg.inv(of).T
        points = points[(np.abs(points) < radius - 2).all(axis=1)]
        return float(ndimage.map_coordinates(correlation, (points + radius).T, order=1).mean()) if len(points) else 0.0

    return abs(np.linalg.det(tried)) > 0.5 * abs(np.linalg.det(waves)) and height(tried) > 0.8 * height(waves)


def _finer(basis: Doubles, strength: float, score: Callable[[Doubles], tuple[float, float] | None]) -> Doubles | None:
    """Of the lattices with 2 to 13 times the points of this one the best that is as high, as a reduced basis."""
    best, found = AS_HIGH * strength, None
    for times in (2, 3, 5, 7, 11, 13):
        for first in (1, times):
            for slant in range(first):
                part = np.array([[first, slant], [0, times // first]], float)
                tried = _reduced(np.linalg.solve(part, basis))
                if np.hypot(*tried[0]) < SHORTEST_PERIOD:
                    continue
                scored = score(tried)
                if scored is None:
                    continue
                added = (times * scored[0] - strength) / (times - 1)  # mean of the points that the coarser one lacks
                if added >= best and added - scored[1] > 0.1:
                    best, found = added, tried
    return found


def _reduced(basis: Doubles) -> Doubles:
    """A basis of the same lattice with the shortest vectors (Gauss), the shorter one first."""
    short, long = sorted(basis, key=lambda vector: float(np.hypot(*vector)))
    while True:
        long = long - np.round(long @ short / (short @ short)) * short
        if np.hypot(*long) >= np.hypot(*short) * (1 - 1e-9):
            return np.stack([short, long])
        short, long = long, short


def _closed(turns: Doubles, wraps: tuple[bool, bool], near: float) -> Doubles:
    """Waves that turn whole times along each axis that wraps, from waves with these turns over the exemplar (2, 2).

    An exemplar that wraps repeats after its own sides too. If the periods that were found do not divide these, both
    together are a finer lattice, whose waves are those sums of the given ones that are whole. Unchanged if none are.
    near: what turns that count as whole may miss a whole number by.
    """
    sums = _STEPS[(np.abs(_STEPS) <= MOST_TIMES).all(axis=1)]
    made = sums @ turns
    whole = (np.abs(made - np.round(made))[:, list(wraps)] < near).all(axis=1)
    made = made[whole & np.abs(sums).any(axis=1)]
    made = made[np.argsort(np.hypot(made[:, 0], made[:, 1]), kind="stable")]
    areas = np.abs(made[:, 0, None] * made[None, :, 1] - made[:, 1, None] * made[None, :, 0])
    apart = areas > 0.5 * abs(np.linalg.det(turns))
    if not apart.any():
        return turns
    smallest = areas[apart].min()
    first, second = np.argwhere(apart & (areas < 1.01 * smallest))[0]
    if smallest < 1.01 * abs(np.linalg.det(turns)):
        return turns
    return np.asarray(made[[first, second]])


def _refined(correlation: Doubles, basis: Doubles) -> Doubles:
    """Periods to a fraction of a texel: least squares over ever farther lattice points."""
    radius = np.array(correlation.shape) // 2
    for reach in (1.6, 2.6, 4.6, 8.6):
        steps, lags = [], []
        for step in _STEPS[np.hypot(_STEPS[:, 0], _STEPS[:, 1]) <= reach]:
            y, x = (np.round(step @ basis).astype(int) + radius).tolist()
            if not step.any() or not (3 <= y < 2 * radius[0] - 3 and 3 <= x < 2 * radius[1] - 3):
                continue
            dy, dx = np.unravel_index(correlation[y - 3 : y + 4, x - 3 : x + 4].argmax(), (7, 7))
            steps.append(step)
            lags.append([y - 3 + int(dy) - radius[0], x - 3 + int(dx) - radius[1]])
        if len(steps) >= 3:
            basis = np.linalg.lstsq(np.array(steps, float), np.array(lags, float), rcond=None)[0]
    return basis


def _row_lattices(correlation: Doubles, wraps: tuple[bool, bool]) -> tuple[Doubles, float]:
    """Periods of the row means and of the column means (planks, courses), where these carry enough of the energy.

    Half a side counts too where the exemplar wraps, though no lag is longer."""
    profiles, shares = _profiles(correlation)
    waves, strength, left = [], 0.0, 1.0
    for axis in (0, 1) if shares[0] > shares[1] else (1, 0):
        if shares[axis] < LEAST_SHARE * left or (wraps[axis] and _is_copy(correlation, axis)):
            continue
        period = _profile_period(profiles[axis])
        half = _height_at_half(profiles[axis], period) if wraps[axis] else 0.0
        if half:
            period = len(profiles[axis]) / 2
        if period is None:
            continue
        wave = np.zeros(2)
        wave[axis] = 1 / period
        waves.append(wave)
        strength = max(strength, shares[axis], half)
        left -= shares[axis]  # fainter joints across strong ones show in what these leave
    if len(waves) == 2 and not _stacked(correlation, waves[0], waves[1]):
        waves.pop()
    return np.array(waves).reshape(-1, 2), strength


def _stacked(correlation: Doubles, first: Doubles, second: Doubles) -> bool:
    """Whether joints across go on from row to row, not half a period of theirs farther as in a running bond. first,
    second: waves of the rows and of the joints, each along an axis, in cycles per texel."""
    radius = np.array(correlation.shape) // 2
    row, joint = 1 / first.sum(), 1 / second.sum()
    ahead, aside = (first > 0) * row, (second > 0) * joint
    if (ahead > radius - 3).any():
        return True  # two rows a side: nothing else is as far away
    count = int((radius @ (second > 0) - 3) / joint - 0.5)
    lags = ahead + np.arange(-count, count + 1)[:, None] * aside
    on, between = (
        float(ndimage.map_coordinates(correlation, (at + radius).T, order=1).mean()) for at in (lags, lags + aside / 2)
    )
    return on > between


def _framed(correlation: Doubles, wraps: tuple[bool, bool]) -> tuple[Doubles, float]:
    """The sides of an exemplar that wraps and is one framed panel: no part of it repeats, but all of it does."""
    profiles, shares = _profiles(correlation)
    if not all(wraps) or min(shares) < FRAMED:
        return np.zeros((0, 2)), 0.0
    return np.diag([1 / len(profile) for profile in profiles]), 1.0


def _profiles(correlation: Doubles) -> tuple[list[Doubles], list[float]]:
    """Correlation of the row means and of the column means, 1 at lag 0, and their shares of the energy."""
    profiles = [correlation.mean(axis=1), correlation.mean(axis=0)]
    shares = [float(profile[len(profile) // 2]) for profile in profiles]
    return [profile / max(share, FLAT) for profile, share in zip(profiles, shares, strict=True)], shares


def _height_at_half(profile: Doubles, period: float | None) -> float:
    """Of a correlation over the lags -n / 2 .. n / 2 - 1 of a side that wraps: its height at half the side, 0..1, if
    that is the period, and else 0. period: the one found among the shorter lags."""
    n = len(profile)
    half = min(float(profile[:3].max()), 1.0)
    if period is None:
        return half if half >= max(HALF, float(profile[n // 8 : 3 * n // 8].max()) + HALF_LEAD) else 0.0
    at = n // 2 + round(period)
    return half if half >= HALF and at < n and profile[at] < SHORTER * half else 0.0


def _is_copy(correlation: Doubles, axis: int) -> bool:
    """Whether one half of an exemplar along `axis` is the other half, moved: then these are no two courses."""
    at_half = correlation.take(0, axis)
    highest = float((at_half - correlation.mean(axis)).max())  # less the joints across, which are alike at every lag
    return highest > COPY and float(at_half.mean()) < ALONG * highest


def _profile_period(profile: Doubles) -> float | None:
    """The period, texels, of a correlation over lags along one axis, 1 in its middle; None where it has none."""
    lags = profile[len(profile) // 2 :]
    tops = [
        t
        for t in range(10, len(lags) - 1)
        if lags[t] == lags[max(0, t - 6) : t + 7].max() and lags[t] > 0.4 and lags[t] - lags[:t].min() > 0.5
    ]
    if not tops:
        return None
    highest = max(lags[t] for t in tops)
    period = float(min(t for t in tops if lags[t] > 0.75 * highest))
    for multiple in range(2, 40):
        around = round(period * multiple) - 2
        if around + 5 > len(lags):
            break
        period = (around + int(lags[around : around + 5].argmax())) / multiple
    return period
