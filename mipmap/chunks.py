"""A texture cut into chunks that can be sent, cached and re-encoded one by one.

Every level is cut from its first row and column into squares; the last ones of a row or column may be smaller
(ragged). Their side is a multiple of the format's block, so no block belongs to two chunks, and the chunks of an
encoded level are rectangles of its blocks. It is `side` texels at the fine levels; from the first level on that is at
most ACROSS squares long it halves with the level, so that also from afar, where a coarse level is all that is wanted,
what is not seen need not be sent (`level_sides`). A square at level k + 1 lies on 2 x 2 squares of level k, or, where
the side halves, on one. The levels whose two sides are both at most `side` / TAIL, down to 1 x 1, are one chunk: the
mip tail.

By default the side is the largest block x 2^n up to 256: 256 for blocks of 1, 4 and 8 texels, 192 for 6.

Each chunk says what it is worth (`detail`) and carries two checks of its own: CRC-32C (Castagnoli; RFC 3720, B.4) of
the payload, for the wire, and a content hash of what it was encoded from, texels, format, block, quality and version of
the encoder, which names the payload before it is encoded. With a `ChunkCache` an edit of the texture encodes
only the chunks whose texels it changed, at their level and at the coarser ones. All chunks are measured again, for
the detail of a chunk also hangs on texels beyond its border.

Texels come as rows from the top, level by level, as `chain.box_chain` makes them: a chunk is cut as soon as its rows
and the coarser rows under it are there, and rows are let go as soon as nothing needs them. So about two rows of chunks
a level are in memory, whatever the height.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import google_crc32c
import numpy as np

from mipmap.chain import Filtering, level_sizes
from mipmap.chunk_cache import ChunkCache
from mipmap.detail import STEPS, Detail, Texels, Window, measure, span_below

SIDE = 256  # texels: 64 KB of ASTC 4x4, some milliseconds to encode and a few packets of a stream to send
# A tail goes before everything else, so it is small: up to 32 or 24 texels a side, some 1 KB of ASTC. From afar a view
# is good after 0.17 MB of 42 with 8, 0.18 with 4, and 0.27 with tails from the first level that is smaller than a
# chunk; close up 8 saves one to three in a hundred bytes against 4 (docs/streaming.md).
TAIL = 8
# Chunks along a level, from which on they shrink, to those of `side` / TAIL: bytes until a view from afar is good,
# against chunks of one size, 0.34 (docs/streaming.md).
ACROSS = 8
LARGEST = 1 << 16  # texels a side of a texture that a manifest may describe: bounds what a wrong one can ask for
# 1: the mip tail began at the first level with both sides below a chunk's; 2: chunks of all levels had one size
MANIFEST_VERSION = 3

Bands = Iterable[tuple[int, int, Texels]]
"""(level, first row, (rows, width of the level, C) texels), each level from the top without a gap."""


@dataclass(frozen=True)
class ChunkEncoder:
    """How texels become bytes, and every word on which those bytes depend.

    encode: takes (height, width, C) C-contiguous texels of the level, height and width not always multiples of the
    block, and gives their payload; the same texels must always give the same bytes. Called from several threads at
    once if `threads` is above 1.
    """

    format: str
    """With the meaning of the texels as far as the encoder heeds it, such as "astc-6x6-srgb"."""
    block: int
    """Texels a side."""
    quality: str
    version: str
    """Of the library and of the settings that the quality stands for."""
    encode: Callable[[Texels], bytes]

    def key(self, texels: Texels) -> str:
        """SHA-256 (64 hexadecimal digits) of shape, dtype and texels, format, block, quality and version."""
        words = [self.format, self.block, self.quality, self.version, texels.dtype.str, *texels.shape]
        digest = hashlib.sha256(json.dumps(words).encode() + b"\n")
        digest.update(np.ascontiguousarray(texels).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Place:
    """Which texels a chunk holds: a rectangle of one level, or of the mip tail all levels from `level` to 1 x 1."""

    level: int
    levels: int
    y: int
    x: int
    height: int
    width: int

    @property
    def texels(self) -> int:
        """Over all its levels."""
        sizes = level_sizes(self.height, self.width)[: self.levels]
        return sum(height * width for height, width in sizes)


@dataclass(frozen=True)
class Chunk:
    """One chunk without its payload. Immutable, and equal to any other that describes the same bytes at its place."""

    place: Place
    format: str
    part_lengths: tuple[int, ...]
    """Bytes of each of its levels, the largest level first: the payload is these parts, one after the other."""
    crc32c: int
    content_hash: str
    """64 hexadecimal digits: `ChunkEncoder.key` of the texels; of the mip tail SHA-256 of its levels' keys."""
    detail: Detail
    """What it adds to the screen: over the next coarser level, and for the mip tail (its first level) over nothing."""

    @property
    def byte_length(self) -> int:
        """Of the payload."""
        return sum(self.part_lengths)


def chunk_side(block: int, at_most: int = SIDE) -> int:
    """The largest block x 2^n, n >= 0, that is at most `at_most` texels. ValueError unless 1 <= block <= at_most."""
    if not 1 <= block <= at_most:
        raise ValueError(f"a block of {block} texels does not go into a chunk of at most {at_most}")
    return int(block << ((at_most // block).bit_length() - 1))


def tail_level(height: int, width: int, side: int) -> int:
    """The first level of the mip tail: both sides at most `side` / TAIL, or 1."""
    return next(k for k, size in enumerate(level_sizes(height, width)) if max(size) <= max(1, side // TAIL))


def level_sides(height: int, width: int, side: int, block: int) -> tuple[int, ...]:
    """Texels a side of the chunks of each level of a texture, the full size first; those of the mip tail are not cut.

    `side` as far as the first level that is at most ACROSS chunks long, then half as much with each level, but at least
    `side` / TAIL, and always a multiple of `block`.
    """
    sides, longest = [side], max(height, width)
    for _ in level_sizes(height, width)[1:]:
        halves = longest <= ACROSS * side and sides[-1] * TAIL > side and sides[-1] % (2 * block) == 0
        sides.append(sides[-1] // 2 if halves else sides[-1])
        longest //= 2
    return tuple(sides)


def layout(height: int, width: int, side: int, block: int) -> Iterator[Place]:
    """The chunks of a texture of `height` x `width` texels, coarsest first, row by row. ValueError for a side below 2.

    Together they cover every texel of every level once.
    """
    if side < 2:
        raise ValueError(f"a chunk side of {side} texels; it must be at least 2")
    sizes, sides = level_sizes(height, width), level_sides(height, width, side, block)
    tail = tail_level(height, width, side)
    yield Place(tail, len(sizes) - tail, 0, 0, *sizes[tail])
    for level in range(tail - 1, -1, -1):
        for y in range(0, sizes[level][0], sides[level]):
            yield from _row_of_places(level, y, sizes[level], sides[level])


def chunk_levels(
    levels: Sequence[Texels],
    filtering: Filtering,
    encoder: ChunkEncoder,
    *,
    side: int | None = None,
    cache: ChunkCache | None = None,
    threads: int = 1,
) -> Iterator[tuple[Chunk, bytes]]:
    """`chunk_bands` of whole levels, arrays or memory maps, of which no more than it needs is read at a time.

    levels: (height, width, C) each, the sizes of `chain.level_sizes` down to 1 x 1.
    Raises ValueError for levels of other sizes, dtypes or channels.
    """
    height, width = levels[0].shape[:2]
    if [level.shape[:2] for level in levels] != level_sizes(height, width):
        raise ValueError(f"levels of {[level.shape[:2] for level in levels]} are not the chain of {height} x {width}")
    side = _checked_side(side, encoder)
    bands = _interleaved(levels, side)
    return chunk_bands(bands, height, width, filtering, encoder, side=side, cache=cache, threads=threads)


def chunk_bands(
    bands: Bands,
    height: int,
    width: int,
    filtering: Filtering,
    encoder: ChunkEncoder,
    *,
    side: int | None = None,
    cache: ChunkCache | None = None,
    threads: int = 1,
) -> Iterator[tuple[Chunk, bytes]]:
    """Yield every chunk of a texture with its payload, each as soon as its rows are there; the mip tail comes last.

    bands: of all levels of a texture of `height` x `width` texels, of one dtype (uint8, uint16, float16, float32;
    `detail.Texels` says what they mean); their memory may be reused once the next one is asked for.
    side: texels; a multiple of the encoder's block, `chunk_side(encoder.block)` by default.
    threads: chunks of a row that are measured and encoded at the same time.
    Raises ValueError for another side, and for bands that leave a gap, differ in dtype or channels, or end early;
    whatever the encoder raises.
    """
    cutter = _Cutter(height, width, filtering, encoder, _checked_side(side, encoder), cache)
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        run = pool.map if pool else map
        for level, first_row, rows in bands:
            cutter.add(level, first_row, rows)
            for work in cutter.complete(level):
                yield from run(cutter.make, work)
        yield from map(cutter.make, cutter.tail())


@dataclass(frozen=True)
class Manifest:
    """All chunks of one texture in one format: what a reader needs before the first payload comes.

    chunks: in the order of `layout`. Raises ValueError where anything is out of range, or where the chunks are not
    exactly those of the texture.
    """

    height: int
    width: int
    channels: int
    dtype: Literal["uint8", "uint16", "float16", "float32"]
    filtering: Filtering
    format: str
    block: int
    quality: str
    encoder_version: str
    side: int
    chunks: tuple[Chunk, ...]

    def __post_init__(self) -> None:
        _check_manifest(self)

    @property
    def sides(self) -> tuple[int, ...]:
        """Of the chunks of each level, as `level_sides`."""
        return level_sides(self.height, self.width, self.side, self.block)

    def to_json(self) -> str:
        """One line. `from_json` gives an equal manifest back."""
        return json.dumps({"version": MANIFEST_VERSION, **asdict(self)}, allow_nan=False, separators=(",", ":"))

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """ValueError, in one line that names the field, for anything that `to_json` would not have written."""
        try:
            loaded = json.loads(text, parse_constant=_refuse_constant)
        except RecursionError as error:
            raise ValueError("the manifest is nested too deeply") from error
        values = _object(loaded, ["version", *_names(Manifest)], "manifest")
        if values.pop("version") != MANIFEST_VERSION:
            raise ValueError(f"the manifest's version is {loaded['version']!r:.20}; {MANIFEST_VERSION} is known")
        if not isinstance(values["chunks"], list):
            raise ValueError("the manifest's chunks must be a list")
        chunks = tuple(_chunk_from(value, f"chunk {number}") for number, value in enumerate(values["chunks"]))
        return Manifest(**values | {"chunks": chunks})


def manifest_of(
    chunks: Iterable[Chunk],
    height: int,
    width: int,
    channels: int,
    dtype: Any,
    filtering: Filtering,
    encoder: ChunkEncoder,
    side: int | None = None,
) -> Manifest:
    """The manifest of the chunks of `chunk_bands` or `chunk_levels`, which may come in any order."""
    ordered = sorted(chunks, key=lambda chunk: (-chunk.place.level, chunk.place.y, chunk.place.x))
    name: Any = np.dtype(dtype).name
    side = _checked_side(side, encoder)
    words = (encoder.format, encoder.block, encoder.quality, encoder.version)
    return Manifest(height, width, channels, name, filtering, *words, side, tuple(ordered))


def is_payload_of(payload: bytes, chunk: Chunk) -> bool:
    """Whether a payload has the length and the CRC-32C that the chunk names."""
    return len(payload) == chunk.byte_length and google_crc32c.value(payload) == chunk.crc32c


def _checked_side(side: int | None, encoder: ChunkEncoder) -> int:
    side = chunk_side(encoder.block) if side is None else side
    if side < 2 or side % encoder.block:
        raise ValueError(f"a chunk side of {side} texels; it must be at least 2 and a multiple of {encoder.block}")
    return side


def _row_of_places(level: int, y: int, size: tuple[int, int], side: int) -> Iterator[Place]:
    height, width = min(side, size[0] - y), size[1]
    for x in range(0, width, side):
        yield Place(level, 1, y, x, height, min(side, width - x))


def _interleaved(levels: Sequence[Texels], rows: int) -> Bands:
    """Bands of all levels at the pace of level 0, so that a coarser row never comes long after the finer ones."""
    height = levels[0].shape[0]
    done = [0] * len(levels)
    for stop in range(rows, height + rows, rows):
        for k, level in enumerate(levels):
            end = math.ceil(level.shape[0] * min(stop, height) / height)
            if end > done[k]:
                yield k, done[k], level[done[k] : end]
                done[k] = end


class _Rows:
    """The rows of one level that are still needed."""

    def __init__(self, level: int, size: tuple[int, int]) -> None:
        self.level, self.size = level, size
        self.stop = 0  # rows that have come
        self._start = 0  # the first that is kept
        self._parts: list[Texels] = []

    def add(self, first_row: int, rows: Texels) -> None:
        fits = rows.ndim == 3 and rows.shape[1] == self.size[1] and first_row + rows.shape[0] <= self.size[0]
        if first_row != self.stop or not fits:
            raise ValueError(
                f"a band {rows.shape} from row {first_row} of level {self.level}; row {self.stop} of "
                f"{self.size[0]} x {self.size[1]} texels was to come"
            )
        self._parts.append(np.array(rows))  # a copy: the caller may reuse the memory
        self.stop += rows.shape[0]

    def rows(self, start: int, stop: int) -> Texels:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0][start - self._start : stop - self._start]

    def let_go_before(self, row: int) -> None:
        """Only the next `rows` copies what is left out of a part, and so frees the memory of the rest."""
        while self._parts and self._start < row:
            gone = min(row - self._start, self._parts[0].shape[0])
            self._parts[0] = self._parts[0][gone:]
            self._start += gone
            if self._parts[0].shape[0] == 0:
                del self._parts[0]


@dataclass(frozen=True)
class _Work:
    """A chunk before it is encoded: the texels of each of its levels."""

    place: Place
    parts: list[Texels]
    size: tuple[int, int]
    coarser: Window | None


class _Cutter:
    """Takes bands and gives the work that they complete; turns work into chunks. Only `make` may run in threads."""

    def __init__(
        self,
        height: int,
        width: int,
        filtering: Filtering,
        encoder: ChunkEncoder,
        side: int,
        cache: ChunkCache | None,
    ) -> None:
        self._filtering, self._encoder, self._cache = filtering, encoder, cache
        self._sides = level_sides(height, width, side, encoder.block)
        self._levels = [_Rows(k, size) for k, size in enumerate(level_sizes(height, width))]
        self._tail = tail_level(height, width, side)
        self._cut = [0] * self._tail  # rows of each level that have become chunks
        self._kind: tuple[Any, int] | None = None

    def add(self, level: int, first_row: int, rows: Texels) -> None:
        if not 0 <= level < len(self._levels):
            raise ValueError(f"a band of level {level}; the levels are 0..{len(self._levels) - 1}")
        self._levels[level].add(first_row, rows)
        kind = (rows.dtype, rows.shape[2])
        self._kind = self._kind or kind
        if kind != self._kind:
            raise ValueError(f"a band of level {level} is {kind}; the first one was {self._kind} (dtype, channels)")

    def complete(self, level: int) -> Iterator[list[_Work]]:
        """Rows of chunks that new rows of `level` complete: its own, and the finer level's that wait for them."""
        for k in (level - 1, level):
            while 0 <= k < self._tail and self._is_complete(k):
                yield self._row_of_work(k)
                self._cut[k] = min(self._cut[k] + self._sides[k], self._levels[k].size[0])
                for touched in (k, k + 1):
                    self._levels[touched].let_go_before(self._needed_from(touched))

    def tail(self) -> list[_Work]:
        for rows in self._levels:
            if rows.stop != rows.size[0]:
                raise ValueError(f"level {rows.level} ended after {rows.stop} of {rows.size[0]} rows")
        rest = self._levels[self._tail :]
        place = Place(self._tail, len(rest), 0, 0, *rest[0].size)
        return [_Work(place, [rows.rows(0, rows.stop) for rows in rest], rest[0].size, None)]

    def make(self, work: _Work) -> tuple[Chunk, bytes]:
        parts = [np.ascontiguousarray(part) for part in work.parts]
        keys = [self._encoder.key(part) for part in parts]
        payloads = [self._encoded(key, part) for key, part in zip(keys, parts, strict=True)]
        payload = payloads[0] if len(payloads) == 1 else b"".join(payloads)
        content = keys[0] if len(keys) == 1 else hashlib.sha256("".join(keys).encode()).hexdigest()
        window = Window(parts[0], work.place.y, work.place.x, work.size)
        detail = measure(window, work.coarser, self._filtering)
        lengths = tuple(map(len, payloads))
        return Chunk(work.place, self._encoder.format, lengths, google_crc32c.value(payload), content, detail), payload

    def _encoded(self, key: str, texels: Texels) -> bytes:
        if self._cache is None:
            return self._encoder.encode(texels)
        return self._cache.get_or_make(key, lambda: self._encoder.encode(texels))

    def _span(self, level: int) -> tuple[int, int]:
        """Rows of the next row of chunks."""
        start = self._cut[level]
        return start, min(start + self._sides[level], self._levels[level].size[0])

    def _span_below(self, level: int) -> tuple[int, int]:
        sizes = self._levels[level].size[0], self._levels[level + 1].size[0]
        return span_below(*self._span(level), *sizes)

    def _is_complete(self, level: int) -> bool:
        start, stop = self._span(level)
        here, below = self._levels[level].stop, self._levels[level + 1].stop
        return start < stop <= here and self._span_below(level)[1] <= below

    def _needed_from(self, level: int) -> int:
        """The first row that is still needed: by its own chunks, or under those of the finer level."""
        own = self._cut[level] if level < self._tail else 0
        if level == 0 or self._cut[level - 1] == self._levels[level - 1].size[0]:
            return own
        return min(own, self._span_below(level - 1)[0])

    def _row_of_work(self, level: int) -> list[_Work]:
        rows, below = self._levels[level], self._levels[level + 1]
        start, stop = self._span(level)
        top, bottom = self._span_below(level)
        texels, coarser = rows.rows(start, stop), below.rows(top, bottom)
        row = []
        for place in _row_of_places(level, start, rows.size, self._sides[level]):
            end = place.x + place.width
            left, right = span_below(place.x, end, rows.size[1], below.size[1])
            window = Window(coarser[:, left:right], top, left, below.size)
            row.append(_Work(place, [texels[:, place.x : end]], rows.size, window))
        return row


# Manifests are read from other machines, so every value is checked before it is used.


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the manifest holds {name}; its numbers must be finite")


def _names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def _object(value: Any, names: list[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, not {type(value).__name__}")
    if set(value) != set(names):
        odd = sorted(set(value) ^ set(names))[0]
        raise ValueError(f"{where} {'has no' if odd in names else 'has an unknown'} field {odd!r:.40}")
    return dict(value)


def _whole(value: Any, low: int, high: int, where: str) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{where} is {value!r:.40}; it must be a whole number {low}..{high}")
    return value


def _number(value: Any, high: float, where: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= high:
        raise ValueError(f"{where} is {value!r:.40}; it must be a number 0..{high}")
    return float(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise ValueError(f"{where} is {value!r:.40}; it must be a text of 1..200 characters")
    return value


def _chunk_from(value: Any, where: str) -> Chunk:
    """Only the shape of the JSON; `_check_chunk` looks at the values."""
    values = _object(value, _names(Chunk), where)
    place = Place(**_object(values["place"], _names(Place), f"{where}: place"))
    detail = Detail(**_object(values["detail"], _names(Detail), f"{where}: detail"))
    if not isinstance(values["part_lengths"], list):
        raise ValueError(f"{where}: part_lengths must be a list")
    return replace(Chunk(**values), place=place, detail=detail, part_lengths=tuple(values["part_lengths"]))


def _check_manifest(manifest: Manifest) -> None:
    height = _whole(manifest.height, 1, LARGEST, "height")
    width = _whole(manifest.width, 1, LARGEST, "width")
    _whole(manifest.channels, 1, 4, "channels")
    for name, known in (("dtype", ("uint8", "uint16", "float16", "float32")), ("filtering", get_args(Filtering))):
        if getattr(manifest, name) not in known:
            raise ValueError(f"{name} is {getattr(manifest, name)!r:.40}; it must be one of {', '.join(known)}")
    for name in ("format", "quality", "encoder_version"):
        _text(getattr(manifest, name), name)
    block = _whole(manifest.block, 1, LARGEST, "block")
    side = _whole(manifest.side, 2, LARGEST, "side")
    if side % block:
        raise ValueError(f"side is {side}; it must be a multiple of the block, {block}")
    sizes, sides = level_sizes(height, width)[: tail_level(height, width, side)], manifest.sides
    count = 1 + sum(-(-rows // s) * -(-columns // s) for (rows, columns), s in zip(sizes, sides, strict=False))
    if len(manifest.chunks) != count:  # before the layout is walked, which a wrong size could make endless
        raise ValueError(f"{len(manifest.chunks)} chunks; {height} x {width} texels have {count} of side {side}")
    for number, (chunk, place) in enumerate(zip(manifest.chunks, layout(height, width, side, block), strict=True)):
        _check_chunk(chunk, place, manifest.format, f"chunk {number}")


def _check_chunk(chunk: Chunk, place: Place, name: str, where: str) -> None:
    for field in _names(Place):
        expected = getattr(place, field)
        _whole(getattr(chunk.place, field), expected, expected, f"{where}: {field}")
    if chunk.format != name:
        raise ValueError(f"{where}: format is {chunk.format!r:.40}; the manifest's is {name!r:.40}")
    if len(chunk.part_lengths) != place.levels:
        raise ValueError(f"{where}: {len(chunk.part_lengths)} part_lengths for {place.levels} levels")
    for length in chunk.part_lengths:
        _whole(length, 0, 1 << 40, f"{where}: part_lengths")
    _whole(chunk.crc32c, 0, (1 << 32) - 1, f"{where}: crc32c")
    if not isinstance(chunk.content_hash, str) or not _is_hash(chunk.content_hash):
        raise ValueError(f"{where}: content_hash is {chunk.content_hash!r:.40}; it must be 64 hexadecimal digits")
    _number(chunk.detail.entropy, math.log2(2 * STEPS + 1), f"{where}: entropy")
    _number(chunk.detail.structure, 1, f"{where}: structure")
    _number(chunk.detail.mean_square, float(np.finfo(np.float32).max) ** 2, f"{where}: mean_square")


def _is_hash(value: str) -> bool:
    return len(value) == 64 and not set(value) - set("0123456789abcdef")
