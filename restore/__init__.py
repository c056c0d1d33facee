"""Restore photographs, raw and developed."""
