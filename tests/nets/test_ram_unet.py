"""Our all-in-one network: injections, the head, and the way back from a state dict."""

import pytest
import torch
from torch import nn

from restore.errors import WeightsError
from restore.nets.ram_unet import CODE, KINDS, RamUNet, statistics

SMALL = (8, 8, 8)


@pytest.fixture(params=[True, False])
def net(request: pytest.FixtureRequest) -> RamUNet:
    torch.manual_seed(0)
    made = RamUNet(SMALL, has_features=request.param)
    for module in made.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.05)
    return made.eval()


@torch.inference_mode()
def test_the_code_of_the_whole_picture_is_told_to_its_parts(net: RamUNet) -> None:
    x = torch.rand(1, 3, 64, 64)
    x[..., 32:] *= 0.3
    code = net.code_of(x)
    assert code.shape == (1, CODE, 1, 1)
    assert code[0, 0] == 1
    assert code[0, 1 : 1 + len(KINDS)].sum() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(code[0, 1 + len(KINDS) :, 0, 0], statistics(x)[0])
    assert torch.equal(net(x), net(x, code))
    half = x[..., :32]
    assert not torch.allclose(net(half), net(half, code))


def test_statistics_are_percentiles_and_means_also_of_large_pictures() -> None:
    ramp = torch.linspace(0, 1, 1200).expand(1, 3, 1100, 1200) * torch.tensor([1.0, 0.5, 0.1]).view(1, 3, 1, 1)
    want = torch.cat([share * torch.tensor([1.0, 0.5, 0.1]) for share in (0.01, 0.99, 0.5)])
    assert torch.allclose(statistics(ramp)[0], want, atol=2e-3)
    assert statistics(torch.rand(2, 3, 1, 1)).shape == (2, 9)


@torch.inference_mode()
def test_features_of_the_content_encoder_reach_the_result() -> None:
    torch.manual_seed(0)
    net = RamUNet(SMALL)
    for name, parameter in net.named_parameters():
        nn.init.normal_(parameter, std=0.05) if parameter.ndim == 4 else None
        assert parameter.requires_grad is not name.startswith("content.")
    x = torch.rand(1, 3, 32, 32)
    before = net(x)
    for scale in (net.inject4, net.inject8):
        kept = scale.weight.clone()
        nn.init.zeros_(scale.weight)
        assert not torch.allclose(net(x), before)
        scale.weight.copy_(kept)
    net.content.enc1[0].conv1.weight.mul_(3)
    assert not torch.allclose(net(x), before)


@torch.inference_mode()
def test_it_comes_back_from_its_state_dict_and_others_are_refused(net: RamUNet) -> None:
    again = RamUNet.from_state(net.state_dict())
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(again(x), net(x))
    assert again.has_features is net.has_features
    with pytest.raises(WeightsError, match="RamUNet"):
        RamUNet.from_state({name: value for name, value in net.state_dict().items() if "up2" not in name})


@torch.inference_mode()
def test_a_pixel_is_not_changed_by_what_lies_beyond_the_radius(net: RamUNet) -> None:
    side = 8 * (2 * net.radius // 8 + 4)
    x = torch.rand(1, 3, side, 16)
    other = x.clone()
    other[..., : side // 2 - net.radius, :] = 0
    code = net.code_of(x)
    changed = (net(x, code) - net(other, code)).abs().amax((0, 1, 3)) > 0
    assert not changed[side // 2 :].any()
    assert changed[: side // 2 - net.radius].all()
