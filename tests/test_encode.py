"""Blocks of every format: what comes back, that bands do not show, and independent decoders."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import texture2ddecoder
from PIL import Image

from mipmap.chain import box_chain
from mipmap.encode import decode_level, encode_chain, encode_level, normals_from_xy, psnr
from mipmap.formats import FORMATS, FormatError, TexelFormat, format_named

COMPRESSED = [each for each in FORMATS.values() if each.block_width > 1]
ASTC = [each for each in FORMATS.values() if each.codec == "astc"]
# What a smooth picture must keep; the test below holds that swapped channels or mirrored rows stay far below it.
LEAST_DB = 28.0


def names(texel_format: TexelFormat) -> str:
    return texel_format.name


def picture(height: int, width: int, channels: int = 4) -> np.ndarray:
    """Smooth ramps and waves, another one in each channel, so that swapped channels and shifted rows show."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    ramps = [0.1 + 0.7 * x, 0.9 - 0.8 * y, 0.5 + 0.4 * np.sin(3 * x + y), 0.3 + 0.3 * x + 0.3 * y]
    return np.round(255 * np.stack(ramps[:channels], axis=-1)).astype(np.uint8)


def shared(texels: np.ndarray, decoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The channels that both have."""
    channels = min(texels.shape[2], decoded.shape[2])
    return texels[..., :channels], decoded[..., :channels]


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (1, 1), (2, 130)], ids=str)
@pytest.mark.parametrize("texel_format", COMPRESSED, ids=names)
def test_what_comes_back_looks_like_what_went_in(texel_format: TexelFormat, size: tuple[int, int]) -> None:
    texels = picture(*size, texel_format.channels)
    data = encode_level(texels, texel_format)
    assert len(data) == texel_format.level_bytes(*size)
    decoded = decode_level(data, *size, texel_format)
    assert decoded.shape == (*size, texel_format.channels)
    assert psnr(texels, decoded) > LEAST_DB


def test_swapped_channels_and_mirrored_rows_would_be_noticed() -> None:
    texels = picture(64, 64)
    for wrong in (texels[..., [2, 1, 0, 3]], texels[..., [1, 0, 2, 3]], texels[::-1], texels[:, ::-1]):
        assert psnr(texels, wrong) < LEAST_DB - 8


@pytest.mark.parametrize("name", ["astc-4x4", "bc7-srgb", "etc2-rgba", "rgba8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_without_alpha_are_opaque(name: str, channels: int) -> None:
    texels = picture(16, 16, channels)
    decoded = decode_level(encode_level(texels, FORMATS[name]), 16, 16, FORMATS[name])
    assert psnr(np.repeat(texels, 3, axis=2) if channels == 1 else texels, decoded[..., :3]) > LEAST_DB
    assert decoded[..., 3].min() >= 254  # the fast search of BC7 may end one below


@pytest.mark.parametrize("name", ["bc5", "eac-rg11", "astc-4x4-normal"])
def test_two_channel_formats_keep_x_and_y_and_leave_z_out(name: str) -> None:
    texels = picture(16, 16, 3)
    assert encode_level(texels, FORMATS[name]) == encode_level(texels[..., :2].copy(), FORMATS[name])


def test_uncompressed_formats_keep_every_bit() -> None:
    texels = picture(5, 7)
    assert (decode_level(encode_level(texels, FORMATS["rgba8"]), 5, 7, FORMATS["rgba8"]) == texels).all()
    halves = np.random.default_rng(1).normal(0, 100, (5, 7, 4)).astype(np.float16)
    assert (decode_level(encode_level(halves, FORMATS["rgba16f"]), 5, 7, FORMATS["rgba16f"]) == halves).all()


def test_floats_become_halves_and_stay_finite() -> None:
    floats = np.array([[[1e-3, 0.1, 70000.0], [-1e9, 65504.0, 2049.0]]], np.float32)
    decoded = decode_level(encode_level(floats, FORMATS["rgba16f"]), 1, 2, FORMATS["rgba16f"])
    assert (decoded[..., :3] == np.clip(floats, -65504, 65504).astype(np.float16)).all()
    assert (decoded[..., 3] == 1).all()


def test_16_bit_texels_are_rounded_to_the_nearest_8_bit_ones() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    decoded = decode_level(encode_level(every, FORMATS["rgba8"]), 256, 256, FORMATS["rgba8"])
    assert (decoded[..., :1] == np.round(every / 257)).all()


@pytest.mark.parametrize("texel_format", COMPRESSED, ids=names)
def test_cutting_into_bands_does_not_change_the_bytes(
    texel_format: TexelFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    texels = picture(61, 50, texel_format.channels)
    whole = encode_level(texels, texel_format)
    monkeypatch.setattr("mipmap.encode.BAND_TEXELS", 1)
    assert encode_level(texels, texel_format) == whole
    in_bands = decode_level(whole, 61, 50, texel_format)
    monkeypatch.undo()
    assert (in_bands == decode_level(whole, 61, 50, texel_format)).all()


def test_blocks_at_the_edge_repeat_the_last_texel() -> None:
    texels = picture(6, 5, 1)
    padded = np.pad(texels, ((0, 2), (0, 3), (0, 0)), mode="edge")
    assert encode_level(texels, FORMATS["bc4"]) == encode_level(padded, FORMATS["bc4"])


@pytest.mark.parametrize("name", ["astc-6x6-srgb", "bc4", "rgba8"])
def test_a_chain_encodes_as_its_levels_do(name: str) -> None:
    texel_format = FORMATS[name]
    texels = picture(75, 40, min(3, texel_format.channels))
    levels: dict[int, list[np.ndarray]] = {}
    for level, _, rows in box_chain(np.array_split(texels, 9), 75, 40, "scalar"):
        levels.setdefault(level, []).append(rows)
    encoded: dict[int, bytes] = {}
    for level, data in encode_chain(box_chain(np.array_split(texels, 9), 75, 40, "scalar"), 75, 40, texel_format):
        encoded[level] = encoded.get(level, b"") + data
    assert encoded == {level: encode_level(np.concatenate(rows), texel_format) for level, rows in levels.items()}


def test_a_chain_may_reuse_the_memory_of_its_rows() -> None:
    texels = picture(64, 64, 1)
    buffer = np.empty((8, 64, 1), np.uint8)

    def rows():
        for y in range(0, 64, 8):
            buffer[:] = texels[y : y + 8]
            yield 0, y, buffer

    encoded = b"".join(data for _, data in encode_chain(rows(), 64, 64, FORMATS["bc4"], levels=1))
    assert encoded == encode_level(texels, FORMATS["bc4"])


@pytest.mark.parametrize(("rows", "problem"), [(7, "missing"), (9, "at most")])
def test_a_chain_with_missing_or_extra_rows_is_refused(rows: int, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        list(encode_chain([(0, 0, picture(rows, 8, 1))], 8, 8, FORMATS["bc4"], levels=1))


def test_rows_of_another_kind_than_those_before_are_refused() -> None:
    mixed = [(0, 0, picture(4, 8, 3)), (0, 4, picture(4, 8, 4))]
    with pytest.raises(FormatError, match="after rows of 3"):
        list(encode_chain(mixed, 8, 8, FORMATS["rgba8"], levels=1))


def test_maps_may_be_encoded_side_by_side() -> None:
    texels = [picture(60, 60, 3), picture(60, 60, 3)[::-1].copy()]
    alone = [encode_level(each, FORMATS["astc-4x4"]) for each in texels]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: encode_level(each, FORMATS["astc-4x4"]), texels * 4))
    assert together == alone * 4


def test_progress_grows_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mipmap.encode.BAND_TEXELS", 64)
    heard: list[float] = []
    encode_level(picture(64, 32, 1), FORMATS["bc4"], progress=heard.append)
    assert len(heard) > 2
    assert heard == sorted(heard)
    assert heard[-1] == 1


def test_progress_can_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mipmap.encode.BAND_TEXELS", 64)
    heard: list[float] = []

    def stop(fraction: float) -> None:
        heard.append(fraction)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        encode_level(picture(64, 32, 1), FORMATS["bc4"], progress=stop)
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("texels", "name"),
    [
        (np.zeros((4, 4, 2), np.uint8), "bc7"),
        (np.zeros((4, 4, 3), np.uint8), "bc4"),
        (np.zeros((4, 4), np.uint8), "bc4"),
        (np.zeros((0, 4, 1), np.uint8), "bc4"),
        (np.zeros((4, 4, 3), np.float32), "astc-4x4"),
        (np.zeros((4, 4, 3), np.uint8), "rgba16f"),
    ],
)
def test_texels_that_a_format_does_not_take_are_refused_in_one_line(texels: np.ndarray, name: str) -> None:
    with pytest.raises(FormatError) as refused:
        encode_level(texels, FORMATS[name])
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_format_and_an_unknown_quality_are_refused_with_the_known_ones() -> None:
    with pytest.raises(FormatError, match="bc7-srgb"):
        format_named("bc8")
    with pytest.raises(FormatError, match="medium"):
        encode_level(picture(4, 4, 1), FORMATS["bc4"], quality="best")  # type: ignore[arg-type]


@pytest.mark.parametrize("difference", [-1, 1])
def test_blocks_of_a_wrong_length_are_refused(difference: int) -> None:
    with pytest.raises(FormatError, match="take 16"):
        decode_level(bytes(16 + difference), 4, 4, FORMATS["bc7"])


@pytest.mark.parametrize("name", ["astc-6x6-srgb", "bc7"])
def test_a_slower_search_is_not_worse(name: str) -> None:
    rng = np.random.default_rng(5)
    texels = np.clip(picture(48, 48, 3) + rng.normal(0, 25, (48, 48, 3)), 0, 255).astype(np.uint8)
    fast, slow = (
        psnr(texels, decode_level(encode_level(texels, FORMATS[name], quality=quality), 48, 48, FORMATS[name])[..., :3])
        for quality in ("fast", "slow")
    )
    assert slow > fast


def test_z_of_a_normal_follows_from_x_and_y() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(40, 3))
    vectors[:, 2] = np.abs(vectors[:, 2]) + 0.3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    restored = normals_from_xy(np.round((vectors[:, :2] + 1) * 127.5).astype(np.uint8))
    assert np.allclose(np.linalg.norm(restored, axis=1), 1, atol=1e-6)
    assert np.abs(restored - vectors).max() < 0.04


def test_x_and_y_that_are_too_long_give_a_unit_vector_without_z() -> None:
    (vector,) = normals_from_xy(np.array([[255, 255]], np.uint8))
    assert np.allclose(vector, [np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-6)


def test_psnr_is_that_of_its_definition() -> None:
    zeros = np.zeros((100, 3, 1), np.uint8)
    assert psnr(zeros, zeros + np.uint8(255)) == 0
    assert psnr(zeros, zeros + np.uint8(1)) == pytest.approx(20 * np.log10(255))
    assert psnr(zeros, zeros) == float("inf")


# Independent decoders.


@pytest.mark.parametrize("texel_format", ASTC, ids=names)
def test_texture2ddecoder_reads_the_astc_blocks_alike(texel_format: TexelFormat) -> None:
    texels = picture(37, 53, texel_format.channels)
    data = encode_level(texels, texel_format)
    side = texel_format.block_width
    blue_green_red = np.frombuffer(texture2ddecoder.decode_astc(data, 53, 37, side, side), np.uint8)
    theirs = blue_green_red.reshape(37, 53, 4)[..., [2, 1, 0, 3]]
    theirs = theirs[..., [0, 3]] if texel_format.swizzle == "ra01" else theirs
    # It rounds the 16-bit intermediate differently.
    assert np.abs(theirs.astype(int) - decode_level(data, 37, 53, texel_format)).max() <= 1


@pytest.mark.skipif(shutil.which("astcenc") is None, reason="Arm's astcenc is not installed (Debian: astcenc)")
@pytest.mark.parametrize("texel_format", ASTC, ids=names)
def test_arms_astcenc_decodes_the_blocks_alike(texel_format: TexelFormat, tmp_path: Path) -> None:
    texels = picture(37, 53, texel_format.channels)
    data = encode_level(texels, texel_format)
    side = texel_format.block_width
    sizes = b"".join(struct.pack("<I", size)[:3] for size in (53, 37, 1))
    (tmp_path / "blocks.astc").write_bytes(struct.pack("<I3B", 0x5CA1AB13, side, side, 1) + sizes + data)
    mode = "-ds" if texel_format.colour_space == "srgb" else "-dl"
    command = ["astcenc", mode, str(tmp_path / "blocks.astc"), str(tmp_path / "texels.png")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Image.open(tmp_path / "texels.png") as image:
        theirs = np.asarray(image.convert("RGBA"))
    theirs = theirs[..., [0, 3]] if texel_format.swizzle == "ra01" else theirs
    difference = np.abs(theirs.astype(int) - decode_level(data, 37, 53, texel_format))
    # Linear values and alpha pass through a half float there on their way to 8 bits; sRGB colour does not.
    assert difference.max() <= 1
    if texel_format.colour_space == "srgb":
        assert difference[..., :3].max() == 0


def interpolated(block: bytes) -> np.ndarray:
    """(4, 4) values of a BC4 block, from the layout in the Windows documentation ("BC4 format")."""
    first, second = block[0], block[1]
    if first > second:
        levels = [first, second, *((first * (7 - k) + second * k) / 7 for k in range(1, 7))]
    else:
        levels = [first, second, *((first * (5 - k) + second * k) / 5 for k in range(1, 5)), 0, 255]
    bits = int.from_bytes(block[2:8], "little")
    return np.array([levels[bits >> 3 * texel & 7] for texel in range(16)]).reshape(4, 4)


def test_bc4_and_bc5_blocks_mean_what_the_documentation_says() -> None:
    texels = picture(8, 8, 2)
    data = encode_level(texels, FORMATS["bc5"])
    blocks = [interpolated(data[at : at + 8]) for at in range(0, len(data), 8)]
    for channel in (0, 1):
        by_hand = np.block([[blocks[channel], blocks[2 + channel]], [blocks[4 + channel], blocks[6 + channel]]])
        decoded = decode_level(data, 8, 8, FORMATS["bc5"])[..., channel]
        assert np.abs(by_hand - decoded).max() <= 1  # the decoder rounds down
        assert np.abs(by_hand - texels[..., channel]).max() < 8


def test_encoding_leaves_the_words_of_this_process_alone() -> None:
    encode_level(np.full((4, 4, 4), 100, np.uint8), FORMATS["astc-4x4"])
    encode_level(np.full((4, 4, 3), 100, np.uint8), FORMATS["astc-4x4"])
    assert [bytes(code).decode() for code in ([114, 103, 98, 97], [114, 103, 98, 49])] == ["rgba", "rgb1"]


@pytest.mark.parametrize("texel_format", [each for each in COMPRESSED if each.name.startswith("e")], ids=names)
def test_processes_of_their_own_give_the_same_blocks(
    texel_format: TexelFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    texels = picture(61, 50, texel_format.channels)
    monkeypatch.setattr("mipmap.encode.BAND_TEXELS", 256)
    alone = encode_level(texels, texel_format)
    monkeypatch.setattr("mipmap.encode.ETC_PROCESSES", 1)
    with subprocesses() as started:
        assert encode_level(texels, texel_format) == alone
        assert started
    assert all(process.poll() is not None for process in started)


def test_a_process_that_dies_is_an_error_and_leaves_no_other_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mipmap.encode.BAND_TEXELS", 256)
    monkeypatch.setattr("mipmap.encode.ETC_PROCESSES", 1)

    def kill(_: float) -> None:
        for process in started:
            process.kill()
            process.wait()

    with subprocesses() as started, pytest.raises(OSError):
        encode_level(picture(256, 256, 1), FORMATS["eac-r11"], progress=kill)
    assert all(process.poll() is not None for process in started)


@contextmanager
def subprocesses() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Those that are started meanwhile."""
    started: list[subprocess.Popen[bytes]] = []
    begin = subprocess.Popen.__init__

    def note(process: subprocess.Popen[bytes], *arguments: Any, **options: Any) -> None:
        begin(process, *arguments, **options)
        started.append(process)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", note)
        yield started
