"""What is noise in a picture, by a score network of either kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from restore.errors import WeightsError
from restore.nets.noise2score_unet import Noise2ScoreUNet
from restore.nets.score_unet import REACH, conditions
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.objectives import tweedie
from restore.objectives.family import Family
from restore.picture import Image, Meta

Net = UnshuffleUNet | Noise2ScoreUNet

BELOW = 0.25
"""Share of the largest values by which noise around 0 may go below it."""


@dataclass(frozen=True, eq=False)
class Removal:
    """Maps noisy pictures and the law of their noise to the noise in them.

    Our network gives the noise itself, ``y - E[x | y]``: for Gaussian noise that is ``-sigma**2`` times the score, for
    other laws :func:`restore.objectives.tweedie.score_of` says which score it is. A published network gives the score,
    which Tweedie's formula turns into the clean picture.
    """

    net: Net
    dtype: torch.dtype = torch.float32

    @property
    def radius(self) -> int:
        """Pixels read around a pixel."""
        return self.net.radius + (REACH if isinstance(self.net, UnshuffleUNet) else 0)

    def __call__(self, noisy: Tensor, law: Family, gain: float = 1.0) -> Tensor:
        """Return the noise in ``(B, C, H, W)``, sides multiples of the network's; ``gain`` scales a raw score.

        Where the network is for another number of channels, each channel is taken for itself.
        """
        wanted = self.net.channels
        if noisy.shape[1] == wanted:
            return self._of(noisy, law, gain)
        single = noisy.reshape(-1, 1, *noisy.shape[2:])
        found = self._of(single.expand(-1, wanted, -1, -1), law, gain).mean(1, keepdim=True)
        return found.reshape(noisy.shape)

    def _of(self, noisy: Tensor, law: Family, gain: float) -> Tensor:
        if isinstance(self.net, Noise2ScoreUNet):
            score = gain * self.net(noisy.to(self.dtype)).float()
            return noisy - tweedie.restore(noisy, score, law)
        power, dispersion = (
            torch.full((1, 1, 1, 1), float(v), device=noisy.device) for v in (law.power, law.dispersion)
        )
        told = conditions(noisy, power, dispersion)
        found: Tensor = self.net(noisy.to(self.dtype), told.to(self.dtype)).float()
        return found


def origin(planes: Tensor) -> tuple[float, float]:
    """Return what a network shall see as black and as white; mostly 0 and 1, values as they are.

    Others where values are negative, but for a little noise around 0, or all far above it (degrees Celsius, kelvin, a
    camera's offset): networks know pictures between black and white only, and counts grow noisier from the offset on.

    Parameters
    ----------
    planes
        ``(C, H, W)`` in any unit.

    >>> low, high = origin(torch.linspace(300, 310, 64 * 64).reshape(1, 64, 64))
    >>> round(low, 1), round(high, 1), origin(torch.linspace(-9, 300, 64 * 64).reshape(1, 64, 64))
    (300.1, 309.9, (0.0, 1.0))
    """
    unit = Image(planes.numpy().transpose(1, 2, 0), meta=Meta(is_float=True)).unit()
    if unit is not None and (unit[0] < -BELOW * unit[1] or unit[0] > 0):
        return unit
    return 0.0, 1.0


def networks(state: Mapping[str, Tensor]) -> list[Net]:
    """Build the score networks that a state dict holds.

    Shipped weights hold two, ``colour.*`` and ``grey.*``; weights fitted to somebody's pictures hold one, and so do
    published checkpoints of Noise2Score.

    Raises
    ------
    WeightsError
        There is no score network in it, or one of another method.
    """
    if any(name.startswith(("_block1.", "shadow_params.")) for name in state):
        return [Noise2ScoreUNet.from_state(state)]
    found = [
        UnshuffleUNet.from_state({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        for prefix in ("colour.", "grey.", "")
        if f"{prefix}head.weight" in state
    ]
    if not found:
        raise WeightsError("these weights are not of noise2score: they hold no score network; train or import them")
    return [net.checked(net.channels + 2, net.channels) for net in found]


def for_channels(nets: list[Net], channels: int) -> Net:
    """Return the network for this many channels, else the one for single channels, else what there is."""
    return next((net for wanted in (channels, 1) for net in nets if net.channels == wanted), nets[0])
