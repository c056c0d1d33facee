"""Train the generic weights of ``pnnp``: one network for raw files of all cameras and ISO speeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from restore.colour import Floats
from restore.degrade.mosaic import RawNoise, add_raw_noise, draw_camera, resized, unprocess
from restore.nets.anscombe import compressed, restored, stabilise
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.train import options
from restore.train.data import Photos
from restore.train.loop import fit
from restore.train.ship import ship


@dataclass(frozen=True)
class Config:
    """What is learnt."""

    batch: int = 8
    patch: int = 64
    """Side in packed pixels: 128 of the mosaic."""
    candidates: int = 2
    ratio_max: float = 300.0
    told_error: float = 0.05
    widths: tuple[int, int, int] = (32, 64, 128)


Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def example(photos: Photos, config: Config, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return noisy and clean planes ``(4, P, P)``, and the shot gain and read sigma the network is told.

    Photos are made up to twice smaller, so that neither their demosaicing nor their JPEG noise is learnt, and
    half as often larger, as pictures of many megapixels are softer.
    """
    side = 2 * config.patch
    scale = 2 ** rng.uniform(-0.7, 1.0)
    photo = resized(photos.crop(min(512, round(side * scale)), rng, of=config.candidates), side)
    clean = unprocess(photo, rng)
    ratio = np.exp(rng.uniform(0, np.log(config.ratio_max))) if rng.random() < 0.8 else 1.0
    clean = np.clip(clean * (rng.uniform(0.8, 1.3) / ratio), 0, 1).astype(np.float32)
    noise = draw_camera(rng)
    noisy = add_raw_noise(clean, noise, rng)
    told = np.array(noise.told, np.float32) * np.exp(rng.normal(0, config.told_error, 2))
    return noisy, clean, told.astype(np.float32)


def batches(photos: Photos, config: Config, rng: np.random.Generator, device: str) -> Iterator[Batch]:
    """Yield endless batches: stabilised noisy and clean ``(B, 4, P, P)``, gain and read ``(B, 1, 1, 1)``."""
    while True:
        drawn = zip(*(example(photos, config, rng) for _ in range(config.batch)), strict=True)
        noisy, clean, told = (torch.from_numpy(np.stack(x)).to(device) for x in drawn)
        gain, read = told[:, 0, None, None, None], told[:, 1, None, None, None]
        yield stabilise(noisy, gain, read), stabilise(clean, gain, read), gain, read


def loss(net: nn.Module, batch: Batch) -> Tensor:
    """Mean logarithm of each example's L1 in units of the noise: a decibel counts the same at every level.

    Without the logarithm very noisy examples, where most noise can be removed, would count least.
    """
    noisy, clean, _, _ = batch
    clear: Tensor = noisy - net(*compressed(noisy)).float()
    return ((clear - clean).abs().mean((1, 2, 3)) + 0.01).log().mean()


def cases(photos: Photos, seed: int = 1) -> Iterator[tuple[str, Floats, Floats, RawNoise]]:
    """Give validation pairs of held-out photos: the ratio's name, noisy and clean planes, and their noise."""
    rng = np.random.default_rng(seed)
    crops = [photos.crop(384, rng, of=3) for _ in range(8)]
    for crop in crops:
        whole = unprocess(resized(crop, 256), rng)
        for ratio in (1, 10, 100, 300):
            noise = replace(draw_camera(rng), bias=0.0)
            clean = (whole / ratio).astype(np.float32)
            yield f"x{ratio}", add_raw_noise(clean, noise, rng), clean, noise


def validation(photos: Photos, device: str) -> Callable[[nn.Module], str]:
    """Return a function that scores a network: gain in PSNR of the linear mosaic, by ratio, and stabilised L1."""
    kept = list(cases(photos))

    def score(net: nn.Module) -> str:
        found: dict[str, list[float]] = {}
        for name, noisy, clean, noise in kept:
            gain, read = (torch.tensor(value, device=device) for value in noise.told)
            x, truth = (torch.from_numpy(p).to(device)[None] for p in (noisy, clean))
            v = stabilise(x, gain, read)
            clear = v - net(*compressed(v))
            y = restored(clear, gain, read)
            ratio = ((x - truth) ** 2).mean() / ((y - truth) ** 2).mean()
            found.setdefault(name, []).append(10 * float(torch.log10(ratio)))
            found.setdefault("L1", []).append(float((clear - stabilise(truth, gain, read)).abs().mean()))
        means = {name: float(np.mean(values)) for name, values in found.items()}
        worst = min(min(values) for name, values in found.items() if name != "L1")
        gains = "  ".join(f"{name} {value:+.2f} dB" for name, value in means.items() if name != "L1")
        return f"L1 {means['L1']:.4f}  {gains}  worst {worst:+.2f} dB"

    return score


def main(argv: list[str] | None = None) -> None:
    """Run the training from the command line."""
    made = options.parser("pnnp", __doc__, minutes=60)
    args = made.parse_args(argv)
    options.prepare(args)
    config, checkpoint = Config(), args.run / "checkpoint.pt"
    net = UnshuffleUNet.from_state(options.started(args) or UnshuffleUNet(4, 5, config.widths).state_dict())
    score = validation(Photos(args.photos, held_out=True), args.device)
    examples = batches(Photos(args.photos), config, options.generator(args, checkpoint), args.device)
    state, progress = fit(net, examples, loss, options.budget(args), checkpoint, score)
    ship("pnnp", state, progress, command=options.command("pnnp", made, args), seed=args.seed)


if __name__ == "__main__":
    main()
