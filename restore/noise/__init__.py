"""What is known about a picture's noise: the record, and its estimate from the picture alone."""

from restore.noise.brightness import in_brightness
from restore.noise.level import estimate, relative, toned
from restore.noise.record import CORRELATED, Noise, given, parse_level

__all__ = ["CORRELATED", "Noise", "estimate", "given", "in_brightness", "parse_level", "relative", "toned"]
