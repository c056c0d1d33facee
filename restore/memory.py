"""How much memory there is to work with."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import MemoryLimitError

if TYPE_CHECKING:
    import torch


def free_memory(device: torch.device) -> int:
    """Return the bytes that may still be taken on a device."""
    if device.type == "cuda":
        from torch import cuda

        kept = cuda.memory_reserved(device) - cuda.memory_allocated(device)  # by PyTorch, for what comes next
        return int(cuda.mem_get_info(device)[0]) + kept
    return min([_free_of_machine(), *_free_of_groups()])


def _free_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _free_of_groups(
    own: Path = Path("/proc/self/cgroup"),
    mounted: Path = Path("/sys/fs/cgroup"),
) -> Iterator[int]:
    """Yield what each control group has left that this process is in, as containers and schedulers limit memory.

    What files take in a group counts as free: the system gives it back first.
    """
    with suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, kind, place = line.split(":", 2)
            if kind in _GROUPS:
                root = mounted / kind
                inner = root / place.lstrip("/")  # in a container it may be the root itself
                for folder in (inner, *inner.parents[: len(inner.parts) - len(root.parts)]):
                    with suppress(OSError, ValueError):
                        yield _left(folder, *_GROUPS[kind])


_GROUPS = {
    "": ("memory.max", "memory.current", ""),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}
"""Of version 2 and 1 of control groups: files of limit and use, and what begins the names of a group's statistics."""


def _left(folder: Path, limit: str, used: str, sums: str) -> int:
    """Return the bytes that a control group has left; `ValueError` where it has no limit."""
    numbers = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    files = sum(int(numbers[f"{sums}{kind}_file"]) for kind in ("active", "inactive"))
    least, taken = (int((folder / name).read_text(encoding="ascii")) for name in (limit, used))
    return max(0, least - taken + files)


_SAID_OF_MEMORY = ("DefaultCPUAllocator", "could not create a primitive", "std::bad_alloc")
"""What PyTorch, oneDNN beneath it, and C++ say where memory ran out on a processor."""


def is_exhausted(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out; on the CPU PyTorch has no class of its own for it."""
    from torch import OutOfMemoryError

    is_of_torch = isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID_OF_MEMORY)
    return is_of_torch or isinstance(error, MemoryError | OutOfMemoryError)


@contextmanager
def within_memory(what: str) -> Iterator[None]:
    """Raise MemoryLimitError, naming what did not fit, where memory runs out within the block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_exhausted(error):
            raise
        problem = f"{what} does not fit into memory; use a smaller picture or another device"
        raise MemoryLimitError(problem) from error


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt(3)
_lock = threading.Lock()
_keepers = 0


@contextmanager
def pages_kept() -> Iterator[None]:
    """Have glibc use freed memory again, within the block, in place of giving it back; afterwards it is given back.

    Features of a network are tens of megabytes each. By default every one is a fresh mapping, whose pages the system
    fills with zeros one by one: a fifth of the time of a small network. Without glibc nothing is changed.
    """
    global _keepers  # noqa: PLW0603 - the allocator is one for the process
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):
        yield
        return
    with _lock:
        _keepers += 1
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        with _lock:
            _keepers -= 1
            if not _keepers:
                mallopt(_MMAP_THRESHOLD, 32 << 20)  # where glibc's own adaptation ends
                mallopt(_TRIM_THRESHOLD, 64 << 20)
                trim(ctypes.c_size_t(0))
