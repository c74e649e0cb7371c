"""A lead: the layout follows a picture, in the exemplar's colours and at the phase of its lattice."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mipmap.metrics import texture_distance
from texsynth.exemplar import Exemplar, build_exemplar, coarsest_scale, prepare_exemplar
from texsynth.layer import Texels, make_layer
from texsynth.layout import plan_frame
from texsynth.lead import in_colours_of, lead_at, tokens_of
from texsynth.material import MapKind
from texsynth.model.latent import BlockPCA, to_tensor
from texsynth.options import Options
from texsynth.profiles import ON_CPU
from texsynth.run import Run
from texsynth.train.procedural import generate

Floats = NDArray[np.float32]
OPEN = (False, False)


def exemplar(kind: str, size: int = 256) -> Exemplar:
    return prepare_exemplar(generate(kind, size, 1), (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS))


def albedo_of(known: Exemplar) -> Floats:
    return np.ascontiguousarray(known.stack[:, :, :3])


def shuffled(picture: Floats, parts: int = 4) -> Floats:
    """Its parts x parts tiles in another order."""
    side = picture.shape[0] // parts
    tiles = picture.reshape(parts, side, parts, side, 3).swapaxes(1, 2).reshape(parts**2, side, side, 3)
    order = np.random.default_rng(0).permutation(parts**2)
    return np.ascontiguousarray(tiles[order].reshape(parts, parts, side, side, 3).swapaxes(1, 2).reshape(picture.shape))


def made(known: Exemplar, lead: Floats | None, folder: Path, seed: int = 0) -> Floats:
    """Encoded albedo of a whole layer."""
    size = known.size[0]
    layer = make_layer(
        known, None, None, size, Options(size=size, preset="draft", seed=seed), ON_CPU, folder, Run(),
        torus=OPEN, lead=lead, span=(0.0, 1.0), show=lambda *_: None,
    )  # fmt: skip
    return Texels(layer, 1.0).rows(0, size)[:, :, :3]


def correlation(one: Floats, other: Floats, side: int = 16) -> float:
    """Of two pictures averaged to `side` x `side`."""
    small = [
        cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).mean(axis=2).ravel() for image in (one, other)
    ]
    return float(np.corrcoef(*small)[0, 1])


@pytest.mark.parametrize("kind", ["gravel", "rock"])
def test_a_result_follows_a_lead_and_stays_as_near_to_the_exemplar_as_any(kind: str, tmp_path: Path) -> None:
    known = exemplar(kind)
    # blurred and of other colours, as a sheet may be
    lead = cv2.GaussianBlur(shuffled(albedo_of(known)), (0, 0), 3) * np.float32(0.7) + np.float32(0.2)
    led, free = made(known, lead, tmp_path / "led"), made(known, None, tmp_path / "free")
    assert correlation(led, lead) > 0.5
    assert abs(correlation(free, lead)) < 0.3
    assert texture_distance(led, albedo_of(known)) < 1.0


def test_a_lead_keeps_the_phase_of_a_lattice(tmp_path: Path) -> None:
    brick = exemplar("brick")
    assert len(brick.lattice.waves) > 0
    moved = np.roll(albedo_of(brick), (37, 21), (0, 1))
    frame = plan_frame(brick, brick.size, OPEN, 0, lead=moved)
    error = brick.lattice.waves @ (np.array(frame.origin) + (37, 21))
    assert float(np.abs(error - np.round(error)).max()) < 0.05


@pytest.mark.parametrize("moved", [5, 37, 131])
def test_a_lead_keeps_the_place_of_a_joint_that_is_there_once_a_side(moved: int) -> None:
    grey = 0.6 + 0.02 * np.random.default_rng(0).normal(size=(512, 512, 1))
    grey[100:106] = 0.2
    panels = build_exemplar(np.repeat(grey, 3, 2).astype(np.float32), (MapKind.ALBEDO,))
    np.testing.assert_allclose(panels.lattice.waves, [[1 / 512, 0]])
    frame = plan_frame(panels, panels.size, OPEN, 0, lead=np.roll(albedo_of(panels), moved, 0))
    assert abs((frame.origin[0] + moved + 256) % 512 - 256) < 2


def test_a_lead_keeps_the_phase_of_a_lattice_that_is_shifted_from_place_to_place() -> None:
    brick = exemplar("brick")
    shift = np.zeros((32, 32, 2), np.float32)
    shift[:, 16:, 0] = 9
    picture = albedo_of(brick)
    picture[:, 128:] = np.roll(picture, 9, 0)[:, 128:]
    frame = plan_frame(brick, brick.size, OPEN, 0, shift, np.roll(picture, 30, 0))
    error = brick.lattice.waves @ (np.array(frame.origin) + (30, 0))
    assert float(np.abs(error - np.round(error)).max()) < 0.05


def test_colours_are_matched_in_mean_and_covariance() -> None:
    rng = np.random.default_rng(0)
    model = (rng.normal(size=(64, 64, 3)) @ [[0.1, 0.02, 0], [0, 0.08, 0.03], [0, 0, 0.05]] + 0.4).astype(np.float32)
    given = (rng.normal(size=(32, 48, 3)) @ [[0.05, 0, 0.03], [0, 0.1, 0], [0, 0.02, 0.06]] + 0.6).astype(np.float32)
    matched = in_colours_of(given, model).reshape(-1, 3)
    np.testing.assert_allclose(matched.mean(axis=0), model.reshape(-1, 3).mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(np.cov(matched.T), np.cov(model.reshape(-1, 3).T), atol=1e-4)


def test_a_flat_lead_stays_finite_and_is_not_blown_up_to_noise() -> None:
    model = np.random.default_rng(0).random((64, 64, 3), np.float32)
    matched = in_colours_of(np.full((32, 32, 3), 0.5, np.float32), model)
    assert np.isfinite(matched).all()
    np.testing.assert_allclose(matched, np.broadcast_to(model.mean(axis=(0, 1)), matched.shape), atol=1e-3)


def test_the_latent_of_an_exemplars_own_albedo_is_nearly_that_of_all_its_maps() -> None:
    known = exemplar("gravel")
    scale = coarsest_scale(known)
    shape = known.size[0] // (8 * scale), known.size[1] // (8 * scale)
    level = np.ascontiguousarray(known.weighted.reshape(shape[0] * 8, scale, shape[1] * 8, scale, -1).mean(axis=(1, 3)))
    latent = BlockPCA.fit(to_tensor(level), 16, 0.15)
    whole = latent.encode(to_tensor(level))
    guessed = tokens_of(lead_at(albedo_of(known), known, scale, shape), latent)
    assert guessed.shape == whole.shape
    assert float(np.corrcoef(guessed.numpy().ravel(), whole.numpy().ravel())[0, 1]) > 0.6
