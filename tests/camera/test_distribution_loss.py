import numpy as np
import pytest
import torch
from drawn import SEED

from restore.camera.distribution_loss import (
    distribution_loss,
    divergence,
    levels_below,
    quantiles,
    real_side,
    tail_dense_levels,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_quantiles_are_numpys(rng: np.random.Generator) -> None:
    sample, levels = rng.standard_t(3, 997), np.concatenate([[0.0, 1.0], rng.random(500)])
    found = quantiles(torch.from_numpy(np.sort(sample)), torch.from_numpy(levels))
    np.testing.assert_allclose(found.numpy(), np.quantile(sample, levels), atol=1e-6)


def test_levels_invert_quantiles(rng: np.random.Generator) -> None:
    ordered = torch.from_numpy(np.sort(rng.standard_normal(500)))
    levels = torch.from_numpy(rng.random(300))
    np.testing.assert_allclose(levels_below(ordered, quantiles(ordered, levels)).numpy(), levels.numpy(), atol=1e-9)


def test_equal_samples_cost_nothing_and_a_shift_its_size_in_sigmas(rng: np.random.Generator) -> None:
    sample = torch.from_numpy(rng.standard_normal(4000) * 5 + 2)
    real = real_side(sample)
    assert distribution_loss(sample, real, generator()).item() < 1e-12
    shifted = distribution_loss(sample + 0.35, real, generator(), cdf_weight=0.0)
    assert shifted.item() == pytest.approx(0.35 / sample.std().item(), rel=1e-6)
    assert divergence(sample, real, generator()).item() < 1e-9 < divergence(sample + 1, real, generator()).item()


def test_equal_values_give_no_nan() -> None:
    made = torch.zeros(50, requires_grad=True)
    loss = distribution_loss(made, real_side(torch.linspace(-1, 1, 100)), generator())
    loss.backward()
    assert made.grad is not None and torch.isfinite(made.grad).all() and torch.isfinite(loss)


@pytest.mark.parametrize("cdf_weight", [0.0, 1.0])
def test_gradient_is_that_of_finite_differences(cdf_weight: float) -> None:
    rng = np.random.default_rng(3)  # a query between two values a hair apart bends within any step: none here
    base = torch.from_numpy(rng.standard_normal(400))
    real = real_side(torch.from_numpy(rng.standard_t(4, 600)))
    scale = torch.tensor(1.13, dtype=torch.float64, requires_grad=True)

    def loss(factor: torch.Tensor) -> torch.Tensor:
        return distribution_loss(base * factor, real, generator(), cdf_weight=cdf_weight)

    (slope,) = torch.autograd.grad(loss(scale), scale)
    step = 1e-7
    with torch.no_grad():
        numeric = (loss(scale + step) - loss(scale - step)) / (2 * step)
    assert slope.item() == pytest.approx(numeric.item(), rel=1e-3)


def test_levels_are_dense_in_both_tails() -> None:
    levels = tail_dense_levels(1000, generator())
    assert ((levels < 1e-2).sum() > 150) and ((levels > 0.99).sum() > 150)
    assert bool((levels.diff() >= 0).all())
