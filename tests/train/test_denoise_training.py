"""The workhorse's training ends with weights that are lean and fit 8-bit integers."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from restore import pipeline, weights
from restore.nets import int8
from restore.nets.unshuffle_unet import UnshuffleUNet, grey_part
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.train import blind, denoise
from restore.train.loop import Budget, Progress
from restore.train.ship import save


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder where trained weights go."""
    monkeypatch.setattr(weights, "folder", lambda: tmp_path / "weights")
    yield tmp_path / "weights"
    weights.manifest.cache_clear()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):  # every fortieth is held out
        cv2.imwrite(str(folder / f"{number:02}.jpg"), data.astronaut()[..., ::-1])
    return folder


def test_training_ends_with_weights_for_integers(tmp_path: Path, photos: Path, shipped: Path) -> None:
    torch.manual_seed(0)
    net = UnshuffleUNet(widths=(16, 32, 48), blocks=(1, 1, 1, 1, 1))
    torch.nn.init.normal_(net.tail.weight, std=0.02)
    with torch.no_grad():
        for _, block in net.blocks():
            torch.nn.init.normal_(block.conv2.weight, std=0.02)
        net.middle[0].conv2.weight[:, 16:] = 0
    start = tmp_path / "start.safetensors"
    save(start, net.state_dict())
    words = [
        "--start",
        str(start),
        "--run",
        str(tmp_path / "run"),
        "--patch",
        "48",
        "--batch",
        "2",
        "--steps",
        "2",
        "--ship",
    ]
    denoise.main([str(photos), *words])
    state = weights.read(str(shipped / "denoise.safetensors")).state
    assert int8.is_fit(state)
    assert UnshuffleUNet.from_state(state).middle[0].conv1.out_channels < 48
    step = Step(method="denoise", weights=str(shipped / "denoise.safetensors"))
    pixels = np.random.default_rng(0).random((64, 72, 3), np.float32)
    recipe = Recipe(steps=(step,), noise=0.1, precision="int8")
    assert pipeline.run(Image(pixels), recipe, Runtime(device="cpu")).recipe.precision == "int8"


@pytest.mark.parametrize("method", ["denoise", "blind"])
def test_colour_and_grey_are_trained_apart_and_shipped_together(
    tmp_path: Path, photos: Path, shipped: Path, method: str
) -> None:
    torch.manual_seed(0)
    parts = {"": UnshuffleUNet(3, 2, (16, 16, 16), (1,) * 5), "grey.": UnshuffleUNet(1, 3, (16, 16, 16), (1,) * 5)}
    states = {f"{part}{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
    start = tmp_path / "start.safetensors"
    save(start, states)
    words = [str(photos), "--start", str(start), "--batch", "2", "--steps", "1", "--ship"]
    main = {"denoise": denoise, "blind": blind}[method].main
    main([*words, "--run", str(tmp_path / "colour")])
    colour = dict(weights.load(method)[0])
    assert grey_part(colour) == {}
    main([*words, "--run", str(tmp_path / "grey"), "--grey"])
    both = weights.load(method)[0]
    assert all(torch.equal(both[key], value) for key, value in colour.items())
    assert UnshuffleUNet.from_state(grey_part(both)).channels == 1
    assert UnshuffleUNet.from_state(both).channels == 3
    main([*words, "--run", str(tmp_path / "again"), "--seed", "5"])
    assert set(weights.load(method)[0]) == set(both)
    assert [path.name for path in shipped.glob("*.safetensors")] == [f"{method}.safetensors"]


def test_no_time_is_no_training() -> None:
    assert Budget(minutes=0).done(Progress()) == 1
    assert Budget(minutes=0, steps=4).done(Progress(steps=1)) == 0.25
