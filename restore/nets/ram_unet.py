"""Our all-in-one restorer: the U-Net of the workhorse with features of a frozen content encoder injected (RFR)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.errors import WeightsError
from restore.nets.unshuffle_unet import UnshuffleUNet

KINDS = ("clean", "haze", "rain", "noise", "motion blur", "low light", "blur", "jpeg")
"""What the recogniser tells apart."""

STATISTICS = 9
"""Of each channel: the darkest and the brightest hundredth, and the mean."""

CODE = 1 + len(KINDS) + STATISTICS
"""Numbers that the restorer is told of the whole picture; the first is always one."""

_SAMPLES = 250_000


def statistics(pictures: Tensor) -> Tensor:
    """Return the 1st and the 99th percentile and the mean of each channel of ``(B, 3, H, W)``: ``(B, 9)``.

    Percentiles of large pictures are those of pixels on a grid.
    """
    stride = max(1, math.isqrt(pictures.shape[-1] * pictures.shape[-2] // _SAMPLES))
    flat = pictures[..., ::stride, ::stride].flatten(2).float()
    low, high = torch.quantile(flat, flat.new_tensor([0.01, 0.99]), dim=2)
    return torch.cat([low, high, flat.mean(2)], 1).to(pictures.dtype)


class Recogniser(nn.Module):
    """Tell what is wrong with pictures, from the mean and the spread of small features."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(12, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, 3 * width, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(3 * width, 3 * width, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.answer = nn.Sequential(
            nn.Linear(6 * width + STATISTICS, 64), nn.ReLU(inplace=True), nn.Linear(64, len(KINDS))
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits ``(B, 8)`` for ``(B, 3, H, W)``, in the order of ``KINDS``."""
        x = self.features(F.pixel_unshuffle(pictures, 2).contiguous(memory_format=torch.channels_last)).flatten(2)
        spread = (x.var(2, correction=0) + 1e-6).sqrt()
        logits: Tensor = self.answer(torch.cat([x.mean(2), spread, statistics(pictures)], 1))
        return logits


class RamUNet(nn.Module):
    """Predict a restored picture, without being told by anybody what is wrong with it.

    The published network weighs DINOv2 features by their mean over the picture; here a content encoder of the
    same shape as the restorer's own takes DINOv2's place, and its features are injected pixel by pixel. What does
    depend on the whole picture (is this haze, or a white wall?) is a code of a few numbers that is found once for a
    picture and told to the restorer as planes, like the weights of the prompts in PromptIR; so tiles can be exact.
    The change is scaled by ``amounts``, one for each kind, weighted by how likely the kind is: what the network does
    badly it does by halves. They are one until `restore.train.ram_data.fitted_amounts` finds them.

    Parameters
    ----------
    widths, blocks
        As for :class:`UnshuffleUNet`.
    recogniser
        Channels of the recogniser's first layer.
    has_features
        Whether the content encoder and the injections are there (stage 3), or the plain restorer (stage 1).
    content
        Widths of the content encoder, where they are not the restorer's: a small restorer may look through a large one.

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
        recogniser: int = 24,
        content: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.net = UnshuffleUNet(3, CODE, widths, blocks)
        self.radius = self.net.radius
        self.amounts: Tensor
        self.register_buffer("amounts", torch.ones(len(KINDS)))
        self.recogniser = Recogniser(recogniser)
        self.has_features = has_features
        if has_features:
            seen = content or widths
            self.content = UnshuffleUNet(3, 1, seen, blocks)
            for unused in ("up2", "dec2", "up1", "dec1", "tail"):
                delattr(self.content, unused)
            self.content.requires_grad_(False)
            self.inject8 = nn.Conv2d(seen[2] + widths[2], widths[2], 1, bias=False)
            self.inject4 = nn.Conv2d(seen[1] + widths[1], widths[1], 1, bias=False)
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
            has_features = "inject8.weight" in state
            widths, content = (
                tuple(state[f"{part}.{key}.weight"].shape[0] for key in ("head", "down1", "down2"))
                for part in ("net", "content" if has_features else "net")
            )
            stages = ("enc1", "enc2", "middle", "dec2", "dec1")
            blocks = tuple(sum(key.startswith(f"net.{stage}.") for key in state) // 2 for stage in stages)
            width = state["recogniser.features.0.weight"].shape[0]
            with torch.device("meta"):  # shapes are compared before anything of their size is allocated
                net = cls(widths, blocks, has_features=has_features, recogniser=width, content=content)  # type: ignore[arg-type]
            net.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
            if has_features:
                net.content.requires_grad_(False)
        except (LookupError, RuntimeError, ValueError) as error:
            raise WeightsError(f"these weights are not of the {cls.__name__} architecture: {error}") from error
        return net

    def content_of(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return the content encoder's features at 1/4 and 1/8."""
        _, quarter, eighth = self.content.encode(picture, _ones(picture))
        return quarter, eighth

    def code(self, shares: Tensor, numbers: Tensor) -> Tensor:
        """Return what the restorer is told, ``(B, CODE, 1, 1)``: shares of kinds ``(B, 8)`` and `statistics`."""
        return torch.cat([torch.ones_like(shares[:, :1]), shares, numbers], 1)[..., None, None]

    def code_of(self, pictures: Tensor) -> Tensor:
        """Return the code of pictures that are seen whole; the recogniser learns nothing from it."""
        with torch.no_grad():
            return self.code(self.recogniser(pictures).softmax(1), statistics(pictures))

    def forward(self, picture: Tensor, code: Tensor | None = None) -> Tensor:
        """Restore ``(B, 3, H, W)``, nominal 0...1, sides multiples of 8.

        Parameters
        ----------
        code
            ``(B, CODE, 1, 1)`` of the picture that these pixels are part of; by default they are all of it.
        """
        told = self.code_of(picture) if code is None else code
        amount = (told[:, 1 : 1 + len(KINDS)] * self.amounts.view(1, -1, 1, 1)).sum(1, keepdim=True)
        if not self.has_features:
            plain: Tensor = picture - amount * self.net(picture, told)
            return plain
        features = dict(zip((4, 8), self.content_of(picture), strict=True))

        def inject(scale: int, x: Tensor) -> Tensor:
            layer = self.inject8 if scale == 8 else self.inject4
            change: Tensor = layer(torch.cat([features.pop(scale), x], 1))
            return x + change

        restored: Tensor = picture - amount * self.net(picture, told, inject)
        return restored


def _ones(picture: Tensor) -> Tensor:
    """Return a plane of ones: it gives the network, which has no biases, a constant to work with."""
    return picture.new_ones(1, 1, 1, 1)
