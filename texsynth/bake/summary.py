"""What a bake came to: summary.html (a table that sorts by any column), summary.csv and summary.json."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from texsynth.bake.run import Outcome
from texsynth.report.page import plain
from texsynth.run import write_atomically, write_json_atomically

FILES = ("summary.html", "summary.csv", "summary.json")
COLUMNS = ("name", "state", "size", "seconds", "memory", "bytes", "seam", "mcr", "adf", "asset", "exemplar", "error")
HEADINGS = {
    "seconds": "s", "memory": "memory, GB", "bytes": "on disk, MB", "seam": "step across UV seams", "mcr": "MCR, %",
    "adf": "ADF",
}  # fmt: skip
_UNITS = {"memory": 1e9, "bytes": 1e6}

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; } table { border-collapse: collapse; } h1 { font-size: 1.3rem; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #8884; vertical-align: middle; }
td:last-child { min-width: 12rem; max-width: 32rem; overflow-wrap: anywhere; }
td a { white-space: nowrap; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
img { height: 72px; border-radius: 4px; display: block; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.failed { color: #c33; } .left { opacity: .7; }
"""
_SCRIPT = """
for (const head of document.querySelectorAll("th[data-column]")) head.firstChild.onclick = () => {
  const up = head.getAttribute("aria-sort") !== "ascending", body = document.querySelector("tbody");
  for (const other of document.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => row.cells[head.cellIndex].dataset.value;
  const order = (a, b) => value(a) === "" ? 1 : value(b) === "" ? -1 :
    (up ? 1 : -1) * (isNaN(value(a)) || isNaN(value(b)) ? value(a).localeCompare(value(b)) : value(a) - value(b));
  body.append(...[...body.rows].sort(order));
};
"""


def write_summary(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write all of FILES. Raises OSError."""
    rows = [_row(outcome) for outcome in outcomes]
    write_json_atomically(out / "summary.json", plain(rows))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(out / "summary.csv", text.getvalue().encode())
    write_atomically(out / "summary.html", _page(rows, [_picture(outcome) for outcome in outcomes]).encode())


def _row(outcome: Outcome) -> dict[str, Any]:
    entry, facts = outcome.entry, outcome.facts
    made = outcome.state in ("made", "kept")
    return {
        "name": entry.name,
        "state": outcome.state,
        "asset": "" if entry.asset is None else entry.urls.get("asset", str(entry.asset)),
        "exemplar": entry.urls.get("exemplar", str(entry.exemplar)),
        "size": entry.options.size,
        "seconds": round(outcome.seconds, 1) if made else None,
        **{name: facts.get(name) for name in ("memory", "bytes", "seam", "mcr", "adf")},
        "error": outcome.error if outcome.state == "failed" else "",
    }


def _picture(outcome: Outcome) -> str:
    return str(outcome.facts.get("thumbnail") or f"{quote(outcome.entry.name)}/preview.png")


def _page(rows: list[dict[str, Any]], pictures: list[str]) -> str:
    counts = {state: sum(row["state"] == state for row in rows) for state in ("made", "kept", "failed", "left")}
    title = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    heads = "".join(
        f"<th data-column scope=col><button type=button>{HEADINGS.get(name, name)}</button></th>" for name in COLUMNS
    )
    lines = "\n".join(_line(row, picture) for row, picture in zip(rows, pictures, strict=True))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Bake: {title}</title>"
        f'<meta name=viewport content="width=device-width"><style>{_STYLE}</style><h1>{title}</h1>'
        f"<table><thead><tr><th scope=col>preview</th>{heads}</tr></thead><tbody>\n{lines}\n</tbody></table>"
        f"<script>{_SCRIPT}</script></html>\n"
    )


def _line(row: dict[str, Any], picture: str) -> str:
    link = quote(row["name"])
    made = row["state"] in ("made", "kept")
    cells = ["<td></td>"]
    if made:
        cells = [f'<td><a href="{link}/report.html"><img src="{picture}" alt="" loading=lazy></a></td>']
    for name in COLUMNS:
        value = row[name]
        if isinstance(value, (int, float)):
            shown = value / _UNITS.get(name, 1)
            text = f"{shown:.0f}" if name == "size" else f"{shown:.1f}" if abs(shown) >= 10 else f"{shown:.2f}"
            cells.append(f'<td class=n data-value="{value}">{text}</td>')
        else:
            whole = html.escape(str(value or ""))
            text = html.escape(Path(value).name) if value and name in ("asset", "exemplar") else whole
            inner = f'<a href="{link}/report.html">{text}</a>' if name == "name" and made else text
            cells.append(f'<td data-value="{text}" title="{whole}">{inner}</td>')
    return f'<tr class="{row["state"]}">{"".join(cells)}</tr>'
