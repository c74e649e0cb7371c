"""Measurements in a CSV, one a line: what is in it is not measured again."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Record = dict[str, str]


class Records:
    """The lines of the CSV at `path`; None keeps them in memory alone.

    key: the fields that say what a line measures. values: those that were measured. Raises SystemExit if the file has
    other fields.
    """

    def __init__(self, path: Path | None, key: Sequence[str], values: Sequence[str]) -> None:
        self.path, self.key, self.fields = path, tuple(key), [*key, *values]
        self.lines: list[Record] = []
        if path is not None and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                self.lines = list(reader)
            if reader.fieldnames != self.fields:
                found = ", ".join(reader.fieldnames or ())
                raise SystemExit(
                    f"{path}: has the fields {found}; expected {', '.join(self.fields)}; name another file"
                )

    def measured(self, key: Mapping[str, object], measure: Callable[[], Mapping[str, float]]) -> Record:
        """The line of `key`, from the file or by measuring it now; each is on the disk before the next one begins."""
        wanted = {name: str(key[name]) for name in self.key}
        for line in self.lines:
            if all(line[name] == value for name, value in wanted.items()):
                return line
        values = measure()
        line = wanted | {name: f"{values[name]:.6g}" if name in values else "" for name in self.fields[len(self.key) :]}
        self.lines.append(line)
        if self.path is not None:
            self._append(self.path, line)
        return line

    def _append(self, path: Path, line: Record) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.fields, lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow(line)
