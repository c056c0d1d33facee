"""The raw U-Net that SID, ELD, PMN and PNNP share, under the names of their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.errors import WeightsError


class SidUNet(nn.Module):
    """Map noisy packed planes to clean ones: four halvings, widths 32 to 512, not residual.

    Parameters
    ----------
    width
        Channels at full resolution, 32 in all published weights; they double with each halving.

    References
    ----------
    Chen et al., "Learning to see in the dark" (CVPR 2018); Feng et al., "Learnability enhancement for low-light raw
    denoising" (2023) and "Learning physics-informed noise models from dark frames" (TPAMI 2026): the same network.
    """

    multiple = 16
    radius = 109
    """Pixels around an output pixel that it may depend on."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [width << level for level in range(5)]
        before = 4
        for level, channels in enumerate(widths, 1):
            self._pair(f"conv{level}", before, channels)
            before = channels
        for level, channels in enumerate(widths[3::-1], 6):
            self.add_module(f"upv{level}", nn.ConvTranspose2d(2 * channels, channels, 2, stride=2))
            self._pair(f"conv{level}", 2 * channels, channels)
        self.add_module("conv10_1", nn.Conv2d(width, 4, 1))

    def _pair(self, name: str, before: int, channels: int) -> None:
        self.add_module(f"{name}_1", nn.Conv2d(before, channels, 3, padding=1))
        self.add_module(f"{name}_2", nn.Conv2d(channels, channels, 3, padding=1))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Build the network whose width the state dict tells, and load it strictly.

        Raises
        ------
        WeightsError
            The state dict is of another architecture.
        """
        try:
            with torch.device("meta"):  # no random numbers are drawn for it
                net = cls(state["conv1_1.weight"].shape[0])
            net.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
        except (KeyError, RuntimeError, IndexError) as error:
            raise WeightsError(f"these weights are not of the SID raw U-Net: {error}") from error
        return net

    def forward(self, planes: Tensor) -> Tensor:
        """Map ``(B, 4, H, W)`` in the plane order of the weights, sides multiples of 16, to the same shape."""
        x, skips = planes, []
        for level in range(1, 6):
            x = self._convolved(f"conv{level}", x)
            if level < 5:
                skips.append(x)
                x = F.max_pool2d(x, 2)
        for level in range(6, 10):
            x = torch.cat([self.get_submodule(f"upv{level}")(x), skips.pop()], 1)
            x = self._convolved(f"conv{level}", x)
        clean: Tensor = self.get_submodule("conv10_1")(x)
        return clean

    def _convolved(self, name: str, x: Tensor) -> Tensor:
        for which in (1, 2):
            x = F.leaky_relu(self.get_submodule(f"{name}_{which}")(x), 0.2, inplace=True)
        return x


def is_sid(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the names of this architecture.

    >>> is_sid(SidUNet(2).state_dict()), is_sid({"head.weight": torch.zeros(1)})
    (True, False)
    """
    return {"conv1_1.weight", "upv6.weight", "conv10_1.weight"} <= state.keys()


def in_our_order(state: Mapping[str, Tensor], order: tuple[int, ...]) -> dict[str, Tensor]:
    """Permute the first and the last layer of weights from their plane order into that of `raw.bayer`.

    ``order[i]`` is the place, in the weights' planes, of our plane ``i``.

    >>> state = SidUNet(2).state_dict()
    >>> ours = in_our_order(state, (0, 1, 3, 2))
    >>> bool((ours["conv1_1.weight"][:, 3] == state["conv1_1.weight"][:, 2]).all())
    True
    """
    places = list(order)
    found = dict(state)
    found["conv1_1.weight"] = state["conv1_1.weight"][:, places]
    for name in ("conv10_1.weight", "conv10_1.bias"):
        found[name] = state[name][places]
    return found
