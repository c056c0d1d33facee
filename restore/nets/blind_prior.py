"""What methods that know no noise level ask: a blind denoiser of one of the architectures we can load."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.errors import WeightsError
from restore.nets.bias_free_dncnn import BiasFreeDnCNN
from restore.nets.unshuffle_unet import UnshuffleUNet, grey_part

BlindPrior = UnshuffleUNet | BiasFreeDnCNN
"""Predicts the noise of ``(B, 3, H, W)``; it has a ``radius`` and wants sides that are multiples of ``multiple``."""

STRIDES = ((0.15, 1), (1.0, 2))
"""Up to which correlation of neighbours' noise which stride makes the rest look white to the network.

Wider strides are never chosen: they lose too much detail."""


def priors(
    state: Mapping[str, Tensor] | None, device: torch.device, dtype: torch.dtype, *, may_be_told: bool = False
) -> tuple[BlindPrior, BlindPrior | None]:
    """Return the blind denoisers for colour and, where the state dict holds one, for grey, ready to compute.

    Raises
    ------
    WeightsError
        As `blind_prior`.
    """
    part = grey_part(state or {})
    grey = UnshuffleUNet.from_state(part).requires_grad_(requires_grad=False).eval() if part else None
    colour = blind_prior(state, may_be_told=may_be_told).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return colour, grey and grey.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


def blind_prior(state: Mapping[str, Tensor] | None, *, may_be_told: bool = False) -> BlindPrior:
    """Return the blind denoiser that a state dict describes, frozen; without one, a tiny seeded one.

    With ``may_be_told``, one that must be told the level of white noise is taken as well.

    Raises
    ------
    WeightsError
        The weights are of another architecture, of one that must be told the noise level, or not for colour.
    """
    if state is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            tiny = UnshuffleUNet(conditions=0, widths=(8, 12, 16), blocks=(1, 1, 1, 1, 1))
            torch.nn.init.normal_(tiny.tail.weight, std=0.01)
        return tiny.requires_grad_(requires_grad=False).eval()
    is_dncnn = any(name.startswith("conv_layers.") for name in state)
    net: BlindPrior = BiasFreeDnCNN.from_state(state) if is_dncnn else UnshuffleUNet.from_state(state)
    if isinstance(net, UnshuffleUNet) and net.conditions and not may_be_told:
        raise WeightsError(
            f"these weights must be told {net.conditions} noise levels, a blind denoiser is told none; "
            "take weights of `restore train blind`"
        )
    if net.channels != 3:
        raise WeightsError(f"these weights are for {net.channels} planes; a blind denoiser of colour, 3, is needed")
    return net.requires_grad_(requires_grad=False).eval()


def denoised(net: BlindPrior, picture: Tensor, deviation: Tensor) -> Tensor:
    """Return ``(B, 3, H, W)`` without its white noise, whose standard deviation ``(B, 3, H, W)`` only some ask for.

    A denoiser of grey takes each channel for itself.
    """
    if net.channels == 1:
        alone, spread = (planes.reshape(-1, 1, *planes.shape[2:]) for planes in (picture, deviation))
        return _denoised(net, alone, spread).reshape(picture.shape)
    return _denoised(net, picture, deviation)


def _denoised(net: BlindPrior, picture: Tensor, deviation: Tensor) -> Tensor:
    if isinstance(net, BiasFreeDnCNN) or net.conditions == 0:
        found: Tensor = net(picture)
    else:
        levels = deviation.mean(1, keepdim=True)
        unused = levels.new_zeros(len(levels), net.conditions - 1, *levels.shape[2:])
        found = net(picture, torch.cat([levels, unused], 1))
    return picture - found


def stride_for(correlation: float) -> int:
    """Return the stride at which noise of this correlation of neighbours counts as white.

    >>> [stride_for(c) for c in (-0.1, 0.0, 0.3, 0.9, 1.0)]
    [1, 1, 2, 2, 2]
    """
    return next(stride for limit, stride in STRIDES if correlation <= limit)


def apart(planes: Tensor, stride: int) -> Tensor:
    """Take ``(C, H, W)`` apart into the pictures ``(stride**2, C, H/stride, W/stride)`` of every n-th pixel.

    >>> apart(torch.arange(16).reshape(1, 4, 4), 2)[1]
    tensor([[[ 1,  3],
             [ 9, 11]]])
    """
    return F.pixel_unshuffle(planes[:, None], stride).transpose(0, 1)


def together(parts: Tensor, stride: int) -> Tensor:
    """Undo :func:`apart`.

    >>> x = torch.arange(72).reshape(2, 6, 6)
    >>> bool((together(apart(x, 3), 3) == x).all())
    True
    """
    return F.pixel_shuffle(parts.transpose(0, 1), stride)[:, 0]
