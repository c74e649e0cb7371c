"""Structural pruning (Muon-AD, section 4): channels of little importance are removed, so that they cost nothing.

A weight's importance is |mean of its gradient| / (root mean square of its gradient + eps) + decay * weight^2, that of
a channel the mean over all weights that it lies in. In every layer those below mean + k deviations go, with one k for
all layers, chosen so that the wanted share of channels stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from texsynth.prune.graph import Call, ChannelGraph, ChannelGroup

FIRST_RETENTION, LAST_RETENTION = 0.95, 0.40
# No layer is left with less than this share of its channels: a single one would cut the network in two.
LEAST = 0.15
# Processors work on so many channels at once, and what does not fill them costs as much: tensor cores 8, AVX2 8 and
# AVX-512 16 float32. With the latter, layers of 37 and 53 channels took as long as those of 48 and 64.
MULTIPLE = 8

Importance = dict[Tensor, Tensor]
# From the scores of every group's units, how many channels a unit is, and the share of channels to keep, to a mask of
# the units kept.
Choice = Callable[[Sequence[Tensor], Sequence[int], float], list[Tensor]]


def retention_at(step: int, steps: int, first: float = FIRST_RETENTION, last: float = LAST_RETENTION) -> float:
    """Share of channels kept in round `step` of 0..steps - 1, which falls linearly from `first` to `last`."""
    return last if steps < 2 else first + (last - first) * step / (steps - 1)


def weight_importance(
    network: nn.Module, losses: Iterable[Tensor], decay: float = 1e-4, epsilon: float = 1e-12
) -> Importance:
    """S of every weight of `network`, from the gradients of `losses`, one a batch, each made as it is asked for."""
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad and parameter.ndim > 1]
    first, second, count = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights], 0
    for loss in losses:
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                first[index] += gradient
                second[index] += gradient.square()
        count += 1
    return {
        weight: (a.abs() / count) / ((b / count).sqrt() + epsilon) + decay * weight.detach().square()
        for weight, a, b in zip(weights, first, second, strict=True)
    }


def channel_importance(group: ChannelGroup, importance: Importance) -> Tensor:
    """(channels,) the mean of S over what each channel of `group` is made of and goes into."""
    total, count = torch.zeros(group.channels), torch.zeros(group.channels)
    for member in group.members:
        scores = importance[member.weight].movedim(member.dim, 0).flatten(1).mean(dim=1).cpu()
        total.index_add_(0, member.roots, scores[member.channels])
        count.index_add_(0, member.roots, torch.ones(len(member.roots)))
    return total / count.clamp_min(1)


def by_threshold(scores: Sequence[Tensor], sizes: Sequence[int], retention: float) -> list[Tensor]:
    """Kept is what exceeds mean + k deviations of its own group; k is one for all of them."""
    standard = [(own - own.mean()) / own.std(correction=0).clamp_min(1e-12) for own in scores]
    least = [own.topk(max(1, round(LEAST * len(own)))).indices for own in standard]
    ordered = torch.cat(standard).sort(descending=True).values
    wanted = retention * sum(len(own) * size for own, size in zip(standard, sizes, strict=True))
    low, high = 0, len(ordered) - 1  # the largest threshold that keeps enough, by bisection
    while low < high:
        middle = (low + high) // 2
        kept = _above(standard, least, float(ordered[middle]))
        if sum(int(mask.sum()) * size for mask, size in zip(kept, sizes, strict=True)) >= wanted:
            high = middle
        else:
            low = middle + 1
    return _above(standard, least, float(ordered[low]))


def by_fixed_ratio(scores: Sequence[Tensor], sizes: Sequence[int], retention: float) -> list[Tensor]:
    """Kept is the same share of every group: the baseline."""
    del sizes
    masks = []
    for own in scores:
        mask = torch.zeros(len(own), dtype=torch.bool)
        mask[own.topk(max(1, round(retention * len(own)))).indices] = True
        masks.append(mask)
    return masks


def _above(standard: Sequence[Tensor], least: Sequence[Tensor], threshold: float) -> list[Tensor]:
    masks = [own >= threshold for own in standard]
    for mask, strongest in zip(masks, least, strict=True):
        mask[strongest] = True
    return masks


def prune_channels(
    network: nn.Module,
    call: Call,
    score: Callable[[ChannelGroup], Tensor],
    retention: float,
    choose: Choice = by_threshold,
    kept: Iterable[nn.Module] = (),
    multiple: int = MULTIPLE,
) -> float:
    """Remove channels of `network`, in place, until about `retention` of them are left; returns the share that is.

    call: runs it on example inputs. score: importance of a group's channels, see `channel_importance`. kept: layers
    whose channels stay. Channels that are normalised in parts go by the same number from each part, and what is left of
    a layer is a `multiple`.
    """
    graph = ChannelGraph(network, call, kept)
    groups = graph.groups()
    if not groups:
        raise ValueError(f"{type(network).__name__} has no channels that could be removed")
    units = [score(group).reshape(group.blocks, -1).mean(dim=0) for group in groups]
    left = 0
    masks = choose(units, [group.blocks for group in groups], retention)
    for group, scores, mask in zip(groups, units, masks, strict=True):
        whole = _rounded(mask, scores, group.blocks, multiple).repeat(group.blocks)
        graph.remove(group, (~whole).nonzero().flatten().tolist())
        left += int(whole.sum())
    return left / sum(group.channels for group in groups)


def _rounded(mask: Tensor, scores: Tensor, size: int, multiple: int) -> Tensor:
    """`mask` of units of `size` channels, with the next best or without the worst: a `multiple` of channels is kept."""
    step = multiple // math.gcd(multiple, size)
    count = max(step, round(int(mask.sum()) / step) * step)
    kept = torch.zeros_like(mask)
    kept[scores.topk(min(count, len(mask))).indices] = True
    return kept


def prune_in_rounds(
    network: nn.Module,
    call: Call,
    losses: Callable[[], Iterable[Tensor]],
    retention: float,
    rounds: int = 4,
    choose: Choice = by_threshold,
    kept: Iterable[nn.Module] = (),
    multiple: int = MULTIPLE,
) -> float:
    """`prune_channels` down to `retention`, from 95 % on in equal steps, with fresh importance before each of them.

    losses: new ones at every call, for `weight_importance`. Returns the share of channels left.
    """
    left, kept = 1.0, list(kept)
    for number in range(rounds):
        wanted = retention_at(number, rounds, max(FIRST_RETENTION, retention), retention)
        score = partial(channel_importance, importance=weight_importance(network, losses()))
        now = multiple if number == rounds - 1 else 1  # rounding in every round would add up
        left *= prune_channels(network, call, score, min(1.0, wanted / left), choose, kept, now)
    return left
