"""`texsynth mips`: any texture set as files with mips for a target, without the diffusion model and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth import __version__
from texsynth.errors import bad_input
from texsynth.image_io import read_image
from texsynth.material import MapKind, Material, NonFinite, load_material
from texsynth.publish import SCHEMA, publish_maps, require_apart, write_manifest
from texsynth.run import Run
from texsynth.storage import Charts, Storage


@dataclass(frozen=True)
class MipOptions:
    """What the files are and how the input is read.

    storage: target, container, compression and filter. maps: the maps to write; None: all that the input has.
    charts: image whose colours tell the UV charts apart, black is empty; mips mix no texels of two charts. None: one.
    directx, nonfinite: as `texsynth.material.load_material`.
    """

    storage: Storage
    maps: Sequence[MapKind] | None = None
    charts: Path | None = None
    directx: bool | None = None
    nonfinite: NonFinite = "refuse"


def make_mips(source: Path, out: Path, options: MipOptions, run: Run) -> dict[str, Any]:
    """Write the maps of `source` (an image, a folder of maps, or a mesh) with their mips into `out`.

    A single image is the map that its name says, albedo if it says none. Returns the manifest, as material.json has it.
    Raises TexsynthError for input that is no material or lacks a map asked for, a full disk, or cancellation.
    """
    with run.stage("load", 0.0, 0.2):
        require_apart(out, source)
        material = load_material(source, directx=options.directx, nonfinite=options.nonfinite, by_name=True)
        maps = _chosen(source, material, options.maps)
        charts = None if options.charts is None else Charts(load_charts(options.charts, material.size))
    with run.stage("publish", 0.2, 1.0):
        entries = publish_maps(out, {kind: material.maps[kind].texels for kind in maps}, options.storage, run, charts)
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "name": material.name,
            "size": list(material.size),
            "maps": entries,
            "files": {},
            "estimated": [],
            "seed": 0,
            "options": _facts(options),
            "model": {"name": "mips", "version": __version__},
            "notes": list(material.notes),
        }
        write_manifest(out, manifest)
    return manifest


def load_charts(path: Path, size: tuple[int, int]) -> NDArray[np.int32]:
    """(H, W) numbers of the UV charts in an image: 0 where it is black, else one number a colour.

    Raises TexsynthError if it cannot be read, or has another size than the maps, (H, W).
    """
    texels = read_image(path, colour=False).texels
    if texels.shape[:2] != size:
        found, wanted = (f"{w} x {h}" for h, w in (texels.shape[:2], size))
        raise bad_input(path, f"is {found} texels but the maps are {wanted}", "give a chart image of their size")
    if texels.dtype.kind == "f":
        raise bad_input(path, "holds floating point", "save the charts as integers, one colour a chart")
    numbers = np.zeros(size, np.int64)
    for channel in range(min(3, texels.shape[2])):
        numbers = numbers << 16 | texels[..., channel]
    colours, charts = np.unique(numbers, return_inverse=True)
    first = 0 if colours[0] == 0 else 1
    return (charts.reshape(size) + first).astype(np.int32)


def _chosen(source: Path, material: Material, wanted: Sequence[MapKind] | None) -> list[MapKind]:
    lacking = [kind for kind in wanted or () if kind not in material.maps]
    if lacking:
        raise bad_input(
            source, f"has no {', '.join(lacking)}", f"leave out --maps, or name some of {', '.join(material.maps)}"
        )
    return list(wanted or material.maps)


def _facts(options: MipOptions) -> dict[str, Any]:
    storage = options.storage
    return {
        "target": storage.target.name,
        "format": storage.container,
        "compression": storage.compression,
        "filter": storage.chain.filter,
        "wrap": storage.chain.wrap,
        "roughness_rule": storage.chain.roughness,
        "coverage_threshold": storage.chain.coverage_threshold,
        "charts": None if options.charts is None else str(options.charts),
    }
