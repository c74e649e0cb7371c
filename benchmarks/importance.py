"""What importance saves and what it costs: settled tokens rest in every other denoising step (expand.py).

    python benchmarks/importance.py [--data FOLDER --only NAME] [--seeds 1] [--size 1024] [--preset standard]

Every exemplar and seed is synthesised twice, with importance and with every step of every token. Wall-clock seconds
are those of the stage that importance shortens, processor seconds those of the whole synthesis in all threads: beside
other work on the machine only the latter can be compared, and roughly. d is that of quality.py. Leaves results.json in
OUT.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any
from unittest import mock

from exemplars import add_arguments, find_exemplars
from reporting import Row, row, show, write_results

from mipmap.metrics import distance_unit, texture_distance
from texsynth import expand
from texsynth.material import MapKind, load_material
from texsynth.options import Options
from texsynth.restyle import synthesize
from texsynth.run import Run

WARM_UP_SIZE = 128  # the first run of a process loads the compiled kernels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "importance")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0..N-1 (default 1)")
    parser.add_argument("--size", type=int, default=1024, help="texels a side (default 1024)")
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    arguments = parser.parse_args()
    exemplars = find_exemplars(arguments)
    made(exemplars[0], Options(size=WARM_UP_SIZE, preset=arguments.preset, tileable=True))
    runs = []
    for exemplar in exemplars:
        for seed in range(arguments.seeds):
            runs.append({"exemplar": exemplar.name, "seed": seed} | compare(exemplar, seed, arguments))
            _print_run(runs[-1])
    rows = summary(runs)
    show(
        f"importance: {len(exemplars)} exemplars x {arguments.seeds} seeds, {arguments.size} px, {arguments.preset}",
        rows,
    )
    print(f"d albedo, mean difference by importance: {mean(run['on']['d'] - run['off']['d'] for run in runs):+.3f}")
    write_results(arguments.out, "importance", arguments, rows, runs)
    return 0


def compare(exemplar: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The same synthesis with (`on`) and without (`off`) importance."""
    options = Options(size=arguments.size, preset=arguments.preset, seed=seed, tileable=True)
    with_importance = made(exemplar, options)
    with mock.patch.object(expand, "REST", False):
        without = made(exemplar, options)
    return {"on": with_importance, "off": without}


def made(exemplar: Path, options: Options) -> dict[str, float]:
    """One synthesis: share of token steps saved, wall and processor seconds, and d of albedo."""
    run = Run()
    with tempfile.TemporaryDirectory(prefix="texsynth-importance-") as folder:
        began = time.process_time()
        synthesize(exemplar, Path(folder), options, run)
        processor = time.process_time() - began
        steps = json.loads((Path(folder) / "report.json").read_text())["token_steps"]
        albedo = load_material(Path(folder)).maps[MapKind.ALBEDO].encoded()
    known = load_material(exemplar).maps[MapKind.ALBEDO].encoded()
    return {
        "saved": steps["saved"] / (steps["done"] + steps["saved"]),
        "expand_seconds": run.timings["expand"],
        "processor_seconds": processor,
        "d": texture_distance(albedo, known, unit=distance_unit(known)),
    }


def summary(runs: list[dict[str, Any]]) -> list[Row]:
    """What importance saved and what it cost, by single runs."""

    def of(name: str, value: Callable[[dict[str, Any]], float], less_is_better: bool = True) -> Row:
        labelled = [(f"{run['exemplar']} {run['seed']}", value(run)) for run in runs]
        return row(name, "-", labelled, badness=lambda v: v if less_is_better else -v)

    def saved(name: str) -> Callable[[dict[str, Any]], float]:
        return lambda run: run["off"][name] - run["on"][name]

    return [
        of("share of token steps saved", lambda run: run["on"]["saved"], False),
        of("seconds of expand saved", saved("expand_seconds"), False),
        of("processor seconds saved", saved("processor_seconds"), False),
        of("d albedo with importance", lambda run: run["on"]["d"]),
        of("d albedo without", lambda run: run["off"]["d"]),
        of("d albedo that importance adds", lambda run: run["on"]["d"] - run["off"]["d"]),
    ]


def _print_run(run: dict[str, Any]) -> None:
    on, off = run["on"], run["off"]
    print(
        f"{run['exemplar']:24} seed {run['seed']}  saved {on['saved']:6.1%}"
        f"  expand {on['expand_seconds']:5.1f} against {off['expand_seconds']:5.1f} s"
        f"  processor {on['processor_seconds']:5.1f} against {off['processor_seconds']:5.1f} s"
        f"  d {on['d']:.3f} against {off['d']:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
