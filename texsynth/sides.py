"""What is there once a side of an exemplar that tiles, and so repeats with that side only: the joint between two rows
of panels, the eaves of a wall, boards of which none is as wide as the next, two by two slabs of which two are alike.

No lag inside the exemplar shows it. Without such a wave, pieces of the joint would be strewn over the result, and the
joints between the boards would jump from piece to piece.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Doubles = NDArray[np.float64]

# Share of the energy of the exemplar, less what lies along rows that have a period, in the row means of one joint.
JOINT_SHARE = 0.025
# Their fourth moment over the squared second one, and the part of their energy within a twenty-fourth of a side of the
# highest. Of the 294 training materials eight have such a joint, drain, crack or eaves; grain of wood has 2 and 0.2.
PEAKED, AROUND = 9.0, 0.35
# Boards of which no two are as wide: the same share and fourth moment. If a period was found all the same, it is that
# of few boards, and over whole numbers of it the means of the rows correlate by less than UNEVEN.
BOARDS_SHARE, BOARDS_PEAKED = 0.2, 4.0
FEWEST, MOST, UNEVEN = 2.5, 12.5, 0.55
# Slabs in a chess pattern: correlation half a side along and across at once, and along or across alone.
CHESS, NO_CHESS = 0.2, -0.1
# The same of the direction of their grain, where slabs are alike but for that: how much more along and across at once.
TURNED = 0.5
OF_SIDE = 14  # parts of a side: what is broader is tone


def with_sides(
    image: Doubles, correlation: Doubles, profiles: list[Doubles], shares: list[float], turns: Doubles,
    wraps: tuple[bool, bool],
) -> Doubles:  # fmt: skip
    """`turns` (n, 2) of waves over an exemplar, float64 (H, W, K), with those of its sides that it needs.

    correlation: over lags from -H / 2, -W / 2. profiles, shares: of the row and the column means, the correlation and
    the part of the energy.
    """
    if all(wraps) and (_chess(correlation) if len(turns) < 2 else _are_halves(turns) and _turned(image)):
        return np.array([[1.0, 1.0], [1.0, -1.0]])
    for axis in range(2):
        if not wraps[axis]:
            continue
        along = np.abs(turns[:, axis])
        if len(turns) < 2 and not (along > 0).any():
            left = 1 - shares[1 - axis] if len(turns) else 1.0
            peaked, around = _peak(image.mean(axis=1 - axis))
            one_joint = shares[axis] >= JOINT_SHARE * max(left, 0.0) and peaked >= PEAKED and around >= AROUND
            if one_joint or (len(turns) == 0 and shares[axis] >= BOARDS_SHARE and peaked >= BOARDS_PEAKED):
                return np.concatenate([np.eye(2)[[axis]], turns])
        elif len(turns) == 1 and shares[axis] >= BOARDS_SHARE and _uneven(profiles[axis], along[0]):
            return np.eye(2)[[axis]]
    return turns


def _peak(lines: Doubles) -> tuple[float, float]:
    """Of the means (n, K) of lines: fourth moment over squared second one, and share of the energy near the highest."""
    high = lines - ndimage.gaussian_filter1d(lines, len(lines) / OF_SIDE, axis=0, mode="wrap")
    energy = (high**2).sum(axis=1)
    if not energy.any():
        return 0.0, 0.0
    at, reach = int(energy.argmax()), max(4, len(energy) // 24)
    around = energy[np.arange(at - reach, at + reach + 1) % len(energy)].sum() / energy.sum()
    return float((energy**2).mean() / energy.mean() ** 2), float(around)


def _uneven(profile: Doubles, turns: float) -> bool:
    """Whether a correlation over lags, 1 in its middle, is low at whole numbers of periods, to two texels."""
    if not FEWEST < turns < MOST:
        return False
    n = len(profile)
    at = n // 2 + np.round(n / turns * np.arange(1, int(turns / 2) + 1)).astype(int)
    return bool(np.mean([profile[(k + np.arange(-2, 3)) % n].max() for k in at]) < UNEVEN)


def _chess(correlation: Doubles) -> bool:
    height, width = correlation.shape

    def near(y: int, x: int) -> float:
        rows = correlation.take(np.arange(y - 2, y + 3), 0, mode="wrap")
        return float(rows.take(np.arange(x - 2, x + 3), 1, mode="wrap").max())

    return near(0, 0) > CHESS and max(near(0, width // 2), near(height // 2, 0)) < NO_CHESS


def _are_halves(turns: Doubles) -> bool:
    return np.array_equal(np.abs(turns), [[2, 0], [0, 2]]) or np.array_equal(np.abs(turns), [[0, 2], [2, 0]])


def _turned(image: Doubles) -> bool:
    """Whether the grain of every other of two by two slabs runs another way, as in parquet."""
    down, right = np.gradient(image, axis=(0, 1))
    along = np.stack([(down**2 - right**2).sum(axis=2), 2 * (down * right).sum(axis=2)])
    side = min(image.shape[:2])
    grain = ndimage.gaussian_filter(along, (0, side / 12, side / 12), mode="wrap")
    half = image.shape[0] // 2, image.shape[1] // 2

    def alike(y: int, x: int) -> float:
        return float((grain * np.roll(grain, (y, x), (1, 2))).mean() / max((grain**2).mean(), 1e-12))

    return alike(*half) - max(alike(half[0], 0), alike(0, half[1])) > TURNED
