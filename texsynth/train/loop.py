"""One training loop for every model: Muon for matrices, AdamW for the rest, moving averages, checkpoints.

`torch.optim.Muon` takes matrices only. The weight of a convolution is one, outputs x (inputs x taps), so it is given to
Muon as a view of that shape; both share their memory.
A run is a function of its seed: the batch of step k is drawn from (seed, k), so a run that is killed and resumed is the
same as one that was not (on one machine, with one number of threads).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mipmap.atomic import atomic_file
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.run import Run

CHECKPOINT = "checkpoint.pt"
CURVE = "curve.jsonl"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. Rates rise over `warmup` steps, stay, and fall linearly to zero over the last
    `cooldown` of the run."""

    steps: int
    batch: int
    crop: int
    muon_rate: float = 1.5e-3
    adamw_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: int = 200
    cooldown: float = 0.5
    averaging: float = 0.998
    report_every: int = 50
    save_every: int = 500

    def factor(self, step: int) -> float:
        """Of the rates, at `step`."""
        left = (self.steps - step) / max(1.0, self.cooldown * self.steps)
        return min(1.0, (step + 1) / self.warmup, left)


class Stateful(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> Any:
        """Its state."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """The inverse of `state_dict`."""
        ...


Batch = tuple[Tensor, Tensor]
Loss = Callable[[nn.Module, Batch, int], dict[str, Tensor]]
Validate = Callable[[nn.Module], dict[str, float]]


def train(
    model: nn.Module,
    batch_of: Callable[[int], Batch],
    loss_of: Loss,
    schedule: Schedule,
    out: Path,
    run: Run,
    *,
    device: torch.device,
    resume: bool = False,
    validate: Validate | None = None,
    extra: Mapping[str, Stateful] | None = None,
) -> nn.Module:
    """Train `model` and return its moving average.

    batch_of: the batch of a step. loss_of: parts of the loss, which are added up; called under bfloat16 autocast.
    Writes `checkpoint.pt` and `curve.jsonl` to `out`. extra: what the loss trains itself, and its optimisers, kept in
    the checkpoint. Raises TexsynthError where `resume` finds another schedule, and, after saving, when `run` is
    cancelled.
    """
    out.mkdir(parents=True, exist_ok=True)
    model.to(device)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(schedule.averaging))  # type: ignore[no-untyped-call]
    optimisers = Optimisers(model, schedule)
    kept: dict[str, Stateful] = {"model": model, "average": average, "optimisers": optimisers, **(extra or {})}
    first = _load(out / CHECKPOINT, kept, schedule, device) if resume else 0
    curve = (out / CURVE).open("a" if first else "w")
    began, sums, counted = time.monotonic(), dict[str, float](), 0
    with curve, ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(batch_of, first)
        for step in range(first, schedule.steps):
            stacks, masks = (tensor.to(device) for tensor in following.result())
            following = ahead.submit(batch_of, step + 1)
            torch.manual_seed(step)  # what the model itself draws (dropout) is a function of the step too
            model.train()
            with torch.autocast(device.type, dtype=torch.bfloat16):
                parts = loss_of(model, (stacks, masks), step)
            loss = torch.stack(list(parts.values())).sum()
            if not bool(torch.isfinite(loss)):
                raise TexsynthError(ErrorKind.CORRUPT, f"{out}: the loss is not finite at step {step}; lower the rates")
            optimisers.step(loss, schedule.factor(step))
            average.update_parameters(model)
            for name, part in parts.items():
                sums[name] = sums.get(name, 0.0) + float(part.detach())
            counted += 1
            done = step + 1
            if done % schedule.save_every == 0 or done == schedule.steps:
                _save(out / CHECKPOINT, kept, schedule, done)
            if done % schedule.report_every == 0 or done == schedule.steps:
                row: dict[str, Any] = {"step": done, "seconds": round(time.monotonic() - began, 1)}
                row |= {name: round(value / counted, 5) for name, value in sums.items()}
                if validate is not None and (done % schedule.save_every == 0 or done == schedule.steps):
                    row |= {name: round(value, 4) for name, value in validate(average.module.eval()).items()}
                curve.write(json.dumps(row) + "\n")
                curve.flush()
                sums, counted = {}, 0
            try:
                run.step(done / schedule.steps)
            except TexsynthError:
                _save(out / CHECKPOINT, kept, schedule, done)
                raise
    trained: nn.Module = average.module
    return trained.eval()


class Optimisers:
    """Muon for the matrices of a model, AdamW for its other parameters."""

    def __init__(self, model: nn.Module, schedule: Schedule) -> None:
        trained = [p for p in model.parameters() if p.requires_grad]
        self._matrices = [p for p in trained if p.ndim >= 2]
        self._views = [nn.Parameter(p.data.view(p.shape[0], -1)) for p in self._matrices]
        self._muon = torch.optim.Muon(
            self._views,
            lr=schedule.muon_rate,
            weight_decay=schedule.weight_decay,
            momentum=0.95,
            nesterov=True,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = torch.optim.AdamW(
            [p for p in trained if p.ndim < 2], lr=schedule.adamw_rate, weight_decay=0.0, betas=(0.9, 0.99)
        )
        self._rates = (schedule.muon_rate, schedule.adamw_rate)
        self._trained = trained

    def step(self, loss: Tensor, factor: float) -> None:
        """Differentiate `loss` and change the parameters, at `factor` of the rates."""
        for parameter in self._trained:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        for view, parameter in zip(self._views, self._matrices, strict=True):
            view.grad = None if parameter.grad is None else parameter.grad.reshape(view.shape)
        for optimiser, rate in zip((self._muon, self._adamw), self._rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Of both."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


def _save(path: Path, kept: Mapping[str, Stateful], schedule: Schedule, step: int) -> None:
    state = {name: part.state_dict() for name, part in kept.items()}
    with atomic_file(path) as file:
        torch.save({"step": step, "schedule": repr(schedule), **state}, file)


def _load(path: Path, kept: Mapping[str, Stateful], schedule: Schedule, device: torch.device) -> int:
    """The step to go on with: 0 where nothing was saved yet."""
    if not path.exists():
        return 0
    saved = torch.load(path, map_location=device, weights_only=True)
    if saved["schedule"] != repr(schedule):
        raise TexsynthError(
            ErrorKind.BAD_INPUT, f"{path}: is of another schedule; name another folder, or delete it to start afresh"
        )
    for name, part in kept.items():
        part.load_state_dict(saved[name])
    return int(saved["step"])
