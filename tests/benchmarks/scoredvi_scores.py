"""Score ``scoredvi`` on centre crops of real photos: ``python tests/benchmarks/scoredvi_scores.py SHARED KEEP``.

Crops already in the folder KEEP are not computed again, so that several processes (``--part 0/3`` ...) and
interrupted runs add up; ``--summary`` then prints means with standard errors and draws the calibration curve.
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
from scipy.stats import spearmanr

from restore import files, metrics, pipeline
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

SETS = {"cc": 1, "sidd": 3}
"""Every n-th picture of a set. Those of 512 pixels give a second crop, the centre of their top left quarter."""
STRENGTHS = (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 36, 43, 52)
MACHINE = Runtime(device="cpu")


def crops(folder: Path, side: int) -> Iterator[tuple[str, Image, np.ndarray]]:
    for name, every in SETS.items():
        place = folder / "data/test/realnoise" / name
        for path in sorted((place / "noisy").iterdir())[::every]:
            truth = next(p for p in (place / "clean").iterdir() if p.stem == path.stem)
            noisy, clean = files.read(path).pixels, files.read(truth).pixels
            size = clean.shape[:2]
            for name_of, part in (("", size), ("-quarter", [n // 2 for n in size]))[: 1 + (min(size) >= 512)]:
                top, left = ((n - side) // 2 for n in part)
                window = np.s_[top : top + side, left : left + side]
                yield f"{name}-{path.stem}{name_of}", Image(noisy[window].copy()), clean[window]


def nlm(image: Image, strength: int) -> np.ndarray:
    pixels = np.rint(image.pixels * 255).astype(np.uint8)
    return cv2.fastNlMeansDenoisingColored(pixels, None, strength, strength, 7, 21).astype(np.float32) / 255


def score(noisy: Image, clean: np.ndarray, weights: str, knobs: dict[str, object]) -> dict[str, object]:
    def run(method: str, source: str, settings: dict[str, object]) -> pipeline.Result:
        recipe = Recipe(steps=(Step(method=method, weights=source, settings=settings),), precision="fp32")
        return pipeline.run(noisy, recipe, MACHINE, with_uncertainty=True)

    start = time.process_time()
    result = run("scoredvi", weights, knobs)
    seconds = time.process_time() - start
    pixels = np.clip(result.picture.pixels, 0, 1)
    blind = np.clip(run("blind", "blind", {}).picture.pixels, 0, 1)
    facts = {k: v for k, v in result.reports[0].facts.items() if k != "notes"}
    return {
        "noisy": metrics.psnr(noisy.pixels, clean),
        "scoredvi": metrics.psnr(pixels, clean),
        "blind": metrics.psnr(blind, clean),
        **{f"NLM {s}": metrics.psnr(nlm(noisy, s), clean) for s in STRENGTHS},
        "cpu_s": seconds,
        "sigma": result.reports[0].noise.sigma * 255,
        "facts": json.dumps(facts),
        "error": pixels - clean,
        "deviation": result.uncertainty.pixels,
    }


def summary(keep: Path, drawing: Path | None) -> None:
    errors, deviations = [], []
    for name in SETS:
        rows = [dict(np.load(path)) for path in sorted(keep.glob(f"{name}-*.npz"))]
        if not rows:
            continue
        ways = [way for way in rows[0] if way in ("noisy", "scoredvi", "blind") or way.startswith("NLM")]
        table = {way: np.array([float(row[way]) for row in rows]) for way in ways}
        best = max((way for way in ways if way.startswith("NLM")), key=lambda way: table[way].mean())
        line = {"set": name, "crops": len(rows)}
        for way in ("scoredvi", "blind", best):
            gain = table[way] - table["noisy"]
            line[way] = f"{table[way].mean():.2f} ({gain.mean():+.2f} +- {gain.std(ddof=1) / len(gain) ** 0.5:.2f})"
        ranks = [spearmanr(np.abs(r["error"]).ravel(), r["deviation"].ravel())[0] for r in rows]
        line |= {"noisy": round(table["noisy"].mean(), 2), "cpu_s": round(np.mean([float(r["cpu_s"]) for r in rows]))}
        line["rank correlation of error and deviation"] = [round(float(rank), 2) for rank in ranks]
        sys.stdout.write(json.dumps(line) + "\n")
        errors += [row["error"].ravel() for row in rows]
        deviations += [row["deviation"].ravel() for row in rows]
    error, deviation = np.concatenate(errors), np.concatenate(deviations)
    pixels = [np.sqrt(np.mean(v.reshape(-1, 3) ** 2, 1)) for v in (error, deviation)]
    bins = np.array_split(np.argsort(deviation), 12)
    curve = np.array([[np.sqrt(np.mean(v[b] ** 2)) for v in (deviation, error)] for b in bins]) * 255
    sys.stdout.write(json.dumps({
        "all": "rank correlation", "value": round(float(spearmanr(np.abs(error), deviation)[0]), 3),
        "RMS over a pixel's channels": round(float(spearmanr(*pixels)[0]), 3),
        "deviation, error (RMS, /255)": curve.round(2).tolist(),
    }) + "\n")  # fmt: skip
    if drawing is not None:
        draw(curve, drawing)


def draw(curve: np.ndarray, path: Path) -> None:
    """Draw the RMS error over the predicted deviation, both in 1/255, with the line of perfect calibration."""
    top, side, edge = float(np.ceil(curve.max() / 5) * 5), 560, 70
    sheet = np.full((side + 2 * edge, side + 2 * edge, 3), 255, np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(edge + x / top * side), round(edge + side - y / top * side)

    for value in np.linspace(0, top, 6):
        cv2.line(sheet, at(value, 0), at(value, top), (225, 225, 225), 1)
        cv2.line(sheet, at(0, value), at(top, value), (225, 225, 225), 1)
        x, y = at(value, 0)
        cv2.putText(sheet, f"{value:g}", (x - 8, y + 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        x, y = at(0, value)
        cv2.putText(sheet, f"{value:g}", (x - 38, y + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.line(sheet, at(0, 0), at(top, top), (150, 150, 150), 1, cv2.LINE_AA)
    points = [at(*pair) for pair in curve]
    cv2.polylines(sheet, [np.array(points)], False, (180, 80, 0), 2, cv2.LINE_AA)
    for point in points:
        cv2.circle(sheet, point, 4, (180, 80, 0), -1, cv2.LINE_AA)
    place = (edge + 130, side + edge + 50)
    cv2.putText(sheet, "predicted deviation, RMS of a twelfth of the values, /255", place, 0, 0.5, (0, 0, 0), 1, 16)
    cv2.putText(sheet, "true error, RMS, /255 (grey: perfect)", (edge, edge - 20), 0, 0.5, (0, 0, 0), 1, 16)
    cv2.imwrite(str(path), sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder that holds data/test")
    parser.add_argument("keep", type=Path, help="folder for the crops' results")
    parser.add_argument("--weights", default="blind")
    parser.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE", dest="knobs")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--part", default="0/1", metavar="I/N", help="take every N-th crop from the I-th")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    if args.summary:
        summary(args.keep, args.plot)
        return
    args.keep.mkdir(parents=True, exist_ok=True)
    knobs = {name: json.loads(value) for name, value in (knob.split("=") for knob in args.knobs)}
    first, step = map(int, args.part.split("/"))
    for name, noisy, clean in list(crops(args.shared, args.side))[first::step]:
        path = args.keep / f"{name}.npz"
        if not path.exists():
            row = score(noisy, clean, args.weights, knobs)
            np.savez(path, **row)
            shown = {k: round(v, 2) for k, v in row.items() if isinstance(v, float)}
            sys.stdout.write(json.dumps({"crop": name} | shown | {"facts": row["facts"]}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
