"""Carry tiles to a GPU and results back while it computes: for pictures that are too large to lie there whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

AHEAD = 2
"""Tiles that are on their way at a time: while one is computed, the next comes and the one before leaves."""


def carried(run: Callable[[Tensor], Tensor], tiles: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yield ``run(tile)`` for all tiles, in their order.

    On CUDA tiles go over on one stream and results come back on another, through page-locked memory, from which the
    GPU copies by itself; PyTorch gives such memory to another tile only when its copy is done. At most `AHEAD` tiles
    are held at a time.

    Parameters
    ----------
    run
        Maps a tensor on ``device`` to another there; what it does must be queued on the current stream.
    tiles
        float32 on the CPU; each is asked for while the one before is computed.

    Yields
    ------
    Tensor
        float32 on the CPU.
    """
    is_cuda = device.type == "cuda"
    there, back = (torch.cuda.Stream(device) if is_cuda else None for _ in range(2))  # type: ignore[no-untyped-call]
    underway = deque[tuple[Tensor, torch.cuda.Event | None]]()
    for tile in tiles:
        with _on(there):
            over = _locked(tile, is_cuda).copy_(tile).to(device, non_blocking=is_cuda)
        _after(over, there, device)
        result = run(over)
        home = _locked(result, is_cuda)
        if back is not None:
            back.wait_stream(torch.cuda.current_stream(device))
            result.record_stream(back)
        with _on(back):
            home.copy_(result, non_blocking=is_cuda)
        underway.append((home, None if back is None else back.record_event()))
        if len(underway) == AHEAD:
            yield _arrived(*underway.popleft())
    while underway:
        yield _arrived(*underway.popleft())


def _locked(like: Tensor, is_cuda: bool) -> Tensor:
    """Return memory for a tensor, row after row whatever it is a view of, for CUDA page-locked."""
    return torch.empty(like.shape, dtype=torch.float32, pin_memory=is_cuda)


def _on(stream: torch.cuda.Stream | None) -> AbstractContextManager[object]:
    return nullcontext() if stream is None else torch.cuda.stream(stream)


def _after(over: Tensor, there: torch.cuda.Stream | None, device: torch.device) -> None:
    """Have the computing stream wait for a copy, and its memory kept until that stream has used it."""
    if there is not None:
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(there)
        over.record_stream(computing)


def _arrived(home: Tensor, copied: torch.cuda.Event | None) -> Tensor:
    """Wait for a copy, and give what arrived."""
    if copied is not None:
        copied.synchronize()
    return home
