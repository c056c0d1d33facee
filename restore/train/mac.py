"""Mask attribute conductance (MAC): which layers carry what masked pretraining taught, so that they are fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def conductance(
    net: nn.Module,
    run: Callable[[Tensor], Tensor],
    pictures: Tensor,
    easy_first: Tensor,
    steps: int = 40,
    start: float = 0.5,
) -> dict[str, float]:
    """Rank the convolutions of a network by how much they do while a picture is revealed.

    Along a path that reveals pixels, from a share ``start`` on, a layer's conductance is the sum over steps of the
    gradient of the output's edge energy with respect to the layer's output, times the change of that output.

    Parameters
    ----------
    run
        Maps pictures ``(B, 3, H, W)`` to restored ones, through ``net``.
    pictures
        ``(B, 3, H, W)``, with 0 for a hidden pixel's value.
    easy_first
        ``(B, H W)``: the order in which pixels are revealed.

    Returns
    -------
    dict
        Name of each convolution to its mean absolute conductance, largest first.

    References
    ----------
    Zhang et al., "RAM++" (arXiv 2509.12039), section 3.2; Dhamdhere et al., "How important is a neuron?".
    """
    layers = {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)}
    outputs: dict[str, Tensor] = {}
    hooks = [m.register_forward_hook(_keeper(outputs, name)) for name, m in layers.items()]
    before: dict[str, Tensor] = {}
    summed: dict[str, Tensor] = {}
    count = easy_first.shape[1]
    rank = torch.empty_like(easy_first).scatter_(1, easy_first, torch.arange(count).expand_as(easy_first))
    try:
        for step in range(steps):
            share = 1 - start + start * step / steps
            seen = (rank < share * count).view(len(pictures), 1, *pictures.shape[-2:])
            outputs.clear()
            energy = edge_energy(run((pictures * seen).requires_grad_()))
            gradients = torch.autograd.grad(energy, list(outputs.values()), allow_unused=True)
            for (name, now), gradient in zip(outputs.items(), gradients, strict=True):
                if name in before and gradient is not None:
                    part = gradient * (now.detach() - before[name])
                    summed[name] = part if name not in summed else summed[name] + part
            before = {name: value.detach() for name, value in outputs.items()}
    finally:
        for hook in hooks:
            hook.remove()
    found = {name: float(value.abs().mean((1, 2, 3)).sum()) for name, value in summed.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _keeper(outputs: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs[name] = output

    return keep


def edge_energy(picture: Tensor) -> Tensor:
    """Return the sum over pixels of the gradient's length; it is differentiable on flat pictures too.

    >>> round(float(edge_energy(torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]]))), 2)
    0.0
    >>> round(float(edge_energy(torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))), 2)
    1.41
    """
    down = picture[..., :-1, :-1] - picture[..., 1:, :-1]
    right = picture[..., :-1, :-1] - picture[..., :-1, 1:]
    return (down.square() + right.square() + 1e-8).sqrt().sum()


def freeze(net: nn.Module, ranking: Sequence[str], share: float, always: Sequence[str] = ()) -> list[str]:
    """Let only the first ``share`` of the ranked layers learn, and those whose names start as ``always`` says.

    Returns
    -------
    list
        The names of the parameters that learn.
    """
    chosen = set(ranking[: round(share * len(ranking))])
    for name, parameter in net.named_parameters():
        owner = name.rpartition(".")[0]
        learns = owner in chosen or share >= 1 or name.startswith(tuple(always))
        parameter.requires_grad_(learns and not name.startswith(("content.", "recogniser.")))
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad]
