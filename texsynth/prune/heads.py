"""Half of an attention's heads, those of the highest entropy, are kept; the others are removed, not masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from texsynth.prune.masks import head_mask, row_entropy
from texsynth.prune.structure import head_width, is_attention, settle


def head_entropies(network: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """(heads,) mean entropy of the rows of each head, for every self-attention that `run` calls, by name."""
    found: dict[str, Tensor] = {}
    seen: dict[tuple[str, str], Tensor] = {}

    def keep(key: tuple[str, str]) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen[key] = output.detach()

        return hook

    attentions = {name: module for name, module in network.named_modules() if is_attention(module)}
    hooks = [
        getattr(module, f"to_{part}").register_forward_hook(keep((name, part)))
        for name, module in attentions.items()
        for part in ("q", "k")
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    for name, module in attentions.items():
        if (name, "q") in seen:
            heads: Any = module.heads
            q, k = (_heads(seen[name, part], int(heads)) for part in ("q", "k"))
            rows = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
            found[name] = row_entropy(rows).mean(dim=0)
    return found


def keep_heads(attention: nn.Module, kept: Tensor) -> None:
    """Leave `attention`, one of diffusers', with the heads of `kept` (heads,) bool; the others cost nothing."""
    layer: Any = attention
    width = head_width(attention)
    channels = kept.repeat_interleave(width)
    for part in ("to_q", "to_k", "to_v"):
        linear = getattr(layer, part)
        linear.weight = nn.Parameter(linear.weight.detach()[channels])
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias.detach()[channels])
    layer.to_out[0].weight = nn.Parameter(layer.to_out[0].weight.detach()[:, channels])
    layer.heads = int(kept.sum())
    settle(attention)


def keep_half_the_heads(network: nn.Module, run: Callable[[], object], share: float = 0.5) -> None:
    """Every self-attention of `network` that `run` calls keeps the `share` of its heads with the highest entropy."""
    for name, entropies in head_entropies(network, run).items():
        if len(entropies) > 1:
            keep_heads(network.get_submodule(name), head_mask(entropies, share))


def _heads(rows: Tensor, heads: int) -> Tensor:
    """(N, tokens, heads d) as (N, heads, tokens, d)."""
    return rows.reshape(rows.shape[0], rows.shape[1], heads, -1).transpose(1, 2).float()
