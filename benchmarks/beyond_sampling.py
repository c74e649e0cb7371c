"""What attention distillation with Muon adds to sampling alone, where a gradient might earn its place.

    python benchmarks/beyond_sampling.py --data FOLDER [--tuning FOLDER --tune NAME] [--seeds 5] [--csv FILE]
                                         [--page docs/muon_ad.md]

Latents of 16 x 16 tokens at 256 texels, as in `ablations.py`. Three questions, each with sampling that is told the same
(a start, a mask of the keys, tokens that are held) and with 20 steps of Muon on what was sampled:

content: one texture's structure in another's material. kept: correlation of the edges; d: distance to the style.
two: two exemplars, one a side, in one latent. d: mean of both sides, each to its own; step: across the border between
them over that between other tokens (1: not to be seen).
border: the left side is given, the right one made to continue it. d: of the right side; step: as above.

Content has a trade-off: sampling from less noise, like larger steps of Muon, keeps more and costs distance; both are
swept. For the other two the rate is the one of RATES with the lowest d over the tuning exemplars.
"""

from __future__ import annotations

import argparse
import operator
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import numpy.typing as npt
import torch
from ablations import SETTLING_SEED, TOKENS, Problem, score_of
from exemplars import add_arguments, add_tuning, find_exemplars, find_tuning
from generated_table import put_table
from optimiser import PATCHES, Falling, Held, sampled
from records import Record, Records
from reporting import contact_sheet
from torch import Tensor

from mipmap.metrics import distance_unit, edge_correlation, texture_distance
from texsynth.distill import ExemplarLayer, attend, distil
from texsynth.model.exemplar_score import ExemplarScore, Prior, noise_levels
from texsynth.model.latent import BLOCK, to_tensor
from texsynth.optimise.rules import RULES

Floats = npt.NDArray[np.float32]

KEY, VALUES = ("question", "exemplar", "seed", "method", "rate"), ("d", "kept", "step", "seconds")
RATES = (0.01, 0.03, 0.1, 0.3)
RULE, STEPS, FIRST, LAST = "muon-channels", 20, 0.5, 0.15
CONTENT_NOISES, CONTENT_RATES = (0.25, 0.5, 1.0, 2.0), (0.03, 0.1, 0.3)
DISTILLED_FROM = 1.0  # content: the one of CONTENT_NOISES whose sample is distilled
APART = 60.0  # nats that keep a token from the other side's keys
SIDE = TOKENS * BLOCK
TUNING_SEED = 1000
METHODS = {
    "content": [f"sampling from noise {noise:g}" for noise in CONTENT_NOISES],
    "two": ["sampled apart, side by side", "sampling"],
    "border": ["sampled apart, side by side", "sampling"],
}
AFTER = "sampling, then Muon"
TABLE = "what gradients add to sampling"


@dataclass(frozen=True)
class MaskedLayer(ExemplarLayer):
    """Some keys are for some tokens only: `prior` is added to the logits of the style."""

    prior: Prior

    def outputs(self, z: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        q = self.queries(z, sigma)
        own = attend(q, q, z[0].flatten(1).T, sigma**-2, self._bias(q, sigma))
        with torch.no_grad():
            bias = self._style_bias(sigma) + self.prior.queries @ self.prior.keys.T
            style = attend(q, self.score.keys, self.score.values, sigma**-2, bias)
        return own, style


@dataclass(frozen=True)
class Pair:
    """Two exemplars of 256 texels, in one latent. styles: float32 (H, W, 3), encoded, side by side in the score."""

    first: Problem
    second: Problem
    layers: list[MaskedLayer]
    scale: float

    @classmethod
    def of(cls, first: Problem, second: Problem) -> Pair:
        height = min(first.style.shape[0], second.style.shape[0])
        styles = [each.style[:height] for each in (first, second)]
        both = np.concatenate(styles, axis=1)
        scale = float(1 / both.std())
        layers = []
        for patch in PATCHES:
            score = score_of(both * np.float32(scale), patch)
            prior = sides(score, styles[0].shape[1], (patch // 2) * BLOCK)
            sampled(score, SETTLING_SEED, shape=(TOKENS, TOKENS), prior=prior)
            layers.append(MaskedLayer(score, (False, False), prior))
        return cls(first, second, layers, scale)


def sides(score: ExemplarScore, border: int, reach: int) -> Prior:
    """Left tokens take keys left of the texel `border`, right ones those right of it, none a patch across it."""
    x = score.positions[:, 1]
    left, right = x + BLOCK + reach <= border, x - reach >= border
    keys = torch.stack([~left, ~right], dim=1).float() * -APART
    on_left = (torch.arange(TOKENS) < TOKENS // 2).repeat(TOKENS)
    return Prior(torch.stack([on_left, ~on_left], dim=1).float(), keys)


@cache
def problem(folder: Path) -> Problem:
    return Problem.of(folder)


@cache
def pair(first: Path, second: Path) -> Pair:
    return Pair.of(problem(first), problem(second))


def decoded(score: ExemplarScore, z: Tensor, scale: float) -> Floats:
    image = score.latent.decode(z[0]).movedim(0, 2).numpy() / np.float32(scale)
    return np.ascontiguousarray(np.clip(np.nan_to_num(image), 0, 1), np.float32)


def refined(layers: list[ExemplarLayer], z: Tensor, content: Tensor | None, rate: float, held: Held | None) -> Tensor:
    """`z` after STEPS of Muon."""
    sigmas = noise_levels(FIRST, LAST, STEPS)[:-1]
    schedule = Falling(rate, STEPS, 1.0 if content is None else 0.5)

    def hold(_step: int, now: Tensor) -> None:
        if held is not None:
            held.put(now[0])

    made, _ = distil(z.clone(), layers, content, sigmas, RULES[RULE](), schedule, project=False, step=hold)
    hold(STEPS, made)
    return made


def step_ratio(image: Floats) -> float:
    """The step across the middle column over the mean of those at other borders of tokens."""
    steps = np.abs(np.diff(image, axis=1)).mean(axis=(0, 2))[BLOCK - 1 :: BLOCK]
    middle = TOKENS // 2 - 1
    return float(steps[middle] / np.delete(steps, middle).mean())


def distance(image: Floats, known: Problem) -> float:
    return float(texture_distance(np.ascontiguousarray(image), known.style, unit=distance_unit(known.style)))


def made_content(first: Path, second: Path, method: str, rate: float, seed: int) -> tuple[Floats, dict[str, float]]:
    known = problem(second)
    truth = problem(first).truth
    score = known.layers[1].score
    content = score.latent.encode(to_tensor(truth * np.float32(known.scale)))[None]
    noise = DISTILLED_FROM if method == AFTER else float(method.rsplit(maxsplit=1)[-1])
    z = sampled(score, seed, shape=(TOKENS, TOKENS), content=content, first=noise)
    if method == AFTER:
        z = refined(known.layers, z, content, rate, None)
    image = decoded(score, z, known.scale)
    return image, {"d": distance(image, known), "kept": float(edge_correlation(truth, image))}


def made_two(first: Path, second: Path, method: str, rate: float, seed: int) -> tuple[Floats, dict[str, float]]:
    both = pair(first, second)
    half = SIDE // 2
    if method == METHODS["two"][0]:
        parts = [
            decoded(each.layers[1].score, sampled(each.layers[1].score, seed, shape=(TOKENS, TOKENS)), each.scale)
            for each in (both.first, both.second)
        ]
        image = np.concatenate([parts[0][:, :half], parts[1][:, half:]], axis=1)
    else:
        layer = both.layers[1]
        z = sampled(layer.score, seed, shape=(TOKENS, TOKENS), prior=layer.prior)
        if method == AFTER:
            z = refined(list(both.layers), z, None, rate, None)
        image = decoded(layer.score, z, both.scale)
    d = mean([distance(image[:, :half], both.first), distance(image[:, half:], both.second)])
    return image, {"d": d, "step": step_ratio(image)}


def made_border(first: Path, _: Path, method: str, rate: float, seed: int) -> tuple[Floats, dict[str, float]]:
    known = problem(first)
    score, half = known.layers[1].score, SIDE // 2
    latent = score.latent.encode(to_tensor(known.truth * np.float32(known.scale)))
    where = (torch.arange(TOKENS) < TOKENS // 2).expand(TOKENS, TOKENS)
    held = Held(where, latent)
    apart = method == METHODS["border"][0]
    z = sampled(score, seed, shape=(TOKENS, TOKENS), held=None if apart else held)
    if method == AFTER:
        z = refined(known.layers, z, None, rate, held)
    held.put(z[0])
    image = decoded(score, z, known.scale)
    return image, {"d": distance(image[:, half:], known), "step": step_ratio(image)}


Maker = Callable[[Path, Path, str, float, int], tuple[Floats, dict[str, float]]]
MAKERS: dict[str, Maker] = {"content": made_content, "two": made_two, "border": made_border}


def trial(records: Records, question: str, folders: tuple[Path, Path], method: str, rate: float, seed: int) -> Record:
    name = subject(question, folders[0].name, folders[1].name)

    def measure() -> dict[str, float]:
        began = time.process_time()
        _, found = MAKERS[question](*folders, method, rate, seed)
        return found | {"seconds": time.process_time() - began}

    return records.measured(dict(zip(KEY, (question, name, seed, method, rate), strict=True)), measure)


def subject(question: str, first: str, second: str) -> str:
    """What a line is about."""
    return first if question == "border" else f"{first} + {second}"


def best_rate(records: Records, question: str, tuning: list[tuple[Path, Path]]) -> float:
    scores = []
    for rate in RATES:
        found = [trial(records, question, folders, AFTER, rate, TUNING_SEED) for folders in tuning]
        scores.append(mean(float(line["d"]) for line in found))
    return RATES[int(np.nanargmin(scores))]


def neighbours(folders: list[Path]) -> list[tuple[Path, Path]]:
    """Each with the next one, the last with the first."""
    return [*pairwise(folders), (folders[-1], folders[0])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "beyond_sampling")
    add_tuning(parser)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0..N-1 (default 5)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="keep every run here, and run none again that it has")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table there, between its comments")
    parser.add_argument("--shown", type=int, default=3, metavar="N", help="pairs on the sheet of pictures (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pairs, tuning = (neighbours(found) for found in (find_exemplars(arguments), find_tuning(arguments)))
    records = Records(arguments.csv, KEY, VALUES)
    lines: list[Record] = []
    rates: dict[str, tuple[float, ...]] = {}
    for question in MAKERS:
        rates[question] = CONTENT_RATES if question == "content" else (best_rate(records, question, tuning),)
        for seed in range(arguments.seeds):
            for folders in pairs:
                lines += [trial(records, question, folders, method, 0, seed) for method in METHODS[question]]
                lines += [trial(records, question, folders, AFTER, rate, seed) for rate in rates[question]]
        print(question, "done", flush=True)
    print(table(lines))
    if arguments.page is not None:
        put_table(arguments.page, TABLE, table(lines))
    if arguments.shown == 0:
        return 0
    sheet = []
    for folders in pairs[: arguments.shown]:
        for question, make in MAKERS.items():
            methods = [(method, 0.0) for method in METHODS[question]] + [(AFTER, rate) for rate in rates[question]]
            known = [(folders[0].name, problem(folders[0]).truth), (folders[1].name, problem(folders[1]).style)]
            made = [(label(*way), make(*folders, *way, 0)[0]) for way in methods]
            sheet.append([(name, doubled(image[:SIDE, :SIDE])) for name, image in known + made])
    contact_sheet(arguments.out / "sheet.png", sheet, 256)
    return 0


def doubled(image: Floats) -> Floats:
    return image.repeat(2, axis=0).repeat(2, axis=1)


def table(lines: list[Record]) -> str:
    """For `docs/muon_ad.md`: mean over pairs and seeds, ± the deviation between seeds of the mean over pairs."""
    rows = ["| question | method | d | kept | step | s |", "|---|---|---|---|---|---|"]
    ways = operator.itemgetter("question", "method", "rate")
    for question, method, rate in dict.fromkeys(map(ways, lines)):
        found = [line for line in lines if ways(line) == (question, method, rate)]
        cells = []
        for value in VALUES:
            by_seed = [
                mean(float(line[value]) for line in found if line["seed"] == seed and line[value])
                for seed in dict.fromkeys(line["seed"] for line in found)
                if any(line[value] for line in found)
            ]
            spread = f" ± {stdev(by_seed):.3f}" if len(by_seed) > 1 and value != "seconds" else ""
            cells.append(f"{mean(by_seed):.3f}{spread}" if by_seed else "-")
        rows.append(f"| {question} | {label(method, float(rate))} | {' | '.join(cells)} |")
    return "\n".join(rows)


def label(method: str, rate: float) -> str:
    return f"{method} at {rate:g}" if rate else method


if __name__ == "__main__":
    sys.exit(main())
