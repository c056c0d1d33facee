"""PromptIR: Restormer with learnt prompts in its decoder, in the layout of RAM's checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.nets.restormer import Block, Resample, Restormer, by_rows, padded


class Prompt(nn.Module):
    """A mixture of learnt feature maps, weighted by what the picture is like."""

    def __init__(self, channels: int, count: int, side: int, width: int) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, count, channels, side, side))
        self.linear_layer = nn.Linear(width, count)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return prompts ``(B, channels, H, W)`` for features ``(B, width, H, W)``."""
        weights = self.linear_layer(x.mean((-2, -1))).softmax(1)
        mixed = torch.einsum("bn,nchw->bchw", weights, self.prompt_param[0])
        conv: Tensor = self.conv3x3(F.interpolate(mixed, x.shape[-2:], mode="bilinear"))
        return conv


class PromptIR(Restormer):
    """PromptIR with the global residual.

    References
    ----------
    Potlapalli et al., "PromptIR" (NeurIPS 2023); Qin et al., "Restore Anything with Masks" (ECCV 2024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompt1, self.prompt2, self.prompt3 = (
            Prompt(channels, 5, side, width) for channels, side, width in ((64, 64, 96), (128, 32, 192), (320, 16, 384))
        )
        self.up4_3 = Resample(192, 384, is_up=True)
        self.reduce_chan_level3 = nn.Conv2d(288, 192, 1, bias=False)
        self.noise_level1, self.noise_level2, self.noise_level3 = (Block(width, 4) for width in (160, 320, 704))
        self.reduce_noise_level1, self.reduce_noise_level2, self.reduce_noise_level3 = (
            nn.Conv2d(width, out, 1, bias=False) for width, out in ((160, 96), (320, 192), (704, 192))
        )

    def _prompted(self, x: Tensor, level: int, rows: int) -> Tensor:
        prompt, block, reduce = (
            getattr(self, f"{name}{level}") for name in ("prompt", "noise_level", "reduce_noise_level")
        )
        return by_rows(reduce, block(torch.cat([x, prompt(x)], 1), rows), rows)

    def forward(self, x: Tensor, mask: Tensor | None = None, rows: int = 0) -> Tensor:
        """Restore an ImageNet-normalised picture ``(B, 3, H, W)``; ``mask`` and ``rows`` as for Restormer."""
        height, width = x.shape[-2:]
        picture = padded(x if mask is None else x * (1 - mask))
        one, two, three, latent = self.encode(picture, rows)
        up = self.up4_3(self._prompted(latent, 3, rows), rows)
        x = self.decoder_level3(self.joined(self.reduce_chan_level3, up, three, rows), rows)
        up = self.up3_2(self._prompted(x, 2, rows), rows)
        x = self.decoder_level2(self.joined(self.reduce_chan_level2, up, two, rows), rows)
        up = self.up2_1(self._prompted(x, 1, rows), rows)
        return (self.finish(up, one, rows) + picture)[..., :height, :width]
