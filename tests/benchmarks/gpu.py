"""What a GPU brings: ``python tests/benchmarks/gpu.py [METHOD ...] [--device cuda] [--size MEGAPIXELS] [--runs N]``.

Each method end to end on one picture in memory (noise measured, network, evidence), and its network alone; beside a
plain loop: float32, tiles of 512 one after the other, each copied over and back. ``carried``: the network alone where
the picture does not lie on the device, tiles come and go. ``four``: four pictures at once, as ``--jobs 4`` does.
Megapixels a second; the most and the mean square that the result differs from the plain loop's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from restore import methods, pipeline, tiling
from restore.jobs import bench
from restore.method import Compute, Role
from restore.picture import Domain, Image, RawImage
from restore.raw import bayer
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.tiling import Seams, TileOp

TILE, FOUR = 512, 4
METHODS = ("denoise", "blind", "noise2score", "rampp", "noiser", "pnnp")


@dataclass
class Watched(Runtime):
    """Knows how long the network took."""

    seconds: float = 0.0

    def apply(
        self, op: TileOp, planes: Tensor, wanted: int | str, compute: Compute, name: str
    ) -> tuple[Tensor, tuple[int, int] | None]:
        start = time.perf_counter()
        made = self.made(op, planes, wanted, compute, name)
        self.seconds = time.perf_counter() - start
        return made

    def made(
        self, op: TileOp, planes: Tensor, wanted: int | str, compute: Compute, name: str
    ) -> tuple[Tensor, tuple[int, int] | None]:
        return super().apply(op, planes, wanted, compute, name)


class Plain(Watched):
    """Computes tile after tile, as one would write it first."""

    def made(
        self, op: TileOp, planes: Tensor, wanted: int | str, compute: Compute, name: str
    ) -> tuple[Tensor, tuple[int, int] | None]:
        def run(tile: Tensor) -> Tensor:
            return op.run(tile.to(compute.device)).cpu()

        side = None if op.seams is Seams.WHOLE else op.tile or TILE
        there = TileOp(run, op.halo, op.multiple, op.seams, finish=op.finish)
        return tiling.apply(there, planes, tile=side), None if side is None else (side, side)


def noisy(method: str, megapixels: float) -> Image | RawImage:
    """A picture that the method does something to."""
    is_dark = methods.get(method).role is Role.LIGHT
    image = bench.picture(megapixels, brightness=bench.NIGHT if is_dark else 1.0)
    if methods.get(method).domain is not Domain.MOSAIC:
        return image
    height, width = (n // 2 * 2 for n in image.pixels.shape[:2])
    cfa = bayer.PHASES["RGGB"]
    mosaic = np.ascontiguousarray(np.take_along_axis(image.pixels[:height, :width], _sites(height, width), 2)[..., 0])
    return RawImage(mosaic, cfa, ((0.0, 0.0), (0.0, 0.0)), 16383.0)


def _sites(height: int, width: int) -> np.ndarray:
    return np.tile(np.array([[0, 1], [1, 2]]), (height // 2, width // 2))[..., None]


def values(picture: Image | RawImage) -> np.ndarray:
    return picture.mosaic if isinstance(picture, RawImage) else picture.pixels


def best(action: Callable[[], tuple[float, ...]], runs: int) -> list[float]:
    """Return the least of each number that an action gives, once it is warm."""
    action()
    return [min(numbers) for numbers in zip(*(action() for _ in range(runs)), strict=True)]


def measured(method: str, device: str, megapixels: float, runs: int) -> dict[str, object]:
    picture = noisy(method, megapixels)
    size = values(picture).shape[0] * values(picture).shape[1] / 1e6
    row: dict[str, object] = {"method": method, "megapixels": round(size, 1)}
    found: dict[str, pipeline.Result] = {}

    def run(name: str, runtime: Watched, count: int = 1) -> None:
        recipe = Recipe(steps=(Step(method=method),), precision="fp32" if name == "plain" else "auto", develop=None)

        def once(_: object) -> None:
            found[name] = pipeline.run(picture, recipe, runtime)

        def go() -> tuple[float, float]:
            start = time.perf_counter()
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(once, range(count)))
            return time.perf_counter() - start, runtime.seconds

        whole, network = best(go, runs)
        row[f"{name}, end to end"] = round(count * size / whole, 2)
        if count == 1:
            row[f"{name}, network"] = round(size / network, 2)

    run("ours", Watched(device))
    run("plain", Plain(device))
    run("four", Watched(device), FOUR)
    with mock.patch.object(tiling, "free_memory", return_value=0):
        run("carried", Watched(device))
    apart = values(found["ours"].picture) - values(found["plain"].picture)
    row |= {"precision": found["ours"].recipe.precision, "most": float(np.abs(apart).max())}
    return row | {"rms": float(np.sqrt(np.mean(apart**2, dtype=float)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=float, default=12.0, help="megapixels")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    named = torch.cuda.get_device_name() if args.device == "cuda" else bench.processor()
    sys.stdout.write(json.dumps({"device": named, "threads": torch.get_num_threads()}) + "\n")
    for method in args.methods:
        row = measured(method, args.device, args.size, args.runs)
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
