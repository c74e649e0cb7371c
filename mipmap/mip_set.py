"""Mip sets: one PNG or EXR file a level, for tools that take pictures and make their own containers.

Level 0 of the map NAME lies as NAME.png or NAME.exr, level k as mips/NAME.k.png or mips/NAME.k.exr, all of one folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from io import BufferedRandom
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mipmap.atomic import atomic_file
from mipmap.chain import level_sizes
from mipmap.exr import ExrWriter, parse_exr
from mipmap.formats import FormatError
from mipmap.png import PngWriter, parse_png

Picture = Literal["png", "exr"]
MIPS = "mips"


def mip_paths(folder: Path, name: str, picture: Picture, levels: int) -> list[Path]:
    """Where the levels of map `name` lie, level 0 first."""
    return [folder / f"{name}.{picture}", *(folder / MIPS / f"{name}.{k}.{picture}" for k in range(1, levels))]


def write_mip_set(
    folder: Path,
    name: str,
    chain: Iterable[tuple[int, int, NDArray[Any]]],
    shape: tuple[int, int, int],
    picture: Picture,
    *,
    dtype: np.dtype[Any] | None = None,
    srgb: bool = False,
) -> list[Path]:
    """Write every level down to 1 x 1 while the chain is made; returns the files, level 0 first.

    chain: (level, first_row, rows) as `mipmap.chain.box_chain` yields them, for EXR with as_float. shape: (H, W, C) of
    level 0, C 1 or 3. PNG: dtype, uint8 or uint16, and whether the codes are sRGB-encoded, which the files then say.
    EXR: half floats, whatever the chain's dtype. A few rows are held in memory, whatever the size.
    Files take their names when all are complete, level 0 last; on an error before that nothing is left.
    Raises ValueError for what a picture cannot hold or missing rows, OSError, and what `chain` raises.
    """
    height, width, channels = shape
    sizes = level_sizes(height, width)
    paths = mip_paths(folder, name, picture, len(sizes))
    (folder / MIPS).mkdir(parents=True, exist_ok=True)
    with ExitStack() as pending:  # unwinds from the last level to level 0
        writers: list[PngWriter | ExrWriter] = []
        for path, (rows, columns) in zip(paths, sizes, strict=True):
            file = pending.enter_context(atomic_file(path))
            if picture == "exr":
                writers.append(ExrWriter(_writing(file), _patching(file), (rows, columns, channels)))
            else:
                kind = np.dtype(np.uint8) if dtype is None else dtype
                writers.append(PngWriter(_writing(file), (rows, columns, channels), kind, srgb=srgb))
        for level, _, texels in chain:
            writers[level].write_rows(texels)
        for writer in writers:
            writer.close()
    return paths


def read_mip_set(folder: Path, name: str, picture: Picture) -> tuple[list[NDArray[Any]], bool]:
    """(levels, srgb) of a set that `write_mip_set` made; uint8, uint16 or float16 texels, level 0 first.

    Raises FormatError, with the file's name, for a file that is not one of ours or of another size; OSError.
    """
    level, srgb = _read(folder / f"{name}.{picture}", picture)
    sizes = level_sizes(*level.shape[:2])
    levels = [level]
    for path, size in list(zip(mip_paths(folder, name, picture, len(sizes)), sizes, strict=True))[1:]:
        texels, encoded = _read(path, picture)
        if texels.shape != (*size, level.shape[2]) or (texels.dtype, encoded) != (level.dtype, srgb):
            raise FormatError(f"{path}: {texels.shape} {texels.dtype}; this level of {level.shape} differs")
        levels.append(texels)
    return levels, srgb


def _read(path: Path, picture: Picture) -> tuple[NDArray[Any], bool]:
    try:
        data = path.read_bytes()
        return (parse_exr(data), False) if picture == "exr" else parse_png(data)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def _writing(file: BufferedRandom) -> Any:
    return file.write


def _patching(file: BufferedRandom) -> Any:
    def patch(offset: int, data: bytes) -> None:
        file.seek(offset)
        file.write(data)

    return patch
