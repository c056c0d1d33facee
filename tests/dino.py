"""Folders with small random DINOv2 models, in Hugging Face's layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def dino_folder(
    folder: Path, *, width: int = 32, heads: int = 4, blocks: int = 4, hidden: int = 48, grid: int = 4, gated: bool
) -> dict[str, Tensor]:
    """Write one, and return its weights."""
    rng = torch.Generator().manual_seed(0)
    matrices = {f"attention.attention.{name}": (width, width) for name in ("query", "key", "value")}
    matrices |= {"attention.output.dense": (width, width)}
    names = ("mlp.weights_in", "mlp.weights_out") if gated else ("mlp.fc1", "mlp.fc2")
    matrices |= {names[0]: (hidden * (1 + gated), width), names[1]: (width, hidden)}
    state = {
        "embeddings.cls_token": torch.randn(1, 1, width, generator=rng),
        "embeddings.mask_token": torch.zeros(1, width),
        "embeddings.position_embeddings": torch.randn(1, 1 + grid**2, width, generator=rng),
        "embeddings.patch_embeddings.projection.weight": torch.randn(width, 3, 14, 14, generator=rng) / 24,
        "embeddings.patch_embeddings.projection.bias": torch.randn(width, generator=rng),
        "layernorm.weight": torch.ones(width),
        "layernorm.bias": torch.zeros(width),
    }
    for i in range(blocks):
        layer = f"encoder.layer.{i}"
        for name, (rows, columns) in matrices.items():
            state[f"{layer}.{name}.weight"] = torch.randn(rows, columns, generator=rng) / columns**0.5
            state[f"{layer}.{name}.bias"] = 0.1 * torch.randn(rows, generator=rng)
        for name in ("norm1.weight", "norm2.weight", "layer_scale1.lambda1", "layer_scale2.lambda1"):
            state[f"{layer}.{name}"] = 1 + 0.1 * torch.randn(width, generator=rng)
        for name in ("norm1.bias", "norm2.bias"):
            state[f"{layer}.{name}"] = 0.1 * torch.randn(width, generator=rng)
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors")
    about = {"model_type": "dinov2", "num_attention_heads": heads, "num_hidden_layers": blocks, "layer_norm_eps": 1e-6}
    (folder / "config.json").write_text(json.dumps(about))
    return state
