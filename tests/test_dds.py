"""DDS files: what is written, read back, read by OpenImageIO, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from mipmap.chain import box_chain
from mipmap.dds import DdsWriter, parse_dds, read_dds, write_dds
from mipmap.encode import decode_level, encode_chain
from mipmap.formats import FORMATS, FormatError, TexelFormat

WITH_NUMBER = [each for each in FORMATS.values() if each.dxgi is not None]


def names(texel_format: TexelFormat) -> str:
    return texel_format.name


def chain(texel_format: TexelFormat) -> list[tuple[int, int, np.ndarray]]:
    texels = np.random.default_rng(4).integers(0, 256, (20, 37, min(3, texel_format.channels)), np.uint8)
    levels = list(box_chain([texels], 20, 37, "scalar"))
    if texel_format.codec == "rgba16f":
        return [(level, row, (rows / 255).astype(np.float16)) for level, row, rows in levels]
    return levels


@pytest.mark.parametrize("texel_format", WITH_NUMBER, ids=names)
def test_what_is_written_is_read_back(texel_format: TexelFormat, tmp_path: Path) -> None:
    encoded = list(encode_chain(chain(texel_format), 20, 37, texel_format))
    write_dds(tmp_path / "map.dds", encoded, texel_format, 20, 37)
    texture = read_dds(tmp_path / "map.dds")
    assert (texture.texel_format, texture.height, texture.width) == (texel_format, 20, 37)
    assert [(level, texture.level(level)) for level in range(6)] == encoded


# OpenImageIO reads no half floats in DDS.
@pytest.mark.parametrize("texel_format", [each for each in WITH_NUMBER if each.codec != "rgba16f"], ids=names)
def test_openimageio_reads_every_level_alike(texel_format: TexelFormat, tmp_path: Path) -> None:
    encoded = dict(encode_chain(chain(texel_format), 20, 37, texel_format))
    write_dds(tmp_path / "map.dds", encoded.items(), texel_format, 20, 37)
    image = oiio.ImageInput.open(str(tmp_path / "map.dds"))
    for level, data in encoded.items():
        assert image.seek_subimage(0, level)
        spec = image.spec()
        ours = decode_level(data, max(1, 20 >> level), max(1, 37 >> level), texel_format)
        theirs = image.read_image(0, level, 0, spec.nchannels, "uint8" if ours.dtype == np.uint8 else "half")
        assert theirs.shape == ours.shape
        # BC4 and BC5 are rounded to 8 bits there, and down here.
        assert np.abs(theirs.astype(float) - ours).max() <= (1 if texel_format.codec in ("bc4", "bc5") else 0)
    assert not image.seek_subimage(0, len(encoded))
    declared = image.spec(0).getattribute("oiio:ColorSpace") or ""
    assert ("srgb" in declared.lower()) == (texel_format.colour_space == "srgb")
    image.close()


def test_a_format_without_a_number_of_direct3d_is_refused() -> None:
    with pytest.raises(FormatError, match="write it as KTX2"):
        DdsWriter(io.BytesIO(), FORMATS["astc-4x4"], 4, 4)


def test_a_level_that_is_missing_bytes_or_gets_too_many_is_refused() -> None:
    writer = DdsWriter(io.BytesIO(), FORMATS["bc4"], 4, 4)
    writer.write(0, bytes(8))
    with pytest.raises(FormatError, match="level 0 gets more than its 8"):
        writer.write(0, b"x")
    with pytest.raises(FormatError, match="level 1 has 0 of 8"):
        writer.close()


def test_a_file_is_there_only_when_it_is_complete(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="level 0 has 0 of 8"):
        write_dds(tmp_path / "map.dds", [], FORMATS["bc4"], 4, 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("height", "width", "levels"), [(0, 4, 1), (4, 1 << 16, 1), (4, 4, 4), (4, 4, 0)])
def test_sizes_and_numbers_of_levels_that_cannot_be_are_refused(height: int, width: int, levels: int) -> None:
    with pytest.raises(FormatError):
        DdsWriter(io.BytesIO(), FORMATS["bc4"], height, width, levels=levels)


def test_the_name_of_a_refused_file_is_in_the_message(tmp_path: Path) -> None:
    (tmp_path / "x.dds").write_bytes(b"no")
    with pytest.raises(FormatError, match=r"x\.dds: 2 bytes"):
        read_dds(tmp_path / "x.dds")


def test_a_file_with_the_older_header_is_refused() -> None:
    file = io.BytesIO()
    writer = DdsWriter(file, FORMATS["bc4"], 4, 4, levels=1)
    writer.write(0, bytes(8))
    writer.close()
    with pytest.raises(FormatError, match="not as it is written here"):
        parse_dds(file.getvalue().replace(b"DX10", b"DXT1"))
