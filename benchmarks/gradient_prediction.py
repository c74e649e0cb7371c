"""Whether the Gradient Prediction Network pays: seconds to the same loss of a distillation, with it and without.

    python benchmarks/gradient_prediction.py [--data FOLDER --only NAME] [--seeds 3] [--steps 100]

The problem of `optimiser.py`, Muon on the matrix of channels at its best rate there. Without prediction: --steps steps.
With it: the same number of steps, then more of them, until the mean loss of the former is reached. Also reported: how
often the network was believed, and the cosines of its checks. Seconds are of this process' own processor time, on one
thread, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from exemplars import find_exemplars
from optimiser import CHANNELS, FIRST_NOISE, LAST_NOISE, Falling, Problem, noise
from reporting import Row, row, show, write_results

from texsynth.distill import distil
from texsynth.model.exemplar_score import noise_levels
from texsynth.optimise.gradient_prediction import LEAST_COSINE, GradientPredictor
from texsynth.optimise.rules import Muon

RATES = (1.6, 0.1)  # the best of `optimiser.py`, and one of small steps, whose gradients change less
LONGER = (1.0, 1.25, 1.5)


def run(problem: Problem, seed: int, steps: int, rate: float, predict: bool) -> dict[str, Any]:
    predictor = GradientPredictor(CHANNELS) if predict else None
    began = time.process_time()
    z, _ = distil(
        noise(seed), problem.layers, None, noise_levels(FIRST_NOISE, LAST_NOISE, steps)[:-1], Muon("channels"),
        Falling(rate, steps), project=False, predictor=predictor,
    )  # fmt: skip
    seconds = time.process_time() - began
    counts = None if predictor is None else predictor.counts
    return {
        "exemplar": problem.name,
        "seed": seed,
        "steps": steps,
        "rate": rate,
        "predict": predict,
        "seconds": seconds,
        "loss": problem.loss(z) / problem.loss(noise(seed)),
        "predicted": 0 if counts is None else counts.predicted,
        "cosines": [] if counts is None else counts.cosines,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder of exemplar folders")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this exemplar (may be repeated)")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/gradient_prediction"))
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0..N-1 (default 3)")
    parser.add_argument("--steps", type=int, default=100, help="steps without prediction (default 100)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problems = [Problem.of(folder) for folder in find_exemplars(arguments)]
    rows: list[Row] = []
    details: list[dict[str, Any]] = []

    def runs(rate: float, steps: int, predict: bool) -> tuple[float, float, list[dict[str, Any]]]:
        done = [run(problem, seed, steps, rate, predict) for problem in problems for seed in range(arguments.seeds)]
        details.extend(done)
        loss, seconds = mean(line["loss"] for line in done), mean(line["seconds"] for line in done)
        cosines = [cosine for line in done for cosine in line["cosines"]]
        print(
            f"rate {rate} {steps:4} steps {'predicted' if predict else 'true':9} loss {loss:.4f} {seconds:.2f} s"
            f"  steps predicted {mean(line['predicted'] for line in done):.1f}"
            + (
                f"  cosine {mean(cosines):.3f}, >= {LEAST_COSINE} in {_share(cosines):.0%} of checks" if cosines else ""
            ),
            flush=True,
        )
        return loss, seconds, done

    for rate in RATES:
        target, plain, _ = runs(rate, arguments.steps, False)
        reached: list[tuple[str, float]] = []
        cosines: list[tuple[str, float]] = []
        for share in LONGER:
            loss, seconds, done = runs(rate, round(share * arguments.steps), True)
            cosines = cosines or [
                (f"{line['exemplar']} {line['seed']}", mean(line["cosines"])) for line in done if line["cosines"]
            ]
            if loss <= target:
                reached = [(f"{share:g} of the steps", seconds / plain)]
                break
        rows.append(row(f"rate {rate}: cosine of checks", f">= {LEAST_COSINE} to be used", cosines))
        rows.append(row(f"rate {rate}: seconds to the same loss, of those without", "< 1", reached, lambda v: v[0] < 1))
    show("gradient prediction", rows)
    write_results(arguments.out, "gradient_prediction", arguments, rows, details)
    return 0


def _share(cosines: list[float]) -> float:
    return mean(float(cosine >= LEAST_COSINE) for cosine in cosines)


if __name__ == "__main__":
    sys.exit(main())
