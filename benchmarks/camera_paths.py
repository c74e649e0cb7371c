"""The paths of benchmarks/streaming.py: where a viewer stands, turns and looks, ten times a second.

    python benchmarks/camera_paths.py

writes benchmarks/paths/*.json: {"what", "every": seconds between two frames, "frames": [[x, y, z, yaw, pitch, gaze x,
gaze y], ...]}, lengths in metres, angles in degrees as in `viewer.Pose`. Heads turn with an ease in and out and never
quite stand still; eyes jump within one frame and then stay, as in saccades.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from viewer import Pose, Standing

FOLDER = Path(__file__).parent / "paths"
EVERY = 0.1
SECONDS = 6.0

# The eval meshes as a room shows them: the cabinet, and three smaller things at the height of a table beside it.
SCENE = (
    Standing("cabinet", "painted_wooden_cabinet/painted_wooden_cabinet.gltf", 1.0, 0.0, (-1.3, 0.4, 0.0)),
    Standing("helmet", "flight_helmet/flight_helmet.gltf", 1.0, 0.0, (0.0, 0.75, 0.0)),
    Standing("boombox", "boombox/boombox.gltf", 32.0, 180.0, (0.95, 1.05, 0.0)),
    Standing("tea", "tea_set_01/tea_set_01.gltf", 1.0, 0.0, (2.0, 0.9, 0.0)),
)


@dataclass(frozen=True)
class CameraPath:
    """A path: its name, what the viewer does, and its frames, `every` seconds apart."""

    name: str
    what: str
    every: float
    frames: tuple[Pose, ...]

    def at(self, seconds: float) -> int:
        """The number of the frame at a time; the last one afterwards."""
        return min(max(int(seconds / self.every), 0), len(self.frames) - 1)


def load_paths(folder: Path = FOLDER) -> tuple[CameraPath, ...]:
    """All recorded paths, by name."""
    return tuple(_loaded(path) for path in sorted(folder.glob("*.json")))


def _loaded(path: Path) -> CameraPath:
    read = json.loads(path.read_text())
    frames = (Pose((x, y, z), yaw, pitch, (gx, gy)) for x, y, z, yaw, pitch, gx, gy in read["frames"])
    return CameraPath(path.stem, read["what"], read["every"], tuple(frames))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name, (what, pose_at) in PATHS.items():
        draw = np.random.default_rng(sum(map(ord, name)))
        frames = [_shaken(pose_at(number * EVERY / SECONDS), draw) for number in range(round(SECONDS / EVERY))]
        rows = ",\n".join(json.dumps([round(value, 3) for value in frame]) for frame in frames)
        text = f'{{"what": {json.dumps(what)}, "every": {EVERY}, "frames": [\n{rows}\n]}}\n'
        (FOLDER / f"{name}.json").write_text(text)
        print(FOLDER / f"{name}.json")


def _shaken(pose: Pose, draw: np.random.Generator) -> list[float]:
    """A head that is held still still moves by millimetres and tenths of a degree, an eye by some of these."""
    eye = np.asarray(pose.eye) + draw.normal(0, 0.001, 3)
    yaw, pitch = pose.yaw + draw.normal(0, 0.1), pose.pitch + draw.normal(0, 0.1)
    return [*map(float, eye), float(yaw), float(pitch), *(float(g + draw.normal(0, 0.3)) for g in pose.gaze)]


def _ease(t: float) -> float:
    return t * t * (3 - 2 * t)


def look_at(eye: tuple[float, float, float], target: tuple[float, float, float]) -> tuple[float, float]:
    """Yaw and pitch of a look from one place to another."""
    x, y, z = (b - a for a, b in zip(eye, target, strict=True))
    return math.degrees(math.atan2(-x, -z)), math.degrees(math.atan2(y, math.hypot(x, z)))


def _round_the_helmet(t: float) -> Pose:
    turn = math.radians(-55 + 110 * _ease(t))
    eye = (0.5 * math.sin(turn), 1.15 + 0.08 * math.sin(4 * t), 0.5 * math.cos(turn))
    yaw, pitch = look_at(eye, (0.0, 1.12, 0.0))
    return Pose(eye, yaw, pitch, (8 * math.sin(9 * t), 6 * math.cos(7 * t)))


def _past_all(t: float) -> Pose:
    x = -1.8 + 4.2 * t
    eye = (x, 1.35, 0.95)
    yaw, pitch = look_at(eye, (x + 0.35, 1.05, 0.0))
    return Pose(eye, yaw, pitch, (6.0 if int(6 * t) % 2 else -6.0, 2.0))


def _stare(_: float) -> Pose:
    eye = (-1.3, 1.15, 0.75)
    yaw, pitch = look_at(eye, (-1.25, 1.05, 0.3))
    return Pose(eye, yaw, pitch, (5.0, 3.0))


def _two_spots(t: float) -> Pose:
    eye = (0.48, 1.3, 0.72)
    return Pose(eye, 0.0, -12.0, (30.0, 4.0) if int(5 * t) % 2 else (-32.0, 2.0))


def _from_far(t: float) -> Pose:
    eye = (0.4 + 0.5 * _ease(t), 1.4 - 0.15 * _ease(t), 4.2 - 3.65 * _ease(t))
    yaw, pitch = look_at(eye, (0.9, 1.05, 0.0))
    return Pose(eye, yaw, pitch, (2 * math.sin(5 * t), 1.0))


PATHS: dict[str, tuple[str, Callable[[float], Pose]]] = {
    "around": ("looks round one mesh close up", _round_the_helmet),
    "past": ("walks past all four", _past_all),
    "stare": ("stares at one spot", _stare),
    "saccades": ("looks to and fro between two meshes", _two_spots),
    "approach": ("comes near from far away", _from_far),
}


if __name__ == "__main__":
    main()
