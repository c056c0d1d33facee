"""The published score network of Noise2Score: a U-Net of five levels whose middle levels share their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from restore.errors import WeightsError

_SLOPE = 0.1


def _conv(wide_in: int, wide_out: int) -> nn.Conv2d:
    return nn.Conv2d(wide_in, wide_out, 3, padding=1)


def _act() -> nn.Module:
    return nn.LeakyReLU(_SLOPE)


def _up(width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1)


def _decoder(wide_in: int) -> nn.Sequential:
    return nn.Sequential(_conv(wide_in, 96), _act(), _conv(96, 96), _act(), _up(96))


class Noise2ScoreUNet(nn.Module):
    """Map a noisy picture to its score, in the unit 1 / brightness.

    Block 2 serves four encoders and block 5 three decoders; the names are those of published checkpoints.

    References
    ----------
    Kim and Ye, "Noise2Score" (2021); Lehtinen et al., "Noise2Noise" (2018), figure 6, for the shape.
    """

    multiple = 32
    radius = 190  # 3 + 2 + 1 convolutions at 1, 1/2...1/16 and 1/32, and the way back

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self._block1 = nn.Sequential(_conv(channels, 48), _act(), _conv(48, 48), _act(), nn.MaxPool2d(2))
        self._block2 = nn.Sequential(_conv(48, 48), _act(), nn.MaxPool2d(2))
        self._block3 = nn.Sequential(_conv(48, 48), _act(), _up(48))
        self._block4 = _decoder(96)
        self._block5 = _decoder(144)
        self._block6 = nn.Sequential(
            _conv(96 + channels, 64), _act(), _conv(64, 32), _act(), nn.Conv2d(32, channels, 3, padding=1)
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Build the network from a state dict, or from a list of averaged weights with the names ``shadow_params.N``.

        Raises
        ------
        WeightsError
            The tensors are of another architecture.
        """
        first = state.get("_block1.0.weight", state.get("shadow_params.0", torch.zeros(48, 3, 3, 3)))
        with torch.device("meta"):  # no random numbers are drawn for it
            net = cls(first.shape[1])
        if any(name.startswith("shadow_params.") for name in state):
            listed = [state[name] for name in sorted(state, key=_place) if name.startswith("shadow_params.")]
            state = dict(zip(net.state_dict(), listed, strict=False)) if len(listed) == 28 else state
        try:
            net.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
        except RuntimeError as error:
            raise WeightsError(f"these weights are not of the {cls.__name__} architecture: {error}") from error
        return net

    def forward(self, picture: Tensor) -> Tensor:
        """Return the score ``(B, C, H, W)`` of a picture of that shape, sides multiples of 32."""
        skips = [picture, self._block1(picture)]
        for _ in range(3):
            skips.append(self._block2(skips[-1]))
        x = self._block3(self._block2(skips[-1]))
        x = self._block4(torch.cat([x, skips.pop()], 1))
        for _ in range(3):
            x = self._block5(torch.cat([x, skips.pop()], 1))
        out: Tensor = self._block6(torch.cat([x, skips.pop()], 1))
        return out


def _place(name: str) -> int:
    """Return the number at the end of a name, 0 without one.

    >>> _place("shadow_params.12"), _place("decay")
    (12, 0)
    """
    last = name.rpartition(".")[2]
    return int(last) if last.isdigit() else 0
