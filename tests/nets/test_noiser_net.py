"""The NoiSER network against the published implementation, and the invariance that makes it a light."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from restore import weights
from restore.nets.noiser import Noiser

PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"


def regenerated(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Fill parameters by the rule of the parity vectors."""
    state = {}
    for key, shape in shapes.items():
        n = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)  # noqa: NPY002 - the vectors' rule
        fan = int(np.prod(shape[1:]))
        is_vector = len(shape) == 1 or fan == 1
        n = (0.1 * n if key.endswith("bias") else 1 + 0.1 * n) if is_vector else n / np.sqrt(fan)
        state[key] = torch.from_numpy(n.astype(np.float32))
    return state


def test_layout_of_published_checkpoints() -> None:
    shapes = {name: tuple(value.shape) for name, value in Noiser().state_dict().items()}
    assert shapes == {
        "network.0.weight": (32, 3, 3, 3),
        "network.0.bias": (32,),
        "network.3.weight": (3, 32, 3, 3),
        "network.3.bias": (3,),
    }
    assert sum(value.numel() for value in Noiser().parameters()) == 1763


def test_shipped_weights_fit() -> None:
    state, _ = weights.load("noiser")
    Noiser().load_state_dict(state)


@pytest.mark.skipif(not PARITY.is_dir(), reason="no parity vectors beside this checkout")
def test_same_as_the_published_network() -> None:
    facts = json.loads((PARITY / "noiser.json").read_text())
    net = Noiser()
    net.load_state_dict(regenerated(facts["state_dict"]))
    image = facts["inputs"]["image"]
    x = np.random.RandomState(image["seed"]).standard_normal(image["shape"]).astype(np.float32)  # noqa: NPY002
    with torch.inference_mode():
        found = net(torch.from_numpy(x)).numpy()
    with np.load(PARITY / "noiser.npz") as stored:
        expected = stored["output"]
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


def test_exposure_is_divided_out_only_with_replicated_borders_and_a_small_eps() -> None:
    state, _ = weights.load("noiser")
    x = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    changes = {}
    for padding, eps in (("replicate", 1e-8), ("zeros", 1e-8), ("replicate", 1e-5)):
        net = Noiser(padding=padding, eps=eps)  # type: ignore[arg-type]
        net.load_state_dict(state)
        with torch.inference_mode():
            changes[padding, eps] = (net(0.02 * x - 0.9) - net(x)).abs().max().item()
    assert changes["replicate", 1e-8] < 1e-3
    assert changes["zeros", 1e-8] > 0.05
    assert changes["replicate", 1e-5] > 2e-3


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    net, x = Noiser(), torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    x[1] *= 7
    with torch.inference_mode():
        torch.testing.assert_close(net(x)[:1], net(x[:1]), rtol=0, atol=1e-6)
