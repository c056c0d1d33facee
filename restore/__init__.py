"""Restore photographs, raw and developed: denoise, enlighten, repair.

The public face. Everything is imported when it is first used, so that ``import restore`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore import errors, files, methods
    from restore.arrays import estimate_noise, run, run_with_uncertainty
    from restore.errors import RestoreError
    from restore.files import read, write
    from restore.jobs.adapt import adapt
    from restore.jobs.calibrate import calibrate
    from restore.noise import Noise
    from restore.picture import Image, Meta, RawImage
    from restore.recipe import Recipe, Step

__version__ = "0.1.0"

_HOME = {
    "Image": "picture",
    "Meta": "picture",
    "Noise": "noise",
    "RawImage": "picture",
    "Recipe": "recipe",
    "RestoreError": "errors",
    "Step": "recipe",
    "adapt": "jobs.adapt",
    "calibrate": "jobs.calibrate",
    "estimate_noise": "arrays",
    "read": "files",
    "run": "arrays",
    "run_with_uncertainty": "arrays",
    "write": "files",
}

__all__ = [
    "Image",
    "Meta",
    "Noise",
    "RawImage",
    "Recipe",
    "RestoreError",
    "Step",
    "adapt",
    "calibrate",
    "errors",
    "estimate_noise",
    "files",
    "methods",
    "read",
    "run",
    "run_with_uncertainty",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in ("errors", "files", "methods"):
        return import_module(f"restore.{name}")
    if name in _HOME:
        return getattr(import_module(f"restore.{_HOME[name]}"), name)
    raise AttributeError(f"module 'restore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
