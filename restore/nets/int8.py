"""8-bit integers for the inner stages of :class:`~restore.nets.unshuffle_unet.UnshuffleUNet`: twice their speed.

A block rounds what it reads to 1/127 of each channel's range, its inner features to 1/255 of theirs, and each kernel to
1/127 of its largest weight. The sum that runs through the blocks stays in the network's own arithmetic. Ranges are
measured once, on examples (:func:`ranges`), and stored with the weights: they are constants, so tiles stay exact. The
blocks at half the resolution are left out: they hold the picture, in which rounding drowns faint noise. Only in the
last stage the second convolution takes part, whose input is no picture any more.

References
----------
Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference" (2018);
Nagel et al., "Data-free quantization through weight equalization and bias correction" (2019): channels scaled alike.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.nets.prune import Example, observe
from restore.nets.unshuffle_unet import INT8, ResidualBlock, UnshuffleUNet

STAGES = ("enc2", "middle", "dec2")
"""Stages that compute in integers: those at a quarter and an eighth of the resolution."""

SECOND = ("dec1",)
"""Stages of which only the second convolution of each block computes in integers."""

READ, INNER = 127, 255
"""Steps of what a block reads, to each side of zero, and of its inner features, which are not negative."""

SHARE = 0.9999
"""Share of a picture's features that lie within the range of their channel; others are clipped."""

_ZERO = 128


def ranges(net: UnshuffleUNet, examples: Iterable[Example]) -> dict[str, Tensor]:
    """Return the ranges of what blocks read and of their inner features, ``(C,)``, by keys for the state dict."""
    found: dict[str, Tensor] = {}

    def widen(key: str, x: Tensor) -> None:
        flat = x.abs().transpose(0, 1).flatten(1).float()
        new = flat.kthvalue(max(1, round(flat.shape[1] * SHARE)), dim=1).values
        found[key] = torch.maximum(found.get(key, new), new)

    def look(name: str, read: Tensor, inner: Tensor) -> None:
        if name.startswith(STAGES):
            widen(f"{name}{INT8}read", read)
        if name.startswith(STAGES + SECOND):
            widen(f"{name}{INT8}inner", inner)

    observe(net, examples, look)
    return {key: torch.maximum(value, value.max() / 50) for key, value in found.items()}


def is_fit(state: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict holds ranges."""
    return any(INT8 in key for key in state)


class _Scaled(nn.Module):
    """A residual block whose kernels are whole numbers, and the steps of what its convolutions give."""

    def __init__(self, block: ResidualBlock, read: Tensor, inner: Tensor) -> None:
        super().__init__()
        first, second = (conv.weight.detach().float() for conv in (block.conv1, block.conv2))
        self.read = nn.Buffer((READ / read.float())[:, None, None])
        self.first, self.first_step = _whole(first * read[:, None, None] / inner[:, None, None, None])
        self.second, self.second_step = _whole(second * inner[:, None, None])
        self.first_step = self.first_step * (INNER / READ)
        self.second_step = self.second_step / INNER


def _whole(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a kernel's whole numbers, -127...127, as floats, and the step of each output channel."""
    step = (weight.abs().amax((1, 2, 3)) / READ).clamp_min(1e-12)
    return (weight / step[:, None, None, None]).round(), step


class RoundedBlock(_Scaled):
    """A residual block that rounds as :class:`Int8Block` does, in floats: the same answer on other processors."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        steps = (x * self.read).round().clamp(-READ, READ).float()
        inner = (F.conv2d(steps, self.first, padding=1) * self.first_step[:, None, None]).round().clamp(0, INNER)
        return (x.float() + F.conv2d(inner, self.second, padding=1) * self.second_step[:, None, None]).to(x.dtype)


class Int8Block(_Scaled):
    """A residual block in whole numbers. It may change what it reads."""

    def __init__(self, block: ResidualBlock, read: Tensor, inner: Tensor) -> None:
        super().__init__(block, read, inner)
        self._packed = [_packed(self.first, self.first_step), _packed(self.second, self.second_step)]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)``, channels last, to the same shape."""
        steps = (x * self.read).round_().clamp_(-READ, READ).to(torch.int8).view(torch.uint8).bitwise_xor_(_ZERO)
        conv, (first, second) = torch.ops.onednn.qconv2d_pointwise, self._packed
        inner = conv(steps, 1.0, _ZERO, *first, None, *_GEOMETRY, 1.0, 0, torch.uint8, "relu", [], "")
        return _added(inner, x, second)


class RoundedSecond(nn.Module):
    """A residual block that rounds its inner features only, in floats."""

    def __init__(self, block: ResidualBlock, inner: Tensor) -> None:
        super().__init__()
        first, second = (conv.weight.detach().float() for conv in (block.conv1, block.conv2))
        self.first = nn.Buffer(first * INNER / inner[:, None, None, None])
        self.second, step = _whole(second * inner[:, None, None])
        self.second_step = step / INNER

    def _inner(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.first, padding=1).round_().clamp_(0, INNER)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        change = F.conv2d(self._inner(x).float(), self.second, padding=1) * self.second_step[:, None, None]
        return (x.float() + change).to(x.dtype)


class Int8Second(RoundedSecond):
    """A residual block whose second convolution is of whole numbers. It may change what it reads."""

    def __init__(self, block: ResidualBlock, inner: Tensor) -> None:
        super().__init__(block, inner)
        self._packed = _packed(self.second, self.second_step)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)``, channels last, to the same shape."""
        return _added(self._inner(x).to(torch.uint8), x, self._packed)


def _added(inner: Tensor, x: Tensor, packed: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return ``x``, in its own place, plus the second convolution of whole numbers ``inner``."""
    rest: tuple[Any, ...] = 1.0, 0, x.dtype, 1.0, 0, "sum", 1.0, "none", [], ""
    conv = torch.ops.onednn.qconv2d_pointwise
    return conv.binary(inner, 1.0, 0, *packed, x, None, *_GEOMETRY, *rest)  # type: ignore[no-any-return]


_GEOMETRY = [1, 1], [1, 1], [1, 1], 1
"""Stride, padding, dilation and groups."""


def _packed(kernel: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a kernel laid out for the processor, the steps of what comes out, and the kernel's zeros."""
    laid_out = torch.ops.onednn.qconv_prepack(kernel.to(torch.int8), step, 1.0, 0, *_GEOMETRY, None)
    return laid_out, step, torch.zeros(len(step), dtype=torch.long)


def network(state: Mapping[str, Tensor]) -> UnshuffleUNet:
    """Build the network of a state dict with ranges, for 8-bit integers; on processors without them, it only rounds.

    Raises
    ------
    WeightsError
        The state dict is of another architecture.
    """
    net = UnshuffleUNet.from_state(state)
    whole, second = (Int8Block, Int8Second) if is_exact() else (RoundedBlock, RoundedSecond)
    for name, block in list(net.blocks()):
        stage, index = name.split(".")
        read, inner = (state.get(f"{name}{INT8}{of}") for of in ("read", "inner"))
        if inner is not None:
            made = second(block, inner) if read is None else whole(block, read, inner)
            getattr(net, stage)[int(index)] = made
    return net


@cache
def is_exact() -> bool:
    """Tell whether this processor multiplies 8-bit integers fast and without saturation (VNNI, AMX)."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False  # elsewhere it is exact, but not fast
    with torch.device("meta"):  # no random numbers are drawn for it: those of the caller stay as they are
        block = ResidualBlock(16)
    block.to_empty(device="cpu")
    with torch.no_grad():
        block.conv1.weight.fill_(1.0)
        block.conv2.weight.fill_(1.0)
        x = torch.ones(1, 16, 4, 4).contiguous(memory_format=torch.channels_last)
        try:
            found = Int8Block(block, torch.ones(16), torch.ones(16))(x.clone(memory_format=torch.channels_last))
        except (AttributeError, RuntimeError, TypeError):  # another PyTorch, or one without oneDNN
            return False
        return torch.allclose(found, RoundedBlock(block, torch.ones(16), torch.ones(16))(x), rtol=1e-4)
