"""What ``rampp`` learns from: photos with each kind of degradation in turn; and a validation to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restore import degrade
from restore.colour import Floats
from restore.nets.ram_unet import KINDS, RamUNet
from restore.train.data import Photos, as_floats

Batch = tuple[Tensor, Tensor, Tensor, Tensor]

MARGIN = 16
"""Pixels around a region that are degraded too and cut off: blur and rain come from outside."""


TURNS = (*KINDS, "camera", "noise", "noise", "motion blur")
"""What patches show in turn: noise, white and as cameras make it, and motion blur need more examples than others."""

LEAST_NOISE = 1 / 255
"""RMS from which a camera's noise is taken for noise."""


def spoilt(clean: Floats, kind: int, rng: np.random.Generator) -> Floats:
    """Return a picture with the degradation ``KINDS[kind]``."""
    name = KINDS[kind].replace(" ", "_")
    if name == "noise":
        sigma = rng.choice([15, 25, 50]) if rng.random() < 0.3 else rng.uniform(2, 50)
        done = degrade.gaussian(clean, rng, sigma=sigma / 255)
    elif name == "jpeg":
        done = degrade.jpeg(clean, quality=int(rng.integers(10, 91)))
    elif name == "clean":
        return clean
    else:
        make: Callable[..., Floats] = getattr(degrade, name)
        done = make(clean, rng)
    return degrade.quantise(done)


def varied(clean: Floats, rng: np.random.Generator) -> Floats:
    """Return the picture brighter and paler or greyer, in half of the draws: scenes are not always lively.

    Not darker: what is dark shall be taken for low light.
    """
    if rng.random() < 0.5:
        return clean
    toned = clean ** np.float32(np.exp(rng.uniform(-0.5, 0)))
    grey = toned.mean(-1, keepdims=True)
    return np.asarray(grey + np.float32(rng.uniform(0, 1.1)) * (toned - grey), np.float32).clip(0, 1)


def from_camera(photos: Photos, side: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a square with a camera's noise, which can be seen, and its clean target."""
    while True:
        pair = degrade.camera(photos.soft(side + side // 4, rng), rng)
        height, width = pair.clean.shape[:2]
        if min(height, width) >= side and pair.sigma >= LEAST_NOISE:
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            window = np.s_[top : top + side, left : left + side]
            return pair.noisy[window], pair.clean[window]


def batches(
    photos: Photos, size: int, patch: int, rng: np.random.Generator, *, is_varied: bool = False
) -> Iterator[Batch]:
    """Yield endless batches: degraded and clean ``(B, 3, P, P)``, kinds ``(B,)``, and the degraded region around them.

    The region has twice the side: the whole picture, as far as the code is concerned. What they show goes by `TURNS`.
    Varied scenes are for who must tell haze from pale scenes; who takes it away must know how scenes usually are.
    """
    region, turn = 2 * patch, 0
    inner = np.s_[MARGIN : MARGIN + region, MARGIN : MARGIN + region]
    while True:
        degraded, clean, kinds, regions = [], [], [], []
        for _ in range(size):
            name = TURNS[turn]
            kind = KINDS.index("noise" if name == "camera" else name)
            if name == "camera":
                around, truth = from_camera(photos, region, rng)
            else:
                whole = photos.crop(region + 2 * MARGIN, rng, of=2)
                whole = varied(whole, rng) if is_varied else whole
                around, truth = spoilt(whole, kind, rng)[inner], whole[inner]
            top, left = rng.integers(region - patch + 1, size=2)
            window = np.s_[top : top + patch, left : left + patch]
            degraded.append(around[window])
            clean.append(truth[window])
            regions.append(around)
            kinds.append(kind)
            turn = (turn + 1) % len(TURNS)
        x, y, seen = (torch.from_numpy(np.stack(p)).permute(0, 3, 1, 2) for p in (degraded, clean, regions))
        yield x, y, torch.tensor(kinds), seen


def validation(photos: Photos, device: str, sheet: Path, seed: int = 1) -> Callable[[nn.Module], str]:
    """Return a function that scores a network on held-out photos: dB gained over the input, for each kind.

    It also writes ``sheet``: a row for each kind, with input, result and truth of one photo.
    """
    rng = np.random.default_rng(seed)
    cases = []
    for picture in photos.pictures[::2]:
        clean = as_floats(picture[:256, :256])
        cases += [(kind, spoilt(clean, kind, rng), clean) for kind in range(len(KINDS))]

    def score(net: nn.Module) -> str:
        gains: dict[str, list[float]] = {}
        rows: list[Floats] = []
        named: list[bool] = []
        for kind, degraded, clean in cases:
            x = torch.from_numpy(degraded).permute(2, 0, 1)[None].to(device)
            assert isinstance(net, RamUNet)
            named.append(int(net.recogniser(x).argmax()) == kind)
            y = net(x)[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy()
            before = float(np.mean((degraded - clean) ** 2)) if kind else 1.0
            gains.setdefault(KINDS[kind], []).append(10 * float(np.log10(before / np.mean((y - clean) ** 2))))
            if len(rows) < len(KINDS):
                rows.append(np.hstack([degraded, y, clean]))
        cv2.imwrite(str(sheet), np.rint(np.vstack(rows)[..., ::-1] * 255).astype(np.uint8))
        told = f"  named rightly {np.mean(named):.2f}"
        return "  ".join(f"{name} {np.mean(values):.2f}" for name, values in gains.items()) + told

    return score


def fitted_amounts(net: RamUNet, photos: Photos, rng: np.random.Generator, side: int = 256, draws: int = 2) -> Tensor:
    """Return how much of its change each kind is worth, ``(8,)``: what gains most decibels on photos held out.

    Every kind counts the same. Clean pictures may lose: their error is counted from 50 dB on.
    """
    kinds, facts, shares = [], [], []
    device = next(net.parameters()).device
    for _ in range(draws * len(photos.pictures)):
        clean = photos.crop(min(side, *(min(p.shape[:2]) for p in photos.pictures)) // 8 * 8, rng)
        pairs = [(kind, spoilt(clean, kind, rng), clean) for kind in range(len(KINDS))]
        for kind, degraded, truth in [*pairs, (KINDS.index("noise"), *from_camera(photos, side // 2, rng))]:
            x, y = (
                torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1)[None].to(device) for p in (degraded, truth)
            )
            with torch.inference_mode():
                code = net.code_of(x)
                change = net(x, code) - x
            kinds.append(kind)
            shares.append(code[0, 1 : 1 + len(KINDS), 0, 0].cpu().numpy())
            products = (y - x).square(), (y - x) * change, change.square()
            facts.append([float(product.mean()) for product in products])
    before, both, after = np.array(facts).T
    told, of_kind = np.array(shares), np.array([np.array(kinds) == kind for kind in range(len(KINDS))])

    def gain(amounts: NDArray[np.float64]) -> float:
        part = told @ amounts
        error = before - 2 * part * both + part**2 * after
        each = np.log10((before + 1e-5) / (error + 1e-5))
        return float(np.mean([each[chosen].mean() for chosen in of_kind]))

    amounts = np.ones(len(KINDS))
    for _ in range(3):
        for kind in range(len(KINDS)):
            tries = np.tile(amounts, (25, 1))
            tries[:, kind] = np.linspace(0, 1.2, 25)
            amounts = max(tries, key=gain)
    return torch.from_numpy(amounts).float()
