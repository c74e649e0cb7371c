"""Which files travel with a mesh."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plugin_bridge.references import named_by


def there(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"bytes")


def gltf(folder: Path, *uris: str) -> Path:
    mesh = folder / "mesh.gltf"
    mesh.write_text(json.dumps({"buffers": [{"uri": uris[0]}], "images": [{"uri": uri} for uri in uris[1:]]}))
    return mesh


def test_a_gltf_has_its_buffers_and_images_and_nothing_else(tmp_path: Path) -> None:
    there(tmp_path, "mesh.bin", "maps/a wood.png", "holiday.jpg", "maps/holiday.jpg", "b.png")
    mesh = gltf(tmp_path, "mesh.bin", "maps/a%20wood.png", "data:image/png;base64,AAAA", "maps/../b.png", "missing.png")
    assert named_by(mesh) == ["b.png", "maps/a wood.png", "mesh.bin"]


@pytest.mark.parametrize(
    "name", ["../secret.png", "%2e%2e/secret.png", "maps/../../secret.png", "{outside}", "C:/secret.png"]
)
def test_nothing_outside_the_folder_is_taken(tmp_path: Path, name: str) -> None:
    there(tmp_path, "secret.png", "models/mesh.bin")
    mesh = gltf(tmp_path / "models", "mesh.bin", name.format(outside=tmp_path / "secret.png"))
    assert named_by(mesh) == ["mesh.bin"]


def test_an_obj_has_its_library_and_the_textures_in_it(tmp_path: Path) -> None:
    there(tmp_path, "old oak.png", "n.png", "height.png", "other.png", "other.mtl")
    (tmp_path / "chair.obj").write_text("# chair\nmtllib my chair.mtl\nv 0 0 0\nmtllib gone.mtl\n")
    (tmp_path / "my chair.mtl").write_text(
        "newmtl wood\n\tmap_Kd -s 1 1 1 -clamp on old oak.png\nnorm n.png\nmap_Bump -bm 0.5 height.png\n# other.png\n"
    )
    assert named_by(tmp_path / "chair.obj") == ["height.png", "my chair.mtl", "n.png", "old oak.png"]


def test_a_library_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    there(tmp_path, "models/wood.png")
    (tmp_path / "chair.mtl").write_text("newmtl wood\nmap_Kd wood.png\n")
    (tmp_path / "models" / "chair.obj").write_text("mtllib ../chair.mtl\n")
    assert named_by(tmp_path / "models" / "chair.obj") == []


def test_a_ply_has_its_texture(tmp_path: Path) -> None:
    there(tmp_path, "scan one.jpg", "scan two.jpg")
    (tmp_path / "scan.ply").write_bytes(
        b"ply\nformat binary_little_endian 1.0\ncomment TextureFile scan one.jpg\nend_header\n\xff"
    )
    assert named_by(tmp_path / "scan.ply") == ["scan one.jpg"]


@pytest.mark.parametrize("name", ["wall.<UDIM>.png", "wall.1001.png"])
def test_all_tiles_of_a_udim_set_go_along(tmp_path: Path, name: str) -> None:
    there(
        tmp_path,
        "mesh.bin",
        *(f"maps/wall.{tile}.png" for tile in (1001, 1002, 1011)),
        "maps/wall.1001.jpg",
        "maps/wall.png",
    )
    mesh = gltf(tmp_path, "mesh.bin", f"maps/{name}")
    found = ["maps/wall.1001.png", "maps/wall.1002.png", "maps/wall.1011.png", "mesh.bin"]
    assert named_by(mesh) == found
    (tmp_path / "alone").mkdir()
    alone = mesh.rename(tmp_path / "alone" / mesh.name)
    listed = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert named_by(alone, listed) == found
    assert named_by(alone) == []


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"images": 3}', b'{"images": [3]}', b"[" * 100_000, b"\xff\xfe"])
@pytest.mark.parametrize("kind", ["gltf", "obj", "ply", "glb", "stl"])
def test_what_cannot_be_understood_names_nothing(tmp_path: Path, kind: str, data: bytes) -> None:
    there(tmp_path, "texture.png")
    (tmp_path / f"mesh.{kind}").write_bytes(data)
    assert named_by(tmp_path / f"mesh.{kind}") == []
