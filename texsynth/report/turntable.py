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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mipmap.gl_context import GlUnavailable
from texsynth.published import Published
from texsynth.report.gl_render import Scene, View
from texsynth.report.gl_scene import made_levels, published_levels, scene_of, views_around
from texsynth.report.turntable_process import VIEWS, save_scene
from texsynth.report.views import lit_side, reduced
from texsynth.run import Run, write_atomically
from texsynth.surface.mesh import MeshAsset

STRIP, ANIMATION = "turntable.png", "turntable.webp"
IN_STRIP, FRAMES = 8, 16  # views; a slow driver draws every other one, or every fourth
SIDE = 512  # pixels a view, of a large result
MOST_TEXELS = 2 * SIDE  # a side of the largest level that such a view can show
PATIENCE_S = 60  # for a driver to take another step: its context, its shaders, each view
ROUND_MS, QUALITY = 2560, 80  # once around
POLL_S = 0.1


@dataclass(frozen=True)
class Turntable:
    """views: uint8 (n, side, side, 3) sRGB, all the way round. seconds: that one took, and renderer: who drew it."""

    views: NDArray[np.uint8]
    seconds: float
    renderer: str


def make_turntable(out: Path, published: Published, asset: MeshAsset, replaced: int | None, run: Run) -> Turntable:
    """Draw the asset with its new material and write both files. replaced: index of that which changed (None: all).

    Raises GlUnavailable, in one line; TexsynthError when the run is cancelled; OSError.
    """
    new = published_levels(published, MOST_TEXELS)
    old = [made_levels({kind: reduced(each, SIDE) for kind, each in m.maps.items()}) for m in asset.materials]
    materials = [before | new if replaced in (None, number) else before for number, before in enumerate(old)]
    side = lit_side(SIDE, max(published.size))
    turntable = draw(scene_of(asset.mesh, materials or [new]), list(views_around(asset.mesh, FRAMES)), run, side)
    write_atomically(out / STRIP, strip(turntable))
    write_atomically(out / ANIMATION, animation(turntable))
    return turntable


def draw(scene: Scene, views: Sequence[View], run: Run, side: int) -> Turntable:
    """The views, drawn in a process of its own. Raises as `make_turntable`."""
    with tempfile.TemporaryDirectory(prefix="texsynth-turntable-") as folder:
        save_scene(Path(folder), scene, views)
        code = f"import sys; sys.path[:0] = {sys.path!r}; from texsynth.report.turntable_process import main; main()"
        command = [sys.executable, "-c", code, folder, str(side)]
        with (Path(folder) / "said").open("w+b") as said:
            with subprocess.Popen(command, stdout=said, stderr=said) as child:
                try:
                    _wait(child, Path(said.name), run)
                finally:
                    child.kill()
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").splitlines()
        if child.returncode != 0 or not lines:
            raise GlUnavailable(f"the GL driver's process ended with status {child.returncode}")
        answer = json.loads(lines[-1])
        if "reason" in answer:
            raise GlUnavailable(answer["reason"])
        return Turntable(np.load(Path(folder) / VIEWS), answer["seconds"], answer["renderer"])


def strip(turntable: Turntable) -> bytes:
    """Some of the views side by side, as PNG."""
    pictures = turntable.views[:: max(1, len(turntable.views) // IN_STRIP)]
    data = io.BytesIO()
    Image.fromarray(np.concatenate(list(pictures), axis=1)).save(data, format="PNG", compress_level=4)
    return data.getvalue()


def animation(turntable: Turntable) -> bytes:
    """All views one after the other without end, as WebP."""
    first, *more = (Image.fromarray(view) for view in turntable.views)
    data = io.BytesIO()
    pace = ROUND_MS // len(turntable.views)
    first.save(data, format="WEBP", save_all=True, append_images=more, duration=pace, loop=0, quality=QUALITY, method=1)
    return data.getvalue()


def _wait(child: subprocess.Popen[bytes], said: Path, run: Run) -> None:
    """Until it ends. Raises GlUnavailable once it has said nothing new for `PATIENCE_S`."""
    heard, until = 0, time.monotonic() + PATIENCE_S
    while True:
        if (length := said.stat().st_size) > heard:
            heard, until = length, time.monotonic() + PATIENCE_S
        try:
            child.wait(POLL_S)
            return
        except subprocess.TimeoutExpired:
            run.step(0.0)  # hears cancellation
            if time.monotonic() > until:
                raise GlUnavailable(f"the GL driver took no step within {PATIENCE_S} s") from None
