"""What is shown of a texture while it is made."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from texsynth.options import Options
from texsynth.preview import SIDE
from texsynth.restyle import restyle, synthesize
from texsynth.run import Progress, Run
from texsynth.sample_asset import write_sample_asset
from texsynth.train.procedural import generate, write


@pytest.fixture(scope="module")
def gravel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exemplar") / "gravel"
    write(generate("gravel", 512, 1), folder)
    return folder


class Watcher:
    """Keeps every picture that a run shows."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []
        self._seen: set[int] = set()

    def hear(self, progress: Progress) -> None:
        if progress.preview is not None and progress.preview.exists():
            changed = progress.preview.stat().st_mtime_ns
            if changed not in self._seen:
                self._seen.add(changed)
                self.pictures.append(cv2.imread(str(progress.preview)))


def test_the_whole_texture_is_shown_at_most_512_pixels_wide(gravel: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    synthesize(gravel, tmp_path, Options(size=1024, preset="draft"), Run(listener=watcher.hear))
    assert len(watcher.pictures) > 1
    assert max(max(picture.shape) for picture in watcher.pictures) == SIDE
    result = cv2.resize(cv2.imread(str(tmp_path / "albedo.png")), (32, 32), interpolation=cv2.INTER_AREA)
    last = cv2.resize(watcher.pictures[-1], (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(result.astype(float) - last).mean() < 8, "the last picture is of the result"


def test_on_a_mesh_the_lit_view_is_shown(gravel: Path, tmp_path: Path) -> None:
    asset = write_sample_asset(tmp_path / "asset", 256)
    watcher = Watcher()
    restyle(asset, gravel, tmp_path / "out", Options(size=128, preset="draft"), Run(listener=watcher.hear))
    picture = watcher.pictures[-1]
    assert picture.shape == (SIDE, SIDE, 3)
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    assert np.ptp(corners, axis=1).max() <= 2, "the studio's grey around it"
    assert picture[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4].std() > 10
