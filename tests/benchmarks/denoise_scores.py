"""Score ``denoise`` beside classical denoisers: ``python tests/benchmarks/denoise_scores.py SHARED``.

White noise: all of CBSD68, float noise, not clipped, seed 0; results clipped to 0...1, no rounding, PSNR over RGB.
Grey: Set12, the same way, `blind` beside it, and a grey picture stored as colour must give the same. Camera noise in
grey: all pairs of the four sets below turned grey.
Real noise: all pairs of four sets, level unknown; OpenCV's non-local means with the best strength of a grid a set.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from restore import files, metrics, pipeline
from restore.colour import luma
from restore.degrade import gaussian
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

SIGMAS = (15, 25, 50)
STRENGTHS = (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30)
MACHINE = Runtime(device="cpu")


def restored(image: Image, method: str, weights: str | None = None, **fields: object) -> np.ndarray:
    step = Step(method=method, weights=weights if method == "denoise" else None)
    result = pipeline.run(image, Recipe(steps=(step,), **fields), MACHINE)
    return np.clip(result.picture.pixels, 0, 1)


def white(folder: Path, weights: str | None, every: int) -> Iterator[tuple[str, dict[str, float]]]:
    for sigma in SIGMAS:
        rng = np.random.default_rng(0)
        rows = []
        for path in sorted((folder / "test/cbsd68").glob("*.jpg"))[::every]:
            clean = files.read(path).pixels
            noisy = Image(gaussian(clean, rng, sigma=sigma / 255))
            known = restored(noisy, "denoise", weights, noise=sigma / 255)
            unknown = restored(noisy, "denoise", weights)
            classical = restored(noisy, "wavelet", noise=sigma / 255)
            rows.append([metrics.psnr(x, clean) for x in (noisy.pixels, known, unknown, classical)])
        yield (
            f"CBSD68 sigma {sigma}",
            dict(zip(("noisy", "known", "unknown", "wavelet"), np.mean(rows, 0), strict=True)),
        )


def grey(folder: Path, weights: str | None, every: int) -> Iterator[tuple[str, dict[str, float]]]:
    for sigma in SIGMAS:
        rng, rows = np.random.default_rng(0), []
        for path in sorted((folder / "test/set12").glob("*.png"))[::every]:
            clean = files.read(path).pixels[..., :1]
            noisy = Image(gaussian(clean, rng, sigma=sigma / 255))
            known = restored(noisy, "denoise", weights, noise=sigma / 255)
            ways = [restored(noisy, "denoise", weights), restored(noisy, "blind"), restored(noisy, "wavelet")]
            stored = restored(noisy.widened(3), "denoise", weights)[..., :1]
            rows.append([metrics.psnr(x, clean) for x in (noisy.pixels, known, *ways, stored)])
        names = "noisy", "known", "unknown", "blind", "wavelet", "unknown, stored as colour"
        yield f"Set12 grey sigma {sigma}", dict(zip(names, np.mean(rows, 0), strict=True))
    for name in ("sidd", "cc", "polyu", "nam"):
        rows = []
        for paths in list(pairs(folder / "test/realnoise" / name))[::every]:
            noisy, clean = (Image(luma(files.read(path).pixels)[..., None]) for path in paths)
            ways = [restored(noisy, method, weights) for method in ("denoise", "blind", "wavelet")]
            rows.append([metrics.psnr(x, clean.pixels) for x in (noisy.pixels, *ways)])
        yield f"{name} turned grey", dict(zip(("noisy", "denoise", "blind", "wavelet"), np.mean(rows, 0), strict=True))


def pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    for noisy in sorted((folder / "noisy").iterdir()):
        yield noisy, next(path for path in (folder / "clean").iterdir() if path.stem == noisy.stem)


def nlm(image: Image, strength: int) -> np.ndarray:
    pixels = np.rint(np.clip(image.pixels, 0, 1) * 255).astype(np.uint8)
    return cv2.fastNlMeansDenoisingColored(pixels, None, strength, strength, 7, 21).astype(np.float32) / 255


def real(folder: Path, weights: str | None, every: int) -> Iterator[tuple[str, dict[str, float]]]:
    for name in ("sidd", "cc", "polyu", "nam"):
        ways: dict[str, Callable[[Image], np.ndarray]] = {
            "noisy": lambda image: image.pixels,
            "denoise": lambda image: restored(image, "denoise", weights),
            "wavelet": lambda image: restored(image, "wavelet"),
        }
        ways |= {f"NLM {s}": lambda image, s=s: nlm(image, s) for s in STRENGTHS}
        found: dict[str, list[float]] = {way: [] for way in ways}
        for noisy_path, clean_path in list(pairs(folder / "test/realnoise" / name))[::every]:
            noisy, clean = files.read(noisy_path), files.read(clean_path).pixels
            for way, run in ways.items():
                found[way].append(metrics.psnr(run(noisy), clean))
        means = {way: float(np.mean(values)) for way, values in found.items()}
        best = max((way for way in means if way.startswith("NLM")), key=means.__getitem__)
        yield name, {way: means[way] for way in ("noisy", "denoise", "wavelet", best)}


PARTS = {"white": white, "grey": grey, "real": real}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder that holds data/test")
    parser.add_argument("--weights", help="a weight file in place of the shipped one")
    parser.add_argument("--parts", nargs="*", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture only")
    args = parser.parse_args()
    for part in args.parts:
        for name, row in PARTS[part](args.shared / "data", args.weights, args.every):
            sys.stdout.write(json.dumps({"set": name} | {k: round(float(v), 2) for k, v in row.items()}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
