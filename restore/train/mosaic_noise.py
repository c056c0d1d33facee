"""Fit the network that tells noise from texture in regions of a mosaic, kept in ``noise/mosaic.json``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from restore.colour import Floats
from restore.degrade.mosaic import RawNoise, add_raw_noise, draw_camera, unprocess
from restore.noise.mosaic import HEADS, Regions, line, regions, variances
from restore.picture import RawImage
from restore.train.noise_level import photographs, view, write

_CFA = ((0, 1), (1, 2))
_BLACK = ((0.0, 0.0), (0.0, 0.0))


@dataclass(frozen=True)
class Config:
    """What is learnt."""

    draws: int = 12
    regions: int = 64
    """Of an example, in a step."""
    batch: int = 48
    steps: int = 10000
    rate: float = 3e-3
    decay: float = 1e-3
    jitter: float = 0.03
    hidden: int = 48
    summary: int = 24
    held_out_every: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """Regions of a mosaic, the logarithm of their true variance over the reference, and how it was drawn."""

    seen: Regions
    target: Floats
    camera: RawNoise
    kind: str
    is_held_out: bool


def grained(photo: Floats, rng: np.random.Generator) -> Floats:
    """Add the grain of film, which is no noise of the sensor: neighbours share it, of one colour and of others."""
    blur = (0, 0), rng.uniform(0.45, 1.2)
    shape = photo.shape[0], photo.shape[1]
    luma = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), *blur)[..., None]
    colours = cv2.GaussianBlur(rng.standard_normal((*shape, 3), np.float32), *blur)
    grain = luma + np.float32(rng.uniform(0, 1)) * colours
    strength = np.exp(rng.uniform(np.log(0.3), np.log(6))) / 255
    return np.asarray(photo + grain * np.float32(strength / grain.std()), np.float32)


def drawn(photo: Floats, rng: np.random.Generator) -> tuple[RawImage, RawNoise, str]:
    """Return the mosaic of a random camera, well lit in half of the draws, the camera, and what kind it is."""
    is_bright = rng.random() < 0.5
    kind = "bright" if is_bright else "dark"
    if rng.random() < 0.3:  # fine texture, and less of the noise that the photo had
        photo = np.asarray(cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
    scene = view(photo, rng)
    if rng.random() < 0.15:
        scene, kind = grained(scene, rng), f"{kind}, grain"
    clean = unprocess(scene, rng) / np.float32(1 if is_bright else np.exp(rng.uniform(0, np.log(300))))
    camera = draw_camera(rng)
    if rng.random() < 0.3:  # modern sensors at their lowest speed are better than calibrated ones
        camera = replace(camera, gain=0.3 * camera.gain, read=0.3 * camera.read)
    if rng.random() < 0.3:
        camera = replace(camera, tail=float(rng.uniform(-0.35, -0.2)))
    if rng.random() < 0.15:  # arrays, and means of frames
        camera = replace(camera, step=0.0)
    noisy = add_raw_noise(clean, camera, rng)
    if rng.random() < 0.1:  # some cameras write nothing below black
        noisy = np.maximum(noisy, 0)
    if camera.step and rng.random() < 0.1:  # and some smooth their shadows
        smooth = np.rint(clean / camera.step) * np.float32(camera.step)
        noisy, kind = np.where(clean < np.quantile(clean, rng.uniform(0.05, 0.5)), smooth, noisy), "smooth shadows"
    mosaic = np.empty((2 * noisy.shape[1], 2 * noisy.shape[2]), np.float32)
    for site, plane in enumerate(noisy):
        mosaic[site // 2 :: 2, site % 2 :: 2] = plane
    return RawImage(mosaic, _CFA, _BLACK, 1 / (camera.step or 1.0)), camera, kind


def examples(folder: Path, config: Config) -> list[Example]:
    """Expose each photo by several cameras."""
    found = []
    for number, photo, is_out in photographs(folder, config.held_out_every):
        for draw in range(config.draws):
            raw, camera, kind = drawn(photo, np.random.default_rng([config.seed, number, draw]))
            seen = regions(raw, 256)
            if seen is not None:
                truth = camera.told[0] * np.maximum(seen.brightness, 0) + camera.told[1] ** 2
                target = np.log(truth / seen.reference).astype(np.float32)
                found.append(Example(seen, target, camera, kind, is_out))
    return found


class Net(nn.Module):
    """Looks at every region, sums up what it saw, and says of each: logarithm of the share of noise, and its spread."""

    def __init__(self, inputs: int, config: Config) -> None:
        super().__init__()
        self.look1 = nn.Linear(inputs, config.hidden)
        self.look2 = nn.Linear(config.hidden, HEADS + config.summary)
        self.say1 = nn.Linear((1 + HEADS) * config.summary, config.hidden)
        self.say2 = nn.Linear(config.hidden, 2)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, N, F)`` to two ``(B, N)``."""
        first = self.look2(F.silu(self.look1(seen)))
        hidden = F.silu(first[..., HEADS:])
        whole = (first[..., :HEADS].softmax(1).transpose(1, 2) @ hidden).flatten(1)
        both = torch.cat([hidden, whole[:, None].expand(-1, hidden.shape[1], -1)], -1)
        answer = self.say2(F.silu(self.say1(both)))
        return answer[..., 0], answer[..., 1].clamp(-4, 3)


def fit(learnt: Sequence[Example], config: Config) -> dict[str, NDArray[np.float64]]:
    """Return the network's numbers, with the scaling of its inputs folded in."""
    every = np.concatenate([example.seen.seen for example in learnt])
    mean, scale = every.mean(0), every.std(0) + 1e-3
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = Net(every.shape[1], config)
    optimiser = torch.optim.AdamW(net.parameters(), config.rate, weight_decay=config.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    for step in range(config.steps):
        chosen = [learnt[i] for i in rng.integers(len(learnt), size=config.batch)]
        which = [rng.integers(len(example.target), size=config.regions) for example in chosen]
        seen = np.stack([(e.seen.seen[i] - mean) / scale for e, i in zip(chosen, which, strict=True)])
        wanted = torch.from_numpy(np.stack([e.target[i] for e, i in zip(chosen, which, strict=True)]))
        x = torch.from_numpy(seen.astype(np.float32))
        found, spread = net(x + config.jitter * torch.randn_like(x))
        loss = ((found - wanted).abs() * (-spread).exp() + spread).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 1000 == 999:
            sys.stderr.write(f"step {step + 1} of {config.steps}, loss {float(loss):.3f}\n")
    numbers = {name: value.double().numpy() for name, value in net.state_dict().items()}
    numbers["look1.weight"] = numbers["look1.weight"] / scale
    numbers["look1.bias"] = numbers["look1.bias"] - numbers["look1.weight"] @ mean
    return numbers


def scores(held_out: Sequence[Example], network: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Return quantiles of the error of sigma, as a logarithm, at the mean of the regions' variance."""
    found: dict[str, list[float]] = {}
    for example in held_out:
        gain, read = line(example.seen.brightness, *variances(example.seen, network))
        light = np.maximum(example.seen.brightness, 0)
        told, measured = (k * light.mean() + r**2 for k, r in (example.camera.told, (gain, read)))
        found.setdefault(example.kind, []).append(0.5 * float(np.log(max(measured, 1e-16) / told)))
    answer = {}
    for kind, errors in sorted(found.items()):
        answer[f"{kind}, mean absolute"] = float(np.mean(np.abs(errors)))
        for share in (0.02, 0.5, 0.98):
            answer[f"{kind}, {100 * share:.0f} %"] = float(np.quantile(errors, share))
    return {name: round(value, 4) for name, value in answer.items()}


def main() -> None:
    """Run the fit from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("restore/noise/mosaic.json"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    config = Config()
    every = examples(args.photos, config)
    network = fit([e for e in every if not e.is_held_out], config)
    rounded = {name: np.vectorize(lambda v: float(f"{v:.4g}"))(value) for name, value in network.items()}
    found = scores([e for e in every if e.is_held_out], rounded)
    numbers = {name: value.tolist() for name, value in rounded.items()}
    stored = {"config": asdict(config), "photos": args.photos.name, "network": numbers, "held_out": found}
    write(args.out, stored)
    sys.stderr.write(f"{len(every)} examples, held out {found}\n")


if __name__ == "__main__":
    main()
