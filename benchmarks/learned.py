"""What a learned network at high noise does for the layout: structure kept and d, with it and without it.

    python benchmarks/learned.py --model out/train/reference/model [--data FOLDER] [--only NAME] [--seeds 2]
                                 [--size 1024] [--preset standard] [--level 1] [--share 0.5]

For each exemplar and seed a tileable texture is synthesised twice, with the closed form at every noise level and with
the network (`texsynth model train reference`) above noise LEVEL, whose mean counts SHARE there. Compared are the
albedo's distance d to the exemplar (two halves of it differ by 1) and, of regular exemplars, how much of the main
autocorrelation peak is kept. Leaves results.json and sheet.png, exemplar and both results in a line, in OUT.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from exemplars import add_arguments, find_exemplars
from reporting import Row, contact_sheet, row, show, write_results

from mipmap.metrics import regularity, texture_distance
from texsynth.exemplar import Exemplar, prepare_exemplar
from texsynth.layer import Texels, make_layer
from texsynth.material import load_material
from texsynth.model.mixed_denoiser import Learned
from texsynth.model.reference_unet import load_reference_unet
from texsynth.options import Options
from texsynth.profiles import ON_CPU
from texsynth.run import Run

Floats = npt.NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "learned")
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="OUT/model of the training")
    parser.add_argument("--level", type=float, default=Learned.level, help="noise above which the network has a say")
    parser.add_argument("--share", type=float, default=Learned.share, help="its part in the mean there, 0 to 1")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="seeds 0..N-1 (default 2)")
    parser.add_argument("--size", type=int, default=1024, help="texels a side (default 1024)")
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    arguments = parser.parse_args()
    learned = Learned(load_reference_unet(arguments.model), arguments.level, arguments.share)
    details, pictures = list[dict[str, Any]](), []
    for folder in find_exemplars(arguments):
        exemplar = prepare_exemplar(load_material(folder), Options.maps)
        albedo = exemplar.stack[..., :3]
        line = [(folder.name, albedo[: arguments.size, : arguments.size])]
        for seed in range(arguments.seeds):
            options = Options(size=arguments.size, preset=arguments.preset, seed=seed, tileable=True)
            found: dict[str, Any] = {"exemplar": folder.name, "seed": seed}
            for name, network in (("without", None), ("with", learned)):
                made = synthesised(exemplar, options, network)
                found[name] = measured(made, albedo)
                line.append((f"seed {seed}, {name}", made))
            print(f"{folder.name:24} seed {seed}  without {found['without']}  with {found['with']}", flush=True)
            details.append(found)
        pictures.append(line)
    rows = summary(details)
    show(f"network above noise {arguments.level:g}, share {arguments.share:g}, {arguments.size} px", rows)
    contact_sheet(arguments.out / "sheet.png", pictures, 256)
    write_results(arguments.out, "learned", arguments, rows, details)
    return 0 if all(line.passed is not False for line in rows) else 1


def synthesised(exemplar: Exemplar, options: Options, learned: Learned | None) -> Floats:
    """The albedo of a tileable result, encoded: the texels that `synthesize` publishes, without what comes after."""
    with tempfile.TemporaryDirectory(prefix="texsynth-learned-") as work:
        layer = make_layer(
            exemplar, None, None, options.size, options, ON_CPU, Path(work), Run(), torus=(True, True), span=(0.0, 1.0),
            show=lambda *_: None, learned=learned,
        )  # fmt: skip
        return Texels(layer, options.detail).rows(0, options.size)[..., :3]


def measured(made: Floats, exemplar: Floats) -> dict[str, Any]:
    structure = regularity(made, exemplar)
    kept = round(structure.kept, 3) if structure.regular else None
    return {"d": round(texture_distance(made, exemplar), 3), "kept": kept}


def summary(details: list[dict[str, Any]]) -> list[Row]:
    """Figures of both ways, and the gain in the peak, which should be one on each exemplar."""

    def of(name: str, figure: str) -> list[tuple[str, float]]:
        return [(f"{d['exemplar']} {d['seed']}", d[name][figure]) for d in details if d[name][figure] is not None]

    kept = [of(name, "kept") for name in ("without", "with")]
    gains = [(label, after - before) for (label, before), (_, after) in zip(*kept, strict=True)]
    rows = [row(f"d albedo, {name} the network", "-", of(name, "d")) for name in ("without", "with")]
    rows += [
        row(f"peak kept, {name} the network", "-", values, badness=lambda value: -value)
        for name, values in zip(("without", "with"), kept, strict=True)
    ]
    return [*rows, row("gain in the peak kept", "> 0 on each", gains, lambda v: min(v) > 0, lambda value: -value)]


if __name__ == "__main__":
    sys.exit(main())
