"""Attention distillation: a latent is changed until its own attention gives what attention to the exemplar would.

The losses of Zhou et al., "Attention Distillation" (CVPR 2025), over any layers that can say their queries, keys and
values, and the loop of Muon-AD around them: two gradients, their conflict, the tangent space, a step rule, three
phases, layers left out by entropy. `ExemplarLayer` makes layers of the closed-form score; runs share nothing,
so that two in one process cannot disturb each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from texsynth.curriculum import Curriculum, Phase, SinglePhase
from texsynth.model.denoiser import Attention, AttentiveDenoiser
from texsynth.model.exemplar_score import ExemplarScore
from texsynth.optimise.gradient_prediction import GradientPredictor
from texsynth.optimise.gradients import CONFLICT, tangent, without_conflict
from texsynth.optimise.rules import Rule, moved, rms
from texsynth.prune.masks import head_mask, layer_mask, row_entropy

# Entropies are taken afresh every so many steps.
REFRESH = 10
# Rows of attention from which an entropy is taken.
ENTROPY_ROWS = 256


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """softmax(scale q k^T + bias) v for q (..., N, D), k (..., M, D), v (..., M, E), bias (..., N or 1, M)."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def output_form(own: Tensor, style: Tensor) -> Tensor:
    """mean |A(Q, K, V) - A(Q, Ks, Vs)|, the loss of AD; no gradient flows through `style`."""
    return (own - style.detach()).abs().mean()


def map_form(own_logits: Tensor, style_logits: Tensor) -> Tensor:
    """Mean over rows of KL(style || own), logits (..., N, N) of as many tokens: the loss as the paper writes it."""
    if own_logits.shape != style_logits.shape:
        raise ValueError(f"maps of {tuple(own_logits.shape)} and {tuple(style_logits.shape)}; both need the same")
    style = style_logits.detach().log_softmax(dim=-1)
    kl: Tensor = F.kl_div(own_logits.log_softmax(dim=-1), style, log_target=True, reduction="none").sum(dim=-1)
    return kl.mean()


class Layer(Protocol):
    """One attention layer of a denoiser, seen from a latent z, float32 (1, C, h, w)."""

    def outputs(self, z: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """A(Q, K, V) and A(Q, Ks, Vs) at a noise level, (N, E) each."""
        ...

    def queries(self, z: Tensor, sigma: float) -> Tensor:
        """Q at a noise level, (N, D)."""
        ...

    def entropy(self, z: Tensor, sigma: float) -> Tensor:
        """Mean entropy of the rows that attend to the exemplar, over that of rows that attend to all of it alike."""
        ...


@dataclass(frozen=True)
class ExemplarLayer:
    """The closed-form score as a layer: patches of the latent attend to its own patches, or to the exemplar's.

    Keys and values of the exemplar are computed once, with the score; its potentials go into the logits.
    """

    score: ExemplarScore
    torus: tuple[bool, bool]

    def queries(self, z: Tensor, sigma: float) -> Tensor:
        """See `Layer`; the same at every noise level."""
        return self.score.queries(z[0], self.torus)

    def outputs(self, z: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        q = self.queries(z, sigma)
        own = attend(q, q, z[0].flatten(1).T, sigma**-2, self._bias(q, sigma))
        with torch.no_grad():
            style = attend(q, self.score.keys, self.score.values, sigma**-2, self._style_bias(sigma))
        return own, style

    def entropy(self, z: Tensor, sigma: float) -> Tensor:
        """See `Layer`."""
        q = self.queries(z, sigma)
        q = q[:: max(1, len(q) // ENTROPY_ROWS)]
        logits = q @ self.score.keys.T * sigma**-2 + self._style_bias(sigma)
        return row_entropy(logits.softmax(dim=-1)) / torch.log(torch.tensor(float(len(self.score.keys))))

    def _style_bias(self, sigma: float) -> Tensor:
        return self._bias(self.score.keys, sigma) + self.score.potentials[self.score.groups]

    @staticmethod
    def _bias(keys: Tensor, sigma: float) -> Tensor:
        return (-0.5 * keys.square().sum(dim=1) * sigma**-2)[None]


class Seen:
    """The self-attention of a network on the latents of a run: computed once for all of its layers.

    network: whose self-attention it is. style: latent of the exemplar, float32 (1, C, h, w); its keys and values are
    kept for the last `levels` noise levels, as they depend on nothing else. heads: share of each layer's heads, those
    of the highest entropy, whose outputs are compared; the others' attention is not computed. roll: tokens (y, x) by
    which all other latents are rolled before the network sees them, for those that go on across their edges.
    """

    def __init__(
        self,
        network: AttentiveDenoiser,
        style: Tensor,
        levels: int = 8,
        heads: float = 1.0,
        roll: tuple[int, int] = (0, 0),
    ) -> None:
        self.network, self.style, self.levels, self.heads, self.roll = network, style, levels, heads, roll
        self.masks: dict[int, Tensor] = {}  # (heads,) bool by the layer's number, where some are left out
        self._styles: dict[float, tuple[Attention, ...]] = {}
        # of the last latent with a gradient and of the last one without: that in work, and the content
        self._last: dict[bool, tuple[Tensor, int, float, tuple[Attention, ...]]] = {}

    def of_style(self, sigma: float) -> tuple[Attention, ...]:
        """The exemplar's at noise level `sigma`, without a gradient."""
        if sigma not in self._styles:
            while len(self._styles) >= self.levels:
                del self._styles[next(iter(self._styles))]
            with torch.no_grad():
                self._styles[sigma] = self.network.attention(self.style, sigma)
        return self._styles[sigma]

    def of(self, z: Tensor, sigma: float) -> tuple[Attention, ...]:
        """That of `z`, with a gradient where `z` asks for one."""
        graph = z.requires_grad and torch.is_grad_enabled()
        last = self._last.get(graph)
        if last is None or last[0] is not z or last[1:3] != (z._version, sigma):
            self._last.pop(graph, None)  # and its graph, before the next one is made
            last = self._last[graph] = (z, z._version, sigma, self._attention(z, sigma))
        return last[3]

    def _attention(self, z: Tensor, sigma: float) -> tuple[Attention, ...]:
        return self.network.attention(torch.roll(z, self.roll, (2, 3)) if any(self.roll) else z, sigma)


@dataclass(frozen=True)
class NetworkLayer:
    """One self-attention layer of a network: tokens attend to those of their own latent, or to the exemplar's."""

    seen: Seen
    number: int

    def queries(self, z: Tensor, sigma: float) -> Tensor:
        """See `Layer`; the heads lie side by side."""
        return _merged(self.seen.of(z, sigma)[self.number].q)

    def outputs(self, z: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        own, style = self.seen.of(z, sigma)[self.number], self.seen.of_style(sigma)[self.number]
        if (mask := self.seen.masks.get(self.number)) is not None:
            own, style = _only(own, mask), _only(style, mask)
        with torch.no_grad():
            wanted = attend(own.q, style.k, style.v, own.scale)
        return _merged(attend(own.q, own.k, own.v, own.scale)), _merged(wanted)

    def entropy(self, z: Tensor, sigma: float) -> Tensor:
        """See `Layer`; the mean of its heads. It also decides which of them `outputs` computes from now on."""
        own, style = self.seen.of(z, sigma)[self.number], self.seen.of_style(sigma)[self.number]
        q = own.q[:, :: max(1, own.q.shape[1] // ENTROPY_ROWS)].float()
        rows = (own.scale * q @ style.k.float().mT).softmax(dim=-1)
        entropies = row_entropy(rows)
        if self.seen.heads < 1:
            self.seen.masks[self.number] = head_mask(entropies, self.seen.heads)
        return entropies.mean() / torch.log(torch.tensor(float(style.k.shape[1])))


def network_layers(
    network: AttentiveDenoiser, style: Tensor, heads: float = 1.0, roll: tuple[int, int] = (0, 0)
) -> list[NetworkLayer]:
    """Layers for `distil` of `network`'s self-attention, towards the exemplar's latent `style` (1, C, h, w).

    heads: share of the heads that are used, by their entropy; the paper's is half. roll: see `Seen`.
    """
    seen = Seen(network, style, heads=heads, roll=roll)
    return [NetworkLayer(seen, number) for number in range(network.layers)]


def _only(attention: Attention, heads: Tensor) -> Attention:
    return replace(attention, q=attention.q[heads], k=attention.k[heads], v=attention.v[heads])


def _merged(heads: Tensor) -> Tensor:
    """(heads, N, d) as float32 (N, heads d)."""
    return heads.movedim(0, 1).flatten(1).float()


@dataclass
class History:
    """What a run of `distil` saw, an entry a step. seconds: since its start. layers: computed in that step.

    In steps whose gradient was predicted the losses are those of the step before, and no layer is computed.
    """

    style: list[float] = field(default_factory=list)
    content: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    conflicts: int = 0


def losses(layers: Sequence[Layer], z: Tensor, content: Tensor | None, sigma: float) -> tuple[Tensor, Tensor]:
    """Style and content loss of `z`, means over `layers`; content: the latent whose queries are to be kept."""
    style, kept = z.new_zeros(()), z.new_zeros(())
    for layer in layers:
        style = style + output_form(*layer.outputs(z, sigma)) / len(layers)
        if content is not None:
            with torch.no_grad():
                wanted = layer.queries(content, sigma)
            kept = kept + (layer.queries(z, sigma) - wanted).abs().mean() / len(layers)
    return style, kept


def distil(
    z: Tensor,
    layers: Sequence[Layer],
    content: Tensor | None,
    sigmas: Sequence[float],
    rule: Rule,
    curriculum: Curriculum | SinglePhase,
    *,
    content_weight: float = 1.0,
    project: bool = True,
    conflict: float | None = CONFLICT,
    predictor: GradientPredictor | None = None,
    step: Callable[[int, Tensor], None] = lambda _step, _z: None,
) -> tuple[Tensor, History]:
    """Change `z`, float32 (1, C, h, w), in len(sigmas) steps; returns the new latent and what happened.

    sigmas: the noise level of each step. content: latent (1, C, h, w) whose queries are kept, weight `content_weight`.
    project: whether equation 3 is applied, with z kept at its length. conflict: the cosine below which equation 2 is
    (0: as PCGrad does); None: nowhere. predictor: takes the place of the gradient in some steps, for a run of its own.
    step: called before every step with its number and z.
    """
    history, mask = History(), list(layers)
    began = time.perf_counter()
    for number, sigma in enumerate(sigmas):
        step(number, z)
        phase = curriculum.at(number)
        if number % REFRESH == 0 and phase.mask > -math.inf:  # else all layers count
            with torch.no_grad():
                entropies = torch.stack([layer.entropy(z, sigma) for layer in layers])
            mask = [layer for layer, kept in zip(layers, layer_mask(entropies, phase.mask), strict=True) if kept]
        gradient = None if predictor is None else predictor.predict(number, z, sigma)
        known = gradient is None
        if gradient is None:
            gradient = _gradient(mask, z, content, sigma, phase, content_weight, conflict, history)
            if predictor is not None:
                predictor.learn(number, z, sigma, gradient)
        else:
            history.style.append(history.style[-1])
            history.content.append(history.content[-1])
        if project:
            gradient = tangent(gradient, z)
        following = moved(z, rule.direction(gradient), phase.rate)
        # back to the sphere: equation 3 alone removes what would hold the length, and z grows without end
        z = following * (rms(z) / rms(following)) if project else following
        if known:
            curriculum.observe(number, history.style[-1])
        history.layers.append(len(mask) if known else 0)
        history.seconds.append(time.perf_counter() - began)
    return z, history


def _gradient(
    layers: Sequence[Layer],
    z: Tensor,
    content: Tensor | None,
    sigma: float,
    phase: Phase,
    content_weight: float,
    conflict: float | None,
    history: History,
) -> Tensor:
    """dL/dz of style and content as `phase` weighs them; adds losses and conflicts to `history`."""
    current = z.detach().requires_grad_(True)
    style, kept = losses(layers, current, content, sigma)
    history.style.append(float(style.detach()))
    history.content.append(float(kept.detach()))
    towards_style = torch.autograd.grad(style, current, retain_graph=content is not None)[0]
    if content is None:
        return towards_style
    towards_content = content_weight * torch.autograd.grad(kept, current)[0]
    if conflict is not None:
        free = without_conflict(towards_style, towards_content, conflict)
        history.conflicts += int(not torch.equal(free, towards_style))
        towards_style = free
    if phase.held:
        ratio: Tensor = towards_content.norm() / towards_style.norm().clamp_min(1e-20)
        return phase.style * ratio * towards_style + towards_content
    return phase.style * towards_style + (1 - phase.style) * towards_content
