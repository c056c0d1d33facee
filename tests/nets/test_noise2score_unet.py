"""The published network on weights anyone can regenerate, and both kinds of its checkpoints."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from restore.errors import WeightsError
from restore.nets.noise2score_unet import Noise2ScoreUNet

PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"


def filled(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    state = {}
    for key, shape in shapes.items():
        n = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        n = n / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * n + (not key.endswith("bias"))
        state[key] = torch.from_numpy(n.astype(np.float32))
    return state


@pytest.mark.skipif(not PARITY.exists(), reason="the parity vectors are not here")
def test_it_is_the_published_network() -> None:
    facts = json.loads((PARITY / "noise2score_unet.json").read_text())
    net = Noise2ScoreUNet.from_state(filled(facts["state_dict"]))
    assert {k: list(v.shape) for k, v in net.state_dict().items()} == facts["state_dict"]
    assert list(net.state_dict()) == list(facts["state_dict"])
    image = facts["inputs"]["image"]
    picture = np.random.RandomState(image["seed"]).standard_normal(image["shape"]).astype(np.float32)
    with torch.inference_mode():
        found = net(torch.from_numpy(picture)).numpy()
    reference = np.load(PARITY / "noise2score_unet.npz")["score"]
    assert np.linalg.norm(found - reference) <= 1e-5 * np.linalg.norm(reference)


@pytest.mark.parametrize("channels", [1, 3])
def test_both_kinds_of_checkpoints_load(channels: int) -> None:
    torch.manual_seed(0)
    net = Noise2ScoreUNet(channels)
    state = net.state_dict()
    assert len(state) == 28
    listed = {f"shadow_params.{i}": value for i, value in enumerate(state.values())} | {"decay": torch.tensor(0.999)}
    shuffled = dict(sorted(listed.items()))  # .10 before .2
    for source in (state, dict(reversed(state.items())), shuffled):  # files keep no order
        again = Noise2ScoreUNet.from_state(source)
        assert again.channels == channels
        assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), state.values(), strict=True))


def test_another_architecture_is_refused() -> None:
    with pytest.raises(WeightsError, match="Noise2ScoreUNet"):
        Noise2ScoreUNet.from_state({"_block1.0.weight": torch.zeros(48, 3, 3, 3)})


def test_nothing_is_read_beyond_the_radius() -> None:
    torch.manual_seed(0)
    net = Noise2ScoreUNet(1).double()
    picture = torch.randn(1, 1, 448, 32, dtype=torch.float64, requires_grad=True)
    for row in (223, 224, 239):
        (slope,) = torch.autograd.grad(net(picture)[0, 0, row, 16], picture)
        read = slope.abs().sum((0, 1, 3)).nonzero()
        assert row - net.radius <= int(read.min()) and int(read.max()) <= row + net.radius
        assert int(read.max()) - int(read.min()) > net.radius
