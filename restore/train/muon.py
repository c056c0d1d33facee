"""Muon: momentum whose matrices are orthogonalised, for the kernels of convolutions; Adam for the rest."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return matrices ``(..., N, M)`` with singular values moved close to one, by a quintic Newton-Schulz iteration.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).

    >>> s = torch.linalg.svdvals(orthogonal(torch.tensor([[3.0, 0.1, 0.0], [0.0, 0.4, 0.2]])))
    >>> bool((s > 0.6).all() and (s < 1.3).all())
    True
    """
    is_wide = matrix.shape[-2] <= matrix.shape[-1]
    x: Tensor = matrix if is_wide else matrix.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if is_wide else x.mT


class Muon(torch.optim.AdamW):
    """AdamW whose parameters of two and more dimensions move along orthogonalised momentum instead.

    Updates have the root mean square that Adam's have (0.2 of the rate), so that one learning rate serves both
    (Liu et al., "Muon is scalable for LLM training", 2025).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float, decay: float, momentum: float = 0.95) -> None:
        every = list(parameters)
        kernels = [p for p in every if p.ndim >= 2 and min(p.shape[0], p[0].numel()) > 1]
        others = [p for p in every if all(p is not k for k in kernels)]
        super().__init__(others or [nn.Parameter(torch.zeros(1))], lr=rate, betas=(0.9, 0.99), weight_decay=decay)
        self.add_param_group({"params": kernels, "lr": rate, "weight_decay": decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Move every parameter once."""
        kernels = self.param_groups.pop()
        super().step()
        self.param_groups.append(kernels)
        alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
        for kernel in kernels["params"]:
            if kernel.grad is None:
                continue
            flat = kernel.grad.reshape(kernel.shape[0], -1)
            state = self.state[kernel]
            if not state:
                state["momentum"] = torch.zeros_like(flat)
                state["step"] = torch.zeros(())  # AdamW looks for it when a run is resumed
            state["momentum"].lerp_(flat, 1 - kernels["momentum"])
            alike.setdefault(flat.shape, []).append((kernel, flat.lerp(state["momentum"], kernels["momentum"])))
        for shape, group in alike.items():
            size = 0.2 * max(shape) ** 0.5
            moves = kernels["lr"] * size * orthogonal(torch.stack([ahead for _, ahead in group]))
            for (kernel, _), move in zip(group, moves, strict=True):
                kernel.mul_(1 - kernels["lr"] * kernels["weight_decay"])
                kernel.sub_(move.reshape(kernel.shape))
