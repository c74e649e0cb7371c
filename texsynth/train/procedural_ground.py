"""Procedural ground: pebbles, gravel, sand, earth, leaf litter, grass, and bark."""

# A material is a list of steps that share most of their fields; cut up, each would read worse.
# ruff: noqa: PLR0915

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from texsynth.train.procedural_field import (
    Field,
    Plane,
    cavity,
    mix,
    noise,
    ramp,
    rgb,
    shuffled,
    smoothstep,
    tints,
    uniform,
)
from texsynth.train.procedural_shapes import (
    Array,
    add_leaves,
    add_stones,
    add_threads,
    cells,
    empty_pile,
    jittered,
    scatter,
)
from texsynth.train.procedural_surface import Surface
from texsynth.train.procedural_wear import lichen


def _stone_layer(
    rng: np.random.Generator, x: Array, y: Array, radius: Array, base: Array, *, flat: float, angular: float
) -> tuple[Array, Array]:
    """Placement and facets of stones: `angular` 0 is water-worn, 1 is crushed."""
    n = len(x)
    ratio = rng.uniform(0.62, 1.0, n)
    placed = np.stack(
        [
            x,
            y,
            base,
            radius / np.sqrt(ratio),
            radius * np.sqrt(ratio),
            rng.uniform(0, np.pi, n),
            radius * flat * rng.uniform(0.8, 1.25, n),
            np.full(n, 0.20 - 0.165 * angular) * rng.uniform(0.8, 1.2, n),
        ],
        axis=-1,
    )
    sides = 7
    turn = (np.arange(sides)[None] + rng.uniform(-0.38, 0.38, (n, sides))) * (2 * np.pi / sides)
    facets = np.empty((n, sides + 3, 4))
    facets[:, :sides, 0], facets[:, :sides, 1] = np.cos(turn), np.sin(turn)
    facets[:, :sides, 2] = rng.uniform(0.74, 1.0, (n, sides))
    facets[:, :sides, 3] = rng.uniform(1.2, 3.2, (n, sides)) * (0.8 + 0.6 * angular)
    # Three nearly level planes cap the stone.
    top = rng.uniform(0, 2 * np.pi, (n, 3))
    lean = rng.uniform(0.05, 0.2 + 0.3 * angular, (n, 3))
    facets[:, sides:, 0], facets[:, sides:, 1] = np.cos(top) * lean, np.sin(top) * lean
    facets[:, sides:, 2] = rng.uniform(0.75, 1.1, (n, 3))
    facets[:, sides:, 3] = 1.0
    return placed, facets


RIVER = (
    rgb("8d867a", "6e6a64", "a79c8b", "57565a", "b8ad9c", "7d7166", "9b8a78"),
    rgb("70757a", "8c8f90", "565b62", "a3a19b", "6d6660", "b5b1a8"),
    rgb("a58b6e", "8a735b", "c0a88a", "75675a", "9a7f66", "b79a7a", "6a625b"),
)


def pebbles(plane: Plane) -> Surface:
    """River pebbles on sand, 0.6 m a side: three sizes, banded, speckled and veined, smooth."""
    rng = plane.rng("pebbles")
    ground = np.float32(0.0035) * noise(plane, "ground", 2, 40, 1.9) + np.float32(0.0003) * noise(
        plane, "grit", 50, slope=0.4
    )
    pile = empty_pile(ground)
    base = 0
    largest = rng.uniform(0.042, 0.058)
    for layer, (big, small, tries, lift) in enumerate(
        ((largest, 0.020, 1600, 0.008), (0.024, 0.010, 4000, 0.003), (0.010, 0.005, 9000, 0.0))
    ):
        x, y, radius = scatter(rng, big, small, tries, skew=1.5)
        if layer == 0:
            keep = rng.random(len(x)) < 0.9
            x, y, radius = x[keep], y[keep], radius[keep]
        high = lift + rng.normal(0, 0.001, len(x)) - 0.12 * radius
        placed, facets = _stone_layer(rng, x, y, radius * 1.14, high, flat=0.85, angular=0.0)
        add_stones(pile, placed, facets, base)
        base += len(x)
    stone = (pile.ident >= 0).astype(np.float32)
    ident = np.maximum(pile.ident, 0)
    grain = noise(plane, "grain", 60, slope=0.6)
    coarse = shuffled(plane, "coarse shift", noise(plane, "coarse", 8, 200, 1.6), ident)
    height = pile.height + stone * (np.float32(0.0003) * coarse + np.float32(0.00005) * grain)
    recess = cavity(height, 0.004, 0.016)

    palette = RIVER[int(rng.integers(0, len(RIVER)))]
    tone = tints(rng, base, palette, 0.13, 0.014)[ident]
    bands = shuffled(plane, "band shift", noise(plane, "bands", 10, 60, 1.2, stretch=4, angle=0.5), ident)
    which = rng.random((4, base)).astype(np.float32)[:, ident]
    tone = tone * (1 + 0.06 * coarse + 0.16 * bands * (which[0] < 0.35))[..., None]
    specks = shuffled(plane, "speck shift", noise(plane, "specks", 90, slope=0.5), ident)
    tone = tone * (1 + specks * np.where(which[1] < 0.4, 0.09, 0.03).astype(np.float32))[..., None]
    vein = shuffled(plane, "vein shift", noise(plane, "vein", 4, 60, 1.9, stretch=2.0, angle=1.0), ident)
    tone = mix(tone, rgb("d3cdc0"), 0.8 * np.exp(-np.square(vein * 16)) * (which[2] < 0.16))
    iron = smoothstep(0.3, 1.6, noise(plane, "iron", 5, 80, 1.4)) * (which[3] < 0.4)
    tone = mix(tone, tone * rgb("d89a68"), 0.7 * iron)
    sand = ramp(uniform(noise(plane, "sand", 70, slope=0.3)), rgb("4b4236", "75685a", "988973", "b9a98e"))
    colour = mix(sand, tone, stone)
    depth = smoothstep(0.001, 0.016, recess)
    colour = mix(colour, colour * rgb("5b5048"), 0.8 * depth)
    rough = mix(0.9, 0.46 + 0.05 * coarse + 0.02 * grain + 0.16 * (which[0] - 0.5), stone)
    return Surface(colour, height, mix(rough, 0.85, 0.7 * depth))


GRAVELS = (
    rgb("7d7b78", "6a6968", "918f8b", "5a5a5b", "a3a09a", "76706a"),
    rgb("a08c72", "8c7a63", "b5a184", "77695a", "998672", "c2b296"),
    rgb("6e6a6c", "86807f", "585558", "7d6a62", "98908a"),
)


def gravel(plane: Plane) -> Surface:
    """Crushed stone, 0.5 m a side: sharp-edged chippings of all sizes with dust and fines between them."""
    rng = plane.rng("gravel")
    ground = np.float32(0.003) * noise(plane, "ground", 2, 60, 1.6) + np.float32(0.0007) * noise(
        plane, "grit", 60, slope=0.3
    )
    pile = empty_pile(ground)
    base = 0
    coarse_size = rng.uniform(0.019, 0.027)
    for big, small, tries, lift, passes in (
        (coarse_size, 0.011, 1500, 0.004, 2),
        (0.011, 0.005, 4500, 0.001, 2),
        (0.005, 0.0025, 9000, -0.001, 1),
    ):
        for level in range(passes):
            x, y, radius = scatter(rng, big, small, tries, skew=1.3)
            keep = rng.random(len(x)) < (1.0 if level == 0 else 0.45)
            x, y, radius = x[keep], y[keep], radius[keep]
            high = lift + level * 0.35 * big + rng.normal(0, 0.0014, len(x)) - 0.15 * radius
            placed, facets = _stone_layer(rng, x, y, radius * 1.2, high, flat=0.9, angular=1.0)
            add_stones(pile, placed, facets, base)
            base += len(x)
    stone = (pile.ident >= 0).astype(np.float32)
    ident = np.maximum(pile.ident, 0)
    grain = noise(plane, "grain", 60, slope=0.6)
    coarse = shuffled(plane, "coarse shift", noise(plane, "coarse", 12, slope=1.4), ident)
    height = pile.height + stone * (np.float32(0.00055) * coarse + np.float32(0.0001) * grain)
    recess = cavity(height, 0.003, 0.012)
    palette = GRAVELS[int(rng.integers(0, len(GRAVELS)))]
    tone = tints(rng, base, palette, 0.15, 0.012)[ident]
    which = rng.random((2, base)).astype(np.float32)[:, ident]
    specks = shuffled(plane, "speck shift", noise(plane, "specks", 100, slope=0.5), ident)
    tone = tone * (1 + 0.07 * coarse + specks * np.where(which[0] < 0.4, 0.085, 0.035).astype(np.float32))[..., None]
    tone = mix(tone, tone * rgb("d9ac82"), 0.7 * smoothstep(0.5, 1.8, coarse + 0.3) * (which[1] < 0.2))
    tone = mix(tone, np.clip(tone * 1.2 + 0.03, 0, 1), 0.6 * smoothstep(0.0006, 0.004, -recess))
    dust = ramp(uniform(noise(plane, "dust", 80, slope=0.3)), rgb("4a443c", "6d655a", "8c8373"))
    colour = mix(dust, tone, stone)
    settled = smoothstep(-0.3, 1.3, noise(plane, "settled", 2, 80, 1.4)) * smoothstep(-0.002, 0.004, recess)
    colour = mix(colour, palette.mean(axis=0) * rgb("e0d6c6"), 0.4 * settled)
    depth = smoothstep(0.0015, 0.012, recess)
    colour = mix(colour, colour * rgb("544c45"), 0.85 * depth)
    rough = mix(0.93, 0.80 + 0.05 * coarse + 0.03 * specks * 0.5, stone)
    return Surface(colour, height, rough + 0.06 * settled)


def _travelling(field: Field, direction: float, spread: float) -> npt.NDArray[np.complex64]:
    """The waves of the field that run along `direction`, within about `spread` radians, as an analytic signal.

    Its angle is their phase, its modulus (unit root mean square) their strength: where that is 0, crests fork.
    """
    size = field.shape[0]
    k = np.fft.fftfreq(size, 1 / size).astype(np.float32)
    off = np.arctan2(k[:, None], k[None, :]) - np.float32(direction)
    off -= np.float32(2 * np.pi) * np.round(off / np.float32(2 * np.pi))
    spectrum = np.fft.fft2(field) * np.exp(-np.square(off / np.float32(spread)))
    wave: npt.NDArray[np.complex64] = np.fft.ifft2(spectrum).astype(np.complex64)
    wave /= np.sqrt(np.mean(np.square(np.abs(wave)), dtype=np.float64)).astype(np.float32)
    return wave


SANDS = (
    rgb("a98b63", "c3a67c", "d6be96", "e2d0ae"),
    rgb("9c8f7c", "b5a893", "c9bda8", "d8cfbe"),
    rgb("a4714a", "bd8a5f", "cf9f74", "dcb48c"),
)


def sand(plane: Plane) -> Surface:
    """Wind-rippled sand, 0.8 m a side: ripples that fork, steep to the lee, with loose grains and bits of shell."""
    rng = plane.rng("sand")
    count = float(rng.uniform(9, 15))
    turn = float(rng.uniform(-0.5, 0.5))
    wave = _travelling(noise(plane, "ripple", count, count * 1.12, 0.0), turn + np.pi / 2, 0.24)
    phase, strength = np.angle(wave), np.abs(wave)
    # Slow windward and steep lee side; the ripples die out where two of them meet in a fork.
    crest = np.sin(phase + np.float32(0.65) * np.sin(phase + np.float32(0.5))) * smoothstep(0.0, 0.6, strength)
    crest = crest + np.float32(0.18) * np.cos(2 * phase) * smoothstep(0.0, 0.6, strength)
    dune = noise(plane, "dune", 1, 6, 2.2)
    drift = smoothstep(-1.3, 0.7, noise(plane, "drift", 1, 8, 1.8))
    soft = noise(plane, "soft", 6, 120, 1.5)
    grain = noise(plane, "grain", 110, slope=0.0)
    fine = noise(plane, "fine", 60, slope=0.5)
    unit = np.float32(1 / count)
    base = unit * np.float32(0.055) * crest * (0.45 + 0.55 * drift) + np.float32(0.004) * dune
    base += np.float32(0.0006) * soft + np.float32(0.00016) * fine + np.float32(0.00012) * grain
    pile = empty_pile(base)
    sx, sy, radius = scatter(rng, 0.0065, 0.0011, 4000, skew=5)
    some = rng.random(len(sx)) < 0.5
    sx, sy, radius = sx[some], sy[some], radius[some]
    ground_at = base[(sy * plane.size).astype(int) % plane.size, (sx * plane.size).astype(int) % plane.size]
    placed, facets = _stone_layer(rng, sx, sy, radius, ground_at - 0.15 * radius, flat=0.6, angular=0.25)
    add_stones(pile, placed, facets)
    on = (pile.ident >= 0).astype(np.float32)
    ident = np.maximum(pile.ident, 0)
    height = pile.height

    palette = SANDS[int(rng.integers(0, len(SANDS)))]
    recess = cavity(base, 0.25 / count, 0.5 / count) / unit
    sorting = np.clip(0.5 - 4.0 * recess + 0.05 * soft + 0.05 * dune + 0.06 * fine, 0, 1)
    colour = ramp(sorting, palette)
    colour = colour * (1 + 0.055 * grain + 0.02 * soft)[..., None]
    dark_grains = smoothstep(2.0, 2.7, grain + 0.5 * recess * 4)
    colour = mix(colour, rgb("4a3b2e"), 0.6 * dark_grains)
    bright = smoothstep(2.1, 2.8, -grain)
    colour = mix(colour, rgb("f0e8d6"), 0.6 * bright)
    stones = tints(rng, max(len(sx), 1), rgb("8a7f72", "c9bca4", "5f5a55", "ddd3c0", "a8896a"), 0.1, 0.01)
    colour = mix(colour, stones[ident] * (1 + 0.06 * fine)[..., None], on)
    colour = mix(colour, colour * 0.6, 0.7 * smoothstep(0.0003, 0.0022, cavity(height, 0.002, 0.004)))
    rough = mix(0.90 + 0.03 * grain, 0.55, on) - 0.15 * bright
    return Surface(colour, height, rough)


def _earth(plane: Plane) -> tuple[Field, Field]:
    """Height and colour of bare soil with crumbs, for what lies on it."""
    coarse = noise(plane, "soil", 3, slope=1.6)
    crumbs = noise(plane, "crumbs", 30, slope=0.7)
    height = np.float32(0.004) * coarse + np.float32(0.0011) * crumbs
    colour = ramp(uniform(0.8 * crumbs + 0.6 * coarse), rgb("221912", "38291d", "4f3c2a", "6b543c"))
    return height, colour


def _veined(u: Field, v: Field, pairs: Field) -> tuple[Field, Field, Field]:
    """Midrib and side veins of a leaf as 0..1 masks, and the bulge between veins (0 on a vein, 1 halfway).

    `u` runs along the leaf (0..1), `v` across (-1..1); there are about `pairs` pairs of side veins.
    """
    away = np.abs(v)
    rib = np.exp(-np.square(v / (0.055 * (1.3 - u))))
    phase = (u - np.float32(0.32) * away) * pairs
    off = phase - np.round(phase)
    side = np.exp(-np.square(off * 6)) * (1 - away) * smoothstep(0.02, 0.15, away)
    return rib, side, np.square(off) * 4


AUTUMN = (
    rgb("7a4a24", "8f5a2a", "5e3a20", "a36a30", "6b4a2c", "94643a"),
    rgb("a8632a", "c08034", "8a4a22", "74401f", "b5702c", "96331f", "5c3820"),
    rgb("6e5638", "83683f", "5a452c", "94784a", "4b3a28", "7d6a3a"),
)


def leaves(plane: Plane) -> Surface:
    """Fallen leaves on a forest floor, 0.9 m a side: several kinds, curled and layered, with twigs and bare earth."""
    rng = plane.rng("leaves")
    ground, soil = _earth(plane)
    pile = empty_pile(ground)
    size = rng.uniform(0.034, 0.046)
    count = int(2.0 / size**1.85)
    kinds = rng.integers(0, 3, count)
    half_length = size * rng.uniform(0.55, 1.3, count)
    slender = np.choose(kinds, [0.56, 0.42, 0.62]) * rng.uniform(0.85, 1.15, count)
    layer = np.sort(rng.uniform(0, 1, count))
    placed = np.stack(
        [
            rng.random(count),
            rng.random(count),
            0.004 + 0.016 * layer,
            half_length,
            half_length * slender,
            rng.uniform(0, 2 * np.pi, count),
            rng.normal(0, 0.10, count),
            rng.normal(0, 0.11, count),
        ],
        axis=-1,
    )
    shape = np.stack(
        [
            np.choose(kinds, [0.85, 0.75, 0.95]),
            np.choose(kinds, [0.75, 1.0, 0.6]),
            np.choose(kinds, [1.0, 1.0, 5.0]),
            np.choose(kinds, [0.0, 0.0, 0.34]),
            rng.normal(0.06, 0.10, count),
            rng.normal(0.08, 0.14, count),
            rng.normal(0, 0.16, count),
        ],
        axis=-1,
    )
    add_leaves(pile, placed, shape)
    twigs = 26
    start = rng.random((twigs, 2))
    heading = rng.uniform(0, 2 * np.pi, twigs)[:, None] + np.cumsum(rng.normal(0, 0.22, (twigs, 9)), axis=1)
    step = rng.uniform(0.008, 0.022, (twigs, 1))
    points = np.zeros((twigs, 10, 4))
    points[:, 0, :2] = start
    points[:, 1:, 0] = start[:, :1] + np.cumsum(np.cos(heading) * step, axis=1)
    points[:, 1:, 1] = start[:, 1:] + np.cumsum(np.sin(heading) * step, axis=1)
    points[:, :, 2] = rng.uniform(0.010, 0.026, (twigs, 1))
    points[:, :, 3] = rng.uniform(0.0016, 0.0036, (twigs, 1)) * np.linspace(1, 0.35, 10)
    add_threads(pile, points, 1.0, base=count)

    ident = np.maximum(pile.ident, 0)
    leaf = ((pile.ident >= 0) & (pile.ident < count)).astype(np.float32)
    twig = (pile.ident >= count).astype(np.float32)
    total = count + twigs
    fine = noise(plane, "fine", 50, slope=0.7)
    blotch = shuffled(plane, "blotch shift", noise(plane, "blotch", 8, 200, 1.4), ident)
    pairs = rng.uniform(7, 11, total).astype(np.float32)[ident]
    rib, side, between = _veined(pile.u, pile.v, pairs)
    rib, side = rib * leaf, side * leaf
    relief = 0.020 * rib + 0.007 * side - 0.011 * (1 - between) * (1 - rib)
    height = pile.height + leaf * np.float32(size) * relief
    height += leaf * (np.float32(0.0006) * blotch + np.float32(0.00010) * fine)
    height += twig * np.float32(0.0005) * noise(plane, "bark", 30, slope=0.9)

    palette = AUTUMN[int(rng.integers(0, len(AUTUMN)))]
    tone = tints(rng, total, palette, 0.14, 0.02)
    old = (1 - np.append(layer, np.ones(twigs)))[:, None]
    tone = (tone * (1 - 0.35 * old)).astype(np.float32)
    greenish = rng.random(total) < 0.06
    tone[greenish] = tints(rng, int(greenish.sum()), rgb("6f7434", "868043"), 0.1, 0.02)
    colour = tone[ident] * (1 + 0.11 * blotch + 0.045 * fine)[..., None]
    crisp = smoothstep(0.45, 1.0, np.abs(pile.v) + 0.25 * blotch + 0.35 * smoothstep(0.7, 1.0, pile.u))
    colour = mix(colour, colour * rgb("94785e"), 0.65 * crisp)
    spots = smoothstep(1.5, 1.9, shuffled(plane, "spot shift", noise(plane, "spots", 25, 200, 0.8), ident))
    colour = mix(colour, rgb("2c1c12"), 0.7 * spots * leaf)
    colour = mix(colour, np.clip(colour * 1.35 + 0.04, 0, 1), np.clip(0.75 * rib + 0.38 * side, 0, 1))
    twig_tone = ramp(uniform(noise(plane, "twig", 20, slope=0.9)), rgb("3a2c20", "5c4938", "7d6b57"))
    colour = mix(colour, twig_tone * (1 - 0.35 * np.square(pile.v))[..., None], twig)
    colour = mix(soil, colour, np.maximum(leaf, twig))
    recess = cavity(height, 0.006, 0.02)
    colour = mix(colour, colour * rgb("4d4038"), 0.85 * smoothstep(0.001, 0.012, recess))
    damp = smoothstep(-0.5, 1.2, noise(plane, "damp", 1, 12, 1.7))
    rough = mix(0.94, 0.58 + 0.18 * damp + 0.05 * blotch + 0.08 * crisp, leaf)
    return Surface(colour, height, mix(rough, 0.86, twig))


LAWNS = (
    rgb("35501f", "47652a", "5c7a34", "6f8a3f", "7f9449"),
    rgb("4a5a26", "62702f", "7a823c", "8f8f4a", "a39a58"),
    rgb("2c4a24", "3a5f2c", "4d7536", "628a44"),
)


def grass(plane: Plane) -> Surface:
    """A meadow seen from above, 0.5 m a side: blades that bend over each other, dry ones among them, some clover."""
    rng = plane.rng("grass")
    ground, soil = _earth(plane)
    pile = empty_pile(ground * np.float32(0.7))
    count = 9000
    points = np.zeros((count, 7, 4))
    clump = noise(Plane(64, plane.key), "clump", 2, 10, 1.4)
    x, y = rng.random(count), rng.random(count)
    lush = clump[(y * 64).astype(int), (x * 64).astype(int)]
    lay = noise(Plane(64, plane.key), "lay", 1, 5, 2.0)[(y * 64).astype(int), (x * 64).astype(int)]
    length = rng.uniform(0.035, 0.10, count) * np.exp(0.22 * lush)
    heading = 2.2 * lay + rng.normal(0, 1.25, count)
    turn = rng.normal(0, 0.55, count)
    level = np.sort(rng.random(count))
    t = np.linspace(0, 1, 7)
    angle = heading[:, None] + turn[:, None] * t
    points[:, 0, 0], points[:, 0, 1] = x, y
    points[:, 1:, 0] = x[:, None] + np.cumsum(np.cos(angle[:, :-1]), 1) * (length / 6)[:, None]
    points[:, 1:, 1] = y[:, None] + np.cumsum(np.sin(angle[:, :-1]), 1) * (length / 6)[:, None]
    arch = np.sin(np.pi * np.clip(t * 0.78, 0, 1))
    points[:, :, 2] = 0.002 + (0.003 + 0.012 * level)[:, None] * arch[None] * np.exp(0.25 * lush)[:, None]
    width = rng.uniform(0.0017, 0.0036, count) * np.exp(0.1 * lush)
    points[:, :, 3] = width[:, None] * (1 - t**2.2)[None] * (0.65 + 0.35 * np.sin(np.pi * np.minimum(t * 1.6, 1)))[None]
    points[:, -1, 3] = 0.0002
    add_threads(pile, points, 0.55)
    clovers = int(rng.integers(0, 70))
    if clovers:
        centre = rng.random((clovers, 2))
        leaflets = np.repeat(centre, 3, 0)
        spin = (rng.uniform(0, 2 * np.pi, clovers)[:, None] + np.arange(3) * 2 * np.pi / 3).ravel()
        half = np.repeat(rng.uniform(0.008, 0.013, clovers), 3)
        placed = np.stack(
            [
                leaflets[:, 0] + np.cos(spin) * half,
                leaflets[:, 1] + np.sin(spin) * half,
                np.repeat(rng.uniform(0.008, 0.017, clovers), 3),
                half,
                half * 0.85,
                spin,
                rng.normal(0, 0.1, clovers * 3),
                rng.normal(0, 0.1, clovers * 3),
            ],
            axis=-1,
        )
        ones = np.ones(clovers * 3)
        bend = [1.25 * ones, 0.6 * ones, ones, 0 * ones, 0.1 * ones, 0.18 * ones, 0 * ones]
        add_leaves(pile, placed, np.stack(bend, axis=-1), base=count)
    covered = (pile.ident >= 0).astype(np.float32)
    blade = ((pile.ident >= 0) & (pile.ident < count)).astype(np.float32)
    clover = covered - blade
    ident = np.maximum(pile.ident, 0)
    total = count + 3 * clovers
    fibre = noise(plane, "fibre", 60, slope=0.6)
    along = np.clip(pile.u / np.append(length, np.ones(total - count)).astype(np.float32)[ident], 0, 1)
    keel = np.exp(-np.square(pile.v / 0.22)) * blade
    height = pile.height - np.float32(0.00045) * keel
    height += blade * np.float32(0.00012) * np.cos(pile.v * np.float32(11)) + np.float32(0.00008) * fibre * covered

    palette = LAWNS[int(rng.integers(0, len(LAWNS)))]
    tone = tints(rng, total, palette, 0.13, 0.03)
    dry = np.append(rng.random(count) < 0.10 + 0.05 * np.clip(-lush, 0, 2), np.zeros(total - count, bool))
    tone[dry] = tints(rng, int(dry.sum()), rgb("a8945c", "8f7a48", "bcab76", "75633c"), 0.1, 0.02)
    tone[count:] = tints(rng, total - count, rgb("3f6a34", "4d7a3c"), 0.06, 0.02)
    colour = tone[ident] * (0.78 + 0.34 * along + 0.05 * fibre)[..., None]
    colour = mix(colour, rgb("a39a62"), 0.45 * smoothstep(0.30, 0.0, along) * blade)
    colour = mix(colour, rgb("a38f55"), 0.55 * smoothstep(0.86, 1.0, along) * blade)
    colour = mix(colour, np.clip(colour * 1.22, 0, 1), 0.5 * keel)
    rib = np.exp(-np.square(pile.v / 0.05))
    chevron = np.exp(-np.square((pile.u - 0.55 + 0.15 * np.abs(pile.v)) / 0.07))
    colour = mix(colour, rgb("a9bf94"), np.clip(0.5 * chevron + 0.3 * rib, 0, 1) * clover)
    colour = mix(soil, colour, covered)
    recess = cavity(height, 0.005, 0.02)
    colour = mix(colour, colour * rgb("4a4634"), 0.85 * smoothstep(0.0005, 0.013, recess))
    rough = mix(0.95, 0.56 + 0.05 * fibre + 0.12 * dry.astype(np.float32)[ident], covered)
    return Surface(colour, height, rough + 0.15 * smoothstep(0.001, 0.012, recess))


def soil(plane: Plane) -> Surface:
    """Trodden earth, 1 m a side: dried and cracked in places, with clods, small stones and straw."""
    rng = plane.rng("soil")
    x, y = plane.axes()
    swell = noise(plane, "swell", 1, 8, 2.0)
    coarse = noise(plane, "coarse", 4, slope=1.6)
    crumbs = noise(plane, "crumbs", 30, slope=0.75)
    across = int(rng.integers(7, 12))
    site_x, site_y = jittered(rng, across, across, 0.9)
    wx = x + np.float32(0.016) * noise(plane, "warp x", 4, 100, 1.9)
    wy = y + np.float32(0.016) * noise(plane, "warp y", 4, 100, 1.9)
    clods = cells(wx, wy, site_x, site_y, rng.uniform(0, 0.6 / across, len(site_x)), 1.0, 0.004)
    dry = smoothstep(-0.3, 0.9, noise(plane, "dry", 1, 10, 1.7))
    crack_width = np.float32(0.0022) * (0.4 + dry)
    crack = smoothstep(crack_width.max(), 0.0006, clods.edge / (0.35 + dry) * 1.1) * dry
    curl = np.square(np.clip(1 - clods.edge / np.float32(0.022), 0, 1)) * dry
    level = rng.normal(0, 1, clods.count).astype(np.float32)[clods.ident] * dry
    base = np.float32(0.006) * swell + np.float32(0.0042) * coarse * (1 - 0.5 * dry) + np.float32(0.0011) * crumbs
    base += np.float32(0.0016) * level - np.float32(0.0026) * curl - np.float32(0.008) * crack
    pile = empty_pile(base)
    sx, sy, radius = scatter(rng, 0.016, 0.0022, 5000, skew=6)
    some = rng.random(len(sx)) < rng.uniform(0.35, 0.8)
    sx, sy, radius = sx[some], sy[some], radius[some]
    at = base[(sy * plane.size).astype(int) % plane.size, (sx * plane.size).astype(int) % plane.size]
    placed, facets = _stone_layer(rng, sx, sy, radius, at - 0.3 * radius, flat=0.8, angular=0.5)
    add_stones(pile, placed, facets)
    stones = len(sx)
    straws = 90
    straw = np.zeros((straws, 3, 4))
    start, way = rng.random((straws, 2)), rng.uniform(0, 2 * np.pi, straws)
    for k in range(3):
        straw[:, k, 0] = start[:, 0] + np.cos(way + 0.2 * k) * k * 0.017
        straw[:, k, 1] = start[:, 1] + np.sin(way + 0.2 * k) * k * 0.017
    straw[:, :, 2] = (base[(start[:, 1] * plane.size).astype(int), (start[:, 0] * plane.size).astype(int)] + 0.003)[
        :, None
    ]
    straw[:, :, 3] = rng.uniform(0.0007, 0.0015, (straws, 1))
    add_threads(pile, straw, 0.8, base=stones)
    stone = ((pile.ident >= 0) & (pile.ident < stones)).astype(np.float32)
    stalk = (pile.ident >= stones).astype(np.float32)
    ident = np.maximum(pile.ident, 0)
    height = pile.height + stone * np.float32(0.0004) * crumbs
    palette = (
        rgb("3b2c20", "594534", "76604a", "947d63"),
        rgb("4a3a30", "6b5646", "8a7560", "a6937c"),
        rgb("5a3524", "7b4d35", "976748", "b08462"),
    )[int(rng.integers(0, 3))]
    colour = ramp(np.clip(0.42 + 0.14 * crumbs + 0.10 * coarse + 0.16 * (dry - 0.5) + 0.03 * level, 0, 1), palette)
    grit = noise(plane, "grit", 110, slope=0.1)
    colour = colour * (1 + 0.06 * grit)[..., None]
    colour = mix(colour, rgb("b3a289"), 0.5 * smoothstep(1.9, 2.6, grit))
    tones = tints(rng, stones + straws, rgb("8f887c", "757069", "a49a88", "66605a"), 0.1, 0.012)
    tones[stones:] = tints(rng, straws, rgb("b59f68", "9c8552", "c7b481"), 0.1, 0.02)
    colour = mix(
        colour, tones[ident] * (1 + 0.07 * crumbs * stone - 0.3 * np.square(pile.v) * stalk)[..., None], stone + stalk
    )
    recess = smoothstep(0.0008, 0.008, cavity(height, 0.004, 0.014))
    colour = mix(colour, rgb("1f1711"), np.clip(0.7 * recess + 0.6 * crack * (1 - stone), 0, 0.9))
    damp = smoothstep(0.2, 1.6, -swell + 0.4 * coarse) * (1 - dry)
    colour = mix(colour, colour * 0.62, 0.8 * damp * (1 - stalk))
    rough = mix(0.95 - 0.28 * damp + 0.02 * grit, 0.75, stone)
    return Surface(colour, height, mix(rough, 0.6, stalk))


def bark(plane: Plane) -> Surface:
    """Bark of an old tree, trunk along y, 0.7 m a side: plates between deep furrows, flaking, with lichen."""
    rng = plane.rng("bark")
    x, y = plane.axes()
    columns = int(rng.integers(8, 12))
    stretch = 0.27
    site_x, site_y = jittered(rng, columns, max(2, round(columns * stretch)), 0.95)
    wx = x + np.float32(0.016) * noise(plane, "warp x", 3, 120, 1.9, stretch=2.2, angle=np.pi / 2)
    wy = y + np.float32(0.05) * noise(plane, "warp y", 3, 120, 1.9)
    plates = cells(wx, wy, site_x, site_y, None, stretch, 0.006)
    unit = np.float32(1 / columns / stretch)
    second_x, second_y = jittered(plane.rng("second"), columns * 2, columns + columns % 2, 0.95)
    second = cells(wx, wy, second_x, second_y, None, 0.5, 0.0015)
    grain = noise(plane, "grain", 30, slope=1.0, stretch=4, angle=np.pi / 2)
    coarse = noise(plane, "coarse", 5, slope=1.5, stretch=2.2, angle=np.pi / 2)
    flake_field = shuffled(
        plane, "flake shift", noise(plane, "flake", 3, 120, 1.7, stretch=1.8, angle=np.pi / 2), plates.ident
    )
    flakes = np.floor(flake_field * 2.4)
    flake = (flakes + smoothstep(0.6, 1.0, flake_field * np.float32(2.4) - flakes)) * np.float32(0.4)
    plateau = np.clip((plates.edge - np.float32(0.03) * unit) / (0.24 * unit), 0, 1)
    ridge = plateau * (2 - plateau)
    minor = np.exp(-second.edge / np.float32(0.004))
    level = rng.normal(0, 1, plates.count).astype(np.float32)[plates.ident]
    height = np.float32(0.034) * ridge + np.float32(0.0024) * level * ridge + np.float32(0.0042) * flake * ridge
    height += np.float32(0.0028) * coarse + np.float32(0.0009) * grain - np.float32(0.006) * minor * ridge
    recess = cavity(height, 0.004, 0.018)
    palette = (
        rgb("3a2c22", "5b4838", "7a6552", "9a8773"),
        rgb("3d3833", "5e5850", "7f786e", "a29b8f"),
        rgb("472c1e", "6b442e", "8a5f42", "a9805f"),
    )[int(rng.integers(0, 3))]
    colour = ramp(
        np.clip(0.30 + 0.32 * ridge + 0.06 * level + 0.09 * coarse + 0.07 * grain + 0.05 * flake, 0, 1), palette
    )
    inner = smoothstep(0.4, 1.3, flake_field) * ridge
    colour = mix(colour, colour * rgb("e8b48a") * 1.1, 0.35 * inner)
    crust, species = lichen(plane, 32, 0.45)
    crust = crust * smoothstep(0.2, 0.7, ridge)
    colour = mix(colour, ramp(species, rgb("a3ab8c", "8f997a", "b5b7a0")), 0.7 * crust)
    moss = smoothstep(
        0.9, 1.9, noise(plane, "moss", 1.5, 60, 1.5, stretch=1.5, angle=np.pi / 2) + 120 * recess
    ) * np.float32(rng.choice([0, 1]))
    colour = mix(colour, ramp(uniform(grain), rgb("2f3a17", "4f5c22", "717a35")), 0.8 * moss)
    colour = mix(colour, colour * rgb("51443b"), 0.85 * smoothstep(0.001, 0.014, recess))
    rough = 0.82 + 0.03 * grain + 0.05 * coarse + 0.08 * crust - 0.07 * inner + 0.1 * smoothstep(0.001, 0.014, recess)
    return Surface(colour, height, rough)
