"""The raw network without channels that do nothing, and with more of them."""

import numpy as np
import pytest
import torch

from restore.nets.anscombe import compressed
from restore.nets.prune import deeper, wider
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.train.pnnp import Config, batches, leaner


def test_channels_that_do_nothing_go_and_the_answer_stays() -> None:
    rng = np.random.default_rng(0)
    told = (np.full((1, 1, 1), 0.01, np.float32), np.full((1, 1, 1), 0.02, np.float32))

    def draw() -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        clean = rng.random((4, Config.patch, Config.patch), np.float32) * 0.5
        return clean + rng.normal(0, 0.05, clean.shape).astype(np.float32), clean, told

    torch.manual_seed(0)
    net = UnshuffleUNet(4, 5, (16, 32, 48), (1, 1, 1, 1, 1)).eval()
    with torch.no_grad():
        torch.nn.init.normal_(net.tail.weight, std=0.02)
        for _, block in net.blocks():
            torch.nn.init.normal_(block.conv2.weight, std=0.02)
        net.middle[0].conv2.weight[:, 16:] = 0
    less = UnshuffleUNet.from_state(leaner(net.state_dict(), batches(draw, 2), 1e-6)).eval()
    assert less.middle[0].conv1.out_channels == 16
    assert less.dec1[0].conv1.out_channels == 16
    noisy, _ = next(batches(draw, 1))
    with torch.no_grad():
        torch.testing.assert_close(less(*compressed(noisy)), net(*compressed(noisy)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("width", [16, 24])
def test_a_wider_network_begins_with_the_same_answer_and_can_learn(width: int) -> None:
    torch.manual_seed(0)
    net = UnshuffleUNet(4, 5, (16, 32, 48), (2, 1, 1, 1, 1), {"enc1.0": 8, "middle.0": 16})
    with torch.no_grad():
        torch.nn.init.normal_(net.tail.weight, std=0.02)
        for _, block in net.blocks():
            torch.nn.init.normal_(block.conv2.weight, std=0.02)
    more = wider(net, width)
    assert more.head.out_channels == width
    assert more.middle[0].conv1.out_channels == 16
    picture, beside = torch.randn(1, 4, 32, 32), torch.randn(1, 5, 32, 32)
    torch.testing.assert_close(more(picture, beside), net(picture, beside), atol=1e-5, rtol=1e-4)
    more(picture, beside).square().mean().backward()
    if width > 16:
        assert more.tail.weight.grad is not None
        assert more.tail.weight.grad[:, 16:].abs().max() > 0


def test_a_deeper_network_begins_with_the_same_answer_and_can_learn() -> None:
    torch.manual_seed(0)
    net = UnshuffleUNet(4, 5, (16, 32, 48), (2, 1, 1, 1, 1), {"enc1.0": 8, "middle.0": 16})
    with torch.no_grad():
        torch.nn.init.normal_(net.tail.weight, std=0.02)
    more = deeper(net)
    assert len(more.dec1) == 2
    assert more.enc1[0].conv1.out_channels == 8
    assert more.radius > net.radius
    picture, beside = torch.randn(1, 4, 32, 32), torch.randn(1, 5, 32, 32)
    assert torch.equal(more(picture, beside), net(picture, beside))
    more(picture, beside).square().mean().backward()
    assert more.dec1[1].conv2.weight.grad is not None
    assert more.dec1[1].conv2.weight.grad.abs().max() > 0
