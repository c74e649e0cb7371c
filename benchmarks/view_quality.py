"""How like the final view a stream's view is, after each of its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from viewer import Floats, Frame, Pose, Scene, Textures, likeness, look, shade

GOOD = 0.95  # SSIM at which a view counts as there
POINTS = 14  # of a curve, besides those by which the first good view is found


@dataclass(frozen=True)
class Arrival:
    """A chunk that came. seconds: since the stream began; sent: bytes of all chunks so far, this one included; pose:
    number of the pose at that time; texture: "SURFACE/MAP"; index: of its chunks."""

    seconds: float
    sent: int
    pose: int
    texture: str
    index: int


@dataclass(frozen=True)
class Curve:
    """points: (bytes, seconds, quality), quality of the view that was seen when so many bytes had come. until: bytes,
    seconds of the first good view; None where there was none."""

    points: tuple[tuple[int, float, float], ...]
    until: tuple[int, float] | None

    def area(self, byte_count: float) -> float:
        """Mean quality over the first so many bytes."""
        sent, _, quality = np.array(self.points).T
        return float(np.interp((np.arange(1000) + 0.5) / 1000 * byte_count, sent, quality).mean())


class Quality:
    """Judges views of a scene from given poses. What a pose shows in the end is drawn once and kept.

    reference: the textures of the final view, where those that are streamed are not the best there are.
    """

    def __init__(
        self, scene: Scene, textures: Textures, poses: Sequence[Pose], reference: Textures | None = None
    ) -> None:
        self._scene, self._textures, self._poses = scene, textures, poses
        self._reference = reference or textures
        self._all = {
            surface: {kind: one.everything() for kind, one in maps.items()} for surface, maps in self._reference.items()
        }
        self._finals: dict[int, tuple[Frame, Floats]] = {}

    def final(self, pose: int) -> tuple[Frame, Floats]:
        """What a pose shows with all chunks there."""
        if pose not in self._finals:
            frame = look(self._scene, self._poses[pose])
            self._finals[pose] = frame, shade(frame, self._scene, self._reference, self._all)
        return self._finals[pose]

    def picture(self, pose: int, arrivals: Sequence[Arrival]) -> Floats:
        """What a pose shows of these chunks."""
        held: dict[str, list[int]] = {}
        for arrival in arrivals:
            held.setdefault(arrival.texture, []).append(arrival.index)
        there = {
            surface: {
                kind: one.residency(held[f"{surface}/{kind}"])
                for kind, one in maps.items()
                if f"{surface}/{kind}" in held
            }
            for surface, maps in self._textures.items()
        }
        return shade(self.final(pose)[0], self._scene, self._textures, there)

    def of(self, pose: int, arrivals: Sequence[Arrival]) -> float:
        """SSIM of the view of these chunks against the final one."""
        frame, final = self.final(pose)
        return likeness(self.picture(pose, arrivals), final, frame)

    def curve(self, arrivals: Sequence[Arrival]) -> Curve:
        """The whole stream at byte counts that grow by a factor, and where the view first was good."""
        sent = np.array([arrival.sent for arrival in arrivals])
        steps = np.unique(np.searchsorted(sent, np.geomspace(sent[0], sent[-1], POINTS)))
        found = {-1: self.of(arrivals[0].pose, [])} | {int(n): self._after(arrivals, int(n)) for n in steps}
        good = next((n for n in sorted(found) if found[n] >= GOOD), None)
        if good is not None and good > 0:
            bad = max(n for n in found if n < good)
            while good - bad > 1:
                middle = (good + bad) // 2
                found[middle] = self._after(arrivals, middle)
                good, bad = (middle, bad) if found[middle] >= GOOD else (good, middle)
        points = [
            (0, 0.0, quality) if n < 0 else (*_when(arrivals[n]), quality) for n, quality in sorted(found.items())
        ]
        return Curve(tuple(points), None if good is None else _when(arrivals[max(good, 0)]))

    def _after(self, arrivals: Sequence[Arrival], number: int) -> float:
        return self.of(arrivals[number].pose, arrivals[: number + 1])


def _when(arrival: Arrival) -> tuple[int, float]:
    return arrival.sent, arrival.seconds
