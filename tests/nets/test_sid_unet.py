import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from restore import tiling, weights
from restore.errors import WeightsError
from restore.nets.sid_unet import SidUNet, in_our_order, is_sid
from restore.tiling import TileOp
from restore.weight_import import converted

PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"


def regenerated(shapes):
    """Weights by the rule of the parity vectors' README."""
    state = {}
    for key, shape in shapes.items():
        n = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(int(np.prod(shape))).reshape(shape)
        fan = int(np.prod(shape[1:]))
        is_vector = len(shape) == 1 or fan == 1
        n = (0.1 * n if key.endswith("bias") else 1 + 0.1 * n) if is_vector else n / np.sqrt(fan)
        state[key] = torch.from_numpy(n.astype(np.float32))
    return state


@pytest.fixture(scope="module")
def published():
    if not PARITY.exists():
        pytest.skip("no shared parity vectors")
    case = json.loads((PARITY / "pnnp_unet.json").read_text())
    (output,) = np.load(PARITY / "pnnp_unet.npz").values()
    return case, regenerated(case["state_dict"]), output


def test_keys_shapes_and_output_are_the_published_ones(published):
    case, state, output = published
    net = SidUNet.from_state(state)
    assert {key: list(value.shape) for key, value in net.state_dict().items()} == case["state_dict"]
    assert [*net.state_dict()] == [*case["state_dict"]]
    assert len(state) == 46
    assert sum(p.numel() for p in net.parameters()) == 7_760_484
    given = case["inputs"]["planes"]
    x = np.random.RandomState(given["seed"]).standard_normal(given["shape"]).astype(np.float32)
    with torch.inference_mode():
        found = net(torch.from_numpy(x)).numpy()
    assert np.linalg.norm(found - output) / np.linalg.norm(output) <= 1e-5


def test_a_checkpoint_is_imported_in_our_plane_order(published, tmp_path):
    _, state, output = published
    wrapped = {"netG": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "a.pth")
    (tmp_path / "a.safetensors").write_bytes(converted(tmp_path / "a.pth", may_unpickle=True))
    ours, _ = weights.load(str(tmp_path / "a.safetensors"))
    assert weights.metadata(tmp_path / "a.safetensors")["plane_order"] == "rggb"
    x = torch.from_numpy(np.random.RandomState(5).standard_normal((1, 4, 64, 96)).astype(np.float32))
    with torch.inference_mode():
        found = SidUNet.from_state(ours)(x[:, [0, 1, 3, 2]])[:, [0, 1, 3, 2]].numpy()
    assert np.linalg.norm(found - output) / np.linalg.norm(output) <= 1e-5
    with pytest.raises(WeightsError, match="plane order 'bggr'"):
        converted(tmp_path / "a.pth", may_unpickle=True, planes="bggr")


def test_weights_of_another_shape_are_refused():
    state = SidUNet(2).state_dict()
    assert is_sid(state)
    state["conv5_2.weight"] = torch.zeros(3, 3)
    with pytest.raises(WeightsError, match="SID raw U-Net"):
        SidUNet.from_state(state)


def test_rggb_is_left_as_it_is():
    state = SidUNet(2).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in in_our_order(state, (0, 1, 2, 3)).items())


def test_tiles_are_exact_for_any_side():
    torch.manual_seed(0)
    net = SidUNet(4).double().eval().requires_grad_(False)
    op = TileOp(lambda tile: net(tile[None].double())[0].float(), halo=net.radius, multiple=net.multiple)
    planes = torch.rand(4, 205, 330)
    whole = tiling.apply(op, planes)
    assert (tiling.apply(op, planes, tile=64) - whole).abs().max() <= 1e-6
