"""What pruning broke is mended by distillation: the small network learns to say what the full one says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from texsynth.run import Run
from texsynth.train.loop import Batch, Schedule, train

# Runs a network on a batch: inputs and what else it needs, such as noise levels.
Forward = Callable[[nn.Module, Batch], Tensor]


def distilled_loss(small: nn.Module, full: nn.Module, forward: Forward, batch: Batch) -> Tensor:
    """Mean squared difference of what both make of `batch`, over the variance of what the full one makes."""
    with torch.no_grad():
        wanted = forward(full, batch).float()
    return (forward(small, batch).float() - wanted).square().mean() / wanted.var().clamp_min(1e-12)


def fine_tune(
    small: nn.Module,
    full: nn.Module,
    forward: Forward,
    batch_of: Callable[[int], Batch],
    schedule: Schedule,
    out: Path,
    run: Run,
    *,
    device: torch.device,
    resume: bool = False,
) -> nn.Module:
    """The moving average of a copy of `small`, trained on `distilled_loss` by `texsynth.train.loop.train`."""
    small = copy.deepcopy(small).requires_grad_(True)
    full = full.to(device).eval()

    def loss(model: nn.Module, batch: Batch, _step: int) -> dict[str, Tensor]:
        return {"distilled": distilled_loss(model, full, forward, batch)}

    return train(small, batch_of, loss, schedule, out, run, device=device, resume=resume)
