"""Fit the perceptrons that tell noise from texture in a measured spectrum, kept in ``noise/level.json``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from restore import degrade
from restore.colour import LUMA, Floats
from restore.degrade.mosaic import add_raw_noise, draw_camera, unprocess
from restore.noise.level import lowest_line, mosaic_features
from restore.noise.spectra import features, measure
from restore.train.data import SUFFIXES


@dataclass(frozen=True)
class Config:
    """What is learnt."""

    draws: tuple[str, ...] = (
        "camera",
        "camera",
        "coloured",
        "coloured",
        "coloured",
        "white",
        "white",
        "clean",
    )
    members: int = 4
    hidden: int = 16
    steps: int = 3000
    rate: float = 5e-3
    decay: float = 1e-2
    jitter: float = 0.1
    floor: float = 0.4 / 255
    held_out_every: int = 4
    mosaics: int = 6
    over: float = 2.0
    seed: int = 0


NAMES = ("colour", "grey", "mosaic")


def view(photo: Floats, rng: np.random.Generator) -> Floats:
    """Return a square of a photo, often enlarged: real photos of many pixels are softer than reduced ones."""
    side = 512 if rng.random() < 0.4 else 256
    size = int(side / rng.uniform(1, 2.5)) if rng.random() < 0.6 else side
    top, left = (int(rng.integers(max(1, n - size + 1))) for n in photo.shape[:2])
    crop = photo[top : top + size, left : left + size]
    if size != side:
        crop = np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    return np.ascontiguousarray(crop[: crop.shape[0] // 2 * 2, : crop.shape[1] // 2 * 2])


def coloured(shape: Sequence[int], rng: np.random.Generator) -> Floats:
    """Return ``(H, W, 3)`` noise of RMS 1 and random spectrum: luma and chroma mix noise of several blurs."""

    def axis(widest: float) -> Floats:
        layers = [rng.standard_normal(tuple(shape[:2]), np.float32) for _ in range(3)]
        smooth = [layers[0], *(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, widest)) for x in layers[1:])]
        powers = rng.dirichlet((0.5, 1, 1))
        return np.asarray(sum(x / x.std() * p**0.5 for x, p in zip(smooth, powers, strict=True)), np.float32)

    luma, first, second = axis(1.6), axis(4), axis(4)
    chroma = rng.uniform(0.05, 1.2)
    planes = [luma + chroma * (first + second), luma - 2 * chroma * second, luma + chroma * (second - first)]
    noise = np.stack(planes, -1)
    return np.asarray(noise / noise.std(), np.float32)


def example(photo: Floats, kind: str, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a noisy picture ``(H, W, 3)`` and its clean target."""
    clean = view(photo, rng)
    if kind == "camera":
        pair = degrade.camera(clean, rng)
        return pair.noisy, pair.clean
    if kind == "clean":
        return clean, clean
    sigma = float(np.exp(rng.uniform(np.log(0.7), np.log(60)))) / 255
    if kind == "white":
        noisy = degrade.gaussian(clean, rng, sigma=sigma)
        return degrade.quantise(noisy) if rng.random() < 0.6 else noisy, clean
    x = np.clip(clean, 0, 1)
    strength = 1 + rng.uniform(-0.9, 2) * x * rng.integers(0, 2) + rng.uniform(0, 2) * x * (1 - x)
    noisy = degrade.quantise(clean + (0.7 * sigma * strength * coloured(clean.shape, rng)).astype(np.float32))
    if rng.random() < 0.5:
        quality, is_subsampled = int(rng.integers(60, 99)), bool(rng.random() < 0.5)
        noisy = degrade.jpeg(noisy, quality=quality, is_subsampled=is_subsampled)
    return noisy, clean


@dataclass(frozen=True)
class Table:
    """What was measured, one row an example, and whether its photo is held out."""

    seen: Floats
    sigma: Floats
    kind: NDArray[np.str_]
    is_held_out: NDArray[np.bool_]


Rows = dict[str, list[tuple[Floats, float, str, bool]]]


def photographs(folder: Path, held_out_every: int) -> Iterator[tuple[int, Floats, bool]]:
    """Yield the number of each photo, its pixels, and whether its scene is held out; say how long it will take."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    scenes = sorted({p.stem.rsplit("_", 1)[0] for p in paths})
    started = time.monotonic()
    for number, path in enumerate(paths):
        decoded = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if decoded is None:
            continue
        is_out = scenes.index(path.stem.rsplit("_", 1)[0]) % held_out_every == held_out_every - 1
        yield number, np.asarray(decoded, np.float32) / np.float32(255), is_out
        if number % 50 == 49:
            left = (time.monotonic() - started) / (number + 1) * (len(paths) - number - 1)
            sys.stderr.write(f"{number + 1} of {len(paths)} photos measured, {left / 60:.1f} min to go\n")


def tables(folder: Path, config: Config, names: Sequence[str]) -> dict[str, Table]:
    """Degrade each photo in all ways and measure it in colour, in grey and as a mosaic."""
    rows: Rows = {name: [] for name in names}
    for number, photo, is_out in photographs(folder, config.held_out_every):
        if "mosaic" in rows:
            for draw in range(config.mosaics):
                seen = mosaic_example(photo, np.random.default_rng([config.seed, number, draw, 1]))
                rows["mosaic"] += [] if seen is None else [(*seen, is_out)]
        if set(names) & {"colour", "grey"}:
            measure_pictures(photo, number, is_out, rows, config)
    return {name: Table(*(np.array(column) for column in zip(*found, strict=True))) for name, found in rows.items()}


def measure_pictures(photo: Floats, number: int, is_out: bool, rows: Rows, config: Config) -> None:
    """Degrade a photo in all ways, and add what is measured in colour and in grey."""
    for draw, kind in enumerate(config.draws):
        noisy, clean = example(photo, kind, np.random.default_rng([config.seed, number, draw]))
        for name, mix in (("colour", np.eye(3, dtype=np.float32)), ("grey", LUMA[:, None])):
            spectra = measure(noisy @ mix) if name in rows else None
            if spectra is not None:
                sigma = float(np.sqrt(np.mean(((noisy - clean) @ mix) ** 2)))
                rows[name].append((features(spectra), sigma, kind, is_out))


def mosaic_example(photo: Floats, rng: np.random.Generator) -> tuple[Floats, float, str] | None:
    """Measure the mosaic of a random camera, well lit in half of the draws: features, truth over line, and which."""
    is_bright = rng.random() < 0.5
    clean = unprocess(view(photo, rng), rng) / np.float32(1 if is_bright else np.exp(rng.uniform(0, np.log(300))))
    camera = draw_camera(rng)
    if rng.random() < 0.3:  # modern sensors at their lowest speed are better than calibrated ones
        camera = replace(camera, gain=0.3 * camera.gain, read=0.3 * camera.read)
    found = [spectra for spectra in map(measure, add_raw_noise(clean, camera, rng)[..., None]) if spectra is not None]
    gain, read = lowest_line(found, camera.step) if len(found) == len(clean) else (0.0, 0.0)
    if gain + read == 0:
        return None
    light = np.maximum(np.concatenate([spectra.brightness for spectra in found]), 0)
    truth = camera.told[0] * light + camera.told[1] ** 2
    ratio = float(np.median(np.log(truth / np.maximum(gain * light + read**2, 1e-14))))
    return mosaic_features(found, gain, read, camera.step), float(np.exp(ratio / 2)), "bright" if is_bright else "dark"


def targets(table: Table, name: str, floor: float) -> Floats:
    """Return what the perceptron shall say: log of variance, over the middle ring or over a mosaic's lowest line."""
    if name == "mosaic":
        return np.asarray(2 * np.log(table.sigma), np.float32)
    return np.asarray(np.log(table.sigma**2 + floor**2) - table.seen[:, -2], np.float32)


def fit(table: Table, name: str, config: Config) -> dict[str, list[object]]:
    """Fit some small perceptrons and return their mean as one, with the input scaling folded in.

    A mosaic's noise had better be taken for less than for more, which costs detail: errors above count more.
    """
    train = ~table.is_held_out
    mean, scale = table.seen[train].mean(0), table.seen[train].std(0) + 1e-3
    inputs = torch.tensor((table.seen[train] - mean) / scale)
    wanted = torch.tensor(targets(table, name, config.floor)[train])
    over = config.over if name == "mosaic" else 1.0
    hidden, hidden_bias, out, out_bias = [], [], [], []
    for member in range(config.members):
        torch.manual_seed(config.seed + member)
        net = nn.Sequential(nn.Linear(inputs.shape[1], config.hidden), nn.Tanh(), nn.Linear(config.hidden, 1))
        optimiser = torch.optim.AdamW(net.parameters(), config.rate, weight_decay=config.decay)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 1e-3, config.steps)
        for _ in range(config.steps):
            found = net(inputs + config.jitter * torch.randn_like(inputs))[:, 0]
            each = nn.functional.huber_loss(found, wanted, delta=0.2, reduction="none")
            loss = torch.where(found > wanted, over * each, each).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        first, first_bias, last, last_bias = (p.detach().double().numpy() for p in net.parameters())
        hidden.append(first / scale)
        hidden_bias.append(first_bias - (first / scale) @ mean)
        out.append(last[0] / config.members)
        out_bias.append(last_bias / config.members)
    parts = {"hidden": hidden, "hidden_bias": hidden_bias, "out": out}
    joined = {name: np.concatenate(values).round(4).tolist() for name, values in parts.items()}
    return {**joined, "out_bias": np.sum(out_bias, 0).round(4).tolist()}


def scores(table: Table, name: str, net: dict[str, list[object]]) -> dict[str, float]:
    """Median relative error of held-out examples of each kind above 1.5/255; of clean ones, level * 255.

    Of mosaics it is the median of the error, and its 98th percentile before and after, as logarithms of sigma.
    """
    hidden = np.tanh(table.seen @ np.array(net["hidden"]).T + np.array(net["hidden_bias"]))
    answer = hidden @ np.array(net["out"]) + np.array(net["out_bias"])
    found = {}
    if name == "mosaic":
        for kind in sorted(set(table.kind)):
            rows = table.is_held_out & (table.kind == kind)
            before, after = -np.log(table.sigma[rows]), answer[rows] / 2 - np.log(table.sigma[rows])
            for when, errors in (("before", before), ("after", after)):
                found[f"{kind}, {when}, median"] = float(np.median(errors))
                found[f"{kind}, {when}, 98 %"] = float(np.quantile(errors, 0.98))
        return {key: round(score, 4) for key, score in found.items()}
    level = np.exp((table.seen[:, -2] + answer) / 2)
    for kind in sorted(set(table.kind)):
        rows = table.is_held_out & (table.kind == kind)
        if kind == "clean":
            found[kind] = float(np.median(level[rows]) * 255)
        else:
            rows &= table.sigma > 1.5 / 255
            found[kind] = float(np.median(np.abs(level[rows] / table.sigma[rows] - 1)))
    return {kind: round(score, 4) for kind, score in found.items()}


def write(path: Path, stored: Mapping[str, object]) -> None:
    """Write what was fitted, a line for each table."""
    path.write_text(json.dumps(stored, separators=(",", ":")).replace('],"', '],\n"') + "\n", encoding="utf-8")


def main() -> None:
    """Run the fit from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("restore/noise/level.json"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", action="append", choices=NAMES, help="fit this one, and keep the others")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    config = Config()
    stored: dict[str, object] = json.loads(args.out.read_text(encoding="utf-8")) if args.only else {}
    stored |= {"config": asdict(config), "photos": args.photos.name}
    for name, table in tables(args.photos, config, args.only or NAMES).items():
        net = fit(table, name, config)
        stored[name] = net
        stored[f"{name}_held_out"] = scores(table, name, net)
        sys.stderr.write(f"{name}: {len(table.sigma)} examples, held out {stored[f'{name}_held_out']}\n")
    write(args.out, stored)


if __name__ == "__main__":
    main()
