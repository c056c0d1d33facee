"""Several looks at a picture at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Return what each call gives; at the same time, where this process may use several threads.

    For work that lets go of the interpreter: sums and sorts of large arrays.

    >>> together(lambda: 1, lambda: 2)
    [1, 2]
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        return [call() for call in calls]
    with ThreadPoolExecutor(min(threads, len(calls))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
