"""Which step rule distils an exemplar best: Adam, Muon in each matricisation, the normalised gradient, momentum.

    python benchmarks/optimiser.py [--data FOLDER] [--tuning FOLDER --tune NAME] [--seeds 5] [--steps 60] [--csv FILE]

A latent of noise, 16 x 16 tokens at the coarsest level of an exemplar (its layout at its own size), is distilled
towards it: the style loss of AD over three layers of the closed-form score (patches of 1, 3 and 5 tokens), noise levels
from 1 to 0.15. All but the rule is the same: starts, layers, noise levels, and the form of the rate, which falls
linearly to zero. A rule's step is rate x RMS(z) x a direction whose root mean square is 1 at most. The rate of every
rule, for every number of steps, is the one of RATES with the lowest final loss over the tuning exemplars, which are not
among those measured.

Loss: the style loss at four fixed noise levels, mean, over that of the start. d: texture distance of the decoded
latent's albedo to the exemplar's at that level; no rule has seen it. Reported are both after all steps, the fewest
steps in which a rule reaches Adam's loss after all steps, and the processor's seconds for it.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
import torch
from exemplars import add_arguments, add_tuning, find_exemplars, find_tuning
from records import Record, Records
from reporting import Row, row, show, write_results
from torch import Tensor

from mipmap.metrics import distance_unit, texture_distance
from texsynth.curriculum import Phase
from texsynth.distill import ExemplarLayer, distil, losses
from texsynth.exemplar import coarsest_scale, halved, prepare_exemplar
from texsynth.layout import CELL, FLOOR, KEY_DIMENSIONS
from texsynth.material import MapKind, estimate_missing, load_material
from texsynth.model.exemplar_score import ExemplarScore, Prior, noise_levels, step_weights
from texsynth.model.latent import to_tensor
from texsynth.optimise.rules import RULES

TOKENS, CHANNELS, PATCHES = 16, 16, (1, 3, 5)
RATES = (0.4, 0.8, 1.6, 3.2, 6.4)
FIRST_NOISE, LAST_NOISE = 1.0, 0.15
JUDGED_AT = (1.0, 0.5, 0.25, 0.15)
# Shares of the steps with which a rule is tried for reaching Adam's loss, until it misses it.
SHARES = (0.75, 0.6, 0.5, 0.4, 0.3)
TUNING_SEED = 1000
# For comparison: sampling alone, and what distilling its latent with the best Muon adds.
SAMPLING_FROM, SAMPLING_STEPS = 4.0, 30
RATES_AFTER_SAMPLING = (0.01, 0.03, 0.1, 0.3)
BAR = 0.5
SAMPLING = "sampling"
KEY, VALUES = ("exemplar", "seed", "start", "rule", "steps", "rate"), ("loss", "d", "seconds")

Start = Literal["noise", "sampled"]
Runs = dict[str, list[Record]]


@dataclass(frozen=True)
class Falling:
    """One phase whose rate falls linearly to zero."""

    rate: float
    steps: int
    style: float = 1.0

    def at(self, step: int) -> Phase:
        return Phase(self.style, -math.inf, self.rate * (1 - step / self.steps))

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


@dataclass(frozen=True)
class Held:
    """Tokens that are known: where, bool (h, w), and their latent (C, h, w)."""

    where: Tensor
    latent: Tensor

    def put(self, z: Tensor, noise: Tensor | float = 0.0) -> None:
        """Into `z` (C, h, w), in place."""
        z[:, self.where] = (self.latent + noise)[:, self.where]


def sampled(
    score: ExemplarScore, seed: int, *, shape: tuple[int, int] = (TOKENS, TOKENS), content: Tensor | None = None,
    first: float = SAMPLING_FROM, prior: Prior | None = None, held: Held | None = None,
) -> Tensor:  # fmt: skip
    """A latent (1, C, *shape) by ancestral sampling, as the layout has it; the score's potentials settle on the way.

    From noise of deviation `first`, or from `content` (1, C, *shape) under that noise. held: under the noise of each
    step in every step, and as they are at the end.
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(CHANNELS, *shape, generator=generator) * first + (0 if content is None else content[0])
    for sigma, following in pairwise(noise_levels(first, LAST_NOISE, SAMPLING_STEPS)):
        score.balance(z, sigma, (False, False), prior, 30, 1.0, generator)
        keep, fresh = step_weights(sigma, following) if following else (0.0, 0.0)
        clean = score.denoise(z, sigma, (False, False), prior)
        z = clean + (z - clean) * keep + fresh * torch.randn(z.shape, generator=generator)
        if held is not None:
            held.put(z, following * torch.randn(z.shape, generator=generator))
    return z[None]


def noise(seed: int) -> Tensor:
    return torch.randn(1, CHANNELS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(seed))


@cache
def problem(folder: Path) -> Problem:
    return Problem.of(folder)


@cache
def sampled_from(folder: Path, seed: int) -> Tensor:
    return sampled(problem(folder).layers[1].score, seed)


@dataclass(frozen=True)
class Trials:
    """Runs of one rule each; those in the CSV are not run again."""

    records: Records

    def run(self, folder: Path, rule: str, rate: float, steps: int, seed: int, start: Start = "noise") -> Record:
        """Distil from noise or from what was sampled."""
        key = dict(zip(KEY, (folder.name, seed, start, rule, steps, rate), strict=True))
        return self.records.measured(key, lambda: distilled(folder, rule, rate, steps, seed, start))

    def sample(self, folder: Path, seed: int) -> Record:
        """Sampling alone."""
        key = dict(zip(KEY, (folder.name, seed, "noise", SAMPLING, SAMPLING_STEPS, 0), strict=True))
        return self.records.measured(key, lambda: judged(problem(folder), sampled_from(folder, seed), seed))

    def best_rate(self, tuning: Sequence[Path], rule: str, steps: int) -> float:
        """The rate with the lowest mean logarithm of the loss over the tuning exemplars; NaN if it was too large."""
        scores = [
            mean(math.log(float(self.run(folder, rule, rate, steps, TUNING_SEED)["loss"])) for folder in tuning)
            for rate in RATES
        ]
        return RATES[int(np.nanargmin(scores))]

    def best_rate_after_sampling(self, tuning: Sequence[Path], rule: str, steps: int) -> float:
        """The rate with the lowest mean d over the tuning exemplars."""
        scores = [
            mean(float(self.run(folder, rule, rate, steps, TUNING_SEED, "sampled")["d"]) for folder in tuning)
            for rate in RATES_AFTER_SAMPLING
        ]
        return RATES_AFTER_SAMPLING[int(np.nanargmin(scores))]


def distilled(folder: Path, rule: str, rate: float, steps: int, seed: int, start: Start) -> dict[str, float]:
    """seconds: of the processor, as other work on the machine would count too in those of the clock."""
    known = problem(folder)
    sigmas = noise_levels(FIRST_NOISE if start == "noise" else FIRST_NOISE / 2, LAST_NOISE, steps)[:-1]
    first = noise(seed) if start == "noise" else sampled_from(folder, seed)
    began = time.process_time()
    z, _ = distil(first, known.layers, None, sigmas, RULES[rule](), Falling(rate, steps), project=False)
    seconds = time.process_time() - began
    return judged(known, z, seed) | {"seconds": seconds}


def judged(known: Problem, z: Tensor, seed: int) -> dict[str, float]:
    return {"loss": known.loss(z) / known.loss(noise(seed)), "d": known.distance(z)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "optimiser")
    add_tuning(parser)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0..N-1 (default 5)")
    parser.add_argument("--steps", type=int, default=60, help="steps of the whole run (default 60)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="keep every run here, and run none again that it has")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folders, tuning = find_exemplars(arguments), find_tuning(arguments)
    trials = Trials(Records(arguments.csv, KEY, VALUES))
    seeds = range(arguments.seeds)

    def measured(rule: str, steps: int, start: Start = "noise") -> list[Record]:
        choose = trials.best_rate if start == "noise" else trials.best_rate_after_sampling
        rate = choose(tuning, rule, steps)
        done = [trials.run(folder, rule, rate, steps, seed, start) for folder in folders for seed in seeds]
        print(f"{rule:14} from {start:7} {steps:4} steps  rate {rate:5.3f}  {described(done)}", flush=True)
        return done

    whole = {rule: measured(rule, arguments.steps) for rule in RULES}
    fewest = {"adam": whole["adam"]}
    for rule in RULES:
        if rule == "adam" or loss_of(whole[rule]) > loss_of(whole["adam"]):
            continue
        fewest[rule] = whole[rule]
        for share in SHARES:
            done = measured(rule, round(share * arguments.steps))
            if loss_of(done) > loss_of(whole["adam"]):
                break
            fewest[rule] = done
    best_muon = min((rule for rule in whole if rule.startswith("muon")), key=lambda rule: loss_of(whole[rule]))
    alone = [trials.sample(folder, seed) for folder in folders for seed in seeds]
    after = measured(best_muon, arguments.steps // 2, "sampled")
    rows = summary(whole, fewest, {"sampling alone": alone, f"sampling, then {best_muon}": after})
    show(f"step rules: {len(folders)} exemplars x {arguments.seeds} seeds, {arguments.steps} steps", rows)
    print(table(whole, fewest, alone, after))
    write_results(arguments.out, "optimiser", arguments, rows, trials.records.lines)
    return 0


def summary(whole: Runs, fewest: Runs, beside: Runs) -> list[Row]:
    rows = [
        row(f"{value}, {what}", "-", [(f"{run['exemplar']} {run['seed']}", float(run[value])) for run in done])
        for what, done in (whole | beside).items()
        for value in ("loss", "d")
    ]
    for name, of_adam in (
        ("steps", {rule: int(done[0]["steps"]) / int(whole["adam"][0]["steps"]) for rule, done in fewest.items()}),
        ("seconds", {rule: seconds_of(done) / seconds_of(whole["adam"]) for rule, done in fewest.items()}),
    ):
        muon = sorted((rule for rule in of_adam if rule.startswith("muon")), key=lambda rule: of_adam[rule])[:1]
        best = [(rule, of_adam[rule]) for rule in muon]
        rows.append(row(f"{name} to Adam's loss, best Muon, of Adam's", f"<= {BAR}", best, lambda v: v[0] <= BAR))
        rows.append(row(f"{name} to Adam's loss, of Adam's", "-", list(of_adam.items())))
    return rows


def table(whole: Runs, fewest: Runs, alone: list[Record], after: list[Record]) -> str:
    """For `docs/muon_ad.md`."""
    steps = whole["adam"][0]["steps"]
    lines = [
        f"| rule | rate | loss after {steps} steps | d | s | fewest steps to Adam's loss | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule, done in whole.items():
        quick = (
            (fewest[rule][0]["steps"], f"{seconds_of(fewest[rule]):.2f}") if rule in fewest else ("not reached", "-")
        )
        lines.append(_line(rule, done[0]["rate"], done, f"{seconds_of(done):.2f} | {quick[0]} | {quick[1]}"))
    lines.append(_line(f"sampling alone, {SAMPLING_STEPS} steps", "-", alone, "- | - | -"))
    name = f"sampling, then {after[0]['steps']} steps of {after[0]['rule']}"
    lines.append(_line(name, after[0]["rate"], after, f"{seconds_of(after):.2f} | - | -"))
    return "\n".join(lines)


def _line(name: str, rate: str, done: list[Record], rest: str) -> str:
    d = [float(run["d"]) for run in done]
    return f"| {name} | {rate} | {loss_of(done):.4f} | {mean(d):.2f} ± {stdev(d) if len(d) > 1 else 0:.2f} | {rest} |"


def described(done: list[Record]) -> str:
    d = mean(float(run["d"]) for run in done)
    return f"loss {loss_of(done):.4f}  d {d:.3f}  {seconds_of(done):.2f} s"


def loss_of(done: list[Record]) -> float:
    """Geometric mean."""
    return math.exp(mean(math.log(float(run["loss"])) for run in done))


def seconds_of(done: list[Record]) -> float:
    return mean(float(run["seconds"]) for run in done)


if __name__ == "__main__":
    sys.exit(main())
