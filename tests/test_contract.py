"""What every method must keep, checked for all of them with tiny random weights on a CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from restore import methods, tiling
from restore.method import Compute, Method, Restorer, Scene
from restore.noise import Noise
from restore.picture import Domain, Meta
from restore.tiling import Seams

COMPUTE = Compute(torch.device("cpu"), torch.float32)
QUICK = [name for name, method in methods.registry().items() if not method.fits_per_image]


def scene(planes: Tensor, method: Method, seed: int = 0, tile: int | None = None) -> Scene:
    level = Noise(0.05, (0.05,) * planes.shape[0], gain=0.001, read=0.04)
    return Scene(planes, method.domain, Meta(), level, COMPUTE, np.random.default_rng(seed), tile)


def picture(method: Method, height: int, width: int, seed: int = 0) -> Tensor:
    channels = 4 if method.domain is Domain.MOSAIC else 3
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    base = 0.15 + 0.3 * np.stack([np.sin(3 * x + k) ** 2 * (0.3 + 0.7 * y) for k in range(channels)])
    return torch.from_numpy((base + 0.05 * rng.standard_normal(base.shape)).astype(np.float32))


def loaded(method: Method) -> Restorer:
    return method.load(method.settings(), None, COMPUTE)


def answer(restorer: Restorer, method: Method, planes: Tensor, tile: int | None = None) -> Tensor:
    op = restorer.prepare(scene(planes, method, tile=tile))
    return tiling.apply(op, planes, tile=tile)


@pytest.mark.parametrize("name", methods.registry())
def test_names_and_settings(name: str) -> None:
    method = methods.registry()[name]
    assert method.name == name
    assert method.title
    assert method.summary
    knobs = method.settings()
    assert method.settings(**knobs.model_dump()) == knobs
    assert all(field.description for field in method.settings.model_fields.values())


@pytest.mark.parametrize("name", methods.registry())
def test_shape_kept_input_untouched_same_seed_same_bits(name: str) -> None:
    method = methods.registry()[name]
    planes = picture(method, 48, 40)
    before = planes.clone()
    restorer = loaded(method)
    first, second = (answer(restorer, method, planes) for _ in range(2))
    assert first.shape == planes.shape
    assert first.dtype == torch.float32
    assert torch.equal(planes, before)
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 90), st.integers(1, 90), st.integers(16, 64))
def test_odd_and_tiny_sizes_and_exact_tiles(name: str, height: int, width: int, tile: int) -> None:
    method = methods.registry()[name]
    planes = picture(method, height, width)
    restorer = loaded(method)
    whole = answer(restorer, method, planes)
    assert whole.shape == planes.shape
    assert torch.isfinite(whole).all()
    if restorer.prepare(scene(planes, method)).seams is Seams.EXACT:
        difference = (answer(restorer, method, planes, tile) - whole).abs()
        assert difference.max() <= 1e-5, f"tile {tile}: worst {difference.max():.2e}, mean {difference.mean():.2e}"


@pytest.mark.parametrize("name", QUICK)
def test_pictures_do_not_disturb_each_other(name: str) -> None:
    method = methods.registry()[name]
    one, two = picture(method, 40, 48, 1), picture(method, 56, 32, 2)
    restorer = loaded(method)
    op_one, op_two = (restorer.prepare(scene(p, method)) for p in (one, two))
    both = tiling.apply(op_one, one), tiling.apply(op_two, two)
    assert torch.equal(both[0], answer(loaded(method), method, one))
    assert torch.equal(both[1], answer(loaded(method), method, two))


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, -0.1, 7.0])
def test_constant_pictures_stay_finite(name: str, value: float) -> None:
    method = methods.registry()[name]
    planes = torch.full_like(picture(method, 40, 40), value)
    restorer = loaded(method)
    op = restorer.prepare(replace(scene(planes, method), noise=Noise(0.0, (0.0,) * planes.shape[0])))
    assert torch.isfinite(tiling.apply(op, planes)).all()


@pytest.mark.parametrize("name", [n for n in QUICK if methods.registry()[n].domain is Domain.SRGB])
def test_grey_pictures(name: str) -> None:
    method = methods.registry()[name]
    planes = picture(method, 40, 40)[:1]
    assert answer(loaded(method), method, planes).shape == planes.shape
