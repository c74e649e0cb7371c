"""Flat charts bent until what is level on the surface is level on them, for patterns of courses; or until limbs are
straight on them, for patterns with a grain.

Laid flat as rigidly as can be, a cone is a fan and a sphere a peel: courses that are straight there climb and fall on
the surface. Where the surface is upright, triangles are therefore held to the rotation that has its up at the top, and
the chart may stretch and shear instead. Bricks on a cone grow narrower towards its tip, as its circles do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from texsynth.surface.flatten import areas, linear_maps, relaxed

Doubles = NDArray[np.float64]
Complex = NDArray[np.complex128]
Ints = NDArray[np.int64]

UNEVEN = np.deg2rad(2)  # deviation of up over a chart's upright area, from which it is bent
ONE_WAY = 0.4  # of the length of up, twice as far turned, that its mean must keep
PULLS = (50.0, 2.0, 0.5)  # of up, for what is upright, against a triangle's own shape: the first that folds nothing
LIMB = 0.25  # of a chart that is of a limb, from which the whole is
STEEP = 0.5  # sine of the slope from which a triangle is upright
MOST_FOLDED, MOST_STRETCHED, STRETCHED = 0.002, 0.3, 2.5  # of the area that may be turned over or stretched so much


def levelled(places: Doubles, of: Ints, shapes: Doubles, charts: Ints, ups: Doubles) -> Doubles:
    """Places (P, 2) of charts laid flat, each by itself, those bent that need it and can be.

    of: (T, 3), the points of triangles; shapes: as `flatten.triangle_shapes`; charts: (T,), their charts 0 ... C - 1;
    ups: float64 (T, 2), the direction that is up on the surface as it lies on each of `shapes`, no longer than 1.
    """
    wanted, now = _wanted(ups), _turns(places, of, shapes)
    area = np.abs(areas(shapes))
    weight = np.where(np.hypot(*ups.T) > STEEP, area, 0.0)
    off = now * np.conj(wanted)  # how far each triangle is from upright
    count = int(charts.max()) + 1
    total = np.maximum(np.bincount(charts, weight, count), 1e-300)
    mean = _sums(charts, weight * off, count) / total
    twofold = _sums(charts, weight * off**2, count) / total  # courses are level upside down too
    way = np.sqrt(twofold)
    way = np.where((mean * np.conj(way)).real < 0, -way, way) / np.maximum(np.abs(way), 1e-300)
    off = off * np.conj(way[charts])
    wanted = np.where(off.real < 0, -wanted, wanted)
    apart = np.sqrt(np.bincount(charts, weight * (np.angle(off**2) / 2) ** 2, count) / total)
    chosen = (np.abs(twofold) > ONE_WAY) & (apart > UNEVEN)
    steep = np.hypot(*ups.T)
    # steep triangles fully, others the less the flatter they lie
    pull = np.where(steep > STEEP, 1.0, steep**2)
    return _bent(places, of, shapes, charts, np.asarray(way, np.complex128), pull * wanted, chosen)


def along_limbs(places: Doubles, of: Ints, shapes: Doubles, charts: Ints, ways: Doubles, sure: Doubles) -> Doubles:
    """The same for the charts of limbs, until these are straight.

    ways: float64 (T, 2), the direction along its limb on each of `shapes`, equal on neighbours; sure: (T,), 0..1.
    """
    wanted = _wanted(ways)
    area = np.abs(areas(shapes))
    weight, count = area * sure, int(charts.max()) + 1
    total = np.maximum(np.bincount(charts, weight, count), 1e-300)
    off = _turns(places, of, shapes) * np.conj(wanted)
    mean = _sums(charts, weight * off, count) / total
    way = mean / np.maximum(np.abs(mean), 1e-300)
    way[np.abs(mean) < 1e-9] = 1  # a ring, all ways alike
    apart = np.sqrt(np.bincount(charts, weight * np.angle(off * np.conj(way[charts])) ** 2, count) / total)
    chosen = (total > LIMB * np.bincount(charts, area, count)) & (apart > UNEVEN)
    return _bent(places, of, shapes, charts, way, sure * wanted, chosen)


def _bent(
    places: Doubles, of: Ints, shapes: Doubles, charts: Ints, way: Complex, wanted: Complex, chosen: NDArray[np.bool_]
) -> Doubles:
    """Places with the chosen charts (C,), first turned back by `way` (C,), bent until each triangle has the rotation
    `wanted` (T,), as firmly as it is long and nothing folds."""
    made, left = places.copy(), chosen[charts]
    for pull in PULLS:
        sound = _bend(made, of, shapes, charts, np.conj(way[charts]), pull * wanted, left)
        left = left & ~sound[charts]
    return made


def _bend(
    places: Doubles, of: Ints, shapes: Doubles, charts: Ints, turn: Complex, pull: Complex, chosen: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Bend the charts of the chosen triangles, first turned, in place; bool (C,), which of them became sound. The
    others stay as they were."""
    count = int(charts.max()) + 1
    if not chosen.any():
        return np.zeros(count, np.bool_)
    used, local = np.unique(of[chosen], return_inverse=True)
    local = local.reshape(-1, 3)
    at = np.zeros(len(used), np.int64)
    at[local] = np.flatnonzero(chosen)[:, None]  # of each point a triangle
    z = (places[used, 0] + 1j * places[used, 1]) * turn[at]
    bent = relaxed(np.stack([z.real, z.imag], axis=1), local, shapes[chosen], pull[chosen])
    sound = _sound(bent[local], shapes[chosen], charts[chosen], count)
    moved = sound[charts[at]]
    places[used[moved]] = bent[moved]
    return sound


def _sums(charts: Ints, values: Complex, count: int) -> Complex:
    return np.asarray(np.bincount(charts, values.real, count) + 1j * np.bincount(charts, values.imag, count))


def _wanted(ups: Doubles) -> Complex:
    """complex (T,), of length 1: the rotation that brings the up of each triangle to the top, which is at -i."""
    up = ups[:, 0] + 1j * ups[:, 1]
    return np.asarray(-1j * np.conj(up) / np.maximum(np.abs(up), 1e-300), np.complex128)


def _turns(places: Doubles, of: Ints, shapes: Doubles) -> Complex:
    """complex (T,), of length 1: the rotation that triangles have."""
    maps = linear_maps(places[of], shapes)
    turn = maps[:, 0, 0] + maps[:, 1, 1] + 1j * (maps[:, 1, 0] - maps[:, 0, 1])
    return np.asarray(turn / np.maximum(np.abs(turn), 1e-300), np.complex128)


def _sound(corners: Doubles, shapes: Doubles, charts: Ints, count: int) -> NDArray[np.bool_]:
    """bool (C,): whether hardly anything of a chart is turned over or stretched beyond use."""
    area = np.abs(areas(shapes))
    total = np.maximum(np.bincount(charts, area, count), 1e-300)
    maps = linear_maps(corners, shapes)
    values = np.linalg.svd(maps, compute_uv=False)
    folded = np.bincount(charts, np.where(np.linalg.det(maps) <= 0, area, 0.0), count)
    bad = (values[:, 0] > STRETCHED) | (values[:, 1] < 1 / STRETCHED)
    stretched = np.bincount(charts, np.where(bad, area, 0.0), count)
    return np.asarray((folded <= MOST_FOLDED * total) & (stretched <= MOST_STRETCHED * total))
