"""What an artist should know of a mesh's UVs: shared, mirrored and empty places, and what repeats."""

from __future__ import annotations

import numpy as np

from texsynth.surface.mesh import NO_AREA, uv_areas
from texsynth.surface.raster import uv_mask
from texsynth.surface.uv_topology import Topology

SIZE = 1024  # texels a side at which coverage is counted
SHARED = 0.02  # of the texels of all triangles that must lie on others for it to be said: borders count twice


def uv_notes(topology: Topology) -> list[str]:
    """One line for each thing to know of the UVs of a material."""
    mesh = topology.mesh
    areas = uv_areas(mesh, topology.triangles)
    total, covered = float(np.abs(areas).sum()), float(uv_mask(mesh, SIZE, topology.material, gutter=0).mean())
    notes = []
    if total > 0 and total - covered > SHARED * total:
        share = 1 - covered / total
        notes.append(f"UVs: {share:.0%} of the surface lies on texels that other places show too; they look alike")
    mirrored = float(np.abs(areas[areas > 0]).sum()), float(np.abs(areas[areas < 0]).sum())
    if min(mirrored) > SHARED * total:
        notes.append(f"UVs: {min(mirrored) / total:.0%} of the surface is mirrored in the texture")
    empty = int((np.abs(areas) <= NO_AREA).sum())
    if empty:
        notes.append(f"UVs: {empty} of {len(areas)} triangles have no area in the texture and show a single colour")
    if any(topology.repeating):
        notes.append("UVs: the surface goes on over the texture's edge, so the result repeats there")
    chains = topology.chains
    if chains:
        edges = sum(len(chain.keeps) for chain in chains)
        notes.append(f"UVs: seam edges {edges}, chains of them {len(chains)}")
    return notes
