"""Attention distillation on small latents: losses, masks, phases, and that the loop does what its parts say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from texsynth.curriculum import Curriculum, SinglePhase
from texsynth.distill import ExemplarLayer, attend, distil, losses, map_form, output_form
from texsynth.model.exemplar_score import ExemplarScore
from texsynth.model.latent import to_tensor
from texsynth.optimise.rules import Adam, Muon
from texsynth.prune.masks import head_mask, layer_mask, row_entropy

TORUS = (True, True)
CHANNELS = 8


def image(seed: int = 0, side: int = 64) -> Tensor:
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(side) * 2 * np.pi / 16)
    field = wave[:, None] + wave[None] + 0.3 * rng.standard_normal((side, side))
    return to_tensor(np.stack([field, field**2, rng.standard_normal((side, side))], -1).astype(np.float32))


def layers(seed: int = 0, patches: tuple[int, ...] = (1, 3)) -> list[ExemplarLayer]:
    return [
        ExemplarLayer(
            ExemplarScore(
                image(seed), TORUS, patch=patch, stride=4, channels=CHANNELS, floor=0.15, dimensions=24, cell=16
            ),
            TORUS,
        )
        for patch in patches
    ]


def noise(seed: int = 0) -> Tensor:
    return torch.randn(1, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_attention_is_softmax_attention() -> None:
    q, k, v, bias = torch.randn(5, 3), torch.randn(7, 3), torch.randn(7, 2), torch.randn(1, 7)
    assert torch.allclose(attend(q, k, v, 0.7, bias), (0.7 * q @ k.T + bias).softmax(-1) @ v, atol=1e-5)


def test_the_style_outputs_are_what_the_score_denoises_to() -> None:
    layer, z = layers()[1], noise()
    assert torch.allclose(
        layer.outputs(z, 0.25)[1].T.reshape(z.shape[1:]), layer.score.denoise(z[0], 0.25, TORUS), atol=1e-3
    )


def test_the_exemplars_own_latent_has_next_to_no_loss() -> None:
    every = layers()
    own = every[0].score.latent.encode(image())[None]
    style, _ = losses(every, own, None, 0.2)
    assert float(style) < 0.05 * float(losses(every, noise(), None, 0.2)[0])


def test_no_gradient_flows_through_the_style() -> None:
    own, style = torch.randn(4, 2, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    output_form(own, style).backward()
    assert own.grad is not None and style.grad is None


def test_the_map_form_is_zero_for_equal_maps_and_wants_equal_shapes() -> None:
    logits = torch.randn(6, 6)
    assert float(map_form(logits, logits)) == pytest.approx(0, abs=1e-6)
    assert float(map_form(logits, torch.randn(6, 6))) > 0
    with pytest.raises(ValueError, match="need the same"):
        map_form(logits, torch.randn(5, 6))


def test_distilling_lowers_the_loss_and_is_the_same_every_time() -> None:
    every, start = layers(), noise()
    sigmas = [0.6 * 0.5 ** (i / 39) for i in range(40)]
    runs = [distil(start, every, None, sigmas, Muon("channels"), SinglePhase(0.1), project=False) for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0])
    before, after = (float(losses(every, z, None, 0.3)[0]) for z in (start, runs[0][0]))
    assert after < 0.7 * before
    assert len(runs[0][1].style) == 40


def test_projected_steps_keep_the_length() -> None:
    start = noise()
    z, _ = distil(start, layers(), None, [0.5] * 20, Muon("channels"), SinglePhase(0.2))
    assert float(z.norm()) == pytest.approx(float(start.norm()), rel=1e-4)


def test_content_is_kept_the_closer_the_more_it_weighs() -> None:
    every, start, content = layers(), noise(1), noise(2)
    apart = []
    for weight in (0.0, 1.0, 30.0):
        z, _ = distil(
            start, every, content, [0.5] * 40, Adam(), SinglePhase(0.05), content_weight=weight, project=False
        )
        apart.append(float(losses(every, z, content, 0.5)[1]))
    assert apart[0] > apart[1] > apart[2]


def test_a_higher_threshold_counts_more_gradients_as_in_conflict_and_none_counts_none() -> None:
    every, start, content = layers(), noise(1), noise(2)
    found = [
        distil(start, every, content, [0.5] * 20, Adam(), SinglePhase(0.1), conflict=threshold)[1].conflicts
        for threshold in (None, -0.5, 0.0, 1.0)
    ]
    assert found[0] == 0 and found == sorted(found) and found[3] == 20


def test_two_runs_in_one_process_do_not_disturb_each_other() -> None:
    first, second = layers(0), layers(1)
    sigmas = [0.5] * 5
    alone, _ = distil(noise(), first, None, sigmas, Adam(), SinglePhase(0.1))
    z: list[Tensor] = []

    def other(_step: int, _z: Tensor) -> None:
        z.append(distil(noise(3), second, None, [0.5], Adam(), SinglePhase(0.1))[0])

    beside, _ = distil(noise(), first, None, sigmas, Adam(), SinglePhase(0.1), step=other)
    assert len(z) == 5 and torch.equal(alone, beside)


def test_masked_layers_are_not_computed() -> None:
    class Counting:
        def __init__(self, entropy: float) -> None:
            self.value, self.calls = entropy, 0

        def outputs(self, z: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
            self.calls += 1
            return z.flatten(1).T * sigma, torch.zeros(z[0].numel(), 1)

        def queries(self, z: Tensor) -> Tensor:
            return z.flatten(1).T

        def entropy(self, z: Tensor, sigma: float) -> Tensor:
            return torch.tensor(self.value)

    flat, peaked = Counting(0.9), Counting(0.1)
    _, history = distil(noise(), [flat, peaked], None, [0.5] * 12, Adam(), Curriculum(12, 0.1))
    assert flat.calls == 12
    assert peaked.calls < 12 and sum(history.layers) == flat.calls + peaked.calls


def test_phases_follow_each_other_and_the_rate_falls_to_a_tenth() -> None:
    curriculum = Curriculum(600, 0.2)
    phases = [curriculum.at(step) for step in (0, 99, 100, 299, 300, 599)]
    assert [phase.held for phase in phases] == [False, False, False, False, True, True]
    assert [phase.mask for phase in phases] == [-1.5, -1.5, 0.5, 0.5, 1.2, 1.2]
    assert phases[4].rate == pytest.approx(0.2)
    assert phases[5].rate == pytest.approx(0.02, rel=0.02)


def test_a_falling_style_loss_lowers_its_weight_in_the_second_phase_alone() -> None:
    curriculum = Curriculum(600, 0.2)
    curriculum.observe(10, 1.0)
    curriculum.observe(11, 0.5)
    assert curriculum.at(150).style == 0.8
    curriculum.observe(150, 0.4)
    assert curriculum.at(151).style < 0.8
    for step in range(151, 299):
        curriculum.observe(step, 0.4 * 0.9 ** (step - 150))
    assert curriculum.at(298).style == pytest.approx(curriculum.least)


def test_entropy_of_uniform_rows_is_the_logarithm_of_their_length() -> None:
    assert float(row_entropy(torch.full((3, 8), 1 / 8))) == pytest.approx(math.log(8))
    assert float(row_entropy(torch.eye(8))) == 0


def test_masks_keep_the_layers_and_heads_of_high_entropy() -> None:
    entropies = torch.tensor([1.0, 0.71, 0.69, 0.2])
    assert layer_mask(entropies).tolist() == [True, True, False, False]
    assert layer_mask(entropies, 0.0).tolist() == [True, True, True, False]
    assert layer_mask(entropies, 99.0).tolist() == [True, False, False, False]
    assert head_mask(torch.tensor([0.1, 0.9, 0.5, 0.7])).tolist() == [False, True, False, True]
    assert head_mask(torch.tensor([0.1]), 0.1).tolist() == [True]
