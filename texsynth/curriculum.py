"""The three phases of a distillation (Muon-AD, section 3): style first, then both, then content with the style held."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Ends of the phases as fractions of the run; the paper's 500, 1500 and 3000 of 3000 steps.
FIRST_END, SECOND_END = 1 / 6, 1 / 2


@dataclass(frozen=True)
class Phase:
    """What holds at one step.

    style: weight of the style's gradient beside the content's. mask: deviations above the mean of the layers' entropies
    from which on a layer counts. rate: of the step. held: the style's gradient is scaled to a share of the content's.
    """

    style: float
    mask: float
    rate: float
    held: bool = False


@dataclass
class Curriculum:
    """Phases by the step. rate: of the first two phases, which falls to a tenth over the third.

    The paper lowers the style's weight by the trend of FID; one image has no FID, so here it is the trend of the style
    loss: weight <- weight * exp(-eta * relative fall since the step before), and never below `least`.
    """

    steps: int
    rate: float
    style: float = 0.8
    eta: float = 0.5
    gamma: float = 0.3
    least: float = 0.2
    _last_loss: float | None = None

    def at(self, step: int) -> Phase:
        """The phase of `step`, 0..steps - 1."""
        share = step / max(1, self.steps)
        if share < FIRST_END:
            return Phase(0.8, -1.5, self.rate)
        if share < SECOND_END:
            return Phase(self.style, 0.5, self.rate)
        left = (1 - share) / (1 - SECOND_END)
        return Phase(self.gamma, 1.2, self.rate * 10 ** (left - 1), held=True)

    def observe(self, step: int, style_loss: float) -> None:
        """Tell the style loss of `step`; in the second phase its fall lowers the style's weight."""
        if self._last_loss is not None and FIRST_END <= step / max(1, self.steps) < SECOND_END:
            fall = (self._last_loss - style_loss) / max(abs(self._last_loss), 1e-12)
            self.style = min(0.8, max(self.least, self.style * math.exp(-self.eta * max(0.0, fall))))
        self._last_loss = style_loss


@dataclass(frozen=True)
class SinglePhase:
    """The ablation: one weight, no mask, one rate."""

    rate: float
    style: float = 0.5

    def at(self, step: int) -> Phase:
        """The same at every `step`."""
        del step
        return Phase(self.style, -math.inf, self.rate)

    def observe(self, step: int, style_loss: float) -> None:
        """Nothing depends on it."""
