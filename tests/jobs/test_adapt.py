"""The fit to somebody's own noisy pictures, with a tiny network that knows nothing yet."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import restore
from restore import weights
from restore.cli import app
from restore.errors import ArrayError, ReadError, RecipeError, WeightsError, WriteError
from restore.files import Limits
from restore.jobs.adapt import _near_white, _pages, _parted, adapt
from restore.jobs.fitting import Fit, Moment
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.objectives.family import Family
from restore.picture import Floats
from restore.pipeline import run
from restore.recipe import Recipe, Step
from restore.runtime import Runtime


def scene(seed: int, side: int = 96) -> Floats:
    """Smooth shapes with edges: easy to denoise for a network of any size."""
    y, x = np.mgrid[:side, :side] / side
    waves = 0.5 + 0.2 * np.sin(9 * x + seed) * np.cos(7 * y) + 0.2 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.1)
    return waves.astype(np.float32)


def noisy(seed: int, sigma: float = 0.1) -> Floats:
    return scene(seed) + np.float32(sigma) * np.random.default_rng(seed).standard_normal((96, 96), np.float32)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Untrained weights of a tiny grey network: it removes nothing."""
    torch.manual_seed(0)
    net = UnshuffleUNet(1, 3, widths=(8, 12, 16), blocks=(1, 1, 1, 1, 1))
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_file(net.state_dict(), path)
    return str(path)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn at the pace of a network that knows nothing."""
    monkeypatch.setattr("restore.jobs.fitting.Fit.rate", 4e-3)


@pytest.mark.usefixtures("_quick")
def test_it_learns_from_noisy_pictures_and_the_model_runs(start: str, tmp_path: Path) -> None:
    seen: list[Moment] = []
    pictures = [noisy(seed) for seed in range(5)]
    made = adapt(
        pictures, tmp_path / "m.safetensors", steps=80, kind="gaussian", level=0.1, start=start, on_moment=seen.append
    )
    assert made.helped and made.notes == ()
    assert made.after > made.before + 1
    assert made.kind == "gaussian"
    assert seen == list(made.curve)
    assert seen[0].steps == 0 and seen[-1].steps > 0
    recipe = Recipe(steps=(Step(method="noise2score", weights=str(made.out)),), noise=0.1)
    clear = run(restore.Image(pictures[0][..., None]), recipe, Runtime(device="cpu")).picture
    assert isinstance(clear, restore.Image)
    before, after = (np.mean((p - scene(0)) ** 2) for p in (pictures[0], clear.pixels[..., 0]))
    assert after < 0.7 * before
    assert weights.metadata(made.out)["kind"] == "gaussian"


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("objective", ["ardae", "sure"])
def test_the_other_objectives_learn_too(start: str, tmp_path: Path, objective: str) -> None:
    made = adapt(
        [noisy(seed) for seed in range(4)],
        tmp_path / "m.safetensors",
        steps=80,
        kind="gaussian",
        level=0.1,
        start=start,
        objective=objective,
    )
    assert made.after > made.before + 0.5


def test_what_does_not_help_is_said_and_undone(start: str, tmp_path: Path) -> None:
    made = adapt([noisy(0)], tmp_path / "m.safetensors", steps=1, level=0.1, start=start)
    assert not made.helped
    assert "did not help" in made.notes[-1]
    state, _ = weights.load(str(made.out))
    assert all(torch.equal(state[k], v) for k, v in weights.load(start)[0].items())


@pytest.mark.usefixtures("_quick")
def test_what_gains_too_little_is_undone_too(start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restore.jobs.adapt.WORTH", 100.0)
    made = adapt([noisy(0)], tmp_path / "m.safetensors", steps=40, kind="gaussian", level=0.1, start=start)
    assert made.before < made.after and not made.helped
    state, _ = weights.load(str(made.out))
    assert all(torch.equal(state[k], v) for k, v in weights.load(start)[0].items())


@pytest.mark.parametrize("unit", [1000.0, 1e-3])
def test_any_unit_gives_the_same_fit(start: str, tmp_path: Path, unit: float) -> None:
    pictures = [noisy(seed) for seed in range(2)]
    plain = adapt(pictures, tmp_path / "a.safetensors", steps=1, kind="gaussian", start=start)
    other = adapt(
        [p * np.float32(unit) for p in pictures], tmp_path / "b.safetensors", steps=1, kind="gaussian", start=start
    )
    assert other.level == pytest.approx(unit * plain.level, rel=1e-3)
    assert other.before == pytest.approx(plain.before, abs=1e-2)


def test_two_three_and_four_channels(start: str, tmp_path: Path) -> None:
    for channels in (2, 3, 4):
        stacked = np.stack([noisy(c) for c in range(channels)], -1)
        made = adapt([stacked], tmp_path / f"{channels}.safetensors", steps=1, start=start)
        assert made.out.exists()


def test_the_command_reads_stacks(start: str, tmp_path: Path) -> None:
    stack = np.stack([np.clip(noisy(seed) * 60000, 0, 65535).astype(np.uint16) for seed in range(4)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    out = tmp_path / "model.safetensors"
    said = CliRunner().invoke(
        app,
        [
            "adapt",
            "noise2score",
            str(tmp_path / "stack.tif"),
            "-o",
            str(out),
            "--minutes",
            "0.02",
            "--level",
            "0.1",
            "--start",
            start,
        ],
    )
    assert said.exit_code == 0, said.output
    assert "gaussian noise" in said.output
    assert out.exists()


def test_of_a_stack_beyond_the_limit_pages_pages_over_it_are_learnt_from(tmp_path: Path) -> None:
    stack = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 20, 30), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    notes: list[str] = []
    few = _pages(tmp_path / "a.tif", Limits(max_pixels=3 * 600), notes)
    assert [float(page.pixels.mean()) for page in few] == [0, 4, 9]
    assert notes == ["a.tif is large: 3 of its 10 pages were learnt from"]
    assert len(_pages(tmp_path / "a.tif", Limits(), notes)) == 10


def test_what_is_there_is_kept_unless_asked_and_the_start_always(start: str, tmp_path: Path) -> None:
    out, before = tmp_path / "m.safetensors", Path(start).read_bytes()
    out.write_bytes(b"the user's own")
    with pytest.raises(WriteError, match="exists already; use --overwrite"):
        adapt([noisy(0)], out, steps=1, level=0.1, start=start)
    assert out.read_bytes() == b"the user's own"
    assert adapt([noisy(0)], out, steps=1, level=0.1, start=start, overwrite=True).out == out
    with pytest.raises(WriteError, match="is an input itself"):
        adapt([noisy(0)], start, steps=1, level=0.1, start=start, overwrite=True)
    assert Path(start).read_bytes() == before


def test_grey_stored_as_colour_is_learnt_from_as_grey(start: str, tmp_path: Path) -> None:
    pictures = [noisy(seed) for seed in range(3)]
    made = [
        adapt(given, tmp_path / f"{name}.safetensors", steps=2, start=start)
        for name, given in (("grey", pictures), ("colour", [picture[..., None].repeat(3, 2) for picture in pictures]))
    ]
    assert made[0].level == made[1].level
    one, other = (load_file(model.out) for model in made)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_cannot_be_used_is_said(start: str, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    with pytest.raises(RecipeError, match="safetensors"):
        adapt([noisy(0)], tmp_path / "m.pth", start=start)
    with pytest.raises(RecipeError, match="no pictures"):
        adapt([], out, start=start)
    for wrong in ({"objective": "gr2"}, {"kind": "gausian"}):
        with pytest.raises(RecipeError, match="Did you mean 'g"):
            adapt([noisy(0)], out, start=start, **wrong)
    with pytest.raises(ReadError, match=r"none\.png"):
        adapt(str(tmp_path / "none.png"), out, start=start)  # one path, no sequence of letters
    with pytest.raises(ArrayError, match="sides of 64"):
        adapt([noisy(0)[:40]], out, start=start)
    with pytest.raises(ArrayError, match="1 and 3 channels"):
        adapt([noisy(0), np.stack([noisy(0), noisy(1), noisy(2)], -1)], out, start=start)
    with pytest.raises(ArrayError, match="96 pixels long.*one has 80"):
        adapt([noisy(0)[:80, :80]], out, level=0.1, start=start)
    for none in ({"steps": 0}, {"minutes": 0}):
        with pytest.raises(RecipeError, match="no time"):
            adapt([noisy(0)], out, level=0.1, start=start, **none)
    for kind in ("gaussian", "auto", "poisson"):  # 25 of 255 are 0.098
        with pytest.raises(RecipeError, match="level 25: these pictures go to 1.* only"):
            adapt([noisy(0)], out, steps=1, kind=kind, level=25, start=start)
    with pytest.raises(RecipeError, match="no noise"):
        adapt([np.zeros((96, 96), np.float32)], out, start=start)
    with pytest.raises(WeightsError):
        adapt([noisy(0)], out, start="nothing")
    assert not out.exists()


@pytest.mark.parametrize("size", [(96, 64), (100, 96), (64, 100), (700, 300), (300, 700)])
def test_no_part_is_both_learnt_and_judged_by(size: tuple[int, int]) -> None:
    numbered = torch.arange(size[0] * size[1]).float().reshape(1, *size)
    (lesson,), exam = _parted([numbered], torch.Generator())
    assert not set(lesson.flatten().tolist()) & set(exam.flatten().tolist())
    assert min(lesson.shape[1:]) >= Fit.patch


def test_the_brightness_of_any_number_of_pixels_is_found() -> None:
    wide = torch.full((1,), 0.5).expand(97 * 2**24 + 97)
    assert _near_white([wide]) == 0.5


@pytest.mark.parametrize("law", [Family.of("gaussian", 0.1), Family.of("poisson", 0.05), Family.of("gamma", 4)])
def test_the_estimate_of_the_error_is_the_error(law: Family) -> None:
    """Of a network that removes nothing it is known: the noise itself, of the half that is shown where it is split."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.linspace(0.2, 1, 256).expand(4, 1, 256, 256)
    exam = law.draw(clean, generator)
    fit = Fit(UnshuffleUNet(1, 3, (4, 4, 4), (1,) * 5), law, "gr2r", [exam[0]], exam, generator)
    seen = exam if law.power == 0 else fit.halves[0]
    assert fit.psnr(fit.risk()) == pytest.approx(-10 * float((seen - clean).square().mean().log10()), abs=0.2)


@pytest.mark.usefixtures("_quick")
def test_a_level_a_little_too_high_does_not_hide_what_is_gained(start: str, tmp_path: Path) -> None:
    """The estimate of what is left fell below nothing: 90 dB before and after, so nothing could ever help."""
    rng = np.random.default_rng(0)
    pictures = [(rng.poisson(scene(seed) * 20) * 50).astype(np.float32) for seed in range(4)]
    made = adapt(pictures, tmp_path / "m.safetensors", steps=60, kind="poisson", level=56, start=start)
    assert made.helped and made.before + 0.5 < made.after < 60
    low = adapt(pictures, tmp_path / "n.safetensors", steps=1, kind="poisson", level=400, start=start)
    assert low.before < 60 and any("decibels are rough" in note for note in low.notes)
    late = adapt(pictures, tmp_path / "o.safetensors", steps=60, kind="poisson", level=130, start=start)
    assert late.before + 0.5 < late.after < 60 and any("decibels are rough" in note for note in late.notes)
    assert late.after == max(moment.sure_psnr for moment in late.curve)


@pytest.mark.usefixtures("_quick")
def test_kelvin_is_fitted_as_the_method_sees_it(start: str, tmp_path: Path) -> None:
    kelvin = [300 + 10 * noisy(seed) for seed in range(2)]
    made = adapt(kelvin, tmp_path / "m.safetensors", steps=40, kind="gaussian", level=1.0, start=start)
    assert made.kind == "gaussian" and made.level == pytest.approx(1.0)
    assert any("values are taken from" in note for note in made.notes)
    assert 15 < made.before < 22 and made.after > made.before + 0.5
