"""The published RAM networks on weights that anyone can make again: the same keys, the same output."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import by_rule
from torch import nn

from restore.nets.adasam import AdaSAM
from restore.nets.promptir import PromptIR
from restore.nets.restormer import Restormer
from restore.nets.restormer_rfr import RestormerRFR

PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"
pytestmark = pytest.mark.skipif(not PARITY.exists(), reason="the parity vectors are not beside this checkout")


def filled(net: nn.Module, keys: dict[str, list[int]]) -> nn.Module:
    assert sorted(net.state_dict()) == sorted(keys)
    net.load_state_dict(by_rule(keys))
    return net.eval()


def drawn(seed: int, shape: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("name", ["restormer_pretrain", "restormer_rfr", "promptir", "adasam_mask"])
@pytest.mark.parametrize("rows", [0, 16])
def test_same_output_as_published(name: str, rows: int) -> None:
    kinds = {"restormer_pretrain": Restormer, "restormer_rfr": RestormerRFR, "promptir": PromptIR}
    if name == "adasam_mask" and rows:
        pytest.skip("the mask network has no strips")
    about = json.loads((PARITY / f"ram_{name}.json").read_text())
    stored = np.load(PARITY / f"ram_{name}.npz")
    truth = torch.from_numpy(stored[stored.files[0]])
    net = filled(kinds.get(name, AdaSAM)(), about["state_dict"])
    inputs = [drawn(**given) for given in about["inputs"].values()]
    with torch.inference_mode():
        if name == "adasam_mask":
            found = net(inputs[0]).view_as(truth)  # a 16 x 16 grid of tokens
        elif name == "restormer_rfr":
            found = net(inputs[0], inputs[1:], rows=rows)
        elif name == "restormer_pretrain":
            found = net(inputs[0], (inputs[1] > 0).float(), rows=rows)
        else:
            found = net(inputs[0], rows=rows)
    assert found.shape == truth.shape
    assert float((found - truth).norm() / truth.norm()) <= 1e-4
