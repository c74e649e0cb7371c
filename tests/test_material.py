"""Materials from real files: colour spaces, conventions, names, sizes, meshes and the estimate."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import OpenEXR
import pytest
import tifffile
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.estimate import mean_slope, split_octaves, wraps
from texsynth.image_io import DecodedImage, DecodeLimits, read_image, save_image
from texsynth.material import (
    MapKind,
    Material,
    TextureMap,
    directx_likelihood,
    encode_linear,
    estimate_missing,
    linear_to_srgb,
    load_material,
    load_materials,
    material_digest,
    resample,
    srgb_to_linear,
)
from texsynth.material_files import Role, role_of, settle
from texsynth.train.procedural import generate

RNG = np.random.default_rng(7)


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def bumps(height: int, width: int, wavelength: float = 16) -> np.ndarray:
    """OpenGL normals, uint8, of a periodic field of bumps."""
    y, x = np.mgrid[:height, :width] * (2 * np.pi / wavelength)
    right, down = 0.5 * np.cos(x) * np.cos(y), -0.5 * np.sin(x) * np.sin(y)
    vectors = np.stack([-right, down, np.ones_like(x)], axis=-1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return encode_linear(MapKind.NORMAL, vectors.astype(np.float32), np.dtype(np.uint8))


def write(path: Path, texels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(texels).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


def refusal(*args: object, **options: object) -> str:
    with pytest.raises(TexsynthError) as caught:
        load_material(*args, **options)  # type: ignore[arg-type]
    assert caught.value.kind is ErrorKind.BAD_INPUT
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    return str(caught.value)


# --- colour spaces and storage ----------------------------------------------------------------------------------

UNIT = st.floats(0, 1, width=32)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5), elements=UNIT))
def test_srgb_round_trip_is_the_identity(x: np.ndarray) -> None:
    assert np.allclose(srgb_to_linear(linear_to_srgb(x)), x, atol=2e-6)
    assert np.allclose(linear_to_srgb(srgb_to_linear(x)), x, atol=2e-6)


@given(st.lists(UNIT, min_size=2, max_size=20))
def test_srgb_curve_is_monotone_and_float32(values: list[float]) -> None:
    curve = srgb_to_linear(np.sort(np.array(values, np.float32)))
    assert curve.dtype == np.float32
    assert (np.diff(curve) >= 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", [MapKind.ALBEDO, MapKind.ROUGHNESS])
def test_every_stored_level_survives_linear_and_back(kind: MapKind, dtype: type) -> None:
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    texels = np.repeat(levels[:, None, None], 3 if kind is MapKind.ALBEDO else 1, axis=2)
    texture = TextureMap(kind, texels)
    assert np.array_equal(TextureMap.from_linear(kind, texture.linear(), dtype).texels, texels)


def test_mid_grey_of_black_and_white_is_188_in_srgb() -> None:
    checker = np.zeros((2, 2, 3), np.uint8)
    checker[0, 0] = checker[1, 1] = 255
    mean = TextureMap(MapKind.ALBEDO, checker).linear().mean()
    assert round(float(linear_to_srgb(np.float32(mean)[None])[0]) * 255) == 188


def test_rows_of_linear_are_the_rows_of_the_whole() -> None:
    texture = TextureMap(MapKind.NORMAL, noise(9, 5, 3))
    assert np.array_equal(texture.linear(slice(2, 6)), texture.linear()[2:6])


@given(hnp.arrays(np.uint8, (3, 4, 3)))
def test_linear_normals_are_unit_vectors_whatever_is_stored(texels: np.ndarray) -> None:
    vectors = TextureMap(MapKind.NORMAL, texels).linear()
    assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)


def test_a_normal_without_direction_points_up() -> None:
    texels = np.full((1, 1, 3), 0.5, np.float32)
    assert TextureMap(MapKind.NORMAL, texels).linear().tolist() == [[[0, 0, 1]]]


def test_encoded_is_srgb_for_float_albedo_and_plain_for_the_rest() -> None:
    linear = np.full((1, 1, 3), 0.2158605, np.float32)
    assert np.allclose(TextureMap(MapKind.ALBEDO, linear).encoded(), 0.5019608, atol=1e-5)
    assert TextureMap(MapKind.ROUGHNESS, np.full((1, 1, 1), 51, np.uint8)).encoded().item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    "texels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), noise(4, 4, 1)]
)
def test_a_map_of_the_wrong_shape_or_dtype_cannot_be_made(texels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="albedo needs"):
        TextureMap(MapKind.ALBEDO, texels)


def test_a_material_with_maps_of_two_sizes_cannot_be_made() -> None:
    maps = {kind: TextureMap(kind, noise(4, 4 + i, 3)) for i, kind in enumerate((MapKind.ALBEDO, MapKind.NORMAL))}
    with pytest.raises(ValueError, match="share one size"):
        Material("m", maps)


def test_digest_depends_on_every_texel_and_on_the_kind_but_not_on_the_name() -> None:
    texels = noise(5, 6, 1)
    changed = texels.copy()
    changed[4, 5, 0] ^= 1
    digests = [
        material_digest(Material(name, {kind: TextureMap(kind, values)}))
        for name, kind, values in (
            ("a", MapKind.HEIGHT, texels),
            ("b", MapKind.HEIGHT, texels),
            ("a", MapKind.OPACITY, texels),
            ("a", MapKind.HEIGHT, changed),
            ("a", MapKind.HEIGHT, texels.reshape(6, 5, 1)),
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


# --- one photo --------------------------------------------------------------------------------------------------

RGB8, RGBA8, RGB16, RGBA16 = (
    noise(11, 7, 3),
    noise(11, 7, 4),
    noise(11, 7, 3, dtype=np.uint16),
    noise(11, 7, 4, dtype=np.uint16),
)
FLOATS = RNG.random((11, 7, 3), np.float32)


def bgr(texels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(texels[..., [2, 1, 0, 3][: texels.shape[2]]])


def test_8_bit_png_and_lossless_webp_and_tiff_load_to_the_bit(tmp_path: Path) -> None:
    for name in ("a.png", "b.webp", "c.tif"):
        albedo = load_material(write(tmp_path / name, RGB8)).maps[MapKind.ALBEDO].texels
        assert albedo.dtype == np.uint8
        assert np.array_equal(albedo, RGB8)


@pytest.mark.parametrize("compression", [None, "tga_rle"])
@pytest.mark.parametrize("orientation", [1, -1])
def test_tga_loads_to_the_bit(tmp_path: Path, compression: str | None, orientation: int) -> None:
    for name, texels in {"a.tga": RGB8, "grey.TGA": np.repeat(RGB8[..., :1], 3, axis=2)}.items():
        picture = Image.fromarray(texels[..., 0] if name == "grey.TGA" else texels)
        picture.save(tmp_path / name, "TGA", compression=compression, orientation=orientation)
        assert np.array_equal(load_material(tmp_path / name).maps[MapKind.ALBEDO].texels, texels)
    Image.fromarray(RGBA8).save(tmp_path / "alpha.tga", compression=compression, orientation=orientation)
    assert np.array_equal(load_material(tmp_path / "alpha.tga").maps[MapKind.OPACITY].texels, RGBA8[..., 3:])


def test_16_bit_colour_png_keeps_its_low_byte(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    for texels in (RGB16, RGBA16):
        cv2.imwrite(str(path), bgr(texels))
        assert np.array_equal(read_image(path).texels, texels)


def test_16_bit_grey_png_keeps_its_low_byte(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), RGB16[..., 0])
    albedo = load_material(tmp_path / "deep.png").maps[MapKind.ALBEDO].texels
    assert np.array_equal(albedo, np.repeat(RGB16[..., :1], 3, axis=2))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("texels", [RGB16, RGBA16, FLOATS, FLOATS.astype(np.float16), FLOATS.astype(np.float64)])
def test_deep_tiff_of_every_layout_loads_to_the_bit(
    tmp_path: Path, texels: np.ndarray, planar: str, compression: str | None
) -> None:
    stored = np.ascontiguousarray(np.moveaxis(texels, -1, 0)) if planar == "separate" else texels
    extra = ["unassalpha"] if texels.shape[2] == 4 else None
    tifffile.imwrite(
        tmp_path / "a.tiff", stored, photometric="rgb", planarconfig=planar, compression=compression, extrasamples=extra
    )
    image = read_image(tmp_path / "a.tiff")
    assert image.alpha == (texels.shape[2] == 4)
    expected = texels if texels.dtype == np.uint16 else texels.astype(np.float32)
    assert image.texels.dtype == expected.dtype
    assert np.array_equal(image.texels, expected)


def test_16_bit_lzw_tiff_loads_to_the_bit(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tiff"), bgr(RGB16), [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert np.array_equal(read_image(tmp_path / "a.tiff").texels, RGB16)


def test_32_bit_integers_keep_their_upper_16_bits(tmp_path: Path) -> None:
    texels = noise(5, 4, 3, dtype=np.uint32)
    tifffile.imwrite(tmp_path / "a.tiff", texels, photometric="rgb", compression="zlib")
    assert np.array_equal(read_image(tmp_path / "a.tiff").texels, (texels >> 16).astype(np.uint16))


@pytest.mark.parametrize("channels", ["RGB", "RGBA", "Y"])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("compression", [OpenEXR.PIZ_COMPRESSION, OpenEXR.ZIP_COMPRESSION, OpenEXR.RLE_COMPRESSION])
def test_exr_of_every_kind_loads_to_the_bit(
    tmp_path: Path, channels: str, half: bool, compression: OpenEXR.Compression
) -> None:
    texels = RNG.random((40, 9, len(channels))).astype(np.float16 if half else np.float32)
    planes = {name: np.ascontiguousarray(texels[..., i]) for i, name in enumerate(channels)}
    OpenEXR.File({"compression": compression, "type": OpenEXR.scanlineimage}, planes).write(str(tmp_path / "a.exr"))
    image = read_image(tmp_path / "a.exr")
    assert image.alpha == (channels == "RGBA")
    assert np.array_equal(image.texels, texels.astype(np.float32))


def test_tiled_exr_with_a_layer_name_loads(tmp_path: Path) -> None:
    planes = {f"Combined.{name}": np.ascontiguousarray(FLOATS[..., i]) for i, name in enumerate("RGB")}
    header = {"type": OpenEXR.tiledimage, "tiles": OpenEXR.TileDescription(), "compression": OpenEXR.ZIP_COMPRESSION}
    OpenEXR.File(header, planes).write(str(tmp_path / "a.exr"))
    assert np.array_equal(read_image(tmp_path / "a.exr").texels, FLOATS)


def test_hdr_is_linear_light(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "sky.hdr"), bgr(FLOATS))
    albedo = load_material(tmp_path / "sky.hdr").maps[MapKind.ALBEDO]
    assert albedo.texels.dtype == np.float32
    # Radiance stores 8 bits of mantissa, shared by the brightest channel.
    assert np.abs(albedo.linear() - FLOATS).max() <= FLOATS.max() / 128


def test_cmyk_jpeg_becomes_rgb_and_says_so(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 3), (200, 40, 90), np.uint8)).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    material = load_material(tmp_path / "a.jpg")
    assert np.abs(material.maps[MapKind.ALBEDO].texels.astype(int) - (200, 40, 90)).max() <= 6
    assert any("CMYK" in note for note in material.notes)


def test_palette_with_transparency_gives_opacity(tmp_path: Path) -> None:
    image = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (4, 2)), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=1)
    material = load_material(tmp_path / "a.png")
    assert material.maps[MapKind.ALBEDO].texels[0, 0].tolist() == [255, 0, 0]
    assert material.maps[MapKind.OPACITY].texels[0, :2, 0].tolist() == [255, 0]


def test_alpha_becomes_opacity_and_an_opaque_one_is_dropped(tmp_path: Path) -> None:
    material = load_material(write(tmp_path / "a.png", RGBA8))
    assert np.array_equal(material.maps[MapKind.OPACITY].texels, RGBA8[..., 3:])
    opaque = RGBA8.copy()
    opaque[..., 3] = 255
    assert set(load_material(write(tmp_path / "b.png", opaque)).maps) == {MapKind.ALBEDO}


def test_grey_photo_is_expanded_to_three_channels(tmp_path: Path) -> None:
    albedo = load_material(write(tmp_path / "a.png", RGB8[..., 0])).maps[MapKind.ALBEDO].texels
    assert np.array_equal(albedo, np.repeat(RGB8[..., :1], 3, axis=2))


def test_one_bit_png_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(RGB8).convert("1").save(tmp_path / "a.png")
    assert set(np.unique(read_image(tmp_path / "a.png").texels)) == {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_orientation_is_honoured(tmp_path: Path, suffix: str, orientation: int) -> None:
    image = Image.fromarray(RGB8)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a{suffix}", exif=exif)
    with Image.open(tmp_path / f"a{suffix}") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(read_image(tmp_path / f"a{suffix}").texels, expected)


def test_orientation_of_a_deep_tiff_is_honoured(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB16, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    assert np.array_equal(read_image(tmp_path / "a.tif").texels, np.rot90(RGB16, -1))


def test_an_embedded_colour_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    # sRGB with red and green exchanged, under another name: what such a file calls red is green.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)
    profile = profile.replace("sRGB".encode("utf-16-be"), "abcd".encode("utf-16-be"))
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "a.png", icc_profile=profile)
    material = load_material(tmp_path / "a.png")
    assert np.abs(material.maps[MapKind.ALBEDO].texels.astype(int) - (0, 255, 0)).max() <= 2
    assert any("to sRGB" in note for note in material.notes)


def test_a_photo_named_like_a_data_map_is_noted(tmp_path: Path) -> None:
    material = load_material(write(tmp_path / "rock_normal.png", RGB8))
    assert any("named like normal" in note for note in material.notes)


# --- HDR values -------------------------------------------------------------------------------------------------


def exr(path: Path, texels: np.ndarray) -> Path:
    save_image(path, texels.astype(np.float32))
    return path


def test_nan_and_infinity_are_refused_with_their_number(tmp_path: Path) -> None:
    texels = FLOATS.copy()
    texels[0, 0] = (np.nan, np.inf, -np.inf)
    assert "3 values that are NaN or infinite" in refusal(exr(tmp_path / "a.exr", texels))


def test_nan_and_infinity_are_clamped_by_choice_and_reported(tmp_path: Path) -> None:
    texels = FLOATS.copy()
    texels[0, 0] = (np.nan, np.inf, -np.inf)
    material = load_material(exr(tmp_path / "a.exr", texels), nonfinite="clamp")
    values = material.maps[MapKind.ALBEDO].texels
    assert values[0, 0].tolist() == [0, FLOATS.max(), 0]
    assert any("3 values" in note for note in material.notes)


def test_negative_light_is_clamped_and_reported(tmp_path: Path) -> None:
    material = load_material(exr(tmp_path / "a.exr", FLOATS - 0.5))
    assert material.maps[MapKind.ALBEDO].texels.min() == 0
    assert any("negative values were clamped" in note for note in material.notes)


def test_a_picture_brighter_than_1_is_scaled_down_as_a_whole(tmp_path: Path) -> None:
    material = load_material(exr(tmp_path / "a.exr", FLOATS * 8))
    values = material.maps[MapKind.ALBEDO].texels
    assert values.max() == pytest.approx(1)
    assert np.allclose(values, np.minimum(FLOATS / FLOATS.max(), 1), atol=0.02)
    assert any("divided by" in note for note in material.notes)


@given(hnp.arrays(np.float32, (2, 3, 3), elements=st.floats(width=32)))
def test_any_float_has_one_defined_outcome(texels: np.ndarray) -> None:
    for role in (Role.ALBEDO, Role.NORMAL, Role.ROUGHNESS, Role.HEIGHT):
        maps, _ = settle(role, DecodedImage(texels.copy()), "a.exr", nonfinite="clamp")
        for texture in maps.values():
            for values in (texture.texels, texture.linear(), texture.encoded()):
                assert np.isfinite(values).all()
            assert texture.texels.min() >= 0 and texture.texels.max() <= 1


def test_heights_in_metres_are_scaled_to_the_unit_range(tmp_path: Path) -> None:
    write(tmp_path / "a_diff.png", RGB8)
    exr(tmp_path / "a_disp.exr", FLOATS[..., :1] * 0.1 - 0.05)
    height = load_material(tmp_path).maps[MapKind.HEIGHT].texels
    assert (height.min(), height.max()) == (0, 1)


# --- names and folders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "role"),
    [
        ("Bricks073_1K-JPG_Color", Role.ALBEDO),
        ("Bricks073_1K_NormalGL", Role.NORMAL_GL),
        ("Bricks073_1K-PNG_NormalDX", Role.NORMAL_DX),
        ("Bricks073_1K_Displacement", Role.HEIGHT),
        ("Metal032_2K_Metalness", Role.METALNESS),
        ("Leaf001_4K-PNG_Opacity", Role.OPACITY),
        ("rock_wall_08_diff_4k", Role.ALBEDO),
        ("rock_wall_08_nor_gl_4k", Role.NORMAL_GL),
        ("rock_wall_08_nor_dx_4k", Role.NORMAL_DX),
        ("rock_wall_08_rough_4k", Role.ROUGHNESS),
        ("rock_wall_08_arm_4k", Role.PACKED),
        ("rock_wall_08_disp_4k", Role.HEIGHT),
        ("rock_wall_08_ao_4k", Role.UNUSED),
        ("T_Rock_BC", Role.ALBEDO),
        ("T_Rock_D", Role.ALBEDO),
        ("T_Rock_N", Role.NORMAL_DX),
        ("T_Rock_ORM", Role.PACKED),
        ("T_Rock_R", Role.ROUGHNESS),
        ("T_Rock_M", Role.METALNESS),
        ("wall_mat_BaseColor", Role.ALBEDO),
        ("wall_mat_Normal", Role.NORMAL),
        ("wall_mat_Normal_DirectX", Role.NORMAL_DX),
        ("wall_mat_Metallic", Role.METALNESS),
        ("wall_mat_Height", Role.HEIGHT),
        ("wall_mat_OcclusionRoughnessMetallic", Role.PACKED),
        ("wall_mat_Glossiness", Role.GLOSSINESS),
        ("albedo", Role.ALBEDO),
        ("normal", Role.NORMAL),
        ("roughness", Role.ROUGHNESS),
        ("DiffuseMap", Role.ALBEDO),
        ("MetallicSmoothness", Role.UNUSED),
        ("wall_AlbedoTransparency", Role.ALBEDO),
        ("Bricks01_2K_Metalness", Role.METALNESS),
        ("Bricks01_COL_2K_METALNESS", Role.ALBEDO),
        ("Bricks01_NRM_2K_METALNESS", Role.NORMAL),
        ("Bricks01_METALNESS_2K_METALNESS", Role.METALNESS),
        ("Bricks01_GLOSS_3K_SPECULAR", Role.GLOSSINESS),
        ("Bricks01_COL_VAR2_3K", Role.ALBEDO),
        ("IMG_20240301_1234", None),
        ("holiday", None),
        ("", None),
    ],
)
def test_the_usual_names_are_understood(stem: str, role: Role | None) -> None:
    assert role_of(stem)[0] is role


def test_an_ambientcg_folder_takes_opengl_and_leaves_directx(tmp_path: Path) -> None:
    normal = bumps(16, 16)
    flipped = normal.copy()
    flipped[..., 1] = 255 - flipped[..., 1]
    for name, texels in {
        "Color.jpg": noise(16, 16, 3),
        "NormalGL.png": normal,
        "NormalDX.png": flipped,
        "Roughness.png": noise(16, 16),
        "Displacement.png": noise(16, 16),
        "AmbientOcclusion.png": noise(16, 16),
    }.items():
        write(tmp_path / f"Bricks073_1K_{name}", texels)
    (tmp_path / "Bricks073.usdc").write_bytes(b"not an image")
    material = load_material(tmp_path)
    assert list(material.maps) == [MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS, MapKind.HEIGHT]
    assert np.array_equal(material.maps[MapKind.NORMAL].texels, normal)
    assert np.array_equal(load_material(tmp_path, directx=True).maps[MapKind.NORMAL].texels, normal)
    assert any("NormalDX" in note for note in material.notes)
    assert any("AmbientOcclusion" in note for note in material.notes)


def test_packed_arm_gives_roughness_from_green_and_metalness_from_blue(tmp_path: Path) -> None:
    packed = noise(8, 8, 3)
    write(tmp_path / "textures" / "rock_diff_1k.png", noise(8, 8, 3))
    write(tmp_path / "textures" / "rock_arm_1k.png", packed)
    maps = load_material(tmp_path).maps
    assert np.array_equal(maps[MapKind.ROUGHNESS].texels[..., 0], packed[..., 1])
    assert np.array_equal(maps[MapKind.METALNESS].texels[..., 0], packed[..., 2])


def test_a_map_of_its_own_comes_before_the_packed_one(tmp_path: Path) -> None:
    packed, rough = noise(8, 8, 3), noise(8, 8)
    write(tmp_path / "T_Rock_BC.png", noise(8, 8, 3))
    write(tmp_path / "T_Rock_ORM.png", packed)
    write(tmp_path / "T_Rock_R.png", rough)
    maps = load_material(tmp_path).maps
    assert np.array_equal(maps[MapKind.ROUGHNESS].texels[..., 0], rough)
    assert np.array_equal(maps[MapKind.METALNESS].texels[..., 0], packed[..., 2])


@pytest.mark.parametrize(
    ("name", "directx", "flipped"),
    [
        ("a_NormalDX.png", None, True),
        ("a_nor_dx.png", None, True),
        ("T_Rock_N.png", None, True),
        ("a_Normal.png", None, False),
        ("a_NormalGL.png", None, False),
        ("a_Normal.png", True, True),
        ("a_NormalDX.png", False, False),
    ],
)
def test_directx_normals_are_told_by_flag_or_by_name(
    tmp_path: Path, name: str, directx: bool | None, flipped: bool
) -> None:
    normal = bumps(16, 16)
    write(tmp_path / name, normal)
    loaded = load_material(tmp_path, directx=directx).maps[MapKind.NORMAL].texels
    assert np.array_equal(loaded[..., 1], 255 - normal[..., 1] if flipped else normal[..., 1])
    assert np.array_equal(loaded[..., [0, 2]], normal[..., [0, 2]])


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16]), (2, 3, 3)))
def test_directx_to_opengl_and_back_is_the_identity(texels: np.ndarray) -> None:
    texels[0, 0, 2] = np.iinfo(texels.dtype).max  # So that blue is no filler.
    once = settle(Role.NORMAL_DX, DecodedImage(texels.copy()), "a")[0][MapKind.NORMAL]
    twice = settle(Role.NORMAL_DX, DecodedImage(once.texels.copy()), "a")[0][MapKind.NORMAL]
    assert np.array_equal(twice.texels, texels)
    before = TextureMap(MapKind.NORMAL, texels).encoded()
    assert np.allclose(once.encoded()[..., 1], 1 - before[..., 1], atol=1e-6)


def test_a_plain_normal_that_looks_like_directx_is_noted(tmp_path: Path) -> None:
    normal = bumps(64, 64)
    assert directx_likelihood(TextureMap(MapKind.NORMAL, normal)) < -0.9
    normal[..., 1] = 255 - normal[..., 1]
    assert directx_likelihood(TextureMap(MapKind.NORMAL, normal)) > 0.9
    write(tmp_path / "normal.png", normal)
    assert any("looks like DirectX" in note for note in load_material(tmp_path).notes)


def test_glossiness_is_inverted_to_roughness(tmp_path: Path) -> None:
    gloss = noise(8, 8)
    write(tmp_path / "a_Diffuse.png", noise(8, 8, 3))
    write(tmp_path / "a_Glossiness.png", gloss)
    assert np.array_equal(load_material(tmp_path).maps[MapKind.ROUGHNESS].texels[..., 0], 255 - gloss)


def test_z_is_rebuilt_for_two_channel_normals(tmp_path: Path) -> None:
    normal = bumps(16, 16)
    flat_blue = normal.copy()
    flat_blue[..., 2] = 0
    write(tmp_path / "a" / "a_normal.png", flat_blue)
    (tmp_path / "b").mkdir()
    tifffile.imwrite(tmp_path / "b" / "a_normal.tif", (normal[..., :2] * np.uint16(257)), planarconfig="contig")
    for folder in ("a", "b"):
        rebuilt = load_material(tmp_path / folder).maps[MapKind.NORMAL]
        assert np.abs(rebuilt.encoded() * 255 - normal).max() <= 2


def test_a_grey_normal_map_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a_normal.png", noise(8, 8))
    assert "has one channel" in refusal(tmp_path)


def test_opacity_is_taken_from_its_own_alpha(tmp_path: Path) -> None:
    write(tmp_path / "leaf_diff.png", noise(8, 8, 3))
    opacity = noise(8, 8, 4)
    write(tmp_path / "leaf_opacity.png", opacity)
    assert np.array_equal(load_material(tmp_path).maps[MapKind.OPACITY].texels, opacity[..., 3:])


def test_of_two_formats_of_one_map_the_better_is_taken_with_a_note(tmp_path: Path) -> None:
    texels = noise(8, 8, 3)
    write(tmp_path / "a_Color.png", texels)
    write(tmp_path / "a_Color.jpg", texels)
    material = load_material(tmp_path)
    assert np.array_equal(material.maps[MapKind.ALBEDO].texels, texels)
    assert any("a_Color.png: taken" in note and "a_Color.jpg" in note for note in material.notes)


def test_two_materials_in_one_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "brick_diff.png", noise(8, 8, 3))
    write(tmp_path / "wood_diff.png", noise(8, 8, 3))
    assert "one material per folder" in refusal(tmp_path)


def test_unknown_names_are_listed_with_those_that_are_understood(tmp_path: Path) -> None:
    write(tmp_path / "holiday.png", noise(8, 8, 3))
    message = refusal(tmp_path)
    assert "holiday.png" in message and "NormalGL" in message


def test_an_albedo_of_a_kind_that_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(RGB8).save(tmp_path / "wall_Color.bmp")
    assert "found wall_Color.bmp" in refusal(tmp_path)
    write(tmp_path / "wall_Normal.png", bumps(11, 7))
    assert "wall_Color.bmp: is a kind of image that texsynth does not read" in refusal(tmp_path)
    write(tmp_path / "wall_Color.png", RGB8)
    assert any("not read: wall_Color.bmp" in note for note in load_material(tmp_path).notes)


def test_an_empty_folder_and_the_folder_of_a_mesh_are_refused(tmp_path: Path) -> None:
    assert "holds no images" in refusal(tmp_path)
    (tmp_path / "chair.glb").write_bytes(b"")
    assert ".glb" in refusal(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.png")


def test_an_unreadable_mesh_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.fbx").write_bytes(b"Kaydara FBX Binary")
    assert "export it as .glb" in refusal(tmp_path / "a.fbx")


# --- sizes ------------------------------------------------------------------------------------------------------


def test_smaller_maps_are_brought_to_the_largest(tmp_path: Path) -> None:
    normal = noise(8, 8, 3)
    write(tmp_path / "a_Color.png", np.full((8, 8, 3), 77, np.uint8))
    write(tmp_path / "a_Normal.png", normal)
    write(tmp_path / "a_Roughness.png", noise(16, 16))
    material = load_material(tmp_path)
    assert material.size == (16, 16)
    assert (material.maps[MapKind.ALBEDO].texels == 77).all()
    assert np.allclose(np.linalg.norm(material.maps[MapKind.NORMAL].encoded() * 2 - 1, axis=-1), 1, atol=0.01)
    assert sum("resampled" in note for note in material.notes) == 2


def test_albedo_is_resampled_in_linear_light_by_texel_centres() -> None:
    edge = np.zeros((1, 2, 3), np.uint8)
    edge[0, 1] = 255
    wide = resample(TextureMap(MapKind.ALBEDO, edge), 1, 4).linear()[0, :, 0]
    assert np.allclose(wide, [0, 0.25, 0.75, 1], atol=0.004)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_resampling_keeps_a_constant_and_its_own_size_exactly(height: int, width: int, factor: int) -> None:
    constant = TextureMap(MapKind.HEIGHT, np.full((height, width, 1), 137, np.uint8))
    assert (resample(constant, height * factor, width * factor).texels == 137).all()
    texture = TextureMap(MapKind.HEIGHT, noise(height, width, 1))
    assert np.array_equal(resample(texture, height, width).texels, texture.texels)


def test_maps_of_different_aspect_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a_Color.png", noise(8, 8, 3))
    write(tmp_path / "a_Roughness.png", noise(8, 16))
    assert "different aspect" in refusal(tmp_path)


# --- meshes -----------------------------------------------------------------------------------------------------


def png(texels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(texels).save(out, "PNG")
    return out.getvalue()


def gltf(path: Path, materials: list[dict[str, object]], images: list[np.ndarray], uvs: bool = True) -> Path:
    """A .gltf with one triangle per material and its images beside it."""
    attributes = {"POSITION": 0, "TEXCOORD_0": 1} if uvs else {"POSITION": 0}
    triangle = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    (path.parent / "mesh.bin").write_bytes(triangle + np.array([[0, 0], [1, 0], [0, 1]], "<f4").tobytes())
    for index, texels in enumerate(images):
        (path.parent / f"image {index}.png").write_bytes(png(texels))
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "material": i} for i in range(len(materials))]}],
        "materials": materials,
        "textures": [{"source": i} for i in range(len(images))],
        "images": [{"uri": f"image%20{i}.png"} for i in range(len(images))],
        "buffers": [{"uri": "mesh.bin", "byteLength": 60}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 24},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC2"},
        ],
    }
    path.write_text(json.dumps(tree))
    return path


def test_gltf_factors_multiply_their_textures_in_linear_light(tmp_path: Path) -> None:
    colour, packed, normal = noise(8, 8, 3), noise(8, 8, 3), bumps(8, 8)
    material = {
        "name": "paint",
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": 0},
            "baseColorFactor": [0.5, 1.0, 0.25, 1.0],
            "metallicRoughnessTexture": {"index": 1},
            "roughnessFactor": 0.5,
            "metallicFactor": 1.0,
        },
        "normalTexture": {"index": 2},
    }
    loaded = load_material(gltf(tmp_path / "a.gltf", [material], [colour, packed, normal]))
    assert loaded.name == "paint"
    expected = TextureMap(MapKind.ALBEDO, colour).linear() * np.array([0.5, 1, 0.25], np.float32)
    assert np.array_equal(loaded.maps[MapKind.ALBEDO].texels, TextureMap.from_linear(MapKind.ALBEDO, expected).texels)
    assert np.array_equal(loaded.maps[MapKind.ALBEDO].texels[..., 1], colour[..., 1])
    rough = loaded.maps[MapKind.ROUGHNESS].texels[..., 0]
    assert np.abs(rough - packed[..., 1] * 0.5).max() <= 0.5
    assert np.array_equal(loaded.maps[MapKind.METALNESS].texels[..., 0], packed[..., 2])
    assert np.array_equal(loaded.maps[MapKind.NORMAL].texels, normal)


def test_a_grey_metallic_roughness_texture_of_a_gltf_stands_in_every_channel(tmp_path: Path) -> None:
    grey = noise(8, 8)
    pbr = {"metallicRoughnessTexture": {"index": 0}, "metallicFactor": 0}
    maps = load_material(gltf(tmp_path / "a.gltf", [{"pbrMetallicRoughness": pbr}], [grey])).maps
    assert np.array_equal(maps[MapKind.ROUGHNESS].texels[..., 0], grey)
    assert not maps[MapKind.METALNESS].texels.any()


def test_gltf_factors_without_textures_are_constant_maps(tmp_path: Path) -> None:
    material = {
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "roughnessFactor": 0.4, "metallicFactor": 0.0}
    }
    loaded = load_material(gltf(tmp_path / "a.gltf", [material], [noise(8, 4, 3)]))
    assert set(loaded.maps) == {MapKind.ALBEDO, MapKind.ROUGHNESS, MapKind.METALNESS}
    assert loaded.size == (8, 4)
    assert (loaded.maps[MapKind.ROUGHNESS].texels == 102).all()
    assert (loaded.maps[MapKind.METALNESS].texels == 0).all()


def test_gltf_alpha_is_opacity_only_where_the_material_is_not_opaque(tmp_path: Path) -> None:
    pbr = {"baseColorTexture": {"index": 0}}
    materials = [
        {"name": "solid", "pbrMetallicRoughness": pbr},
        {"name": "glass", "alphaMode": "BLEND", "pbrMetallicRoughness": pbr},
    ]
    solid, glass = load_materials(gltf(tmp_path / "a.gltf", materials, [RGBA8]))
    assert MapKind.OPACITY not in solid.maps
    assert np.array_equal(glass.maps[MapKind.OPACITY].texels, RGBA8[..., 3:])


def test_the_scale_of_a_gltf_normal_steepens_it(tmp_path: Path) -> None:
    normal = bumps(16, 16)
    material = {"normalTexture": {"index": 0, "scale": 2.0}}
    loaded = load_material(gltf(tmp_path / "a.gltf", [material], [normal])).maps[MapKind.NORMAL].linear()
    given_slopes = TextureMap(MapKind.NORMAL, normal).linear()
    assert np.allclose(loaded[..., 0] / loaded[..., 2], 2 * given_slopes[..., 0] / given_slopes[..., 2], atol=0.05)


def test_specular_glossiness_becomes_roughness(tmp_path: Path) -> None:
    diffuse, specular = noise(8, 8, 3), noise(8, 8, 4)
    old = {"diffuseTexture": {"index": 0}, "specularGlossinessTexture": {"index": 1}}
    material = {"extensions": {"KHR_materials_pbrSpecularGlossiness": old}}
    loaded = load_material(gltf(tmp_path / "a.gltf", [material], [diffuse, specular]))
    assert np.array_equal(loaded.maps[MapKind.ALBEDO].texels, diffuse)
    assert np.array_equal(loaded.maps[MapKind.ROUGHNESS].texels[..., 0], 255 - specular[..., 3])


def test_of_several_materials_the_first_textured_is_taken_and_slots_choose(tmp_path: Path) -> None:
    materials = [
        {"name": "plain"},
        {"name": "first", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}},
        {"name": "second", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}},
    ]
    path = gltf(tmp_path / "a.gltf", materials, [RGB8])
    loaded = load_material(path)
    assert loaded.name == "first"
    assert any("2 textured materials" in note for note in loaded.notes)
    assert [m.name for m in load_materials(path)] == ["plain", "first", "second"]
    assert [m.name for m in load_materials(path, slots=(2, 1))] == ["second", "first"]
    with pytest.raises(TexsynthError, match="no material 3"):
        load_materials(path, slots=(3,))


def test_a_mesh_without_uvs_is_refused(tmp_path: Path) -> None:
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    assert "has no UVs" in refusal(gltf(tmp_path / "a.gltf", [material], [RGB8], uvs=False))


def test_a_glb_written_by_trimesh_loads(tmp_path: Path) -> None:
    mesh = trimesh.creation.box()
    material = trimesh.visual.material.PBRMaterial(
        name="crate", baseColorTexture=Image.fromarray(RGB8), roughnessFactor=0.2, metallicFactor=0.0
    )
    mesh.visual = trimesh.visual.TextureVisuals(uv=mesh.vertices[:, :2] + 0.5, material=material)
    mesh.export(tmp_path / "crate.glb")
    loaded = load_material(tmp_path / "crate.glb")
    assert loaded.name == "crate"
    assert np.array_equal(loaded.maps[MapKind.ALBEDO].texels, RGB8)
    assert (loaded.maps[MapKind.ROUGHNESS].texels == 51).all()


def test_an_obj_with_its_mtl_loads(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl bark\nf 1/1 2/2 3/3\n"
    )
    (tmp_path / "a.mtl").write_text("newmtl bark\nKd 1 1 1\nmap_Kd my bark.png\n")
    write(tmp_path / "my bark.png", RGB8)
    loaded = load_material(tmp_path / "a.obj")
    assert np.array_equal(loaded.maps[MapKind.ALBEDO].texels, RGB8)


# --- the estimate -----------------------------------------------------------------------------------------------


def periodic_photo(height: int, width: int) -> np.ndarray:
    spectrum = np.fft.fft2(RNG.standard_normal((height, width)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    field = np.fft.ifft2(spectrum / (0.02 + frequency)).real
    field = (field - field.min()) / (field.max() - field.min())
    return np.repeat((60 + 150 * field)[..., None], 3, axis=2).astype(np.uint8)


def photo(texels: np.ndarray) -> Material:
    return Material("photo", {MapKind.ALBEDO: TextureMap(MapKind.ALBEDO, texels)})


def test_a_photo_gets_normal_and_roughness_flagged_as_estimated() -> None:
    given_material = photo(periodic_photo(64, 96))
    material = estimate_missing(given_material)
    assert material.estimated == {MapKind.NORMAL, MapKind.ROUGHNESS}
    assert {m.size for m in material.maps.values()} == {(64, 96)}
    assert sum("estimated" in note for note in material.notes) == 2
    assert material.maps[MapKind.ALBEDO] is given_material.maps[MapKind.ALBEDO]


def test_estimated_roughness_is_bounded_and_slope_is_plausible() -> None:
    material = estimate_missing(photo(periodic_photo(128, 128)))
    rough = material.maps[MapKind.ROUGHNESS].linear()
    assert rough.min() >= 0.39 and rough.max() <= 0.91
    vectors = material.maps[MapKind.NORMAL].linear()
    slope = np.hypot(vectors[..., 0], vectors[..., 1]) / vectors[..., 2]
    assert slope.mean() == pytest.approx(0.08, abs=0.01)


def test_a_bright_bump_is_lit_from_above_on_its_upper_side() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    texels = (80 + 100 * np.exp(-(x**2 + y**2) / 60))[..., None].repeat(3, axis=2).astype(np.uint8)
    normal = estimate_missing(photo(texels)).maps[MapKind.NORMAL].linear()
    assert normal[25, 31, 1] > 0.02 > -0.02 > normal[38, 31, 1]  # +Y is towards row 0.
    assert normal[31, 25, 0] < -0.02 < 0.02 < normal[31, 38, 0]


def test_the_estimate_of_a_periodic_photo_is_periodic() -> None:
    texels = periodic_photo(64, 64)
    shifted = np.roll(texels, (8, 16), axis=(0, 1))
    first, second = (estimate_missing(photo(t)).maps[MapKind.NORMAL].texels.astype(int) for t in (texels, shifted))
    # The pyramid's grid moves with shifts by multiples of 64 only; what is left of that is small.
    assert np.abs(np.roll(first, (8, 16), axis=(0, 1)) - second).mean() < 3
    interior = np.abs(np.diff(first, axis=0)).mean()
    assert np.abs(first[0] - first[-1]).mean() < 2 * interior


def test_wrapping_is_recognised_per_axis() -> None:
    texels = periodic_photo(96, 96)[..., 0].astype(np.float32)
    assert wraps(texels) == (True, True)
    ramp = texels + np.linspace(0, 200, 96, dtype=np.float32)[:, None]
    assert wraps(ramp) == (False, True)
    assert wraps(np.ascontiguousarray(ramp.T)) == (True, False)


def test_a_uniform_photo_gets_a_flat_normal() -> None:
    material = estimate_missing(photo(np.full((33, 47, 3), 128, np.uint8)))
    assert (material.maps[MapKind.NORMAL].linear()[..., 2] > 0.9999).all()
    assert np.ptp(material.maps[MapKind.ROUGHNESS].texels) == 0


def test_a_slow_tint_is_not_taken_for_relief() -> None:
    ramp = np.linspace(40, 220, 512)[None, :, None] + np.zeros((64, 1, 3))
    height, _ = split_octaves(np.log(ramp[..., 0].astype(np.float32)), (True, False))
    fine = ramp[..., 0] + 30 * np.sin(np.arange(512) * 2 * np.pi / 8)
    textured, _ = split_octaves(np.log(fine.astype(np.float32)), (True, False))
    assert mean_slope(height, (True, False)) < 0.1 * mean_slope(textured, (True, False))


@pytest.mark.parametrize("tileable", [True, False])
def test_a_given_normal_makes_the_height(tileable: bool) -> None:
    made = generate("bark", 256, 4)
    maps = {kind: made.maps[kind] for kind in (MapKind.ALBEDO, MapKind.NORMAL)}
    if not tileable:
        maps = {kind: TextureMap(kind, m.texels[:200, :170]) for kind, m in maps.items()}
    height = estimate_missing(Material("m", maps), [MapKind.HEIGHT]).maps[MapKind.HEIGHT].linear()[..., 0]
    true = made.maps[MapKind.HEIGHT].linear()[: height.shape[0], : height.shape[1], 0]
    assert np.corrcoef(true.ravel(), height.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 5), (8, 8), (17, 64)])
def test_an_estimate_exists_at_every_size(size: tuple[int, int]) -> None:
    wanted = (MapKind.NORMAL, MapKind.ROUGHNESS, MapKind.HEIGHT)
    material = estimate_missing(photo(noise(*size, 3)), wanted)
    assert set(material.maps) == {MapKind.ALBEDO, *wanted}
    assert np.allclose(np.linalg.norm(material.maps[MapKind.NORMAL].linear(), axis=-1), 1, atol=1e-5)


def test_a_given_height_map_makes_the_normal() -> None:
    height = np.tile(np.sin(np.arange(32) * 2 * np.pi / 16) * 100 + 128, (32, 1)).astype(np.uint8)[..., None]
    maps = {
        MapKind.ALBEDO: TextureMap(MapKind.ALBEDO, noise(32, 32, 3)),
        MapKind.HEIGHT: TextureMap(MapKind.HEIGHT, height),
    }
    normal = estimate_missing(Material("m", maps)).maps[MapKind.NORMAL].linear()
    assert np.abs(normal[..., 1]).max() < 0.01  # The height varies along x alone.
    assert np.abs(normal[..., 0]).max() > 0.1


def test_given_maps_are_kept_and_a_full_set_is_returned_as_it_is() -> None:
    maps = {
        MapKind.ALBEDO: TextureMap(MapKind.ALBEDO, noise(8, 8, 3)),
        MapKind.NORMAL: TextureMap(MapKind.NORMAL, noise(8, 8, 3)),
    }
    material = estimate_missing(Material("m", maps))
    assert material.estimated == {MapKind.ROUGHNESS}
    assert material.maps[MapKind.NORMAL] is maps[MapKind.NORMAL]
    assert estimate_missing(material) is material


def test_nothing_is_estimated_without_an_albedo() -> None:
    material = Material("m", {MapKind.ROUGHNESS: TextureMap(MapKind.ROUGHNESS, noise(8, 8, 1))})
    with pytest.raises(TexsynthError, match="no albedo"):
        estimate_missing(material)


# --- saving -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texels", [RGB8, RGBA8, RGB8[..., :1], RGB16, RGBA16, RGB16[..., :1], FLOATS, FLOATS[..., :1]])
def test_a_saved_image_loads_to_the_bit(tmp_path: Path, texels: np.ndarray) -> None:
    path = tmp_path / ("a.exr" if texels.dtype == np.float32 else "a.png")
    save_image(path, texels)
    assert np.array_equal(read_image(path).texels, texels)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_saving_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name, texels in (("a.png", FLOATS), ("a.jpg", RGB8), ("a.png", RGB8[..., :2]), ("no/a.png", RGB8)):
        with pytest.raises(TexsynthError):
            save_image(tmp_path / name, texels)
    assert list(tmp_path.iterdir()) == []


def test_limits_are_the_callers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", RGB8)
    assert "claims 7 x 11 pixels" in refusal(path, limits=DecodeLimits(pixels=76))
    assert "bytes" in refusal(path, limits=DecodeLimits(file_bytes=10))
    assert load_material(path, limits=DecodeLimits(pixels=77)).size == (11, 7)
