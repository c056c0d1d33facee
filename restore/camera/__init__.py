"""Noise profiles of cameras: learnt from dark frames, kept in a file, sampled to make training pairs."""

from restore.camera.iso import IsoNoise
from restore.camera.profile import Branch, Maps, Profile
from restore.camera.proxy import Proxy
from restore.camera.sample import AS_MEASURED, BACKENDS, Backend, Spread, sample

__all__ = [
    "AS_MEASURED",
    "BACKENDS",
    "Backend",
    "Branch",
    "IsoNoise",
    "Maps",
    "Profile",
    "Proxy",
    "Spread",
    "sample",
]
