"""Examples drawn by processes beside the training; the last some thousand are held and used again until replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

Chunk = tuple[Tensor, ...]
Draw = Callable[[np.random.Generator], Iterator[Chunk]]
"""Endless chunks of a few examples each, tensors ``(N, ...)``, on the CPU."""


class _Source(IterableDataset[Chunk]):
    def __init__(self, draw: Draw, seeds: Sequence[int]) -> None:
        self._draw, self._seeds = draw, list(seeds)

    def __iter__(self) -> Iterator[Chunk]:
        cv2.setNumThreads(1)
        worker = get_worker_info()
        assert worker is not None
        yield from self._draw(np.random.default_rng([*self._seeds, worker.id]))


class Feed(Iterator[Chunk]):
    """Endless random batches for a device that learns faster than processors draw.

    Every example is used as often as there is time for before a new one takes its place.

    Parameters
    ----------
    draw, seeds
        Each process draws with random numbers of these seeds and its own number.
    workers
        Processes.
    size
        Examples in a batch.
    held
        Examples in the device's memory.
    least
        Examples that are waited for before the first batch.
    """

    def __init__(
        self,
        draw: Draw,
        seeds: Sequence[int],
        *,
        workers: int,
        size: int,
        held: int = 8192,
        least: int = 512,
        device: str = "cpu",
    ) -> None:
        self._size, self._capacity, self._least, self._device = size, held, least, device
        self._held: list[Tensor] = []
        self._filled = 0
        self._is_over, self._lock = threading.Event(), threading.Lock()
        source = _Source(draw, seeds)
        loader = DataLoader(
            source, batch_size=None, num_workers=workers, prefetch_factor=4, multiprocessing_context="fork"
        )
        chunks = iter(loader)  # here, not in the thread: it forks
        self._thread = threading.Thread(target=self._fill, args=(chunks,), daemon=True)
        self._thread.start()

    def _fill(self, chunks: Any) -> None:
        at = 0
        for chunk in chunks:
            if self._is_over.is_set():
                return
            count = len(chunk[0])
            if not self._held:
                self._held = [p.new_empty(self._capacity, *p.shape[1:], device=self._device) for p in chunk]
            places = (torch.arange(at, at + count) % self._capacity).to(self._device)
            with self._lock:
                for held, part in zip(self._held, chunk, strict=True):
                    held[places] = part.to(self._device)
            at = (at + count) % self._capacity
            self._filled = min(self._capacity, self._filled + count)

    def __next__(self) -> Chunk:
        """Return a batch ``(size, ...)``.

        Raises
        ------
        RuntimeError
            A process that draws has failed; it has said why.
        """
        while self._filled < min(self._least, self._capacity) and self._thread.is_alive():
            time.sleep(0.01)
        if not self._thread.is_alive():
            raise RuntimeError("a process that draws examples has failed; its error is above")
        chosen = torch.randint(self._filled, (self._size,), device=self._device)
        with self._lock:  # else parts of an example may be of its successor
            return tuple(held[chosen] for held in self._held)

    def close(self) -> None:
        """End the processes."""
        self._is_over.set()
        self._thread.join()
