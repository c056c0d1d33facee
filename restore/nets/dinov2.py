"""DINOv2, a frozen vision transformer, read block by block from a local folder in Hugging Face's layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from restore.errors import WeightsError
from restore.memory import is_exhausted

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, by which pictures are normalised."""

DEPTHS = (7, 20, 33, 15, 22, 39)
"""After which of 40 blocks RAM++ takes features: shallow, mid, deep, and each again."""

Taps = Literal["six", "deep1"]
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class DinoV2:
    """A vision transformer whose weights stay on the disk until a block is computed.

    Giant (SwiGLU) as well as small, base and large (GELU) models are read, those without registers.

    Parameters
    ----------
    folder
        With ``config.json`` and ``model.safetensors``.
    width, heads, blocks
        Of the transformer.
    patch, grid
        Pixels to the side of a token, and tokens to the side of the picture it learnt on.
    gated
        Whether the feed-forward part is SwiGLU.
    block_size
        Numbers in the matrices of a block.

    References
    ----------
    Oquab et al., "DINOv2: Learning robust visual features without supervision" (TMLR 2024).
    """

    folder: Path
    width: int
    heads: int
    blocks: int
    patch: int
    grid: int
    eps: float
    gated: bool
    block_size: int

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Look at a folder; no weight is read yet.

        Raises
        ------
        WeightsError
            A file is missing or damaged, or it is another model.
        """
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if not isinstance(config, dict) or config.get("model_type") != "dinov2":
                raise ValueError("config.json is not of DINOv2 (without registers)")
            heads, blocks = int(config["num_attention_heads"]), int(config["num_hidden_layers"])
            eps = float(config.get("layer_norm_eps", 1e-6))
            with _opened(folder) as file:
                shape = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            width, _, patch, _ = shape["embeddings.patch_embeddings.projection.weight"]
            grid = isqrt(shape["embeddings.position_embeddings"][1] - 1)
            gated = "encoder.layer.0.mlp.weights_in.weight" in shape
            first = [s for name, s in shape.items() if name.startswith("encoder.layer.0.") and len(s) == 2]
            if patch != 14 or heads < 1 or width % heads or not 0 < blocks <= 1000:
                raise ValueError(f"{heads} heads, {blocks} blocks and patches of {patch} are no DINOv2")
        except (OSError, ValueError, LookupError, TypeError, SafetensorError, RecursionError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else error
            raise WeightsError(
                f"{folder}: cannot be read as DINOv2 ({reason}); it needs config.json and model.safetensors, "
                "as in the folder facebook/dinov2-giant of Hugging Face"
            ) from error
        return cls(folder, width, heads, blocks, patch, grid, eps, gated, sum(a * b for a, b in first))

    def taps(self, kind: Taps) -> tuple[int, ...]:
        """Return after how many blocks features are taken: the published depths, scaled to this model's.

        RAM++'s test code takes six depths, its training code took the same one six times (``"deep1"``).
        """
        depths = DEPTHS if kind == "six" else (DEPTHS[2],) * 6
        return tuple(round(depth * self.blocks / 40) for depth in depths)

    def work(self, height: int, width: int, taps: Sequence[int]) -> float:
        """Return the multiply-adds for a picture, as :meth:`features` reports them."""
        return max(taps) * self._block_work(height // 8 * (width // 8) + 1)

    def _block_work(self, tokens: int) -> float:
        return tokens * (float(self.block_size) + 2 * tokens * self.width)

    def features(
        self,
        picture: Tensor,
        taps: Sequence[int],
        dtype: torch.dtype = torch.float32,
        heard: Callable[[float], None] = lambda _: None,
    ) -> list[Tensor]:
        """Return what the residual stream holds after so many blocks, before any final norm.

        Parameters
        ----------
        picture
            ``(B, 3, H, W)``, 0...1, sides multiples of 8: a token is made of every 8 x 8 pixels.
        heard
            Called after each block with the multiply-adds it took.

        Returns
        -------
        list of Tensor
            ``(B, width, H / 8, W / 8)`` for each of ``taps``.

        Raises
        ------
        WeightsError
            Weights are missing, of another shape, or not finite.
        """
        height, width = (n // 8 for n in picture.shape[-2:])
        found: dict[int, Tensor] = {}

        def keep(depth: int) -> None:
            if depth in taps:
                found[depth] = x[:, 1:].transpose(1, 2).reshape(len(x), -1, height, width)

        try:
            with _opened(self.folder) as file:
                x = self._embedded(picture, _part(file, "embeddings.", picture.device, torch.float32)).to(dtype)
                keep(0)
                for index in range(max(taps)):
                    x = self._block(x, _part(file, f"encoder.layer.{index}.", picture.device, dtype))
                    keep(index + 1)
                    heard(self._block_work(x.shape[1]))
        except (OSError, LookupError, RuntimeError, SafetensorError) as error:
            if is_exhausted(error):
                raise
            raise WeightsError(f"{self.folder}: is not a whole DINOv2 ({str(error).splitlines()[0]})") from error
        return [found[depth] for depth in taps]

    def _embedded(self, picture: Tensor, weights: Weights) -> Tensor:
        """Return the tokens ``(B, 1 + N, width)``: the picture is enlarged so that a patch is 8 of its pixels."""
        height, width = (n // 8 for n in picture.shape[-2:])
        size = height * self.patch, width * self.patch
        seen = F.interpolate(picture.float().clamp(0, 1), size, mode="bicubic", antialias=True)
        mean, deviation = (torch.tensor(v, device=seen.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
        kernel, bias = (weights[f"patch_embeddings.projection.{name}"] for name in ("weight", "bias"))
        tokens = F.conv2d((seen - mean) / deviation, kernel, bias, self.patch).flatten(2).transpose(1, 2)
        first, places = weights["position_embeddings"][:, :1], weights["position_embeddings"][:, 1:]
        places = places.transpose(1, 2).reshape(1, -1, self.grid, self.grid)
        if (height, width) != (self.grid, self.grid):
            places = F.interpolate(places, (height, width), mode="bicubic", align_corners=False)
        begin = (weights["cls_token"] + first).expand(len(tokens), -1, -1)
        return torch.cat([begin, tokens + places.flatten(2).transpose(1, 2)], 1)

    def _block(self, x: Tensor, weights: Weights) -> Tensor:
        """Return ``x + scale attention(norm(x))``, then ``x + scale mlp(norm(x))``."""

        def linear(name: str, y: Tensor) -> Tensor:
            return F.linear(y, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

        def norm(name: str) -> Tensor:
            return F.layer_norm(x, (self.width,), weights[f"{name}.weight"], weights[f"{name}.bias"], self.eps)

        y = norm("norm1")
        query, key, value = (
            linear(f"attention.attention.{name}", y).reshape(*y.shape[:2], self.heads, -1).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + weights["layer_scale1.lambda1"] * linear("attention.output.dense", mixed)
        y = norm("norm2")
        if self.gated:
            gate, value = linear("mlp.weights_in", y).chunk(2, -1)
            y = linear("mlp.weights_out", F.silu(gate) * value)
        else:
            y = linear("mlp.fc2", F.gelu(linear("mlp.fc1", y)))
        return x + weights["layer_scale2.lambda1"] * y


@contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        yield file


def _part(file: Any, prefix: str, device: torch.device, dtype: torch.dtype) -> Weights:
    """Read the tensors whose names begin so, without that beginning."""
    names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - it is no mapping
    read = {name.removeprefix(prefix): file.get_tensor(name).to(device, dtype) for name in names}
    broken = next((name for name, value in read.items() if not torch.isfinite(value).all()), None)
    if broken is not None:
        raise LookupError(f"{prefix}{broken} is not finite")
    return read
