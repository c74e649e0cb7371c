"""What the order of chunks is tuned by, without a line: static views, the scheduler alone, every byte in its order.

    python benchmarks/chunk_order.py --meshes FOLDER --data FOLDER [--sets 2]

- How visible an error is in each kind of map: one kind is held at a coarser level, and the squared error of the lit
  view is set against the squared error that the chunks' details foretell for it. `priorities.VISIBILITY` is this.
- Bytes until SSIM 0.95 of the view, and the mean SSIM over the first bytes, by order, and of ours by `HALVES_AT`.
- Two tiers: the same with chunks of ASTC 8x8 for all maps against ASTC 4x4 for all maps, the final view being 4x4's.
  What 8x8 alone needs is the most that 8x8 first and 4x4 later would need.

The materials are those of a folder with albedo, normal and roughness each, four a set, tiled to 2048; tune on others
than those of benchmarks/streaming.py. The poses are drawn at random.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from camera_paths import SCENE, look_at
from exemplars import add_arguments, find_exemplars
from numpy.typing import NDArray
from reporting import Row, row, show, write_results
from texsynth_rpc import feedback as seen_places
from texsynth_rpc import scheduler as scheduling
from texsynth_rpc.priorities import (
    COARSE_FIRST,
    ENTROPY,
    HALVES_AT,
    OURS,
    RASTER,
    VIEW,
    VISIBILITY,
    Piece,
    Policy,
    pieces_of,
)
from view_quality import Arrival, Quality
from viewer import (
    KINDS,
    TILE,
    Frame,
    MapTexels,
    Pose,
    Scene,
    Tile,
    feedback,
    load_scene,
    look,
    map_texels,
    shade,
)

from mipmap.chain import box_chain
from mipmap.chunk_encoder import chunk_encoder
from mipmap.chunks import chunk_levels, manifest_of
from mipmap.encode import decode_level
from mipmap.formats import TexelFormat, format_named
from mipmap.material_chain import FILTERING
from mipmap.targets import TARGETS
from texsynth.material import MapKind, load_material

SIZE = 2048
PLENTY = 1 << 50
POSES = 4
FIRST = 12e6  # bytes over which the quality is averaged
SPREADS = (2.3, 15.0, 1e9)  # degrees, of HALVES_AT
QUEST = {kind: TARGETS["quest3"].texel_format(kind).name for kind in KINDS}
FINE = {"albedo": "astc-4x4-srgb", "normal": "astc-4x4", "roughness": "astc-4x4"}
COARSE = {kind: name.replace("4x4", "8x8") for kind, name in FINE.items()}
Chains = dict[str, dict[str, list[NDArray[np.uint8]]]]


@dataclass(frozen=True)
class Materials:
    """Maps as they are after encoding, and their pieces, by "SURFACE/MAP"."""

    textures: dict[str, dict[str, MapTexels]]
    pieces: dict[str, tuple[Piece, ...]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "chunk_order")
    parser.add_argument("--meshes", type=Path, required=True, metavar="FOLDER", help="of the eval meshes")
    parser.add_argument("--sets", type=int, default=2, metavar="N", help="of four materials each")
    arguments = parser.parse_args()
    whole = [
        folder for folder in find_exemplars(arguments) if all((folder / f"{kind}.webp").exists() for kind in KINDS)
    ]
    draw = np.random.default_rng(11)
    picked = [whole[number] for number in draw.permutation(len(whole))]
    scene, poses = load_scene(arguments.meshes, SCENE), [random_pose(number, draw) for number in range(POSES)]
    ratios: dict[str, list[tuple[str, float]]] = {kind: [] for kind in KINDS}
    results: dict[str, list[tuple[str, float, float]]] = {}
    for number in range(arguments.sets):
        folders = dict(zip(scene.surfaces, picked[4 * number : 4 * number + 4], strict=True))
        chains = {surface: chains_of(folder) for surface, folder in folders.items()}
        made = encoded(chains, QUEST)
        for kind in KINDS:
            ratios[kind] += visibilities(scene, poses, made, kind, {s: f.name for s, f in folders.items()})
        compare(scene, poses, made, f"set {number}", results)
        compare_tiers(scene, poses, chains, f"set {number}", results)
        print(f"set {number}: {', '.join(folder.name for folder in folders.values())}", flush=True)
    rows = summary(ratios, results)
    show("order of chunks, static views", rows)
    write_results(arguments.out, "chunk_order", arguments, rows, {"until and area": results})
    return 0 if all(line.passed is not False for line in rows) else 1


def random_pose(number: int, draw: np.random.Generator) -> Pose:
    """Before one of the first three meshes, at arm's length to a step away, the gaze up to 15 degrees off."""
    x = (-1.3, 0.0, 0.95, 0.5)[number % 4]
    eye = (x + draw.uniform(-0.4, 0.4), 1.2 + draw.uniform(-0.1, 0.3), draw.uniform(0.5, 1.2))
    return Pose(eye, *look_at(eye, (x, 1.05, 0.0)), tuple(draw.uniform(-15, 15, 2)))


def chains_of(folder: Path) -> dict[str, list[NDArray[np.uint8]]]:
    """All levels of a material's maps, tiled to SIZE."""
    material, chains = load_material(folder), {}
    for kind in KINDS:
        texels = material.maps[MapKind(kind)].texels
        texels = texels if texels.dtype == np.uint8 else (texels / 257).round().astype(np.uint8)
        across, down = (-(-SIZE // side) for side in texels.shape[:2])
        tiled = np.ascontiguousarray(np.tile(texels, (across, down, 1))[:SIZE, :SIZE])
        levels: dict[int, list[NDArray[np.uint8]]] = {}
        for level, _, rows in box_chain([tiled], SIZE, SIZE, FILTERING[kind]):
            levels.setdefault(level, []).append(rows.copy())
        chains[kind] = [np.concatenate(levels[level]) for level in sorted(levels)]
    return chains


def encoded(chains: Chains, formats: Mapping[str, str]) -> Materials:
    textures: dict[str, dict[str, MapTexels]] = {}
    pieces = {}
    for surface, maps in chains.items():
        textures[surface] = {}
        for kind, levels in maps.items():
            texel_format = format_named(formats[kind])
            encoder, filtering = chunk_encoder(texel_format), FILTERING[kind]
            chunks = list(chunk_levels(levels, filtering, encoder))
            manifest = manifest_of([c for c, _ in chunks], SIZE, SIZE, levels[0].shape[2], np.uint8, filtering, encoder)
            pieces[f"{surface}/{kind}"] = pieces_of(manifest, kind=kind)
            textures[surface][kind] = map_texels([coded(level, texel_format) for level in levels], kind, encoder.block)
    return Materials(textures, pieces)


def coded(level: NDArray[np.uint8], texel_format: TexelFormat) -> NDArray[np.uint8]:
    """A level after encoding and decoding."""
    height, width = level.shape[:2]
    encode = chunk_encoder(texel_format).encode
    return np.asarray(decode_level(encode(level), height, width, texel_format), np.uint8)


def visibilities(
    scene: Scene, poses: Sequence[Pose], made: Materials, kind: str, names: Mapping[str, str]
) -> list[tuple[str, float]]:
    """Squared error in the view over the one foretold, by material, pose and level at which the kind is held."""
    found = []
    everything = {s: {k: one.everything() for k, one in maps.items()} for s, maps in made.textures.items()}
    for pose in poses:
        frame = look(scene, pose)
        final = shade(frame, scene, made.textures, everything)
        for held in (1, 2, 3):
            limited = {s: {**maps, kind: np.full((1, 1), held, np.uint8)} for s, maps in everything.items()}
            error = np.square(shade(frame, scene, made.textures, limited) - final).mean(axis=2)
            for number, surface in enumerate(scene.surfaces):
                seen = frame.surface == number
                foretold = (
                    _foretold(frame, seen, made.pieces[f"{surface}/{kind}"], held) / VISIBILITY[kind]
                )  # pieces are weighed by it
                if seen.sum() > 5000 and foretold > 1e-7:
                    found.append((f"{names[surface]}, level {held}", float(error[seen].mean()) / foretold))
    return found


def _foretold(frame: Frame, seen: NDArray[np.bool_], pieces: Sequence[Piece], held: int) -> float:
    """Mean square of the bands finer than `held` that the pixels show, by the pieces' details."""
    kind_free = [(piece.level, piece.error, piece.texels) for piece in pieces[1:]]
    wanted, total = np.clip(frame.level[seen] + np.log2(SIZE), 0, None), 0.0
    for level in range(held):
        errors = [(error, texels) for at, error, texels in kind_free if at == level]
        if errors and wanted.size:
            mean = float(np.average([e for e, _ in errors], weights=[t for _, t in errors]))
            total += mean * float(np.mean(np.clip(level + 1 - wanted, 0, 1) ** 2))
    return total


def rows_of(table: Mapping[str, Sequence[Tile]], maps: Mapping[str, MapTexels]) -> tuple[seen_places.Row, ...]:
    """The feedback as the scheduler takes it, each map by its own chunks: a tile's pixels lie evenly on it."""
    return tuple(
        seen_places.Row(name, t.level, *place, round(t.pixels * share), t.x, t.y)
        for name, one in maps.items()
        for t in table.get(name.partition("/")[0], ())
        for *place, share in _under(t, one)
    )


def _under(tile: Tile, one: MapTexels) -> Iterator[tuple[int, int, float]]:
    """(row, column, share) of the chunks under a tile."""
    side = one.sides[tile.level]
    rows, columns = (
        list(shares(number * TILE, (number + 1) * TILE, int(end), side))
        for number, end in zip((tile.row, tile.column), one.shape[tile.level, 1:], strict=True)
    )
    return ((row, column, a * b) for row, a in rows for column, b in columns)


def shares(start: int, stop: int, end: int, side: int) -> Iterator[tuple[int, float]]:
    """(number, share) of the chunks of `side` texels along an axis of `end` texels that start..stop lies on, if any."""
    stop = min(stop, end)
    for number in range(start // side, -(-stop // side) if start < stop else 0):
        yield number, (min(stop, (number + 1) * side) - max(start, number * side)) / (stop - start)


def stream(
    policy: Policy, made: Materials, scene: Scene, frame: Frame, pose: Pose, halves_at: float = HALVES_AT
) -> list[Arrival]:
    """All chunks in the order of a policy."""
    scheduler = scheduling.Scheduler(scheduling.Rules(policy, window=PLENTY, halves_at=halves_at))
    for name, some in made.pieces.items():
        scheduler.receive(scheduling.Added(name, 1, some))
    maps = {f"{s}/{kind}": one for s, of_surface in made.textures.items() for kind, one in of_surface.items()}
    rows = rows_of(feedback(frame, scene, SIZE), maps)
    for event in (scheduling.Viewed(seen_places.tables(rows)), scheduling.Gazed(pose.gaze), scheduling.Granted(PLENTY)):
        scheduler.receive(event)
    indices = {name: {piece: i for i, piece in enumerate(some)} for name, some in made.pieces.items()}
    arrivals, sent = [], 0
    while message := scheduler.next_message():
        if isinstance(message, scheduling.Send):
            sent += message.piece.byte_length
            index = indices[message.texture][message.piece]
            arrivals.append(Arrival(0.0, sent, 0, message.texture, index))
    return arrivals


Results = dict[str, list[tuple[str, float, float]]]


def compare(scene: Scene, poses: Sequence[Pose], made: Materials, label: str, results: Results) -> None:
    """Orders, and ours with other falloffs."""
    for number, pose in enumerate(poses):
        quality = Quality(scene, made.textures, [pose])
        frame = quality.final(0)[0]
        for policy in (OURS, VIEW, COARSE_FIRST, ENTROPY, RASTER):
            _note(results, policy.name, f"{label}, pose {number}", quality, stream(policy, made, scene, frame, pose))
        for spread in SPREADS:
            arrivals = stream(OURS, made, scene, frame, pose, spread)
            _note(results, f"ours, {spread:g} degrees", f"{label}, pose {number}", quality, arrivals)


def compare_tiers(scene: Scene, poses: Sequence[Pose], chains: Chains, label: str, results: Results) -> None:
    fine, coarse = encoded(chains, FINE), encoded(chains, COARSE)
    for number, pose in enumerate(poses):
        for name, made in (("astc 4x4", fine), ("astc 8x8", coarse)):
            quality = Quality(scene, made.textures, [pose], fine.textures)
            frame = quality.final(0)[0]
            _note(results, name, f"{label}, pose {number}", quality, stream(OURS, made, scene, frame, pose))


def _note(results: Results, name: str, label: str, quality: Quality, arrivals: Sequence[Arrival]) -> None:
    curve = quality.curve(arrivals)
    until = curve.until[0] if curve.until else arrivals[-1].sent
    label += "" if curve.until else ", never"
    results.setdefault(name, []).append((label, until / 1e6, curve.area(min(FIRST, arrivals[-1].sent))))


def summary(ratios: Mapping[str, list[tuple[str, float]]], results: Results) -> list[Row]:
    albedo = float(np.median([value for _, value in ratios["albedo"]]))
    rows = [
        row(f"visibility of {kind}, albedo = 1", "-", [(label, v / albedo) for label, v in some])
        for kind, some in ratios.items()
    ]
    for name, some in results.items():
        rows.append(row(f"MB until SSIM 0.95, {name}", "-", [(label, until) for label, until, _ in some]))
    others = ("view", "coarse first", "entropy", "raster")
    share = [
        (label, float(all(area >= results[other][n][2] for other in others)))
        for n, (label, _, area) in enumerate(results["ours"])
    ]
    rows.append(row("ours has the largest area", "all", share, lambda v: min(v) == 1, lambda v: -v))
    for name, some in results.items():
        areas = [(label, area) for label, _, area in some]
        rows.append(row(f"mean SSIM over 12 MB, {name}", "-", areas, None, lambda v: -v))
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
