"""How many files are worked on at the same time, by the cores and the memory there are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from restore.tiling import LARGEST_TILE

MOST, EACH = 4, 3
"""Files at the same time, where nobody said how many, and how many each worker must have to do for it to pay."""

TILED, WHOLE = 200, 50
"""Bytes a pixel that methods need at the most, in tiles and for the picture's own copies (the engine benchmark)."""


def automatic(files: int, cores: int) -> int:
    """Return how many of some files to work on at the same time.

    One thread does more work than each of several that share a picture; the last files find few workers.

    >>> [automatic(files, cores) for files, cores in ((1, 8), (5, 8), (7, 8), (100, 8), (100, 2))]
    [1, 1, 2, 4, 2]
    """
    return max(1, min(MOST, cores, files // EACH))


class Room:
    """Lets files in as long as they fit into memory beside each other; one alone always may.

    Parameters
    ----------
    jobs
        Files at the same time at the most.
    cores
        Threads that they share.
    free
        Bytes of memory for all of them.
    """

    def __init__(self, jobs: int, cores: int, free: float) -> None:
        self._jobs, self._cores, self._free = jobs, cores, free
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def entered(self, pixels: int) -> Iterator[int]:
        """Wait until a picture of so many pixels fits, and give the number of threads for it."""
        need = TILED * min(pixels, LARGEST_TILE) + WHOLE * pixels
        beside = max(1, min(self._jobs, int(self._free // max(need, 1))))
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + need <= self._free)
            self._taken += need
        try:
            yield max(1, self._cores // beside)
        finally:
            with self._changed:
                self._taken -= need
                self._changed.notify_all()
