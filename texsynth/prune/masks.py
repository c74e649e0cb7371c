"""Which attention layers and heads are worth computing (Muon-AD, section 4), decided before the work is done."""

from __future__ import annotations

import torch
from torch import Tensor

KEPT_ENTROPY = 0.7


def row_entropy(weights: Tensor) -> Tensor:
    """Mean Shannon entropy of attention rows (..., N, M), in nats: (...)."""
    entropy: Tensor = torch.special.entr(weights).sum(dim=-1).mean(dim=-1)
    return entropy


def layer_mask(entropies: Tensor, deviations: float | None = None) -> Tensor:
    """(L,) bool: layers whose entropy exceeds 0.7 of the largest, or, with `deviations`, mean + that many deviations.

    At least the layer of the largest entropy stays.
    """
    if deviations is None:
        bound = KEPT_ENTROPY * entropies.max()
    else:
        bound = entropies.mean() + deviations * entropies.std(correction=0)
    mask = entropies > bound
    mask[entropies.argmax()] = True
    return mask


def head_mask(entropies: Tensor, share: float = 0.5) -> Tensor:
    """(heads,) bool: the share of heads with the highest entropy, at least one."""
    count = max(1, round(share * len(entropies)))
    mask = torch.zeros(len(entropies), dtype=torch.bool, device=entropies.device)
    mask[entropies.topk(count).indices] = True
    return mask
