"""Texels to blocks and back, over all cores, band by band.

ASTC goes through astc-encoder-py (Arm's astcenc), BC7, BC5 and BC4 through ispc-texcomp (Intel's), ETC2 and EAC through
etcpak; texture2ddecoder decodes all but ASTC. What was found out about them and is not in their documentation:
- ispc-texcomp wants BC4 and BC5 packed, one and two bytes a texel, although its class says RGBA;
- etcpak reads red from byte 0 or from byte 2 of a texel, depending on the function and on the instruction set that its
  build was made for, so it is asked once with a red block (`_red_comes_third`). Its EAC R11 returns twice the bytes, of
  which the first half is right. It keeps the interpreter lock, so large levels go through processes (`etc_process`);
- a context of astcenc costs 10 ms to set up and serves one call at a time, so idle ones are kept.

A level is cut into bands of whole rows of blocks. Blocks do not depend on each other, so the bytes do not depend on the
bands, nor on the number of cores.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, Literal, get_args

import astc_encoder
import etcpak
import ispc_texcomp
import numpy as np
import texture2ddecoder
from numpy.typing import NDArray

from mipmap import etc_process
from mipmap.formats import FormatError, TexelFormat, check_levels

Quality = Literal["fast", "medium", "slow"]
Progress = Callable[[float], None]
Texels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float16] | NDArray[np.float32]
Bytes = NDArray[np.uint8]

# astcenc's scale 0..100. On albedo at 4x4, 60 takes 10 times as long as 0 for 1.4 dB.
ASTC_QUALITY: dict[Quality, int] = {"fast": 0, "medium": 10, "slow": 60}
BC7_PROFILE: dict[Quality, str] = {"fast": "ultrafast", "medium": "veryfast", "slow": "basic"}
# Texels of one band: a tenth of a second of ASTC, so that a cancelled run stops soon and progress moves.
BAND_TEXELS = 1 << 17
# Texels from which ETC2 and EAC go through processes of their own: one is ready after some 50 ms.
ETC_PROCESSES = 1 << 21
LARGEST_HALF = np.float32(65504)


def encode_level(
    texels: Texels, texel_format: TexelFormat, *, quality: Quality = "fast", progress: Progress | None = None
) -> bytes:
    """The blocks of one level, row by row from the top left.

    texels: (H, W, C); which C, see `TexelFormat.channels`. uint8, or uint16 which is rounded to 8 bits, in the format's
    colour space, normals encoded (n + 1)/2; for rgba16f float16 or float32 in linear light, of which what is beyond
    the largest half becomes the largest half. It may be memory-mapped: bands of rows are read one after the other.
    quality: how long ASTC and BC7 search; the other formats have one speed.
    progress: hears 0..1 in the calling thread; what it raises ends the work and goes on to the caller.
    Raises FormatError for texels of another shape or dtype than the format takes.
    """
    height, width = _check_texels(texels, texel_format)
    step = _band_rows(texel_format, width)
    rows = ((0, texels[y : y + step]) for y in range(0, height, step))
    encoded = _encode_rows(rows, [(height, width)], texel_format, quality, progress)
    return b"".join(data for _, data in encoded)


def encode_chain(
    chain: Iterable[tuple[int, int, Texels]],
    height: int,
    width: int,
    texel_format: TexelFormat,
    *,
    levels: int | None = None,
    quality: Quality = "fast",
    progress: Progress | None = None,
) -> Iterator[tuple[int, bytes]]:
    """The blocks of a mip chain while it is made, as (level, the next bytes of that level).

    chain: (level, first_row, rows), as `mipmap.chain.box_chain` yields them: each level from its top, levels mixed.
    height, width: of level 0. levels: how many there are (default: down to 1 x 1); rows of further ones are left out.
    texels, quality, progress: as `encode_level`; the fraction is of all texels of all levels.
    A few bands are held in memory, whatever the size. Raises FormatError also for a chain with missing or extra rows.
    """
    count = max(height, width).bit_length() if levels is None else levels
    check_levels(height, width, count)
    sizes = [(max(1, height >> k), max(1, width >> k)) for k in range(count)]
    rows = ((level, texels) for level, _, texels in chain if level < count)
    return _encode_rows(rows, sizes, texel_format, quality, progress)


def decode_level(
    data: bytes | memoryview, height: int, width: int, texel_format: TexelFormat
) -> NDArray[np.uint8] | NDArray[np.float16]:
    """The texels of one level: (height, width, channels of the format) uint8, or float16 for rgba16f.

    Values stay in the format's colour space; nothing is converted to linear light.
    Raises FormatError when `data` is not exactly as long as such a level.
    """
    check_levels(height, width, 1)
    expected = texel_format.level_bytes(height, width)
    if len(data) != expected:
        raise FormatError(f"{len(data)} bytes; {height} x {width} texels of {texel_format.name} take {expected}")
    if texel_format.codec == "rgba16f":
        return np.frombuffer(data, "<f2").astype(np.float16).reshape(height, width, 4)
    out = np.empty((height, width, texel_format.channels), np.uint8)
    step = _band_rows(texel_format, width)
    row_bytes = texel_format.row_bytes(width)

    def decode(y: int) -> None:
        rows = out[y : y + step]
        first, last = y // texel_format.block_height, texel_format.rows_of_blocks(y + rows.shape[0])
        blocks = bytes(data[first * row_bytes : last * row_bytes])
        rows[:] = _decode_band(blocks, rows.shape[0], width, texel_format)

    with ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(decode, range(0, height, step)):
            pass
    return out


def normals_from_xy(xy: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(..., 3) float32 unit vectors from (..., 2) uint8 X and Y, as a shader reads the two-channel normal formats.

    Z is sqrt(1 - x^2 - y^2), hence never negative; where X and Y are longer than 1, Z is 0 and they are shortened.
    """
    vectors = np.empty((*xy.shape[:-1], 3), np.float32)
    vectors[..., :2] = xy.astype(np.float32) * np.float32(2 / 255) - 1
    square = np.einsum("...c,...c->...", vectors[..., :2], vectors[..., :2])
    vectors[..., 2] = np.sqrt(np.maximum(0, 1 - square))
    vectors /= np.sqrt(np.maximum(1, square))[..., None]
    return vectors


def normal_codes(xy: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(..., 3) uint8, `normals_from_xy` as three-channel formats store them."""
    return np.asarray(np.rint((normals_from_xy(xy) + 1) * np.float32(127.5)), np.uint8)


def psnr(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio in dB of uint8 arrays of one shape: 10 log10(255^2 / mean square error).

    Infinite for equal arrays. Works in bands of rows, so that 8K maps need no float copy.
    Raises ValueError for arrays of different shapes.
    """
    if original.shape != decoded.shape:
        raise ValueError(f"{original.shape} and {decoded.shape}; both must have one shape")
    total = 0
    for y in range(0, original.shape[0], 64):
        difference = original[y : y + 64].astype(np.int32) - decoded[y : y + 64]
        total += int(np.square(difference).sum(dtype=np.int64))
    return float("inf") if total == 0 else float(10 * np.log10(255**2 * original.size / total))


def _encode_rows(
    rows: Iterable[tuple[int, Texels]],
    sizes: Sequence[tuple[int, int]],
    texel_format: TexelFormat,
    quality: Quality,
    progress: Progress | None,
) -> Iterator[tuple[int, bytes]]:
    """Bands in, blocks out, in the order in which the bands were complete; a few bands are under way at any time."""
    if quality not in get_args(Quality):
        raise FormatError(f"{quality!r} is not a quality; there are {', '.join(get_args(Quality))}")
    cutters = [_Cutter(size, texel_format) for size in sizes]
    total, done = sum(height * width for height, width in sizes), 0
    apart = texel_format.codec in _ETCPAK and total >= ETC_PROCESSES and etc_process.available()
    under_way: deque[tuple[int, int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(usable_cores()) as pool:

        def finished(most: int) -> Iterator[tuple[int, bytes]]:
            nonlocal done
            while len(under_way) > most:
                level, texels, future = under_way.popleft()
                yield level, future.result()
                done += texels
                if progress is not None:
                    progress(done / total)

        try:
            for level, texels in rows:
                for band in cutters[level].push(texels):
                    future = pool.submit(_encode_band, band, texel_format, quality, apart)
                    under_way.append((level, band.size // band.shape[2], future))
                    yield from finished(2 * usable_cores())
            yield from finished(0)
        finally:
            for _, _, future in under_way:
                future.cancel()
            if apart:
                wait([future for _, _, future in under_way])
                etc_process.close_idle()
    for level, cutter in enumerate(cutters):
        if cutter.missing:
            raise FormatError(f"{cutter.missing} rows of level {level} are missing")


class _Cutter:
    """Gathers the rows of one level and hands them on in bands of whole rows of blocks."""

    def __init__(self, size: tuple[int, int], texel_format: TexelFormat) -> None:
        self.missing = size[0]
        self._width = size[1]
        self._format = texel_format
        self._step = _band_rows(texel_format, size[1])
        self._kind: tuple[int, np.dtype[Any]] | None = None  # channels and dtype of the rows so far
        self._waiting: list[Texels] = []
        self._waiting_rows = 0

    def push(self, rows: Texels) -> Iterator[Texels]:
        height, width = _check_texels(rows, self._format)
        if width != self._width or height > self.missing:
            raise FormatError(f"rows of {rows.shape}; expected at most {self.missing} rows of width {self._width}")
        kind = (rows.shape[2], rows.dtype)
        if kind != self._kind and self._kind is not None:
            raise FormatError(f"rows of {kind[0]} channels {kind[1]} after rows of {self._kind[0]} {self._kind[1]}")
        self._kind = kind
        self.missing -= height
        # A copy, for the caller may reuse the memory of the rows while the band is being encoded.
        self._waiting.append(rows.copy())
        self._waiting_rows += height
        if self._waiting_rows < self._step and self.missing:
            return
        gathered: Any = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        whole = self._waiting_rows if self.missing == 0 else self._waiting_rows // self._step * self._step
        for y in range(0, whole, self._step):
            yield gathered[y : min(whole, y + self._step)]
        self._waiting = [gathered[whole:]] if whole < self._waiting_rows else []
        self._waiting_rows -= whole


def _check_texels(texels: Texels, texel_format: TexelFormat) -> tuple[int, int]:
    accepted = {4: (1, 3, 4), 3: (1, 3), 2: (2, 3), 1: (1,)}[texel_format.channels]
    half = texel_format.codec == "rgba16f"
    dtypes: tuple[type, ...] = (np.float16, np.float32) if half else (np.uint8, np.uint16)
    if texels.ndim != 3 or texels.shape[2] not in accepted or texels.dtype not in dtypes or 0 in texels.shape:
        channels = " or ".join(str(number) for number in accepted)
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise FormatError(
            f"texels are {texels.shape} {texels.dtype}; {texel_format.name} takes (H, W, {channels}) {names}"
        )
    return texels.shape[0], texels.shape[1]


def _band_rows(texel_format: TexelFormat, width: int) -> int:
    return max(1, BAND_TEXELS // (width * texel_format.block_height)) * texel_format.block_height


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _encode_band(texels: Texels, texel_format: TexelFormat, quality: Quality, apart: bool) -> bytes:
    """(h, W, C) texels to blocks; h ends a row of blocks or the level. apart: ETC2 and EAC in another process."""
    codec = texel_format.codec
    if codec == "rgba16f":
        halves = np.clip(texels, -LARGEST_HALF, LARGEST_HALF).astype("<f2") if texels.dtype == np.float32 else texels
        return _stored(halves, 4, np.float16(1)).astype("<f2", copy=False).tobytes()
    narrow = ((texels.astype(np.uint32) + 128) // 257).astype(np.uint8) if texels.dtype == np.uint16 else texels
    if codec == "rgba8":
        return _stored(narrow, 4, np.uint8(255)).tobytes()
    opaque = texels.shape[2] < 4
    full = _whole_blocks(narrow, texel_format)
    height, width = full.shape[:2]
    if codec == "astc":
        return _astc_encode(_stored(full, 4, np.uint8(255)), texel_format, opaque, quality)
    if codec == "bc7":
        settings = _bc7_settings(("" if opaque else "alpha_") + BC7_PROFILE[quality])
        surface = ispc_texcomp.RGBASurface(_stored(full, 4, np.uint8(255)).tobytes(), width, height, 4 * width)
        return ispc_texcomp.compress_blocks_bc7(surface, settings)
    if codec in ("bc5", "bc4"):
        channels = texel_format.channels
        packed = np.ascontiguousarray(full[..., :channels]).tobytes()
        surface = ispc_texcomp.RGBASurface(packed, width, height, channels * width)
        compress = ispc_texcomp.compress_blocks_bc5 if codec == "bc5" else ispc_texcomp.compress_blocks_bc4
        return compress(surface)
    data = _etcpak(codec, _stored(full, 4, np.uint8(255)), apart)
    return data[: texel_format.level_bytes(height, width)]


def _stored(texels: NDArray[Any], channels: int, alpha: Any) -> NDArray[Any]:
    """(h, w, C) with C of 1 to 4 as (h, w, 4): grey in red, green and blue; X and Y without Z; opaque without alpha."""
    given = texels.shape[2]
    if given == channels:
        return np.ascontiguousarray(texels)
    out = np.zeros((*texels.shape[:2], channels), texels.dtype)
    out[..., 3] = alpha
    out[..., : max(3, given) if given != 2 else 2] = texels
    return out


def _whole_blocks(texels: NDArray[Any], texel_format: TexelFormat) -> NDArray[Any]:
    """Texels with the last column and row repeated until the sides are whole blocks."""
    down, right = -texels.shape[0] % texel_format.block_height, -texels.shape[1] % texel_format.block_width
    return np.pad(texels, ((0, down), (0, right), (0, 0)), mode="edge") if down or right else texels


@cache
def _idle_contexts(*key: Any) -> deque[astc_encoder.ASTCContext]:
    """Contexts of one kind that no thread is using. Taking and putting back are atomic."""
    return deque()


def _astc_encode(rgba: NDArray[Any], texel_format: TexelFormat, opaque: bool, quality: Quality) -> bytes:
    normal = texel_format.swizzle == "ra01"
    flags = astc_encoder.ASTCConfigFlags.MAP_NORMAL if normal else astc_encoder.ASTCConfigFlags(0)
    swizzle = "rrrg" if normal else "rgb1" if opaque else "rgba"
    image = astc_encoder.ASTCImage(astc_encoder.ASTCType.U8, rgba.shape[1], rgba.shape[0], 1, rgba.tobytes())
    key = (texel_format.block_width, texel_format.colour_space, ASTC_QUALITY[quality], flags)
    with_context = _astc_context(*key)
    try:
        # a copy: from_str writes capitals into the very string it is given, and a literal is shared by all the process
        return with_context.compress(image, astc_encoder.ASTCSwizzle.from_str("".join(list(swizzle))))
    finally:
        _idle_contexts(*key).append(with_context)


def _astc_context(side: int, colour_space: str, quality: int, flags: int) -> astc_encoder.ASTCContext:
    try:
        return _idle_contexts(side, colour_space, quality, flags).pop()
    except IndexError:
        profiles = astc_encoder.ASTCProfile
        profile = profiles.LDR_SRGB if colour_space == "srgb" else profiles.LDR
        return astc_encoder.ASTCContext(astc_encoder.ASTCConfig(profile, side, side, 1, quality, flags))


@cache
def _bc7_settings(profile: Any) -> ispc_texcomp.BC7EncSettings:
    return ispc_texcomp.BC7EncSettings.from_profile(profile)


_ETCPAK = {
    "etc2": (etcpak.compress_etc2_rgb, texture2ddecoder.decode_etc2),
    "etc2a": (etcpak.compress_etc2_rgba, texture2ddecoder.decode_etc2a8),
    "eac1": (etcpak.compress_eac_r, texture2ddecoder.decode_eacr),
    "eac2": (etcpak.compress_eac_rg, texture2ddecoder.decode_eacrg),
}
_DECODERS = {
    **{codec: decode for codec, (_, decode) in _ETCPAK.items()},
    "bc7": texture2ddecoder.decode_bc7,
    "bc5": texture2ddecoder.decode_bc5,
    "bc4": texture2ddecoder.decode_bc4,
}


def _etcpak(codec: str, rgba: NDArray[Any], apart: bool) -> bytes:
    texels = (rgba[..., [2, 1, 0, 3]] if _red_comes_third(codec) else rgba).tobytes()
    function, (height, width) = _ETCPAK[codec][0], rgba.shape[:2]
    if apart:
        return etc_process.compress(function.__name__, texels, width, height)
    return function(texels, width, height)


@cache
def _red_comes_third(codec: str) -> bool:
    """Whether etcpak's function for `codec` reads BGRA: then a block with byte 0 alone does not come back red."""
    compress, decode = _ETCPAK[codec]
    blue_green_red = decode(compress(bytes([255, 0, 0, 255]) * 16, 4, 4), 4, 4)
    return blue_green_red[2] < 128


def _decode_band(data: bytes, height: int, width: int, texel_format: TexelFormat) -> NDArray[Any]:
    codec = texel_format.codec
    if codec == "rgba8":
        return np.frombuffer(data, np.uint8).reshape(height, width, 4)
    if codec == "astc":
        return _astc_decode(data, height, width, texel_format)
    decoded = np.frombuffer(_DECODERS[codec](data, width, height), np.uint8).reshape(height, width, 4)
    return decoded[..., [2, 1, 0, 3]][..., : texel_format.channels]


def _astc_decode(data: bytes, height: int, width: int, texel_format: TexelFormat) -> NDArray[Any]:
    key = (texel_format.block_width, texel_format.colour_space, 0, 0)
    context = _astc_context(*key)
    try:
        image = astc_encoder.ASTCImage(astc_encoder.ASTCType.U8, width, height, 1)
        decoded = context.decompress(data, image, astc_encoder.ASTCSwizzle())
    finally:
        _idle_contexts(*key).append(context)
    if decoded.data is None:
        raise FormatError(f"a band of {texel_format.name} could not be decoded")
    rgba = np.frombuffer(decoded.data, np.uint8).reshape(height, width, 4)
    return rgba[..., [0, 3]] if texel_format.swizzle == "ra01" else rgba
