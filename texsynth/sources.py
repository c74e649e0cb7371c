"""What a run reads: exemplars, the asset, the region that may change, and the checkpoint that leads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from texsynth.blend import Blend, load_blend, with_same_maps
from texsynth.errors import bad_input
from texsynth.faithful import enlargement
from texsynth.material import MESH_SUFFIXES, MapKind, Material, estimate_missing, load_material
from texsynth.model.diffusers_model import Identity, identify
from texsynth.model.mixed_denoiser import Learned
from texsynth.options import Options
from texsynth.publish import require_apart
from texsynth.region import Region, load_mask
from texsynth.surface.mesh import MeshAsset, load_mesh
from texsynth.surface.select import selection_weights
from texsynth.surface.uv_topology import Topology


@dataclass(frozen=True)
class Asset:
    """What is restyled: its old material (None: it has none) and, for a mesh file, the mesh, and which of its
    materials is replaced."""

    path: Path
    material: Material | None
    mesh: MeshAsset | None = None
    replaced: int | None = None

    @cached_property
    def topology(self) -> Topology | None:
        """Of the replaced material."""
        return None if self.mesh is None else Topology(self.mesh.mesh, self.replaced)


@dataclass(frozen=True)
class Sources:
    """What a run is made from: one exemplar, or two and how they blend; the asset and the region that may change; the
    checkpoint that leads; and the network that has a say in the layout."""

    exemplars: tuple[Material, ...]
    blend: Blend | None
    asset: Asset | None
    region: Region | None
    model: Identity | None
    learned: Learned | None = None


def load_sources(exemplar: Path, asset: Asset | None, out: Path, options: Options) -> Sources:
    """Everything that a run reads. Raises TexsynthError for what cannot be read, and where `out` could overwrite it."""
    paths = [exemplar, *([] if options.second is None else [options.second])]
    for path in [*paths, *([] if asset is None else [asset.path])]:
        require_apart(out, path)
    if options.tone > 0 and asset is not None and (asset.material is None or MapKind.ALBEDO not in asset.material.maps):
        raise bad_input("tone", "the asset has no albedo to keep it of", "leave it out")
    if options.faithful > 0 and asset is not None:
        if asset.material is None:
            raise bad_input("faithful", "the asset has no texture to enlarge", "leave it out")
        enlargement(options.size, asset.material)
    loaded = [
        estimate_missing(load_material(path, directx=options.directx, nonfinite=options.nonfinite), options.maps)
        for path in paths
    ]
    blend = None
    if options.second is not None:
        loaded = [*with_same_maps(loaded[0], loaded[1], options.maps)]
        blend = load_blend(options.blend, options.size)
    region = _load_region(asset, options)
    return Sources(tuple(loaded), blend, asset, region, None if options.model is None else identify(options.model))


def _load_region(asset: Asset | None, options: Options) -> Region | None:
    """What may change, by mask and by selection; None: everything."""
    masked = None if options.region is None else load_mask(options.region, options.size)
    selected = None
    if options.selection is not None:
        if asset is None or asset.mesh is None:
            raise bad_input("selection", "the asset is no mesh", "use --region with a mask")
        selected = selection_weights(options.selection, asset.mesh, options.size, asset.replaced)
    return None if masked is None and selected is None else Region(masked, selected)


def load_asset(path: Path, options: Options) -> Asset:
    """The asset in a file or folder. Raises TexsynthError where it cannot be read or has no such material."""
    if path.suffix.lower() not in MESH_SUFFIXES:
        if options.geometry == "on":
            raise bad_input("geometry", f"{path.name} is no mesh and has no edges", "use auto or off")
        return Asset(path, load_material(path, directx=options.directx, nonfinite=options.nonfinite))
    mesh = load_mesh(path, directx=options.directx, nonfinite=options.nonfinite, size=options.size)
    if not mesh.materials:
        return Asset(path, None, mesh)
    replaced = chosen_material(mesh, options.material)
    return Asset(path, mesh.materials[replaced], mesh, replaced)


def chosen_material(asset: MeshAsset, name: str | None) -> int:
    """The material of this name or number; without one, that which covers the largest area of the mesh."""
    names = [material.name for material in asset.materials]
    if name is not None:
        if name in names:
            return names.index(name)
        if name.isdigit() and int(name) < len(names):
            return int(name)
        listed = ", ".join(f"{i} {n}" for i, n in enumerate(names))
        raise bad_input(asset.path, f"has no material '{name}'", f"use one of: {listed}")
    return int(material_areas(asset).argmax())


def material_areas(asset: MeshAsset) -> NDArray[np.float64]:
    """The area of the mesh that each of its materials covers."""
    corners = asset.mesh.positions[asset.mesh.triangles]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    index = asset.mesh.material_index
    covered = np.bincount(index[index >= 0], weights=areas[index >= 0], minlength=len(asset.materials))
    return np.asarray(covered, np.float64)
