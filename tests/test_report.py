import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mipmap.png import PngWriter
from texsynth.canvas import Canvas
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.image_io import read_image
from texsynth.material import CHANNELS, MapKind, Material, TextureMap
from texsynth.publish import publish_maps
from texsynth.published import Published, read_png_window
from texsynth.report.page import MOST_BYTES, plain, write_report
from texsynth.report.render import render_mesh, render_plane, render_sphere
from texsynth.report.views import centre_crop, reduced, telling_place
from texsynth.run import Run
from texsynth.storage import Storage, choose_storage
from texsynth.surface.mesh import Mesh, MeshAsset

ALBEDO, NORMAL, ROUGHNESS, METALNESS, OPACITY = (
    MapKind.ALBEDO,
    MapKind.NORMAL,
    MapKind.ROUGHNESS,
    MapKind.METALNESS,
    MapKind.OPACITY,
)


def flat(value: Any, size: int = 4) -> np.ndarray:
    return np.full((size, size, len(value)), value, np.uint8)


def quad(left: float = -1, right: float = 1, mirrored: bool = False, index: int = 0, z: float = 0) -> Mesh:
    """An upright rectangle that faces +Z; mirrored, its texture runs from right to left."""
    positions = np.array([[left, 1, z], [right, 1, z], [right, -1, z], [left, -1, z]], np.float32)
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    if mirrored:
        uvs[:, 0] = 1 - uvs[:, 0]
    normals = np.tile(np.array([0, 0, 1], np.float32), (4, 1))
    return Mesh(positions, normals, uvs, np.array([[0, 3, 1], [1, 3, 2]], np.int32), np.full(2, index, np.int32))


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(mesh.positions) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.positions for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.uvs for mesh in meshes]),
        np.concatenate([mesh.triangles + np.int32(o) for mesh, o in zip(meshes, offsets, strict=True)]),
        np.concatenate([mesh.material_index for mesh in meshes]),
    )


def middle(image: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Mean colour around the centre."""
    half = round(image.shape[0] * share / 2)
    centre = image.shape[0] // 2
    return image[centre - half : centre + half, centre - half : centre + half].reshape(-1, 3).mean(axis=0)


def facing(mesh: Mesh, maps: Any, size: int = 64, **more: Any) -> np.ndarray:
    return render_mesh(mesh, maps, size, azimuth=0, elevation=0, ground=False, **more)


# ---- renders


def test_a_render_is_an_image_of_the_asked_size() -> None:
    for image in (render_plane({ALBEDO: flat([90, 90, 90])}, 48), render_sphere({ALBEDO: flat([90, 90, 90])}, 48)):
        assert image.shape == (48, 48, 3)
        assert image.dtype == np.uint8


def test_colours_keep_their_hue_and_the_backdrop_is_grey() -> None:
    image = facing(quad(), {ALBEDO: flat([200, 60, 40]), ROUGHNESS: flat([255])})
    red, green, blue = middle(image)
    assert red > 1.5 * green > 1.5 * blue * 0.8
    corner = image[:3, :3].reshape(-1, 3).astype(int)
    assert np.ptp(corner, axis=1).max() <= 1


def test_brighter_albedo_renders_brighter() -> None:
    levels = [middle(facing(quad(), {ALBEDO: flat([v] * 3)})).mean() for v in (10, 60, 120, 180, 240)]
    assert levels == sorted(levels)
    assert levels[-1] < 255


def test_the_same_input_gives_the_same_picture() -> None:
    maps = {ALBEDO: np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)}
    np.testing.assert_array_equal(render_sphere(maps, 40), render_sphere(maps, 40))


def test_green_means_up_in_a_normal_map() -> None:
    up = middle(facing(quad(), {NORMAL: flat([128, 218, 218])})).mean()
    down = middle(facing(quad(), {NORMAL: flat([128, 38, 218])})).mean()
    assert up > down + 20  # the key light stands above


def test_a_mirrored_chart_shades_like_its_twin() -> None:
    leaning_left, leaning_right = flat([38, 128, 218]), flat([218, 128, 218])
    straight = middle(facing(quad(), {NORMAL: leaning_left}))
    twin = middle(facing(quad(mirrored=True), {NORMAL: leaning_right}))
    np.testing.assert_allclose(straight, twin, atol=1)
    other = middle(facing(quad(), {NORMAL: leaning_right}))
    assert abs(straight.mean() - other.mean()) > 10


def test_mirrored_and_straight_triangles_that_share_vertices_keep_their_tangents() -> None:
    # Two halves whose textures run towards the common edge from both sides, as symmetrical models are unwrapped.
    positions = np.array([[-1, 1, 0], [0, 1, 0], [1, 1, 0], [-1, -1, 0], [0, -1, 0], [1, -1, 0]], np.float32)
    uvs = np.array([[0, 0], [1, 0], [0, 0], [0, 1], [1, 1], [0, 1]], np.float32)
    triangles = np.array([[0, 3, 1], [1, 3, 4], [1, 4, 2], [2, 4, 5]], np.int32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (6, 1))
    mesh = Mesh(positions, normals, uvs, triangles, np.zeros(4, np.int32))
    image = facing(mesh, {NORMAL: flat([38, 128, 218])}).astype(int)
    left, right = image[32, 14:30].mean(axis=1), image[32, 34:50].mean(axis=1)
    assert np.ptp(left) < 12
    assert left.mean() > right.mean() + 10  # leaning away from the edge: left into the light, right out of it


def test_metal_shows_its_colour_only_in_reflections() -> None:
    colour = flat([220, 140, 40])
    metal = middle(facing(quad(), {ALBEDO: colour, METALNESS: flat([255]), ROUGHNESS: flat([100])}))
    assert metal[0] > metal[1] > metal[2]


def test_a_transparent_layer_shows_what_is_behind() -> None:
    red, glass = (
        {ALBEDO: flat([230, 20, 20])},
        {ALBEDO: flat([20, 20, 230]), OPACITY: flat([0]), ROUGHNESS: flat([255])},
    )
    mesh = joined(quad(index=0, z=-0.2), quad(index=1, z=0.2))
    through = middle(facing(mesh, [red, glass]))
    assert through[0] > through[2] + 60
    solid = middle(facing(mesh, [red, {ALBEDO: glass[ALBEDO]}]))
    assert solid[2] > solid[0] + 60


def test_each_material_gets_its_own_maps() -> None:
    mesh = joined(quad(-1, 0, index=0), quad(0, 1, index=1))
    image = facing(mesh, [{ALBEDO: flat([230, 20, 20])}, {ALBEDO: flat([20, 20, 230])}])
    assert image[32, 18, 0] > image[32, 18, 2] + 60
    assert image[32, 46, 2] > image[32, 46, 0] + 60


def test_triangles_without_a_texture_are_grey() -> None:
    mesh = joined(quad(-1, 0, index=0), quad(0, 1, index=-1))
    grey = facing(mesh, [{ALBEDO: flat([230, 20, 20])}])[32, 40:50].astype(int)
    assert np.ptp(grey, axis=1).max() < 25


def test_a_fine_checker_does_not_alias_and_averages_in_linear_light() -> None:
    y, x = np.mgrid[0:512, 0:512]
    checker = np.repeat((255 * ((y + x) % 2)).astype(np.uint8)[..., None], 3, axis=2)
    fine = facing(quad(), {ALBEDO: checker, ROUGHNESS: flat([255], 512)})[20:44, 20:44].astype(float)
    mean = facing(quad(), {ALBEDO: flat([188, 188, 188]), ROUGHNESS: flat([255])})[20:44, 20:44].astype(float)
    assert np.abs(fine - mean).max() <= 3


def test_the_texture_stands_upright_and_is_not_mirrored() -> None:
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4, :4, 0] = 255
    texture[:4, 4:, 1] = 255
    texture[4:, :4, 2] = 255
    image = facing(quad(), {ALBEDO: texture})
    assert [int(np.argmax(image[y, x])) for y, x in ((20, 20), (20, 44), (44, 20))] == [0, 1, 2]
    for picture in (render_plane({ALBEDO: texture}, 64), render_sphere({ALBEDO: np.tile(texture, (1, 2, 1))}, 64)):
        reddest = np.unravel_index(np.argmax(picture[..., 0].astype(int) - picture[..., 1] - picture[..., 2]), (64, 64))
        bluest = np.unravel_index(np.argmax(picture[..., 2].astype(int) - picture[..., 0] - picture[..., 1]), (64, 64))
        assert reddest[0] < bluest[0]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_whole_mesh_is_in_the_frame_at_any_scale_and_angle(scale: float) -> None:
    rng = np.random.default_rng(3)
    positions = (rng.normal(size=(60, 3)) * [3, 1, 0.5] * scale + 7 * scale).astype(np.float32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (60, 1))
    triangles = np.arange(60, dtype=np.int32).reshape(-1, 3)
    mesh = Mesh(positions, normals, np.zeros((60, 2), np.float32), triangles, np.zeros(20, np.int32))
    for azimuth, elevation in ((0.0, 0.0), (130.0, 40.0), (-75.0, 80.0)):
        image = render_mesh(mesh, {ALBEDO: flat([255, 0, 255])}, 64, azimuth=azimuth, elevation=elevation).astype(int)
        pink = image[..., 0] - image[..., 1] > 8
        rows, columns = np.flatnonzero(pink.any(axis=1)), np.flatnonzero(pink.any(axis=0))
        assert rows[0] >= 2
        assert columns[0] >= 2
        assert max(rows[-1], columns[-1]) <= 61
        assert max(np.ptp(rows), np.ptp(columns)) > 40


def test_a_shadow_falls_on_the_floor() -> None:
    mesh = quad()
    with_floor = render_mesh(mesh, {ALBEDO: flat([90] * 3)}, 64, azimuth=0, elevation=25).astype(int)
    without = render_mesh(mesh, {ALBEDO: flat([90] * 3)}, 64, azimuth=0, elevation=25, ground=False).astype(int)
    assert (without - with_floor).max() > 10
    assert (without - with_floor).min() >= 0


def test_maps_of_one_texel_and_odd_sizes_render() -> None:
    assert middle(facing(quad(), {ALBEDO: flat([200, 10, 10], 1)}))[0] > 100
    odd = np.zeros((7, 13, 3), np.uint8) + np.array([10, 200, 10], np.uint8)
    assert middle(facing(quad(), {ALBEDO: odd, ROUGHNESS: np.zeros((7, 13), np.uint8)}))[1] > 90


def test_maps_of_different_sizes_render_together() -> None:
    maps = {ALBEDO: flat([200, 10, 10], 16), METALNESS: flat([0], 4), ROUGHNESS: flat([200], 32)}
    assert middle(facing(quad(), maps))[0] > 100


# ---- views


def png_of(path: Path, texels: np.ndarray) -> Path:
    with path.open("wb") as file:
        writer = PngWriter(file.write, texels.shape, texels.dtype, srgb=False)  # type: ignore[arg-type]
        writer.write_rows(texels)
        writer.close()
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_of_a_published_png_equals_the_decoded_image(tmp_path: Path, dtype: Any, channels: int) -> None:
    texels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (150, 67, channels)).astype(dtype)
    path = png_of(tmp_path / "a.png", texels)
    for y, x, height, width in ((0, 0, 150, 67), (40, 30, 50, 20), (149, 66, 1, 1), (0, 5, 3, 3)):
        window = read_png_window(path, y, x, height, width)
        np.testing.assert_array_equal(window, texels[y : y + height, x : x + width])


def test_other_png_files_are_left_to_the_full_decoder(tmp_path: Path) -> None:
    texels = np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), texels)
    data = png_of(tmp_path / "b.png", texels).read_bytes()
    (tmp_path / "c.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "d.png").write_bytes(data[:60] + bytes([data[60] ^ 255]) + data[61:])
    (tmp_path / "e.png").write_bytes(b"no image")
    for name in "acde":
        window = read_png_window(tmp_path / f"{name}.png", 10, 10, 5, 5)
        assert window is None


def test_reducing_averages_colour_in_linear_light_and_normals_as_vectors() -> None:
    y, x = np.mgrid[0:64, 0:64]
    checker = ((y + x) % 2).astype(bool)
    colour = np.where(checker[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    assert (reduced(TextureMap(ALBEDO, colour), 16) == 188).all()
    vectors = np.where(checker[..., None], [218, 128, 218], [38, 128, 218]).astype(np.uint8)
    normal = reduced(TextureMap(NORMAL, vectors), 8)
    assert normal.shape == (8, 8, 3)
    assert np.abs(normal.astype(int) - [128, 128, 255]).max() <= 1


def test_reducing_turns_deep_maps_into_eight_bits() -> None:
    assert (reduced(TextureMap(ALBEDO, np.full((4, 4, 3), 0.5, np.float32)), 8) == 188).all()
    assert (reduced(TextureMap(ROUGHNESS, np.full((4, 4, 1), 32768, np.uint16)), 2) == 128).all()
    assert reduced(TextureMap(ROUGHNESS, np.zeros((5, 100, 1), np.uint8)), 8).shape == (1, 6, 1)


def test_the_centre_crop_stays_inside() -> None:
    texture = TextureMap(ROUGHNESS, np.arange(12, dtype=np.uint8).reshape(3, 4, 1))
    assert centre_crop(texture, 2).texels[..., 0].tolist() == [[1, 2], [5, 6]]
    assert centre_crop(texture, 9).size == (3, 4)


def test_the_place_to_look_closer_is_not_empty() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[40:, 40:] = np.random.default_rng(0).integers(0, 255, (24, 24, 3))
    image[:24, :24] = np.random.default_rng(1).integers(0, 255, (24, 24, 3))
    y, x = telling_place(image, 0.25)
    assert np.ptp(image[round(y * 64) :][:16, round(x * 64) :][:, :16]) > 0


def published(
    out: Path, size: int = 64, fmt: str = "png", kinds: Any = (ALBEDO, NORMAL, ROUGHNESS)
) -> dict[MapKind, Canvas]:
    """Publish noisy maps into `out`; returns the canvases."""
    rng = np.random.default_rng(5)
    canvases = {}
    for kind in kinds:
        canvas = Canvas.create(out / f"{kind}.raw", kind, size, size, CHANNELS[kind])
        texels = rng.integers(60, 200, (size, size, CHANNELS[kind])).astype(np.uint8)
        canvas.write_rows(0, texels if kind != NORMAL else np.array([128, 128, 255], np.uint8) + 0 * texels)
        canvases[kind] = canvas
    return canvases


@pytest.mark.parametrize("fmt", ["png", "exr"])
def test_windows_from_files_and_from_canvases_agree(tmp_path: Path, fmt: str) -> None:
    canvases = published(tmp_path, 64)
    entries = publish_maps(tmp_path, canvases, choose_storage(None, fmt), Run())
    for kind in canvases:
        from_canvas = Published(tmp_path, entries, canvases).window(kind, 20, 10, 30)
        from_file = Published(tmp_path, entries).window(kind, 20, 10, 30)
        assert from_canvas.shape == (30, 30, CHANNELS[kind])
        assert np.abs(from_canvas.astype(int) - from_file).max() <= (0 if fmt == "png" else 1)


def test_a_reduced_window_comes_from_the_mip_of_that_step(tmp_path: Path) -> None:
    entries = publish_maps(tmp_path, published(tmp_path, 64), Storage(), Run())
    mip = read_image(tmp_path / "mips" / "albedo.2.png").texels
    np.testing.assert_array_equal(Published(tmp_path, entries).window(ALBEDO, 16, 32, 32, 4), mip[4:12, 8:16])


# ---- the page


class Page(HTMLParser):
    """What a browser finds in the page; raises on tags that do not nest."""

    VOID = frozenset({"meta", "img", "input", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def material(name: str = "old oak", size: int = 48, seed: int = 0, notes: Any = ("color.png: 8 bits",)) -> Material:
    rng = np.random.default_rng(seed)
    maps = {
        ALBEDO: TextureMap(ALBEDO, rng.integers(0, 255, (size, size, 3)).astype(np.uint8)),
        ROUGHNESS: TextureMap(ROUGHNESS, rng.integers(0, 255, (size, size, 1)).astype(np.uint8)),
    }
    return Material(name, maps, notes=tuple(notes))


def manifest(entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "bench",
        "size": [64, 64],
        "maps": entries,
        "files": {"asset.glb": {"sha256": "0", "bytes": 1234567}},
        "estimated": ["normal"],
        "seed": 7,
        "options": {"density": 1.0, "tileable": False, "preset": "draft", "region": None},
        "model": {"name": "exemplar score"},
        "notes": ["normal: estimated from luminance"],
    } | more


METRICS = {
    "maps": {
        "albedo": {
            "distance": 0.31,
            "sharpness": 1.4,
            "regularity": {"kept": 0.9},
            "wrap": {"rows": 1.0, "columns": 1.0},
        },
        "roughness": {"distance": 0.2, "sharpness": 1.0, "regularity": {"kept": None}},
    },
    "edge_agreement": 0.97,
    "copying": {"verbatim": 0.2, "evenness": 0.5},
    "notes": ["ssim: needs equal sizes"],
}
REPORT = {
    "command": ["texsynth", "synthesize", "old oak", "-o", "out"],
    "timings": {"base levels": 12.5, "publish": 2.5},
    "peak_memory_bytes": 1_500_000_000,
    "metrics": METRICS,
    "window_steps": {"run": np.int64(750), "saved": np.float32(0.25)},
    "score": math.nan,
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    canvases = published(folder, 1024)
    entries = publish_maps(folder, canvases, Storage(), Run())
    exemplar = material("<script>alert(1)</script> & oak")
    write_report(folder, manifest(entries), exemplar, dict(REPORT), Run(), canvases=canvases)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "report.html").read_text())


def test_the_page_is_complete_in_itself(page: Page, out: Path) -> None:
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    assert all(image["src"] and image["src"].startswith("data:image/") for image in page.all("img"))
    text = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", (out / "report.html").read_text())
    assert "//" not in text
    assert "url(" not in text
    assert (out / "report.html").stat().st_size < MOST_BYTES


def test_every_picture_is_described_and_every_switch_labelled(page: Page) -> None:
    assert all(image["alt"] for image in page.all("img"))
    labelled = {label["for"] for label in page.all("label")}
    assert {switch["id"] for switch in page.all("input")} == labelled
    assert page.all("html")[0]["lang"] == "en"


def test_names_from_files_cannot_inject_markup(page: Page) -> None:
    assert "<script>alert(1)</script> & oak" in page.text
    assert page.all("script") == []


def test_the_page_says_what_was_made_and_how(page: Page) -> None:
    for said in (
        "1024 × 1024",
        "synthesised from",
        "texsynth synthesize 'old oak' -o out",
        "15.0 s",
        "1.5 GB",
        "window steps, run 750",
        "preset draft",
        "normal: estimated from the albedo, not given with the exemplar",
        "color.png: 8 bits",
        "ssim: needs equal sizes",
    ):
        assert said in page.text, said


def test_metrics_are_explained_and_judged(page: Page) -> None:
    assert "Distance to the exemplar How far small patches are from the exemplar's." in page.text
    assert "0.31 ✓" in page.text
    assert "1.4 aim: at least 0.85, at most 1.15" in page.text
    assert "0.5 aim: at least 0.9" in page.text
    assert "Wrap edge" not in page.text  # nobody asked for a tileable texture


def test_wrap_edges_are_judged_when_the_result_should_tile(tmp_path: Path) -> None:
    canvases = published(tmp_path, 64, kinds=(ALBEDO,))
    entries = publish_maps(tmp_path, canvases, Storage(), Run())
    asked = manifest(entries, options={"tileable": True})
    write_report(tmp_path, asked, material(), dict(REPORT), Run())
    assert "Wrap edge, top to bottom" in Page((tmp_path / "report.html").read_text()).text


def test_the_viewer_has_a_view_for_every_map_and_zoom(page: Page) -> None:
    views = [element["class"] for element in page.all("div") if (element.get("class") or "").startswith("view ")]
    assert views == [name for m in range(3) for name in (f"view whole v{m}0", f"view v{m}1")]
    chosen = [switch["id"] for switch in page.all("input") if "checked" in switch]
    assert chosen == ["m0", "z0"]


def test_the_exemplar_is_shown_at_the_texel_density_of_the_result(page: Page) -> None:
    shown = {image["alt"]: image for image in page.all("img")}
    whole = shown["albedo of the exemplar, same scale"]
    widths = [image["width"] for image in page.all("img") if image["alt"] == "albedo of the exemplar, same scale"]
    assert widths[-1] == "48"  # 1 : 1, one pixel a texel
    assert whole["width"] == "48"
    assert shown["albedo of the result, 1 : 1"]["width"] == "512"


def test_files_and_mips_are_linked(page: Page) -> None:
    links = {link["href"] for link in page.all("a")}
    assert {"albedo.png", "mips/albedo.1.png", "mips/normal.10.png", "asset.glb"} <= links


def test_the_json_report_holds_everything_and_no_nan(out: Path) -> None:
    report = json.loads((out / "report.json").read_text())
    assert report["metrics"]["maps"]["albedo"]["distance"] == 0.31
    assert report["window_steps"] == {"run": 750, "saved": 0.25}
    assert report["score"] is None
    assert report["timings"]["base levels"] == 12.5
    assert report["seed"] == 7


def test_the_preview_shows_the_lit_material_beside_its_albedo(out: Path) -> None:
    image = read_image(out / "preview.png").texels
    assert image.shape == (640, 640 + 12 + 640, 3)
    assert np.ptp(image[:, 700:].astype(int)) > 60
    assert abs(int(image[5, 5, 0]) - int(image[5, 5, 2])) <= 2


def test_a_restyled_mesh_is_shown_before_and_after(tmp_path: Path) -> None:
    old = material("old", 32, seed=9)
    mesh = joined(quad(-1, 0, index=0), quad(0, 1, index=1))
    asset = MeshAsset(tmp_path / "bench.glb", mesh, (old, material("other", 32)), (0, 1))
    canvases = published(tmp_path, 64)
    entries = publish_maps(tmp_path, canvases, Storage(), Run())
    write_report(tmp_path, manifest(entries), material(), {}, Run(), asset=asset, replaced=0)
    page = Page((tmp_path / "report.html").read_text())
    described = [image["alt"] for image in page.all("img")]
    assert described[:2] == ["bench with the new material, lit", "bench with its old material, lit"]
    assert "old albedo of the asset, same place" in described
    assert "restyled after" in page.text


def test_an_untextured_mesh_is_shown_with_its_first_material(tmp_path: Path) -> None:
    asset = MeshAsset(tmp_path / "bench.glb", quad(index=-1), (), ())
    entries = publish_maps(tmp_path, published(tmp_path, 64, kinds=(ALBEDO,)), Storage(), Run())
    write_report(tmp_path, manifest(entries), material(), {}, Run(), asset=asset)
    assert "bench with the new material, lit" in (tmp_path / "report.html").read_text()


def test_a_cancelled_run_stops_the_report(tmp_path: Path) -> None:
    entries = publish_maps(tmp_path, published(tmp_path, 64, kinds=(ALBEDO,)), Storage(), Run())
    run = Run()
    run.cancel()
    with pytest.raises(TexsynthError) as caught:
        write_report(tmp_path, manifest(entries), material(), {}, run)
    assert caught.value.kind is ErrorKind.CANCELLED
    assert not (tmp_path / "report.html").exists()


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    entries = publish_maps(tmp_path, published(tmp_path, 64, kinds=(ALBEDO,)), Storage(), Run())
    (tmp_path / "report.html").mkdir()
    with pytest.raises(TexsynthError, match=r"report\.html"):
        write_report(tmp_path, manifest(entries), material(), {}, Run())


def test_plain_values_are_json() -> None:
    value = {ALBEDO: (np.float32(0.5), math.inf, Path("a"), {1}), "n": np.arange(2), "m": None, "b": np.bool_(True)}
    assert plain(value) == {"albedo": [0.5, None, "a", [1]], "n": [0, 1], "m": None, "b": True}
