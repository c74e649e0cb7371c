"""A table in a page that is otherwise written by hand: it stands between two comments, and a benchmark writes it."""

from __future__ import annotations

from pathlib import Path


def put_table(page: Path, name: str, table: str) -> None:
    """Replace what stands in `page` between the comments of `name`. Raises SystemExit where it has none."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, opened, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise SystemExit(f"{page}: has no {begin.strip()} with {end} after it")
    page.write_text(f"{before}{begin}\n{table}\n\n{end}{after}")
