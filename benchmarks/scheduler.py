"""The order of chunks: bytes until little visible error is left, by policy, and what an event costs.

    python benchmarks/scheduler.py [--size 1024] [--budget 0.05]

Twelve procedural albedos make one scene, in chunks of 64 texels with one byte a texel, as BC7 and ASTC 4x4 have: four
are near (the middle quarter of level 0 in view, each texel a pixel), four further away (all of level 2 in view), four
out of view. The visible error is the sum over chunks not yet sent of their mean square times the pixels that show them;
mip tails, which all orders send first, are left out. Its share is noted against the bytes sent, without tails too.
With a memory budget of a share of all chunks it is noted how much is left when the stream comes to rest.
The cost of an event is that of one texture with about 100,000 chunks, on one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from exemplars import PROCEDURAL
from reporting import Row as Line
from reporting import row, show, write_results
from texsynth_rpc.feedback import Row, tables
from texsynth_rpc.priorities import COARSE_FIRST, ENTROPY, OURS, RASTER, VIEW, Piece, Policy, pieces_of
from texsynth_rpc.scheduler import Added, Budgeted, Evict, Granted, Rules, Scheduler, Send, Viewed

from mipmap.chain import box_chain
from mipmap.chunks import ChunkEncoder, chunk_levels, layout, manifest_of
from texsynth.material import MapKind
from texsynth.train.procedural import generate

SIDE = 64
PLENTY = 1 << 50
POLICIES = (OURS, VIEW, COARSE_FIRST, ENTROPY, RASTER)
SHARES = (0.5, 0.1, 0.01)
ONE_BYTE_A_TEXEL = ChunkEncoder("size only", 4, "-", "1", lambda texels: bytes(texels.shape[0] * texels.shape[1]))

Scene = dict[str, tuple[Piece, ...]]
Key = tuple[str, int, int, int]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, metavar="N", help="texels a side of each texture")
    parser.add_argument("--budget", type=float, default=0.05, metavar="SHARE", help="memory, as a share of all chunks")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/scheduler"), metavar="FOLDER")
    arguments = parser.parse_args()
    scene = {kind: pieces(kind, number, arguments.size) for number, kind in enumerate(PROCEDURAL)}
    view = view_of(list(scene), arguments.size)
    curves = {policy.name: curve(policy, scene, view) for policy in POLICIES}
    total = sum(piece.memory for some in scene.values() for piece in some)
    budget = round(arguments.budget * total)
    resting = {policy.name: at_rest(policy, scene, view, budget) for policy in POLICIES}
    rows = [
        row(
            f"MB sent until {share:.0%} of the visible error is left",
            "ours is least",
            [(name, bytes_until(points, share) / 1e6) for name, points in curves.items()],
            lambda numbers: numbers[0] == min(numbers),
        )
        for share in SHARES
    ]
    rows += rest_rows(resting, budget, total)
    costs = cost_of_events()
    rows += [row(what, "-", [("one core", value)]) for what, value in costs.items()]
    show(f"scheduler: {len(scene)} textures of {arguments.size} x {arguments.size}, {total / 1e6:.1f} MB", rows)
    for line in rows:
        print(line.what, ", ".join(f"{label} {value:.4g}" for label, value in line.values), sep=": ")
    write_results(arguments.out, "scheduler", arguments, rows, {"curves": {k: v[::8] for k, v in curves.items()}})
    return 0 if all(line.passed is not False for line in rows) else 1


def pieces(kind: str, seed: int, size: int) -> tuple[Piece, ...]:
    encoded = generate(kind, size, seed).maps[MapKind.ALBEDO].encoded()
    albedo = np.ascontiguousarray(np.rint(255 * encoded.clip(0, 1)).astype(np.uint8))
    levels: dict[int, list[np.ndarray]] = {}
    for level, _, rows in box_chain([albedo], size, size, "colour"):
        levels.setdefault(level, []).append(rows.copy())
    chain = [np.concatenate(levels[level]) for level in sorted(levels)]
    chunks = [chunk for chunk, _ in chunk_levels(chain, "colour", ONE_BYTE_A_TEXEL, side=SIDE)]
    return pieces_of(manifest_of(chunks, size, size, 3, albedo.dtype, "colour", ONE_BYTE_A_TEXEL, SIDE))


def view_of(names: list[str], size: int) -> tuple[Row, ...]:
    tiles = size // SIDE
    middle = range(tiles // 4, 3 * tiles // 4)
    near = [Row(name, 0, r, c, SIDE * SIDE) for name in names[0::3] for r in middle for c in middle]
    every = range(tiles // 4)
    far = [Row(name, 2, r, c, SIDE * SIDE) for name in names[1::3] for r in every for c in every]
    return (*near, *far)


def gains(scene: Scene, view: tuple[Row, ...]) -> dict[Key, float]:
    """Visible squared error of each chunk but the tails, worked out from the feedback alone."""
    pixels: dict[Key, int] = {}
    for seen in view:
        top = scene[seen.texture][0].level
        for level in range(seen.level, top):
            shift = level - seen.level
            key = (seen.texture, level, seen.row >> shift, seen.column >> shift)
            pixels[key] = pixels.get(key, 0) + seen.pixels
    return {
        (name, p.level, p.row, p.column): p.error * pixels.get((name, p.level, p.row, p.column), 0)
        for name, some in scene.items()
        for p in some[1:]
    }


def stream(policy: Policy, scene: Scene, view: tuple[Row, ...], budget: int | None) -> Scheduler:
    made = Scheduler(Rules(policy, window=PLENTY))
    for name, some in scene.items():
        made.receive(Added(name, 1, some))
    made.receive(Viewed(tables(view)))
    made.receive(Budgeted(budget))
    made.receive(Granted(PLENTY))
    return made


def curve(policy: Policy, scene: Scene, view: tuple[Row, ...]) -> list[tuple[int, float]]:
    """(bytes sent, share of the visible error that is left) after each chunk, without tails."""
    made, gain = stream(policy, scene, view, None), gains(scene, view)
    left = total = sum(gain.values())
    sent, points = 0, [(0, 1.0)]
    while message := made.next_message():
        if isinstance(message, Send) and message.piece != scene[message.texture][0]:
            piece = message.piece
            left -= gain[message.texture, piece.level, piece.row, piece.column]
            sent += piece.byte_length
            points.append((sent, left / total))
    return points


def bytes_until(points: list[tuple[int, float]], share: float) -> int:
    return next(sent for sent, left in points if left <= share)


def at_rest(policy: Policy, scene: Scene, view: tuple[Row, ...], budget: int) -> tuple[float, int]:
    """(share of the visible error left, most bytes of memory at any time) under a budget, once nothing more is sent."""
    made, gain = stream(policy, scene, view, budget), gains(scene, view)
    left = total = sum(gain.values())
    most = 0
    while message := made.next_message():
        most = max(most, made.memory)
        if isinstance(message, Send | Evict) and message.piece != scene[message.texture][0]:
            piece = message.piece
            change = gain[message.texture, piece.level, piece.row, piece.column]
            left += change if isinstance(message, Evict) else -change
    return left / total, most


def rest_rows(resting: dict[str, tuple[float, int]], budget: int, total: int) -> list[Line]:
    shares = [(name, share) for name, (share, _) in resting.items()]
    most = [(name, most / budget) for name, (_, most) in resting.items()]
    what = f"share of the visible error left at rest in {budget / total:.0%} of the memory"
    return [
        row(what, "ours is least", shares, lambda numbers: numbers[0] <= min(numbers) + 1e-9),
        row("most memory held / budget", "<= 1", most, lambda numbers: max(numbers) <= 1),
    ]


def cost_of_events() -> dict[str, float]:
    some = tuple(
        Piece(place.level, place.y // 16, place.x // 16, 10, 10, place.texels, (1 + 7919 * number % 1000) / 1000)
        for number, place in enumerate(layout(4096, 5120, 16, 16))  # a block a chunk: no smaller ones
    )
    made, draw = Scheduler(Rules(window=PLENTY)), np.random.default_rng(0)
    costs = {f"s to add a texture of {len(some)} chunks": seconds(lambda: made.receive(Added("a", 1, some)))}
    made.receive(Granted(PLENTY))
    view = tuple(Row("a", 0, int(r), int(c), 90) for r, c in draw.integers(0, 256, (1000, 2)))
    costs["microseconds a tile of a new view of 1000"] = 1e3 * seconds(lambda: made.receive(Viewed(tables(view))))
    costs["ms for the same view again"] = 1e3 * seconds(lambda: made.receive(Viewed(tables(view))))
    ten_thousand = seconds(lambda: [made.next_message() for _ in range(10_000)])
    costs["microseconds a message"] = 100 * ten_thousand
    return costs


def seconds(work: object) -> float:
    before = time.process_time()
    work()  # type: ignore[operator]
    return time.process_time() - before


if __name__ == "__main__":
    raise SystemExit(main())
