"""The closed-form score against float64 brute force that shares nothing with it but the exemplar's tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from texsynth.model import exemplar_score
from texsynth.model.exemplar_score import BFLOAT16_SIGMA, ExemplarScore, Prior, noise_levels, patches, step_weights
from texsynth.model.latent import BLOCK

Doubles = NDArray[np.float64]
OPEN, TORUS = (False, False), (True, True)


def exemplar(height: int = 32, width: int = 40, channels: int = 2, seed: int = 0) -> Tensor:
    """float32 (K, H, W): smooth noise that wraps."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft2(torch.randn(channels, height, width, generator=generator))
    falloff = torch.exp(-24 * (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width) ** 2))
    noise = torch.fft.irfft2(spectrum * falloff, s=(height, width))
    return noise / noise.std()


def score_of(
    image: Tensor, wraps: tuple[bool, bool] = TORUS, *, patch: int = 3, stride: int = 1, channels: int = 6,
    dimensions: int = 1000, cell: int = 8,
) -> ExemplarScore:  # fmt: skip
    return ExemplarScore(
        image, wraps, patch=patch, stride=stride, channels=channels, floor=0.15, dimensions=dimensions, cell=cell
    )


def noisy(score: ExemplarScore, sigma: float, rows: int = 4, columns: int = 5, seed: int = 1) -> Tensor:
    """Tokens of random places of the exemplar plus noise."""
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randint(len(score.values), (rows * columns,), generator=generator)
    clean = score.values[pick].T.reshape(-1, rows, columns)
    return clean + sigma * torch.randn(clean.shape, generator=generator)


def brute_force_weights(
    score: ExemplarScore, z: Tensor, sigma: float, wraps: tuple[bool, bool], torus: tuple[bool, bool], patch: int,
    extra: Doubles | None = None,
) -> tuple[Doubles, Doubles]:  # fmt: skip
    """Attention (h w, M) of every token to every key, and the keys' centre tokens (M, C), in float64, loop by loop."""
    tokens, latent = score.tokens.double().numpy(), z.double().numpy()
    height, width = tokens.shape[1:]
    step = BLOCK // round(float(score.positions[1, 1] - score.positions[0, 1]))
    stride = BLOCK // step
    reach = range(-(patch // 2), patch // 2 + 1)

    def index(at: int, size: int, wrap: bool) -> int:
        return at % size if wrap else min(max(at, 0), size - 1)

    keys, centres = [], []
    for y, x in (score.positions.numpy() // stride).tolist():
        around = [
            tokens[:, index(y + i * step, height, wraps[0]), index(x + j * step, width, wraps[1])]
            for i in reach
            for j in reach
        ]
        keys.append(np.concatenate(around))
        centres.append(tokens[:, y, x])
    queries = []
    for y in range(z.shape[1]):
        for x in range(z.shape[2]):
            around = [
                latent[:, index(y + i, z.shape[1], torus[0]), index(x + j, z.shape[2], torus[1])]
                for i in reach
                for j in reach
            ]
            queries.append(np.concatenate(around))
    distance = ((np.array(queries)[:, None] - np.array(keys)[None]) ** 2).sum(axis=2)
    logits = -distance / (2 * sigma**2) + (0 if extra is None else extra)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True), np.array(centres)


def brute_force_mean(score: ExemplarScore, z: Tensor, sigma: float, **how: object) -> Doubles:
    weights, centres = brute_force_weights(score, z, sigma, **how)  # type: ignore[arg-type]
    return np.asarray((weights @ centres).T.reshape(z.shape))


def worst(mean: Tensor, expected: Doubles) -> float:
    return float(np.abs(mean.double().numpy() - expected).max())


# The posterior mean


@pytest.mark.parametrize("sigma", [0.06, 0.15, 0.29])
@pytest.mark.parametrize("wraps", [TORUS, OPEN, (True, False)])
@pytest.mark.parametrize("torus", [TORUS, OPEN])
def test_the_posterior_mean_is_the_brute_force_one_to_float32(
    sigma: float, wraps: tuple[bool, bool], torus: tuple[bool, bool]
) -> None:
    score = score_of(exemplar(), wraps)
    z = noisy(score, sigma)
    expected = brute_force_mean(score, z, sigma, wraps=wraps, torus=torus, patch=3)
    assert sigma < BFLOAT16_SIGMA
    assert worst(score.denoise(z, sigma, torus, None), expected) < 2e-3


@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.5, 4.0])
def test_the_posterior_mean_in_bfloat16_stays_within_a_twentieth_of_a_deviation(sigma: float) -> None:
    score = score_of(exemplar())
    z = noisy(score, sigma)
    expected = brute_force_mean(score, z, sigma, wraps=TORUS, torus=TORUS, patch=3)
    assert sigma >= BFLOAT16_SIGMA
    error = np.abs(score.denoise(z, sigma, TORUS, None).double().numpy() - expected)
    assert float(np.sqrt((error**2).mean())) < 0.05
    assert float(error.max()) < 0.3


@pytest.mark.parametrize(("patch", "stride"), [(1, 1), (3, 2), (3, 4), (3, 8), (5, 2)])
def test_patches_and_strides_of_other_sizes_have_the_brute_force_mean_too(patch: int, stride: int) -> None:
    score = score_of(exemplar(48, 40), patch=patch, stride=stride)
    z = noisy(score, 0.2)
    expected = brute_force_mean(score, z, 0.2, wraps=TORUS, torus=TORUS, patch=patch)
    assert worst(score.denoise(z, 0.2, TORUS, None), expected) < 2e-3


def test_potentials_and_priors_are_log_weights_of_the_keys() -> None:
    score = score_of(exemplar())
    generator = torch.Generator().manual_seed(5)
    z = noisy(score, 0.25)
    prior = Prior(torch.randn(20, 7, generator=generator), torch.randn(len(score.keys), 7, generator=generator))
    score.potentials = torch.randn(len(score.potentials), generator=generator)
    extra = (prior.queries @ prior.keys.T + score.potentials[score.groups]).double().numpy()
    expected = brute_force_mean(score, z, 0.25, wraps=TORUS, torus=TORUS, patch=3, extra=extra)
    assert worst(score.denoise(z, 0.25, TORUS, prior), expected) < 2e-3


def test_at_low_noise_a_piece_of_the_exemplar_is_its_own_mean_and_attends_to_its_own_place() -> None:
    score = score_of(exemplar(48, 48), cell=16)
    piece = score.tokens[:, 3::BLOCK, 5::BLOCK]  # a torus of tokens, as the exemplar is one of texels
    assert worst(score.denoise(piece, 0.05, TORUS, None), piece.double().numpy()) < 1e-3
    rows, columns = np.meshgrid(np.arange(3, 48, BLOCK), np.arange(5, 48, BLOCK), indexing="ij")
    attended = score.attended(piece, 0.05, TORUS, None)
    assert attended.dtype == torch.int32
    np.testing.assert_array_equal(attended.numpy(), np.stack([rows, columns], -1))


def test_at_high_noise_the_mean_is_that_of_the_whole_exemplar() -> None:
    score = score_of(exemplar())
    mean = score.denoise(noisy(score, 1.0), 1e3, TORUS, None)
    assert float((mean - score.values.mean(dim=0)[:, None, None]).abs().max()) < 0.02


def test_noise_outside_the_space_of_the_keys_changes_nothing() -> None:
    score = score_of(exemplar(24, 24, 1), stride=8, channels=8)  # 9 keys of 72 dimensions
    basis = torch.linalg.qr(score.projection)[0]
    kept = score.projection[:, (score.keys.square().sum(0) > 1e-6)]
    assert kept.shape[1] < len(basis)
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(8, 3, 3, generator=generator)
    outside = torch.randn(72, generator=generator)
    outside -= kept @ (kept.T @ outside)
    query = patches(z, 3, TORUS)
    here = score.logits((query - score.key_mean) @ score.projection, 0.5, None, None)
    there = score.logits((query + 3 * outside - score.key_mean) @ score.projection, 0.5, None, None)
    assert float(outside.norm()) > 1
    assert float((torch.softmax(here, 1) - torch.softmax(there, 1)).abs().max()) < 1e-3


def test_the_dimensions_in_which_the_exemplar_lies_are_all_that_attention_needs() -> None:
    image = exemplar(24, 24, 1)
    all_of_them, few = score_of(image, stride=8, channels=8), score_of(image, stride=8, channels=8, dimensions=9)
    z = noisy(all_of_them, 0.25, 3, 3)
    difference = all_of_them.denoise(z, 0.25, TORUS, None) - few.denoise(z, 0.25, TORUS, None)
    assert float(difference.abs().max()) < 1e-3


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 6), st.integers(0, 1000))
def test_every_posterior_mean_lies_among_the_exemplars_tokens(sigma: float, seed: int) -> None:
    score = score_of(exemplar(24, 24, 1))
    mean = score.denoise(noisy(score, sigma, seed=seed), sigma, TORUS, None).reshape(6, -1)
    directions = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed))
    directions /= directions.norm(dim=1, keepdim=True)
    reach = (score.values @ directions.T).max(dim=0).values
    assert bool(((directions @ mean) <= reach[:, None] + 0.02).all())


def test_the_score_is_the_gradient_of_the_log_density_of_a_gaussian_mixture() -> None:
    """(mean - z) / sigma^2 with patches of one token, against central differences of the mixture's log density."""
    sigma = 0.25
    score = score_of(exemplar(16, 24, 1), patch=1, channels=5)
    places = score.values.double().numpy()
    z = noisy(score, sigma, 2, 3)

    def log_density(point: Doubles) -> float:
        exponents = -((point - places) ** 2).sum(axis=1) / (2 * sigma**2)
        return float(exponents.max() + np.log(np.exp(exponents - exponents.max()).mean()))

    found = ((score.denoise(z, sigma, TORUS, None) - z) / sigma**2).double().numpy().reshape(5, -1).T
    h = 1e-5
    for point, gradient in zip(z.double().numpy().reshape(5, -1).T, found, strict=True):
        expected = [(log_density(point + h * e) - log_density(point - h * e)) / (2 * h) for e in np.eye(5)]
        np.testing.assert_allclose(gradient, expected, atol=0.05)


# Potentials


def use_of_cells(score: ExemplarScore, z: Tensor, sigma: float) -> Doubles:
    """Attention by cell, over the share that the cell should have."""
    weights, _ = brute_force_weights(
        score, z, sigma, TORUS, TORUS, 3, score.potentials[score.groups].double().numpy()[None]
    )
    use = np.bincount(score.groups.numpy(), weights=weights.mean(axis=0))
    return np.asarray(use / score.target.double().numpy())


def test_balancing_makes_every_part_of_the_exemplar_used_nearly_equally() -> None:
    image = exemplar(48, 48, 1)
    image[:, :, 24:] *= 0.05  # a flat half, which noise is nearest to
    score = score_of(image, stride=2, cell=16)
    z = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(3)) * 2
    before = use_of_cells(score, z, 2.0)
    assert before.max() > 1.3
    assert before.min() < 0.4
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        score.balance(z, 2.0, TORUS, None, 40, 1.0, generator)
    after = use_of_cells(score, z, 2.0)
    assert after.max() < 1.15
    assert after.min() > 0.85
    assert abs(float(score.potentials.mean())) < 1e-4, "potentials are free up to a constant, which is taken out"


def test_balancing_takes_the_prior_into_account() -> None:
    score = score_of(exemplar(48, 48, 1), stride=4, cell=16)
    left = (score.positions[:, 1] < 16).float()[:, None] * 3
    prior = Prior(torch.ones(36, 1), left)
    z = torch.randn(6, 6, 6, generator=torch.Generator().manual_seed(3)) * 3
    score.balance(z, 3.0, TORUS, prior, 60, 1.0, torch.Generator().manual_seed(0))
    wanted = score.positions[:, 1] < 16
    potentials = score.potentials[score.groups]
    assert float(potentials[wanted].mean()) < float(potentials[~wanted].mean()) - 1.5


# The schedule


@given(st.floats(0.02, 10), st.floats(0.01, 1))
def test_a_step_keeps_the_variance_of_the_noise_at_its_level(sigma: float, share: float) -> None:
    following = sigma * share
    keep, fresh = step_weights(sigma, following)
    assert keep >= 0
    assert fresh >= 0
    assert (keep * sigma) ** 2 + fresh**2 == pytest.approx(following**2, rel=1e-9)


def test_a_step_to_no_noise_is_the_mean_itself() -> None:
    assert step_weights(0.5, 0.0) == (0.0, 0.0)


def test_a_step_that_stays_at_its_level_adds_nothing() -> None:
    keep, fresh = step_weights(0.5, 0.5)
    assert (keep, fresh) == (pytest.approx(1), pytest.approx(0))


@given(st.floats(0.5, 20), st.floats(0.01, 0.4), st.integers(2, 60))
def test_noise_levels_fall_geometrically_from_the_first_to_the_last_and_end_at_none(
    first: float, last: float, steps: int
) -> None:
    levels = noise_levels(first, last, steps)
    assert len(levels) == steps + 1
    assert levels[0] == first
    assert levels[-2] == pytest.approx(last)
    assert levels[-1] == 0
    ratios = [b / a for a, b in zip(levels[:-2], levels[1:-1], strict=True)]
    assert ratios == pytest.approx([(last / first) ** (1 / (steps - 1))] * (steps - 1))


def test_a_single_step_starts_at_the_first_level() -> None:
    assert noise_levels(1.0, 0.1, 1) == [1.0, 0.0]


def test_patches_wrap_on_a_torus_and_repeat_the_edge_elsewhere() -> None:
    tokens = torch.arange(12.0).reshape(1, 3, 4)
    wrapped, repeated = patches(tokens, 3, TORUS)[0], patches(tokens, 3, OPEN)[0]
    assert wrapped.tolist() == [11, 8, 9, 3, 0, 1, 7, 4, 5]
    assert repeated.tolist() == [0, 0, 1, 0, 0, 1, 4, 4, 5]
    assert patches(tokens, 3, (True, False))[0].tolist() == [8, 8, 9, 0, 0, 1, 4, 4, 5]
    assert math.prod(patches(tokens, 3, TORUS).shape) == 12 * 9


@pytest.mark.parametrize("torus", [OPEN, TORUS, (True, False)])
def test_patches_of_some_rows_are_those_rows_of_all_patches(torus: tuple[bool, bool]) -> None:
    tokens = torch.arange(60.0).reshape(2, 5, 6)
    for first, last in ((0, 2), (2, 4), (4, 5)):
        assert torch.equal(patches(tokens, 3, torus, (first, last)), patches(tokens, 3, torus)[first * 6 : last * 6])


@pytest.mark.parametrize("torus", [OPEN, TORUS])
def test_working_on_a_few_queries_at_once_changes_nothing(
    torus: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def results() -> tuple[Tensor, Tensor, Tensor]:
        score = score_of(exemplar())
        z = noisy(score, 0.5, 7, 9)
        score.balance(z, 0.5, torus, None, 10, 1.0, torch.Generator().manual_seed(0))
        return score.potentials, score.denoise(z, 0.2, torus, None), score.attended(z, 0.5, torus, None)

    whole = results()
    monkeypatch.setattr(exemplar_score, "PATCH_CHUNK", 20)
    monkeypatch.setattr(exemplar_score, "QUERY_CHUNK", 25)
    monkeypatch.setattr(exemplar_score, "MOST_LOGITS", 11 * 32 * 40)
    parts = results()
    assert torch.allclose(whole[0], parts[0], atol=1e-3)
    assert torch.allclose(whole[1], parts[1], atol=1e-3)
    assert torch.equal(whole[2], parts[2])
