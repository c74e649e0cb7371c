"""Step rules for a latent: Muon in each matricisation, and what it is compared with.

Every rule turns gradients into directions whose root mean square is 1 at most, so that one rate means one step length
for all: a step is rate x RMS(z) x direction (`moved`). Each sample of a batch is a latent by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from texsynth.optimise.matrices import MATRICISATIONS, Matricisation, from_matrices, orthogonalised, to_matrices

MOMENTUM = 0.95


class Rule(Protocol):
    """Keeps its state from step to step, across noise levels."""

    def direction(self, gradient: Tensor) -> Tensor:
        """Where to go down, (N, C, h, w) float32, for a gradient of that shape."""
        ...


def moved(z: Tensor, direction: Tensor, rate: float) -> Tensor:
    """`z` (N, C, h, w), float32, after a step against `direction` of `rate` times its own root mean square."""
    return z - rate * rms(z) * direction


def rms(z: Tensor) -> Tensor:
    """Root mean square of each sample, (N, 1, 1, 1)."""
    return z.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


class Muon:
    """Nesterov momentum, orthogonalised as matrices, scaled to a root mean square of 1 (K. Jordan 2024).

    average: of the gradients, None before the first one; all that a later run needs to go on, but for the rolls of
    "patches".
    """

    def __init__(self, how: Matricisation, momentum: float = MOMENTUM, seed: int = 0, patch: int = 4) -> None:
        self.how, self.momentum, self.patch = how, momentum, patch
        self._generator = torch.Generator().manual_seed(seed)
        self.average: Tensor | None = None

    def direction(self, gradient: Tensor) -> Tensor:
        """See `Rule`."""
        gradient = gradient.float()
        average = torch.zeros_like(gradient) if self.average is None else self.average
        self.average = average.lerp(gradient, 1 - self.momentum)
        ahead = gradient.lerp(self.average, self.momentum)
        roll = (0, 0)
        if self.how == "patches":
            y, x = (int(torch.randint(self.patch, (1,), generator=self._generator)) for _ in range(2))
            roll = (y, x)
        matrices = orthogonalised(to_matrices(ahead, self.how, self.patch, roll))
        return _unit(from_matrices(matrices, gradient.shape, self.how, self.patch, roll))


class Adam:
    """Adam (Kingma and Ba 2015) without a rate: its root mean square is about 1 by itself, at most."""

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self.betas, self.epsilon, self._step = betas, epsilon, 0
        self._first = self._second = torch.zeros(())

    def direction(self, gradient: Tensor) -> Tensor:
        """See `Rule`."""
        gradient = gradient.float()
        self._step += 1
        one, two = self.betas
        self._first = one * self._first + (1 - one) * gradient
        self._second = two * self._second + (1 - two) * gradient.square()
        first, second = self._first / (1 - one**self._step), self._second / (1 - two**self._step)
        # relative to the gradient's own size, so that a loss in other units gives the same steps
        floor = self.epsilon * second.mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-30)
        return first / (second.sqrt() + floor)


class NormalisedGradient:
    """The gradient, scaled to a root mean square of 1."""

    def direction(self, gradient: Tensor) -> Tensor:
        """See `Rule`."""
        return _unit(gradient.float())


class Momentum:
    """Heavy-ball momentum; the first gradient has a root mean square of 1, later ones keep their proportion to it."""

    def __init__(self, momentum: float = 0.9) -> None:
        self.momentum = momentum
        self._average: Tensor | None = None
        self._scale = torch.ones(())

    def direction(self, gradient: Tensor) -> Tensor:
        """See `Rule`."""
        gradient = gradient.float()
        if self._average is None:
            self._scale = rms(gradient).clamp_min(1e-30)
            self._average = torch.zeros_like(gradient)
        self._average = self.momentum * self._average + (1 - self.momentum) * gradient / self._scale
        return self._average


RULES: dict[str, Callable[[], Rule]] = {
    "adam": Adam,
    **{f"muon-{how}": (lambda how=how: Muon(how)) for how in MATRICISATIONS},  # type: ignore[misc]
    "normalised": NormalisedGradient,
    "momentum": Momentum,
}


def _unit(direction: Tensor) -> Tensor:
    return direction / rms(direction).clamp_min(1e-30)
