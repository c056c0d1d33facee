"""Train the raw network of ``pnnp``: one for all cameras and ISO speeds, or one for a camera whose noise is known.

``restore train pnnp PHOTOS`` makes the generic weights. ``restore train pnnp --profile CAMERA.noise --clean DIR`` goes
on from them with the noise of one camera over clean raw files or photos, and writes a file for ``run --weights``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from restore.camera import BACKENDS, Profile
from restore.colour import Floats
from restore.degrade.mosaic import add_raw_noise, draw_camera, resized, unprocess
from restore.errors import RecipeError
from restore.nets.anscombe import LINEAR, SEEN_LINEAR, compressed, linear_of, restored, stabilise
from restore.nets.prune import deeper, lean, wider
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.train import options
from restore.train.camera_pairs import Camera, Clean, Pool, pictures, read_clean, read_dark
from restore.train.data import Photos
from restore.train.loop import fit


@dataclass(frozen=True)
class Config:
    """What is learnt."""

    batch: int = 8
    patch: int = 64
    """Side in packed pixels: 128 of the mosaic."""
    candidates: int = 2
    ratio_max: float = 300.0
    told_error: float = 0.05
    floor: float = 1e-3
    less_share: float = 0.08
    """Of the examples with less noise than is told: what is clean already must not get waves."""
    widths: tuple[int, int, int] = (32, 64, 128)


Batch = tuple[Tensor, Tensor]
Told = tuple[Floats, Floats]
"""Shot gain and read sigma that the network is told, ``(4, 1, 1)`` or ``(1, 1, 1)``."""


def example(photos: Photos, config: Config, rng: np.random.Generator) -> tuple[Floats, Floats, Told]:
    """Return noisy and clean planes ``(4, P, P)`` of a camera drawn now, and the level the network is told.

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
    if rng.random() < config.less_share:
        noisy = clean + np.float32(rng.uniform(0, 0.9)) * (noisy - clean)
    return noisy, clean, _as_planes(noise.told * np.exp(rng.normal(0, config.told_error, 2)))


def _as_planes(told: Sequence[float]) -> Told:
    gain, read = (np.full((1, 1, 1), value, np.float32) for value in told)
    return gain, read


def batches(draw: Callable[[], tuple[Floats, Floats, Told]], size: int) -> Iterator[Batch]:
    """Yield endless batches: stabilised noisy and clean ``(B, 4, P, P)``."""
    while True:
        noisy, clean, told = zip(*(draw() for _ in range(size)), strict=True)
        gain, read = (torch.from_numpy(np.stack(x)) for x in zip(*told, strict=True))
        before, after = (torch.from_numpy(np.stack(x)) for x in (noisy, clean))
        yield stabilise(before, gain, read), stabilise(after, gain, read)


def loss(net: nn.Module, batch: Batch) -> Tensor:
    """Mean logarithm of each example's squared error in units of the noise: a decibel counts the same at every level.

    Without the logarithm very noisy examples, where most noise can be removed, would count least.
    """
    noisy, clean = batch
    clear: Tensor = noisy - net(*compressed(noisy)).float()
    return ((clear - clean).square().mean((1, 2, 3)) + Config.floor).log().mean()


def leaner(
    state: Mapping[str, Tensor], source: Iterator[Batch], tolerance: float, linear: float = LINEAR
) -> dict[str, Tensor]:
    """Return the state dict of a trained network without the channels that do not matter."""
    net = UnshuffleUNet.from_state({name: value.cpu() for name, value in state.items()})
    seen = [(*compressed(noisy, linear), noisy - clean) for noisy, clean in islice(source, 12)]
    return dict(
        lean(net, [(details, beside, details - noise) for details, beside, noise in seen], tolerance).state_dict()
    )


Case = tuple[str, Floats, Floats, Told]


def cases(photos: Photos, seed: int = 1) -> Iterator[Case]:
    """Give validation pairs of held-out photos: the ratio's name, noisy and clean planes, and their level."""
    rng = np.random.default_rng(seed)
    crops = [photos.crop(min(384, photos.side), rng, of=3) for _ in range(8)]
    for crop in crops:
        whole = unprocess(resized(crop, 256), rng)
        for ratio in (1, 10, 100, 300):
            noise = replace(draw_camera(rng), bias=0.0)
            clean = (whole / ratio).astype(np.float32)
            yield f"x{ratio}", add_raw_noise(clean, noise, rng), clean, _as_planes(noise.told)


def validation(kept: Sequence[Case], device: str) -> Callable[[nn.Module], str]:
    """Return a function that scores a network: gain in PSNR of the linear mosaic, by name, and stabilised L1."""

    def score(net: nn.Module) -> str:
        found: dict[str, list[float]] = {}
        for name, noisy, clean, told in kept:
            gain, read = (torch.from_numpy(value).to(device) for value in told)
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


@dataclass(frozen=True)
class _Task:
    """What is learnt from, and where the result goes."""

    draw: Callable[[np.random.Generator], tuple[Floats, Floats, Told]]
    kept: Sequence[Case]
    data: str | None


def _generic(photos: Path, config: Config) -> _Task:
    """Train for cameras drawn at random."""
    learnt = Photos(photos)
    kept = list(cases(Photos(photos, held_out=True)))
    return _Task(lambda rng: example(learnt, config, rng), kept, None)


def _for_camera(args: argparse.Namespace, config: Config) -> _Task:
    """Train for the camera of a profile."""
    profile = Profile.load(args.profile)
    darks = None
    if args.noise == "sfrn" and args.darks is not None:
        darks = Pool(pictures(args.darks)[0], lambda path: read_dark(path, profile))
    camera = Camera(profile, args.noise, darks, config.ratio_max, config.told_error)
    learnt, held_out = pictures(args.photos)
    least = 2 * config.patch + 4
    pool = Pool(learnt, lambda path: read_clean(path, least))
    kept = _kept(camera, Pool(held_out, lambda path: read_clean(path, least)), pool, config)
    return _Task(
        draw=lambda rng: camera.example(pool, config.patch, config.candidates, rng),
        kept=kept,
        data=f"{len(learnt)} pictures of one's own under the noise of a {profile.camera} by the model {args.noise}",
    )


def _kept(camera: Camera, held_out: Pool[Clean], learnt: Pool[Clean], config: Config) -> list[Case]:
    """Make the validation pairs, of pictures that are learnt from where no other can be used."""
    try:
        return list(camera.cases(held_out, config.patch))
    except RecipeError:
        sys.stderr.write("no picture is left for validation: it uses those that are learnt from\n")
        return list(camera.cases(learnt, config.patch))


def _key(camera: str, noise: str) -> str:
    """Name of the weights of a camera.

    >>> _key("Sony ILCE-7S (II)", "pnnp"), _key("Sony ILCE-7S (II)", "eld")
    ('pnnp-sony-ilce-7s-ii', 'pnnp-sony-ilce-7s-ii-eld')
    """
    return "-".join(["pnnp", *re.findall(r"[a-z0-9]+", camera.lower()), *([] if noise == "pnnp" else [noise])])


def main(argv: list[str] | None = None) -> None:
    """Run the training from the command line."""
    made = options.parser("pnnp", __doc__, minutes=60, photos="?")
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--profile", type=Path, metavar="CAMERA.noise", help="train for this camera")
    made.add_argument("--clean", type=Path, metavar="DIR", help="clean raw files of any camera, or photos")
    made.add_argument("--noise", choices=BACKENDS, default="pnnp", help="who draws the noise of the profile")
    made.add_argument("--darks", type=Path, metavar="DIR", help="dark frames of the body, for --noise sfrn")
    made.add_argument("--lean", type=float, default=0.0, help="what a block that lost channels may add to the error")
    made.add_argument("--wider", type=int, metavar="N", help="channels at 1/2, of a network that goes on from narrower")
    made.add_argument("--deeper", action="store_true", help="one more block at 1/2, of a network that goes on")
    made.add_argument("--widths", type=int, nargs=3, default=Config.widths, help="channels, of a network from scratch")
    made.set_defaults(run=None, rate=None)
    args = made.parse_args(argv)
    args.photos = args.clean or args.photos
    if args.photos is None:
        made.error("give a folder of pictures: PHOTOS, or --clean DIR with a profile")
    if not args.profile and (args.noise != "pnnp" or args.darks):
        made.error("--noise and --darks are of one camera: give its --profile")
    if args.darks and args.noise != "sfrn":
        made.error("--darks serve --noise sfrn alone: leave them out, or choose it")
    start = args.start or ("pnnp" if args.profile else "none")
    args.start = None if start == "none" else start
    args.rate = args.rate or (2e-4 if args.start else 1e-3)
    key = _key(Profile.load(args.profile).camera, args.noise) if args.profile else "pnnp"
    args.run = args.run or Path("runs") / key
    options.prepare(args)
    config, checkpoint = Config(widths=tuple(args.widths)), args.run / "checkpoint.pt"
    task = _for_camera(args, config) if args.profile else _generic(args.photos, config)
    began = options.part_of(args, "", 4)
    net = UnshuffleUNet.from_state(began or UnshuffleUNet(4, 5, config.widths).state_dict())
    if args.wider:
        net = wider(net, max(args.wider, net.head.out_channels))
    if args.deeper:
        net = deeper(net)
    examples = options.examples(args, checkpoint, lambda rng, size: batches(lambda: task.draw(rng), size), config.batch)
    score = validation(task.kept, args.device)
    learnt, progress = fit(net, examples, loss, options.budget(args), checkpoint, score)
    linear = LINEAR if progress.steps or not began else linear_of(began)
    if args.lean:
        rng = np.random.default_rng(8)
        learnt = leaner(learnt, batches(lambda: task.draw(rng), config.batch), args.lean, linear)
    learnt[SEEN_LINEAR] = torch.tensor(linear)
    command = options.command("pnnp", made, args)
    options.deliver(args, learnt, progress, command=command, key=key, data=task.data)


if __name__ == "__main__":
    main()
