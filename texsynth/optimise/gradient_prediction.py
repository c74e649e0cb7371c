"""The Gradient Prediction Network (Muon-AD, section 5): a small network that says what dL/dz will be.

It learns during the run that uses it, from the true gradients. It may replace them in at most 40 % of the steps, is
checked against a true one in every cycle, and is not used while the cosine of the two is below 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Steps of a cycle: the first CYCLE - PREDICTED take the true gradient, the others may take a predicted one.
CYCLE, PREDICTED = 5, 2
LEAST_COSINE = 0.9
WIDTH, RATE, UPDATES = 32, 2e-3, 2


class GradientNetwork(nn.Module):
    """(N, C, h, w) latent, last true gradient and change since it, each of root mean square 1, to a gradient like it.

    What it adds to the last gradient starts at zero.
    """

    def __init__(self, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3 * channels + 1, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, last: Tensor, change: Tensor, sigma: float) -> Tensor:
        """See the class; sigma: the noise level."""
        level = torch.full_like(z[:, :1], sigma).log()
        made: Tensor = last + self.layers(torch.cat([z, last, change, level], dim=1))
        return made


@dataclass
class Counts:
    """What a run did. cosines: of every check."""

    predicted: int = 0
    true: int = 0
    cosines: list[float] = field(default_factory=list)


class GradientPredictor:
    """Predicted gradients for one run of `distil`; seeded, so that a run is the same every time."""

    def __init__(self, channels: int, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = GradientNetwork(channels)
        self._optimiser = torch.optim.AdamW(self.network.parameters(), lr=RATE)
        self._last: tuple[Tensor, Tensor, Tensor] | None = None  # unit gradient, its size, and z there
        self.trusted, self.counts = False, Counts()

    def predict(self, step: int, z: Tensor, sigma: float) -> Tensor | None:
        """The gradient at `z` (1, C, h, w), or None where `step` needs the true one; then tell it to `learn`."""
        if not self.trusted or step % CYCLE < CYCLE - PREDICTED:
            return None
        self.counts.predicted += 1
        with torch.no_grad():
            made = self._said(z, sigma)
        assert self._last is not None  # trusted only after a check against it
        return made * (self._last[1] / _size(made).clamp_min(1e-30))

    def learn(self, step: int, z: Tensor, sigma: float, gradient: Tensor) -> None:
        """Take the true `gradient` at `z`: check the prediction in the first step of a cycle, and learn."""
        self.counts.true += 1
        size = _size(gradient).clamp_min(1e-30)
        unit, z = gradient.detach().float() / size, z.detach()
        if self._last is not None:
            for number in range(UPDATES):
                said = self._said(z, sigma)
                cosine = F.cosine_similarity(said.flatten(1), unit.flatten(1)).mean()
                if number == 0 and step % CYCLE == 0:
                    self.counts.cosines.append(float(cosine.detach()))
                    self.trusted = self.counts.cosines[-1] >= LEAST_COSINE
                self._optimiser.zero_grad()
                (1 - cosine).backward()  # type: ignore[no-untyped-call]
                self._optimiser.step()
        self._last = unit, size, z

    def _said(self, z: Tensor, sigma: float) -> Tensor:
        assert self._last is not None
        last, _, before = self._last
        scale = _size(z).clamp_min(1e-30)
        made: Tensor = self.network(z / scale, last, (z - before) / scale, sigma)
        return made


def _size(z: Tensor) -> Tensor:
    return z.detach().float().square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
