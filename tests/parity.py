"""The rule of the parity vectors: weights that anyone can make again from the names and shapes of a state dict."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def by_rule(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Return float32 weights of these names and shapes."""
    state = {}
    for key, shape in shapes.items():
        size, fan = int(np.prod(shape)), int(np.prod(shape[1:]))
        values = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(size).reshape(shape)
        if len(shape) == 1 or fan == 1:
            values = 0.1 * values if key.endswith("bias") else 1 + 0.1 * values
        else:
            values = values / np.sqrt(fan)
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


def shapes_of(kind: type[nn.Module]) -> dict[str, list[int]]:
    """Return the names and shapes of a network's weights."""
    with torch.device("meta"):
        return {name: list(value.shape) for name, value in kind().state_dict().items()}
