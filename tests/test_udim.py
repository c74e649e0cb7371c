"""UDIM sets: a material whose texture is an image for each tile of UV space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gltf_builder import QUAD_UVS, Builder, png

from texsynth.errors import TexsynthError
from texsynth.image_io import read_image
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.publish import verify
from texsynth.run import Progress, Run
from texsynth.selection import Selection
from texsynth.storage import map_levels
from texsynth.surface.atlas import udim_atlas
from texsynth.surface.gutters import Gutters
from texsynth.surface.mesh import MeshAsset, load_mesh
from texsynth.surface.uv_topology import Topology
from texsynth.tile_levels import WholeLevels
from texsynth.tiles import restyle_tiles
from texsynth.train.procedural import generate, write

COLOURS = {1001: (200, 0, 0), 1002: (0, 200, 0), 1011: (0, 0, 200)}
PLACES = {1001: (0, 0), 1002: (1, 0), 1011: (0, 1)}  # v up


def obj(
    folder: Path,
    image: str = "coat.<UDIM>.png",
    tiles: tuple[int, ...] = (1001, 1002, 1011),
    shift: float = 0,
    inset: float = 0,
) -> Path:
    """Quads side by side, each in a tile of its own."""
    for number, colour in COLOURS.items():
        (folder / f"coat.{number}.png").write_bytes(png(colour))
    (folder / "a.mtl").write_text(f"newmtl coat\nmap_Kd {image}\n")
    lines = ["mtllib a.mtl", "usemtl coat"]
    low, high = inset, 1 - inset
    corners = ((low, low), (high, low), (high, high), (low, high))
    for x, number in enumerate(tiles):
        u, v = PLACES[number]
        lines += [f"v {x} 0 0", f"v {x + 1} 0 0", f"v {x + 1} 1 0", f"v {x} 1 0"]
        lines += [f"vt {u + a + shift} {v + b}" for a, b in corners]
        lines += ["f " + " ".join(f"{4 * x + k}/{4 * x + k}" for k in three) for three in ((1, 2, 3), (1, 3, 4))]
    (folder / "a.obj").write_text("\n".join(lines) + "\n")
    return folder / "a.obj"


def colours(asset: MeshAsset) -> dict[str, list[int]]:
    return {each.name: each.maps[MapKind.ALBEDO].texels[0, 0].tolist() for each in asset.materials}


@pytest.mark.parametrize("image", ["coat.<UDIM>.png", "coat.<udim>.png", "coat.1001.png"])
def test_each_tile_is_a_material_with_its_own_image(tmp_path: Path, image: str) -> None:
    asset = load_mesh(obj(tmp_path, image))
    assert colours(asset) == {f"coat.{number}": list(colour) for number, colour in COLOURS.items()}
    assert asset.tiles == ((0, 1, 2),)
    assert asset.mesh.material_index.tolist() == [0, 0, 1, 1, 2, 2]
    assert any("UDIM tiles coat.1001, coat.1002, coat.1011" in note for note in asset.notes)


def test_the_uvs_of_tiles_are_not_changed(tmp_path: Path) -> None:
    mesh = load_mesh(obj(tmp_path)).mesh
    assert (mesh.uvs.min(axis=0).tolist(), mesh.uvs.max(axis=0).tolist()) == ([0, -1], [2, 1])


def test_a_set_of_one_tile_is_an_ordinary_material(tmp_path: Path) -> None:
    asset = load_mesh(obj(tmp_path, tiles=(1002,)))
    assert asset.tiles == ()
    assert colours(asset) == {"coat.1002": [0, 200, 0]}


def test_a_gltf_with_images_named_by_tile_is_a_set_too(tmp_path: Path) -> None:
    for number, colour in COLOURS.items():
        (tmp_path / f"skin_{number}.png").write_bytes(png(colour))
    builder = Builder()
    material = builder.material(
        name="skin", pbrMetallicRoughness={"baseColorTexture": builder.texture("skin_1001.png")}
    )
    builder.quad(material)
    builder.quad(material, uvs=np.array(QUAD_UVS) + [1, 0])
    assert colours(load_mesh(builder.save(tmp_path))) == {"skin.1001": [200, 0, 0], "skin.1002": [0, 200, 0]}


def test_a_texture_that_repeats_is_no_set_whatever_its_number(tmp_path: Path) -> None:
    path = obj(tmp_path, "coat.1001.png", shift=0.5)
    assert colours(load_mesh(path)) == {"coat": [200, 0, 0]}
    (tmp_path / "coat.1011.png").unlink()
    assert colours(load_mesh(obj_again(path))) == {"coat": [200, 0, 0]}


def obj_again(path: Path) -> Path:
    """The same file with UVs that keep to the tiles; an image of one tile is missing."""
    text = path.read_text()
    for half, whole in (("0.5 ", "0 "), ("1.5 ", "1 "), ("2.5 ", "2 ")):
        text = text.replace(f"vt {half}", f"vt {whole}")
    path.write_text(text)
    return path


def test_a_triangle_across_tiles_of_a_declared_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="UVs of a triangle lie across tiles or outside them; keep each"):
        load_mesh(obj(tmp_path, shift=0.5))


def test_a_tile_whose_image_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    path = obj(tmp_path)
    (tmp_path / "coat.1002.png").unlink()
    with pytest.raises(TexsynthError, match=r"coat\.1002\.png: No such file"):
        load_mesh(path)


def options(size: int = 64, **more: object) -> Options:
    return Options(size=size, preset="draft", profile="cpu", **more)  # type: ignore[arg-type]


def test_every_tile_is_restyled_into_a_folder_and_one_glb_shows_them_all(tmp_path: Path, gravel: Path) -> None:
    path, out = obj(tmp_path, tiles=(1001, 1002)), tmp_path / "out"
    heard: list[Progress] = []
    result = restyle_tiles(path, gravel, out, options(), Run(listener=heard.append))
    assert list(result["tiles"]) == ["1001", "1002"]
    made = load_mesh(out / "asset.glb")
    for number, folder in enumerate(("1001", "1002")):
        assert verify(out / folder) == []
        published = read_image(out / folder / "albedo.png", colour=True).texels
        np.testing.assert_array_equal(made.materials[number].maps[MapKind.ALBEDO].texels, published)
    assert (made.materials[0].maps[MapKind.ALBEDO].texels != made.materials[1].maps[MapKind.ALBEDO].texels).any()
    fractions = [progress.fraction for progress in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_one_tile_can_be_named(tmp_path: Path, gravel: Path) -> None:
    path, out = obj(tmp_path, tiles=(1001, 1002)), tmp_path / "out"
    manifest = restyle_tiles(path, gravel, out, options(material="coat.1002"), Run())
    assert manifest["replaced_material"] == 1
    assert colours(load_mesh(out / "asset.glb"))["coat.1001"] == [200, 0, 0]


def test_a_region_needs_one_tile(tmp_path: Path, gravel: Path) -> None:
    (tmp_path / "mask.png").write_bytes(png((255, 255, 255)))
    with pytest.raises(TexsynthError, match="region: the mesh has several UDIM tiles"):
        restyle_tiles(obj(tmp_path), gravel, tmp_path / "out", options(region=tmp_path / "mask.png"), Run())


def test_tiles_are_not_published_over_the_mesh(tmp_path: Path, gravel: Path) -> None:
    with pytest.raises(TexsynthError, match="could be overwritten"):
        restyle_tiles(obj(tmp_path), gravel, tmp_path, options(), Run())


def test_patterns_go_on_from_tile_to_tile(tmp_path: Path) -> None:
    write(generate("gravel", 256, 1), tmp_path / "gravel")
    restyle_tiles(obj(tmp_path, tiles=(1001, 1002)), tmp_path / "gravel", tmp_path / "out", options(size=256), Run())
    left, right = (
        read_image(tmp_path / "out" / folder / "albedo.png", colour=True).texels.astype(int)
        for folder in ("1001", "1002")
    )
    where_they_meet, inside = np.abs(left[:, -1] - right[:, 0]).mean(), np.abs(np.diff(left, axis=1)).mean()
    elsewhere = np.abs(left[:, -1, None] - right[:, 16::16]).mean()  # columns that do not meet
    assert where_they_meet < 1.4 * inside
    assert elsewhere > 1.5 * inside


@pytest.mark.parametrize("container", ["png", "exr", "ktx2"])
def test_mips_show_beyond_a_chart_what_lies_across_in_the_next_tile(tmp_path: Path, container: str) -> None:
    mesh = load_mesh(obj(tmp_path, tiles=(1001, 1002), inset=0.25))
    atlas = udim_atlas(mesh, (0, 1))
    side = 64
    texels = np.zeros((2 * side, 2 * side, 3), np.uint8)
    for column in (0, side):
        texels[:side, column : column + side] = (200, 0, 0) if column == 0 else (0, 200, 0)
    storage = Options(size=side, format=container).storage
    gutters = Gutters(Topology(atlas.asset.mesh, atlas.material), 2 * side)
    levels = WholeLevels.of(gutters, {MapKind.ALBEDO: texels}, storage)
    for column, other in ((0, 1), (side, 0)):
        own, tile = texels[:side, column : column + side], levels.tile(0, column, side)
        found = {
            level: rows
            for level, first, rows in map_levels(MapKind.ALBEDO, {MapKind.ALBEDO: own}, storage, tile)
            if first == 0
        }
        beyond = found[1][16, 24 if column == 0 else 7]  # the chart covers columns 8 to 24 of level 1
        assert beyond.argmax() == other, "the other tile's colour"
        assert found[1][16, 16].argmax() == 1 - other
        assert [len(found[level]) for level in sorted(found)] == [64, 32, 16, 8, 4, 2, 1]


def test_a_selection_may_lie_across_tiles(tmp_path: Path, gravel: Path) -> None:
    picked = Selection(triangles=(0, 1))
    restyle_tiles(obj(tmp_path, tiles=(1001, 1002)), gravel, tmp_path / "out", options(selection=picked), Run())
    changed, kept = (
        read_image(tmp_path / "out" / folder / "albedo.png", colour=True).texels for folder in ("1001", "1002")
    )
    assert changed[16:48, 16:48].std() > 1
    assert (kept[16:48, 16:48] == (0, 200, 0)).all()


def test_tiles_too_large_for_one_texture_are_made_by_themselves(tmp_path: Path, gravel: Path) -> None:
    result = restyle_tiles(
        obj(tmp_path, tiles=(1001, 1002)), gravel, tmp_path / "out", options(tileable=True), Run()
    )  # as those that repeat are
    assert [manifest["seed"] for manifest in result["tiles"].values()] == [0, 1]
