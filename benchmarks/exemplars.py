"""Where a benchmark's exemplars come from: a folder of materials, or our procedural generator."""

from __future__ import annotations

import argparse
from pathlib import Path

from texsynth.image_io import SUFFIXES
from texsynth.train.procedural import generate, write

# One of each structure: courses, lattice, random stones, veins, fibres, weave, leaves, wear.
PROCEDURAL = (
    "bark",
    "brick",
    "cloth",
    "diamond_plate",
    "floor_tile",
    "leather",
    "leaves",
    "marble",
    "pebbles",
    "rock",
    "rusty_metal",
    "wood",
)
PROCEDURAL_SIZE = 1024
# Others, for choosing what a benchmark must not choose by its own exemplars.
TUNING = ("cobble", "grass", "planks")


def add_arguments(parser: argparse.ArgumentParser, results: str) -> None:
    """`--data`, `--only` and `--out`, the same in every benchmark."""
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="folder of exemplar folders (default: procedural materials)"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="only this exemplar (may be repeated)")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks") / results, help="folder for the results")


def add_tuning(parser: argparse.ArgumentParser) -> None:
    """`--tuning` and `--tune`, for `find_tuning`."""
    parser.add_argument(
        "--tuning", type=Path, metavar="FOLDER", help="folder of other exemplars, to tune on (default: procedural)"
    )
    parser.add_argument("--tune", action="append", metavar="NAME", help="only this one of them (may be repeated)")


def find_tuning(arguments: argparse.Namespace) -> list[Path]:
    """The folders to tune on; procedural ones of other kinds than `find_exemplars` has where no `--tuning` is given."""
    wanted = arguments.tune or (None if arguments.tuning else list(TUNING))
    return find_exemplars(argparse.Namespace(data=arguments.tuning, only=wanted, out=arguments.out))


def add_pairs(parser: argparse.ArgumentParser, names: str) -> None:
    """`--pair`, for `find_pairs`."""
    parser.add_argument("--pair", action="append", metavar=names, help="names of two exemplars (may be repeated)")


def find_pairs(arguments: argparse.Namespace) -> list[tuple[Path, Path]]:
    """The folders of every `--pair`; without one, three pairs of neighbours among the exemplars."""
    if not arguments.pair:
        found = find_exemplars(arguments)
        return [(found[i], found[(i + 1) % len(found)]) for i in range(0, min(6, len(found)), 2)]
    arguments.only = sorted({name for pair in arguments.pair for name in pair.split(",")})
    by_name = {folder.name: folder for folder in find_exemplars(arguments)}
    by_kind = {name.rsplit("_", 1)[0]: folder for name, folder in by_name.items()} | by_name
    return [(by_kind[first], by_kind[second]) for first, second in (pair.split(",") for pair in arguments.pair)]


def find_exemplars(arguments: argparse.Namespace) -> list[Path]:
    """The folders of maps asked for, by name; made by the generator where no `--data` is given."""
    if arguments.data is None:
        wanted = arguments.only or PROCEDURAL
        return [generated(kind, arguments.out.parent / "exemplars") for kind in wanted]
    found = sorted(folder for folder in arguments.data.iterdir() if folder.is_dir() and _holds_images(folder))
    if arguments.only:
        missing = sorted(set(arguments.only) - {folder.name for folder in found})
        if missing:
            raise SystemExit(f"{arguments.data}: holds no {', '.join(missing)}; it has {_names(found)}")
        found = [folder for folder in found if folder.name in arguments.only]
    if not found:
        raise SystemExit(f"{arguments.data}: holds no folders of images; give the folder above the exemplars")
    return found


def generated(kind: str, folder: Path) -> Path:
    """The folder in `folder` of procedural material `kind`, made if it is not there yet."""
    made = folder / f"{kind}_{PROCEDURAL_SIZE}"
    if not (made / "about.json").exists():  # written last
        write(generate(kind, PROCEDURAL_SIZE), made)
    return made


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _names(folders: list[Path]) -> str:
    return ", ".join(folder.name for folder in folders) or "none"
