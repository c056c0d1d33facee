"""The process that decodes what may be hostile: it takes orders on a channel, under limits of memory and time.

Memory follows what the file's header declares: little until its size was checked, then some bytes a pixel.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from restore.errors import FileError, MemoryLimitError, ReadError, RestoreError
from restore.files import isolated, parcel, raster
from restore.files.container import Limits, opened
from restore.files.through_pillow import jpeg_size

_FLOOR = 384 << 20
"""Bytes a decoder may take for tables, threads and what it reads, whatever the picture's size."""
_STDERR = 2
_A_PIXEL = 96
"""Bytes a pixel: LibRaw's four 16-bit colours, its output, and our floats of three colours several times."""


@dataclass(frozen=True)
class Rationed(Limits):
    """Limits that also hold memory down to what a checked size can need."""

    def check(self, path: Path, width: int, height: int) -> None:
        """Check a size as `Limits.check`, and allow the memory for it."""
        super().check(path, width, height)
        _allow_memory(_FLOOR + 2 * path.stat().st_size + _A_PIXEL * width * height)


def _allow_memory(more: int) -> None:
    """Let this process's address space grow by so many bytes from now, where the system can limit it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard < 0 else min(soft, hard), hard))


def _allow_time(seconds: float) -> None:
    """Let this process compute for so many seconds from now; then the system ends it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        spent = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = math.ceil(spent.ru_utime + spent.ru_stime + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))


def _prepare() -> None:
    """Load what may be needed, leave no core, and be the first to go when the machine is out of memory."""
    for name in ("rawpy", "imagecodecs", "pillow_heif", "restore.files.sensor"):
        with suppress(ImportError):
            importlib.import_module(name)
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _scan(path: Path, limits: Limits) -> str:
    """Decode a JPEG at an eighth of its size, and return what libjpeg says of its data on standard error.

    It says it nowhere else, and then goes on with grey; only here can that be heard without hearing other threads.
    """
    with opened(path, limits) as view:
        data = view.whole()
        limits.check(path, *jpeg_size(path, data))
        os.ftruncate(_STDERR, 0)
        os.lseek(_STDERR, 0, os.SEEK_SET)
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return os.pread(_STDERR, 4096, 0).decode("ascii", "replace")


def _answer(order: dict[str, Any], block: int) -> dict[str, Any]:
    """Read a file into the block; return a tree, or what went wrong."""
    path, task = Path(order.pop("path")), order.pop("task")
    limits = Rationed(**order)
    _allow_time(limits.max_seconds)
    try:
        _allow_memory(_FLOOR + 2 * path.stat().st_size)
        if task == isolated.SCAN:
            return {"tree": _scan(path, limits)}
        with parcel.sent_to(block) as writer:
            picture = raster.read_here(path, limits, is_stack=task == isolated.STACK)
            return {"tree": parcel.pack(picture, writer)}
    except FileError as error:
        return {"error": type(error).__name__, "problem": error.problem}
    except MemoryError:
        problem = "decoding it wants more memory than its size can need or is free; it may be damaged"
        return {"error": MemoryLimitError.__name__, "problem": problem}
    except RestoreError as error:
        return {"error": type(error).__name__, "problem": str(error).removeprefix(f"{path}: ")}
    except OSError as error:
        return {"error": ReadError.__name__, "problem": f"cannot be decoded ({error.strerror or error})"}
    except Exception:  # noqa: BLE001 - it is raised again where the file was asked for
        return {"problem": traceback.format_exc()}


def main() -> None:
    """Serve until nobody is left at the channel's other end."""
    isolated.enter()
    _prepare()
    with socket.socket(fileno=int(sys.argv[1])) as channel, isolated.unnamed() as said:
        os.dup2(said.fileno(), _STDERR)
        channel.sendall(b"ready\n")
        while True:
            line, files, _, _ = socket.recv_fds(channel, 1 << 16, 1)
            while line and not line.endswith(b"\n"):
                line += channel.recv(1 << 16)
            if not line:
                return
            try:
                answer = _answer(json.loads(line), files[0])
            finally:
                os.close(files[0])
            channel.sendall(json.dumps(answer).encode("ascii") + b"\n")


if __name__ == "__main__":
    main()
