"""16-bit codes as 8-bit ones: what lies between two codes is kept in the mean."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mipmap.diffusion import Diffusion
from texsynth.image_io import read_image
from texsynth.material import MapKind
from texsynth.options import Options
from texsynth.publish import publish_maps
from texsynth.run import Run


def test_what_varies_by_less_than_a_code_is_kept_in_the_mean() -> None:
    ramp = np.linspace(127.2, 128.1, 96)[None, :, None] * np.ones((64, 1, 3))
    codes = np.rint(ramp * 257).astype(np.uint16)
    made = Diffusion(96, 3).rounded(codes).astype(np.float32)
    assert np.abs(made - ramp).max() < 1.2
    inner = (slice(8, -8), slice(8, -8))
    assert np.abs(cv2.blur(made - ramp.astype(np.float32), (8, 8)))[inner].max() < 0.1
    rounded = np.rint(ramp).astype(np.float32)
    assert np.abs(cv2.blur(rounded - ramp.astype(np.float32), (8, 8)))[inner].max() > 0.4


def test_rows_that_come_in_parts_are_those_of_the_whole() -> None:
    codes = np.random.default_rng(0).integers(0, 65536, (23, 17, 3)).astype(np.uint16)
    parts = Diffusion(17, 3)
    made = np.concatenate([parts.rounded(codes[first : first + 5]) for first in range(0, 23, 5)])
    np.testing.assert_array_equal(made, Diffusion(17, 3).rounded(codes))


def test_codes_of_8_bits_stay_as_they_are_beside_others() -> None:
    codes = np.full((16, 16, 1), 128 * 257 + 100, np.uint16)
    codes[:, 8:] = 90 * 257
    made = Diffusion(16, 1).rounded(codes)
    assert (made[:, 8:] == 90).all()
    assert set(np.unique(made[:, :8])) == {128, 129}


def test_a_map_of_16_bits_becomes_a_png_of_8_on_every_level(tmp_path: Path) -> None:
    flat = np.full((64, 64, 3), 128 * 257 + 90, np.uint16)
    flat[:, :, 2] = 65535
    entry = publish_maps(tmp_path, {MapKind.NORMAL: flat}, Options(size=64).storage, Run())["normal"]
    assert entry["bits"] == 8
    for level in (entry, *entry["mips"][:3]):
        texels = read_image(tmp_path / level["file"], colour=False).texels
        assert texels.dtype == np.uint8
        assert abs(texels[:, :, 0].mean() - (128 + 90 / 257)) < 0.1, level["file"]
