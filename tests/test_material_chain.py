"""The chain of a whole material: float64 references, what roughness takes up (drawn), coverage, sources and memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipmap.chain import box_chain, box_taps, level_sizes
from mipmap.charts import chart_chain
from mipmap.coverage import coverage_scales
from mipmap.filters import sinc_taps
from mipmap.material_chain import (
    FILTERING,
    ChainOptions,
    chart_levels,
    map_chain,
    material_chain,
    material_levels,
)
from mipmap.roughness import widened

ROOT = Path(__file__).resolve().parent.parent
KINDS = list(FILTERING)
RULES = ["vmf", "vmf_ggx", "toksvig", "none"]


def channels_of(kind: str) -> int:
    return 3 if kind in ("albedo", "normal") else 1


def random_material(height: int, width: int, dtype: Any = np.uint8, seed: int = 0) -> dict[str, np.ndarray]:
    """Every kind of map; the normals lie within some 50 degrees of the surface's, as those of real maps do."""
    random = np.random.default_rng(seed)
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    maps = {kind: random.random((height, width, channels_of(kind))) for kind in KINDS}
    vectors = maps["normal"] * (1.6, 1.6, 0.5) + (-0.8, -0.8, 0.7)
    maps["normal"] = vectors / np.linalg.norm(vectors, axis=2, keepdims=True) / 2 + 0.5
    return {
        kind: np.round(values * top).astype(dtype) if top > 1 else values.astype(dtype) for kind, values in maps.items()
    }


def matrix_of(size: int, name: Any, wrap: Any) -> np.ndarray:
    """(max(1, size // 2), size) float64; the weights themselves are checked in test_chain and test_filters."""
    out = max(1, size // 2)
    matrix = np.zeros((out, size))
    if name == "box":
        start, weights = 2 * np.arange(out), box_taps(size)
    else:
        taps = sinc_taps(size, name, wrap)
        start, weights = taps.start, taps.weights
    for i in range(out):
        for t, weight in enumerate(weights[i]):
            if weight:
                matrix[i, (start[i] + t) % size] += weight
    return matrix


def to_linear(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def to_srgb(light: np.ndarray) -> np.ndarray:
    light = np.maximum(light, 0)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def reference(maps: dict[str, np.ndarray], kind: str, options: ChainOptions) -> list[np.ndarray]:
    """Every level above 0 in codes 0..maximum before rounding, float64 throughout."""
    top = np.iinfo(maps[kind].dtype).max
    value = {name: texels / top for name, texels in maps.items()}
    normal = 2 * value["normal"] - 1
    carried = {
        "albedo": to_linear(value["albedo"]),
        "normal": normal,
        "roughness": np.concatenate(
            [value["roughness"] ** 4, normal, np.linalg.norm(normal, axis=2, keepdims=True)], axis=2
        ),
    }.get(kind, value[kind])
    levels = []
    while carried.shape[:2] != (1, 1):
        rows, columns = (matrix_of(side, options.filter, options.wrap) for side in carried.shape[:2])
        carried = np.einsum("ai,bj,ijc->abc", rows, columns, carried)
        shown = carried
        if kind == "albedo":
            shown = to_srgb(carried)
        elif kind == "normal":
            shown = carried / np.linalg.norm(carried, axis=2, keepdims=True) / 2 + 0.5
        elif kind == "roughness":
            length = np.minimum(np.linalg.norm(carried[..., 1:4], axis=2) / carried[..., 4], 1)
            alpha2, lost = np.clip(carried[..., 0], 0, 1), 1 - length
            with np.errstate(divide="ignore"):
                if options.roughness in ("vmf", "vmf_ggx"):
                    gain = 1 if options.roughness == "vmf" else 2
                    alpha2 = alpha2 + gain * (1 - length**2) / (3 * length - length**3)
                elif options.roughness == "toksvig":
                    power = 2 / np.maximum(alpha2, 1e-12) - 2
                    alpha2 = 2 / (length * power / (length + power * lost) + 2)
            shown = np.clip(alpha2, 0, 1)[..., None] ** 0.25
        levels.append(np.clip(shown, 0, 1) * top)
    return levels


# --- against the reference


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 33),
    st.integers(1, 33),
    st.sampled_from(KINDS),
    st.sampled_from(["box", "kaiser", "lanczos3"]),
    st.sampled_from(["repeat", "clamp"]),
    st.sampled_from(RULES),
)
def test_every_map_is_within_one_code_of_a_float64_reference(
    height: int, width: int, kind: str, name: Any, wrap: Any, rule: Any
) -> None:
    maps, options = random_material(height, width, seed=height * 34 + width), ChainOptions(name, wrap, rule)
    levels = material_levels(maps, options)[kind]
    assert [level.shape[:2] for level in levels] == level_sizes(height, width)
    assert (levels[0] == maps[kind]).all()
    for level, exact in zip(levels[1:], reference(maps, kind, options), strict=True):
        assert level.dtype == np.uint8
        assert np.abs(level - exact).max() < 0.51


@pytest.mark.parametrize("kind", KINDS)
def test_16_bit_maps_are_within_one_code_too(kind: str) -> None:
    maps, options = random_material(19, 26, np.uint16), ChainOptions("kaiser", "repeat")
    for level, exact in zip(material_levels(maps, options)[kind][1:], reference(maps, kind, options), strict=True):
        assert level.dtype == np.uint16
        assert np.abs(level - exact).max() <= 1


@pytest.mark.parametrize("name", ["box", "kaiser", "lanczos3"])
def test_a_black_and_white_checker_averages_to_188_with_every_filter(name: Any) -> None:
    """Each half-size texel of a checker of single texels holds as much white as black under any symmetric filter."""
    checker = np.uint8(255) * (np.indices((64, 64)).sum(axis=0) % 2)[..., None].repeat(3, axis=2).astype(np.uint8)
    levels = material_levels({"albedo": checker}, ChainOptions(name, "repeat"))["albedo"]
    assert all((level == 188).all() for level in levels[1:])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("name", ["box", "kaiser", "lanczos3"])
@settings(max_examples=8, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.just(0.0) | st.floats(1e-6, 1), st.booleans())
def test_constant_maps_stay_constant_to_the_bit(
    name: Any, dtype: Any, height: int, width: int, value: float, charted: bool
) -> None:
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    maps = {kind: np.full((height, width, channels_of(kind)), value * top).astype(dtype) for kind in KINDS}
    maps["normal"][:] = np.array([0.5, 0.5, 1]) * top + (0.5 if top > 1 else 0)
    charts = np.random.default_rng(height).integers(0, 3, (height, width)) if charted else None
    for kind, levels in material_levels(maps, ChainOptions(name), charts=charts).items():
        assert all((level == maps[kind][0, 0]).all() for level in levels), kind


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_high_dynamic_range_albedo_keeps_its_energy(dtype: Any) -> None:
    light = np.random.default_rng(3).lognormal(0, 2, (64, 32, 3)).astype(dtype)
    for level in material_levels({"albedo": light}, as_float=True)["albedo"]:
        assert level.mean(axis=(0, 1), dtype=np.float64) == pytest.approx(
            light.mean((0, 1), dtype=np.float64), rel=1e-5
        )


def test_the_lobes_of_a_filter_leave_no_light_below_zero() -> None:
    light = np.zeros((32, 32, 3), np.float32)
    light[8:24, 8:24] = 100
    levels = material_levels({"albedo": light, "opacity": light[..., :1] / 100}, ChainOptions("lanczos3"))
    assert min(level.min() for level in levels["albedo"]) == 0
    assert max(level.max() for level in levels["opacity"]) == 1


# --- roughness


def test_roughness_over_equal_normals_is_that_without_normals() -> None:
    """Even where the normals' codes are no unit vectors: rounding is not spread."""
    roughness = random_material(16, 16)["roughness"]
    tilted = np.broadcast_to(np.array([201, 77, 220], np.uint8), (16, 16, 3))
    alone, over = material_levels({"roughness": roughness}), material_levels({"roughness": roughness, "normal": tilted})
    for one, other in zip(alone["roughness"], over["roughness"], strict=True):
        assert (one == other).all()


def test_more_spread_normals_give_more_roughness_by_every_rule_but_none() -> None:
    length = np.linspace(1, 0, 50)
    for rule in ("vmf", "vmf_ggx", "toksvig"):
        taken_up = widened(np.full(50, 0.01), length, rule)  # type: ignore[arg-type]
        assert taken_up[0] == pytest.approx(0.01)
        assert (np.diff(taken_up) >= 0).all()
        assert taken_up[-1] == 1
    assert (widened(np.full(50, 0.01), length, "none") == 0.01).all()


def test_toksvig_and_the_doubled_von_mises_fisher_rule_agree_for_small_spreads() -> None:
    length = np.linspace(0.995, 1, 20)
    toksvig, lobe = (widened(np.full(20, 0.001), length, rule) for rule in ("toksvig", "vmf_ggx"))  # type: ignore[arg-type]
    assert toksvig == pytest.approx(lobe, rel=0.03)


def bumps(side: int, spread: float, seed: int) -> np.ndarray:
    """(side, side, 3) 16-bit normals of a rough height field: slopes of standard deviation `spread`, correlated."""
    random = np.random.default_rng(seed)
    spectrum = np.fft.fft2(random.standard_normal((side, side)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    height = np.fft.ifft2(spectrum * np.exp(-((frequency / 0.12) ** 2))).real
    slopes = np.stack([np.roll(height, -1, axis) - np.roll(height, 1, axis) for axis in (1, 0)], axis=-1)
    slopes *= spread / slopes.std()
    normals = np.concatenate([-slopes, np.ones((side, side, 1))], axis=2)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return np.round((normals / 2 + 0.5) * 65535).astype(np.uint16)


def drawn(normal: np.ndarray, roughness: np.ndarray, angle: float) -> float:
    """Mean light of a patch seen from above under a lamp at `angle` degrees: GGX, Smith's shadowing, no Fresnel."""
    vectors = normal / 65535 * 2 - 1
    vectors = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    light = np.array([np.sin(np.radians(angle)), 0, np.cos(np.radians(angle))])
    view = np.array([0.0, 0.0, 1.0])
    half = (light + view) / np.linalg.norm(light + view)
    alpha2 = (roughness[..., 0] / 65535) ** 4
    nl, nv, nh = (np.maximum(vectors @ direction, 0) for direction in (light, view, half))
    lobe = alpha2 / (np.pi * (nh**2 * (alpha2 - 1) + 1) ** 2)
    shadow = [2 * c / (c + np.sqrt(alpha2 + (1 - alpha2) * c * c) + 1e-9) for c in (nl, nv)]
    return float((lobe * shadow[0] * shadow[1] / (4 * np.maximum(nv, 1e-3))).mean())


@pytest.mark.parametrize(("base", "spread"), [(0.2, 0.1), (0.3, 0.25)])
def test_drawn_far_mips_of_a_bumpy_surface_shine_like_the_bumps_and_like_a_flat_rough_surface(
    base: float, spread: float
) -> None:
    """The finest map drawn texel by texel is the truth, and a flat map of the roughness that its slopes amount to."""
    side = 256
    normal = bumps(side, spread, 1)
    roughness = np.full((side, side, 1), round(base * 65535), np.uint16)
    flat_alpha2 = base**4 + 2 * spread**2  # Beckmann's and GGX's alpha^2 is twice the variance of a slope
    flat_roughness = np.full((1, 1, 1), flat_alpha2**0.25 * 65535)
    flat_normal = np.array([[[32768, 32768, 65535]]])
    angles = (0, 8, 16, 24, 32)
    truth = np.array([drawn(normal, roughness, angle) for angle in angles])
    flat = np.array([drawn(flat_normal, flat_roughness, angle) for angle in angles])
    error = {}
    for rule in RULES:
        options = ChainOptions(roughness=rule)  # type: ignore[arg-type]
        levels = material_levels({"normal": normal, "roughness": roughness}, options)
        far = np.array([drawn(levels["normal"][-3], levels["roughness"][-3], angle) for angle in angles])
        error[rule] = np.abs(far - truth).sum() / truth.sum()
        if rule in ("vmf_ggx", "toksvig"):
            assert np.abs(far - flat).sum() / flat.sum() < 0.2
            assert error[rule] < 0.25
    # Without the spread a distant surface shines far too much; half of the spread mends most of that.
    assert error["vmf"] < error["none"] / 2
    assert error["vmf_ggx"] < error["vmf"]


# --- coverage


@pytest.mark.parametrize("name", ["box", "kaiser"])
def test_each_level_of_a_cut_out_passes_the_alpha_test_as_often_as_the_first(name: Any) -> None:
    leaves = (np.random.default_rng(7).random((96, 128, 1)) < 0.2).astype(np.uint8) * np.uint8(255)
    threshold = 0.5
    plain = material_levels({"opacity": leaves}, ChainOptions(name))["opacity"]
    kept = material_levels({"opacity": leaves}, ChainOptions(name, coverage_threshold=threshold))["opacity"]
    share = (leaves / 255 >= threshold).mean()
    for level in range(1, 4):  # smaller levels have too few texels for the share
        assert np.abs((kept[level] / 255 >= threshold).mean() - share) < 0.03
    assert np.abs((plain[3] / 255 >= threshold).mean() - share) > 0.1


def test_coverage_that_holds_already_leaves_the_levels_alone() -> None:
    halves = np.zeros((32, 32, 1), np.uint8)
    halves[:16] = 255
    plain = material_levels({"opacity": halves})["opacity"]
    kept = material_levels({"opacity": halves}, ChainOptions(coverage_threshold=0.5))["opacity"]
    assert all((one == other).all() for one, other in zip(plain[:-1], kept[:-1], strict=True))


def test_the_factor_puts_the_alpha_test_between_the_texels_that_should_pass_and_those_that_should_not() -> None:
    first, second = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.4, 0.3, 0.2, 0.1])
    scales = coverage_scales([(0, first), (1, second)], 0.5, 2)
    assert scales[0] == 1
    assert (second * scales[1] >= 0.5).tolist() == [True, True, False, False]


@pytest.mark.parametrize("threshold", [0, 1.5, -1])
def test_an_alpha_test_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="alpha test"):
        coverage_scales([], threshold, 1)
    with pytest.raises(ValueError, match="alpha test"):
        ChainOptions(coverage_threshold=threshold)


# --- charts


def test_maps_with_charts_take_nothing_across_and_share_the_chart_map() -> None:
    random = np.random.default_rng(2)
    charts = np.kron(random.integers(0, 4, (9, 11)), np.ones((4, 4), np.uint8)).astype(np.uint8)
    codes = random.integers(0, 256, 4).astype(np.uint8)
    maps = {"albedo": codes[charts][..., None].repeat(3, axis=2), "roughness": codes[charts]}
    options = ChainOptions("lanczos3")
    owners = chart_levels(charts, options)
    for levels in material_levels(maps, options, charts=charts).values():
        assert all((level == codes[owner][..., None]).all() for level, owner in zip(levels, owners, strict=True))


def test_the_chart_map_of_a_level_is_the_one_that_goes_down_with_the_texels() -> None:
    charts = np.random.default_rng(4).integers(0, 3, (13, 18))
    texels = np.zeros((13, 18, 1), np.float32)
    owners = chart_levels(charts)
    for level, first, _, owner in chart_chain(lambda a, b: texels[a:b], lambda a, b: charts[a:b], 13, 18, 1, "kaiser"):
        assert (owners[level][first : first + len(owner)] == owner).all()


# --- sources


@pytest.mark.parametrize("name", ["box", "kaiser"])
def test_a_memory_map_gives_what_an_array_gives(tmp_path: Path, name: Any) -> None:
    maps = random_material(70, 45)
    mapped = {}
    for kind, texels in maps.items():
        texels.tofile(tmp_path / kind)
        mapped[kind] = np.memmap(tmp_path / kind, np.uint8, "r", shape=texels.shape)
    for kind, levels in material_levels(mapped, ChainOptions(name)).items():
        for one, other in zip(levels, material_levels(maps, ChainOptions(name))[kind], strict=True):
            assert (one == other).all()


def test_changes_to_a_copy_on_write_map_are_not_lost(tmp_path: Path) -> None:
    np.zeros((64, 64), np.uint8).tofile(tmp_path / "height")
    mapped = np.memmap(tmp_path / "height", np.uint8, "c", shape=(64, 64))
    mapped[:] = 9
    for _ in range(2):
        assert all((level == 9).all() for level in material_levels({"height": mapped})["height"])


def test_an_object_that_reads_its_rows_is_a_source_and_views_are_too() -> None:
    texels = random_material(33, 20)["albedo"]

    class Reader:
        shape, dtype = texels.shape, texels.dtype

        def __getitem__(self, rows: slice) -> np.ndarray:
            return texels[rows].copy()

    want = material_levels({"albedo": texels})["albedo"]
    backwards = np.ascontiguousarray(texels[..., ::-1])[..., ::-1]
    for source in (Reader(), backwards):
        got = material_levels({"albedo": source})["albedo"]
        assert all((one == other).all() for one, other in zip(got, want, strict=True))


def test_the_maps_come_side_by_side_and_each_level_without_a_gap() -> None:
    maps = random_material(600, 1900)
    seen: dict[tuple[str, int], int] = {}
    for kind, level, first_row, rows in material_chain(maps):
        assert first_row == seen.get((kind, level), 0)
        seen[kind, level] = first_row + rows.shape[0]
        if level == 0:
            done = [seen.get((name, 0), 0) for name in maps]
            assert max(done) - min(done) <= 256
    assert seen == {(kind, k): h for kind in maps for k, (h, _) in enumerate(level_sizes(600, 1900))}


def test_without_roughness_and_coverage_the_box_is_the_streaming_box_chain() -> None:
    maps = random_material(31, 44, np.uint16)
    for kind in ("albedo", "normal", "height"):
        for as_float in (False, True):
            plain = box_chain([maps[kind]], 31, 44, FILTERING[kind], as_float=as_float)
            ours = map_chain(kind, maps, as_float=as_float)
            for (level, first, rows), (other_level, other_first, other) in zip(ours, plain, strict=True):
                assert (level, first) == (other_level, other_first)
                assert (rows == other).all()


@pytest.mark.parametrize(
    ("kind", "dtype", "options", "charted"),
    [
        ("albedo", "uint8", "", False),
        ("albedo", "float32", "'kaiser', 'repeat'", False),
        ("height", "float32", "", True),
    ],
)
def test_a_memory_mapped_chain_needs_less_memory_than_the_map(
    tmp_path: Path, kind: str, dtype: str, options: str, charted: bool
) -> None:
    """A sparse file, every texel looked at, in its own process; how far the peak rises above a small map's counts."""
    width, height, channels = 4096, 4096, 3 if kind == "albedo" else 1
    for name, rows in (("large", height), ("small", 64), ("large charts", height), ("small charts", 64)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(rows * width * (4 if "charts" in name else channels * np.dtype(dtype).itemsize))
    script = (
        "import sys, numpy as np\n"
        "from mipmap.material_chain import ChainOptions, map_chain\n"
        "def peak():\n"
        "    return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
        "def mapped(name, dtype, *shape):\n"
        "    return np.memmap(sys.argv[1] + '/' + name, dtype, 'r', shape=shape)\n"
        "def run(name, rows):\n"
        f"    source = mapped(name, '{dtype}', rows, {width}, {channels})\n"
        f"    charts = mapped(name + ' charts', 'int32', rows, {width}) if {charted} else None\n"
        f"    for _, _, rows in map_chain('{kind}', {{'{kind}': source}}, ChainOptions({options}), charts=charts):\n"
        "        rows.max()\n"
        "run('small', 64)\n"
        "before = peak()\n"
        f"run('large', {height})\n"
        "print((peak() - before) * 1024)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < (tmp_path / "large").stat().st_size / 2


@pytest.mark.parametrize(
    ("maps", "word"),
    [
        ({}, "at least one map"),
        ({"colour": np.zeros((2, 2, 3), np.uint8)}, "not a kind"),
        ({"albedo": np.zeros((2, 2, 4), np.uint8)}, r"shape \(H, W, 3\)"),
        ({"height": np.zeros((2, 2, 1), np.float64)}, "must be uint8"),
        ({"height": np.zeros((2, 2), np.uint8), "opacity": np.zeros((2, 3), np.uint8)}, "share one size"),
    ],
)
def test_wrong_materials_are_refused(maps: dict[str, np.ndarray], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        material_levels(maps)


@pytest.mark.parametrize("change", [{"filter": "gauss"}, {"wrap": "mirror"}, {"roughness": "lean"}])
def test_unknown_options_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        ChainOptions(**change)
