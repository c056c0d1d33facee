"""Synthetic degradations of clean pictures, seeded: training and tests share them.

Pictures are float32 ``(H, W, 3)`` or ``(H, W, 1)``, sRGB-encoded, nominal 0...1. Every function takes the
random generator where it draws, and returns new arrays.
"""

from restore.degrade.camera import Pair, camera
from restore.degrade.frozen import FROZEN, frozen
from restore.degrade.scene import haze, low_light, motion_blur, rain
from restore.degrade.simple import blur, gaussian, jpeg, poisson, quantise, salt_pepper, speckle
from restore.degrade.spec import KINDS, degrade

__all__ = [
    "FROZEN",
    "KINDS",
    "Pair",
    "blur",
    "camera",
    "degrade",
    "frozen",
    "gaussian",
    "haze",
    "jpeg",
    "low_light",
    "motion_blur",
    "poisson",
    "quantise",
    "rain",
    "salt_pepper",
    "speckle",
]
