"""Procedural wood, textiles, leather and metals."""

# A material is a list of steps that share most of their fields; cut up, each would read worse.
# ruff: noqa: PLR0915

from __future__ import annotations

import numpy as np

from texsynth.train.procedural_field import (
    Field,
    Ids,
    Plane,
    cavity,
    mix,
    noise,
    ramp,
    rgb,
    sample,
    shuffled,
    smoothstep,
    uniform,
)
from texsynth.train.procedural_shapes import (
    Array,
    Blocks,
    add_strokes,
    add_threads,
    cells,
    courses,
    empty_pile,
    jittered,
    random_lines,
    rounded_box,
)
from texsynth.train.procedural_surface import Surface

# Sapwood and earlywood, latewood, pore and knot colours of some timbers.
TIMBERS = (
    (rgb("c49a68"), rgb("8f6239"), rgb("4c3018"), rgb("4a2c17")),  # oak
    (rgb("9a6a45"), rgb("5f3b24"), rgb("2e1a10"), rgb("2b170d")),  # walnut
    (rgb("d9b382"), rgb("b07c45"), rgb("8a5a2e"), rgb("6b3a1b")),  # pine
    (rgb("a8633f"), rgb("733820"), rgb("3c1a0e"), rgb("3a180d")),  # mahogany
)
WEATHERED = (rgb("a39a8d"), rgb("6d655b"), rgb("37322c"), rgb("3b342c"))


def _rings(ring: Field) -> Field:
    """Latewood share 0..1 of a ring coordinate: slow darkening through the summer, sharp edge at the winter."""
    p = ring - np.floor(ring)
    return np.square(smoothstep(0.15, 0.93, p)) * smoothstep(1.0, 0.95, p)


def _periodic(offset: Field) -> Field:
    return offset - np.round(offset)


def wood(plane: Plane) -> Surface:
    """A sawn and oiled wooden panel, grain along y, 0.6 m a side, with flame figure, pores and a few knots."""
    rng = plane.rng("wood")
    early, late, pore, knot_tone = TIMBERS[int(rng.integers(0, len(TIMBERS)))]
    x, y = plane.axes()
    down = np.pi / 2
    figure = noise(plane, "figure", 1, 7, 2.3, stretch=3.6, angle=down)
    ring = np.float32(int(rng.integers(15, 22))) * x + np.float32(rng.uniform(2.2, 3.6)) * figure
    ring = ring + np.float32(0.22) * noise(plane, "waver", 4, 60, 1.6, stretch=7, angle=down)
    ring += np.float32(0.05) * noise(plane, "shake", 20, slope=1.2, stretch=5, angle=down)
    knots = np.zeros_like(ring)
    heart = np.zeros_like(ring)
    for _ in range(int(rng.integers(0, 4))):
        kx, ky, radius = rng.random(), rng.random(), rng.uniform(0.010, 0.024)
        dx, dy = _periodic(x - np.float32(kx)), _periodic(y - np.float32(ky))
        apart = np.hypot(dx, dy * np.float32(0.8)) + np.float32(0.002) * noise(plane, f"knot {kx:.3f}", 6, 100, 1.5)
        ring = ring + np.float32(2.2) * np.exp(-np.square(apart / np.float32(2.6 * radius)))
        inside = smoothstep(radius * 1.05, radius * 0.85, apart)
        ring = mix(ring, apart * np.float32(5.0 / radius), inside)
        knots = np.maximum(knots, smoothstep(radius * 1.9, radius * 0.7, apart))
        heart = np.maximum(heart, smoothstep(radius * 0.30, 0, apart))
    latewood = _rings(ring)
    fibre = noise(plane, "fibre", 30, slope=0.9, stretch=26, angle=down)
    streak = noise(plane, "streak", 3, 100, 1.3, stretch=14, angle=down)
    grain = noise(plane, "grain", 60, slope=0.6, stretch=3, angle=down)

    pores = np.zeros_like(ring)
    count = 14000
    lines = random_lines(rng, count, (0.004, 0.035), (0.0005, 0.0010), (0.4, 1.2), (down - 0.03, down + 0.03))
    add_strokes(pores, lines)
    pores = np.clip(pores, 0, 1.2) * (0.25 + 0.75 * smoothstep(0.5, 0.0, latewood)) * (1 - 0.7 * knots)
    rays = np.zeros_like(ring)
    add_strokes(rays, random_lines(rng, 1400, (0.004, 0.02), (0.0008, 0.002), (0.2, 0.8), (down - 0.25, down + 0.25)))

    colour = mix(early, late, np.clip(0.85 * latewood + 0.10 * streak + 0.06 * fibre + 0.05, 0, 1))
    clouds = noise(plane, "clouds", 1, 20, 1.7, stretch=2, angle=down)
    colour = colour * (1 + 0.05 * clouds + 0.035 * streak + 0.035 * fibre + 0.02 * grain)[..., None]
    colour = mix(colour, np.clip(colour * 1.16, 0, 1), 0.5 * np.clip(rays, 0, 1))
    colour = mix(colour, knot_tone, 0.75 * knots * (0.55 + 0.45 * latewood))
    colour = mix(colour, colour * 0.35, heart)
    colour = mix(colour, pore, 0.72 * np.clip(pores, 0, 1))
    scratch = np.zeros_like(ring)
    add_strokes(scratch, random_lines(rng, 60, (0.02, 0.25), (0.0003, 0.0008), (0.3, 1.0), bend=0.01))
    colour = mix(colour, np.clip(colour * 1.2, 0, 1), 0.35 * np.clip(scratch, 0, 1))
    height = np.float32(0.0006) * noise(plane, "swell", 1, 12, 2.2) + np.float32(0.0004) * latewood
    height += np.float32(0.00010) * fibre + np.float32(0.00003) * grain - np.float32(0.00045) * np.clip(pores, 0, 1)
    height -= np.float32(0.0012) * heart + np.float32(0.00012) * scratch - np.float32(0.0005) * knots
    rough = 0.50 - 0.08 * latewood + 0.20 * np.clip(pores, 0, 1) + 0.03 * fibre + 0.03 * clouds + 0.05 * scratch
    return Surface(colour, height, rough + 0.08 * knots)


def planks(plane: Plane) -> Surface:
    """Boards with the grain along x, 1.4 m a side: an oiled floor, or weathered grey boards with splits and nails."""
    rng = plane.rng("planks")
    old = bool(rng.random() < 0.5)
    early, late, pore, knot_tone = WEATHERED if old else TIMBERS[int(rng.integers(0, len(TIMBERS)))]
    rows = int(rng.integers(6, 9))
    ends = [
        list(rng.random() + np.array([0.0, rng.uniform(0.38, 0.62)])[: int(rng.integers(1, 3))]) for _ in range(rows)
    ]
    widths = np.cumsum(rng.uniform(0.85, 1.15, rows) if old else np.ones(rows))
    x, y = plane.axes()
    sag = np.float32(0.0006 if old else 0.0002)
    b = courses(
        x + 0 * y, y + sag * noise(plane, "sag", 1, 16, 2.0, stretch=3), list((widths - widths[0]) / widths[-1]), ends
    )
    n = b.count

    def per_board(values: Array) -> Field:
        return values.astype(np.float32)[b.ident]

    # Each board is cut from its own log: rings are distances to a pith that runs at a slant below the board.
    off_axis = per_board(rng.normal(0, 0.05, n))
    depth = per_board(rng.uniform(0.012, 0.10, n))
    slant = per_board(rng.normal(0, 0.075, n))
    bow = shuffled(plane, "bow shift", noise(plane, "bow", 1, 10, 2.0, stretch=2.0), b.ident)
    side = shuffled(plane, "side shift", noise(plane, "side", 1, 14, 2.0, stretch=3.0), b.ident)
    across = b.dy - off_axis + np.float32(0.007) * side
    below = depth + slant * b.dx + np.float32(0.016) * bow
    ring = np.hypot(across, below) * per_board(rng.uniform(95, 170, n))
    ring += np.float32(0.16) * shuffled(plane, "waver shift", noise(plane, "waver", 4, 90, 1.5, stretch=8), b.ident)
    knots, heart = np.zeros_like(ring), np.zeros_like(ring)
    order = rng.permutation(n)[: max(2, n // 2)]
    for board in order:
        kx, ky, radius = rng.uniform(-0.2, 0.2), rng.uniform(-0.3, 0.3) / rows, rng.uniform(0.006, 0.014)
        mine = b.ident == board
        apart = np.hypot((b.dx[mine] - np.float32(kx)) * np.float32(0.75), b.dy[mine] - np.float32(ky))
        apart = apart + np.float32(0.05 * radius) * side[mine]
        local = ring[mine] + np.float32(2.0) * np.exp(-np.square(apart / np.float32(2.8 * radius)))
        inside = smoothstep(radius * 1.05, radius * 0.85, apart)
        ring[mine] = local + (apart * np.float32(4.5 / radius) - local) * inside
        knots[mine] = smoothstep(radius * 1.9, radius * 0.7, apart)
        heart[mine] = smoothstep(radius * 0.4, 0, apart)
    latewood = _rings(ring)
    fibre = shuffled(plane, "fibre shift", noise(plane, "fibre", 40, slope=0.8, stretch=24), b.ident)
    streak = shuffled(plane, "streak shift", noise(plane, "streak", 4, 120, 1.3, stretch=14), b.ident)
    grain = noise(plane, "grain", 70, slope=0.5, stretch=3)
    pores = np.zeros_like(ring)
    add_strokes(pores, random_lines(rng, 15000, (0.003, 0.022), (0.0004, 0.0008), (0.4, 1.1), (-0.02, 0.02)))
    pores = np.clip(pores, 0, 1.1) * (0.3 + 0.7 * smoothstep(0.5, 0.0, latewood))

    splits = np.zeros_like(ring)
    if old:
        # Checks open at the ends of the boards and here and there along the grain.
        crack = shuffled(plane, "crack shift", noise(plane, "crack", 5, 60, 1.6, stretch=22), b.ident)
        place = shuffled(plane, "place shift", noise(plane, "place", 2, 20, 1.6, stretch=3), b.ident)
        near_end = np.exp(-(b.half_width - np.abs(b.dx)) / np.float32(0.06))
        gradient = np.abs(np.roll(crack, -1, 0) - np.roll(crack, 1, 0)) * np.float32(plane.size / 2)
        away = np.abs(crack) / np.maximum(gradient, 15)
        splits = np.exp(-np.square(away / np.float32(0.0011))) * smoothstep(0.5, 1.3, place + 1.8 * near_end)

    gap = per_board(rng.uniform(0.0012, 0.0034, n)) if old else np.float32(0.0007)
    ragged = noise(plane, "ragged", 10, 120, 1.4, stretch=4)
    inside_board = -rounded_box(b.dx, b.dy, b.half_width - gap, b.half_height - gap, 0.002)
    inside_board = inside_board - np.float32(0.0007 if old else 0.0001) * ragged
    face = smoothstep(-0.0004, 0.0008, inside_board)
    rim = np.square(np.clip(1 - inside_board / np.float32(0.006 if old else 0.0022), 0, 1))

    bits = rng.normal(0, 1, (4, n))
    height: Field = per_board(bits[0]) * np.float32(0.0011 if old else 0.0002) + per_board(bits[1]) * b.dy * np.float32(
        0.02
    )
    height += np.float32(0.5 if old else 0.06) * (np.square(b.dy) * per_board(bits[2])) - np.float32(0.0016) * rim
    raised = 0.0009 if old else 0.00022
    height += np.float32(raised) * latewood + np.float32(raised * 0.4) * fibre
    height -= np.float32(0.0005) * np.clip(pores, 0, 1) + np.float32(0.004) * splits - np.float32(raised) * knots
    height = mix(np.float32(-0.010 if old else -0.004), height, face)

    tone = np.clip(0.85 * latewood + 0.12 * streak + 0.07 * fibre + 0.06, 0, 1)
    colour = mix(early, late, tone) * (1 + 0.05 * streak + 0.05 * fibre + 0.02 * grain)[..., None]
    tint = np.exp(rng.normal(0, 0.11, (n, 1))) + rng.normal(0, 0.012, (n, 3))
    colour = colour * tint.astype(np.float32)[b.ident]
    clouds = shuffled(plane, "cloud shift", noise(plane, "clouds", 1, 30, 1.6, stretch=3), b.ident)
    if old:
        warm = smoothstep(0.3, 1.6, clouds + 0.9 * per_board(bits[3]))
        colour = mix(colour, colour * rgb("c9a27c") * 1.15, 0.75 * warm)
        algae = smoothstep(0.9, 2.0, noise(plane, "algae", 2, 60, 1.5, stretch=2))
        colour = mix(colour, colour * rgb("a9ae84"), 0.6 * algae)
    colour = mix(colour, knot_tone, 0.78 * knots * (0.55 + 0.45 * latewood))
    colour = mix(colour, colour * 0.4, heart)
    colour = mix(colour, pore, 0.6 * np.clip(pores, 0, 1))
    colour = mix(colour, rgb("1d1814"), 0.88 * splits)
    rough = np.float32(0.78 if old else 0.46) - 0.07 * latewood + 0.18 * np.clip(pores, 0, 1) + 0.04 * fibre
    rough = rough + 0.05 * clouds + 0.12 * splits
    wear = noise(plane, "wear", 1.5, 60, 1.5, stretch=1.5)
    if old:
        nailed = _nails(plane, b, Surface(colour, height, rough))
        colour, height, rough = nailed.colour, nailed.height, nailed.roughness
    else:
        scratch = np.zeros_like(ring)
        add_strokes(scratch, random_lines(rng, 220, (0.01, 0.15), (0.0002, 0.0006), (0.2, 1.0), bend=0.006))
        dull = smoothstep(0.2, 1.6, wear)
        rough = rough + 0.12 * dull + 0.1 * np.clip(scratch, 0, 1)
        colour = mix(colour, np.clip(colour * 1.12 + 0.01, 0, 1), 0.3 * dull + 0.3 * np.clip(scratch, 0, 1))
        height = height - np.float32(0.00008) * scratch
    dirt = smoothstep(0.0006, 0.006, cavity(height, 0.003, 0.010))
    colour = mix(colour, rgb("221b15"), np.clip(0.75 * dirt + (1 - face), 0, 0.93))
    return Surface(colour, height, mix(0.92, rough, face))


def _nails(plane: Plane, b: Blocks, bare: Surface) -> Surface:
    """Two nails at each end of every board, with rust that runs along the grain."""
    jitter = plane.rng("nails").normal(0, 0.004, (2, b.count)).astype(np.float32)
    at_x = b.half_width - np.abs(b.dx) - np.float32(0.022) + jitter[0][b.ident]
    at_y = np.abs(b.dy) - b.half_height * np.float32(0.5) + jitter[1][b.ident]
    apart = np.hypot(at_x, at_y)
    head = smoothstep(0.0042, 0.0034, apart)
    stain = np.exp(-np.hypot(at_x * np.float32(0.45), at_y) / np.float32(0.006)) * (1 - head)
    speck = noise(plane, "rust speck", 40, slope=0.8)
    colour = mix(bare.colour, rgb("4a2f1f"), np.clip(0.8 * stain * (1 + 0.3 * speck), 0, 0.9))
    colour = mix(colour, ramp(uniform(speck), rgb("3a2419", "5e3a26", "7a5236")), head)
    sunk = smoothstep(0.0056, 0.0040, apart) * (1 - head)
    height = bare.height + head * np.float32(0.0012) - np.float32(0.0016) * sunk
    return Surface(colour, height, mix(bare.roughness, 0.72, head))


CHECKS = (
    (rgb("7a2426", "1f2c3f", "274432", "d8c9a0", "5e1a1e"), (20, 4, 12, 2, 12, 4, 20, 2, 8, 12)),
    (rgb("23344f", "3d5575", "c9c6b8", "8e2f2c", "18233a"), (16, 8, 4, 2, 4, 8, 24, 2, 10, 18)),
    (rgb("cfc4ad", "a98a5f", "2b2724", "8b3a2e", "b8a98c"), (18, 3, 3, 6, 3, 3, 24, 12, 12, 12)),
    (rgb("37503f", "22352c", "b79b52", "1e2732", "5a6f4a"), (24, 4, 8, 2, 8, 4, 24, 6, 4, 12)),
)


def cloth(plane: Plane) -> Surface:
    """Checked woollen cloth in 2/2 twill, 96 x 96 yarns on 0.12 m: every yarn with its own twist, slubs and hairs."""
    rng = plane.rng("cloth")
    colours, sett = CHECKS[int(rng.integers(0, len(CHECKS)))]
    count = sum(sett)
    order = np.repeat(np.arange(len(sett)) % len(colours), sett)
    warp_tone = colours[order] * np.exp(rng.normal(0, 0.07, (count, 1)))
    weft_tone = colours[order] * np.exp(rng.normal(0, 0.07, (count, 1)))
    x, y = plane.axes()
    straight = np.float32(0.0012)
    px = (x + straight * noise(plane, "skew x", 1, 30, 1.7)) * np.float32(count)
    py = (y + straight * noise(plane, "skew y", 1, 30, 1.7)) * np.float32(count)
    px = px + np.float32(0.09) * noise(plane, "warp waver", 20, 120, 1.0, stretch=4, angle=np.pi / 2)
    py = py + np.float32(0.09) * noise(plane, "weft waver", 20, 120, 1.0, stretch=4)
    i, j = np.floor(px).astype(np.int32), np.floor(py).astype(np.int32)
    fx, fy = ((at - np.floor(at) - np.float32(0.5)).astype(np.float32) for at in (px, py))

    def over(a: Ids, c: Ids) -> Field:
        """+1 where warp yarn `a` lies over weft yarn `c`, else -1."""
        return np.where((a - c) % 4 < 2, 1, -1).astype(np.float32)

    def swing(here: Field, before: Field, after: Field, f: Field) -> Field:
        """The yarn's height between crossings: level on a float, two parabolas where it dives."""
        other = np.where(f < 0, before, after)
        return here + (other - here) * 2 * np.square(f)

    up = over(i, j)
    warp_z = swing(up, over(i, j - 1), over(i, j + 1), fy)
    weft_z = -swing(up, over(i - 1, j), over(i + 1, j), fx)
    thick_warp = np.float32(0.47) + np.float32(0.035) * noise(
        plane, "warp slub", 20, 90, 0.6, stretch=8, angle=np.pi / 2
    )
    thick_weft = np.float32(0.47) + np.float32(0.035) * noise(plane, "weft slub", 20, 90, 0.6, stretch=8)
    v_warp, v_weft = np.clip(fx / thick_warp, -1, 1), np.clip(fy / thick_weft, -1, 1)
    warp_h = np.float32(0.26) * warp_z + np.float32(0.55) * np.sqrt(1 - v_warp * v_warp) - (np.abs(fx) > thick_warp)
    weft_h = np.float32(0.26) * weft_z + np.float32(0.55) * np.sqrt(1 - v_weft * v_weft) - (np.abs(fy) > thick_weft)
    warp_on_top = warp_h > weft_h

    lay = np.where(warp_on_top, py, px)
    v = np.where(warp_on_top, v_warp, v_weft)
    handed = np.where(warp_on_top, 1, -1).astype(np.float32)
    twist = np.cos(2 * np.pi * (lay * np.float32(1.0) + handed * np.arcsin(v) * np.float32(0.42)))
    fibre_a = noise(plane, "fibre a", 70, slope=0.35, stretch=5, angle=0.85)
    fibre_b = noise(plane, "fibre b", 70, slope=0.35, stretch=5, angle=-0.85 + np.pi / 2)
    fibre = np.where(warp_on_top, fibre_a, fibre_b)
    top = np.maximum(warp_h, weft_h) + np.float32(0.045) * twist + np.float32(0.035) * fibre
    fuzz = np.zeros_like(top)
    add_strokes(fuzz, random_lines(rng, 3500, (0.006, 0.030), (0.0003, 0.0005), (0.3, 0.9), bend=0.004))
    fuzz = np.clip(fuzz, 0, 1.2)
    height = top / np.float32(count) * np.float32(0.75) + np.float32(0.0010) * fuzz
    height += np.float32(0.0012) * noise(plane, "drape", 1, 10, 2.2)

    yarn = np.where(warp_on_top[..., None], warp_tone[i % count], weft_tone[j % count]).astype(np.float32)
    depth = np.clip((np.maximum(warp_h, weft_h) + 0.1) / 0.85, 0, 1)
    colour = yarn * (0.50 + 0.55 * depth + 0.07 * twist + 0.07 * fibre)[..., None]
    melange = noise(plane, "melange", 60, slope=0.3, stretch=4, angle=0.8)
    colour = mix(colour, np.clip(colour * 1.35 + 0.03, 0, 1), 0.5 * smoothstep(1.2, 2.4, melange))
    colour = mix(colour, np.clip(yarn * 1.15 + 0.05, 0, 1), 0.35 * fuzz)
    rough = 0.90 - 0.05 * depth + 0.02 * fibre + 0.04 * fuzz
    return Surface(colour, height, rough)


YARNS = (
    rgb("b8a88e"),
    rgb("6d7f8c"),
    rgb("8c3f3a"),
    rgb("5d6b4e"),
    rgb("c9b9a4"),
    rgb("44506b"),
)


def knit(plane: Plane) -> Surface:
    """Stocking stitch of a plied yarn, 0.14 m a side: real loops that pass before and behind their neighbours."""
    rng = plane.rng("knit")
    wales = int(rng.integers(16, 23))
    rows = 2 * round(wales * 0.62)
    per_stitch = 28
    t = np.arange(wales * per_stitch + 1) * (2 * np.pi / per_stitch)
    wale_width, row_height = 1 / wales, 1 / rows
    radius = 0.235 * wale_width
    points = np.empty((rows, len(t), 4))
    sway = rng.normal(0, 0.05, (rows, wales, 3))
    stitch = (np.arange(len(t)) // per_stitch) % wales
    blend = np.clip(np.abs(np.arange(len(t)) % per_stitch / per_stitch - 0.5) * 2, 0, 1) ** 2
    for r in range(rows):
        wobble = sway[r, stitch] * (1 - blend)[:, None]
        points[r, :, 0] = (t / (2 * np.pi) + 0.19 * np.sin(2 * t) + 0.8 * wobble[:, 0]) * wale_width
        points[r, :, 1] = (r + 0.5 - 0.95 * np.cos(t) + wobble[:, 1]) * row_height
        points[r, :, 2] = -0.62 * radius * np.cos(2 * t) + radius * 1.4
        points[r, :, 3] = radius * (1 + wobble[:, 2])
    pile = empty_pile(np.zeros((plane.size, plane.size), np.float32))
    add_threads(pile, points, 0.7)
    covered = pile.ident >= 0
    row = np.maximum(pile.ident, 0)
    step = np.hypot(np.diff(points[0, :, 0]), np.diff(points[0, :, 1])).sum()
    plies = np.float32(round(step / (radius * 3.4)))  # whole turns over a course, so that the twist closes
    around = np.arcsin(np.clip(pile.v, -1, 1))
    turns = pile.u / np.float32(step) * plies + around * np.float32(0.42)
    ply = np.abs(np.sin(np.pi * turns))
    # Fibres follow the twist: noise in the yarn's own coordinates, along and around.
    wool = noise(plane, "wool", 24, slope=0.5, stretch=9)
    along = pile.u * np.float32(
        round(step) / step
    )  # in whole repeats of the noise over a course, so that it closes too
    lay = (
        np.float32(radius) * around
        + pile.u * np.float32(round(0.55 * step) / step)
        + row.astype(np.float32) * np.float32(0.317)
    )
    fibre = sample(wool, along, lay)
    height = pile.height + np.float32(radius) * (0.26 * np.sqrt(ply) + 0.035 * fibre)
    fuzz = np.zeros_like(height)
    add_strokes(fuzz, random_lines(rng, 4500, (0.01, 0.05), (0.0003, 0.0006), (0.2, 0.8), bend=0.008))
    fuzz = np.clip(fuzz, 0, 1.2)
    height = height + np.float32(0.0014) * fuzz + np.float32(0.0015) * noise(plane, "drape", 1, 8, 2.2)

    first, second = (YARNS[int(k)] for k in rng.choice(len(YARNS), 2, replace=False))
    tones = np.repeat(first[None], rows, 0)
    if rng.random() < 0.5:
        tones[np.arange(rows) * 4 // rows % 2 == 1] = second
    tones = tones * np.exp(rng.normal(0, 0.03, (rows, 1)))
    yarn = tones.astype(np.float32)[row]
    depth = np.clip(pile.height / np.float32(radius * 2.7), 0, 1)
    colour = yarn * (0.34 + 0.66 * depth + 0.26 * (np.sqrt(ply) - 0.75) + 0.05 * fibre)[..., None]
    melange = sample(noise(plane, "melange", 16, slope=0.6, stretch=12), along, lay + np.float32(0.41))
    colour = mix(colour, np.clip(colour * 1.3 + 0.04, 0, 1), 0.5 * smoothstep(1.0, 2.4, melange))
    colour = mix(colour, np.clip(yarn * 1.12 + 0.05, 0, 1), 0.4 * fuzz)
    colour = mix(yarn * 0.18, colour, covered.astype(np.float32))
    rough = 0.92 - 0.05 * depth + 0.02 * fibre + 0.03 * fuzz
    return Surface(colour, height, rough)


HIDES = (
    rgb("5a3420", "7a4a2c", "935f3b"),
    rgb("2b2422", "3a302c", "4a3e38"),
    rgb("6e2f26", "8a4233", "a05743"),
    rgb("8a6a45", "a58459", "bd9c70"),
    rgb("33402f", "45543d", "59694e"),
)


def leather(plane: Plane) -> Surface:
    """Full-grain leather, 0.2 m a side: pebbled grain, stretch wrinkles, pores, worn and polished on the high parts."""
    rng = plane.rng("leather")
    x, y = plane.axes()
    across = int(rng.integers(36, 52))
    site_x, site_y = jittered(rng, across, across, 0.9)
    weight = rng.uniform(0, 0.75 / across, len(site_x))
    wx = x + np.float32(0.006) * noise(plane, "warp x", 5, 120, 1.7)
    wy = y + np.float32(0.006) * noise(plane, "warp y", 5, 120, 1.7)
    big = cells(wx, wy, site_x, site_y, weight, float(rng.uniform(1.0, 1.35)), 0.045 / across)
    fine_x, fine_y = jittered(rng, across * 3, across * 3, 0.95)
    small = cells(wx, wy, fine_x, fine_y, None, 1.0)
    unit = np.float32(1 / across)
    swell = np.clip(big.edge / (0.42 * unit), 0, 1)
    pebble = 1 - np.square(1 - swell)
    thread = 0.7 + 0.5 * uniform(noise(plane, "crease depth", 8, 60, 1.2))
    crease = thread * np.exp(-big.edge / (0.05 * unit))
    wrinkle_field = noise(plane, "wrinkle", 3, 40, 1.7, stretch=2.4, angle=float(rng.uniform(0, np.pi)))
    wrinkle = np.exp(-np.abs(wrinkle_field) * 16) * smoothstep(0.1, 1.3, noise(plane, "wrinkled", 1, 8, 1.7))
    subcrease = np.exp(-small.edge / (0.03 * unit))
    level = rng.normal(0, 1, big.count).astype(np.float32)[big.ident]
    fine = noise(plane, "fine", 60, slope=0.7)
    pores = smoothstep(2.0, 2.6, noise(plane, "pores", 70, 200, 0.3))
    height = unit * (0.17 * pebble + 0.02 * level - 0.03 * subcrease * pebble - 0.10 * crease)
    height -= np.float32(0.0016) * wrinkle + np.float32(0.0007) * pores
    height += np.float32(0.00008) * fine + np.float32(0.0022) * noise(plane, "drape", 1, 8, 2.2)
    recess = cavity(height, 0.003, 0.010)

    hide = HIDES[int(rng.integers(0, len(HIDES)))]
    clouds = noise(plane, "clouds", 1, 40, 1.6)
    worn = smoothstep(0.3, 1.7, noise(plane, "worn", 1.5, 60, 1.5)) * smoothstep(0.0, 0.0012, -recess)
    tone = np.clip(0.42 + 0.12 * clouds + 0.34 * (pebble - 0.7) + 0.06 * fine + 0.07 * level, 0, 1)
    colour = ramp(tone, hide)
    colour = mix(colour, colour * 0.5, np.clip(0.42 * crease + 0.2 * subcrease + 0.7 * wrinkle + pores, 0, 0.85))
    colour = mix(colour, np.clip(hide[2] * 1.15 + 0.03, 0, 1), 0.45 * worn)
    scuff = np.zeros_like(height)
    add_strokes(scuff, random_lines(rng, 160, (0.02, 0.2), (0.0003, 0.0010), (0.2, 1.0), bend=0.01))
    scuff = np.clip(scuff, 0, 1) * smoothstep(0.3, 0.8, pebble)
    colour = mix(colour, np.clip(hide[2] * 1.1, 0, 1), 0.45 * scuff)
    rough = 0.46 + 0.22 * crease + 0.10 * subcrease - 0.10 * worn + 0.18 * scuff + 0.03 * clouds + 0.02 * fine
    return Surface(colour, height, rough + 0.15 * wrinkle)


METALS = (rgb("c9c8c5"), rgb("d4d5d6"), rgb("dcb983"), rgb("d99f7c"), rgb("a9a8a6"))


def brushed_metal(plane: Plane) -> Surface:
    """Brushed metal, 0.4 m a side: steel, aluminium, brass or copper with handling marks, scratches and smudges."""
    rng = plane.rng("brushed")
    tone = METALS[int(rng.integers(0, len(METALS)))]
    hair = noise(plane, "hair", 60, slope=0.25, stretch=70)
    bands = noise(plane, "bands", 6, 160, 1.0, stretch=40)
    shorter = noise(plane, "shorter", 40, slope=0.3, stretch=18)
    strokes = np.zeros_like(hair)
    add_strokes(strokes, random_lines(rng, 5000, (0.03, 0.5), (0.0003, 0.0009), (-0.8, 0.8), (-0.012, 0.012), 0.0004))
    scratch = np.zeros_like(hair)
    add_strokes(scratch, random_lines(rng, 90, (0.03, 0.35), (0.0003, 0.0010), (0.4, 1.2), bend=0.008))
    dings = np.zeros_like(hair)
    add_strokes(dings, random_lines(rng, 160, (0.003, 0.012), (0.0008, 0.0024), (0.3, 1.0)))
    lines = 0.5 * hair + 0.45 * shorter + 0.5 * strokes
    height = np.float32(0.00008) * lines + np.float32(0.00010) * bands - np.float32(0.00040) * np.clip(scratch, 0, 1.5)
    height -= np.float32(0.0005) * np.clip(dings, 0, 1)
    height += np.float32(0.0007) * noise(plane, "buckle", 1, 6, 2.4)

    smudge = noise(plane, "smudge", 1.5, 100, 1.5)
    print_ = smoothstep(0.7, 1.9, smudge + 0.4 * noise(plane, "wipe", 2, 60, 1.3, stretch=4, angle=0.5))
    stain_x, stain_y = jittered(rng, 9, 9, 0.95)
    x, y = plane.axes()
    wobble = np.float32(0.006) * noise(plane, "drop edge", 5, 80, 1.6)
    drop = cells(x, y, stain_x, stain_y)
    size = rng.uniform(0.004, 0.03, drop.count) * (rng.random(drop.count) < 0.4)
    gap = np.hypot(drop.dx, drop.dy) + wobble - size.astype(np.float32)[drop.ident]
    ring = np.exp(-np.square(gap / 0.0016)) * (size > 0).astype(np.float32)[drop.ident]
    colour = tone * (1 + 0.030 * hair + 0.025 * shorter + 0.030 * strokes + 0.035 * bands)[..., None]
    colour = mix(colour, colour * rgb("c9bda8"), np.clip(0.35 * print_ + 0.45 * ring, 0, 0.8))
    colour = mix(colour, np.clip(colour * 1.12, 0, 1), 0.6 * np.clip(scratch, 0, 1))
    colour = mix(colour, colour * 0.6, 0.6 * np.clip(dings, 0, 1))
    rough = 0.30 + 0.03 * hair + 0.02 * bands + 0.02 * strokes + 0.16 * print_ + 0.20 * ring
    rough = rough + 0.05 * smudge - 0.08 * np.clip(scratch, 0, 1)
    return Surface(colour, height, rough, np.clip(1 - 0.25 * ring - 0.08 * print_, 0, 1))


PAINTS = rgb("3f6170", "5d7a4e", "a0442f", "c2953a", "8f9088", "2f4a63", "b9b3a0")
RUST = rgb("2c1710", "4d2413", "7a3a18", "a3572a", "bd7a3e")


def rusty_metal(plane: Plane) -> Surface:
    """Painted sheet steel gone to rust, 1.2 m a side: blistered paint, scratches to the bare metal, rust that runs."""
    rng = plane.rng("rust")
    place = noise(plane, "place", 1.5, 12, 1.7)
    detail = noise(plane, "detail", 8, slope=1.35)
    eaten = 0.75 * place + 0.42 * detail
    limit = np.float32(rng.uniform(0.1, 0.75))
    rust = smoothstep(limit, limit + 0.06, eaten)
    # Rust water runs down from every hole: the mask, smeared downwards.
    run = np.zeros_like(rust)
    streak = noise(plane, "streak", 14, 200, 0.9, stretch=14, angle=np.pi / 2)
    reach = 0.16
    steps = 24
    for k in range(1, steps + 1):
        shift = round(k * reach / steps * plane.size)
        run = np.maximum(run, np.roll(rust, shift, 0) * np.float32(1 - k / (steps + 1)))
    run = np.clip(run * (0.5 + 0.5 * streak), 0, 1) * (1 - rust)
    scratch = np.zeros_like(rust)
    add_strokes(scratch, random_lines(rng, 130, (0.02, 0.3), (0.0006, 0.0022), (0.4, 1.4), bend=0.012))
    scratch += np.float32(0.8) * smoothstep(1.6, 2.2, noise(plane, "chips", 20, 200, 1.0))
    bare = smoothstep(0.45, 0.75, scratch * (1 + 0.3 * noise(plane, "scrape", 60, slope=0.6))) * (1 - rust)
    fresh = smoothstep(-0.2, 0.8, noise(plane, "fresh", 2, 20, 1.5))  # older scratches have rusted
    old_scratch = bare * (1 - fresh)
    bare = bare * fresh
    rust_all = np.maximum(rust, 0.9 * old_scratch)

    grain = noise(plane, "grain", 30, slope=0.75)
    scale = noise(plane, "scale", 8, 160, 1.3)
    pits = np.maximum(noise(plane, "pits", 25, 120, 0.8) - 0.9, 0)
    near = smoothstep(limit - 0.55, limit, eaten) * (1 - rust)
    blister = near * np.maximum(noise(plane, "blister", 18, 90, 1.0) - 0.3, 0)
    peel = noise(plane, "peel", 60, slope=0.6)
    lip = np.exp(-np.square((eaten - limit + 0.05) / 0.05))
    painted_height = np.float32(0.0008) + np.float32(0.0010) * blister + np.float32(0.0004) * lip
    painted_height += np.float32(0.00003) * peel - np.float32(0.0005) * (bare + old_scratch)
    rusted_height = np.float32(0.0006) * scale + np.float32(0.00035) * grain - np.float32(0.0010) * pits
    height = mix(painted_height, rusted_height, rust) + np.float32(0.0016) * noise(plane, "buckle", 1, 6, 2.3)

    paint_tone = PAINTS[int(rng.integers(0, len(PAINTS)))]
    fade = noise(plane, "fade", 1, 60, 1.5)
    paint = paint_tone * (1 + 0.07 * fade + 0.02 * peel)[..., None]
    paint = mix(paint, rgb("c6c2b6"), 0.22 * smoothstep(0.2, 2.0, fade))
    old = noise(plane, "old rust", 3, 60, 1.6)
    rust_colour = ramp(uniform(0.5 * scale + 0.45 * grain - 0.4 * pits + 0.7 * old - 0.35), RUST)
    rust_colour = mix(rust_colour, rgb("c98a4a"), 0.4 * smoothstep(1.2, 2.4, detail + 0.5 * grain - 0.4 * old))
    rust_colour = mix(rust_colour, rgb("24130d"), np.clip(0.9 * pits, 0, 0.8))
    colour = mix(paint, rgb("9c6238"), np.clip(0.55 * run + 0.45 * near * smoothstep(0.3, 1.5, detail + 0.3), 0, 0.8))
    primer = smoothstep(limit - 0.10, limit - 0.04, eaten) * (1 - rust)
    colour = mix(colour, rgb("7d5a4a"), 0.7 * primer)
    colour = mix(colour, rgb("aaa69f") * (1 + 0.06 * grain)[..., None], bare)
    colour = mix(colour, rust_colour, rust_all)
    dirt = smoothstep(0.0002, 0.0016, cavity(height, 0.003, 0.010))
    colour = mix(colour, rgb("1f1712"), 0.5 * dirt)
    rough = mix(0.42 + 0.06 * fade + 0.03 * peel + 0.25 * run + 0.2 * near, 0.88 + 0.04 * grain, rust_all)
    rough = mix(rough, 0.34 + 0.05 * grain, bare)
    return Surface(colour, height, rough, np.clip(bare * (1 - 0.5 * dirt), 0, 1))


def diamond_plate(plane: Plane) -> Surface:
    """Steel tread plate, 0.5 m a side: lens-shaped bars, crosswise by turns, scuffed on top, grimy between."""
    rng = plane.rng("plate")
    across = int(rng.choice([8, 10, 12]))
    x, y = plane.axes()
    cx, cy = np.floor(x * across), np.floor(y * across)
    unit = np.float32(1 / across)
    dx, dy = (x * across - cx - 0.5) * unit, (y * across - cy - 0.5) * unit
    flip = np.where((cx + cy) % 2 == 0, 1, -1).astype(np.float32)
    s, t = (dx + flip * dy) * np.float32(np.sqrt(0.5)), (dy - flip * dx) * np.float32(np.sqrt(0.5))
    length, width = 0.50 * unit, 0.135 * unit
    # A lens is where two discs meet: the distance to it is that to the farther disc's rim.
    radius = (length * length + width * width) / (2 * width)
    lens = np.hypot(s, np.abs(t) + radius - width) - radius + np.float32(0.0003) * noise(plane, "edge", 20, 120, 1.2)
    flank = smoothstep(0.055 * unit, -0.075 * unit, lens)
    crown = np.clip(-lens / width, 0, 1)
    height = unit * (0.085 * flank + 0.02 * crown)
    roll = noise(plane, "roll", 20, slope=0.7, stretch=6)
    coarse = noise(plane, "coarse", 6, 150, 1.4)
    grain = noise(plane, "grain", 80, slope=0.4)
    scratch = np.zeros_like(height)
    add_strokes(scratch, random_lines(rng, 1500, (0.008, 0.16), (0.0003, 0.0010), (0.2, 1.0), bend=0.006))
    dings = np.maximum(noise(plane, "dings", 20, 90, 0.9) - 1.8, 0)
    top = smoothstep(0.5, 0.95, flank)
    walked = smoothstep(-1.2, 1.0, noise(plane, "walked", 1.5, 20, 1.6))
    wear = top * (0.35 + 0.65 * walked)
    mark = np.clip(scratch, 0, 1.3) * (0.35 + 0.65 * wear)
    height += np.float32(0.00010) * roll + np.float32(0.00016) * coarse + np.float32(0.00004) * grain
    height -= np.float32(0.00035) * mark + np.float32(0.0008) * dings * (0.4 + wear)
    height += np.float32(0.0015) * noise(plane, "buckle", 1, 4, 2.4)

    recess = smoothstep(0.0002, 0.0030, cavity(height, 0.006, 0.016))
    film = noise(plane, "film", 1.5, 120, 1.4)
    grime = np.clip(recess * (0.75 + 0.35 * film) + 0.30 * smoothstep(0.4, 1.9, film), 0, 1) * (1 - 0.85 * wear)
    steel = rgb("8f908f", "a09f9b", "7f8285")[int(rng.integers(0, 3))]
    colour = steel * (1 + 0.05 * coarse + 0.03 * roll + 0.025 * grain)[..., None]
    colour = mix(colour, rgb("c9c9c6"), np.clip(0.55 * wear + 0.45 * mark, 0, 0.9))
    colour = mix(colour, colour * rgb("8a857d"), smoothstep(0.0, 1.5, film) * (1 - wear) * 0.5)
    dirt = ramp(uniform(grain + coarse), rgb("241f1b", "37302a", "4d443a"))
    colour = mix(colour, dirt, 0.88 * grime)
    rust = smoothstep(
        1.35, 1.75, 0.7 * noise(plane, "rust place", 3, 20, 1.5) + 0.7 * noise(plane, "rust", 15, 250, 1.0)
    )
    rust = rust * (1 - wear) * np.float32(rng.choice([0.4, 1.0]))
    colour = mix(colour, ramp(uniform(coarse + grain), RUST[1:]), 0.85 * rust)
    dull = np.maximum(grime, rust)
    rough = mix(0.42 + 0.05 * coarse + 0.03 * roll - 0.12 * wear + 0.06 * mark, 0.86 + 0.03 * grain, dull)
    return Surface(colour, height, rough, np.clip(1 - smoothstep(0.15, 0.75, dull), 0, 1))
