"""Scores of ``noise2score``: python tests/benchmarks/noise2score_scores.py ../shared known unknown grey real gap
unseen beyond ceiling adapt.

Noise is float, drawn with a fixed seed and neither clipped nor rounded; results are clipped to 0...1 and not rounded.
``--every N`` takes every Nth picture, ``--weights FILE`` other weights than the shipped ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import torch
from torch import Tensor

from restore import files, pipeline, weights
from restore.jobs.adapt import adapt
from restore.jobs.fitting import Fit
from restore.nets.score_unet import conditions
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.objectives import gr2r
from restore.objectives.family import Family
from restore.objectives.removal import Removal, for_channels, networks
from restore.picture import Floats, Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.train.data import Photos
from restore.train.muon import Muon
from restore.train.noise2score import Config

CASES = [Family.of("gaussian", s / 255) for s in (10, 15, 25, 50)]
CASES += [Family.of("poisson", z) for z in (0.01, 0.05)] + [Family.of("gamma", k) for k in (100, 50)]
KINDS = [Family.of("gaussian", s / 255) for s in (15, 25, 50)]
KINDS += [Family.of("poisson", z) for z in (0.01, 0.02, 0.05)] + [Family.of("gamma", k) for k in (100, 50, 20)]
UNSEEN = [Family.of("gaussian", 35 / 255), Family.of("gamma", 20), Family.of("poisson", 0.1)]
BEYOND = [Family.of("gaussian", 80 / 255), Family.of("gamma", 4), Family.of("poisson", 0.25)]
"""More noise than the shipped networks learnt."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def pixels(path: Path) -> Floats:
    picture = files.read(path)
    assert isinstance(picture, Image)
    return picture.pixels


def psnr(found: Floats, clean: Floats) -> float:
    return float(-10 * np.log10(np.mean((np.clip(found, 0, 1) - clean) ** 2)))


def drawn(clean: Floats, law: Family, seed: int) -> Floats:
    return law.draw(torch.from_numpy(clean.copy()), torch.Generator().manual_seed(seed)).numpy()


def name(law: Family) -> str:
    return f"{law.name} {law.level * 255 if law.power == 0 else law.level:.3g}"


def restored(
    picture: Floats, source: str | None, runtime: Runtime, **settings: object
) -> tuple[Floats, dict[str, object]]:
    recipe = Recipe(steps=(Step(method="noise2score", settings=settings, weights=source),), precision="fp32")
    result = pipeline.run(Image(picture), recipe, runtime)
    assert isinstance(result.picture, Image)
    return result.picture.pixels, result.reports[0].facts


def synthetic(folder: Path, laws: list[Family], args: argparse.Namespace, *, is_known: bool) -> None:
    """Rows 3 to 6."""
    runtime = Runtime(device="cpu")
    paths = sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".png"))[:: args.every]
    for law in laws:
        before, after, right, levels = [], [], 0, []
        for seed, path in enumerate(paths):
            clean = pixels(path)
            noisy = drawn(clean, law, seed)
            told = {"kind": law.name, "level": law.level} if is_known else {}
            found, facts = restored(noisy, args.weights, runtime, **told)
            before.append(psnr(noisy, clean))
            after.append(psnr(found, clean))
            right += facts.get("kind") == law.name
            levels.append(float(facts.get("level", 0)) / law.level)  # type: ignore[arg-type]
        told = "known" if is_known else f"unknown: kind right {right}/{len(paths)}, level x{np.mean(levels):.3f}"
        say(f"{folder.name} {len(paths)} {name(law)}: {np.mean(before):.2f} -> {np.mean(after):.2f} dB  {told}")


def real(folder: Path, args: argparse.Namespace) -> None:
    """Row 9."""
    runtime = Runtime(device="cpu")
    for set_ in ("cc", "polyu", "sidd", "nam"):
        before, after = [], []
        for noisy, clean in list(pairs(folder / set_))[:: args.every]:
            found, facts = restored(noisy, args.weights, runtime)
            before.append(psnr(noisy, clean))
            after.append(psnr(found, clean))
            say(f"  {set_} {before[-1]:.2f} -> {after[-1]:.2f}  {facts}")
        say(f"{set_} {len(before)}: {np.mean(before):.2f} -> {np.mean(after):.2f} dB")


def pairs(folder: Path) -> Iterator[tuple[Floats, Floats]]:
    """Give noisy and clean pictures of one size."""
    for noisy in sorted((folder / "noisy").iterdir()):
        yield pixels(noisy), pixels(next(p for p in (folder / "clean").iterdir() if p.stem == noisy.stem))


def gap(photos: Path, steps: int, seeds: int) -> None:
    """Row 7: the same small network, steps and noise, with the split-off or the clean picture as the answer."""
    train, test = Photos(photos), Photos(photos, held_out=True)
    law = Family.of("gaussian", 25 / 255)
    share = Config.share
    there = Family(law.power, law.dispersion * (1 - share))
    clean = torch.stack([torch.from_numpy(np.float32(p[:192, :192]) / 255).permute(2, 0, 1) for p in test.pictures])
    trial = law.draw(clean, torch.Generator().manual_seed(9))
    told = [torch.full((1, 1, 1, 1), float(v)) for v in (law.power, law.dispersion)]
    gaps = []
    for seed in range(seeds):
        scores = []
        for is_supervised in (False, True):
            torch.manual_seed(seed)
            rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
            net = UnshuffleUNet(3, 5, (24, 48, 96), (1, 1, 1, 1, 1)).to(memory_format=torch.channels_last)
            optimiser = Muon(net.parameters(), 2e-3, 1e-4)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
            for _ in range(steps):
                crops = [torch.from_numpy(train.crop(64, rng)).permute(2, 0, 1) for _ in range(8)]
                photo: Tensor = torch.stack(crops)
                first, second = gr2r.split(there.draw(photo, generator), there, share, generator)
                error = first - net(first, conditions(first, *told)) - (photo if is_supervised else second)
                optimiser.zero_grad()
                (error**2).mean().backward()
                optimiser.step()
                schedule.step()
            with torch.no_grad():
                found = (trial - net(trial, conditions(trial, *told))).clamp(0, 1)
            scores.append(float(-10 * (found - clean).square().mean((1, 2, 3)).log10().mean()))
        gaps.append(scores[1] - scores[0])
        say(f"seed {seed}, {steps} steps: self-supervised {scores[0]:.2f} dB, supervised {scores[1]:.2f} dB")
    say(f"gap {np.mean(gaps):.3f} +- {np.std(gaps) / max(1, len(gaps) - 1) ** 0.5:.3f} dB")


def greys(shared: Path, laws: list[Family], args: argparse.Namespace) -> None:
    """Row 8 (a): twenty grey pictures with noise of one law, of which every fourth is scored."""
    out, runtime = Path(args.model), Runtime(device="cpu")
    clean = [pixels(p)[..., :3].mean(-1, keepdims=True) for p in sorted((shared / "test/cbsd68").glob("*.jpg"))[:20]]
    for law in laws:
        noisy = [drawn(c, law, seed) for seed, c in enumerate(clean)]
        made = adapt([n[..., 0] for n in noisy], out, minutes=args.minutes, start=args.weights or "noise2score")
        scores = []
        for source in (args.weights, str(out)):
            found = [restored(n, source, runtime, kind=law.name, level=law.level)[0] for n in noisy[::4]]
            scores.append([psnr(f, c) for f, c in zip(found, clean[::4], strict=True)])
        gains = np.subtract(scores[1], scores[0])
        error = np.std(gains, ddof=1) / len(gains) ** 0.5
        said = f"found {made.kind} {made.level:.4g}, SURE {made.before:.2f} -> {made.after:.2f}, helped {made.helped}"
        say(
            f"20 grey, {name(law)}: {np.mean(scores[0]):.2f} -> {np.mean(scores[1]):.2f} dB, {gains.mean():+.2f} +- "
            f"{error:.2f}; {said}; {made.curve[-1].steps} steps"
        )


class Told(Fit):
    """The fit of ``adapt`` with the truth at hand: what it could gain at the most."""

    def loss(self, clean: Tensor) -> Tensor:
        noisy = self.law.draw(clean, self.generator)
        error = noisy - Removal(self.net)(noisy, self.law) - clean
        return (error**2).mean() / float(self.law.variance(clean).mean())


def ceiling(shared: Path, args: argparse.Namespace) -> None:
    """Row 8 (a) with an oracle: the network learns from the clean pictures that it is scored on, noise drawn anew."""
    greys = [pixels(p)[..., :3].mean(-1) for p in sorted((shared / "test/cbsd68").glob("*.jpg"))[:20]]
    clean = [torch.from_numpy(g[: g.shape[0] // 8 * 8, : g.shape[1] // 8 * 8])[None] for g in greys]
    for law in UNSEEN:
        net = deepcopy(for_channels(networks(weights.load(args.weights or "noise2score")[0]), 1))
        noisy = [law.draw(c, torch.Generator().manual_seed(seed)) for seed, c in enumerate(clean)]
        exam = torch.stack([n[:, :256, :256] for n in noisy[::4]])
        fit = Told(net, law, "gr2r", clean, exam, torch.Generator().manual_seed(0))
        scores = []
        for at in (0, 60 * args.minutes):
            curve = fit.run(at, None, lambda _: None, Event()) if at else []
            with torch.no_grad():
                found = [(n[None] - Removal(fit.mean.eval())(n[None], law))[0].numpy() for n in noisy[::4]]
            scores.append(float(np.mean([psnr(f, c.numpy()) for f, c in zip(found, clean[::4], strict=True)])))
        say(f"ceiling, {name(law)}: {scores[0]:.2f} -> {scores[1]:.2f} dB in {curve[-1].steps} steps")


def adapted(shared: Path, args: argparse.Namespace) -> None:
    """Row 8 (b) and (c)."""
    out, runtime = Path(args.model), Runtime(device="cpu")
    law = Family.of("gaussian", 25 / 255)
    clean = cv2.resize(
        pixels(sorted((shared / "test/photos").iterdir())[0]), (1000, 1000), interpolation=cv2.INTER_AREA
    )
    noisy_one = drawn(clean, law, 0)
    made = adapt([noisy_one], out, minutes=args.minutes, start=args.weights or "noise2score")
    ones = [
        psnr(restored(noisy_one, s, runtime, kind="gaussian", level=law.level)[0], clean)
        for s in (args.weights, str(out))
    ]
    say(f"one megapixel: {ones[0]:.2f} -> {ones[1]:.2f} dB; helped {made.helped}")
    frames = sorted((shared / "dark/emva_ccd12").glob("b_0[0-3]*_snap_*.png"))
    made = adapt(frames, out, minutes=args.minutes, start=args.weights or "noise2score")
    say(f"CCD frames: {made.kind} {made.level:.4g}, SURE {made.before:.2f} -> {made.after:.2f}, helped {made.helped}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument(
        "rows", nargs="+", choices=["known", "unknown", "grey", "real", "gap", "unseen", "beyond", "ceiling", "adapt"]
    )
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--weights")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="adapted.safetensors")
    args = parser.parse_args()
    data = args.shared / "data"
    if args.weights is None:
        weights.verify("noise2score")
    for row in args.rows:
        if row == "known":
            synthetic(data / "test/cbsd68", CASES, args, is_known=True)
        elif row == "unknown":
            synthetic(data / "test/cbsd68", KINDS, args, is_known=False)
        elif row == "grey":
            synthetic(data / "test/set12", [Family.of("gaussian", 25 / 255)], args, is_known=True)
        elif row == "real":
            real(data / "test/realnoise", args)
        elif row == "gap":
            gap(data / "train_free", args.steps, args.seeds)
        elif row in ("unseen", "beyond"):
            greys(data, UNSEEN if row == "unseen" else BEYOND, args)
        elif row == "ceiling":
            ceiling(data, args)
        else:
            adapted(data, args)


if __name__ == "__main__":
    main()
