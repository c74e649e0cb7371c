"""What time does to any surface: lichen that settles on it, water that runs down it."""

from __future__ import annotations

import numpy as np

from texsynth.train.procedural_field import Field, Plane, noise, smoothstep
from texsynth.train.procedural_shapes import cells, jittered


def lichen(plane: Plane, across: int, amount: float) -> tuple[Field, Field]:
    """Round crusts in colonies: coverage 0..1, and a random number 0..1 by crust to choose its colour.

    `across` crusts would fit along the side; `amount` from 0 (hardly any) to 1 (most of the surface's colonies full).
    """
    rng = plane.rng("lichen sites")
    site_x, site_y = jittered(rng, across, across + across % 2, 0.95)
    colony = noise(Plane(64, plane.key), "lichen colonies", 2, 12, 1.3)
    fits = colony[(site_y * 64).astype(int) % 64, (site_x * 64).astype(int) % 64] + rng.normal(0, 0.45, len(site_x))
    grown = np.clip((fits - 1.9 + 1.5 * amount) / 1.2, 0, 1) * rng.uniform(0.35, 1.0, len(site_x))
    x, y = plane.axes()
    c = cells(x, y, site_x, site_y)
    radius = (grown * 0.52 / across).astype(np.float32)[c.ident]
    ragged = noise(plane, "lichen rim", 1.5 * across, slope=1.25)
    gap = np.hypot(c.dx, c.dy) / np.maximum(radius, 1e-6) - 1 + np.float32(0.30) * ragged
    crust = noise(plane, "lichen crust", 4 * across, slope=0.6)
    cover = smoothstep(0.08, -0.10, gap) * np.clip(0.75 + 0.25 * crust, 0, 1)
    alive = ((grown > 0.06)[c.ident] & (c.edge > -1)).astype(np.float32)
    return cover * alive, rng.random(c.count).astype(np.float32)[c.ident]


def streaks(plane: Plane, label: str) -> Field:
    """Traces of running water, 0..1: fine vertical lines gathered in groups."""
    down = np.pi / 2
    broad = noise(plane, f"{label} broad", 3, 40, 1.5, stretch=3.0, angle=down)
    fine = noise(plane, f"{label} fine", 16, 300, 0.9, stretch=26, angle=down)
    return smoothstep(0.5, 2.3, broad) * smoothstep(-0.9, 1.6, fine)
