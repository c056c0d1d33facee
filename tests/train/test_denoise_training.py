"""The workhorse's training ends with weights that are lean and fit 8-bit integers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from restore import pipeline, weights
from restore.nets import int8
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.train import denoise
from restore.train.loop import Budget, Progress
from restore.train.ship import save


def test_training_ends_with_weights_for_integers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(40):  # every fortieth is held out
        cv2.imwrite(str(photos / f"{number:02}.jpg"), data.astronaut()[..., ::-1])
    torch.manual_seed(0)
    net = UnshuffleUNet(widths=(16, 32, 48), blocks=(1, 1, 1, 1, 1))
    torch.nn.init.normal_(net.tail.weight, std=0.02)
    with torch.no_grad():
        for _, block in net.blocks():
            torch.nn.init.normal_(block.conv2.weight, std=0.02)
        net.middle[0].conv2.weight[:, 16:] = 0
    start, shipped = tmp_path / "start.safetensors", tmp_path / "weights"
    save(start, net.state_dict())
    monkeypatch.setattr(weights, "folder", lambda: shipped)
    words = ["--start", str(start), "--run", str(tmp_path / "run"), "--patch", "48", "--batch", "2", "--steps", "2"]
    denoise.main([str(photos), *words])
    state = weights.read(str(shipped / "denoise.safetensors")).state
    assert int8.is_fit(state)
    assert UnshuffleUNet.from_state(state).middle[0].conv1.out_channels < 48
    step = Step(method="denoise", weights=str(shipped / "denoise.safetensors"))
    pixels = np.random.default_rng(0).random((64, 72, 3), np.float32)
    recipe = Recipe.make(steps=(step,), noise=0.1, precision="int8")
    assert pipeline.run(Image(pixels), recipe, Runtime(device="cpu")).recipe.precision == "int8"


def test_no_time_is_no_training() -> None:
    assert Budget(minutes=0).done(Progress()) == 1
    assert Budget(minutes=0, steps=4).done(Progress(steps=1)) == 0.25
