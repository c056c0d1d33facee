"""How fast a method is on this machine, with a ceiling and well-known programs measured beside it."""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from skimage import restoration
from torch.utils.flop_counter import FlopCounterMode

from restore import methods, pipeline
from restore.jobs import lines
from restore.method import Role
from restore.picture import Floats, Image
from restore.recipe import AUTO, Recipe
from restore.runtime import Runtime

SIGMA = 25 / 255
"""Noise of the picture that is restored."""
NIGHT = 0.2
"""What the picture is multiplied with for methods that light pictures: they leave bright ones alone."""


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs after one warm-up run.

    Parameters
    ----------
    spread
        Largest minus smallest, as a share of the median.
    """

    seconds: float
    spread: float
    runs: int


def timed(action: Callable[[], object], runs: int) -> Timing:
    """Measure an action, once it is warm."""
    action()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    middle = statistics.median(taken)
    return Timing(middle, (max(taken) - min(taken)) / middle, runs)


@dataclass(frozen=True)
class Measured:
    """What one method showed.

    Parameters
    ----------
    megapixels
        Of the picture restored.
    rate
        Megapixels per second, end to end without reading and writing files.
    tile
        Height and width of tiles, None where the picture was computed as a whole.
    peak_bytes
        Most memory the process held above what it held before; on a GPU what torch held there.
    multiply_adds
        Per pixel, of convolutions and matrix products, without those that overlapping tiles do twice; None where
        there are none.
    gflops, ceiling_gflops
        Rate of this arithmetic (a multiply-add is two), and of a matrix product of the same type beside it.
    """

    method: str
    megapixels: float
    timing: Timing
    rate: float
    device: str
    precision: str
    threads: int
    tile: tuple[int, int] | None
    peak_bytes: int
    multiply_adds: float | None
    gflops: float | None
    ceiling_gflops: float | None

    @property
    def share(self) -> float | None:
        """Share of the ceiling that was reached."""
        return None if self.gflops is None or not self.ceiling_gflops else self.gflops / self.ceiling_gflops


@dataclass(frozen=True)
class Rival:
    """A well-known program on a picture it can do in seconds: seconds per megapixel."""

    name: str
    megapixels: float
    timing: Timing
    seconds_per_megapixel: float


def picture(megapixels: float, *, brightness: float = 1.0) -> Image:
    """Return a noisy picture of 3:2 with edges, ramps and texture, always the same.

    >>> picture(0.006).pixels.shape
    (63, 94, 3)
    """
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(1.5 * height)
    rng = np.random.default_rng(0)
    y, x = np.arange(height)[:, None], np.arange(width)
    seed = rng.random((17, 25, 3), np.float32)
    coarse = np.asarray(cv2.resize(seed, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    coarse += 0.15 * (((x // 61 + y // 47) % 2) - 0.5)[..., None] + 0.05 * np.sin(x / 3)[:, None]
    return Image(np.float32(brightness) * (coarse + rng.normal(0, SIGMA, coarse.shape).astype(np.float32)))


def _brightness(recipe: Recipe) -> float:
    named = [methods.get(step.method) for step in recipe.steps if step.method != AUTO]
    return NIGHT if any(method.role is Role.LIGHT for method in named) else 1.0


def measure(recipe: Recipe, runtime: Runtime, megapixels: float, runs: int = 3) -> Measured:
    """Measure a recipe on a picture of a size."""
    noisy, compute = picture(megapixels, brightness=_brightness(recipe)), runtime.compute(recipe.precision)
    done: list[pipeline.Result] = []

    def go() -> None:
        done[:] = [pipeline.run(noisy, recipe, runtime)]

    pipeline.run(picture(0.01), recipe, runtime)
    with Peak(compute.device) as peak:
        go()
    timing = timed(go, runs)
    result, pixels = done[0], noisy.pixels.shape[0] * noisy.pixels.shape[1]
    per_pixel = multiply_adds(result.recipe, runtime)
    return Measured(
        method=", ".join(step.method for step in result.recipe.steps),
        megapixels=pixels / 1e6,
        timing=timing,
        rate=pixels / 1e6 / timing.seconds,
        device=_device_name(compute.device),
        precision=result.recipe.precision,
        threads=torch.get_num_threads(),
        tile=result.reports[0].tile if result.reports else None,
        peak_bytes=peak.bytes,
        multiply_adds=per_pixel,
        gflops=None if per_pixel is None else 2e-9 * per_pixel * pixels / timing.seconds,
        ceiling_gflops=ceiling(compute.device, torch.int8 if result.recipe.precision == "int8" else compute.dtype),
    )


def multiply_adds(recipe: Recipe, runtime: Runtime) -> float | None:
    """Count multiply-adds per pixel on a picture small enough to be one tile."""
    recipe = recipe.model_copy(update={"precision": "fp32"})  # nobody counts those of integers
    small = picture(0.393216, brightness=_brightness(recipe))  # 512 x 768
    with FlopCounterMode(display=False) as counter:
        pipeline.run(small, recipe, runtime)
    count = counter.get_total_flops() / 2 / small.pixels[..., 0].size
    return count or None


def ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Return the billions of operations a second that a large matrix product reaches, at best of some runs."""
    side = 8192 if device.type == "cuda" else 1536
    left = torch.ones(side, side, device=device, dtype=dtype)

    def product() -> float:
        return float((torch._int_mm(left, left) if dtype is torch.int8 else left @ left)[0, 0])

    product()
    return 2e-9 * side**3 / min(timed(product, 5).seconds for _ in range(2))


class Peak:
    """Measures the most memory that a block of code holds, above what was held before."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._is_over = device, threading.Event()
        self.bytes = 0

    def __enter__(self) -> Peak:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._before = _resident()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._is_over.wait(0.005):
            self.bytes = max(self.bytes, _resident() - self._before)

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._watch.join()
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device)


def _resident() -> int:
    """Return the bytes of memory this process holds; where the system does not tell, the most it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def rivals(runs: int = 3) -> Iterator[Rival]:
    """Measure OpenCV's and scikit-image's denoisers with as many threads as the method had."""
    cv2.setNumThreads(torch.get_num_threads())
    tasks: Sequence[tuple[str, float, Callable[[Floats], object]]] = (
        ("OpenCV fastNlMeansDenoisingColored", 1.0, lambda p: cv2.fastNlMeansDenoisingColored(_bytes(p), None, 10, 10)),
        ("scikit-image denoise_wavelet", 1.0, lambda p: restoration.denoise_wavelet(p, sigma=SIGMA, channel_axis=2)),
        (
            "scikit-image denoise_nl_means",
            0.1,
            lambda p: restoration.denoise_nl_means(p, h=0.8 * SIGMA, sigma=SIGMA, fast_mode=True, channel_axis=2),
        ),
    )
    for name, megapixels, denoise in tasks:
        pixels = picture(megapixels).pixels
        size = pixels.shape[0] * pixels.shape[1] / 1e6
        timing = timed(lambda denoise=denoise, pixels=pixels: denoise(pixels), runs)  # type: ignore[misc]
        yield Rival(name, size, timing, timing.seconds / size)


def _bytes(pixels: Floats) -> Any:
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def processor() -> str:
    """Return the name of the processor and how many of its cores there are."""
    name = platform.processor() or platform.machine()
    try:
        rows = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(row.partition(":")[2].strip() for row in rows if row.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {torch.get_num_threads()} threads"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def show(recipe: Recipe, runtime: Runtime, megapixels: float, *, runs: int, is_json: bool) -> int:
    """Measure a recipe and its rivals, and tell."""
    machine = processor()
    own = measure(recipe, runtime, megapixels, runs)
    if is_json:
        lines.say(lines.line("bench", machine=machine, share=own.share, **asdict(own)))
    else:
        for row in _in_words(machine, own):
            lines.say(row)
    for rival in rivals(runs):
        ratio = rival.seconds_per_megapixel * own.rate
        if is_json:
            lines.say(lines.line("rival", machine=machine, times_slower=ratio, **asdict(rival)))
        else:
            lines.say(f"{rival.name}: {rival.seconds_per_megapixel:.2f} s per megapixel, {ratio:.2f} times as long")
    return 0


def _in_words(machine: str, own: Measured) -> Iterator[str]:
    yield machine
    tile = "as a whole" if own.tile is None else f"in tiles of {own.tile[0]} x {own.tile[1]}"
    yield f"{own.method}: {own.megapixels:.1f} megapixels {tile}, {own.precision} on {own.device}"
    yield (
        f"{own.rate:.3f} megapixels per second ({1 / own.rate:.2f} s per megapixel; median of {own.timing.runs}, "
        f"spread {own.timing.spread:.0%}); peak memory {own.peak_bytes / 2**20:.0f} MiB"
    )
    if own.multiply_adds is not None and own.share is not None:
        yield (
            f"{own.multiply_adds:.0f} multiply-adds a pixel, {own.gflops:.0f} GFLOP/s of "
            f"{own.ceiling_gflops:.0f} that a matrix product reaches: {own.share:.0%}"
        )
