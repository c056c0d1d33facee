"""Fixtures of the page's tests."""

from serving import big, pictures, server

__all__ = ["big", "pictures", "server"]
