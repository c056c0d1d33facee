"""8-bit integers for the inner stages of :class:`~restore.nets.unshuffle_unet.UnshuffleUNet`: twice their speed.

A network fits when the features that blocks of these stages read stay within -1...1, and those between their two
convolutions within 0...1; a homogeneous network can be scaled so without a change of its answer (:func:`scaled`). A
block then rounds what it reads to 1/127, its inner features to 1/255, and each kernel to 1/127 of its largest weight.
The sum that runs through the blocks stays in the network's own arithmetic. All scales are constants, so tiles stay
exact. The blocks at half the resolution are left out: they hold the picture, in which rounding drowns faint noise.

References
----------
Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference" (2018);
Nagel et al., "Data-free quantization through weight equalization and bias correction" (2019): channels scaled alike.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.nets.prune import Example, observe
from restore.nets.unshuffle_unet import ResidualBlock, UnshuffleUNet

STAGES = ("enc2", "middle", "dec2")
"""Stages that compute in integers: those at a quarter and an eighth of the resolution."""

TRUNK, INNER = 127, 255
"""Steps of what a block reads, to each side of zero, and of its inner features, which are not negative."""

SHARE = 0.9999
"""Share of a picture's features that lie within the range of their channel; others are clipped."""

_ZERO = 128


def _kernel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a kernel's whole numbers, -127...127, as floats, and the step of each output channel."""
    step = (weight.abs().amax((1, 2, 3)) / TRUNK).clamp_min(1e-12)
    return (weight / step[:, None, None, None]).round(), step


class RoundedBlock(ResidualBlock):
    """A residual block that rounds as :class:`Int8Block` does, in floats: the same answer on other processors."""

    @classmethod
    def of(cls, block: ResidualBlock) -> Self:
        """Return a block with the same kernels."""
        made = cls(block.conv1.in_channels, block.conv1.out_channels)
        made.load_state_dict(block.state_dict())
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        kernel, step = _kernel(self.conv1.weight)
        sums = F.conv2d((x * TRUNK).round().clamp(-TRUNK, TRUNK), kernel, padding=1)
        inner = (sums * (step * (INNER / TRUNK))[:, None, None]).round().clamp(0, INNER)
        kernel, step = _kernel(self.conv2.weight)
        return x + F.conv2d(inner, kernel, padding=1) * (step / INNER)[:, None, None]


def scaled(net: UnshuffleUNet, examples: Iterable[Example]) -> UnshuffleUNet:
    """Return a network of the same answers whose inner stages fit 8 bits on examples of what it is for."""
    ranges: dict[str, Tensor] = {}

    def widen(name: str, x: Tensor) -> None:
        flat = x.abs().transpose(0, 1).flatten(1).float()
        new = flat.kthvalue(max(1, round(flat.shape[1] * SHARE)), dim=1).values
        ranges[name] = torch.maximum(ranges.get(name, new), new)

    def look(name: str, read: Tensor, feature: Tensor) -> None:
        if name.startswith(STAGES):
            widen(_trunk(name), read)
            widen(name, feature)

    observe(net, examples, look)
    ranges = {name: torch.maximum(value, value.max() / 50) for name, value in ranges.items()}
    quarter, eighth = ranges["quarter"], ranges["eighth"]
    state = dict(net.state_dict())
    state["down1.weight"] = _between(state["down1.weight"], None, quarter)
    state["down2.weight"] = _between(state["down2.weight"], quarter, eighth)
    state["up2.weight"] = _between(state["up2.weight"].transpose(0, 1), eighth, quarter).transpose(0, 1)
    state["up1.weight"] = _between(state["up1.weight"].transpose(0, 1), quarter, None).transpose(0, 1)
    for name in (name for name, _ in net.blocks() if name.startswith(STAGES)):
        trunk, inner = ranges[_trunk(name)], ranges[name]
        state[f"{name}.conv1.weight"] = _between(state[f"{name}.conv1.weight"], trunk, inner)
        state[f"{name}.conv2.weight"] = _between(state[f"{name}.conv2.weight"], inner, trunk)
    return UnshuffleUNet.from_state(state)


def _trunk(block: str) -> str:
    """Return the name of the sum that a block adds to; those of encoder and decoder meet, so they share their unit."""
    return "eighth" if block.startswith("middle") else "quarter"


def _between(weight: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
    """Return the kernel ``(out, in, h, w)`` for features divided by their ranges on both sides."""
    if before is not None:
        weight = weight * before[:, None, None]
    return weight if after is None else weight / after[:, None, None, None]


class Int8Block(nn.Module):
    """A residual block in whole numbers, on a running sum whose unit is a step. It works in place."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self._first = _Packed(block.conv1.weight, INNER / TRUNK)
        self._second = _Packed(block.conv2.weight, TRUNK / INNER)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)``, channels last, to the same shape."""
        steps = x.round().clamp_(-TRUNK, TRUNK).to(torch.int8).view(torch.uint8).bitwise_xor_(_ZERO)
        return self._second.added(self._first.relu(steps), x)


class _Packed:
    """A 3x3 convolution of 8-bit features by oneDNN, its kernel laid out for the processor.

    Parameters
    ----------
    weight
        Of features in the units that :class:`RoundedBlock` rounds.
    unit
        Steps of what comes out over steps of what goes in, for the same value.
    """

    def __init__(self, weight: Tensor, unit: float) -> None:
        kernel, step = _kernel(weight.detach().float())
        self._scale, self._zeros = step * unit, torch.zeros(len(step), dtype=torch.long)
        self._geometry = [1, 1], [1, 1], [1, 1], 1
        whole = kernel.to(torch.int8)
        self._kernel = torch.ops.onednn.qconv_prepack(whole, self._scale, 1.0, 0, *self._geometry, None)

    def relu(self, steps: Tensor) -> Tensor:
        """Convolve features around 128, and return what is positive in steps."""
        ready = steps, 1.0, _ZERO, self._kernel, self._scale, self._zeros, None, *self._geometry
        return torch.ops.onednn.qconv2d_pointwise(*ready, 1.0, 0, torch.uint8, "relu", [], "")  # type: ignore[no-any-return]

    def added(self, steps: Tensor, x: Tensor) -> Tensor:
        """Convolve features from 0, add the result to ``x`` in place, and return that."""
        ready = steps, 1.0, 0, self._kernel, self._scale, self._zeros, x, None, *self._geometry
        rest: tuple[Any, ...] = 1.0, 0, x.dtype, 1.0, 0, "sum", 1.0, "none", [], ""
        return torch.ops.onednn.qconv2d_pointwise.binary(*ready, *rest)  # type: ignore[no-any-return]


def network(state: Mapping[str, Tensor]) -> UnshuffleUNet:
    """Build the network of a state dict that fits, for 8-bit integers; on processors without them, it only rounds.

    Raises
    ------
    WeightsError
        The state dict is of another architecture.
    """
    net, kind = UnshuffleUNet.from_state(state), Int8Block if is_exact() else RoundedBlock.of
    for stage in STAGES:
        setattr(net, stage, nn.Sequential(*(kind(block) for block in getattr(net, stage))))
    if is_exact():
        with torch.no_grad():
            net.down1.weight *= TRUNK
            net.up1.weight /= TRUNK
    return net


@cache
def is_exact() -> bool:
    """Tell whether this processor multiplies 8-bit integers fast and without saturation (VNNI, AMX)."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False  # elsewhere it is exact, but not fast
    block = RoundedBlock(16)
    with torch.no_grad():
        block.conv1.weight.fill_(1.0)
        block.conv2.weight.fill_(1.0)
        x = torch.full((1, 16, 4, 4), 127.0).contiguous(memory_format=torch.channels_last)
        try:
            found = Int8Block(block)(x.clone(memory_format=torch.channels_last))
        except (AttributeError, RuntimeError, TypeError):  # another PyTorch, or one without oneDNN
            return False
        return torch.allclose(found, block(x / TRUNK) * TRUNK, rtol=1e-4)
