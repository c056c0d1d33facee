from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from restore import files, metrics, noise, pipeline, tiling
from restore.degrade import gaussian
from restore.errors import Cancelled, RecipeError
from restore.method import Compute, Scene
from restore.methods import blind, scoredvi
from restore.methods.scoredvi import Fit, Prior, ScoreDvi, ScoreDviSettings, load, prior_for
from restore.nets.dvi import Posterior, PosteriorNet, surrogate
from restore.noise import Noise
from restore.picture import Domain, Image, Meta
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.tiling import Seams

COMPUTE = Compute(torch.device("cpu"), torch.float32)
SHARED = Path(__file__).parents[2] / ".." / "shared"


def scene(planes: Tensor, *, tile: int | None = None, progress: Callable[[float], None] = lambda _: None) -> Scene:
    level = Noise(0.05, (0.05,) * planes.shape[0])
    return Scene(planes, Domain.SRGB, Meta(), level, COMPUTE, np.random.default_rng(3), tile, progress=progress)


def planes(height: int = 40, width: int = 48, channels: int = 3) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(0))


def tiny(**knobs: object) -> ScoreDvi:
    return load(ScoreDviSettings(**knobs), None, COMPUTE)


def test_surrogate_has_the_gradient_of_share_times_score() -> None:
    rng = torch.Generator().manual_seed(0)
    shape = (2, 3, 4, 5)
    mean = torch.rand(shape, generator=rng).requires_grad_()
    variance = (0.01 + torch.rand(shape, generator=rng)).requires_grad_()
    share = torch.rand(shape, generator=rng).softmax(0).requires_grad_()
    ones = torch.ones(shape)
    posterior = Posterior(mean, variance, ones, ones, share, ones)
    value = surrogate(posterior, lambda z, _: 0.7 * z, 1, torch.Generator().manual_seed(1))
    found = torch.autograd.grad(value, (mean, variance, share), allow_unused=True)
    noise_drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        sample = mean + variance.sqrt() * noise_drawn
        pull = share * (0.7 - 1) * sample / variance / sample[0].numel()
    torch.testing.assert_close(found[0], pull)
    torch.testing.assert_close(found[1], pull * noise_drawn / (2 * variance.sqrt()))
    assert found[2] is None


def test_several_samples_are_averaged() -> None:
    mean = torch.zeros(1, 3, 200, 200).requires_grad_()
    ones = torch.ones(1, 3, 200, 200)
    posterior = Posterior(mean, ones, ones, ones, ones, ones)
    spread = []
    for samples in (1, 4):
        value = surrogate(posterior, lambda z, _: 0 * z, samples, torch.Generator().manual_seed(0))
        spread.append(float(torch.autograd.grad(value, mean)[0].std()))
    assert spread[1] == pytest.approx(spread[0] / 2, rel=0.05)


def test_the_score_never_divides_by_less_than_half_a_step() -> None:
    mean = torch.full((1, 3, 2, 2), 0.5).requires_grad_()
    ones = torch.ones(1, 3, 2, 2)
    posterior = Posterior(mean, 1e-8 * ones, ones, ones, ones, ones)
    value = surrogate(posterior, lambda z, _: z + 1, 1, torch.Generator().manual_seed(0))
    gradient = torch.autograd.grad(value, mean)[0]
    torch.testing.assert_close(gradient, ones / 12 / (0.5 / 255) ** 2)


@pytest.mark.parametrize("components", [1, 3])
def test_fitting_lowers_the_deviation_and_the_loss(components: int) -> None:
    method = tiny(components=components)
    method = replace(method, settings=method.settings.model_copy(update={"steps": 40, "width": 8}))
    deviations: list[float] = []
    rng = torch.Generator().manual_seed(0)
    fitted = method.fit(planes(32, 32), Prior(0.5, 0.01), rng, lambda _, deviation: deviations.append(deviation))
    assert len(deviations) == fitted.steps == 40
    smoothed = np.convolve(deviations, np.ones(10) / 10, "valid")[::10]
    assert all(after < before for before, after in pairwise(smoothed))
    assert torch.isfinite(fitted.picture).all() and (fitted.deviation >= 0).all()


def test_a_fit_that_fails_starts_again_once_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scene(planes(32, 32))
    replace(tiny(steps=2), restarts=1).prepare(seen)
    assert seen.report["restarts"] == 1
    assert any("did not settle" in note for note in seen.report["notes"])
    monkeypatch.setattr(scoredvi, "CONVERGED", 9.0)
    calm = scene(planes(32, 32))
    replace(tiny(steps=2), restarts=1).prepare(calm)
    assert calm.report["restarts"] == 0


def test_a_fit_stops_when_quiet_the_sooner_the_more_the_prior_weighs(monkeypatch: pytest.MonkeyPatch) -> None:
    method = tiny()
    method = replace(method, settings=method.settings.model_copy(update={"steps": 9}))
    deviations: list[float] = []

    def steps(weight: float) -> int:
        rng = torch.Generator().manual_seed(0)
        return method.fit(planes(32, 32), Prior(weight, 0.01), rng, lambda _, found: deviations.append(found)).steps

    assert steps(1.0) == 9
    monkeypatch.setattr(scoredvi, "QUIET", deviations[0] / 1.5)
    assert steps(1.0) > 1
    assert steps(4.0) == 1


def test_large_pictures_are_fitted_in_tiles_with_one_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    priors, shapes = [], []

    def same(_: ScoreDvi, noisy: Tensor, prior: Prior, *__: object) -> Fit:
        priors.append(prior)
        shapes.append(noisy.shape[1:])
        return Fit(noisy, noisy / 2, 0.0, 1)

    monkeypatch.setattr(ScoreDvi, "fit", same)
    monkeypatch.setattr(ScoreDvi, "one_pass", lambda _, noisy, __: noisy)
    monkeypatch.setattr(scoredvi, "standard_error", lambda _, __, deviation: deviation)
    picture = planes(100, 130)
    op = tiny().prepare(scene(picture, tile=48))
    torch.testing.assert_close(tiling.apply(op, picture), picture)
    assert op.deviation is not None
    torch.testing.assert_close(tiling.apply(replace(op, run=op.deviation), picture), picture / 2)
    assert len(shapes) > 4 and all(side % 16 == 0 for shape in shapes for side in shape)
    assert set(priors) == {prior_for(0.05)}
    assert op.seams is Seams.WHOLE


def test_a_share_of_the_answer_is_that_of_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScoreDvi, "fit", lambda _, noisy, *__: Fit(0 * noisy, noisy, 0.0, 1))
    picture = planes(48, 64)
    quick = blind.load(blind.BlindSettings(), None, COMPUTE).prepare(scene(picture))
    found = tiny().prepare(scene(picture)).run(picture)
    torch.testing.assert_close(found, scoredvi.ONE_PASS / prior_for(0.05).weight * quick.run(picture))


def test_progress_is_told_and_a_stop_is_heard() -> None:
    shares: list[float] = []
    tiny().prepare(scene(planes(100, 60), tile=48, progress=shares.append))
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) > 10

    def stop(share: float) -> None:
        if share > 0.3:
            raise Cancelled("stopped on request")

    with pytest.raises(Cancelled):
        tiny().prepare(scene(planes(), progress=stop))


def test_what_takes_too_long_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=600)
    monkeypatch.setattr(scoredvi.time, "monotonic", lambda: next(clock))
    with pytest.raises(RecipeError, match=r"up to 17 minutes.*region"):
        tiny(minutes=10).prepare(scene(planes(32, 32)))
    seen = scene(planes(32, 32))
    tiny(minutes=100).prepare(seen)
    assert "17 minutes" in seen.report["notes"][0]


def test_a_region_is_restored_and_the_rest_kept() -> None:
    picture = planes(60, 70)
    seen = scene(picture)
    op = tiny(region="10, 20,33,17").prepare(seen)
    found = op.run(picture)
    inside = torch.zeros(60, 70, dtype=torch.bool)
    inside[20:37, 10:43] = True
    assert torch.equal(found[:, ~inside], picture[:, ~inside])
    assert (found[:, inside] != picture[:, inside]).float().mean() > 0.99
    assert op.deviation is not None
    assert (op.deviation(picture)[:, ~inside] == seen.noise.sigma).all()


@pytest.mark.parametrize("text", ["60,0,20,20", "0,0,0,5"])
def test_a_region_outside_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="70 x 60"):
        tiny(region=text).prepare(scene(planes(60, 70)))


def test_a_region_that_is_no_region_is_refused() -> None:
    with pytest.raises(ValidationError, match="four numbers"):
        ScoreDviSettings(region="middle")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 50), (16, 16), (33, 20)])
def test_grey_and_tiny_pictures(height: int, width: int) -> None:
    picture = planes(height, width, 1)
    op = tiny().prepare(scene(picture))
    assert op.run(picture).shape == picture.shape
    assert torch.isfinite(op.run(picture)).all()


def test_seeds_come_from_the_scene_alone() -> None:
    state = torch.get_rng_state()
    first, second = (tiny().prepare(scene(planes())).run(planes()) for _ in range(2))
    other = tiny().prepare(replace(scene(planes()), rng=np.random.default_rng(4))).run(planes())
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not (SHARED / "data/test/cbsd68").is_dir(), reason="needs the shared photos")
@pytest.mark.parametrize("sigma", [5, 10, 25])
def test_the_level_that_decides_the_prior_is_within_a_fifth(sigma: int) -> None:
    for path in sorted((SHARED / "data/test/cbsd68").glob("*.jpg"))[:40:10]:
        noisy = gaussian(files.read(path).pixels, np.random.default_rng(0), sigma=sigma / 255)
        assert noise.estimate(Image(noisy)).sigma * 255 == pytest.approx(sigma, rel=0.2)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data/test/realnoise").is_dir(), reason="needs the shared photos")
def test_a_real_photo_gains_two_decibels() -> None:
    folder = SHARED / "data/test/realnoise/cc"
    noisy, clean = (files.read(folder / kind / "5dmark3_iso3200_1.png").pixels for kind in ("noisy", "clean"))
    middle = np.s_[208:304, 208:304]
    picture = Image(noisy[middle].copy())
    result = pipeline.run(picture, Recipe(steps=(Step(method="scoredvi"),)), Runtime(device="cpu"))
    assert isinstance(result.picture, Image)
    assert metrics.psnr(result.picture.pixels, clean[middle]) > metrics.psnr(noisy[middle], clean[middle]) + 2


def test_uncertainty_arrives_at_the_front() -> None:
    picture = Image(planes(32, 40).numpy().transpose(1, 2, 0))
    recipe = Recipe(steps=(Step(method="scoredvi", settings={"steps": 2}),))
    result = pipeline.run(picture, recipe, Runtime(device="cpu"), with_uncertainty=True)
    assert result.uncertainty is not None
    assert result.uncertainty.pixels.shape == picture.pixels.shape
    assert (result.uncertainty.pixels > 0).all()


def test_the_default_type_of_the_caller_does_not_matter() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        net = PosteriorNet(2, 8, torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(before)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
