"""What networks learn from noisy pictures alone: one objective a file, used by training and by fitting."""
