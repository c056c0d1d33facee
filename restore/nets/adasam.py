"""AdaSAM's mask network: how likely each 8x8 token of a patch is to be hidden."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchEmbed(nn.Module):
    """Patches to tokens."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, side, side)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` to ``(B, N, C)``."""
        tokens: Tensor = self.proj(x)
        return tokens.flatten(2).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head attention between tokens."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, N, C)`` to the same shape."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return F.dropout(self.proj(mixed), self.dropout, self.training)


class Mlp(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, N, C)`` to the same shape."""
        hidden = F.dropout(F.gelu(self.fc1(x)), self.dropout, self.training)
        return F.dropout(self.fc2(hidden), self.dropout, self.training)


class TokenBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = SelfAttention(width, heads, dropout), Mlp(width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, N, C)`` to the same shape."""
        x = x + self.attn(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class AdaSAM(nn.Module):
    """Probabilities of tokens, and masks drawn from them.

    Parameters
    ----------
    tokens
        Of a patch: the positions are learnt, so every patch has ``tokens`` tokens of ``side`` x ``side`` pixels.

    References
    ----------
    Zhang et al., "RAM++" (arXiv 2509.12039), section 3.1, after AdaMAE (Bandara et al., CVPR 2023).
    """

    def __init__(
        self, tokens: int = 256, side: int = 8, width: int = 768, heads: int = 8, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.side = side
        self.pos_embed_probs = nn.Parameter(torch.zeros(1, tokens, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))  # in the published files, and unused there too
        self.patch_embed = PatchEmbed(width, side)
        score = nn.Linear(width, 1)
        self.get_token_probs = nn.Sequential(TokenBlock(width, heads, dropout), score)
        nn.init.trunc_normal_(self.pos_embed_probs, std=0.02)
        nn.init.xavier_uniform_(score.weight)
        nn.init.zeros_(score.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, N)``: the probability of each token; they sum to one."""
        logits: Tensor = self.get_token_probs(self.patch_embed(x) + self.pos_embed_probs)
        return logits[..., 0].softmax(-1)

    def pixels(self, probabilities: Tensor, height: int, width: int) -> Tensor:
        """Repeat the probabilities of tokens ``(B, N)`` over their pixels: ``(B, 1, H, W)``."""
        grid = probabilities.view(-1, 1, height // self.side, width // self.side)
        return grid.repeat_interleave(self.side, -2).repeat_interleave(self.side, -1)


def draw(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Hide a share of the pixels, drawn without replacement in proportion to ``pixels`` ``(B, 1, H, W)``."""
    flat = pixels.detach().flatten(1).to(generator.device)
    chosen = torch.multinomial(flat, int(share * flat.shape[1]), generator=generator)
    return torch.zeros_like(flat).scatter_(1, chosen, 1.0).view_as(pixels).to(pixels.device)
