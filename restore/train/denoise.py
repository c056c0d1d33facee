"""Train the workhorse ``denoise``: white Gaussian noise of every level, and noise as cameras make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from restore import degrade, noise
from restore.colour import Floats, luma
from restore.errors import WeightsError
from restore.nets import int8
from restore.nets.prune import lean
from restore.nets.unshuffle_unet import GREY, UnshuffleUNet
from restore.picture import Image
from restore.train import options
from restore.train.data import Photos, as_floats
from restore.train.loop import fit


@dataclass(frozen=True)
class Config:
    """What is learnt."""

    batch: int = 8
    patch: int = 96
    candidates: int = 3
    floor: float = 1e-6
    camera_share: float = 0.4
    sigma_max: float = 55 / 255
    measured_share: float = 0.7
    told_low: float = 0.5
    told_high: float = 1.3
    is_grey: bool = False


WIDTHS = {False: (48, 96, 192), True: (32, 64, 128)}
"""Of the networks for colour and for grey."""

ERROR = {False: 0.1, True: 0.4}
"""How far the measured level of camera noise is off, in its logarithm, for colour and for grey: no other channel tells
there, and a network that believed the level smoothed phones' noise, which is measured right, too much."""


Batch = tuple[Tensor, Tensor, Tensor]


def example(photos: Photos, config: Config, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return noisy and clean ``(H, W, C)`` and the two noise levels (white, camera) the network is told."""
    if rng.random() >= config.camera_share:
        clean = photos.crop(config.patch, rng, of=config.candidates)
        clean = grey(clean) if config.is_grey else clean
        sigma = rng.uniform(0, config.sigma_max)
        return degrade.gaussian(clean, rng, sigma=sigma), clean, np.array([sigma, 0], np.float32)
    noisy, clean, sigma = camera_pair(photos, config.patch, config.candidates, rng)
    if config.is_grey:
        noisy, clean = grey(noisy), grey(clean)
        sigma = float(np.sqrt(np.mean((noisy - clean) ** 2)))
    top, left = (int(rng.integers(n - config.patch + 1)) for n in clean.shape[:2])
    window = np.s_[top : top + config.patch, left : left + config.patch]
    if rng.random() < config.measured_share:  # as inference finds it: it runs low, blocks do not show coarse noise
        told = max(noise.estimate(Image(noisy)).sigma * np.exp(rng.normal(0, ERROR[config.is_grey])), 0.5 / 255)
    else:
        told = sigma * np.exp(rng.uniform(np.log(config.told_low), np.log(config.told_high)))
    return noisy[window], clean[window], np.array([0, told], np.float32)


def grey(picture: Floats) -> Floats:
    """Return the luma of ``(H, W, 3)``, ``(H, W, 1)``."""
    return luma(picture)[..., None]


def camera_pair(photos: Photos, patch: int, candidates: int, rng: np.random.Generator) -> degrade.Pair:
    """Return a scene of at least ``patch`` on each side with the noise of a camera.

    Flat parts have their share here: blotches of camera noise are seen there, and must be told from shading.
    """
    return degrade.camera(photos.soft(2 * patch + 8, rng, of=1 if rng.random() < 0.7 else candidates), rng)


def batches(photos: Photos, config: Config, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield endless batches ``(B, C, P, P)``, ``(B, C, P, P)``, ``(B, 2, 1, 1)``."""
    while True:
        noisy, clean, level = zip(*(example(photos, config, rng) for _ in range(config.batch)), strict=True)
        yield (
            torch.from_numpy(np.stack(noisy)).permute(0, 3, 1, 2),
            torch.from_numpy(np.stack(clean)).permute(0, 3, 1, 2),
            torch.from_numpy(np.stack(level))[:, :, None, None],
        )


def loss(net: nn.Module, batch: Batch) -> Tensor:
    """Mean logarithm of each crop's squared error: PSNR with its sign turned.

    So that all levels of noise weigh the same, and smooth crops as much as those full of detail.
    """
    noisy, clean, level = batch
    clear: Tensor = noisy - net(noisy, level).float()
    return ((clear - clean).square().mean((1, 2, 3)) + Config.floor).log().mean()


def validation(photos: Photos, device: str, *, is_grey: bool = False) -> Callable[[nn.Module], str]:
    """Return a function that scores a network on held-out photos: PSNR for white noise, gain for camera noise."""
    rng = np.random.default_rng(1)
    tint: Callable[[Floats], Floats] = grey if is_grey else lambda picture: picture
    clean = [tint(part) for part in photos.parts(256)]
    cases = [(f"{s}", degrade.gaussian(c, rng, sigma=s / 255), c, (s / 255, 0.0)) for s in (15, 25, 50) for c in clean]
    pairs = [degrade.camera(as_floats(p[:264, :264]), rng) for p in photos.pictures]
    cases += [
        ("camera", noisy[:176, :176], truth[:176, :176], (0.0, noise.estimate(Image(noisy)).sigma))
        for noisy, truth in ((tint(pair.noisy), tint(pair.clean)) for pair in pairs)
        if min(truth.shape[:2]) >= 176
    ]

    def score(net: nn.Module) -> str:
        found: dict[str, list[float]] = {}
        for name, noisy, truth, level in cases:
            x = torch.from_numpy(noisy).permute(2, 0, 1)[None].to(device)
            y = (x - net(x, torch.tensor(level, device=device)[None, :, None, None]))[0].permute(1, 2, 0).cpu().numpy()
            before = np.mean((noisy - truth) ** 2) if name == "camera" else 1.0
            found.setdefault(name, []).append(10 * np.log10(before / np.mean((np.clip(y, 0, 1) - truth) ** 2)))
        return "  ".join(f"{name} {np.mean(values):.2f} dB" for name, values in found.items())

    return score


def told(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict to begin with: of a network that was told other things, the first tells of both noises.

    >>> UnshuffleUNet.from_state(told(UnshuffleUNet(1, 3).state_dict())).conditions
    2
    """
    head, planes = state["head.weight"], state["tail.weight"].shape[0]
    if head.shape[1] == planes + 2:
        return dict(state)
    if head.shape[1] == planes:
        raise WeightsError("a network that was told no level cannot go on as one that is told two; give other weights")
    return {**state, "head.weight": head[:, [*range(planes), planes, planes]]}


def finished(state: Mapping[str, Tensor], photos: Photos, tolerance: float, config: Config) -> dict[str, Tensor]:
    """Return the state dict of a trained network made ready for use: leaner, with ranges for 8-bit integers.

    Crops are larger than those of the training, where a photo has room for the scene around them.
    """
    patch = 128 if photos.side >= 2 * 128 + 8 else config.patch
    source = batches(photos, replace(config, batch=4, patch=patch), np.random.default_rng(8))
    examples = [(noisy, levels, clean) for noisy, clean, levels in islice(source, 12)]
    less = UnshuffleUNet.from_state({name: value.cpu() for name, value in state.items()})
    less = lean(less, examples, tolerance) if tolerance else less
    more = ((noisy, levels) for noisy, _, levels in islice(source, 24))
    return less.state_dict() | int8.ranges(less, more)


def main(argv: list[str] | None = None) -> None:
    """Run the training from the command line."""
    made = options.parser("denoise", __doc__, minutes=120)
    made.add_argument("--patch", type=int, default=Config.patch, help="side of a crop")
    made.add_argument("--lean", type=float, default=3e-4, help="what a block that lost channels may add to the error")
    made.add_argument(
        "--grey", action="store_true", help="the network for pictures of one channel, not that for colour"
    )
    args = made.parse_args(argv)
    options.prepare(args)
    config, checkpoint = Config(patch=args.patch, is_grey=args.grey), args.run / "checkpoint.pt"
    state = options.part_of(args, GREY if args.grey else "", 1 if args.grey else 3)
    channels = 1 if args.grey else 3
    net = UnshuffleUNet.from_state(told(state)) if state else UnshuffleUNet(channels, 2, WIDTHS[args.grey])
    score = validation(Photos(args.photos, held_out=True), args.device, is_grey=args.grey)
    photos = Photos(args.photos)

    def draw(rng: np.random.Generator, size: int) -> Iterator[Batch]:
        return batches(photos, replace(config, batch=size), rng)

    examples = options.examples(args, checkpoint, draw, config.batch)
    state, progress = fit(net, examples, loss, options.budget(args), checkpoint, score)
    command = options.command("denoise", made, args)
    state = options.with_other("denoise", finished(state, photos, args.lean, config), is_grey=args.grey)
    options.deliver(args, state, progress, command=command)


if __name__ == "__main__":
    main()
