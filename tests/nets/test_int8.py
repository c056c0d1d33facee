"""8-bit arithmetic: whole numbers are those of the rounding blocks; networks lose the channels that do nothing."""

import pytest
import torch

from restore.nets import int8
from restore.nets.prune import importance, lean, observe, pruned
from restore.nets.unshuffle_unet import INT8, ResidualBlock, UnshuffleUNet

needs_int8 = pytest.mark.skipif(not int8.is_exact(), reason="this processor has no exact 8-bit products")


def network() -> UnshuffleUNet:
    torch.manual_seed(0)
    net = UnshuffleUNet(widths=(16, 24, 32), blocks=(2, 1, 1, 1, 1), inner={"middle.0": 16}).eval()
    for name, value in net.named_parameters():
        torch.nn.init.normal_(value, std=0.3 if name == "tail.weight" else (2 / value[0].numel()) ** 0.5)
    return net.requires_grad_(False)


def examples(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return [(torch.rand(2, 3, 32, 40), torch.full((2, 2, 1, 1), 0.1)) for _ in range(count)]


def test_features_lie_within_their_ranges() -> None:
    net, beyond = network(), []
    found = int8.ranges(net, examples())

    def look(name: str, read: torch.Tensor, inner: torch.Tensor) -> None:
        whats = (("read", read),) if name.startswith(int8.STAGES) else ()
        if name.startswith(int8.STAGES + int8.SECOND):
            for what, x in (*whats, ("inner", inner)):
                beyond.append(float((x.abs() > 1.001 * found[f"{name}{INT8}{what}"][:, None, None]).float().mean()))

    observe(net, examples(), look)
    assert len(found) == 7
    assert len(beyond) == 7 * len(examples())
    assert max(beyond) < 0.002  # what lies beyond SHARE is clipped
    assert int8.is_fit(net.state_dict() | found)
    assert not int8.is_fit(net.state_dict())


@needs_int8
@pytest.mark.parametrize(("width", "inner"), [(16, 16), (48, 48), (96, 16), (40, 24)])
def test_whole_numbers_are_those_of_the_rounding_block(width: int, inner: int) -> None:
    torch.manual_seed(width)
    block = ResidualBlock(width, inner).requires_grad_(False)
    ranges = torch.rand(width) + 2.5, torch.rand(inner) + 2.5
    x = torch.randn(2, width, 13, 21).mul_(0.6).contiguous(memory_format=torch.channels_last)
    expected = int8.RoundedBlock(block, *ranges)(x)
    found = int8.Int8Block(block, *ranges)(x.clone(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert 1e-3 < float((expected - block(x)).std() / (block(x) - x).std()) < 0.05


@needs_int8
def test_whole_numbers_in_the_second_convolution_are_those_of_rounding() -> None:
    torch.manual_seed(3)
    block = ResidualBlock(48).requires_grad_(False)
    inner = torch.rand(48) + 2.5
    x = torch.randn(2, 48, 13, 21).mul_(0.6).contiguous(memory_format=torch.channels_last)
    expected = int8.RoundedSecond(block, inner)(x)
    found = int8.Int8Second(block, inner)(x.clone(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert 1e-3 < float((expected - block(x)).std() / (block(x) - x).std()) < 0.05


@needs_int8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_in_whole_numbers(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    net = network()
    state = net.state_dict() | int8.ranges(net, examples())
    layout = {"dtype": dtype, "memory_format": torch.channels_last}
    exact = int8.network(state).to(**layout).requires_grad_(False)
    monkeypatch.setattr(int8, "is_exact", lambda: False)
    rounded = int8.network(state).requires_grad_(False)
    assert isinstance(exact.middle[0], int8.Int8Block)
    assert isinstance(rounded.middle[0], int8.RoundedBlock)
    assert isinstance(exact.dec1[0], int8.Int8Second)
    assert isinstance(rounded.dec1[0], int8.RoundedSecond)
    assert isinstance(exact.enc1[0], ResidualBlock)
    x, level = examples(1)[0]
    found, same, plain = exact(x.to(dtype), level.to(dtype)).float(), rounded(x, level), net(x, level)
    assert float((found - same).std() / same.std()) < (0.002 if dtype is torch.float32 else 0.06)
    assert 1e-4 < float((same - plain).std() / plain.std()) < 0.05


def test_no_whole_numbers_where_products_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    saturated = lambda self, x: x.clamp(-1000, 1000)  # noqa: E731 - what 16-bit sums would make of it
    monkeypatch.setattr(int8.Int8Block, "forward", saturated)
    assert not int8.is_exact.__wrapped__()
    monkeypatch.setattr(int8, "_packed", None)
    assert not int8.is_exact.__wrapped__()


def test_channels_that_do_nothing_go() -> None:
    net = network()
    with torch.no_grad():
        net.middle[0].conv2.weight[:, ::2] = 0
        net.dec2[0].conv1.weight[5:] = 0
    x, level = examples(1)[0]
    less = pruned(net, importance(net, examples()), {"middle.0": 8, "dec2.0": 5})
    assert [block.conv1.out_channels for _, block in less.blocks()] == [16, 16, 24, 8, 5, 16]
    torch.testing.assert_close(less(x, level), net(x, level), rtol=1e-4, atol=1e-5)
    again = UnshuffleUNet.from_state(less.state_dict())
    torch.testing.assert_close(again(x, level), less(x, level))


def test_lean_networks_keep_what_matters() -> None:
    torch.manual_seed(5)
    net = UnshuffleUNet(widths=(16, 32, 64), blocks=(1, 1, 1, 1, 1)).eval()
    for name, value in net.named_parameters():
        torch.nn.init.normal_(value, std=0.3 if name == "tail.weight" else (2 / value[0].numel()) ** 0.5)
    with torch.no_grad():
        net.middle[0].conv2.weight[:, 20:] *= 1e-4
    net.requires_grad_(False)
    known = [(x, level, x - net(x, level) + 0.1 * torch.randn(x.shape)) for x, level in examples()]
    less = lean(net, known)
    assert [block.conv1.out_channels for _, block in less.blocks()] == [16, 32, 32, 32, 16]
    change = torch.cat([less(x, level) - net(x, level) for x, level, _ in known])
    assert 0 < float(change.detach().square().mean()) < 3e-4 * 0.1**2
    assert [b.conv1.out_channels for _, b in lean(net, known, tolerance=1e9).blocks()] == [16] * 5
