"""How a region's border looks where the material outside is the exemplar's own, and where it is another.

    python benchmarks/region.py [--data FOLDER] [--only NAME] [--seeds 1] [--out FOLDER]

The style is an exemplar, the asset a square of SIZE texels from its corner, or of the next exemplar; the middle of the
asset is restyled without content. step: across the border over that between neighbouring texels inside; beside it that
of the asset itself, which has no border there. The pictures lie in sheet.png: same material above, another below.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import numpy.typing as npt
import torch
from exemplars import add_arguments, find_exemplars
from guided import Codes, codes
from reporting import contact_sheet

from texsynth.image_io import save_image
from texsynth.material import MapKind, load_material
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run

Mask = npt.NDArray[np.bool_]

SIZE = 512


def albedo(folder: Path) -> Codes:
    """uint8 sRGB (H, W, 3)."""
    return codes(load_material(folder).maps[MapKind.ALBEDO].encoded())


def corner(image: Codes) -> Codes:
    """The last SIZE x SIZE texels; a smaller image is enlarged."""
    if min(image.shape[:2]) < SIZE:
        image = np.asarray(cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
    return np.ascontiguousarray(image[-SIZE:, -SIZE:])


def middle() -> Mask:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = True
    return mask


def step(image: Codes, mask: Mask) -> float:
    """Mean difference of neighbours across the border of `mask` over that inside."""
    across, inside = [], []
    for turned, where in ((image, mask), (image.swapaxes(0, 1), mask.T)):
        steps = np.abs(np.diff(turned.astype(np.float32), axis=0)).mean(axis=2)
        across.append(steps[where[1:] != where[:-1]])
        inside.append(steps[where[1:] & where[:-1]])
    return float(np.concatenate(across).mean() / np.concatenate(inside).mean())


def restyled(asset: Codes, style: Codes, seed: int) -> Codes:
    """`asset` with its middle in the material `style`."""
    with tempfile.TemporaryDirectory(prefix="texsynth-region-") as name:
        root = Path(name)
        for part, image in (("asset", asset), ("style", style)):
            (root / part).mkdir()
            save_image(root / part / "albedo.png", image)
        save_image(root / "mask.png", (middle() * np.uint8(255))[:, :, None])
        options = Options(
            size=SIZE, preset="draft", content=0.0, maps=(MapKind.ALBEDO,), region=root / "mask.png", seed=seed
        )
        restyle(root / "asset", root / "style", root / "out", options, Run())
        return albedo(root / "out")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "region")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0..N-1 (default 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folders = find_exemplars(arguments)
    rows: list[list[tuple[str, npt.NDArray[np.float32]]]] = [[], []]
    print("| exemplar | step, its own material outside | of the asset itself | step, another outside |")
    print("|---|---|---|---|")
    for folder, other in zip(folders, [*folders[1:], folders[0]], strict=True):
        style, assets = albedo(folder), [corner(albedo(each)) for each in (folder, other)]
        made = [[restyled(asset, style, seed) for seed in range(arguments.seeds)] for asset in assets]
        same, apart = (mean(step(image, middle()) for image in images) for images in made)
        print(f"| {folder.name} | {same:.2f} | {step(assets[0], middle()):.2f} | {apart:.2f} |", flush=True)
        for row, images in zip(rows, made, strict=True):
            row.append((folder.name, images[0].astype(np.float32) / 255))
    contact_sheet(arguments.out / "sheet.png", rows, 256)
    return 0


if __name__ == "__main__":
    sys.exit(main())
