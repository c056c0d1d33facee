"""Read and write picture files: chosen by content, kept whole, written atomically."""
