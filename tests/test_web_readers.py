"""Our KTX2 files in the hands of others: ktx-parse reads and writes them, and three.js draws them in Chromium."""

import importlib.util
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import astc_encoder
import numpy as np
import pytest

from mipmap.chain import level_sizes
from mipmap.encode import decode_level, encode_level
from mipmap.formats import FORMATS, TexelFormat
from mipmap.ktx2 import Ktx2Writer

WEB = Path(__file__).resolve().parent / "web"
specification = importlib.util.spec_from_file_location("browser", WEB / "browser.py")
assert specification is not None
assert specification.loader is not None
browser = importlib.util.module_from_spec(specification)
specification.loader.exec_module(browser)

HEIGHT, WIDTH = 68, 92  # multiples of 4, which WebGL asks of BC, but not of 6 or 8; further levels are none of 4
LEVEL = 1
# What KTX2Loader does not map: ASTC but 4x4 and 6x6, and ETC2 that is not sRGB.
UNMAPPED = {name for name in FORMATS if name.startswith("astc-8x8")} | {"etc2-rgb", "etc2-rgba"}
FILES = [(name, compress) for name in FORMATS for compress in (False, True)]
SIZES = [(1, 1), (1, 9), (5, 3), (13, 16)]


def missing(*needed: str) -> str | None:
    """What is missing of node, the packages and Chromium, or None. `make test` installs them where it may."""
    found = {
        "Node.js": browser.node(),
        "tests/web/node_modules (npm ci)": (WEB / "node_modules" / "three").is_dir(),
        "Chromium": browser.chromium(),
    }
    absent = [name for name in found if name.split(" ")[0] in needed and not found[name]]
    return f"{' and '.join(absent)} missing" if absent else None


def texels_for(texel_format: TexelFormat, height: int, width: int, seed: int = 0) -> np.ndarray:
    """A gradient in every channel with some noise: no two rows, columns or channels are alike."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    channels = np.stack([x, y, (x + y) / 2, 1 - x / 2], axis=2)[:, :, : texel_format.channels]
    values = 0.1 + 0.8 * channels + np.random.default_rng(seed).normal(0, 0.02, channels.shape)
    if texel_format.codec == "rgba16f":
        return values.astype(np.float16)
    return np.round(255 * values.clip(0, 1)).astype(np.uint8)


def ktx2(name: str, height: int, width: int, *, compress: bool = False) -> tuple[bytes, list[bytes]]:
    """A file whose levels are textures of their own, so that none can be taken for another; and its levels' blocks."""
    texel_format, file = FORMATS[name], io.BytesIO()
    writer = Ktx2Writer(file, texel_format, height, width, compress=compress)
    levels = []
    for level, size in enumerate(level_sizes(height, width)):
        levels.append(encode_level(texels_for(texel_format, *size, seed=level), texel_format))
        writer.write(level, levels[-1])
    writer.close()
    return file.getvalue(), levels


def sampled(blocks: bytes, height: int, width: int, texel_format: TexelFormat) -> np.ndarray:
    """(height, width, C) float64 in steps of 1/255: what a sampler that does not round gives for our blocks.

    ASTC defines 16 bits a channel and EAC 11, so `decode_level`, which gives 8, is up to 1 away from a sampler that
    rounds in another way. The linear profile is right for sRGB ASTC here: the sRGB profile expands the ends of a block
    by half a step more, which SwiftShader leaves out.
    """
    if texel_format.codec in ("eac1", "eac2"):
        return eac(blocks, height, width, texel_format.channels)
    if texel_format.codec != "astc":
        texels = decode_level(blocks, height, width, texel_format).astype(np.float64)
        return texels * 255 if texel_format.codec == "rgba16f" else texels
    side = texel_format.block_width
    context = astc_encoder.ASTCContext(astc_encoder.ASTCConfig(astc_encoder.ASTCProfile.LDR, side, side, 1, 0))
    image = astc_encoder.ASTCImage(astc_encoder.ASTCType.F16, width, height, 1)
    data = context.decompress(blocks, image, astc_encoder.ASTCSwizzle()).data
    return np.frombuffer(data, np.float16).reshape(height, width, 4).astype(np.float64) * 255


# Khronos Data Format 1.3, table "Intensity modifier sets for alpha component": the negative half of each; the
# positive one is -1 - m.
EAC_MODIFIERS = np.array(
    [
        *([3, 6, 9, 15], [3, 7, 10, 13], [2, 5, 8, 13], [2, 4, 6, 13]),
        *([3, 6, 8, 12], [3, 7, 9, 11], [4, 7, 8, 11], [3, 5, 8, 11]),
        *([2, 6, 8, 10], [2, 5, 8, 10], [2, 4, 8, 10], [2, 5, 7, 10]),
        *([3, 4, 7, 10], [1, 2, 3, 10], [4, 6, 8, 9], [3, 5, 7, 9]),
    ]
)


def eac(blocks: bytes, height: int, width: int, channels: int) -> np.ndarray:
    """(height, width, channels) float64 in steps of 1/255 of unsigned EAC R11 or RG11, in its full 11 bits."""
    rows, columns = -(-height // 4), -(-width // 4)
    words = np.frombuffer(blocks, ">u8").astype(np.uint64).reshape(rows, columns, channels, 1)
    base, multiplier, table = (
        ((words >> np.uint64(shift)) & np.uint64(mask)).astype(int) for shift, mask in ((56, 255), (52, 15), (48, 15))
    )
    index = ((words >> np.arange(45, -1, -3, dtype=np.uint64)) & np.uint64(7)).astype(int)
    magnitude = EAC_MODIFIERS[table, index % 4]
    modifier = np.where(index < 4, -magnitude, magnitude - 1)
    value = (8 * base + 4 + modifier * np.where(multiplier > 0, 8 * multiplier, 1)).clip(0, 2047) * 255 / 2047
    texels = value.reshape(rows, columns, channels, 4, 4)  # the texels of a block stand column by column
    return texels.transpose(0, 4, 1, 3, 2).reshape(4 * rows, 4 * columns, channels)[:height, :width]


def label(name: str, compress: bool) -> str:
    return f"{name}-zstd" if compress else name


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes | None, dict[str, Any]]]:
    """Ours, what ktx-parse wrote, and what it read, by name."""
    if reason := missing("Node.js", "tests/web/node_modules"):
        pytest.skip(reason)
    ours, theirs = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("theirs")
    for name, compress in FILES:
        (ours / label(name, compress)).write_bytes(ktx2(name, HEIGHT, WIDTH, compress=compress)[0])
    for size in SIZES:
        (ours / f"{size}").write_bytes(ktx2("astc-6x6", *size)[0])
    command = [str(browser.node()), str(WEB / "rewrite.mjs"), str(ours), str(theirs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_bytes() for path in theirs.iterdir()}
    read = json.loads(done.stdout)
    return {path.name: (path.read_bytes(), written.get(path.name), read[path.name]) for path in ours.iterdir()}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    """What three.js shows of the second level of each file, by name."""
    if reason := missing("tests/web/node_modules", "Chromium"):
        pytest.skip(reason)
    files = {
        label(name, compress): (ktx2(name, HEIGHT, WIDTH, compress=compress)[0], LEVEL)
        for name, compress in FILES
        if name not in UNMAPPED
    }
    cases: dict[str, Any] = browser.render(files)["cases"]
    return cases


@pytest.mark.parametrize(("name", "compress"), FILES)
def test_ktx_parse_writes_what_it_read_as_the_same_bytes(rewritten: dict[str, Any], name: str, compress: bool) -> None:
    ours, theirs, read = rewritten[label(name, compress)]
    assert "error" not in read, read["error"]
    assert theirs == ours


@pytest.mark.parametrize("size", SIZES)
def test_ktx_parse_agrees_on_files_of_odd_sizes(rewritten: dict[str, Any], size: tuple[int, int]) -> None:
    ours, theirs, read = rewritten[f"{size}"]
    assert (read["pixelHeight"], read["pixelWidth"], read["levelCount"]) == (*size, len(level_sizes(*size)))
    assert theirs == ours


@pytest.mark.parametrize(("name", "compress"), FILES)
def test_ktx_parse_reads_the_format_and_levels_that_we_wrote(
    rewritten: dict[str, Any], name: str, compress: bool
) -> None:
    _, _, read = rewritten[label(name, compress)]
    assert read["vkFormat"] == FORMATS[name].vulkan
    assert read["supercompressionScheme"] == (2 if compress else 0)
    assert read["levelBytes"] == [FORMATS[name].level_bytes(*size) for size in level_sizes(HEIGHT, WIDTH)]


@pytest.mark.parametrize(("name", "compress"), [(name, compress) for name, compress in FILES if name not in UNMAPPED])
def test_three_draws_the_mean_colour_and_every_texel_of_a_level_as_we_stored_them(
    drawn: dict[str, Any], name: str, compress: bool
) -> None:
    shown = drawn[label(name, compress)]
    assert "error" not in shown, shown["error"]
    texel_format = FORMATS[name]
    height, width = level_sizes(HEIGHT, WIDTH)[LEVEL]
    assert (shown["height"], shown["width"], shown["levels"]) == (height, width, len(level_sizes(HEIGHT, WIDTH)))
    ours = sampled(ktx2(name, HEIGHT, WIDTH)[1][LEVEL], height, width, texel_format)
    seen = np.array(shown["texels"]).reshape(height, width, 4)[:, :, : ours.shape[2]]
    assert np.abs(seen.mean((0, 1)) - ours.mean((0, 1))).max() < 0.1
    assert np.abs(seen - ours).max() < 0.6  # half a step, for SwiftShader rounds ASTC to 8 bits
