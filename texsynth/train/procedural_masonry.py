"""Procedural masonry and mineral surfaces: brick, tiles, rubble, cobbles, concrete, plaster, marble, rock."""

# A material is a list of steps that share most of their fields; cut up, each would read worse.
# ruff: noqa: PLR0915

from __future__ import annotations

import numpy as np

from texsynth.train.procedural_field import (
    Field,
    Ids,
    Plane,
    blur,
    cavity,
    mix,
    noise,
    ramp,
    rgb,
    sample,
    shuffled,
    smoothstep,
    tints,
    uniform,
)
from texsynth.train.procedural_shapes import (
    Blocks,
    add_strokes,
    cells,
    courses,
    jittered,
    random_lines,
    rounded_box,
    scatter,
)
from texsynth.train.procedural_surface import Surface
from texsynth.train.procedural_wear import lichen, streaks


def _even(rows: int) -> list[float]:
    return [r / rows for r in range(rows)]


def _wobble(plane: Plane, amount: float, low: float = 3.0, slope: float = 1.8) -> tuple[Field, Field]:
    """Texel coordinates moved by noise, so that laid rows are straight the way a mason lays them."""
    x, y = plane.axes()
    return (
        x + np.float32(amount) * noise(plane, "wobble x", low, 40, slope),
        y + np.float32(amount) * noise(plane, "wobble y", low, 40, slope),
    )


def _bond(rng: np.random.Generator) -> tuple[list[float], list[list[float]]]:
    """Course tops and block edges of one of the usual bonds, about 225 x 75 mm a brick on 0.9 to 1.2 m."""
    per_row = int(rng.integers(4, 6))
    bond = str(rng.choice(["running", "running", "flemish", "english", "third"]))
    rows = 12 if per_row == 4 else int(rng.choice([14, 16]))
    if bond == "third":
        rows = {12: 12, 14: 15, 16: 15}[rows]
    edges: list[list[float]] = []
    for r in range(rows):
        if bond == "flemish":
            step = 1 / per_row
            pair = [k * step + (0.5 * step if r % 2 else 0) for k in range(per_row)]
            row = pair + [e + step * 2 / 3 for e in pair]
        elif bond == "english" and r % 2:
            row = [(k + 0.5) / (2 * per_row) for k in range(2 * per_row)]
        else:
            shift = {"third": (r % 3) / 3, "english": 0.0}.get(bond, 0.5 * (r % 2))
            row = [(k + shift) / per_row for k in range(per_row)]
        edges.append([e + rng.normal(0, 0.0012) for e in row])
    return _even(rows), edges


BRICKS = (
    rgb("8e4a36", "a35b41", "7b3b2e", "96523d", "b06a4c", "6a342b"),
    rgb("a8644a", "b87756", "9a5540", "c08660", "8a4a3a"),
    rgb("7d4438", "5b3630", "6d3a30", "8a4d3c", "4b302d"),
    rgb("b59a78", "a88b68", "c4ab88", "9b7e5e", "bfa27a"),
    rgb("8b7d72", "7a6c62", "9a8c80", "6b5e56", "85705f"),
)
MORTARS = rgb("a39c90", "b8b0a2", "8d877d", "c2b9a6")


def brick(plane: Plane) -> Surface:
    """A brick wall in running, third, Flemish or English bond, 1 m a side."""
    rng = plane.rng("brick")
    tops, edges = _bond(rng)
    x, y = _wobble(plane, 0.0006)
    b = courses(x, y, tops, edges)
    n = b.count
    joint = rng.uniform(0.0042, 0.006)
    age = rng.uniform(0.2, 1.0)

    # Each brick sits a little askew: turned, shrunk, sunk and tilted.
    turn = rng.normal(0, 0.006, n).astype(np.float32)[b.ident]
    shrink = (joint * rng.uniform(0.8, 1.25, n)).astype(np.float32)[b.ident]
    dx, dy = b.dx + turn * b.dy, b.dy - turn * b.dx
    chips = noise(plane, "chips", 14, 90, 1.3)
    ragged = noise(plane, "ragged", 30, slope=1.2)
    distance = rounded_box(dx, dy, b.half_width - shrink, b.half_height - shrink, 0.004)
    distance += np.float32(0.0007) * ragged
    distance += np.float32(0.006 * (0.4 + age)) * np.maximum(chips - 1.15, 0)
    inside = -distance
    face = smoothstep(-0.0006, 0.0034, inside)

    grain = shuffled(plane, "grain shift", noise(plane, "grain", 40, slope=0.9), b.ident)
    lumps = shuffled(plane, "lump shift", noise(plane, "lumps", 6, 40, 1.5, stretch=2.0), b.ident)
    pits = np.maximum(shuffled(plane, "pit shift", noise(plane, "pits", 50, 180, 0.6), b.ident) - 1.5, 0)
    folds = noise(plane, "folds", 8, 60, 1.2, stretch=3.5)
    creases = np.exp(-np.square(shuffled(plane, "fold shift", folds, b.ident) * 9)) * smoothstep(0.2, 1.2, lumps)
    tilt_x, tilt_y = (rng.normal(0, s, n).astype(np.float32)[b.ident] for s in (0.008, 0.014))
    sunk = rng.normal(0, 0.0008, n).astype(np.float32)[b.ident]
    body = sunk + tilt_x * dx + tilt_y * dy + np.float32(0.00042) * lumps + np.float32(0.00016) * grain
    body -= np.float32(0.0011) * pits + np.float32(0.0006) * creases

    sand = noise(plane, "sand", 60, slope=0.5)
    trowel = noise(plane, "trowel", 8, 60, 1.4)
    depth = rng.uniform(0.0055, 0.0085)
    mortar = -depth + np.float32(0.0005) * trowel + np.float32(0.00028) * sand
    mortar += np.float32(0.0022) * np.square(np.clip(1 - (distance + 0.001) / 0.005, 0, 1))  # it clings to the brick
    height = mix(mortar, body, face)

    recess = cavity(height, 0.003, 0.012)
    palette = BRICKS[int(rng.integers(0, len(BRICKS)))]
    clay = tints(rng, n, palette, 0.075, 0.009)[b.ident]
    # The kiln leaves a smudge: each brick shades towards burnt at one end, some are burnt all over.
    end = rng.normal(0, 1, (3, n)).astype(np.float32)[:, b.ident]
    fire = end[0] * dx / b.half_width * 0.5 + end[1] * 0.35 + lumps * 0.35 - 0.55
    clay = mix(clay, clay * rgb("6f6467"), 0.85 * smoothstep(0, 1.6, fire))
    clay = clay * (1 + 0.05 * lumps + 0.045 * grain + 0.10 * smoothstep(0.4, 1.6, -end[2]))[..., None]
    clay = mix(clay, clay * 0.55, np.clip(pits * 0.9 + 0.5 * creases, 0, 0.8))
    flecks = shuffled(plane, "fleck shift", noise(plane, "flecks", 90, slope=0.4), b.ident)
    clay = mix(clay, rgb("c9b79e"), 0.4 * smoothstep(2.0, 2.8, flecks))
    clay = mix(clay, rgb("3a2c28"), 0.5 * smoothstep(1.9, 2.6, -flecks))
    lime = smoothstep(0.6, 2.0, noise(plane, "lime", 3, 60, 1.3) + 1.2 * np.exp(-np.maximum(inside, 0) / 0.004))
    clay = mix(clay, rgb("cfc6b8"), np.float32(0.32 * age) * lime)
    worn = smoothstep(0.0004, 0.002, -recess)
    clay = mix(clay, np.clip(clay * 1.18 + 0.03, 0, 1), 0.5 * worn)

    mortar_tone = MORTARS[int(rng.integers(0, len(MORTARS)))]
    lime_sand = mortar_tone * (1 + 0.07 * sand + 0.05 * trowel)[..., None]
    lime_sand = mix(lime_sand, rgb("6f675c"), 0.45 * smoothstep(1.4, 2.4, sand))
    colour = mix(lime_sand, clay, smoothstep(0.15, 0.5, face))
    soot = noise(plane, "soot", 1, 30, 1.6)
    dirt = np.clip(smoothstep(0.0005, 0.005, recess) * (0.35 + 0.25 * soot), 0, 0.75) * np.float32(0.5 + 0.5 * age)
    colour = mix(colour, rgb("39312a"), dirt)
    colour = colour * (1 - 0.05 * np.float32(age) * np.maximum(soot, -0.5))[..., None]
    rough = mix(0.93 + 0.03 * sand, 0.80 + 0.035 * grain + 0.03 * lumps - 0.06 * smoothstep(0, 1.6, fire), face)
    return Surface(colour, height, rough + 0.06 * dirt)


ROOFS = {
    "plain": rgb("8f4f38", "a05c40", "7c4232", "6a3d30", "aa6a4a", "865040"),
    "beaver": rgb("a45a3c", "93503a", "b56c48", "7d4434", "9c6247"),
    "slate": rgb("4a5058", "565a60", "3f464e", "5d5c5f", "4d4f5a", "63666a"),
    "pantile": rgb("b0603c", "a4573a", "bc7148", "93503a", "c27c54"),
}


def roof_tile(plane: Plane) -> Surface:
    """Overlapping roof tiles: plain, beaver-tail or pan tiles of clay, or slates; 1.2 m a side."""
    rng = plane.rng("roof")
    style = str(rng.choice(list(ROOFS)))
    rows = int(rng.choice([6, 8] if style == "pantile" else [8, 10]))
    columns = {"plain": 7, "beaver": 8, "slate": 6, "pantile": 6}[style]
    thick = {"plain": 0.012, "beaver": 0.012, "slate": 0.006, "pantile": 0.013}[style]
    count = rows * columns
    x, y = _wobble(plane, 0.0007)
    run = np.broadcast_to(y * rows, (plane.size, plane.size))
    row = np.floor(run).astype(np.int32)
    along = (run - row).astype(np.float32)  # 0 at the upper edge of the exposed part, 1 at the lower
    push, drop, turn = (rng.normal(0, s, count).astype(np.float32) for s in (0.0012, 0.02, 0.006))
    ragged = noise(plane, "ragged", 20, slope=1.3)
    chips = noise(plane, "chips", 12, 80, 1.3)
    corner = {"plain": 0.006, "beaver": 0.42 / columns, "slate": 0.003, "pantile": 0.01}[style]
    half = np.float32(0.5 / columns - {"plain": 0.0014, "beaver": 0.0016, "slate": 0.0013, "pantile": 0.0004}[style])

    def layer(below: int) -> tuple[Field, Field, Field, Field]:
        """The tiles of this row (0) or those of the next one, which show in gaps (1): distance, id, dx, dy."""
        r = (row + below) % rows
        shift = 0.5 * (r % 2) if style != "pantile" else 0.0
        t = (x * columns - shift) % columns
        column = np.floor(t).astype(np.int32) % columns
        ident = (r * columns + column).astype(np.int32)
        dy = (along - below - 1 - drop[ident]) / rows  # 0 at the lower edge, negative above it
        dx = ((t - np.floor(t) - 0.5) / columns).astype(np.float32) + push[ident] + turn[ident] * dy
        reach = np.float32(1.2 / rows)
        distance = rounded_box(dx, dy + reach, np.full_like(dx, half), np.full_like(dx, reach), corner)
        distance += np.float32(0.0006 if style != "slate" else 0.0012) * ragged
        distance += np.float32(0.005) * np.maximum(chips - 1.35, 0)
        return distance, ident, dx, dy

    upper, lower = layer(0), layer(1)
    on_top = upper[0] < 0
    ident = np.where(on_top, upper[1], lower[1])
    distance, dx, dy = (np.where(on_top, upper[k], lower[k]) for k in (0, 2, 3))
    edge = smoothstep(0, 0.0035 if style != "slate" else 0.0018, -distance)

    grain = shuffled(plane, "grain shift", noise(plane, "grain", 50, slope=0.9), ident)
    lumps = shuffled(plane, "lump shift", noise(plane, "lumps", 5, 60, 1.6), ident)
    lift = rng.normal(0, 0.0012, count).astype(np.float32)[ident]
    skew = rng.normal(0, 0.012, count).astype(np.float32)[ident]
    # A tile rises by its thickness over one exposure, then the next row starts underneath.
    height = np.float32(thick) * (1 + dy * rows) + lift + skew * dx
    height -= np.float32(0.8 * thick) * (1 - edge)
    if style == "pantile":
        phase = dx * columns
        wave = np.where(phase < 0.12, -np.cos((phase + 0.5) / 0.62 * np.pi), np.cos((phase - 0.12) / 0.38 * np.pi))
        height += np.float32(0.016) * wave
    if style == "slate":
        cleave = shuffled(plane, "cleave shift", noise(plane, "cleave", 4, slope=1.8, stretch=2.0, angle=1.1), ident)
        steps = np.floor(cleave * 1.6)
        height += np.float32(0.0009) * (steps + smoothstep(0.8, 1.0, cleave * 1.6 - steps))
        height += np.float32(0.0004) * noise(plane, "riven", 20, slope=1.2, stretch=2.5, angle=1.1)
    else:
        height += np.float32(0.0006) * lumps + np.float32(0.00014) * grain
        pits = np.maximum(noise(plane, "pits", 60, 160, 0.6) - 1.7, 0)
        height -= np.float32(0.0008) * pits

    recess = cavity(height, 0.004, 0.015)
    colour = tints(rng, count, ROOFS[style], 0.10, 0.010)[ident]
    colour = colour * (1 + 0.06 * lumps + 0.05 * grain)[..., None]
    colour = mix(colour, colour * rgb("8a8078"), 0.5 * smoothstep(0.4, 2.2, lumps + noise(plane, "age", 2, 40, 1.4)))
    sheltered = smoothstep(0.75, 0.0, 1 + dy * rows)
    colour = mix(colour, colour * 0.72, 0.6 * sheltered)
    growth = noise(plane, "growth", 2, 60, 1.4)
    crust, species = lichen(plane, 34, 0.35)
    crust = crust * smoothstep(0.0012, 0.0, recess)
    colour = mix(colour, ramp(species, rgb("b5b19c", "a9aa92", "c3a85c")), 0.8 * crust)
    height = height + np.float32(0.0006) * crust
    moss_wish = growth + 260 * np.maximum(recess, 0) + 0.5 * grain
    moss = smoothstep(2.1, 2.9, moss_wish) * np.float32(rng.choice([0.3, 1.0, 1.0]))
    tuft = noise(plane, "tuft", 60, slope=0.7)
    height = height + moss * (np.float32(0.0022) + np.float32(0.0007) * tuft)
    colour = mix(colour, ramp(uniform(tuft + 0.5 * growth), rgb("2e3318", "4f5526", "747536")), moss)
    dirt = smoothstep(0.0008, 0.008, recess) * (1 - 0.6 * moss)
    colour = mix(colour, rgb("2b2522"), 0.75 * dirt)
    rough = np.float32(0.62 if style == "slate" else 0.82) + 0.05 * grain + 0.04 * lumps
    rough = mix(rough, 0.95, np.maximum(np.maximum(moss, crust), dirt))
    return Surface(colour, height, rough)


FLOORS = {
    "terracotta": rgb("a65f41", "b56e4d", "96533a", "bf7d59", "a86a50"),
    "glazed": rgb("2f5d62", "27535c", "3a6a68", "305a66"),
    "white": rgb("d8d4ca", "d2cdc2", "dcd9d2", "cfcac0"),
    "slate": rgb("55585a", "626463", "4a4f53", "6d6a66", "5c6360"),
    "encaustic": rgb("cfc4ae", "c9bda6", "d4cab6"),
}


def floor_tile(plane: Plane) -> Surface:
    """Floor tiles 1.2 m a side: square, staggered or hexagonal; terracotta, glazed, slate or patterned."""
    rng = plane.rng("floor")
    finish = str(rng.choice(["terracotta", "glazed", "white", "slate", "encaustic", "encaustic"]))
    layout = "square" if finish == "encaustic" else str(rng.choice(["square", "running", "hex"]))
    across = int(rng.integers(5, 8))
    x, y = _wobble(plane, 0.0003)
    joint = np.float32(rng.uniform(0.0022, 0.0038))
    ragged = noise(plane, "ragged", 30, slope=1.2)
    chips = noise(plane, "chips", 16, 120, 1.2)
    if layout == "hex":
        site_x, site_y = jittered(rng, 7, 8, 0.02)
        h = cells(x, y, site_x, site_y)
        ident, dx, dy, count, half = h.ident, h.dx, h.dy, h.count, 0.5 / 7
        inside = h.edge - joint
    else:
        rows = 2 * across if layout == "running" else across
        edges = [
            [(k + (0.5 * (r % 2) if layout == "running" else 0)) / across for k in range(across)] for r in range(rows)
        ]
        b: Blocks = courses(x, y, _even(rows), edges)
        ident, count, half = b.ident, b.count, 0.5 / across
        turn = rng.normal(0, 0.003, count).astype(np.float32)[ident]
        dx, dy = b.dx + turn * b.dy, b.dy - turn * b.dx
        inside = -rounded_box(dx, dy, b.half_width - joint, b.half_height - joint, 0.003)
    soft = finish in ("terracotta", "slate")
    inside = inside - np.float32(0.0009 if soft else 0.0002) * ragged
    inside = inside - np.float32(0.006 if soft else 0.004) * np.maximum(chips - (1.4 if soft else 1.9), 0)
    bevel = 0.005 if finish == "terracotta" else 0.003
    rim = np.clip(1 - inside / np.float32(bevel), 0, 1)
    face = smoothstep(-0.0006, 0.0010, inside)

    grain = shuffled(plane, "grain shift", noise(plane, "grain", 40, slope=1.0), ident)
    lumps = shuffled(plane, "lump shift", noise(plane, "lumps", 3, 50, 1.7), ident)
    tilt = rng.normal(0, 0.004, (2, count)).astype(np.float32)[:, ident]
    body = rng.normal(0, 0.0004, count).astype(np.float32)[ident] + tilt[0] * dx + tilt[1] * dy
    body -= np.float32(0.0022) * rim * rim
    pits = np.maximum(shuffled(plane, "pit shift", noise(plane, "pits", 50, 160, 0.7), ident) - 1.75, 0)
    if finish == "slate":
        cleave = shuffled(plane, "cleave shift", noise(plane, "cleave", 2, slope=1.8, stretch=1.5, angle=0.6), ident)
        steps = np.floor(cleave * 1.8)
        body += np.float32(0.0010) * (steps + smoothstep(0.7, 1.0, cleave * 1.8 - steps))
        body += np.float32(0.0005) * lumps + np.float32(0.0002) * grain
    elif finish == "terracotta":
        body += np.float32(0.0008) * lumps + np.float32(0.00012) * grain - np.float32(0.0010) * pits
    else:
        body += np.float32(0.00028) * lumps - np.float32(0.0006) * np.maximum(pits - 0.7, 0)
    sand = noise(plane, "sand", 70, slope=0.5)
    grout_height = -np.float32(0.0030) + np.float32(0.0003) * noise(plane, "grout", 10, 80, 1.2)
    height = mix(grout_height + np.float32(0.00016) * sand, body, face)

    wear = noise(plane, "wear", 1.5, 60, 1.5)
    colour = tints(rng, count, FLOORS[finish], 0.05, 0.008)[ident]
    gloss = {"terracotta": 0.62, "glazed": 0.16, "white": 0.2, "slate": 0.55, "encaustic": 0.42}[finish]
    if finish == "encaustic":
        colour = mix(colour, *_encaustic(plane, dx / np.float32(half), dy / np.float32(half)))
    if finish in ("glazed", "white"):
        pool = smoothstep(0.010, 0.0, inside) * 0.5 + 0.16 * lumps  # glaze thins at rims and pools in hollows
        colour = mix(colour, colour * 0.6 if finish == "glazed" else colour * rgb("c6beb0"), np.clip(pool, 0, 1))
        craze_x, craze_y = jittered(plane.rng("craze"), 60, 60, 0.95)
        warp = np.float32(0.004)
        craze = cells(x + warp * noise(plane, "cx", 6, 60), y + warp * noise(plane, "cy", 6, 60), craze_x, craze_y).edge
        crazed = np.exp(-np.square(craze / 0.00055)) * smoothstep(0.2, 1.4, wear) * face
        colour = mix(colour, rgb("4b4036"), 0.4 * crazed)
    else:
        colour = colour * (1 + 0.06 * lumps + 0.04 * grain)[..., None]
        colour = mix(colour, colour * 0.7, 0.7 * smoothstep(0.8, 2.4, lumps - wear))
        colour = mix(colour, rgb("d9c6ae"), 0.28 * smoothstep(1.0, 2.2, wear + 0.4 * lumps))
    broken = smoothstep(0.1, 0.35, chips - (1.4 if soft else 1.9)) * smoothstep(0.006, 0.001, inside)
    biscuit = {"glazed": rgb("b59878"), "white": rgb("b8a88e")}.get(finish, rgb("a4988a"))
    colour = mix(colour, biscuit, 0.7 * broken)
    colour = mix(colour, colour * 0.5, np.clip(pits - (0.0 if soft else 0.45), 0, 0.7))
    grout_tone = rgb("8f8779", "6b655c", "a79f92")[int(rng.integers(0, 3))]
    grout = grout_tone * (1 + 0.08 * sand + 0.12 * wear)[..., None]
    colour = mix(grout, colour, face)
    recess = smoothstep(0.0002, 0.0022, cavity(height, 0.004, 0.012))
    colour = mix(colour, rgb("3a332b"), np.clip(recess * (0.45 + 0.25 * wear), 0, 0.8))
    scratch = np.zeros_like(height)
    add_strokes(scratch, random_lines(plane.rng("scratch"), 260, (0.01, 0.2), (0.0002, 0.0006), (0.3, 1.0), bend=0.004))
    height = height - np.float32(0.00010) * scratch * face
    tile_rough = gloss + 0.05 * np.maximum(wear, -1) * (1.4 - gloss) + 0.03 * grain * (soft + 0.3)
    tile_rough = tile_rough + 0.10 * np.clip(scratch, 0, 1) + 0.35 * broken + rng.normal(0, 0.03, count)[ident]
    rough = mix(0.9, tile_rough.astype(np.float32), face)
    return Surface(colour, height, rough + 0.25 * recess * (1 - rough))


def _encaustic(plane: Plane, s: Field, t: Field) -> tuple[Field, Field]:
    """An inlaid pattern with the symmetry of the square: colours and their coverage; s, t in -1..1 over a tile."""
    rng = plane.rng("encaustic")
    palette = [
        rgb("2e3d4f", "8c4a36", "b48a4e"),
        rgb("3b3836", "7c7468", "9c5a40"),
        rgb("395347", "a8593f", "c59a55"),
        rgb("4a2f2c", "39505e", "b59b6a"),
    ][int(rng.integers(0, 4))]
    bleed = np.float32(0.012) * noise(plane, "bleed", 20, 200, 1.2)
    a, b = np.abs(s), np.abs(t)
    r, corner = np.hypot(a, b), np.hypot(1 - a, 1 - b)
    angle = np.arctan2(t, s)
    lobes = int(rng.choice([4, 8]))
    star = r - (0.34 + 0.13 * np.cos(lobes * angle))
    ring = np.abs(r - 0.62) - 0.05
    quarter = np.abs(corner - rng.uniform(0.5, 0.62)) - 0.07
    dot = corner - 0.2
    diamond = np.abs(a + b - 1.0) - 0.05
    border = 0.07 - np.minimum(1 - a, 1 - b)
    shapes = [(star, 0), (quarter, 1), (dot, 0), (ring if rng.random() < 0.5 else diamond, 2)]
    if rng.random() < 0.4:
        shapes.append((np.where(border > 0, -border, 0.05).astype(np.float32), 0))
    colours = np.zeros((*s.shape, 3), np.float32) + palette[0]
    cover = np.zeros_like(s)
    for shape, tone in shapes:
        here = smoothstep(0.012, -0.012, shape + bleed)
        colours = mix(colours, palette[tone], here)
        cover = np.maximum(cover, here)
    mottled = colours * (1 + 0.05 * noise(plane, "inlay", 20, slope=1.0))[..., None]
    return mottled, cover * np.float32(0.92)


RUBBLE = (
    rgb("8d8474", "7c7365", "a09684", "6c655b", "948a7c", "857a68"),
    rgb("a8977a", "bba98a", "96866b", "ae9a78", "8a7b64", "c2b396"),
    rgb("74757a", "62656b", "86868a", "585b60", "7b766f"),
    rgb("8f7a66", "7b6656", "a08a74", "6e6259", "96806a", "84604c"),
)


def _hewn(plane: Plane, ident: Ids, dx: Field, dy: Field, count: int) -> Field:
    """A broken stone face for every element: a few tilted planes that meet in ridges, about 1 deep per unit length."""
    rng = plane.rng("hewn")
    lowest = np.full(ident.shape, 1e9, np.float32)
    for _ in range(4):
        slope = rng.normal(0, 0.16, (2, count)).astype(np.float32)
        offset = rng.uniform(0, 0.006, count).astype(np.float32)
        lowest = np.minimum(lowest, offset[ident] + slope[0][ident] * dx + slope[1][ident] * dy)
    return lowest


def stone_wall(plane: Plane) -> Surface:
    """Rubble masonry, 1.6 m a side: stones of very different sizes, faces broken by hand, bedded in lime mortar."""
    rng = plane.rng("rubble")
    stretch = rng.uniform(1.35, 1.9)
    site_x, site_y, radius = scatter(rng, rng.uniform(0.07, 0.088), 0.016, 5000, stretch, 2.2)
    x, y = plane.axes()
    wx = x + np.float32(0.006) * noise(plane, "warp x", 5, 60, 1.7)
    wy = y + np.float32(0.006) * noise(plane, "warp y", 5, 60, 1.7)
    c = cells(wx, wy, site_x, site_y, radius * 0.95, stretch, 0.0035)
    joint = np.float32(rng.uniform(0.003, 0.006)) + np.float32(0.002) * noise(plane, "joint", 6, 40, 1.4)
    ragged = noise(plane, "ragged", 16, slope=1.35)
    inside = c.edge - np.maximum(joint, 0.0015) - np.float32(0.0012) * ragged
    size = radius.astype(np.float32)[c.ident]
    face = smoothstep(-0.0006, 0.0020, inside)
    shoulder = np.clip(inside / (0.28 * size + 0.003), 0, 1)
    round_off = np.sqrt(1 - np.square(1 - shoulder))

    coarse = shuffled(plane, "coarse shift", noise(plane, "coarse", 6, 120, 1.7), c.ident)
    layer_angle = 0.12
    beds = shuffled(plane, "bed shift", noise(plane, "beds", 10, slope=1.5, stretch=3.0, angle=layer_angle), c.ident)
    grain = noise(plane, "grain", 50, slope=0.9)
    broken = _hewn(plane, c.ident, c.dx, c.dy, c.count)
    stick_out = rng.normal(0, 0.003, c.count).astype(np.float32)[c.ident]
    body = np.float32(0.014) * round_off * (0.6 + 6 * size) + broken + stick_out
    body += np.float32(0.0016) * coarse + np.float32(0.0010) * beds + np.float32(0.00028) * grain
    sand = noise(plane, "sand", 50, slope=0.5)
    trowel = noise(plane, "trowel", 6, 60, 1.5)
    mortar = np.float32(0.001) + np.float32(0.0012) * trowel + np.float32(0.0003) * sand
    grit = np.maximum(noise(plane, "grit", 60, 140, 0.4) - 1.5, 0)
    mortar = mortar + np.float32(0.0008) * grit
    height = mix(mortar, np.maximum(body, mortar), face)
    recess = cavity(height, 0.004, 0.016)

    palette = RUBBLE[int(rng.integers(0, len(RUBBLE)))]
    stone = tints(rng, c.count, palette, 0.10, 0.012)[c.ident]
    stone = stone * (1 + 0.09 * coarse + 0.05 * grain + 0.06 * beds)[..., None]
    rust = smoothstep(0.7, 2.2, noise(plane, "rust", 3, 60, 1.5) + 0.5 * beds)
    stone = mix(stone, stone * rgb("d8a878"), 0.6 * rust)
    specks = shuffled(plane, "speck shift", noise(plane, "specks", 90, slope=0.4), c.ident)
    stone = mix(stone, stone * 0.55, 0.6 * smoothstep(1.7, 2.5, specks))
    stone = mix(stone, np.clip(stone * 1.3 + 0.05, 0, 1), 0.5 * smoothstep(1.7, 2.5, -specks))
    stone = mix(stone, np.clip(stone * 1.2 + 0.04, 0, 1), 0.6 * smoothstep(0.0008, 0.004, -recess))
    crust, species = lichen(plane, 40, 0.3)
    stone = mix(stone, ramp(species, rgb("c3c0ae", "b0b39c", "c9b884")), 0.65 * crust)
    lime = MORTARS[int(rng.integers(0, len(MORTARS)))] * (1 + 0.07 * sand + 0.06 * trowel)[..., None]
    lime = mix(lime, rgb("7a7064"), 0.6 * np.clip(grit, 0, 1))
    colour = mix(lime, stone, smoothstep(0.1, 0.6, face))
    damp = noise(plane, "damp", 1, 20, 1.8)
    dirt = np.clip(smoothstep(0.001, 0.010, recess) * (0.55 + 0.2 * damp), 0, 0.85)
    colour = mix(colour, rgb("2f2a24"), dirt)
    rough = mix(0.94, 0.80 + 0.04 * grain + 0.05 * coarse, face) + 0.08 * crust
    return Surface(colour, height, rough)


COBBLES = (
    rgb("77736d", "68655f", "86817a", "5c5a57", "8e867b", "716a62"),
    rgb("6d6f74", "5d6067", "7e7f82", "50535a", "757069"),
    rgb("8c7b69", "7a6b5c", "9a8a78", "6b6057", "84705c"),
)


def cobble(plane: Plane) -> Surface:
    """Cobblestones, 1.4 m a side: rounded field stones or squared setts in courses, earth and moss in the joints."""
    rng = plane.rng("cobble")
    setts = bool(rng.random() < 0.5)
    x, y = _wobble(plane, 0.0035, 3, 1.6)
    ragged = noise(plane, "ragged", 14, slope=1.5)
    if setts:
        rows = int(rng.choice([10, 12]))
        edges = []
        for _ in range(rows):
            widths = rng.uniform(0.75, 1.45, int(rng.integers(rows - 2, rows)))
            edges.append(list(rng.random() + np.cumsum(widths / widths.sum())))
        tops = np.cumsum(rng.uniform(0.9, 1.1, rows))
        tops = (tops - tops[0]) / (tops[-1] - tops[0] + 1)
        b = courses(x, y, list(tops), edges)
        ident, dx, dy, count = b.ident, b.dx, b.dy, b.count
        turn = rng.normal(0, 0.03, count).astype(np.float32)[ident]
        dx, dy = dx + turn * dy, dy - turn * dx
        gap = rng.uniform(0.003, 0.007, count).astype(np.float32)[ident]
        inside = -rounded_box(dx, dy, b.half_width - gap, b.half_height - gap, 0.018)
        reach = np.minimum(b.half_width, b.half_height) - gap
    else:
        columns = int(rng.integers(11, 15))
        site_x, site_y = jittered(rng, columns, columns + columns % 2, 0.55)
        radius = rng.uniform(0.0, 0.03, len(site_x))
        c = cells(x, y, site_x, site_y, radius, 1.0, 0.006)
        ident, dx, dy, count = c.ident, c.dx, c.dy, c.count
        inside = c.edge - np.float32(0.003)
        reach = np.full_like(inside, 0.40 / columns)
    inside = inside - np.float32(0.0011) * ragged
    bulge = np.clip(inside / reach, 0, 1)
    power = rng.uniform(0.75, 0.95) if setts else 1.0
    dome = np.sqrt(np.maximum(1 - np.square(1 - bulge) ** np.float32(1 / power), 0))
    coarse = shuffled(plane, "coarse shift", noise(plane, "coarse", 8, 140, 1.7), ident)
    grain = noise(plane, "grain", 60, slope=0.8)
    lift = rng.normal(0, 0.002, count).astype(np.float32)[ident]
    tilt = rng.normal(0, 0.05, (2, count)).astype(np.float32)[:, ident]
    stone_height = np.float32(0.026 if setts else 0.032) * dome + lift + tilt[0] * dx + tilt[1] * dy
    stone_height += np.float32(0.0014) * coarse + np.float32(0.00022) * grain
    stone_height += 0.4 * _hewn(plane, ident, dx, dy, count)
    fill = noise(plane, "fill", 2, 60, 1.6)
    crumbs = noise(plane, "crumbs", 50, slope=0.45)
    soil = np.float32(rng.uniform(0.007, 0.012)) + np.float32(0.0022) * fill + np.float32(0.0007) * crumbs
    moss_patch = smoothstep(0.1, 1.2, noise(plane, "moss", 1.5, 30, 1.6)) * np.float32(rng.choice([0.0, 0.8, 1.0]))
    tuft = noise(plane, "tuft", 50, slope=0.7)
    soil = soil + moss_patch * (np.float32(0.003) + np.float32(0.0011) * tuft)
    bare = smoothstep(-0.0012, 0.0016, stone_height - soil)
    height = np.maximum(stone_height, soil)
    recess = cavity(height, 0.004, 0.02)

    stone = tints(rng, count, COBBLES[int(rng.integers(0, len(COBBLES)))], 0.11, 0.012)[ident]
    specks = shuffled(plane, "speck shift", noise(plane, "specks", 100, slope=0.3), ident)
    stone = stone * (1 + 0.08 * coarse + 0.07 * specks)[..., None]
    vein = shuffled(plane, "vein shift", noise(plane, "vein", 4, 80, 1.8, stretch=2.0, angle=0.7), ident)
    veined = np.exp(-np.square(vein * 14)) * (rng.random(count) < 0.25).astype(np.float32)[ident]
    stone = mix(stone, rgb("b8b2a6"), 0.5 * veined)
    polish = smoothstep(0.35, 0.95, dome)
    stone = mix(stone * 0.72, stone * 1.06, polish)
    earth = ramp(uniform(crumbs + 0.5 * fill), rgb("33291f", "4d4031", "6b5b47", "8a7a64"))
    green = ramp(uniform(tuft + 0.3 * fill), rgb("29330f", "46521c", "6c7430"))
    earth = mix(earth, green, smoothstep(0.15, 0.7, moss_patch))
    colour = mix(earth, stone, bare)
    dust = smoothstep(0.006, 0.0, stone_height - soil) * bare
    colour = mix(colour, rgb("55483a"), 0.5 * dust)
    colour = mix(colour, colour * 0.5, np.clip(smoothstep(0.002, 0.014, recess), 0, 0.8))
    rough = mix(0.95, 0.78 - 0.26 * polish + 0.04 * grain + 0.04 * coarse, bare)
    return Surface(colour, height, rough)


def concrete(plane: Plane) -> Surface:
    """Cast concrete, 2 m a side: air holes, cloudy laitance, hairline cracks, sometimes the joints of the formwork."""
    rng = plane.rng("concrete")
    x, y = plane.axes()
    clouds = noise(plane, "clouds", 1, 60, 1.7)
    mottle = noise(plane, "mottle", 6, slope=1.35)
    grain = noise(plane, "grain", 60, slope=0.6)
    height = np.float32(0.0009) * noise(plane, "swell", 1, 30, 2.2) + np.float32(0.00035) * mottle
    height += np.float32(0.00010) * grain

    hole_x, hole_y, hole_r = scatter(rng, 0.0075, 0.0011, 5000, skew=9)
    some = rng.random(len(hole_x)) < rng.uniform(0.35, 0.7)
    near = cells(
        x + np.float32(0.0005) * noise(plane, "hx", 30, 200, 1.2), y + 0 * x, hole_x, hole_y, hole_r, rounding=0.0
    )
    gap = np.hypot(near.dx, near.dy) - (hole_r * 0.55 * some).astype(np.float32)[near.ident]
    hole = smoothstep(0.0, -0.0012, gap)
    deep = np.clip(-gap / 0.004, 0, 1)
    height -= np.float32(0.0016) * hole + np.float32(0.003) * np.sqrt(deep)

    seam = np.zeros_like(height)
    panel = np.zeros_like(height)
    if rng.random() < 0.5:
        boards = int(rng.integers(5, 9))
        edges = [list(rng.random() + np.arange(2) * rng.uniform(0.4, 0.6)) for _ in range(boards)]
        b = courses(x, y + np.float32(0.0008) * noise(plane, "sag", 1, 12, 2, stretch=3), _even(boards), edges)
        distance = -rounded_box(b.dx, b.dy, b.half_width, b.half_height, 0)
        seam = np.exp(-np.square(distance / 0.0012)) * smoothstep(-1.6, 0.4, mottle + 0.3)
        panel = rng.normal(0, 1, b.count).astype(np.float32)[b.ident]
        fibre = shuffled(plane, "fibre shift", noise(plane, "fibre", 40, slope=1.2, stretch=16), b.ident)
        height += np.float32(0.0006) * panel + np.float32(0.00022) * fibre + np.float32(0.0014) * seam
        mottle = mottle + 0.35 * fibre

    crack_x, crack_y = jittered(plane.rng("cracks"), 3, 3, 0.9)
    wx = x + np.float32(0.035) * noise(plane, "crack x", 2, 100, 1.75)
    wy = y + np.float32(0.035) * noise(plane, "crack y", 2, 100, 1.75)
    crack_edge = cells(wx, wy, crack_x, crack_y).edge
    present = smoothstep(-0.1, 0.7, noise(plane, "crack place", 1, 6, 1.5))
    crack = np.exp(-np.square(crack_edge / np.float32(0.0011))) * present
    height -= np.float32(0.0022) * crack

    tone = rgb("98948c", "8a8882", "a49f94", "7d7c79", "aba598")[int(rng.integers(0, 5))]
    colour = tone * (1 + 0.065 * clouds + 0.045 * mottle + 0.035 * grain + 0.035 * panel)[..., None]
    warm = noise(plane, "warm", 1.5, 40, 1.7)
    colour = colour * (1 + warm[..., None] * np.array([0.012, 0.0, -0.02], np.float32))
    streak = streaks(plane, "streak")
    colour = mix(colour, colour * rgb("9a9182"), 0.6 * streak)
    bloom = smoothstep(1.1, 2.2, noise(plane, "bloom", 2, 80, 1.4))
    colour = mix(colour, rgb("c6c1b6"), 0.35 * bloom)
    flecks = noise(plane, "flecks", 110, slope=0.2)
    colour = mix(colour, colour * 0.7, 0.6 * smoothstep(1.9, 2.8, flecks))
    colour = mix(colour, rgb("3b3732"), np.clip(0.75 * hole + 0.7 * crack + 0.25 * np.clip(seam, 0, 1), 0, 0.9))
    rough = 0.80 + 0.05 * mottle + 0.03 * grain - 0.07 * streak + 0.1 * hole + 0.05 * bloom
    return Surface(colour, height, rough)


def plaster(plane: Plane) -> Surface:
    """Old painted plaster, 1.6 m a side: trowel strokes under paint that has flaked off in places."""
    rng = plane.rng("plaster")
    x, y = plane.axes()
    strokes = np.zeros((plane.size, plane.size), np.float32)
    lines = random_lines(rng, 1500, (0.10, 0.34), (0.004, 0.016), (-1.0, 1.0), (-0.9, 0.9), 0.02)
    add_strokes(strokes, lines)
    ridge = np.zeros_like(strokes)
    add_strokes(ridge, random_lines(rng, 700, (0.08, 0.3), (0.0006, 0.0016), (0.2, 1.0), (-0.9, 0.9), 0.02))
    coarse = noise(plane, "coarse", 3, 80, 1.7)
    grain = noise(plane, "grain", 60, slope=0.7)
    render = np.float32(0.00026) * strokes + np.float32(0.0003) * np.clip(ridge, 0, 1.5)
    render += np.float32(0.0007) * coarse + np.float32(0.00006) * grain

    amount = rng.uniform(0.75, 1.35)
    edge_noise = noise(plane, "flake", 2, 200, 1.75) + 0.18 * noise(plane, "tatter", 20, slope=1.2)
    paint = smoothstep(amount + 0.05, amount, edge_noise)
    lip = np.exp(-np.square((edge_noise - amount + 0.10) / 0.08))
    craze_x, craze_y = jittered(plane.rng("craze"), 26, 26, 0.95)
    wx = x + np.float32(0.006) * noise(plane, "craze x", 6, 90, 1.6)
    wy = y + np.float32(0.006) * noise(plane, "craze y", 6, 90, 1.6)
    craze = np.exp(-np.square(cells(wx, wy, craze_x, craze_y).edge / np.float32(0.0009)))
    craze = craze * smoothstep(0.0, 1.4, noise(plane, "craze place", 2, 20, 1.5) + 0.4 * (edge_noise - 0.5)) * paint
    height = render + paint * np.float32(0.0014) + lip * paint * np.float32(0.0008) - np.float32(0.0008) * craze
    sand = noise(plane, "sand", 50, slope=0.45)
    height += (1 - paint) * (np.float32(0.00035) * sand)

    tone = rgb("c9b99a", "b8a98c", "a9b3a4", "c58f6c", "9fb0b4", "d0c7b4", "b7765c")[int(rng.integers(0, 7))]
    clouds = noise(plane, "clouds", 1, 60, 1.6)
    painted = tone * (1 + 0.04 * clouds + 0.03 * coarse + 0.02 * np.clip(strokes, -2, 2) + 0.012 * grain)[..., None]
    painted = mix(painted, painted * rgb("b5a690"), 0.5 * smoothstep(0.6, 2.2, clouds + 0.6 * coarse))
    run = streaks(plane, "run")
    painted = mix(painted, painted * rgb("a0937e"), 0.42 * run)
    bare = ramp(uniform(0.6 * coarse + 0.8 * sand), rgb("8f8373", "a89c8a", "bdb2a1"))
    bare = mix(bare, rgb("6b5f52"), 0.5 * smoothstep(1.5, 2.3, sand))
    colour = mix(bare, painted, paint)
    colour = mix(colour, np.clip(painted * 1.12, 0, 1), 0.6 * lip * paint)
    colour = mix(colour, rgb("4d443a"), 0.65 * craze)
    dirt = smoothstep(0.0002, 0.0016, cavity(height, 0.003, 0.01))
    colour = mix(colour, rgb("564b3f"), 0.45 * dirt)
    rough = mix(0.93 + 0.03 * sand, 0.66 + 0.05 * clouds + 0.03 * coarse + 0.04 * run, paint) + 0.1 * craze
    return Surface(colour, height, rough)


MARBLES = (
    (rgb("e4e1dc", "d5d2cd", "bdbbb8"), rgb("6f7176"), rgb("a8986f")),
    (rgb("23262a", "2b2e33", "1b1d20"), rgb("c9c5bc"), rgb("b08d57")),
    (rgb("31463c", "27382f", "41584b"), rgb("b9c4b6"), rgb("7d9580")),
    (rgb("d8c6ae", "cbb597", "b99f80"), rgb("8a5a3c"), rgb("efe6d6")),
    (rgb("7d4038", "6c342f", "935348"), rgb("e0d3c6"), rgb("4a2421")),
)


def marble(plane: Plane) -> Surface:
    """Polished veined marble, 1 m a side: clouds, a few long veins that fork and fade, many hairlines."""
    rng = plane.rng("marble")
    body, vein_tone, second_tone = MARBLES[int(rng.integers(0, len(MARBLES)))]
    dark = float(body.mean()) < 0.4
    angle = rng.uniform(0.3, 1.2) * rng.choice([-1, 1])
    x, y = plane.axes()
    amount = np.float32(rng.uniform(0.03, 0.06))
    wx = x + amount * noise(plane, "warp x", 1.5, 200, 1.9)
    wy = y + amount * noise(plane, "warp y", 1.5, 200, 1.9)
    clouds = sample(noise(plane, "clouds", 1.5, slope=1.8, stretch=2.2, angle=angle), wx, wy)

    def veins(label: str, low: float, width: float, stretch: float) -> tuple[Field, Field]:
        """Thin lines along the zero set of a warped noise, with a halo; their width comes and goes."""
        field = sample(noise(plane, label, low, 6 * low, 2.0, stretch=stretch, angle=angle), wx, wy)
        dx = (np.roll(field, -1, 1) - np.roll(field, 1, 1)) * np.float32(plane.size / 2)
        dy = (np.roll(field, -1, 0) - np.roll(field, 1, 0)) * np.float32(plane.size / 2)
        steep = np.hypot(dx, dy)
        across = np.abs(field) / np.maximum(steep, 4 * low)  # distance to the line, in sides
        swell = np.exp(0.8 * noise(plane, f"{label} width", 2, 60, 1.4))
        present = smoothstep(-0.5, 0.9, noise(plane, f"{label} place", 1, 12, 1.6))
        present = present * smoothstep(3 * low, 9 * low, steep)  # where the field is flat a line would be a blot
        near = across / (np.float32(width) * swell)
        thin = np.exp(-near * np.sqrt(near)) * present  # a firm core, then the halo
        return thin, np.exp(-across / np.float32(width * 9)) * present

    main, halo = veins("main", 1.2, 0.0032, 2.6)
    fork, fork_halo = veins("fork", 3, 0.0014, 2.2)
    hair, _ = veins("hair", 7, 0.0006, 1.6)
    web_x, web_y = jittered(rng, 7, 7, 0.95)
    lift = np.float32(0.05)
    tx = x + lift * noise(plane, "web x", 2, 200, 1.8)
    ty = y + lift * noise(plane, "web y", 2, 200, 1.8)
    web = np.exp(-cells(tx, ty, web_x, web_y).edge / 0.0011) * smoothstep(0, 1.3, noise(plane, "web place", 1, 20, 1.6))
    grain = noise(plane, "grain", 70, slope=0.5)
    fine = noise(plane, "fine", 8, slope=1.4)

    colour = ramp(uniform(clouds + 0.25 * fine), body)
    colour = mix(
        colour,
        mix(body[0], vein_tone, np.full_like(clouds, 0.45)),
        np.clip((0.35 if dark else 0.7) * halo + 0.3 * fork_halo, 0, 0.8),
    )
    strength = np.clip(0.95 * main + 0.8 * fork + 0.55 * hair + 0.65 * web, 0, 0.95)
    tint = smoothstep(0.3, 1.3, noise(plane, "tint", 1.5, 30, 1.6))
    colour = mix(colour, mix(vein_tone + 0 * colour, second_tone, tint), strength)
    crystals = smoothstep(1.4, 2.6, noise(plane, "crystals", 50, slope=0.5))
    colour = np.clip(colour * (1 + 0.012 * grain + 0.03 * fine)[..., None], 0, 1)
    colour = mix(colour, np.clip(colour * 1.15 + 0.03, 0, 1), (0.5 if dark else 0.3) * crystals)
    scratch = np.zeros_like(clouds)
    add_strokes(scratch, random_lines(rng, 350, (0.02, 0.3), (0.0002, 0.0005), (0.2, 1.0), bend=0.006))
    pits = smoothstep(2.0, 2.7, noise(plane, "pits", 60, 200, 0.5)) * np.clip(0.2 + strength, 0, 1)
    height = np.float32(0.0006) * noise(plane, "swell", 1, 10, 2.4) - np.float32(0.0006) * strength
    height -= np.float32(0.00025) * pits + np.float32(0.00004) * scratch
    height += np.float32(0.000015) * grain
    smear = noise(plane, "smear", 2, 60, 1.6)
    rough = 0.16 + 0.02 * smear + 0.16 * strength + 0.25 * pits + 0.06 * np.clip(scratch, 0, 1) + 0.01 * grain
    return Surface(colour, height, np.maximum(rough, 0.07))


def rock(plane: Plane) -> Surface:
    """Bare rock, 2.5 m a side: planes broken along joints at three scales, cracks, weathered and stained."""
    rng = plane.rng("rock")
    x, y = plane.axes()
    tilt = rng.uniform(-0.4, 0.4)
    stretch = rng.uniform(1.2, 2.2)
    warp = np.float32(0.03)
    wx = x + warp * noise(plane, "warp x", 2, 200, 1.8)
    wy = y + warp * noise(plane, "warp y", 2, 200, 1.8)
    height = np.float32(0.03) * noise(plane, "swell", 1, 8, 2.0, stretch=stretch, angle=tilt)
    tone = np.zeros_like(height)
    crack = np.zeros_like(height)
    for scale, (count, depth) in enumerate(((5, 0.050), (13, 0.016), (34, 0.0048))):
        site_x, site_y = jittered(rng, count, count + (count % 2), 0.95)
        c = cells(wx, wy, site_x, site_y, rng.uniform(0, 0.4 / count, len(site_x)), stretch)
        slope = rng.normal(0, 1.0, (2, c.count)).astype(np.float32)[:, c.ident]
        level = rng.normal(0, 0.55, c.count).astype(np.float32)[c.ident]
        facet = level + (slope[0] * c.dx / stretch + slope[1] * c.dy) * count * 0.9
        height += np.float32(depth * 0.40) * facet
        tone += level * np.float32((0.05, 0.05, 0.03)[scale])
        open_ = smoothstep(-0.2, 1.0, noise(plane, f"open {scale}", 2, 30, 1.5))
        groove = np.exp(-c.edge / np.float32(0.022 / count)) * open_
        height -= np.float32(depth * 0.35) * groove
        crack = np.maximum(crack, groove * (1.0, 0.8, 0.5)[scale])
    beds = sample(noise(plane, "beds", 5, slope=1.5, stretch=5, angle=tilt), wx, wy)
    coarse = noise(plane, "coarse", 5, slope=1.55)
    grain = noise(plane, "grain", 60, slope=0.7)
    height += np.float32(0.0035) * beds + np.float32(0.0045) * coarse + np.float32(0.0003) * grain
    height = np.float32(0.6) * (0.5 * height + 0.5 * blur(height, 0.0016))

    recess = cavity(height, 0.004, 0.02)
    palette = (
        rgb("4f4a45", "6d665e", "8a8278", "a59c8f"),
        rgb("5d4c3f", "7d6753", "9b8468", "b9a585"),
        rgb("3f4347", "585d61", "747878", "93958f"),
    )[int(rng.integers(0, 3))]
    colour = ramp(np.clip(0.5 + tone + 0.11 * coarse + 0.07 * beds + 0.05 * grain, 0, 1), palette)
    iron = smoothstep(0.6, 1.9, noise(plane, "iron", 2, 80, 1.5) + 0.4 * beds)
    colour = mix(colour, colour * rgb("e0a070"), 0.6 * iron)
    colour = mix(colour, np.clip(colour * 1.35 + 0.03, 0, 1), 0.6 * smoothstep(0.0012, 0.008, -recess))
    flecks = noise(plane, "flecks", 100, slope=0.3)
    colour = mix(colour, colour * 0.6, 0.5 * smoothstep(1.6, 2.5, flecks))
    colour = mix(colour, np.clip(colour * 1.4, 0, 1), 0.4 * smoothstep(1.8, 2.6, -flecks))
    crust, species = lichen(plane, 30, 0.4)
    colour = mix(colour, ramp(species, rgb("b9bba6", "a3a993", "c4a552")), 0.75 * crust)
    dirt = np.clip(0.75 * smoothstep(0.0015, 0.016, recess) + 0.5 * crack, 0, 0.88)
    colour = mix(colour, rgb("2a251f"), dirt)
    rough = 0.78 + 0.05 * coarse + 0.04 * grain + 0.08 * dirt + 0.1 * crust - 0.06 * iron
    return Surface(colour, height, rough)
