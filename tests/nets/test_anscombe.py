import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restore.nets.anscombe import LINEAR, compressed, restored, stabilise


@given(st.floats(0, 0.1), st.floats(1e-5, 0.1), st.floats(-0.5, 2))
def test_the_inverse_is_exact(gain, read, value):
    x, k, sigma = (torch.tensor(v, dtype=torch.float64) for v in (value, gain, read))
    assert float(restored(stabilise(x, k, sigma), k, sigma)) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(("gain", "read"), [(0.0, 0.02), (1e-3, 1e-3), (1e-3, 0.01), (0.02, 0.05)])
@pytest.mark.parametrize("signal", [0.01, 0.05, 0.3, 0.9])
def test_noise_becomes_one(gain, read, signal):
    """Within 10 % even where few photons are counted, if there is read noise too."""
    rng = np.random.default_rng(3)
    light = rng.poisson(signal / gain, 200_000) * gain if gain else np.full(200_000, signal)
    x = torch.from_numpy(light + read * rng.standard_normal(200_000))
    stable = stabilise(x, torch.tensor(gain, dtype=x.dtype), torch.tensor(read, dtype=x.dtype))
    assert float(stable.std()) == pytest.approx(1, abs=0.1)


def test_details_and_means_keep_what_noise_says_and_bound_the_rest():
    v = torch.full((1, 4, 40, 40), 500.0) + torch.randn(1, 4, 40, 40, generator=torch.Generator().manual_seed(0))
    details, beside = compressed(v)
    assert details.shape == (1, 4, 40, 40)
    assert beside.shape == (1, 5, 40, 40)
    assert float(details.std()) == pytest.approx(0.25, rel=0.05)
    assert float(beside.max()) < 6


def test_noise_on_an_edge_is_shown_as_large_as_elsewhere():
    """Where it was compressed fivefold, at 20 times the noise, next to nothing of it was removed."""
    edge = torch.where(torch.arange(40) < 20, -20.0, 20.0).expand(1, 4, 40, 40)
    v = edge + torch.randn(1, 4, 40, 40, generator=torch.Generator().manual_seed(0))
    is_beside = torch.zeros(40, dtype=torch.bool)
    is_beside[18:22] = True  # differs from the local mean by some twenty times the noise
    spread = [(compressed(v, n)[0] - compressed(edge, n)[0])[..., is_beside].std() for n in (LINEAR, 4.0)]
    assert float(spread[0]) > 0.19
    assert float(spread[1]) < 0.08
