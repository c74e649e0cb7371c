"""A learned network above a noise level, the closed form below it.

At high noise it is decided what lies where, of which a network has seen more than one exemplar can show; at low noise
what is there must be the exemplar's own, which the closed form alone gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from texsynth.material import MapKind
from texsynth.model.denoiser import Denoiser
from texsynth.model.exemplar_score import ExemplarScore, Prior
from texsynth.model.reference_unet import MARGIN, STEP, ReferenceDenoiser, ReferenceUNet
from texsynth.prune.variants import VariantDenoiser


@dataclass(frozen=True)
class Learned:
    """A network for the layout. level: noise, in deviations of the exemplar's whitened latent, above which it has a
    say. share: its part in the mean there, 0..1; lattice and content act through the rest. smaller: pruned variants of
    it by the share of channels that they kept, for windows of less importance."""

    network: ReferenceUNet
    level: float = 2.0
    share: float = 0.5
    smaller: tuple[tuple[float, ReferenceUNet], ...] = ()

    def fingerprint(self) -> bytes:
        """SHA-256 of weights and values: whether an unfinished run was made with the same ones."""
        digest = hashlib.sha256(f"{self.level} {self.share} {[kept for kept, _ in self.smaller]}".encode())
        for network in (self.network, *(network for _, network in self.smaller)):
            for name, tensor in sorted(network.state_dict().items()):
                digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return digest.digest()


@dataclass(frozen=True)
class GuidedScore:
    """The closed form under a prior, as a `Denoiser`."""

    score: ExemplarScore
    prior: Prior | None

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
        """See `Denoiser`."""
        return self.score.denoise(z, sigma, torus, self.prior)


@dataclass(frozen=True)
class MixedDenoiser:
    """`below` up to noise `level`; above it `share` of `above` and the rest of `below`. Both are of one latent."""

    above: Denoiser
    below: Denoiser
    level: float
    share: float

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
        """See `Denoiser`; what has no part in the mean is not computed."""
        if sigma <= self.level or self.share == 0:
            return self.below.denoise(z, sigma, torus)
        learned = self.above.denoise(z, sigma, torus)
        if self.share == 1:
            return learned
        return self.share * learned + (1 - self.share) * self.below.denoise(z, sigma, torus)


def mixed_denoiser(
    score: ExemplarScore,
    prior: Prior | None,
    learned: Learned | None,
    image: Tensor,
    kinds: Sequence[MapKind],
    wraps: tuple[bool, bool],
    importance: NDArray[np.float32] | None = None,
    steps: int = 1,
) -> Denoiser:
    """`score` under `prior`, with `learned` above its level; None: the closed form alone.

    importance: of the tokens, (h, w), 0..1, by which a window is denoised by a smaller network and in fewer of the
    `steps` calls, where there are smaller ones; None: all of it matters. image: what `score` was made of, float32
    (K, H, W), holding `kinds` in this order. The network works in the latent of `score`, turned to its own axes, which
    white noise does not notice.
    """
    guided = GuidedScore(score, prior)
    if learned is None:
        return guided
    rotation = learned.network.axes.rotation(score.latent, kinds)
    tokens = score.latent.encode(image)
    looking: Denoiser = ReferenceDenoiser(learned.network, tokens, wraps, rotation)
    if learned.smaller and importance is not None:
        variants = {1.0: looking} | {
            kept: ReferenceDenoiser(network, tokens, wraps, rotation) for kept, network in learned.smaller
        }
        looking = VariantDenoiser(
            variants, importance, steps, step=STEP, margin=MARGIN, multiple=learned.network.multiple
        )
    return MixedDenoiser(looking, guided, learned.level, learned.share)
