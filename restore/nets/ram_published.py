"""The networks that the authors of RAM and RAM++ publish: told apart by their names, built, and asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.errors import WeightsError
from restore.nets.adasam import AdaSAM
from restore.nets.dinov2 import DEVIATION, MEAN
from restore.nets.promptir import PromptIR
from restore.nets.restormer import Block, Restormer, padded
from restore.nets.restormer_rfr import RestormerRFR

LICENCE = "Pi-Lab License 1.0 (non-commercial use only)"
"""Terms of everything that RAM and RAM++ publish."""


class Kind(StrEnum):
    """What a published file holds, in words for people."""

    RFR = "RAM++ (RestormerRFR)"
    PROMPTIR = "RAM-PromptIR"
    SWINIR = "RAM-SwinIR"
    PRETRAINED = "masked pretraining of RAM++, or another Restormer"
    MASKER = "AdaSAM mask network"


SIGNS = {
    "dino_fusion_deep.temperature": Kind.RFR,
    "prompt1.prompt_param": Kind.PROMPTIR,
    "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": Kind.SWINIR,
    "pos_embed_probs": Kind.MASKER,
    "encoder_level1.0.attn.temperature": Kind.PRETRAINED,  # the last: others have it too
}
"""Names that tell the files apart, the first that is there decides."""

BUILD = {Kind.RFR: RestormerRFR, Kind.PROMPTIR: PromptIR, Kind.PRETRAINED: Restormer, Kind.MASKER: AdaSAM}

SHRUNK = {
    4: ("encoder_level2", "decoder_level2", "noise_level1"),
    16: ("encoder_level3", "decoder_level3", "noise_level2"),
    64: ("latent", "noise_level3"),
}
"""Pixels of the picture to one of these stages."""

_heard: ContextVar[Callable[[float], None] | None] = ContextVar("heard", default=None)


def kind_of(state: Mapping[str, Tensor]) -> Kind | None:
    """Return which of the published networks a state dict is of; None for any other."""
    return next((kind for name, kind in SIGNS.items() if name in state), None)


def built(state: Mapping[str, Tensor], kind: Kind) -> nn.Module:
    """Build a network of published sizes with these weights; RAM-SwinIR needs the package ``spandrel``.

    Raises
    ------
    WeightsError
        A name or a shape differs, or spandrel is not there.
    """
    try:
        if kind is Kind.SWINIR:
            return _SwinIR(state)
        with torch.device("meta"):  # shapes are compared before anything of their size is allocated
            net: nn.Module = BUILD[kind]()
        net.load_state_dict(dict(state), assign=True)
    except (RuntimeError, LookupError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"these are not whole weights of {kind}: {reason}") from error
    return net


@dataclass(frozen=True, eq=False)
class Published:
    """A published network, ready to restore.

    References
    ----------
    Zhang et al., "RAM++" (arXiv 2509.12039); Qin et al., "Restore Anything with Masks" (ECCV 2024).
    """

    kind: Kind
    net: nn.Module

    @classmethod
    def of(cls, state: Mapping[str, Tensor], kind: Kind, device: torch.device, dtype: torch.dtype) -> Self:
        """Build it and let its blocks tell when they are done."""
        net = built(state, kind).to(device, dtype).eval().requires_grad_(requires_grad=False)
        for block in _blocks(net).values():
            block.register_forward_hook(_tell)
        return cls(kind, net)

    @property
    def has_strips(self) -> bool:
        """Whether it can be computed a strip of rows at a time."""
        return self.kind is not Kind.SWINIR

    def work(self, height: int, width: int) -> float:
        """Return the multiply-adds of its blocks for a picture, as :func:`listening` reports them."""
        height, width = (-(-n // 16) * 16 for n in (height, width))
        scales = {stage: scale for scale, stages in SHRUNK.items() for stage in stages}
        per_pixel = sum(_size(block) / scales.get(name.split(".")[0], 1) for name, block in _blocks(self.net).items())
        return per_pixel * height * width

    def __call__(self, picture: Tensor, features: Sequence[Tensor] = (), rows: int = 0) -> Tensor:
        """Restore ``(B, 3, H, W)``, nominal 0...1, in strips of ``rows`` rows, or at once for 0."""
        mean, deviation = (picture.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
        dtype = next(self.net.parameters()).dtype
        seen = ((picture - mean) / deviation).to(dtype)
        if self.kind is Kind.SWINIR:
            found = self.net(seen)
        elif self.kind is Kind.RFR:
            found = self.net(seen, features, rows=rows)
        else:
            found = self.net(seen, rows=rows)
        restored: Tensor = found.to(picture.dtype) * deviation + mean
        return restored


@contextmanager
def listening(heard: Callable[[float], None]) -> Iterator[None]:
    """Have the blocks of this thread's networks tell the multiply-adds that they have done."""
    token = _heard.set(heard)
    try:
        yield
    finally:
        _heard.reset(token)


def _tell(block: nn.Module, _: Any, out: Tensor) -> None:
    heard = _heard.get()
    if heard is not None:
        pixels = out.shape[-2] * out.shape[-1] if out.ndim == 4 else out.shape[1]  # RAM-SwinIR's are tokens
        heard(_size(block) * len(out) * pixels)


def _blocks(net: nn.Module) -> dict[str, nn.Module]:
    if isinstance(net, _SwinIR):
        return {f"layers.{index}": layer for index, layer in enumerate(net.body.layers)}
    return {name: module for name, module in net.named_modules() if isinstance(module, Block)}


def _size(block: nn.Module) -> float:
    return float(sum(value.numel() for value in block.parameters()))


class _SwinIR(nn.Module):
    """RAM-SwinIR by the SwinIR of spandrel, which differs in three things.

    Its first kernel is 3x3, so the published 1x1 one becomes its centre; it takes a mean off the picture; and it adds
    the picture to the answer.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        try:
            spandrel = import_module("spandrel")
        except ImportError as error:
            raise WeightsError(
                f"{Kind.SWINIR} runs by the package spandrel, which is not here: pip install spandrel; "
                f"or take weights of {Kind.PROMPTIR}, which need nothing else"
            ) from error
        named = {name: value for name, value in state.items() if name != "mask_token"}
        first = named["conv_first.weight"]
        named["conv_first.weight"] = F.pad(first, (1, 1, 1, 1)) if first.shape[-1] == 1 else first
        try:
            self.body = spandrel.ModelLoader("cpu").load_from_state_dict(named).model
        except spandrel.UnsupportedModelError as error:
            raise WeightsError(f"spandrel does not know these weights as {Kind.SWINIR}: {error}") from error

    def forward(self, x: Tensor) -> Tensor:
        """Restore ``(B, 3, H, W)``, ImageNet-normalised."""
        shifted = padded(x, 8) + self.body.mean.to(x)
        restored: Tensor = self.body(shifted) - shifted
        return restored[..., : x.shape[-2], : x.shape[-1]]
