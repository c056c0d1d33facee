"""The frozen validation set of all-in-one restoration: seven tasks, the same bits for everybody."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from restore.degrade.spec import degrade
from restore.picture import Image

FROZEN: dict[str, str] = {
    "haze": "haze, quantise",
    "rain": "rain, quantise",
    "noise 15": "gaussian sigma=15/255, quantise",
    "noise 25": "gaussian sigma=25/255, quantise",
    "noise 50": "gaussian sigma=50/255, quantise",
    "motion blur": "motion_blur, quantise",
    "low light": "low_light, quantise",
    "blur": "blur, quantise",
    "jpeg": "jpeg",
}
"""What each task does to a clean picture; the three noises are one task."""


def frozen(clean: Image, name: str, *, seed: int = 0) -> Iterator[tuple[str, Image]]:
    """Give a clean picture with each degradation of `FROZEN`, and the task's name.

    Parameters
    ----------
    clean
        The whole picture: a crop of it has other draws.
    name
        The picture's file name: it and ``seed`` decide the draws, so other pictures and their order do not.
    """
    for task, spec in FROZEN.items():
        yield task, degrade(clean, spec, seed=seed + zlib.crc32(os.fsencode(name)))
