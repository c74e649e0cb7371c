"""`Denoiser`: what every denoiser can do, and what a network among them shows of its self-attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Denoiser(Protocol):
    """The mean of the clean latents that a noisy one may come from.

    Noise is added, not mixed in: z = clean + sigma * noise, for the closed form and for networks alike.
    """

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
        """Posterior mean of the clean latent, float32 (C, h, w), for `z` of that shape; torus: rows, columns wrap."""
        ...


@dataclass(frozen=True)
class Attention:
    """What one self-attention layer saw: q, k, v (heads, N, d) of N tokens; its logits are scale * q k^T."""

    q: Tensor
    k: Tensor
    v: Tensor
    scale: float


class AttentiveDenoiser(Denoiser, Protocol):
    """A denoiser whose self-attention can be distilled (`texsynth/distill.py`)."""

    @property
    def layers(self) -> int:
        """How many self-attentions `attention` returns."""
        ...

    def attention(self, z: Tensor, sigma: float) -> tuple[Attention, ...]:
        """Its self-attentions on the decoder's side, first to last, for a latent `z`, float32 (1, C, h, w).

        `z` is fed as it is, without noise, as if it were at noise level `sigma` (Zhou et al. 2025). Gradients flow
        to `z` where it asks for them.
        """
        ...
