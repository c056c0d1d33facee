"""How the pieces of a job are spread over a machine: the one place to change for another way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")
R = TypeVar("R")


def threads(
    items: Iterable[T],
    read: Callable[[T], U],
    work: Callable[[U], R],
    *,
    jobs: int = 1,
    on_thread: Callable[[], None] = lambda: None,
) -> Iterator[R]:
    """Yield ``work(read(item))`` for all items, in their order.

    One thread reads ahead of ``jobs`` threads that work. At most ``jobs + 1`` items are held at a time: those worked
    on, and one that is read meanwhile. When the caller leaves early, what was begun is finished and no more.

    >>> list(threads([1, 2, 3], lambda n: 10 * n, lambda n: n + 1, jobs=2))
    [11, 21, 31]
    """
    room = threading.Semaphore(jobs + 1)

    def fetch(item: T) -> U:
        room.acquire()
        return read(item)

    def finish(coming: list[Future[U]]) -> R:
        try:
            return work(coming.pop().result())
        finally:
            room.release()

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(jobs, "work", on_thread) as workers:
        pending = deque(workers.submit(finish, [reader.submit(fetch, item)]) for item in items)
        try:
            while pending:
                yield pending.popleft().result()
        finally:  # whoever listened may be gone: what waits is not begun
            for pool in (workers, reader):
                pool.shutdown(wait=False, cancel_futures=True)
            room.release(jobs + 1)
