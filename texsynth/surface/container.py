"""Any mesh file as a glTF container, the one that the rest of the engine knows."""

from __future__ import annotations

import logging
from pathlib import Path

from texsynth.errors import bad_input
from texsynth.material import MESH_NAMES
from texsynth.surface.gltf import Gltf, read_gltf
from texsynth.surface.udim import with_tiles

# Its warnings bring tracebacks along, of things that we refuse in one line ourselves.
logging.getLogger("trimesh").setLevel(logging.ERROR)

GLTF_SUFFIXES = (".glb", ".gltf")


def read_container(path: Path) -> Gltf:
    """Read a mesh file by its suffix, one of `texsynth.material.MESH_SUFFIXES`; what is no glTF is converted.

    Materials of UDIM sets become one material a tile. Raises TexsynthError in one line: another suffix, or a file that
    is missing, broken or beyond the limits.
    """
    return with_tiles(_read(path))


def _read(path: Path) -> Gltf:
    # Imported where needed: trimesh takes half a second.
    match path.suffix.lower():
        case ".obj":
            from texsynth.surface.obj import obj_as_gltf

            return obj_as_gltf(path)
        case ".ply":
            from texsynth.surface.ply import ply_as_gltf

            return ply_as_gltf(path)
        case ".stl":
            from texsynth.surface.stl import stl_as_gltf

            return stl_as_gltf(path)
        case suffix if suffix in GLTF_SUFFIXES:
            return read_gltf(path)
    raise bad_input(path, f"'{path.suffix}' is no mesh format we read", f"use {MESH_NAMES}")
