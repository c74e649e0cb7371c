"""KTX 2.0 files of one 2D texture with its mip levels: written while the levels are encoded, and read back.

Specification: KTX File Format 2.0 (Khronos, registry.khronos.org/KTX/specs/2.0/ktxspec.v2.html); its sections are named
below. Data format descriptor: Khronos Data Format 1.3, section 5 (basic descriptor block).

    header and index   80 bytes                             sections 3.1 to 3.8
    level index        24 bytes a level, largest first      section 3.9
    descriptor         what the blocks mean                 section 3.10
    keys and values    sorted by key                        section 3.11
    levels             smallest first, each aligned to its block and to 4 bytes; with zstd, not aligned

The reader takes exactly what the writer makes and refuses everything else: a foreign feature, a gap, a byte too many.
What it accepts and was not compressed comes out of the writer again as the same bytes.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import lcm
from pathlib import Path
from typing import IO, BinaryIO

import zstandard

from mipmap.atomic import atomic_file
from mipmap.formats import FORMATS, LARGEST_TEXTURE, FormatError, TexelFormat, check_levels, parse_file

IDENTIFIER = b"\xabKTX 20\xbb\r\n\x1a\n"
NO_COMPRESSION, ZSTD = 0, 2
# identifier; format, type size, width, height, depth, layers, faces, levels, compression; descriptor, keys; globals
HEADER = struct.Struct("<12s9I4I2Q")
LEVEL = struct.Struct("<3Q")  # offset, stored bytes, bytes when not compressed
ZSTD_LEVEL = 3
# What a reader may be made to hold or to decompress: the chain of 16384 x 16384 half floats takes 2.9 GB.
LARGEST_KEYS = 1 << 12
SPOOLED_BYTES = 1 << 20

_COPY_BYTES = 1 << 20
_OWN_KEYS = {"KTXorientation": "rd", "KTXwriter": "texsynth"}


class Ktx2Writer:
    """Writes one texture into `file`, which is empty, seekable and open in binary mode.

    levels: how many there are (default: down to 1 x 1). compress: zstd supercompression, each level by itself.
    keys: further keys and values for the file, printable; keys that begin with KTX are reserved.
    The levels may come in any order and mixed, each from its first byte on. Without zstd they go straight to their
    place; with it each waits compressed in a temporary file, for the largest level comes last in a file; spool_folder
    says where (default: the system's folder for such files).
    Raises FormatError for sizes or keys that such a file cannot have.
    """

    def __init__(
        self,
        file: BinaryIO,
        texel_format: TexelFormat,
        height: int,
        width: int,
        *,
        levels: int | None = None,
        compress: bool = False,
        keys: Mapping[str, str] | None = None,
        spool_folder: Path | None = None,
    ) -> None:
        count = max(height, width).bit_length() if levels is None else levels
        check_levels(height, width, count)
        self._file, self._format, self._size, self._compress = file, texel_format, (height, width), compress
        self._keys = _pack_keys(texel_format, keys or {})
        self._full = _level_bytes(texel_format, height, width, count)
        self._received = [0] * count
        self._spools: list[IO[bytes]] = []
        self._streams: list[zstandard.ZstdCompressionObj] = []
        if compress:
            compressor = [zstandard.ZstdCompressor(level=ZSTD_LEVEL) for _ in self._full]
            self._streams = [each.compressobj(size=size) for each, size in zip(compressor, self._full, strict=True)]
            folder = None if spool_folder is None else str(spool_folder)
            self._spools = [tempfile.SpooledTemporaryFile(SPOOLED_BYTES, dir=folder) for _ in self._full]  # noqa: SIM115
        else:
            self._offsets = _offsets(texel_format, self._full, len(self._keys), compress)

    def write(self, level: int, data: bytes) -> None:
        """The next bytes of `level`. Raises FormatError for more than the level holds."""
        if self._received[level] + len(data) > self._full[level]:
            raise FormatError(f"level {level} gets more than its {self._full[level]} bytes")
        if self._compress:
            self._spools[level].write(self._streams[level].compress(data))
        else:
            self._file.seek(self._offsets[level] + self._received[level])
            self._file.write(data)
        self._received[level] += len(data)

    def close(self) -> None:
        """Write what stands before the levels, and with zstd the levels. Raises FormatError when bytes are missing."""
        for level, (received, full) in enumerate(zip(self._received, self._full, strict=True)):
            if received != full:
                raise FormatError(f"level {level} has {received} of {full} bytes")
        stored = self._full
        if self._compress:
            for spool, stream in zip(self._spools, self._streams, strict=True):
                spool.write(stream.flush())
            stored = [spool.tell() for spool in self._spools]
        offsets = _offsets(self._format, stored, len(self._keys), self._compress)
        front = _front(self._format, *self._size, self._compress, self._keys, offsets, stored, self._full)
        self._file.seek(0)
        self._file.write(front)
        self._file.write(bytes(offsets[-1] - len(front)))
        for spool in reversed(self._spools):
            spool.seek(0)
            while piece := spool.read(_COPY_BYTES):
                self._file.write(piece)
        self.discard()

    def discard(self) -> None:
        """Free what waits in temporary files, when the work ends early. Nothing happens after `close`."""
        for spool in self._spools:
            spool.close()


def write_ktx2(
    path: Path,
    encoded: Iterable[tuple[int, bytes]],
    texel_format: TexelFormat,
    height: int,
    width: int,
    *,
    levels: int | None = None,
    compress: bool = False,
    keys: Mapping[str, str] | None = None,
) -> None:
    """Write `encoded`, (level, the next bytes of that level) as `encode_chain` yields them, as the file `path`.

    The file is there when this returns and is complete then; on any error nothing of it is left.
    The other arguments as Ktx2Writer. Raises FormatError and OSError, and what `encoded` raises.
    """
    with atomic_file(path) as file:
        writer = Ktx2Writer(
            file, texel_format, height, width, levels=levels, compress=compress, keys=keys, spool_folder=path.parent
        )
        try:
            for level, data in encoded:
                writer.write(level, data)
            writer.close()
        finally:
            writer.discard()


@dataclass(frozen=True)
class Ktx2Texture:
    """A file that was read. height, width: texels of level 0. keys: further keys and values, as they were written.

    stored: the levels as they lie in the file, level 0 first.
    """

    texel_format: TexelFormat
    height: int
    width: int
    compressed: bool
    keys: dict[str, str]
    stored: tuple[memoryview, ...] = field(repr=False)

    def level(self, level: int) -> bytes:
        """The blocks of one level, for `decode_level`. Raises FormatError where zstd finds the level damaged."""
        data = bytes(self.stored[level])
        if not self.compressed:
            return data
        full = _level_bytes(self.texel_format, self.height, self.width, len(self.stored))[level]
        try:
            # The library reserves what the frame asks for, so that is looked at first.
            claimed = zstandard.get_frame_parameters(data).content_size
            if claimed != full:
                raise FormatError(f"level {level} claims {claimed} bytes when decompressed; {full} are right")
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=full, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise FormatError(f"level {level} cannot be decompressed: {error}") from error


def read_ktx2(path: Path) -> Ktx2Texture:
    """Raises FormatError, with the file's name, for what is not a whole file of ours; OSError."""
    return parse_file(path, parse_ktx2)


def parse_ktx2(data: bytes) -> Ktx2Texture:
    """The texture in the bytes of a file. Memory: none beyond `data`, whatever the header says. Raises FormatError."""
    if len(data) < HEADER.size or not data.startswith(IDENTIFIER):
        raise FormatError(f"{len(data)} bytes that do not begin as a KTX 2.0 file does")
    fields = HEADER.unpack_from(data)
    vulkan, _, width, height, *shape, count, scheme = fields[1:10]
    at, size, keys_at, keys_size = fields[10:14]
    check_levels(height, width, count)
    if shape != [0, 0, 1] or scheme not in (NO_COMPRESSION, ZSTD):
        raise FormatError(f"depth, layers and faces {shape}, compression {scheme}; [0, 0, 1] and 0 or 2 are read")
    if keys_size > LARGEST_KEYS or max(at + size, keys_at + keys_size, HEADER.size + LEVEL.size * count) > len(data):
        raise FormatError(f"{len(data)} bytes; the header tells of more")
    raw_keys = data[keys_at : keys_at + keys_size]
    keys = _unpack_keys(raw_keys)
    swizzle = keys.pop("KTXswizzle", "rgba")
    found = [each for each in FORMATS.values() if (each.vulkan, each.swizzle) == (vulkan, swizzle)]
    if not found:
        raise FormatError(f"Vulkan format {vulkan} with swizzle {swizzle!r} is not one that is read")
    full = _level_bytes(found[0], height, width, count)
    if sum(full) > LARGEST_TEXTURE:
        raise FormatError(f"levels of {sum(full)} bytes; at most {LARGEST_TEXTURE} are read")
    index = [LEVEL.unpack_from(data, HEADER.size + LEVEL.size * level) for level in range(count)]
    stored = [length for _, length, _ in index]
    compress = scheme == ZSTD
    if sum(stored) > len(data) or (not compress and stored != full):
        raise FormatError(f"levels of {sum(stored)} bytes in a file of {len(data)}; {found[0].name} takes {sum(full)}")
    # Everything else must lie as the writer lays it, so it is laid again and compared.
    offsets = _offsets(found[0], stored, keys_size, compress)
    front = _front(found[0], height, width, compress, raw_keys, offsets, stored, full)
    end = offsets[0] + stored[0]
    if data[: offsets[-1]] != front + bytes(offsets[-1] - len(front)):
        raise FormatError("header, level index, descriptor or padding are not as they are written here")
    if len(data) != end:
        raise FormatError(f"{len(data)} bytes; header and levels take {end}")
    for key, value in _OWN_KEYS.items():
        if keys.pop(key, None) != value:
            raise FormatError(f"{key} is not {value!r}")
    _check_further_keys(keys)
    view = memoryview(data)
    levels = tuple(view[offset : offset + length] for offset, length in zip(offsets, stored, strict=True))
    return Ktx2Texture(found[0], height, width, compress, keys, levels)


def _level_bytes(texel_format: TexelFormat, height: int, width: int, count: int) -> list[int]:
    return [texel_format.level_bytes(max(1, height >> k), max(1, width >> k)) for k in range(count)]


def _offsets(texel_format: TexelFormat, stored: list[int], keys_bytes: int, compress: bool) -> list[int]:
    """Where each level begins, level 0 first in the list and last in the file (section 3.12)."""
    position = HEADER.size + LEVEL.size * len(stored) + len(_descriptor(texel_format)) + keys_bytes
    alignment = 1 if compress else lcm(texel_format.block_bytes, 4)
    offsets = []
    for length in reversed(stored):
        position += -position % alignment
        offsets.append(position)
        position += length
    return offsets[::-1]


def _front(
    texel_format: TexelFormat,
    height: int,
    width: int,
    compress: bool,
    keys: bytes,
    offsets: list[int],
    stored: list[int],
    full: list[int],
) -> bytes:
    """All that stands before the levels and their padding."""
    descriptor = _descriptor(texel_format)
    descriptor_at = HEADER.size + LEVEL.size * len(full)
    type_bytes = 2 if texel_format.codec == "rgba16f" else 1
    scheme = ZSTD if compress else NO_COMPRESSION
    shape = (width, height, 0, 0, 1, len(full), scheme)
    places = (descriptor_at, len(descriptor), descriptor_at + len(descriptor), len(keys), 0, 0)
    header = HEADER.pack(IDENTIFIER, texel_format.vulkan, type_bytes, *shape, *places)
    index = b"".join(LEVEL.pack(*entry) for entry in zip(offsets, stored, full, strict=True))
    return header + index + descriptor + keys


# Keys and values (section 3.11): a length, key NUL value NUL, then NULs to a multiple of 4.


def _pack_keys(texel_format: TexelFormat, further: Mapping[str, str]) -> bytes:
    _check_further_keys(further)
    swizzle = {} if texel_format.swizzle == "rgba" else {"KTXswizzle": texel_format.swizzle}
    packed = b""
    for key, value in sorted((_OWN_KEYS | swizzle | dict(further)).items()):
        entry = f"{key}\0{value}\0".encode()
        packed += struct.pack("<I", len(entry)) + entry + bytes(-len(entry) % 4)
    if len(packed) > LARGEST_KEYS:
        raise FormatError(f"{len(packed)} bytes of keys and values; at most {LARGEST_KEYS} are written")
    return packed


def _unpack_keys(packed: bytes) -> dict[str, str]:
    keys: dict[str, str] = {}
    position = 0
    while position < len(packed):
        if len(packed) - position < 4:
            raise FormatError("keys and values end within a length")
        (length,) = struct.unpack_from("<I", packed, position)
        entry = packed[position + 4 : position + 4 + length]
        position += 4 + length + -length % 4
        try:
            key, value, rest = entry.decode().split("\0")
        except ValueError as error:  # not UTF-8, or not key NUL value NUL
            raise FormatError(f"{entry[:40]!r} is not a key and a value") from error
        if rest or position > len(packed) or any(packed[position - (-length % 4) : position]):
            raise FormatError(f"the entry {key[:40]!r} is not as it is written here")
        if keys and key <= max(keys):
            raise FormatError(f"the key {key[:40]!r} is out of order")
        keys[key] = value
    return keys


def _check_further_keys(keys: Mapping[str, str]) -> None:
    for key, value in keys.items():
        if not key or key.upper().startswith("KTX") or not (key + value).isprintable():
            raise FormatError(f"key {key[:40]!r}: keys and values must be printable, and no key may begin with KTX")


# Data format descriptors (Khronos Data Format 1.3, sections 5.1 to 5.18).

_MODELS = {
    "rgba8": 1,
    "rgba16f": 1,
    "bc4": 131,
    "bc5": 132,
    "bc7": 134,
    "etc2": 161,
    "etc2a": 161,
    "eac1": 161,
    "eac2": 161,
    "astc": 162,
}
_BT709, _LINEAR, _SRGB = 1, 1, 2
_RED, _GREEN, _BLUE, _ETC2_COLOUR, _ALPHA = 0, 1, 2, 2, 15
_ALWAYS_LINEAR, _FLOAT_SIGNED = 0x10, 0xC0
_UNORM_BLOCK = (0, 0xFFFFFFFF)
_HALF = (0xBF800000, 0x3F800000)  # -1 and 1 as float32


def _samples(texel_format: TexelFormat) -> list[tuple[int, int, int, int, int]]:
    """(first bit, bits, channel with its qualifiers, lower, upper) of each sample of a block."""
    alpha = _ALPHA | (_ALWAYS_LINEAR if texel_format.colour_space == "srgb" else 0)
    match texel_format.codec:
        case "rgba8":
            return [(8 * k, 8, channel, 0, 255) for k, channel in enumerate((_RED, _GREEN, _BLUE, alpha))]
        case "rgba16f":
            channels = enumerate((_RED, _GREEN, _BLUE, _ALPHA))
            return [(16 * k, 16, channel | _FLOAT_SIGNED, *_HALF) for k, channel in channels]
        case "bc5" | "eac2":
            return [(0, 64, _RED, *_UNORM_BLOCK), (64, 64, _GREEN, *_UNORM_BLOCK)]
        case "etc2":
            return [(0, 64, _ETC2_COLOUR, *_UNORM_BLOCK)]
        case "etc2a":
            return [(0, 64, alpha, *_UNORM_BLOCK), (64, 64, _ETC2_COLOUR, *_UNORM_BLOCK)]
        case _:
            return [(0, 8 * texel_format.block_bytes, 0, *_UNORM_BLOCK)]


def _descriptor(texel_format: TexelFormat) -> bytes:
    samples = _samples(texel_format)
    size = 24 + 16 * len(samples)
    transfer = _SRGB if texel_format.colour_space == "srgb" else _LINEAR
    block = (texel_format.block_width - 1, texel_format.block_height - 1, 0, 0)
    words = struct.pack("<IIHH", 4 + size, 0, 2, size)
    words += bytes([_MODELS[texel_format.codec], _BT709, transfer, 0, *block, texel_format.block_bytes, *bytes(7)])
    for first, bits, channel, lower, upper in samples:
        words += struct.pack("<HBBIII", first, bits - 1, channel, 0, lower, upper)
    return words
