"""The tables of the Muon-AD paper beside ours, as a page.

    python benchmarks/reproduce.py --data FOLDER [--tuning FOLDER --tune NAME] [--only NAME] [--seeds 5]
                                   [--tables ablations,guided] [--csv FOLDER] [--page FILE]

Writes PAGE from what lies in the CSVs of the folder --csv after everything that they lack was measured, so that a
stopped run goes on where it was. `ablations` (tables II, IV, VI): `ablations.py`. `guided` (table XIV): `guided.py`.
Table V and the question how many steps Muon needs come from `optimiser.csv`, which `optimiser.py --csv` makes.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from ablations import PLAIN, RATES, VARIANTS, Problem, run_plain, run_variant, tuned_as
from exemplars import add_arguments, add_tuning, find_exemplars, find_tuning
from guided import Case, Codes, compared, distilled, enlarged, regenerated, split, with_tone
from records import Record, Records
from reporting import machine
from reproduction_page import page

TUNING_SEED = 1000
TABLES = ("ablations", "guided")
ABLATION_KEY, ABLATION_VALUES = (
    ("exemplar", "seed", "variant", "rate"),
    ("loss", "style", "content", "ssim", "d", "seconds", "computed", "conflicts"),
)
GUIDED_KEY, GUIDED_VALUES = (
    ("exemplar", "seed", "method"),
    ("side", "mcr", "mcr0", "mcr1", "mcr2", "mcr3", "mcr4", "adf", "ssim", "d", "sharpness", "seconds"),
)
# Of AD with Adam at full size, whose windows begin at the content.
WINDOW_RATES = (0.05, 0.1, 0.2)


@cache
def problem(folder: Path) -> Problem:
    return Problem.of(folder)


@cache
def case(folder: Path) -> Case:
    return split(folder)


def ablations(records: Records, folders: list[Path], tuning: list[Path], seeds: int) -> Iterator[Record]:
    """Every variant for every exemplar and seed, seed by seed, so that a stopped run is complete in what it has."""
    rates = {name: best_rate(records, tuning, tuned_as(name)) for name in VARIANTS}
    for seed in range(seeds):
        for folder in folders:
            for name in VARIANTS:
                yield trial(records, folder, name, rates[name], seed)
            for name in PLAIN:
                key = dict(zip(ABLATION_KEY, (folder.name, seed, name, 0), strict=True))
                yield records.measured(key, lambda f=folder, n=name, s=seed: run_plain(problem(f), n, s))


def trial(records: Records, folder: Path, name: str, rate: float, seed: int) -> Record:
    key = dict(zip(ABLATION_KEY, (folder.name, seed, name, rate), strict=True))
    return records.measured(key, lambda: run_variant(problem(folder), VARIANTS[name], rate, seed))


def best_rate(records: Records, tuning: list[Path], name: str) -> float:
    """The rate with the lowest loss over the tuning exemplars, on a seed of its own."""
    scores = [
        mean(float(trial(records, folder, name, rate, TUNING_SEED)["loss"]) for folder in tuning) for rate in RATES
    ]
    return RATES[int(np.nanargmin(scores))]


def quick_methods(one: Case, seed: int, rate: float) -> dict[str, Callable[[], Codes]]:
    """What is compared in table XIV."""

    enlargements: dict[str, Callable[[], Codes]] = {  # which know no seed
        "Lanczos": lambda: enlarged(one.content, one.side),
        "Lanczos, content's tone": lambda: with_tone(enlarged(one.content, one.side), one),
    }
    return (enlargements if seed == 0 else {}) | {
        "AD with Adam": lambda: distilled(one, "adam", rate, seed),
        "restyle, faithful 1": lambda: regenerated(one, seed, content=1.0, faithful=1.0),
        "restyle, content 1": lambda: regenerated(one, seed, content=1.0),
        "restyle, content 1, tone 1": lambda: regenerated(one, seed, content=1.0, tone=1.0),
    }


def slow_methods(one: Case, seed: int, _: float) -> dict[str, Callable[[], Codes]]:
    """The baselines that take whole runs of their own: they come last, as a stopped run can do without them."""
    return {
        "restyle at half the size, enlarged": lambda: regenerated(one, seed, content=1.0, smaller=2),
        "unguided": lambda: regenerated(one, seed, content=0.0),
    }


def guided(records: Records, folders: list[Path], tuning: list[Path], seeds: int) -> Iterator[Record]:
    rate = window_rate(records, tuning)
    for seed in range(seeds):
        for methods in (quick_methods, slow_methods):
            for folder in folders:
                for name, make in methods(case(folder), seed, rate).items():
                    key = dict(zip(GUIDED_KEY, (folder.name, seed, name), strict=True))
                    yield records.measured(key, lambda f=folder, m=make: judged(case(f), m))


def judged(one: Case, make: Callable[[], Codes]) -> dict[str, float]:
    """seconds: of the processor; of a method that changes what another one made, only its own."""
    began = time.process_time()
    made = make()
    seconds = time.process_time() - began
    return compared(made, one) | {"side": one.side, "seconds": seconds}


def window_rate(records: Records, tuning: list[Path]) -> float:
    """The rate of AD with Adam at full size with the highest ADF over the tuning exemplars."""
    scores = []
    for rate in WINDOW_RATES:
        found = []
        for folder in tuning:
            key = dict(zip(GUIDED_KEY, (folder.name, TUNING_SEED, f"AD with Adam at {rate}"), strict=True))
            found.append(
                records.measured(
                    key, lambda f=folder, r=rate: judged(case(f), lambda: distilled(case(f), "adam", r, TUNING_SEED))
                )
            )
        scores.append(mean(float(line["adf"]) for line in found))
    return WINDOW_RATES[int(np.argmax(scores))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "reproduce")
    add_tuning(parser)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0..N-1 (default 5)")
    parser.add_argument("--tables", default=",".join(TABLES), help=f"those to measure now, of {', '.join(TABLES)}")
    parser.add_argument("--csv", type=Path, default=Path("docs/reproduction"), metavar="FOLDER", help="of the CSVs")
    parser.add_argument("--page", type=Path, default=Path("docs/reproduction.md"), metavar="FILE")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    arguments = parser.parse_args()
    wanted = [name for name in arguments.tables.split(",") if name]
    if unknown := set(wanted) - set(TABLES):
        parser.error(f"--tables {', '.join(sorted(unknown))}: choose from {', '.join(TABLES)}")
    torch.set_num_threads(arguments.threads)
    folders, tuning = find_exemplars(arguments), find_tuning(arguments)
    known = {
        "ablations": Records(arguments.csv / "ablations.csv", ABLATION_KEY, ABLATION_VALUES),
        "guided": Records(arguments.csv / "guided.csv", GUIDED_KEY, GUIDED_VALUES),
    }
    for name, measure in (("ablations", ablations), ("guided", guided)):
        if name in wanted:
            for count, line in enumerate(measure(known[name], folders, tuning, arguments.seeds)):
                print(name, count, *(line[field] for field in known[name].key), flush=True)
    measured = {name: records.lines for name, records in known.items()}
    measured["optimiser"] = optimiser_lines(arguments.csv / "optimiser.csv")
    names = {folder.name for folder in folders}
    lines = {
        name: [line for line in found if line["exemplar"] in names and int(line["seed"]) < arguments.seeds]
        for name, found in measured.items()
    }
    arguments.page.write_text(page(lines, [folder.name for folder in tuning], machine()))
    print(arguments.page)
    return 0


def optimiser_lines(path: Path) -> list[Record]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main())
