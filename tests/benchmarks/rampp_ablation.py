"""What each part of RAM++ adds, at a small size: ``python tests/benchmarks/rampp_ablation.py SHARED --run FOLDER``.

A network of a ninth of the shipped one's work a pixel learns from free photos with each recipe, always for the same
number of steps, with the L1 of the paper and one recogniser a seed; what is counted is the gain over the input on the
frozen validation set (Kodak, centre crops of 256 pixels), mean over seven tasks; the shipped weights, larger and of
hours, stand beside it. "Features given" are those of the shipped weights' encoder, as the paper's are DINOv2's: what it
cost to learn them is not counted. AdaSAM: masked error where the mask network hides pixels against random places.
Deletion: the first 30 % of layers by MAC may not learn, against 30 % drawn at random. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from restore import files, weights
from restore.degrade import frozen
from restore.nets.adasam import draw
from restore.nets.ram_unet import RamUNet
from restore.picture import Image
from restore.train import rampp
from restore.train.data import Photos
from restore.train.loop import Budget, fit
from restore.train.mac import freeze
from restore.train.ram_data import batches

WIDTHS = (16, 32, 64)
RATE = 3e-3
OPTIONS = ["--widths", *map(str, WIDTHS), "--patch", "64", "--batch", "8", "--rate", str(RATE)]
PRETRAINED, TUNED, CONTENT, DELETED = 300, 700, 150, 300
RECOGNISER, TAUGHT = ["--recogniser-steps", "2000", "--loss", "l1"], "recogniser.pt"


def recipes(scale: int) -> dict[str, list[str]]:
    """Return the options of each recipe; "scratch, tuned only" does without the steps of pretraining."""
    tuned, content = ["--steps", str(TUNED * scale)], ["--content-steps", str(CONTENT * scale)]
    rest = [*content, "--steps", str((TUNED - CONTENT) * scale)]
    return {
        "scratch": ["--scratch", "--no-features", "--steps", str((PRETRAINED + TUNED) * scale)],
        "scratch, tuned only": ["--scratch", "--no-features", *tuned],
        "masked": ["--no-features", *tuned],
        "masked, MAC 30 %": ["--no-features", "--ratio", "0.3", *tuned],
        "masked, features": rest,
        "masked, MAC 30 %, features": ["--ratio", "0.3", *rest],
        "masked, features given": ["--content", "rampp", *tuned],
        "masked, MAC 30 %, features given": ["--content", "rampp", "--ratio", "0.3", *tuned],
        "scratch, features given": ["--content", "rampp", "--scratch", "--steps", str((PRETRAINED + TUNED) * scale)],
    }


Cases = list[tuple[str, np.ndarray, np.ndarray]]


def cases(folder: Path) -> Cases:
    window = np.s_[128:384, 128:384]
    found = []
    for path in sorted((folder / "data/test/kodak").glob("*.png")):
        clean = files.read(path)
        assert isinstance(clean, Image)
        found += [(task, x.pixels[window], clean.pixels[window]) for task, x in frozen(clean, path.name)]
    return found


def gain(net: RamUNet, kept: Cases) -> dict[str, float]:
    """Return dB gained on each of seven tasks."""
    found: dict[str, list[float]] = {}
    for task, degraded, clean in kept:
        with torch.inference_mode():
            y = net(torch.from_numpy(degraded).permute(2, 0, 1)[None])[0].permute(1, 2, 0).clamp(0, 1).numpy()
        before, after = (float(np.mean((x - clean) ** 2)) for x in (degraded, y))
        found.setdefault(task.rstrip(" 0123456789"), []).append(10 * np.log10(before / after))
    return {task: float(np.mean(values)) for task, values in found.items()}


def kept(path: Path, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return what was found before, or find it and keep it."""
    if not path.exists():
        path.write_text(json.dumps(make()), encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def trained(photos: str, run: Path, seed: int, scale: int, name: str, held: Cases) -> dict[str, float]:
    common = [photos, *OPTIONS, "--run", str(run), "--seed", str(seed)]
    if not (run / "stage1.pt").exists():
        rampp.main([*common, "--stage", "pretrain", "--steps", str(PRETRAINED * scale)])
        rampp.main([*common, "--stage", "mac"])
    if (run / TAUGHT).exists():
        shutil.copy(run / TAUGHT, run / f"{name} recogniser.pt")
    rampp.main([*common, "--stage", "finetune", "--name", name, *RECOGNISER, *recipes(scale)[name]])
    shutil.copy(run / f"{name} recogniser.pt", run / TAUGHT)
    state = torch.load(run / f"{name} tuned.pt", weights_only=True)
    return gain(RamUNet.from_state(state).eval(), held)


def stage1(run: Path) -> rampp.Masked:
    model = rampp.Masked(RamUNet(WIDTHS, has_features=False), rampp.Config(patch=64))
    model.load_state_dict(torch.load(run / "stage1.pt", weights_only=True))
    return model.eval()


def masks(photos: str, run: Path) -> dict[str, float]:
    """Return the mean masked error where the mask network hides pixels, at its chances shuffled, and at random."""
    model = stage1(run)
    source = batches(Photos(Path(photos), held_out=True), 16, 64, np.random.default_rng(5))
    generator = torch.Generator().manual_seed(5)
    found: dict[str, list[float]] = {"sought": [], "shuffled": [], "random": []}
    for _ in range(12):
        x, y, *_ = next(source)
        with torch.inference_mode():
            tokens = model.masker(x - rampp.MEAN)
            shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in tokens])
            ways = {"sought": tokens, "shuffled": shuffled, "random": torch.ones_like(tokens)}
            for name, chance in ways.items():
                mask = draw(model.masker.pixels(chance, *x.shape[-2:]), 0.5, generator)
                error = (model.restorer(torch.lerp(x, rampp.MEAN.expand_as(x), mask)) - y).abs()
                found[name].append(float((mask * error).sum() / (3 * mask.sum())))
    return {name: float(np.mean(values)) for name, values in found.items()}


def deletion(photos: str, run: Path, seed: int, scale: int, held: Cases) -> dict[str, float]:
    """Return the mean gain after fine-tuning in which 30 % of the layers may not learn."""
    ranking = list(json.loads((run / "mac.json").read_text(encoding="utf-8")))
    shuffled = random.Random(seed).sample(ranking, len(ranking))
    found = {}
    for name, order in (("first by MAC", ranking), ("random", shuffled)):
        torch.manual_seed(seed)
        net = stage1(run).restorer
        net.recogniser.load_state_dict(torch.load(run / TAUGHT, weights_only=True)["average"])
        freeze(net, order[::-1], 0.7, ("recogniser",))
        source = batches(Photos(Path(photos)), 8, 64, np.random.default_rng(seed))
        budget = Budget(0, RATE, optimiser="muon", steps=DELETED * scale)
        state, _ = fit(net, source, rampp.plain, budget, run / f"without {name}.pt")
        net.load_state_dict(state)
        found[name] = float(np.mean(list(gain(net.eval(), held).values())))
    return found


def rows(shared: Path, folder: Path, seeds: int, scale: int) -> Iterator[dict[str, object]]:
    held, photos = cases(shared), str(shared / "data/train_free")
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        run = folder / f"seed{seed}"
        run.mkdir(parents=True, exist_ok=True)
        for name in recipes(scale):
            file = run / f"{name}.json"
            new = kept(file, lambda r=run, s=seed, n=name: trained(photos, r, s, scale, n, held))  # type: ignore[misc]
            found.setdefault(name, []).append(new | {"mean": float(np.mean(list(new.values())))})
        found.setdefault("error where hidden", []).append(kept(run / "masks.json", lambda r=run: masks(photos, r)))  # type: ignore[misc]
        without = kept(run / "deletion.json", lambda r=run, s=seed: deletion(photos, r, s, scale, held))  # type: ignore[misc]
        found.setdefault("30 % of layers frozen", []).append(without)
        yield {"seed": seed} | {name: values[-1] for name, values in found.items()}
    for name, values in found.items():
        row: dict[str, object] = {"recipe": name, "seeds": seeds}
        for key in values[0]:
            each = [value[key] for value in values]
            row[key] = f"{np.mean(each):.3f} +- {np.std(each, ddof=1) / np.sqrt(seeds):.3f}"
        yield row
    shipped = gain(RamUNet.from_state({name: value.float() for name, value in weights.load("rampp")[0].items()}), held)
    yield {"shipped weights": shipped | {"mean": float(np.mean(list(shipped.values())))}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder that holds data")
    parser.add_argument("--run", type=Path, required=True, help="folder that keeps what was found")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=int, default=1, help="times a thousand steps for each recipe")
    args = parser.parse_args()
    for row in rows(args.shared, args.run, args.seeds, args.scale):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
