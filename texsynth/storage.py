"""How the maps of a finished texture are stored: for which target, in which files, and the writing of one map.

A picture container (PNG, EXR) takes one file a mip level, OUT/<map>.png and OUT/mips/<map>.<level>.png; a block
container (KTX2, DDS) holds all levels in one file, OUT/<map>.ktx2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mipmap.chain import level_sizes
from mipmap.charts import ChartFilter
from mipmap.dds import DdsWriter
from mipmap.diffusion import Diffusion
from mipmap.encode import Quality, encode_chain
from mipmap.exr import ExrWriter
from mipmap.filters import Wrap
from mipmap.ktx2 import Ktx2Writer
from mipmap.material_chain import DEFAULTS, ChainOptions, Rows, map_chain
from mipmap.mip_set import MIPS
from mipmap.png import PngWriter
from mipmap.roughness import RoughnessRule
from mipmap.targets import IN_BLOCKS, TARGETS, Container, Target
from texsynth.checks import require_choice, require_range
from texsynth.errors import bad_input
from texsynth.fault import fault_point
from texsynth.material import CHANNELS, MapKind, TextureMap

TargetName = Literal["source", "desktop", "quest3"]
SMALLEST_ALPHA_TEST = 1 / 65535  # the least opacity that a code above 0 can have

# The target that a container is for, when only the container is named.
_TARGET_OF: dict[str, TargetName] = {"png": "source", "exr": "source", "dds": "desktop", "ktx2": "quest3"}


@dataclass(frozen=True)
class Storage:
    """The files that maps become.

    target, container: what they are for and what holds them. compression: how long block encoders search.
    chain: how the mip levels are filtered. narrow: whether a PNG of a map that is held in 16 bits has 8 (`Diffusion`).
    """

    target: Target = TARGETS["source"]
    container: Container = "png"
    compression: Quality = "fast"
    chain: ChainOptions = DEFAULTS
    narrow: bool = False

    @property
    def in_blocks(self) -> bool:
        """Whether one file holds all levels of a map, for a GPU to sample as it is."""
        return self.container in IN_BLOCKS

    def file_names(self, kind: MapKind, height: int, width: int) -> list[str]:
        """The files of one map of (height, width) texels, that with level 0 first."""
        first = f"{kind}.{self.container}"
        if self.in_blocks:
            return [first]
        return [first, *(f"{MIPS}/{kind}.{k}.{self.container}" for k in range(1, len(level_sizes(height, width))))]

    def png_dtype(self, source: Rows) -> np.dtype[Any]:
        """Of the texels of a PNG that a map becomes."""
        held = source.dtype if source.dtype.kind == "u" else np.dtype(np.uint16)
        return np.dtype(np.uint8) if self.narrow else held

    def facts(self, kind: MapKind, source: Rows) -> dict[str, Any]:
        """What the manifest says about how one map is stored (`texsynth.publish`)."""
        texel_format = self.target.texel_format(kind) if self.in_blocks else None
        if texel_format is not None:
            bits, space = 8, texel_format.colour_space
        else:
            bits = 16 if self.container == "exr" else 8 * self.png_dtype(source).itemsize
            space = "srgb" if kind is MapKind.ALBEDO and self.container == "png" else "linear"
        return {
            "channels": CHANNELS[kind],
            "bits": bits,
            "colour_space": space,
            "normal_convention": "opengl" if kind is MapKind.NORMAL else None,
            "format": self.container,
            "texel_format": None if texel_format is None else texel_format.name,
            "levels": len(level_sizes(*source.shape[:2])),
        }


def choose_storage(
    target: str | None, container: str | None, compression: Quality = "fast", chain: ChainOptions = DEFAULTS
) -> Storage:
    """The storage for these names. Without a target it is that which the container is for, without a container the
    target's first; without both `source` as PNG.

    Raises TexsynthError(BAD_INPUT) for an unknown name, and for a container that the target does not have.
    """
    if container is not None:
        require_choice("format", container, get_args(Container))
    target = target or _TARGET_OF[container or "png"]
    require_choice("target", target, get_args(TargetName))
    require_choice("compression", compression, get_args(Quality))
    chosen = TARGETS[target]
    held = next((each for each in chosen.containers if container in (None, each)), None)
    if held is None:
        raise bad_input(
            "format", f"target {chosen.name} has no {container} files", f"use {' or '.join(chosen.containers)}"
        )
    return Storage(chosen, held, compression, chain)


def choose_chain(filter: str, wrap: str, roughness: str, alpha_test: float | None) -> ChainOptions:
    """How levels are filtered, by names. Raises TexsynthError(BAD_INPUT) for an unknown one or a test outside 0..1."""
    require_choice("filter", filter, get_args(ChartFilter))
    require_choice("wrap", wrap, get_args(Wrap))
    require_choice("roughness", roughness, get_args(RoughnessRule))
    if alpha_test is not None:
        require_range("alpha-test", alpha_test, SMALLEST_ALPHA_TEST, 1)
    return ChainOptions(cast(ChartFilter, filter), cast(Wrap, wrap), cast(RoughnessRule, roughness), alpha_test)


class Gutters(Protocol):
    """What keeps the background of a mesh's texture out of its mips (`texsynth.surface.gutters`)."""

    @property
    def charts(self) -> Rows | None:
        """(H, W), 0 for background, for `mipmap.material_chain`; None where there is none."""

    def refilled(
        self, kind: MapKind, chain: Iterator[tuple[int, int, NDArray[Any]]]
    ) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """The chain of a map with its gutters filled."""


@dataclass(frozen=True)
class Charts:
    """Gutters of which nothing but the charts is known."""

    charts: Rows

    def refilled(
        self, kind: MapKind, chain: Iterator[tuple[int, int, NDArray[Any]]]
    ) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """The same."""
        del kind
        return chain


class OutputFile(Protocol):
    """A file that a map is written into."""

    final: Path

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite bytes that were written."""

    def anywhere(self) -> BufferedRandom:
        """The file itself, to be written in any order."""


def write_map(
    kind: MapKind,
    sources: Mapping[MapKind, Rows],
    files: Sequence[OutputFile],
    storage: Storage,
    gutters: Gutters | None = None,
) -> Iterator[float]:
    """Write one map with its mips into its files (level 0 first); yields the fraction done, 0..1.

    sources: all maps of the material, for the mips of roughness take up what those of the normal lose; rows of uint8 or
    uint16 codes, or of float32 as `TextureMap` has them. A few bands are held in memory, whatever the size.
    Raises OSError, and what the files and sources raise; FormatError for a size that the container cannot have.
    """
    if storage.in_blocks:
        yield from _write_blocks(kind, sources, files[0], storage, gutters)
    else:
        yield from _write_pictures(kind, sources, files, storage, gutters)


def map_levels(
    kind: MapKind, sources: Mapping[MapKind, Rows], storage: Storage, gutters: Gutters | None
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """The chain of one map as `write_map` writes it: (level, first row, rows), level 0 first."""
    as_float = storage.container == "exr"
    return _levels(kind, _read(sources, as_float=as_float), storage, gutters, as_float=as_float)


def _read(sources: Mapping[MapKind, Rows], *, as_float: bool) -> dict[str, Rows]:
    return {str(name): source if as_float else _in_codes(name, source) for name, source in sources.items()}


def _levels(
    kind: MapKind, read: Mapping[str, Rows], storage: Storage, gutters: Gutters | None, *, as_float: bool = False
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    charts = None if gutters is None else gutters.charts
    chain = map_chain(kind, read, storage.chain, charts=charts, as_float=as_float)
    return chain if gutters is None else gutters.refilled(kind, chain)


def _write_pictures(
    kind: MapKind,
    sources: Mapping[MapKind, Rows],
    files: Sequence[OutputFile],
    storage: Storage,
    gutters: Gutters | None,
) -> Iterator[float]:
    as_float = storage.container == "exr"
    read = _read(sources, as_float=as_float)
    height, width = sources[kind].shape[:2]
    dtype = storage.png_dtype(read[kind])
    writers: list[PngWriter | ExrWriter] = []
    narrowed = list[Diffusion]()
    for file, (rows, columns) in zip(files, level_sizes(height, width), strict=True):
        shape = (rows, columns, CHANNELS[kind])
        if as_float:
            writers.append(ExrWriter(file.write, file.patch, shape))
        else:
            writers.append(PngWriter(file.write, shape, dtype, srgb=kind is MapKind.ALBEDO))
        narrowed.append(Diffusion(columns, CHANNELS[kind]))
    for level, first_row, texels in _levels(kind, read, storage, gutters, as_float=as_float):
        narrow = not as_float and texels.dtype != dtype
        writers[level].write_rows(narrowed[level].rounded(texels) if narrow else texels)
        if level == 0:
            fault_point("publish_band")
            yield (first_row + texels.shape[0]) / height
    for writer in writers:
        writer.close()


def _write_blocks(
    kind: MapKind,
    sources: Mapping[MapKind, Rows],
    file: OutputFile,
    storage: Storage,
    gutters: Gutters | None,
) -> Iterator[float]:
    read = _read(sources, as_float=False)
    height, width = sources[kind].shape[:2]
    texel_format = storage.target.texel_format(kind)
    done = 0.0

    def hear(fraction: float) -> None:
        nonlocal done
        done = fraction

    chain = _levels(kind, read, storage, gutters)
    encoded = encode_chain(chain, height, width, texel_format, quality=storage.compression, progress=hear)
    stream = file.anywhere()
    writer: DdsWriter | Ktx2Writer
    if storage.container == "dds":
        writer = DdsWriter(stream, texel_format, height, width)
    else:
        compress, folder = storage.target.compress, file.final.parent
        writer = Ktx2Writer(stream, texel_format, height, width, compress=compress, spool_folder=folder)
    try:
        for level, data in encoded:
            writer.write(level, data)
            fault_point("publish_band")
            yield done
        writer.close()
    finally:
        if isinstance(writer, Ktx2Writer):
            with suppress(OSError):  # a full disk, which was raised already
                writer.discard()


def _in_codes(kind: MapKind, source: Rows) -> Rows:
    """Rows of integers as files of integers store them: floating point as 16 bits, anything else as it is."""
    return source if source.dtype.kind == "u" else _Codes(kind, source)


class _Codes:
    """Float32 texels of a map as 16-bit codes, a band at a time."""

    def __init__(self, kind: MapKind, source: Rows) -> None:
        self._kind, self._source = kind, source
        self.shape = tuple(source.shape)
        self.dtype = np.dtype(np.uint16)

    def __getitem__(self, rows: slice, /) -> Any:
        encoded = TextureMap(self._kind, np.asarray(self._source[rows], np.float32)).encoded()
        return (np.clip(encoded, 0, 1) * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
