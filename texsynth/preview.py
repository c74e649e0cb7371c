"""Pictures of a texture while it is made: all of it, flat, or lit on its mesh; each sharper than the one before."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.exemplar import Exemplar, halved
from texsynth.gather import gather
from texsynth.layer import channels_of
from texsynth.layout import Frame, Ints
from texsynth.material import MapKind
from texsynth.model.latent import BLOCK
from texsynth.report.render import render_mesh
from texsynth.report.views import reduced
from texsynth.run import Run, write_atomically
from texsynth.surface.mesh import MeshAsset

SIDE = 512  # pixels of the picture
LARGEST = 1024  # texels a side of the last level that is shown: a finer one looks the same at SIDE

Maps = dict[MapKind, NDArray[np.uint8]]


class Previewer:
    """Writes `path` whenever it is shown a level, and says so on `run`.

    mesh: what the texture is for, with `replaced` the index of the material that it is to replace (None: all).
    """

    def __init__(self, path: Path, run: Run, mesh: MeshAsset | None, replaced: int | None) -> None:
        self._path, self._run, self._mesh, self._replaced = path, run, mesh, replaced
        self._others: list[Maps] | None = None  # of the mesh's other materials, once they are needed

    def show(self, exemplar: Exemplar, frame: Frame, positions: Ints, scale: int) -> None:
        """The texture whose tokens lie at `positions` in the exemplar reduced by `scale`, if it is small enough."""
        if max(positions.shape[:2]) * BLOCK > LARGEST:
            return
        small = halved(exemplar.stack, int(np.log2(scale)))
        rows = 0, positions.shape[0] * BLOCK
        texels = gather(small, positions, rows, wraps=exemplar.wraps, torus=frame.torus)
        coded = (texels * 255 + np.float32(0.5)).astype(np.uint8)
        maps = {kind: coded[:, :, part] for kind, part in zip(exemplar.maps, channels_of(exemplar.maps), strict=True)}
        picture = _flat(maps[exemplar.maps[0]]) if self._mesh is None else self._lit(self._mesh, maps)
        done, png = cv2.imencode(".png", picture[:, :, ::-1] if picture.shape[2] == 3 else picture)
        if done:
            write_atomically(self._path, png.tobytes())
            self._run.preview = self._path

    def _lit(self, asset: MeshAsset, maps: Maps) -> NDArray[np.uint8]:
        if self._others is None:
            self._others = [{kind: reduced(one, SIDE) for kind, one in m.maps.items()} for m in asset.materials]
        materials = [
            before | maps if self._replaced in (None, number) else before for number, before in enumerate(self._others)
        ]
        return render_mesh(asset.mesh, materials or maps, SIDE, supersample=1)


def _flat(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most SIDE pixels a side."""
    factor = SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return np.atleast_3d(cv2.resize(image, size, interpolation=cv2.INTER_AREA)).astype(np.uint8)
