"""bake.json: what a result was made from, and what the summary shows of it. It is the last file of a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from texsynth.report.page import plain
from texsynth.run import write_json_atomically

RECORD = "bake.json"


def make_record(key: str, seconds: float, facts: dict[str, Any]) -> dict[str, Any]:
    """key: a digest of all that the result depends on; seconds: what it took; facts: see the summary."""
    return dict(plain({"key": key, "seconds": seconds, "facts": facts}))


def parse_record(text: str | bytes) -> dict[str, Any]:
    """A record as it was written; empty if it is none."""
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    return record if isinstance(record, dict) and {"key", "seconds", "facts"} <= set(record) else {}


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a folder; empty if there is none that can be read."""
    try:
        return parse_record((folder / RECORD).read_bytes())
    except OSError:
        return {}


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write it atomically. Raises OSError."""
    write_json_atomically(folder / RECORD, record)
