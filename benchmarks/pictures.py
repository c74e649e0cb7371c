"""The README's pictures, from procedural materials: what synthesis makes of an exemplar, and two of them blended.

python benchmarks/pictures.py [--out docs/pictures]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from exemplars import generated
from reporting import fitted

from texsynth.material import MapKind, load_material
from texsynth.options import Options
from texsynth.report.render import render_sphere
from texsynth.restyle import synthesize
from texsynth.run import Run

Floats = npt.NDArray[np.float32]

SIDE, GAP = 300, 6
SYNTHESISED = ("brick", "rusty_metal", "pebbles", "wood")
BLENDED = (("cobble", "grass"), ("brick", "leaves"))
SHARES = (0.25, 0.5, 0.75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    exemplars = Path("out/benchmarks/exemplars")
    columns = [synthesised(generated(kind, exemplars)) for kind in SYNTHESISED]
    write(arguments.out / "synthesis.jpg", [list(line) for line in zip(*columns, strict=True)])
    write(
        arguments.out / "blend.jpg",
        [blended(generated(first, exemplars), generated(second, exemplars)) for first, second in BLENDED],
    )


def synthesised(exemplar: Path) -> list[Floats]:
    """The exemplar, a tileable result of the same size, and the result lit on a sphere."""
    folder = Path(tempfile.mkdtemp(prefix="texsynth-pictures-"))
    try:
        synthesize(exemplar, folder, Options(size=1024, tileable=True), Run())
        made = load_material(folder)
        lit = (
            render_sphere({kind: texture.texels for kind, texture in made.maps.items()}, SIDE).astype(np.float32) / 255
        )
        albedos = [load_material(exemplar).maps[MapKind.ALBEDO].encoded(), made.maps[MapKind.ALBEDO].encoded()]
        return [*albedos, lit]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def blended(first: Path, second: Path) -> list[Floats]:
    """Both exemplars and the second over the first at each of SHARES."""
    pictures = [load_material(path).maps[MapKind.ALBEDO].encoded() for path in (first, second)]
    for share in SHARES:
        folder = Path(tempfile.mkdtemp(prefix="texsynth-pictures-"))
        try:
            synthesize(first, folder, Options(size=1024, second=second, blend=share), Run())
            pictures.append(load_material(folder).maps[MapKind.ALBEDO].encoded())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return pictures


def write(path: Path, lines: list[list[Floats]]) -> None:
    """One JPEG of pictures side by side, each SIDE texels."""
    space = np.ones((SIDE, GAP, 3), np.float32)
    rows = []
    for line in lines:
        cells = [part for picture in line for part in (fitted(picture, SIDE), space)][:-1]
        rows += [np.concatenate(cells, axis=1), np.ones((GAP, len(line) * (SIDE + GAP) - GAP, 3), np.float32)]
    sheet = np.concatenate(rows[:-1], axis=0)
    if not cv2.imwrite(str(path), np.round(sheet[:, :, ::-1] * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 88]):
        raise SystemExit(f"{path}: cannot be written")
    print(path)


if __name__ == "__main__":
    main()
