"""Hostile KTX2, DDS, PNG and EXR files: each is read as what it says or refused in one line.

The fuzzer changes valid files at random and runs for TEXSYNTH_FUZZ_SECONDS a reader (default 1; CI sets 60):

    TEXSYNTH_FUZZ_SECONDS=60 python -m pytest tests/attacks/test_containers.py -k fuzzer

A file that a reader does not survive is left in tests/attacks/corpus/, where every later run begins with it. The corpus
also holds one small file for each way of being refused that was found so far
(`python tests/attacks/test_containers.py` looks for new ones).
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from mutations import mutated

from mipmap.dds import DdsWriter, parse_dds
from mipmap.encode import decode_level
from mipmap.exr import ExrWriter, parse_exr
from mipmap.formats import FORMATS, FormatError
from mipmap.ktx2 import HEADER, LEVEL, Ktx2Writer, parse_ktx2
from mipmap.png import SIGNATURE, PngWriter, parse_png

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
GOLDEN = HERE.parent / "golden"
SECONDS = float(os.environ.get("TEXSYNTH_FUZZ_SECONDS", "1"))
LONGEST_LINE = 400


def read_ktx2(data: bytes) -> Callable[[], None]:
    texture = parse_ktx2(data)
    levels = [texture.level(k) for k in range(len(texture.stored))]
    size = (texture.height, texture.width)

    def check() -> None:
        file = io.BytesIO()
        writer = Ktx2Writer(file, texture.texel_format, *size, levels=len(levels), keys=texture.keys)
        for k, level in enumerate(levels):
            decode_level(level, max(1, size[0] >> k), max(1, size[1] >> k), texture.texel_format)
            writer.write(k, level)
        writer.close()
        assert texture.compressed or file.getvalue() == data

    return check


def read_dds(data: bytes) -> Callable[[], None]:
    texture = parse_dds(data)
    size = (texture.height, texture.width)

    def check() -> None:
        file = io.BytesIO()
        writer = DdsWriter(file, texture.texel_format, *size, levels=len(texture.stored))
        for k in range(len(texture.stored)):
            decode_level(texture.level(k), max(1, size[0] >> k), max(1, size[1] >> k), texture.texel_format)
            writer.write(k, texture.level(k))
        writer.close()
        assert file.getvalue() == data

    return check


def read_png(data: bytes) -> Callable[[], None]:
    texels, srgb = parse_png(data)

    def check() -> None:
        file = io.BytesIO()
        writer = PngWriter(file.write, texels.shape, texels.dtype, srgb=srgb)  # type: ignore[arg-type]
        writer.write_rows(texels)
        writer.close()
        again, encoded = parse_png(file.getvalue())
        assert encoded == srgb
        assert (again == texels).all()

    return check


def read_exr(data: bytes) -> Callable[[], None]:
    texels = parse_exr(data)

    def check() -> None:
        file = io.BytesIO()

        def patch(offset: int, piece: bytes) -> None:
            file.seek(offset)
            file.write(piece)

        writer = ExrWriter(file.write, patch, texels.shape)  # type: ignore[arg-type]
        writer.write_rows(texels)
        writer.close()
        assert (parse_exr(file.getvalue()).view(np.uint16) == texels.view(np.uint16)).all()

    return check


# Each reads a file, which may refuse it, and returns what must hold for a file that it accepts: its levels can be
# decoded, and written again they are the same bytes (of the texels where compression is ours to choose).
READERS: dict[str, Callable[[bytes], Callable[[], None]]] = {
    "ktx2": read_ktx2,
    "dds": read_dds,
    "png": read_png,
    "exr": read_exr,
}
SEEDS = {kind: [path.read_bytes() for path in sorted(GOLDEN.glob(f"*.{kind}"))] for kind in READERS}
KEPT = sorted(CORPUS.glob("*.*"))


def refusal(kind: str, data: bytes) -> str | None:
    """The message with which a reader refuses `data`, which is one line of a sane length; None if it accepts it."""
    try:
        check = READERS[kind](data)
    except FormatError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) <= LONGEST_LINE
        return message
    try:
        check()
    except FormatError as error:
        raise AssertionError(f"accepted, but then: {error}") from error
    return None


@pytest.mark.parametrize("kind", READERS)
def test_every_truncated_prefix_is_refused(kind: str) -> None:
    for data in SEEDS[kind]:
        accepted = [length for length in range(len(data)) if refusal(kind, data[:length]) is None]
        assert accepted == []


@pytest.mark.parametrize("kind", READERS)
def test_one_byte_more_is_refused(kind: str) -> None:
    for data in SEEDS[kind]:
        assert refusal(kind, data) is None
        for extra in (b"\0", b"\xff"):
            assert refusal(kind, data + extra) is not None


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_every_file_of_the_corpus_is_survived(path: Path) -> None:
    refusal(path.suffix[1:], path.read_bytes())


def test_the_corpus_has_files_for_every_reader() -> None:
    assert {path.suffix[1:] for path in KEPT} == set(READERS)


@pytest.mark.parametrize("kind", READERS)
def test_the_fuzzer_finds_no_file_that_a_reader_does_not_survive(kind: str) -> None:
    rng = random.Random(20)
    deadline = time.monotonic() + SECONDS
    seeds = SEEDS[kind] + [path.read_bytes() for path in KEPT if path.suffix == f".{kind}"]
    tried = refused = 0
    while time.monotonic() < deadline or tried < 100:
        data = changed_file(kind, rng.choice(seeds), seeds, rng)
        try:
            refused += refusal(kind, data) is not None
        except BaseException:
            keep(kind, data, "crash")
            raise
        tried += 1
    assert refused > tried // 4  # a mutator that changes nothing would find nothing


def changed_file(kind: str, data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    data = mutated(data, others, rng)
    return with_right_check_sums(data) if kind == "png" and rng.random() < 0.8 else data


def with_right_check_sums(data: bytes) -> bytes:
    """A PNG whose chunks, as far as they can be followed, have the check sums of their content."""
    changed, position = bytearray(data), len(SIGNATURE)
    while position + 12 <= len(changed):
        (length,) = struct.unpack_from(">I", changed, position)
        if position + 12 + length > len(changed):
            break
        checked = bytes(changed[position + 4 : position + 8 + length])
        struct.pack_into(">I", changed, position + 8 + length, zlib.crc32(checked))
        position += 12 + length
    return bytes(changed)


def keep(kind: str, data: bytes, why: str) -> None:
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{why}-{hashlib.sha256(data).hexdigest()[:12]}.{kind}").write_bytes(data)


# Attacks by hand: what random changes are not likely to find.


def ktx2_of_one_level(stored: bytes) -> bytes:
    """A KTX2 file of 4 x 4 half floats with zstd that holds `stored`."""
    file = io.BytesIO()
    writer = Ktx2Writer(file, FORMATS["rgba16f"], 4, 4, levels=1, compress=True)
    writer.write(0, bytes(4 * 4 * 8))
    writer.close()
    data = bytearray(file.getvalue())
    offset, _, full = LEVEL.unpack_from(data, HEADER.size)
    LEVEL.pack_into(data, HEADER.size, offset, len(stored), full)
    return bytes(data[:offset]) + stored


def test_offsets_and_lengths_near_the_end_of_64_bits_are_refused() -> None:
    for length in (1 << 63, (1 << 64) - 1):
        data = bytearray((GOLDEN / "bc7-srgb.zstd.ktx2").read_bytes())
        for level in range(4):
            LEVEL.pack_into(data, HEADER.size + LEVEL.size * level, length, length, length)
        assert refusal("ktx2", bytes(data)) is not None


def test_a_small_file_cannot_ask_for_gigabytes() -> None:
    data = bytearray((GOLDEN / "rgba16f.ktx2").read_bytes())
    struct.pack_into("<II", data, 20, 1 << 15, 1 << 15)
    struct.pack_into("<I", data, 44, 2)  # zstd, so that the levels need not be as long as the size asks for
    assert "at most" in (refusal("ktx2", bytes(data)) or "")


def test_zstd_data_without_a_size_or_with_something_behind_it_are_refused() -> None:
    blank = bytes(4 * 4 * 8)
    without_size = zstandard.ZstdCompressor(write_content_size=False).compress(blank)
    right = zstandard.ZstdCompressor().compress(blank)
    assert refusal("ktx2", ktx2_of_one_level(right)) is None
    for stored in (without_size, right + b"\0", right + right, right[:-1], b""):
        assert refusal("ktx2", ktx2_of_one_level(stored)) is not None


def test_pictures_that_promise_gigabytes_are_refused_unread() -> None:
    data = bytearray((GOLDEN / "colour-16.png").read_bytes())
    struct.pack_into(">II", data, 16, 1 << 15, 1 << 15)
    assert "cannot hold" in (refusal("png", with_right_check_sums(bytes(data))) or "")
    front = io.BytesIO()
    ExrWriter(front.write, lambda offset, piece: None, (1 << 15, 1 << 15, 3))  # type: ignore[arg-type]
    offsets = struct.pack("<Q", front.tell())
    block = struct.pack("<ii", 0, 8) + zlib.compress(b"")
    header_bytes = front.tell() - 8 * (1 << 11)
    assert "cannot hold" in (refusal("exr", front.getvalue()[:header_bytes] + offsets * (1 << 11) + block) or "")


def look_for_new_ways(seconds: float) -> None:
    """Fill the corpus: the smallest file found for each message, numbers left out."""
    for kind in READERS:
        rng = random.Random()
        found: dict[str, bytes] = {}
        for path in CORPUS.glob(f"*.{kind}"):
            found[shape(refusal(kind, path.read_bytes()))] = path.read_bytes()
        known = set(found.values())
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            data = changed_file(kind, rng.choice(SEEDS[kind]), SEEDS[kind], rng)
            message = shape(refusal(kind, data))
            if message and (message not in found or (found[message] not in known and len(data) < len(found[message]))):
                found[message] = data
        for data in set(found.values()) - known:
            keep(kind, data, "refused")


def shape(message: str | None) -> str:
    without_formats = re.sub("|".join(sorted(FORMATS, key=len, reverse=True)), "#", message or "")
    return re.sub(r"""b?'[^']*'|b?"[^"]*"|-?\d+""", "#", without_formats)


if __name__ == "__main__":
    look_for_new_ways(float(sys.argv[1]) if len(sys.argv) > 1 else 20)
