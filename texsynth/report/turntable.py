"""A lit turntable of a result: OUT/turntable.png, eight views side by side, and OUT/turntable.webp, which turns.

Drawn by the GL driver in a process of its own, because a broken driver may crash or hang whoever uses it; without one
there is no turntable, and the reason is told.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from mipmap.metrics.gl_context import GlUnavailable
from texsynth.report.gl_render import GlRenderer, Scene, Surface, View
from texsynth.run import Run, write_atomically

Image = NDArray[np.uint8]

STRIP, ANIMATION = "turntable.png", "turntable.webp"
FILES = (STRIP, ANIMATION)
VIEWS, FRAMES = 8, 24  # of the strip, of the animation
SIDE = 512  # pixels a view
MOST_TEXELS = 2 * SIDE  # a side of the largest level that such a view can show
PATIENCE_S = 60  # for a driver to draw a turntable
FRAME_MS, QUALITY = 110, 80
BACKGROUND = 0.84  # grey, in sRGB
POLL_S = 0.1
_MAPS = ("albedo", "normals", "surface")


@dataclass(frozen=True)
class Turntable:
    """views: uint8 (n, SIDE, SIDE, 3) sRGB, all the way round. seconds: that one took, and renderer: who drew it."""

    views: Image
    seconds: float
    renderer: str


def draw_turntable(scene: Scene, views: Sequence[View], run: Run, side: int = SIDE) -> Turntable:
    """Raises GlUnavailable, in one line; TexsynthError when the run is cancelled; OSError."""
    with tempfile.TemporaryDirectory(prefix="texsynth-turntable-") as folder:
        _save(Path(folder), scene, views)
        code = f"import sys; sys.path[:0] = {sys.path!r}; from texsynth.report.turntable import main; main()"
        command = [sys.executable, "-c", code, folder, str(side)]
        with (Path(folder) / "said").open("w+b") as said, subprocess.Popen(command, stdout=said, stderr=said) as child:
            try:
                _wait(child, run)
            finally:
                child.kill()
            said.seek(0)
            words = said.read().decode("utf-8", "replace").split("\n")
        if child.returncode != 0:
            raise GlUnavailable(f"the GL driver ended with status {child.returncode}")
        answer = json.loads(words[-2])
        if "reason" in answer:
            raise GlUnavailable(answer["reason"])
        return Turntable(np.load(Path(folder) / "views.npy"), answer["seconds"], answer["renderer"])


def write_turntable(out: Path, turntable: Turntable) -> None:
    """Write both files. Raises OSError."""
    views = turntable.views
    strip = np.concatenate(list(views[:: len(views) // VIEWS]), axis=1)
    for name, pictures, options in (
        (STRIP, [strip], {"format": "PNG", "compress_level": 4}),
        (ANIMATION, list(views), {"format": "WEBP", "quality": QUALITY, "method": 1, "loop": 0, "duration": FRAME_MS}),
    ):
        first, *more = (Pictures.fromarray(picture) for picture in pictures)
        data = io.BytesIO()
        first.save(data, **options, **({"save_all": True, "append_images": more} if more else {}))
        write_atomically(out / name, data.getvalue())


def main() -> None:
    """Of the drawing process: argv[1] is a folder as `_save` leaves it, argv[2] the size of a view."""
    folder, side = Path(sys.argv[1]), int(sys.argv[2])
    scene, views = _load(folder)
    try:
        with GlRenderer(scene, side) as renderer:
            background = [BACKGROUND] * 3 + [1.0]
            renderer.draw(views[0], background)  # the driver compiles its shaders when they are first used
            began = time.monotonic()
            drawn = [renderer.draw(view, background) for view in views]
            seconds = (time.monotonic() - began) / len(views)
        np.save(folder / "views.npy", np.stack([np.rint(view[..., :3] * 255).astype(np.uint8) for view in drawn]))
        print(json.dumps({"renderer": renderer.renderer, "seconds": seconds}))
    except GlUnavailable as error:
        print(json.dumps({"reason": str(error)}))


def _wait(child: subprocess.Popen[bytes], run: Run) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            child.wait(POLL_S)
            return
        except subprocess.TimeoutExpired:
            run.step(0.95)  # hears cancellation
            if time.monotonic() > until:
                raise GlUnavailable(f"the GL driver drew nothing within {PATIENCE_S} s") from None


def _save(folder: Path, scene: Scene, views: Sequence[View]) -> None:
    """Raises OSError."""
    levels = {
        f"{number}.{name}.{level}": texels
        for number, surface in enumerate(scene.surfaces)
        for name in _MAPS
        for level, texels in enumerate(getattr(surface, name))
    }
    cameras = np.stack([np.concatenate([view.projection.ravel(), view.eye, view.studio.ravel()]) for view in views])
    np.savez(folder / "scene.npz", vertices=scene.vertices, parts=np.array(scene.parts), views=cameras, **levels)


def _load(folder: Path) -> tuple[Scene, list[View]]:
    with np.load(folder / "scene.npz") as held:
        parts = [(int(first), int(count)) for first, count in held["parts"]]
        surfaces = [Surface(*(list(_levels(held, f"{k}.{name}")) for name in _MAPS)) for k in range(len(parts))]
        views = [View(row[:16].reshape(4, 4), row[16:19], row[19:28].reshape(3, 3)) for row in held["views"]]
        return Scene(held["vertices"], surfaces, parts), views


def _levels(held: np.lib.npyio.NpzFile, name: str) -> Iterator[Image]:
    level = 0
    while f"{name}.{level}" in held:
        yield held[f"{name}.{level}"]
        level += 1
