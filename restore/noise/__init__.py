"""What is known about a picture's noise: the record, and its estimate from the picture alone."""

from restore.noise.level import estimate, relative
from restore.noise.record import Noise, given, parse_level

__all__ = ["Noise", "estimate", "given", "parse_level", "relative"]
