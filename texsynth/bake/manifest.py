"""The manifest: what is to be baked, as TOML or CSV.

    [defaults]                       # options of the command line, for every entry
    size = 4096

    [[bake]]
    assets = ["props/*.glb"]         # restyled; without assets the exemplars are synthesised
    exemplars = ["materials/*/"]     # each with each
    name = "{asset}_{exemplar}"      # of the result's folder; {size}, {seed} and other options work too
    content = 0.6
    seeds = [1, 2]                   # or seed = 1

A CSV file has a line an entry: columns asset (may be empty), exemplar, name (may be empty) and options. Paths and globs
are relative to the manifest. Each of them, and the manifest itself, may be a URL (`texsynth.bake.remote`).
"""

from __future__ import annotations

import csv
import dataclasses
import glob
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from texsynth.bake.remote import find, is_url, located, read_bytes
from texsynth.errors import TexsynthError, bad_input, from_os_error
from texsynth.options import Options, parse_maps
from texsynth.selection import parse_selection, selection_of

ALONE, PAIRED = "{exemplar}", "{asset}_{exemplar}"
MOST = 100_000
_NAME = re.compile(r"[\w.-][\w .+-]{0,120}\Z")
_OTHER = re.compile(r"[^\w .+-]")
_NOT_OPTIONS = ("resume", "nonfinite", "directx")
_PATHS = ("region", "second", "model")
_INPUTS = ("asset", "exemplar", "reference")


@dataclass(frozen=True)
class Entry:
    """One result: `asset` restyled with `exemplar`, or the exemplar synthesised (None). where: in the manifest.

    urls: inputs that lie elsewhere, by the name of the field here or in `options`, whose path then stands for no file.
    """

    name: str
    asset: Path | None
    exemplar: Path
    options: Options
    reference: Path | None
    where: str
    urls: Mapping[str, str] = field(default_factory=dict)

    def with_inputs(self, paths: Mapping[str, Path]) -> Entry:
        """The same with local copies of what `urls` names."""
        inputs: dict[str, Any] = {name: path for name, path in paths.items() if name in _INPUTS}
        options: dict[str, Any] = {name: path for name, path in paths.items() if name not in _INPUTS}
        return dataclasses.replace(self, **inputs, options=dataclasses.replace(self.options, **options), urls={})


def load_manifest(source: Path | str) -> list[Entry]:
    """All entries, checked. Raises TexsynthError that names the file, the entry and what would be right."""
    path = str(source)
    try:
        text = (read_bytes(path) if is_url(path) else Path(path).read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise from_os_error(error, path) from error
    except UnicodeDecodeError:
        raise bad_input(path, "is no text in UTF-8", "save it as UTF-8") from None
    tables = _of_csv(path, text) if path.lower().endswith(".csv") else _of_toml(path, text)
    entries = [entry for where, table in tables for entry in _entries(path, where, table)]
    if not entries:
        raise bad_input(path, "asks for nothing", "add a [[bake]] table with exemplars")
    first: dict[str, str] = {}
    for entry in entries:
        if entry.name.lower() in first:  # some file systems know no capitals
            other = first[entry.name.lower()]
            raise bad_input(
                f"{path}: {entry.where}", f"{entry.name!r} is the name of {other} too", "tell them apart by `name`"
            )
        first[entry.name.lower()] = entry.where
    return entries


def _of_toml(path: str, text: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        paths = "write paths with / or in single quotes: 'C:\\folder'"
        remedy = paths if "'\\'" in str(error) else "see the documentation of `texsynth bake`"
        raise bad_input(path, f"is no TOML: {error}", remedy) from None
    unknown = set(content) - {"defaults", "bake"}
    tables, defaults = content.get("bake", []), content.get("defaults", {})
    whole = isinstance(tables, list) and all(isinstance(table, dict) for table in tables)
    if unknown or not whole or not isinstance(defaults, dict):
        what = f"has {', '.join(sorted(unknown))}" if unknown else "has another shape"
        raise bad_input(path, what, "use one [defaults] and any number of [[bake]]")
    return [(f"bake {number}", defaults | table) for number, table in enumerate(tables, 1)]


def _of_csv(path: str, text: str) -> list[tuple[str, dict[str, Any]]]:
    tables = []
    lines = text.splitlines()
    # Spreadsheets write semicolons where the comma is the decimal point.
    delimiter = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    for number, line in enumerate(csv.DictReader(lines, restval="", delimiter=delimiter), 2):
        if None in line:
            raise bad_input(f"{path}: line {number}", "has more fields than the first line", "quote commas")
        table: dict[str, Any] = {key.strip(): value.strip() for key, value in line.items() if value.strip()}
        if asset := table.pop("asset", ""):
            table["assets"] = [asset]
        if not (exemplar := table.pop("exemplar", "")):
            raise bad_input(f"{path}: line {number}", "has no exemplar", "name one in a column called exemplar")
        table["exemplars"] = [exemplar]
        tables.append((f"line {number}", table))
    return tables


def _entries(path: str, where: str, table: dict[str, Any]) -> list[Entry]:
    place, base = f"{path}: {where}", _folder_of(path)
    table = dict(table)
    exemplars = _found(base, place, "exemplars", table.pop("exemplars", []))
    assets: list[str | None] = list(_found(base, place, "assets", table.pop("assets", []))) or [None]
    if not exemplars:
        raise bad_input(place, "has no exemplars", 'add exemplars = ["folder/*"]')
    template = str(table.pop("name", ALONE if assets == [None] else PAIRED))
    references = _found(base, place, "reference", [r] if (r := table.pop("reference", None)) else [])
    reference = references[0] if references else None
    seeds = table.pop("seeds", None)
    if seeds is not None and not (isinstance(seeds, list) and seeds):
        raise bad_input(place, f"seeds is {seeds!r}", "give a list, [1, 2], or one `seed`")
    entries = []
    if len(assets) * len(exemplars) * (len(seeds) if isinstance(seeds, list) else 1) > MOST:
        raise bad_input(place, f"asks for more than {MOST} results", "split it")
    if seeds is not None and "{seed}" not in template:
        template += "_{seed}"
    for asset in assets:
        for exemplar in exemplars:
            for seed in [None] if seeds is None else seeds:
                values = table if seed is None else table | {"seed": seed}
                options = _options(base, place, values)
                words = dataclasses.asdict(options) | {"exemplar": _word(exemplar)}
                words |= {} if asset is None else {"asset": _word(asset)}
                try:
                    name = template.format_map(words)
                except (KeyError, ValueError, IndexError, AttributeError) as error:
                    raise bad_input(place, f"name {template!r} cannot be filled in: {error}", "see --help") from None
                if not _NAME.match(name):
                    raise bad_input(place, f"{name!r} is no name of a folder", "use letters, digits, . _ - +")
                inputs = {"asset": asset, "exemplar": exemplar, "reference": reference}
                inputs |= {key: located(base, str(values[key])) for key in (*_PATHS, "blend") if key in values}
                urls = {key: text for key, text in inputs.items() if text is not None and is_url(text)}
                paths = [None if text is None else Path(text) for text in (asset, reference)]
                entries.append(Entry(name, paths[0], Path(exemplar), options, paths[1], where, urls))
    return entries


def _word(path: str) -> str:
    """What an input is called, with _ for what has no place in the name of a folder: `chair (1)` is `chair _1_`."""
    return _OTHER.sub("_", PurePosixPath(path).stem)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] if is_url(path) else str(Path(path).parent)


def _found(base: str, place: str, what: str, patterns: Any) -> list[str]:
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise bad_input(place, f"{what} is {patterns!r}", 'give a list of paths: ["folder/*.glb"]')
    found = []
    for pattern in patterns:
        wanted = located(base, pattern)
        if is_url(wanted):
            matches = find(wanted)
        else:
            root = None if is_url(base) else base
            matches = _globbed(pattern.removeprefix("file://"), root)
        if not matches:
            remedy = f"paths are relative to {base}" + (", and have / for \\" if "\\" in pattern else "")
            raise bad_input(place, f"{what}: nothing is called '{pattern}'", remedy)
        found += [located(base, match) for match in matches]
    return found


def _globbed(pattern: str, root: str | None) -> list[str]:
    """What is called so or matches; a file may well be called `wall [old].png`."""
    if (Path(root or "") / pattern).exists():
        return [pattern]
    return sorted(glob.glob(pattern, root_dir=root, recursive=True))  # noqa: PTH207 (may be absolute)


def _options(base: str, place: str, values: dict[str, Any]) -> Options:
    """The engine's options; text, as CSV has it, becomes numbers. Raises TexsynthError."""
    known = {field.name: field for field in dataclasses.fields(Options) if field.name not in _NOT_OPTIONS}
    hints = typing.get_type_hints(Options)
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise bad_input(place, f"{name!r} is no option", f"there are {', '.join(sorted(known))}")
        made[name] = parse_maps(value) if name == "maps" and isinstance(value, str) else value
        if name == "maps" and isinstance(value, list):
            made[name] = parse_maps(",".join(map(str, value)))
        elif name in _PATHS:
            made[name] = Path(located(base, str(value)))
        elif name == "selection":
            made[name] = parse_selection(value, place) if isinstance(value, str) else selection_of(value, place)
        elif name == "blend":
            made[name] = _share(base, value)
        elif name != "maps":
            made[name] = _typed(place, name, value, hints[name])
    try:
        return Options(**made)
    except TexsynthError as error:
        raise TexsynthError(error.kind, f"{place}: {error}") from None


def _share(base: str, value: Any) -> float | Path:
    try:
        return float(value)
    except ValueError:
        return Path(located(base, str(value)))


def _typed(place: str, name: str, value: Any, hint: Any) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in (bool, int, float):
        if kind in kinds:
            if kind is bool and str(value).lower() in ("true", "false"):
                return str(value).lower() == "true"
            if kind is not bool and not isinstance(value, bool):
                try:
                    return kind(value)
                except (TypeError, ValueError):
                    break
            break
    else:
        return value
    raise bad_input(place, f"{name} is {value!r}", f"give a value such as {Options.__dataclass_fields__[name].default}")
