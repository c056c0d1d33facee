"""Bias-free DnCNN: a plain stack of convolutions that is told nothing about the noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.errors import WeightsError


class BiasFreeDnCNN(nn.Module):
    """Predict the noise of a picture with 3x3 convolutions and ReLUs, without biases.

    The published network scales the inner features by a learnt gain over a running standard deviation. Both are
    constants after training, so they are folded into the kernels, which changes nothing but the rounding.

    Parameters
    ----------
    channels
        Picture planes in and out.
    width
        Features.
    depth
        Convolutions.

    References
    ----------
    Mohan et al., "Robust and interpretable blind image denoising via bias-free convolutional neural networks" (2020);
    the layout of checkpoints is that of Cheng et al., "Score priors guided deep variational inference" (2023).
    """

    multiple = 1

    def __init__(self, channels: int = 3, width: int = 64, depth: int = 20) -> None:
        super().__init__()
        sizes = [channels, *[width] * (depth - 1), channels]
        self.conv_layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, bias=False) for before, after in zip(sizes, sizes[1:], strict=False)
        )
        self.radius = depth
        self.channels = channels

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Build the network whose sizes the state dict tells, and load it, gains and deviations folded in.

        ``conv_layers.0...D-1.weight`` are the kernels, ``running_sd.0...D-3`` and ``gammas.0...D-3`` belong to the
        inner layers 1...D-2; a state dict of kernels alone is taken as folded already.

        Raises
        ------
        WeightsError
            The state dict is of another architecture.
        """
        depth = sum(name.startswith("conv_layers.") for name in state)
        names = {f"conv_layers.{layer}.weight" for layer in range(depth)}
        scales = {f"{kind}.{layer}" for kind in ("running_sd", "gammas") for layer in range(depth - 2)}
        if depth < 3 or set(state) not in (names, names | scales):
            raise WeightsError(f"these weights are not of the {cls.__name__} architecture: other names of tensors")
        kernels = {name: state[name] for name in names}
        if len(state) > depth:
            for layer in range(depth - 2):
                gain = state[f"gammas.{layer}"] / state[f"running_sd.{layer}"]  # (1, width, 1, 1)
                kernels[f"conv_layers.{layer + 1}.weight"] = state[f"conv_layers.{layer + 1}.weight"] * gain.reshape(
                    -1, 1, 1, 1
                )
        try:
            width, channels = kernels["conv_layers.0.weight"].shape[:2]
            with torch.device("meta"):  # no random numbers are drawn for it
                net = cls(channels, width, depth)
            net.load_state_dict({name: value.clone() for name, value in kernels.items()}, assign=True)
        except (RuntimeError, ValueError) as error:
            raise WeightsError(f"these weights are not of the {cls.__name__} architecture: {error}") from error
        return net

    def forward(self, picture: Tensor) -> Tensor:
        """Predict the noise of ``(B, channels, H, W)``, nominal 0...1: subtract it from the picture."""
        x = picture.contiguous(memory_format=torch.channels_last)
        last = len(self.conv_layers) - 1
        for layer, convolution in enumerate(self.conv_layers):
            x = convolution(x) if layer == last else F.relu(convolution(x), inplace=True)
        return x
