"""RAM++'s restorer: Restormer with features of a frozen vision model injected at three depths (RFR)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restore.nets.restormer import Resample, Restormer, by_rows, padded

FEATURES = 1536
"""Channels of the vision model (DINOv2 giant)."""


class Temperature(nn.Module):
    """Softmax with a learnt temperature, which its owner shares."""

    def __init__(self, temperature: nn.Parameter) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """Map logits ``(B, N)`` to weights."""
        return (x / self.temperature.clamp_min(1e-8)).softmax(-1)


class Fusion(nn.Module):
    """Weigh two depths of features by what they hold on average."""

    def __init__(self, channels: int = FEATURES) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(1))
        hidden = channels // 3
        self.gate_network = nn.Sequential(
            nn.Linear(2 * channels, channels),
            nn.PReLU(channels),
            nn.Linear(channels, hidden),
            nn.PReLU(hidden),
            nn.Linear(hidden, 2),
            Temperature(self.temperature),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Map two ``(B, C, h, w)`` to one."""
        means = torch.cat([first.mean((-2, -1)), second.mean((-2, -1))], 1)
        weights = self.gate_network(means)[..., None, None, None]
        fused: Tensor = weights[:, 0] * first + weights[:, 1] * second
        return fused


class Adaptation(nn.Module):
    """From the vision model's channels to the restorer's."""

    def __init__(self, channels: int, hidden: int, width: int) -> None:
        super().__init__()
        self.adaptation = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1), nn.PReLU(hidden), nn.Conv2d(hidden, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, h, w)`` to ``(B, width, h, w)``."""
        adapted: Tensor = self.adaptation(x)
        return adapted


class Injection(nn.Module):
    """``conv1x1([features; x]) + x``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce_chan = nn.Conv2d(2 * width, width, 1, bias=False)

    def forward(self, features: Tensor, x: Tensor, rows: int) -> Tensor:
        """Map two ``(B, C, H, W)`` to one."""
        return by_rows(self.reduce_chan, torch.cat([features, x], 1), rows) + x


class RestormerRFR(Restormer):
    """The published RAM++ network; it cannot run without the six feature maps.

    References
    ----------
    Zhang et al., "RAM++: Robust representation learning via adaptive mask" (arXiv 2509.12039), section 3.3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dr_adaptation1, self.dr_adaptation2, self.dr_adaptation3 = (
            Adaptation(FEATURES, FEATURES // 2, 384) for _ in range(3)
        )
        self.dr_fusion1, self.dr_fusion2, self.dr_fusion3 = (Injection(width) for width in (384, 192, 96))
        self.up_4_3_dino1, self.up_4_3_dino2 = (Resample(384, 768, is_up=True) for _ in range(2))
        self.up_3_2_dino = Resample(192, 384, is_up=True)
        self.dino_fusion_shallow, self.dino_fusion_mid, self.dino_fusion_deep = (Fusion() for _ in range(3))

    def forward(self, x: Tensor, features: Sequence[Tensor], rows: int = 0) -> Tensor:  # type: ignore[override]
        """Restore a picture.

        Parameters
        ----------
        x
            ``(B, 3, H, W)``, ImageNet-normalised.
        features
            Shallow, mid, deep, and again shallow, mid, deep: ``(B, 1536, H16 / 8, W16 / 8)`` each, where ``H16``
            is ``H`` rounded up to a multiple of 16.
        rows
            Rows to a strip (a multiple of 16), or 0.
        """
        height, width = x.shape[-2:]
        x = padded(x)
        shallow = self.dr_adaptation1(self.dino_fusion_shallow(features[0], features[3]))
        mid = self.dr_adaptation2(self.dino_fusion_mid(features[1], features[4]))
        deep = self.dr_adaptation3(self.dino_fusion_deep(features[2], features[5]))
        one, two, three, latent = self.encode(x, rows)
        latent = self.dr_fusion1(deep, latent, rows)
        x = self.decoder_level3(self.joined(self.reduce_chan_level3, self.up4_3(latent, rows), three, rows), rows)
        x = self.dr_fusion2(self.up_4_3_dino2(mid, rows), x, rows)
        x = self.decoder_level2(self.joined(self.reduce_chan_level2, self.up3_2(x, rows), two, rows), rows)
        x = self.dr_fusion3(self.up_3_2_dino(self.up_4_3_dino1(shallow, rows), rows), x, rows)
        return self.finish(self.up2_1(x, rows), one, rows)[..., :height, :width]
