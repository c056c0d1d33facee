"""Our all-in-one restorer: the U-Net of the workhorse with features of a frozen content encoder injected (RFR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.errors import WeightsError
from restore.nets.unshuffle_unet import UnshuffleUNet

KINDS = ("clean", "haze", "rain", "noise", "motion blur", "low light", "blur", "jpeg")
"""What the small head tells apart."""


class RamUNet(nn.Module):
    """Predict a restored picture, without being told what is wrong with it.

    The published network weighs DINOv2 features by their mean over the picture; here a content encoder of the
    same shape as the restorer's own takes DINOv2's place, and its features are injected pixel by pixel, so that
    nothing depends on the whole picture and tiles can be exact.

    Parameters
    ----------
    widths, blocks
        As for :class:`UnshuffleUNet`.
    has_features
        Whether the content encoder and the injections are there (stage 3), or the plain restorer (stage 1).

    References
    ----------
    Zhang et al., "RAM++: Robust representation learning via adaptive mask" (arXiv 2509.12039), section 3.3.
    """

    multiple = UnshuffleUNet.multiple

    def __init__(
        self,
        widths: tuple[int, int, int] = (48, 96, 192),
        blocks: tuple[int, int, int, int, int] = (2, 2, 3, 2, 1),
        *,
        has_features: bool = True,
    ) -> None:
        super().__init__()
        self.net = UnshuffleUNet(3, 1, widths, blocks)
        self.radius = self.net.radius
        self.kinds = nn.Linear(widths[2], len(KINDS))
        self.has_features = has_features
        if has_features:
            self.content = UnshuffleUNet(3, 1, widths, blocks)
            for unused in ("up2", "dec2", "up1", "dec1", "tail"):
                delattr(self.content, unused)
            self.content.requires_grad_(False)
            self.inject8 = nn.Conv2d(2 * widths[2], widths[2], 1, bias=False)
            self.inject4 = nn.Conv2d(2 * widths[1], widths[1], 1, bias=False)
            nn.init.zeros_(self.inject8.weight)  # it starts as the plain restorer
            nn.init.zeros_(self.inject4.weight)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Build the network whose sizes the state dict tells, and load it.

        Raises
        ------
        WeightsError
            The state dict is of another architecture.
        """
        try:
            widths = tuple(state[f"net.{key}.weight"].shape[0] for key in ("head", "down1", "down2"))
            stages = ("enc1", "enc2", "middle", "dec2", "dec1")
            blocks = tuple(sum(key.startswith(f"net.{stage}.") for key in state) // 2 for stage in stages)
            net = cls(widths, blocks, has_features="inject8.weight" in state)  # type: ignore[arg-type]
            net.load_state_dict(dict(state))
        except (KeyError, RuntimeError, ValueError) as error:
            raise WeightsError(f"these weights are not of the {cls.__name__} architecture: {error}") from error
        return net

    def content_of(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return the content encoder's features at 1/4 and 1/8."""
        _, quarter, eighth = self.content.encode(picture, _ones(picture))
        return quarter, eighth

    def forward(self, picture: Tensor) -> Tensor:
        """Restore ``(B, 3, H, W)``, nominal 0...1, sides multiples of 8."""
        return self.restored_and_recognised(picture)[0]

    def restored_and_recognised(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` and `recognise` do, for the work of one."""
        features = dict(zip((4, 8), self.content_of(picture), strict=True)) if self.has_features else {}
        logits: list[Tensor] = []

        def inject(scale: int, x: Tensor) -> Tensor:
            if scale == 8:
                logits.append(self._named(x))
            if not features:
                return x
            layer = self.inject8 if scale == 8 else self.inject4
            change: Tensor = layer(torch.cat([features.pop(scale), x], 1))
            return x + change

        restored: Tensor = picture - self.net(picture, _ones(picture), inject)
        return restored, logits[0]

    def recognise(self, picture: Tensor) -> Tensor:
        """Return logits ``(B, 8)`` of what is wrong with pictures, in the order of ``KINDS``.

        The head reads what the restorer's own features are on average, and teaches the restorer nothing.
        """
        *_, eighth = self.net.encode(picture, _ones(picture))
        return self._named(eighth)

    def _named(self, eighth: Tensor) -> Tensor:
        logits: Tensor = self.kinds(F.normalize(eighth.detach().mean((-2, -1)), dim=1) * 8)
        return logits


def _ones(picture: Tensor) -> Tensor:
    """Return a plane of ones: it gives the network, which has no biases, a constant to work with."""
    return picture.new_ones(1, 1, 1, 1)
