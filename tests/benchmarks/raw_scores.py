"""Measure ``pnnp``: unseen simulated cameras, dark shading, real raw files, speed and memory.

Run from the root of the repository: ``python tests/benchmarks/raw_scores.py SHARED [cameras|shading|real|speed ...]``.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from skimage.restoration import denoise_nl_means, denoise_wavelet

from restore import files, noise, pipeline, tiling
from restore.camera import Branch, IsoNoise, Maps, Profile
from restore.degrade.mosaic import RawNoise, add_raw_noise, draw_camera, unprocess
from restore.files.levels import SensorRecord, scaled
from restore.method import Compute, Scene
from restore.methods.pnnp import METHOD
from restore.nets.anscombe import restored, stabilise
from restore.noise import Noise
from restore.picture import Domain, Image, Meta, RawImage
from restore.raw import bayer
from restore.raw.develop import develop
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

RGGB = bayer.PHASES["RGGB"]
BLACK = ((0.0, 0.0), (0.0, 0.0))
DARK, WHITE, GAIN, READ, ISO = 512.0, 16383.0, 1.53, 6.3, 1600.0
SIDE, FLAT = 12, 0.03
"""Blocks of planes in which the residual is looked at, and what they may vary by."""
"""The simulated body of `shading`, in DN."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def psnr_gain(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(np.mean((before - truth) ** 2) / np.mean((after - truth) ** 2)))


def raw_image(planes: np.ndarray, step: float = 1.0) -> RawImage:
    return RawImage(bayer.unpack(planes, RGGB, (2 * planes.shape[1], 2 * planes.shape[2])), RGGB, BLACK, 1 / step)


def measured(planes: np.ndarray, step: float) -> Noise:
    """The level from the picture, as `pnnp` takes it of a file: no sensor has less noise than rounding makes."""
    found = noise.estimate(raw_image(planes, step))
    return replace(found, read=max(found.read, 12**-0.5 * step))


def denoised(planes: np.ndarray, restorer, compute: Compute, level: Noise) -> np.ndarray:  # noqa: ANN001
    given = torch.from_numpy(planes)
    scene = Scene(given, Domain.MOSAIC, Meta(), level, compute, np.random.default_rng(0))
    return tiling.apply(restorer.prepare(scene), given).numpy()


def classical(planes: np.ndarray, told: tuple[float, float]) -> dict[str, np.ndarray]:
    """VST + translation-invariant wavelets, and VST + NLM (tuned for unit noise), plane by plane."""
    gain, read = (torch.tensor(v) for v in told)
    v = stabilise(torch.from_numpy(planes), gain, read).numpy()
    found = {}
    shifts = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 2), (3, 1)]
    waves = []
    for plane in v:
        turns = (
            np.roll(
                denoise_wavelet(np.roll(plane, s, (0, 1)), sigma=1, wavelet="db2", rescale_sigma=False),
                tuple(-n for n in s),
                (0, 1),
            )
            for s in shifts
        )
        waves.append(np.mean([*turns], axis=0))
    means = [denoise_nl_means(p, patch_size=5, patch_distance=7, h=0.7, sigma=1, fast_mode=True) for p in v]
    for name, stack in (("wavelet", waves), ("nlm", means)):
        found[name] = restored(torch.from_numpy(np.stack(stack).astype(np.float32)), gain, read).numpy()
    return found


def other_camera(family: str, rng: np.random.Generator) -> RawNoise:
    """Cameras unlike those drawn in training in the shape of their noise."""
    noise_ = replace(draw_camera(rng), bias=0.0, outliers=0.0)
    return replace(noise_, tail={"gaussian": 0.1349, "heavy": -0.3, "banded": 0.0}[family])


def cameras(shared: Path, count: int, of: str) -> None:
    rng = np.random.default_rng(2026)
    compute = Compute(torch.device("cpu"), torch.float32)
    restorer = _restorer(compute)
    table: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    pictures = sorted((shared / "data/test" / of).glob("*.*g"))[:count]
    for picture in pictures:
        photo = cv2.imread(str(picture), cv2.IMREAD_COLOR_RGB)[:512, :512].astype(np.float32) / 255
        photo = photo[: photo.shape[0] // 16 * 16, : photo.shape[1] // 16 * 16]
        whole = unprocess(photo, rng)
        for family in ("gaussian", "heavy", "banded"):
            camera = other_camera(family, rng)
            if family == "banded":
                camera = replace(camera, row=0.3 * camera.read, column=0.05 * camera.read)
            for ratio in (1, 10, 100, 300):
                clean = (whole / ratio).astype(np.float32)
                noisy = add_raw_noise(clean, camera, rng)
                gain, read = camera.told
                told = Noise(read, (read,) * 4, gain=gain, read=read, confidence=0.5)
                answers = {
                    "pnnp, level told": denoised(noisy, restorer, compute, told),
                    "pnnp, level from the picture": denoised(noisy, restorer, compute, measured(noisy, camera.step)),
                    **classical(noisy, (gain, read)),
                }
                for name, answer in answers.items():
                    table[f"x{ratio}"][name].append(psnr_gain(noisy, answer, clean))
    merged: dict[str, list[float]] = defaultdict(list)
    for ratio, rows in table.items():
        for name, gains in rows.items():
            merged[name] += gains
            say(f"{ratio:5s} {name:30s} median {np.median(gains):+.2f} dB  worst {min(gains):+.2f}  n={len(gains)}")
    better = np.maximum(merged["wavelet"], merged["nlm"])
    for name in ("pnnp, level told", "pnnp, level from the picture"):
        for rival, beside in (
            ("the better classical", better),
            ("NLM", merged["nlm"]),
            ("wavelets", merged["wavelet"]),
        ):
            over = np.array(merged[name]) - beside
            say(f"{name}: over {rival}, median {np.median(over):+.2f} dB, worst {over.min():+.2f}")
        say(f"{name}: over the input, median {np.median(merged[name]):+.2f} dB, worst {min(merged[name]):+.2f}")


def _restorer(compute: Compute):  # noqa: ANN202
    return Runtime("cpu").load(Step(method="pnnp"), compute).restorer


def exposed(light: np.ndarray, fixed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Expose in DN: photons, read noise, rows, and the pattern of dark frames."""
    dn = GAIN * rng.poisson(light / GAIN) + READ * rng.standard_normal(light.shape) + fixed
    dn += 0.16 * READ * rng.standard_normal((light.shape[0], 1))
    return np.rint(dn + DARK).clip(0, WHITE)


def shading(shared: Path, seeds: int = 3) -> None:
    """D1 and D2: the same weights with and without the maps of a profile made from 20 dark frames."""
    photo = cv2.imread(str(shared / "data/test/kodak/kodim05.png"), cv2.IMREAD_COLOR_RGB).astype(np.float32) / 255
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        clean = unprocess(photo, rng) / 200
        size = (2 * clean.shape[1], 2 * clean.shape[2])
        y, x = np.mgrid[: size[0], : size[1]]
        fixed = 0.9 * (np.sin(y / 90 + seed) + x / size[1]) + 0.9 * rng.standard_normal(size)
        fixed += 0.6 * rng.standard_normal((1, size[1])) + 0.6 * rng.standard_normal((size[0], 1))

        light = bayer.unpack(clean, RGGB, size).astype(np.float64) * (WHITE - DARK)
        darks = np.mean([exposed(0 * light, fixed, rng) for _ in range(20)], axis=0) - DARK
        one = IsoNoise(ISO, K=GAIN, sigma_px=READ, sigma_row=0.16 * READ, black_error=(0.0,) * 4)
        maps = Maps(np.zeros((1, *size), np.float16), darks[None].astype(np.float16), np.zeros((0, 2), np.int32))
        levels = ((DARK, DARK), (DARK, DARK))
        profile = Profile("Maker", "Model", 14, RGGB, levels, WHITE, (one,), (Branch((ISO,)),), maps=maps)
        values = exposed(light, fixed, rng).astype(np.uint16)
        record = SensorRecord(values, 0, 0, size, RGGB, levels, WHITE, (1.0,) * 3, (1.0,) * 3)
        meta = Meta(camera="Maker Model", iso=ISO, extra={"sensor": record})
        raw = RawImage(scaled(values, levels, WHITE), RGGB, levels, WHITE, meta=meta)
        gains = {}
        for name, used in (("maps off", profile.model_only()), ("maps on", profile)):
            with TemporaryDirectory() as folder:
                path = used.save(Path(folder) / "body.noise")
                recipe = Recipe(steps=(Step(method="pnnp", settings={"profile": str(path)}),), develop=None)
                out = pipeline.run(raw, recipe, Runtime("cpu")).picture
            gains[name] = psnr_gain(raw.mosaic, out.mosaic, light / (WHITE - DARK))
        say(f"shading seed {seed}: " + ", ".join(f"{name} {value:+.2f} dB over input" for name, value in gains.items()))


def real(shared: Path, folder: Path) -> None:
    names = ("canon_bayer14_ob_colorchart.dng", "nikon_dsc1339_rggb_crop.dng")
    sources = {name: files.read(shared / "data/raw" / name) for name in names}
    ten = np.fromfile(shared / "data/raw/bayer10_openisp_1920x1080_rggb.raw", "<u2").reshape(1080, 1920)
    sources["bayer10_openisp"] = RawImage(scaled(ten, BLACK, 1023.0), RGGB, BLACK, 1023.0, (1.9, 1.0, 1.6))
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in sources.items():
        results = {
            tile: pipeline.run(raw, Recipe(steps=(Step(method="pnnp"),), develop=None, tile=tile), Runtime("cpu"))
            for tile in ("off", 160)
        }
        out = results["off"].picture
        seam = np.abs(results[160].picture.mosaic - out.mosaic).max()
        facts = results["off"].reports[0].facts
        before, after = (bayer.pack(r.mosaic, r.cfa) for r in (raw, out))
        shift = [100 * (a.mean(dtype=float) / b.mean(dtype=float) - 1) for a, b in zip(after, before, strict=True)]
        say(f"{name}: {facts['noise_from']}: K {facts['shot_gain']:.2e} read {facts['read_sigma']:.2e}")
        say(f"  plane means moved by {', '.join(f'{s:+.3f}%' for s in shift)}; tiles differ by {seam:.1e}")
        horizontal, vertical, share, blocks = _correlation(before, after, facts)
        say(f"  residual lag-1 correlation {horizontal:+.3f} {vertical:+.3f} in {blocks} flat blocks")
        say(f"  residual / expected noise {share:.2f}")
        for what, picture in (("before", raw), ("after", out)):
            shown: Image = develop(picture, exposure_ev=1.0)
            files.write(folder / f"{Path(name).stem}_{what}.png", shown, bits=8)


def _correlation(before: np.ndarray, after: np.ndarray, facts: dict) -> tuple[float, float, float, int]:
    """Lag-1 correlations of what was removed in flat blocks, its size against the noise, and how many blocks there are.

    Flat is what varies by less than FLAT of its mean in the result: where there is texture, what was removed cannot be
    white, since the average over fewer pixels that keeps the texture keeps their noise.
    """
    taken = (before - after) / np.sqrt(facts["shot_gain"] * after.clip(0) + facts["read_sigma"] ** 2 + 1e-12)
    flat = []
    for plane, result in zip(taken, after, strict=True):
        for y in range(0, plane.shape[0] - SIDE, SIDE):
            for x in range(0, plane.shape[1] - SIDE, SIDE):
                window = np.s_[y : y + SIDE, x : x + SIDE]
                if result[window].max() < 0.9 and result[window].std() < FLAT * max(result[window].mean(), 1e-4):
                    flat.append(plane[window])
    power = np.mean([(b**2).mean() for b in flat])
    horizontal = np.mean([(b[:, 1:] * b[:, :-1]).mean() for b in flat]) / power
    vertical = np.mean([(b[1:] * b[:-1]).mean() for b in flat]) / power
    return float(horizontal), float(vertical), float(np.sqrt(power)), len(flat)


def speed(shared: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    photo = cv2.imread(str(shared / "data/test/kodak/kodim05.png"), cv2.IMREAD_COLOR_RGB).astype(np.float32) / 255
    rng = np.random.default_rng(0)
    small = add_raw_noise(unprocess(photo, rng) / 10, RawNoise(1e-4, 1e-3), rng)
    raw = raw_image(np.tile(small, (1, 8, 8))[:, :2000, :3000])
    megapixels = raw.mosaic.size / 1e6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    for precision in ("auto", "fp32"):
        recipe = Recipe(steps=(Step(method="pnnp"),), develop=None, precision=precision)
        wall, cpu = time.perf_counter(), time.process_time()
        out = pipeline.run(raw, recipe, Runtime("cpu"))
        wall, cpu = (time.perf_counter() - wall) / megapixels, (time.process_time() - cpu) / megapixels
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        load = Path("/proc/loadavg").read_text().split()[0]
        spent = f"{wall:.2f} s/MP, processor time {cpu:.2f} s/MP"
        say(f"pnnp, {megapixels:.0f} MP, {out.recipe.precision}, {threads} threads, load {load}: {spent}")
        say(f"tiles {out.reports[0].tile}; peak memory of the process {peak:.2f} GB ({before:.2f} GB before it began)")
    shown = np.rint(develop(replace(raw, mosaic=raw.mosaic[:1000, :1500])).pixels * 255).astype(np.uint8)
    wall, cpu = time.perf_counter(), time.process_time()
    cv2.fastNlMeansDenoisingColored(shown, None, 10, 10, 7, 21)
    size = shown.shape[0] * shown.shape[1] / 1e6
    wall, cpu = (time.perf_counter() - wall) / size, (time.process_time() - cpu) / size
    say(f"OpenCV fastNlMeansDenoisingColored on 1.5 MP of it, developed: {wall:.2f} s/MP, processor time {cpu:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("what", nargs="*", default=["cameras", "shading", "real", "speed"])
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--of", default="kodak", help="test set that cameras are simulated on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shown", type=Path, default=Path("runs/raw_shown"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    say(f"{METHOD.title}, weights {METHOD.weights}")
    actions = {
        "cameras": lambda: cameras(args.shared, args.pictures, args.of),
        "shading": lambda: shading(args.shared),
        "real": lambda: real(args.shared, args.shown),
        "speed": lambda: speed(args.shared, args.threads),
    }
    for what in args.what:
        actions[what]()


if __name__ == "__main__":
    main()
