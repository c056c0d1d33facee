from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from restore import noise, pipeline, tiling, weight_import
from restore.degrade import gaussian
from restore.method import Compute, Scene
from restore.methods.blind import Blind, BlindSettings, load
from restore.nets.bias_free_dncnn import BiasFreeDnCNN
from restore.noise import Noise
from restore.picture import Domain, Image, Meta
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

COMPUTE = Compute(torch.device("cpu"), torch.float32)


def scene(planes: torch.Tensor, correlation: float) -> Scene:
    level = Noise(0.05, (0.05,) * planes.shape[0], correlation=correlation)
    return Scene(planes, Domain.SRGB, Meta(), level, COMPUTE, np.random.default_rng(0))


def photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 40
    return np.stack([0.5 + 0.2 * np.sin(2 * x + k) * np.cos(y) for k in range(3)], -1).astype(np.float32)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_every_stride_is_tile_exact(stride: int) -> None:
    planes = torch.rand(3, 75, 90, generator=torch.Generator().manual_seed(0))
    op = load(BlindSettings(stride=str(stride)), None, COMPUTE).prepare(scene(planes, 0.5))
    whole = tiling.apply(op, planes)
    assert (tiling.apply(op, planes, tile=32) - whole).abs().max() <= 1e-5


class Marks(nn.Module):
    """Stands for a network: what it calls noise is the number of the part it is shown."""

    channels, radius, multiple = 3, 0, 1

    def forward(self, parts: torch.Tensor) -> torch.Tensor:
        return torch.arange(len(parts), dtype=torch.float32)[:, None, None, None].expand_as(parts)


def test_each_part_is_every_nth_pixel() -> None:
    planes = torch.zeros(3, 4, 6)
    op = Blind(BlindSettings(stride="2"), Marks(), None, COMPUTE).prepare(scene(planes, 0.0))  # type: ignore[arg-type]
    assert op.run(planes)[1].neg().tolist() == [[0, 1] * 3, [2, 3] * 3] * 2


def test_coarse_grain_is_taken_further_apart_and_the_report_says_so() -> None:
    planes = torch.zeros(3, 16, 16)
    strides = []
    for correlation in (0.0, 0.3, 0.7):
        seen = scene(planes, correlation)
        load(BlindSettings(), None, COMPUTE).prepare(seen)
        strides.append(seen.report["stride"])
        assert f"stride {seen.report['stride']}" in seen.report["notes"][0]
    assert strides[0] == 1 < strides[1] <= strides[2]


def test_no_level_is_needed() -> None:
    clean = photo(96, 128)
    noisy = Image(gaussian(clean, np.random.default_rng(0), sigma=25 / 255))
    recipe = Recipe(steps=(Step(method="blind"),))
    found = pipeline.run(noisy, recipe, Runtime(device="cpu")).picture
    assert isinstance(found, Image)
    assert np.mean((found.pixels - clean) ** 2) < np.mean((noisy.pixels - clean) ** 2) / 10
    assert noise.estimate(found).sigma < 0.25 * noise.estimate(noisy).sigma


@pytest.mark.parametrize("method", ["blind", "scoredvi"])
def test_a_published_checkpoint_is_imported_and_used(method: str, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    shapes = [(8, 3), (8, 8), (8, 8), (3, 8)]
    state = {f"conv_layers.{i}.weight": 0.1 * torch.randn(*s, 3, 3, generator=rng) for i, s in enumerate(shapes)}
    for i in range(2):
        state |= {f"running_sd.{i}": torch.full((1, 8, 1, 1), 2.0), f"gammas.{i}": torch.full((1, 8, 1, 1), 3.0)}
    torch.save(state, tmp_path / "model0.pt")
    path = tmp_path / "model0.safetensors"
    path.write_bytes(weight_import.converted(tmp_path / "model0.pt", may_unpickle=True))
    picture = Image(photo(32, 32))
    settings = {"stride": "1"} if method == "blind" else {"steps": 1}
    recipe = Recipe(steps=(Step(method=method, weights=str(path), settings=settings),), precision="fp32")
    found = pipeline.run(picture, recipe, Runtime(device="cpu")).picture
    assert isinstance(found, Image)
    if method == "blind":
        planes = torch.from_numpy(picture.pixels.transpose(2, 0, 1).copy())
        expected = planes - BiasFreeDnCNN.from_state(state)(planes[None])[0]
        np.testing.assert_allclose(found.pixels, expected.detach().numpy().transpose(1, 2, 0), atol=1e-5)
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(Exception, match="architecture"):
        pipeline.run(picture, recipe, Runtime(device="cpu"))
