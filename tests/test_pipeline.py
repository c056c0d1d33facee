"""The order of stages, strength, auto, reports, memory and guards."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import restore
from restore import methods, noise, pipeline
from restore.errors import Cancelled, MemoryLimitError, RecipeError, ResultError
from restore.method import Method, Settings
from restore.picture import Domain, Image, Meta, RawImage
from restore.pipeline import run
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.tiling import Seams, TileOp


def photo(sigma: float = 0.08, size: tuple[int, int] = (96, 128)) -> Image:
    y, x = np.mgrid[: size[0], : size[1]] / 60
    clean = 0.5 + 0.3 * np.stack([np.sin(x + k) * np.cos(y) for k in range(3)], -1)
    return Image((clean + sigma * np.random.default_rng(0).standard_normal(clean.shape)).astype(np.float32))


def mosaic(cfa: tuple[tuple[int, ...], ...] = ((0, 1), (1, 2))) -> RawImage:
    values = np.random.default_rng(0).random((31, 45), np.float32)
    return RawImage(values, cfa, tuple((500.0,) * len(row) for row in cfa), 16000.0)


def recipe(*steps: Step, **fields: object) -> Recipe:
    return Recipe(steps=steps, **fields)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch):
    """Register a method made of one function of a tile."""

    def plant(run_tile, *, domain: Domain = Domain.SRGB, **fields: object) -> None:
        class Planted:
            def prepare(self, scene):  # noqa: ANN202
                return TileOp(run_tile, **fields)

        method = Method("planted", "Planted", "For a test.", domain, Settings, lambda *_: Planted())
        monkeypatch.setattr(methods, "registry", lambda: {"planted": method})

    return plant


def test_none_changes_nothing() -> None:
    image = photo()
    result = run(image, recipe(Step(method="none")), Runtime())
    assert np.array_equal(result.picture.pixels, image.pixels)
    assert result.picture.meta == image.meta


def test_wavelet_removes_noise() -> None:
    clean, noisy = photo(0.0), photo(0.08)
    result = run(noisy, recipe(Step(method="wavelet"), noise=0.08), Runtime()).picture
    before, after = (np.mean((p.pixels - clean.pixels) ** 2) for p in (noisy, result))
    assert 10 * np.log10(before / after) > 6


def test_strength_mixes() -> None:
    noisy = photo()
    full, half, off = (
        run(noisy, recipe(Step(method="wavelet", strength=s), noise=0.08), Runtime()).picture.pixels
        for s in (1, 0.5, 0)
    )
    assert np.allclose(half, (full + noisy.pixels) / 2, atol=1e-6)
    assert np.array_equal(off, noisy.pixels)


def test_the_decided_recipe_gives_the_same_pixels() -> None:
    noisy = photo()
    first = run(noisy, recipe(Step(method="auto")), Runtime())
    again = run(noisy, first.recipe, Runtime())
    assert all(step.method != "auto" for step in first.recipe.steps)
    assert np.array_equal(first.picture.pixels, again.picture.pixels)
    assert Recipe(**first.recipe.model_dump()) == first.recipe


def test_auto_says_why() -> None:
    report = run(photo(0.1), recipe(Step(method="auto")), Runtime()).reports[0]
    assert "noise" in report.step.reason
    quiet = run(Image(np.full((64, 64, 3), 0.5, np.float32)), recipe(Step(method="auto")), Runtime())
    assert [step.method for step in quiet.recipe.steps] == ["none"]
    assert "nothing to do" in quiet.reports[0].step.reason


def test_mosaic_steps_come_first() -> None:
    with pytest.raises(RecipeError, match="cannot run after development; put it first"):
        run(mosaic(), recipe(Step(method="wavelet"), Step(method="pnnp")), Runtime())


def test_mosaic_steps_need_a_mosaic(planted) -> None:
    planted(lambda t: t, domain=Domain.MOSAIC)
    with pytest.raises(RecipeError, match="give it a raw file"):
        run(photo(), recipe(Step(method="planted")), Runtime())
    with pytest.raises(RecipeError, match="this raw file has no mosaic"):
        run(replace(photo(), meta=Meta(format="raw")), recipe(Step(method="planted")), Runtime())


def test_mosaic_steps_run_before_development_on_every_phase(planted) -> None:
    planted(lambda t: t * 0.5, domain=Domain.MOSAIC)
    for cfa in (((0, 1), (1, 2)), ((1, 0), (2, 1)), ((1, 2), (0, 1)), ((2, 1), (1, 0))):
        raw = mosaic(cfa)
        kept = run(raw, recipe(Step(method="planted"), develop=None), Runtime()).picture
        assert isinstance(kept, RawImage)
        assert np.array_equal(kept.mosaic, raw.mosaic * np.float32(0.5))
        assert isinstance(run(raw, recipe(Step(method="planted")), Runtime()).picture, Image)


def test_a_mosaic_is_kept_when_nothing_develops_it() -> None:
    raw = mosaic()
    assert run(raw, recipe(develop=None), Runtime()).picture is raw
    with pytest.raises(RecipeError, match="needs a developed picture"):
        run(raw, recipe(Step(method="wavelet"), develop=None), Runtime())


def test_none_takes_any_mosaic() -> None:
    for cfa in (((0, 1), (1, 2)), tuple((1, 0, 1, 2, 1, 1) for _ in range(6))):
        raw = mosaic(cfa)
        kept = run(raw, recipe(Step(method="none"), develop=None), Runtime()).picture
        assert np.array_equal(kept.mosaic, raw.mosaic)


def test_values_that_are_not_finite_are_refused(planted) -> None:
    planted(lambda t: t * float("nan"))
    with pytest.raises(ResultError, match="not finite"):
        run(photo(), recipe(Step(method="planted")), Runtime())


def test_values_that_overflow_in_few_bits_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Overflows:
        def __init__(self, compute) -> None:
            self.is_exact = compute.dtype is torch.float32

        def prepare(self, scene):  # noqa: ANN202
            return TileOp(lambda t: t if self.is_exact else t / 0)

    method = Method("planted", "P", "For a test.", Domain.SRGB, Settings, lambda _s, _w, compute: Overflows(compute))
    monkeypatch.setattr(methods, "registry", lambda: {"planted": method})
    image = photo()
    result = run(image, recipe(Step(method="planted"), precision="bf16"), Runtime(device="cpu"))
    assert np.array_equal(result.picture.pixels, image.pixels)
    assert "done again in float32" in result.reports[0].facts["notes"][0]


def test_smaller_tiles_when_memory_runs_out(planted) -> None:
    seen = []

    def hungry(tile: torch.Tensor) -> torch.Tensor:
        seen.append(tile.shape)
        if tile.shape[1] * tile.shape[2] > 3000:
            raise torch.OutOfMemoryError
        return tile * 2

    planted(hungry)
    image = photo()
    result = run(image, recipe(Step(method="planted")), Runtime())
    assert np.array_equal(result.picture.pixels, image.pixels * 2)
    assert result.reports[0].tile == (48, 32)
    assert [shape[1:] for shape in seen[:4]] == [(96, 128), (96, 64), (48, 64), (48, 32)]


def test_memory_that_a_processor_lacks(planted) -> None:
    def hungry(tile: torch.Tensor) -> torch.Tensor:
        return tile * 2 if tile.shape[1] < 40 else tile + torch.empty(1 << 50)  # PyTorch's own error

    planted(hungry, seams=Seams.BLEND, halo=4)
    first = run(photo(), recipe(Step(method="planted")), Runtime())
    assert np.allclose(first.picture.pixels, photo().pixels * 2)
    again = run(photo(), first.recipe, Runtime())
    assert first.reports[0].tile == again.reports[0].tile == (24, 24)  # what a recipe can hold


def test_memory_that_runs_out_before_the_first_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hungry:
        def prepare(self, scene):  # noqa: ANN202
            torch.empty(1 << 50)

    method = Method("planted", "P", "For a test.", Domain.SRGB, Settings, lambda *_: Hungry())
    monkeypatch.setattr(methods, "registry", lambda: {"planted": method})
    with pytest.raises(MemoryLimitError, match="smaller picture"):
        run(photo(), recipe(Step(method="planted")), Runtime())


@pytest.mark.parametrize("words", ["could not create a primitive", "std::bad_alloc"])
def test_memory_that_what_is_beneath_pytorch_lacks(planted, words: str) -> None:
    def hungry(tile: torch.Tensor) -> torch.Tensor:
        if tile.shape[1] * tile.shape[2] > 3000:
            raise RuntimeError(words)  # as oneDNN's and C++'s errors come through PyTorch
        return tile * 2

    planted(hungry)
    assert run(photo(), recipe(Step(method="planted")), Runtime()).reports[0].tile == (48, 32)


def test_memory_that_never_suffices(planted) -> None:
    def hungry(tile: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    planted(hungry)
    with pytest.raises(MemoryLimitError, match="smaller picture"):
        run(photo(), recipe(Step(method="planted")), Runtime())
    planted(hungry, seams=Seams.WHOLE)
    with pytest.raises(MemoryLimitError):
        run(photo(), recipe(Step(method="planted")), Runtime())


def test_black_and_white_stored_as_colour_is_one_channel(planted) -> None:
    seen = []
    planted(lambda tile: seen.append(tile.shape[0]) or tile * 2, deviation=lambda tile: tile)
    grey = np.random.default_rng(0).normal(0.5, 0.1, (64, 64, 1)).astype(np.float32)
    result = run(Image(grey.repeat(3, 2)), recipe(Step(method="planted")), Runtime(), with_uncertainty=True)
    assert set(seen) == {1}
    assert np.array_equal(result.picture.pixels, (grey * 2).repeat(3, 2))
    assert result.uncertainty.pixels.shape == (64, 64, 3)
    assert noise.estimate(Image(grey.repeat(3, 2))).sigma == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(("scale", "offset"), [(1454.0, 0.0), (1e-4, 0.0), (1.0, -1.0), (1.0, 100.0), (1000.0, 300.0)])
@pytest.mark.parametrize("method", ["denoise", "wavelet", "noise2score"])
@pytest.mark.parametrize("is_told", [False, True])
def test_floats_of_any_unit(method: str, scale: float, offset: float, is_told: bool) -> None:
    """Whatever the unit, levels are fractions of what was taken for white."""
    y, x = np.mgrid[:128, :128] / 128
    truth = (0.2 + 0.6 * x * (y > 0.4)).astype(np.float32)[..., None].repeat(3, 2) * scale + offset
    noisy = truth + np.random.default_rng(0).normal(0, 0.08 * scale, truth.shape).astype(np.float32)
    given = Image(noisy, meta=Meta(is_float=True, bits=32))
    black, white = given.unit()
    level = 0.08 * scale / (white - black)
    result = run(given, recipe(Step(method=method), noise=level if is_told else None), Runtime(device="cpu"))
    assert np.mean((result.picture.pixels - truth) ** 2) < 0.1 * np.mean((noisy - truth) ** 2)
    assert any("were taken for 0 to 1" in note for note in result.reports[0].facts["notes"])
    assert result.reports[0].noise.sigma == pytest.approx(level, rel=0.1)
    assert not result.alarms
    assert result.picture.meta == given.meta
    again = run(given, result.recipe, Runtime(device="cpu"))
    assert np.array_equal(again.picture.pixels, result.picture.pixels)


def test_twelve_bits_in_sixteen_have_a_white_of_their_own() -> None:
    rng = np.random.default_rng(0)
    truth = 100 + 800 * photo(0.0).pixels
    counts = rng.poisson(truth).astype(np.uint16)
    asked = restore.run(counts, "auto")
    assert np.array_equal(asked, counts)
    given = restore.run(counts, "denoise", white=1023)
    assert given.dtype == np.uint16
    assert np.mean((given - truth) ** 2) < 0.2 * np.mean((counts - truth) ** 2)
    image = Image(counts / np.float32(65535), meta=Meta(bits=16))
    result = run(image, recipe(Step(method="auto"), white=1023), Runtime(device="cpu"))
    assert result.recipe.white == 1023
    assert "values from 0 to 1023 were taken for 0 to 1" in result.reports[0].facts["notes"][0]
    assert result.reports[0].noise.sigma == pytest.approx(np.sqrt(truth.mean()) / 1023, rel=0.2)
    assert np.array_equal(run(image, result.recipe, Runtime(device="cpu")).picture.pixels, result.picture.pixels)
    (left,) = run(image, recipe(Step(method="auto")), Runtime(device="cpu")).reports
    assert "if these are counts, say what is white" in left.step.reason
    (named,) = run(image, recipe(Step(method="wavelet")), Runtime(device="cpu")).reports
    assert any("if these are counts, say what is white" in note for note in named.facts["notes"])
    dim = run(image, recipe(Step(method="auto"), white=65535), Runtime(device="cpu"))
    assert "say what is white" not in str(dim.reports), "it was said"
    with pytest.raises(RecipeError, match="leave white out"):
        run(mosaic(), recipe(Step(method="none"), white=1023), Runtime())


def test_what_is_left_alone_comes_back_as_it_was() -> None:
    counts = np.rint(4758 * photo(0.0).pixels)
    given = Image(counts, meta=Meta(is_float=True, bits=32))
    for method in ("auto", "denoise"):
        done = run(given, recipe(Step(method=method), noise=0.0), Runtime(device="cpu"))
        assert np.array_equal(done.picture.pixels, counts)


def test_a_stated_level_holds_until_a_step_changes_the_picture(planted) -> None:
    planted(lambda tile: 2 * tile)
    image = Image(0.25 * photo(0.04).pixels)
    steps = Step(method="planted", strength=0.0), Step(method="planted"), Step(method="planted")
    told = [report.noise.sigma for report in run(image, recipe(*steps, noise=0.01), Runtime()).reports]
    assert told[:2] == [0.01, 0.01]
    assert told[2] == pytest.approx(0.02, rel=0.1)


def test_usual_values_stay_as_they_are() -> None:
    hdr = np.random.default_rng(0).random((64, 64, 3), np.float32)
    hdr[0, :20] = 40
    assert Image(hdr, meta=Meta(is_float=True)).unit() is None
    assert Image(hdr * 1000).unit() is None
    assert Image(hdr * 0, meta=Meta(is_float=True)).unit() is None
    counts = Image(hdr * 1000, meta=Meta(is_float=True))
    assert np.array_equal(run(counts, recipe(Step(method="none")), Runtime()).picture.pixels, counts.pixels)


def test_progress_and_cancel() -> None:
    ticks = []
    machine = Runtime(progress=ticks.append)
    run(photo(), recipe(Step(method="wavelet"), tile=32, noise=0.1), machine)
    assert [t.share for t in ticks] == sorted(t.share for t in ticks)
    assert ticks[-1].share == 1
    machine = Runtime(progress=lambda tick: machine.cancelled.set())
    with pytest.raises(Cancelled):
        run(photo(), recipe(Step(method="wavelet"), tile=32, noise=0.1), machine)


def test_uncertainty_where_a_method_knows_it(planted) -> None:
    planted(lambda t: t, deviation=lambda t: t * 0 + 0.25)
    for strength in (1.0, 0.5, 0.0):  # what is kept of the noise counts too
        step = Step(method="planted", strength=strength)
        result = run(photo(), recipe(step, noise=0.1), Runtime(), with_uncertainty=True)
        assert result.uncertainty is not None
        expected = np.hypot(0.25 * strength, 0.1 * (1 - strength))
        np.testing.assert_allclose(result.uncertainty.pixels, expected, rtol=1e-5)


def test_no_uncertainty_where_no_method_knows_it() -> None:
    assert pipeline.run(photo(), recipe(Step(method="none")), Runtime(), with_uncertainty=True).uncertainty is None


def test_alpha_and_orientation_travel() -> None:
    image = photo()
    alpha = np.random.default_rng(1).random(image.size, np.float32)
    image = replace(image, alpha=alpha, meta=replace(image.meta, orientation=6, iso=800))
    result = run(image, recipe(Step(method="wavelet"), noise=0.1), Runtime()).picture
    assert np.array_equal(result.alpha, alpha)
    assert result.meta == image.meta


def test_auto_exposes_a_dark_raw_in_linear_light() -> None:
    raw = mosaic()
    dark = replace(raw, mosaic=raw.mosaic * np.float32(0.01))
    result = run(dark, recipe(Step(method="auto")), Runtime())
    assert result.recipe.develop.exposure_ev == pytest.approx(np.log2(0.18 / 0.005), abs=0.2)
    assert result.picture.pixels.mean() > 0.3
    again = run(dark, result.recipe, Runtime())
    assert np.array_equal(again.picture.pixels, result.picture.pixels)
    bright = run(raw, recipe(Step(method="auto")), Runtime())
    assert bright.recipe.develop.exposure_ev == 0
