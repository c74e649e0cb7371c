"""Bounded image decoding: PNG, JPEG, WebP, TIFF, TGA, OpenEXR and Radiance HDR into NumPy arrays, or one clear line.

So that results can be measured and used again, KTX2 and DDS files that texsynth wrote are read too, at their level 0.

Every decoder is given a file only after its header and its structure were checked here: the pixel count against
the limit, the length of every chunk, strip or scan-line block against the bytes that are really there. So a header
that lies costs nothing, and a truncated file is refused instead of being padded. Pillow decodes 8 bits, OpenCV
16-bit PNG and Radiance HDR (Pillow would drop the low byte), tifffile and OpenCV deep TIFF, OpenEXR its own format.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import OpenEXR  # type: ignore[import-not-found]
import tifffile
from PIL import (
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from mipmap.atomic import sync_folder
from texsynth.errors import TexsynthError, bad_input, from_os_error
from texsynth.run import write_atomically

FORMATS = "PNG, JPEG, WebP, TIFF, TGA, EXR or HDR"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".tga", ".exr", ".hdr", ".ktx2", ".dds"})

# libjpeg-turbo's own fuzzers stop at 500 scans; no encoder writes more than about a dozen. A small progressive file
# can otherwise make the decoder pass over the whole image thousands of times.
MAX_JPEG_SCANS = 100
# Bytes out of one byte in, at most: a match of 258 bytes takes two bits (zlib's technical notes).
MAX_DEFLATE_RATIO = 1032

# tifffile logs what it finds wrong in a file; here that becomes one error, so the log would only repeat it.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class DecodeLimits:
    """What a file may ask for before it is decoded.

    `pixels`: width x height of one image (default 16384 x 16384); `file_bytes`: size of one file on disk, and of one
    embedded buffer of a mesh.
    """

    pixels: int = 2**28
    file_bytes: int = 2**31


@dataclass(frozen=True)
class DecodedImage:
    """What a file holds, as stored.

    texels: (H, W, C), C-contiguous, dtype uint8, uint16 or float32, row 0 at the top, EXIF orientation applied;
    integers are as encoded in the file, float32 is linear (TIFF, EXR, HDR).
    alpha: the last channel is alpha (not premultiplied). C is 1..4 with it.
    notes: what was assumed, one line each.
    """

    texels: npt.NDArray[Any]
    alpha: bool = False
    notes: tuple[str, ...] = ()


def read_bounded(path: Path, limits: DecodeLimits) -> bytes:
    """The bytes of a regular file no larger than `limits.file_bytes`.

    Raises TexsynthError if the file is missing, empty, not a regular file (a pipe would block) or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(error, path) from None
    except ValueError:
        raise bad_input(ascii(str(path)), "is not a file name", "give a path without NUL characters") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise bad_input(path, "is not a regular file", f"give a {FORMATS} file")
        if status.st_size == 0:
            raise bad_input(path, "is empty", f"give a {FORMATS} file")
        if status.st_size > limits.file_bytes:
            raise bad_input(path, f"has {status.st_size} bytes", f"files of at most {limits.file_bytes} bytes are read")
        try:
            return file.read()
        except OSError as error:
            raise from_os_error(error, path) from None
        except MemoryError:
            raise _no_memory(path) from None


def read_image(path: Path, limits: DecodeLimits | None = None, *, colour: bool = True) -> DecodedImage:
    """Decode one image file; see `decode_image`."""
    return decode_image(read_bounded(path, limits or DecodeLimits()), path, limits, colour=colour)


def decode_image(
    data: bytes, where: Path | str, limits: DecodeLimits | None = None, *, colour: bool = True
) -> DecodedImage:
    """Decode the bytes of one image; the format is told by its first bytes, not by its name.

    TGA alone has no signature: it is what is called .tga and has a header that can be one.

    colour: the image holds colour, so an embedded ICC profile other than sRGB is converted to sRGB (8 bits only);
    False for data such as normals. `where` names the input in errors.
    Raises TexsynthError (one line): not an image, truncated or damaged, more pixels than the limit, no pixels, an
    unsupported kind of pixel.
    """
    limits = limits or DecodeLimits()
    name, decode = _format_of(data, where)
    try:
        with _quiet:
            return decode(data, where, limits, colour)
    except TexsynthError:
        raise
    except MemoryError:
        raise _no_memory(where) from None
    except (struct.error, IndexError):
        raise _damaged(where, name, "it ends within its header") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise _damaged(where, name, reason) from None


def save_image(path: Path, texels: npt.NDArray[Any]) -> None:
    """Write a small image atomically: .png for uint8 or uint16, .exr (ZIP) for float32.

    texels: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), row 0 at the top. Raises TexsynthError.
    """
    texels = np.atleast_3d(texels)
    suffix, channels = path.suffix.lower(), texels.shape[2]
    if channels not in (1, 3, 4) or 0 in texels.shape:
        raise bad_input(path, f"an image of shape {texels.shape} cannot be saved", "save (H, W) by 1, 3 or 4 channels")
    try:
        if suffix == ".png" and texels.dtype in (np.uint8, np.uint16):
            order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
            good, encoded = cv2.imencode(".png", np.ascontiguousarray(texels[..., order]))
            if not good:
                raise bad_input(path, "could not be encoded as PNG", "save a smaller image")
            write_atomically(path, encoded.tobytes())
        elif suffix == ".exr" and texels.dtype == np.float32:
            _write_exr(path, texels)
        else:
            raise bad_input(
                path, f"{texels.dtype} cannot be saved as {suffix!r}", "save uint8 or uint16 as .png, float32 as .exr"
            )
    except OSError as error:
        raise from_os_error(error, path) from None


# --- one line for every failure ---------------------------------------------------------------------------------


def _damaged(where: Path | str, name: str, reason: str) -> TexsynthError:
    return bad_input(where, f"is a truncated or damaged {name} file ({reason})", "export or copy it again")


def _no_memory(where: Path | str) -> TexsynthError:
    return bad_input(where, "needs more memory to decode than this machine gives", "give a smaller image")


def _check_size(where: Path | str, width: int, height: int, limits: DecodeLimits) -> None:
    if width <= 0 or height <= 0:
        raise bad_input(where, f"has no pixels ({width} x {height})", "give an image of at least 1 x 1")
    if width * height > limits.pixels:
        raise bad_input(
            where, f"claims {width} x {height} pixels", f"images of at most {limits.pixels} pixels are decoded"
        )


class _Quiet:
    """While any thread decodes, warnings and OpenCV's log are off: what they say is raised here as one line.

    Counted, because both settings belong to the process: the first in switches them off, the last out restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                # OpenCV 5 moved both functions and the constant for silence, 0, from the top module.
                logger: Any = getattr(cv2.utils, "logging", cv2)
                self._restore.callback(logger.setLogLevel, logger.getLogLevel())
                logger.setLogLevel(0)
                self._restore.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._restore.close()


_quiet = _Quiet()
# OpenEXR prints through sys.stdout, which must stay clean for --json; one thread at a time may divert it.
_stdout_lock = threading.Lock()

Decoder = Callable[[bytes, Path | str, DecodeLimits, bool], DecodedImage]


def _format_of(data: bytes, where: Path | str) -> tuple[str, Decoder]:
    formats: tuple[tuple[str, Decoder, tuple[bytes, ...]], ...] = (
        ("PNG", _decode_png, (b"\x89PNG\r\n\x1a\n",)),
        ("JPEG", _decode_jpeg, (b"\xff\xd8\xff",)),
        ("TIFF", _decode_tiff, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        ("EXR", _decode_exr, (b"\x76\x2f\x31\x01",)),
        ("HDR", _decode_hdr, (b"#?RADIANCE", b"#?RGBE")),
        ("KTX2", _decode_blocks, (b"\xabKTX 20\xbb",)),
        ("DDS", _decode_blocks, (b"DDS ",)),
    )
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP", _decode_webp
    for name, decode, beginnings in formats:
        if data.startswith(beginnings):
            return name, decode
    if str(where).lower().endswith(".tga"):
        return "TGA", _decode_tga
    raise bad_input(where, "is not an image that texsynth reads", f"give a {FORMATS} file")


# --- 8 bits, by Pillow ------------------------------------------------------------------------------------------


def _load_pillow(image: ImageFile.ImageFile, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    """Settle size, palette, colour profile and orientation. The plugin classes are used directly because
    `Image.open` adds a process-wide pixel limit of its own, which only warns."""
    _check_size(where, *image.size, limits)
    notes: list[str] = []
    orientation = _exif_orientation(image)
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        notes.append(f"{_name(where)}: only the first frame was taken")
    profile = image.info.get("icc_profile")
    image.load()
    settled: Image.Image = image
    if image.mode in ("P", "PA"):
        settled = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode in ("L", "RGB") and "transparency" in image.info:
        settled = image.convert("LA" if image.mode == "L" else "RGBA")
    elif image.mode == "1":
        settled = image.convert("L")
    elif image.mode in ("RGBa", "La", "RGBX"):
        settled = image.convert({"RGBa": "RGBA", "La": "LA", "RGBX": "RGB"}[image.mode])
    if colour and profile and settled.mode in ("RGB", "RGBA", "CMYK"):
        settled = _profile_to_srgb(settled, profile, where, notes)
    if settled.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        if settled.mode == "CMYK":
            notes.append(f"{_name(where)}: CMYK was converted to RGB without a colour profile")
        settled = settled.convert("RGB")
    if settled.mode not in ("L", "LA", "RGB", "RGBA"):
        raise bad_input(where, f"has pixels of the kind {settled.mode}", "save it as grey or RGB, 8 or 16 bits")
    texels = np.atleast_3d(np.asarray(settled))
    return DecodedImage(_orient(texels, orientation), settled.mode in ("LA", "RGBA"), tuple(notes))


def _name(where: Path | str) -> str:
    return where.name if isinstance(where, Path) else where


def _exif_orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
        return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1
    except Exception:  # Damaged EXIF is no reason to refuse intact pixels.
        return 1


def _orient(texels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo EXIF orientation 1..8 (EXIF 2.3, tag 0x0112)."""
    if orientation >= 5:
        texels = texels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        texels = texels[::-1]
    if orientation in (2, 3, 6, 7):
        texels = texels[:, ::-1]
    return np.ascontiguousarray(texels)


def _profile_to_srgb(image: Image.Image, profile: bytes, where: Path | str, notes: list[str]) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        title = " ".join(ImageCms.getProfileDescription(source).split())
        if "srgb" in title.lower():
            return image
        target = ImageCms.createProfile("sRGB")
        out = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, source, target, outputMode=out)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append(f"{_name(where)}: its colour profile cannot be read; taken as sRGB")
        return image
    notes.append(f"{_name(where)}: converted from {title[:60]} to sRGB")
    return converted if converted is not None else image


def _decode_jpeg(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    # Entropy-coded data escapes 0xFF, so this counts scans (and perhaps those of an EXIF thumbnail).
    scans = data.count(b"\xff\xda")
    if scans > MAX_JPEG_SCANS:
        raise bad_input(where, f"has {scans} JPEG scans", f"files of at most {MAX_JPEG_SCANS} are decoded")
    return _load_pillow(JpegImagePlugin.JpegImageFile(io.BytesIO(data)), where, limits, colour)


def _decode_webp(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    size = struct.unpack_from("<I", data, 4)[0] + 8
    if size > len(data):
        raise _damaged(where, "WebP", f"{len(data)} of {size} bytes")
    # The canvas must be known before Pillow allocates it: VP8X (extended), VP8L (lossless) or VP8 (lossy) comes first.
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(body[4:7], "little")
        height = 1 + int.from_bytes(body[7:10], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<2H", body, 6))
    else:
        raise _damaged(where, "WebP", "no image chunk")
    _check_size(where, width, height, limits)
    return _load_pillow(WebPImagePlugin.WebPImageFile(io.BytesIO(data)), where, limits, colour)


def _decode_tga(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    """Truevision TGA, colour-mapped, RGB or grey, plain or run-length coded (types 1 to 3 and 9 to 11)."""
    named, mapped, kind, _, entries, entry_bits, _, _, width, height, depth, _ = struct.unpack_from("<3B2HB4H2B", data)
    if kind not in (1, 2, 3, 9, 10, 11) or mapped not in (0, 1) or depth not in (8, 16, 24, 32):
        raise _damaged(where, "TGA", f"image type {kind}, {depth} bits")
    _check_size(where, width, height, limits)
    texel = depth // 8
    held = len(data) - 18 - named - mapped * entries * ((entry_bits + 7) // 8)
    # A packet of a run repeats one texel 128 times at most, so a header that lies is found before anything is decoded.
    runs = -(-width * height // 128) * (1 + texel)
    wanted = runs if kind > 8 else width * height * texel
    if held < wanted:
        raise _damaged(where, "TGA", f"{max(held, 0)} of {wanted} bytes of pixels")
    return _load_pillow(TgaImagePlugin.TgaImageFile(io.BytesIO(data)), where, limits, colour)


# --- PNG --------------------------------------------------------------------------------------------------------

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column, first row, column step, row step of each pass (PNG specification, 8.2).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _decode_png(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise _damaged(where, "PNG", "no header")
    width, height, depth, kind, _, _, interlace = struct.unpack_from(">2I5B", data, 16)
    _check_size(where, width, height, limits)
    if kind not in _PNG_CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise _damaged(where, "PNG", f"colour type {kind}, {depth} bits")
    chunks = _png_chunks(data, where)
    row_bits = _PNG_CHANNELS[kind] * depth
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    expected = 0
    for column, row, column_step, row_step in passes:
        columns, rows = -(-(width - column) // column_step), -(-(height - row) // row_step)
        if columns > 0 and rows > 0:
            expected += rows * (1 + (columns * row_bits + 7) // 8)
    stored = [body for name, body in chunks if name == b"IDAT"]
    # Deflate cannot compress further than that, so a header that lies is found without allocating anything.
    if sum(map(len, stored)) * MAX_DEFLATE_RATIO < expected:
        raise _damaged(where, "PNG", f"too few bytes for {width} x {height}")
    if depth < 16:
        return _load_pillow(PngImagePlugin.PngImageFile(io.BytesIO(data)), where, limits, colour)
    held = _inflated_size(stored, expected)
    if held < expected:  # OpenCV would pad the image and print.
        raise _damaged(where, "PNG", f"{held} of {expected} bytes of pixels")
    texels, notes = _opencv_decode(data, where, "PNG"), []
    orientation = _exif_orientation(PngImagePlugin.PngImageFile(io.BytesIO(data)))
    if colour and any(name == b"iCCP" and b"srgb" not in bytes(body[:80]).lower() for name, body in chunks):
        notes.append(f"{_name(where)}: the colour profile of a 16-bit PNG is not applied; taken as sRGB")
    if kind == 4:  # OpenCV spreads grey + alpha over four channels.
        texels = texels[..., [0, 3]]
    return DecodedImage(_orient(texels, orientation), texels.shape[2] in (2, 4), tuple(notes))


def _png_chunks(data: bytes, where: Path | str) -> list[tuple[bytes, memoryview]]:
    """Name and body of every chunk up to IEND; every length and every checksum of a critical chunk must be right."""
    view, at, chunks = memoryview(data), 8, []
    while True:
        if at + 12 > len(data):
            raise _damaged(where, "PNG", "it ends before its last chunk")
        size, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + size > len(data):
            raise _damaged(where, "PNG", "it ends before its last chunk")
        body = view[at + 8 : at + 8 + size]
        critical = not name[0] & 0x20
        if critical and zlib.crc32(view[at + 4 : at + 8 + size]) != struct.unpack_from(">I", data, at + 8 + size)[0]:
            raise _damaged(where, "PNG", f"the checksum of {name.decode('latin-1')!a} is wrong")
        chunks.append((name, body))
        if name == b"IEND":
            return chunks
        at += 12 + size


def _inflated_size(parts: Iterable[bytes | memoryview], most: int) -> int:
    """Bytes that a deflate stream expands to, counted no further than a little above `most` and never held at once."""
    stream, total = zlib.decompressobj(), 0
    for part in parts:
        pending: bytes | memoryview = part
        while pending and total <= most:
            total += len(stream.decompress(pending, 1 << 20))
            pending = stream.unconsumed_tail
    return total if total > most else total + len(stream.flush())


def _opencv_decode(data: bytes, where: Path | str, name: str) -> npt.NDArray[Any]:
    """(H, W, C) in RGB order, dtype as stored, orientation untouched."""
    decoded: npt.NDArray[Any] | None
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise _damaged(where, name, "its pixels cannot be decoded")
    texels = np.atleast_3d(decoded)
    if texels.shape[2] in (3, 4):
        texels[..., [0, 2]] = texels[..., [2, 0]]
    return texels


# --- TIFF -------------------------------------------------------------------------------------------------------

_TIFF_DEFLATE = (8, 32946)


def _decode_tiff(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        if not isinstance(page, tifffile.TiffPage):
            raise ValueError("no image")
        _check_size(where, page.imagewidth, page.imagelength, limits)
        _check_tiff_segments(page, data, where, limits)
        notes = [f"{_name(where)}: only the first page was taken"] if tiff.pages.is_multipage else []
        if page.bitspersample <= 8:
            image = _load_pillow(TiffImagePlugin.TiffImageFile(io.BytesIO(data)), where, limits, colour)
            return DecodedImage(image.texels, image.alpha, (*notes, *image.notes))
        texels = _deep_tiff(page, data, where)
        tag = page.tags.get(274)
        orientation = tag.value if tag is not None and isinstance(tag.value, int) and 1 <= tag.value <= 8 else 1
        alpha = len(page.extrasamples) == 1 and page.extrasamples[0] in (1, 2) and texels.shape[2] in (2, 4)
    return DecodedImage(_orient(_storage(texels, where), orientation), alpha, tuple(notes))


def _check_tiff_segments(page: tifffile.TiffPage, data: bytes, where: Path | str, limits: DecodeLimits) -> None:
    """Every strip or tile must lie within the file, and be no larger than the image allows."""
    if page.imagedepth != 1 or not 1 <= page.samplesperpixel <= 4 or page.dtype is None:
        kind = f"depth {page.imagedepth}, {page.samplesperpixel} samples of {str(page.bitspersample)[:20]} bits"
        raise bad_input(where, f"is a TIFF with {kind}", "save it as grey or RGB")
    if page.is_tiled and (
        page.tilewidth * page.tilelength > limits.pixels or 0 in (page.tilewidth, page.tilelength) or page.tiledepth > 1
    ):
        raise _damaged(where, "TIFF", f"tiles of {page.tilewidth} x {page.tilelength}")
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip or page.imagelength, page.imagelength)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    expected = -(-page.imagelength // rows) * -(-page.imagewidth // columns) * planes
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) < expected or len(counts) < expected:
        raise _damaged(where, "TIFF", f"{min(len(offsets), len(counts))} of {expected} strips or tiles")
    for offset, count in zip(offsets, counts, strict=False):
        if offset <= 0 or count <= 0 or offset + count > len(data):
            raise _damaged(where, "TIFF", "it ends before its pixels")
    if page.compression == 1:
        stored = sum(counts[:expected])
        needed = page.imagelength * page.imagewidth * page.samplesperpixel * page.bitspersample // 8
        if stored < needed:
            raise _damaged(where, "TIFF", f"{stored} of {needed} bytes of pixels")


def _deep_tiff(page: tifffile.TiffPage, data: bytes, where: Path | str) -> npt.NDArray[Any]:
    """More than 8 bits a sample, (H, W, C). libtiff (in OpenCV) knows every compression and is bounded by the strip,
    but only grey, RGB and RGBA interleaved; tifffile knows every layout, but only deflate, and unbounded."""
    if page.photometric not in (0, 1, 2):
        raise bad_input(where, f"is a TIFF of the kind {str(page.photometric)[:40]}", "save it as grey or RGB")
    interleaved = page.planarconfig == 1 and page.samplesperpixel in (1, 3, 4) and page.dtype in (np.uint16, np.float32)
    if page.compression != 1 and interleaved:
        texels = _opencv_decode(data, where, "TIFF")
        if texels.shape != (page.imagelength, page.imagewidth, page.samplesperpixel) or texels.dtype != page.dtype:
            raise ValueError("its pixels cannot be decoded")
    elif page.compression == 1 or page.compression in _TIFF_DEFLATE:
        if page.compression != 1:
            _check_tiff_inflates(page, data, where)
        texels = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            texels = np.moveaxis(texels, 0, -1)
        texels = texels.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
    else:
        raise bad_input(
            where,
            f"is a TIFF with {page.samplesperpixel} samples in {str(page.compression)[:40]}",
            "save it with deflate",
        )
    if page.photometric == 0 and texels.dtype.kind == "u":
        texels = np.iinfo(texels.dtype).max - texels
    return texels


def _check_tiff_inflates(page: tifffile.TiffPage, data: bytes, where: Path | str) -> None:
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip or page.imagelength, page.imagelength)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    most = rows * columns * samples * page.bitspersample // 8
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if _inflated_size([data[offset : offset + count]], most) > most:
            raise _damaged(where, "TIFF", "a strip or tile expands beyond its size")


def _storage(texels: npt.NDArray[Any], where: Path | str) -> npt.NDArray[Any]:
    """uint8, uint16 or float32: 32-bit integers keep their upper 16 bits, float16 and float64 become float32."""
    if texels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # A float64 beyond float32 becomes infinite, which is then refused as such.
            return texels.astype(np.float32, copy=False)
    if texels.dtype in (np.uint8, np.uint16):
        return texels.astype(texels.dtype.newbyteorder("="), copy=False)
    if texels.dtype == np.uint32:
        return (texels >> 16).astype(np.uint16)
    raise bad_input(where, f"has pixels of the kind {texels.dtype}", "save unsigned integers or floats")


# --- OpenEXR ----------------------------------------------------------------------------------------------------

# Scan lines in one chunk by compression code (OpenEXR file layout; ImfCompression).
_EXR_LINES = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
_EXR_SAMPLE_BYTES = {0: 4, 1: 2, 2: 4}


def _decode_exr(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    names, notes = _check_exr(data, where, limits, colour)
    with _stdout_lock, redirect_stdout(io.StringIO()):
        file = OpenEXR.File(io.BytesIO(data), separate_channels=True)
    if not file.parts:
        raise _damaged(where, "EXR", "its pixels cannot be decoded")
    planes = file.channels()
    texels = np.stack([np.asarray(planes[name].pixels, np.float32) for name in names], axis=-1)
    return DecodedImage(texels, len(names) > 1 and names[-1].rpartition(".")[2] == "A", notes)


def _check_exr(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> tuple[list[str], tuple[str, ...]]:
    """The channels to read, in order. The library allocates and prints before it finds a chunk missing, so every
    chunk of the offset table is located here first."""
    version = struct.unpack_from("<I", data, 4)[0]
    if version & 0x1800:
        raise bad_input(where, "is an EXR with several parts or deep pixels", "save one flat image")
    attributes, at = _exr_attributes(data)
    x0, y0, x1, y1 = struct.unpack_from("<4i", attributes["dataWindow"])
    width, height = x1 - x0 + 1, y1 - y0 + 1
    _check_size(where, width, height, limits)
    channels = _exr_channels(attributes["channels"], where)
    stored_channels = len(channels)
    if width * height * stored_channels > 4 * limits.pixels:
        raise bad_input(
            where, f"claims {stored_channels} channels of {width} x {height}", "save only the colour channels"
        )
    compression = attributes["compression"][0]
    if compression not in _EXR_LINES:
        raise bad_input(where, f"uses EXR compression {compression}", "save it with ZIP or PIZ compression")
    if version & 0x200:
        tile_width, tile_height, _ = struct.unpack_from("<2IB", attributes["tiles"])
        if not 0 < tile_width * tile_height <= limits.pixels:
            raise _damaged(where, "EXR", f"tiles of {tile_width} x {tile_height}")
        count, leader = -(-width // tile_width) * -(-height // tile_height), 16
    else:
        count, leader = -(-height // _EXR_LINES[compression]), 4
    if at + 8 * count > len(data):
        raise _damaged(where, "EXR", "it ends within its offset table")
    offsets = np.frombuffer(data, "<u8", count, at)
    if offsets.min() < at or offsets.max() > len(data) - leader - 4:
        raise _damaged(where, "EXR", "it ends before its pixels")
    size_at = offsets.astype(np.int64)[:, None] + leader + np.arange(4)
    sizes = np.frombuffer(data, np.uint8)[size_at].copy().view("<i4")[:, 0].astype(np.int64)
    if sizes.min() < 0 or (size_at[:, 3] + 1 + sizes).max() > len(data):
        raise _damaged(where, "EXR", "it ends before its pixels")
    notes: tuple[str, ...] = ()
    if colour and "chromaticities" in attributes:
        primaries = np.frombuffer(attributes["chromaticities"], "<f4", 8)
        if np.abs(primaries - (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)).max() > 0.01:
            notes = (f"{_name(where)}: its primaries are not those of Rec. 709; taken as if they were",)
    return _exr_order(channels, where), notes


def _exr_attributes(data: bytes) -> tuple[dict[str, bytes], int]:
    """Attributes of the header by name, and the position of the offset table (OpenEXR file layout)."""
    attributes: dict[str, bytes] = {}
    at = 8
    while data[at] != 0:
        name_end = data.index(b"\0", at, at + 256)
        kind_end = data.index(b"\0", name_end + 1, name_end + 257)
        size = struct.unpack_from("<i", data, kind_end + 1)[0]
        start = kind_end + 5
        if size < 0 or start + size > len(data):
            raise ValueError("it ends within its header")
        attributes[data[at:name_end].decode("latin-1")] = data[start : start + size]
        at = start + size
    return attributes, at + 1


def _exr_channels(table: bytes, where: Path | str) -> list[str]:
    names, at = [], 0
    while table[at] != 0:
        end = table.index(b"\0", at)
        kind, _, step_x, step_y = struct.unpack_from("<iI2i", table, end + 1)
        names.append(table[at:end].decode("latin-1"))
        if kind not in _EXR_SAMPLE_BYTES or (step_x, step_y) != (1, 1):
            raise bad_input(where, "is an EXR with subsampled or unknown channels", "save it as RGB, half or float")
        if kind == 0:
            raise bad_input(where, "is an EXR of unsigned integers", "save it as half or float")
        at = end + 17
    return names


def _exr_order(names: list[str], where: Path | str) -> list[str]:
    """R G B (A), Y (A), X Y or a single channel; a layer's name before them ("Combined.R") is allowed."""
    for kinds in (("R", "G", "B"), ("X", "Y", "Z"), ("R", "G"), ("X", "Y"), ("Y",), ("V",)):
        layers = sorted({name.rpartition(".")[0] for name in names}, key=lambda layer: (layer != "", layer))
        for layer in layers:
            wanted = [f"{layer}.{kind}" if layer else kind for kind in (*kinds, "A")]
            if all(name in names for name in wanted[:-1]):
                return wanted if wanted[-1] in names else wanted[:-1]
    if len(names) == 1:
        return names
    raise bad_input(where, f"has the EXR channels {', '.join(names)[:80]}", "save the channels R, G and B, or Y")


def _write_exr(path: Path, texels: npt.NDArray[Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    names = {1: "Y", 3: "RGB", 4: "RGBA"}[texels.shape[2]]
    planes = {name: np.ascontiguousarray(texels[..., index]) for index, name in enumerate(names)}
    try:
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, planes).write(
            str(temporary)
        )
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise error if isinstance(error, OSError) else OSError(str(error)) from None
    sync_folder(path.parent)


# --- Radiance HDR -----------------------------------------------------------------------------------------------


def _decode_hdr(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    end = data.find(b"\n\n", 0, 1 << 16)
    size = re.match(rb"-Y +(\d{1,9}) +\+X +(\d{1,9})\n", data[end + 2 : end + 64]) if end >= 0 else None
    if end >= 0 and b"32-bit_rle_xyze" in data[:end]:
        raise bad_input(where, "is an HDR in XYZ", "save it as RGB")
    if size is None:
        raise _damaged(where, "HDR", "no size of the form -Y height +X width")
    height, width = int(size[1]), int(size[2])
    _check_size(where, width, height, limits)
    # No scan line is shorter than 4 bytes: the mark of a run-length coded one, or one texel to repeat.
    if len(data) - end < height * 4:
        raise _damaged(where, "HDR", f"too few bytes for {width} x {height}")
    texels = _opencv_decode(data, where, "HDR")
    return DecodedImage(_storage(texels, where))


# --- KTX2 and DDS -----------------------------------------------------------------------------------------------


def _decode_blocks(data: bytes, where: Path | str, limits: DecodeLimits, colour: bool) -> DecodedImage:
    from mipmap.dds import parse_dds
    from mipmap.encode import decode_level
    from mipmap.formats import FormatError
    from mipmap.ktx2 import parse_ktx2

    name = "DDS" if data.startswith(b"DDS ") else "KTX2"
    try:
        texture = parse_dds(data) if name == "DDS" else parse_ktx2(data)
        _check_size(where, texture.width, texture.height, limits)
        texel_format = texture.texel_format
        texels: npt.NDArray[Any] = decode_level(texture.level(0), texture.height, texture.width, texel_format)
    except FormatError as error:
        right = "only those that texsynth wrote are read; save other ones as PNG"
        raise bad_input(where, f"is damaged or another kind of {name} file ({error})", right) from None
    opaque = 1 if texels.dtype.kind == "f" else 254  # the lowest bit of alpha in BC7 may serve the colours
    alpha = texels.shape[2] == 4 and bool((texels[..., 3] < opaque).any())
    if texels.shape[2] == 4 and not alpha:
        texels = texels[..., :3]
    if texels.dtype == np.float16:
        texels = texels.astype(np.float32)
    elif colour and texel_format.colour_space == "linear" and texel_format.channels >= 3:
        texels = texels.astype(np.float32) / np.float32(255)  # floating point is linear light
    return DecodedImage(np.ascontiguousarray(texels), alpha)
