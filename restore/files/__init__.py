"""Read and write picture files: chosen by content, kept whole, written atomically."""

from restore.files.container import Limits, kind, not_kept, suffix
from restore.files.raster import read, read_stack, write, write_stack

__all__ = ["Limits", "kind", "not_kept", "read", "read_stack", "suffix", "write", "write_stack"]
