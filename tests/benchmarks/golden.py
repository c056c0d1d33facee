"""Make the golden outputs of every method again: ``python tests/benchmarks/golden.py [METHOD...]``.

Each method restores small crops of the samples; what comes out is kept as ``tests/golden/METHOD.npz`` with the kind of
processor and the sha256 of the weights it was made with. Look at why it changed before keeping it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from restore import files, methods, pipeline, weights
from restore.errors import RecipeError
from restore.method import Method
from restore.picture import Image, Picture, RawImage
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "golden"
SAMPLES = {
    "colosseum-noisy.jpg": (300, 300),
    "parrots-sigma25.png": (60, 90),
    "lighthouse-dark.jpg": (200, 260),
    "nikon-crop.dng": (64, 224),
}
"""Sample, and the top left corner of the part that is restored."""

SIDES = {False: 40, True: 16}
"""Side of that part; smaller for methods that fit on every picture."""

FEW_STEPS = 3
"""What knobs that count steps of a fit are set to."""


class Golden(NamedTuple):
    """What a method makes of a part of a sample, quantised to 16 bits, and the sha256 of its weights."""

    pixels: np.ndarray
    weights: str


def processor() -> str:
    """Return the kind of processor whose arithmetic a result may depend on in its last bits."""
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return capability if capability in ("avx512", "avx2") else "other"


def settings(method: Method) -> dict[str, int]:
    """Return knobs that make a method that fits on the picture quick: whole numbers named after steps."""
    fields = method.settings.model_fields
    is_count = {name: name in ("steps", "iterations", "epochs") and fields[name].annotation is int for name in fields}
    return {name: FEW_STEPS for name, quick in is_count.items() if quick} if method.fits_per_image else {}


def sha256(method: Method) -> str:
    """Return what tells weights from others, or nothing for methods without."""
    return weights.manifest()[method.weights].sha256 if method.weights else ""


def made(method: Method, sample: str) -> Golden | None:
    """Restore a part of a sample in float32 on the CPU; None where the method does not take such pictures."""
    picture = files.read(ROOT / "samples" / sample)
    (top, left), side = SAMPLES[sample], SIDES[method.fits_per_image]
    part = np.s_[top : top + side, left : left + side]
    if isinstance(picture, RawImage):
        cut: Picture = replace(picture, mosaic=np.ascontiguousarray(picture.mosaic[part]))
    else:
        cut = replace(picture, pixels=np.ascontiguousarray(picture.pixels[part]))
    step = Step(method=method.name, settings=settings(method))
    recipe = Recipe(steps=(step,), noise=0.08, precision="fp32", tile="off", seed=0)
    try:
        result = pipeline.run(cut, recipe, Runtime(device="cpu")).picture
    except RecipeError:
        return None
    assert isinstance(result, Image)
    return Golden(np.rint((np.clip(result.pixels, -0.5, 1.5) + 0.5) * 32767.5).astype(np.uint16), sha256(method))


def main(names: list[str]) -> None:
    """Write one file a method, keeping what other kinds of processors made with the same weights."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or list(methods.registry()):
        method, path = methods.get(name), FOLDER / f"{name}.npz"
        kept = dict(np.load(path)) if path.exists() else {}
        if str(kept.get("weights", "")) != sha256(method):
            kept = {}
        found = {sample: made(method, sample) for sample in SAMPLES}
        kept |= {f"{processor()}/{sample}": golden.pixels for sample, golden in found.items() if golden}
        np.savez_compressed(path, **kept | {"weights": np.array(sha256(method))})
        sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes, {', '.join(k for k in kept if k != 'weights')}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
