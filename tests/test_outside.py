"""A region that is restyled in the material that lies around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from texsynth.exemplar import build_exemplar
from texsynth.image_io import read_image, save_image
from texsynth.material import MapKind, TextureMap
from texsynth.options import Options
from texsynth.outside import Outside, resembles
from texsynth.region import Region
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.train.procedural import generate

Codes = NDArray[np.uint8]

SIZE, PERIOD, JOINT = 256, 32, 4
PHOTO = (MapKind.ALBEDO,)


def tiles(seed: int, offset: tuple[int, int] = (0, 0)) -> Codes:
    """Tiles of many greys between dark joints, from a place of its own in the pattern: (SIZE, SIZE, 3)."""
    rng = np.random.default_rng(seed)
    ys, xs = (np.arange(SIZE) + each for each in offset)
    greys = rng.uniform(0.5, 0.8, (SIZE // PERIOD + 4,) * 2)[ys[:, None] // PERIOD, xs // PERIOD]
    grain = rng.normal(0, 0.01, (SIZE, SIZE))
    albedo = np.where(joints(offset), 0.15, greys) + grain
    return (np.clip(albedo, 0, 1) * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def joints(offset: tuple[int, int]) -> NDArray[np.bool_]:
    ys, xs = ((np.arange(SIZE) + each) % PERIOD < JOINT for each in offset)
    return ys[:, None] | xs


def middle() -> NDArray[np.bool_]:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = True
    return mask


def outside(image: Codes) -> Outside:
    found = Outside.of(TextureMap(MapKind.ALBEDO, image), Region(middle()))
    assert found is not None
    return found


def known(image: Codes) -> bool:
    """Whether tiles take it for their own material."""
    exemplar = build_exemplar(tiles(0).astype(np.float32) / 255, PHOTO)
    return resembles(outside(image), exemplar, SIZE)


@pytest.mark.parametrize("offset", [(9, 23), (20, 5)])
def test_tiles_in_a_region_go_on_where_those_around_it_lie(tmp_path: Path, offset: tuple[int, int]) -> None:
    for name, image in (("asset", tiles(1, offset)), ("style", tiles(0))):
        (tmp_path / name).mkdir()
        save_image(tmp_path / name / "albedo.png", image)
    save_image(tmp_path / "mask.png", (middle() * np.uint8(255))[:, :, None])
    options = Options(size=SIZE, preset="draft", maps=PHOTO, content=0.0, region=tmp_path / "mask.png")
    restyle(tmp_path / "asset", tmp_path / "style", tmp_path / "out", options, Run())
    made = read_image(tmp_path / "out" / "albedo.png").texels[:, :, 0] < 80
    dark, wanted = made[middle()], joints(offset)[middle()]
    assert (dark & wanted).sum() > 0.8 * (dark | wanted).sum()


def test_the_same_material_is_known_and_another_is_not() -> None:
    assert known(tiles(3, (13, 7)))
    for kind in ("brick", "leaves", "marble"):
        other = TextureMap(MapKind.ALBEDO, generate(kind, SIZE, 0).maps[MapKind.ALBEDO].texels)
        assert not known((other.encoded() * 255).astype(np.uint8))


def test_a_flat_surface_is_no_pattern_to_go_on_from() -> None:
    assert not known(np.full((SIZE, SIZE, 3), int(tiles(0).mean()), np.uint8))
    assert not known(np.full((SIZE, SIZE, 3), 160, np.uint8))


def test_a_region_of_everything_has_no_outside() -> None:
    everything = Region(np.ones((SIZE, SIZE), np.bool_))
    assert Outside.of(TextureMap(MapKind.ALBEDO, tiles(0)), everything) is None
