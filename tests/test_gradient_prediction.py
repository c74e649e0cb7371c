"""The Gradient Prediction Network: how often it may speak, when it is believed, and that a run with it stays a run."""

from __future__ import annotations

import torch
from torch import Tensor

from texsynth.curriculum import SinglePhase
from texsynth.distill import distil
from texsynth.optimise.gradient_prediction import CYCLE, LEAST_COSINE, GradientPredictor
from texsynth.optimise.rules import Muon


def noise(seed: int) -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


class Valley:
    """A layer whose style is one target: the gradient is the sign of the way, and steady far from it."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.calls = weight, 0

    def outputs(self, z: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        del sigma
        self.calls += 1
        return (z * self.weight).flatten(1).square().T, torch.zeros(z.numel(), 1)

    def queries(self, z: Tensor, sigma: float) -> Tensor:
        del sigma
        return z.flatten(1).T

    def entropy(self, z: Tensor, sigma: float) -> Tensor:
        del z, sigma
        return torch.tensor(1.0)


def run(layer: Valley, steps: int, predictor: GradientPredictor | None, rate: float = 0.01) -> tuple[Tensor, int]:
    z, history = distil(
        noise(0), [layer], None, [0.5] * steps, Muon("channels"), SinglePhase(rate, style=1.0), project=False,
        predictor=predictor,
    )  # fmt: skip
    assert len(history.style) == len(history.layers) == steps
    return z, sum(number == 0 for number in history.layers)


def test_at_most_two_of_five_steps_are_predicted_and_no_layer_is_computed_in_them() -> None:
    layer, predictor = Valley(torch.ones(1, 4, 8, 8)), GradientPredictor(4)
    _, skipped = run(layer, 50, predictor)
    assert 0 < skipped <= 20
    assert skipped == predictor.counts.predicted
    assert layer.calls == predictor.counts.true == 50 - skipped


def test_a_gradient_that_cannot_be_foreseen_is_never_replaced() -> None:
    predictor = GradientPredictor(4)
    for step in range(50):
        if predictor.predict(step, noise(100), 0.5) is None:
            predictor.learn(step, noise(100), 0.5, noise(step))
    assert predictor.counts.predicted == 0
    assert len(predictor.counts.cosines) == 9 and max(predictor.counts.cosines) < LEAST_COSINE


def test_it_is_switched_off_where_the_cosine_falls_and_on_again_where_it_rises() -> None:
    predictor, trusted = GradientPredictor(4), []
    for step in range(60):
        turning = 20 <= step < 40
        if predictor.predict(step, noise(1), 0.5) is None:
            predictor.learn(step, noise(1), 0.5, noise(step) if turning else noise(7))
        if step % CYCLE == CYCLE - 1:
            trusted.append(predictor.trusted)
    assert trusted[3] and not any(trusted[4:8]) and trusted[-1]


def test_a_predicted_gradient_has_the_size_of_the_last_true_one() -> None:
    predictor = GradientPredictor(4)
    for step in range(CYCLE + 3):
        predictor.learn(step, noise(1), 0.5, 1e-4 * noise(7))
    made = predictor.predict(CYCLE + 3, noise(1), 0.5)
    assert made is not None
    assert torch.allclose(made.norm(), (1e-4 * noise(7)).norm(), rtol=1e-3)


def test_a_run_with_it_is_the_same_every_time_and_leaves_the_generator_alone() -> None:
    layer = Valley(1 + noise(3).square())
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (run(layer, 30, GradientPredictor(4))[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_distilling_with_it_comes_as_far() -> None:
    layer = Valley(torch.ones(1, 4, 8, 8))
    start, plain, predicted = (
        float(layer.outputs(z, 0.5)[0].mean())
        for z in (noise(0), run(layer, 50, None, 0.05)[0], run(layer, 50, GradientPredictor(4), 0.05)[0])
    )
    assert plain < 0.5 * start
    assert predicted < plain + 0.1 * start
