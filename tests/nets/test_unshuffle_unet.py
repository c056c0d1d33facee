"""The workhorse network: budget, homogeneity, and a receptive field that is what it says."""

import pytest
import torch

from restore.errors import WeightsError
from restore.nets.unshuffle_unet import UnshuffleUNet


def filled(blocks: tuple[int, int, int, int, int], *, is_positive: bool = False) -> UnshuffleUNet:
    net = UnshuffleUNet(widths=(4, 4, 4), blocks=blocks).double().eval()
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data = torch.rand(p.shape, generator=generator, dtype=torch.double) - (0 if is_positive else 0.5)
    return net.requires_grad_(False)


@pytest.mark.parametrize("blocks", [(1, 1, 1, 1, 1), (2, 2, 3, 2, 1)])
def test_radius_by_gradient(blocks: tuple[int, int, int, int, int]) -> None:
    net = filled(blocks, is_positive=True)
    x = torch.rand(1, 3, 256, 256, dtype=torch.double, requires_grad=True)
    reach = 0
    for at in range(128, 136):
        (gradient,) = torch.autograd.grad(net(x, torch.zeros(1, 2, 1, 1, dtype=torch.double))[0, 0, at, at], x)
        rows = gradient.abs().sum((0, 1)).nonzero()
        reach = max(reach, at - int(rows.min()), int(rows.max()) - at)
    assert reach <= net.radius <= reach + 6


def test_homogeneous() -> None:
    net = filled((1, 1, 1, 1, 1))
    x, level = torch.rand(1, 3, 32, 32, dtype=torch.double), torch.full((1, 2, 1, 1), 0.1, dtype=torch.double)
    assert torch.allclose(net(7 * x, 7 * level), 7 * net(x, level))


def test_level_plane_equals_constant() -> None:
    net = filled((1, 1, 1, 1, 1))
    x, level = torch.rand(1, 3, 32, 32, dtype=torch.double), torch.rand(1, 2, 1, 1, dtype=torch.double)
    assert torch.allclose(net(x, level.expand(1, 2, 32, 32)), net(x, level))


def test_multiply_adds_within_budget() -> None:
    net = UnshuffleUNet()
    scale = {"head": 4, "enc1": 4, "dec1": 4, "tail": 4, "up1": 16, "enc2": 16, "dec2": 16, "up2": 64, "middle": 64}
    per_pixel = {"down1": 16, "down2": 64} | scale
    total = sum(p.numel() / per_pixel[name.split(".")[0]] for name, p in net.named_parameters())
    assert total <= 120_000


def test_sizes_are_read_off_the_state_dict() -> None:
    net = UnshuffleUNet(channels=1, conditions=1, widths=(4, 6, 8), blocks=(1, 2, 1, 0, 1))
    again = UnshuffleUNet.from_state(net.state_dict())
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}
    with pytest.raises(WeightsError, match="architecture"):
        UnshuffleUNet.from_state({"head.weight": torch.zeros(3)})
