import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from restore.errors import WeightsError
from restore.nets.bias_free_dncnn import BiasFreeDnCNN
from restore.nets.blind_prior import blind_prior, denoised
from restore.nets.unshuffle_unet import UnshuffleUNet


def checkpoint(width: int = 64, depth: int = 20) -> dict[str, Tensor]:
    """The published layout: kernels, and deviations and gains of the inner layers."""
    rng = torch.Generator().manual_seed(0)
    sizes = [3, *[width] * (depth - 1), 3]
    state = {
        f"conv_layers.{i}.weight": torch.randn(b, a, 3, 3, generator=rng) * (2 / (9 * a)) ** 0.5
        for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
    }
    for i in range(depth - 2):
        state[f"running_sd.{i}"] = 0.5 + torch.rand(1, width, 1, 1, generator=rng)
        state[f"gammas.{i}"] = 0.5 + torch.rand(1, width, 1, 1, generator=rng)
    return state


def unfolded(state: dict[str, Tensor], picture: Tensor) -> Tensor:
    """The published network, in float64: divide by the deviation, multiply by the gain, ReLU."""
    state = {name: value.double() for name, value in state.items()}
    depth = sum(name.startswith("conv_layers") for name in state)
    x = F.relu(F.conv2d(picture.double(), state["conv_layers.0.weight"], padding=1))
    for i in range(1, depth - 1):
        x = F.conv2d(x, state[f"conv_layers.{i}.weight"], padding=1)
        x = F.relu(x / state[f"running_sd.{i - 1}"] * state[f"gammas.{i - 1}"])
    return F.conv2d(x, state[f"conv_layers.{depth - 1}.weight"], padding=1)


def test_folding_is_exact_and_the_layout_is_the_published_one() -> None:
    state = checkpoint()
    assert len(state) == 56
    assert sum(value.numel() for value in state.values()) == 669_312
    picture = torch.rand(1, 3, 24, 20, generator=torch.Generator().manual_seed(1))
    expected = unfolded(state, picture)
    found = BiasFreeDnCNN.from_state(state)(picture)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_scaling_the_picture_scales_the_answer() -> None:
    picture = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    net = BiasFreeDnCNN.from_state(checkpoint(16, 5))
    torch.testing.assert_close(net(4 * picture), 4 * net(picture), rtol=0, atol=0)
    assert net(torch.zeros(1, 3, 8, 8)).abs().max() == 0


def test_radius_is_how_far_a_pixel_reaches() -> None:
    net = BiasFreeDnCNN.from_state(checkpoint(8, 4))
    picture = torch.rand(1, 3, 21, 21, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (gradient,) = torch.autograd.grad(net(picture)[0, 0, 10, 10], picture)
    reached = gradient.abs().sum((0, 1)).nonzero()
    assert (reached - 10).abs().max() == net.radius


def test_weights_of_other_networks_are_refused() -> None:
    incomplete = checkpoint(8, 4)
    del incomplete["gammas.1"]
    with pytest.raises(WeightsError, match="architecture"):
        blind_prior(incomplete)
    with pytest.raises(WeightsError, match="told"):
        blind_prior(UnshuffleUNet(conditions=2, widths=(4, 4, 4), blocks=(1, 1, 1, 1, 1)).state_dict())
    with pytest.raises(WeightsError, match="planes"):
        blind_prior(UnshuffleUNet(4, 0, widths=(4, 4, 4), blocks=(1, 1, 1, 1, 1)).state_dict())


def test_a_told_network_is_told_the_deviation_of_white_noise() -> None:
    told = UnshuffleUNet(conditions=2, widths=(4, 4, 4), blocks=(1, 1, 1, 1, 1))
    torch.nn.init.normal_(told.tail.weight, generator=torch.Generator().manual_seed(0))
    net = blind_prior(told.state_dict(), may_be_told=True)
    picture = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    found = denoised(net, picture, torch.full_like(picture, 0.1))
    levels = torch.tensor([0.1, 0])[None, :, None, None].expand(2, -1, -1, -1)
    torch.testing.assert_close(found, picture - told(picture, levels).detach())
