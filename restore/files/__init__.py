"""Read and write picture files: chosen by content, kept whole, written atomically."""

from restore.files.container import Limits, kind, suffix
from restore.files.raster import read, read_stack, write

__all__ = ["Limits", "kind", "read", "read_stack", "suffix", "write"]
