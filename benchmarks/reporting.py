"""What every benchmark leaves behind: a table on the screen, results.json, and sheets of pictures to look at."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from texsynth import __version__
from texsynth.image_io import save_image
from texsynth.run import write_json_atomically

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One line of a summary: the values of all runs against a bar.

    values: (label of the run, value). worst: the value furthest from the good side. passed: None if nothing applied.
    """

    what: str
    bar: str
    values: tuple[tuple[str, float], ...]
    median: float | None
    worst: tuple[str, float] | None
    passed: bool | None


def row(
    what: str,
    bar: str,
    values: Sequence[tuple[str, float]],
    passes: Callable[[list[float]], bool] | None = None,
    badness: Callable[[float], float] = lambda value: value,
) -> Row:
    """`passes` judges the list of values (None: a number for comparison); the worst has the largest `badness`."""
    if not values:
        return Row(what, bar, (), None, None, None)
    numbers = [value for _, value in values]
    worst = max(values, key=lambda labelled: badness(labelled[1]))
    return Row(
        what, bar, tuple(values), float(median(numbers)), worst, None if passes is None else bool(passes(numbers))
    )


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the summary."""
    table = Table(title=title, title_justify="left")
    for heading in ("what", "runs", "median", "worst", "of", "bar", ""):
        table.add_column(heading, justify="left" if heading in ("what", "of", "bar", "") else "right")
    for line in rows:
        verdict = {None: "-", True: "[green]holds[/]", False: "[red]MISSED[/]"}[line.passed]
        middle = "-" if line.median is None else f"{line.median:.3f}"
        worst, of = ("-", "-") if line.worst is None else (f"{line.worst[1]:.3f}", line.worst[0])
        table.add_row(line.what, str(len(line.values)), middle, worst, of, line.bar, verdict)
    Console(width=None if os.isatty(1) else 140).print(table)


def write_results(out: Path, benchmark: str, arguments: Any, rows: Sequence[Row], details: Any) -> None:
    """OUT/results.json: the machine, the arguments, the summary and every single measurement."""
    out.mkdir(parents=True, exist_ok=True)
    write_json_atomically(
        out / "results.json",
        {
            "benchmark": benchmark,
            "texsynth": __version__,
            "machine": machine(),
            "arguments": {name: _plain(value) for name, value in vars(arguments).items()},
            "summary": [
                {
                    "what": line.what,
                    "bar": line.bar,
                    "median": line.median,
                    "worst": line.worst,
                    "passed": line.passed,
                    "values": line.values,
                }
                for line in rows
            ],
            "details": details,
        },
    )
    print(f"{out / 'results.json'}")


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory and system, for the record."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory[0] * 1024 / 1e9, 1) if memory else None,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def contact_sheet(path: Path, cells: Sequence[Sequence[tuple[str, Floats]]], side: int = 384) -> None:
    """Write a PNG of labelled pictures, one list a row. Pictures: (h, w, 1 or 3) float, encoded 0..1, fitted in a cell.

    Larger pictures are reduced by area averaging; smaller ones are shown texel for texel.
    """
    columns, caption = max(len(line) for line in cells), 22
    sheet = np.full((len(cells) * (side + caption), columns * (side + 4), 3), 30, np.uint8)
    for y, line in enumerate(cells):
        for x, (label, picture) in enumerate(line):
            shown = np.round(255 * np.clip(fitted(picture, side), 0, 1)).astype(np.uint8)
            top, left = y * (side + caption) + caption, x * (side + 4)
            sheet[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
            place = (left + 2, top - 6)
            cv2.putText(sheet, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (230, 230, 230), 1, cv2.LINE_AA)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(path, sheet)
    print(f"{path}")


def fitted(picture: Floats, side: int) -> Floats:
    """(h, w, 1 or 3) as (h', w', 3) with the longer side at most `side`."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
