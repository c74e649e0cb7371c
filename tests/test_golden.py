"""Files that earlier versions wrote, kept for ever: they must still be read, and written again as the same bytes.

A change of a format adds files and leaves those that are there. `python tests/test_golden.py` writes the missing ones.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from mipmap.chain import box_chain
from mipmap.dds import DdsWriter, parse_dds
from mipmap.encode import decode_level, encode_chain, psnr
from mipmap.exr import ExrWriter, parse_exr
from mipmap.formats import FORMATS, TexelFormat
from mipmap.ktx2 import Ktx2Writer, parse_ktx2
from mipmap.png import PngWriter, parse_png

GOLDEN = Path(__file__).parent / "golden"
HEIGHT, WIDTH, LEVELS = 13, 9, 4
# The coarsest blocks of this small picture lose most; mistaken channels or rows give less than 20 dB.
LEAST_DB = 25.0


def picture(channels: int) -> np.ndarray:
    """(13, 9, channels) uint8 from integers alone, so that it is the same for ever."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    ramps = [60 + 8 * x, 220 - 6 * y, 90 + 3 * x + 2 * y, 180 + 2 * x + 2 * y]
    return np.stack(ramps[:channels], axis=-1).astype(np.uint8)


def chain(texel_format: TexelFormat) -> list[tuple[int, int, np.ndarray]]:
    levels = list(box_chain([picture(texel_format.channels)], HEIGHT, WIDTH, "scalar"))
    if texel_format.codec == "rgba16f":
        return [(level, row, (rows / 255).astype(np.float16)) for level, row, rows in levels]
    return levels


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"*.{suffix}"))


def name_of(path: Path) -> str:
    return path.name


def test_every_format_has_its_golden_file() -> None:
    assert {path.stem for path in files(GOLDEN, "ktx2")} >= {*FORMATS, "bc7-srgb.zstd"}
    assert {path.stem for path in files(GOLDEN, "dds")} >= {each.name for each in FORMATS.values() if each.dxgi}
    assert {path.stem for path in files(GOLDEN, "png")} >= {"grey-8", "colour-16", "colour-8-srgb"}
    assert {path.stem for path in files(GOLDEN, "exr")} >= {"grey", "colour"}


@pytest.mark.parametrize("path", files(GOLDEN, "ktx2"), ids=name_of)
def test_a_golden_ktx2_file_is_read_and_written_again_as_it_is(path: Path) -> None:
    texture = parse_ktx2(path.read_bytes())
    assert texture.texel_format.name == path.name.split(".")[0]
    check_levels(texture.texel_format, [texture.level(k) for k in range(len(texture.stored))])
    assert texture.keys == {"map": "golden"}
    if not texture.compressed:  # another version of zstd may compress otherwise
        assert ktx2(texture.texel_format, [texture.level(k) for k in range(LEVELS)], False) == path.read_bytes()


@pytest.mark.parametrize("path", files(GOLDEN, "dds"), ids=name_of)
def test_a_golden_dds_file_is_read_and_written_again_as_it_is(path: Path) -> None:
    texture = parse_dds(path.read_bytes())
    assert texture.texel_format.name == path.stem
    check_levels(texture.texel_format, [texture.level(k) for k in range(len(texture.stored))])
    assert dds(texture.texel_format, [texture.level(k) for k in range(LEVELS)]) == path.read_bytes()


@pytest.mark.parametrize("path", files(GOLDEN, "png"), ids=name_of)
def test_a_golden_png_file_is_read(path: Path) -> None:
    kind, depth, *srgb = path.stem.split("-")
    texels, encoded = parse_png(path.read_bytes())
    assert encoded == (srgb == ["srgb"])
    assert texels.dtype == np.dtype(f"u{int(depth) // 8}")
    expected = picture(3 if kind == "colour" else 1)
    assert (texels == (expected if depth == "8" else expected.astype(np.uint16) * 257)).all()


@pytest.mark.parametrize("path", files(GOLDEN, "exr"), ids=name_of)
def test_a_golden_exr_file_is_read(path: Path) -> None:
    assert (parse_exr(path.read_bytes()) == picture(3 if path.stem == "colour" else 1) / np.float16(256)).all()


def check_levels(texel_format: TexelFormat, levels: list[bytes]) -> None:
    for (level, _, texels), data in zip(chain(texel_format), levels, strict=True):
        decoded = decode_level(data, max(1, HEIGHT >> level), max(1, WIDTH >> level), texel_format)
        if texel_format.codec == "rgba16f":
            assert (decoded == texels).all()
        else:
            assert psnr(texels, decoded) > LEAST_DB


def ktx2(texel_format: TexelFormat, levels: list[bytes], compress: bool) -> bytes:
    file = io.BytesIO()
    writer = Ktx2Writer(file, texel_format, HEIGHT, WIDTH, compress=compress, keys={"map": "golden"})
    for level, data in enumerate(levels):
        writer.write(level, data)
    writer.close()
    return file.getvalue()


def dds(texel_format: TexelFormat, levels: list[bytes]) -> bytes:
    file = io.BytesIO()
    writer = DdsWriter(file, texel_format, HEIGHT, WIDTH)
    for level, data in enumerate(levels):
        writer.write(level, data)
    writer.close()
    return file.getvalue()


def png(channels: int, dtype: type, srgb: bool) -> bytes:
    file = io.BytesIO()
    texels = picture(channels) if dtype is np.uint8 else picture(channels).astype(np.uint16) * 257
    writer = PngWriter(file.write, texels.shape, texels.dtype, srgb=srgb)  # type: ignore[arg-type]
    writer.write_rows(texels)
    writer.close()
    return file.getvalue()


def exr(channels: int) -> bytes:
    file = io.BytesIO()

    def patch(offset: int, data: bytes) -> None:
        file.seek(offset)
        file.write(data)

    writer = ExrWriter(file.write, patch, (HEIGHT, WIDTH, channels))  # type: ignore[arg-type]
    writer.write_rows(picture(channels) / np.float16(256))
    writer.close()
    return file.getvalue()


def write_missing() -> None:
    made: dict[str, bytes] = {}
    for texel_format in FORMATS.values():
        levels = [data for _, data in encode_chain(chain(texel_format), HEIGHT, WIDTH, texel_format)]
        made[f"{texel_format.name}.ktx2"] = ktx2(texel_format, levels, False)
        if texel_format.dxgi is not None:
            made[f"{texel_format.name}.dds"] = dds(texel_format, levels)
        if texel_format.name == "bc7-srgb":
            made["bc7-srgb.zstd.ktx2"] = ktx2(texel_format, levels, True)
    made |= {"grey-8.png": png(1, np.uint8, False), "colour-16.png": png(3, np.uint16, False)}
    made |= {"colour-8-srgb.png": png(3, np.uint8, True), "grey.exr": exr(1), "colour.exr": exr(3)}
    for name, data in made.items():
        if not (GOLDEN / name).exists():
            (GOLDEN / name).write_bytes(data)


if __name__ == "__main__":
    write_missing()
