"""`texsynth model prune`: a smaller variant of a trained model, mended by distillation from it (`texsynth.prune`)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from texsynth.checks import require_choice, require_range
from texsynth.errors import bad_input
from texsynth.layout import FLOOR
from texsynth.material import MapKind
from texsynth.model.map_estimator import MapEstimator
from texsynth.model.material_autoencoder import MaterialAutoencoder
from texsynth.model.reference_unet import load_reference_unet, save_reference_unet
from texsynth.model.stack import SLICES
from texsynth.model.weights import load_model, save_model
from texsynth.prune.channels import (
    FIRST_RETENTION,
    LEAST,
    Importance,
    channel_importance,
    prune_channels,
    prune_in_rounds,
)
from texsynth.prune.cost import milliseconds, multiply_adds
from texsynth.prune.fine_tune import distilled_loss, fine_tune
from texsynth.run import Run, write_json_atomically
from texsynth.train.autoencoder import fidelity
from texsynth.train.corpus import Corpus, load_corpus
from texsynth.train.estimator import estimator_loss
from texsynth.train.loop import Batch, Schedule
from texsynth.train.reference import LEAST_NOISE, MOST_NOISE, batch_of_pairs

GRADIENTS, ROUNDS = 8, 4  # batches that importance is the mean over, and times that it is taken
JUDGED = 4  # batches that the difference to the full model is the mean over
REPEATS = 20
TOKENS, TEXELS = 32, 256  # a side, of what costs are measured on
CROP, BATCH, PAIRS = 128, 8, 4


@dataclass(frozen=True)
class Subject:
    """A model and how it is run. whole: what is saved; part: gives the network in it that is pruned. call: of the
    network, on example inputs. batch: of a corpus. forward, loss: of the network on a batch."""

    whole: nn.Module
    part: Callable[[Any], nn.Module]
    call: Callable[[nn.Module], Tensor]
    batch: Callable[[Corpus, np.random.Generator], Batch]
    forward: Callable[[nn.Module, Batch], Tensor]
    loss: Callable[[nn.Module, Batch], Tensor]
    save: Callable[[Any, Path], str]


def prune_model(
    name: str, folder: Path, out: Path, *, retention: float, data: Path | None, steps: int, seed: int, resume: bool,
    device: torch.device, run: Run,
) -> dict[str, Any]:  # fmt: skip
    """Write `out`/model: the model of `folder` with about `retention` of its channels.

    data: one folder of maps for each material, which say what is important and on which it is fine-tuned for `steps`;
    without it weights alone say what is important, and nothing is mended.
    Returns what `out`/pruning.json says: costs of the full and of the small network for one call, the share of channels
    left, and with data how far the small one is off the full one (mean squared difference over the variance) before
    and after. Raises TexsynthError for unknown names, folders without such a model, and where `texsynth[prune]` is not
    installed.
    """
    require_choice("model", name, SUBJECTS)
    require_range("retention", retention, LEAST, FIRST_RETENTION)
    if (out / "model").resolve() == folder.resolve():
        raise bad_input("output", f"{out} holds the model itself", "use another folder")
    with run.stage("load", 0.0, 0.05):
        subject = SUBJECTS[name](folder)
        corpus = None if data is None else load_corpus(data, 0)
    small, full = copy.deepcopy(subject.whole), subject.part(subject.whole)
    network = subject.part(small).requires_grad_(True)
    batch_of = None if corpus is None else partial(_batch, subject, corpus, seed)
    with run.stage("prune", 0.05, 0.2):
        left = _pruned(network, subject, retention, batch_of)
    facts: dict[str, Any] = {"model": name, "retention": retention, "left": left, "seed": seed}
    if batch_of is not None:
        facts["off_before"] = _off(network, full, subject, batch_of)
        with run.stage("fine-tune", 0.2, 0.9):
            tuned = fine_tune(
                network, full, subject.forward, batch_of, _schedule(steps), out, run, device=device, resume=resume
            ).cpu()
            network.load_state_dict(tuned.state_dict())
        full.cpu()
        facts |= {"steps": steps, "off_after": _off(network, full, subject, batch_of)}
    network.eval().requires_grad_(False)
    with run.stage("measure", 0.9, 1.0):
        facts["multiply_adds"] = [multiply_adds(each, subject.call) for each in (full, network)]
        facts["milliseconds"] = milliseconds([full, network], subject.call, REPEATS)
    facts["sha256"] = subject.save(small, out / "model")
    write_json_atomically(out / "pruning.json", facts)
    return facts


def _pruned(network: nn.Module, subject: Subject, retention: float, batch_of: Callable[[int], Batch] | None) -> float:
    """Remove channels in place; the share that is left."""
    if batch_of is None:
        weights: Importance = {weight: weight.detach().square() for weight in network.parameters() if weight.ndim > 1}
        return prune_channels(network, subject.call, partial(channel_importance, importance=weights), retention)

    def losses() -> Iterator[Tensor]:
        return (subject.loss(network, batch_of(-2 - step)) for step in range(GRADIENTS))

    return prune_in_rounds(network, subject.call, losses, retention, ROUNDS)


def _batch(subject: Subject, corpus: Corpus, seed: int, step: int) -> Batch:
    """That of a step of fine-tuning; negative numbers are others."""
    return subject.batch(corpus, np.random.default_rng((seed, abs(step), int(step < 0))))


@torch.no_grad()
def _off(small: nn.Module, full: nn.Module, subject: Subject, batch_of: Callable[[int], Batch]) -> float:
    found = [
        distilled_loss(small.eval(), full, subject.forward, batch_of(-2 - GRADIENTS - number))
        for number in range(JUDGED)
    ]
    return float(torch.stack(found).mean())


def _schedule(steps: int) -> Schedule:
    return Schedule(
        steps=steps, batch=BATCH, crop=CROP, muon_rate=3e-3, adamw_rate=2e-3, warmup=max(1, steps // 20),
        averaging=0.98, report_every=max(1, steps // 10),
    )  # fmt: skip


def _estimator(folder: Path) -> Subject:
    example = torch.rand(1, 3, TEXELS, TEXELS, generator=torch.Generator().manual_seed(0))

    def made(network: nn.Module, albedo: Tensor) -> Tensor:
        return torch.cat(network(albedo), dim=1)

    return Subject(
        load_model(MapEstimator, folder),
        lambda whole: whole,
        lambda network: made(network, example),
        lambda corpus, generator: next(corpus.batches(CROP, BATCH, generator)),
        lambda network, batch: made(network, batch[0][:, SLICES[MapKind.ALBEDO]]),
        lambda network, batch: torch.stack(list(estimator_loss(network, batch, 0).values())).sum(),
        partial(save_model, pruned=True),
    )


def _autoencoder(folder: Path) -> Subject:
    """Its decoder, which runs over every window of a result; the latent stays what it is."""
    full = load_model(MaterialAutoencoder, folder)
    shape = (1, full.config.latent_channels, TOKENS, TOKENS)
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def made(network: nn.Module, batch: Batch) -> Tensor:
        device = batch[0].device
        with torch.no_grad():
            encoder = full.to(device)
            latent = encoder.encode(*batch)
            linear = encoder.synthesis(latent)
        decoded: Tensor = linear + network(latent)
        return decoded

    return Subject(
        full,
        lambda whole: whole.decoder,
        lambda network: network(example),
        lambda corpus, generator: next(corpus.batches(CROP, BATCH, generator)),
        made,
        lambda network, batch: torch.stack(list(fidelity(made(network, batch), *batch).values())).sum(),
        partial(save_model, pruned=True),
    )


def denoised(network: Any, batch: Batch) -> Tensor:
    """What a U-Net that looks at an exemplar makes of exemplar, clean and noisy tokens (N, 3, C, h, w) at noise levels
    (N,): the clean ones, (N, C, h, w)."""
    mean: Tensor = network(batch[0][:, 2], batch[1], network.reference(batch[0][:, 0]))
    return mean


def denoising_loss(network: nn.Module, batch: Batch) -> Tensor:
    """How far off `denoised` is, weighed as by EDM's preconditioning."""
    weight = 1 + batch[1][:, None, None, None].square().reciprocal()
    return (weight * (denoised(network, batch) - batch[0][:, 1]).square()).mean()


def _reference(folder: Path) -> Subject:
    """A U-Net that looks at an exemplar: batches are exemplar, clean and noisy tokens (N, 3, C, h, w), and noise."""
    full = load_reference_unet(folder)
    generator = torch.Generator().manual_seed(0)
    z, seen = (torch.randn(1, full.channels, TOKENS, TOKENS, generator=generator) for _ in range(2))

    def batch(corpus: Corpus, drawn: np.random.Generator) -> Batch:
        stacks, present = batch_of_pairs(corpus, PAIRS, CROP, drawn)
        exemplar, clean = full.axes.whitened_pair(stacks[:, 0], stacks[:, 1], present, full.channels, FLOOR)
        levels = np.exp(drawn.uniform(math.log(LEAST_NOISE), math.log(MOST_NOISE), PAIRS)).astype(np.float32)
        noise = torch.from_numpy(drawn.standard_normal(clean.shape, dtype=np.float32))
        sigma = torch.from_numpy(levels)
        return torch.stack([exemplar, clean, clean + sigma[:, None, None, None] * noise], dim=1), sigma

    def call(network: Any) -> Tensor:
        mean: Tensor = network(z, torch.tensor([1.0]), network.reference(seen))
        return mean

    return Subject(
        full,
        lambda whole: whole,
        call,
        batch,
        denoised,
        denoising_loss,
        partial(save_reference_unet, pruned=True),
    )


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "estimator": _estimator,
    "autoencoder": _autoencoder,
    "reference": _reference,
}
