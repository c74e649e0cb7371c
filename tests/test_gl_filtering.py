"""GL as a source of ADF: the trial that decides whether a driver filters, and what a driver draws."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from mipmap.gl_context import GlUnavailable, gl_displays
from mipmap.metrics import ExactSampler, Texture, View, see, trusted_sampler
from mipmap.metrics.gl_sampler import GlSampler
from mipmap.metrics.gl_trial import Trial, try_sampler
from mipmap.metrics.images import Image


class Probes:
    """A driver that takes `count` bilinear probes along the footprint, or blurs isotropically below 2x."""

    def __init__(self, count: int) -> None:
        self.count, self.source = count, f"{count} probes"

    def see(self, texture: Texture, view: View, rows: slice) -> Image:
        if view.anisotropy < 2:
            return see(texture, View(view.angle, view.incidence, 1), rows)
        screen = np.moveaxis(np.indices(view.screen(texture.size)), 0, 2)[..., ::-1]
        centre = view.first_centre(texture.size) + screen @ view.axes()
        total: NDArray[np.float64] = np.zeros(centre.shape[:2])
        for place in (np.arange(self.count) + 0.5) / self.count - 0.5:
            x, y = np.moveaxis(centre + place * view.footprint()[1] - 0.5, 2, 0)
            total += ndimage.map_coordinates(texture.texels[:, :, 0], [y, x], order=1, mode="grid-wrap")
        return (total[rows, :, None] / self.count).astype(np.float32)


def test_a_driver_that_takes_a_probe_a_texel_passes_its_trial() -> None:
    trial = try_sampler(Probes(6))
    assert trial.filters and trial.error < 0.02
    assert trial.isotropic > 0.3


def test_a_driver_that_takes_two_probes_whatever_is_asked_for_fails_its_trial() -> None:
    trial = try_sampler(Probes(2))
    assert not trial.filters
    assert trial.error > 0.08


def test_the_exact_footprint_passes_without_any_error() -> None:
    assert try_sampler(ExactSampler()).error == 0


@pytest.fixture(scope="module")
def driver() -> Iterator[GlSampler]:
    """The first GL driver that draws at all, whether or not it filters."""
    probe = "from mipmap.metrics.gl_trial import main; main()"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    if done.returncode < 0:  # killed by a signal, which is the driver's doing; an exception would be ours
        pytest.skip(f"the GL driver crashes with signal {-done.returncode}")
    assert done.returncode == 0, done.stderr
    try:
        sampler = GlSampler(gl_displays()[0])
    except (GlUnavailable, IndexError) as error:
        pytest.skip(f"no GL here: {error}")
    with sampler:
        yield sampler


def test_a_driver_draws_the_texels_where_the_exact_footprint_has_them(driver: GlSampler) -> None:
    """Several tiles with windows that wrap, and no filtering that a driver could leave out."""
    texels = np.random.default_rng(0).random((150, 300, 3)).astype(np.float32)
    source = Texture(texels, "linear")
    for angle in (0, 90):
        view = View(angle, 0, anisotropy=1)
        assert np.abs(driver.see(source, view) - see(source, view)).max() < 1e-3


def test_rows_of_a_drivers_view_are_those_of_the_exact_one(driver: GlSampler) -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((128, 128, 1)), (6, 6, 0), mode="wrap")
    source, view = Texture((20 * (smooth - 0.5) + 0.5).astype(np.float32), "linear"), View(45, 30, 2)
    rows = slice(70, 90)
    exact = see(source, view, rows)
    assert np.abs(driver.see(source, view, rows) - exact).max() < 0.1 * np.ptp(exact)


def test_numbers_come_from_a_driver_only_if_it_passed_its_trial(driver: GlSampler) -> None:
    with trusted_sampler() as (sampler, reason):
        trial = try_sampler(sampler)
        assert trial.filters
        assert "of the contrast from the exact footprint" in reason
        if isinstance(sampler, ExactSampler):
            assert not try_sampler(driver).filters
            assert driver.source in reason


def test_without_a_driver_the_exact_footprint_stands_in_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, said in (
        (None, "crashed or hung"),
        ([], "no display"),
        ([{"reason": "EGL: no such library"}], "no such library"),
        ([vars(Trial("GL, lazy", 0.3, 0.6))], "does not really filter"),
    ):
        monkeypatch.setattr("mipmap.metrics.gl_trial.ask", lambda module, answer=answer: answer)
        with trusted_sampler() as (sampler, reason):
            assert isinstance(sampler, ExactSampler)
            assert said in reason
