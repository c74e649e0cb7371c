"""Mip sets of PNG and EXR: names, atomicity, reading back, and independent readers."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

from mipmap.chain import box_chain, level_sizes
from mipmap.exr import ExrWriter, parse_exr
from mipmap.formats import FormatError
from mipmap.mip_set import mip_paths, read_mip_set, write_mip_set
from mipmap.png import PngWriter, parse_png


def texels(channels: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, (41, 18, channels)).astype(dtype)


def levels_of(chain: list[tuple[int, int, np.ndarray]], count: int) -> list[np.ndarray]:
    return [np.concatenate([rows for level, _, rows in chain if level == k]) for k in range(count)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "srgb"), [(3, True), (3, False), (1, False)])
def test_a_png_set_is_read_back_with_its_colour_space(channels: int, srgb: bool, dtype: type, tmp_path: Path) -> None:
    chain = list(box_chain(np.array_split(texels(channels, dtype), 3), 41, 18, "colour" if srgb else "scalar"))
    paths = write_mip_set(tmp_path, "map", chain, (41, 18, channels), "png", dtype=np.dtype(dtype), srgb=srgb)
    found, encoded = read_mip_set(tmp_path, "map", "png")
    assert encoded == srgb
    for ours, expected, path in zip(found, levels_of(chain, 6), paths, strict=True):
        assert ours.dtype == dtype
        assert (ours == expected).all()
        theirs = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).reshape(expected.shape)
        assert (theirs[..., ::-1] == expected).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_an_exr_set_is_read_back_and_openimageio_and_openexr_read_it_alike(channels: int, tmp_path: Path) -> None:
    chain = list(box_chain([texels(channels, np.uint16)], 41, 18, "scalar", as_float=True))
    paths = write_mip_set(tmp_path, "map", chain, (41, 18, channels), "exr")
    found, _ = read_mip_set(tmp_path, "map", "exr")
    for ours, expected, path in zip(found, levels_of(chain, 6), paths, strict=True):
        assert (ours == expected.astype(np.float16)).all()
        image = oiio.ImageInput.open(str(path))
        assert (image.read_image("half").reshape(ours.shape) == ours).all()
        image.close()
        with OpenEXR.File(str(path)) as file:
            theirs = file.channels()["RGB" if channels == 3 else "Y"].pixels
            assert (theirs.reshape(ours.shape) == ours).all()


def test_smooth_and_noisy_exr_blocks_are_both_read() -> None:
    noise = np.random.default_rng(0).integers(0, 0x7C00, (16, 40, 1), np.uint16).view(np.float16)
    both = np.concatenate([noise, np.zeros_like(noise)])  # the first block is stored as it is, the second compressed
    file = io.BytesIO()

    def patch(offset: int, data: bytes) -> None:
        file.seek(offset)
        file.write(data)

    writer = ExrWriter(file.write, patch, both.shape)  # type: ignore[arg-type]
    writer.write_rows(both)
    writer.close()
    assert (parse_exr(file.getvalue()) == both).all()


def test_files_have_their_names_only_when_all_are_complete(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing"):
        write_mip_set(tmp_path, "map", [(0, 0, texels(1))], (41, 18, 1), "png")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_level_of_another_size_is_refused(tmp_path: Path) -> None:
    write_mip_set(tmp_path, "map", box_chain([texels(1)], 41, 18, "scalar"), (41, 18, 1), "png")
    first, second, third = mip_paths(tmp_path, "map", "png", len(level_sizes(41, 18)))[:3]
    second.write_bytes(third.read_bytes())
    with pytest.raises(FormatError, match=r"map\.1\.png"):
        read_mip_set(tmp_path, "map", "png")
    first.write_bytes(b"no")
    with pytest.raises(FormatError, match=r"map\.png: 2 bytes"):
        read_mip_set(tmp_path, "map", "png")


def test_a_foreign_png_is_refused_in_one_line() -> None:
    foreign = bytes(cv2.imencode(".png", texels(3))[1].tobytes())
    with pytest.raises(FormatError, match=r"another filter|not those") as refused:
        parse_png(foreign)
    assert "\n" not in str(refused.value)


def test_a_png_that_promises_more_than_it_can_hold_is_refused_unread() -> None:
    file = io.BytesIO()
    writer = PngWriter(file.write, (30000, 30000, 3), np.dtype(np.uint16), srgb=False)  # type: ignore[arg-type]
    writer._rows_left = 0
    writer.close()
    with pytest.raises(FormatError, match="cannot hold"):
        parse_png(file.getvalue())
