"""Score ``rampp``: ``python tests/benchmarks/rampp_scores.py SHARED [validation|real|clean|strange|speed|sheet]``.

``validation``: the frozen set from Kodak 12, whole pictures, PSNR over RGB after rounding to 8 bits; ``denoise`` with
the level told beside it where the task is noise. ``real``: test pairs, by the published protocol (4 pixels cropped,
8 bits) and without cropping. ``clean``: clean pictures to themselves. ``strange``: what it never learnt. ``speed``:
beside OpenCV's colour non-local means, in turns. ``sheet``: input, result, truth of each task as one PNG.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from restore import files, metrics, pipeline
from restore.degrade import degrade, frozen
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

MACHINE = Runtime(device="cpu")
STRANGE = (
    "salt_pepper amount=0.05",
    "poisson peak=20",
    "speckle sigma=0.2",
    "rain, gaussian sigma=15/255",
    "low_light, gaussian sigma=5/255",
    "haze, jpeg quality=40",
    "blur radius=2, jpeg quality=50",
)
PAIRS = {
    "Rain100H": ("rain/rain100h", "rainy", "clean"),
    "Rain100L": ("rain/rain100l", "rainy", "clean"),
    "SOTS outdoor": ("haze/sots_outdoor", "hazy", "clear"),
    "SOTS indoor": ("haze/sots_indoor", "hazy", "clear"),
    "LOL": ("lowlight/lol", "low", "high"),
    "PolyU": ("realnoise/polyu", "noisy", "clean"),
}

Row = dict[str, object]


def restored(image: Image, weights: str, method: str = "rampp", **fields: object) -> tuple[np.ndarray, dict]:
    step = Step(method=method, weights=weights if method == "rampp" else None)
    result = pipeline.run(image, Recipe(steps=(step,), **fields), MACHINE)
    return result.picture.pixels, result.reports[0].facts


def read(path: Path) -> Image:
    found = files.read(path)
    assert isinstance(found, Image)
    return found


def psnr(result: np.ndarray, truth: np.ndarray, crop: int = 0) -> float:
    return metrics.psnr(np.clip(result, 0, 1), truth, quantise=True, crop=crop)


def summary(name: str, pairs: dict[str, list[float]]) -> Row:
    row: Row = {"set": name, "pictures": len(next(iter(pairs.values())))}
    row |= {way: round(float(np.mean(values)), 2) for way, values in pairs.items()}
    gains = np.subtract(pairs["rampp"], pairs["input"])
    error = float(np.std(gains, ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else float("nan")
    return row | {"gain": round(float(gains.mean()), 2), "s.e.": round(error, 2)}


def validation(data: Path, weights: str) -> Iterator[Row]:
    found: dict[str, dict[str, list[float]]] = {}
    for path in sorted((data / "test/kodak").glob("*.png")):
        clean = read(path)
        for task, degraded in frozen(clean, path.name):
            result, _ = restored(degraded, weights)
            scores = {"input": psnr(degraded.pixels, clean.pixels), "rampp": psnr(result, clean.pixels)}
            if task.startswith("noise"):
                other, _ = restored(degraded, weights, "denoise", noise=int(task.split()[1]) / 255)
                scores["denoise"] = psnr(other, clean.pixels)
            for way, value in scores.items():
                found.setdefault(task, {}).setdefault(way, []).append(value)
    gains: dict[str, list[float]] = {}
    for task, pairs in found.items():
        gains.setdefault(task.rstrip(" 0123456789"), []).append(
            float(np.mean(np.subtract(pairs["rampp"], pairs["input"])))
        )
        yield summary(task, pairs)
    yield {"set": "mean of seven tasks", "gain": round(float(np.mean([np.mean(v) for v in gains.values()])), 2)}


def pairs_of(data: Path) -> Iterator[tuple[str, Image, Image]]:
    for name, (folder, before, after) in PAIRS.items():
        for path in sorted((data / "test" / folder / before).iterdir()):
            truth = next(p for p in (data / "test" / folder / after).iterdir() if p.stem == path.stem)
            yield name, read(path), read(truth)
    for path in sorted((data / "test/blur/levin/blurred").glob("*.png")):
        yield "Levin", read(path), read(data / "test/blur/levin/sharp" / f"{path.stem.split('_')[0]}.png")
    for sigma in (15, 25, 50):
        for path in sorted((data / "test/cbsd68").glob("*.jpg")):
            clean = read(path)
            yield f"CBSD68 {sigma}", degrade(clean, f"gaussian sigma={sigma}/255, quantise", seed=int(path.stem)), clean


def real(data: Path, weights: str) -> Iterator[Row]:
    found: dict[str, dict[str, list[float]]] = {}
    for name, before, truth in pairs_of(data):
        result, _ = restored(before, weights)
        height, width = truth.pixels.shape[:2]
        ways = {"input": before.pixels[:height, :width], "rampp": result[:height, :width]}
        for way, pixels in ways.items():
            for crop, mark in ((4, ""), (0, ", whole")):
                found.setdefault(name, {}).setdefault(way + mark, []).append(psnr(pixels, truth.pixels, crop))
    for name, pairs in found.items():
        yield summary(name, pairs)


def clean(data: Path, weights: str) -> Iterator[Row]:
    for name in ("kodak", "photos"):
        scores, left = {}, 0
        for path in sorted(p for p in (data / "test" / name).iterdir() if p.suffix in (".png", ".jpg")):
            picture = read(path)
            result, facts = restored(picture, weights)
            scores[path.stem] = min(99.0, psnr(result, picture.pixels))
            left += bool(np.array_equal(result, picture.pixels))
        yield {"set": name, "lowest": round(min(scores.values()), 1), "left alone": left, "of": len(scores)} | {
            stem: round(value, 1) for stem, value in scores.items() if value < 99
        }


def strange(data: Path, weights: str) -> Iterator[Row]:
    for spec in STRANGE:
        pairs: dict[str, list[float]] = {"input": [], "rampp": []}
        for i, path in enumerate(sorted((data / "test/kodak").glob("*.png"))):
            truth = read(path)
            degraded = degrade(truth, f"{spec}, quantise", seed=i)
            pairs["input"].append(psnr(degraded.pixels, truth.pixels))
            pairs["rampp"].append(psnr(restored(degraded, weights)[0], truth.pixels))
        yield summary(spec, pairs) | {"worst": round(float(np.min(np.subtract(pairs["rampp"], pairs["input"]))), 2)}


def speed(data: Path, weights: str) -> Iterator[Row]:
    picture = degrade(read(sorted((data / "test/kodak").glob("*.png"))[0]), "gaussian sigma=25/255, quantise", seed=0)
    pixels = np.tile(picture.pixels, (2, 2, 1))
    large, small = Image(pixels), np.rint(pixels * 255).astype(np.uint8)
    seconds: dict[str, list[float]] = {"rampp": [], "NLM": []}
    for _ in range(4):  # the first is for warming up
        for way, run in (
            ("rampp", lambda: restored(large, weights)),
            ("NLM", lambda: cv2.fastNlMeansDenoisingColored(small, None, 10, 10, 7, 21)),
        ):
            start = time.process_time(), time.perf_counter()
            run()
            seconds[way].append(time.process_time() - start[0])
    best = {way: min(values[1:]) / (pixels[..., 0].size / 1e6) for way, values in seconds.items()}
    yield {"processor seconds a megapixel": {k: round(v, 2) for k, v in best.items()}} | {
        "ratio": round(best["rampp"] / best["NLM"], 2)
    }


def sheet(data: Path, weights: str, target: Path) -> Iterator[Row]:
    rows = []
    names = sorted((data / "test/kodak").glob("*.png"))
    for i, task in enumerate(dict(frozen(read(names[0]), names[0].name))):
        path = names[i % len(names)]
        truth = read(path)
        degraded = dict(frozen(truth, path.name))[task]
        result, _ = restored(degraded, weights)
        window = np.s_[100:356, 100:484]
        rows.append(np.hstack([np.clip(x, 0, 1)[window] for x in (degraded.pixels, result, truth.pixels)]))
    cv2.imwrite(str(target), np.rint(np.vstack(rows)[..., ::-1] * 255).astype(np.uint8))
    yield {"sheet": str(target)}


PARTS = {"validation": validation, "real": real, "clean": clean, "strange": strange, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder that holds data/test")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}, sheet; all by default")
    parser.add_argument("--weights", default="rampp", help="a weight file in place of the shipped one")
    parser.add_argument("--sheet", type=Path, default=Path("rampp.png"), help="where the sheet goes")
    args = parser.parse_args()
    for name in args.parts or [*PARTS, "sheet"]:
        data = args.shared / "data"
        for row in sheet(data, args.weights, args.sheet) if name == "sheet" else PARTS[name](data, args.weights):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
