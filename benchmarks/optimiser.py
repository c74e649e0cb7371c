"""Which step rule distils an exemplar best: Adam, Muon in each matricisation, the normalised gradient, momentum.

    python benchmarks/optimiser.py [--data FOLDER --only NAME] [--seeds 5] [--steps 100] [--threads 1]

A latent of noise, 24 x 24 tokens at the coarsest level of an exemplar, is distilled towards it: the style loss of AD
over three layers of the closed-form score (patches of 1, 3 and 5 tokens), noise levels from 1 to 0.15. All but the rule
is the same: starts, layers, noise levels, and the form of the rate, which falls linearly to zero. A rule's step is
rate x RMS(z) x a direction whose root mean square is 1 at most. The rate of every rule, for every number of steps, is
the one of RATES with the lowest final loss on a seed of its own, over all exemplars; then the other seeds are run.

Loss: the style loss at four fixed noise levels, mean, over that of the start. d: texture distance of the decoded
latent's albedo to the exemplar's at that level; no rule has seen it. Reported are both after all steps, the fewest
steps in which a rule reaches Adam's loss after all steps, and the seconds for it, taken in the same process.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from exemplars import add_arguments, find_exemplars
from reporting import Row, row, show, write_results
from torch import Tensor

from mipmap.metrics import distance_unit, texture_distance
from texsynth.curriculum import Phase
from texsynth.distill import ExemplarLayer, distil, losses
from texsynth.exemplar import halved, prepare_exemplar
from texsynth.layout import CELL, FLOOR, KEY_DIMENSIONS, coarsest_scale
from texsynth.material import MapKind, estimate_missing, load_material
from texsynth.model.exemplar_score import ExemplarScore, noise_levels, step_weights
from texsynth.model.latent import to_tensor
from texsynth.optimise.rules import RULES

TOKENS, CHANNELS, PATCHES = 24, 16, (1, 3, 5)
RATES = (0.4, 0.8, 1.6, 3.2, 6.4)
FIRST_NOISE, LAST_NOISE = 1.0, 0.15
JUDGED_AT = (1.0, 0.5, 0.25, 0.15)
# Shares of the steps at which a rule is tried for reaching Adam's loss.
SHARES = (0.3, 0.4, 0.5, 0.6, 0.75, 1.0)
TUNING_SEED = 1000
# For comparison: sampling alone, and what distilling its latent with the best Muon adds.
SAMPLING_FROM, SAMPLING_STEPS = 4.0, 30
RATES_AFTER_SAMPLING = (0.01, 0.03, 0.1, 0.3)
BAR = 0.5


@dataclass(frozen=True)
class Falling:
    """One phase whose rate falls linearly to zero."""

    rate: float
    steps: int

    def at(self, step: int) -> Phase:
        return Phase(1.0, -math.inf, self.rate * (1 - step / self.steps))

    def observe(self, step: int, style_loss: float) -> None:
        pass


@dataclass(frozen=True)
class Problem:
    """An exemplar at its coarsest level: layers and what a latent decodes to."""

    name: str
    layers: list[ExemplarLayer]
    known: Any
    unit: float

    @classmethod
    def of(cls, folder: Path) -> Problem:
        maps = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)
        exemplar = prepare_exemplar(estimate_missing(load_material(folder), maps), maps, 1.0)
        image = halved(exemplar.weighted, int(math.log2(coarsest_scale(exemplar))))
        layers = []
        for patch in PATCHES:
            score = ExemplarScore(
                to_tensor(image), exemplar.wraps, patch=patch, stride=4, channels=CHANNELS, floor=FLOOR,
                dimensions=KEY_DIMENSIONS, cell=CELL,
            )  # fmt: skip
            sampled(score, TUNING_SEED)
            layers.append(ExemplarLayer(score, (False, False)))
        known = np.ascontiguousarray(image[..., :3])
        return cls(folder.name, layers, known, distance_unit(known))

    def loss(self, z: Tensor) -> float:
        with torch.no_grad():
            return mean(float(losses(self.layers, z, None, sigma)[0]) for sigma in JUDGED_AT)

    def distance(self, z: Tensor) -> float:
        decoded = self.layers[0].score.latent.decode(z[0]).movedim(0, 2).numpy()
        return float(texture_distance(np.ascontiguousarray(decoded[..., :3]), self.known, unit=self.unit))


def sampled(score: ExemplarScore, seed: int) -> Tensor:
    """A latent (1, C, h, w) by ancestral sampling, as the layout has it; the score's potentials settle on the way."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(CHANNELS, TOKENS, TOKENS, generator=generator) * SAMPLING_FROM
    for sigma, following in pairwise(noise_levels(SAMPLING_FROM, LAST_NOISE, SAMPLING_STEPS)):
        score.balance(z, sigma, (False, False), None, 30, 1.0, generator)
        keep, fresh = step_weights(sigma, following) if following else (0.0, 0.0)
        clean = score.denoise(z, sigma, (False, False), None)
        z = clean + (z - clean) * keep + fresh * torch.randn(z.shape, generator=generator)
    return z[None]


def noise(seed: int) -> Tensor:
    return torch.randn(1, CHANNELS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(seed))


def distilled(
    problem: Problem, rule: str, rate: float, steps: int, seed: int, start: Tensor | None = None
) -> dict[str, float]:
    """From the noise of `seed`, or from `start`."""
    sigmas = noise_levels(FIRST_NOISE if start is None else FIRST_NOISE / 2, LAST_NOISE, steps)[:-1]
    first = noise(seed) if start is None else start
    z, history = distil(first, problem.layers, None, sigmas, RULES[rule](), Falling(rate, steps), project=False)
    return judged(problem, z, seed) | {"seconds": history.seconds[-1]}


def judged(problem: Problem, z: Tensor, seed: int) -> dict[str, float]:
    return {"loss": problem.loss(z) / problem.loss(noise(seed)), "d": problem.distance(z)}


def beside_sampling(problems: Sequence[Problem], rule: str, steps: int, seeds: Sequence[int]) -> list[Row]:
    """Loss and d of sampling alone, and after distilling its latent, at the rate that is best on the tuning seed."""
    starts = {
        (problem.name, seed): sampled(problem.layers[1].score, seed)
        for problem in problems
        for seed in (*seeds, TUNING_SEED)
    }
    scores = [
        mean(
            distilled(problem, rule, rate, steps, TUNING_SEED, starts[problem.name, TUNING_SEED])["d"]
            for problem in problems
        )
        for rate in RATES_AFTER_SAMPLING
    ]
    rate = RATES_AFTER_SAMPLING[int(np.argmin(scores))]
    alone, after = [], []
    for problem in problems:
        for seed in seeds:
            start, name = starts[problem.name, seed], f"{problem.name} {seed}"
            alone.append((name, judged(problem, start, seed)))
            after.append((name, distilled(problem, rule, rate, steps, seed, start)))
    rows = []
    for what, found in (("sampling alone", alone), (f"sampling, then {rule} at {rate}", after)):
        rows += [row(f"{key}, {what}", "-", [(name, values[key]) for name, values in found]) for key in ("loss", "d")]
        loss, d = ([values[key] for _, values in found] for key in ("loss", "d"))
        print(f"{what}: loss {_mean_log(loss):.4f}, d {mean(d):.3f} ± {stdev(d) if len(d) > 1 else 0:.3f}", flush=True)
    return rows


def tuned_rate(problems: Sequence[Problem], rule: str, steps: int) -> tuple[float, list[float]]:
    """The rate with the lowest mean logarithm of the loss, and that of every rate."""
    scores = [
        mean(math.log(distilled(problem, rule, rate, steps, TUNING_SEED)["loss"]) for problem in problems)
        for rate in RATES
    ]
    return RATES[int(np.nanargmin(scores))], scores  # too large a rate ends in NaN


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "optimiser")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0..N-1 (default 5)")
    parser.add_argument("--steps", type=int, default=100, help="steps of the whole run (default 100)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problems = [Problem.of(folder) for folder in find_exemplars(arguments)]
    seeds = range(arguments.seeds)
    runs: list[dict[str, Any]] = []

    def measured(rule: str, steps: int) -> list[dict[str, Any]]:
        rate, scores = tuned_rate(problems, rule, steps)
        done = [
            {"rule": rule, "steps": steps, "rate": rate, "exemplar": problem.name, "seed": seed}
            | distilled(problem, rule, rate, steps, seed)
            for problem in problems
            for seed in seeds
        ]
        runs.extend(done)
        loss, d = [run["loss"] for run in done], [run["d"] for run in done]
        print(
            f"{rule:14} {steps:4} steps  rate {rate:5.3f}  loss {_mean_log(loss):.4f}  d {mean(d):.3f}"
            f"  {mean(run['seconds'] for run in done):.2f} s   (tuning: {', '.join(f'{s:.3f}' for s in scores)})",
            flush=True,
        )
        return done

    whole = {rule: measured(rule, arguments.steps) for rule in RULES}
    target = _mean_log([run["loss"] for run in whole["adam"]])
    reached: dict[str, tuple[int, float]] = {}
    for rule in RULES:
        for share in SHARES:
            steps = round(share * arguments.steps)
            done = whole[rule] if share == 1 or rule == "adam" else measured(rule, steps)
            if _mean_log([run["loss"] for run in done]) <= target:
                reached[rule] = done[0]["steps"], mean(run["seconds"] for run in done)
                break
    rows = []
    for rule, done in whole.items():
        rows.append(row(f"loss, {rule}", "-", [(f"{run['exemplar']} {run['seed']}", run["loss"]) for run in done]))
        rows.append(row(f"d, {rule}", "-", [(f"{run['exemplar']} {run['seed']}", run["d"]) for run in done]))
    muon = [rule for rule in reached if rule.startswith("muon")]
    adam_seconds = mean(run["seconds"] for run in whole["adam"])
    for name, of_adam in (
        ("steps", {rule: reached[rule][0] / arguments.steps for rule in reached}),
        ("seconds", {rule: reached[rule][1] / adam_seconds for rule in reached}),
    ):
        best = [(rule, of_adam[rule]) for rule in sorted(muon, key=lambda rule: of_adam[rule])[:1]]
        rows.append(row(f"{name} to Adam's loss, best Muon, of Adam's", f"<= {BAR}", best, lambda v: v[0] <= BAR))
        rows.append(row(f"{name} to Adam's loss, of Adam's", "-", list(of_adam.items())))
    best_muon = min(
        (rule for rule in whole if rule.startswith("muon")), key=lambda r: _mean_log([x["loss"] for x in whole[r]])
    )
    rows += beside_sampling(problems, best_muon, arguments.steps // 2, list(seeds))
    show(f"step rules: {len(problems)} exemplars x {arguments.seeds} seeds, {arguments.steps} steps", rows)
    print(table(whole, reached, arguments.steps))
    write_results(arguments.out, "optimiser", arguments, rows, runs)
    return 0


def table(whole: dict[str, list[dict[str, Any]]], reached: dict[str, tuple[int, float]], steps: int) -> str:
    """For the README."""
    lines = [
        f"| rule | rate | loss after {steps} steps | d | s | steps to Adam's loss | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule, done in whole.items():
        d = [run["d"] for run in done]
        fewest = (f"{reached[rule][0]}", f"{reached[rule][1]:.2f}") if rule in reached else ("not reached", "-")
        lines.append(
            f"| {rule} | {done[0]['rate']} | {_mean_log([run['loss'] for run in done]):.4f}"
            f" | {mean(d):.2f} ± {stdev(d) if len(d) > 1 else 0:.2f} | {mean(run['seconds'] for run in done):.2f}"
            f" | {fewest[0]} | {fewest[1]} |"
        )
    return "\n".join(lines)


def _mean_log(values: Sequence[float]) -> float:
    """Geometric mean."""
    return math.exp(mean(math.log(value) for value in values))


if __name__ == "__main__":
    sys.exit(main())
