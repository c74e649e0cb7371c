"""What of a mesh may change: triangles, slots and brushes, as weights in its texture and through a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from plugin_bridge.messages import read_selection as read_message
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.image_io import read_image, save_image
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.region import Region
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.selection import Brush, Selection, read_selection
from texsynth.surface.mesh import MeshAsset, load_mesh
from texsynth.surface.raster import UvRaster, uv_mask
from texsynth.surface.select import selection_weights

SIZE = 256
# Squares of side 1 in space, by their left edge; and the top left corner of each in the texture, of side 0.3.
SQUARES = {"left": (0, (0.05, 0.05)), "beside": (10, (0.36, 0.05)), "right": (1, (0.05, 0.6))}
CHARTS = {name: (slice(int(v * SIZE), int((v + 0.3) * SIZE)), slice(int(u * SIZE), int((u + 0.3) * SIZE)))
          for name, (_, (u, v)) in SQUARES.items()}  # fmt: skip


def write_squares(folder: Path, squares: dict[str, tuple[float, tuple[float, float]]], flat: str = "") -> Path:
    """A .glb of squares in the plane z = 0, each of two triangles and of a material of its name; the first triangle of
    `flat` has no area."""
    scene = trimesh.Scene()
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    for name, (x, (u, v)) in squares.items():
        places = np.c_[corners + (x, 0), np.zeros(4)]
        uvs = np.array((u, 1 - v)) + 0.3 * (corners - (0, 1))
        visual = TextureVisuals(uv=uvs, material=PBRMaterial(name=name))  # type: ignore[no-untyped-call]
        faces = [[0, 0 if name == flat else 1, 2], [0, 2, 3]]
        scene.add_geometry(trimesh.Trimesh(places, faces, visual=visual, process=False), geom_name=name)
    path = folder / "squares.glb"
    path.write_bytes(scene.export(file_type="glb"))
    return path


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> MeshAsset:
    return load_mesh(write_squares(tmp_path_factory.mktemp("mesh"), SQUARES))


def weights_of(asset: MeshAsset, **parts: Any) -> NDArray[np.uint8]:
    return selection_weights(Selection(**parts), asset, SIZE, None)


def shares(weights: NDArray[np.uint8]) -> dict[str, float]:
    """Of each square, how much is chosen at all."""
    return {name: float((weights[part] > 0).mean()) for name, part in CHARTS.items()}


def refusal(work: Any) -> str:
    with pytest.raises(TexsynthError) as caught:
        work()
    assert caught.value.kind is ErrorKind.BAD_INPUT
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_brush_chooses_exactly_the_texels_whose_surface_lies_within_it(asset: MeshAsset) -> None:
    brush = Brush(0.9, 0.4, 0.1, 0.35)
    seen = UvRaster(asset.mesh, SIZE).rows(0, SIZE)
    corners = asset.mesh.positions[asset.mesh.triangles[seen.triangle]]
    places = np.einsum("yxk,yxkc->yxc", seen.weights, corners)
    covered = seen.triangle >= 0
    within = covered & (np.linalg.norm(places - (brush.x, brush.y, brush.z), axis=2) < brush.radius)
    np.testing.assert_array_equal(weights_of(asset, brushes=(brush,))[covered] == 255, within[covered])


def test_a_brush_crosses_a_seam_and_leaves_a_chart_that_is_near_only_in_the_texture(asset: MeshAsset) -> None:
    chosen = shares(weights_of(asset, brushes=(Brush(1, 0.5, 0, 0.4),)))
    assert chosen["left"] == pytest.approx(chosen["right"], abs=0.02)
    assert chosen["left"] > 0.2
    assert chosen["beside"] == 0


def test_weights_fall_from_the_middle_of_a_brush_to_its_rim(asset: MeshAsset) -> None:
    row = weights_of(asset, brushes=(Brush(0, 0.5, 0, 0.8, falloff=0.5),))[CHARTS["left"]][38].astype(int)
    assert (np.diff(row) <= 0).all()
    assert row[0] == 255
    assert row[-1] == 0
    assert len(set(row)) > 15
    assert abs(int(row[int(0.6 * len(row))]) - 128) < 8, "half way through the falloff"


def test_brushes_add_up_to_their_union(asset: MeshAsset) -> None:
    brushes = (Brush(0.2, 0.5, 0, 0.3, 1.0), Brush(0.6, 0.5, 0, 0.3, 0.5), Brush(10.5, 0.5, 0, 0.2))
    together = weights_of(asset, brushes=brushes)
    alone = [weights_of(asset, brushes=(brush,)) for brush in brushes]
    np.testing.assert_array_equal(together, np.maximum.reduce(alone))


def test_a_brush_on_either_of_two_charts_that_share_texels_chooses_them(tmp_path: Path) -> None:
    stacked = load_mesh(write_squares(tmp_path, {"one": (0, (0.05, 0.05)), "other": (5, (0.05, 0.05))}))
    for x in (0.5, 5.5):
        assert shares(weights_of(stacked, brushes=(Brush(x, 0.5, 0, 0.3),)))["left"] > 0.2


def test_triangles_and_slots_are_chosen_whole_with_their_gutters(asset: MeshAsset) -> None:
    one = weights_of(asset, triangles=(2,))
    assert shares(one)["beside"] == pytest.approx(0.5, abs=0.02)
    weights = weights_of(asset, slots=("right",), triangles=(0, 1))
    covered = uv_mask(asset.mesh, SIZE, gutter=0)
    assert set(np.unique(weights)) == {0, 255}
    assert (weights[covered] == 255).mean() == pytest.approx(2 / 3, abs=0.01)
    rows, columns = CHARTS["right"]
    assert (weights[rows.start - 4, columns] == 255).all(), "the gutter goes with its border"
    assert (weights[rows, columns.stop + 12] == 0).all()


def test_slots_may_be_named_by_number(asset: MeshAsset) -> None:
    np.testing.assert_array_equal(weights_of(asset, slots=("1",)), weights_of(asset, slots=("beside",)))


def test_triangles_keep_their_numbers_when_others_have_no_area(tmp_path: Path) -> None:
    dropped = load_mesh(write_squares(tmp_path, SQUARES, flat="left"))
    assert len(dropped.mesh.triangles) == 5
    assert shares(selection_weights(Selection(triangles=(2, 3)), dropped, SIZE, None))["beside"] == 1


def test_what_is_not_there_is_refused_in_one_line(asset: MeshAsset) -> None:
    assert "has 0..5" in refusal(lambda: weights_of(asset, triangles=(6,)))
    assert "0 left, 1 beside, 2 right" in refusal(lambda: weights_of(asset, slots=("seat",)))
    assert "the surface lies between (0 0 0) and (11 1 0)" in refusal(
        lambda: weights_of(asset, brushes=(Brush(0, 9, 0, 1),))
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "is no JSON"),
        ("{}", "chooses nothing"),
        ('{"triangles": [-1]}', "the triangle -1"),
        ('{"triangles": [1.5]}', "the triangle 1.5"),
        ('{"triangles": 3}', "has another shape"),
        ('{"slots": [3]}', "slots are names"),
        ('{"strokes": []}', "has strokes"),
        ('{"brushes": [{"x": 0, "y": 0, "z": 0}]}', "has the brush"),
        ('{"brushes": [{"x": 0, "y": 0, "z": NaN, "radius": 1}]}', "finite numbers"),
        ('{"brushes": [{"x": 0, "y": 0, "z": 0, "radius": 0}]}', "above 0"),
        ('{"brushes": [{"x": 0, "y": 0, "z": 0, "radius": 1, "falloff": 2}]}', "0 to 1"),
    ],
)
def test_a_selection_that_cannot_be_is_refused_in_one_line(text: str, wrong: str) -> None:
    assert wrong in refusal(lambda: read_selection(text))


def test_a_file_and_the_same_text_say_the_same_to_the_engine_and_to_the_client(tmp_path: Path) -> None:
    text = (
        '{"triangles": [4, 2], "slots": ["Seat"], "brushes": [{"x": 1, "y": 2, "z": 3, "radius": 4, "falloff": 0.5}]}'
    )
    (tmp_path / "seat.json").write_text(text)
    wanted = Selection((4, 2), ("Seat",), (Brush(1, 2, 3, 4, 0.5),))
    assert read_selection(text) == read_selection(str(tmp_path / "seat.json")) == wanted
    message = read_message(text)
    assert read_message(str(tmp_path / "seat.json")) == message
    assert (tuple(message.triangles), tuple(message.slots)) == (wanted.triangles, wanted.slots)
    assert (message.brushes[0].z, message.brushes[0].falloff) == (3, 0.5)


def test_weights_that_are_given_are_kept_and_a_mask_counts_where_it_is_more() -> None:
    given = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    mask = np.zeros((64, 64), np.bool_)
    mask[:, 32:] = True
    np.testing.assert_array_equal(Region(None, given).weights(0, 64), given * np.float32(1 / 255))
    both = Region(mask, given)
    np.testing.assert_array_equal(
        both.weights(0, 64), np.maximum(Region(mask).weights(0, 64), given * np.float32(1 / 255))
    )
    np.testing.assert_array_equal(both.inside, mask | (given > 0))


def test_a_painted_mesh_changes_within_the_brush_and_nowhere_else(tmp_path: Path) -> None:
    asset = write_squares(tmp_path, SQUARES)
    save_image(tmp_path / "light.png", np.random.default_rng(0).integers(200, 250, (96, 96, 3), np.uint8))
    brush = Brush(1, 0.5, 0, 0.4, 0.5)
    options = Options(
        size=SIZE, preset="draft", maps=(MapKind.ALBEDO,), selection=Selection(brushes=(brush,)), seams="leave"
    )
    restyle(asset, tmp_path / "light.png", tmp_path / "out", options, Run())
    made = read_image(tmp_path / "out" / "albedo.png").texels
    weights = selection_weights(options.selection, load_mesh(asset), SIZE, None)
    assert (made[weights == 0] == 128).all(), "the asset had no texture"
    assert (made[weights == 255] > 170).all(), "resampling lets noise overshoot"
    between = made[(weights > 100) & (weights < 150)]
    assert 140 < between.mean() < 200


def test_an_asset_without_a_mesh_has_nothing_to_select_on(tmp_path: Path) -> None:
    save_image(tmp_path / "old.png", np.full((64, 64, 3), 99, np.uint8))
    options = Options(size=64, preset="draft", selection=Selection(triangles=(0,)))
    message = refusal(lambda: restyle(tmp_path / "old.png", tmp_path / "old.png", tmp_path / "out", options, Run()))
    assert "the asset is no mesh; use --region" in message
