"""The machine side of a run: device, precision, loaded restorers, tile size, progress, and stopping."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from restore import methods, tiling, weights
from restore.errors import Cancelled, RecipeError, WeightsError
from restore.memory import free_memory, is_exhausted, within_memory
from restore.method import Compute, Restorer
from restore.nets import int8
from restore.tiling import Seams, TileOp

if TYPE_CHECKING:
    from restore.recipe import Step

Device = Literal["auto", "cpu", "cuda", "mps"]
KEPT = 8
"""Restorers that stay loaded: a page on which people try knobs would collect hundreds."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


if hasattr(os, "register_at_fork"):
    # a forked process has none of the threads that its parent computed with, and would wait for them without end
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


@dataclass(frozen=True)
class Tick:
    """Where a run stands: the step's name, and the share of the step done, 0...1."""

    step: str
    share: float


@dataclass(frozen=True)
class Loaded:
    """A restorer, the checksum of its weights, and what a user must know of their terms."""

    restorer: Restorer
    sha256: str | None
    notice: str | None = None


@dataclass
class Runtime:
    """What a run needs of the machine; shared by all pictures of a job, safe to use from several threads.

    Parameters
    ----------
    device
        ``"auto"`` takes CUDA, else MPS, else the CPU.
    progress
        Called with every :class:`Tick`.
    cancelled
        Set it to stop the run between tiles.
    told
        Called once, before they are used, with the terms of weights that are not free.
    """

    device: Device = "auto"
    progress: Callable[[Tick], None] = lambda _: None
    cancelled: threading.Event = field(default_factory=threading.Event)
    told: Callable[[str], None] = lambda _: None
    _loaded: dict[str, Loaded] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def compute(self, precision: str) -> Compute:
        """Return the device and the arithmetic for a recipe's precision.

        Raises
        ------
        RecipeError
            The device is not there, or cannot compute in that precision.
        """
        device = _device(self.device)
        if precision in ("auto", "int8"):
            is_int8 = device.type == "cpu" and (precision == "int8" or int8.is_exact())
            return Compute(device, fastest_dtype(device.type), is_int8)
        dtype = DTYPES[precision]
        if device.type == "cpu" and dtype is torch.float16:
            raise RecipeError("fp16 is slow and inaccurate on a CPU; use --precision bf16, fp32 or auto")
        return Compute(device, dtype)

    def load(self, step: Step, compute: Compute) -> Loaded:
        """Return the restorer of a step, loaded once for all pictures; the `KEPT` used last are kept.

        It is loaded anew when a file it is made of, its weights or one that its settings name, has changed.

        Raises
        ------
        RecipeError
            Weights are given to a method that has none.
        WeightsError
            The weights cannot be used, or are not of this method.
        """
        key = f"{step.method} {sorted(step.settings.items())} {step.weights} {_stamps(step)} {compute}"
        with self._lock:
            found = self._loaded.pop(key, None) or self._load(step, compute)
            self._loaded[key] = found  # the last of them, so that the first is the one not used for longest
            for old in list(self._loaded)[:-KEPT]:
                del self._loaded[old]
            return found

    def _load(self, step: Step, compute: Compute) -> Loaded:
        method = methods.get(step.method)
        if method.weights is None:
            if step.weights:
                raise RecipeError(f"method {step.method!r} uses no weights; leave {step.weights!r} out")
            return Loaded(method.load(step.checked(), None, compute), None)
        source = step.weights or method.weights
        found = weights.read(source)
        notice = weights.notice(source, found)
        if notice is not None:
            self.told(notice)
        try:
            restorer = method.load(step.checked(), found.state, compute)
        except (WeightsError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if is_exhausted(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(f"{source}: does not fit method {step.method!r}: {reason}") from error
        return Loaded(restorer, found.sha256, notice)

    def apply(
        self, op: TileOp, planes: Tensor, wanted: int | str, compute: Compute, name: str
    ) -> tuple[Tensor, tuple[int, int] | None]:
        """Run a step's operation in tiles, and return their size too; again with smaller ones if memory runs out.

        A GPU is given to one picture at a time, so that its memory is; others are read, measured and written meanwhile.

        Raises
        ------
        MemoryLimitError
            Even the smallest tiles do not fit.
        Cancelled
            Somebody set ``cancelled``.
        """
        with nullcontext() if compute.device.type == "cpu" else self._turn:
            return self._applied(op, planes, wanted, compute, name)

    def _applied(
        self, op: TileOp, planes: Tensor, wanted: int | str, compute: Compute, name: str
    ) -> tuple[Tensor, tuple[int, int] | None]:
        size = (planes.shape[1], planes.shape[2])
        tile, device = tile_size(op, wanted, size, compute.device), str(compute.device)
        while True:
            try:
                on_tile = lambda done, total: self.tick(name, done / total)  # noqa: E731
                return tiling.apply(op, planes, tile=tile, device=device, on_tile=on_tile), tile
            except (RuntimeError, MemoryError) as error:
                less = smaller_tile(op, tile or size)
                if less is None:
                    with within_memory(f"method {name!r}, even in tiles of {' x '.join(map(str, tile or size))},"):
                        raise
                if not is_exhausted(error):
                    raise
                tile = less

    def tick(self, step: str, share: float) -> None:
        """Report progress.

        Raises
        ------
        Cancelled
            Somebody set ``cancelled``.
        """
        if self.cancelled.is_set():
            raise Cancelled("stopped on request")
        self.progress(Tick(step, share))


def _stamps(step: Step) -> list[tuple[int, int]]:
    """Return when the files that a step names were changed, and their sizes."""
    source = step.weights or methods.get(step.method).weights
    named = [weights.path_of(source)] if source else []
    named += [Path(value) for value in step.settings.values() if isinstance(value, str)]
    found = []
    for path in named:
        with suppress(OSError, ValueError):  # a word that names no file
            found.append((path.stat().st_mtime_ns, path.stat().st_size))
    return found


def precision_of(compute: Compute, is_int8: bool) -> str:
    """Return the name that arithmetic has in recipes, given whether 8-bit integers took part."""
    return "int8" if is_int8 else next(name for name, dtype in DTYPES.items() if dtype is compute.dtype)


def _device(wanted: Device) -> torch.device:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    if not there.get(wanted, False):
        raise RecipeError(f"this machine has no device {wanted!r}; use --device auto")
    return torch.device(wanted)


@cache
def fastest_dtype(device: str) -> torch.dtype:
    """Return the arithmetic in which convolutions run fastest here, of those that are accurate enough.

    Of a CPU its kind decides, not a measurement: all processes of a machine must choose the same, however busy it is,
    and processors that only emulate bfloat16 lose a factor of five by it. AMD's AVX-512 for bfloat16 is 2.5 times as
    fast as float32; Intel's, where its matrix unit (AMX) is not to be had, half as fast.
    """
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    is_quick = torch.cpu._is_amx_tile_supported() or (torch.cpu._is_avx512_bf16_supported() and _maker() == "AMD")
    is_allowed = device == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if is_quick and is_allowed else torch.float32


def _maker() -> str:
    """Return who made the processor: AMD, or another."""
    with suppress(OSError):
        return "AMD" if b"AuthenticAMD" in Path("/proc/cpuinfo").read_bytes() else ""
    return "AMD" if "AuthenticAMD" in platform.processor() else ""  # on Windows


def tile_size(op: TileOp, wanted: int | str, size: tuple[int, int], device: torch.device) -> tuple[int, int] | None:
    """Return height and width of tiles for an operation on a picture of ``size``, or None for all of it at once.

    Automatic tiles fill at most a quarter of the free memory. Of the shapes that do, the one that computes least
    twice is taken: often strips as wide as the picture.
    """
    if op.seams is Seams.WHOLE or wanted == "off":
        return None
    if isinstance(wanted, int):
        return wanted, wanted
    if op.tile is not None:
        return None if op.tile >= max(size) else (op.tile, op.tile)
    budget = min(free_memory(device) // 4 // op.bytes_per_pixel, op.most)
    best = fewest_pixels(size, op.halo, op.multiple, budget)
    if op.seams is Seams.BLEND:
        best = (min(best),) * 2  # these tiles are part of the result, and a recipe holds one side
    return None if best[0] >= size[0] and best[1] >= size[1] else best


def smaller_tile(op: TileOp, tile: tuple[int, int]) -> tuple[int, int] | None:
    """Return a tile of half the size, for when memory ran out; None where there is none."""
    height, width = tile
    if op.seams is Seams.WHOLE or max(tile) < 2 * max(16, op.multiple):
        return None
    if op.seams is Seams.BLEND:
        return (max(tile) // 2,) * 2  # as in `tile_size`
    return (height // 2, width) if height >= width else (height, width // 2)


def fewest_pixels(size: tuple[int, int], halo: int, multiple: int, budget: int) -> tuple[int, int]:
    """Return the tile whose cores cover ``size`` with the fewest pixels computed, halos counted, within ``budget``.

    >>> fewest_pixels((4000, 6000), 100, 8, 5_000_000)
    (2000, 2000)
    >>> fewest_pixels((1001, 1000), 100, 8, 5_000_000)
    (1008, 1000)
    """
    counts = np.arange(1, 65)
    cores, sides, computed = [], [], []
    for n in size:
        core = -(-n // counts // multiple) * multiple
        cores.append(core)
        sides.append(core + halo * np.minimum(counts - 1, 2))
        computed.append(n + 2 * halo * (counts - 1))
    cost = np.where(np.outer(*sides) <= budget, np.outer(*computed), np.inf)
    rows, columns = divmod(int(cost.argmin()), len(counts))
    if np.isinf(cost[rows, columns]):
        return (max(multiple, 16),) * 2
    return int(cores[0][rows]), int(cores[1][columns])
