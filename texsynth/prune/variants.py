"""Level of detail (Muon-AD, section 4): a window gets a variant of the network and a number of steps by its importance.

Importance is the entropy of the guidance there, times how visible the place is (distance, gaze, selection), 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from texsynth.material import Float32
from texsynth.model.denoiser import Denoiser
from texsynth.model.windows import windows

BINS = 16  # of a feature's histogram


@dataclass(frozen=True)
class Effort:
    """What a window gets. retention: of the variant that denoises it. steps: share of the steps in which it does."""

    retention: float
    steps: float


# From which importance on.
EFFORTS = ((2 / 3, Effort(1.0, 1.0)), (1 / 3, Effort(0.6, 0.75)), (0.0, Effort(0.4, 0.5)))


def effort_of(importance: float) -> Effort:
    """Of a window of this importance, 0..1."""
    return next((effort for least, effort in EFFORTS if importance >= least), EFFORTS[-1][1])


def works(step: int, steps: int, share: float) -> bool:
    """Whether a window that works in `share` of `steps` does so in `step`; spread evenly, first and last included."""
    if step in (0, steps - 1):
        return True
    return int(step * share) > int((step - 1) * share)


def guidance_entropy(guide: Float32) -> float:
    """Entropy of what guidance (h, w, G), each feature in its own range, says, over its maximum: 0..1; 0 without any.

    The mean over features of that of a histogram over 0..1 of BINS bins; values beyond count at the ends.
    """
    entropies = []
    for feature in np.moveaxis(guide, -1, 0):
        counts = np.bincount((np.clip(feature, 0, 1 - 1e-6) * BINS).astype(int).ravel(), minlength=BINS)
        shares = counts[counts > 0] / counts.sum()
        entropies.append(float(-(shares * np.log(shares)).sum()) / np.log(BINS))
    return float(np.mean(entropies)) if entropies else 0.0


def window_importance(guide: Float32, visibility: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Importance (h, w), one value for each `window` x `window` tokens: the entropy of `guide` (h, w, G), each feature
    brought to 0..1 over the plane, times the largest `visibility` (h, w), 0..1, there."""
    low, high = guide.min(axis=(0, 1), initial=np.inf), guide.max(axis=(0, 1), initial=-np.inf)
    even = (guide - low) / np.maximum(high - low, 1e-12)
    height, width = visibility.shape
    made = np.zeros((height, width), np.float32)
    for y in range(0, height, window):
        for x in range(0, width, window):
            place = slice(y, y + window), slice(x, x + window)
            made[place] = guidance_entropy(even[place]) * visibility[place].max()
    return made


class VariantDenoiser:
    """Variants of one network as one `Denoiser` for one run of `steps` calls, each a step.

    variants: by retention; the nearest to an effort's is taken. importance: (h, w) of the tokens; a window has that of
    its most important token. step, margin: of the windows, in tokens. multiple: of their sides. A window that rests
    keeps the mean of its last step.
    """

    def __init__(
        self,
        variants: Mapping[float, Denoiser],
        importance: NDArray[np.float32],
        steps: int,
        *,
        step: int,
        margin: int,
        multiple: int = 1,
    ) -> None:
        self._variants, self._importance, self._steps = dict(variants), importance, steps
        self._step, self._margin, self._multiple = step, margin, multiple
        self._means: list[Float32] = []
        self._done = 0

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
        """See `Denoiser`; z (C, h, w)."""
        source = z.detach().cpu().movedim(0, 2).numpy()
        mean = np.zeros(source.shape, np.float32)
        shape = (z.shape[1], z.shape[2])
        parts = windows(shape, torus, step=self._step, margin=self._margin, multiple=self._multiple)
        for number, window in enumerate(parts):
            rows, columns = slice(window.rows.start, window.rows.stop), slice(window.columns.start, window.columns.stop)
            effort = effort_of(float(self._importance[rows, columns].max()))
            if number >= len(self._means) or works(self._done, self._steps, effort.steps):
                variant = self._variants[min(self._variants, key=lambda kept: abs(kept - effort.retention))]
                seen = torch.from_numpy(window.take(source, 1)).movedim(2, 0).to(z.device)
                made = variant.denoise(seen, sigma, (False, False)).cpu().movedim(0, 2).numpy()
                self._means[number : number + 1] = [made]
            window.add(mean, self._means[number], 1)
        self._done += 1
        return torch.from_numpy(mean).movedim(2, 0).contiguous().to(z.device)
