"""Train ``noise2score``: the score of noisy pictures, from noisy pictures only, for three laws of noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from restore.nets.score_unet import conditions
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.objectives import gr2r
from restore.objectives.family import Family
from restore.train import options
from restore.train.data import Photos
from restore.train.loop import Progress, fit
from restore.train.ship import FREE_PHOTOS


@dataclass(frozen=True)
class Config:
    """What is learnt.

    Levels are those of the picture that the network sees, which is the noisy one recorrupted: with a share of 0.8 the
    noisy pictures have a fifth of that dispersion, and the network is told the whole. What it predicts has a quarter
    of it: the noise of the targets, not the photos, is most of what makes steps differ, so a large share learns faster.
    """

    channels: int = 3
    widths: tuple[int, int, int] = (48, 96, 192)
    batch: int = 8
    patch: int = 96
    candidates: int = 3
    share: float = 0.8
    gaussian: float = 0.7
    sigma: tuple[float, float] = (1 / 255, 66 / 255)
    count: tuple[float, float] = (0.0045, 0.11)
    looks: tuple[float, float] = (15, 140)


GREY = Config(channels=1, widths=(32, 64, 128))

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def law(config: Config, rng: np.random.Generator) -> Family:
    """Draw the noise that the network shall see: sigma evenly, counts and looks evenly in their logarithm."""
    if rng.random() < config.gaussian:
        return Family(0, float(rng.uniform(*config.sigma)) ** 2)
    if rng.random() < 0.5:
        return Family(1, float(np.exp(rng.uniform(*np.log(config.count)))))
    return Family(2, float(np.exp(-rng.uniform(*np.log(config.looks)))))


def batches(photos: Photos, config: Config, rng: np.random.Generator, generator: torch.Generator) -> Iterator[Batch]:
    """Yield endless batches: two pictures ``(B, C, P, P)`` of a split noisy one, conditions, level ``(B, 1, 1, 1)``.

    The photo serves to make the noisy picture and is seen by nobody else.
    """
    while True:
        examples = []
        for _ in range(config.batch):
            photo = torch.from_numpy(photos.crop(config.patch, rng, of=config.candidates)).permute(2, 0, 1)
            photo = photo if config.channels == 3 else photo.mean(0, keepdim=True)
            seen = law(config, rng)
            there = Family(seen.power, seen.dispersion * (1 - config.share))
            first, second = gr2r.split(there.draw(photo, generator), there, config.share, generator)
            told = conditions(first[None], *(torch.tensor(v)[None, None, None] for v in (seen.power, seen.dispersion)))
            level = told[0, : config.channels].square().mean().sqrt().reshape(1, 1, 1)
            examples.append((first, second, told[0], level))
        yield tuple(torch.stack(column) for column in zip(*examples, strict=True))  # type: ignore[misc]


def loss(net: nn.Module, batch: Batch) -> Tensor:
    """Squared error of the second picture predicted from the first, over the noise's standard deviation.

    For Gaussian noise it is the loss of AR-DAE times the standard deviation. The mean error grows about with that,
    so that every level weighs the same in decibels.
    """
    first, second, told, level = batch
    error: Tensor = first - net(first, told).float() - second
    return (error**2 / (level + 1e-3)).mean()


CASES = [Family(0, (s / 255) ** 2) for s in (10, 25, 50)] + [Family(1, 0.01), Family(2, 0.01)]


def validation(photos: Photos, channels: int, device: str) -> Callable[[nn.Module], str]:
    """Return a function that scores a network on held-out photos: PSNR against the truth, and SURE gain."""
    generator = torch.Generator().manual_seed(1)
    parts = photos.parts(256, every=3)
    height, width = (min(part.shape[axis] for part in parts) for axis in (0, 1))
    clean = torch.stack([torch.from_numpy(part[:height, :width]).permute(2, 0, 1) for part in parts])
    clean = clean if channels == 3 else clean.mean(1, keepdim=True)
    noisy = [case.draw(clean, generator) for case in CASES]
    probe = torch.randint(0, 2, clean.shape, generator=generator).float() * 2 - 1
    clean, probe, *noisy = (planes.to(device) for planes in (clean, probe, *noisy))

    def score(net: nn.Module) -> str:
        found = []
        for case, y in zip(CASES, noisy, strict=True):
            law = (torch.full((1, 1, 1, 1), float(value), device=device) for value in (case.power, case.dispersion))
            told = conditions(y, *law)
            removed, moved = net(y, told), net(y + 1e-3 * probe, told)
            spread = case.variance((y - removed).clamp_min(0))
            gain = float((spread * probe * (moved - removed)).mean() / 1e-3 / (removed**2).mean())
            psnr = -10 * ((y - removed).clamp(0, 1) - clean).square().mean((1, 2, 3)).log10().mean()
            level = case.dispersion**0.5 * 255 if case.power == 0 else case.dispersion
            found.append(f"{case.name} {level:.3g}: {psnr:.2f} dB g {gain:.2f}")
        return "  ".join(found)

    return score


def main(argv: list[str] | None = None) -> None:
    """Run the training from the command line: first the colour network, then the grey one."""
    made = options.parser("noise2score", __doc__, minutes=55)
    made.add_argument(
        "--grey-minutes",
        type=options.at_least(0.0),
        help="how long the network for grey learns after that (default: 3/11 of --minutes)",
    )
    made.add_argument("--patch", type=int, default=Config.patch, help="side of a crop")
    args = made.parse_args(argv)
    options.prepare(args)
    grey_minutes = 3 / 11 * args.minutes if args.grey_minutes is None else args.grey_minutes
    learnt: dict[str, Tensor] = {}
    photos = Photos(args.photos)
    total = Progress()
    for name, config, minutes in (("colour", Config(), args.minutes), ("grey", GREY, grey_minutes)):
        checkpoint = args.run / f"{name}.pt"
        state = options.part_of(args, f"{name}.", config.channels)
        net = UnshuffleUNet(config.channels, config.channels + 2, config.widths)
        net = UnshuffleUNet.from_state(state) if state else net

        def draw(rng: np.random.Generator, size: int, config: Config = config) -> Iterator[Batch]:
            draws = torch.Generator().manual_seed(int(rng.integers(2**63)))
            return batches(photos, replace(config, batch=size, patch=args.patch), rng, draws)

        examples = options.examples(args, checkpoint, draw, config.batch)
        score = validation(Photos(args.photos, held_out=True), config.channels, args.device)
        state, progress = fit(net, examples, loss, options.budget(args, minutes=minutes), checkpoint, score)
        learnt |= {f"{name}.{key}": value for key, value in state.items()}
        total = Progress(total.steps + progress.steps, total.seconds + progress.seconds)
    photos_of = FREE_PHOTOS if args.ship else "pictures of one's own"
    data = f"{photos_of}, with noise: no clean picture is learnt from"
    options.deliver(args, learnt, total, command=options.command("noise2score", made, args), data=data)


if __name__ == "__main__":
    main()
