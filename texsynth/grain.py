"""Whether an exemplar has a grain, as wood and brushed metal have, and whether it stands or lies."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMOOTHED = 1.5  # texels, standard deviation, so that noise has no say
# Of the gradients' energy that must run one way. Training woods have 0.24 to 0.94, but for some floors and boards; rock
# in layers, which stays level on what stands, has up to 0.41.
UPRIGHT, LEVEL = 0.2, 0.45
SLANT = np.deg2rad(30)  # how far from upright, or from level, a grain may run


class Grain(Enum):
    """Which way the lines of an exemplar run."""

    NONE = auto()
    UPRIGHT = auto()
    LEVEL = auto()


def grain_of(stack: NDArray[np.floating[Any]], least: float = 0.0) -> Grain:
    """The grain of maps (H, W, C), by their structure tensor. least: coherence below which there is none."""
    coherence, angle = coherence_of(stack)
    if coherence > max(UPRIGHT, least) and abs(angle) < SLANT:
        return Grain.UPRIGHT
    if coherence > max(LEVEL, least) and abs(angle) > np.pi / 2 - SLANT:
        return Grain.LEVEL
    return Grain.NONE


def coherence_of(stack: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Of the structure tensor of (H, W, C) the difference of its two energies over their sum, 0..1, and the angle of
    the lines from upright, -pi / 2 .. pi / 2."""
    twofold, energy = 0j, 1e-12
    for channel in np.moveaxis(stack, 2, 0):
        smooth = cv2.GaussianBlur(np.ascontiguousarray(channel, np.float32), (0, 0), SMOOTHED)
        down, right = np.gradient(smooth)
        twofold += complex(np.sum((right + 1j * down) ** 2, dtype=np.complex128))
        energy += float(np.sum(right**2 + down**2, dtype=np.float64))
    return abs(twofold) / energy, float(np.angle(twofold) / 2)
