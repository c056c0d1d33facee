"""Does the noise model matter for the denoiser? Paired trainings on a simulated camera (specification, D3, protocol B).

``python tests/benchmarks/raw_ladder.py PHOTOS [--seeds N] [--run DIR]``: for each seed a sensor is drawn, shot and
calibrated, and a small network is taught the basics on Poisson-Gaussian noise. Copies of it go on for equally many
steps on the same crops and photons, and differ in who draws the noise of darkness: Poisson-Gaussian, ELD, dark frames
(SFRN), the proxy (PNNP), or the sensor itself (oracle). All are judged on what the sensor makes of held-out photos,
dark shading taken off as the profile knows it. What is finished is kept in ``DIR``: more seeds can be added later.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import torch

from restore.camera import AS_MEASURED, sample
from restore.camera.calibration import Plan, calibrate
from restore.camera.frames import unlit_dn
from restore.camera.gain import assumed
from restore.camera.simulate import FAMILIES, RGGB, Sensor
from restore.camera.stack import Frame
from restore.degrade.mosaic import resized, unprocess
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.raw import bayer
from restore.train.data import Photos
from restore.train.pnnp import Case, batches, loss, validation

ISO, SIZE, PATCH, BATCH, DARKS, BANDS = 6400.0, (192, 256), 48, 4, 24, (0.5, 0.1)
"""A harsh night: rows with half the noise of pixels, 24 dark frames."""
MODELS = ("poisson-gaussian", "eld", "sfrn", "pnnp", "oracle")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Camera:
    """A simulated sensor, what calibration found of it, and its dark frames with dark shading taken off."""

    def __init__(self, seed: int, family: str) -> None:
        rng = np.random.default_rng([seed, 1])
        self.sensor = Sensor.draw(rng, family=family, size=SIZE, isos=(ISO,), split=None, bands=BANDS)
        darks = [self.sensor.frame(ISO, rng) for _ in range(DARKS)]
        levels = [float(level) for level in np.linspace(100, 6000, 8)]
        flats = [self.sensor.frame(ISO, rng, light=x, exposure_s=x / 1e4) for x in levels for _ in "ab"]
        groups = (
            [Frame(f"frame {i}", ISO, raw.meta.exposure_s or 0, lambda raw=raw: raw) for i, raw in enumerate(group)]
            for group in (darks, flats)
        )
        self.profile = calibrate(*groups, assumed, Plan(held_out=0, seed=seed))
        self.span = np.float32(self.profile.white - np.mean(self.profile.black))
        self.darks = [unlit_dn(raw, self.profile, ISO) for raw in darks]
        noise = self.profile.at(ISO)
        self.told = tuple(np.full((1, 1, 1), value / self.span, np.float32) for value in (noise.K, noise.sigma_read))

    def noisy(self, clean: np.ndarray, model: str, seed: int) -> np.ndarray:
        """Expose a clean mosaic; one seed gives all models (nearly) the same photons."""
        rng, which = np.random.default_rng(seed), np.random.default_rng([seed, 2])
        if model != "oracle":
            dark = self.darks[which.integers(len(self.darks))]
            return sample(clean, self.profile, ISO, 1.0, rng, backend=model, spread=AS_MEASURED, darks=[dark])
        rng.random()  # as `sample` does before it draws photons
        place = tuple(2 * int(which.integers((n - m) // 2 + 1)) for n, m in zip(SIZE, clean.shape, strict=True))
        window = tuple(slice(a, a + m) for a, m in zip(place, clean.shape, strict=True))
        light = np.zeros(SIZE, np.float32)
        light[window] = clean * self.span
        return np.minimum(unlit_dn(self.sensor.frame(ISO, rng, light=light), self.profile, ISO)[window] / self.span, 1)

    def case(self, photo: np.ndarray, model: str, ratio: float, rng: np.random.Generator) -> Case:
        """Return a pair of planes ``(4, P, P)`` of a photo ``(2P, 2P, 3)``."""
        clean = bayer.unpack(unprocess(photo, rng), RGGB, photo.shape[:2]) / np.float32(ratio)
        noisy = self.noisy(clean, model, int(rng.integers(1 << 40)))
        planes = (np.ascontiguousarray(bayer.pack(x, RGGB), np.float32) for x in (noisy, clean))
        return "PSNR", *planes, self.told


def lessons(camera: Camera, photos: Photos, model: str, seed: int) -> Iterator[Case]:
    """Give endless examples; the same crops for all models."""
    rng = np.random.default_rng(seed)
    while True:
        step = np.random.default_rng(int(rng.integers(1 << 40)))
        photo = resized(photos.crop(3 * PATCH, step, of=2), 2 * PATCH)
        yield camera.case(photo, model, float(np.exp(step.uniform(np.log(20), np.log(300)))), step)


def taught(
    net: UnshuffleUNet, camera: Camera, photos: Photos, model: str, *, steps: int, rate: float, seed: int
) -> UnshuffleUNet:
    """Train a copy of a network."""
    net = deepcopy(net).train()
    source = lessons(camera, photos, model, seed)
    optimiser = torch.optim.Adam(net.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, rate / 50)
    pairs = batches(lambda: next(source)[1:], BATCH)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss(net, next(pairs)).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return net.eval()


def judged(net: UnshuffleUNet, camera: Camera, held_out: Photos, seed: int) -> float:
    """Mean gain in PSNR over the input on twelve scenes that the sensor itself exposed, in dB."""
    rng = np.random.default_rng([seed, 3])
    photos = [resized(held_out.crop(320, rng, of=2), 160) for _ in range(12)]
    kept = [camera.case(photo, "oracle", (30, 100, 200)[i % 3], rng) for i, photo in enumerate(photos)]
    with torch.no_grad():
        return float(validation(kept, "cpu")(net).split("PSNR ")[1].split(" dB")[0])


def table(results: dict[str, dict[str, float]]) -> None:
    """Print mean gains, and paired differences with their standard errors over finished seeds."""
    done = [row for row in results.values() if set(MODELS) <= row.keys()]
    say(f"{len(done)} seeds; gain over the input, dB (before fine-tuning: {np.mean([r['base'] for r in done]):.3f})")
    for model in MODELS:
        line = f"{model:17s} {np.mean([row[model] for row in done]):.3f}"
        for other in ("poisson-gaussian", "oracle"):
            gaps = np.array([row[model] - row[other] for row in done])
            error = gaps.std(ddof=1) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
            is_clear = abs(gaps.mean()) > 2 * error
            line += f"  minus {other} {gaps.mean():+.4f} +- {error:.4f}{' *' if is_clear and model != other else '  '}"
        say(line)
    say("* beyond two standard errors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--family", choices=FAMILIES, default="outliers")
    parser.add_argument("--base", type=int, default=1000, help="steps before the models part")
    parser.add_argument("--steps", type=int, default=400, help="steps with each model")
    parser.add_argument("--run", type=Path, default=Path("runs/raw_ladder"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    args.run.mkdir(parents=True, exist_ok=True)
    path = args.run / f"{args.family}_{args.base}_{args.steps}.json"
    results: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    photos, held_out = Photos(args.photos), Photos(args.photos, held_out=True)
    for seed in range(args.seeds):
        row = results.setdefault(str(seed), {})
        if set(MODELS) <= row.keys():
            continue
        start = time.process_time()
        camera = Camera(seed, args.family)
        torch.manual_seed(seed)
        base = UnshuffleUNet(4, 5, (16, 32, 48), (1, 1, 1, 1, 1))
        base = taught(base, camera, photos, MODELS[0], steps=args.base, rate=2e-3, seed=seed)
        row["base"] = judged(base, camera, held_out, seed)
        for model in (model for model in MODELS if model not in row):
            tuned = taught(base, camera, photos, model, steps=args.steps, rate=5e-4, seed=1000 + seed)
            row[model] = judged(tuned, camera, held_out, seed)
            path.write_text(json.dumps(results, indent=1))
            say(f"seed {seed}, {model}: {row[model]:+.3f} dB; {time.process_time() - start:.0f} s of processor")
    table(results)


if __name__ == "__main__":
    main()
