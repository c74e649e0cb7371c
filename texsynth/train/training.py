"""`texsynth model train`: from a folder of materials and a seed to the weights of one of our models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from texsynth.checks import require_choice
from texsynth.model.reference_unet import save_reference_unet
from texsynth.model.weights import save_model
from texsynth.run import Run, write_json_atomically
from texsynth.train import autoencoder, estimator, reference
from texsynth.train.corpus import Corpus, load_corpus
from texsynth.train.loop import Batch, Loss, Schedule, Stateful, train

# Every so manyth material of the folder is kept out of training, to watch it by.
HELD_OUT = 10


def _crops(corpus: Corpus, count: int, size: int, generator: np.random.Generator) -> Batch:
    return next(corpus.batches(size, count, generator))


@dataclass(frozen=True)
class Recipe:
    """How one model is trained. prepare: (corpus, schedule, seed, device) to the model, its loss and what else the
    loss trains; validate: figures on materials that were kept out. procedural_seeds: variants of every kind. batch:
    (corpus, crops, side of a crop, generator) to what the loss gets; save: to a folder, and the SHA-256 of the weights.
    """

    schedules: Mapping[str, Schedule]
    procedural_seeds: int
    prepare: Callable[[Corpus, Schedule, int, torch.device], tuple[nn.Module, Loss, dict[str, Stateful]]]
    validate: Callable[[nn.Module, Corpus], dict[str, float]]
    select: Callable[[Corpus], Corpus] = lambda corpus: corpus
    batch: Callable[[Corpus, int, int, np.random.Generator], Batch] = _crops
    save: Callable[[Any, Path], str] = save_model


RECIPES = {
    "estimator": Recipe(
        estimator.SCHEDULES, 24, estimator.prepare, estimator.validate_estimator, estimator.with_something_to_learn
    ),
    "autoencoder": Recipe(autoencoder.SCHEDULES, 3, autoencoder.prepare, autoencoder.validate_autoencoder),
    "reference": Recipe(
        reference.SCHEDULES,
        3,
        reference.prepare,
        reference.validate_reference,
        batch=reference.batch_of_pairs,
        save=save_reference_unet,
    ),
}
PRESETS = ("small", "base")


def train_model(
    name: str, data: Path, out: Path, *, preset: str, seed: int, resume: bool, device: torch.device, run: Run
) -> dict[str, Any]:
    """Train model `name` (of RECIPES) on the materials in `data` and write it to `out`/model, as float16.

    Returns what `out`/training.json says: schedule, seed, the materials kept out, and the SHA-256 of the weights.
    Raises TexsynthError for unknown names, for data without materials, and when cancelled.
    """
    require_choice("model", name, RECIPES)
    require_choice("preset", preset, PRESETS)
    recipe = RECIPES[name]
    schedule = recipe.schedules[preset]
    with run.stage("materials", 0.0, 0.02):
        kept, held = recipe.select(load_corpus(data, recipe.procedural_seeds)).split(HELD_OUT)
        torch.manual_seed(seed)
        model, loss, extra = recipe.prepare(kept, schedule, seed, device)

    def batch_of(step: int) -> Batch:
        return recipe.batch(kept, schedule.batch, schedule.crop, np.random.default_rng((seed, step)))

    with run.stage("train", 0.02, 1.0):
        trained = train(
            model, batch_of, loss, schedule, out, run, device=device, resume=resume, extra=extra,
            validate=lambda average: recipe.validate(average, held),
        )  # fmt: skip
    facts = {
        "model": name,
        "preset": preset,
        "seed": seed,
        "schedule": dataclasses.asdict(schedule),
        "materials": len(kept.materials),
        "held_out": [material.name for material in held.materials],
        "sha256": recipe.save(trained, out / "model"),
    }
    write_json_atomically(out / "training.json", facts)
    return facts
