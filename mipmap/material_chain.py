"""The mip chain of a whole material: every map filtered as what it is, and roughness with what its normals lose.

    albedo      sRGB codes (or linear half and float) filtered as linear light
    normal      raw means carried down, unit vectors on output
    roughness   mean of alpha^2 = roughness^4, plus the spread of the normals under the texel (`mipmap.roughness`)
    metalness, height, opacity    filtered as they are; opacity may keep its alpha-test coverage (`mipmap.coverage`)

Sizes, texel centres and encodings are those of `mipmap.chain`. Sources are arrays, memory maps, or whatever else gives
rows for a slice; they are read in bands, and the pages of a memory map are given back after use, so resident memory
does not grow with the map. Nothing is shared between the chains of two maps: they may run in threads.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mipmap.chain import (
    DTYPES,
    Filtering,
    Floats,
    box_chain,
    carried,
    level_sizes,
    mean_chain,
    stored_floats,
    to_texels,
)
from mipmap.charts import ChartFilter, Charts, ReadCharts, chart_chain
from mipmap.coverage import coverage_scales
from mipmap.filters import Wrap, sinc_chain
from mipmap.roughness import RoughnessRule, check_rule, roughness_features, roughness_of

Kind = Literal["albedo", "normal", "roughness", "metalness", "height", "opacity"]

# How each map is filtered, which also decides its colour space: colour is sRGB-encoded, everything else is linear.
FILTERING: dict[str, Filtering] = {
    "albedo": "colour",
    "normal": "normal",
    "roughness": "scalar",
    "metalness": "scalar",
    "height": "scalar",
    "opacity": "scalar",
}
# A band of this size keeps the chain's rows in the processor's caches; larger bands were not faster.
BAND_TEXELS = 1 << 19


class Rows(Protocol):
    """A source of texels: an array, a memory map, or an object with these three."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C), or (H, W) for one channel."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8, uint16, float16 or float32."""

    def __getitem__(self, rows: slice, /) -> Any:
        """The rows of a slice, (h, W, C) or (h, W)."""


@dataclass(frozen=True)
class ChainOptions:
    """How the levels of a material are made.

    filter: box (exact area average), kaiser or lanczos3 (`mipmap.filters`). wrap: what the filter reads beyond an edge;
    the box reads nothing there, and maps with charts clamp. roughness: the rule of `mipmap.roughness`.
    coverage_threshold: the alpha test whose coverage the levels of opacity keep (0 < t <= 1), or None.
    Raises ValueError for anything else.
    """

    filter: ChartFilter = "box"
    wrap: Wrap = "clamp"
    roughness: RoughnessRule = "vmf_ggx"
    coverage_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.filter not in get_args(ChartFilter):
            raise ValueError(f"the filter is {self.filter!r}; it must be one of {', '.join(get_args(ChartFilter))}")
        if self.wrap not in get_args(Wrap):
            raise ValueError(f"the wrap is {self.wrap!r}; it must be one of {', '.join(get_args(Wrap))}")
        check_rule(self.roughness)
        if self.coverage_threshold is not None and not 0 < self.coverage_threshold <= 1:
            raise ValueError(f"the alpha test is at {self.coverage_threshold}; it must be above 0 and at most 1")


DEFAULTS = ChainOptions()


def material_chain(
    maps: Mapping[str, Rows],
    options: ChainOptions = DEFAULTS,
    *,
    charts: Rows | None = None,
    as_float: bool = False,
) -> Iterator[tuple[str, int, int, NDArray[Any]]]:
    """Yield (kind, level, first_row, rows) for every map and level, the maps side by side from the top.

    maps: by kind, all of one (H, W); albedo and normal have 3 channels, the others 1 (or are (H, W)).
    charts: (H, W) integers, 0 for empty and else the number of the UV chart (`mipmap.charts`), or None.
    rows: (h', width of the level, C), of the dtype of the map, or with as_float float32 as in `mipmap.chain.box_chain`.
    The rows of one map and level come in order and without a gap, level 0 as it is. Resident are some bands a map.
    Raises ValueError for an unknown kind, another shape or dtype, or maps of different sizes.
    """
    _check(maps, charts)
    chains = {kind: map_chain(kind, maps, options, charts=charts, as_float=as_float) for kind in maps}
    reached = dict.fromkeys(chains, 0)  # rows of level 0 done
    while chains:
        kind = min(chains, key=lambda name: reached[name])
        item = next(chains[kind], None)
        if item is None:
            del chains[kind]
            continue
        level, first_row, rows = item
        if level == 0:
            reached[kind] = first_row + rows.shape[0]
        yield kind, level, first_row, rows


def material_levels(
    maps: Mapping[str, Rows],
    options: ChainOptions = DEFAULTS,
    *,
    charts: Rows | None = None,
    as_float: bool = False,
) -> dict[str, list[NDArray[Any]]]:
    """The chain of `material_chain` as whole levels, by kind, level 0 first; the maps are made in threads."""
    _check(maps, charts)
    with ThreadPoolExecutor(min(len(maps), os.cpu_count() or 1)) as pool:
        made = {
            kind: pool.submit(_whole, map_chain(kind, maps, options, charts=charts, as_float=as_float)) for kind in maps
        }
        return {kind: levels.result() for kind, levels in made.items()}


def map_chain(
    kind: str,
    maps: Mapping[str, Rows],
    options: ChainOptions = DEFAULTS,
    *,
    charts: Rows | None = None,
    as_float: bool = False,
    workers: int = 1,
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield (level, first_row, rows) of one map of a material, as `material_chain` does.

    Reads the map itself, and for roughness its normal map too; callers that encode maps in threads call this in each.
    With a coverage threshold opacity is read twice. workers: threads within the map, for the box without charts.
    """
    _check(maps, charts)
    source, filtering = maps[kind], FILTERING[kind]
    covered = kind == "opacity" and options.coverage_threshold is not None
    height, width = source.shape[:2]
    if kind != "roughness" and not covered and options.filter == "box" and charts is None:
        bands = _bands(source, _band_rows(source))
        yield from box_chain(bands, height, width, filtering, as_float=as_float, workers=workers)
        return
    scales = _coverage_scales(source, options, charts) if covered else []
    for level, first_row, means in _means(kind, maps, options, charts, workers):
        if level == 0:
            texels = _texels(source, first_row, first_row + means.shape[0])
            yield level, first_row, stored_floats(texels, filtering) if as_float else texels
            _give_back(texels)
            continue
        finished = roughness_of(means, options.roughness) if kind == "roughness" else means
        if covered:
            finished = finished * np.float32(scales[level])
        finished = _in_range(kind, finished)
        yield level, first_row, to_texels(finished, np.dtype(np.float32) if as_float else source.dtype, filtering)


def chart_levels(charts: Rows, options: ChainOptions = DEFAULTS) -> list[Charts]:
    """The chart map of every level, (h, w) int32: which chart each texel of a chain with `charts` belongs to."""
    height, width = charts.shape[:2]
    parts: dict[int, list[Charts]] = {}

    def no_texels(y0: int, y1: int) -> Floats:
        return np.empty((y1 - y0, width, 0), np.float32)

    for level, _, _, owner in chart_chain(no_texels, _chart_reader(charts), height, width, 0, options.filter):
        parts.setdefault(level, []).append(owner)
    return [np.concatenate(parts[level]) for level in sorted(parts)]


def _check(maps: Mapping[str, Rows], charts: Rows | None) -> None:
    if not maps:
        raise ValueError("a material needs at least one map")
    sizes = {kind: tuple(source.shape[:2]) for kind, source in maps.items()}
    if charts is not None:
        sizes["charts"] = tuple(charts.shape)
    if len(set(sizes.values())) != 1:
        raise ValueError(f"maps of one material share one size, got {sizes}")
    for kind, source in maps.items():
        if kind not in FILTERING:
            raise ValueError(f"{kind!r} is not a kind of map; the kinds are {', '.join(FILTERING)}")
        channels = 3 if kind in ("albedo", "normal") else 1
        if (source.shape[2] if len(source.shape) == 3 else 1) != channels or len(source.shape) not in (2, 3):
            raise ValueError(f"{kind} needs texels of shape (H, W, {channels}), got {source.shape}")
        if source.dtype not in DTYPES:
            raise ValueError(f"{kind} is {source.dtype}; it must be uint8, uint16, float16 or float32")


def _in_range(kind: str, means: Floats) -> Floats:
    """Without what the lobes of a filter put beyond the range of a kind; height in floating point has no range."""
    if kind in ("metalness", "opacity"):
        return np.clip(means, 0, 1)
    return np.maximum(means, 0) if kind == "albedo" else means


def _means(
    kind: str, maps: Mapping[str, Rows], options: ChainOptions, charts: Rows | None, workers: int
) -> Iterator[tuple[int, int, Floats]]:
    """(level, first_row, averaged features) from level 0 on, by the filter of the options."""
    source = maps[kind]
    height, width = source.shape[:2]
    read = _feature_reader(kind, maps, options)
    channels = read(0, 1).shape[2]
    rows = _band_rows(source)
    if charts is not None:
        chain = chart_chain(read, _chart_reader(charts), height, width, channels, options.filter, band_rows=rows)
        for level, first_row, means, _ in chain:
            yield level, first_row, means
    elif options.filter != "box":
        yield from sinc_chain(read, height, width, channels, options.filter, options.wrap, band_rows=rows)
    else:
        features = (read(y, min(height, y + rows)) for y in range(0, height, rows))
        for level, first_row, texels, mean in mean_chain(features, height, width, "scalar", workers=workers):
            yield level, first_row, np.asarray(texels, np.float32) if mean is None else mean


def _feature_reader(kind: str, maps: Mapping[str, Rows], options: ChainOptions) -> Callable[[int, int], Floats]:
    source, normal = maps[kind], maps.get("normal") if options.roughness != "none" else None

    def read(y0: int, y1: int) -> Floats:
        texels = _texels(source, y0, y1)
        if kind == "roughness":
            normals = None if normal is None else _texels(normal, y0, y1)
            features = roughness_features(texels, normals)
            if normals is not None:
                _give_back(normals)
        else:
            features = carried(texels, FILTERING[kind])
            if np.may_share_memory(features, texels):  # float32 is carried as it is
                features = features.copy()
        _give_back(texels)
        return features

    return read


def _chart_reader(charts: Rows) -> ReadCharts:
    def read(y0: int, y1: int) -> NDArray[Any]:
        rows = charts[y0:y1]
        copy = np.array(rows)
        _give_back(rows)
        return copy

    return read


def _coverage_scales(source: Rows, options: ChainOptions, charts: Rows | None) -> list[float]:
    threshold = options.coverage_threshold
    assert threshold is not None
    maps = {"opacity": source}
    opacity = ((level, means) for level, _, means in _means("opacity", maps, options, charts, 1))
    return coverage_scales(opacity, threshold, len(level_sizes(*source.shape[:2])))


def _whole(chain: Iterator[tuple[int, int, NDArray[Any]]]) -> list[NDArray[Any]]:
    parts: dict[int, list[NDArray[Any]]] = {}
    for level, _, rows in chain:
        parts.setdefault(level, []).append(rows)
    return [np.concatenate(parts[level]) for level in sorted(parts)]


def _band_rows(source: Rows) -> int:
    """Rows of a band: a power of two, so that bands end where texels of the first levels do."""
    return 1 << (max(1, BAND_TEXELS // source.shape[1]).bit_length() - 1)


def _texels(source: Rows, y0: int, y1: int) -> NDArray[Any]:
    rows: NDArray[Any] = source[y0:y1]
    return rows[..., None] if rows.ndim == 2 else rows


def _bands(source: Rows, rows: int) -> Iterator[NDArray[Any]]:
    for y in range(0, source.shape[0], rows):
        band = _texels(source, y, min(source.shape[0], y + rows))
        yield band
        _give_back(band)


def _give_back(band: NDArray[Any]) -> None:
    """Let go of the pages of a memory map that `band` has made resident; whoever reads them again gets them again.

    Only of maps whose changes go to the file: a copy-on-write map would lose its changes.
    """
    mapping = getattr(band, "_mmap", None)
    if not isinstance(mapping, mmap.mmap) or getattr(band, "mode", "c") not in ("r", "r+", "w+"):
        return
    start = np.frombuffer(mapping, np.uint8).ctypes.data
    low, high = np.lib.array_utils.byte_bounds(band)
    first = (low - start) // mmap.PAGESIZE * mmap.PAGESIZE
    if hasattr(mmap, "MADV_DONTNEED") and high > low:
        mapping.madvise(mmap.MADV_DONTNEED, first, high - start - first)
