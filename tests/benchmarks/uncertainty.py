"""Fit and check the standard errors: ``python tests/benchmarks/uncertainty.py SHARED [--fit] [--plot PLOT.png]``.

After new weights of one method: ``... SHARED --fit --method denoise``; it keeps what was fitted for the others.
Pictures of one channel have models of their own: ``--method "denoise grey"``.

Fitted to free photos that no method was trained on, checked on Kodak and CBSD68, with white noise of several levels
and with camera noise, levels unknown. Prints the share of true errors within one and within 1.96 standard errors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from restore import degrade, files, methods, uncertainty
from restore.method import Scene
from restore.noise import CORRELATED, estimate
from restore.picture import Domain, Floats, Image, Meta
from restore.recipe import Step
from restore.runtime import Runtime
from restore.train.data import Photos, as_floats
from restore.train.denoise import grey

SIDE = 128
KINDS = ("5", "10", "15", "25", "35", "50", "camera", "camera")
DRAWS = ((0, KINDS), (2, KINDS), (3, KINDS), *((seed, ("camera",) * 3) for seed in (4, 5, 6, 7)))
"""Seeds and kinds of the fit: cameras differ more than pictures do, so there are many draws of them."""

CHECKED = ("7", "15", "25", "50", *("camera",) * 4)
CHECKS = (1, 2)
"""Seeds of the check: the shares that hold differ by 15 points from one camera to the next."""

OUT = Path(uncertainty.__file__).with_name("uncertainty.json")
MACHINE = Runtime(device="cpu")
INSIDE = {"68": 1.0, "95": 1.96}
NOT_HELD = {("wavelet", "camera"), ("wavelet grey", "camera")}
"""What a model was fitted to that did not hold on other pictures."""


class Seen(NamedTuple):
    """Features ``(F, N)`` and errors ``(N,)`` of a result's values, and which picture they are of."""

    kind: str
    picture: int
    features: np.ndarray
    errors: np.ndarray


def crop(pixels: Floats, side: int, rng: np.random.Generator) -> Floats:
    top, left = (int(rng.integers(n - side + 1)) for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def see(clean: Floats, picture: int, kind: str, name: str, rng: np.random.Generator) -> Seen | None:
    method, _, is_grey = name.partition(" ")
    if kind == "camera":
        pair = degrade.camera(crop(clean, min(192, *(n // 2 * 2 for n in clean.shape[:2])), rng), rng)
        if min(pair.clean.shape[:2]) < SIDE:
            return None
        noisy, clean = pair.noisy[:SIDE, :SIDE], pair.clean[:SIDE, :SIDE]
        noisy, clean = (grey(noisy), grey(clean)) if is_grey else (noisy, clean)
    else:
        clean = crop(clean, SIDE, rng)
        clean = grey(clean) if is_grey else clean
        noisy = degrade.gaussian(clean, rng, sigma=int(kind) / 255)
    planes = torch.from_numpy(np.ascontiguousarray(noisy.transpose(2, 0, 1)))
    compute, level = MACHINE.compute("fp32"), estimate(Image(noisy))
    op = MACHINE.load(Step(method=method), compute).restorer.prepare(
        Scene(planes, Domain.SRGB, Meta(), level, compute, np.random.default_rng(0))
    )
    side = SIDE // op.multiple * op.multiple
    planes, clean = planes[:, :side, :side], clean[:side, :side]
    with torch.inference_mode():
        terms, result = uncertainty.features(op, planes, level).numpy(), op.run(planes).numpy()
    errors = np.abs(result - clean.transpose(2, 0, 1))[:, 8:-8, 8:-8].ravel()
    inner = terms[:, :, 8:-8, 8:-8].reshape(len(terms), -1)
    some = rng.permutation(len(errors))[:8000]
    group = "camera" if level.correlation > CORRELATED else "white"
    return Seen(f"{group} {kind}", picture, inner[:, some].astype(np.float64), errors[some].astype(np.float64))


def regressed(seen: list[Seen]) -> np.ndarray:
    x = np.concatenate([s.features for s in seen], 1)
    e = np.concatenate([s.errors for s in seen])
    return np.asarray(np.linalg.solve(x @ x.T + 1e-3 * len(e) * np.eye(len(x)), x @ np.log(e + 1e-4)))


def fit(seen: list[Seen]) -> list[float]:
    """Regress the log of the error, then scale so that both intervals hold what they should as nearly as can be.

    The scale is that of errors on pictures which the regression has not seen: it does less well there.
    """
    weights = regressed(seen)
    found = []
    for picture in sorted({s.picture for s in seen}):
        others = regressed([s for s in seen if s.picture != picture])
        found += [s.errors / np.exp(others @ s.features) for s in seen if s.picture == picture]
    ratios = np.concatenate(found)
    shifts = np.linspace(-1, 2, 301)
    off = [max(abs(np.mean(ratios <= z * np.exp(s)) - int(p) / 100) for p, z in INSIDE.items()) for s in shifts]
    weights[0] += shifts[int(np.argmin(off))]
    return [round(float(w), 5) for w in weights]


def relative(seen: Seen, weights: dict[str, list[float]]) -> np.ndarray:
    """Return errors over standard errors."""
    of_kind = np.array(weights[seen.kind.split()[0]])
    return np.asarray(seen.errors / np.exp(of_kind @ seen.features[: len(of_kind)]))


def shares(seen: list[Seen], weights: dict[str, list[float]]) -> dict[str, float]:
    ratios = np.concatenate([relative(s, weights) for s in seen])
    return {percent: round(100 * float(np.mean(ratios <= z)), 1) for percent, z in INSIDE.items()}


def held_out(shared: Path) -> list[Floats]:
    found = [as_floats(p) for p in Photos(shared / "data/train_free", held_out=True, every=40).pictures]
    return [p for p in found if min(p.shape[:2]) >= 256]


def check_set(shared: Path, name: str, every: int) -> list[Floats]:
    paths = sorted(p for p in (shared / "data/test" / name).iterdir() if p.suffix in (".png", ".jpg"))
    return [files.read(path).pixels for path in paths[::every]]


def measured(pictures: list[Floats], kinds: tuple[str, ...], method: str, seed: int) -> Iterator[Seen]:
    rng = np.random.default_rng(seed)
    for index, picture in enumerate(pictures):
        for kind in kinds:
            seen = see(picture, index, kind, method, rng)
            if seen is not None:
                yield seen


def plot(curves: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """Draw the share promised (across) and held (up) with a legend; the diagonal is what should be."""
    side, edge = 640, 60
    canvas = np.full((side + 2 * edge, side + 2 * edge + 260, 3), 255, np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return edge + round(x * side), edge + side - round(y * side)

    for tick in np.linspace(0, 1, 11):
        for ends in (((tick, 0), (tick, 1)), ((0, tick), (1, tick))):
            cv2.line(canvas, at(*ends[0]), at(*ends[1]), (225, 225, 225), 1)
        for spot in ((edge + round(tick * side) - 12, side + edge + 22), (16, edge + side - round(tick * side) + 5)):
            cv2.putText(canvas, f"{tick:.1f}", spot, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
    cv2.line(canvas, at(0, 0), at(1, 1), (120, 120, 120), 1, cv2.LINE_AA)
    colours = [
        (200, 90, 30),
        (40, 120, 230),
        (60, 160, 60),
        (150, 60, 160),
        (30, 30, 200),
        (140, 140, 0),
        (0, 0, 0),
        (160, 160, 160),
    ]
    for index, (name, points) in enumerate(curves.items()):
        colour = colours[index % len(colours)]
        cv2.polylines(canvas, [np.array([at(*p) for p in points])], False, colour, 2, cv2.LINE_AA)
        spot = (side + edge + 24, edge + 24 + 26 * index)
        cv2.putText(canvas, name, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.48, colour, 1, cv2.LINE_AA)
    words = "share of errors inside (up) against share promised (across)"
    cv2.putText(canvas, words, (edge, 34), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), canvas)


def curve(seen: list[Seen], weights: dict[str, list[float]]) -> list[tuple[float, float]]:
    normal = np.abs(np.random.default_rng(0).standard_normal(200_000))
    ratios = np.concatenate([relative(s, weights) for s in seen])
    return [(p, float(np.mean(ratios <= np.quantile(normal, p)))) for p in np.linspace(0.02, 0.99, 40)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--every", type=int, default=1, help="check on every n-th picture only")
    parser.add_argument("--method", action="append", help="only this one, as after new weights; may be repeated")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = [m.name for m in methods.registry().values() if m.keeps_level is not None and m.domain is Domain.SRGB]
    names = [name for name in names if not methods.get(name).fits_per_image]
    names = [name for name in (*names, *(f"{name} grey" for name in names)) if name in (args.method or [name])]
    names = [name for name in names if args.fit or name in uncertainty.constants()]
    if args.fit:
        pictures = held_out(args.shared)
        seen = {name: [s for seed, kinds in DRAWS for s in measured(pictures, kinds, name, seed)] for name in names}
        table = uncertainty.constants() | {
            name: {
                kind: None if (name, kind) in NOT_HELD else fit([s for s in several if s.kind.startswith(kind)])
                for kind in ("white", "camera")
            }
            for name, several in seen.items()
        }
        OUT.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        uncertainty.constants.cache_clear()
    curves = {}
    for name in names:
        weights = uncertainty.constants()[name]
        for folder, every in (("kodak", 1), ("cbsd68", 2)):
            clean = check_set(args.shared, folder, every * args.every)
            seen_there = [s for seed in CHECKS for s in measured(clean, CHECKED, name, seed)]
            seen_there = [s for s in seen_there if (name, s.kind.split()[0]) not in NOT_HELD]
            for kind in sorted({s.kind for s in seen_there}):
                row = shares([s for s in seen_there if s.kind == kind], weights)
                sys.stdout.write(json.dumps({"method": name, "set": folder, "noise": kind} | row) + "\n")
                sys.stdout.flush()
            for group in ("white", "camera"):
                of_group = [s for s in seen_there if s.kind.startswith(group)]
                if of_group:
                    each = np.array([list(shares([s], weights).values()) for s in of_group])
                    error = (each.std(0, ddof=1) / np.sqrt(len(each))).round(1).tolist()
                    found = f"{shares(of_group, weights)} of {len(each)} pictures, s.e. {error}"
                    sys.stdout.write(f"{name} {folder} {group}: {found}\n")
                    curves[f"{name} {folder} {group}"] = curve(of_group, weights)
    if args.plot:
        plot(curves, args.plot)


if __name__ == "__main__":
    main()
