"""What sending a chunk is worth: the order of the stream, ours and four simpler ones to compare it with.

Ours is the visible error that a chunk removes for what it costs,

    value = mean square of its detail x how visible such an error is in its kind of map
            x pixels that show it, weighed by gaze / (bytes + seconds to encode x link rate)

times a factor for selected textures. A pixel that wants level k shows every coarser level too, so it counts for the
chunk of level k and for all chunks over it; it does not count for finer chunks, whose texels are smaller than it.
Detail bands add up to the texture, and the squared errors of bands that do not correlate add up too: what a chunk
removes does not depend on which others came.

A chunk is of no use before the coarser one in its place, so a chunk with little detail may be what a chunk with much
detail waits for (a chequer is flat grey from level 1 on). Hence a chunk is valued by the best set of chunks that begins
with it, not alone (W. A. Horn, "Single-machine job sequencing with treelike precedence ordering and linear delay
penalties", SIAM J. Appl. Math. 1972): see `chunk_tree.Tree`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mipmap.chunks import Manifest

Angle = TypeVar("Angle", float, NDArray[np.float64])

# Degrees from the gaze at which the smallest angle that counts has doubled. The eye's own is 2.3 (Guenter et al.), but
# a headset without eye tracking takes the middle of the screen for the gaze, from which eyes stray by some 15 degrees.
# Against 2.3 the view as a whole needs fewer bytes until SSIM 0.95 (docs/streaming.md).
HALVES_AT = 15.0
LINK_RATE = 1_000_000  # bytes that could be sent in a second of encoding: 8 Mbit/s, a starting value

# The squared error in a lit view for the squared error in the encoded values of a map, against albedo's
# (docs/streaming.md, forty materials). Roughness hides: only highlights show it. Kinds that are not here count
# as albedo.
VISIBILITY = {"albedo": 1.0, "normal": 0.9, "roughness": 0.01}


@dataclass(frozen=True)
class Piece:
    """One chunk of a texture as the scheduler sees it. Row and column count chunks. Raises ValueError out of range."""

    level: int
    row: int
    column: int
    byte_length: int
    """To send."""
    memory: int
    """Bytes of the client's memory that it takes."""
    texels: int
    error: float
    """`mipmap.detail.Detail.mean_square` times `VISIBILITY`."""
    entropy: float = 0.0
    content: str = ""
    """Equal for equal bytes, as `mipmap.chunks.Chunk.content_hash`; "" for unknown."""
    side: int = 1
    """Of the chunks of its level, in texels; what counts is how those of two levels compare."""
    encode_seconds: float = 0.0
    """That are still to be spent: 0 for a chunk that lies ready."""

    def __post_init__(self) -> None:
        whole = (self.level, self.row, self.column, self.byte_length - 1, self.memory, self.texels - 1, self.side - 1)
        if min(whole) < 0 or not all(0 <= x < math.inf for x in (self.error, self.entropy, self.encode_seconds)):
            raise ValueError(
                f"{self} has a number below its least (0; 1 byte, 1 texel, a side of 1) or one that is not finite"
            )


@dataclass(frozen=True)
class Policy:
    """An order of chunks: by gain / cost, largest first, the mip tail before all."""

    name: str
    gain: Callable[[Piece, int], float]
    """Of a piece and the weight of the pixels that show it; of its texels where no pixel does. At least 0."""
    cost: Callable[[Piece], float]
    """Above 0."""
    heeds_view: bool
    """Whether what is seen goes before what is not, and selected textures count more."""
    looks_ahead: bool
    """Whether a piece is valued by the best set that begins with it."""


def _one(_: Piece) -> float:
    return 1.0


def _time_to_send(piece: Piece) -> float:
    return piece.byte_length + piece.encode_seconds * LINK_RATE


def _raster(piece: Piece, _: int) -> float:
    row, column = piece.row << piece.level, piece.column << piece.level  # of its first chunk of level 0
    return 1 / (1 + (row << 16) + column)


RASTER = Policy("raster", _raster, _one, heeds_view=False, looks_ahead=False)
"""Level 0 row by row, each chunk after the coarser ones that it needs."""
COARSE_FIRST = Policy("coarse first", lambda piece, _: piece.level + 1.0, _one, heeds_view=False, looks_ahead=False)
"""Level by level, row by row."""
ENTROPY = Policy("entropy", lambda piece, _: piece.entropy, _one, heeds_view=False, looks_ahead=False)
"""The paper's: the most entropy first, seen or not; noise has the most."""
VIEW = Policy("view", lambda _, weight: float(weight), _one, heeds_view=True, looks_ahead=False)
"""The most pixels first, whatever they show."""
OURS = Policy("ours", lambda piece, weight: piece.error * weight, _time_to_send, heeds_view=True, looks_ahead=True)
"""The most visible error removed per cost."""


def falloff(degrees: Angle, halves_at: float = HALVES_AT) -> Angle:
    """How much a pixel counts at an angle from the gaze: 1 / (1 + e / e2)^2, as the eye's resolution per area.

    The smallest angle that is resolved grows linearly with eccentricity e and doubles at e2 (the model of B. Guenter et
    al., "Foveated 3D graphics", 2012; `HALVES_AT` is wider than theirs).
    """
    found: Angle = 1 / (1 + degrees / halves_at) ** 2
    return found


def pieces_of(
    manifest: Manifest, *, kind: str = "albedo", largest: int | None = None, encode_seconds: float = 0.0
) -> tuple[Piece, ...]:
    """The pieces of a map that a client with textures of at most `largest` texels a side can hold.

    kind: of map, for `VISIBILITY`. encode_seconds: of each chunk. A client's memory holds the blocks as they are sent.
    Without `largest` all levels.
    """
    sides, visibility = manifest.sides, VISIBILITY.get(kind, 1.0)
    finest = 0
    while largest is not None and max(manifest.height, manifest.width) >> finest > largest:
        finest += 1
    return tuple(
        Piece(
            level=chunk.place.level,
            row=chunk.place.y // sides[chunk.place.level],
            column=chunk.place.x // sides[chunk.place.level],
            byte_length=chunk.byte_length,
            memory=chunk.byte_length,
            texels=chunk.place.texels,
            error=chunk.detail.mean_square * visibility,
            entropy=chunk.detail.entropy,
            content=chunk.content_hash,
            side=sides[chunk.place.level],
            encode_seconds=encode_seconds,
        )
        for chunk in manifest.chunks
        if chunk.place.level >= finest
    )
