"""Hostile meshes: every one ends as a mesh or in one line, quickly, without the memory that its header asks for.

The fuzzer changes valid files at random, TEXSYNTH_FUZZ_MESHES times a format (default 60). A file that is not survived
is left in tests/attacks/corpus/meshes/, where every later run begins with it:

    TEXSYNTH_FUZZ_MESHES=5000 python -m pytest tests/attacks/test_meshes.py -k fuzzer
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from gltf_builder import QUAD_POSITIONS, QUAD_UVS, Builder, png, rigged, textured
from mutations import HOSTILE, JSON_HOSTILE, mutated, with_other_words

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.material import MapKind
from texsynth.surface.gltf import read_gltf, split_glb
from texsynth.surface.mesh import load_mesh, write_glb
from texsynth.surface.uv_notes import uv_notes
from texsynth.surface.uv_topology import Topology

CORPUS = Path(__file__).parent / "corpus" / "meshes"
MUTATIONS = int(os.environ.get("TEXSYNTH_FUZZ_MESHES", "60"))
LONGEST_LINE = 500
NEW = {MapKind.ALBEDO: np.full((4, 4, 3), 9, np.uint8), MapKind.ROUGHNESS: np.full((4, 4, 1), 9, np.uint8)}
SUFFIXES = ("glb", "gltf", "obj", "ply", "stl")


def box(uvs: bool) -> trimesh.Trimesh:
    made = trimesh.creation.box()
    if uvs:
        made.visual = trimesh.visual.TextureVisuals(uv=made.vertices[:, :2] + made.vertices[:, 2:] / 4 + 0.5)
    return made


def as_gltf(glb: bytes) -> bytes:
    """The text of a .gltf with its buffer inside."""
    text, chunk = split_glb(Path("seed.glb"), glb)
    tree = json.loads(text)
    tree["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(chunk).decode()
    return json.dumps(tree, indent=1).encode()


def obj_text() -> bytes:
    corners = "v -1 1 0\nv 1 1 0\nv 1 -1 0\nv -1 -1 0\nvt 0 1\nvt 1 1\nvt 1 0\nvt 0 0\nvn 0 0 1\n"
    return f"mtllib a.mtl\n{corners}usemtl m\nf 1/1/1 4/4/1 2/2/1\nf 1/1/1 2/2/1 3/3/1 4/4/1\n".encode()


def ply_with_corners() -> bytes:
    head = (
        "ply\nformat ascii 1.0\ncomment TextureFile a.png\nelement vertex 4\nproperty float x\nproperty float y\n"
        "property float z\nproperty float nx\nproperty float ny\nproperty float nz\nelement face 2\n"
        "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
    )
    rows = "0 0 0 0 0 1\n1 0 0 0 0 1\n1 1 0 0 0 1\n0 1 0 0 0 1\n3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 0 0 1 1 0 1\n"
    return (head + rows).encode()


def ply_of_polygons() -> bytes:
    """Binary, with a quad and a triangle."""
    lines = ["ply", "format binary_little_endian 1.0", "element vertex 4"]
    lines += [*(f"property float {name}" for name in "xyzst"), "element face 2"]
    lines += ["property list uchar int vertex_indices", "end_header\n"]
    vertices = np.hstack([QUAD_POSITIONS, QUAD_UVS]).astype("<f4").tobytes()
    return "\n".join(lines).encode() + vertices + struct.pack("<B4iB3i", 4, 0, 3, 2, 1, 3, 0, 1, 2)


@pytest.fixture(scope="module")
def seeds() -> dict[str, list[bytes]]:
    packed = [rigged().bytes(), rigged(uvs=False).bytes()]
    return {
        "glb": packed,
        "gltf": [as_gltf(data) for data in packed],
        "obj": [
            obj_text(),
            obj_text().replace(b"usemtl m", b"usemtl tiled"),
            trimesh.exchange.obj.export_obj(box(True)).encode(),
        ],
        "ply": [
            ply_with_corners(),
            ply_of_polygons(),
            *(box(uvs).export(file_type="ply", encoding=kind) for uvs in (True, False) for kind in ("ascii", "binary")),
        ],
        "stl": [box(False).export(file_type="stl"), box(False).export(file_type="stl_ascii").encode()],
    }


def outcome(path: Path) -> str | None:
    """The line with which a mesh is refused; None where it loads, and then it is sound and can be written."""
    try:
        asset = load_mesh(path)
        uv_notes(Topology(asset.mesh, None))
        write_glb(asset, path.parent, {None: NEW})
    except TexsynthError as error:
        line = str(error)
        assert error.kind is ErrorKind.BAD_INPUT
        assert line.isprintable()
        assert len(line) <= LONGEST_LINE + len(str(path))
        return line
    mesh = asset.mesh
    assert np.isfinite(mesh.positions).all() and np.isfinite(mesh.uvs).all() and np.isfinite(mesh.normals).all()
    assert mesh.triangles.min() >= 0 and mesh.triangles.max() < len(mesh.positions)
    read_gltf(path.parent / "asset.glb")
    return None


def refusal(path: Path) -> str:
    line = outcome(path)
    assert line is not None
    return line


def changed(suffix: str, data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    if suffix == "stl" or rng.random() < 0.3:
        return mutated(data, others, rng)
    if suffix != "glb":
        return with_other_words(data, rng, JSON_HOSTILE if suffix == "gltf" else HOSTILE)
    text, chunk = split_glb(Path("seed.glb"), data)
    return packed(with_other_words(text, rng, JSON_HOSTILE), chunk)


def packed(text: bytes, chunk: bytes) -> bytes:
    """A .glb of this JSON text and binary chunk."""
    text += b" " * (-len(text) % 4)
    body = struct.pack("<2I", len(text), 0x4E4F534A) + text + struct.pack("<2I", len(chunk), 0x004E4942) + chunk
    return b"glTF" + struct.pack("<2I", 2, 12 + len(body)) + body


def beside(folder: Path) -> None:
    (folder / "a.png").write_bytes(png((1, 2, 3)))
    (folder / "a.mtl").write_text("newmtl m\nmap_Kd a.png\nnewmtl tiled\nmap_Kd a.<UDIM>.png\n")
    for number in (1001, 1002, 1011):
        (folder / f"a.{number}.png").write_bytes(png((1, 2, 3)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_seeds_of_the_fuzzer_load(tmp_path: Path, suffix: str, seeds: dict[str, list[bytes]]) -> None:
    beside(tmp_path)
    for number, data in enumerate(seeds[suffix]):
        (tmp_path / f"{number}.{suffix}").write_bytes(data)
        line = outcome(tmp_path / f"{number}.{suffix}")
        assert line is None or "texsynth[unwrap]" in line


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, of text that is no number
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers too large to be multiplied
def test_the_fuzzer_finds_no_mesh_that_is_not_survived(
    tmp_path: Path, suffix: str, seeds: dict[str, list[bytes]]
) -> None:
    if suffix == "stl":
        pytest.importorskip("xatlas")  # without it every .stl is refused
    rng, path = random.Random(7), tmp_path / f"fuzzed.{suffix}"
    beside(tmp_path)
    refused = 0
    for _ in range(MUTATIONS):
        data = changed(suffix, rng.choice(seeds[suffix]), seeds[suffix], rng)
        path.write_bytes(data)
        try:
            refused += outcome(path) is not None
        except BaseException:
            CORPUS.mkdir(parents=True, exist_ok=True)
            (CORPUS / f"crash-{hashlib.sha256(data).hexdigest()[:12]}.{suffix}").write_bytes(data)
            raise
    assert 0 < refused < MUTATIONS  # a mutator that changes nothing, or everything, would find nothing


def ply_claiming(what: str, count: int, body: bytes, encoding: str = "binary_little_endian") -> bytes:
    sizes = {"vertex": 3, "face": 1} | {what: count}
    head = f"ply\nformat {encoding} 1.0\nelement vertex {sizes['vertex']}\nproperty float x\nproperty float y\n"
    head += f"property float z\nelement face {sizes['face']}\nproperty list uint uint vertex_indices\nend_header\n"
    return head.encode() + body


def claims() -> dict[str, bytes]:
    """Small files that ask for gigabytes."""
    triangle = np.eye(3, dtype="<f4").tobytes()
    builder = Builder()
    builder.quad(textured(builder))
    text, chunk = split_glb(Path("seed.glb"), builder.bytes())
    tree = json.loads(text)
    swollen = {
        "accessor": tree | {"accessors": [tree["accessors"][0] | {"count": 2**31}, *tree["accessors"][1:]]},
        "view": tree | {"bufferViews": [tree["bufferViews"][0] | {"byteLength": 2**40}, *tree["bufferViews"][1:]]},
        "empty": tree | {"accessors": [tree["accessors"][0] | {"count": 2**31, "sparse": {}}, *tree["accessors"][1:]]},
    }
    bombs = {f"{name}.glb": packed(json.dumps(changed).encode(), chunk) for name, changed in swollen.items()}
    image = tree["images"][0]["bufferView"]
    start = tree["bufferViews"][image]["byteOffset"]
    vast = bytearray(chunk)
    vast[start + 16 : start + 24] = struct.pack(">2I", 1 << 20, 1 << 20)  # width and height of the PNG
    bombs["image.glb"] = packed(text, bytes(vast))
    stl = trimesh.creation.box().export(file_type="stl")
    bombs["stl.stl"] = stl[:80] + struct.pack("<I", 2**32 - 1) + stl[84:]
    bombs["solid.stl"] = b"solid".ljust(80) + struct.pack("<I", 2**32 - 1) + stl[84:]
    bombs["vertices.ply"] = ply_claiming("vertex", 2**32 - 1, triangle)
    bombs["faces.ply"] = ply_claiming("face", 2**31, triangle + struct.pack("<4I", 3, 0, 1, 2))
    bombs["text.ply"] = ply_claiming("vertex", 10**18, b"0 0 0\n", "ascii")
    bombs["digits.ply"] = ply_claiming("vertex", 10**4000, b"0 0 0\n", "ascii")
    bombs["list.ply"] = ply_claiming("face", 1, triangle + struct.pack("<4I", 2**32 - 1, 0, 1, 2))
    bombs["short list.ply"] = ply_claiming("face", 1, triangle + struct.pack("<4I", 2**28, 0, 1, 2))
    bombs["index.obj"] = obj_text() + b"f 1/1 2/2 2147483647/3\nf 1/1 2/2 99999999999999999999/3\n"
    return bombs


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_json_as_deep_as_it_may_be_is_written_or_refused(tmp_path: Path, depth: int) -> None:
    text, chunk = split_glb(Path("seed.glb"), rigged().bytes())
    deep = b'{"extras":' + b"[" * depth + b"]" * depth + b"," + text[1:]
    (tmp_path / "deep.glb").write_bytes(packed(deep, chunk))
    line = outcome(tmp_path / "deep.glb")
    assert (line is None) == (depth < 1000)


LIMITED = """
import resource, sys, time
from pathlib import Path
from texsynth.errors import TexsynthError
from texsynth.surface.mesh import load_mesh
obj, ply, *bad = map(Path, sys.argv[1:])
load_mesh(obj), load_mesh(ply)  # what is imported and compiled is not counted
for path in bad:
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + 64 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        load_mesh(path)
        print(f"{path.name}|loaded")
    except TexsynthError as error:
        print(f"{path.name}|{error}")
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_small_files_that_claim_gigabytes_are_refused_in_64_mib(tmp_path: Path) -> None:
    beside(tmp_path)
    for name, data in claims().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.obj").write_bytes(obj_text())
    (tmp_path / "good.ply").write_bytes(ply_of_polygons())
    good = [tmp_path / "good.obj", tmp_path / "good.ply"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *good, *(tmp_path / name for name in claims())],
        capture_output=True,
        timeout=120,
        check=False,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    lines = dict(line.split("|", 1) for line in done.stdout.splitlines())
    assert lines.keys() == claims().keys()
    for name, line in lines.items():
        assert name in line, (name, line)
        assert "emory" not in line, (name, line)  # refused before the memory was asked for


@pytest.mark.parametrize("kept", sorted(CORPUS.glob("*.*")), ids=lambda path: path.name)
def test_every_mesh_of_the_corpus_is_survived(tmp_path: Path, kept: Path) -> None:
    beside(tmp_path)
    (tmp_path / kept.name).write_bytes(kept.read_bytes())
    outcome(tmp_path / kept.name)
