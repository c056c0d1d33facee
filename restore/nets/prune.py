"""Take channels that do little out of trained networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from restore.nets.unshuffle_unet import UnshuffleUNet

Example = tuple[Tensor, Tensor | None]
"""Pictures ``(B, C, H, W)`` and noise levels ``(B, conditions, 1, 1)``."""


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


def pruned(net: UnshuffleUNet, examples: Iterable[Example], inner: Mapping[str, int]) -> UnshuffleUNet:
    """Return the network with fewer channels inside its blocks: those that count most.

    A channel counts by what it adds to the sum: the root mean square of its feature times the norm of its kernels in
    the second convolution (after Molchanov et al., "Pruning convolutional neural networks for resource efficient
    inference", 2017).

    Parameters
    ----------
    examples
        To measure features on.
    inner
        Channels to keep, by block (``"enc1.0"``) or by stage (``"middle"``); other blocks are left as they are.
        Processors like multiples of 16.
    """
    squares: dict[str, Tensor] = {}
    kept = {name: count for name, _ in net.blocks() if (count := inner.get(name, inner.get(name.split(".")[0])))}

    def look(name: str, _: Tensor, feature: Tensor) -> None:
        squares[name] = squares.get(name, torch.zeros(())) + feature.square().mean((0, 2, 3))

    observe(net, examples, look)
    state = dict(net.state_dict())
    for name, count in kept.items():
        first, second = f"{name}.conv1.weight", f"{name}.conv2.weight"
        counts = squares[name].sqrt() * state[second].transpose(0, 1).flatten(1).norm(dim=1)
        best = counts.argsort(descending=True)[:count].sort().values
        state[first], state[second] = state[first][best], state[second][:, best]
    return UnshuffleUNet.from_state(state)
