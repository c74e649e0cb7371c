"""How long a synthesis takes and how much memory it needs, start-up included.

    python benchmarks/speed.py [--data FOLDER --only NAME] [--sizes 1024,2048,4096,8192] [--presets standard,draft]

Each run is a fresh process, `python -m texsynth synthesize EXEMPLAR -o OUT --size N --preset P`, three maps with mips;
seconds are wall-clock time of that process, memory is its peak resident set (`ru_maxrss`: what it mapped and touched
counts, the operating system's file cache does not). One exemplar, the first one found. Close other programs first.
"""

from __future__ import annotations

import argparse
import sys
from math import log
from pathlib import Path
from typing import Any

from exemplars import add_arguments, find_exemplars
from measured import measured_run
from reporting import Row, row, show, write_results

# Seconds, by preset and size, on two CPU cores.
BARS = {
    ("standard", 1024): 30.0,
    ("standard", 2048): 60.0,
    ("standard", 8192): 360.0,
    ("draft", 8192): 150.0,
}
LARGEST_MEMORY_GB = 4.0
LARGEST_MEMORY_RATIO = 1.5
LARGEST_EXPONENT = 1.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "speed")
    parser.add_argument("--sizes", default="1024,2048,4096,8192", metavar="N,N", help="texels a side")
    parser.add_argument("--presets", default="standard,draft", metavar="P,P")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="runs of each; the fastest counts")
    arguments = parser.parse_args()
    exemplar = find_exemplars(arguments)[0]
    sizes = [int(size) for size in arguments.sizes.split(",")]
    runs = []
    for preset in arguments.presets.split(","):
        for size in sizes:
            tried = [synthesize_in_a_process(exemplar, size, preset) for _ in range(arguments.repeat)]
            runs.append(min(tried, key=lambda run: run["seconds"]))
            print(
                f"{preset:9} {size:5}  {runs[-1]['seconds']:7.1f} s  {runs[-1]['peak_gb']:5.2f} GB"
                f"  (processor {runs[-1]['cpu_seconds']:.1f} s)",
                flush=True,
            )
    rows = summary(runs)
    show(f"speed: {exemplar.name}", rows)
    write_results(arguments.out, "speed", arguments, rows, {"exemplar": exemplar.name, "runs": runs})
    return 0 if all(line.passed is not False for line in rows) else 1


def synthesize_in_a_process(exemplar: Path, size: int, preset: str) -> dict[str, Any]:
    """Wall seconds, processor seconds and peak resident memory of one run of the command."""
    options = ["--size", str(size), "--preset", preset, "--seed", "0"]
    return {"preset": preset, "size": size, **measured_run("synthesize", str(exemplar), *options)}


def summary(runs: list[dict[str, Any]]) -> list[Row]:
    """The bars on time and memory, and how both grow from 2K to 8K."""
    rows = []
    for run in runs:
        label, large = f"{run['preset']} {run['size']}", run["size"] == 8192
        limit = BARS.get((run["preset"], run["size"]))
        rows.append(
            row(
                f"seconds, {label}",
                "-" if limit is None else f"<= {limit:.0f} s",
                [(label, run["seconds"])],
                None if limit is None else lambda v, most=limit: v[0] <= most,
            )
        )
        rows.append(
            row(
                f"peak GB, {label}",
                f"<= {LARGEST_MEMORY_GB:.0f} GB" if large else "-",
                [(label, run["peak_gb"])],
                (lambda v: v[0] <= LARGEST_MEMORY_GB) if large else None,
            )
        )
    for preset in dict.fromkeys(run["preset"] for run in runs):
        of = {run["size"]: run for run in runs if run["preset"] == preset}
        if 2048 in of and 8192 in of:
            exponent = log(of[8192]["seconds"] / of[2048]["seconds"]) / log(16)
            ratio = of[8192]["peak_gb"] / of[2048]["peak_gb"]
            rows.append(
                row(
                    f"time ~ texels^x, 2K to 8K, {preset}",
                    f"x <= {LARGEST_EXPONENT}",
                    [(preset, exponent)],
                    lambda v: v[0] <= LARGEST_EXPONENT,
                )
            )
            rows.append(
                row(
                    f"peak memory, 8K over 2K, {preset}",
                    f"<= {LARGEST_MEMORY_RATIO}",
                    [(preset, ratio)],
                    lambda v: v[0] <= LARGEST_MEMORY_RATIO,
                )
            )
    return rows


if __name__ == "__main__":
    sys.exit(main())
