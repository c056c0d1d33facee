"""Train ``blind``: a denoiser that is told nothing, for white noise of every level up to white itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from restore import degrade
from restore.colour import Floats
from restore.nets.unshuffle_unet import GREY, UnshuffleUNet
from restore.train import options
from restore.train.data import Photos
from restore.train.denoise import WIDTHS, camera_pair, grey
from restore.train.loop import fit


@dataclass(frozen=True)
class Config:
    """What is learnt.

    ``sigmas`` are ranges of noise with their shares: mostly what photos have, a tail up to 255/255 for methods that
    ask the network at any level. ``aliased_share`` of the crops have every second pixel left out, as correlated noise
    is shown to the network. ``camera_share`` of the crops have the noise of cameras; ``photon_share`` of the others
    that of counted photons, as many where the picture is white as ``peaks`` says.
    """

    batch: int = 8
    patch: int = 96
    candidates: int = 3
    floor: float = 1e-6
    sigmas: tuple[tuple[float, float, float], ...] = ((5, 55, 0.74), (0, 100, 0.2), (100, 255, 0.06))
    aliased_share: float = 0.3
    camera_share: float = 0.3
    photon_share: float = 0.25
    peaks: tuple[float, float] = (3, 1000)
    is_grey: bool = False


Batch = tuple[Tensor, Tensor]


def level(config: Config, rng: np.random.Generator) -> float:
    """Return a noise level, as a fraction of white."""
    low, high, _ = config.sigmas[rng.choice(len(config.sigmas), p=[share for *_, share in config.sigmas])]
    return float(rng.uniform(low, high)) / 255


def example(photos: Photos, config: Config, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return noisy and clean ``(H, W, C)``."""
    stride = 2 if rng.random() < config.aliased_share else 1
    if rng.random() < config.camera_share:
        noisy, clean, _ = camera_pair(photos, stride * config.patch, config.candidates, rng)
        top, left = (int(rng.integers(n - stride * config.patch + 1)) for n in clean.shape[:2])
        window = np.s_[top : top + stride * config.patch : stride, left : left + stride * config.patch : stride]
        tint: Callable[[Floats], Floats] = grey if config.is_grey else lambda picture: picture
        return tint(noisy[window]), tint(clean[window])
    clean = photos.crop(stride * config.patch, rng, of=config.candidates)[::stride, ::stride]
    clean = grey(clean) if config.is_grey else clean
    if rng.random() < config.photon_share:
        return degrade.poisson(clean, rng, peak=float(np.exp(rng.uniform(*np.log(config.peaks))))), clean
    return degrade.gaussian(clean, rng, sigma=level(config, rng)), clean


def batches(photos: Photos, config: Config, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield endless batches of noisy and clean ``(B, C, P, P)``."""
    while True:
        noisy, clean = zip(*(example(photos, config, rng) for _ in range(config.batch)), strict=True)
        yield (
            torch.from_numpy(np.stack(noisy)).permute(0, 3, 1, 2),
            torch.from_numpy(np.stack(clean)).permute(0, 3, 1, 2),
        )


def loss(net: nn.Module, batch: Batch) -> Tensor:
    """Mean logarithm of each crop's squared error, as for ``denoise``."""
    noisy, clean = batch
    clear: Tensor = noisy - net(noisy).float()
    return ((clear - clean).square().mean((1, 2, 3)) + Config.floor).log().mean()


def validation(photos: Photos, device: str, *, is_grey: bool = False) -> Callable[[nn.Module], str]:
    """Return a function that scores a network on held-out photos: PSNR at some levels."""
    rng = np.random.default_rng(1)
    clean = photos.parts(256)
    clean = [grey(picture) for picture in clean] if is_grey else clean
    cases = [(f"{s}", degrade.gaussian(c, rng, sigma=s / 255), c) for s in (5, 15, 25, 50, 100, 200) for c in clean]
    cases += [(f"{n} photons", degrade.poisson(c, rng, peak=n), c) for n in (5, 100) for c in clean]

    def score(net: nn.Module) -> str:
        found: dict[str, list[float]] = {}
        for name, noisy, truth in cases:
            x = torch.from_numpy(noisy).permute(2, 0, 1)[None].to(device)
            y = (x - net(x))[0].permute(1, 2, 0).cpu().numpy()
            found.setdefault(name, []).append(-10 * np.log10(np.mean((np.clip(y, 0, 1) - truth) ** 2)))
        return "  ".join(f"{name} {np.mean(values):.2f} dB" for name, values in found.items())

    return score


def untold(state: Mapping[str, Tensor]) -> UnshuffleUNet:
    """Return a network that starts from one that was told levels: it loses the planes that told them.

    >>> sorted({untold(UnshuffleUNet(conditions=n).state_dict()).conditions for n in (0, 2)})
    [0]
    """
    channels = state["tail.weight"].shape[0]
    return UnshuffleUNet.from_state({**state, "head.weight": state["head.weight"][:, :channels]})


def main(argv: list[str] | None = None) -> None:
    """Run the training from the command line."""
    made = options.parser("blind", __doc__, minutes=30, rate=5e-4)
    made.add_argument("--patch", type=int, default=Config.patch, help="side of a crop")
    made.add_argument(
        "--grey", action="store_true", help="the network for pictures of one channel, not that for colour"
    )
    args = made.parse_args(argv)
    options.prepare(args)
    config, checkpoint = Config(patch=args.patch, is_grey=args.grey), args.run / "checkpoint.pt"
    state = options.part_of(args, GREY if args.grey else "", 1 if args.grey else 3)
    net = untold(state) if state else UnshuffleUNet(1 if args.grey else 3, 0, WIDTHS[args.grey])
    score = validation(Photos(args.photos, held_out=True), args.device, is_grey=args.grey)
    photos = Photos(args.photos)

    def draw(rng: np.random.Generator, size: int) -> Iterator[Batch]:
        return batches(photos, replace(config, batch=size), rng)

    examples = options.examples(args, checkpoint, draw, config.batch)
    state, progress = fit(net, examples, loss, options.budget(args), checkpoint, score)
    state = options.with_other("blind", state, is_grey=args.grey)
    options.deliver(args, state, progress, command=options.command("blind", made, args))


if __name__ == "__main__":
    main()
