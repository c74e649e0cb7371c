"""Hostile images and meshes: every one ends in one line, quickly, without the memory that its header asks for."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import json
import os
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.image_io import DecodeLimits, decode_image
from texsynth.material import load_material

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (9, 7, 4), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (9, 7, 3), dtype=np.uint16)
FLOATS = RNG.random((9, 7, 3), np.float32)


def pillow(texels: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(texels).save(out, kind, **options)
    return out.getvalue()


def tga_of_palette() -> bytes:
    out = io.BytesIO()
    Image.fromarray(RGB).quantize(5).save(out, "TGA")
    return out.getvalue()


def opencv(texels: np.ndarray, suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, texels)[1].tobytes())


def tiff(texels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, texels, photometric="rgb", **options)
    return out.getvalue()


def exr(folder: Path, texels: np.ndarray, compression: OpenEXR.Compression, tiled: bool = False) -> bytes:
    header = {"compression": compression, "type": OpenEXR.tiledimage if tiled else OpenEXR.scanlineimage}
    if tiled:
        header["tiles"] = OpenEXR.TileDescription()
    OpenEXR.File(header, {"RGB": texels}).write(str(folder / "made.exr"))
    return (folder / "made.exr").read_bytes()


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("exr")
    return {
        "png": pillow(RGB, "PNG"),
        "png palette": pillow(np.asarray(Image.fromarray(RGB).quantize(5).convert("RGB")), "PNG"),
        "png 16": opencv(RGB16, ".png"),
        "jpeg": pillow(RGB, "JPEG"),
        "jpeg progressive": pillow(RGB, "JPEG", progressive=True),
        "webp": pillow(RGB, "WEBP"),
        "webp lossless alpha": pillow(RGBA, "WEBP", lossless=True),
        "tga": pillow(RGB, "TGA"),
        "tga run-length": pillow(np.repeat(RGBA, 5, axis=1), "TGA", compression="tga_rle"),
        "tga palette": tga_of_palette(),
        "tiff": pillow(RGB, "TIFF"),
        "tiff lzw": pillow(RGB, "TIFF", compression="tiff_lzw"),
        "tiff 16": tiff(RGB16),
        "tiff 16 deflate": tiff(RGB16, compression="zlib"),
        "tiff 16 planes": tiff(np.ascontiguousarray(np.moveaxis(RGB16, -1, 0)), compression="zlib", planarconfig=2),
        "tiff float": tiff(FLOATS),
        "tiff half tiles": tiff(FLOATS.astype(np.float16), compression="zlib", tile=(16, 16)),
        "exr": exr(folder, FLOATS, OpenEXR.ZIP_COMPRESSION),
        "exr half": exr(folder, FLOATS.astype(np.float16), OpenEXR.NO_COMPRESSION),
        "exr piz": exr(folder, FLOATS, OpenEXR.PIZ_COMPRESSION),
        "exr tiles": exr(folder, FLOATS, OpenEXR.ZIP_COMPRESSION, tiled=True),
        "hdr": opencv(FLOATS, ".hdr"),
        "hdr run-length": opencv(np.full((9, 20, 3), 0.5, np.float32), ".hdr"),
    }


NAMES = [
    *("png", "png palette", "png 16", "jpeg", "jpeg progressive", "webp", "webp lossless alpha"),
    *("tga", "tga run-length", "tga palette"),
    *("tiff", "tiff lzw", "tiff 16", "tiff 16 deflate", "tiff 16 planes", "tiff float", "tiff half tiles"),
    *("exr", "exr half", "exr piz", "exr tiles", "hdr", "hdr run-length"),
]


def outcome(data: bytes, limits: DecodeLimits | None = None, where: str = "input.tga") -> np.ndarray | None:
    """The texels, or None for a refusal in one line. Whatever is called .tga is tried as TGA, which has no signature,
    after all that have one."""
    try:
        return decode_image(data, where, limits).texels
    except TexsynthError as error:
        message = str(error)
        assert error.kind is ErrorKind.BAD_INPUT
        assert message.startswith(f"{where}: ") and "\n" not in message and len(message) < 300
        assert "Traceback" not in message and " at 0x" not in message
        return None


# --- truncation and damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_is_refused_in_one_line_or_was_already_complete(valid: dict[str, bytes], name: str) -> None:
    data = valid[name]
    whole = outcome(data)
    assert whole is not None
    for length in range(len(data)):
        texels = outcome(data[:length])
        assert texels is None or np.array_equal(texels, whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_in_half_is_refused(valid: dict[str, bytes], name: str) -> None:
    assert outcome(valid[name][: len(valid[name]) // 2]) is None


@pytest.mark.parametrize("name", NAMES)
def test_bytes_after_the_end_change_nothing(valid: dict[str, bytes], name: str) -> None:
    longer = outcome(valid[name] + b"\0junk")
    assert longer is not None
    assert np.array_equal(longer, outcome(valid[name]))


@pytest.mark.parametrize("name", NAMES)
def test_damage_anywhere_ends_in_pixels_or_in_one_line(valid: dict[str, bytes], name: str) -> None:
    rng = np.random.default_rng(len(name))
    limits = DecodeLimits(pixels=2**20)
    for _ in range(150):
        data = bytearray(valid[name])
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(min(len(data), 300) if rng.random() < 0.7 else len(data)))
            match rng.integers(4):
                case 0:
                    data[at] = int(rng.integers(256))
                case 1:
                    data[at : at + 4] = b"\xff\xff\xff\xff"
                case 2:
                    data[at : at + 4] = struct.pack("<I", rng.choice([0, 1, 65536, 2**31 - 1, 2**31]))
                case _:
                    del data[at : at + int(rng.integers(1, 9))]
        outcome(bytes(data), limits)


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"v/1\x01\2\0\0\0"])
)
def test_noise_behind_any_signature_is_refused_in_one_line(noise: bytes, signature: bytes) -> None:
    assert outcome(signature + noise, where="input") is None


def test_a_flipped_bit_in_the_pixels_of_a_png_is_found(valid: dict[str, bytes]) -> None:
    for name in ("png", "png 16"):
        data = bytearray(valid[name])
        data[data.index(b"IDAT") + 40] ^= 1
        assert outcome(bytes(data)) is None


def test_a_damaged_exr_leaves_standard_output_clean(valid: dict[str, bytes], capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(valid["exr"])
    data[-60:-20] = b"\xaa" * 40
    outcome(bytes(data))
    assert capfd.readouterr().out == ""


def test_decoding_in_threads_leaves_the_warning_filters_alone(valid: dict[str, bytes]) -> None:
    before = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(texels is not None for texels in pool.map(outcome, [valid[name] for name in NAMES] * 4))
    assert list(warnings.filters) == before


# --- bombs ------------------------------------------------------------------------------------------------------


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_file(width: int, height: int, pixels: bytes, before: bytes = b"", depth: int = 8) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def tiff_file(entries: dict[int, tuple[int, int, int]]) -> bytes:
    """A little-endian TIFF of one directory; entries: tag -> (type, count, value or offset)."""
    rows = b"".join(struct.pack("<2H2I", tag, *entry) for tag, entry in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", 0) + b"\0" * 64


TIFF_8X8 = {
    256: (4, 1, 8),
    257: (4, 1, 8),
    258: (3, 1, 16),
    259: (3, 1, 1),
    262: (3, 1, 1),
    273: (4, 1, 8),
    277: (3, 1, 1),
    278: (4, 1, 8),
    279: (4, 1, 128),
}


def tga_header(width: int, height: int, kind: int = 2) -> bytes:
    return struct.pack("<3B2HB4H2B", 0, 0, kind, 0, 0, 0, 0, 0, width, height, 24, 0)


def exr_with(data: bytes, attribute: bytes, value: bytes) -> bytes:
    at = data.index(attribute) + len(attribute) + 4
    return data[:at] + value + data[at + len(value) :]


def bombs(valid: dict[str, bytes]) -> dict[str, bytes]:
    ratio = zlib.compress(bytes(50_000_000), 9)
    jpeg = bytearray(valid["jpeg"])
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">2H", 65500, 65500)
    webp = bytearray(valid["webp"])
    at = webp.index(b"\x9d\x01\x2a") + 3
    webp[at : at + 4] = struct.pack("<2H", 16383, 16383)
    scans = valid["jpeg progressive"]
    first = scans.index(b"\xff\xda")
    second = scans.index(b"\xff\xda", first + 2)
    window = b"dataWindow\0box2i\0"
    strips = TIFF_8X8 | {278: (4, 1, 1), 273: (4, 2**30, 8), 279: (4, 2**30, 8)}
    tiles = {k: v for k, v in TIFF_8X8.items() if k not in (273, 278, 279)}
    tiles |= {322: (4, 1, 2**31), 323: (4, 1, 2**31), 324: (4, 1, 8), 325: (4, 1, 8)}
    deflated = tiff(FLOATS[:8].astype(np.float16), compression="zlib")
    page = tifffile.TiffFile(io.BytesIO(deflated)).pages.first
    assert isinstance(page, tifffile.TiffPage)
    swollen = bytearray(deflated + ratio)
    offset, count = page.tags[273], page.tags[279]
    swollen[offset.offset + 8 : offset.offset + 12] = struct.pack("<I", len(deflated))
    swollen[count.offset + 8 : count.offset + 12] = struct.pack("<I", len(ratio))
    swollen[count.offset + 2 : count.offset + 4] = struct.pack("<H", 4)
    return {
        "png of 65536 x 65536": png_file(65536, 65536, ratio),
        "png of 2^31 - 1": png_file(2**31 - 1, 2**31 - 1, b""),
        "png that lies within the limit": png_file(16384, 16384, zlib.compress(bytes(1000))),
        "16-bit png that lies within the limit": png_file(16384, 16384, zlib.compress(bytes(1000)), depth=16),
        "png without pixels": png_file(0, 8, b""),
        "png text bomb": png_file(8, 8, b"", png_chunk(b"zTXt", b"a\0\0" + ratio)),
        "png profile bomb": png_file(8, 8, b"", png_chunk(b"iCCP", b"a\0\0" + ratio)),
        "png pixel bomb": png_file(8, 8, zlib.compress(bytes(40)) + ratio),
        "jpeg of 65500 x 65500": bytes(jpeg),
        "jpeg of a thousand scans": scans[:second] + scans[first:second] * 1000 + scans[second:],
        "webp of 16383 x 16383": bytes(webp),
        "webp canvas of 2^24": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
        "a.tga of 65535 x 65535": tga_header(65535, 65535) + bytes(400),
        "a.tga that lies within the limit": tga_header(16384, 16384) + bytes(400),
        "a.tga of runs that lies within the limit": tga_header(16384, 16384, kind=10) + bytes(400),
        "tiff of 65536 x 65536": tiff_file(TIFF_8X8 | {256: (4, 1, 65536), 257: (4, 1, 65536)}),
        "tiff of 2^32 - 1": tiff_file(TIFF_8X8 | {256: (4, 1, 2**32 - 1)}),
        "tiff of 2^30 strips": tiff_file(strips),
        "tiff of tiles of 2^31": tiff_file(tiles),
        "tiff strip that expands": bytes(swollen),
        "tiff of 60000 samples": tiff_file(TIFF_8X8 | {277: (3, 1, 60000)}),
        "exr of 65536 x 65536": exr_with(valid["exr"], window, struct.pack("<4i", 0, 0, 65535, 65535)),
        "exr of 2^31 lines": exr_with(valid["exr"], window, struct.pack("<4i", 0, -(2**30), 0, 2**30)),
        "exr offset table beyond the file": exr_with(valid["exr"], window, struct.pack("<4i", 0, 0, 6, 2**27)),
        "exr of negative size": exr_with(valid["exr"], window, struct.pack("<4i", 5, 5, 0, 0)),
        "exr of tiles of 2^32": exr_with(valid["exr tiles"], b"tiles\0tiledesc\0", b"\xff" * 8),
        "hdr of 100000 x 100000": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 100000 +X 100000\n" + bytes(400),
        "hdr that lies within the limit": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 16384 +X 16384\n" + bytes(400),
    }


LIMITED = """
import pickle, resource, sys, time
from texsynth.errors import TexsynthError
from texsynth.image_io import decode_image
for name, data in pickle.load(sys.stdin.buffer).items():
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + 64 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    began = time.perf_counter()
    try:
        where = "bomb.tga" if name.startswith("a.tga") else "bomb"
        shape = decode_image(data, where).texels.shape
        print(f"{name}|{time.perf_counter() - began}|decoded {shape}")
    except TexsynthError as error:
        print(f"{name}|{time.perf_counter() - began}|{error}")
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.fixture(scope="session")
def bomb_reports(valid: dict[str, bytes]) -> dict[str, tuple[float, str]]:
    """What a process that may take 64 MiB more than it has says to each bomb, and after how many seconds."""
    import pickle

    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        input=pickle.dumps(bombs(valid)),
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    lines = [line.split("|", 2) for line in done.stdout.decode().splitlines()]
    return {name: (float(seconds), message) for name, seconds, message in lines}


def test_image_bombs_are_refused_in_64_mib_and_a_second(bomb_reports: dict[str, tuple[float, str]]) -> None:
    assert len(bomb_reports) == 28
    for name, (seconds, message) in bomb_reports.items():
        assert seconds < 1, name
        assert message.startswith(("bomb: ", "bomb.tga: ")), (name, message)
        assert "memory" not in message, (name, message)  # Refused before the memory was asked for.


def test_sizes_beyond_the_limit_are_named(bomb_reports: dict[str, tuple[float, str]]) -> None:
    for name, size in {
        "png of 65536 x 65536": "65536 x 65536",
        "jpeg of 65500 x 65500": "65500 x 65500",
        "tiff of 65536 x 65536": "65536 x 65536",
        "exr of 65536 x 65536": "65536 x 65536",
        "hdr of 100000 x 100000": "100000 x 100000",
    }.items():
        assert f"claims {size} pixels" in bomb_reports[name][1]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_directory_that_returns_to_itself_does_not_hang(bits: int) -> None:
    looped = tiff_file(TIFF_8X8 | {258: (3, 1, bits)})[: 10 + 12 * 9] + struct.pack("<I", 8) + bytes(64)
    began = time.perf_counter()
    outcome(looped)
    assert time.perf_counter() - began < 1


# --- paths ------------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    began = time.perf_counter()
    with pytest.raises(TexsynthError) as caught:
        load_material(path)
    assert time.perf_counter() - began < 2
    assert caught.value.kind is ErrorKind.BAD_INPUT and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert "not a regular file" in refusal(tmp_path / "a.png")


def test_a_device_is_no_image() -> None:
    assert "not a regular file" in refusal(Path("/dev/zero"))


@pytest.mark.parametrize(
    "name", ["a\0b.png", "x" * 300 + ".png", "x/" * 3000 + "a.png", "\udcff.png", "a.glb", "a.obj"]
)
def test_strange_and_missing_names_are_refused(tmp_path: Path, name: str) -> None:
    refusal(tmp_path / name)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.gltf", "a.glb", "a.obj"):
        (tmp_path / name).write_bytes(b"")
        refusal(tmp_path / name)


def test_a_file_beyond_the_byte_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(2**40)  # Sparse.
    assert "bytes" in refusal(tmp_path / "a.png")


def test_text_that_is_called_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>404 not found</html>")
    assert "is not an image that texsynth reads" in refusal(tmp_path / "a.png")


# --- glTF and OBJ -----------------------------------------------------------------------------------------------


def tree() -> dict[str, list[dict[str, object]]]:
    triangle = base64.b64encode(np.zeros(15, "<f4").tobytes()).decode()
    return {
        "asset": {"version": "2.0"},  # type: ignore[dict-item]
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"uri": "colour.png"}],
        "buffers": [{"uri": f"data:application/octet-stream;base64,{triangle}", "byteLength": 60}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 24}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC2"},
        ],
    }


def write_tree(folder: Path, change: Callable[[dict[str, list[dict[str, object]]]], object]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "colour.png").write_bytes(pillow(RGB, "PNG"))
    made = tree()
    change(made)
    (folder / "a.gltf").write_text(json.dumps(made))
    return folder / "a.gltf"


def test_the_tree_that_is_attacked_loads_when_left_alone(tmp_path: Path) -> None:
    assert load_material(write_tree(tmp_path, lambda t: None)).size == (9, 7)


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.png",
        "%2e%2e/secret.png",
        "sub/../../secret.png",
        "..\\secret.png",
        "file:///etc/passwd",
        "http://example.com/a.png",
        "//example.com/a.png",
        "/etc/passwd",
        "link.png",
        "a\0.png",
        "x" * 300,
        "",
        ".",
    ],
)
def test_an_image_outside_the_folder_of_the_mesh_is_refused(tmp_path: Path, uri: str) -> None:
    (tmp_path / "secret.png").write_bytes(pillow(RGB, "PNG"))
    path = write_tree(tmp_path / "asset", lambda t: t["images"].__setitem__(0, {"uri": uri}))
    (tmp_path / "asset" / "link.png").symlink_to(tmp_path / "secret.png")
    refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["accessors"][0].update(count=2**31),
        lambda t: t["accessors"][0].update(count=-1),
        lambda t: t["accessors"][0].update(byteOffset=2**63),
        lambda t: t["accessors"][0].update(sparse={"count": 2**31, "indices": {}, "values": {}}),
        lambda t: t["bufferViews"][0].update(byteLength=2**40),
        lambda t: t["buffers"][0].update(byteLength=2**40),
        lambda t: t["buffers"][0].update(uri="../../../../etc/passwd"),
        lambda t: t["nodes"][0].update(children=[0]),
        lambda t: t["nodes"].extend({"children": [i + 2]} for i in range(5000)),
        lambda t: t["nodes"].extend([{"children": [2]}, {"children": [1]}]),
        lambda t: t["meshes"][0].update(primitives=[]),
        lambda t: t["meshes"][0]["primitives"][0].update(material=7),  # type: ignore[index]
        lambda t: t["textures"][0].update(source=-1),
        lambda t: t["textures"].__setitem__(0, {}),
        lambda t: t["images"].__setitem__(0, {"bufferView": 9}),
        lambda t: t["materials"].__setitem__(0, {"pbrMetallicRoughness": {"baseColorTexture": {"index": "0"}}}),
        lambda t: t["materials"].__setitem__(0, {"pbrMetallicRoughness": {"baseColorFactor": [1, 2]}}),
        lambda t: t["materials"].__setitem__(0, {"pbrMetallicRoughness": {"baseColorFactor": "red"}}),
        lambda t: t["materials"].__setitem__(0, {"pbrMetallicRoughness": {"roughnessFactor": None}}),
        lambda t: t["materials"].__setitem__(0, 5),
        lambda t: t.update(extensionsRequired=["KHR_draco_mesh_compression"]),
        lambda t: t.update(meshes="none"),
        lambda t: t.update(asset=[]),
    ],
)
def test_a_hostile_gltf_is_refused_in_one_line(tmp_path: Path, change: Callable[..., object]) -> None:
    refusal(write_tree(tmp_path, change))


def test_an_image_bomb_inside_a_gltf_is_refused(tmp_path: Path) -> None:
    bomb = "data:image/png;base64," + base64.b64encode(png_file(65536, 65536, b"")).decode()
    assert "65536 x 65536" in refusal(write_tree(tmp_path, lambda t: t["images"].__setitem__(0, {"uri": bomb})))


def test_huge_base64_is_refused_quickly(tmp_path: Path) -> None:
    path = write_tree(tmp_path, lambda t: t["images"].__setitem__(0, {"uri": "data:image/png;base64," + "A" * 2**26}))
    refusal(path)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, '{"asset": NaN}', "1" * 10_000, "\ud800"])
def test_json_that_is_no_gltf_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.gltf").write_bytes(text.encode("utf-8", "surrogatepass"))
    refusal(tmp_path / "a.gltf")


def test_every_prefix_of_a_glb_is_refused(tmp_path: Path) -> None:
    made = tree()
    image = pillow(RGB, "PNG")
    image += bytes(-len(image) % 4)
    made["images"][0] = {"bufferView": 2, "mimeType": "image/png"}
    made["bufferViews"].append({"buffer": 1, "byteLength": len(image)})
    made["buffers"].append({"byteLength": len(image)})
    text = json.dumps(made).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<2I", len(text), 0x4E4F534A) + text + struct.pack("<2I", len(image), 0x004E4942) + image
    data = b"glTF" + struct.pack("<2I", 2, 12 + len(body)) + body
    path = tmp_path / "a.glb"
    path.write_bytes(data)
    assert load_material(path).size == (9, 7)
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        refusal(path)


def test_an_obj_cannot_read_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(pillow(RGB, "PNG"))
    folder = tmp_path / "asset"
    folder.mkdir()
    (folder / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"
    )
    (folder / "a.mtl").write_text("newmtl m\nmap_Kd ../secret.png\n")
    assert "outside its folder" in refusal(folder / "a.obj")
