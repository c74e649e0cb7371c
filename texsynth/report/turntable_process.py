"""The process that draws a turntable: NumPy, PyOpenGL and a driver that may crash, and nothing else.

    python -m texsynth.report.turntable_process FOLDER SIZE

FOLDER holds a scene as `save_scene` leaves it and gets views.npy; a line is printed after each step, the last one a
JSON object, {"renderer": .., "seconds": ..} or {"reason": ..}.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mipmap.gl_context import GlUnavailable
from texsynth.report.gl_render import GlRenderer, Scene, Surface, View

BUDGET_S = 3  # of all views
# Every fourth view, every other one, all; and the seconds after which the others are left out.
PARTS = ((4, BUDGET_S), (2, BUDGET_S / 2), (1, BUDGET_S))
BACKGROUND = 0.84  # grey, in sRGB
VIEWS = "views.npy"
_MAPS = ("albedo", "normals", "surface")


def main() -> None:
    """See the head of this file."""
    folder, side = Path(sys.argv[1]), int(sys.argv[2])
    try:
        print(json.dumps(_draw(folder, side)))
    except GlUnavailable as error:
        print(json.dumps({"reason": str(error)}))


def _draw(folder: Path, side: int) -> dict[str, str | float]:
    scene, views = _load_scene(folder)
    _tell("scene")
    with GlRenderer(scene, side) as renderer:
        background = [BACKGROUND] * 3 + [1.0]
        _tell(renderer.renderer)
        renderer.draw(views[0], background)  # the driver compiles its shaders when they are first used
        _tell("shaders")
        began, drawn = time.monotonic(), dict[int, NDArray[np.float32]]()
        for every, most in PARTS:
            for number in sorted(set(range(0, len(views), every)) - set(drawn)):
                drawn[number] = renderer.draw(views[number], background)
                _tell(f"view {number}")
            if time.monotonic() - began > most:
                break
        seconds = (time.monotonic() - began) / len(drawn)
    shown = [drawn[number] for number in sorted(drawn)]
    np.save(folder / VIEWS, np.stack([np.rint(view[..., :3] * 255).astype(np.uint8) for view in shown]))
    return {"renderer": renderer.renderer, "seconds": seconds}


def _tell(step: str) -> None:
    """To whoever waits, that there is progress."""
    print(step, flush=True)


def save_scene(folder: Path, scene: Scene, views: Sequence[View]) -> None:
    """For the process to find. Raises OSError."""
    levels = {
        f"{number}.{name}.{level}": texels
        for number, surface in enumerate(scene.surfaces)
        for name in _MAPS
        for level, texels in enumerate(getattr(surface, name))
    }
    cameras = np.stack([np.concatenate([view.projection.ravel(), view.eye, view.studio.ravel()]) for view in views])
    np.savez(folder / "scene.npz", vertices=scene.vertices, parts=np.array(scene.parts), views=cameras, **levels)


def _load_scene(folder: Path) -> tuple[Scene, list[View]]:
    with np.load(folder / "scene.npz") as held:
        parts = [(int(first), int(count)) for first, count in held["parts"]]
        surfaces = [Surface(*(list(_levels(held, f"{k}.{name}")) for name in _MAPS)) for k in range(len(parts))]
        views = [View(row[:16].reshape(4, 4), row[16:19], row[19:28].reshape(3, 3)) for row in held["views"]]
        return Scene(held["vertices"], surfaces, parts), views


def _levels(held: np.lib.npyio.NpzFile, name: str) -> Iterator[NDArray[np.uint8]]:
    level = 0
    while f"{name}.{level}" in held:
        yield held[f"{name}.{level}"]
        level += 1


if __name__ == "__main__":
    main()
