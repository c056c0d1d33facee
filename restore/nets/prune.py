"""Take channels that do little out of trained networks, and give them more, and layers, where they do much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from restore.nets.unshuffle_unet import STAGES, ResidualBlock, UnshuffleUNet

Example = tuple[Tensor, Tensor | None]
"""Pictures ``(B, C, H, W)`` and noise levels ``(B, conditions, 1, 1)``."""

MULTIPLE = 16
"""Processors work on so many channels at a time."""


def observe(net: UnshuffleUNet, examples: Iterable[Example], look: Callable[[str, Tensor, Tensor], None]) -> None:
    """Run a network on examples, and show what each block reads, and its features between the convolutions."""
    hooks = []
    for name, block in net.blocks():
        read: list[Tensor] = []
        hooks += [
            block.conv1.register_forward_pre_hook(lambda _, x, read=read: read.append(x[0])),
            block.conv1.register_forward_hook(lambda _, __, y, read=read, n=name: look(n, read.pop(), y.relu())),
        ]
    with torch.no_grad():
        for picture, levels in examples:
            net(picture, levels)
    for hook in hooks:
        hook.remove()


def importance(net: UnshuffleUNet, examples: Iterable[Example]) -> dict[str, Tensor]:
    """Return how much each inner channel of each block adds to the sum, by the block's name.

    That is the root mean square of its feature times the norm of its kernels in the second convolution (after Molchanov
    et al., "Pruning convolutional neural networks for resource efficient inference", 2017).
    """
    squares: dict[str, Tensor] = {}

    def look(name: str, _: Tensor, feature: Tensor) -> None:
        squares[name] = squares.get(name, torch.zeros(())) + feature.square().mean((0, 2, 3))

    observe(net, examples, look)
    kernels = {name: block.conv2.weight.detach().transpose(0, 1).flatten(1) for name, block in net.blocks()}
    return {name: squares[name].sqrt() * kernels[name].norm(dim=1) for name in squares}


def pruned(net: UnshuffleUNet, weights: Mapping[str, Tensor], inner: Mapping[str, int]) -> UnshuffleUNet:
    """Return the network with fewer channels inside its blocks: those that count most.

    Parameters
    ----------
    weights
        By :func:`importance`.
    inner
        Channels to keep, by block; other blocks are left as they are.
    """
    state = dict(net.state_dict())
    for name, count in inner.items():
        first, second = f"{name}.conv1.weight", f"{name}.conv2.weight"
        best = weights[name].argsort(descending=True)[:count].sort().values
        state[first], state[second] = state[first][best], state[second][:, best]
    return UnshuffleUNet.from_state(state)


def lean(
    net: UnshuffleUNet, examples: Sequence[tuple[Tensor, Tensor | None, Tensor]], tolerance: float = 3e-4
) -> UnshuffleUNet:
    """Return the network without the inner channels that do not matter.

    Parameters
    ----------
    examples
        Noisy pictures, levels, and clean pictures.
    tolerance
        How much a block's loss of channels may change the answer: its mean square over that of the answer's error, mean
        over the examples.
    """
    seen = [(noisy, levels) for noisy, levels, _ in examples]
    weights = importance(net, seen)
    with torch.no_grad():
        answers = [net(noisy, levels) for noisy, levels in seen]
    errors = [
        (noisy - answer - clean).square().mean((1, 2, 3)) + 1e-6
        for (noisy, _, clean), answer in zip(examples, answers, strict=True)
    ]

    def is_harmless(inner: Mapping[str, int]) -> bool:
        less, changes = pruned(net, weights, inner), []
        with torch.no_grad():
            for (noisy, levels), answer, error in zip(seen, answers, errors, strict=True):
                changes.append((less(noisy, levels) - answer).square().mean((1, 2, 3)) / error)
        return float(torch.cat(changes).mean()) <= tolerance

    kept: dict[str, int] = {}
    for name, block in net.blocks():
        low, high = 0, -(-block.conv1.out_channels // MULTIPLE)  # in multiples; the lower one harms
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_harmless({name: middle * MULTIPLE}) else (middle, high)
        kept[name] = min(block.conv1.out_channels, high * MULTIPLE)
    return pruned(net, weights, kept)


def wider(net: UnshuffleUNet, width: int) -> UnshuffleUNet:
    """Return the network with ``width`` channels at 1/2 of the resolution; its answers stay the same.

    New channels begin with random kernels, and what was there reads them with zeros (after Chen et al., "Net2Net:
    accelerating learning via knowledge transfer", 2016).
    """
    old = net.state_dict()
    inner = {name: block.conv1.out_channels for name, block in net.blocks()}
    inner |= {name: max(count, width) for name, count in inner.items() if name.startswith(("enc1", "dec1"))}
    blocks = [len(getattr(net, stage)) for stage in STAGES]
    widths = (width, net.down1.out_channels, net.down2.out_channels)
    made = UnshuffleUNet(net.channels, net.conditions, widths, tuple(blocks), inner)  # type: ignore[arg-type]
    state = made.state_dict()
    for name, value in old.items():
        new = state[name]
        if new.shape == value.shape:
            new.copy_(value)
            continue
        if name in ("tail.weight", "down1.weight") or ".conv2." in name:
            new.zero_()
        elif name == "up1.weight":
            new *= 0.1  # louder ones would swamp what the encoder hands over
        else:
            new[: value.shape[0], value.shape[1] :] = 0
        new[tuple(slice(0, size) for size in value.shape)] = value
    made.load_state_dict(state)
    return made


def deeper(net: UnshuffleUNet) -> UnshuffleUNet:
    """Return the network with one more block before its tail, at 1/2; its answers stay the same.

    The block begins as the identity.
    """
    state = net.state_dict()
    width, count = net.head.out_channels, len(net.dec1)
    begun = ResidualBlock(width)
    nn.init.kaiming_normal_(begun.conv1.weight)
    nn.init.zeros_(begun.conv2.weight)
    state |= {f"dec1.{count}.{name}": value for name, value in begun.state_dict().items()}
    return UnshuffleUNet.from_state(state)


def whole(net: UnshuffleUNet) -> UnshuffleUNet:
    """Return the network with as many channels inside its blocks as around them; its answers stay the same."""
    widths = (net.head.out_channels, net.down1.out_channels, net.down2.out_channels)
    blocks = [len(getattr(net, stage)) for stage in STAGES]
    made = UnshuffleUNet(net.channels, net.conditions, widths, tuple(blocks))  # type: ignore[arg-type]
    state = made.state_dict()
    for name, value in net.state_dict().items():
        if ".conv2." in name:
            state[name].zero_()
        state[name][tuple(slice(0, size) for size in value.shape)] = value
    made.load_state_dict(state)
    return made
