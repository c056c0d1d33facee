"""The proxy network against an independent writing of it in torch, and its training on noise of two parts."""

import numpy as np
import pytest
import torch
from drawn import SEED

from restore.camera.proxy import OFFICIAL_ISOS, Proxy, expected_shapes, official
from restore.camera.proxy_training import Lesson, train
from restore.errors import WeightsError


def official_state(seed: int) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    state = {f"proxy_pixel.{k}": torch.randn(s, generator=made) * 0.4 for k, s in expected_shapes().items()}
    scaler = torch.linspace(-0.2, 0.3, 31)
    return state | {"proxy_pixel.ISO2K": torch.tensor([9.546e-4, -1.93e-3]), "proxy_pixel.scaler": scaler}


def convolved(state: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    def conv(key: str, h: torch.Tensor) -> torch.Tensor:
        prefix = f"proxy_pixel.{name}.{key}"
        return torch.nn.functional.conv2d(h, state[f"{prefix}.weight"], state[f"{prefix}.bias"])

    silu = torch.nn.functional.silu
    h = silu(conv("0", x.reshape(1, 1, 1, -1)))
    for block in (2, 3):
        h = h + silu(conv(f"{block}.conv2.conv", silu(conv(f"{block}.conv1.conv", h))))
    return conv("4", h).ravel()


def test_official_files_load_and_mean_the_same() -> None:
    state = official_state(1)
    proxy = official(state)
    assert proxy.isos == OFFICIAL_ISOS and proxy.gain == pytest.approx((9.546e-4, -1.93e-3))
    assert sum(v.numel() for v in state.values()) == 2307
    rng = np.random.default_rng(2)
    n, gain = 20000, 0.7
    drawn = proxy.sample((n,), gain, 800, rng)
    again = np.random.default_rng(2)
    pre, fol = (
        convolved(state, name, torch.from_numpy(again.standard_normal(n, np.float32))) for name in ("nn_pre", "nn_fol")
    )
    scale = np.exp(state["proxy_pixel.scaler"][OFFICIAL_ISOS.index(800)].item())
    np.testing.assert_allclose(drawn, (gain * scale * pre + fol).numpy(), atol=2e-4)
    assert drawn.std() == pytest.approx(proxy.sigma(gain, 800), rel=0.03)


def test_what_is_no_proxy_is_refused() -> None:
    state = official_state(1)
    state.pop("proxy_pixel.nn_fol.4.bias")
    with pytest.raises(WeightsError, match=r"nn_fol\.4\.bias"):
        official(state)


def test_scaler_goes_on_between_its_isos() -> None:
    proxy = Proxy({}, (100.0, 400.0), (0.0, 1.0))
    assert proxy.log_scale(200) == pytest.approx(0.5)
    assert (proxy.log_scale(50), proxy.log_scale(900)) == (0.0, 1.0)


def test_training_finds_two_levels() -> None:
    """Telegraph noise: a Gaussian of its sigma is 0.2 nats away, what was trained a tenth of that."""
    rng = np.random.default_rng(SEED)
    lessons = []
    for iso, gain in ((100.0, 0.5), (400.0, 2.0)):
        levels = rng.random(40000) < 0.4
        noise = 3 * gain * (rng.standard_normal(40000) + 4 * (levels - 0.4))
        dither = rng.random(40000)
        values = np.rint(noise + dither) - dither
        lessons.append(Lesson(iso, gain, values.astype(np.float32), float(values.std())))
    seen: list[float] = []
    proxy = train(lessons, torch.Generator().manual_seed(1), steps=250, batch=2048, report=seen.append)
    assert seen == sorted(seen) and len(seen) >= 100
    for lesson in lessons:
        drawn = proxy.sample((40000,), lesson.gain, lesson.iso, rng)
        assert drawn.std() == pytest.approx(lesson.sigma, rel=0.04)
        edges = np.linspace(-3, 4, 40) * lesson.sigma
        real, made, normal = (
            np.histogram(values, edges)[0] + 0.5
            for values in (lesson.residuals, drawn, rng.normal(0, lesson.sigma, 40000))
        )
        real, made, normal = (counts / counts.sum() for counts in (real, made, normal))
        assert np.sum(real * np.log(real / made)) < 0.2 * np.sum(real * np.log(real / normal))


def test_the_spread_of_heavy_tails_is_that_measured() -> None:
    """Student's noise with four degrees of freedom: batches seldom hold its largest values."""
    rng = np.random.default_rng(5)
    lessons = [
        Lesson(iso, 9.5e-4 * iso, np.rint(rng.standard_t(4, 200_000) / 2**0.5 * sigma).astype(np.float32), sigma)
        for iso, sigma in ((100.0, 3.0), (400.0, 4.0), (1600.0, 9.0))
    ]
    proxy = train(lessons, torch.Generator().manual_seed(1), steps=300, batch=2048)
    for lesson in lessons:
        assert proxy.sigma(lesson.gain, lesson.iso) == pytest.approx(lesson.sigma, rel=0.01)


def test_same_seed_same_proxy() -> None:
    residuals = np.random.default_rng(1).standard_normal(3000).astype(np.float32) * 4
    lessons = [Lesson(100.0, 0.1, residuals, 4.0)]
    first, second = (train(lessons, torch.Generator().manual_seed(7), steps=3, batch=256) for _ in range(2))
    assert all(np.array_equal(first.weights[key], second.weights[key]) for key in expected_shapes())
