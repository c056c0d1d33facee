"""Restormer blocks whose attention sees the whole picture, computed whole or, exactly, a strip of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EXPANSION = 2.66
"""Hidden channels of the feed-forward part, as a multiple of its width."""


def by_rows(step: Callable[[Tensor], Tensor], x: Tensor, rows: int, halo: int = 0, scale: float = 1) -> Tensor:
    """Apply a local operation to strips of ``rows`` rows, each read with ``halo`` rows more on either side.

    Parameters
    ----------
    step
        Maps ``(B, C, h, W)`` to ``(B, C', h * scale, W * scale)``, and pads with zeros where its input ends.
    x
        ``(B, C, H, W)``.
    rows, halo
        Multiples of ``1 / scale`` where that is more than one; ``rows`` 0 computes the picture at once.
    """
    height = x.shape[-2]
    if not 0 < rows < height:
        return step(x)
    result: Tensor | None = None
    for top in range(0, height, rows):
        bottom, first = min(top + rows, height), max(0, top - halo)
        piece = step(x[..., first : min(height, bottom + halo), :])
        if result is None:
            result = piece.new_empty(*piece.shape[:2], round(height * scale), piece.shape[-1])
        inner = slice(round((top - first) * scale), round((bottom - first) * scale))
        result[..., round(top * scale) : round(bottom * scale), :] = piece[..., inner, :]
    assert result is not None
    return result


def by_rows_(step: Callable[[Tensor], Tensor], x: Tensor, rows: int, halo: int) -> Tensor:
    """Apply a step that keeps the shape like `by_rows`; in strips, and without gradients, in place of its input."""
    height = x.shape[-2]
    if torch.is_grad_enabled() or not 0 < rows < height:
        return by_rows(step, x, rows, halo)
    above = x[..., :0, :]
    for top in range(0, height, rows):
        bottom, first = min(top + rows, height), above.shape[-2]
        piece = torch.cat([above, x[..., top : min(height, bottom + halo), :]], -2)
        end = first + bottom - top
        above = piece[..., max(0, end - halo) : end, :].clone()  # what the next strip reads, before it changes
        x[..., top:bottom, :] = step(piece)[..., first:end, :]
    return x


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        normed: Tensor = self.body(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class TransposedAttention(nn.Module):
    """Attention between channels (MDTA): queries and keys meet in a ``C/heads`` square matrix over all pixels."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=False)
        self.project_out = nn.Conv2d(width, width, 1, bias=False)

    def _part(self, x: Tensor, channels: slice) -> Tensor:
        """Return some of queries, keys and values: ``(B, heads, n C / heads, h W)`` for ``n`` of the three."""
        local = F.conv2d(x, self.qkv.weight[channels])
        return F.conv2d(local, self.qkv_dwconv.weight[channels], padding=1, groups=local.shape[1])

    def weights(self, normed: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Tensor:
        """Return softmax(q k' temperature) ``(B, heads, C/heads, C/heads)``, summed over strips in float32."""
        width, heads = x.shape[1], len(self.temperature)
        dot = x.new_zeros(x.shape[0], heads, width // heads, width // heads, dtype=torch.float32)
        squares = x.new_zeros(2, x.shape[0], heads, width // heads, dtype=torch.float32)
        height = x.shape[-2]
        rows = rows if 0 < rows < height else height
        for top in range(0, height, rows):
            bottom, first = min(top + rows, height), max(0, top - 1)
            both = self._part(normed(x[..., first : min(height, bottom + 1), :]), slice(2 * width))
            both = both[..., top - first : bottom - first, :].flatten(2)
            query, key = (part.reshape(len(x), heads, width // heads, -1) for part in both.chunk(2, 1))
            dot += (query @ key.transpose(-1, -2)).float()
            squares += torch.stack([part.float().square().sum(-1) for part in (query, key)])
        lengths = squares.sqrt().clamp_min(1e-12)
        cosine = dot / lengths[0][..., :, None] / lengths[1][..., None, :]
        return (cosine * self.temperature.float()).softmax(-1).to(x.dtype)

    def apply_to(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the values of the normalised picture ``(B, C, h, W)`` by the attention weights."""
        values = self._part(x, slice(2 * x.shape[1], None))
        mixed = weights @ values.reshape(*weights.shape[:3], -1)
        projected: Tensor = self.project_out(mixed.reshape(values.shape))
        return projected


class GatedForward(nn.Module):
    """Gated feed-forward part with a depthwise convolution (GDFN)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = int(width * EXPANSION)
        self.project_in = nn.Conv2d(width, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
        projected: Tensor = self.project_out(F.gelu(gate) * value)
        return projected


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + forward(norm(x))``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(width)
        self.attn = TransposedAttention(width, heads)
        self.norm2 = ChannelNorm(width)
        self.ffn = GatedForward(width)

    def forward(self, x: Tensor, rows: int = 0) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape, in strips of ``rows`` rows (0: at once), which replace ``x``."""
        weights = self.attn.weights(self.norm1, x, rows)
        x = by_rows_(lambda part: part + self.attn.apply_to(self.norm1(part), weights), x, rows, halo=1)
        return by_rows_(lambda part: part + self.ffn(self.norm2(part)), x, rows, halo=1)


class Blocks(nn.Sequential):
    """Blocks one after the other; in strips without gradients they work in place of what they are given."""

    def __init__(self, width: int, heads: int, count: int) -> None:
        super().__init__(*(Block(width, heads) for _ in range(count)))

    def forward(self, x: Tensor, rows: int = 0) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        for block in self:
            x = block(x, rows)
        return x


class Resample(nn.Module):
    """A 3x3 convolution and a pixel-shuffle (``factor`` 2) or -unshuffle (``factor`` 1/2)."""

    def __init__(self, width: int, channels: int, *, is_up: bool) -> None:
        super().__init__()
        shuffle: nn.Module = nn.PixelShuffle(2) if is_up else nn.PixelUnshuffle(2)
        self.body = nn.Sequential(nn.Conv2d(width, channels, 3, padding=1, bias=False), shuffle)
        self.scale = 2.0 if is_up else 0.5

    def forward(self, x: Tensor, rows: int = 0) -> Tensor:
        """Map ``(B, C, H, W)`` to twice or half the sides."""
        return by_rows(self.body, x, rows, halo=2, scale=self.scale)


class PatchEmbed(nn.Module):
    """The first convolution."""

    def __init__(self, width: int, channels: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor, rows: int = 0) -> Tensor:
        """Map ``(B, 3, H, W)`` to ``(B, C, H, W)``."""
        return by_rows(self.proj, x, rows, halo=1)


class Restormer(nn.Module):
    """Restormer without the global residual: the restorer of RAM++'s first stage.

    Its names of parameters are those of the published checkpoints.

    Parameters
    ----------
    width
        Channels at full resolution; each of three levels below has twice as many.
    blocks
        Encoder at 1, 1/2, 1/4; latent at 1/8; decoder at 1/4, 1/2, 1; refinement.

    References
    ----------
    Zamir et al., "Restormer" (CVPR 2022); Zhang et al., "RAM++" (arXiv 2509.12039), section 3.
    """

    multiple = 16

    def __init__(self, width: int = 48, blocks: Sequence[int] = (4, 6, 6, 8, 6, 6, 4, 4)) -> None:
        super().__init__()
        w = [width, 2 * width, 4 * width, 8 * width]
        self.patch_embed = PatchEmbed(w[0])
        self.encoder_level1 = Blocks(w[0], 1, blocks[0])
        self.down1_2 = Resample(w[0], w[0] // 2, is_up=False)
        self.encoder_level2 = Blocks(w[1], 2, blocks[1])
        self.down2_3 = Resample(w[1], w[1] // 2, is_up=False)
        self.encoder_level3 = Blocks(w[2], 4, blocks[2])
        self.down3_4 = Resample(w[2], w[2] // 2, is_up=False)
        self.latent = Blocks(w[3], 8, blocks[3])
        self.up4_3 = Resample(w[3], 2 * w[3], is_up=True)
        self.reduce_chan_level3 = nn.Conv2d(w[3], w[2], 1, bias=False)
        self.decoder_level3 = Blocks(w[2], 4, blocks[4])
        self.up3_2 = Resample(w[2], 2 * w[2], is_up=True)
        self.reduce_chan_level2 = nn.Conv2d(w[2], w[1], 1, bias=False)
        self.decoder_level2 = Blocks(w[1], 2, blocks[5])
        self.up2_1 = Resample(w[1], 2 * w[1], is_up=True)
        self.decoder_level1 = Blocks(w[1], 1, blocks[6])
        self.refinement = Blocks(w[1], 1, blocks[7])
        self.output = nn.Conv2d(w[1], 3, 3, padding=1, bias=False)

    def encode(self, x: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the features of the three encoder levels and of the latent one."""
        one = self.encoder_level1(self.patch_embed(x, rows), rows)
        two = self.encoder_level2(self.down1_2(one, rows), rows)
        three = self.encoder_level3(self.down2_3(two, rows), rows)
        return one, two, three, self.latent(self.down3_4(three, rows), rows)

    def joined(self, reduce: nn.Module, up: Tensor, skip: Tensor, rows: int) -> Tensor:
        """Concatenate features with those of the encoder and reduce their channels."""
        return by_rows(reduce, torch.cat([up, skip], 1), rows)

    def finish(self, up: Tensor, skip: Tensor, rows: int) -> Tensor:
        """Return the picture from the features of the last level."""
        x = self.refinement(self.decoder_level1(torch.cat([up, skip], 1), rows), rows)
        return by_rows(self.output, x, rows, halo=1)

    def forward(self, x: Tensor, mask: Tensor | None = None, rows: int = 0) -> Tensor:
        """Restore a picture, of which pixels may be hidden.

        Parameters
        ----------
        x
            ``(B, 3, H, W)``, ImageNet-normalised.
        mask
            ``(B, 1, H, W)``: 1 where a pixel is hidden (it becomes 0, the mean of photos).
        rows
            Strips of so many rows (a multiple of 16) are computed at a time; 0 for all at once.
        """
        height, width = x.shape[-2:]
        x = padded(x if mask is None else x * (1 - mask))
        one, two, three, latent = self.encode(x, rows)
        x = self.joined(self.reduce_chan_level3, self.up4_3(latent, rows), three, rows)
        del latent, three
        x = self.joined(self.reduce_chan_level2, self.up3_2(self.decoder_level3(x, rows), rows), two, rows)
        del two
        x = self.finish(self.up2_1(self.decoder_level2(x, rows), rows), one, rows)
        return x[..., :height, :width]


def padded(x: Tensor, multiple: int = Restormer.multiple) -> Tensor:
    """Pad right and bottom by reflection (by repetition where the picture is too small) to a multiple."""
    down, right = (-n % multiple for n in x.shape[-2:])
    mode = "reflect" if down < x.shape[-2] and right < x.shape[-1] else "replicate"
    return F.pad(x, (0, right, 0, down), mode=mode) if down or right else x
