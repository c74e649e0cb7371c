"""Box mip chains against float64 brute force, and the properties that a chain must keep for any size."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipmap.chain import box_chain, decoding_table, level_sizes, mean_chain

ROOT = Path(__file__).resolve().parent.parent
SIZES = [(1, 1), (1, 13), (13, 1), (2, 2), (5, 3), (16, 16), (31, 33), (12, 20), (37, 64), (64, 7)]


def cut(texels: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    yield from (texels[y : y + rows] for y in range(0, texels.shape[0], rows))


def whole_levels(texels: np.ndarray, filtering: Any, rows: int = 4, **options: Any) -> list[np.ndarray]:
    """The chain put together from its bands, which must come without a gap."""
    levels: dict[int, list[np.ndarray]] = {}
    for level, first_row, band in box_chain(cut(texels, rows), *texels.shape[:2], filtering, **options):
        parts = levels.setdefault(level, [])
        assert first_row == sum(part.shape[0] for part in parts)
        parts.append(band.copy())
    return [np.concatenate(levels[level]) for level in sorted(levels)]


def to_linear(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def to_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def overlap_matrix(size: int) -> np.ndarray:
    """(max(1, size // 2), size) float64: the share of each source texel in each output, from the rectangles."""
    out = max(1, size // 2)
    edges = np.arange(out + 1) * size / out
    low, high = edges[:-1, None], edges[1:, None]
    source = np.arange(size)
    return np.clip(np.minimum(high, source + 1) - np.maximum(low, source), 0, None) / (size / out)


def reference(texels: np.ndarray, filtering: str) -> list[np.ndarray]:
    """Float64 chain as codes before rounding."""
    maximum = np.iinfo(texels.dtype).max
    value = texels.astype(np.float64) / maximum
    value = to_linear(value) if filtering == "colour" else 2 * value - 1 if filtering == "normal" else value
    levels = [texels.astype(np.float64)]
    while value.shape[:2] != (1, 1):
        value = np.einsum("ai,bj,ijc->abc", overlap_matrix(value.shape[0]), overlap_matrix(value.shape[1]), value)
        shown = value
        if filtering == "colour":
            shown = to_srgb(value)
        elif filtering == "normal":
            shown = value / np.linalg.norm(value, axis=2, keepdims=True) / 2 + 0.5
        levels.append(shown * maximum)
    return levels


def random_codes(size: tuple[int, int], channels: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    maximum = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, maximum + 1, (*size, channels), dtype=dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("filtering", "channels"), [("colour", 3), ("normal", 3), ("scalar", 1)])
@pytest.mark.parametrize("size", SIZES)
def test_every_level_is_the_float64_area_average_rounded_once(
    size: tuple[int, int], filtering: str, channels: int, dtype: Any
) -> None:
    texels = random_codes(size, channels, dtype)
    got, want = whole_levels(texels, filtering), reference(texels, filtering)
    assert [level.shape for level in got] == [level.shape for level in want]
    for level, exact in zip(got, want, strict=True):
        # Half a code is the rounding; the rest is float32 near a tie, and for 16-bit codes float32 itself.
        assert np.abs(level - exact).max() <= 0.5 + (1e-3 if dtype == np.uint8 else 0.1)


def test_a_black_and_white_checker_averages_to_188_in_srgb() -> None:
    checker = np.uint8(255) * (np.indices((64, 64)).sum(axis=0) % 2)[..., None].repeat(3, axis=2).astype(np.uint8)
    assert all((level == 188).all() for level in whole_levels(checker, "colour")[1:])


def test_a_black_and_white_checker_averages_to_half_as_a_scalar() -> None:
    checker = np.uint8(255) * (np.indices((64, 64)).sum(axis=0) % 2)[..., None].astype(np.uint8)
    assert all((level == 128).all() for level in whole_levels(checker, "scalar")[1:])


@pytest.mark.parametrize("filtering", ["colour", "scalar"])
def test_every_constant_code_stays_itself_on_every_level(filtering: str) -> None:
    codes = np.broadcast_to(np.arange(256, dtype=np.uint8), (27, 37, 256))
    assert all((level == np.arange(256)).all() for level in whole_levels(np.ascontiguousarray(codes), filtering))


@pytest.mark.parametrize("filtering", ["colour", "scalar"])
def test_every_constant_16_bit_code_stays_itself(filtering: str) -> None:
    codes = np.broadcast_to(np.arange(65536, dtype=np.uint16), (3, 5, 65536))
    assert all((level == np.arange(65536)).all() for level in whole_levels(np.ascontiguousarray(codes), filtering))


def test_the_flat_normal_stays_flat_to_the_bit() -> None:
    flat = np.full((33, 40, 3), (128, 128, 255), np.uint8)
    assert all((level == (128, 128, 255)).all() for level in whole_levels(flat, "normal"))


def test_a_tilted_unit_normal_stays_within_one_code() -> None:
    normal = np.array([0.6, -0.48, 0.64])
    codes = np.round((normal + 1) / 2 * 255).astype(np.uint8)
    for level in whole_levels(np.ascontiguousarray(np.broadcast_to(codes, (20, 20, 3))), "normal"):
        assert np.abs(level.astype(int) - codes.astype(int)).max() <= 1


def test_opposite_normals_without_a_mean_direction_become_the_flat_normal() -> None:
    opposite = np.array([[[255, 127, 0], [0, 128, 255]]], np.uint8)
    assert whole_levels(opposite, "normal")[1].tolist() == [[[128, 128, 255]]]


def test_normals_are_unit_vectors_on_output_and_raw_means_inside_the_chain() -> None:
    tilted = np.zeros((2, 2, 3), np.uint8)
    tilted[:, 0], tilted[:, 1] = (255, 128, 128), (128, 128, 255)  # 90 degrees apart: their mean is .707 long
    shown = whole_levels(tilted, "normal", as_float=True)[1][0, 0] * 2 - 1
    assert np.linalg.norm(shown) == pytest.approx(1, abs=1e-5)
    raw = [mean for level, _, _, mean in mean_chain(cut(tilted, 2), 2, 2, "normal") if level == 1]
    assert raw[0] is not None
    assert np.linalg.norm(raw[0]) == pytest.approx(0.7071, abs=5e-3)


@pytest.mark.parametrize("filtering", ["colour", "scalar"])
def test_the_last_level_is_the_mean_of_the_whole_map_for_any_size(filtering: Any) -> None:
    texels = random_codes((45, 23), 3)
    mean = decoding_table(texels.dtype, filtering)[texels].astype(np.float64).mean(axis=(0, 1))
    assert whole_levels(texels, filtering, as_float=True)[-1][0, 0] == pytest.approx(mean, abs=1e-6)


def test_float_output_is_linear_light_for_colour_at_every_level() -> None:
    levels = whole_levels(random_codes((8, 8), 3), "colour", as_float=True)
    exact = reference(random_codes((8, 8), 3), "colour")
    for level, codes in zip(levels, exact, strict=True):
        assert level.dtype == np.float32
        assert np.abs(level - to_linear(codes / 255)).max() < 1e-6


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.sampled_from(["colour", "normal", "scalar"]),
)
def test_the_cut_into_bands_changes_nothing(height: int, width: int, cuts: list[int], filtering: Any) -> None:
    texels = random_codes((height, width), 3, seed=height * 41 + width)

    def uneven() -> Iterable[np.ndarray]:
        y = 0
        for rows in cuts:
            yield texels[y : y + rows]
            y = min(height, y + rows)
        yield texels[y:]

    levels: dict[int, list[np.ndarray]] = {}
    for level, _, band in box_chain(uneven(), height, width, filtering):
        levels.setdefault(level, []).append(band)
    want = whole_levels(texels, filtering, rows=height)
    assert all((np.concatenate(levels[k]) == level).all() for k, level in enumerate(want))


def test_a_band_buffer_may_be_used_again_after_each_step() -> None:
    texels = random_codes((11, 9), 3)

    def reused() -> Iterable[np.ndarray]:
        buffer = np.empty((1, 9, 3), np.uint8)
        for row in texels:
            buffer[0] = row
            yield buffer

    last = [band for level, _, band in box_chain(reused(), 11, 9, "colour") if level == 3]
    assert (last[0] == whole_levels(texels, "colour")[3]).all()


def test_level_sizes_follow_the_floor_rule_down_to_one_texel() -> None:
    assert level_sizes(8192, 8192)[-1] == (1, 1)
    assert len(level_sizes(8192, 8192)) == 14
    assert level_sizes(5, 13) == [(5, 13), (2, 6), (1, 3), (1, 1)]


def test_a_map_without_texels_has_no_chain() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        level_sizes(0, 4)


@pytest.mark.parametrize("rows", [3, 5])
def test_bands_that_do_not_add_up_to_the_height_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="4"):
        list(box_chain([np.zeros((rows, 4, 1), np.uint8)], 4, 4, "scalar"))


def test_a_band_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="every band must be"):
        list(box_chain([np.zeros((2, 4, 1), np.uint8), np.zeros((2, 5, 1), np.uint8)], 4, 4, "scalar"))


@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_bands_of_other_types_are_refused(dtype: Any) -> None:
    with pytest.raises(ValueError, match="must be uint8, uint16, float16 or float32"):
        list(box_chain([np.zeros((4, 4, 1), dtype)], 4, 4, "scalar"))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([np.float16, np.float32]), st.integers(0, 99))
def test_high_dynamic_range_keeps_its_energy_on_every_level(height: int, width: int, dtype: Any, seed: int) -> None:
    light = (np.random.default_rng(seed).lognormal(0, 3, (height, width, 3)) / 16).astype(dtype)
    energy = light.astype(np.float64).mean(axis=(0, 1))
    for level in whole_levels(light, "colour", as_float=True):
        assert level.astype(np.float64).mean(axis=(0, 1)) == pytest.approx(energy, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 2.0**100, width=32))
def test_a_floating_point_constant_stays_itself_to_the_bit(height: int, width: int, value: float) -> None:
    constant = np.full((height, width, 2), value, np.float32)
    for level in whole_levels(constant, "scalar"):
        assert level.dtype == np.float32
        assert (level == np.float32(value)).all()


def test_half_floats_come_out_as_half_floats_of_the_same_averages() -> None:
    light = np.random.default_rng(5).lognormal(0, 2, (21, 34, 3)).astype(np.float16)
    half, single = whole_levels(light, "colour"), whole_levels(light.astype(np.float32), "colour")
    for level, exact in zip(half, single, strict=True):
        assert level.dtype == np.float16
        assert (level == exact.astype(np.float16)).all()


def test_floating_point_normals_are_encoded_like_integer_ones() -> None:
    codes = random_codes((9, 14), 3, np.uint16)
    from_codes = whole_levels(codes, "normal", as_float=True)
    from_floats = whole_levels((codes / 65535).astype(np.float32), "normal")
    for level, other in zip(from_codes, from_floats, strict=True):
        assert np.abs(level - other).max() < 1e-4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(700, 256), (333, 511)])
def test_threads_change_nothing(size: tuple[int, int], dtype: Any) -> None:
    texels = (random_codes(size, 3, np.uint16) / (257 if dtype == np.uint8 else 1)).astype(dtype)
    for one, many in zip(
        whole_levels(texels, "colour", 400), whole_levels(texels, "colour", 400, workers=3), strict=True
    ):
        assert (one == many).all()


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(("filtering", "tolerance"), [("colour", 4e-3), ("scalar", 1e-3)])
def test_the_fast_rounding_steps_where_the_exact_one_does(filtering: Any, tolerance: float, width: int) -> None:
    """Values of single texels between and on the thresholds, through a 1 x 1 level that nothing else averages."""
    codes = np.arange(256, dtype=np.uint8)
    pairs = np.stack(np.meshgrid(codes, codes, indexing="ij"), axis=-1).reshape(-1, 2)  # each pair averages to a value
    fast = whole_levels(np.repeat(pairs.T[:, None, :], width, axis=1), filtering)[1]
    table = decoding_table(np.dtype(np.uint8), filtering).astype(np.float64)
    mean = table[pairs].mean(axis=1)
    exact = (to_srgb(mean) if filtering == "colour" else mean) * 255
    assert np.abs(fast.reshape(-1) - exact).max() <= 0.5 + tolerance


def test_a_normal_map_of_two_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="must have 3"):
        list(box_chain([np.zeros((4, 4, 2), np.uint8)], 4, 4, "normal"))


def test_the_chain_loads_neither_torch_nor_the_engine_and_works_without_a_writable_cache(tmp_path: Path) -> None:
    """A copy of the package in a folder nobody may write to, with no home: the kernels compile in memory."""
    package = tmp_path / "site" / "mipmap"
    package.mkdir(parents=True)
    for name in ("__init__.py", "chain.py", "compiled.py", "srgb.py"):
        (package / name).write_bytes((ROOT / "mipmap" / name).read_bytes())
    (package / "__pycache__").write_text("a file where numba wants a folder")
    script = (
        "import sys, numpy as np\n"
        "from mipmap.chain import box_chain\n"
        "print([int(r[0, 0, 0]) for _, _, r in box_chain([np.full((2, 2, 1), 7, np.uint8)], 2, 2, 'scalar')])\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'texsynth'}))\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/dev/null", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=package.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == ["[7, 7]", "[]"]
