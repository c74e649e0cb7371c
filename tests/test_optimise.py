"""Step rules, gradients and matrices of a latent, against what their definitions say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from texsynth.optimise.gradients import tangent, without_conflict
from texsynth.optimise.matrices import MATRICISATIONS, from_matrices, orthogonalised, to_matrices
from texsynth.optimise.rules import RULES, Adam, Muon, moved, rms

SHAPE = (2, 6, 10, 13)


def latent(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("how", MATRICISATIONS)
@pytest.mark.parametrize("roll", [(0, 0), (3, 1)])
def test_matrices_turn_back_into_the_latent(how: Any, roll: tuple[int, int]) -> None:
    z = latent()
    matrices = to_matrices(z, how, 4, roll)
    assert matrices.ndim == 4 and len(matrices) == len(z)
    assert torch.equal(from_matrices(matrices, z.shape, how, 4, roll), z)


@pytest.mark.parametrize("shape", [(3, 8, 20), (3, 20, 8), (1, 7, 7)])
def test_orthogonalising_keeps_the_directions_and_evens_out_the_singular_values(shape: tuple[int, ...]) -> None:
    matrices = latent(1, shape)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    made = orthogonalised(matrices)
    values = torch.linalg.svdvals(made)
    assert values.max() < 1.3
    assert (values[s > 0.1 * s[:, :1]] > 0.6).all()
    in_basis = u.mT @ made @ v.mT  # diagonal: no direction is mixed with another
    off = in_basis - torch.diag_embed(in_basis.diagonal(dim1=-2, dim2=-1))
    assert off.abs().max() < 1e-4


def test_a_zero_gradient_moves_nothing() -> None:
    for make in RULES.values():
        assert torch.equal(make().direction(torch.zeros(SHAPE)), torch.zeros(SHAPE))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_steps_as_far_whatever_the_unit_of_the_loss(name: str) -> None:
    small, large = RULES[name](), RULES[name]()
    for seed in range(3):
        one, other = small.direction(latent(seed) * 1e-4), large.direction(latent(seed) * 1e3)
        assert torch.allclose(one, other, atol=1e-3)
        assert rms(one).max() <= 1.01


@pytest.mark.parametrize("name", RULES)
def test_samples_of_a_batch_do_not_touch(name: str) -> None:
    both, alone = RULES[name](), RULES[name]()
    for seed in range(3):
        gradient = latent(seed)
        assert torch.allclose(both.direction(gradient)[:1], alone.direction(gradient[:1]), atol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_goes_down(name: str) -> None:
    target, z, rule = latent(5), latent(6), RULES[name]()
    first = (z - target).square().mean()
    for step in range(60):
        z = moved(z, rule.direction(2 * (z - target)), 0.2 * (1 - step / 60))
    assert (z - target).square().mean() < 0.1 * first


def test_adam_is_torchs_adam() -> None:
    z = torch.nn.Parameter(latent(7))
    theirs = torch.optim.Adam([z], lr=0.01, betas=(0.9, 0.999), eps=0)
    mine, rule = z.detach().clone(), Adam(epsilon=0)
    for seed in range(5):
        gradient = latent(10 + seed)
        z.grad = gradient.clone()
        theirs.step()
        mine = mine - 0.01 * rule.direction(gradient)
    assert torch.allclose(mine, z.detach(), atol=1e-5)


def test_muon_of_one_matrix_is_torchs_muon_up_to_its_length() -> None:
    gradient = latent(8, (1, 1, 12, 30))
    weight = torch.nn.Parameter(torch.zeros(12, 30))
    weight.grad = gradient[0, 0].clone()
    torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.95, nesterov=True).step()
    mine = Muon("planes").direction(gradient)[0, 0].flatten()
    cosine = torch.nn.functional.cosine_similarity(mine, -weight.detach().flatten(), dim=0)
    assert cosine > 0.995  # torch orthogonalises in bfloat16


def test_patches_are_rolled_by_the_seed_alone() -> None:
    one, same, other = Muon("patches", seed=1), Muon("patches", seed=1), Muon("patches", seed=2)
    gradients = [latent(seed) for seed in range(4)]
    directions = [[rule.direction(gradient) for gradient in gradients] for rule in (one, same, other)]
    assert all(torch.equal(a, b) for a, b in zip(directions[0], directions[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(directions[0], directions[2], strict=True))


def test_a_conflict_is_projected_away_in_the_sample_that_has_it() -> None:
    content = latent(20)
    style = torch.stack([-content[0] + 0.3 * latent(21)[0], content[1] + 0.3 * latent(21)[1]])
    free = without_conflict(style, content)
    assert abs(float((free[0] * content[0]).sum())) < 1e-3 * float(content[0].norm() ** 2)
    assert torch.equal(free[1], style[1])


def test_a_slight_disagreement_is_no_conflict() -> None:
    content = latent(22, (1, 4, 8, 8))
    across = tangent(latent(23, (1, 4, 8, 8)), content)
    style = across / across.norm() - 0.3 * content / content.norm()
    assert torch.equal(without_conflict(style, content), style)


def test_the_tangent_has_no_part_along_the_latent() -> None:
    z, gradient = latent(24), latent(25)
    part = tangent(gradient, z)
    assert ((part * z).sum(dim=(1, 2, 3)).abs() < 1e-3).all()
    assert torch.allclose(tangent(part, z), part, atol=1e-5)
