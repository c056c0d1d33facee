"""Standard errors: they hold the errors they promise, are positive, and do not depend on tiles."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import restore
from restore import degrade, files, pipeline, tiling, uncertainty
from restore.files.folder import find
from restore.jobs import order
from restore.jobs.request import Request
from restore.noise import CORRELATED, Noise
from restore.picture import Image, Meta
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.tiling import Seams, TileOp

SHARED = Path(__file__).parents[1] / ".." / "shared"
LEVEL = Noise(0.1, (0.1,) * 3)


def blur(tile: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(tile[None], 5, 1, 2)[0]


def noisy(name: str, sigma: float, side: int = 192) -> tuple[np.ndarray, Image]:
    path = SHARED / "data/test/kodak" / f"{name}.png"
    if not path.is_file():
        pytest.skip("the shared pictures are not here")
    clean = files.read(path).pixels[100 : 100 + side, 200 : 200 + side]
    return clean, Image(degrade.gaussian(clean, np.random.default_rng(0), sigma=sigma))


@pytest.mark.parametrize("method", ["denoise", "blind", "wavelet"])
def test_intervals_hold_the_errors_they_promise(method: str) -> None:
    ratios = []
    for name in ("kodim01", "kodim07", "kodim13", "kodim23"):
        for sigma in (10 / 255, 25 / 255, 50 / 255):
            clean, image = noisy(name, sigma)
            result = restore.run_with_uncertainty(image, Recipe(steps=(Step(method=method),), precision="fp32"), "cpu")
            if result.uncertainty is None:  # the noise was taken for a camera's, of which wavelets give none
                assert method == "wavelet"
                assert result.reports[0].noise.correlation > CORRELATED
                continue
            assert result.uncertainty.pixels.min() > 0
            ratios.append(np.abs(result.picture.pixels - clean) / result.uncertainty.pixels)
    assert len(ratios) >= 9
    inside = [100 * float(np.mean(np.concatenate(ratios) <= z)) for z in (1, 1.96)]
    assert inside[0] == pytest.approx(68, abs=5)
    assert inside[1] == pytest.approx(95, abs=5)


def test_it_does_not_depend_on_tiles() -> None:
    planes = torch.from_numpy(np.random.default_rng(0).random((3, 96, 120), np.float32))
    op = uncertainty.operation(TileOp(blur, halo=2), "denoise", LEVEL)
    assert op is not None
    whole, tiled = tiling.apply(op, planes), tiling.apply(op, planes, tile=32)
    assert float((whole - tiled)[:, 10:-10, 10:-10].abs().max()) < 1e-5


def test_a_fitted_answer_cannot_be_asked_again() -> None:
    assert uncertainty.operation(TileOp(blur, seams=Seams.WHOLE), "denoise", LEVEL) is None
    assert uncertainty.operation(TileOp(blur), "denoise", replace(LEVEL, sigma=0.0)) is None


def test_what_does_not_hold_is_not_given() -> None:
    camera = replace(LEVEL, correlation=0.5)
    assert uncertainty.operation(TileOp(blur), "wavelet", camera) is None
    assert uncertainty.operation(TileOp(blur), "denoise", camera) is not None


def test_methods_nobody_has_fitted_give_none() -> None:
    assert uncertainty.operation(TileOp(blur, halo=2), "denoise", LEVEL) is not None
    assert uncertainty.operation(TileOp(blur, halo=2), "a method of tomorrow", LEVEL) is None


def test_less_strength_keeps_more_of_the_noise() -> None:
    _, image = noisy("kodim07", 25 / 255, 64)
    maps = [
        pipeline.run(image, Recipe(steps=(Step(method="wavelet", strength=s),)), Runtime("cpu"), with_uncertainty=True)
        for s in (1.0, 0.5, 0.0)
    ]
    means = [float(result.uncertainty.pixels.mean()) for result in maps]
    assert means == sorted(means)
    assert means[2] == pytest.approx(maps[2].reports[0].noise.sigma, rel=1e-4)


def test_a_step_that_changes_light_forgets_the_errors() -> None:
    _, image = noisy("kodim07", 25 / 255, 64)
    dark = replace(image, pixels=image.pixels * 0.2)
    recipe = Recipe(steps=(Step(method="wavelet"), Step(method="noiser")))
    result = pipeline.run(dark, recipe, Runtime("cpu"), with_uncertainty=True)
    assert result.uncertainty is None
    assert "standard errors are not known" in result.reports[1].facts["notes"][-1]


def test_the_command_writes_them_beside_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from restore.cli import app

    pixels = np.random.default_rng(0).random((24, 32, 3), np.float32)
    (tmp_path / "in").mkdir()
    files.write(tmp_path / "in" / "a.png", Image(pixels, meta=Meta(bits=8)))
    words = [
        "run",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "out"),
        "-m",
        "wavelet",
        "--noise",
        "0.1",
        "--uncertainty",
    ]
    with pytest.raises(SystemExit) as ended:
        app(words)
    assert ended.value.code == 0
    capsys.readouterr()
    path = tmp_path / "out" / "a.png.sigma.tiff"
    errors = files.read(path)
    assert errors.size == (24, 32)
    assert errors.meta.is_float
    assert 0 < errors.pixels.min() < errors.pixels.max() <= 0.31
    record = json.loads((tmp_path / "out" / "a.png.restore.json").read_text())
    assert record["output"]["uncertainty"] == path.name
    assert record["reports"][0]["evidence"]
    assert [found.path.name for found in find([tmp_path / "out"])] == ["a.png"]
    again = [*words[:2], "-o", str(tmp_path / "again"), "--recipe", f"{tmp_path}/out/a.png.restore.json"]
    for flag, made in (([], True), (["--no-uncertainty", "--overwrite"], False)):
        with pytest.raises(SystemExit) as ended:
            app([*again, *flag])
        assert ended.value.code == 0
        record = json.loads((tmp_path / "again" / "a.png.restore.json").read_text())
        assert (record["output"]["uncertainty"] is not None) is made
    assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    without = order.order([tmp_path / "in"], tmp_path / "out2", Request(method="none"))
    assert order.options(without, existing="refuse", is_resumed=False).uncertainty is False
